/*
** strings.c - texts with their marks: building, cutting, searching, changing case. Places are
** bytes; Python's are characters, and pl__jinja_byte_of goes from one to the other.
*/
#include "text/jinja/jinja.h"

#include <utf8proc.h>

#include "base/utf8.h"

/* Characters ---------------------------------------------------------------------------------- */

bool pl__jinja_is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool pl__jinja_is_printable(uint32_t code)
{
    if (code < 0x7F) return code >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

bool pl__jinja_is_word(uint32_t code)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    return code == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
           (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO);
}

int64_t pl__jinja_char(const jinja_text *text, int64_t at, uint32_t *code)
{
    *code = (unsigned char)text->bytes[at];
    if (*code < 0x80) return 1;
    const int n = pl__utf8_char(text->bytes + at, (size_t)(text->length - at));
    if (n == 0) return 1;
    *code = pl__utf8_get(text->bytes + at, n);
    return n;
}

int64_t pl__jinja_char_before(const jinja_text *text, int64_t at, uint32_t *code)
{
    for (int64_t back = 1; back <= 4 && back <= at; back++) {
        const jinja_text part = {.bytes = text->bytes + at - back, .length = back};
        if (((unsigned char)part.bytes[0] & 0xC0) != 0x80 && pl__jinja_char(&part, 0, code) == back)
            return at - back;
    }
    *code = (unsigned char)text->bytes[at - 1];
    return at - 1;
}

int64_t pl__jinja_byte_of(const jinja_text *text, int64_t n)
{
    uint32_t code;
    int64_t at = 0;
    for (; n > 0 && at < text->length; n--) at += pl__jinja_char(text, at, &code);
    return at;
}

int64_t pl__jinja_chars(const jinja_text *text)
{
    uint32_t code;
    int64_t n = 0;
    for (int64_t at = 0; at < text->length; n++) at += pl__jinja_char(text, at, &code);
    return n;
}

/* Making -------------------------------------------------------------------------------------- */

pl_status pl__jinja_text(jinja_arena *arena, const jinja_text **out, const char *bytes,
                         int64_t length, uint8_t marks)
{
    jinja_builder b = {.arena = arena};
    PL_TRY(pl__jinja_add(&b, bytes, length, marks));
    return pl__jinja_built(&b, out);
}

pl_status pl__jinja_literal(jinja_run *run, jinja_value *out, const char *bytes)
{
    jinja_text *text;
    JINJA_TAKE(&run->arena, &text, 1);
    text->bytes = bytes;
    text->length = (int64_t)strlen(bytes);
    *out = jinja_of_text(text);
    return PL_OK;
}

/* Room for `more` bytes; marks as well where there are some. */
static pl_status make_room(jinja_builder *b, int64_t more)
{
    if (b->room - b->length >= more) return PL_OK;
    char *bytes;
    uint8_t *marks = NULL;
    const int64_t room = (b->length + more) * 2 + 32;
    JINJA_TAKE(b->arena, &bytes, room);
    if (b->marks != NULL) JINJA_TAKE(b->arena, &marks, room);
    if (b->length > 0) memcpy(bytes, b->bytes, (size_t)b->length);
    if (b->length > 0 && marks != NULL) memcpy(marks, b->marks, (size_t)b->length);
    b->bytes = bytes;
    b->marks = marks;
    b->room = room;
    return PL_OK;
}

pl_status pl__jinja_add(jinja_builder *b, const char *bytes, int64_t length, uint8_t marks)
{
    if (length == 0) return PL_OK;
    PL_TRY(make_room(b, length));
    if (marks != 0 && b->marks == NULL) JINJA_TAKE(b->arena, &b->marks, b->room);
    memcpy(b->bytes + b->length, bytes, (size_t)length);
    if (b->marks != NULL) memset(b->marks + b->length, marks, (size_t)length);
    b->length += length;
    return PL_OK;
}

pl_status pl__jinja_add_text(jinja_builder *b, const jinja_text *text, int64_t from, int64_t to,
                             uint8_t more)
{
    const int64_t at = b->length;
    PL_TRY(pl__jinja_add(b, text->bytes + from, to - from, more));
    if (text->marks == NULL || to <= from) return PL_OK;
    if (b->marks == NULL) JINJA_TAKE(b->arena, &b->marks, b->room);
    for (int64_t i = from; i < to; i++) b->marks[at + i - from] = text->marks[i] | more;
    return PL_OK;
}

pl_status pl__jinja_built(jinja_builder *b, const jinja_text **out)
{
    jinja_text *text;
    JINJA_TAKE(b->arena, &text, 1);
    text->bytes = b->bytes == NULL ? "" : b->bytes;
    text->marks = b->marks;
    text->length = b->length;
    *out = text;
    return PL_OK;
}

pl_status pl__jinja_part(jinja_run *run, jinja_value *out, const jinja_text *text, int64_t from,
                         int64_t to)
{
    jinja_text *part;
    JINJA_TAKE(&run->arena, &part, 1);
    part->bytes = text->bytes + from;
    part->marks = text->marks == NULL ? NULL : text->marks + from;
    part->length = to > from ? to - from : 0;
    *out = jinja_of_text(part);
    return PL_OK;
}

pl_status pl__jinja_join2(jinja_run *run, jinja_value *out, const jinja_text *a,
                          const jinja_text *b)
{
    jinja_builder joined = jinja_builder_of(run);
    const jinja_text *text;
    const bool markup = a->markup || b->markup;
    if (markup && !a->markup) PL_TRY(pl__jinja_escape(run, &a, a));
    if (markup && !b->markup) PL_TRY(pl__jinja_escape(run, &b, b));
    PL_TRY(make_room(&joined, a->length + b->length));
    PL_TRY(pl__jinja_add_text(&joined, a, 0, a->length, 0));
    PL_TRY(pl__jinja_add_text(&joined, b, 0, b->length, 0));
    PL_TRY(pl__jinja_built(&joined, &text));
    if (markup) ((jinja_text *)text)->markup = true;
    *out = jinja_of_text(text);
    return PL_OK;
}

/* Searching ----------------------------------------------------------------------------------- */

int64_t pl__jinja_find_part(const jinja_text *text, int64_t from, const jinja_text *part)
{
    if (part->length == 0) return from <= text->length ? from : -1;
    if (text->length - from < part->length) return -1;
    const char *found = memmem(text->bytes + from, (size_t)(text->length - from), part->bytes,
                               (size_t)part->length);
    return found == NULL ? -1 : found - text->bytes;
}

int64_t pl__jinja_find_last(const jinja_text *text, const jinja_text *part)
{
    for (int64_t at = text->length - part->length; at >= 0; at--)
        if (memcmp(text->bytes + at, part->bytes, (size_t)part->length) == 0) return at;
    return -1;
}

static bool has_char(const jinja_text *chars, uint32_t code)
{
    uint32_t other;
    for (int64_t at = 0; at < chars->length;) {
        at += pl__jinja_char(chars, at, &other);
        if (other == code) return true;
    }
    return false;
}

static bool is_stripped(const jinja_text *chars, uint32_t code)
{
    return chars == NULL ? pl__jinja_is_space(code) : has_char(chars, code);
}

void pl__jinja_strip(const jinja_text *text, const jinja_text *chars, bool left, bool right,
                     int64_t *from, int64_t *to)
{
    uint32_t code;
    *from = 0;
    *to = text->length;
    while (left && *from < *to) {
        const int64_t n = pl__jinja_char(text, *from, &code);
        if (!is_stripped(chars, code)) break;
        *from += n;
    }
    while (right && *to > *from) {
        const int64_t begin = pl__jinja_char_before(text, *to, &code);
        if (!is_stripped(chars, code)) break;
        *to = begin;
    }
}

pl_status pl__jinja_replace(jinja_run *run, jinja_value *out, const jinja_text *text,
                            const jinja_text *old, const jinja_text *new, int64_t most)
{
    jinja_builder b = jinja_builder_of(run);
    const jinja_text *built;
    uint32_t code;
    int64_t at = 0;
    PL_TRY(pl__jinja_step(run, 1 + text->length / 16));
    for (; most != 0; most -= most > 0) {
        const int64_t found = pl__jinja_find_part(text, at, old);
        if (found < 0) break;
        PL_TRY(pl__jinja_add_text(&b, text, at, found, 0));
        PL_TRY(pl__jinja_add_text(&b, new, 0, new->length, 0));
        at = found + old->length;
        if (old->length > 0) continue;
        if (at >= text->length) break; /* an empty one stands at the end once */
        const int64_t n = pl__jinja_char(text, at, &code);
        PL_TRY(pl__jinja_add_text(&b, text, at, at + n, 0));
        at += n;
    }
    PL_TRY(pl__jinja_add_text(&b, text, at, text->length, 0));
    PL_TRY(pl__jinja_built(&b, &built));
    *out = jinja_of_text(built);
    return PL_OK;
}

/* & < > ' " as HTML writes them. */
pl_status pl__jinja_escape(jinja_run *run, const jinja_text **out, const jinja_text *text)
{
    jinja_builder b = jinja_builder_of(run);
    for (int64_t i = 0; i < text->length; i++) {
        const char c = text->bytes[i];
        const char *escaped = c == '&'    ? "&amp;"
                              : c == '<'  ? "&lt;"
                              : c == '>'  ? "&gt;"
                              : c == '\'' ? "&#39;"
                              : c == '"'  ? "&#34;"
                                          : NULL;
        if (escaped == NULL) PL_TRY(pl__jinja_add_text(&b, text, i, i + 1, 0));
        else
            PL_TRY(pl__jinja_add(&b, escaped, (int64_t)strlen(escaped),
                                 text->marks == NULL ? 0 : text->marks[i]));
    }
    PL_TRY(pl__jinja_built(&b, out));
    ((jinja_text *)*out)->markup = true;
    return PL_OK;
}

int64_t pl__jinja_slice(int64_t count, const int64_t *start, const int64_t *stop, int64_t step,
                        int64_t *first)
{
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
    int64_t ends[2] = {step > 0 ? low : high, step > 0 ? high : low};
    for (int i = 0; i < 2; i++) {
        const int64_t *given = i == 0 ? start : stop;
        if (given == NULL) continue;
        int64_t n = *given;
        if (n < 0) n = n < -count ? -1 : n + count;
        ends[i] = n < low ? low : n > high ? high : n;
    }
    *first = ends[0];
    if (step > 0) return ends[1] > ends[0] ? (ends[1] - ends[0] - 1) / step + 1 : 0;
    if (ends[0] <= ends[1]) return 0;
    return step == INT64_MIN ? 1 : (ends[0] - ends[1] - 1) / -step + 1;
}

/* Case ---------------------------------------------------------------------------------------- */

static bool is_cased(uint32_t code)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* Whether a capital sigma at `at` ends a word. */
static bool ends_word(const jinja_text *text, int64_t at, int64_t behind)
{
    uint32_t code;
    if (at == 0) return false;
    pl__jinja_char_before(text, at, &code);
    if (!is_cased(code)) return false;
    if (behind >= text->length) return true;
    pl__jinja_char(text, behind, &code);
    return !is_cased(code);
}

static pl_status add_cased(jinja_builder *b, const jinja_text *text, int64_t at, int64_t n,
                           uint32_t code, bool upper, bool title)
{
    char out[8];
    int length;
    const uint8_t marks = text->marks == NULL ? 0 : text->marks[at];
    /* Those of several letters: sharp s and the ligatures. */
    static const char *const ligatures[][2] = {{"FF", "Ff"},   {"FI", "Fi"},   {"FL", "Fl"},
                                               {"FFI", "Ffi"}, {"FFL", "Ffl"}, {"ST", "St"},
                                               {"ST", "St"},   {"SS", "Ss"}};
    const int place = code == 0xDF ? 7 : code >= 0xFB00 && code <= 0xFB06 ? (int)code - 0xFB00 : -1;
    if (upper && place >= 0)
        return pl__jinja_add(b, ligatures[place][title], (int64_t)strlen(ligatures[place][title]),
                             marks);
    if (!upper && code == 0x130) /* I with a dot */
        return pl__jinja_add(b, "i\xCC\x87", 3, marks);
    uint32_t to = (uint32_t)(!upper  ? utf8proc_tolower((utf8proc_int32_t)code)
                             : title ? utf8proc_totitle((utf8proc_int32_t)code)
                                     : utf8proc_toupper((utf8proc_int32_t)code));
    if (!upper && code == 0x3A3 && ends_word(text, at, at + n)) to = 0x3C2;
    if (to == code) return pl__jinja_add_text(b, text, at, at + n, 0);
    length = pl__utf8_put(to, out);
    return pl__jinja_add(b, out, length, marks);
}

pl_status pl__jinja_cased(jinja_run *run, jinja_value *out, const jinja_text *text, jinja_case how)
{
    jinja_builder b = jinja_builder_of(run);
    const jinja_text *built;
    uint32_t code;
    bool in_word = false;
    PL_TRY(pl__jinja_step(run, 1 + text->length / 16));
    for (int64_t at = 0, n; at < text->length; at += n) {
        n = pl__jinja_char(text, at, &code);
        const bool is_upper = utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_LU;
        const bool first = how == CASE_TITLE ? !in_word : at == 0;
        const bool upper =
            how == CASE_UPPER || (how == CASE_SWAP && !is_upper) ||
            ((how == CASE_CAPITAL || how == CASE_FIRST || how == CASE_TITLE) && first);
        PL_TRY(add_cased(&b, text, at, n, code, upper,
                         upper && (how == CASE_CAPITAL || how == CASE_TITLE)));
        in_word = is_cased(code);
    }
    PL_TRY(pl__jinja_built(&b, &built));
    *out = jinja_of_text(built);
    return PL_OK;
}

/*
** methods.c - the methods of Python's str that do not only read, but for those that cut
** (methods_cut.c). Places count characters; results keep the marks of the bytes they are made of.
*/
#include "text/jinja/call.h"

#include <utf8proc.h>

static const jinja_text SPACE = {.bytes = " ", .length = 1}, ZERO = {.bytes = "0", .length = 1};

static pl_status built(jinja_builder *b, jinja_value *out)
{
    const jinja_text *text;
    PL_TRY(pl__jinja_built(b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

/* Case and ends ------------------------------------------------------------------------------- */

#define CASED(name, how)                                                      \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)                             \
    {                                                                         \
        PL_TRY(pl__jinja_bind(run, #name, args, NULL, NULL, 0));              \
        return pl__jinja_cased(run, out, self.text, how);                     \
    }
CASED(upper, CASE_UPPER)
CASED(lower, CASE_LOWER)
CASED(capitalize, CASE_CAPITAL)
CASED(title, CASE_TITLE)
CASED(swapcase, CASE_SWAP)

static pl_status strip_sides(jinja_run *run, jinja_value *out, jinja_value self,
                             const jinja_args *args, bool left, bool right)
{
    BIND("strip", "chars");
    const jinja_text *chars = NULL;
    int64_t from, to;
    if (slots[0].kind != JINJA_ABSENT && slots[0].kind != JINJA_NONE)
        PL_TRY(pl__jinja_text_at(run, slots, 0, "strip", NULL, &chars));
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(self)));
    pl__jinja_strip(self.text, chars, left, right, &from, &to);
    return pl__jinja_part(run, out, self.text, from, to);
}

#define STRIP(name, left, right)                                              \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)                             \
    {                                                                         \
        return strip_sides(run, out, self, args, left, right);                \
    }
STRIP(strip, true, true)
STRIP(lstrip, true, false)
STRIP(rstrip, false, true)

static bool stands_at(const jinja_text *text, int64_t at, const jinja_text *part)
{
    return at >= 0 && part->length <= text->length - at &&
           memcmp(text->bytes + at, part->bytes, (size_t)part->length) == 0;
}

/* Whether a part of self begins or ends with a text, or with one of a tuple. */
static pl_status test_end(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args, bool at_start)
{
    BIND(at_start ? "startswith" : "endswith", "part", "start", "end");
    jinja_value part;
    int64_t start, end, from;
    if (slots[0].kind == JINJA_ABSENT) return JINJA_FAIL(run, "startswith lacks an argument");
    PL_TRY(pl__jinja_integer_at(run, slots, 1, "startswith", 0, &start));
    PL_TRY(pl__jinja_integer_at(run, slots, 2, "startswith", INT64_MAX, &end));
    const int64_t chars = pl__jinja_chars(self.text);
    const int64_t n = pl__jinja_slice(chars, &start, &end, 1, &from);
    const int64_t first = pl__jinja_byte_of(self.text, from);
    PL_TRY(pl__jinja_part(run, &part, self.text, first, pl__jinja_byte_of(self.text, from + n)));
    const bool is_tuple = slots[0].kind == JINJA_SEQ && slots[0].seq->flavor == JINJA_TUPLE;
    const jinja_value *items = is_tuple ? slots[0].seq->items : slots;
    const int64_t count = is_tuple ? slots[0].seq->count : 1;
    *out = jinja_bool(false);
    for (int64_t i = 0; i < count; i++) {
        if (items[i].kind != JINJA_TEXT)
            return JINJA_FAIL(run,
                              "startswith and endswith want a text or a tuple of texts, not %s",
                              pl__jinja_kind_name(items[i]));
        const int64_t at = at_start ? 0 : part.text->length - items[i].text->length;
        out->flag = out->flag || stands_at(part.text, at, items[i].text);
    }
    return PL_OK;
}

static pl_status startswith(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args)
{
    return test_end(run, out, self, args, true);
}

static pl_status endswith(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args)
{
    return test_end(run, out, self, args, false);
}

static pl_status remove_end(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args, bool at_start)
{
    BIND("removeprefix", "part");
    const jinja_text *part;
    PL_TRY(pl__jinja_text_at(run, slots, 0, "removeprefix", NULL, &part));
    const int64_t end = self.text->length - part->length;
    const bool there = stands_at(self.text, at_start ? 0 : end, part);
    return pl__jinja_part(run, out, self.text, there && at_start ? part->length : 0,
                          there && !at_start ? end : self.text->length);
}

static pl_status removeprefix(jinja_run *run, jinja_value *out, jinja_value self,
                              const jinja_args *args)
{
    return remove_end(run, out, self, args, true);
}

static pl_status removesuffix(jinja_run *run, jinja_value *out, jinja_value self,
                              const jinja_args *args)
{
    return remove_end(run, out, self, args, false);
}

/* Searching ----------------------------------------------------------------------------------- */

/* Characters before the first (or last) place of a part; -1 where it is not there. */
static pl_status find_place(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args, bool last, bool must)
{
    BIND("find", "part", "start", "end");
    const jinja_text *part;
    jinja_value inside;
    int64_t start, end, from;
    PL_TRY(pl__jinja_text_at(run, slots, 0, "find", NULL, &part));
    PL_TRY(pl__jinja_integer_at(run, slots, 1, "find", 0, &start));
    PL_TRY(pl__jinja_integer_at(run, slots, 2, "find", INT64_MAX, &end));
    PL_TRY(pl__jinja_step(run, 1 + self.text->length / 16));
    const int64_t chars = pl__jinja_chars(self.text);
    const int64_t n = pl__jinja_slice(chars, &start, &end, 1, &from);
    const int64_t first = pl__jinja_byte_of(self.text, from);
    PL_TRY(pl__jinja_part(run, &inside, self.text, first, pl__jinja_byte_of(self.text, from + n)));
    const int64_t at =
        last ? pl__jinja_find_last(inside.text, part) : pl__jinja_find_part(inside.text, 0, part);
    if (at < 0 && must) return JINJA_FAIL(run, "index: the text is not there");
    if (at >= 0) {
        jinja_value before;
        PL_TRY(pl__jinja_part(run, &before, inside.text, 0, at));
        *out = jinja_int(from + pl__jinja_chars(before.text));
    } else {
        *out = jinja_int(-1);
    }
    return PL_OK;
}

#define FIND(name, last, must)                                                \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)                             \
    {                                                                         \
        return find_place(run, out, self, args, last, must);                  \
    }
FIND(find, false, false)
FIND(rfind, true, false)
FIND(text_index, false, true)
FIND(text_rindex, true, true)

static pl_status text_count(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args)
{
    BIND("count", "part");
    const jinja_text *part;
    int64_t n = 0;
    PL_TRY(pl__jinja_text_at(run, slots, 0, "count", NULL, &part));
    PL_TRY(pl__jinja_step(run, 1 + self.text->length / 16));
    if (part->length == 0) n = pl__jinja_chars(self.text) + 1;
    for (int64_t at = 0; part->length > 0; n++, at += part->length) {
        at = pl__jinja_find_part(self.text, at, part);
        if (at < 0) break;
    }
    *out = jinja_int(n);
    return PL_OK;
}

static pl_status replace(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args)
{
    BIND("replace", "old", "new", "count");
    const jinja_text *old, *new;
    int64_t most;
    PL_TRY(pl__jinja_text_at(run, slots, 0, "replace", NULL, &old));
    PL_TRY(pl__jinja_text_at(run, slots, 1, "replace", NULL, &new));
    PL_TRY(pl__jinja_integer_at(run, slots, 2, "replace", -1, &most));
    return pl__jinja_replace(run, out, self.text, old, new, most);
}

/* Joining and filling ------------------------------------------------------------------------- */

static pl_status join(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args)
{
    BIND("join", "items");
    jinja_value *items;
    int64_t count;
    jinja_builder b = jinja_builder_of(run);
    PL_TRY(pl__jinja_items(run, slots[0], &items, &count));
    for (int64_t i = 0; i < count; i++) {
        if (items[i].kind != JINJA_TEXT)
            return JINJA_FAIL(run, "join: item %lld is %s, not a text", (long long)i + 1,
                              pl__jinja_kind_name(items[i]));
        if (i > 0) PL_TRY(pl__jinja_add_text(&b, self.text, 0, self.text->length, 0));
        PL_TRY(pl__jinja_add_text(&b, items[i].text, 0, items[i].text->length, 0));
    }
    return built(&b, out);
}

static pl_status fill(jinja_builder *b, const jinja_text *with, int64_t n)
{
    for (; n > 0; n--) PL_TRY(pl__jinja_add_text(b, with, 0, with->length, 0));
    return PL_OK;
}

/* Filled up to `width` characters: a share of it on the left, as Python's centre puts it. */
static pl_status filled(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                        int side)
{
    BIND("ljust", "width", "fillchar");
    const jinja_text *with;
    int64_t width;
    jinja_builder b = jinja_builder_of(run);
    if (slots[0].kind == JINJA_ABSENT) return JINJA_FAIL(run, "ljust lacks an argument");
    PL_TRY(pl__jinja_integer_at(run, slots, 0, "ljust", 0, &width));
    PL_TRY(pl__jinja_text_at(run, slots, 1, "ljust", &SPACE, &with));
    if (pl__jinja_chars(with) != 1) return JINJA_FAIL(run, "ljust fills with one character");
    const int64_t chars = pl__jinja_chars(self.text);
    const int64_t more = width > chars ? width - chars : 0;
    PL_TRY(pl__jinja_step(run, more));
    const int64_t left = side < 0 ? 0 : side > 0 ? more : more / 2 + (more & width & 1);
    PL_TRY(fill(&b, with, left));
    PL_TRY(pl__jinja_add_text(&b, self.text, 0, self.text->length, 0));
    PL_TRY(fill(&b, with, more - left));
    return built(&b, out);
}

#define FILLED(name, side)                                                    \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)                             \
    {                                                                         \
        return filled(run, out, self, args, side);                            \
    }
FILLED(ljust, -1)
FILLED(center, 0)
FILLED(rjust, 1)

static pl_status zfill(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args)
{
    BIND("zfill", "width");
    int64_t width;
    jinja_builder b = jinja_builder_of(run);
    PL_TRY(pl__jinja_integer_at(run, slots, 0, "zfill", 0, &width));
    const int64_t chars = pl__jinja_chars(self.text);
    const char first = self.text->length > 0 ? self.text->bytes[0] : '\0';
    const int64_t sign = first == '-' || first == '+';
    PL_TRY(pl__jinja_step(run, width > chars ? width - chars : 0));
    PL_TRY(pl__jinja_add_text(&b, self.text, 0, sign, 0));
    PL_TRY(fill(&b, &ZERO, width - chars));
    PL_TRY(pl__jinja_add_text(&b, self.text, sign, self.text->length, 0));
    return built(&b, out);
}

/* What characters are ------------------------------------------------------------------------- */

enum { IS_ALPHA = 1, IS_DECIMAL = 2, IS_DIGIT = 4, IS_NUMERIC = 8, IS_SPACE = 16, IS_ASCII = 32 };

static unsigned classes(uint32_t code)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    unsigned found = code < 0x80 ? IS_ASCII : 0;
    if (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) found |= IS_ALPHA;
    if (c == UTF8PROC_CATEGORY_ND) found |= IS_DECIMAL | IS_DIGIT | IS_NUMERIC;
    if (c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO) found |= IS_NUMERIC;
    const bool raised = code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
                        (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
    if (raised) found |= IS_DIGIT;
    if (pl__jinja_is_space(code)) found |= IS_SPACE;
    return found;
}

/* Whether each character is of one of the classes, and there is one. */
static pl_status all_of(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                        unsigned wanted)
{
    uint32_t code;
    PL_TRY(pl__jinja_bind(run, "isalpha and its like", args, NULL, NULL, 0));
    bool all = self.text->length > 0 || wanted == IS_ASCII;
    for (int64_t at = 0; at < self.text->length && all;) {
        at += pl__jinja_char(self.text, at, &code);
        all = (classes(code) & wanted) != 0;
    }
    *out = jinja_bool(all);
    return PL_OK;
}

#define ALL_OF(name, wanted)                                                  \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)                             \
    {                                                                         \
        return all_of(run, out, self, args, wanted);                          \
    }
ALL_OF(is_alpha, IS_ALPHA)
ALL_OF(is_alnum, IS_ALPHA | IS_DECIMAL | IS_DIGIT | IS_NUMERIC)
ALL_OF(is_decimal, IS_DECIMAL)
ALL_OF(is_digit, IS_DIGIT)
ALL_OF(is_numeric, IS_NUMERIC)
ALL_OF(is_space, IS_SPACE)
ALL_OF(is_ascii, IS_ASCII)

static pl_status case_is(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                         bool upper)
{
    uint32_t code;
    bool cased = false, all = true;
    PL_TRY(pl__jinja_bind(run, "isupper", args, NULL, NULL, 0));
    for (int64_t at = 0; at < self.text->length;) {
        at += pl__jinja_char(self.text, at, &code);
        const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
        if (c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL) cased = true;
        if (c == UTF8PROC_CATEGORY_LT || c == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
            all = false;
    }
    *out = jinja_bool(cased && all);
    return PL_OK;
}

static pl_status is_upper(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args)
{
    return case_is(run, out, self, args, true);
}

static pl_status is_lower(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args)
{
    return case_is(run, out, self, args, false);
}

/* Formats ------------------------------------------------------------------------------------- */

/* str.format: {}, {0}, {name}, {{ and }}, !s and !r. Nothing reaches into a value. */
static pl_status format_field(jinja_run *run, jinja_builder *b, const jinja_text *field,
                              const jinja_args *args, int64_t *next)
{
    const char *turn = memchr(field->bytes, '!', (size_t)field->length);
    const int64_t length = turn == NULL ? field->length : turn - field->bytes;
    const bool repr = turn != NULL && field->length - length == 2 && turn[1] == 'r';
    if (turn != NULL && !repr && !(field->length - length == 2 && turn[1] == 's'))
        return JINJA_FAIL(run, "format: of what can stand behind '!' s and r are known");
    int64_t place = length == 0 ? (*next)++ : 0;
    for (int64_t i = 0; i < length && place >= 0; i++)
        place = field->bytes[i] >= '0' && field->bytes[i] <= '9' && place < 1000
                    ? place * 10 + (field->bytes[i] - '0')
                    : -1;
    const jinja_value *found = place >= 0 && place < args->count ? &args->list[place] : NULL;
    for (int64_t i = 0; i < args->n_named && place < 0; i++)
        if (args->names[i]->length == length &&
            memcmp(args->names[i]->bytes, field->bytes, (size_t)length) == 0)
            found = &args->named[i];
    if (found == NULL)
        return JINJA_FAIL(run, "format: there is no value for '{%.*s}'",
                          (int)(field->length < 40 ? field->length : 40), field->bytes);
    return repr ? pl__jinja_add_repr(run, b, *found) : pl__jinja_add_str(run, b, *found);
}

static pl_status format(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args)
{
    const jinja_text *text = self.text;
    jinja_builder b = jinja_builder_of(run);
    int64_t next = 0;
    for (int64_t at = 0; at < text->length; at++) {
        const char c = text->bytes[at];
        const bool twice = at + 1 < text->length && text->bytes[at + 1] == c;
        if ((c == '{' || c == '}') && twice) {
            at++;
        } else if (c == '}') {
            return JINJA_FAIL(run, "format: a single '}'");
        } else if (c == '{') {
            const char *end = memchr(text->bytes + at, '}', (size_t)(text->length - at));
            if (end == NULL) return JINJA_FAIL(run, "format: a '{' without its '}'");
            const jinja_text field = {.bytes = text->bytes + at + 1,
                                      .length = end - text->bytes - at - 1};
            if (memchr(field.bytes, ':', (size_t)field.length) != NULL)
                return JINJA_FAIL(run, "format: what stands behind ':' is not known here");
            PL_TRY(format_field(run, &b, &field, args, &next));
            at = end - text->bytes;
            continue;
        }
        PL_TRY(pl__jinja_add_text(&b, text, at, at + 1, 0));
    }
    return built(&b, out);
}

const jinja_row pl__jinja_text_methods[] = {{"capitalize", capitalize},
                                            {"casefold", lower},
                                            {"center", center},
                                            {"count", text_count},
                                            {"endswith", endswith},
                                            {"find", find},
                                            {"format", format},
                                            {"index", text_index},
                                            {"isalnum", is_alnum},
                                            {"isalpha", is_alpha},
                                            {"isascii", is_ascii},
                                            {"isdecimal", is_decimal},
                                            {"isdigit", is_digit},
                                            {"islower", is_lower},
                                            {"isnumeric", is_numeric},
                                            {"isspace", is_space},
                                            {"isupper", is_upper},
                                            {"join", join},
                                            {"ljust", ljust},
                                            {"lower", lower},
                                            {"lstrip", lstrip},
                                            {"partition", pl__jinja_text_partition},
                                            {"removeprefix", removeprefix},
                                            {"removesuffix", removesuffix},
                                            {"replace", replace},
                                            {"rfind", rfind},
                                            {"rindex", text_rindex},
                                            {"rjust", rjust},
                                            {"rpartition", pl__jinja_text_rpartition},
                                            {"rsplit", pl__jinja_text_rsplit},
                                            {"rstrip", rstrip},
                                            {"split", pl__jinja_text_split},
                                            {"splitlines", pl__jinja_text_splitlines},
                                            {"startswith", startswith},
                                            {"strip", strip},
                                            {"swapcase", swapcase},
                                            {"title", title},
                                            {"upper", upper},
                                            {"zfill", zfill},
                                            {NULL, NULL}};

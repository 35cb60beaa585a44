/*
** normalize.c - Unicode's normal forms, UAX #15, and its lower case, with the tables of utf8proc.
**
** The canonical ordering is done here by a counting sort, since utf8proc's own is quadratic in the
** length of a run of combining marks, which a hostile text can make as long as it likes.
*/
#include "text/text.h"

#include <utf8proc.h>

#include "base/utf8.h"

typedef struct {
    utf8proc_int32_t *code, *spare;
    size_t length, room, spare_room;
} codes;

static pl_status codes_reserve(pl_ctx *ctx, codes *c, size_t more)
{
    if (c->room - c->length >= more) return PL_OK;
    size_t room = (c->length + more) * 2;
    utf8proc_int32_t *code = pl_realloc(ctx, c->code, room * sizeof *code);
    if (!code) return PL_ERR_NOMEM;
    c->code = code;
    c->room = room;
    return PL_OK;
}

/* Stable sort of each run of non-starters by combining class; spare has as many places as code. */
static void order_marks(codes *c)
{
    size_t i = 0;
    while (i < c->length) {
        if (utf8proc_get_property(c->code[i])->combining_class == 0) {
            i++;
            continue;
        }
        size_t start = i, at[257] = {0};
        for (; i < c->length; i++) {
            unsigned mark = (unsigned)utf8proc_get_property(c->code[i])->combining_class;
            if (mark == 0) break;
            at[mark + 1]++;
        }
        if (i - start == 1) continue;
        for (int k = 1; k < 257; k++) at[k] += at[k - 1];
        for (size_t j = start; j < i; j++) {
            unsigned mark = (unsigned)utf8proc_get_property(c->code[j])->combining_class;
            c->spare[at[mark]++] = c->code[j];
        }
        memcpy(c->code + start, c->spare, (i - start) * sizeof *c->code);
    }
}

/* Appends `text`, valid UTF-8 that comes from `origin`, normalized. */
static pl_status normalize_run(pl_ctx *ctx, pl__changed *out, codes *c, const char *text,
                               size_t length, pl__normal form, pl__origin origin)
{
    bool compat = form == PL__NORMAL_NFKC || form == PL__NORMAL_NFKD;
    bool compose = form == PL__NORMAL_NFC || form == PL__NORMAL_NFKC;
    int options = UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0) |
                  (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    c->length = 0;
    for (size_t at = 0; at < length;) {
        int n = pl__utf8_char(text + at, length - at), last = 0;
        PL_TRY(codes_reserve(ctx, c, 32)); /* the longest decomposition has 18 */
        utf8proc_ssize_t made =
            utf8proc_decompose_char((utf8proc_int32_t)pl__utf8_get(text + at, n),
                                    c->code + c->length, 32, (utf8proc_option_t)options, &last);
        if (made < 0 || made > 32)
            return pl__fail(ctx, PL_ERR_ARG, "normalize: %s", utf8proc_errmsg(made));
        c->length += (size_t)made;
        at += (size_t)n;
    }
    if (c->spare_room < c->room + 1) {
        utf8proc_int32_t *spare = pl_realloc(ctx, c->spare, (c->room + 1) * sizeof *spare);
        if (!spare) return PL_ERR_NOMEM;
        c->spare = spare;
        c->spare_room = c->room + 1;
    }
    order_marks(c);
    utf8proc_ssize_t kept =
        utf8proc_normalize_utf32(c->code, (utf8proc_ssize_t)c->length, (utf8proc_option_t)options);
    if (kept < 0) return pl__fail(ctx, PL_ERR_ARG, "normalize: %s", utf8proc_errmsg(kept));
    for (utf8proc_ssize_t i = 0; i < kept; i++) {
        char bytes[4];
        const int n = pl__utf8_put((uint32_t)c->code[i], bytes);
        PL_TRY(pl__changed_add(ctx, out, bytes, (size_t)n, origin));
    }
    return PL_OK;
}

/* Whether nothing before this character can join with it or change places with it, in any form. */
static bool starts_afresh(const char *text, int length)
{
    utf8proc_int32_t code[32];
    int last = 0;
    const uint32_t c = pl__utf8_get(text, length);
    if (c < 0x300) return true;
    if (utf8proc_decompose_char((utf8proc_int32_t)c, code, 32,
                                (utf8proc_option_t)(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT),
                                &last) < 1)
        return false;
    const utf8proc_property_t *p = utf8proc_get_property(code[0]);
    const bool joins = p->comb_index != UINT16_MAX && p->comb_index >= 0x8000;
    return p->combining_class == 0 && !joins && !(code[0] >= 0x1160 && code[0] <= 0x11FF);
}

/* Bytes that are normalized together: all when nobody asks where they come from, else up to the
** next character that starts afresh. */
static size_t together(const char *text, size_t run, bool traced)
{
    size_t at = traced && run > 0 ? (size_t)pl__utf8_char(text, run) : run;
    while (at < run) {
        const int n = pl__utf8_char(text + at, run - at);
        if (starts_afresh(text + at, n)) break;
        at += (size_t)n;
    }
    return at;
}

pl_status pl__normalize(pl_ctx *ctx, pl__changed *out, const pl__changed *from, pl__normal form)
{
    const char *text = from->text.data;
    codes c = {0};
    pl_status st = PL_OK;
    for (size_t start = 0; start < from->text.length && st == PL_OK;) {
        const size_t run = pl__utf8_run(text + start, from->text.length - start);
        for (size_t at = 0; at < run && st == PL_OK;) {
            const size_t n = together(text + start + at, run - at, from->traced);
            st = normalize_run(ctx, out, &c, text + start + at, n, form,
                               pl__changed_origin(from, start + at, start + at + n));
            at += n;
        }
        start += run;
        if (st == PL_OK && start < from->text.length)
            st = pl__changed_copy(ctx, out, from, start++, 1);
    }
    pl_free(ctx, c.code);
    pl_free(ctx, c.spare);
    return st;
}

pl_status pl_text_lower(pl_ctx *ctx, char **out, size_t *size, const char *text, size_t length)
{
    size_t n = 0;
    *size = 0;
    /* A character of two bytes or more becomes at most four. */
    char *lower = *out = pl_calloc(ctx, 2, length + 1);
    if (lower == NULL) return PL_ERR_NOMEM;
    for (size_t at = 0; at < length;) {
        const int bytes = pl__utf8_char(text + at, length - at);
        if (bytes <= 1) {
            const char c = text[at++];
            lower[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
            continue;
        }
        const uint32_t code = pl__utf8_get(text + at, bytes);
        n += (size_t)pl__utf8_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), lower + n);
        at += (size_t)bytes;
    }
    *size = n;
    return PL_OK;
}

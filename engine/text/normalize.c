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
    size_t length, room;
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

static pl_status normalize_run(pl_ctx *ctx, pl__buf *out, codes *c, const char *text, size_t length,
                               pl__normal form)
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
    utf8proc_int32_t *spare = pl_realloc(ctx, c->spare, (c->room + 1) * sizeof *spare);
    if (!spare) return PL_ERR_NOMEM;
    c->spare = spare;
    order_marks(c);
    utf8proc_ssize_t kept =
        utf8proc_normalize_utf32(c->code, (utf8proc_ssize_t)c->length, (utf8proc_option_t)options);
    if (kept < 0) return pl__fail(ctx, PL_ERR_ARG, "normalize: %s", utf8proc_errmsg(kept));
    PL_TRY(pl__buf_reserve(ctx, out, (size_t)kept * 4));
    for (utf8proc_ssize_t i = 0; i < kept; i++)
        out->length += (size_t)pl__utf8_put((uint32_t)c->code[i], out->data + out->length);
    return PL_OK;
}

pl_status pl__normalize(pl_ctx *ctx, pl__buf *out, const char *text, size_t length, pl__normal form)
{
    /* Below U+0300 (lead byte 0xCC) everything is its own NFC. */
    bool plain = form == PL__NORMAL_NONE;
    if (form == PL__NORMAL_NFC) {
        size_t i = 0;
        while (i < length && (unsigned char)text[i] < 0xCC) i++;
        plain = i == length;
    }
    if (plain) return pl__buf_add(ctx, out, text, length);

    codes c = {0};
    pl_status st = PL_OK;
    for (size_t at = 0; at < length && st == PL_OK;) {
        size_t run = pl__utf8_run(text + at, length - at);
        st = run > 0 ? normalize_run(ctx, out, &c, text + at, run, form)
                     : pl__buf_add(ctx, out, text + at, 1);
        at += run > 0 ? run : 1;
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

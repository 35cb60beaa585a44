/*
** utf8.c - characters: UTF-8 well-formedness, GPT-2's printable byte alphabet, normal forms.
**
** UTF-8 as in the Unicode standard's table 3-7: no surrogates, no overlong forms, at most U+10FFFF.
** Text that is not UTF-8 is not an error here: callers treat each stray byte by itself.
**
** Normal forms follow UAX #15 with the tables of utf8proc. The canonical ordering is done here by a
** counting sort, since utf8proc's own is quadratic in the length of a run of combining marks, which
** a hostile text can make as long as it likes.
*/
#include "text/text.h"

#include <utf8proc.h>

/* ------------------------------------------------------------------------------------------- */

/* Lead byte to length and the permitted range of the second byte; length 0: no lead byte. */
static int lead_byte(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return 2;
    if (c < 0xF0) {
        if (c == 0xE0) *low = 0xA0;
        if (c == 0xED) *high = 0x9F;
        return 3;
    }
    if (c < 0xF5) {
        if (c == 0xF0) *low = 0x90;
        if (c == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

/* How many bytes of the character at `text` are there and well-formed; *need is its full length. */
static int well_formed(const char *text, size_t length, int *need)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    *need = length > 0 ? lead_byte(s[0], &low, &high) : 0;
    if (*need == 0) return 0;
    int n = 1;
    while (n < *need && (size_t)n < length && s[n] >= low && s[n] <= high) {
        low = 0x80;
        high = 0xBF;
        n++;
    }
    return n;
}

int pl__utf8_char(const char *text, size_t length)
{
    int need, have = well_formed(text, length, &need);
    return have == need ? have : 0;
}

size_t pl__utf8_run(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        int n = pl__utf8_char(text + at, length - at);
        if (n == 0) break;
        at += (size_t)n;
    }
    return at;
}

size_t pl__utf8_unfinished(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char c = (unsigned char)text[length - back];
        if (c < 0x80) return 0;
        if (c >= 0xC0) {
            int need, have = well_formed(text + length - back, back, &need);
            return (size_t)have == back && have < need ? back : 0;
        }
    }
    return 0;
}

int pl__utf8_put(uint32_t code, char out[4])
{
    return (int)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

uint32_t pl__utf8_get(const char *text, int length)
{
    static const unsigned char lead_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)text[0] & lead_mask[length];
    for (int i = 1; i < length; i++) code = (code << 6) | ((unsigned char)text[i] & 0x3F);
    return code;
}

/* -------------------------------------------------------------------------------------------
** The alphabet: printable Latin-1 bytes stand for themselves, the 68 others, in order, for the
** code points from 256 on.
*/
uint32_t pl__alphabet_char(unsigned byte)
{
    if (byte <= 32) return 256 + byte;
    if (byte >= 127 && byte <= 160) return 256 + 33 + (byte - 127);
    if (byte == 173) return 256 + 67;
    return byte;
}

int pl__alphabet_byte(uint32_t code)
{
    if (code >= 256 && code <= 288) return (int)(code - 256);
    if (code >= 289 && code <= 322) return (int)(code - 289) + 127;
    if (code == 323) return 173;
    if (code > 255 || code <= 32 || code == 173 || (code >= 127 && code <= 160)) return -1;
    return (int)code;
}

/* ------------------------------------------------------------------------------------------- */

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

static pl_status normalize_run(pl_ctx *ctx, pl__buf *out, codes *c, const char *text,
                               size_t length, pl__normal form)
{
    bool compat = form == PL__NORMAL_NFKC || form == PL__NORMAL_NFKD;
    bool compose = form == PL__NORMAL_NFC || form == PL__NORMAL_NFKC;
    int options = UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0) |
                  (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    c->length = 0;
    for (size_t at = 0; at < length;) {
        int n = pl__utf8_char(text + at, length - at), last = 0;
        PL_TRY(codes_reserve(ctx, c, 32)); /* the longest decomposition has 18 */
        utf8proc_ssize_t made = utf8proc_decompose_char(
            (utf8proc_int32_t)pl__utf8_get(text + at, n), c->code + c->length, 32,
            (utf8proc_option_t)options, &last);
        if (made < 0 || made > 32)
            return pl__fail(ctx, PL_ERR_ARG, "normalize: %s", utf8proc_errmsg(made));
        c->length += (size_t)made;
        at += (size_t)n;
    }
    utf8proc_int32_t *spare = pl_realloc(ctx, c->spare, (c->room + 1) * sizeof *spare);
    if (!spare) return PL_ERR_NOMEM;
    c->spare = spare;
    order_marks(c);
    utf8proc_ssize_t kept = utf8proc_normalize_utf32(c->code, (utf8proc_ssize_t)c->length,
                                                     (utf8proc_option_t)options);
    if (kept < 0) return pl__fail(ctx, PL_ERR_ARG, "normalize: %s", utf8proc_errmsg(kept));
    PL_TRY(pl__buf_reserve(ctx, out, (size_t)kept * 4));
    for (utf8proc_ssize_t i = 0; i < kept; i++)
        out->length += (size_t)pl__utf8_put((uint32_t)c->code[i], out->data + out->length);
    return PL_OK;
}

pl_status pl__normalize(pl_ctx *ctx, pl__buf *out, const char *text, size_t length,
                        pl__normal form)
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

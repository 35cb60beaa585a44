/*
** normalizer.c - the steps that change a text before it is cut into words, as tokenizer.json
** names them: normal forms, maps of characters, BERT's cleaning, lower case, marks, white
** space, replacing.
**
** Each step reads one text and writes another; two buffers take turns. A stray byte of
** invalid UTF-8 passes every step as itself.
*/
#include "text/text.h"

#include <utf8proc.h>

#include "base/utf8.h"

pl_status pl__norm_add(pl_tokenizer *tok, pl__norm_step step, const char *where)
{
    if (tok->n_norm < PL_TEXT_MAX_STEPS) {
        tok->norm[tok->n_norm++] = step;
        return PL_OK;
    }
    pcre2_code_free(step.code);
    pl_free(tok->ctx, step.text);
    return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: a normalizer of more than %d steps", where,
                    PL_TEXT_MAX_STEPS);
}

void pl__norm_free(pl_tokenizer *tok)
{
    for (int i = 0; i < tok->n_norm; i++) {
        pcre2_code_free(tok->norm[i].code);
        pl_free(tok->ctx, tok->norm[i].text);
    }
    pl__changed_free(tok->ctx, &tok->changed[0]);
    pl__changed_free(tok->ctx, &tok->changed[1]);
}

bool pl__norm_leaves(const pl_tokenizer *tok, const char *text, size_t length)
{
    if (tok->n_norm == 0) return true;
    if (tok->n_norm > 1 || tok->norm[0].kind != PL__STEP_FORM ||
        tok->norm[0].form != PL__NORMAL_NFC)
        return false;
    size_t i = 0; /* below U+0300 (lead byte 0xCC) everything is its own NFC */
    while (i < length && (unsigned char)text[i] < 0xCC) i++;
    return i == length;
}

/* ------------------------------------------------------------------------------------------- */

bool pl__is_white(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool pl__is_word_char(uint32_t c)
{
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '_' ||
               (c >= 'a' && c <= 'z');
    if (c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
        (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
        (c >= 0x1F170 && c <= 0x1F189))
        return true;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
    }
}

static bool is_mark(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

static bool is_chinese(uint32_t c)
{
    static const uint32_t range[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                        {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                        {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (c >= range[i][0] && c <= range[i][1]) return true;
    return false;
}

/* BERT's cleaning drops these; a private one too, an unassigned one not. */
static bool is_other(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r') return false;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS: return true;
    default: return false;
    }
}

/* ------------------------------------------------------------------------------------------- */

/* A character in place of `from`'s bytes [at, at + length). */
static pl_status put_char(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t at,
                          int length, uint32_t code)
{
    char bytes[4];
    const int n = pl__utf8_put(code, bytes);
    return pl__changed_add(ctx, out, bytes, (size_t)n,
                           pl__changed_origin(from, at, at + (size_t)length));
}

static pl_status lower(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t at, int n,
                       uint32_t c)
{
    if (c < 'A' || (c > 'Z' && c < 0x80)) return pl__changed_copy(ctx, out, from, at, (size_t)n);
    PL_TRY(put_char(ctx, out, from, at, n,
                    c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c)));
    return c == 0x130 ? put_char(ctx, out, from, at, n, 0x307) : PL_OK;
}

static pl_status bert(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t at, int n,
                      uint32_t c, const pl__norm_step *step)
{
    if (step->clean && (c == 0 || c == 0xFFFD || is_other(c))) return PL_OK;
    if (step->clean && pl__is_white(c)) return put_char(ctx, out, from, at, n, ' ');
    if (!step->chinese || !is_chinese(c)) return pl__changed_copy(ctx, out, from, at, (size_t)n);
    PL_TRY(put_char(ctx, out, from, at, n, ' '));
    PL_TRY(pl__changed_copy(ctx, out, from, at, (size_t)n));
    return put_char(ctx, out, from, at, n, ' ');
}

static pl_status nmt(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t at, int n,
                     uint32_t c)
{
    const bool dropped = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                         c == 0x8F || c == 0x9F;
    const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    if (dropped) return PL_OK;
    return space ? put_char(ctx, out, from, at, n, ' ')
                 : pl__changed_copy(ctx, out, from, at, (size_t)n);
}

/* The steps that look at one character at a time. */
static pl_status by_chars(pl_ctx *ctx, pl__changed *out, const pl__changed *from,
                          const pl__norm_step *step)
{
    const char *text = from->text.data;
    for (size_t at = 0; at < from->text.length;) {
        const int n = pl__utf8_char(text + at, from->text.length - at);
        const uint32_t c = n > 0 ? pl__utf8_get(text + at, n) : 0;
        pl_status st;
        if (n == 0) st = pl__changed_copy(ctx, out, from, at, 1);
        else if (step->kind == PL__STEP_LOWER) st = lower(ctx, out, from, at, n, c);
        else if (step->kind == PL__STEP_BERT) st = bert(ctx, out, from, at, n, c, step);
        else if (step->kind == PL__STEP_NMT) st = nmt(ctx, out, from, at, n, c);
        else if (step->left ? utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN
                            : is_mark(c)) /* marks: those without a width alone, or all */
            st = PL_OK;
        else st = pl__changed_copy(ctx, out, from, at, (size_t)n);
        PL_TRY(st);
        at += n > 0 ? (size_t)n : 1;
    }
    return PL_OK;
}

/* Bytes of white space that `text` begins with. */
static size_t white_run(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        const int n = pl__utf8_char(text + at, length - at);
        if (n == 0 || !pl__is_white(pl__utf8_get(text + at, n))) break;
        at += (size_t)n;
    }
    return at;
}

static pl_status strip(pl_ctx *ctx, pl__changed *out, const pl__changed *from,
                       const pl__norm_step *step)
{
    const char *text = from->text.data;
    size_t start = step->left ? white_run(text, from->text.length) : 0, end = from->text.length;
    while (step->right && end > start) {
        size_t back = 1;
        while (back < 3 && back < end - start && ((unsigned char)text[end - back] & 0xC0) == 0x80)
            back++;
        if (white_run(text + end - back, back) != back) break;
        end -= back;
    }
    return pl__changed_copy(ctx, out, from, start, end - start);
}

static pl_status replace(pl_tokenizer *tok, pl__changed *out, const pl__changed *from,
                         const pl__norm_step *step)
{
    pl_ctx *ctx = tok->ctx;
    const char *text = from->text.data;
    for (size_t start = 0; start < from->text.length;) { /* stretches of valid UTF-8 */
        const size_t run = pl__utf8_run(text + start, from->text.length - start);
        size_t at = 0, done = 0, a, b;
        bool found = run > 0;
        while (found && at <= run) {
            PL_TRY(pl__regex_find(tok, step->code, text + start, run, at, &a, &b, &found));
            if (!found) break;
            PL_TRY(pl__changed_copy(ctx, out, from, start + done, a - done));
            const size_t end = b > a ? b : a < run ? a + 1 : run; /* an origin has a byte */
            PL_TRY(pl__changed_add(
                ctx, out, step->text, step->length,
                pl__changed_origin(from, start + (a < end ? a : end - 1), start + end)));
            done = b;
            at = b > a     ? b
                 : a < run ? a + (size_t)pl__utf8_char(text + start + a, run - a)
                           : run + 1;
        }
        PL_TRY(pl__changed_copy(ctx, out, from, start + done, run - done));
        start += run;
        if (start < from->text.length) PL_TRY(pl__changed_copy(ctx, out, from, start++, 1));
    }
    return PL_OK;
}

static pl_status prepend(pl_ctx *ctx, pl__changed *out, const pl__changed *from,
                         const pl__norm_step *step)
{
    if (from->text.length == 0) return PL_OK;
    const int first = pl__utf8_char(from->text.data, from->text.length);
    PL_TRY(pl__changed_add(ctx, out, step->text, step->length,
                           pl__changed_origin(from, 0, first > 0 ? (size_t)first : 1)));
    return pl__changed_copy(ctx, out, from, 0, from->text.length);
}

static pl_status run_step(pl_tokenizer *tok, pl__changed *out, const pl__changed *from,
                          const pl__norm_step *step, bool continued)
{
    pl_ctx *ctx = tok->ctx;
    switch (step->kind) {
    case PL__STEP_FORM: return pl__normalize(ctx, out, from, step->form);
    case PL__STEP_CHARSMAP:
        return pl__charsmap_run(ctx, out, from, step->text, step->length, step->longest);
    case PL__STEP_STRIP: return strip(ctx, out, from, step);
    case PL__STEP_REPLACE: return replace(tok, out, from, step);
    case PL__STEP_PREPEND:
        return continued ? pl__changed_copy(ctx, out, from, 0, from->text.length)
                         : prepend(ctx, out, from, step);
    default: return by_chars(ctx, out, from, step);
    }
}

pl_status pl__norm_run(pl_tokenizer *tok, const char *text, size_t length, size_t base, bool traced,
                       bool continued, pl__changed **out)
{
    pl__changed *from = &tok->changed[0], *to = &tok->changed[1];
    pl__changed_empty(from, traced);
    PL_TRY(pl__buf_reserve(tok->ctx, &from->text, length + 1));
    for (size_t i = 0; traced && i < length; i++) {
        const uint32_t at = (uint32_t)(base + i);
        PL_TRY(pl__changed_add(tok->ctx, from, text + i, 1, (pl__origin){at, at + 1}));
    }
    if (!traced) PL_TRY(pl__changed_add(tok->ctx, from, text, length, (pl__origin){0, 0}));
    for (int i = 0; i < tok->n_norm; i++) {
        pl__changed_empty(to, traced);
        PL_TRY(pl__buf_reserve(tok->ctx, &to->text, 1)); /* its data are never NULL */
        PL_TRY(run_step(tok, to, from, &tok->norm[i], continued));
        pl__changed *swap = from;
        from = to;
        to = swap;
    }
    *out = from;
    return PL_OK;
}

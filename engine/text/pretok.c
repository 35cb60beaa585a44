/*
** pretok.c - cutting text into words before merging: regular expressions, by pcre2 with its JIT.
**
** A pre-tokenizer is a chain of cuts. Each cut runs a pattern over every piece the cut before left
** and keeps the matches, the gaps between them, or both. Patterns see valid UTF-8 only: a byte that
** is none is a piece by itself, so it meets the merge loop alone and comes back as itself.
**
** Patterns are written for Oniguruma, which Hugging Face's tokenizers use. What differs is written
** out: \s (pcre2's also takes U+180E, no white space since Unicode 6.3) and \w (pcre2's lacks marks
** and connectors but "_"). Characters newer than pcre2's tables count as unassigned.
*/
#include "text/text.h"

#include "base/utf8.h"

/* GPT-2's: contractions, letters, digits, others, each with one space in front; the white space
** before a word without its last character; white space. */
const char pl__gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                "|\\s+(?!\\S)|\\s+";

#define WHITE_SPACE                                                        \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
    "\\x{202F}\\x{205F}\\x{3000}"

#define WORD PL_TEXT_WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" /* Oniguruma adds these */

/* ------------------------------------------------------------------------------------------- */

static void *regex_alloc(size_t bytes, void *ctx)
{
    return pl_alloc(ctx, bytes);
}

static void regex_free(void *block, void *ctx)
{
    pl_free(ctx, block);
}

static pl_status regex_open(pl_tokenizer *tok)
{
    if (tok->regex_match) return PL_OK;
    if (!tok->regex_memory)
        tok->regex_memory = pcre2_general_context_create(regex_alloc, regex_free, tok->ctx);
    if (tok->regex_memory && !tok->regex_context)
        tok->regex_context = pcre2_match_context_create(tok->regex_memory);
    if (tok->regex_context && !tok->regex_stack)
        tok->regex_stack = pcre2_jit_stack_create(32 * 1024, 4 * 1024 * 1024, tok->regex_memory);
    if (!tok->regex_stack) return PL_ERR_NOMEM;
    pcre2_jit_stack_assign(tok->regex_context, NULL, tok->regex_stack);
    tok->regex_match = pcre2_match_data_create(1, tok->regex_memory);
    return tok->regex_match ? PL_OK : PL_ERR_NOMEM;
}

void pl__steps_free(pl_tokenizer *tok)
{
    for (int i = 0; i < tok->n_steps; i++) pcre2_code_free(tok->step[i].code);
    pcre2_match_data_free(tok->regex_match);
    pcre2_jit_stack_free(tok->regex_stack);
    pcre2_match_context_free(tok->regex_context);
    pcre2_general_context_free(tok->regex_memory);
}

/* What \s, \S, \w and \W are written as; NULL for every other escape. A negated one inside a class
** stays: it cannot be written out there. */
static const char *written_out(char letter, bool in_class)
{
    switch (letter) {
    case 's': return in_class ? WHITE_SPACE : "[" WHITE_SPACE "]";
    case 'w': return in_class ? WORD : "[" WORD "]";
    case 'S': return in_class ? NULL : "[^" WHITE_SPACE "]";
    case 'W': return in_class ? NULL : "[^" WORD "]";
    default: return NULL;
    }
}

/* Copies the pattern with those escapes written out. */
static pl_status rewrite(pl_ctx *ctx, pl__buf *out, const char *pattern, size_t length)
{
    bool in_class = false;
    for (size_t i = 0; i < length; i++) {
        char c = pattern[i], next = i + 1 < length ? pattern[i + 1] : '\0';
        const char *text = c == '\\' ? written_out(next, in_class) : NULL;
        if (text) {
            PL_TRY(pl__buf_add(ctx, out, text, strlen(text)));
            i++;
        } else if (c == '\\' && i + 1 < length) {
            PL_TRY(pl__buf_add(ctx, out, pattern + i, 2));
            i++;
        } else if (in_class && c == '[' && next == ':') { /* [:name:] */
            PL_TRY(pl__buf_add(ctx, out, pattern + i, 2));
            for (i += 2; i < length && pattern[i] != ']'; i++)
                PL_TRY(pl__buf_add(ctx, out, pattern + i, 1));
            if (i < length) PL_TRY(pl__buf_add(ctx, out, pattern + i, 1));
        } else {
            if (c == '[') in_class = true;
            if (c == ']') in_class = false;
            PL_TRY(pl__buf_add(ctx, out, &c, 1));
        }
    }
    return PL_OK;
}

pl_status pl__step_add(pl_tokenizer *tok, const char *pattern, size_t length, bool literal,
                       bool keep_match, bool keep_gap, const char *where)
{
    pl_ctx *ctx = tok->ctx;
    if (tok->n_steps == PL_TEXT_MAX_STEPS)
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: a pre-tokenizer of more than %d steps", where,
                        PL_TEXT_MAX_STEPS);
    PL_TRY(regex_open(tok));
    pl__buf text = {0};
    pl_status st = PL_OK;
    pcre2_compile_context *compile = pcre2_compile_context_create(tok->regex_memory);
    if (!compile) return PL_ERR_NOMEM;
    PL_GO(literal ? pl__buf_add(ctx, &text, pattern, length)
                  : rewrite(ctx, &text, pattern, length));
    int error = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text.data, text.length, options, &error, &at, compile);
    if (!code) {
        char why[160];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        st = error == PCRE2_ERROR_NOMEMORY || error == 121
                 ? PL_ERR_NOMEM
                 : pl__fail(ctx, PL_ERR_FORMAT, "%s: pre-tokenizer pattern '%.*s': %s", where,
                            (int)(length < 200 ? length : 200), pattern, why);
        goto done;
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without a JIT the matcher interprets */
    tok->step[tok->n_steps++] = (pl__step){code, keep_match, keep_gap};
done:
    pl__buf_free(ctx, &text);
    pcre2_compile_context_free(compile);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

pl_status pl__pieces_add(pl_ctx *ctx, pl__pieces *pieces, size_t start, size_t length)
{
    if (length == 0) return PL_OK;
    if (pieces->count == pieces->room) {
        int64_t room = pieces->room * 2 + 256;
        pl__piece *data = pl_realloc(ctx, pieces->data, (size_t)room * sizeof *data);
        if (!data) return PL_ERR_NOMEM;
        pieces->data = data;
        pieces->room = room;
    }
    pieces->data[pieces->count++] = (pl__piece){(uint32_t)start, (uint32_t)length};
    return PL_OK;
}

static pl_status cut(pl_tokenizer *tok, const pl__step *step, pl__pieces *out, const char *text,
                     pl__piece piece)
{
    pl_ctx *ctx = tok->ctx;
    const char *subject = text + piece.start;
    size_t length = piece.length, at = 0, gap = 0;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(tok->regex_match);
    for (int64_t turns = 1; at < length; turns++) {
        if ((turns & 0x3FFF) == 0) PL_TRY(pl__check_interrupt(ctx));
        int n = pcre2_match(step->code, (PCRE2_SPTR)subject, length, at, PCRE2_NO_UTF_CHECK,
                            tok->regex_match, tok->regex_context);
        if (n == PCRE2_ERROR_NOMATCH) break;
        if (n == PCRE2_ERROR_NOMEMORY) return PL_ERR_NOMEM;
        if (n < 0) {
            char why[160];
            pcre2_get_error_message(n, (PCRE2_UCHAR *)why, sizeof why);
            return pl__fail(ctx, PL_ERR_ARG,
                            "encode: the pre-tokenizer's pattern gave up %zu bytes into a text of "
                            "%zu: %s",
                            at, length, why);
        }
        size_t from = found[0], to = found[1];
        if (to <= from) { /* an empty match cuts nothing */
            at = from < at ? at : from;
            if (at < length) at += (size_t)pl__utf8_char(subject + at, length - at);
            continue;
        }
        if (step->keep_gap) PL_TRY(pl__pieces_add(ctx, out, piece.start + gap, from - gap));
        if (step->keep_match) PL_TRY(pl__pieces_add(ctx, out, piece.start + from, to - from));
        at = gap = to;
    }
    return step->keep_gap ? pl__pieces_add(ctx, out, piece.start + gap, length - gap) : PL_OK;
}

pl_status pl__steps_run(pl_tokenizer *tok, const char *text, size_t length, const pl__pieces **out)
{
    pl__pieces *from = &tok->pieces[0], *to = &tok->pieces[1];
    if (length > INT32_MAX / 2)
        return pl__fail(tok->ctx, PL_ERR_ARG, "encode: one text of %zu bytes; cut it below 1 GB",
                        length);
    from->count = 0;
    for (size_t at = 0; at < length;) {
        size_t run = tok->n_steps > 0 ? pl__utf8_run(text + at, length - at) : length;
        PL_TRY(pl__pieces_add(tok->ctx, from, at, run));
        at += run;
        if (at < length) PL_TRY(pl__pieces_add(tok->ctx, from, at++, 1));
    }
    for (int i = 0; i < tok->n_steps; i++) {
        to->count = 0;
        for (int64_t k = 0; k < from->count; k++) {
            pl__piece piece = from->data[k];
            bool stray = piece.length == 1 && (unsigned char)text[piece.start] >= 0x80;
            PL_TRY(stray ? pl__pieces_add(tok->ctx, to, piece.start, 1)
                         : cut(tok, &tok->step[i], to, text, piece));
        }
        pl__pieces *swap = from;
        from = to;
        to = swap;
    }
    *out = from;
    return PL_OK;
}

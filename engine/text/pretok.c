/*
** pretok.c - cutting text into words before merging: regular expressions, by pcre2 with its JIT.
**
** A pre-tokenizer is a chain of steps. A cut runs a pattern over every piece the step before
** left, and its behaviour says what becomes of the matches and of the gaps between them;
** other steps put white space in front of pieces, or write them in another alphabet. Patterns
** see valid UTF-8 only: a byte that is none is a piece by itself, so it meets the model alone
** and comes back as itself.
**
** Patterns are written for Oniguruma, which Hugging Face's tokenizers use: ^ and $ stand at
** every line. What differs is written out: \s (pcre2's also takes U+180E, no white space
** since Unicode 6.3) and \w (pcre2's lacks marks and connectors but "_"). Characters newer
** than pcre2's tables count as unassigned.
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
    pl__changed_free(tok->ctx, &tok->stepped[0]);
    pl__changed_free(tok->ctx, &tok->stepped[1]);
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

pl_status pl__regex_new(pl_tokenizer *tok, pcre2_code **out, const char *pattern, size_t length,
                        bool literal, const char *where)
{
    const uint32_t flags = PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE | PCRE2_MULTILINE;
    pl_ctx *ctx = tok->ctx;
    *out = NULL;
    PL_TRY(regex_open(tok));
    pl__buf text = {0};
    pl_status st = PL_OK;
    pcre2_compile_context *compile = pcre2_compile_context_create(tok->regex_memory);
    if (!compile) return PL_ERR_NOMEM;
    pcre2_set_newline(compile, PCRE2_NEWLINE_LF);
    PL_GO(literal ? pl__buf_add(ctx, &text, pattern, length)
                  : rewrite(ctx, &text, pattern, length));
    PL_GO(pl__buf_reserve(ctx, &text, 1));
    int error = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : flags);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text.data, text.length, options, &error, &at, compile);
    if (!code) {
        char why[160];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        st = error == PCRE2_ERROR_NOMEMORY || error == 121
                 ? PL_ERR_NOMEM
                 : pl__fail(ctx, PL_ERR_FORMAT, "%s: pattern '%.*s': %s", where,
                            (int)(length < 200 ? length : 200), pattern, why);
        goto done;
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without a JIT the matcher interprets */
    *out = code;
done:
    pl__buf_free(ctx, &text);
    pcre2_compile_context_free(compile);
    return st;
}

pl_status pl__regex_find(pl_tokenizer *tok, const pcre2_code *code, const char *text, size_t length,
                         size_t at, size_t *from, size_t *to, bool *found)
{
    int n = pcre2_match(code, (PCRE2_SPTR)text, length, at, PCRE2_NO_UTF_CHECK, tok->regex_match,
                        tok->regex_context);
    *found = n >= 0;
    if (n == PCRE2_ERROR_NOMATCH) return PL_OK;
    if (n == PCRE2_ERROR_NOMEMORY) return PL_ERR_NOMEM;
    if (n < 0) {
        char why[160];
        pcre2_get_error_message(n, (PCRE2_UCHAR *)why, sizeof why);
        return pl__fail(tok->ctx, PL_ERR_ARG,
                        "encode: a pattern of the tokenizer gave up %zu bytes into a text of %zu: "
                        "%s",
                        at, length, why);
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(tok->regex_match);
    *from = place[0] < at ? at : place[0]; /* \K and lookbehind can begin before */
    *to = place[1] < *from ? *from : place[1];
    return PL_OK;
}

pl_status pl__step_put(pl_tokenizer *tok, pl__step step, const char *where)
{
    if (tok->n_steps < PL_TEXT_MAX_STEPS) {
        tok->step[tok->n_steps++] = step;
        return PL_OK;
    }
    pcre2_code_free(step.code);
    return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: a pre-tokenizer of more than %d steps", where,
                    PL_TEXT_MAX_STEPS);
}

pl_status pl__step_add(pl_tokenizer *tok, const char *pattern, size_t length, bool literal,
                       pl__behavior behavior, bool invert, const char *where)
{
    pl__step step = {.kind = PL__STEP_CUT, .behavior = behavior, .invert = invert};
    PL_TRY(pl__regex_new(tok, &step.code, pattern, length, literal, where));
    return pl__step_put(tok, step, where);
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

/* Where a piece is cut: what came last, and where its part of `out` begins. */
typedef struct {
    const pl__step *step;
    pl__pieces *out;
    int64_t first;     /* of the piece at hand, in `out` */
    bool match_before; /* the part before was a match */
} cutter;

/* Takes the next part, a match or a gap, bytes [start, end). */
static pl_status take(pl_ctx *ctx, cutter *c, size_t start, size_t end, bool match)
{
    match = match != c->step->invert;
    const bool before = c->match_before, any = c->out->count > c->first;
    c->match_before = match;
    pl__piece *last = any ? &c->out->data[c->out->count - 1] : NULL;
    bool joins = false;
    switch (c->step->behavior) {
    case PL__REMOVED: return match ? PL_OK : pl__pieces_add(ctx, c->out, start, end - start);
    case PL__ISOLATED: break;
    case PL__MERGED_WITH_PREVIOUS: joins = match && !before; break;
    case PL__MERGED_WITH_NEXT: joins = !match && before; break;
    case PL__CONTIGUOUS: joins = match == before; break;
    }
    if (!joins || !last) return pl__pieces_add(ctx, c->out, start, end - start);
    last->length = (uint32_t)(end - last->start);
    return PL_OK;
}

static pl_status cut(pl_tokenizer *tok, const pl__step *step, pl__pieces *out, const char *text,
                     pl__piece piece)
{
    pl_ctx *ctx = tok->ctx;
    const char *subject = text + piece.start;
    const size_t length = piece.length, base = piece.start;
    cutter c = {step, out, out->count, false};
    size_t at = 0, done = 0, from, to;
    bool found, matched = false;
    for (int64_t turns = 1; at < length; turns++) {
        if ((turns & 0x3FFF) == 0) PL_TRY(pl__check_interrupt(ctx));
        PL_TRY(pl__regex_find(tok, step->code, subject, length, at, &from, &to, &found));
        if (!found) break;
        if (to > from || from > done || !matched) { /* an empty one right behind a match is none */
            if (from > done) PL_TRY(take(ctx, &c, base + done, base + from, false));
            PL_TRY(take(ctx, &c, base + from, base + to, true));
            done = to;
            matched = true;
        }
        at = to > from ? to : from;
        if (to == from && at < length) {
            const int n = pl__utf8_char(subject + at, length - at);
            at += n > 0 ? (size_t)n : 1;
        }
    }
    return done < length ? take(ctx, &c, base + done, base + length, false) : PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

static pl__origin origin_of(const pl__run *run, size_t at)
{
    if (run->origin) return run->origin[at];
    return (pl__origin){(uint32_t)(run->base + at), (uint32_t)(run->base + at + 1)};
}

/* What is put in front of a piece comes from its first character. */
static pl__origin front_of(const pl__run *run, pl__piece piece)
{
    const int n = pl__utf8_char(run->text + piece.start, piece.length);
    pl__origin origin = origin_of(run, piece.start);
    if (n > 1) origin.end = origin_of(run, piece.start + (size_t)n - 1).end;
    return origin;
}

/* Whether a piece begins where the whole text does. */
static bool is_first(const pl__run *run, pl__piece piece)
{
    return origin_of(run, piece.start).start == 0;
}

/* Appends a piece of the run's text as "▁" in front and for spaces say. */
static pl_status put_metaspace(pl__run *run, pl__changed *out, pl__piece piece,
                               const pl__step *step)
{
    static const char block[] = "\xE2\x96\x81";
    pl_ctx *ctx = run->tok->ctx;
    const char *text = run->text + piece.start;
    const bool there = text[0] == ' ' || (piece.length >= 3 && !memcmp(text, block, 3));
    const bool front = step->prefix && !there && !(run->continued && piece.start == 0) &&
                       (!step->first_only || is_first(run, piece));
    if (front) PL_TRY(pl__changed_add(ctx, out, block, 3, front_of(run, piece)));
    for (size_t i = 0; i < piece.length; i++) {
        const bool space = text[i] == ' ';
        PL_TRY(pl__changed_add(ctx, out, space ? block : text + i, space ? 3 : 1,
                               origin_of(run, piece.start + i)));
    }
    return PL_OK;
}

static pl_status put_space(pl__run *run, pl__changed *out, pl__piece piece)
{
    pl_ctx *ctx = run->tok->ctx;
    const char *text = run->text + piece.start;
    if (text[0] != ' ' && !(run->continued && piece.start == 0))
        PL_TRY(pl__changed_add(ctx, out, " ", 1, front_of(run, piece)));
    for (size_t i = 0; i < piece.length; i++)
        PL_TRY(pl__changed_add(ctx, out, text + i, 1, origin_of(run, piece.start + i)));
    return PL_OK;
}

static pl_status put_alphabet(pl__run *run, pl__changed *out, pl__piece piece)
{
    for (size_t i = 0; i < piece.length; i++) {
        char bytes[4];
        const size_t at = piece.start + i;
        const int n = pl__utf8_put(pl__alphabet_char((unsigned char)run->text[at]), bytes);
        PL_TRY(pl__changed_add(run->tok->ctx, out, bytes, (size_t)n, origin_of(run, at)));
    }
    return PL_OK;
}

static pl_status put_bytes(pl__run *run, pl__changed *out, pl__piece piece)
{
    for (size_t i = 0; i < piece.length;) {
        const size_t at = piece.start + i;
        const int n = pl__utf8_char(run->text + at, piece.length - i);
        const char byte = (char)pl__alphabet_byte(pl__utf8_get(run->text + at, n));
        PL_TRY(pl__changed_add(run->tok->ctx, out, &byte, 1, origin_of(run, at)));
        i += (size_t)n;
    }
    return PL_OK;
}

/* "▁" starts a word: each is cut off with what follows it. */
static pl_status cut_at_blocks(pl_ctx *ctx, pl__pieces *out, const char *text, size_t start,
                               size_t end)
{
    size_t from = start;
    for (size_t i = start; i + 3 <= end; i++) {
        if (i == from || memcmp(text + i, "\xE2\x96\x81", 3) != 0) continue;
        PL_TRY(pl__pieces_add(ctx, out, from, i - from));
        from = i;
    }
    return pl__pieces_add(ctx, out, from, end - from);
}

/* A byte that is no UTF-8: no pattern may see it, and nothing is put beside it. */
static bool is_stray(const char *text, pl__piece piece)
{
    return piece.length == 1 && (unsigned char)text[piece.start] >= 0x80;
}

/* A step that changes the text: the run's text is a new one afterwards. */
static pl_status change(pl__run *run, const pl__step *step, const pl__pieces *from, pl__pieces *to)
{
    pl_tokenizer *tok = run->tok;
    pl__changed *out = &tok->stepped[run->text == tok->stepped[0].text.data];
    pl__changed_empty(out, run->wants_spans || tok->traced);
    PL_TRY(pl__buf_reserve(tok->ctx, &out->text, 1));
    for (int64_t k = 0; k < from->count; k++) {
        const pl__piece piece = from->data[k];
        const size_t start = out->text.length;
        const bool stray = is_stray(run->text, piece) && step->kind != PL__STEP_ALPHABET;
        if (stray)
            PL_TRY(pl__changed_add(tok->ctx, out, run->text + piece.start, 1,
                                   origin_of(run, piece.start)));
        switch (stray ? PL__STEP_CUT : step->kind) {
        case PL__STEP_CUT: break;
        case PL__STEP_METASPACE: PL_TRY(put_metaspace(run, out, piece, step)); break;
        case PL__STEP_SPACE: PL_TRY(put_space(run, out, piece)); break;
        case PL__STEP_ALPHABET: PL_TRY(put_alphabet(run, out, piece)); break;
        default: PL_TRY(put_bytes(run, out, piece)); break;
        }
        if (out->text.length > INT32_MAX / 2)
            return pl__fail(tok->ctx, PL_ERR_ARG, "encode: one text over 1 GB; cut it");
        PL_TRY(step->split ? cut_at_blocks(tok->ctx, to, out->text.data, start, out->text.length)
                           : pl__pieces_add(tok->ctx, to, start, out->text.length - start));
    }
    run->text = out->text.data;
    run->origin = out->traced ? out->origin : NULL;
    run->base = 0;
    return PL_OK;
}

pl_status pl__steps_run(pl__run *run, size_t length, const pl__pieces **out)
{
    pl_tokenizer *tok = run->tok;
    pl__pieces *from = &tok->pieces[0], *to = &tok->pieces[1];
    from->count = 0;
    for (size_t at = 0; at < length;) {
        size_t n = tok->n_steps > 0 ? pl__utf8_run(run->text + at, length - at) : length;
        PL_TRY(pl__pieces_add(tok->ctx, from, at, n));
        at += n;
        if (at < length) PL_TRY(pl__pieces_add(tok->ctx, from, at++, 1));
    }
    for (int i = 0; i < tok->n_steps; i++) {
        const pl__step *step = &tok->step[i];
        to->count = 0;
        if (step->kind != PL__STEP_CUT) PL_TRY(change(run, step, from, to));
        for (int64_t k = 0; step->kind == PL__STEP_CUT && k < from->count; k++) {
            const pl__piece piece = from->data[k];
            PL_TRY(is_stray(run->text, piece) ? pl__pieces_add(tok->ctx, to, piece.start, 1)
                                              : cut(tok, step, to, run->text, piece));
        }
        pl__pieces *swap = from;
        from = to;
        to = swap;
    }
    *out = from;
    return PL_OK;
}

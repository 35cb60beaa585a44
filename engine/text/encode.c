/*
** encode.c - text to ids: the five steps in order, and what a caller may ask for beside them.
**
** An original text that no step changes is never copied. A stray byte of invalid UTF-8 goes
** through as itself.
*/
#include "text/text.h"

static pl_status encode_word(pl__run *run, size_t start, size_t length)
{
    pl_tokenizer *tok = run->tok;
    const char *word = run->text + start;
    int32_t id = pl__tok_by_name(tok, word, length);
    if (id >= 0 && tok->tokens[id].flags & PL__TOK_CONTROL) id = -1;
    if (id < 0) id = pl__tok_unknown(tok);
    if (id < 0)
        return pl__fail(tok->ctx, PL_ERR_ARG,
                        "encode: '%.*s' is not in the vocabulary and there is no unknown token",
                        (int)(length < 60 ? length : 60), word);
    return pl__emit(run, id, start, start + length);
}

/* A stretch of normalized text without added tokens. */
static pl_status encode_words(pl__run *run, const char *text, size_t length, size_t base,
                              const pl__origin *origin)
{
    const pl__pieces *pieces;
    run->text = text;
    run->base = base;
    run->origin = origin;
    PL_TRY(pl__steps_run(run, length, &pieces));
    for (int64_t i = 0; i < pieces->count; i++) {
        const size_t start = pieces->data[i].start, n = pieces->data[i].length;
        switch (run->tok->kind) {
        case PL_TOKENIZER_WORD: PL_TRY(encode_word(run, start, n)); break;
        case PL_TOKENIZER_WORDPIECE: PL_TRY(pl__wordpiece_encode(run, start, n)); break;
        case PL_TOKENIZER_UNIGRAM: PL_TRY(pl__unigram_encode(run, start, n)); break;
        default: PL_TRY(pl__bpe_encode(run, start, n)); break;
        }
    }
    run->continued = false;
    return PL_OK;
}

/* A stretch of original text. */
static pl_status encode_plain(pl__run *run, const char *text, size_t length, size_t base,
                              const pl__origin *origin)
{
    pl_tokenizer *tok = run->tok;
    const bool more = tok->added_normalized.count > 0;
    if (pl__norm_leaves(tok, text, length))
        return more ? pl__added_split(run, &tok->added_normalized, text, length, base, origin,
                                      encode_words)
                    : encode_words(run, text, length, base, origin);
    const bool traced = run->wants_spans || tok->traced || (more && run->options->n_guarded > 0);
    pl__changed *made;
    PL_TRY(pl__norm_run(tok, text, length, base, traced, run->continued, &made));
    if (made->text.length > INT32_MAX / 2)
        return pl__fail(tok->ctx, PL_ERR_ARG, "encode: one text over 1 GB; cut it");
    const pl__origin *origins = traced ? made->origin : NULL;
    return more ? pl__added_split(run, &tok->added_normalized, made->text.data, made->text.length,
                                  0, origins, encode_words)
                : encode_words(run, made->text.data, made->text.length, 0, origins);
}

/* ------------------------------------------------------------------------------------------- */

/* Work space for one huge text is not kept for ever. */
static void shed(pl_tokenizer *tok)
{
    pl_ctx *ctx = tok->ctx;
    if (tok->symbols_room > PL_TEXT_KEEP) {
        pl_free(ctx, tok->symbols);
        tok->symbols = NULL;
        tok->symbols_room = 0;
    }
    if (tok->heap_room > 4 * PL_TEXT_KEEP) {
        pl_free(ctx, tok->heap);
        tok->heap = NULL;
        tok->heap_room = 0;
    }
    if (tok->lattice_room > PL_TEXT_KEEP) {
        pl_free(ctx, tok->lattice);
        tok->lattice = NULL;
        tok->lattice_room = 0;
    }
    for (int i = 0; i < 2; i++) {
        if (tok->changed[i].text.room > 16 * PL_TEXT_KEEP) pl__changed_free(ctx, &tok->changed[i]);
        if (tok->stepped[i].text.room > 16 * PL_TEXT_KEEP) pl__changed_free(ctx, &tok->stepped[i]);
        if (tok->pieces[i].room > 4 * PL_TEXT_KEEP) {
            pl_free(ctx, tok->pieces[i].data);
            tok->pieces[i] = (pl__pieces){0};
        }
    }
}

static pl_status check_options(pl_tokenizer *tok, const pl_encode_options *o, size_t length)
{
    pl_ctx *ctx = tok->ctx;
    size_t before = 0;
    if ((o->flags & PL_ENCODE_BOS) && tok->bos < 0)
        return pl__fail(ctx, PL_ERR_ARG, "encode: this tokenizer names no beginning token (bos)");
    if ((o->flags & PL_ENCODE_EOS) && tok->eos < 0)
        return pl__fail(ctx, PL_ERR_ARG, "encode: this tokenizer names no end token (eos)");
    if (length > INT32_MAX / 2)
        return pl__fail(ctx, PL_ERR_ARG, "encode: one text of %zu bytes; cut it below 1 GB",
                        length);
    for (int64_t i = 0; i < o->n_guarded; i++) {
        const pl_text_span span = o->guarded[i];
        if (span.start < before || span.end < span.start || span.end > length)
            return pl__fail(ctx, PL_ERR_ARG,
                            "encode: guarded span %lld is bytes %zu to %zu; spans have to be in "
                            "order, apart, and inside the text of %zu bytes",
                            (long long)i + 1, span.start, span.end, length);
        before = span.end;
    }
    return PL_OK;
}

/* Puts the beginning and end tokens where they are wanted and not there already. */
static pl_status put_ends(pl__run *run, size_t length)
{
    const pl_tokenizer *tok = run->tok;
    const unsigned flags = run->options->flags;
    pl__ids *ids = &run->ids;
    run->origin = NULL;
    run->base = 0;
    if ((flags & PL_ENCODE_BOS) && (ids->count == 0 || ids->data[0] != tok->bos)) {
        PL_TRY(pl__emit(run, tok->bos, 0, 0));
        const size_t rest = (size_t)ids->count - 1;
        memmove(ids->data + 1, ids->data, rest * sizeof *ids->data);
        ids->data[0] = tok->bos;
        if (run->wants_spans) {
            memmove(run->spans + 1, run->spans, rest * sizeof *run->spans);
            run->spans[0] = (pl_text_span){0, 0};
        }
    }
    if (!(flags & PL_ENCODE_EOS)) return PL_OK;
    const bool only_bos = ids->count == 1 && (flags & PL_ENCODE_BOS);
    if (ids->count > 0 && ids->data[ids->count - 1] == tok->eos && !only_bos) return PL_OK;
    return pl__emit(run, tok->eos, length, length);
}

pl_status pl_tokenizer_encode(pl_tokenizer *tok, int32_t **ids, int64_t *count, const char *text,
                              size_t length, unsigned flags)
{
    const pl_encode_options options = {.flags = flags};
    return pl_tokenizer_encode_with(tok, ids, count, text, length, &options);
}

pl_status pl_tokenizer_encode_with(pl_tokenizer *tok, int32_t **ids, int64_t *count,
                                   const char *text, size_t length,
                                   const pl_encode_options *options)
{
    pl__run run = {.tok = tok,
                   .options = options,
                   .wants_spans = options->spans != NULL,
                   .continued = (options->flags & PL_ENCODE_CONTINUED) != 0};
    pl_status st = PL_OK;
    *ids = NULL;
    *count = 0;
    if (options->spans) *options->spans = NULL;
    PL_TRY(check_options(tok, options, length));
    PL_GO(pl__added_split(&run, &tok->added, text, length, 0, NULL, encode_plain));
    PL_GO(put_ends(&run, length));
    *ids = run.ids.data;
    *count = run.ids.count;
    if (options->spans) *options->spans = run.spans;
done:
    if (st != PL_OK) {
        pl_free(tok->ctx, run.ids.data);
        pl_free(tok->ctx, run.spans);
    }
    shed(tok);
    return st;
}

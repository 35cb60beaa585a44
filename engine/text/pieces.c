/*
** pieces.c - a tokenizer from arrays of pieces, scores, types and merges, as GGUF files hold them.
**
** "llama" is SentencePiece BPE: the pair whose piece has the highest score merges first. "gpt2" is
** byte-level BPE: merges in order of rank, words cut as `pre` names. Control and user-defined ones
** are added tokens; an unused one is as any other, as in llama.cpp.
*/
#include "text/text.h"

#include <math.h>

#include "base/json.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static pl_status set_pieces(pl_tokenizer *tok, const pl_tokenizer_pieces *p, const char *where)
{
    for (int64_t id = 0; id < p->count; id++) {
        const int32_t type = p->types ? p->types[id] : NORMAL;
        uint8_t flags = 0;
        if (type < NORMAL || type > BYTE)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: piece %lld has the type %d; 1 to 6 wanted", where, (long long)id,
                            type);
        if (type == UNKNOWN || type == CONTROL) flags = PL__TOK_ADDED | PL__TOK_SPECIAL;
        if (type == USER_DEFINED) flags = PL__TOK_ADDED;
        if (p->lengths[id] == 0) flags = 0; /* nothing to be found in a text */
        PL_TRY(pl__tok_set(tok, id, p->pieces[id], p->lengths[id], flags));
    }
    return PL_OK;
}

static pl_status check_scores(pl_ctx *ctx, const pl_tokenizer_pieces *p, const char *where)
{
    if (!p->scores)
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: a '%s' tokenizer without scores", where, p->model);
    for (int64_t id = 0; id < p->count; id++)
        if (!isfinite(p->scores[id]))
            return pl__fail(ctx, PL_ERR_FORMAT, "%s: the score of piece %lld is not finite", where,
                            (long long)id);
    return PL_OK;
}

static pl_status add_merges(pl_tokenizer *tok, const pl_tokenizer_pieces *p, const char *where)
{
    for (int64_t i = 0; i < p->n_merges; i++) {
        const char *text = p->merges[i];
        const size_t length = p->merge_lengths[i];
        /* A part may begin with a space, but not be empty. */
        const char *space = length > 2 ? memchr(text + 1, ' ', length - 2) : NULL;
        if (!space)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: merge %lld, '%.*s', is not two parts with a space between", where,
                            (long long)i, (int)(length < 80 ? length : 80), text);
        const size_t left = (size_t)(space - text);
        PL_TRY(pl__load_merge(tok, text, left, space + 1, length - left - 1, i, where));
    }
    return PL_OK;
}

/* Byte-level BPE: words cut by name, merges by rank. */
static pl_status load_bytelevel(pl_tokenizer *tok, const pl_tokenizer_pieces *p, const char *where)
{
    const char *name = p->pre ? p->pre : "default";
    const pl__word_cuts *cuts = pl__word_cuts_find(name);
    if (!cuts)
        return pl__fail(
            tok->ctx, PL_ERR_FORMAT,
            "%s: the word cuts '%s' (tokenizer.ggml.pre) are not known; a tokenizer.json "
            "of the same model says how it cuts",
            where, name);
    tok->whole_words = cuts->whole_words;
    tok->adds_bos = p->add_bos < 0 ? cuts->adds_bos : p->add_bos > 0;
    PL_TRY(add_merges(tok, p, where));
    PL_TRY(pl__load_parts(tok, "null", cuts->pre_tokenizer, PL_TEXT_GPT2, where));
    PL_TRY(pl__tok_derive(tok));
    PL_TRY(pl__added_list(tok));
    return pl__pairs_build(tok);
}

/* SentencePiece BPE. */
static pl_status load_sentencepiece(pl_tokenizer *tok, const pl_tokenizer_pieces *p,
                                    const char *where)
{
    PL_TRY(check_scores(tok->ctx, p, where));
    tok->model_unk = tok->unk;
    tok->adds_bos = p->add_bos != 0;
    tok->byte_fallback = tok->fuse_unk = true;
    PL_TRY(p->add_space_prefix != 0
               ? pl__load_parts(tok, PL_TEXT_SPM_PREFIX, "null", PL_TEXT_SPM_STRIP, where)
               : pl__load_parts(tok, PL_TEXT_SPM, "null", PL_TEXT_SPM_DECODER, where));
    PL_TRY(pl__tok_derive(tok));
    PL_TRY(pl__added_list(tok));
    tok->scores = pl_calloc(tok->ctx, (size_t)p->count + 1, sizeof *tok->scores);
    if (!tok->scores) return PL_ERR_NOMEM;
    for (int64_t id = 0; id < p->count; id++) tok->scores[id] = (double)p->scores[id];
    PL_TRY(pl__merges_from_scores(tok, tok->scores, p->count));
    return pl__pairs_build(tok);
}

static pl_status set_roles(pl_tokenizer *tok, const pl_tokenizer_pieces *p, const char *where)
{
    const int32_t ids[] = {p->bos, p->eos, p->pad, p->unk};
    int32_t *const role[] = {&tok->bos, &tok->eos, &tok->pad, &tok->unk};
    static const char *const name[] = {"beginning", "end", "padding", "unknown"};
    for (int i = 0; i < 4; i++) {
        if (ids[i] < -1 || ids[i] >= p->count)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: the %s token is %d; there are ids 0 to %lld", where, name[i],
                            ids[i], (long long)p->count - 1);
        *role[i] = ids[i];
        if (i < 3) pl__tok_make_special(tok, ids[i]);
    }
    return PL_OK;
}

pl_status pl_tokenizer_from_pieces(pl_ctx *ctx, pl_tokenizer **out, const pl_tokenizer_pieces *p,
                                   const char *where)
{
    const bool bytelevel = !strcmp(p->model, "gpt2");
    pl_status st = PL_OK;
    *out = NULL;
    if (!bytelevel && strcmp(p->model, "llama") != 0)
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%s: the tokenizer model is '%.60s'; 'llama' and 'gpt2' can be read", where,
                        p->model);
    pl_tokenizer *tok =
        pl__tok_new(ctx, bytelevel ? PL_TOKENIZER_BYTELEVEL : PL_TOKENIZER_SENTENCEPIECE);
    if (!tok) return PL_ERR_NOMEM;
    PL_GO(set_pieces(tok, p, where));
    PL_GO(pl__tok_index_names(tok));
    PL_GO(set_roles(tok, p, where));
    tok->adds_eos = p->add_eos > 0;
    PL_GO(bytelevel ? load_bytelevel(tok, p, where) : load_sentencepiece(tok, p, where));
    if (tok->bos < 0) tok->adds_bos = false;
    if (tok->eos < 0) tok->adds_eos = false;
    if (p->chat_template && *p->chat_template) {
        tok->chat_template = pl_strndup(ctx, p->chat_template, strlen(p->chat_template));
        if (!tok->chat_template) st = PL_ERR_NOMEM;
    }
done:
    if (st == PL_OK) *out = tok;
    else pl_tokenizer_free(tok);
    return st;
}

/*
** scores.c - SentencePiece's "merge the pair whose token scores highest" as merges with ranks.
**
** A token's rank is its place among the different scores, from the highest, and every way to
** cut a token into two ordinary tokens is a pair. Of two pairs of the same token the leftmost
** in the text comes first, as in SentencePiece. tokenizer.json writes the same pairs as a
** list.
*/
#include "text/text.h"

#include <stdlib.h>

#include "base/utf8.h"

typedef struct {
    double score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_rank(const void *a, const void *b)
{
    const pl__pair *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

/* Ordinary tokens by their beginnings and by their ends, to find every cut of a token into two. */
typedef struct {
    pl_tokenizer *tok;
    pl__prefixes begin, end;
    int32_t *begin_at, *end_at;              /* the place of each id in the two; -1: not ordinary */
    int32_t right_of[PL_TEXT_MAX_TOKEN + 1]; /* of the token at hand: what stands behind a cut */
} cutter;

static bool is_ordinary(const pl_tokenizer *tok, int64_t id)
{
    const pl__token *t = &tok->tokens[id];
    return !(t->flags & (PL__TOK_ADDED | PL__TOK_BYTE)) &&
           pl__tok_by_bytes(tok, pl__tok_bytes(tok, id), t->bytes_length) == id;
}

static pl_status order_tokens(const pl_tokenizer *tok, pl__prefixes *set, int32_t **place,
                              bool backwards)
{
    int64_t n = 0;
    *place = pl_alloc(tok->ctx, ((size_t)tok->count + 1) * sizeof **place);
    if (!*place) return PL_ERR_NOMEM;
    memset(*place, 0xFF, (size_t)tok->count * sizeof **place);
    PL_TRY(pl__prefixes_new(tok->ctx, set, tok->count));
    for (int64_t id = 0; id < tok->count; id++)
        if (is_ordinary(tok, id)) set->ids[n++] = (int32_t)id;
    set->count = n;
    pl__prefixes_order(tok, set, backwards);
    for (int64_t i = 0; i < set->count; i++) (*place)[set->ids[i]] = (int32_t)i;
    return PL_OK;
}

/* Every cut of a token, behind a character, into two ordinary tokens: as many steps as bytes. */
static pl_status merges_into(cutter *c, int32_t id, int32_t rank)
{
    pl_tokenizer *tok = c->tok;
    const pl__token *t = &tok->tokens[id];
    const size_t length = t->bytes_length;
    const char *bytes = pl__tok_bytes(tok, id);
    if (c->begin_at[id] < 0) return PL_OK;
    for (size_t at = 0; at <= length; at++) c->right_of[at] = -1;
    for (int64_t i = c->end.shorter[c->end_at[id]]; i >= 0; i = c->end.shorter[i])
        c->right_of[length - tok->tokens[c->end.ids[i]].bytes_length] = c->end.ids[i];
    for (size_t at = 0; at < length;) { /* no cut inside a character */
        const int step = pl__utf8_char(bytes + at, length - at);
        for (int i = 1; i < step; i++) c->right_of[at + (size_t)i] = -1;
        at += step > 0 ? (size_t)step : 1;
    }
    for (int64_t i = c->begin.shorter[c->begin_at[id]]; i >= 0; i = c->begin.shorter[i]) {
        const int32_t left = c->begin.ids[i], right = c->right_of[tok->tokens[left].bytes_length];
        if (right >= 0) PL_TRY(pl__tok_add_merge(tok, left, right, rank, id));
    }
    return PL_OK;
}

pl_status pl__merges_from_scores(pl_tokenizer *tok, const double *scores, int64_t n)
{
    pl_ctx *ctx = tok->ctx;
    pl_status st = PL_OK;
    cutter *c = pl_calloc(ctx, 1, sizeof *c);
    if (!c) return PL_ERR_NOMEM;
    c->tok = tok;
    scored *order = pl_alloc(ctx, ((size_t)n + 1) * sizeof *order);
    if (!order) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    for (int64_t i = 0; i < n; i++) order[i] = (scored){scores[i], (int32_t)i};
    PL_GO(order_tokens(tok, &c->begin, &c->begin_at, false));
    PL_GO(order_tokens(tok, &c->end, &c->end_at, true));
    qsort(order, (size_t)n, sizeof *order, by_score);
    int32_t rank = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank++;
        PL_GO(merges_into(c, order[i].id, rank));
    }
    if (tok->n_merges > 0) qsort(tok->merges, (size_t)tok->n_merges, sizeof *tok->merges, by_rank);
done:
    pl__prefixes_free(ctx, &c->begin);
    pl__prefixes_free(ctx, &c->end);
    pl_free(ctx, order);
    pl_free(ctx, c->begin_at);
    pl_free(ctx, c->end_at);
    pl_free(ctx, c);
    return st;
}

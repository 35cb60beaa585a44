/*
** unigram.c - Unigram: of all ways to cut a text into pieces, the one whose scores add up highest.
**
** Kudo 2018, "Subword Regularization", as SentencePiece and Hugging Face compute it: scores
** are log probabilities, the best path is found from left to right over the places between
** characters, and a character that no piece of its own stands for costs ten below the lowest
** score. Unknown neighbours are one unknown token, or their bytes when the vocabulary has
** <0xXX> tokens.
*/
#include "text/text.h"

#include "base/utf8.h"

#define UNKNOWN_PENALTY 10.0

/* The best way to the place behind some byte. */
typedef struct {
    double score;
    int32_t id;   /* of the last piece, -1: unknown, -2: no way leads here yet */
    int32_t from; /* where it starts */
} place;

pl_status pl__unigram_derive(pl_tokenizer *tok, bool bytes_are_pieces)
{
    double least = 0.0;
    pl__trie_free(tok->ctx, &tok->words);
    for (int64_t id = 0, seen = 0; id < tok->n_scores; id++) {
        const pl__token *t = &tok->tokens[id];
        if (!(t->flags & PL__TOK_PRESENT)) continue;
        if (seen++ == 0 || tok->scores[id] < least) least = tok->scores[id];
        if (t->flags & PL__TOK_CONTROL || id == tok->model_unk || t->name_length == 0) continue;
        if (t->flags & PL__TOK_BYTE && !bytes_are_pieces) continue;
        PL_TRY(pl__trie_add(tok->ctx, &tok->words, pl__tok_name(tok, id), t->name_length,
                            (int32_t)id));
    }
    tok->unk_score = least - UNKNOWN_PENALTY;
    return PL_OK;
}

static void reach(const pl_tokenizer *tok, place *p, double score, int32_t id, size_t from)
{
    if (tok->float_scores) score = (double)(float)score;
    if (p->id == -2 || score > p->score) *p = (place){score, id, (int32_t)from};
}

static pl_status find_ways(pl_tokenizer *tok, const char *text, size_t length)
{
    place *p = tok->lattice;
    for (size_t i = 0; i <= length; i++) p[i] = (place){0.0, -2, 0};
    p[0].id = -1;
    int64_t turns = 0;
    for (size_t at = 0; at < length;) {
        if ((++turns & 0x3FFF) == 0) PL_TRY(pl__check_interrupt(tok->ctx));
        int step = pl__utf8_char(text + at, length - at);
        if (step == 0) step = 1;
        const double so_far = p[at].score;
        bool single = false;
        int32_t node = 0;
        for (size_t end = at; end < length; end++) {
            node = pl__trie_step(&tok->words, node, (unsigned char)text[end]);
            if (node < 0) break;
            const int32_t id = tok->words.value[node];
            if (id < 0) continue;
            reach(tok, &p[end + 1], so_far + tok->scores[id], id, at);
            if (end + 1 == at + (size_t)step) single = true;
        }
        if (!single) reach(tok, &p[at + (size_t)step], so_far + tok->unk_score, -1, at);
        at += (size_t)step;
    }
    return PL_OK;
}

static pl_status emit_unknown(pl__run *run, size_t start, size_t end)
{
    pl_tokenizer *tok = run->tok;
    bool bytes = tok->byte_fallback;
    for (size_t i = start; bytes && i < end; i++)
        bytes = tok->byte_id[(unsigned char)run->text[i]] >= 0;
    for (size_t i = start; bytes && i < end; i++)
        PL_TRY(pl__emit(run, tok->byte_id[(unsigned char)run->text[i]], i, i + 1));
    const int32_t unknown = pl__tok_unknown(tok);
    return bytes || unknown < 0 ? PL_OK : pl__emit(run, unknown, start, end);
}

pl_status pl__unigram_encode(pl__run *run, size_t start, size_t length)
{
    pl_tokenizer *tok = run->tok;
    const char *text = run->text + start;
    if ((int64_t)length + 1 > tok->lattice_room) {
        const int64_t room = (int64_t)(length + length / 2 + 64);
        void *block = pl_realloc(tok->ctx, tok->lattice, (size_t)room * sizeof(place));
        if (!block) return PL_ERR_NOMEM;
        tok->lattice = block;
        tok->lattice_room = room;
    }
    PL_TRY(find_ways(tok, text, length));
    /* Walk back, turning each link to point forward. */
    place *p = tok->lattice;
    int32_t next = -1;
    for (int32_t at = (int32_t)length; at > 0;) {
        const int32_t from = p[at].from;
        p[at].from = next;
        next = at;
        at = from;
    }
    size_t at = 0;
    while (next > 0) {
        const int32_t id = p[next].id;
        size_t end = (size_t)next;
        next = p[next].from;
        if (id >= 0) {
            PL_TRY(pl__emit(run, id, start + at, start + end));
        } else {
            while (tok->fuse_unk && next > 0 && p[next].id == -1) {
                end = (size_t)next;
                next = p[next].from;
            }
            PL_TRY(emit_unknown(run, start + at, start + end));
        }
        at = end;
    }
    return PL_OK;
}

/*
** draft.c - speculative decoding by prompt lookup (Saxena 2023): tokens are guessed ahead of an
** answer, and one replay of the plan checks them.
**
** The guess is what followed where the text's last tokens stood before. Each row of logits behind a
** guess is that of plain decoding as long as the guesses before it are what was drawn; and a draw
** takes the random number of its own place. So a token is drawn from each row in turn until one is
** not the guess, and answers have the bits that they have without. Of a guess that is one certain
** token, Leviathan et al. (2022, arXiv:2211.17192) accept as many: those that the model draws.
**
** Keys and values of wrong guesses stay behind the text in its last block, where the next tokens
** are written over them.
*/
#include <string.h>

#include "gen/job.h"

#define FEW_ANSWERS 16        /* with more of them another row costs what it gives */
#define FIRST_REACH 4         /* guesses for a new answer */
enum { LEAST = 2, MOST = 4 }; /* tokens that must have stood there before */

/* The place after the last tokens of w's text, where they stood before: where most of them did, and
** of such places the last. -1: nowhere. */
static int64_t place_before(const job *j, const runner *w)
{
    int32_t last[MOST];
    int64_t place = -1, longest = LEAST - 1;
    for (int t = 0; t < MOST && t < w->end; t++) last[t] = pl__job_token(j, w, w->end - 1 - t);
    for (int64_t at = w->end - 1; at >= LEAST && longest < MOST; at--) {
        int n = 0;
        while (n < MOST && n < at && pl__job_token(j, w, at - 1 - n) == last[n]) n++;
        if (n <= longest) continue;
        longest = n;
        place = at;
    }
    return place;
}

/* Guesses that there is room for: an answer's last token is drawn behind the last of them. */
static int64_t room(const job *j, const runner *w)
{
    int64_t n = w->reach == INT64_MAX ? FIRST_REACH : w->reach;
    const int64_t rest[] = {
        j->o->prompt_lookup, j->r->max_tokens - j->r->length[w->answer] - 1,
        j->o->context > 0 ? j->o->context - w->end - 1 : INT64_MAX,
        w->at.n * j->g->pool.block_len - w->end, /* in the blocks it has */
    };
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++)
        if (rest[i] < n) n = rest[i];
    return n;
}

static void draft(const job *j, runner *w)
{
    const int64_t most = room(j, w), from = most > 0 ? place_before(j, w) : -1;
    int32_t *guess = j->r->tokens + w->answer * j->r->max_tokens + j->r->length[w->answer];
    w->drafted = 0;
    if (from < 0) return;
    for (; w->drafted < most; w->drafted++) /* which may come to guesses themselves */
        guess[w->drafted] = pl__job_token(j, w, from + w->drafted);
}

void pl__job_draft(job *j)
{
    const bool wanted = j->o->prompt_lookup > 0 && j->n_run <= FEW_ANSWERS;
    int64_t row = 0;
    for (int64_t i = 0; i < j->n_run; i++) {
        runner *w = &j->run[i];
        w->drafted = 0;
        if (wanted) draft(j, w);
        w->row = row;
        row += 1 + w->drafted;
    }
}

pl_status pl__job_settle(job *j, runner *w, bool *end)
{
    pl_gen_result *r = j->r;
    int64_t *length = &r->length[w->answer];
    const int64_t before = *length - w->fresh, size = prompt_length(j, w->prompt);
    *end = false;
    for (int64_t n = 1; n <= w->fresh && !*end; n++) {
        *length = before + n;
        w->end = size + *length;
        PL_TRY(pl__job_ended(j, w, end));
    }
    if (w->drafted == 0) return PL_OK;
    r->drafted += w->drafted;
    r->accepted += w->fresh - 1;
    w->reach = w->fresh + 1;
    w->past = w->end - 1;
    const int64_t written = before + 1 + w->drafted;
    memset(r->tokens + w->answer * r->max_tokens + *length, 0,
           (size_t)(written - *length) * sizeof *r->tokens);
    w->drafted = 0;
    return PL_OK;
}

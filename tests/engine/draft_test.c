/*
** draft_test.c - tokens guessed ahead of an answer (prompt lookup): answers keep their bits, pairs
** of tokens follow the model's probabilities, and what is guessed is counted.
*/
#include "toy_generator.h"

enum { N_PROMPTS = 4 };

/* Texts that repeat themselves, and one token alone. */
static const int32_t tokens[] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 9, 9, 9, 9,
                                 9, 7, 5, 8, 5, 8, 6, 5, 8, 5, 8, 6, 5};
static const int64_t offsets[N_PROMPTS + 1] = {0, 10, 15, 16, 27};

static pl_status generate_all(const maker *m, const pl_gen_options *o, pl_gen_result **r)
{
    return pl_generate(m->generator, r, N_PROMPTS, tokens, offsets, NULL, o);
}

/* Every answer, and what stands behind the answers' ends too. */
static bool same_result(const pl_gen_result *a, const pl_gen_result *b)
{
    for (int64_t i = 0; i < a->n; i++)
        if (!same_answer(a, i, b, i)) return false;
    return memcmp(a->tokens, b->tokens, (size_t)(a->n * a->max_tokens) * 4) == 0;
}

static void answers_keep_their_bits(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const int32_t stops[] = {30, 31};
    static const double temperatures[] = {0, 0.4, 1};
    for (int kind = 0; kind < 6; kind++) {
        pl_gen_options o = options(temperatures[kind / 2], 90);
        pl_gen_result *plain, *r;
        maker m;
        o.samples = 3;
        if (kind % 2 == 1) {
            o.stop = stops;
            o.n_stop = 2;
            o.top_k = 7;
            o.top_p = .9;
            o.context = 80;
        }
        OK(maker_new(ctx, &m, 24));
        OK(generate_all(&m, &o, &plain));
        assert_int_equal(plain->drafted, 0);
        static const int64_t guesses[] = {1, 2, 7, 500}, slots[] = {1, 5, 12};
        for (int g = 0; g < 4; g++)
            for (int s = 0; s < 3; s++) {
                o.prompt_lookup = guesses[g];
                o.slots = slots[s];
                OK(generate_all(&m, &o, &r));
                assert_true(same_result(r, plain));
                assert_true(r->drafted > 0 && r->accepted < r->drafted);
                if (kind < 2) assert_true(r->accepted > r->drafted / 4);
                if (slots[s] == 1) { /* each token comes of a step, or was guessed */
                    int64_t total = 0, left_out = 0;
                    for (int64_t i = 0; i < r->n; i++) total += r->length[i];
                    left_out = r->steps + r->accepted - total; /* accepted, beyond a stop */
                    assert_true(left_out >= 0 && (kind % 2 == 1 || left_out == 0));
                }
                pl_gen_result_free(ctx, r);
            }
        pl_gen_result_free(ctx, plain);
        maker_free(&m);
    }
}

/* Where blocks run out, answers wait in between and go on. */
static void pauses_change_nothing(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *plain, *r;
    pl_gen_options o = options(0.4, 150);
    o.samples = 3;
    OK(maker_new(ctx, &m, 5));
    OK(generate_all(&m, &o, &plain));
    o.prompt_lookup = 6;
    OK(generate_all(&m, &o, &r));
    assert_true(plain->pauses > 0 && r->pauses > 0 && r->accepted > 0);
    assert_true(same_result(r, plain));
    pl_gen_result_free(ctx, r);
    pl_gen_result_free(ctx, plain);
    maker_free(&m);
}

/* Beside more than 16 answers nothing is guessed; the last of them are. */
static void few_answers_are_guessed_ahead(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(0, 20);
    o.prompt_lookup = 4;
    OK(maker_new(ctx, &m, 64));
    for (int64_t samples = 4; samples <= 5; samples++) { /* 16 answers, and 20 */
        o.samples = samples;
        OK(generate_all(&m, &o, &r));
        assert_true((r->drafted > 0) == (samples == 4));
        pl_gen_result_free(ctx, r);
    }
    maker_free(&m);
}

/* Each pass guesses one token more than it gave: this answer soon grows by many at a time, as four
** guesses a pass never would let it. */
static void more_is_guessed_where_guesses_were_right(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const int64_t lookup[] = {4, 16};
    int64_t steps[2];
    maker m;
    OK(maker_new(ctx, &m, 24));
    for (int i = 0; i < 2; i++) {
        pl_gen_result *r;
        pl_gen_options o = options(0, 60);
        o.prompt_lookup = lookup[i];
        OK(pl_generate(m.generator, &r, 1, tokens, offsets, NULL, &o));
        assert_true(r->drafted == r->accepted);
        steps[i] = r->steps;
        pl_gen_result_free(ctx, r);
    }
    assert_true(steps[0] > 60 / 5 && steps[1] < 60 / 5);
    maker_free(&m);
}

/* Each token stands in the prompt once, so the answer's first one does as well, but behind another
** token than in the prompt. */
static void one_token_that_stood_before_is_no_guess(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(0, 3);
    int32_t text[TOY_VOCAB];
    const int64_t range[2] = {0, TOY_VOCAB};
    for (int v = 0; v < TOY_VOCAB; v++) text[v] = v;
    o.prompt_lookup = 4;
    OK(maker_new(ctx, &m, 4));
    OK(pl_generate(m.generator, &r, 1, text, range, NULL, &o));
    assert_int_equal(r->drafted, 0);
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* The caller hears of each token in turn, of guessed ones as of others, and of none after the end.
*/
typedef struct {
    int64_t calls, last, ends_at;
    bool in_turn;
} listener;

static pl_status listen_to(void *data, const int32_t *answer, int64_t n, bool *end)
{
    listener *l = data;
    (void)answer;
    l->in_turn = l->in_turn && (n == l->last + 1 || n == 1);
    l->last = n;
    l->calls++;
    *end = n == l->ends_at;
    return PL_OK;
}

static void the_caller_hears_of_each_token(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    OK(maker_new(ctx, &m, 24));
    for (int64_t end = 20; end < 30; end++) {
        listener l = {.ends_at = end, .in_turn = true};
        pl_gen_result *r;
        pl_gen_options o = options(0, 40);
        o.ends = listen_to;
        o.ends_data = &l;
        o.slots = 1;
        o.prompt_lookup = 8;
        OK(generate_all(&m, &o, &r));
        assert_true(l.in_turn && r->accepted > 0);
        assert_int_equal(l.calls, N_PROMPTS * end);
        for (int64_t i = 0; i < r->n; i++) {
            assert_int_equal(r->length[i], end);
            assert_int_equal(r->finish[i], PL_FINISH_TEXT);
            for (int64_t t = end; t < 40; t++) assert_int_equal(r->tokens[i * 40 + t], 0);
        }
        pl_gen_result_free(ctx, r);
    }
    maker_free(&m);
}

/* ---- Pairs of tokens ---- */

enum { DRAWS = 6000, PAIRS = TOY_VOCAB * TOY_VOCAB };

/* In the prompt 36 is followed by each token v and that by v + 1: whatever the first token is, the
** second one is guessed. */
static void pairs_follow_the_model(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(1, 2 + 1);
    int32_t text[3 * TOY_VOCAB + 2];
    static int count[PAIRS];
    static double p[PAIRS];
    double first[TOY_VOCAB];
    int64_t n = 0;
    for (int v = 0; v < TOY_VOCAB; v++) {
        text[n++] = TOY_VOCAB - 1;
        text[n++] = v;
        text[n++] = (v + 1) % TOY_VOCAB;
    }
    text[n++] = TOY_VOCAB - 1;
    OK(maker_new(ctx, &m, 64));
    probabilities(&m, text, n, 1, first);
    for (int v = 0; v < TOY_VOCAB; v++) {
        text[n] = v;
        probabilities(&m, text, n + 1, 1, &p[v * TOY_VOCAB]);
        for (int k = 0; k < TOY_VOCAB; k++) p[v * TOY_VOCAB + k] *= first[v];
    }
    o.samples = DRAWS;
    o.slots = 16;
    o.prompt_lookup = 3;
    const int64_t range[2] = {0, n};
    OK(pl_generate(m.generator, &r, 1, text, range, NULL, &o));
    assert_true(r->drafted >= DRAWS && r->accepted > DRAWS / 100);
    memset(count, 0, sizeof count);
    for (int64_t i = 0; i < r->n; i++) count[r->tokens[i * 3] * TOY_VOCAB + r->tokens[i * 3 + 1]]++;
    int bins;
    const double chi2 = chi_square(count, p, PAIRS, DRAWS, &bins);
    assert_true(bins >= 100);
    assert_true(fabs(chi2 - bins) < 4 * sqrt(2.0 * bins)); /* four deviations about the mean */
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

static void bad_requests_are_refused(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(1, 3);
    OK(maker_new(ctx, &m, 4));
    o.prompt_lookup = -1;
    FAILS(generate_all(&m, &o, &r), PL_ERR_ARG,
          "generate: slots, cache_blocks and prompt_lookup must be at least 0");
    assert_null(r);
    maker_free(&m);
}

static pl_status make_and_generate(fixture *f)
{
    maker m;
    pl_gen_result *r = NULL;
    pl_gen_options o = options(0, 6);
    o.prompt_lookup = 3;
    pl_status st = maker_new(f->ctx, &m, 2);
    if (st == PL_OK) st = pl_generate(m.generator, &r, 2, tokens, offsets, NULL, &o);
    if (st == PL_OK) assert_true(r->drafted > 0);
    else assert_null(r);
    pl_gen_result_free(f->ctx, r);
    maker_free(&m);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    assert_true(for_each_allocation(*state, make_and_generate) > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(answers_keep_their_bits),
        CONTEXT_CASE(pauses_change_nothing),
        CONTEXT_CASE(few_answers_are_guessed_ahead),
        CONTEXT_CASE(more_is_guessed_where_guesses_were_right),
        CONTEXT_CASE(one_token_that_stood_before_is_no_guess),
        CONTEXT_CASE(the_caller_hears_of_each_token),
        CONTEXT_CASE(pairs_follow_the_model),
        CONTEXT_CASE(bad_requests_are_refused),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
** generate_test.c - generation from C, through the public header alone: greedy answers are those of
** an argmax loop over whole sequences, log-probs have the bits of scoring, answers end where they
** should, and none depends on what is generated beside it.
*/
#include <omp.h>

#include "toy_generator.h"

#if defined(__SANITIZE_ADDRESS__)
#define CACHES false /* see the head of engine/base/mem.c */
#else
#define CACHES true
#endif

enum { N_PROMPTS = 5 };

/* Prompts of 4, 1, 7, 2 and 3 tokens, end to end. */
static const int32_t tokens[] = {5, 0, 36, 7, 9, 36, 35, 34, 33, 3, 2, 1, 17, 4, 30, 8, 8};
static const int64_t offsets[N_PROMPTS + 1] = {0, 4, 5, 12, 14, 17};

static pl_status generate_all(const maker *m, const pl_gen_options *o, pl_gen_result **r)
{
    return pl_generate(m->generator, r, N_PROMPTS, tokens, offsets, NULL, o);
}

/* Prompt p followed by the answer's first n tokens; the return is the number of tokens. */
static int64_t sequence(int32_t *out, int64_t p, const int32_t *answer, int64_t n)
{
    const int64_t size = offsets[p + 1] - offsets[p];
    memcpy(out, tokens + offsets[p], (size_t)size * sizeof *out);
    memcpy(out + size, answer, (size_t)n * sizeof *out);
    return size + n;
}

/* ---- Against the model itself ---- */

static void greedy_answers_are_those_of_an_argmax_loop(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { LENGTH = 12 };
    maker m;
    pl_gen_result *r;
    const pl_gen_options o = options(0, LENGTH);
    OK(maker_new(ctx, &m, 3));
    OK(generate_all(&m, &o, &r));
    assert_int_equal(r->n, N_PROMPTS);
    assert_int_equal(r->max_tokens, LENGTH);
    for (int64_t p = 0; p < N_PROMPTS; p++) {
        const int32_t *answer = r->tokens + p * LENGTH;
        assert_int_equal(r->length[p], LENGTH);
        assert_int_equal(r->finish[p], PL_FINISH_LENGTH);
        for (int64_t t = 0; t < LENGTH; t++) {
            int32_t text[32];
            const int64_t n = sequence(text, p, answer, t);
            pl_tensor *z = logits_behind(&m, text, n);
            int32_t best = 0;
            for (int32_t v = 1; v < TOY_VOCAB; v++)
                if (element(z, v) > element(z, best)) best = v;
            assert_int_equal(answer[t], best);
            assert_true(r->sampling_logprob[p * LENGTH + t] == 0); /* it was certain */
            pl_tensor_release(z);
        }
    }
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* Scores every answer of a result in one packed batch: log-probs and entropies must be the same
** bits. At temperature 0 the model is that of temperature 1. */
static void check_scores(const maker *m, const pl_gen_result *r, int64_t samples,
                         double temperature)
{
    pl_ctx *ctx = m->ctx;
    enum { MOST = 64 };
    int32_t text[MOST][32];
    const int32_t *rows[MOST];
    int64_t length[MOST], total = 0, count = 0;
    int32_t row[MOST * 16], target[MOST * 16];
    assert_true(r->n <= MOST);
    for (int64_t i = 0; i < r->n; i++) {
        const int64_t p = i / samples, size = offsets[p + 1] - offsets[p];
        const int32_t *answer = r->tokens + i * r->max_tokens;
        rows[i] = text[i];
        length[i] = sequence(text[i], p, answer, r->length[i]);
        for (int64_t t = 0; t < r->length[i]; t++, count++) {
            row[count] = (int32_t)(total + size + t - 1); /* the row that predicts it */
            target[count] = answer[t];
        }
        total += length[i];
    }
    pl_tensor *in[N_IN], *h, *at, *next, *out[2];
    pl_param p[PL_MAX_PARAM];
    with_integers(ctx, PL_OP_logprob, p, NULL);
    assert_string_equal(pl_op_get(ctx, PL_OP_logprob)->param[0].name, "temperature");
    p[0].f = temperature > 0 ? temperature : 1;
    OK(make_inputs(ctx, in, r->n, rows, length, NULL, NULL));
    OK(toy_hidden(ctx, &m->model, in, false, &h));
    OK(pl_tensor_new(ctx, &at, PL_I32, 1, &count));
    OK(pl_tensor_new(ctx, &next, PL_I32, 1, &count));
    memcpy(pl_tensor_data(at), row, (size_t)count * sizeof *row);
    memcpy(pl_tensor_data(next), target, (size_t)count * sizeof *target);
    OK(pl_op(ctx, PL_OP_logprob, (pl_tensor *[PL_MAX_IN]){h, m->model.head, at, next}, p, out));
    const float *logprob = pl_tensor_data(out[0]), *entropy = pl_tensor_data(out[1]);
    for (int64_t i = 0, k = 0; i < r->n; k += r->length[i], i++) {
        const size_t bytes = (size_t)r->length[i] * sizeof(float);
        assert_memory_equal(r->logprob + i * r->max_tokens, logprob + k, bytes);
        assert_memory_equal(r->entropy + i * r->max_tokens, entropy + k, bytes);
    }
    pl_tensor *made[] = {h, at, next, out[0], out[1]};
    for (int i = 0; i < 5; i++) pl_tensor_release(made[i]);
    free_inputs(in);
}

static void log_probs_have_the_bits_of_scoring(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const double temperatures[] = {0, 0.7, 1, 1.9};
    maker m;
    OK(maker_new(ctx, &m, 4));
    for (int i = 0; i < 4; i++) {
        pl_gen_result *r;
        pl_gen_options o = options(temperatures[i], 10);
        o.samples = 3;
        OK(generate_all(&m, &o, &r));
        assert_int_equal(r->n, 3 * N_PROMPTS);
        check_scores(&m, r, 3, temperatures[i]);
        for (int64_t k = 0; k < r->n * r->max_tokens && i > 0; k++) /* nothing was cut away */
            assert_true(r->sampling_logprob[k] == r->logprob[k]);
        pl_gen_result_free(ctx, r);
    }
    maker_free(&m);
}

/* ---- Sampling ---- */

enum { DRAWS = 4000 };

/* First tokens of DRAWS answers to the third prompt; `p` gets the model's probabilities. */
static pl_gen_result *draw_first(const maker *m, const pl_gen_options *o, double p[TOY_VOCAB])
{
    pl_ctx *ctx = m->ctx;
    pl_gen_result *r;
    const int64_t range[2] = {0, offsets[3] - offsets[2]};
    probabilities(m, tokens + offsets[2], range[1], o->temperature, p);
    OK(pl_generate(m->generator, &r, 1, tokens + offsets[2], range, NULL, o));
    assert_int_equal(r->n, DRAWS);
    return r;
}

static void draws_follow_the_model(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    double p[TOY_VOCAB];
    int count[TOY_VOCAB] = {0}, bins;
    pl_gen_options o = options(1.5, 1);
    o.samples = DRAWS;
    OK(maker_new(ctx, &m, 16));
    pl_gen_result *r = draw_first(&m, &o, p);
    for (int64_t i = 0; i < r->n; i++) count[r->tokens[i]]++;
    const double chi2 = chi_square(count, p, TOY_VOCAB, DRAWS, &bins);
    assert_true(bins >= 15);
    assert_true(chi2 < bins + 4 * sqrt(2.0 * bins)); /* four deviations over the mean */
    assert_true(chi2 > bins - 4 * sqrt(2.0 * bins)); /* nor too good to be drawn */
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* The set that a rule leaves, from the probabilities alone; *mass is its share. */
static void kept_by(const pl_gen_options *o, const double p[TOY_VOCAB], bool kept[TOY_VOCAB],
                    double *mass)
{
    int n = 0;
    memset(kept, 0, TOY_VOCAB * sizeof *kept);
    *mass = 0;
    double top = 0;
    for (;;) {
        int best = -1;
        for (int v = 0; v < TOY_VOCAB; v++)
            if (!kept[v] && (best < 0 || p[v] > p[best])) best = v;
        if (best < 0) return;
        if (n == 0) top = p[best];
        if (p[best] < o->min_p * top) return;
        kept[best] = true;
        *mass += p[best];
        n++;
        if (n == o->top_k || *mass >= o->top_p) return;
    }
}

static void truncation_leaves_the_likely_ones(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const struct {
        int64_t top_k;
        double top_p, min_p;
    } rules[] = {{1, 1, 0},      {3, 1, 0},    {0, 0.6, 0}, {0, 1, 0.3},
                 {5, 0.7, 0.05}, {0, 1e-9, 0}, {0, 1, 1},   {TOY_VOCAB + 9, 1, 0}};
    maker m;
    OK(maker_new(ctx, &m, 16));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        pl_gen_options o = options(1.2, 1);
        double p[TOY_VOCAB], mass;
        bool kept[TOY_VOCAB], seen[TOY_VOCAB] = {false};
        o.samples = DRAWS;
        o.top_k = rules[i].top_k;
        o.top_p = rules[i].top_p;
        o.min_p = rules[i].min_p;
        pl_gen_result *r = draw_first(&m, &o, p);
        kept_by(&o, p, kept, &mass);
        for (int64_t k = 0; k < r->n; k++) {
            const int32_t token = r->tokens[k];
            seen[token] = true;
            assert_true(kept[token]);
            assert_true(fabs((double)r->logprob[k] - log(p[token])) < 1e-4);
            assert_true(fabs((double)r->sampling_logprob[k] - log(p[token] / mass)) < 1e-4);
        }
        for (int v = 0; v < TOY_VOCAB; v++) /* and none of the likely ones is lost */
            if (kept[v] && p[v] / mass > 0.01) assert_true(seen[v]);
        pl_gen_result_free(ctx, r);
    }
    maker_free(&m);
}

/* ---- Where answers end ---- */

static void answers_end_at_stop_tokens(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *free_run, *r;
    pl_gen_options o = options(0, 12);
    OK(maker_new(ctx, &m, 2));
    OK(generate_all(&m, &o, &free_run));
    bool said[TOY_VOCAB] = {false};
    for (int64_t k = 0; k < N_PROMPTS * 12; k++) said[free_run->tokens[k]] = true;
    int32_t unsaid = 0;
    while (said[unsaid]) unsaid++;
    assert_true(unsaid < TOY_VOCAB);
    for (int64_t p = 0; p < N_PROMPTS; p++)
        for (int64_t t = 0; t < 12; t++) { /* each token of each answer in turn */
            const int32_t stop = free_run->tokens[p * 12 + t];
            const int32_t stops[2] = {t % 2 ? unsaid : stop, t % 2 ? stop : unsaid};
            o.stop = stops;
            o.n_stop = 2;
            OK(generate_all(&m, &o, &r));
            for (int64_t i = 0; i < N_PROMPTS; i++) {
                const int32_t *wanted = free_run->tokens + i * 12;
                int64_t n = 0;
                while (n < 12 && wanted[n] != stop) n++;
                assert_int_equal(r->finish[i], n < 12 ? PL_FINISH_STOP : PL_FINISH_LENGTH);
                assert_int_equal(r->length[i], n < 12 ? n + 1 : 12); /* it belongs to the answer */
                assert_memory_equal(r->tokens + i * 12, wanted, (size_t)r->length[i] * 4);
            }
            pl_gen_result_free(ctx, r);
        }
    o.n_stop = 0; /* no more than max_tokens, and at least one */
    for (int64_t most = 1; most < 5; most++) {
        o.max_tokens = most;
        OK(generate_all(&m, &o, &r));
        for (int64_t i = 0; i < N_PROMPTS; i++) {
            assert_int_equal(r->length[i], most);
            assert_memory_equal(r->tokens + i * most, free_run->tokens + i * 12, (size_t)most * 4);
        }
        pl_gen_result_free(ctx, r);
    }
    pl_gen_result_free(ctx, free_run);
    maker_free(&m);
}

/* Ends an answer when its last two tokens differ by at most `distance`; counts and checks its
 * calls. */
typedef struct {
    pl_ctx *ctx;
    int32_t distance;
    int64_t calls, fails_at;
} watcher;

static bool ends_here(const watcher *w, const int32_t *answer, int64_t n)
{
    return n > 1 && abs(answer[n - 1] - answer[n - 2]) <= w->distance;
}

static pl_status watch(void *data, const int32_t *answer, int64_t n, bool *end)
{
    watcher *w = data;
    if (++w->calls == w->fails_at) return pl_fail_callback(w->ctx, "the watcher fell asleep");
    for (int64_t k = 2; k < n; k++) assert_false(ends_here(w, answer, k)); /* it would have ended */
    *end = ends_here(w, answer, n);
    return PL_OK;
}

static void answers_end_when_the_caller_says_so(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r, *free_run;
    watcher w = {.ctx = ctx, .distance = 4};
    pl_gen_options o = options(1, 12);
    OK(maker_new(ctx, &m, 2));
    OK(generate_all(&m, &o, &free_run));
    o.ends = watch;
    o.ends_data = &w;
    OK(generate_all(&m, &o, &r));
    int64_t total = 0, by_text = 0;
    for (int64_t p = 0; p < N_PROMPTS; p++) {
        const int32_t *answer = free_run->tokens + p * 12;
        int64_t n = 1;
        while (n < 12 && !ends_here(&w, answer, n)) n++;
        const bool text = ends_here(&w, answer, n);
        assert_int_equal(r->length[p], n);
        assert_int_equal(r->finish[p], text ? PL_FINISH_TEXT : PL_FINISH_LENGTH);
        assert_memory_equal(r->tokens + p * 12, answer, (size_t)n * 4);
        total += n;
        by_text += text;
    }
    assert_int_equal(w.calls, total); /* once for each token */
    assert_true(by_text > 0);
    pl_gen_result_free(ctx, r);

    o.stop = free_run->tokens; /* a stop token comes first: nobody is asked about it */
    o.n_stop = 1;
    o.max_tokens = 1;
    w = (watcher){.ctx = ctx};
    OK(generate_all(&m, &o, &r));
    int64_t asked = 0;
    for (int64_t p = 0; p < N_PROMPTS; p++)
        asked += free_run->tokens[p * 12] != free_run->tokens[0];
    assert_int_equal(w.calls, asked);
    assert_int_equal(r->finish[0], PL_FINISH_STOP);
    pl_gen_result_free(ctx, r);

    o.n_stop = 0;
    o.max_tokens = 12;
    for (int64_t k = 1; k <= 9; k++) {
        w = (watcher){.ctx = ctx, .distance = -1, .fails_at = k};
        FAILS(generate_all(&m, &o, &r), PL_ERR_CALLBACK, "the watcher fell asleep");
        assert_null(r);
        assert_int_equal(w.calls, k); /* and all stops */
    }
    pl_gen_result_free(ctx, free_run);
    maker_free(&m);
}

static void answers_end_at_the_context_and_never_at_the_cache(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(1, 12);
    OK(maker_new(ctx, &m, 3));
    for (int64_t context = 8; context < 22; context++) {
        o.context = context;
        OK(generate_all(&m, &o, &r));
        for (int64_t p = 0; p < N_PROMPTS; p++) {
            const int64_t room = context - (offsets[p + 1] - offsets[p]);
            assert_int_equal(r->length[p], room < 12 ? room : 12);
            assert_int_equal(r->finish[p], PL_FINISH_LENGTH);
        }
        pl_gen_result_free(ctx, r);
    }
    o.context = 7; /* the third prompt alone has as many */
    FAILS(generate_all(&m, &o, &r), PL_ERR_ARG,
          "generate: prompt 3 has 7 tokens, the model's context is 7: no room for an answer; "
          "shorten the prompt");
    o.context = 0;
    o.max_tokens =
        3 * BLOCK - 6; /* of the third prompt; a last token needs no place in the cache */
    OK(generate_all(&m, &o, &r));
    for (int64_t p = 0; p < N_PROMPTS; p++) assert_int_equal(r->length[p], o.max_tokens);
    pl_gen_result_free(ctx, r);
    o.max_tokens++;
    FAILS(
        generate_all(&m, &o, &r), PL_ERR_ARG,
        "generate: prompt 3 has 7 tokens, and an answer of 187 to it wants 4 blocks of the cache, "
        "which may have 3: give it more memory, or lower max_tokens");
    o.context = 3 * BLOCK; /* nor is an answer longer than that */
    OK(generate_all(&m, &o, &r));
    assert_int_equal(r->length[2], 3 * BLOCK - 7);
    pl_gen_result_free(ctx, r);
    o.context = 0;
    o.cache_blocks = 4;
    OK(generate_all(&m, &o, &r));
    assert_int_equal(r->length[2], 3 * BLOCK - 5);
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* ---- What stands beside does not matter ---- */

/* Answers of uneven length, so that slots fall free at different times. */
static pl_gen_options uneven(void)
{
    static const int32_t stops[] = {2, 11, 30};
    pl_gen_options o = options(1.3, 14);
    o.samples = 3;
    o.stop = stops;
    o.n_stop = 3;
    o.top_k = 20;
    return o;
}

static void slots_and_company_change_nothing(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const int64_t keys[N_PROMPTS] = {40, 41, 42, 43, 44};
    maker wide;
    pl_gen_result *all, *r;
    pl_gen_options o = uneven();
    const int64_t n = N_PROMPTS * o.samples;
    OK(maker_new(ctx, &wide, 32));
    OK(pl_generate(wide.generator, &all, N_PROMPTS, tokens, offsets, keys, &o));
    int64_t longest = 0, shortest = 14;
    for (int64_t i = 0; i < n; i++) {
        if (all->length[i] > longest) longest = all->length[i];
        if (all->length[i] < shortest) shortest = all->length[i];
    }
    assert_true(shortest < 5 && longest > 10);
    assert_int_equal(all->prefill_tokens, offsets[N_PROMPTS]); /* once for its three answers */
    assert_int_equal(all->steps, longest); /* one prefill gives the first token of each */
    for (int64_t slots = 1; slots <= 8; slots++) {
        maker m;
        OK(maker_new(ctx, &m, slots));
        OK(pl_generate(m.generator, &r, N_PROMPTS, tokens, offsets, keys, &o));
        for (int64_t i = 0; i < n; i++) assert_true(same_answer(r, i, all, i));
        if (slots == 1) { /* one after the other: no block is left to keep a prompt in */
            int64_t steps = 0;
            for (int64_t i = 0; i < n; i++) steps += r->length[i];
            assert_int_equal(r->steps, steps);
            assert_int_equal(r->prefill_tokens, 3 * offsets[N_PROMPTS]);
        }
        pl_gen_result_free(ctx, r);
        o.slots = slots; /* there is, with blocks to spare: the others run its last token again */
        o.cache_blocks = 64;
        OK(pl_generate(m.generator, &r, N_PROMPTS, tokens, offsets, keys, &o));
        for (int64_t i = 0; i < n; i++) assert_true(same_answer(r, i, all, i));
        assert_int_equal(r->pauses, 0);
        assert_true(r->prefill_tokens > offsets[N_PROMPTS]);
        assert_true(r->prefill_tokens <= offsets[N_PROMPTS] + 2 * N_PROMPTS);
        if (slots == 1) assert_int_equal(r->prefill_tokens, offsets[N_PROMPTS] + 2 * N_PROMPTS);
        pl_gen_result_free(ctx, r);
        o.slots = o.cache_blocks = 0;
        for (int64_t p = N_PROMPTS - 1; p >= 0; p--) { /* and each prompt alone, over old caches */
            const int64_t range[2] = {0, offsets[p + 1] - offsets[p]};
            OK(pl_generate(m.generator, &r, 1, tokens + offsets[p], range, &keys[p], &o));
            for (int64_t s = 0; s < 3; s++) assert_true(same_answer(r, s, all, p * 3 + s));
            pl_gen_result_free(ctx, r);
        }
        maker_free(&m);
    }
    pl_gen_result_free(ctx, all);
    maker_free(&wide);
}

enum { MANY = 24 }; /* answers to each prompt, so that a step is worth lanes */

/* A narrow model's answers grow in lanes where there are several threads: with 2, 3 and 5 of them
** the same answers in the same steps. */
static void threads_change_nothing(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int former = omp_get_max_threads();
    maker m;
    pl_gen_result *alone, *r;
    pl_gen_options o = uneven();
    o.samples = MANY;
    OK(maker_new(ctx, &m, N_PROMPTS * MANY));
    omp_set_num_threads(1);
    OK(generate_all(&m, &o, &alone));
    for (int threads = 2; threads <= 5; threads += threads - 1) {
        omp_set_num_threads(threads);
        OK(generate_all(&m, &o, &r));
        assert_int_equal(r->steps, alone->steps);
        for (int64_t i = 0; i < r->n; i++) assert_true(same_answer(r, i, alone, i));
        pl_gen_result_free(ctx, r);
    }
    omp_set_num_threads(former);
    pl_gen_result_free(ctx, alone);
    maker_free(&m);
}

/* After the third token some row of the embedding is not finite. */
static pl_status spoil(void *data, const int32_t *answer, int64_t n, bool *end)
{
    const maker *m = data;
    float *row = (float *)pl_tensor_data(m->model.embedding) + answer[n - 1] * TOY_WIDTH;
    if (n == 3) row[5] = NAN;
    *end = false;
    return PL_OK;
}

static void a_lane_that_fails_ends_all(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int former = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads += 2) {
        maker m;
        pl_gen_result *r;
        pl_gen_options o = options(1, 12);
        OK(maker_new(ctx, &m, N_PROMPTS * MANY));
        o.samples = MANY;
        o.ends = spoil;
        o.ends_data = &m;
        pl_set_nan_check(ctx, true);
        pl_fail_callback(ctx, "an earlier text");
        omp_set_num_threads(threads);
        FAILS(generate_all(&m, &o, &r), PL_ERR_NONFINITE,
              "embedding: made a NaN or an infinity in 'y' from w [37,24] (itself not finite)");
        omp_set_num_threads(former);
        pl_set_nan_check(ctx, false);
        assert_null(r);
        maker_free(&m);
    }
}

/* What the context is asked for while all prompts are answered: allocations, and the most bytes
** that live beyond those before. */
typedef struct {
    int64_t allocations, bytes;
} demand;

static demand demand_of(const maker *m, const pl_gen_options *o, int threads)
{
    pl_ctx *ctx = m->ctx;
    const int former = omp_get_max_threads();
    const int64_t live = live_bytes(ctx), calls = pl_mem_get(ctx).calls;
    pl_gen_result *r;
    omp_set_num_threads(threads);
    pl_mem_reset_peak(ctx);
    OK(generate_all(m, o, &r));
    omp_set_num_threads(former);
    pl_gen_result_free(ctx, r);
    return (demand){pl_mem_get(ctx).calls - calls, pl_mem_get(ctx).peak - live};
}

/* The tensors of a lane's step are of its own context, whose blocks are of the one above. */
static void lanes_are_taken_and_counted(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_options o = options(1, 40);
    o.samples = MANY;
    OK(maker_new(ctx, &m, N_PROMPTS * MANY));
    demand_of(&m, &o, 1); /* what is packed once */
    const demand alone = demand_of(&m, &o, 1), lanes = demand_of(&m, &o, 3);
    if (CACHES) assert_true(lanes.allocations < alone.allocations / 4);
    if (CACHES) assert_true(lanes.bytes > alone.bytes + alone.bytes / 2);
    assert_true(lanes.allocations > 0 && lanes.bytes > 0);
    maker_free(&m);
}

/* What lanes take counts as the context's, and its limit holds for them. */
static void lanes_keep_to_the_limit(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int former = omp_get_max_threads();
    maker m;
    pl_gen_result *r;
    pl_gen_options o = options(1, 4);
    o.samples = MANY;
    OK(maker_new(ctx, &m, N_PROMPTS * MANY));
    omp_set_num_threads(3);
    int64_t room = 1 << 12;
    for (pl_status st = PL_ERR_NOMEM; st != PL_OK; room += 512) {
        pl_mem_set_limit(ctx, live_bytes(ctx) + room);
        pl_mem_reset_peak(ctx);
        st = generate_all(&m, &o, &r);
        assert_true(st == PL_OK || st == PL_ERR_NOMEM);
        assert_true(pl_mem_get(ctx).peak <= pl_mem_get(ctx).limit);
    }
    assert_true(room > 1 << 13); /* it did not fit at once */
    pl_mem_set_limit(ctx, 0);
    omp_set_num_threads(former);
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* Prompts of these lengths that begin with `common` equal tokens; `at` gets their offsets. */
static int32_t *prompts_alike(int n, const int64_t *length, int64_t common, int64_t *at)
{
    at[0] = 0;
    for (int p = 0; p < n; p++) at[p + 1] = at[p] + length[p];
    int32_t *text = malloc((size_t)at[n] * sizeof *text);
    assert_non_null(text);
    for (int p = 0; p < n; p++)
        for (int64_t t = 0; t < length[p]; t++)
            text[at[p] + t] = (int32_t)((t * t + (t < common ? 0 : p + 1) * (t + 3)) % TOY_VOCAB);
    for (int p = 1; p < n; p++) text[at[p] + common] = (text[common] + p) % TOY_VOCAB;
    return text;
}

static void texts_share_what_they_begin_with(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { P = 4, K = 3, COMMON = 68, MOST = 140 };
    static const int64_t length[P] = {150, 131, 70, 129}, keys[P] = {7, 8, 9, 10};
    static const int32_t stop = 2;
    int64_t at[P + 1], pauses = 0;
    int32_t *text = prompts_alike(P, length, COMMON, at);
    maker m;
    pl_gen_result *all, *r;
    pl_gen_options o = options(1.3, MOST);
    o.samples = K;
    o.stop = &stop;
    o.n_stop = 1;
    o.slots = 64;
    o.cache_blocks = 200;
    OK(maker_new(ctx, &m, 1));
    OK(pl_generate(m.generator, &all, P, text, at, keys, &o));
    assert_int_equal(all->prefill_tokens, at[P] - (P - 1) * COMMON);
    assert_int_equal(all->pauses, 0);
    int64_t longest = 0;
    for (int64_t i = 0; i < P * K; i++)
        if (all->length[i] > longest) longest = all->length[i];
    assert_true(longest > BLOCK);
    pl_gen_options lone = o;
    lone.samples = 1;
    for (int p = 0; p < P; p++) { /* an answer has the bits of one that is alone */
        maker other;
        OK(maker_new(ctx, &other, 4));
        const int64_t range[2] = {0, length[p]};
        OK(pl_generate(other.generator, &r, 1, text + at[p], range, &keys[p], &lone));
        assert_true(same_answer(r, 0, all, p * K));
        assert_int_equal(r->prefill_tokens, length[p]);
        pl_gen_result_free(ctx, r);
        maker_free(&other);
    }
    for (int64_t blocks = 5; blocks <= 14; blocks++) /* the longest text has 289 positions */
        for (int64_t slots = 1; slots <= 8; slots += 2) {
            maker tight;
            OK(maker_new(ctx, &tight, 1));
            o.slots = slots;
            o.cache_blocks = blocks;
            OK(pl_generate(tight.generator, &r, P, text, at, keys, &o));
            for (int64_t i = 0; i < P * K; i++) assert_true(same_answer(r, i, all, i));
            assert_true(pl_tensor_shape(tight.model.cache[0])[0] <= blocks);
            pauses += r->pauses;
            pl_gen_result_free(ctx, r);
            maker_free(&tight);
        }
    assert_true(pauses > 0);
    pl_gen_result_free(ctx, all);
    maker_free(&m);
    free(text);
}

static void prompts_enter_by_2048_tokens(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const int64_t length[3] = {900, 900, 900}, keys[3] = {0, 1, 2};
    int64_t at[4];
    int32_t *text = prompts_alike(3, length, 1, at);
    maker m;
    pl_gen_result *all, *one;
    pl_gen_options o = options(1, 4);
    o.cache_blocks = 100;
    OK(maker_new(ctx, &m, 1));
    OK(pl_generate(m.generator, &all, 3, text, at, keys, &o));
    assert_int_equal(all->steps, 6); /* two prompts, a token each, the third prompt, three steps */
    for (int p = 0; p < 3; p++) {
        const int64_t range[2] = {0, length[p]};
        OK(pl_generate(m.generator, &one, 1, text + at[p], range, &keys[p], &o));
        assert_true(same_answer(one, 0, all, p));
        pl_gen_result_free(ctx, one);
    }
    pl_gen_result_free(ctx, all);
    maker_free(&m);
    free(text);
}

static void long_prompts_are_run_in_pieces(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const int64_t length[2] = {4500, 4420}, keys[2] = {0, 1};
    int64_t at[3];
    int32_t *text = prompts_alike(2, length, 4400, at);
    maker m;
    pl_gen_result *both, *one;
    pl_gen_options o = options(1, 4);
    o.cache_blocks = 200;
    OK(maker_new(ctx, &m, 1));
    OK(pl_generate(m.generator, &both, 2, text, at, keys, &o));
    assert_int_equal(both->prefill_tokens, 4500 + 20);
    for (int p = 0; p < 2; p++) {
        const int64_t range[2] = {0, length[p]};
        OK(pl_generate(m.generator, &one, 1, text + at[p], range, &keys[p], &o));
        assert_true(same_answer(one, 0, both, p));
        assert_int_equal(one->steps, 3 + 3); /* 2048 tokens at most in one; then a token each */
        pl_gen_result_free(ctx, one);
    }
    pl_gen_result_free(ctx, both);
    maker_free(&m);
    free(text);
}

static void seeds_keys_and_samples_name_the_answers(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r, *other;
    pl_gen_options o = options(1, 12);
    o.samples = 4;
    OK(maker_new(ctx, &m, 8));
    OK(generate_all(&m, &o, &r));
    for (int64_t a = 0; a < 4; a++) /* four answers to the first prompt */
        for (int64_t b = a + 1; b < 4; b++) assert_false(same_answer(r, a, r, b));
    static const int64_t keys[] = {0, 1, 2, 3, 4}, reversed[] = {4, 3, 2, 1, 0};
    OK(pl_generate(m.generator, &other, N_PROMPTS, tokens, offsets, keys, &o)); /* the default */
    for (int64_t i = 0; i < r->n; i++) assert_true(same_answer(r, i, other, i));
    pl_gen_result_free(ctx, other);
    OK(pl_generate(m.generator, &other, N_PROMPTS, tokens, offsets, reversed, &o));
    for (int64_t i = 0; i < r->n; i++) /* the third prompt has its old key */
        assert_int_equal(same_answer(r, i, other, i), i / 4 == 2);
    pl_gen_result_free(ctx, other);
    o.seed++;
    OK(generate_all(&m, &o, &other));
    for (int64_t i = 0; i < r->n; i++) assert_false(same_answer(r, i, other, i));
    pl_gen_result_free(ctx, other);
    o.temperature = 0; /* certain: all samples alike */
    OK(generate_all(&m, &o, &other));
    for (int64_t i = 0; i < r->n; i++) assert_true(same_answer(other, i, other, i / 4 * 4));
    pl_gen_result_free(ctx, other);
    pl_gen_result_free(ctx, r);
    maker_free(&m);
}

/* ---- Misuse ---- */

static void nothing_is_asked_nothing_is_given(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r;
    const pl_gen_options o = options(1, 5);
    const int64_t none = 0;
    OK(maker_new(ctx, &m, 2));
    OK(pl_generate(m.generator, &r, 0, NULL, &none, NULL, &o));
    assert_int_equal(r->n, 0);
    assert_int_equal(r->steps, 0);
    assert_int_equal(r->prefill_tokens, 0);
    pl_gen_result_free(ctx, r);
    pl_gen_result_free(ctx, NULL);
    pl_generator_free(NULL);
    maker_free(&m);
}

static void bad_requests_are_refused(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m;
    pl_gen_result *r, *fine;
    OK(maker_new(ctx, &m, 2));
    const pl_gen_options good = options(1, 4);
    OK(generate_all(&m, &good, &fine));
    const int64_t live = live_bytes(ctx);

    static const char counts[] = "generate: max_tokens and samples must be at least 1";
    static const char numbers[] =
        "generate: wanted temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1, top_k >= 0";
    pl_gen_options bad[12];
    for (int i = 0; i < 12; i++) bad[i] = good;
    bad[0].max_tokens = 0;
    bad[1].max_tokens = -1;
    bad[2].samples = 0;
    bad[3].temperature = -0.1;
    bad[4].temperature = NAN;
    bad[5].top_p = 0;
    bad[6].top_p = 1.01;
    bad[7].top_p = NAN;
    bad[8].min_p = -0.1;
    bad[9].min_p = 1.1;
    bad[10].min_p = NAN;
    bad[11].top_k = -1;
    for (int i = 0; i < 12; i++) {
        FAILS(generate_all(&m, &bad[i], &r), PL_ERR_ARG, i < 3 ? counts : numbers);
        assert_null(r);
    }
    FAILS(pl_generate(m.generator, &r, 3, tokens, (const int64_t[]){0, 4, 4, 5}, NULL, &good),
          PL_ERR_ARG, "generate: prompt 2 is empty");
    static const int32_t wrong[2][4] = {{5, 0, TOY_VOCAB, 7}, {5, -1, 0, 7}};
    static const int64_t one[2] = {0, 4};
    FAILS(pl_generate(m.generator, &r, 1, wrong[0], one, NULL, &good), PL_ERR_ARG,
          "generate: prompt 1: item 3 is 37; token ids from 0 to 36 wanted");
    FAILS(pl_generate(m.generator, &r, 1, wrong[1], one, NULL, &good), PL_ERR_ARG,
          "generate: prompt 1: item 2 is -1; token ids from 0 to 36 wanted");
    pl_gen_options many = good;
    many.samples = INT64_MAX / 2;
    FAILS(generate_all(&m, &many, &r), PL_ERR_NOMEM, "are too many");
    many.samples = (int64_t)1 << 62; /* 4 of them wrap to 0 */
    FAILS(pl_generate(m.generator, &r, 4, tokens, (const int64_t[]){0, 1, 2, 3, 4}, NULL, &many),
          PL_ERR_NOMEM, "generate: 4 prompts with 4611686018427387904 samples of 4 tokens");
    FAILS(pl_generate(m.generator, &r, -1, tokens, one, NULL, &good), PL_ERR_ARG,
          "generate: -1 prompts");
    pl_gen_options wrong_stop = good;
    wrong_stop.stop = wrong[0];
    wrong_stop.n_stop = 4;
    FAILS(generate_all(&m, &wrong_stop, &r), PL_ERR_ARG,
          "generate: stop: item 3 is 37; token ids from 0 to 36 wanted");
    assert_null(r);
    pl_interrupt(ctx);
    FAILS(generate_all(&m, &good, &r), PL_ERR_INTERRUPTED, "interrupted!");
    assert_int_equal(live_bytes(ctx), live);
    OK(generate_all(&m, &good, &r)); /* and the generator is as good as before */
    for (int64_t i = 0; i < r->n; i++) assert_true(same_answer(r, i, fine, i));
    pl_gen_result_free(ctx, r);
    pl_gen_result_free(ctx, fine);
    maker_free(&m);
}

/* A generator takes its plan even when it refuses. */
static void bad_caches_and_plans_are_refused(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    toy m;
    pl_plan *plan;
    pl_generator *g;
    pl_tensor *longer, *flat, *exact;
    OK(toy_new(ctx, &m, 2, BLOCK));
    OK(pl_tensor_zeros(ctx, &longer, PL_F32, 4, (const int64_t[]){2, 1, 2 * BLOCK, TOY_DIM}));
    OK(pl_tensor_zeros(ctx, &flat, PL_F32, 3, (const int64_t[]){2, BLOCK, TOY_DIM}));
    OK(pl_tensor_zeros(ctx, &exact, PL_F64, 4, (const int64_t[]){2, 1, BLOCK, TOY_DIM}));
    pl_tensor *const second[] = {longer, flat, exact};
    for (int i = 0; i < 3; i++) {
        pl_tensor *const pair[] = {m.cache[0], second[i]};
        OK(toy_plan(ctx, &m, &plan));
        FAILS(pl_generator_new(ctx, &g, plan, pair, 2), PL_ERR_SHAPE,
              "generator: cache 1 must be float32 [blocks,G,block_len,D] like the first");
        assert_null(g);
    }
    for (int n = 0; n < 2; n++) {
        OK(toy_plan(ctx, &m, &plan));
        FAILS(pl_generator_new(ctx, &g, plan, m.cache, n), PL_ERR_ARG,
              "generator: caches come in pairs of keys and values");
        assert_null(g);
    }
    /* A plan that gives hidden states of every row in place of a row of logits for each sequence.
     */
    static const int32_t words[3] = {1, 2, 3};
    const int32_t *const text = words;
    const int64_t length = 3;
    pl_tensor *in[N_IN], *h;
    pl_gen_result *r;
    OK(make_inputs(ctx, in, 1, &text, &length, NULL, NULL));
    OK(pl_plan_begin(ctx, in, N_IN));
    OK(toy_hidden(ctx, &m, in, true, &h));
    OK(pl_plan_end(ctx, h, &plan));
    OK(pl_generator_new(ctx, &g, plan, m.cache, 2));
    const pl_gen_options o = options(1, 4);
    FAILS(pl_generate(g, &r, 1, words, (const int64_t[]){0, 3}, NULL, &o), PL_ERR_SHAPE,
          "generate: the plan must give float32 logits [B,V]");
    assert_null(r);
    pl_generator_free(g);
    pl_tensor *made[] = {h, longer, flat, exact};
    for (int i = 0; i < 4; i++) pl_tensor_release(made[i]);
    free_inputs(in);
    toy_free(&m);
}

/* A generator holds its caches, whatever becomes of the caller's references. */
static void a_generator_holds_what_it_needs(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    maker m, kept;
    pl_gen_result *a, *b;
    const pl_gen_options o = uneven();
    OK(maker_new(ctx, &m, 3));
    OK(maker_new(ctx, &kept, 3));
    toy_free(&m.model);
    OK(generate_all(&m, &o, &a));
    OK(generate_all(&kept, &o, &b));
    for (int64_t i = 0; i < a->n; i++) assert_true(same_answer(a, i, b, i));
    pl_gen_result_free(ctx, a);
    pl_gen_result_free(ctx, b);
    maker_free(&m);
    maker_free(&kept);
}

static pl_status make_and_generate_many(fixture *f)
{
    maker m;
    pl_gen_result *r = NULL;
    pl_gen_options o = options(1, 3);
    o.samples = 2 * MANY;
    pl_status st = maker_new(f->ctx, &m, 2 * MANY);
    if (st == PL_OK) st = pl_generate(m.generator, &r, 1, tokens, offsets, NULL, &o);
    pl_gen_result_free(f->ctx, r);
    maker_free(&m);
    return st;
}

static pl_status make_and_generate(fixture *f)
{
    maker m;
    pl_gen_result *r = NULL;
    pl_gen_options o = options(1, 3);
    o.samples = 2;
    o.top_k = 5;
    o.slots = 3;
    o.cache_blocks = 9;
    pl_status st = maker_new(f->ctx, &m, 1);
    if (st == PL_OK) st = pl_generate(m.generator, &r, 2, tokens, offsets, NULL, &o);
    if (st == PL_OK) assert_int_equal(r->length[3], 3);
    else assert_null(r);
    pl_gen_result_free(f->ctx, r);
    maker_free(&m);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    const int former = omp_get_max_threads();
    assert_true(for_each_allocation(*state, make_and_generate) > 300);
    omp_set_num_threads(2);
    assert_true(for_each_allocation(*state, make_and_generate_many) > 300);
    omp_set_num_threads(former);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(greedy_answers_are_those_of_an_argmax_loop),
        CONTEXT_CASE(log_probs_have_the_bits_of_scoring),
        CONTEXT_CASE(draws_follow_the_model),
        CONTEXT_CASE(truncation_leaves_the_likely_ones),
        CONTEXT_CASE(answers_end_at_stop_tokens),
        CONTEXT_CASE(answers_end_when_the_caller_says_so),
        CONTEXT_CASE(answers_end_at_the_context_and_never_at_the_cache),
        CONTEXT_CASE(slots_and_company_change_nothing),
        CONTEXT_CASE(threads_change_nothing),
        CONTEXT_CASE(a_lane_that_fails_ends_all),
        CONTEXT_CASE(lanes_are_taken_and_counted),
        CONTEXT_CASE(lanes_keep_to_the_limit),
        CONTEXT_CASE(texts_share_what_they_begin_with),
        CONTEXT_CASE(prompts_enter_by_2048_tokens),
        CONTEXT_CASE(long_prompts_are_run_in_pieces),
        CONTEXT_CASE(seeds_keys_and_samples_name_the_answers),
        CONTEXT_CASE(nothing_is_asked_nothing_is_given),
        CONTEXT_CASE(bad_requests_are_refused),
        CONTEXT_CASE(bad_caches_and_plans_are_refused),
        CONTEXT_CASE(a_generator_holds_what_it_needs),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

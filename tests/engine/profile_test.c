/*
** profile_test.c - the account of time: what a call costs by its shapes, stages in one another,
** events beyond the room for them, nothing when nobody profiles.
*/
#include "check.h"

static const pl_limits limits = {.float32 = 1e9,
                                 .bfloat16 = 1e9,
                                 .split = 4e9,
                                 .read = 1e9,
                                 .copy = 1e9,
                                 .cache = 2e9,
                                 .cache_bytes = 1000};

static pl_tensor *filled(pl_ctx *ctx, pl_dtype dtype, int rank, const int64_t *shape)
{
    static const double values[128 * 128] = {0};
    pl_tensor *t;
    OK(tensor_of(ctx, &t, dtype, rank, shape, values));
    return t;
}

static pl_tensor *ints(pl_ctx *ctx, int64_t n, const double *values)
{
    pl_tensor *t;
    OK(tensor_of(ctx, &t, PL_I32, 1, &n, values));
    return t;
}

static const pl_profile_row *row(pl_ctx *ctx, const char *stage, const char *name, bool backward)
{
    for (int64_t i = 0; i < pl_profile_count(ctx, PL_PROFILE_ROWS); i++) {
        const pl_profile_row *r = pl_profile_get_row(ctx, i);
        if (strcmp(r->name, name) == 0 && r->backward == backward && strcmp(r->stage, stage) == 0)
            return r;
    }
    fail_msg("no row '%s' in '%s'", name, stage);
    return NULL;
}

static pl_profile_stage stage(pl_ctx *ctx, const char *name)
{
    for (int64_t i = 0; i < pl_profile_count(ctx, PL_PROFILE_STAGES); i++) {
        const pl_profile_stage s = pl_profile_get_stage(ctx, i);
        if (strcmp(s.name, name) == 0) return s;
    }
    fail_msg("no stage '%s'", name);
    return (pl_profile_stage){0};
}

#define OUTSIDE "outside of scopes"

static void counts_a_product_and_its_gradients(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = filled(ctx, PL_F32, 2, (const int64_t[]){5, 3});
    pl_tensor *w = filled(ctx, PL_F32, 2, (const int64_t[]){4, 3}), *y, *loss;
    pl_tensor_set_requires_grad(w, true);
    OK(pl_profile_begin(ctx, &limits, 10));
    assert_true(pl_profile_on(ctx));
    OK(APPLY(linear, &y, x, w, NULL));
    OK(APPLY(sum, &loss, y));
    OK(pl_backward(ctx, loss, NULL));

    const pl_profile_row *forward = row(ctx, OUTSIDE, "linear", false);
    assert_int_equal(forward->calls, 1);
    assert_true(forward->flops == 2 * 5 * 3 * 4);
    assert_true(forward->bytes == 4 * (15 + 12 + 20));
    assert_true(forward->least == 120 / 1e9); /* more than its bytes at the rate of the cache */
    assert_true(forward->peak == 120 / 1e9);
    assert_string_equal(forward->example, "[5,3] [4,3]");
    const pl_profile_row *backward = row(ctx, OUTSIDE, "linear", true);
    assert_true(backward->flops == 2 * 5 * 3 * 4);           /* w alone wants a gradient */
    assert_true(backward->bytes == 4 * (20 + 15 + 12 + 12)); /* dy; x and w are read; dw */
    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_EVENTS), 4);
    assert_string_equal(pl_profile_get_event(ctx, 3).name, "linear");
    assert_true(pl_profile_get_event(ctx, 3).backward);
    pl_profile_end(ctx);
    assert_false(pl_profile_on(ctx));
    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_ROWS), 0);
    pl_tensor *all[] = {x, w, y, loss};
    for (int i = 0; i < 4; i++) pl_tensor_release(all[i]);
}

/* dx = dy W has n and k of 128 and may be of split numbers; dW = dyT x has a k of 100. */
static void holds_split_products_against_their_own_limit(void **state)
{
    static const char *const rules[] = {"own", "split"};
    static const double split[] = {0, 1};
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const double one = 2.0 * 100 * 128 * 128; /* of a product */
    pl_tensor *x = filled(ctx, PL_F32, 2, (const int64_t[]){100, 128}), *y, *loss;
    pl_tensor *w = filled(ctx, PL_F32, 2, (const int64_t[]){128, 128});
    pl_tensor_set_requires_grad(x, true);
    pl_tensor_set_requires_grad(w, true);
    for (int i = 0; i < 2; i++) {
        OK(pl_gemm_set(ctx, rules[i]));
        OK(pl_profile_begin(ctx, &limits, 0));
        OK(APPLY(linear, &y, x, w, NULL));
        OK(APPLY(sum, &loss, y));
        OK(pl_backward(ctx, loss, NULL));
        assert_true(row(ctx, OUTSIDE, "linear", false)->split == 0);
        const pl_profile_row *backward = row(ctx, OUTSIDE, "linear", true);
        assert_true(backward->flops == 2 * one && backward->split == split[i] * one);
        assert_true(backward->least ==
                    (2 - split[i]) * one / limits.float32 + split[i] * one / limits.split);
        pl_profile_end(ctx);
        pl_tensor_release(y);
        pl_tensor_release(loss);
    }
    pl_tensor_release(x);
    pl_tensor_release(w);
}

/* Two sequences of 3 and 1 rows, two heads of 2. */
static void counts_the_pairs_of_attention(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *q = filled(ctx, PL_F32, 2, (const int64_t[]){4, 4}), *y;
    pl_tensor *offsets = ints(ctx, 3, (double[]){0, 3, 4});
    pl_tensor *const in[] = {q, q, q, offsets};
    pl_param param[8];
    for (int i = 0; i < pl_op_get(ctx, PL_OP_attention)->n_param; i++)
        param[i] = pl_op_get(ctx, PL_OP_attention)->param[i].fallback;
    param[0].i = 2;
    const double pairs[] = {6 + 1, 5 + 1}; /* all; with a window of 2 */
    for (int windowed = 0; windowed < 2; windowed++) {
        param[3].i = windowed ? 2 : 0;
        OK(pl_profile_begin(ctx, &limits, 0));
        OK(pl_op(ctx, PL_OP_attention, in, param, &y));
        assert_true(row(ctx, OUTSIDE, "attention", false)->flops == 4 * 4 * pairs[windowed]);
        pl_profile_end(ctx);
        pl_tensor_release(y);
    }
    pl_tensor_release(q);
    pl_tensor_release(offsets);
}

static void counts_the_head_with_the_gradients_it_makes(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *hidden = filled(ctx, PL_F32, 2, (const int64_t[]){3, 2}), *loss;
    pl_tensor *head = filled(ctx, PL_F32, 2, (const int64_t[]){5, 2});
    pl_tensor *rows = ints(ctx, 2, (double[]){0, 2}), *targets = ints(ctx, 2, (double[]){1, 4});
    for (int grads = 0; grads < 3; grads++) {
        pl_tensor_set_requires_grad(hidden, grads > 0);
        pl_tensor_set_requires_grad(head, grads > 1);
        OK(pl_profile_begin(ctx, &limits, 0));
        OK(APPLY(cross_entropy, &loss, hidden, head, rows, targets, NULL));
        assert_true(row(ctx, OUTSIDE, "cross_entropy", false)->flops == (1 + grads) * 2 * 2 * 10);
        pl_profile_end(ctx);
        pl_tensor_release(loss);
    }
    pl_tensor *all[] = {hidden, head, rows, targets};
    for (int i = 0; i < 4; i++) pl_tensor_release(all[i]);
}

static void stages_are_scopes_in_one_another(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t outer, inner, frame, before;
    pl_tensor *x = filled(ctx, PL_F32, 1, (const int64_t[]){7}), *y[3];
    OK(pl_scope_open(ctx, &before, "outer", false)); /* no stage: it was open already */
    OK(pl_profile_begin(ctx, &limits, 100));
    OK(pl_scope_open(ctx, &outer, "outer", false));
    OK(APPLY(exp, &y[0], x));
    OK(pl_scope_open(ctx, &inner, "inner", false));
    OK(pl_scope_open(ctx, &frame, "frame", true)); /* a frame is none */
    OK(APPLY(exp, &y[1], x));
    pl_scope_close(ctx, outer); /* and those inside it */
    OK(APPLY(exp, &y[2], x));
    pl_scope_close(ctx, before);

    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_STAGES), 3);
    const pl_profile_stage all = stage(ctx, OUTSIDE), one = stage(ctx, "outer");
    const pl_profile_stage two = stage(ctx, "inner");
    assert_int_equal(one.calls, 1);
    assert_true(one.nested == two.seconds && two.nested == 0);
    assert_true(all.nested == one.seconds && all.seconds >= all.nested + all.ops);
    assert_true(two.ops > 0 && two.ops <= two.seconds);
    const char *const names[] = {OUTSIDE, "outer", "inner"};
    for (int i = 0; i < 3; i++) {
        const pl_profile_row *r = row(ctx, names[i], "exp", false);
        assert_int_equal(r->calls, 1);
        assert_true(r->flops == 0 && r->bytes == 56 && r->least == 56 / 2e9 && r->peak == 0);
    }
    pl_profile_end(ctx);
    for (int i = 0; i < 3; i++) pl_tensor_release(y[i]);
    pl_tensor_release(x);
}

static void keeps_as_many_events_as_asked(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = filled(ctx, PL_F32, 1, (const int64_t[]){1}), *y;
    OK(pl_profile_begin(ctx, &limits, 2));
    for (int i = 0; i < 5; i++) {
        OK(APPLY(neg, &y, x));
        pl_tensor_release(y);
    }
    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_EVENTS), 2);
    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_LOST), 3);
    assert_int_equal(row(ctx, OUTSIDE, "neg", false)->calls, 5);
    pl_tensor *two = filled(ctx, PL_F32, 1, (const int64_t[]){2});
    FAILS(APPLY(add, &y, x, NULL), PL_ERR_ARG, "input 'b' is missing"); /* is not in it */
    assert_int_equal(pl_profile_count(ctx, PL_PROFILE_ROWS), 1);
    FAILS(pl_profile_begin(ctx, &limits, -1), PL_ERR_ARG, "profile: -1 events");
    pl_tensor_release(two);
    pl_tensor_release(x);
    pl_profile_end(ctx);
    pl_profile_end(ctx);
}

static pl_status profiled_sum(fixture *f)
{
    pl_ctx *ctx = f->ctx;
    pl_tensor *x = NULL, *y = NULL;
    pl_status st = pl_profile_begin(ctx, &limits, 10);
    if (st == PL_OK) st = pl_tensor_zeros(ctx, &x, PL_F32, 1, (const int64_t[]){3});
    if (st == PL_OK) st = APPLY(sum, &y, x);
    pl_tensor_release(x);
    pl_tensor_release(y);
    pl_profile_end(ctx);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    assert_true(for_each_allocation(*state, profiled_sum) > 3);
}

static void limits_are_measured(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_limits l;
    OK(pl_limits_measure(ctx, &l));
    const double all[] = {l.float32, l.bfloat16,           l.split, l.read, l.copy,
                          l.cache,   (double)l.cache_bytes};
    for (int i = 0; i < 7; i++) assert_true(all[i] > 1e6 && all[i] < 1e15);
    assert_true(l.split == l.bfloat16 / 6);
    assert_true(pl_fma_rate(0) > 1e6);
    pl_mem_trim(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(counts_a_product_and_its_gradients),
        CONTEXT_CASE(holds_split_products_against_their_own_limit),
        CONTEXT_CASE(counts_the_pairs_of_attention),
        CONTEXT_CASE(counts_the_head_with_the_gradients_it_makes),
        CONTEXT_CASE(stages_are_scopes_in_one_another),
        CONTEXT_CASE(keeps_as_many_events_as_asked),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
        CONTEXT_CASE(limits_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

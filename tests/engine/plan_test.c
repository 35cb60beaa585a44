/*
** plan_test.c - recorded runs: replays with other inputs of other sizes give the bits of the ops
** called one by one, constants are held, what a replay makes goes again, every misuse is told.
*/
#include <malloc.h>
#include <math.h>

#include "graph/lane.h"
#include "toy_model.h"

/* y = (a x + b)^2 over [n], recorded with n = 1; a and b are constants. */
static pl_status record(pl_ctx *ctx, pl_tensor *a, pl_tensor *b, pl_plan **plan)
{
    const int64_t one = 1;
    pl_tensor *x = NULL, *ax = NULL, *sum = NULL, *y = NULL;
    *plan = NULL;
    pl_status st = pl_tensor_zeros(ctx, &x, PL_F32, 1, &one);
    if (st == PL_OK) st = pl_plan_begin(ctx, &x, 1);
    if (st == PL_OK) {
        st = APPLY(mul, &ax, a, x);
        if (st == PL_OK) st = APPLY(add, &sum, ax, b);
        if (st == PL_OK) st = APPLY(square, &y, sum);
        if (st == PL_OK) st = pl_plan_end(ctx, y, plan);
        else pl_plan_cancel(ctx);
    }
    pl_tensor *made[] = {x, ax, sum, y};
    for (int i = 0; i < 4; i++) pl_tensor_release(made[i]);
    return st;
}

static pl_tensor *floats(pl_ctx *ctx, int64_t n, const double *values)
{
    pl_tensor *t;
    OK(tensor_of(ctx, &t, PL_F32, 1, &n, values));
    return t;
}

static void replays_with_other_inputs(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *a = floats(ctx, 1, (double[]){3}), *b = floats(ctx, 1, (double[]){-1});
    pl_tensor *x = floats(ctx, 3, (double[]){0, 1, 2}), *one = floats(ctx, 1, (double[]){5}), *y;
    pl_plan *plan;
    pl_tensor_set_requires_grad(a, true);
    OK(record(ctx, a, b, &plan));
    OK(pl_plan_run(plan, &x, &y));
    VALUES(y, 1, 4, 25);
    assert_false(pl_tensor_requires_grad(y)); /* without a tape */
    assert_true(pl_grad_enabled(ctx));
    pl_tensor_release(y);
    OK(pl_plan_run(plan, &one, &y));
    VALUES(y, 196);
    pl_tensor_release(y);
    OK(pl_tensor_fill(ctx, a, 10)); /* constants are read when it runs */
    pl_tensor_release(a);           /* and held by the plan */
    pl_tensor_release(b);
    OK(pl_plan_run(plan, &x, &y));
    VALUES(y, 1, 81, 361);
    pl_plan_free(plan);
    VALUES(y, 1, 81, 361); /* the caller's own */
    pl_tensor_release(y);
    pl_tensor_release(x);
    pl_tensor_release(one);
    pl_plan_free(NULL);
}

/* A replay keeps two of its ten results at a time, and none when it is done. */
static void results_go_after_their_last_use(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t n = 65536, bytes = n * (int64_t)sizeof(float);
    pl_tensor *x, *t[10], *unread, *y;
    pl_plan *plan;
    OK(pl_tensor_zeros(ctx, &x, PL_F32, 1, &n));
    OK(pl_plan_begin(ctx, &x, 1));
    for (int i = 0; i < 10; i++) {
        OK(APPLY(neg, &t[i], i > 0 ? t[i - 1] : x));
        if (i == 4) OK(APPLY(exp, &unread, t[i])); /* nobody reads it */
    }
    OK(pl_plan_end(ctx, t[9], &plan));
    for (int i = 0; i < 10; i++) pl_tensor_release(t[i]);
    pl_tensor_release(unread);
    const int64_t start = live_bytes(ctx);
    assert_true(start - ((fixture *)*state)->live <
                2 * bytes); /* the recording's results are gone */
    pl_mem_reset_peak(ctx);
    OK(pl_plan_run(plan, &x, &y));
    assert_true(pl_mem_get(ctx).peak - start < 3 * bytes);
    pl_tensor_release(y);
    assert_int_equal(live_bytes(ctx), start);
    pl_plan_free(plan);
    pl_tensor_release(x);
}

static void misuse_is_told(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = floats(ctx, 2, (double[]){1, 2}), *before, *y;
    pl_plan *plan;
    OK(APPLY(neg, &before, x));
    FAILS(pl_plan_end(ctx, x, &plan), PL_ERR_ARG, "plan: none is being recorded");
    assert_null(plan);
    pl_plan_cancel(ctx); /* of none: nothing */
    OK(pl_plan_begin(ctx, &x, 1));
    FAILS(pl_plan_begin(ctx, &x, 1), PL_ERR_ARG, "plan: one is being recorded already");
    pl_plan_cancel(ctx);

    static const char not_made[] = "plan: the output was not made while it was recorded";
    pl_tensor *const outputs[] = {x, before}; /* an input; a constant */
    for (int i = 0; i < 2; i++) {
        OK(pl_plan_begin(ctx, &x, 1));
        OK(APPLY(add, &y, before, x));
        FAILS(pl_plan_end(ctx, outputs[i], &plan), PL_ERR_ARG, not_made);
        assert_null(plan);
        pl_tensor_release(y);
        FAILS(pl_plan_end(ctx, outputs[i], &plan), PL_ERR_ARG, "none is being recorded");
    }

    /* An op that fails is not part of the recording. */
    pl_tensor *three = floats(ctx, 3, (double[]){1, 2, 3}), *none;
    OK(pl_plan_begin(ctx, &x, 1));
    FAILS(APPLY(add, &none, x, three), PL_ERR_SHAPE, "add");
    OK(APPLY(exp, &y, x));
    OK(pl_plan_end(ctx, y, &plan));
    pl_tensor_release(y);
    pl_tensor_release(three);

    pl_tensor *ids;
    OK(tensor_of(ctx, &ids, PL_I32, 1, (const int64_t[]){2}, (double[]){1, 2}));
    FAILS(pl_plan_run(plan, &ids, &y), PL_ERR_DTYPE, "exp: x is int32, a float dtype wanted");
    assert_null(y);
    assert_true(pl_grad_enabled(ctx));
    pl_tensor *gone = floats(ctx, 2, (double[]){1, 2});
    pl_tensor_free_data(gone);
    FAILS(pl_plan_run(plan, &gone, &y), PL_ERR_FREED, "tensor [2] was freed by :free()");
    pl_interrupt(ctx);
    FAILS(pl_plan_run(plan, &x, &y), PL_ERR_INTERRUPTED, "interrupted!");
    const bool former = pl_set_grad_enabled(ctx, false);
    OK(pl_plan_run(plan, &x, &y)); /* failures have not harmed it */
    assert_false(pl_grad_enabled(ctx));
    pl_set_grad_enabled(ctx, former);
    VALUES(y, (double)(float)exp(1.0), (double)(float)exp(2.0));
    pl_plan_free(plan);
    pl_tensor *made[] = {x, before, y, ids, gone};
    for (int i = 0; i < 5; i++) pl_tensor_release(made[i]);
}

/* A constant whose scope has closed is told of, not read. */
static void a_constant_may_not_be_freed(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t scope;
    pl_plan *plan;
    pl_tensor *x = floats(ctx, 1, (double[]){1}), *b = floats(ctx, 1, (double[]){2}), *y;
    OK(pl_scope_open(ctx, &scope, "inner", false));
    pl_tensor *a = floats(ctx, 1, (double[]){3});
    pl_tensor_set_name(a, "weight");
    OK(record(ctx, a, b, &plan));
    pl_scope_close(ctx, scope);
    FAILS(pl_plan_run(plan, &x, &y), PL_ERR_FREED,
          "weight [1] was freed when scope 'inner' closed");
    pl_plan_free(plan);
    pl_tensor *made[] = {x, a, b};
    for (int i = 0; i < 3; i++) pl_tensor_release(made[i]);
}

/* The results of a replay are the open scope's, like those of ops called one by one. */
static void results_belong_to_the_open_scope(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t scope;
    pl_plan *plan;
    pl_tensor *a = floats(ctx, 1, (double[]){1}), *x = floats(ctx, 1, (double[]){3}), *y, *kept;
    OK(record(ctx, a, a, &plan));
    OK(pl_scope_open(ctx, &scope, "inner", false));
    OK(pl_plan_run(plan, &x, &y));
    OK(pl_plan_run(plan, &x, &kept));
    pl_tensor_keep(kept);
    pl_scope_close(ctx, scope);
    FAILS(pl_tensor_check(ctx, y), PL_ERR_FREED, "scope 'inner' closed");
    VALUES(kept, 16);
    pl_plan_free(plan);
    pl_tensor *made[] = {a, x, y, kept};
    for (int i = 0; i < 4; i++) pl_tensor_release(made[i]);
}

/* A step of a model, recorded over three rows: every batch has the bits of the ops called directly,
** in the logits and in the caches, prefill and decode alike. */
static void a_model_replays_to_the_bit(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { SLOTS = 4, LENGTH = 64 };
    static const int32_t text[4][8] = {{5, 0, 36, 7, 7, 1, 30, 2},
                                       {9, 9, 9, 8, 3, 2, 1, 0},
                                       {36, 35, 34, 33, 32, 31, 30, 29},
                                       {17, 4, 0, 0, 25, 6, 11, 12}};
    struct {
        int64_t n, length[4];
        int32_t slot[4], past[4];
    } const batches[] = {
        {1, {1}, {2}, {0}},
        {4, {8, 1, 3, 2}, {0, 1, 2, 3}, {0, 0, 0, 0}}, /* over what the first left */
        {3, {1, 1, 1}, {3, 0, 1}, {2, 8, 1}},
        {2, {5, 1}, {1, 2}, {2, 3}},
        {4, {1, 1, 1, 1}, {3, 2, 1, 0}, {3, 4, 7, 9}},
    };
    toy replayed, direct;
    pl_plan *plan;
    OK(toy_new(ctx, &replayed, SLOTS, LENGTH));
    OK(toy_new(ctx, &direct, SLOTS, LENGTH));
    OK(toy_plan(ctx, &replayed, &plan));
    assert_int_equal(pl_plan_columns(plan), TOY_VOCAB);
    OK(pl_tensor_fill(ctx, replayed.cache[0], 0)); /* recording ran the step once */
    OK(pl_tensor_fill(ctx, replayed.cache[1], 0));
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        const int32_t *rows[4] = {text[0] + i % 3, text[1], text[2], text[3]};
        if (i == 1) rows[0] = text[0];
        pl_tensor *in[N_IN], *a, *b;
        OK(make_inputs(ctx, in, batches[i].n, rows, batches[i].length, batches[i].slot,
                       batches[i].past));
        OK(pl_plan_run(plan, in, &a));
        OK(toy_logits(ctx, &direct, in, true, &b));
        assert_int_equal(pl_tensor_shape(a)[0], batches[i].n);
        assert_int_equal(pl_tensor_shape(a)[1], TOY_VOCAB);
        assert_true(same_bits(a, b));
        assert_true(same_bits(replayed.cache[0], direct.cache[0]));
        assert_true(same_bits(replayed.cache[1], direct.cache[1]));
        pl_tensor_release(a);
        pl_tensor_release(b);
        free_inputs(in);
    }
    pl_plan_free(plan);
    toy_free(&replayed);
    toy_free(&direct);
}

/* Two lanes at once, each with inputs of its own; constants are read as they are then, and a
** failure of one is told by its text and harms no other. */
static void lanes_run_side_by_side(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *a = floats(ctx, 1, (double[]){3}), *b = floats(ctx, 1, (double[]){-1});
    pl_plan *plan;
    pl_lane lane[2];
    pl_tensor *x[2], *y[2];
    pl_status st[2];
    OK(record(ctx, a, b, &plan));
    assert_int_equal(pl__lane_constants(plan), 2 * sizeof(float));
    for (int l = 0; l < 2; l++) {
        OK(pl__lane_open(plan, &lane[l]));
        OK(tensor_of(lane[l].ctx, &x[l], PL_F32, 1, &(int64_t){l + 1}, (double[]){l, 5}));
    }
    for (int turn = 0; turn < 2; turn++) {
        OK(pl_tensor_fill(ctx, a, 3 + turn));
#pragma omp parallel for num_threads(2)
        for (int l = 0; l < 2; l++) st[l] = pl__lane_run(&lane[l], &x[l], &y[l]);
        for (int l = 0; l < 2; l++) OK(pl__lane_tell(&lane[l], st[l]));
        VALUES(y[0], 1);
        if (turn == 0) VALUES(y[1], 4, 196);
        else VALUES(y[1], 9, 361);
        for (int l = 0; l < 2; l++) pl_tensor_release(y[l]);
    }
    pl_tensor *ids;
    OK(tensor_of(ctx, &ids, PL_I32, 1, (const int64_t[]){1}, (double[]){1}));
    st[0] = pl__lane_run(&lane[0], &ids, &y[0]);
    FAILS(pl__lane_tell(&lane[0], st[0]), PL_ERR_DTYPE, "mul: b is int32, a float dtype wanted");
    assert_null(y[0]);
    OK(pl__lane_run(&lane[0], &x[0], &y[0]));
    VALUES(y[0], 1);
    pl_tensor_release(y[0]);
    for (int l = 0; l < 2; l++) {
        pl_tensor_release(x[l]);
        pl__lane_close(&lane[l]);
    }
    pl__lane_close(&lane[0]);
    pl_plan_free(plan);
    pl_tensor *made[] = {a, b, ids};
    for (int i = 0; i < 3; i++) pl_tensor_release(made[i]);
}

/* Views of a constant would be counted by several threads at once. */
static void views_of_constants_forbid_lanes(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = floats(ctx, 2, (double[]){1, 2}), *w = floats(ctx, 2, (double[]){3, 4});
    for (int of_constant = 0; of_constant < 2; of_constant++) {
        pl_tensor *sum, *flat, *y;
        pl_plan *plan;
        OK(pl_plan_begin(ctx, &x, 1));
        OK(APPLY(add, &sum, x, w));
        OK(pl_op(ctx, PL_OP_reshape, (pl_tensor *[PL_MAX_IN]){of_constant ? w : sum},
                 &(pl_param){.list = {2}, .n = 1}, &flat));
        OK(APPLY(mul, &y, flat, x));
        OK(pl_plan_end(ctx, y, &plan));
        const int64_t bytes = of_constant ? INT64_MAX : 2 * (int64_t)sizeof(float);
        assert_true(pl__lane_constants(plan) == bytes);
        pl_plan_free(plan);
        pl_tensor *made[] = {sum, flat, y};
        for (int i = 0; i < 3; i++) pl_tensor_release(made[i]);
    }
    pl_tensor_release(x);
    pl_tensor_release(w);
}

static pl_status record_and_replay(fixture *f)
{
    pl_ctx *ctx = f->ctx;
    static const int32_t words[3] = {1, 2, 3};
    const int32_t *const text = words;
    const int64_t length = 3;
    toy m;
    pl_plan *plan = NULL;
    pl_tensor *in[N_IN] = {NULL}, *logits = NULL;
    pl_status st = toy_new(ctx, &m, 2, 64);
    if (st == PL_OK) st = toy_plan(ctx, &m, &plan);
    if (st == PL_OK) st = make_inputs(ctx, in, 1, &text, &length, NULL, NULL);
    if (st == PL_OK) st = pl_plan_run(plan, in, &logits);
    pl_tensor_release(logits);
    free_inputs(in);
    pl_plan_free(plan);
    toy_free(&m);
    return st;
}

/* Room for a plan grows by doubling: a recording of many steps meets each growth. */
static pl_status record_many_steps(fixture *f)
{
    pl_ctx *ctx = f->ctx;
    pl_tensor *x = NULL, *y = NULL, *next;
    pl_plan *plan = NULL;
    const int64_t one = 1;
    pl_status st = tensor_of(ctx, &x, PL_F32, 1, &one, (double[]){7});
    if (st == PL_OK) st = pl_plan_begin(ctx, &x, 1);
    if (st == PL_OK) {
        st = APPLY(neg, &y, x);
        for (int i = 1; i < 150 && st == PL_OK; i++) {
            st = APPLY(neg, &next, y);
            if (st != PL_OK) break;
            pl_tensor_release(y);
            y = next;
        }
        if (st == PL_OK) st = pl_plan_end(ctx, y, &plan);
        else pl_plan_cancel(ctx);
    }
    pl_tensor_release(y);
    y = NULL;
    if (st == PL_OK) st = pl_plan_run(plan, &x, &y);
    if (st == PL_OK) VALUES(y, 7);
    pl_tensor_release(y);
    pl_tensor_release(x);
    pl_plan_free(plan);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    assert_true(for_each_allocation(*state, record_and_replay) > 100);
    assert_true(for_each_allocation(*state, record_many_steps) > 900);
}

/* What a context holds when it goes while a plan is being recorded goes too. */
static void an_unfinished_plan_goes_with_its_context(void **state)
{
    (void)state;
    const int64_t many = 1 << 18; /* elements: four times the bytes */
    size_t before = 0;
    for (int i = 0; i < 8; i++) {
        if (i == 2) before = mallinfo2().uordblks + mallinfo2().hblkhd;
        pl_ctx *ctx = pl_ctx_new();
        pl_tensor *x, *y;
        OK(pl_tensor_zeros(ctx, &x, PL_F32, 1, &many));
        OK(pl_plan_begin(ctx, &x, 1));
        OK(APPLY(square, &y, x));
        pl_tensor_release(x);
        pl_tensor_release(y);
        pl_ctx_free(ctx);
    }
    assert_true(mallinfo2().uordblks + mallinfo2().hblkhd < before + many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(replays_with_other_inputs),
        CONTEXT_CASE(results_go_after_their_last_use),
        CONTEXT_CASE(misuse_is_told),
        CONTEXT_CASE(a_constant_may_not_be_freed),
        CONTEXT_CASE(results_belong_to_the_open_scope),
        CONTEXT_CASE(a_model_replays_to_the_bit),
        CONTEXT_CASE(lanes_run_side_by_side),
        CONTEXT_CASE(views_of_constants_forbid_lanes),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
        cmocka_unit_test(an_unfinished_plan_goes_with_its_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

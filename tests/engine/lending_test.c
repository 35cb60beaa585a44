/*
** lending_test.c - the memory of a block's gradients serves others between zero_grad and the first
** write into it: what comes back, what it costs, and when nothing is lent.
*/
#include <unistd.h>

#include "check.h"

#if defined(__SANITIZE_ADDRESS__)
#define LENDS false /* see the head of engine/base/mem.c */
#else
#define LENDS true
#endif

/* 64 MB, 28 bytes, 8 MB: none a multiple of 16 elements */
enum { LARGE = 16000003, ODD = 7, IDLE = 2000001 };
enum { MB = 1 << 20 };

static double weight(int64_t i)
{
    return (double)(i % 5 - 2);
}

static double pow_3(double x)
{
    return x * x * x;
}

static pl_block *new_block(pl_ctx *ctx)
{
    pl_block *block;
    const pl_block_entry entries[] = {{.name = "large", .rank = 1, .shape = {LARGE}},
                                      {.name = "odd", .rank = 1, .shape = {ODD}},
                                      {.name = "idle", .rank = 1, .shape = {IDLE}}};
    OK(pl_block_new(ctx, &block, PL_F32, 3, entries));
    for (int k = 0; k < 3; k++) {
        float *w = pl_tensor_data(pl_block_get(block, k));
        for (int64_t i = 0; i < entries[k].shape[0]; i++) w[i] = (float)weight(i);
    }
    return block;
}

/* *t becomes op(*t); the reference to what it was is given up unless it is a parameter. */
static pl_status chain(pl_ctx *ctx, pl_op_id op, pl_tensor **t, bool parameter)
{
    pl_tensor *y = NULL;
    const pl_status st = pl_op(ctx, op, t, NULL, &y);
    if (!parameter) pl_tensor_release(*t);
    *t = y;
    return st;
}

/* The gradient of sum((w^2)^2), 4 w^3, by two activations of w's size. */
static pl_status step_on(pl_ctx *ctx, pl_tensor *w)
{
    pl_status st = chain(ctx, PL_OP_square, &w, true);
    if (st == PL_OK) st = chain(ctx, PL_OP_square, &w, false);
    if (st == PL_OK) st = chain(ctx, PL_OP_sum, &w, false);
    if (st == PL_OK) st = pl_backward(ctx, w, NULL);
    pl_tensor_release(w);
    return st;
}

/* Memory full of NaN waits to be used again. */
static void soil(pl_ctx *ctx, int64_t bytes)
{
    void *block = pl_alloc(ctx, (size_t)bytes);
    assert_non_null(block);
    memset(block, 0xff, (size_t)bytes);
    pl_free(ctx, block);
}

static void check_gradients(pl_ctx *ctx, pl_block *block, bool of_odd)
{
    pl_tensor *grads;
    OK(pl_block_grads(block, &grads));
    const float *g = pl_tensor_data(grads);
    const int64_t odd = (LARGE + 15) / 16 * 16, idle = odd + 16;
    for (int64_t i = 0; i < pl_tensor_count(grads); i++) {
        double wanted = i < LARGE ? 4 * pow_3(weight(i)) : 0;
        if (of_odd && i >= odd && i < odd + ODD) wanted = 4 * pow_3(weight(i - odd));
        if ((double)g[i] != wanted)
            fail_msg("gradient %lld is %g, wanted %g (idle from %lld on)", (long long)i,
                     (double)g[i], wanted, (long long)idle);
    }
}

static int64_t resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static void gradients_come_back_to_lent_memory(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_block *block = new_block(ctx);
    pl_tensor *grads;
    OK(pl_block_grads(block, &grads));
    for (int round = 0; round < 4; round++) {
        pl_block_zero_grad(block);
        soil(ctx, (round + 1) * 25 * MB);
        OK(step_on(ctx, pl_block_get(block, 0)));
        if (round % 2 == 1) OK(step_on(ctx, pl_block_get(block, 1)));
        check_gradients(ctx, block, round % 2 == 1);
        double norm;
        OK(pl_block_grad_norm(block, &norm));
        assert_true(norm > 0 && norm < 1e6);
    }
    pl_block_free(block);
    pl_mem_trim(ctx);
    assert_int_equal(pl_mem_get(ctx).cached, 0);
}

static void activations_live_in_it(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_block *block = new_block(ctx);
    pl_tensor *grads;
    OK(pl_block_grads(block, &grads));
    const int64_t full = live_bytes(ctx);
    pl_block_zero_grad(block);
    if (LENDS) assert_true(full - live_bytes(ctx) >= 66 * MB);
    else assert_int_equal(full, live_bytes(ctx));
    pl_mem_trim(ctx);
    pl_mem_reset_peak(ctx);
    int64_t resident[4];
    for (int round = 0; round < 4; round++) {
        pl_block_zero_grad(block);
        OK(step_on(ctx, pl_block_get(block, 0)));
        resident[round] = resident_bytes();
    }
    const pl_mem_info info = pl_mem_get(ctx);
    if (LENDS) {
        /* two activations, the gradient of one, and their own gradients' units */
        assert_true(info.peak < full + 150 * MB);
        assert_true(info.held_peak <= info.peak + info.peak / 32 + 32 * MB);
        assert_true(resident[3] - resident[1] < 8 * MB);
    }
    pl_block_free(block);
    pl_mem_trim(ctx);
}

/* Values wait in the memory of a gradient, or somebody holds it. */
static void what_somebody_reads_is_not_lent(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { ROWS = 18000, WIDE = 1000 };
    pl_block *block;
    const pl_block_entry entry = {.name = "head", .rank = 2, .shape = {ROWS, WIDE}};
    OK(pl_block_new(ctx, &block, PL_F32, 1, &entry));
    pl_tensor *head = pl_block_get(block, 0), *hidden, *row, *target, *loss, *grads;
    OK(tensor_of(ctx, &row, PL_I32, 1, (const int64_t[]){1}, (double[]){0}));
    OK(tensor_of(ctx, &target, PL_I32, 1, (const int64_t[]){1}, (double[]){3}));
    OK(pl_tensor_new(ctx, &hidden, PL_F32, 2, (const int64_t[]){1, WIDE}));
    OK(pl_tensor_fill(ctx, hidden, 2));
    OK(pl_block_grads(block, &grads));
    pl_block_zero_grad(block);
    OK(pl_op(ctx, PL_OP_cross_entropy, (pl_tensor *[PL_MAX_IN]){hidden, head, row, target}, NULL,
             &loss));
    const int64_t waiting = live_bytes(ctx);
    pl_block_zero_grad(block); /* the loss keeps its gradient there */
    assert_int_equal(live_bytes(ctx), waiting);
    soil(ctx, 90 * MB);
    OK(pl_backward(ctx, loss, NULL));
    OK(pl_block_grads(block, &grads));
    const float *g = pl_tensor_data(grads);
    for (int64_t i = 0; i < ROWS; i++)
        assert_float_equal(g[i * WIDE + 7], (i == 3 ? -2 : 0) + 2.0 / ROWS, 1e-6);
    pl_tensor_retain(grads);
    const int64_t full = live_bytes(ctx);
    pl_block_zero_grad(block);
    assert_int_equal(live_bytes(ctx), full);
    pl_tensor_release(grads);
    pl_block_zero_grad(block);
    assert_int_equal(live_bytes(ctx) < full, LENDS);
    pl_tensor_release(loss);
    pl_tensor_release(row);
    pl_tensor_release(target);
    pl_tensor_release(hidden);
    pl_block_free(block);
}

static void a_limit_refuses_what_is_claimed(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_block *block = new_block(ctx);
    pl_tensor *grads;
    OK(pl_block_grads(block, &grads));
    pl_block_zero_grad(block);
    const int64_t live = live_bytes(ctx);
    pl_mem_set_limit(ctx, live + MB);
    if (LENDS) FAILS(pl_block_grads(block, &grads), PL_ERR_NOMEM, "not enough memory");
    if (LENDS) assert_int_equal(live_bytes(ctx), live);
    if (LENDS) {
        int64_t scope; /* ends the tape of a backward that failed */
        OK(pl_scope_open(ctx, &scope, "outer", false));
        pl_mem_set_limit(ctx, live + 133 * MB); /* activations, and no gradient */
        FAILS(step_on(ctx, pl_block_get(block, 0)), PL_ERR_NOMEM, "not enough memory");
        pl_scope_close(ctx, scope);
    }
    pl_mem_set_limit(ctx, 0);
    OK(step_on(ctx, pl_block_get(block, 0)));
    check_gradients(ctx, block, false);
    pl_block_zero_grad(block);
    pl_block_free(block); /* with all of it lent */
}

/* The second parameter's gradient has no place: the first one's values stay, too. */
static void a_limit_leaves_the_block_whole(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_block *block;
    pl_tensor *given[2], *grads;
    const pl_block_entry entries[] = {{.name = "first", .rank = 1, .shape = {IDLE}},
                                      {.name = "second", .rank = 1, .shape = {LARGE}}};
    OK(pl_block_new(ctx, &block, PL_F32, 2, entries));
    for (int k = 0; k < 2; k++) {
        OK(pl_tensor_new(ctx, &given[k], PL_F32, 1, entries[k].shape));
        OK(pl_tensor_fill(ctx, given[k], 3));
        pl_tensor_set_requires_grad(given[k], true);
    }
    OK(step_on(ctx, given[1]));
    OK(pl_block_grads(block, &grads));
    pl_block_zero_grad(block);
    pl_mem_set_limit(ctx, live_bytes(ctx) + MB);
    if (LENDS) FAILS(pl_block_take(block, given), PL_ERR_NOMEM, "not enough memory");
    if (LENDS) assert_true(element(pl_block_get(block, 0), 0) == 0);
    pl_mem_set_limit(ctx, 0);
    OK(pl_block_take(block, given));
    for (int k = 0; k < 2; k++) {
        assert_true(element(pl_block_get(block, k), 7) == 3);
        assert_int_equal(pl_block_has_grad(block, k), k);
        pl_tensor_release(given[k]);
    }
    assert_true(element(pl_tensor_grad(pl_block_get(block, 1)), 7) == 4 * pow_3(3));
    pl_block_free(block);
}

static pl_status grads_twice(fixture *f)
{
    pl_ctx *ctx = f->ctx;
    pl_block *block;
    const pl_block_entry entry = {.name = "large", .rank = 1, .shape = {LARGE}};
    pl_status st = pl_block_new(ctx, &block, PL_F32, 1, &entry);
    if (st != PL_OK) return st;
    pl_tensor *grads;
    st = pl_block_grads(block, &grads);
    pl_block_zero_grad(block);
    if (st == PL_OK) st = pl_block_grads(block, &grads);
    pl_block_free(block);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    assert_true(for_each_allocation(*state, grads_twice) > 8);
    pl_mem_trim(((fixture *)*state)->ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(gradients_come_back_to_lent_memory),
        CONTEXT_CASE(activations_live_in_it),
        CONTEXT_CASE(what_somebody_reads_is_not_lent),
        CONTEXT_CASE(a_limit_refuses_what_is_claimed),
        CONTEXT_CASE(a_limit_leaves_the_block_whole),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

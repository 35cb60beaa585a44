/*
** tape_test.c - the tape by numbers worked by hand: where gradients go, what is kept for them and
** until when, how scopes and frames cut it, nodes of the caller's own, every misuse with its text.
*/
#include <math.h>

#include "check.h"

#define LENGTH(list) ((int)(sizeof(list) / sizeof((list)[0])))

static const pl_dtype floats[] = {PL_F32, PL_F64};

/* A rank-1 tensor of these elements. */
#define VECTOR(dtype, ...)                                                          \
    vector(ctx, (dtype), (int64_t)(sizeof(double[]){__VA_ARGS__} / sizeof(double)), \
           (double[]){__VA_ARGS__})
#define LEAF(dtype, ...) wanting(VECTOR(dtype, __VA_ARGS__))

static pl_tensor *vector(pl_ctx *ctx, pl_dtype dtype, int64_t n, const double *values)
{
    pl_tensor *t;
    OK(tensor_of(ctx, &t, dtype, 1, &n, values));
    return t;
}

static pl_tensor *wanting(pl_tensor *t)
{
    pl_tensor_set_requires_grad(t, true);
    return t;
}

static pl_tensor *apply1(pl_ctx *ctx, pl_op_id op, pl_tensor *a)
{
    pl_tensor *y;
    OK(pl_op(ctx, op, &a, NULL, &y));
    return y;
}

static pl_tensor *apply2(pl_ctx *ctx, pl_op_id op, pl_tensor *a, pl_tensor *b)
{
    pl_tensor *in[PL_MAX_IN] = {a, b}, *y;
    OK(pl_op(ctx, op, in, NULL, &y));
    return y;
}

/* One op of one input on the tensor that `t` names, whose reference is given up. */
static void step(pl_ctx *ctx, pl_op_id op, pl_tensor **t)
{
    pl_tensor *y = apply1(ctx, op, *t);
    pl_tensor_release(*t);
    *t = y;
}

static void release_all(pl_tensor *const *list, int n)
{
    for (int i = 0; i < n; i++) pl_tensor_release(list[i]);
}
#define RELEASE(...) \
    release_all((pl_tensor *[]){__VA_ARGS__}, LENGTH(((pl_tensor *[]){__VA_ARGS__})))

/* The output of a cheap op is not kept for the products behind it. */
static void a_cheap_output_is_made_again(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 1 << 14 };
    pl_tensor *x, *w;
    const int64_t shape[] = {1, N};
    OK(pl_tensor_new(ctx, &x, PL_F32, 2, shape));
    OK(pl_tensor_new(ctx, &w, PL_F32, 2, shape));
    OK(pl_tensor_fill(ctx, x, 3));
    OK(pl_tensor_fill(ctx, w, 1));
    wanting(x), wanting(w);
    const int64_t start = live_bytes(ctx);
    pl_tensor *y = apply1(ctx, PL_OP_silu, x), *z = apply2(ctx, PL_OP_linear, y, w);
    pl_tensor *u = apply2(ctx, PL_OP_linear, y, w);
    pl_tensor_release(y);
    assert_true(live_bytes(ctx) - start < 8192);
    OK(pl_backward(ctx, z, NULL)); /* silu's node goes, and u still reads what it made */
    const float silu = 3 / (1 + expf(-3));
    assert_float_equal(((float *)pl_tensor_data(pl_tensor_grad(w)))[N - 1], silu, 1e-6);
    OK(pl_backward(ctx, u, NULL));
    assert_float_equal(((float *)pl_tensor_data(pl_tensor_grad(w)))[N - 1], 2 * silu, 2e-6);
    RELEASE(z, u, x, w);
}

/* Values that were written to before they were read are not those the op would make. */
static void an_output_that_was_written_to_is_kept(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F32, 0, 0), *w = LEAF(PL_F32, 1, 1);
    pl_tensor *y = apply1(ctx, PL_OP_silu, x);
    pl_set_grad_enabled(ctx, false);
    OK(pl_tensor_fill(ctx, y, 5));
    pl_set_grad_enabled(ctx, true);
    pl_tensor *z = apply2(ctx, PL_OP_mul, y, w), *sum = apply1(ctx, PL_OP_sum, z);
    RELEASE(y, z);
    OK(pl_backward(ctx, sum, NULL));
    VALUES(pl_tensor_grad(w), 5, 5);
    RELEASE(sum, x, w);
}

/* The loss of one row, hidden 2, with a head of two zeros: its gradient to the head is -1 and 1,
** with the signs turned for target 1. */
static pl_tensor *head_loss(pl_ctx *ctx, pl_tensor *head, double target)
{
    pl_tensor *hidden, *rows, *at, *loss;
    OK(tensor_of(ctx, &hidden, pl_tensor_dtype(head), 2, (const int64_t[]){1, 1}, (double[]){2}));
    rows = VECTOR(PL_I32, 0);
    at = VECTOR(PL_I32, target);
    OK(pl_op(ctx, PL_OP_cross_entropy, (pl_tensor *[PL_MAX_IN]){hidden, head, rows, at}, NULL,
             &loss));
    RELEASE(hidden, rows, at);
    return loss;
}

static pl_tensor *zero_head(pl_ctx *ctx, pl_dtype dtype)
{
    pl_tensor *head;
    OK(tensor_of(ctx, &head, dtype, 2, (const int64_t[]){2, 1}, (double[]){0, 0}));
    return wanting(head);
}

/* cross_entropy makes the head's gradient in the memory that waits for it, and moves out when
** another gradient comes there first. */
static void a_gradient_made_ahead_lets_others_come_first(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    for (int d = 0; d < LENGTH(floats); d++) {
        pl_tensor *head = zero_head(ctx, floats[d]);
        pl_tensor *a = head_loss(ctx, head, 0), *b = head_loss(ctx, head, 1);
        assert_null(pl_tensor_grad(head));
        pl_tensor *scale = VECTOR(floats[d], 3);
        OK(pl_backward(ctx, b, scale));
        VALUES(pl_tensor_grad(head), 3, -3);
        OK(pl_backward(ctx, a, NULL));
        VALUES(pl_tensor_grad(head), 2, -2);
        RELEASE(a, b, scale);

        pl_tensor_zero_grad(head);
        a = head_loss(ctx, head, 0);
        pl_tensor *sum = apply1(ctx, PL_OP_sum, head);
        OK(pl_backward(ctx, sum, NULL));
        VALUES(pl_tensor_grad(head), 1, 1);
        OK(pl_backward(ctx, a, NULL));
        VALUES(pl_tensor_grad(head), 0, 2);
        RELEASE(a, sum);

        pl_tensor_zero_grad(head);
        a = head_loss(ctx, head, 0);
        pl_tensor *seed = VECTOR(floats[d], 5, 7);
        OK(pl_backward(ctx, head, seed));
        OK(pl_backward(ctx, a, NULL));
        VALUES(pl_tensor_grad(head), 4, 8);
        RELEASE(a, seed, head);
    }
}

static void a_gradient_made_ahead_may_never_be_asked_for(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *head = zero_head(ctx, PL_F32), *a = head_loss(ctx, head, 0);
    pl_tensor_release(a);
    assert_null(pl_tensor_grad(head));
    a = head_loss(ctx, head, 1);
    OK(pl_backward(ctx, a, NULL));
    VALUES(pl_tensor_grad(head), 1, -1);
    pl_tensor *seen = pl_tensor_grad(head); /* who holds a gradient keeps its values */
    pl_tensor_retain(seen);
    pl_tensor_zero_grad(head);
    pl_tensor *b = head_loss(ctx, head, 0);
    VALUES(seen, 1, -1);
    RELEASE(a, b, seen, head);
}

/* The memory of a block's gradients is cleared for who asks while a loss waits. */
static void a_block_asked_for_its_gradients_spares_those_made_ahead(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_block *block;
    pl_tensor *grads;
    const pl_block_entry entry = {.name = "head", .rank = 2, .shape = {2, 1}};
    OK(pl_block_new(ctx, &block, PL_F32, 1, &entry));
    for (int round = 0; round < 2; round++) { /* first without memory for gradients */
        pl_tensor *a = head_loss(ctx, pl_block_get(block, 0), 0);
        OK(pl_block_grads(block, &grads));
        OK(pl_backward(ctx, a, NULL));
        VALUES(pl_tensor_grad(pl_block_get(block, 0)), -1, 1);
        pl_tensor_release(a);
        pl_block_zero_grad(block);
    }
    pl_block_free(block);
}

/* ---- Where gradients go ---- */

static void gradients_are_added_up(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    for (int d = 0; d < LENGTH(floats); d++) {
        pl_tensor *x = LEAF(floats[d], 1, 2, -3);
        assert_null(pl_tensor_grad(x));
        for (int round = 1; round <= 3; round++) {
            if (round == 3) {
                pl_tensor_zero_grad(x);
                assert_null(pl_tensor_grad(x));
            }
            pl_tensor *y = apply2(ctx, PL_OP_mul, x, x), *sum = apply1(ctx, PL_OP_sum, y);
            OK(pl_backward(ctx, sum, NULL));
            const double times = round == 2 ? 2 : 1;
            VALUES(pl_tensor_grad(x), 2 * times, 4 * times, -6 * times);
            RELEASE(y, sum);
        }
        pl_tensor_release(x);
    }
}

/* Both places of a call that names one tensor twice count. */
static void a_tensor_may_stand_twice_in_a_call(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const struct {
        pl_op_id op;
        double wanted[2];
    } cases[] = {
        {PL_OP_mul, {6, -4}},    {PL_OP_add, {2, 2}},     {PL_OP_sub, {0, 0}},
        {PL_OP_maximum, {1, 1}}, {PL_OP_minimum, {1, 1}}, /* ties: the first takes it all */
    };
    for (int d = 0; d < LENGTH(floats); d++) {
        for (int i = 0; i < LENGTH(cases); i++) {
            pl_tensor *x = LEAF(floats[d], 3, -2);
            pl_tensor *y = apply2(ctx, cases[i].op, x, x), *ones = VECTOR(floats[d], 1, 1);
            OK(pl_backward(ctx, y, ones));
            VALUES(pl_tensor_grad(x), cases[i].wanted[0], cases[i].wanted[1]);
            RELEASE(x, y, ones);
        }
        pl_tensor *x = LEAF(floats[d], 3, -2), *y;
        OK(APPLY(concat, &y, x, x, x, NULL, NULL, NULL, NULL, NULL));
        pl_tensor *seed = VECTOR(floats[d], 1, 2, 10, 20, 100, 200);
        OK(pl_backward(ctx, y, seed));
        VALUES(pl_tensor_grad(x), 111, 222);
        RELEASE(x, y, seed);
        /* A A with A = [1 2; 3 4]: G A^T + A^T G for G of ones. */
        OK(tensor_of(ctx, &x, floats[d], 2, (const int64_t[]){2, 2}, (double[]){1, 2, 3, 4}));
        wanting(x);
        y = apply2(ctx, PL_OP_matmul, x, x);
        seed = VECTOR(floats[d], 1, 1, 1, 1); /* another shape of as many elements is fine */
        OK(pl_backward(ctx, y, seed));
        VALUES(y, 7, 10, 15, 22);
        VALUES(pl_tensor_grad(x), 7, 11, 9, 13);
        RELEASE(x, y, seed);
    }
}

/* f = x^2 (x^2 - 3 x): f' = 4 x^3 - 9 x^2; x and x^2 are each used by two nodes. */
static void branches_meet_again(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 1, 2, -1), *three = VECTOR(PL_F64, 3, 3, 3);
    pl_tensor *square = apply1(ctx, PL_OP_square, x), *triple = apply2(ctx, PL_OP_mul, x, three);
    pl_tensor *less = apply2(ctx, PL_OP_sub, square, triple);
    pl_tensor *f = apply2(ctx, PL_OP_mul, square, less), *seed = VECTOR(PL_F64, 1, 1, 1);
    OK(pl_backward(ctx, f, seed));
    VALUES(f, -2, -8, 4);
    VALUES(pl_tensor_grad(x), -5, -4, -13);
    assert_null(pl_tensor_grad(three)); /* wants none */
    assert_null(pl_tensor_grad(f));     /* is no leaf: its gradient is gone with its node */
    RELEASE(x, three, square, triple, less, f, seed);
}

static void only_what_wants_gradients_is_recorded(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = VECTOR(PL_F32, 1, 2), *w = LEAF(PL_F32, 3, 4), *ids = VECTOR(PL_I32, 0, 1);
    pl_tensor *constant = apply2(ctx, PL_OP_mul, x, x), *y = apply2(ctx, PL_OP_mul, x, w);
    pl_tensor *flag = apply2(ctx, PL_OP_lt, x, w); /* an op without a gradient */
    assert_true(pl_tensor_requires_grad(w));
    assert_true(pl_tensor_requires_grad(y));
    assert_false(pl_tensor_requires_grad(constant));
    assert_false(pl_tensor_requires_grad(flag));
    pl_tensor_set_requires_grad(ids, true);
    assert_false(pl_tensor_requires_grad(ids)); /* nothing is differentiated by integers */
    VALUES(flag, 1, 1);
    RELEASE(x, w, ids, constant, y, flag);
}

static void the_tape_can_be_off(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F32, 5);
    assert_true(pl_grad_enabled(ctx));
    assert_true(pl_set_grad_enabled(ctx, false));
    assert_false(pl_grad_enabled(ctx));
    assert_false(pl_set_grad_enabled(ctx, false));
    pl_tensor *y = apply1(ctx, PL_OP_square, x);
    assert_false(pl_set_grad_enabled(ctx, true));
    assert_false(pl_tensor_requires_grad(y));
    FAILS(pl_backward(ctx, y, NULL), PL_ERR_GRAD, "depends on nothing that wants a gradient");
    pl_tensor *z = apply2(ctx, PL_OP_mul, x, y); /* y = 25 is a constant now */
    OK(pl_backward(ctx, z, NULL));
    VALUES(pl_tensor_grad(x), 25);
    assert_true(pl_grad_enabled(ctx)); /* off during the walk, on again */
    RELEASE(x, y, z);
}

static void a_leaf_takes_its_own_seed(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 7), *seed = VECTOR(PL_F64, 2.5);
    OK(pl_backward(ctx, x, NULL));
    VALUES(pl_tensor_grad(x), 1);
    OK(pl_backward(ctx, x, seed));
    VALUES(pl_tensor_grad(x), 3.5);
    pl_tensor_zero_grad(x);
    OK(pl_backward(ctx, x, seed));
    VALUES(pl_tensor_grad(x), 2.5);
    RELEASE(x, seed);
}

/* ---- What is kept, and until when ---- */

static void a_branch_that_nobody_can_reach_goes_at_once(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 1, 2);
    const int64_t start = live_bytes(ctx);
    pl_tensor *a = apply1(ctx, PL_OP_square, x), *b = apply1(ctx, PL_OP_neg, a),
              *c = apply1(ctx, PL_OP_exp, b);
    RELEASE(a, b);
    assert_true(live_bytes(ctx) > start); /* c leads to them */
    pl_tensor_release(c);
    assert_int_equal(live_bytes(ctx), start);

    a = apply1(ctx, PL_OP_square, x);
    b = apply1(ctx, PL_OP_neg, a);
    c = apply2(ctx, PL_OP_mul, a, a);
    pl_tensor_release(c);
    pl_tensor *seed = VECTOR(PL_F64, 1, 10);
    OK(pl_backward(ctx, b, seed)); /* the pruned branch left the other whole */
    VALUES(pl_tensor_grad(x), -2, -40);
    RELEASE(a, b, seed);

    pl_tensor_release(x);
}

/* The walk frees as it goes: at no time does it hold more than a few tensors beside the graph. */
static void memory_falls_while_gradients_flow(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 1024, LAYERS = 40 };
    const int64_t n = N, bytes = N * (int64_t)sizeof(double);
    pl_tensor *x, *sum;
    OK(pl_tensor_zeros(ctx, &x, PL_F64, 1, &n));
    wanting(x);
    int64_t start = live_bytes(ctx);
    for (int round = 0; round < 2; round++) {
        pl_tensor *y = apply1(ctx, PL_OP_tanh, x);
        for (int i = 1; i < LAYERS; i++) step(ctx, PL_OP_tanh, &y);
        sum = apply1(ctx, PL_OP_sum, y);
        pl_tensor_release(y);
        const int64_t full = live_bytes(ctx);
        assert_true(full - start >= LAYERS * bytes); /* tanh keeps its output */
        pl_mem_reset_peak(ctx);
        OK(pl_backward(ctx, sum, NULL));
        assert_true(pl_mem_get(ctx).peak - full <= 3 * bytes);
        for (int64_t i = 0; i < n; i++) assert_true(element(pl_tensor_grad(x), i) == round + 1);
        pl_tensor_release(sum);
        if (round == 0) { /* the leaf's gradient alone stays */
            assert_true(live_bytes(ctx) - start >= bytes);
            assert_true(live_bytes(ctx) - start < bytes * 5 / 4 + 1024);
            start = live_bytes(ctx);
        }
        assert_int_equal(live_bytes(ctx), start);
    }
    pl_tensor_release(x);
}

/* A graph of n nodes one behind the other. */
static pl_tensor *chain(pl_ctx *ctx, pl_tensor *x, int n)
{
    pl_tensor *y = apply1(ctx, PL_OP_neg, x);
    for (int i = 1; i < n; i++) step(ctx, PL_OP_neg, &y);
    return y;
}

/* Depth costs no stack, and as many bytes for the last node as for the first. */
static void deep_graphs_are_walked_pruned_and_closed(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { DEPTH = 100001 };
    pl_tensor *x = LEAF(PL_F32, 3);
    OK(pl_backward(ctx, x, NULL)); /* makes the memory of its gradient */
    pl_tensor_zero_grad(x);
    const int64_t start = live_bytes(ctx);
    pl_tensor *y = chain(ctx, x, 1000);
    const int64_t thousand = live_bytes(ctx) - start;
    pl_tensor_release(y);
    y = chain(ctx, x, DEPTH);
    const int64_t all = live_bytes(ctx) - start;
    assert_true(all > 95 * thousand && all < 105 * thousand);
    OK(pl_backward(ctx, y, NULL));
    VALUES(pl_tensor_grad(x), -1);
    pl_tensor_release(y);
    assert_int_equal(live_bytes(ctx), start);

    y = chain(ctx, x, DEPTH);
    pl_tensor_release(y);
    assert_int_equal(live_bytes(ctx), start);

    int64_t scope;
    OK(pl_scope_open(ctx, &scope, "outer", false));
    y = chain(ctx, x, DEPTH);
    pl_scope_close(ctx, scope);
    pl_tensor_release(y);
    assert_int_equal(live_bytes(ctx), start);
    pl_tensor_release(x);
}

/* ---- Scopes and frames ---- */

static void a_scope_ends_its_part_of_the_tape(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t scope;
    pl_tensor *x = LEAF(PL_F64, 2);
    pl_tensor *before = apply1(ctx, PL_OP_square, x);
    OK(pl_scope_open(ctx, &scope, "inner", false));
    pl_tensor *inside = apply1(ctx, PL_OP_square, before), *kept = apply1(ctx, PL_OP_neg, inside);
    pl_tensor_set_name(inside, "h");
    pl_tensor_keep(kept);
    pl_scope_close(ctx, scope);
    FAILS(pl_tensor_check(ctx, inside), PL_ERR_FREED,
          "h [1] was freed when scope 'inner' closed; use :keep() to move it out of a scope");
    assert_null(pl_tensor_data(inside));
    VALUES(kept, -16);
    assert_false(pl_tensor_requires_grad(kept)); /* a constant now */
    FAILS(pl_backward(ctx, kept, NULL), PL_ERR_GRAD,
          "its tape was released by an earlier backward "
          "or a closed scope");
    OK(pl_backward(ctx, before, NULL)); /* what was recorded before is whole */
    VALUES(pl_tensor_grad(x), 4);
    RELEASE(x, before, inside, kept);
}

/* The scope began behind a node that is gone when it closes: the mark moves back, no further. */
static void a_scope_outlives_the_node_it_began_behind(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t outer, inner;
    pl_tensor *x = LEAF(PL_F64, 2);
    pl_tensor *first = apply1(ctx, PL_OP_square, x), *second = apply1(ctx, PL_OP_neg, x);
    OK(pl_scope_open(ctx, &outer, "outer", false));
    OK(pl_scope_open(ctx, &inner, "inner", false));
    OK(pl_backward(ctx, second, NULL));
    VALUES(pl_tensor_grad(x), -1);
    pl_tensor *third = apply1(ctx, PL_OP_exp, x);
    pl_scope_close(ctx, inner);
    assert_false(pl_tensor_requires_grad(third));
    pl_tensor *fourth = apply1(ctx, PL_OP_neg, first);
    OK(pl_backward(ctx, fourth, NULL)); /* across the outer scope's mark */
    VALUES(pl_tensor_grad(x), -5);
    pl_scope_close(ctx, outer);
    RELEASE(first, second, third, fourth, x);
}

static void a_frame_leaves_the_tape_what_it_needs(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t frame;
    pl_tensor *x = LEAF(PL_F64, 1, 2, -1);
    OK(pl_scope_open(ctx, &frame, "frame", true));
    pl_tensor *h = apply1(ctx, PL_OP_square, x), *y = apply2(ctx, PL_OP_mul, h, h), *late;
    pl_tensor_keep(y);
    pl_scope_close(ctx, frame);
    FAILS(pl_tensor_check(ctx, h), PL_ERR_FREED, "tensor [3] was freed when scope 'frame' closed");
    FAILS(pl_op(ctx, PL_OP_neg, &h, NULL, &late), PL_ERR_FREED, "scope 'frame' closed");
    assert_null(late);
    VALUES(y, 1, 16, 1);
    pl_tensor *sum = apply1(ctx, PL_OP_sum, y);
    OK(pl_backward(ctx, sum, NULL));
    VALUES(pl_tensor_grad(x), 4, 32, -4); /* d x^4 */
    RELEASE(x, h, y, sum);
}

/* Of 1,024 numbers under neg, which reads nothing back, none stay; under square, which reads its
** input, those of the input do. */
static void a_frame_gives_back_what_no_backward_reads(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t n = 1024, bytes = n * (int64_t)sizeof(double);
    static const pl_op_id last[] = {PL_OP_neg, PL_OP_square};
    pl_tensor *x;
    OK(pl_tensor_zeros(ctx, &x, PL_F64, 1, &n));
    wanting(x);
    for (int i = 0; i < LENGTH(last); i++) {
        const int64_t start = live_bytes(ctx);
        int64_t frame;
        OK(pl_scope_open(ctx, &frame, "frame", true));
        pl_tensor *h = apply1(ctx, PL_OP_neg, x), *g = apply1(ctx, last[i], h),
                  *y = apply1(ctx, PL_OP_sum, g);
        pl_tensor_keep(y);
        assert_true(live_bytes(ctx) - start >= 2 * bytes);
        pl_scope_close(ctx, frame);
        const int64_t held = live_bytes(ctx) - start;
        if (last[i] == PL_OP_neg) assert_true(held < bytes);
        else assert_true(held >= bytes && held < 2 * bytes);
        RELEASE(h, g);
        OK(pl_backward(ctx, y, NULL));
        for (int64_t k = 0; k < n; k++) assert_true(element(pl_tensor_grad(x), k) == 1.0 - i);
        pl_tensor_release(y);
        pl_tensor_zero_grad(x);
    }
    pl_tensor_release(x);
}

static void keeping_moves_out_by_one_scope_or_for_good(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t outer, inner;
    OK(pl_scope_open(ctx, &outer, "outer", false));
    OK(pl_scope_open(ctx, &inner, "inner", false));
    assert_true(inner > outer);
    assert_int_equal(pl_scope_depth(ctx), 2);
    pl_tensor *stays = VECTOR(PL_F64, 1), *once = VECTOR(PL_F64, 2), *twice = VECTOR(PL_F64, 3),
              *forever = VECTOR(PL_F64, 4);
    pl_tensor_keep(once);
    pl_tensor_keep(twice);
    pl_tensor_keep(twice);
    pl_tensor_keep(twice); /* in no scope already: stays so */
    pl_tensor_keep_forever(forever);
    pl_scope_close(ctx, inner);
    FAILS(pl_tensor_check(ctx, stays), PL_ERR_FREED, "scope 'inner' closed");
    VALUES(once, 2);
    pl_scope_close(ctx, inner); /* is closed already */
    pl_scope_close(ctx, 0);
    assert_int_equal(pl_scope_depth(ctx), 1);
    pl_scope_close(ctx, outer);
    FAILS(pl_tensor_check(ctx, once), PL_ERR_FREED, "scope 'outer' closed");
    VALUES(twice, 3);
    VALUES(forever, 4);
    RELEASE(stays, once, twice, forever);
}

static void closing_a_scope_closes_those_inside(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t outer, inner, frame;
    const int64_t start = live_bytes(ctx);
    OK(pl_scope_open(ctx, &outer, "outer", false));
    pl_tensor *a = VECTOR(PL_F64, 1);
    OK(pl_scope_open(ctx, &inner, "inner", false));
    OK(pl_scope_open(ctx, &frame, "frame", true));
    pl_tensor *b = LEAF(PL_F64, 2), *c = apply1(ctx, PL_OP_exp, b);
    pl_tensor_keep(c); /* to `inner` */
    pl_scope_close(ctx, outer);
    assert_int_equal(pl_scope_depth(ctx), 0);
    FAILS(pl_tensor_check(ctx, a), PL_ERR_FREED, "scope 'outer' closed");
    FAILS(pl_tensor_check(ctx, b), PL_ERR_FREED, "scope 'frame' closed");
    FAILS(pl_tensor_check(ctx, c), PL_ERR_FREED, "scope 'inner' closed");
    RELEASE(a, b, c);
    assert_int_equal(live_bytes(ctx), start);
}

static void a_view_keeps_the_data_of_a_closed_scope(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    int64_t scope;
    pl_tensor *view, *beyond;
    OK(pl_scope_open(ctx, &scope, "inner", false));
    pl_tensor *base = VECTOR(PL_F64, 1, 2, 3, 4, 5, 6);
    OK(pl_tensor_view(ctx, &view, base, 1, 2, (const int64_t[]){2, 2}));
    FAILS(pl_tensor_view(ctx, &beyond, base, 3, 1, (const int64_t[]){4}), PL_ERR_SHAPE,
          "view: beyond the 6 elements of [6]");
    pl_tensor_keep(view);
    pl_scope_close(ctx, scope);
    FAILS(pl_tensor_view(ctx, &beyond, base, 0, 0, NULL), PL_ERR_FREED, "scope 'inner' closed");
    VALUES(view, 2, 3, 4, 5);
    RELEASE(base, view);
}

/* ---- Misuse ---- */

static void misuse_is_told(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *constant = VECTOR(PL_F64, 1), *x = LEAF(PL_F64, 1, 2, 3);
    pl_tensor *y = apply1(ctx, PL_OP_exp, x), *ones = VECTOR(PL_F64, 1, 1, 1);
    pl_tensor *two = VECTOR(PL_F64, 1, 1), *other = VECTOR(PL_F32, 1, 1, 1);
    const int64_t start = live_bytes(ctx);
    static const char nothing[] =
        "backward: this tensor depends on nothing that wants a gradient, or its tape was released "
        "by an earlier backward or a closed scope";
    FAILS(pl_backward(ctx, constant, NULL), PL_ERR_GRAD, nothing);
    FAILS(pl_backward(ctx, y, NULL), PL_ERR_GRAD, "backward: wants one number, this tensor has 3");
    FAILS(pl_backward(ctx, y, two), PL_ERR_SHAPE, "backward: the seed has another shape or dtype");
    FAILS(pl_backward(ctx, y, other), PL_ERR_SHAPE,
          "backward: the seed has another shape or dtype");
    assert_int_equal(live_bytes(ctx), start);
    assert_null(pl_tensor_grad(x));
    OK(pl_backward(ctx, y, ones));
    FAILS(pl_backward(ctx, y, ones), PL_ERR_GRAD, nothing); /* the tape of y is spent */

    pl_tensor_set_name(two, "two");
    pl_tensor_free_data(two);
    pl_tensor_free_data(two); /* idempotent */
    pl_tensor *z = apply1(ctx, PL_OP_exp, x);
    FAILS(pl_backward(ctx, z, two), PL_ERR_FREED,
          "two [2] was freed by :free(); it cannot be used again");
    FAILS(pl_backward(ctx, two, NULL), PL_ERR_FREED, "two [2] was freed by :free()");
    pl_tensor_free_data(z); /* its node still leads nowhere but to x */
    FAILS(pl_backward(ctx, z, ones), PL_ERR_FREED, "tensor [3] was freed by :free()");
    RELEASE(constant, x, y, z, ones, two, other);
}

static void an_interrupted_walk_can_be_made_again(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 3);
    pl_tensor *y = apply1(ctx, PL_OP_square, x), *z = apply2(ctx, PL_OP_mul, y, x), *none;
    pl_interrupt(ctx);
    FAILS(pl_backward(ctx, z, NULL), PL_ERR_INTERRUPTED, "interrupted!");
    assert_null(pl_tensor_grad(x));
    assert_true(pl_grad_enabled(ctx));
    OK(pl_backward(ctx, z, NULL)); /* the request is spent, the graph whole: 3 x^2 */
    VALUES(pl_tensor_grad(x), 27);
    pl_interrupt(ctx);
    FAILS(pl_op(ctx, PL_OP_neg, &x, NULL, &none), PL_ERR_INTERRUPTED, "interrupted!");
    pl_interrupt(ctx);
    pl_interrupt_clear(ctx);
    none = apply1(ctx, PL_OP_neg, x);
    RELEASE(x, y, z, none);
}

/* ---- Nodes of the caller's own ---- */

typedef struct {
    int calls, drops;
    bool flowed[2];  /* whether a gradient came for each output */
    pl_status fails; /* what the callback returns, unless PL_OK */
    int64_t count;   /* of the gradients it gives; 0: gives none */
    pl_dtype dtype;
    double value; /* of every element of them */
} custom;

static pl_status custom_backward(pl_ctx *ctx, void *data, pl_tensor *const *d_out, pl_tensor **d_in)
{
    custom *c = data;
    c->calls++;
    for (int i = 0; i < 2; i++) c->flowed[i] = d_out[i] != NULL;
    assert_false(pl_grad_enabled(ctx));
    if (c->fails != PL_OK) return pl_fail_callback(ctx, "the callback said no");
    if (c->count == 0) return PL_OK;
    const pl_status st = pl_tensor_new(ctx, &d_in[0], c->dtype, 1, &c->count);
    return st == PL_OK ? pl_tensor_fill(ctx, d_in[0], c->value) : st;
}

static void custom_drop(void *data)
{
    ((custom *)data)->drops++;
}

/* Two outputs [2] from x: whatever the numbers, the gradient is what the callback says. */
static pl_status custom_node(pl_ctx *ctx, custom *c, pl_tensor *x, pl_tensor *out[2])
{
    const int64_t n = 2;
    pl_status st = pl_tensor_zeros(ctx, &out[0], PL_F64, 1, &n);
    if (st != PL_OK) return st;
    st = pl_tensor_zeros(ctx, &out[1], PL_F64, 1, &n);
    if (st == PL_OK) st = pl_custom(ctx, &x, 1, out, 2, custom_backward, custom_drop, c);
    if (st == PL_OK) return PL_OK;
    release_all(out, 2);
    out[0] = out[1] = NULL;
    return st;
}

static void a_custom_node_says_its_gradient(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    custom c = {.count = 2, .dtype = PL_F64, .value = 7};
    pl_tensor *x = LEAF(PL_F64, 1, 2), *out[2], *seed = VECTOR(PL_F64, 1, 1);
    OK(custom_node(ctx, &c, x, out));
    assert_true(pl_tensor_requires_grad(out[0]));
    OK(pl_backward(ctx, out[1], seed));
    VALUES(pl_tensor_grad(x), 7, 7);
    assert_false(c.flowed[0]);
    assert_true(c.flowed[1]);
    assert_int_equal(c.calls, 1);
    assert_int_equal(c.drops, 1); /* with its node, before the outputs go */
    release_all(out, 2);
    c.count = 0; /* none for x */
    OK(custom_node(ctx, &c, x, out));
    pl_tensor *sum = apply2(ctx, PL_OP_add, out[0], out[1]);
    OK(pl_backward(ctx, sum, seed));
    VALUES(pl_tensor_grad(x), 7, 7);
    assert_true(c.flowed[0] && c.flowed[1]);
    release_all(out, 2);
    c.count = 2; /* added to what is there */
    c.value = -2;
    OK(custom_node(ctx, &c, x, out));
    OK(pl_backward(ctx, out[0], seed));
    VALUES(pl_tensor_grad(x), 5, 5);
    release_all(out, 2);
    /* A gradient for what wants none is let go. */
    pl_tensor *constant = VECTOR(PL_F64, 1, 2);
    OK(custom_node(ctx, &c, constant, out));
    OK(pl_backward(ctx, out[0], seed));
    assert_null(pl_tensor_grad(constant));
    assert_int_equal(c.calls, 4);
    assert_int_equal(c.drops, 4);
    release_all(out, 2);
    RELEASE(x, seed, sum, constant);
}

/* However a custom node ends, its data is dropped once. */
static void custom_data_is_dropped_once(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 1, 2), *out[2], *seed = VECTOR(PL_F64, 1, 1);
    int64_t scope;

    custom pruned = {.count = 2, .dtype = PL_F64};
    OK(custom_node(ctx, &pruned, x, out));
    pl_tensor_release(out[0]);
    assert_int_equal(pruned.drops, 0); /* the other output can still be walked from */
    pl_tensor_release(out[1]);
    assert_int_equal(pruned.drops, 1);

    custom scoped = {.count = 2, .dtype = PL_F64};
    OK(pl_scope_open(ctx, &scope, "inner", false));
    OK(custom_node(ctx, &scoped, x, out));
    pl_scope_close(ctx, scope);
    assert_int_equal(scoped.drops, 1);
    release_all(out, 2);
    assert_int_equal(scoped.drops, 1);

    custom failing = {.fails = PL_ERR_CALLBACK}, longer = {.count = 3, .dtype = PL_F64},
           other = {.count = 2, .dtype = PL_F32};
    static const char shape[] =
        "custom: the gradient of input 1 has another shape or dtype than it";
    custom *const bad[] = {&failing, &longer, &other};
    for (int i = 0; i < LENGTH(bad); i++) {
        OK(custom_node(ctx, bad[i], x, out));
        FAILS(pl_backward(ctx, out[0], seed), i == 0 ? PL_ERR_CALLBACK : PL_ERR_SHAPE,
              i == 0 ? "the callback said no" : shape);
        assert_int_equal(bad[i]->calls, 1);
        assert_int_equal(bad[i]->drops, 0); /* the node is whole: a later walk may go better */
        assert_null(pl_tensor_grad(x));
        *bad[i] = (custom){.count = 2, .dtype = PL_F64, .value = i + 1};
        OK(pl_backward(ctx, out[0], seed));
        VALUES(pl_tensor_grad(x), i + 1, i + 1);
        assert_int_equal(bad[i]->drops, 1);
        pl_tensor_zero_grad(x);
        release_all(out, 2);
    }

    custom refused = {.count = 2};
    pl_tensor *many[PL_MAX_IN + 1] = {x, x, x, x, x, x, x, x, x};
    FAILS(pl_custom(ctx, many, PL_MAX_IN + 1, &seed, 1, custom_backward, custom_drop, &refused),
          PL_ERR_ARG, "custom: at most 8 inputs and 3 outputs");
    FAILS(pl_custom(ctx, &x, 1, many, PL_MAX_OUT + 1, custom_backward, custom_drop, &refused),
          PL_ERR_ARG, "custom: at most 8 inputs and 3 outputs");
    pl_mem_fail_at(ctx, 1, false);
    FAILS(pl_custom(ctx, &x, 1, &seed, 1, custom_backward, custom_drop, &refused), PL_ERR_NOMEM,
          "not enough memory");
    assert_int_equal(refused.drops, 0); /* a node that was not made took nothing */
    assert_false(pl_tensor_requires_grad(seed));

    RELEASE(x, seed);
}

/* Activation checkpointing: the forward runs again inside the node's backward, on a tape of its own
** that ends at the node. */
typedef struct {
    pl_tensor *x; /* the input, cut off the outer tape */
    int drops;
} again;

/* x^2 exp(x) of one number. */
static pl_status forward_again(pl_ctx *ctx, pl_tensor *x, pl_tensor **y)
{
    pl_tensor *square = NULL, *e = NULL;
    pl_status st = APPLY(square, &square, x);
    if (st == PL_OK) st = APPLY(exp, &e, x);
    if (st == PL_OK) st = APPLY(mul, y, square, e);
    RELEASE(square, e);
    return st;
}

static pl_status again_backward(pl_ctx *ctx, void *data, pl_tensor *const *d_out, pl_tensor **d_in)
{
    again *a = data;
    pl_tensor *y = NULL;
    const bool former = pl_set_grad_enabled(ctx, true);
    pl_status st = forward_again(ctx, a->x, &y);
    if (st == PL_OK) st = pl_backward(ctx, y, d_out[0]);
    pl_set_grad_enabled(ctx, former);
    pl_tensor_release(y);
    if (st != PL_OK) return st;
    d_in[0] = pl_tensor_grad(a->x);
    pl_tensor_retain(d_in[0]);
    return PL_OK;
}

static void again_drop(void *data)
{
    again *a = data;
    pl_tensor_release(a->x);
    a->x = NULL;
    a->drops++;
}

/* y = x^2 exp(x) through the node, z = y y; *grad is dz/dx when all goes well. */
static pl_status checkpointed(pl_ctx *ctx, again *a, pl_tensor *x, pl_tensor **z)
{
    pl_tensor *y = NULL;
    *a = (again){NULL, 0};
    *z = NULL;
    const bool former = pl_set_grad_enabled(ctx, false);
    pl_status st = forward_again(ctx, x, &y);
    pl_set_grad_enabled(ctx, former);
    if (st == PL_OK) st = pl_tensor_view(ctx, &a->x, x, 0, 1, pl_tensor_shape(x));
    if (st == PL_OK) {
        pl_tensor_set_requires_grad(a->x, true);
        st = pl_custom(ctx, &x, 1, &y, 1, again_backward, again_drop, a);
        if (st != PL_OK) again_drop(a);
    }
    if (st == PL_OK) st = APPLY(mul, z, y, y);
    pl_tensor_release(y);
    return st;
}

static void a_custom_node_may_walk_back_itself(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *x = LEAF(PL_F64, 0.5), *z, *plain, *y;
    again a;
    OK(forward_again(ctx, x, &y));
    plain = apply2(ctx, PL_OP_mul, y, y);
    OK(pl_backward(ctx, plain, NULL));
    const double wanted = element(pl_tensor_grad(x), 0);
    pl_tensor_zero_grad(x);
    OK(checkpointed(ctx, &a, x, &z));
    assert_true(element(z, 0) == element(plain, 0));
    assert_int_equal(a.drops, 0);
    OK(pl_backward(ctx, z, NULL));
    assert_true(element(pl_tensor_grad(x), 0) == wanted); /* the same ops: the same bits */
    assert_true(fabs(wanted - exp(1.0) * 0.625) < 1e-14); /* d x^4 e^2x = (4 x^3 + 2 x^4) e^2x */
    assert_int_equal(a.drops, 1);
    RELEASE(x, z, plain, y);
}

/* ---- Lack of memory ---- */

/* Everything at once: a frame, a tensor that stands twice, a custom node, a checkpointed part. */
static pl_status graph_of_all_kinds(fixture *f)
{
    pl_ctx *ctx = f->ctx;
    pl_tensor *x = NULL, *h = NULL, *y = NULL, *c = NULL, *z = NULL, *s = NULL, *out = NULL;
    custom node = {.count = 1, .dtype = PL_F64, .value = 5};
    again a = {NULL, 0};
    int64_t scope = 0, frame = 0;
    const int64_t one = 1;
    pl_status st = pl_scope_open(ctx, &scope, "outer", false);
    if (st == PL_OK) st = tensor_of(ctx, &x, PL_F64, 1, &one, (double[]){0.5});
    if (st == PL_OK) wanting(x);
    if (st == PL_OK) st = pl_scope_open(ctx, &frame, "frame", true);
    if (st == PL_OK) st = APPLY(square, &h, x);
    if (st == PL_OK) st = APPLY(mul, &y, h, h); /* x^4 */
    if (st == PL_OK) pl_tensor_keep(y);
    pl_scope_close(ctx, frame);
    if (st == PL_OK) st = APPLY(add, &c, y, x);
    if (st == PL_OK) st = checkpointed(ctx, &a, x, &z);
    if (st == PL_OK) st = APPLY(mul, &s, c, z);
    if (st == PL_OK) st = pl_backward(ctx, s, NULL);
    if (st == PL_OK) {
        /* (x^4 + x) x^4 e^2x at 1/2: e (4 x^3 + 1) x^4 + e (x^4 + x) (4 x^3 + 2 x^4) */
        const double wanted = exp(1.0) * (1.5 * 0.0625 + 0.5625 * 0.625);
        assert_true(fabs(element(pl_tensor_grad(x), 0) - wanted) < 1e-14);
        assert_int_equal(a.drops, 1);
        st = pl_tensor_zeros(ctx, &out, PL_F64, 1, &one);
    }
    if (st == PL_OK) st = pl_custom(ctx, &x, 1, &out, 1, custom_backward, custom_drop, &node);
    const bool made = st == PL_OK;
    if (st == PL_OK) st = pl_backward(ctx, out, NULL);
    pl_scope_close(ctx, scope);
    RELEASE(x, h, y, c, z, s, out);
    assert_null(a.x);
    assert_int_equal(node.drops, made);
    return st;
}

static void lack_of_memory_leaves_nothing_behind(void **state)
{
    assert_true(for_each_allocation(*state, graph_of_all_kinds) > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(gradients_are_added_up),
        CONTEXT_CASE(a_tensor_may_stand_twice_in_a_call),
        CONTEXT_CASE(a_cheap_output_is_made_again),
        CONTEXT_CASE(an_output_that_was_written_to_is_kept),
        CONTEXT_CASE(a_gradient_made_ahead_lets_others_come_first),
        CONTEXT_CASE(a_gradient_made_ahead_may_never_be_asked_for),
        CONTEXT_CASE(a_block_asked_for_its_gradients_spares_those_made_ahead),
        CONTEXT_CASE(branches_meet_again),
        CONTEXT_CASE(only_what_wants_gradients_is_recorded),
        CONTEXT_CASE(the_tape_can_be_off),
        CONTEXT_CASE(a_leaf_takes_its_own_seed),
        CONTEXT_CASE(a_branch_that_nobody_can_reach_goes_at_once),
        CONTEXT_CASE(memory_falls_while_gradients_flow),
        CONTEXT_CASE(deep_graphs_are_walked_pruned_and_closed),
        CONTEXT_CASE(a_scope_ends_its_part_of_the_tape),
        CONTEXT_CASE(a_scope_outlives_the_node_it_began_behind),
        CONTEXT_CASE(a_frame_leaves_the_tape_what_it_needs),
        CONTEXT_CASE(a_frame_gives_back_what_no_backward_reads),
        CONTEXT_CASE(keeping_moves_out_by_one_scope_or_for_good),
        CONTEXT_CASE(closing_a_scope_closes_those_inside),
        CONTEXT_CASE(a_view_keeps_the_data_of_a_closed_scope),
        CONTEXT_CASE(misuse_is_told),
        CONTEXT_CASE(an_interrupted_walk_can_be_made_again),
        CONTEXT_CASE(a_custom_node_says_its_gradient),
        CONTEXT_CASE(custom_data_is_dropped_once),
        CONTEXT_CASE(a_custom_node_may_walk_back_itself),
        CONTEXT_CASE(lack_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

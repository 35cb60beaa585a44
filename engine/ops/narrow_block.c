/*
** narrow_block.c - block_in and block_out, a narrow decoder block beside its attention
** (kernels/narrow_block.h).
**
** Backward makes all between the inputs and the outputs anew, so nothing is saved. Without a tape
** weights are packed once and the packed copies kept until they change, as those of linear are.
*/
#include "kernels/narrow_block.h"

#include <stdio.h>

#include "ops/geometry.h"
#include "ops/packed.h"
#include "ops/rotary.h"

enum { X = BLOCK_IN_x };
PL_SAME_PLACE(BLOCK_OUT_x, X);

static pl_status check_eps(pl_call *c, int param)
{
    const double eps = c->param[param].f;
    if (eps >= 0 && eps < INFINITY) return PL_OK;
    return pl__op_fail(c, PL_ERR_ARG, "eps is %g; 0 or a positive number wanted", eps);
}

/* So many rows and columns; 0: any, but some. */
static pl_status check_matrix(pl_call *c, int input, int64_t rows, int64_t columns)
{
    const pl_tensor *t = c->in[input];
    char want[80], sizes[2][24] = {"N", "K"};
    if (t->rank == 2 && (rows > 0 ? t->shape[0] == rows : t->shape[0] > 0) &&
        (columns > 0 ? t->shape[1] == columns : t->shape[1] > 0))
        return PL_OK;
    if (rows > 0) snprintf(sizes[0], sizeof sizes[0], "%lld", (long long)rows);
    if (columns > 0) snprintf(sizes[1], sizeof sizes[1], "%lld", (long long)columns);
    snprintf(want, sizeof want, "[%s,%s]", sizes[0], sizes[1]);
    return pl__shape_fail(c, input, want);
}

/* x is [T,C], C at least 1, and the factors of its norm [C]. */
static pl_status check_rows(pl_call *c, int norm)
{
    const pl_tensor *x = c->in[X], *w = c->in[norm];
    char want[48];
    if (x->rank != 2 || x->shape[1] < 1) return pl__shape_fail(c, X, "[T,C]");
    if (w->rank == 1 && w->count == x->shape[1]) return PL_OK;
    snprintf(want, sizeof want, "[%lld] as rows of x are long", (long long)x->shape[1]);
    return pl__shape_fail(c, norm, want);
}

/* ---- weights, gradients ---- */

static block_weight weight_of(pl_call *c, int input, bool backward)
{
    pl_tensor *w = c->in[input];
    const real *packed = backward ? NULL : packed_weight(c, w, PL_PACK_PLAIN, true);
    return (block_weight){pl__real(w), packed, w->shape[0], w->shape[1]};
}

static block_grad grad_of(const pl_call *c, int input)
{
    const pl_tensor *d = c->d_in[input];
    return (block_grad){d != NULL ? pl__real(d) : NULL, c->acc[input]};
}

static real *workspace(pl_call *c, int64_t elements)
{
    return pl__work(c, elements * (int64_t)sizeof(real));
}

/* The gradient of an output; zeros where none came. */
static const real *output_grad(pl_call *c, int output)
{
    if (c->d_out[output] != NULL) return pl__real(c->d_out[output]);
    const int64_t bytes = c->out[output]->count * (int64_t)sizeof(real);
    real *zeros = pl__work(c, bytes);
    if (zeros != NULL) memset(zeros, 0, (size_t)bytes);
    return zeros;
}

/* ---- block_in ---- */

static const rotary_places places = {.positions = BLOCK_IN_positions,
                                     .inv_freq = BLOCK_IN_inv_freq,
                                     .head_dim = BLOCK_IN_head_dim,
                                     .theta = BLOCK_IN_theta,
                                     .interleaved = BLOCK_IN_interleaved,
                                     .rotary_dim = BLOCK_IN_rotary_dim,
                                     .scale = BLOCK_IN_scale};

enum { SIDES = 3 };
static const int in_weights[SIDES] = {BLOCK_IN_q_w, BLOCK_IN_k_w, BLOCK_IN_v_w};
static const int in_outputs[SIDES] = {BLOCK_IN_q, BLOCK_IN_k, BLOCK_IN_v};

static int64_t head_dim(const pl_call *c)
{
    const int64_t given = c->param[BLOCK_IN_head_dim].i;
    return given != 0 ? given : c->in[BLOCK_IN_k_w]->shape[0];
}

static pl_status block_in_shape(pl_call *c)
{
    PL_TRY(check_eps(c, BLOCK_IN_eps));
    PL_TRY(check_rows(c, BLOCK_IN_norm));
    const int64_t rows = c->in[X]->shape[0], C = c->in[X]->shape[1];
    PL_TRY(check_matrix(c, BLOCK_IN_q_w, 0, C));
    PL_TRY(check_matrix(c, BLOCK_IN_k_w, 0, C));
    const int64_t q = c->in[BLOCK_IN_q_w]->shape[0], k = c->in[BLOCK_IN_k_w]->shape[0];
    PL_TRY(check_matrix(c, BLOCK_IN_v_w, k, C));
    PL_TRY(check_rotary(c, &places, "k", rows, k, head_dim(c)));
    PL_TRY(check_rotary(c, &places, "q", rows, q, head_dim(c)));
    for (int i = 0; i < SIDES; i++) {
        const int64_t shape[] = {rows, c->in[in_weights[i]]->shape[0]};
        PL_TRY(pl__out(c, in_outputs[i], PL_REAL_DTYPE, 2, shape));
    }
    return PL_OK;
}

static block_in block_in_of(pl_call *c, bool backward)
{
    return (block_in){.rows = c->in[X]->shape[0],
                      .C = c->in[X]->shape[1],
                      .eps = (real)c->param[BLOCK_IN_eps].f,
                      .x = pl__real(c->in[X]),
                      .norm = pl__real(c->in[BLOCK_IN_norm]),
                      .q = weight_of(c, BLOCK_IN_q_w, backward),
                      .k = weight_of(c, BLOCK_IN_k_w, backward),
                      .v = weight_of(c, BLOCK_IN_v_w, backward),
                      .rope = rotary_shape(c, &places, head_dim(c), c->in[BLOCK_IN_inv_freq]),
                      .positions = pl__ints(c->in[BLOCK_IN_positions])};
}

static pl_status block_in_forward(pl_call *c)
{
    PL_TRY(pl__check_index(c, BLOCK_IN_positions, INT32_MAX));
    const block_in b = block_in_of(c, false);
    real *work = workspace(c, K(block_in_work)(&b, false));
    if (work == NULL) return PL_ERR_NOMEM;
    K(block_in_fwd)
    (&b, pl__real(c->out[BLOCK_IN_q]), pl__real(c->out[BLOCK_IN_k]), pl__real(c->out[BLOCK_IN_v]),
     work);
    return PL_OK;
}

static pl_status block_in_backward(pl_call *c)
{
    const block_in b = block_in_of(c, true);
    const real *dy[SIDES];
    for (int i = 0; i < SIDES; i++) {
        dy[i] = output_grad(c, in_outputs[i]);
        if (dy[i] == NULL) return PL_ERR_NOMEM;
    }
    const block_in_grads g = {.dq = dy[0],
                              .dk = dy[1],
                              .dv = dy[2],
                              .x = grad_of(c, X),
                              .norm = grad_of(c, BLOCK_IN_norm),
                              .q = grad_of(c, BLOCK_IN_q_w),
                              .k = grad_of(c, BLOCK_IN_k_w),
                              .v = grad_of(c, BLOCK_IN_v_w)};
    real *work = workspace(c, K(block_in_work)(&b, true));
    if (work == NULL) return PL_ERR_NOMEM;
    K(block_in_bwd)(&b, &g, work);
    return PL_OK;
}

extern const pl_op_impl OPI(block_in);
const pl_op_impl OPI(block_in) = {block_in_shape, block_in_forward, block_in_backward};

/* ---- block_out ---- */

static pl_status block_out_shape(pl_call *c)
{
    PL_TRY(check_eps(c, BLOCK_OUT_eps));
    PL_TRY(check_rows(c, BLOCK_OUT_norm));
    const int64_t rows = c->in[X]->shape[0], C = c->in[X]->shape[1];
    const pl_tensor *y = c->in[BLOCK_OUT_y];
    if (y->rank != 2 || y->shape[0] != rows || y->shape[1] < 1)
        return pl__shape_fail(c, BLOCK_OUT_y, "[T,A], a row for each of x,");
    PL_TRY(check_matrix(c, BLOCK_OUT_o_w, C, y->shape[1]));
    PL_TRY(check_matrix(c, BLOCK_OUT_gate, 0, C));
    const int64_t F = c->in[BLOCK_OUT_gate]->shape[0];
    PL_TRY(check_matrix(c, BLOCK_OUT_up, F, C));
    PL_TRY(check_matrix(c, BLOCK_OUT_down, C, F));
    return pl__out_like(c, X);
}

static block_out block_out_of(pl_call *c, bool backward)
{
    return (block_out){.rows = c->in[X]->shape[0],
                       .C = c->in[X]->shape[1],
                       .eps = (real)c->param[BLOCK_OUT_eps].f,
                       .x = pl__real(c->in[X]),
                       .y = pl__real(c->in[BLOCK_OUT_y]),
                       .norm = pl__real(c->in[BLOCK_OUT_norm]),
                       .o = weight_of(c, BLOCK_OUT_o_w, backward),
                       .gate = weight_of(c, BLOCK_OUT_gate, backward),
                       .up = weight_of(c, BLOCK_OUT_up, backward),
                       .down = weight_of(c, BLOCK_OUT_down, backward)};
}

static pl_status block_out_forward(pl_call *c)
{
    const block_out b = block_out_of(c, false);
    real *work = workspace(c, K(block_out_work)(&b, false));
    if (work == NULL) return PL_ERR_NOMEM;
    K(block_out_fwd)(&b, pl__real(c->out[BLOCK_OUT_z]), work);
    return PL_OK;
}

static pl_status block_out_backward(pl_call *c)
{
    const block_out b = block_out_of(c, true);
    const block_out_grads g = {.dz = pl__real(c->d_out[BLOCK_OUT_z]),
                               .x = grad_of(c, X),
                               .y = grad_of(c, BLOCK_OUT_y),
                               .norm = grad_of(c, BLOCK_OUT_norm),
                               .o = grad_of(c, BLOCK_OUT_o_w),
                               .gate = grad_of(c, BLOCK_OUT_gate),
                               .up = grad_of(c, BLOCK_OUT_up),
                               .down = grad_of(c, BLOCK_OUT_down)};
    real *work = workspace(c, K(block_out_work)(&b, true));
    if (work == NULL) return PL_ERR_NOMEM;
    K(block_out_bwd)(&b, &g, work);
    return PL_OK;
}

extern const pl_op_impl OPI(block_out);
const pl_op_impl OPI(block_out) = {block_out_shape, block_out_forward, block_out_backward};

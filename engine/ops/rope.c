/*
** rope.c - rotary positions; the maths is in kernels/rope.h.
*/
#include "ops/geometry.h"
#include "ops/rotary.h"

enum { POSITIONS, FREQUENCIES }; /* saved */

static const rotary_places places = {.positions = ROPE_positions,
                                     .inv_freq = ROPE_inv_freq,
                                     .head_dim = ROPE_head_dim,
                                     .theta = ROPE_theta,
                                     .interleaved = ROPE_interleaved,
                                     .rotary_dim = ROPE_rotary_dim,
                                     .scale = ROPE_scale};

static int64_t head_dim(const pl_call *c, const pl_tensor *x)
{
    return c->param[ROPE_head_dim].i != 0 ? c->param[ROPE_head_dim].i : x->shape[1];
}

static rope_shape shape_of(const pl_call *c, const pl_tensor *x, const pl_tensor *frequencies)
{
    const int64_t dim = head_dim(c, x);
    rope_shape r = rotary_shape(c, &places, dim, frequencies);
    r.T = x->shape[0];
    r.H = x->shape[1] / dim;
    return r;
}

static pl_status rope_check(pl_call *c)
{
    const pl_tensor *x = c->in[ROPE_x], *frequencies = c->in[ROPE_inv_freq];
    if (x->rank != 2 || x->shape[1] < 1) return pl__shape_fail(c, ROPE_x, "[T,H*D]");
    PL_TRY(check_rotary(c, &places, "x", x->shape[0], x->shape[1], head_dim(c, x)));
    if (c->grad && frequencies != NULL) {
        PL_TRY(pl__saved(c, FREQUENCIES, PL_REAL_DTYPE, 1, frequencies->shape));
        memcpy(pl__real(c->saved[FREQUENCIES]), pl__real(frequencies),
               (size_t)frequencies->count * sizeof(real));
    }
    PL_TRY(pl__save_ints(c, POSITIONS, ROPE_positions));
    return pl__out(c, ROPE_y, PL_REAL_DTYPE, 2, x->shape);
}

static pl_status rope_fwd(pl_call *c)
{
    PL_TRY(pl__check_index(c, ROPE_positions, INT32_MAX));
    const rope_shape r = shape_of(c, c->in[ROPE_x], c->in[ROPE_inv_freq]);
    K(rope)(pl__real(c->out[ROPE_y]), pl__real(c->in[ROPE_x]), pl__ints(c->in[ROPE_positions]), &r,
            false, false);
    return PL_OK;
}

static pl_status rope_bwd(pl_call *c)
{
    if (c->d_in[ROPE_x] == NULL) return PL_OK;
    const rope_shape r = shape_of(c, c->d_out[ROPE_y], c->saved[FREQUENCIES]);
    K(rope)(pl__real(c->d_in[ROPE_x]), pl__real(c->d_out[ROPE_y]), pl__ints(c->saved[POSITIONS]),
            &r, true, c->acc[ROPE_x]);
    return PL_OK;
}

extern const pl_op_impl OPI(rope);
const pl_op_impl OPI(rope) = {rope_check, rope_fwd, rope_bwd};

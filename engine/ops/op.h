/*
** op.h - what an op is made of, and what its code may use.
**
** An op gives three functions, side by side in one file, compiled for every variant:
**   shape     checks inputs beyond their presence and dtype class, makes the outputs (pl__out) and
**             what backward needs saved (pl__saved)
**   forward   fills them
**   backward  from d_out[] (gradient of each output, NULL when none flowed) writes d_in[i] for
**             every i where it is not NULL: `=` when !acc[i], `+=` when acc[i]. Inputs and outputs
**             may be read only if the row has the flag I or O, and of inputs those whose unread[i]
**             forward did not set (else their data may be gone); saved always. What has rounds[i]
**             or rounds_out set before, backward finds rounded, and so does a forward that makes a
**             cheap output again: as float32, or where forward gave them in rounded[] as bfloat16
** Memory for the call comes from pl__work and is freed by the caller of these functions. The
** gradients of d_out are dense and of the output's shape. All three return a status.
*/
#ifndef PL_OPS_OP_H
#define PL_OPS_OP_H

#include "kernels/set.h"
#include "op_names.h"
#ifdef PL_VARIANT
#include "kernels/variant.h"
#define OPI(name) PL_CAT_(op_##name, PL_VARIANT) /* an op's pl_op_impl in this variant */
#endif
#include "tensor/tensor.h"

#define PL_MAX_SAVED 4
#define PL_MAX_WORK 8

typedef struct pl_call {
    pl_ctx *ctx;
    pl_op_id op;
    const pl_op_row *row;
    pl_tensor *in[PL_MAX_IN];
    pl_tensor *out[PL_MAX_OUT];
    pl_tensor *saved[PL_MAX_SAVED];
    bool borrows[PL_MAX_SAVED]; /* saved[i] is the waiting memory of in[i]'s gradient */
    pl_param param[PL_MAX_PARAM];
    bool grad; /* a backward may come */
    pl_tensor *d_out[PL_MAX_OUT];
    pl_tensor *d_in[PL_MAX_IN];
    bool acc[PL_MAX_IN];
    bool unread[PL_MAX_IN]; /* inputs that backward does without, though the row has the flag I */
    bool rounds[PL_MAX_IN]; /* inputs that backward reads rounded to bfloat16, */
    bool rounds_out;        /* and whether it reads out[0] so: half the bytes to keep */
    pl_tensor *rounded[PL_MAX_IN]; /* those, where forward made them; it reads them as they are */
    double split_flops; /* of this forward or backward: by split products, for a profile */
    void *work[PL_MAX_WORK];
    int n_work;
} pl_call;

typedef struct {
    pl_status (*shape)(pl_call *c);
    pl_status (*forward)(pl_call *c);
    pl_status (*backward)(pl_call *c); /* NULL with the flag N */
} pl_op_impl;

/* One for each variant: ops by id and the kernels other floors use. */
typedef struct pl_ops_table {
    const pl_op_impl *impl[PL_OP_COUNT];
    pl_kernel_set kernels;
} pl_ops_table;

pl_status pl__out(pl_call *c, int i, pl_dtype dtype, int rank, const int64_t *shape);
/* An output that shares the data of `base`. */
pl_status pl__out_view(pl_call *c, int i, pl_tensor *base, int64_t offset, int rank,
                       const int64_t *shape);
pl_status pl__saved(pl_call *c, int i, pl_dtype dtype, int rank, const int64_t *shape);
/* saved[i] of in[i]'s shape. Where in[i] is a leaf that waits for its first gradient, it is the
** memory of that: backward then finds d_in[i] and saved[i] to be the same, and a large gradient
** made in the forward pass is there once. */
pl_status pl__saved_as_grad(pl_call *c, int i);
/* Scratch memory until the end of this forward or backward; NULL when there is none. */
void *pl__work(pl_call *c, int64_t bytes);

/* pl__fail with the op's name before the text. */
pl_status pl__op_fail(pl_call *c, pl_status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "<op>: <input> has shape [..], <want> wanted" */
pl_status pl__shape_fail(pl_call *c, int input, const char *want);
/* Values of an int32 input all in [0, limit); else names the first that is not. */
pl_status pl__check_index(pl_call *c, int input, int64_t limit);
/* offsets: rank 1, begins with 0, never falls, ends with `total`; *segments = its length - 1. */
pl_status pl__check_offsets(pl_call *c, int input, int64_t total, int64_t *segments);

/* In the order of gemm_names in op.c. */
typedef enum { PL_GEMM_AUTO, PL_GEMM_OWN, PL_GEMM_OPENBLAS, PL_GEMM_SPLIT } pl_gemm;

/* This floor's part of a context (base/ctx.h). */
typedef struct {
    pl_tensor_floor tensors;
    pl_op_row *rows;
    const pl_ops_table *f32, *f64;
    struct {
        pl_gemm wish;
        bool known;    /* wish was set or read from the environment */
        bool tried[2]; /* for float32, float64: */
        int group[2];  /* gemm_blas_group of kernels/gemm_blas.h, once tried */
    } gemm;
} pl_ops_floor;

static inline pl_ops_floor *pl__ops_floor(const pl_ctx *ctx)
{
    return (pl_ops_floor *)ctx;
}

pl_status pl__ops_open(pl_ctx *ctx);
void pl__ops_close(pl_ctx *ctx);
const pl_ops_table *pl__ops_for(pl_ctx *ctx, pl_dtype dtype);
/* The group of rows by which OpenBLAS does the products of this dtype (kernels/gemm_blas.h); 0 when
** the engine does them itself, as always when they are not `large`. */
pl_status pl__gemm_group(pl_ctx *ctx, pl_dtype dtype, bool large, int *group);
/* Whether products for gradients, and those of cross_entropy, are split ones (kernels/gemm_split.h)
** where n and k are large enough. */
pl_status pl__gemm_split(pl_ctx *ctx, pl_dtype dtype, bool *split);
/* Frees scratch memory; outputs and saved tensors too when `all`. */
void pl__call_release(pl_call *c, bool all);
pl_status pl__parse_row(pl_ctx *ctx, pl_op_row *row, const char *inputs, const char *params,
                        const char *outputs);

/* Of code for several ops: their rows have the two at one place. */
#define PL_SAME_PLACE(a, b) \
    _Static_assert((int)(a) == (int)(b), #a " and " #b " are not at one place of their rows")

#define pl__real(t) ((real *)pl__data(t))
#define pl__ints(t) ((const int32_t *)pl__data(t))

#endif

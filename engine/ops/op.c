/*
** op.c - the ops of a context (their rows and the dispatch table of this machine) and what op code
** shares: error texts, checks of inputs, outputs, scratch memory.
*/
#include "ops/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

#define DECLARE(variant) extern const pl_ops_table op_table__##variant
DECLARE(f32_plain);
DECLARE(f64);
#if defined(__x86_64__)
DECLARE(f32_avx2);
DECLARE(f32_avx512);
#endif

static const pl_ops_table *table_of_machine(void)
{
#if defined(__x86_64__)
    switch (pl__isa()) {
    case PL_ISA_AVX512: return &op_table__f32_avx512;
    case PL_ISA_AVX2: return &op_table__f32_avx2;
    case PL_ISA_PLAIN: break;
    }
#endif
    return &op_table__f32_plain;
}

pl_status pl__ops_open(pl_ctx *ctx)
{
    pl_ops_floor *floor = pl__ops_floor(ctx);
    floor->f32 = table_of_machine();
    floor->f64 = &op_table__f64;
    floor->rows = pl_calloc(ctx, PL_OP_COUNT, sizeof(pl_op_row));
    if (floor->rows == NULL) return PL_ERR_NOMEM;
#define OP(op, inputs, params, outputs, opflags, opshapes, opdoc) \
    {                                                             \
        pl_op_row *row = &floor->rows[PL_OP_##op];                \
        row->name = #op;                                          \
        row->shapes = opshapes;                                   \
        row->doc = opdoc;                                         \
        row->flags = opflags;                                     \
        PL_TRY(pl__parse_row(ctx, row, inputs, params, outputs)); \
    }
#include "ops.def"
#undef OP
    return PL_OK;
}

static const char *const gemm_names[] = {"auto", "own", "openblas", "split"};

pl_status pl_gemm_set(pl_ctx *ctx, const char *name)
{
    for (int i = 0; i <= PL_GEMM_SPLIT; i++)
        if (strcmp(name, gemm_names[i]) == 0) {
            pl__ops_floor(ctx)->gemm.wish = (pl_gemm)i;
            pl__ops_floor(ctx)->gemm.known = true;
            return PL_OK;
        }
    return pl__fail(ctx, PL_ERR_ARG,
                    "matrix products by '%s' (PERILUNE_GEMM): auto, own, "
                    "openblas or split wanted",
                    name);
}

static pl_status gemm_wish(pl_ctx *ctx, pl_gemm *wish)
{
    const char *name = getenv("PERILUNE_GEMM");
    if (!pl__ops_floor(ctx)->gemm.known)
        PL_TRY(pl_gemm_set(ctx, name != NULL && *name != '\0' ? name : "auto"));
    *wish = pl__ops_floor(ctx)->gemm.wish;
    return PL_OK;
}

/* The table these rules come from is in docs/performance.md. */
static bool openblas_is_faster(pl_dtype dtype)
{
    return pl__has_avx() && (dtype == PL_F64 || pl__isa() == PL_ISA_PLAIN);
}

pl_status pl__gemm_group(pl_ctx *ctx, pl_dtype dtype, bool large, int *group)
{
    pl_ops_floor *floor = pl__ops_floor(ctx);
    const int i = dtype == PL_F64;
    pl_gemm wish;
    *group = 0;
    PL_TRY(gemm_wish(ctx, &wish));
    if (!large) return PL_OK;
    if (wish == PL_GEMM_OWN || wish == PL_GEMM_SPLIT) return PL_OK;
    if (wish == PL_GEMM_AUTO && !openblas_is_faster(dtype)) return PL_OK;
    if (!floor->gemm.tried[i]) {
        const pl_kernel_set *kernels = &pl__ops_for(ctx, dtype)->kernels;
        void *work = pl_alloc(ctx, (size_t)kernels->gemm_blas_group_work());
        if (work == NULL) return PL_ERR_NOMEM;
        floor->gemm.group[i] = kernels->gemm_blas_group(work);
        floor->gemm.tried[i] = true;
        pl_free(ctx, work);
    }
    *group = floor->gemm.group[i];
    if (*group == 0 && wish == PL_GEMM_OPENBLAS) *group = 1; /* asked for, whatever rows lose */
    return PL_OK;
}

pl_status pl__gemm_split(pl_ctx *ctx, pl_dtype dtype, bool *split)
{
    pl_gemm wish;
    PL_TRY(gemm_wish(ctx, &wish));
    *split =
        dtype == PL_F32 && (wish == PL_GEMM_SPLIT || (wish == PL_GEMM_AUTO && pl__has_tiles()));
    return PL_OK;
}

pl_status pl_gemm_get(pl_ctx *ctx, pl_dtype dtype, pl_gemm_info *info)
{
    int group;
    *info = (pl_gemm_info){0};
    PL_TRY(pl__gemm_group(ctx, dtype, true, &group));
    const pl_ops_floor *floor = pl__ops_floor(ctx);
    info->wish = gemm_names[floor->gemm.wish];
    PL_TRY(pl__gemm_split(ctx, dtype, &info->split));
    info->openblas = group > 0;
    info->rows_alone = group == 0 || floor->gemm.group[dtype == PL_F64] > 0;
    return PL_OK;
}

void pl__ops_close(pl_ctx *ctx)
{
    pl_free(ctx, pl__ops_floor(ctx)->rows);
}

const pl_op_row *pl_op_get(const pl_ctx *ctx, pl_op_id op)
{
    return &pl__ops_floor(ctx)->rows[op];
}

const pl_ops_table *pl__ops_for(pl_ctx *ctx, pl_dtype dtype)
{
    const pl_ops_floor *floor = pl__ops_floor(ctx);
    return dtype == PL_F64 ? floor->f64 : floor->f32;
}

pl_status pl__op_fail(pl_call *c, pl_status st, const char *format, ...)
{
    char text[PL_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pl__fail(c->ctx, st, "%s: %s", c->row->name, text);
}

pl_status pl__shape_fail(pl_call *c, int input, const char *want)
{
    char text[PL_SHAPE_TEXT];
    return pl__op_fail(c, PL_ERR_SHAPE, "%s has shape %s, %s wanted", c->row->in[input].name,
                       pl__shape_text(c->in[input], text), want);
}

pl_status pl__check_index(pl_call *c, int input, int64_t limit)
{
    const int32_t *index = pl__ints(c->in[input]);
    for (int64_t i = 0; i < c->in[input]->count; i++)
        if (index[i] < 0 || index[i] >= limit)
            return pl__op_fail(c, PL_ERR_ARG, "%s holds %d at place %lld; 0 to %lld wanted",
                               c->row->in[input].name, index[i], (long long)i + c->ctx->first,
                               (long long)limit - 1);
    return PL_OK;
}

pl_status pl__check_offsets(pl_call *c, int input, int64_t total, int64_t *segments)
{
    const pl_tensor *t = c->in[input];
    if (t->rank != 1 || t->count < 1) return pl__shape_fail(c, input, "[B+1]");
    const int32_t *offsets = pl__ints(t);
    bool fine = offsets[0] == 0 && offsets[t->count - 1] == total;
    for (int64_t i = 1; i < t->count; i++) fine = fine && offsets[i - 1] <= offsets[i];
    if (!fine)
        return pl__op_fail(c, PL_ERR_ARG, "%s must begin with 0, never fall and end with %lld",
                           c->row->in[input].name, (long long)total);
    *segments = t->count - 1;
    return PL_OK;
}

pl_status pl__out(pl_call *c, int i, pl_dtype dtype, int rank, const int64_t *shape)
{
    return pl_tensor_new(c->ctx, &c->out[i], dtype, rank, shape);
}

pl_status pl__out_view(pl_call *c, int i, pl_tensor *base, int64_t offset, int rank,
                       const int64_t *shape)
{
    return pl_tensor_view(c->ctx, &c->out[i], base, offset, rank, shape);
}

pl_status pl__saved(pl_call *c, int i, pl_dtype dtype, int rank, const int64_t *shape)
{
    return pl__tensor_new_free(c->ctx, &c->saved[i], dtype, rank, shape);
}

pl_status pl__saved_as_grad(pl_call *c, int i)
{
    pl_tensor *t = c->in[i];
    bool free_to_use = t->node == NULL && !t->grad_valid && t->borrower == NULL &&
                       (t->grad == NULL || t->grad->refs == 1);
    for (int k = 0; k < c->row->n_in; k++) free_to_use = free_to_use && (k == i || c->in[k] != t);
    if (!free_to_use) return pl__saved(c, i, t->dtype, t->rank, t->shape);
    if (t->grad == NULL) PL_TRY(pl__tensor_new_free(c->ctx, &t->grad, t->dtype, t->rank, t->shape));
    PL_TRY(pl__tensor_claim(t->grad));
    pl_tensor_retain(t->grad);
    c->saved[i] = t->grad;
    c->borrows[i] = true;
    return PL_OK;
}

void *pl__work(pl_call *c, int64_t bytes)
{
    if (c->n_work == PL_MAX_WORK) {
        pl__op_fail(c, PL_ERR_NOMEM, "more than %d blocks of scratch memory", PL_MAX_WORK);
        return NULL;
    }
    void *block = pl_alloc(c->ctx, (size_t)(bytes > 0 ? bytes : 1));
    if (block != NULL) c->work[c->n_work++] = block;
    return block;
}

void pl__call_release(pl_call *c, bool all)
{
    for (int i = 0; i < c->n_work; i++) pl_free(c->ctx, c->work[i]);
    c->n_work = 0;
    if (!all) return;
    for (int i = 0; i < PL_MAX_SAVED; i++) {
        pl_tensor_release(c->saved[i]);
        c->saved[i] = NULL;
    }
    for (int i = 0; i < PL_MAX_IN; i++) {
        pl_tensor_release(c->rounded[i]);
        c->rounded[i] = NULL;
    }
    for (int i = 0; i < PL_MAX_OUT; i++) {
        pl_tensor_release(c->out[i]);
        c->out[i] = NULL;
    }
}

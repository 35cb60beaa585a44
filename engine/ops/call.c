/*
** call.c - running one op: checks that hold for every op, the variant, the tape, the watchdog.
*/
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "base/cpu.h"
#include "ops/op.h"

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
    ctx->ops.f32 = table_of_machine();
    ctx->ops.f64 = &op_table__f64;
    const char *gemm = getenv("PERILUNE_GEMM");
    ctx->ops.openblas = gemm != NULL && strcmp(gemm, "openblas") == 0;
    ctx->ops.rows = pl_calloc(ctx, PL_OP_COUNT, sizeof(pl_op_row));
    if (ctx->ops.rows == NULL) return PL_ERR_NOMEM;
#define OP(op, inputs, params, outputs, opflags, opshapes, opdoc)                                 \
    {                                                                                             \
        pl_op_row *row = &ctx->ops.rows[PL_OP_##op];                                              \
        row->name = #op;                                                                          \
        row->shapes = opshapes;                                                                   \
        row->doc = opdoc;                                                                         \
        row->flags = opflags;                                                                     \
        PL_TRY(pl__parse_row(ctx, row, inputs, params, outputs));                                 \
    }
#include "ops.def"
#undef OP
    return PL_OK;
}

void pl__ops_close(pl_ctx *ctx)
{
    pl_free(ctx, ctx->ops.rows);
}

const pl_op_row *pl_op_get(const pl_ctx *ctx, pl_op_id op)
{
    return &ctx->ops.rows[op];
}

const pl_ops_table *pl__ops_for(pl_ctx *ctx, pl_dtype dtype)
{
    return dtype == PL_F64 ? ctx->ops.f64 : ctx->ops.f32;
}

void pl_set_nan_check(pl_ctx *ctx, bool on)
{
    ctx->ops.nan_check = on;
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
            return pl__op_fail(c, PL_ERR_ARG, "%s holds %d at place %lld (from 0); 0 to %lld wanted",
                               c->row->in[input].name, index[i], (long long)i,
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
    for (int i = 0; i < PL_MAX_OUT; i++) {
        pl_tensor_release(c->out[i]);
        c->out[i] = NULL;
    }
}

/* Presence, liveness and dtype class of the inputs; *dtype is the float one they share. */
static pl_status check_inputs(pl_call *c, pl_dtype *dtype)
{
    bool found = false;
    for (int i = 0; i < c->row->n_in; i++) {
        const pl_input_row *want = &c->row->in[i];
        const pl_tensor *t = c->in[i];
        if (t == NULL) {
            if (want->optional) continue;
            return pl__op_fail(c, PL_ERR_ARG, "input '%s' is missing", want->name);
        }
        PL_TRY(pl_tensor_check(c->ctx, t));
        if (want->integer != (t->dtype == PL_I32))
            return pl__op_fail(c, PL_ERR_DTYPE, "%s is %s, %s wanted", want->name,
                               pl_dtype_name(t->dtype), want->integer ? "int32" : "a float dtype");
        if (want->integer) continue;
        if (found && t->dtype != *dtype)
            return pl__op_fail(c, PL_ERR_DTYPE, "%s is %s, but an input before it is %s",
                               want->name, pl_dtype_name(t->dtype), pl_dtype_name(*dtype));
        *dtype = t->dtype;
        found = true;
    }
    return PL_OK;
}

static bool all_finite(const pl_tensor *t)
{
    bool fine = true;
    if (t->dtype == PL_F32) {
        const float *x = pl__data(t);
        for (int64_t i = 0; i < t->count; i++) fine &= isfinite(x[i]) != 0;
    } else if (t->dtype == PL_F64) {
        const double *x = pl__data(t);
        for (int64_t i = 0; i < t->count; i++) fine &= isfinite(x[i]) != 0;
    }
    return fine;
}

/* The watchdog: names the op, and its inputs with their shapes and whether they were sound. */
static pl_status check_finite(pl_call *c)
{
    for (int i = 0; i < c->row->n_out; i++) {
        if (all_finite(c->out[i])) continue;
        char text[PL_ERROR_MAX / 2];
        int at = 0;
        text[0] = '\0';
        for (int k = 0; k < c->row->n_in && at < (int)sizeof text - 128; k++) {
            char shape[PL_SHAPE_TEXT];
            const pl_tensor *t = c->in[k];
            if (t == NULL) continue;
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%s %s%s%s%s", at ? ", " : "",
                           c->row->in[k].name, t->name, t->name[0] ? " " : "",
                           pl__shape_text(t, shape), all_finite(t) ? "" : " (itself not finite)");
        }
        return pl__op_fail(c, PL_ERR_NONFINITE, "made a NaN or an infinity in '%s' from %s",
                           c->row->out[i], text);
    }
    return PL_OK;
}

pl_status pl_op(pl_ctx *ctx, pl_op_id op, pl_tensor *const *in, const pl_param *param,
                pl_tensor **out)
{
    pl_call c = {.ctx = ctx, .op = op, .row = &ctx->ops.rows[op]};
    pl_dtype dtype = PL_F32;
    pl_status st = PL_OK;
    for (int i = 0; i < c.row->n_in; i++) c.in[i] = in[i];
    for (int i = 0; i < c.row->n_param; i++)
        c.param[i] = param != NULL ? param[i] : c.row->param[i].fallback;
    for (int i = 0; i < c.row->n_out; i++) out[i] = NULL;
    PL_GO(pl__check_interrupt(ctx));
    PL_GO(check_inputs(&c, &dtype));
    if (ctx->tape.enabled && !(c.row->flags & PL_OPF_NOGRAD))
        for (int i = 0; i < c.row->n_in; i++)
            c.grad = c.grad || (c.in[i] != NULL && c.in[i]->requires_grad);

    const pl_op_impl *impl = pl__ops_for(ctx, dtype)->impl[op];
    PL_GO(impl->shape(&c));
    PL_GO(impl->forward(&c));
    if (ctx->ops.nan_check) PL_GO(check_finite(&c));
    PL_GO(pl__plan_record(ctx, &c));
    if (c.grad) PL_GO(pl__tape_record(ctx, &c));
done:
    pl__call_release(&c, st != PL_OK);
    if (st != PL_OK) return st;
    if (!c.grad)
        for (int i = 0; i < PL_MAX_SAVED; i++) pl_tensor_release(c.saved[i]);
    for (int i = 0; i < c.row->n_out; i++) out[i] = c.out[i];
    return PL_OK;
}

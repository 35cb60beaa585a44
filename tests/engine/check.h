/*
** check.h - what the C tests share: statuses and error texts held against what is wanted, tensors
*of
** given values, and the loop that fails every allocation in turn. The public header is all it
*needs.
*/
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "perilune.h"

#define OK(expr) check_ok(ctx, (expr), #expr, __LINE__)
/* The call fails with this status, and its text contains `text`. */
#define FAILS(expr, status, text) check_fails(ctx, (expr), (status), (text), __LINE__)

static inline void check_ok(pl_ctx *ctx, pl_status st, const char *what, int line)
{
    if (st != PL_OK) fail_msg("line %d: %s: %s: %s", line, what, pl_status_name(st), pl_error(ctx));
}

static inline void check_fails(pl_ctx *ctx, pl_status st, pl_status wanted, const char *text,
                               int line)
{
    if (st != wanted)
        fail_msg("line %d: status '%s', wanted '%s': %s", line, pl_status_name(st),
                 pl_status_name(wanted), pl_error(ctx));
    if (strstr(pl_error(ctx), text) == NULL)
        fail_msg("line %d: error text '%s', wanted '%s'", line, pl_error(ctx), text);
}

static inline int64_t live_bytes(const pl_ctx *ctx)
{
    return pl_mem_get(ctx).live;
}

/* ---- A context that must be left as it was found ---- */

typedef struct {
    pl_ctx *ctx;
    int64_t live; /* bytes of the context itself */
} fixture;

/* The names of scopes are kept by the context for good: these are in it from the start. */
static const char *const scope_names[] = {"outer", "inner", "frame"};

static inline int fixture_open(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    if (f == NULL || (f->ctx = pl_ctx_new()) == NULL) return -1;
    for (size_t i = 0; i < sizeof scope_names / sizeof scope_names[0]; i++) {
        int64_t id;
        if (pl_scope_open(f->ctx, &id, scope_names[i], false) != PL_OK) return -1;
        pl_scope_close(f->ctx, id);
    }
    f->live = live_bytes(f->ctx);
    return 0;
}

static inline int fixture_close(void **state)
{
    fixture *f = *state;
    const int64_t left = live_bytes(f->ctx) - f->live;
    const bool fine = left == 0 && pl_scope_depth(f->ctx) == 0 && pl_grad_enabled(f->ctx);
    if (!fine)
        fprintf(stderr,
                "%lld bytes were not released, or a scope was not closed, or the "
                "tape was left off\n",
                (long long)left);
    pl_ctx_free(f->ctx);
    free(f);
    return fine ? 0 : -1;
}

#define CONTEXT_CASE(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

/* Calls `work` with its k-th allocation failing, and then with that one and all later ones, for
** k = 1, 2, ... until fewer than k are asked for. `work` must release what it made, failed or not.
** The return: the allocations of an unharmed run. */
static inline int64_t for_each_allocation(fixture *f, pl_status (*work)(fixture *f))
{
    pl_ctx *ctx = f->ctx;
    int64_t k = 1;
    for (int forever = 0; forever < 2; forever++) {
        k = 1;
        for (bool reached = true; reached; k++) {
            const int64_t live = live_bytes(ctx), calls = pl_mem_get(ctx).calls;
            pl_mem_fail_at(ctx, k, forever);
            const pl_status st = work(f);
            pl_mem_fail_at(ctx, 0, false);
            reached = pl_mem_get(ctx).calls - calls >= k;
            if (!reached) check_ok(ctx, st, "the run without a failure", __LINE__);
            if (st != PL_OK) check_fails(ctx, st, PL_ERR_NOMEM, "not enough memory", __LINE__);
            if (live_bytes(ctx) != live)
                fail_msg("allocation %lld failed: %lld bytes were not released", (long long)k,
                         (long long)(live_bytes(ctx) - live));
            assert_int_equal(pl_scope_depth(ctx), 0);
            assert_true(pl_grad_enabled(ctx));
            assert_true(k < 10000);
        }
    }
    return k - 2;
}

/* ---- Tensors and ops ---- */

/* Runs an op with its defaults: APPLY(mul, &y, a, b); absent inputs are NULL. */
#define APPLY(op, out, ...) pl_op(ctx, PL_OP_##op, (pl_tensor *[]){__VA_ARGS__}, NULL, (out))

static inline pl_status tensor_of(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                                  const int64_t *shape, const double *values)
{
    const pl_status st = pl_tensor_new(ctx, out, dtype, rank, shape);
    if (st != PL_OK) return st;
    for (int64_t i = 0; i < pl_tensor_count(*out); i++) {
        if (dtype == PL_F64) ((double *)pl_tensor_data(*out))[i] = values[i];
        else if (dtype == PL_F32) ((float *)pl_tensor_data(*out))[i] = (float)values[i];
        else ((int32_t *)pl_tensor_data(*out))[i] = (int32_t)values[i];
    }
    return PL_OK;
}

static inline double element(const pl_tensor *t, int64_t i)
{
    const void *data = pl_tensor_data(t);
    if (pl_tensor_dtype(t) == PL_F64) return ((const double *)data)[i];
    if (pl_tensor_dtype(t) == PL_F32) return (double)((const float *)data)[i];
    return ((const int32_t *)data)[i];
}

static inline void check_values(const pl_tensor *t, int64_t n, const double *wanted, int line)
{
    if (t == NULL) fail_msg("line %d: there is no tensor", line);
    if (pl_tensor_count(t) != n)
        fail_msg("line %d: %lld elements, wanted %lld", line, (long long)pl_tensor_count(t),
                 (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (element(t, i) != wanted[i])
            fail_msg("line %d: element %lld is %.17g, wanted %.17g", line, (long long)i,
                     element(t, i), wanted[i]);
}

/* The tensor has exactly these elements. */
#define VALUES(t, ...)                                                           \
    check_values((t), (int64_t)(sizeof(double[]){__VA_ARGS__} / sizeof(double)), \
                 (double[]){__VA_ARGS__}, __LINE__)

static inline bool same_bits(const pl_tensor *a, const pl_tensor *b)
{
    return pl_tensor_dtype(a) == pl_tensor_dtype(b) && pl_tensor_count(a) == pl_tensor_count(b) &&
           memcmp(pl_tensor_data(a), pl_tensor_data(b), pl_tensor_bytes(a)) == 0;
}

#endif

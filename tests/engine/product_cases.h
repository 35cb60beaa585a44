/*
** product_cases.h - what tests of products by bfloat16 tiles share: shapes, operands in every
** layout, memory that shows reads of nothing.
**
** Who includes it defines number() and sum_number(), and what kinds of numbers there are: 0 is the
** usual one.
*/
#ifndef PL_PRODUCT_CASES_H
#define PL_PRODUCT_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

static float number(int kind);
/* What C holds before. */
static float sum_number(int kind);

static const char *const isa_names[] = {"plain", "avx2", "avx512"};

/* How many of them the machine can run. */
static int variants(void)
{
    unsetenv("PERILUNE_ISA");
    return 1 + (int)pl__isa();
}

static uint64_t state;

static uint32_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

static float *floats(int64_t n, int kind)
{
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i <= n; i++) x[i] = number(kind);
    return x;
}

static void *work_of(int64_t bytes)
{
    void *work = aligned_alloc(64, (size_t)(bytes + 64) / 64 * 64);
    assert_non_null(work);
    memset(work, 0xff, (size_t)(bytes + 64) / 64 * 64); /* NaN, should anything be read unwritten */
    return work;
}

/* ---- One product ---- */

typedef struct {
    bool ta, tb, acc, bias;
    int kind;
    int64_t m, n, k, pad; /* pad: elements that leading dimensions are longer than rows */
} shape;

static shape shape_of(uint32_t bits, int64_t m, int64_t n, int64_t k)
{
    return (shape){.ta = bits & 1,
                   .tb = bits & 2,
                   .acc = bits & 4,
                   .bias = bits & 8,
                   .pad = bits & 16 ? 3 : 0,
                   .m = m,
                   .n = n,
                   .k = k};
}

typedef struct {
    float *a, *b; /* m x k, n x k */
    float *sa, *sb, *c, *before, *wanted, *bias;
    int64_t lda, ldb, ldc, count;
} numbers;

static float *stored(bool turned, int64_t lines, int64_t k, int64_t ld, const float *x)
{
    float *to = floats((turned ? k : lines) * ld + ld, 0);
    for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < k; j++) to[turned ? j * ld + i : i * ld + j] = x[i * k + j];
    return to;
}

static numbers numbers_of(const shape *s)
{
    numbers x = {.a = floats(s->m * s->k, s->kind), .b = floats(s->n * s->k, s->kind)};
    x.lda = (s->ta ? s->m : s->k) + s->pad;
    x.ldb = (s->tb ? s->k : s->n) + s->pad;
    x.ldc = s->n + s->pad;
    x.sa = stored(s->ta, s->m, s->k, x.lda, x.a);
    x.sb = stored(!s->tb, s->n, s->k, x.ldb, x.b);
    x.bias = floats(s->n, s->kind);
    x.count = (s->m + 1) * x.ldc + 1;
    x.before = floats(x.count, 0);
    for (int64_t i = 0; i < x.count; i++) x.before[i] = sum_number(s->kind);
    x.c = floats(x.count, 0);
    x.wanted = floats(x.count, 0);
    return x;
}

static void numbers_free(numbers *x)
{
    float *all[] = {x->a, x->b, x->sa, x->sb, x->c, x->before, x->wanted, x->bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

#endif

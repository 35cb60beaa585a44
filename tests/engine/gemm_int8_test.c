/*
** gemm_int8_test.c - products in eight bits: every variant, with the instruction for bytes and
** without, against the law of kernels/gemm_int8.h written out, bit for bit; and near the product of
** the float64 values.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PL_VARIANT f32_plain
#include "base/cpu.h"
#include "base/dtype.h"
#include "kernels/quant_piece.h"
#include "perilune.h"

typedef struct {
    const char *isa;
    int64_t (*work)(int64_t, int64_t);
    void (*gemm)(bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype, const void *,
                 const float *, float *, int64_t, void *);
} variant;

#define DECLARE(v)                                                                          \
    int64_t k_gemm_int8_work_##v(int64_t, int64_t);                                         \
    void k_gemm_int8_##v(bool, int64_t, int64_t, int64_t, const float *, int64_t, pl_dtype, \
                         const void *, const float *, float *, int64_t, void *);
DECLARE(f32_plain)
#ifdef __x86_64__
DECLARE(f32_avx2)
DECLARE(f32_avx512)
#endif

static const variant all_variants[] = {
    {"plain", k_gemm_int8_work_f32_plain, k_gemm_int8_f32_plain},
#ifdef __x86_64__
    {"avx2", k_gemm_int8_work_f32_avx2, k_gemm_int8_f32_avx2},
    {"avx512", k_gemm_int8_work_f32_avx512, k_gemm_int8_f32_avx512},
#endif
};

/* How many of them the machine can run. */
static int variants(void)
{
    unsetenv("PERILUNE_ISA");
    return 1 + (int)pl__isa();
}

static const pl_dtype dtypes[] = {PL_Q8_0, PL_Q4_0, PL_Q4_1, PL_Q5_0,
                                  PL_Q5_1, PL_Q4_K, PL_Q5_K, PL_Q6_K};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static uint64_t state = 88172645463325252u;

static uint32_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

/* Blocks of random bits, with factors of 2^-12 to 1. */
static uint8_t *blocks_of(pl_dtype dtype, int64_t count)
{
    const size_t bytes = pl__dtype_bytes(dtype, count), block = (size_t)pl__dtypes[dtype].bytes;
    const bool two = dtype == PL_Q4_1 || dtype == PL_Q5_1 || dtype == PL_Q4_K || dtype == PL_Q5_K;
    uint8_t *w = malloc(bytes + 1);
    assert_non_null(w);
    for (size_t i = 0; i < bytes; i++) w[i] = (uint8_t)draw();
    for (size_t i = 0; i < bytes; i += block)
        for (int f = 0; f < (two ? 2 : 1); f++) {
            const uint16_t half = (uint16_t)((draw() & 0x83ff) | (3 + draw() % 12) << 10);
            memcpy(w + i + (dtype == PL_Q6_K ? 208 : 2 * f), &half, sizeof half);
        }
    return w;
}

/* Of all sizes; or what rounds to 127 and -127 alone, for the largest sums there are. */
typedef enum { USUAL, LARGEST, ODD, KINDS } number_kind;

static float number(number_kind kind)
{
    const float sign = draw() & 1 ? 1.0f : -1.0f;
    if (kind == LARGEST) return sign * 3;
    if (kind == ODD && draw() % 4 == 0) return sign * 0x1p-102f; /* counts as 0 when alone */
    if (kind == ODD && draw() % 64 == 0) return sign * 0x1p100f;
    return sign * ldexpf((float)(draw() % 1000) / 1000, (int)(draw() % 8) - 4);
}

/* ---- The law ---- */

typedef struct {
    float d;
    int c[PIECE];
} rounded;

static rounded round_32(const float *x)
{
    rounded r = {0};
    float a = 0;
    for (int i = 0; i < PIECE; i++) {
        if (!isfinite(x[i])) {
            r.d = NAN;
            return r;
        }
        a = fmaxf(a, fabsf(x[i]));
    }
    if (a < 0x1p-100f) return r;
    r.d = a / 127;
    for (int i = 0; i < PIECE; i++) {
        const float nearest = x[i] * (127 / a);
        r.c[i] = (int)lrintf(nearest);
    }
    return r;
}

static void read_row(pl_dtype dtype, const uint8_t *w, int64_t k, int64_t row, int64_t p, piece *to)
{
    const int shift = pl__dtypes[dtype].shift - 5;
    read_piece(dtype,
               w + pl__dtype_bytes(dtype, k) * (size_t)row +
                   (size_t)(p >> shift) * (size_t)pl__dtypes[dtype].bytes,
               (int)(p & ((1 << shift) - 1)), to);
}

/* Before the integers; not of q6_k. */
static size_t head_bytes(pl_dtype dtype)
{
    if (dtype == PL_Q4_K || dtype == PL_Q5_K) return 16;
    return dtype == PL_Q4_1 || dtype == PL_Q5_1 ? 4 : 2;
}

static float element(pl_dtype dtype, const float *x, const uint8_t *w, int64_t k, int64_t row)
{
    float s = 0;
    for (int64_t p = 0; p < k / PIECE; p++) {
        const rounded r = round_32(x + p * PIECE);
        const int parts = dtype == PL_Q6_K ? 2 : 1, part = PIECE / parts;
        piece q;
        int all = 0;
        read_row(dtype, w, k, row, p, &q);
        for (int i = 0; i < PIECE; i++) all += r.c[i];
        for (int h = 0; h < parts; h++) {
            int sum = 0;
            for (int i = h * part; i < (h + 1) * part; i++) sum += r.c[i] * q.q[i];
            const float scale = r.d * q.scale[h];
            s = fmaf((float)sum, scale, s);
        }
        const float plain_sum = r.d * (float)all;
        if (q.has_least) s = fmaf(plain_sum, q.least, s);
    }
    return s;
}

static uint32_t bits(float x)
{
    if (isnan(x)) return 0x7fc00000;
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* ---- One product ---- */

enum { PAD = 3, UNTOUCHED = 12345 };

typedef struct {
    pl_dtype dtype;
    number_kind kind;
    int64_t m, n, k;
    bool bias, padded;
} shape;

typedef struct {
    float *x, *bias, *wanted, *y;
    uint8_t *w;
    int64_t ldx, ldy;
} operands;

static float *floats(int64_t count, number_kind kind)
{
    float *x = malloc((size_t)(count + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i <= count; i++) x[i] = number(kind);
    return x;
}

static operands operands_of(const shape *s)
{
    const int64_t pad = s->padded ? PAD : 0;
    operands g = {.ldx = s->k + pad, .ldy = s->n + pad};
    g.x = floats(s->m * g.ldx, s->kind);
    g.bias = floats(s->n, USUAL);
    g.w = blocks_of(s->dtype, s->n * s->k);
    g.y = floats(s->m * g.ldy, USUAL);
    g.wanted = floats(s->m * s->n, USUAL);
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            const float y = element(s->dtype, g.x + i * g.ldx, g.w, s->k, j);
            g.wanted[i * s->n + j] = s->bias ? y + g.bias[j] : y;
        }
    return g;
}

static void free_operands(operands *g)
{
    free(g->x);
    free(g->bias);
    free(g->w);
    free(g->y);
    free(g->wanted);
}

static void run(const variant *v, bool vnni, const shape *s, const operands *g)
{
    const size_t size = (size_t)(v->work(s->m, s->k) + 64) / 64 * 64;
    void *work = aligned_alloc(64, size);
    assert_non_null(work);
    memset(work, 0xff, size);
    for (int64_t i = 0; i < s->m * g->ldy; i++) g->y[i] = UNTOUCHED;
    v->gemm(vnni, s->m, s->n, s->k, g->x, g->ldx, s->dtype, g->w, s->bias ? g->bias : NULL, g->y,
            g->ldy, work);
    free(work);
}

static void holds(const variant *v, bool vnni, const shape *s, const operands *g)
{
    run(v, vnni, s, g);
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < g->ldy; j++) {
            const float want = j < s->n ? g->wanted[i * s->n + j] : UNTOUCHED;
            const float got = g->y[i * g->ldy + j];
            if (bits(got) != bits(want))
                fail_msg("%s%s %s kind %d m %d n %d k %d: y[%d,%d] is %a, not %a", v->isa,
                         vnni ? " vnni" : "", pl_dtype_name(s->dtype), (int)s->kind, (int)s->m,
                         (int)s->n, (int)s->k, (int)i, (int)j, (double)got, (double)want);
        }
}

static void holds_everywhere(const shape *s)
{
    operands g = operands_of(s);
    for (int v = 0, count = variants(); v < count; v++) {
        setenv("PERILUNE_ISA", all_variants[v].isa, 1);
        const bool vnni = pl_vnni();
        holds(&all_variants[v], false, s, &g);
        if (vnni) holds(&all_variants[v], true, s, &g);
    }
    unsetenv("PERILUNE_ISA");
    free_operands(&g);
}

static int64_t depth(pl_dtype dtype, int i)
{
    static const int64_t blocks[] = {1, 2, 3, 8, 25, 0};
    return blocks[i] * pl_dtype_block(dtype);
}

/* Every number of rows of a strip and beyond, columns around a register's, k beyond what is
** unpacked at a time. */
static void every_shape_has_the_bits_of_the_law(void **unused)
{
    (void)unused;
    static const int64_t columns[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 33};
    for (int d = 0; d < DTYPES; d++)
        for (int64_t m = 1; m <= 35; m += m < 17 ? 1 : 9) {
            const uint32_t any = draw();
            holds_everywhere(&(shape){.dtype = dtypes[d],
                                      .kind = (number_kind)(any % KINDS),
                                      .m = m,
                                      .n = columns[any / 8 % 10],
                                      .k = depth(dtypes[d], (int)(any / 128 % 6)),
                                      .bias = any / 1024 % 2,
                                      .padded = any / 2048 % 2});
        }
}

static void the_largest_sums_fit(void **unused)
{
    (void)unused;
    for (int d = 0; d < DTYPES; d++)
        holds_everywhere(&(shape){
            .dtype = dtypes[d], .kind = LARGEST, .m = 5, .n = 19, .k = depth(dtypes[d], 4)});
    /* all integers of W at either end too, of one sign with x or another */
    for (int end = 0; end < 4; end++)
        for (int d = 0; d < DTYPES; d++) {
            shape s = {.dtype = dtypes[d], .kind = LARGEST, .m = 2, .n = 3, .k = 256};
            operands g = operands_of(&s);
            const size_t block = (size_t)pl__dtypes[dtypes[d]].bytes;
            for (size_t i = 0; i < pl__dtype_bytes(dtypes[d], s.n * s.k); i++) {
                const size_t at = i % block;
                if (dtypes[d] == PL_Q6_K ? at < 192 : at >= head_bytes(dtypes[d]))
                    g.w[i] = dtypes[d] != PL_Q8_0 ? (end & 1 ? 0xff : 0) : end & 1 ? 0x7f : 0x80;
            }
            for (int64_t i = 0; i < s.m * s.k; i++) g.x[i] = end & 2 ? 3 : -3;
            for (int64_t i = 0; i < s.m; i++)
                for (int64_t j = 0; j < s.n; j++)
                    g.wanted[i * s.n + j] = element(s.dtype, g.x + i * g.ldx, g.w, s.k, j);
            for (int v = 0, count = variants(); v < count; v++) {
                setenv("PERILUNE_ISA", all_variants[v].isa, 1);
                holds(&all_variants[v], false, &s, &g);
                if (pl_vnni()) holds(&all_variants[v], true, &s, &g);
            }
            unsetenv("PERILUNE_ISA");
            free_operands(&g);
        }
}

/* A row among others, by any number of threads, is the row alone; what is no number stays in it. */
static void rows_do_not_know_each_other(void **unused)
{
    (void)unused;
    for (int d = 0; d < DTYPES; d++)
        for (int v = 0, count = variants(); v < count; v++) {
            shape s = {.dtype = dtypes[d], .m = 300, .n = 80, .k = 1024};
            operands g = operands_of(&(shape){.dtype = dtypes[d], .m = 300, .n = 80, .k = 0});
            free(g.x);
            free(g.w);
            g.ldx = s.k;
            g.x = floats(s.m * s.k, USUAL);
            g.w = blocks_of(s.dtype, s.n * s.k);
            g.x[7 * s.k + 100] = NAN;
            g.x[8 * s.k + 1000] = -INFINITY;
            setenv("PERILUNE_ISA", all_variants[v].isa, 1);
            const bool vnni = pl_vnni();
            float *first = malloc((size_t)(s.m * s.n) * sizeof *first);
            assert_non_null(first);
            for (int threads = 1; threads <= 3; threads++) {
                omp_set_num_threads(threads);
                run(&all_variants[v], vnni, &s, &g);
                if (threads == 1) memcpy(first, g.y, (size_t)(s.m * s.n) * sizeof *first);
                else assert_memory_equal(first, g.y, (size_t)(s.m * s.n) * sizeof *first);
            }
            for (int64_t i = 0; i < s.m; i += i < 20 ? 1 : 93) {
                shape one = s;
                operands row = g;
                one.m = 1;
                row.x = g.x + i * s.k;
                run(&all_variants[v], vnni, &one, &row);
                for (int64_t j = 0; j < s.n; j++) {
                    assert_int_equal(bits(row.y[j]), bits(first[i * s.n + j]));
                    assert_int_equal(isnan(row.y[j]) != 0, i == 7 || i == 8);
                }
            }
            free(first);
            free_operands(&g);
            unsetenv("PERILUNE_ISA");
        }
}

/* No farther from the product of the values than half a step of each x allows. */
static void it_is_near_the_product_of_the_values(void **unused)
{
    (void)unused;
    for (int d = 0; d < DTYPES; d++) {
        const shape s = {.dtype = dtypes[d], .m = 6, .n = 20, .k = 1024};
        operands g = operands_of(&s);
        run(&all_variants[variants() - 1], pl_vnni(), &s, &g);
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++) {
                double exact = 0, bound = 0;
                for (int64_t p = 0; p < s.k / PIECE; p++) {
                    const float *x = g.x + i * g.ldx + p * PIECE;
                    float w[PIECE];
                    piece q;
                    read_row(s.dtype, g.w, s.k, j, p, &q);
                    piece_values(&q, w);
                    const double half = (double)round_32(x).d / 2;
                    for (int e = 0; e < PIECE; e++) {
                        exact += (double)x[e] * (double)w[e];
                        bound += half * fabs((double)w[e]) * 1.0001 +
                                 1e-5 * fabs((double)x[e] * (double)w[e]);
                    }
                }
                const double far = fabs((double)g.y[i * g.ldy + j] - exact);
                if (far > bound)
                    fail_msg("%s: %g from %g, %g allowed", pl_dtype_name(s.dtype), far, exact,
                             bound);
            }
        free_operands(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_has_the_bits_of_the_law),
        cmocka_unit_test(the_largest_sums_fit),
        cmocka_unit_test(rows_do_not_know_each_other),
        cmocka_unit_test(it_is_near_the_product_of_the_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

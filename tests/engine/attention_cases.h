/*
** attention_cases.h - what attention must do, for the dtype of `real`.
**
** The includer defines PL_VARIANT (and PL_F64_BUILD) before, and `variants` by VARIANT rows after
** ATT_TYPES: attention_test.c for float32, attention_f64_test.c for float64. The reference is the
** formula of kernels/attention.h in double, one row at a time, nothing shared with the kernels.
*/
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <omp.h>

#include "kernels/attention.h"
#include "kernels/bf16_model.h"

typedef struct {
    const char *name;
    bool usable;
    __typeof__(&K(attention_work)) work;
    __typeof__(&K(attention_fwd)) fwd;
    __typeof__(&K(attention_bwd)) bwd;
    __typeof__(&K(attention_cached)) cached;
    __typeof__(&K(attention_cache_copy)) copy;
} variant;

#define DECLARE_VARIANT(v)                                         \
    extern __typeof__(K(attention_work)) k_attention_work_##v;     \
    extern __typeof__(K(attention_fwd)) k_attention_fwd_##v;       \
    extern __typeof__(K(attention_bwd)) k_attention_bwd_##v;       \
    extern __typeof__(K(attention_cached)) k_attention_cached_##v; \
    extern __typeof__(K(attention_cache_copy)) k_attention_cache_copy_##v;

#define VARIANT(v, usable)                                                          \
    {                                                                               \
#v, usable, k_attention_work_##v, k_attention_fwd_##v, k_attention_bwd_##v, \
            k_attention_cached_##v, k_attention_cache_copy_##v                      \
    }

static int variant_list(variant out[4]); /* given by the includer */

static double rounding(void)
{
    return sizeof(real) == 4 ? 1.2e-7 : 2.3e-16;
}

/* ---- A problem: inputs, outputs, reference ---- */

typedef struct {
    att_shape a;
    int32_t offsets[32];
    int64_t T, nq, nk;
    real *q, *k, *v, *dy;         /* inputs */
    real *y, *lse, *dq, *dk, *dv; /* of the kernel */
    double *ry, *rlse, *rdq, *rdk, *rdv;
    void *work;
} problem;

static uint64_t rng_state = 1;

static double uniform(void) /* [-1, 1) */
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(rng_state >> 11 << 11) / 9223372036854775808.0;
}

static void *zeros(int64_t n, size_t size)
{
    size_t bytes = ((size_t)n * size + 127) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    assert_non_null(p);
    memset(p, 0, bytes);
    return p;
}

static void *work_for(const variant *v, const att_shape *a)
{
    att_shape most = *a;
    most.bf16 = sizeof(real) == 4;
    int64_t fwd = v->work(&most, false), bwd = v->work(&most, true);
    void *p = zeros(fwd > bwd ? fwd : bwd, 1);
    memset(p, 0xff, (size_t)(fwd > bwd ? fwd : bwd)); /* NaN: nothing may be taken for granted */
    return p;
}

static problem problem_new(const variant *v, const int *lengths, int B, int64_t H, int64_t G,
                           int64_t D, double size)
{
    problem p = {0};
    for (int b = 0; b < B; b++) p.offsets[b + 1] = p.offsets[b] + lengths[b];
    p.a = (att_shape){.B = B, .H = H, .G = G, .D = D, .scale = 1 / sqrt((double)D)};
    p.T = p.offsets[B];
    p.nq = p.T * H * D;
    p.nk = p.T * G * D;
    real **rows[] = {&p.q, &p.dy, &p.y, &p.dq, &p.k, &p.v, &p.dk, &p.dv};
    for (int i = 0; i < 8; i++) *rows[i] = zeros(i < 4 ? p.nq : p.nk, sizeof(real));
    p.lse = zeros(p.T * H, sizeof(real));
    double **ref[] = {&p.ry, &p.rdq, &p.rdk, &p.rdv};
    for (int i = 0; i < 4; i++) *ref[i] = zeros(i < 2 ? p.nq : p.nk, sizeof(double));
    p.rlse = zeros(p.T * H, sizeof(double));
    rng_state = (uint64_t)(B * 1000 + H * 100 + D);
    for (int64_t i = 0; i < p.nq; i++) p.q[i] = (real)(uniform() * size), p.dy[i] = (real)uniform();
    for (int64_t i = 0; i < p.nk; i++) p.k[i] = (real)(uniform() * size), p.v[i] = (real)uniform();
    p.a.offsets = p.offsets;
    p.work = work_for(v, &p.a);
    return p;
}

static void problem_free(problem *p)
{
    void *all[] = {p->q,  p->k,  p->v,    p->dy,  p->y,   p->lse, p->dq,  p->dk,
                   p->dv, p->ry, p->rlse, p->rdq, p->rdk, p->rdv, p->work};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void run(const variant *v, problem *p)
{
    p->a.offsets = p->offsets;
    v->fwd(p->y, p->lse, p->q, p->k, p->v, &p->a, p->work);
    v->bwd(p->dq, p->dk, p->dv, p->dy, p->q, p->k, p->v, p->y, p->lse, &p->a, p->work);
}

/* What the reference multiplies in place of x. */
static double operand(const problem *p, real x)
{
    return p->a.bf16 ? (double)bf16_value(bf16_of((float)x)) : (double)x;
}

/* The score of row i for key j by head h, and the slope of the soft cap there. */
static double score_of(const problem *p, int64_t i, int64_t j, int64_t h, double *slope)
{
    const int64_t H = p->a.H, G = p->a.G, D = p->a.D;
    const real *q = p->q + (i * H + h) * D, *k = p->k + (j * G + h / (H / G)) * D;
    double s = 0;
    for (int64_t d = 0; d < D; d++)
        s += operand(p, (real)(q[d] * (real)p->a.scale)) * operand(p, k[d]);
    *slope = 1;
    if (p->a.softcap > 0) {
        const double t = tanh(s / p->a.softcap);
        s = p->a.softcap * t;
        *slope = 1 - t * t;
    }
    return s;
}

static void reference(problem *p)
{
    const int64_t H = p->a.H, G = p->a.G, D = p->a.D;
    double *w = zeros(p->T, sizeof(double)), *bend = zeros(p->T, sizeof(double));
    for (int64_t b = 0; b < p->a.B; b++)
        for (int64_t i = p->offsets[b]; i < p->offsets[b + 1]; i++)
            for (int64_t h = 0; h < H; h++) {
                const int64_t qi = (i * H + h) * D, g = h / (H / G);
                double top = -INFINITY, sum = 0, delta = 0;
                int64_t from = p->offsets[b];
                if (p->a.window > 0 && i - p->a.window + 1 > from) from = i - p->a.window + 1;
                for (int64_t j = from; j <= i; j++) {
                    w[j] = score_of(p, i, j, h, &bend[j]);
                    if (w[j] > top) top = w[j];
                }
                for (int64_t j = from; j <= i; j++) sum += exp(w[j] - top);
                p->rlse[i * H + h] = top + log(sum);
                for (int64_t j = from; j <= i; j++) {
                    w[j] = exp(w[j] - top) / sum;
                    for (int64_t d = 0; d < D; d++)
                        p->ry[qi + d] += w[j] * operand(p, p->v[(j * G + g) * D + d]);
                }
                for (int64_t d = 0; d < D; d++) delta += (double)p->dy[qi + d] * p->ry[qi + d];
                for (int64_t j = from; j <= i; j++) {
                    const int64_t kj = (j * G + g) * D;
                    double dp = 0;
                    for (int64_t d = 0; d < D; d++)
                        dp += (double)p->dy[qi + d] * operand(p, p->v[kj + d]);
                    const double ds = w[j] * (dp - delta) * bend[j];
                    for (int64_t d = 0; d < D; d++) {
                        p->rdq[qi + d] += ds * p->a.scale * operand(p, p->k[kj + d]);
                        p->rdk[kj + d] += ds * operand(p, (real)(p->q[qi + d] * (real)p->a.scale));
                        p->rdv[kj + d] += w[j] * (double)p->dy[qi + d];
                    }
                }
            }
    free(w);
    free(bend);
}

static void assert_near(const char *what, const real *got, const double *want, int64_t n,
                        double tolerance)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance))
            fail_msg("%s[%ld]: %.9g, wanted %.9g within %g", what, (long)i, (double)got[i], want[i],
                     tolerance);
}

#ifndef PL_F64_BUILD
/* By how much rounding of operands to bfloat16 may move each result, at most. */
typedef struct {
    double *y, *dq, *dk, *dv;
} bounds;

/* A number rounded to the 8 bits of bfloat16 moves by u = 2^-8 of itself at most, a product of two
** such by e = 2u + u^2. Relative to sums of the rounded q, k, v with all else exact:
**   y   weights are rounded:                       u sum_j p_ij |v_j|
**   dv  p and dy are, by the tiles:                e sum_i p_ij |dy_i|
**   ds  = p slope dy.(v - y) has dy rounded, and is itself: e a_ij by the tiles, where
**       a_ij = p_ij slope_ij |dy_i|.|v_j - y_i|; and where y may have moved as above, delta
**       has by |dy_i|.(u sum_j p_ij |v_j|)
**   dq  scale sum_j (that of ds) |k_j|,            dk  sum_i (that of ds) |scale q_i|
** Sums of n terms in float32 add n 2^-23 of the sizes of their terms; exp of a score s has a
** relative error of some (1 + |s|) 2^-22, and a thousandth covers it. */
static bounds bounds_of(const problem *p, bool moved_y)
{
    const int64_t H = p->a.H, G = p->a.G, D = p->a.D, heads = H / G;
    const double u = 1.0 / 256, e = 2 * u + u * u, slack = 1.001;
    const double sums = (double)(p->T * heads + D) * 0x1p-23;
    double *w = zeros(p->T, sizeof(double)), *slope = zeros(p->T, sizeof(double));
    bounds b = {zeros(p->nq, sizeof(double)), zeros(p->nq, sizeof(double)),
                zeros(p->nk, sizeof(double)), zeros(p->nk, sizeof(double))};
    for (int64_t c = 0; c < p->a.B; c++)
        for (int64_t i = p->offsets[c]; i < p->offsets[c + 1]; i++)
            for (int64_t h = 0; h < H; h++) {
                const int64_t qi = (i * H + h) * D, g = h / heads;
                int64_t from = p->offsets[c];
                if (p->a.window > 0 && i - p->a.window + 1 > from) from = i - p->a.window + 1;
                double delta_moves = 0;
                for (int64_t j = from; j <= i; j++) {
                    const double s = score_of(p, i, j, h, &slope[j]);
                    w[j] = exp(s - p->rlse[i * H + h]);
                    for (int64_t d = 0; d < D; d++)
                        b.y[qi + d] +=
                            slack * w[j] * (u + sums) * fabs(operand(p, p->v[(j * G + g) * D + d]));
                }
                for (int64_t d = 0; d < D && moved_y; d++)
                    delta_moves += fabs((double)p->dy[qi + d]) * b.y[qi + d];
                for (int64_t j = from; j <= i; j++) {
                    const int64_t kj = (j * G + g) * D;
                    double a = 0, of_terms = 0;
                    for (int64_t d = 0; d < D; d++) {
                        const double dy = fabs((double)p->dy[qi + d]);
                        const double v = operand(p, p->v[kj + d]), y = (double)p->y[qi + d];
                        a += dy * fabs(v - y);
                        of_terms += dy * (fabs(v) + fabs(y));
                    }
                    const double ds = slack * w[j] * slope[j] *
                                      (e * a + (1 + e) * delta_moves + 2 * sums * of_terms);
                    for (int64_t d = 0; d < D; d++) {
                        const double q = operand(p, (real)(p->q[qi + d] * (real)p->a.scale));
                        b.dq[qi + d] += ds * p->a.scale * fabs(operand(p, p->k[kj + d]));
                        b.dk[kj + d] += ds * fabs(q);
                        b.dv[kj + d] += slack * w[j] * (e + sums) * fabs((double)p->dy[qi + d]);
                    }
                }
            }
    free(w);
    free(slope);
    return b;
}

static void bounds_free(bounds *b)
{
    double *all[] = {b->y, b->dq, b->dk, b->dv};
    for (int i = 0; i < 4; i++) free(all[i]);
}

static void assert_within(const char *what, const real *got, const double *want,
                          const double *bound, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= bound[i] + FLT_MIN))
            fail_msg("%s[%ld]: %.9g, wanted %.9g within %g", what, (long)i, (double)got[i], want[i],
                     bound[i]);
}
#endif

static void assert_bits(const char *what, const real *got, const real *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof(real)))
            fail_msg("%s[%ld]: %.9g has other bits than %.9g", what, (long)i, (double)got[i],
                     (double)want[i]);
}

/* What all tests walk: heads grouped or not, D below, at and off the vector length, windows within
** a unit, a tile and beyond, soft caps that bend and that bend hard. */
static const struct {
    int64_t H, G, D, window;
    double softcap;
    bool bf16;
} head_shapes[] = {
    {8, 4, 8, 0, 0, false},     {2, 2, 48, 0, 0, false},  {3, 1, 64, 0, 0, false},
    {2, 1, 20, 0, 0, false},    {1, 1, 3, 0, 0, false},   {6, 2, 5, 0, 0, false},
    {5, 5, 16, 0, 0, false},    {4, 2, 8, 1, 0, false},   {3, 1, 12, 9, 0, false},
    {2, 1, 20, 64, 0, false},   {1, 1, 5, 67, 0, false},  {3, 3, 16, 130, 0, false},
    {2, 2, 8, 5000, 0, false},  {4, 2, 8, 0, 1.5, false}, {3, 1, 20, 0, 0.2, false},
    {3, 1, 12, 33, 0.7, false},
#ifndef PL_F64_BUILD
    {5, 1, 64, 0, 0, true},     {2, 2, 1, 0, 0, true},    {6, 2, 33, 67, 0, true},
    {3, 1, 80, 9, 0.7, true},   {4, 2, 8, 64, 1.5, true},
#endif
};
#define N_HEAD_SHAPES ((int)(sizeof head_shapes / sizeof *head_shapes))

/* The problem of shape i. */
static problem problem_of(const variant *v, const int *lengths, int B, int i)
{
    problem p = problem_new(v, lengths, B, head_shapes[i].H, head_shapes[i].G, head_shapes[i].D, 2);
    p.a.window = head_shapes[i].window;
    p.a.softcap = head_shapes[i].softcap;
    p.a.bf16 = head_shapes[i].bf16;
    return p;
}

/* Tiles have 64 keys and units 16 rows in the widest variant, a power of two less in others. */
#define TILE ATT_TILE_MAX
#define UNIT (TILE / 4)
static const int ragged[] = {1, 2, TILE - 1, 0, TILE, TILE + 1, 3 * TILE + 5, UNIT, UNIT + 1};
#define N_RAGGED ((int)(sizeof ragged / sizeof *ragged))

/* Both precisions in float32. */
#define EACH_PRECISION(bf16) for (int bf16 = 0; bf16 < (sizeof(real) == 4 ? 2 : 1); bf16++)

#define EACH_VARIANT(v)                                 \
    variant list_[4];                                   \
    int n_ = variant_list(list_), used_ = 0;            \
    for (const variant *v = list_; v < list_ + n_; v++) \
        if (v->usable && ++used_)

/* ---- Cases ---- */

static void test_formula(void **state)
{
    (void)state;
    EACH_VARIANT(v)
    for (int i = 0; i < N_HEAD_SHAPES; i++) {
        problem p = problem_of(v, ragged, N_RAGGED, i);
        run(v, &p);
        reference(&p);
        const double eps = rounding() * 60;
        assert_near("lse", p.lse, p.rlse, p.T * p.a.H, eps);
#ifndef PL_F64_BUILD
        if (p.a.bf16) {
            bounds b = bounds_of(&p, true);
            assert_within("y", p.y, p.ry, b.y, p.nq);
            assert_within("dq", p.dq, p.rdq, b.dq, p.nq);
            assert_within("dk", p.dk, p.rdk, b.dk, p.nk);
            assert_within("dv", p.dv, p.rdv, b.dv, p.nk);
            bounds_free(&b);
            problem_free(&p);
            continue;
        }
#endif
        assert_near("y", p.y, p.ry, p.nq, eps);
        assert_near("dq", p.dq, p.rdq, p.nq, eps * 8);
        assert_near("dk", p.dk, p.rdk, p.nk, eps * 60);
        assert_near("dv", p.dv, p.rdv, p.nk, eps * 60);
        problem_free(&p);
    }
}

/* Scores of some 10^4: one key wins, and nothing overflows. */
static void test_large_scores(void **state)
{
    (void)state;
    EACH_VARIANT(v)
    {
        problem p = problem_new(v, ragged, N_RAGGED, 4, 2, 8, 150);
        run(v, &p);
        reference(&p);
        double top = 0;
        for (int64_t i = 0; i < p.T * p.a.H; i++) top = fmax(top, fabs(p.rlse[i]));
        assert_true(top > 1e4);
        for (int64_t i = 0; i < p.nq; i++) assert_true(isfinite((double)p.y[i]));
        for (int64_t i = 0; i < p.nk; i++) assert_true(isfinite((double)p.dk[i]));
        /* A score of 10^4 carries an error of 10^4 roundings into the weight of its key. */
        assert_near("y", p.y, p.ry, p.nq, rounding() * 1e5);
        problem_free(&p);
    }
}

static void test_threads(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    EACH_VARIANT(v)
    for (int i = 0; i < N_HEAD_SHAPES; i++) {
        problem one = problem_of(v, ragged, N_RAGGED, i);
        omp_set_num_threads(1);
        run(v, &one);
        for (int threads = 2; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            problem p = problem_of(v, ragged, N_RAGGED, i);
            run(v, &p);
            assert_bits("y", p.y, one.y, p.nq);
            assert_bits("lse", p.lse, one.lse, p.T * p.a.H);
            assert_bits("dq", p.dq, one.dq, p.nq);
            assert_bits("dk", p.dk, one.dk, p.nk);
            assert_bits("dv", p.dv, one.dv, p.nk);
            problem_free(&p);
        }
        problem_free(&one);
    }
    omp_set_num_threads(before);
}

/* What lies behind the workspace that was asked for stays as it is. */
static void test_workspace(void **state)
{
    (void)state;
    enum { GUARD = 4096 };
    const int before = omp_get_max_threads(), length[] = {3 * TILE + 5};
    omp_set_num_threads(1);
    EACH_VARIANT(v)
    for (int64_t D = 1; D <= 20; D++) {
        problem p = problem_new(v, length, 1, 2, 1, D, 2);
        p.a.offsets = p.offsets;
        for (int backward = 0; backward < 2; backward++) {
            const int64_t bytes = v->work(&p.a, backward != 0);
            char *work = zeros(bytes + GUARD, 1);
            memset(work + bytes, 0x5a, GUARD);
            if (backward) v->bwd(p.dq, p.dk, p.dv, p.dy, p.q, p.k, p.v, p.y, p.lse, &p.a, work);
            else v->fwd(p.y, p.lse, p.q, p.k, p.v, &p.a, work);
            for (int i = 0; i < GUARD; i++)
                if (work[bytes + i] != 0x5a)
                    fail_msg("%s, D %ld: byte %d behind the workspace was written", v->name,
                             (long)D, i);
            free(work);
        }
        problem_free(&p);
    }
    omp_set_num_threads(before);
}

/* A sequence alone has the bits it has in the batch. */
static void test_alone(void **state)
{
    (void)state;
    EACH_VARIANT(v)
    for (int i = 0; i < N_HEAD_SHAPES; i++) {
        problem p = problem_of(v, ragged, N_RAGGED, i);
        run(v, &p);
        const int64_t qs = p.a.H * p.a.D, ks = p.a.G * p.a.D;
        for (int b = 0; b < N_RAGGED; b++) {
            const int64_t at = p.offsets[b];
            problem s = problem_of(v, ragged + b, 1, i);
            memcpy(s.q, p.q + at * qs, (size_t)s.nq * sizeof(real));
            memcpy(s.dy, p.dy + at * qs, (size_t)s.nq * sizeof(real));
            memcpy(s.k, p.k + at * ks, (size_t)s.nk * sizeof(real));
            memcpy(s.v, p.v + at * ks, (size_t)s.nk * sizeof(real));
            run(v, &s);
            assert_bits("y", s.y, p.y + at * qs, s.nq);
            assert_bits("dq", s.dq, p.dq + at * qs, s.nq);
            assert_bits("dk", s.dk, p.dk + at * ks, s.nk);
            assert_bits("dv", s.dv, p.dv + at * ks, s.nk);
            problem_free(&s);
        }
        problem_free(&p);
    }
}

/* What comes later, even NaN and infinity, leaves no trace in a row. */
static void test_causal(void **state)
{
    (void)state;
    const int length[] = {2 * TILE + 9};
    EACH_VARIANT(v)
    EACH_PRECISION(bf16)
    for (int at = 0; at < length[0]; at += 7) {
        const int64_t D = at % 2 ? 12 : 8;
        problem p = problem_new(v, length, 1, 3, 1, D, 2);
        p.a.bf16 = bf16;
        run(v, &p);
        problem s = problem_new(v, length, 1, 3, 1, D, 2);
        s.a.bf16 = bf16;
        for (int64_t i = (at + 1) * D; i < s.nk; i++) {
            s.k[i] = i % 2 ? NAN : INFINITY;
            s.v[i] = i % 3 ? NAN : -INFINITY;
        }
        s.a.offsets = s.offsets;
        v->fwd(s.y, NULL, s.q, s.k, s.v, &s.a, s.work);
        assert_bits("y", s.y, p.y, (at + 1) * 3 * D);
        problem_free(&s);
        problem_free(&p);
    }
}

/* A window as long as the sequence is none. */
static void test_wide_window(void **state)
{
    (void)state;
    EACH_VARIANT(v)
    {
        problem p = problem_new(v, ragged, N_RAGGED, 4, 2, 8, 2);
        problem s = problem_new(v, ragged, N_RAGGED, 4, 2, 8, 2);
        s.a.window = 3 * TILE + 5;
        run(v, &p);
        run(v, &s);
        assert_bits("y", s.y, p.y, p.nq);
        assert_bits("dq", s.dq, p.dq, p.nq);
        assert_bits("dk", s.dk, p.dk, p.nk);
        assert_bits("dv", s.dv, p.dv, p.nk);
        problem_free(&p);
        problem_free(&s);
    }
}

/* The last size of a cache. */
static int64_t width_of(const att_shape *a)
{
    return a->bf16 ? (a->D + 1) / 2 : a->D;
}

/* Runs the batch through a cache in calls of `chunk` rows a sequence (0: uneven stretches), each in
** `most` blocks. */
static void through_cache(const variant *v, problem *p, int chunk, int64_t most, real *y)
{
    const int64_t H = p->a.H, G = p->a.G, D = p->a.D, B = p->a.B, block_len = 4 * TILE / most;
    const int64_t n_blocks = B * most % 5 == 0 ? B * most + 1 : B * most;
    const int64_t numbers = n_blocks * G * block_len * width_of(&p->a);
    real *kc = zeros(numbers, sizeof(real)), *vc = zeros(numbers, sizeof(real));
    memset(kc, 0xff, (size_t)numbers * sizeof(real)); /* NaN where nothing stands */
    memset(vc, 0xff, (size_t)numbers * sizeof(real));
    real *q = zeros(p->nq, sizeof(real)), *k = zeros(p->nk, sizeof(real));
    real *w = zeros(p->nk, sizeof(real)), *out = zeros(p->nq, sizeof(real));
    int32_t past[32] = {0};
    static const int uneven[] = {1, 5, 7, 20, UNIT, 1, 64, 3, 200};
    for (int call = 0;; call++) {
        int32_t offsets[32] = {0}, blocks[128], now[32], from[32];
        int64_t n = 0;
        for (int b = (int)B - 1; b >= 0; b--) { /* finished sequences leave, the others move up */
            const int left = p->offsets[b + 1] - p->offsets[b] - past[b];
            const int want = chunk ? chunk : uneven[(call + b) % 9];
            const int take = left < want ? left : want;
            if (!take) continue;
            for (int64_t i = 0; i < most; i++) /* each somewhere else */
                blocks[n * most + i] = (int32_t)(((b * most + i) * 5 + 2) % n_blocks);
            now[n] = past[b];
            from[n] = p->offsets[b] + past[b];
            offsets[n + 1] = offsets[n] + take;
            past[b] += take;
            n++;
        }
        if (!n) break;
        for (int64_t i = 0; i < n; i++) {
            const int64_t rows = offsets[i + 1] - offsets[i];
            memcpy(q + offsets[i] * H * D, p->q + from[i] * H * D,
                   (size_t)(rows * H * D) * sizeof(real));
            memcpy(k + offsets[i] * G * D, p->k + from[i] * G * D,
                   (size_t)(rows * G * D) * sizeof(real));
            memcpy(w + offsets[i] * G * D, p->v + from[i] * G * D,
                   (size_t)(rows * G * D) * sizeof(real));
        }
        att_shape a = p->a;
        a.offsets = offsets;
        a.B = n;
        att_cache cache = {kc, vc, block_len, blocks, now, most};
        v->cached(out, q, k, w, &a, &cache, p->work);
        for (int64_t i = 0; i < n; i++)
            memcpy(y + from[i] * H * D, out + offsets[i] * H * D,
                   (size_t)((offsets[i + 1] - offsets[i]) * H * D) * sizeof(real));
    }
    void *all[] = {kc, vc, q, k, w, out};
    for (int i = 0; i < 6; i++) free(all[i]);
}

/* What lies before the window, even NaN and infinity, leaves no trace in a row. */
static void test_window_end(void **state)
{
    (void)state;
    const int length[] = {2 * TILE + 9};
    const int64_t windows[] = {1, 5, UNIT, TILE, TILE + 3};
    EACH_VARIANT(v)
    EACH_PRECISION(bf16)
    for (int w = 0; w < 5; w++)
        for (int64_t at = 1; at + windows[w] <= length[0]; at += 11) {
            const int64_t D = at % 2 ? 12 : 8;
            problem p = problem_new(v, length, 1, 3, 1, D, 2);
            p.a.bf16 = bf16;
            p.a.offsets = p.offsets;
            p.a.window = windows[w];
            v->fwd(p.y, NULL, p.q, p.k, p.v, &p.a, p.work);
            real *y = zeros(p.nq, sizeof(real));
            for (int64_t i = 0; i < at * D; i++) {
                p.k[i] = i % 2 ? NAN : INFINITY;
                p.v[i] = i % 3 ? NAN : -INFINITY;
            }
            const int64_t row = at + windows[w] - 1; /* its first key is `at` */
            v->fwd(y, NULL, p.q, p.k, p.v, &p.a, p.work);
            assert_bits("y", y + row * 3 * D, p.y + row * 3 * D, p.nq - row * 3 * D);
            for (int64_t i = 0; i < p.nq; i++) y[i] = 0;
            through_cache(v, &p, 1, w % 2 ? 1 : 4, y);
            assert_bits("y from the cache", y + row * 3 * D, p.y + row * 3 * D, p.nq - row * 3 * D);
            free(y);
            problem_free(&p);
        }
}

static void test_cache(void **state)
{
    (void)state;
    static const int chunks[] = {1, 2, 13, 64, 1000, 0};
    EACH_VARIANT(v)
    for (int i = 0; i < N_HEAD_SHAPES; i++) {
        problem p = problem_of(v, ragged, N_RAGGED, i);
        run(v, &p);
        for (int c = 0; c < 6; c++) {
            real *y = zeros(p.nq, sizeof(real));
            through_cache(v, &p, chunks[c], (c + i) % 2 ? 1 : 4, y);
            assert_bits("y from the cache", y, p.y, p.nq);
            free(y);
        }
        problem_free(&p);
    }
}

/* Two sequences that begin alike, in one block, and go on in blocks of their own. */
static void test_shared_blocks(void **state)
{
    (void)state;
    enum { REST = 20 };
    const int length[] = {TILE + REST, TILE + REST};
    const int64_t H = 4, G = 2, D = 12;
    EACH_VARIANT(v)
    EACH_PRECISION(bf16)
    for (int step = 1; step <= REST; step += REST - 1) {
        problem p = problem_new(v, length, 2, H, G, D, 2);
        p.a.bf16 = bf16;
        const int64_t rows = TILE + REST, numbers = 4 * G * TILE * width_of(&p.a);
        real *const alike[] = {p.q, p.k, p.v};
        for (int i = 0; i < 3; i++) {
            const int64_t width = i == 0 ? H * D : G * D;
            memcpy(alike[i] + rows * width, alike[i], (size_t)(TILE * width) * sizeof(real));
        }
        run(v, &p);
        real *kc = zeros(numbers, sizeof(real)), *vc = zeros(numbers, sizeof(real));
        real *q = zeros(p.nq, sizeof(real)), *k = zeros(p.nk, sizeof(real));
        real *w = zeros(p.nk, sizeof(real)), *y = zeros(p.nq, sizeof(real));
        int32_t offsets[] = {0, TILE, 0}, past[] = {0, 0};
        const int32_t blocks[] = {3, 1, 3, 0};
        att_shape a = p.a;
        a.offsets = offsets;
        a.B = 1;
        const att_cache cache = {kc, vc, TILE, blocks, past, 2};
        v->cached(y, p.q, p.k, p.v, &a, &cache, p.work);
        assert_bits("y of the first block", y, p.y, TILE * H * D);
        a.B = 2;
        for (int at = TILE; at < rows; at += step) {
            for (int b = 0; b < 2; b++) {
                past[b] = at;
                offsets[b + 1] = (b + 1) * step;
                const int64_t from = b * rows + at, to = b * step;
                memcpy(q + to * H * D, p.q + from * H * D, (size_t)(step * H * D) * sizeof(real));
                memcpy(k + to * G * D, p.k + from * G * D, (size_t)(step * G * D) * sizeof(real));
                memcpy(w + to * G * D, p.v + from * G * D, (size_t)(step * G * D) * sizeof(real));
            }
            v->cached(y, q, k, w, &a, &cache, p.work);
            for (int b = 0; b < 2; b++)
                assert_bits("y", y + b * step * H * D, p.y + (b * rows + at) * H * D, step * H * D);
        }
        void *all[] = {kc, vc, q, k, w, y};
        for (int i = 0; i < 6; i++) free(all[i]);
        problem_free(&p);
    }
}

/* A block that got another's first n positions answers as the other does. */
static void test_cache_copy(void **state)
{
    (void)state;
    const int length[] = {TILE + 20};
    const int64_t G = 2, H = 4, D = 12, block_len = 2 * TILE, size = 3 * G * block_len * D;
    EACH_VARIANT(v)
    EACH_PRECISION(bf16)
    for (int n = 1; n < length[0]; n += 6) {
        problem p = problem_new(v, length, 1, H, G, D, 2);
        p.a.bf16 = bf16;
        run(v, &p);
        real *kc = zeros(size, sizeof(real)), *vc = zeros(size, sizeof(real));
        int32_t offsets[2] = {0, n}, at = 0, past = 0;
        att_shape a = p.a;
        a.offsets = offsets;
        a.B = 1;
        att_cache cache = {kc, vc, block_len, &at, &past, 1};
        real *y = zeros(p.nq, sizeof(real));
        v->cached(y, p.q, p.k, p.v, &a, &cache, p.work);
        v->copy(kc, vc, G, block_len, width_of(&p.a), 0, 2, n);
        const size_t block = (size_t)(G * block_len * width_of(&p.a)) * sizeof(real);
        memset(kc, 0xff, block);
        memset(vc, 0xff, block);
        at = 2;
        past = n;
        offsets[1] = length[0] - n;
        v->cached(y + n * H * D, p.q + n * H * D, p.k + n * G * D, p.v + n * G * D, &a, &cache,
                  p.work);
        assert_bits("y", y, p.y, p.nq);
        free(kc);
        free(vc);
        free(y);
        problem_free(&p);
    }
}

#ifndef PL_F64_BUILD
static float chained(const uint16_t *x, const uint16_t *y, int64_t n)
{
    float s = 0;
    for (int64_t from = 0; from < n; from += 32) {
        uint16_t a[32] = {0}, b[32] = {0};
        const size_t left = (size_t)(n - from < 32 ? n - from : 32) * sizeof *a;
        memcpy(a, x + from, left);
        memcpy(b, y + from, left);
        s = model_tile(a, b, 2, s);
    }
    return s;
}

/* The sums of bf16, written out: the first row's log-sum is its one score; queries of zeros give
** every key the weight 1. */
static void test_bf16_order(void **state)
{
    (void)state;
    static const int64_t dims[] = {1, 2, 7, 31, 32, 33, 64, 100, 256};
    EACH_VARIANT(v)
    for (int i = 0; i < 9; i++) {
        const int64_t D = dims[i], tile = strstr(v->name, "512")    ? 64
                                          : strstr(v->name, "avx2") ? 32
                                                                    : 16;
        const int length[] = {2 * TILE + 3};
        problem p = problem_new(v, length, 1, 2, 1, D, 2);
        p.a.bf16 = true;
        p.a.scale = 0.25;
        for (int64_t d = 0; d < D; d++) p.v[2 * D + d] *= 1e-38f; /* denormal results */
        run(v, &p);
        uint16_t q[256], k[256], ones[64], values[64];
        for (int64_t d = 0; d < D; d++) q[d] = bf16_of(p.q[d] / 4), k[d] = bf16_of(p.k[d]);
        const real score = chained(q, k, D);
        assert_bits("lse", p.lse, &score, 1);
        for (int j = 0; j < 64; j++) ones[j] = bf16_of(1);
        memset(p.q, 0, (size_t)p.nq * sizeof(real));
        for (int cached = 0; cached < 2; cached++) {
            if (cached) through_cache(v, &p, 1, 2, p.y);
            else run(v, &p);
            for (int64_t row = 0; row < p.T; row++)
                for (int64_t d = 0; d < D; d++) {
                    real y = 0;
                    for (int64_t k0 = 0; k0 <= row; k0 += tile) {
                        const int64_t n = row + 1 - k0 < tile ? row + 1 - k0 : tile;
                        for (int64_t j = 0; j < n; j++) values[j] = bf16_of(p.v[(k0 + j) * D + d]);
                        y += chained(ones, values, n);
                    }
                    y *= 1 / (real)(row + 1);
                    assert_bits("y", p.y + row * 2 * D + d, &y, 1);
                }
        }
        problem_free(&p);
    }
}
#endif

#ifndef PL_F64_BUILD
/* Gradients by one rule and by another: both are of the same y and the same weights. */
static void assert_between_rules(const problem *got, problem *want)
{
    const real *const a[] = {got->dq, got->dk, got->dv}, *const b[] = {want->dq, want->dk,
                                                                       want->dv};
    const char *const names[] = {"dq", "dk", "dv"};
    reference(want); /* for its log-sums */
    bounds most = bounds_of(want, false);
    const double *const bound[] = {most.dq, most.dk, most.dv};
    for (int w = 0; w < 3; w++) {
        const int64_t n = w ? want->nk : want->nq;
        double *exact = zeros(n, sizeof(double));
        for (int64_t i = 0; i < n; i++) exact[i] = (double)b[w][i];
        assert_within(names[w], a[w], exact, bound[w], n);
        free(exact);
    }
    bounds_free(&most);
}

/* The rule of matrix products changes nothing in the forward pass, and tiles in the backward one
** what they round. */
static void test_bf16_rules(void **state)
{
    (void)state;
    static const char *const rules[] = {"chain", "pairs", "tiles"};
    EACH_VARIANT(v)
    for (int i = 0; i < N_HEAD_SHAPES; i++) {
        if (!head_shapes[i].bf16) continue;
        problem p[3];
        for (int r = 0; r < 3; r++) {
            setenv("PERILUNE_BF16", rules[r], 1);
            p[r] = problem_of(v, ragged, N_RAGGED, i);
            run(v, &p[r]);
        }
        unsetenv("PERILUNE_BF16");
        for (int r = 1; r < 3; r++) {
            assert_bits("y", p[r].y, p[0].y, p[0].nq);
            assert_bits("lse", p[r].lse, p[0].lse, p[0].T * p[0].a.H);
            if (r == 2) continue;
            assert_bits("dq", p[r].dq, p[0].dq, p[0].nq);
            assert_bits("dk", p[r].dk, p[0].dk, p[0].nk);
            assert_bits("dv", p[r].dv, p[0].dv, p[0].nk);
        }
        assert_between_rules(&p[2], &p[0]);
        for (int r = 0; r < 3; r++) problem_free(&p[r]);
    }
}
#endif

#ifdef PL_F64_BUILD
/* sum(dy * y) moved by h in one input at a time. */
static void test_numeric_gradient(void **state)
{
    (void)state;
    const int lengths[] = {1, UNIT + 3, TILE + 2};
    static const struct {
        int64_t window;
        double softcap;
    } settings[] = {{0, 0}, {UNIT + 1, 0}, {0, 0.8}, {7, 0.3}};
    EACH_VARIANT(v)
    for (int setting = 0; setting < 4; setting++) {
        problem p = problem_new(v, lengths, 3, 4, 2, 5, 1);
        p.a.window = settings[setting].window;
        p.a.softcap = settings[setting].softcap;
        run(v, &p);
        real *y = zeros(p.nq, sizeof(real)), *inputs[] = {p.q, p.k, p.v};
        const real *grads[] = {p.dq, p.dk, p.dv};
        const double h = 1e-5;
        for (int w = 0; w < 3; w++)
            for (int64_t i = 0; i < (w ? p.nk : p.nq); i += 11) {
                const real was = inputs[w][i];
                double sum[2] = {0, 0};
                for (int side = 0; side < 2; side++) {
                    inputs[w][i] = was + (side ? h : -h);
                    v->fwd(y, NULL, p.q, p.k, p.v, &p.a, p.work);
                    for (int64_t j = 0; j < p.nq; j++) sum[side] += p.dy[j] * y[j];
                }
                inputs[w][i] = was;
                const double want = (sum[1] - sum[0]) / (2 * h);
                if (!(fabs(grads[w][i] - want) <= 1e-8))
                    fail_msg("input %d [%ld]: gradient %.12g, differences give %.12g", w, (long)i,
                             grads[w][i], want);
            }
        free(y);
        problem_free(&p);
    }
}
#endif

/* ---- q, k and v in one row each: the bits of three matrices ---- */

/* Row by row from [T, width] to or from columns [at, at + width) of [T, row]. */
static void copy_columns(const problem *p, real *wide, int64_t at, real *narrow, int64_t width,
                         bool in)
{
    for (int64_t i = 0; i < p->T; i++) {
        real *w = wide + i * p->a.row + at, *n = narrow + i * width;
        memcpy(in ? w : n, in ? n : w, (size_t)width * sizeof(real));
    }
}

static void side_by_side(const variant *v, problem *p)
{
    const int64_t H = p->a.H * p->a.D, G = p->a.G * p->a.D;
    run(v, p);
    p->a.row = H + 2 * G;
    real *in = zeros(p->T * p->a.row, sizeof(real)), *d_in = zeros(p->T * p->a.row, sizeof(real));
    real *y = zeros(p->nq, sizeof(real)), *lse = zeros(p->T * p->a.H, sizeof(real));
    real *part = zeros(p->nq, sizeof(real));
    copy_columns(p, in, 0, p->q, H, true);
    copy_columns(p, in, H, p->k, G, true);
    copy_columns(p, in, H + G, p->v, G, true);
    v->fwd(y, lse, in, in + H, in + H + G, &p->a, p->work);
    v->bwd(d_in, d_in + H, d_in + H + G, p->dy, in, in + H, in + H + G, y, lse, &p->a, p->work);
    assert_memory_equal(y, p->y, (size_t)p->nq * sizeof(real));
    assert_memory_equal(lse, p->lse, (size_t)(p->T * p->a.H) * sizeof(real));
    const real *want[] = {p->dq, p->dk, p->dv};
    const int64_t at[] = {0, H, H + G}, width[] = {H, G, G};
    for (int i = 0; i < 3; i++) {
        copy_columns(p, d_in, at[i], part, width[i], false);
        assert_memory_equal(part, want[i], (size_t)(p->T * width[i]) * sizeof(real));
    }
    void *all[] = {in, d_in, y, lse, part};
    for (int i = 0; i < 5; i++) free(all[i]);
}

static void test_side_by_side(void **state)
{
    static const int lengths[] = {1, 70, 0, 19};
    static const int shapes[][3] = {{1, 1, 1}, {4, 2, 8}, {3, 1, 5}, {2, 2, 64}, {6, 2, 35}};
    (void)state;
    EACH_VARIANT(v)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int bf16 = 0; bf16 <= (sizeof(real) == 4); bf16++) {
            problem p = problem_new(v, lengths, 4, shapes[i][0], shapes[i][1], shapes[i][2], 1);
            p.a.bf16 = bf16 != 0;
            p.a.window = i % 2 == 0 ? 0 : 13;
            side_by_side(v, &p);
            problem_free(&p);
        }
}

static void test_variants(void **state)
{
    (void)state;
    EACH_VARIANT(v) print_message("%s ", v->name);
    print_message("ran\n");
    assert_true(used_ > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_window_end),
        cmocka_unit_test(test_wide_window),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_shared_blocks),
        cmocka_unit_test(test_cache_copy),
#ifdef PL_F64_BUILD
        cmocka_unit_test(test_numeric_gradient),
#else
        cmocka_unit_test(test_bf16_order),   cmocka_unit_test(test_bf16_rules),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

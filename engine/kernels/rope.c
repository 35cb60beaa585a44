/*
** rope.c - rotary position embedding; formula and conventions in rope.h.
**
** No table of positions is kept: for the float variants sine and cosine are polynomials on 8
** doubles at a time, which is cheaper than remembering. pi/2 is taken off in three parts, two of
** them of 22 bits, so that their products with a count below 2^31 are exact.
*/
#include "rope.h"

#include "vec.h"

#include "base/thread.h"

#define MAX_PAIRS (ROPE_MAX_DIM / 2)
#define ROWS 16 /* rows of a task */

#ifdef PL_F64_BUILD

static void sines(real *cosine, real *sine, const double *frequency, double position, double scale,
                  int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        cosine[i] = scale * cos(position * frequency[i]);
        sine[i] = scale * sin(position * frequency[i]);
    }
}

#else

#define LANES 8
typedef double dvec __attribute__((vector_size(64)));
typedef int64_t lvec __attribute__((vector_size(64)));
typedef float fvec __attribute__((vector_size(32)));

/* Taylor series: on |x| <= pi/4 the first term left out is below 1e-13. */
static inline void sine_cosine(dvec x, dvec *sine, dvec *cosine)
{
    const double round = 6755399441055744.0; /* 1.5 * 2^52: adding it leaves the integer part */
    dvec t = x * 0.63661977236758134308 + round;
    dvec n = t - round;
    dvec r =
        ((x - n * 0x1.921fb00000000p+0) - n * 0x1.5110b00000000p-22) - n * 0x1.18469898cc517p-44;
    dvec z = r * r;
    dvec s =
        r + r * z *
                (-1.0 / 6 +
                 z * (1.0 / 120 +
                      z * (-1.0 / 5040 +
                           z * (1.0 / 362880 + z * (-1.0 / 39916800 + z * (1.0 / 6227020800))))));
    dvec c =
        1.0 +
        z * (-1.0 / 2 +
             z * (1.0 / 24 +
                  z * (-1.0 / 720 +
                       z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600 +
                                                                     z * (-1.0 / 87178291200)))))));
    lvec turns = (lvec)t; /* the low bits count quarter turns */
    lvec odd = -(turns & 1);
    lvec flip_sine = (turns & 2) << 62, flip_cosine = ((turns + 1) & 2) << 62;
    *sine = (dvec)((((lvec)c & odd) | ((lvec)s & ~odd)) ^ flip_sine);
    *cosine = (dvec)((((lvec)s & odd) | ((lvec)c & ~odd)) ^ flip_cosine);
}

static void sines(real *cosine, real *sine, const double *frequency, double position, double scale,
                  int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) { /* the arrays are MAX_PAIRS long */
        dvec f, s, c;
        memcpy(&f, frequency + i, sizeof f);
        sine_cosine(f * position, &s, &c);
        s *= scale;
        c *= scale;
        const fvec near_c = __builtin_convertvector(c, fvec);
        const fvec near_s = __builtin_convertvector(s, fvec);
        memcpy(cosine + i, &near_c, sizeof near_c);
        memcpy(sine + i, &near_s, sizeof near_s);
    }
}

#endif

static inline void turn_halves(real *restrict y, const real *restrict x, const real *restrict c,
                               const real *restrict s, int64_t half, const bool add)
{
    for (int64_t i = 0; i < half; i++) {
        const real a = x[i] * c[i] - x[i + half] * s[i];
        const real b = x[i + half] * c[i] + x[i] * s[i];
        y[i] = add ? y[i] + a : a;
        y[i + half] = add ? y[i + half] + b : b;
    }
}

static inline void turn_neighbours(real *restrict y, const real *restrict x, const real *restrict c,
                                   const real *restrict s, int64_t half, const bool add)
{
    for (int64_t i = 0; i < half; i++) {
        const real a = x[2 * i] * c[i] - x[2 * i + 1] * s[i];
        const real b = x[2 * i + 1] * c[i] + x[2 * i] * s[i];
        y[2 * i] = add ? y[2 * i] + a : a;
        y[2 * i + 1] = add ? y[2 * i + 1] + b : b;
    }
}

/* ---- Small heads, whose channels divide a vector ----
** The partner of a lane is `step` lanes away, bit `step` of its number flipped: its neighbour, or
** the one half a head away. With factors laid out lane by lane for as many heads as fill a vector,
**   y = x c + partner s,   s with the sign of its side
** has the bits of the plain loops. */

#define ROPE_FLIP(i, w) ((i) ^ (w))
#define ROPE_PARTNER(x, w) __builtin_shufflevector(x, x, ROPE_LANES(ROPE_FLIP, w))
#if VL == 16
#define ROPE_LANES(f, w)                                                                      \
    f(0, w), f(1, w), f(2, w), f(3, w), f(4, w), f(5, w), f(6, w), f(7, w), f(8, w), f(9, w), \
        f(10, w), f(11, w), f(12, w), f(13, w), f(14, w), f(15, w)
#elif VL == 8
#define ROPE_LANES(f, w) f(0, w), f(1, w), f(2, w), f(3, w), f(4, w), f(5, w), f(6, w), f(7, w)
#elif VL == 4
#define ROPE_LANES(f, w) f(0, w), f(1, w), f(2, w), f(3, w)
#else
#define ROPE_LANES(f, w) f(0, w), f(1, w)
#endif

static inline vec partner(vec x, int64_t step)
{
    switch (step) {
#if VL > 8
    case 8: return ROPE_PARTNER(x, 8);
#endif
#if VL > 4
    case 4: return ROPE_PARTNER(x, 4);
#endif
#if VL > 2
    case 2: return ROPE_PARTNER(x, 2);
#endif
    default: return ROPE_PARTNER(x, 1);
    }
}

/* Lanes to the partner; 0: not by vectors. */
static int64_t woven_step(const rope_shape *r)
{
    if (r->R != r->D || VL % r->D != 0) return 0;
    return r->interleaved ? 1 : r->D / 2;
}

/* Which pair's factor each lane has, and the sign of its sine. */
typedef struct {
    ivec pair;
    vec sign;
} weave;

static weave weave_of(const rope_shape *r)
{
    weave w;
    for (int64_t i = 0; i < VL; i++) {
        const int64_t at = i % r->D, half = r->R / 2;
        const bool first = r->interleaved ? at % 2 == 0 : at < half;
        w.pair[i] = (ireal)(r->interleaved ? at / 2 : at % half);
        w.sign[i] = first ? REAL(-1.0) : REAL(1.0);
    }
    return w;
}

/* Factors lane by lane. */
static inline vec woven(const real *factors, ivec pair)
{
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    return (vec)_mm512_permutexvar_ps((__m512i)pair, _mm512_loadu_ps(factors));
#else
    vec lanes;
    for (int i = 0; i < VL; i++) lanes[i] = factors[pair[i]];
    return lanes;
#endif
}

static inline void turn_woven(real *y, const real *x, vec c_lanes, vec s_lanes, int64_t width,
                              int64_t step, const bool add)
{
    V_EACH(i, m, width) {
        const vec v = m == VL ? v_load(x + i) : v_load_n(x + i, m, REAL(0.0));
        vec turned = v * c_lanes + partner(v, step) * s_lanes;
        if (add) turned = (m == VL ? v_load(y + i) : v_load_n(y + i, m, REAL(0.0))) + turned;
        if (m == VL) v_store(y + i, turned);
        else v_store_n(y + i, turned, m);
    }
}

static void keep_rest(real *restrict y, const real *restrict x, int64_t n, const bool add)
{
    for (int64_t i = 0; i < n; i++) y[i] = add ? y[i] + x[i] : x[i];
}

static void turn_row(real *y, const real *x, const real *c, const real *s, const rope_shape *r,
                     int64_t heads, bool add)
{
    const int64_t half = r->R / 2;
    for (int64_t h = 0; h < heads; h++, x += r->D, y += r->D) {
        if (r->interleaved) {
            if (add) turn_neighbours(y, x, c, s, half, true);
            else turn_neighbours(y, x, c, s, half, false);
        } else {
            if (add) turn_halves(y, x, c, s, half, true);
            else turn_halves(y, x, c, s, half, false);
        }
        if (r->R < r->D) keep_rest(y + r->R, x + r->R, r->D - r->R, add);
    }
}

void K(rope_frequencies)(double *frequency, const rope_shape *r)
{
    for (int64_t i = 0; i < MAX_PAIRS; i++)
        frequency[i] = i >= r->R / 2            ? 0
                       : r->frequencies != NULL ? (double)r->frequencies[i]
                                                : pow(r->theta, -2.0 * (double)i / (double)r->R);
}

static inline void turn_rows(const rope_shape *r, const double *frequency, const int32_t *positions,
                             int64_t rows, bool inverse, int n, real *const *y,
                             const real *const *x, const int64_t *heads, const bool add)
{
    const int64_t step = woven_step(r);
    real c[MAX_PAIRS], s[MAX_PAIRS];
    weave w = {0};
    if (step != 0) w = weave_of(r);
    for (int64_t t = 0; t < rows; t++) {
        const double position = positions[t];
        sines(c, s, frequency, inverse ? -position : position, r->scale, r->R / 2);
        const vec c_lanes = woven(c, w.pair), s_lanes = woven(s, w.pair) * w.sign;
        for (int i = 0; i < n; i++) {
            const int64_t width = heads[i] * r->D;
            real *to = y[i] + t * width;
            const real *from = x[i] + t * width;
            if (step == 0) turn_row(to, from, c, s, r, heads[i], add);
            else turn_woven(to, from, c_lanes, s_lanes, width, step, add);
        }
    }
}

void K(rope_rows)(const rope_shape *r, const double *frequency, const int32_t *positions,
                  int64_t rows, bool inverse, int n, real *const *y, const real *const *x,
                  const int64_t *H)
{
    turn_rows(r, frequency, positions, rows, inverse, n, y, x, H, false);
}

void K(rope)(real *y, const real *x, const int32_t *positions, const rope_shape *r, bool inverse,
             bool add)
{
    const int64_t width = r->H * r->D;
    double frequency[MAX_PAIRS];
    K(rope_frequencies)(frequency, r);
    const int64_t tasks = (r->T + ROWS - 1) / ROWS;
    PL_PARALLEL_FOR(r->T * (width * 2 + r->R * 4))
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t t = task * ROWS, rows = t + ROWS < r->T ? ROWS : r->T - t;
        real *const to[] = {y + t * width};
        const real *const from[] = {x + t * width};
        if (add) turn_rows(r, frequency, positions + t, rows, inverse, 1, to, from, &r->H, true);
        else turn_rows(r, frequency, positions + t, rows, inverse, 1, to, from, &r->H, false);
    }
}

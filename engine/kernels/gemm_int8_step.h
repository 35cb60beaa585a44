/*
** gemm_int8_step.h - pieces of x and of W as integers, and what one strip of rows and one panel of
** columns add up to. Only gemm_int8.c includes this file.
*/
#ifndef PL_GEMM_INT8_STEP_H
#define PL_GEMM_INT8_STEP_H

#include "base/sizes.h"
#include "kernels/quant_lanes.h"

enum { STRIP = 16, WORDS = PIECE / 4 };

/* 32 elements of each row of a strip. */
typedef struct {
    union {
        int8_t q[STRIP][PIECE];
        int32_t four[STRIP][WORDS]; /* as words are multiplied */
    };
    float scale[STRIP];
    float sum[STRIP];        /* scale times the sum of q */
    int32_t start[2][STRIP]; /* of either half's sum (of all of it: the first) */
} __attribute__((aligned(64))) x_piece;

/* 32 elements of each of RL rows of W, in words of four, offset_of() more than they are: 0 and
** above. */
typedef struct {
    union {
        uint8_t q[WORDS][4 * RL];
        ureg word[WORDS];
    };
    reg scale[2], least;
} __attribute__((aligned(64))) w_piece;

/* What the integers of a dtype want. */
typedef enum { ONE_SCALE, WITH_LEAST, TWO_SCALES, WIDE /* eight bits */ } piece_kind;

static inline piece_kind kind_of(pl_dtype dtype)
{
    switch (dtype) {
    case PL_Q8_0: return WIDE;
    case PL_Q6_K: return TWO_SCALES;
    case PL_Q4_0:
    case PL_Q5_0: return ONE_SCALE;
    default: return WITH_LEAST;
    }
}

/* What makes the integers of a dtype 0 and above. */
static inline int offset_of(pl_dtype dtype)
{
    switch (dtype) {
    case PL_Q8_0: return 128;
    case PL_Q6_K: return 32;
    case PL_Q5_0: return 16;
    case PL_Q4_0: return 8;
    default: return 0;
    }
}

typedef struct {
    int64_t pieces;
    const x_piece *x;
    const w_piece *w;
    float *y;
    int64_t ldy, rows, cols;
    const float *bias; /* NULL: none, or not yet */
    bool acc;          /* sums go on from y */
} strip_args;

/* ---- x ---- */

static void round_piece(const float *x, int offset, bool halves, x_piece *to, int row)
{
    uint32_t most = 0;
    int32_t sum[2] = {0, 0};
    int8_t *q = to->q[row];
    for (int i = 0; i < PIECE; i++) {
        const uint32_t size = bits_of_float(x[i]) & 0x7fffffff;
        most = size > most ? size : most;
    }
    const bool finite = most < 0x7f800000;
    const float a = float_of_bits(most), inverse = finite && a >= 0x1p-100f ? 127 / a : 0;
    const float scale = !finite ? NAN : a >= 0x1p-100f ? a / 127 : 0;
    if (inverse == 0) memset(q, 0, PIECE);
    else
        for (int i = 0; i < PIECE; i++) {
            const float nearest = (x[i] * inverse + 0x1.8p23f) - 0x1.8p23f;
            q[i] = (int8_t)(int32_t)nearest;
        }
    for (int i = 0; i < PIECE / 2; i++) sum[0] += q[i];
    for (int i = PIECE / 2; i < PIECE; i++) sum[1] += q[i];
    to->scale[row] = scale;
    to->sum[row] = scale * (float)(sum[0] + sum[1]);
    to->start[0][row] = -offset * (halves ? sum[0] : sum[0] + sum[1]);
    to->start[1][row] = -offset * sum[1];
}

/* ---- W ---- */

#if defined(KEPT_LANES)
/* The fifth bits of elements 4 i .. 4 i + 3, each in its byte. */
static inline __attribute__((always_inline)) ureg fifth_word(ureg bits, const int i)
{
    const uint32_t own = i % 2 ? 0x80402010 : 0x08040201;
    const int byte = i / 2;
#define FROM_(at) ((uint32_t)((at) + byte) * 0x01010101u)
#define FOUR_ FROM_(0), FROM_(4), FROM_(8), FROM_(12)
#if defined(__AVX512F__)
    const ureg places = {FOUR_, FOUR_, FOUR_, FOUR_};
    const __m512i all = _mm512_shuffle_epi8((__m512i)bits, (__m512i)places);
    const __mmask64 set = _mm512_test_epi8_mask(all, _mm512_set1_epi32((int)own));
    return (ureg)_mm512_maskz_set1_epi8(set, 16);
#else
    const ureg places = {FOUR_, FOUR_};
    const __m256i mask = _mm256_set1_epi32((int)own);
    const __m256i all = _mm256_shuffle_epi8((__m256i)bits, (__m256i)places);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(all, mask), mask);
    return (ureg)_mm256_and_si256(set, _mm256_set1_epi8(16));
#endif
#undef FOUR_
#undef FROM_
}

static inline __attribute__((always_inline)) void lanes_piece(const pl_dtype dtype, const lanes *l,
                                                              int64_t at, int j, w_piece *to)
{
    const bool fifth = dtype == PL_Q5_0 || dtype == PL_Q5_1 || dtype == PL_Q5_K;
    const ureg low = (ureg){0} + 0x0f0f0f0f;
    ureg word[4], bits[4];
    factors f;
    if (dtype == PL_Q8_0) {
        f = factors_of_two(load_word(l, at));
        for (int half = 0; half < 2; half++) {
            load_words(l, at + 2 + 16 * half, word);
            UNROLL
            for (int i = 0; i < 4; i++) to->word[4 * half + i] = word[i] ^ 0x80808080;
        }
    } else if (dtype == PL_Q6_K) {
        const int64_t nibbles = at + j / 4 * 64 + j % 2 * 32, high = at + 128 + j / 4 * 32;
        f = factors_of_k6(l, at, j);
        for (int half = 0; half < 2; half++) {
            load_words(l, nibbles + 16 * half, word);
            load_words(l, high + 16 * half, bits);
            UNROLL
            for (int i = 0; i < 4; i++)
                to->word[4 * half + i] =
                    (word[i] >> j % 4 / 2 * 4 & low) | (bits[i] >> j % 4 * 2 & 0x03030303) << 4;
        }
    } else if (dtype == PL_Q4_K || dtype == PL_Q5_K) {
        ureg head[4];
        load_words(l, at, head);
        f = factors_of_k(head, j);
        for (int half = 0; half < 2; half++) {
            if (fifth) load_words(l, at + 16 + 16 * half, bits);
            load_words(l, at + (fifth ? 48 : 16) + j / 2 * 32 + 16 * half, word);
            UNROLL
            for (int i = 0; i < 4; i++) {
                ureg q = word[i] >> j % 2 * 4 & low;
                if (fifth) q |= (bits[i] >> j & 0x01010101) << 4;
                to->word[4 * half + i] = q;
            }
        }
    } else {
        const int head = (dtype == PL_Q4_1 || dtype == PL_Q5_1 ? 4 : 2) + (fifth ? 4 : 0);
        const ureg upper = fifth ? load_word(l, at + head - 4) : (ureg){0};
        f = factors_of_two(load_word(l, at));
        load_words(l, at + head, word);
        UNROLL
        for (int i = 0; i < 4; i++) {
            ureg q = word[i] & low, r = word[i] >> 4 & low;
            if (fifth) q |= fifth_word(upper, i), r |= fifth_word(upper, 4 + i);
            to->word[i] = q;
            to->word[4 + i] = r;
        }
    }
    to->scale[0] = f.scale[0];
    to->scale[1] = f.scale[1];
    to->least = f.least;
}

/* Pieces [p0, p0 + pieces). As many bytes as are read are fetched ahead from `next` on. */
static inline __attribute__((always_inline)) void lanes_run(const pl_dtype dtype, const lanes *l,
                                                            int64_t p0, int64_t pieces,
                                                            const uint8_t *next, w_piece *to)
{
    const int shift = pl__dtypes[dtype].shift - 5;
    const int64_t bytes = (int64_t)RL * pl__dtypes[dtype].bytes >> shift;
    for (int64_t p = p0; p < p0 + pieces; p++, next += bytes) {
        for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
        lanes_piece(dtype, l, (p >> shift) * pl__dtypes[dtype].bytes, (int)(p & ((1 << shift) - 1)),
                    to++);
    }
}

/* clang-format off */
#define EACH_BLOCKS(X) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K) X(Q6_K)
#define RUN(name)                                                                                 \
    static void unpack_##name(const lanes *l, int64_t p0, int64_t pieces, const uint8_t *next,    \
                              w_piece *to)                                                        \
    {                                                                                             \
        lanes_run(PL_##name, l, p0, pieces, next, to);                                            \
    }
/* clang-format on */
EACH_BLOCKS(RUN)
#undef RUN

typedef void (*unpack_fn)(const lanes *, int64_t, int64_t, const uint8_t *, w_piece *);
#define UNPACK_ENTRY(name) [PL_##name] = unpack_##name,
static const unpack_fn unpacks[PL_DTYPE_COUNT] = {EACH_BLOCKS(UNPACK_ENTRY)};
#endif

static void unpack_plain(const kept *w, int64_t row, int64_t rows, int64_t p0, int64_t pieces,
                         w_piece *to)
{
    const int shift = pl__dtypes[w->dtype].shift - 5;
    const int more = offset_of(w->dtype);
    for (int64_t i = 0; i < pieces; i++, to++)
        for (int64_t j = 0; j < RL; j++) {
            const int64_t at = p0 + i;
            piece p;
            read_piece(w->dtype,
                       kept_row(w, row + (j < rows ? j : rows - 1)) +
                           (at >> shift) * pl__dtypes[w->dtype].bytes,
                       (int)(at & ((1 << shift) - 1)), &p);
            for (int e = 0; e < PIECE; e++) to->q[e / 4][4 * j + e % 4] = (uint8_t)(p.q[e] + more);
            to->scale[0][j] = p.scale[0];
            to->scale[1][j] = p.scale[1];
            to->least[j] = p.least;
        }
}

/* RL rows of W from `row` on, of which `rows` exist. */
static void unpack(const kept *w, int64_t row, int64_t rows, int64_t p0, int64_t pieces,
                   w_piece *to)
{
#if defined(KEPT_LANES)
    if (has_lanes(w)) {
        const lanes l = lanes_of(w, row, rows);
        const int64_t step = pl__dtypes[w->dtype].bytes >> (pl__dtypes[w->dtype].shift - 5);
        const uint8_t *next = kept_row(w, row + rows) + p0 * RL * step;
        unpacks[w->dtype](&l, p0, pieces, next, to);
        return;
    }
#endif
    unpack_plain(w, row, rows, p0, pieces, to);
}

/* ---- Strips ---- */

#if defined(KEPT_LANES)
#if defined(__AVX512F__)
#define DOT_VNNI(s, w, x) \
    (ireg) _mm512_dpbusd_epi32((__m512i)(s), (__m512i)(w), (__m512i)((ireg){0} + (x)))
#define WITH_VNNI __attribute__((target("avx512vnni")))
#define MADD_(op) _mm512_##op
typedef __m512i int_reg;
#else
#define DOT_VNNI(s, w, x) \
    (ireg) _mm256_dpbusd_avx_epi32((__m256i)(s), (__m256i)(w), (__m256i)((ireg){0} + (x)))
#define WITH_VNNI __attribute__((target("avxvnni")))
#define MADD_(op) _mm256_##op
typedef __m256i int_reg;
#endif

/* Words of W without their signs; of eight bits the uppermost counts apart, as products of two
** would not fit 16 bits. */
static inline __attribute__((always_inline)) ireg dot_bytes(const piece_kind kind, ireg s, ureg w,
                                                            int32_t x)
{
    const int_reg both = (int_reg)((ireg){0} + x), one = MADD_(set1_epi16)(1);
    if (kind == WIDE) {
        const ureg upper = w >> 7 & 0x01010101;
        s += (ireg)MADD_(madd_epi16)(MADD_(maddubs_epi16)((int_reg)upper, both), one) << 7;
        w &= 0x7f7f7f7f;
    }
    return s + (ireg)MADD_(madd_epi16)(MADD_(maddubs_epi16)((int_reg)w, both), one);
}

#define STRIP_NAME(name) vnni_##name
#define STRIP_TARGET WITH_VNNI
#define STRIP_DOT(kind, s, w, x) DOT_VNNI(s, w, x)
#include "kernels/gemm_int8_strip.h"
#define STRIP_NAME(name) bytes_##name
#define STRIP_TARGET
#define STRIP_DOT(kind, s, w, x) dot_bytes(kind, s, w, x)
#include "kernels/gemm_int8_strip.h"

#else
/* The law written out. */
static void strip_plain(const piece_kind kind, const strip_args *g)
{
    const int scales = kind == TWO_SCALES ? 2 : 1, part = PIECE / scales;
    for (int64_t i = 0; i < g->rows; i++)
        for (int64_t j = 0; j < g->cols; j++) {
            float *y = g->y + i * g->ldy + j, s = g->acc ? *y : 0;
            for (int64_t p = 0; p < g->pieces; p++) {
                const x_piece *x = g->x + p;
                const w_piece *w = g->w + p;
                for (int h = 0; h < scales; h++) {
                    int32_t sum = x->start[h][i];
                    for (int e = h * part; e < (h + 1) * part; e++)
                        sum += x->q[i][e] * w->q[e / 4][4 * j + e % 4];
                    s = fmaf((float)sum, x->scale[i] * w->scale[h][j], s);
                }
                if (kind == WITH_LEAST) s = fmaf(x->sum[i], w->least[j], s);
            }
            *y = g->bias ? s + g->bias[j] : s;
        }
}
#endif

#endif

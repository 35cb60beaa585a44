/*
** gemm_kept.h - packing a matrix of a kept dtype: blocks to the numbers that the tiles read.
**
** Turned, a panel of rows becomes k-major: RL rows are taken at a time, and 32 elements of each.
** The integers come in by words of four bytes, whose transpose puts word i of all rows into one
** register; so each element costs a shift, a conversion and a product, and nothing is moved twice.
** Straight, rows are read as quant.h reads them. Either way the values are those of quant.h, to the
** bit (products are exact, whatever their order). Only gemm.c includes this file.
*/
#ifndef PL_GEMM_KEPT_H
#define PL_GEMM_KEPT_H

#include "kernels/gemm_tile.h"
#include "kernels/quant_lanes.h"

/* dst[k * ds + j] = element k0 + k of row j for j < rows (at most RL), k < kc. */
static void pack_kept_plain(const kept *b, int64_t row, int64_t rows, int64_t k0, int64_t kc,
                            real *dst, int64_t ds)
{
    float values[PIECE];
    for (int64_t j = 0; j < rows; j++)
        for (int64_t k = 0; k < kc; k += PIECE) {
            const int64_t n = kc - k < PIECE ? kc - k : PIECE;
            row_values(b->dtype, kept_row(b, row + j), k0 + k, n, values);
            for (int64_t i = 0; i < n; i++) dst[(k + i) * ds + j] = values[i];
        }
}

#if defined(KEPT_LANES)
/* Where values go: to dst[k * ds], or with `dot` into a row's product with x. */
typedef struct {
    real *dst;
    int64_t ds;
    const real *x;
    reg sum;
} sink;

static inline __attribute__((always_inline)) void put(sink *s, const bool dot, int k, reg value)
{
    if (dot) s->sum = r_fma(s->x[k] - (reg){0}, value, s->sum);
    else r_store(s->dst + k * s->ds, value);
}

/* Bits of a nibble as a number, less `middle`; what stands above it in the word is ignored. */
static inline __attribute__((always_inline)) reg r_nibble(ureg x, const int middle)
{
#if defined(__AVX512F__)
    const reg table = (reg){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} - (float)middle;
    return (reg)_mm512_permutexvar_ps((__m512i)x, (__m512)table);
#else
    return r_number((x & 15) - (uint32_t)middle);
#endif
}

/* As r_nibble, with bit 4 of `upper` as the fifth bit; what else stands there is ignored. */
static inline __attribute__((always_inline)) reg r_five(ureg x, ureg upper, const int middle)
{
#if defined(__AVX512F__)
    const reg table = (reg){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} - (float)middle;
    const ureg place = (x & ~16u) | (upper & 16);
    return (reg)_mm512_permutex2var_ps((__m512)table, (__m512i)place, (__m512)(table + 16));
#else
    return r_number(((x & 15) | (upper & 16)) - (uint32_t)middle);
#endif
}

/* The four elements of a word (eight by nibbles: those of the lower or, shifted, the upper half of
** each byte), q[b] from byte b. */
typedef enum { FOUR_BITS, FIVE_BITS, SIX_BITS } bit_width;

static inline __attribute__((always_inline)) void
word_numbers(const bit_width bits, const int middle, ureg nibbles, const ureg upper[4], reg q[4])
{
    UNROLL
    for (int b = 0; b < 4; b++) {
        const ureg low = nibbles >> 8 * b;
        if (bits == FOUR_BITS) q[b] = r_nibble(low, middle);
        else if (bits == FIVE_BITS) q[b] = r_five(low, upper[b], middle);
        else q[b] = r_number(((low & 15) | (upper[b] & 48)) - (uint32_t)middle);
    }
}

/* upper[b]: byte b of x at the lower end, four bits up. */
static inline __attribute__((always_inline)) void upper_bytes(ureg x, ureg upper[4])
{
    upper[0] = x << 4;
    UNROLL
    for (int b = 1; b < 4; b++) upper[b] = x >> (8 * b - 4);
}

static inline __attribute__((always_inline)) void
put_word(const factors *f, const bool has_least, int i, const reg q[4], sink *s, const bool dot)
{
    const reg scale = f->scale[i / 4];
    UNROLL
    for (int b = 0; b < 4; b++) {
        const reg value = has_least ? r_fma(scale, q[b], f->least) : scale * q[b];
        put(s, dot, 4 * i + b, value);
    }
}

/* Formats of 32 elements with 16 bytes of nibbles behind `head` bytes; with five bits the fifth
** ones stand right before them. */
static inline __attribute__((always_inline)) void
put_nibbles(const lanes *l, int64_t at, const int head, const bit_width bits, const int middle,
            const bool has_least, sink *s, const bool dot)
{
    const factors f = factors_of_two(load_word(l, at));
    const ureg fifth = bits == FIVE_BITS ? load_word(l, at + head - 4) : (ureg){0};
    ureg word[4];
    load_words(l, at + head, word);
    for (int half = 0; half < 2; half++) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            reg q[4];
            ureg upper[4] = {{0}};
            UNROLL
            for (int b = 0; b < 4 && bits == FIVE_BITS; b++)
                upper[b] = fifth >> (16 * half + 4 * i) << (4 - b);
            word_numbers(bits, middle, word[i] >> 4 * half, upper, q);
            put_word(&f, has_least, 4 * half + i, q, s, dot);
        }
    }
}

static inline __attribute__((always_inline)) void put_q8_0(const lanes *l, int64_t at, sink *s,
                                                           const bool dot)
{
    factors f = factors_of_two(load_word(l, at));
    f.scale[0] = f.scale[1] = f.scale[0] * 0x1p-24f; /* bytes are read at the top of a word */
    for (int half = 0; half < 2; half++) {
        ureg word[4];
        load_words(l, at + 2 + 16 * half, word);
        UNROLL
        for (int i = 0; i < 4; i++) {
            reg q[4];
            UNROLL
            for (int b = 0; b < 4; b++) q[b] = r_number(word[i] << (24 - 8 * b) & 0xff000000);
            put_word(&f, false, 4 * half + i, q, s, dot);
        }
    }
}

static inline __attribute__((always_inline)) void
put_k4_k5(const lanes *l, int64_t at, int j, const bool fifth, sink *s, const bool dot)
{
    ureg head[4], word[4], bits[4] = {{0}};
    load_words(l, at, head);
    const factors f = factors_of_k(head, j);
    for (int half = 0; half < 2; half++) {
        if (fifth) load_words(l, at + 16 + 16 * half, bits);
        load_words(l, at + (fifth ? 48 : 16) + j / 2 * 32 + 16 * half, word);
        UNROLL
        for (int i = 0; i < 4; i++) {
            reg q[4];
            ureg upper[4] = {{0}};
            if (fifth) upper_bytes(bits[i] >> j, upper);
            word_numbers(fifth ? FIVE_BITS : FOUR_BITS, 0, word[i] >> j % 2 * 4, upper, q);
            put_word(&f, true, 4 * half + i, q, s, dot);
        }
    }
}

static inline __attribute__((always_inline)) void put_k6(const lanes *l, int64_t at, int j, sink *s,
                                                         const bool dot)
{
    const factors f = factors_of_k6(l, at, j);
    const int64_t low = at + j / 4 * 64 + j % 2 * 32, high = at + 128 + j / 4 * 32;
    for (int half = 0; half < 2; half++) {
        ureg word[4], bits[4];
        load_words(l, low + 16 * half, word);
        load_words(l, high + 16 * half, bits);
        UNROLL
        for (int i = 0; i < 4; i++) {
            reg q[4];
            ureg upper[4];
            upper_bytes(bits[i] >> j % 4 * 2, upper);
            word_numbers(SIX_BITS, 32, word[i] >> j % 4 / 2 * 4, upper, q);
            put_word(&f, false, 4 * half + i, q, s, dot);
        }
    }
}

/* Eight elements of 16 bits. */
static inline __attribute__((always_inline)) void
put_halves(const lanes *l, int64_t at, const bool brain, sink *s, const bool dot)
{
    ureg word[4];
    load_words(l, at, word);
    UNROLL
    for (int i = 0; i < 4; i++) {
        put(s, dot, 2 * i, brain ? (reg)(word[i] << 16) : r_half(word[i]));
        put(s, dot, 2 * i + 1, brain ? (reg)(word[i] & 0xffff0000) : r_half(word[i] >> 16));
    }
}

/* Elements k .. k + step - 1 of the rows: eight of 16 bits, else a piece. */
static inline __attribute__((always_inline)) void put_step(const pl_dtype dtype, const lanes *l,
                                                           int64_t k, sink *s, const bool dot)
{
    const int shift = pl__dtypes[dtype].shift;
    const int64_t at = (k >> shift) * pl__dtypes[dtype].bytes;
    const int j = (int)(k & ((1 << shift) - 1)) / PIECE;
    if (dtype == PL_BF16 || dtype == PL_F16) put_halves(l, at, dtype == PL_BF16, s, dot);
    else if (dtype == PL_Q8_0) put_q8_0(l, at, s, dot);
    else if (dtype == PL_Q4_0) put_nibbles(l, at, 2, FOUR_BITS, 8, false, s, dot);
    else if (dtype == PL_Q4_1) put_nibbles(l, at, 4, FOUR_BITS, 0, true, s, dot);
    else if (dtype == PL_Q5_0) put_nibbles(l, at, 6, FIVE_BITS, 16, false, s, dot);
    else if (dtype == PL_Q5_1) put_nibbles(l, at, 8, FIVE_BITS, 0, true, s, dot);
    else if (dtype == PL_Q6_K) put_k6(l, at, j, s, dot);
    else put_k4_k5(l, at, j, dtype == PL_Q5_K, s, dot);
}

#define STEP(dtype) ((dtype) == PL_BF16 || (dtype) == PL_F16 ? 8 : PIECE)

/* Bytes that a step reads of RL rows. */
static inline int64_t step_bytes(pl_dtype dtype)
{
    return (int64_t)RL * STEP(dtype) * pl__dtypes[dtype].bytes >> pl__dtypes[dtype].shift;
}

/* As pack_kept_plain for the rows of lanes, kc in whole steps. As many bytes as are read are
** fetched ahead from `next` on; NULL: none. */
static inline __attribute__((always_inline)) void store_run(const pl_dtype dtype, const lanes *l,
                                                            int64_t k0, int64_t kc, real *dst,
                                                            int64_t ds, const uint8_t *next)
{
    const int64_t bytes = step_bytes(dtype);
    sink s = {.dst = dst, .ds = ds};
    for (int64_t k = k0; k < k0 + kc; k += STEP(dtype), s.dst += STEP(dtype) * ds) {
        for (int64_t b = 0; b < bytes && next != NULL; b += 64) __builtin_prefetch(next + b, 0, 2);
        next = next != NULL ? next + bytes : NULL;
        put_step(dtype, l, k, &s, false);
    }
}

enum { STRIPS = 4 }; /* strips of RL rows whose chains run side by side */

/* Of `strips` strips, each row's product with x over kc elements, in whole steps. As many bytes as
** are read here are fetched ahead from `next` on. */
static inline __attribute__((always_inline)) void dot_run(const pl_dtype dtype, const lanes *l,
                                                          int strips, int64_t kc, const real *x,
                                                          const uint8_t *next, reg *sum)
{
    const int64_t bytes = step_bytes(dtype);
    for (int64_t k = 0; k < kc; k += STEP(dtype))
        for (int i = 0; i < strips; i++, next += bytes) {
            sink s = {.x = x + k, .sum = sum[i]};
            for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
            put_step(dtype, &l[i], k, &s, true);
            sum[i] = s.sum;
        }
}

/* clang-format off */
#define EACH_KEPT(X)                                                                              \
    X(BF16) X(F16) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K) X(Q6_K)
#define RUN(name)                                                                                 \
    static void store_##name(const lanes *l, int64_t k0, int64_t kc, real *dst, int64_t ds,       \
                             const uint8_t *next)                                                 \
    {                                                                                             \
        store_run(PL_##name, l, k0, kc, dst, ds, next);                                           \
    }                                                                                             \
    static void dot_##name(const lanes *l, int strips, int64_t kc, const real *x,                 \
                           const uint8_t *next, reg *sum)                                         \
    {                                                                                             \
        dot_run(PL_##name, l, strips, kc, x, next, sum);                                          \
    }
/* clang-format on */
EACH_KEPT(RUN)

typedef void (*store_fn)(const lanes *, int64_t, int64_t, real *, int64_t, const uint8_t *);
typedef void (*dot_fn)(const lanes *, int, int64_t, const real *, const uint8_t *, reg *);
#define STORE_ENTRY(name) [PL_##name] = store_##name,
#define DOT_ENTRY(name) [PL_##name] = dot_##name,
static const store_fn stores[PL_DTYPE_COUNT] = {EACH_KEPT(STORE_ENTRY)};
static const dot_fn dots[PL_DTYPE_COUNT] = {EACH_KEPT(DOT_ENTRY)};

static void pack_kept_lanes(const kept *b, int64_t row, int64_t rows, int64_t k0, int64_t kc,
                            real *dst, int64_t ds, const uint8_t *next)
{
    const lanes l = lanes_of(b, row, rows);
    const int64_t whole = kc / 8 * 8; /* of 16 bits; pieces are whole */
    stores[b->dtype](&l, k0, whole, dst, ds, next);
    if (whole < kc) pack_kept_plain(b, row, rows, k0 + whole, kc - whole, dst + whole * ds, ds);
}

/* c[cols] = (acc ? c : 0) + rows [row, row + cols) of b times x[k] (+ bias): the tiles' chains for
** one row of A, without a buffer between. cols is at most STRIPS * RL. */
static void dot_kept(const kept *b, int64_t row, int64_t cols, int64_t k, const real *x, bool acc,
                     const real *bias, real *c)
{
    const int64_t whole = k / 8 * 8;
    const int strips = (int)((cols + RL - 1) / RL);
    lanes l[STRIPS] = {0};
    reg sum[STRIPS];
    for (int i = 0; i < strips; i++) {
        const int64_t left = r_cols(cols, i);
        l[i] = lanes_of(b, row + i * RL, left);
        sum[i] = r_load_n(c + i * RL, r_first(acc ? left : 0));
    }
    dots[b->dtype](l, strips, whole, x, kept_row(b, row + cols), sum);
    for (int i = 0; i < strips; i++) {
        real rest[8 * RL] __attribute__((aligned(64))) = {0};
        const r_count n = r_first(r_cols(cols, i));
        if (whole < k)
            pack_kept_plain(b, row + i * RL, r_cols(cols, i), whole, k - whole, rest, RL);
        for (int64_t j = 0; j < k - whole; j++)
            sum[i] = r_fma(x[whole + j] - (reg){0}, r_load(rest + j * RL), sum[i]);
        if (bias) sum[i] += r_load_n(bias + i * RL, n);
        r_store_n(c + i * RL, sum[i], n);
    }
}
#endif

/* Rows [row, row + valid) turned, k-major into dst[kc][width]; width a multiple of RL. k0 is a
** multiple of PIECE. What stands beyond the valid ones is readable and of no meaning. With `ahead`
** the next `valid` rows are fetched meanwhile, of their bytes the part that kc is of a row. */
static void pack_kept(const kept *b, int64_t row, int64_t valid, int64_t k0, int64_t kc, real *dst,
                      int64_t width, bool ahead)
{
    for (int64_t j = 0; j < width; j += RL) {
        const int64_t rows = valid - j < RL ? valid - j : RL;
        if (rows < RL)
            for (int64_t k = 0; k < kc; k++) r_store(dst + k * width + j, (reg){0});
        if (rows <= 0) continue;
#if defined(KEPT_LANES)
        if (has_lanes(b)) {
            const int64_t bytes = step_bytes(b->dtype) / RL;
            const int64_t at = (k0 * valid + j * kc) / STEP(b->dtype) * bytes;
            const uint8_t *next = ahead ? kept_row(b, row + valid) + at : NULL;
            pack_kept_lanes(b, row + j, rows, k0, kc, dst + j, width, next);
            continue;
        }
#endif
        (void)ahead;
        pack_kept_plain(b, row + j, rows, k0, kc, dst + j, width);
    }
}

/* Elements [col, col + cols) of one row, as a line of the panels of NR that begin at col: those of
** panel p at dst + p * ps. col is a multiple of PIECE. */
static void pack_kept_line(const kept *b, int64_t row, int64_t col, int64_t cols, real *dst,
                           int64_t ps)
{
    enum { STEP = (int)NR < (int)PIECE ? (int)NR : (int)PIECE };
    float values[PIECE];
    for (int64_t k = 0; k < cols; k += PIECE) {
        const int64_t n = cols - k < PIECE ? cols - k : PIECE;
        row_values(b->dtype, kept_row(b, row), col + k, n, values);
        for (int64_t i = n; i < PIECE; i++) values[i] = 0;
        for (int64_t i = 0; i < n; i += STEP) {
            real *to = dst + (k + i) / NR * ps + (k + i) % NR;
            for (int64_t e = 0; e < STEP; e++) to[e] = values[i + e];
        }
    }
}

#endif

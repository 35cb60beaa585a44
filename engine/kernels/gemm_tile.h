/*
** gemm_tile.h - the register tile of the matrix product, and the packing of its operands.
**
** A tile holds up to MR x (1, 2 or 4) registers of C and adds a[i,k] * b[k,j] for k = 0, 1, ...:
**
**     c[i,j] <- fma(a[i,k], b[k,j], c[i,j])        one chain for each element, k ascending
**
** The chain of an element touches no other element, so neither the size of the tile, nor the
** packing, nor the cutting of K (a chain may stop in C and go on from there) can change a bit of
** it. That is the whole argument for batch-invariance; nothing here may ever fold two chains.
**
** Registers have the machine's own width RL (vec.h's 64-byte vectors would spill on AVX2). Widths
** per variant: AVX-512 14 x 32, AVX2 6 x 16, else small. Only gemm.c includes this file.
*/
#ifndef PL_GEMM_TILE_H
#define PL_GEMM_TILE_H

#include "kernels/gemm_reg.h"

/* Debug builds have low tiles only: sanitizers would take minutes to compile the high ones. */
#if defined(__AVX512F__) && !defined(PL_F64_BUILD) && !defined(PL_DEBUG)
#define MR 14
#define EACH_MR(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define EACH_WIDE(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define WIDE_MR 6
#elif defined(__AVX2__) && !defined(PL_F64_BUILD) && !defined(PL_DEBUG)
#define MR 6
#define EACH_MR(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define EACH_WIDE(X) X(1) X(2)
#define WIDE_MR 2
#else
#define MR 4
#define EACH_MR(X) X(1) X(2) X(3) X(4)
#define EACH_WIDE(X) X(1) X(2)
#define WIDE_MR 2
#endif

enum {
    NR = 2 * RL,                 /* columns of a panel of B */
    MA = (MR + RL - 1) / RL * RL /* stride of a packed strip of A */
};

/*
** c[mr, cols] = (acc ? c : 0) + a[mr, kc] b[kc, cols] (+ bias[cols] after the chain).
** a[i,k] lies at a[i * lda + k], or at a[i + k * lda] when `transposed`; register pair v of row k
** of b at b[k * bs + v * ps]. All registers of b must be readable, whatever cols is. Unless
** transposed, the line of memory at next + k * next_step is fetched ahead for each k: what will be
** read soon.
*/
typedef struct {
    int64_t kc;
    const real *a;
    int64_t lda;
    const real *b;
    int64_t bs, ps;
    const real *next;
    int64_t next_step; /* LINE, or 0 for nothing */
    const real *bias;  /* NULL for none */
    real *c;
    int64_t ldc, cols;
    bool acc, transposed;
} tile_args;

enum {
    AHEAD = 16,                    /* rows of b, and of a transposed a, to fetch ahead */
    LINE = 64 / (int)sizeof(real), /* elements in a line of the cache */
    LINE_REGS = 64 / RBYTES
};

/* Rows of A that are not transposed go in threes behind one pointer: p, p + lda and p + 2 lda are
** one instruction's addresses each, and the few pointers stay in registers. */
#define GROUPS(mr) (((mr) + 2) / 3)

static inline __attribute__((always_inline)) void tile(const int mr, const int nv,
                                                       const bool transposed, const tile_args *t)
{
    reg x[MR][4];
    r_count n[4];
    const int64_t lda = t->lda, bs = t->bs, ps = t->ps, ldc = t->ldc, kc = t->kc;
    const int groups = transposed ? 1 : GROUPS(mr);
    const real *a[GROUPS(MR)];
    const real *b = t->b, *next = t->next;
    const int64_t next_step = t->next_step;
    real *c[GROUPS(MR)];

    UNROLL
    for (int g = 0; g < GROUPS(mr); g++) c[g] = t->c + 3 * g * ldc;
    UNROLL
    for (int v = 0; v < nv; v++) n[v] = r_first(r_cols(t->cols, v));
    if (t->acc) {
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int v = 0; v < nv; v++)
                x[i][v] = r_load_n(c[i / 3] + (i % 3) * ldc + v * RL, n[v]);
        }
    } else {
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int v = 0; v < nv; v++) x[i][v] = (reg){0};
        }
    }
    UNROLL
    for (int i = 0; i < mr && nv == 2; i++) {
        UNROLL
        for (int v = 0; v < nv; v += LINE_REGS) /* the tile to the right comes next */
            __builtin_prefetch(c[i / 3] + (i % 3) * ldc + NR + v * RL, 1);
    }

    UNROLL
    for (int g = 0; g < groups; g++) a[g] = t->a + 3 * g * lda;
    for (int64_t k = 0; k < kc; k++) {
        reg w[4];
        if (nv <= 2) { /* a wide tile is bound by its loads already */
            UNROLL
            for (int v = 0; v < nv; v += LINE_REGS) __builtin_prefetch(b + AHEAD * bs + v * RL);
            __builtin_prefetch(transposed ? a[0] + AHEAD * lda : next);
            next += next_step;
        }
        UNROLL
        for (int v = 0; v < nv; v++) w[v] = r_load(b + (v / 2) * ps + (v % 2) * RL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            reg s = (transposed ? a[0][i] : a[i / 3][(i % 3) * lda]) - (reg){0};
            UNROLL
            for (int v = 0; v < nv; v++) x[i][v] = r_fma(s, w[v], x[i][v]);
        }
        b += bs;
        UNROLL
        for (int g = 0; g < groups; g++) a[g] += transposed ? lda : 1;
    }

    if (t->bias) {
        UNROLL
        for (int v = 0; v < nv; v++) {
            reg s = r_load_n(t->bias + v * RL, n[v]);
            UNROLL
            for (int i = 0; i < mr; i++) x[i][v] += s;
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++) r_store_n(c[i / 3] + (i % 3) * ldc + v * RL, x[i][v], n[v]);
    }
}

typedef void (*tile_fn)(const tile_args *);

/* Tiles of each height: half a panel, a panel and two panels wide, A as it is and transposed. */
/* clang-format off */
#define TILE(m, name, nv)                                                                         \
    static void tile_##name##_##m(const tile_args *t) { tile(m, nv, false, t); }                  \
    static void tile_##name##_turned_##m(const tile_args *t) { tile(m, nv, true, t); }
/* clang-format on */
#define TILE_HALF(m) TILE(m, half, 1)
#define TILE_FULL(m) TILE(m, full, 2)
#define TILE_WIDE(m) TILE(m, wide, 4)
EACH_MR(TILE_HALF)
EACH_MR(TILE_FULL)
EACH_WIDE(TILE_WIDE)

#define ENTRY_HALF(m) {tile_half_##m, tile_half_turned_##m},
#define ENTRY_FULL(m) {tile_full_##m, tile_full_turned_##m},
#define ENTRY_WIDE(m) {tile_wide_##m, tile_wide_turned_##m},
static const tile_fn tile_half[][2] = {EACH_MR(ENTRY_HALF)};
static const tile_fn tile_full[][2] = {EACH_MR(ENTRY_FULL)};
static const tile_fn tile_wide[][2] = {EACH_WIDE(ENTRY_WIDE)};

/* Runs the tile that fits: mr rows (1..MR), t->cols columns (1..2 NR; above NR only when mr is at
** most WIDE_MR). */
static inline void tile_run(int64_t mr, const tile_args *t)
{
    if (t->cols > NR) tile_wide[mr - 1][t->transposed](t);
    else if (t->cols > RL) tile_full[mr - 1][t->transposed](t);
    else tile_half[mr - 1][t->transposed](t);
}

/* --------------------------------------------------------------------------------------------
** Packing
*/

/* Lane l of the two results of one exchange step: blocks of h lanes change places. */
#define LO_(h, l) (((l) & (h)) ? RL + (l) - (h) : (l))
#define HI_(h, l) (((l) & (h)) ? RL + (l) : (l) + (h))
#define LANES2_(F, h, o) F(h, o), F(h, (o) + 1)
#define LANES4_(F, h, o) LANES2_(F, h, o), LANES2_(F, h, (o) + 2)
#define LANES8_(F, h, o) LANES4_(F, h, o), LANES4_(F, h, (o) + 4)
#if RBYTES == 64 && !defined(PL_F64_BUILD)
#define LANES_(F, h) LANES8_(F, h, 0), LANES8_(F, h, 8)
#elif (RBYTES == 64 && defined(PL_F64_BUILD)) || (RBYTES == 32 && !defined(PL_F64_BUILD))
#define LANES_(F, h) LANES8_(F, h, 0)
#elif (RBYTES == 32 && defined(PL_F64_BUILD)) || (RBYTES == 16 && !defined(PL_F64_BUILD))
#define LANES_(F, h) LANES4_(F, h, 0)
#else
#define LANES_(F, h) LANES2_(F, h, 0)
#endif
/* clang-format off */
#define EXCHANGE_(h)                                                                              \
    if ((h) < RL)                                                                                 \
        UNROLL                                                                                    \
        for (int i = 0; i < RL; i++)                                                              \
            if (!(i & (h))) {                                                                     \
                reg lo = __builtin_shufflevector(r[i], r[(i + (h)) % RL], LANES_(LO_, (h) % RL)); \
                reg hi = __builtin_shufflevector(r[i], r[(i + (h)) % RL], LANES_(HI_, (h) % RL)); \
                r[i] = lo;                                                                        \
                r[(i + (h)) % RL] = hi;                                                           \
            }
/* clang-format on */

/* Transposes an RL x RL block held in registers. */
static inline __attribute__((always_inline)) void r_transpose(reg r[RL])
{
    EXCHANGE_(8)
    EXCHANGE_(4)
    EXCHANGE_(2)
    EXCHANGE_(1)
}

/* dst[k * ds + j] = src[j * ld + k] for j < rows and 0 for rows <= j < RL; k < kc; rows <= RL. */
static void pack_turned(const real *src, int64_t ld, int64_t rows, int64_t kc, real *dst,
                        int64_t ds)
{
    for (int64_t k = 0; k < kc; k += RL) {
        const int64_t n = kc - k < RL ? kc - k : RL;
        reg r[RL];
        if (n == RL && rows == RL)
            for (int j = 0; j < RL; j++) r[j] = r_load(src + j * ld + k);
        else
            for (int j = 0; j < RL; j++)
                r[j] = j < rows ? r_load_n(src + j * ld + k, r_first(n)) : (reg){0};
        r_transpose(r);
        if (n == RL)
            for (int j = 0; j < RL; j++) r_store(dst + (k + j) * ds, r[j]);
        else
            for (int j = 0; j < n; j++) r_store(dst + (k + j) * ds, r[j]);
    }
}

/* dst[k * ds + j] = src[k * ld + j] for j < cols and 0 for cols <= j < RL; k < kc; cols <= RL. */
static void pack_straight(const real *src, int64_t ld, int64_t cols, int64_t kc, real *dst,
                          int64_t ds)
{
    if (cols == RL)
        for (int64_t k = 0; k < kc; k++) r_store(dst + k * ds, r_load(src + k * ld));
    else
        for (int64_t k = 0; k < kc; k++)
            r_store(dst + k * ds, r_load_n(src + k * ld, r_first(cols)));
}

/* `width` (a multiple of RL) rows or columns, `valid` of them real, k-major into dst[kc][width].
** transposed: entry (j, k) at src[j * ld + k], else at src[k * ld + j]. */
static void pack(bool transposed, const real *src, int64_t ld, int64_t valid, int64_t kc, real *dst,
                 int64_t width)
{
    for (int64_t j = 0; j < width; j += RL) {
        const int64_t n = valid - j < 0 ? 0 : valid - j < RL ? valid - j : RL;
        if (transposed) pack_turned(n ? src + j * ld : src, ld, n, kc, dst + j, width);
        else pack_straight(n ? src + j : src, ld, n, kc, dst + j, width);
    }
}

#endif

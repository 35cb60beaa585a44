/*
** attention.c - attention forward, for a packed batch and against a cache.
**
** The maths and the canonical order are in attention.h. Two ways compute the same bits:
**   units  many rows: VL rows of a head in the lanes (attention_tile.h), keys one at a time
**   rows   a decode step: one row of all heads of a key head, so that each cached byte is read
**          once; keys in the lanes for the scores, channels in the lanes for the mix of values, the
**          four runs of a tile side by side
** Work is shared among threads by (sequence, key head, stretch of rows); places are disjoint.
*/
#include "attention_tile.h"

#include "base/thread.h"

#define STRETCH 128     /* rows of a task, a multiple of 2 VL */
#define AHEAD_DIM 16    /* channels up to which a decode step asks for the next cache ahead */
#define ROWS_AS_UNITS 6 /* from this many new rows of a sequence on, units are faster than rows */

/* The keys and values of one sequence and key head from key `from` on, the first of a tile: key
** from + j, channel d at k[j / ATT_TILE * k_tile + j % ATT_TILE * k_key + d * k_dim],
** v[j * v_key + d]. */
typedef struct {
    const real *k, *v;
    int64_t k_tile, k_key, k_dim, v_key;
    int64_t from, n; /* n: where keys end */
} keys;

/* The lanes lo..hi-1 hold rows of one head; lane 0 is at position `first` of the sequence. */
typedef struct {
    const real *q; /* of lane lo; the next row is q_step further */
    real *y, *lse;
    int64_t first, lo, hi;
} unit;

typedef struct {
    int64_t q_step, H, D, window;
    real scale, cap; /* cap 0: none */
} dims;

static dims dims_of(const att_shape *a)
{
    return (dims){a->H * a->D, a->H, a->D, att_window(a), (real)a->scale, (real)a->softcap};
}

/* A rough count of multiplications, for the number of threads. */
static int64_t work_of(const att_shape *a, const int32_t *past)
{
    int64_t pairs = 0;
    for (int64_t b = 0; b < a->B; b++) {
        int64_t n = a->offsets[b + 1] - a->offsets[b];
        pairs += n * min64(n / 2 + 1 + (past ? past[b] : 0), att_window(a));
    }
    return pairs * a->H * (a->D * 2 + 16);
}

/* What is taken off the scores: m, but 0 for rows that have seen nothing yet, whose c and p become
** 0 by it. */
ATT_INLINE vec att_base(vec max)
{
    return v_select(max == v_set1(-INFINITY), v_set1(REAL(0.0)), max);
}

/* --------------------------------------------------------------------------------------------
** Units
*/

/* The greatest of n scores and `before`, four at a time to be quick. */
ATT_INLINE vec greatest(const vec *s, int64_t n, const int nv, vec before)
{
    vec a = before, b = before, c = before, d = before;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4, s += 4 * nv) {
        a = v_max(s[0], a);
        b = v_max(s[nv], b);
        c = v_max(s[2 * nv], c);
        d = v_max(s[3 * nv], d);
    }
    for (; j < n; j++, s += nv) a = v_max(s[0], a);
    return v_max(v_max(a, b), v_max(c, d));
}

/* The sum over a tile: runs in pairs, then lanes folded as by v_sum. s is lost. */
ATT_INLINE vec sum_tile(vec *s, int64_t runs, const int nv)
{
    for (int i = 0; i < VL; i++) {
        vec a = s[i * nv];
        if (runs > 1) a += s[(VL + i) * nv];
        if (runs == 3) a += s[(2 * VL + i) * nv];
        if (runs == 4) a += s[(2 * VL + i) * nv] + s[(3 * VL + i) * nv];
        s[i * nv] = a;
    }
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) s[i * nv] += s[(i + w) * nv];
    return s[0];
}

/* y[d, u] = corr y + mix of the tile's values, for nd channels. */
ATT_INLINE void mix_tile(vec *y, const vec *corr, const vec *p, const real *v, int64_t v_key,
                         int64_t n, const int nv, const int nd, const int64_t *first, int64_t k0,
                         int64_t window)
{
    vec c[4][ATT_BLOCK * 2];
    const int n_y = nd * nv;
    for (int r = 0; r < 4; r++) {
        int64_t at = r * VL, m = min64(VL, n - at);
        if (m <= 0) {
            for (int i = 0; i < n_y; i++) c[r][i] = v_set1(REAL(0.0));
            continue;
        }
        const vec *pr = p + at * nv;
        const real *vr = v + at * v_key;
        const int64_t key = k0 + at;
        if (key < first[nv - 1] + VL - window)
            att_mix(c[r], pr, vr, v_key, m, nv, nd, false, ATT_IN_WINDOW, first, key, window);
        else if (key + m > first[0] + 1)
            att_mix(c[r], pr, vr, v_key, m, nv, nd, false, ATT_NOT_AFTER, first, key, 0);
        else att_mix(c[r], pr, vr, v_key, m, nv, nd, false, ATT_ALL, NULL, 0, 0);
    }
    for (int i = 0; i < n_y; i++)
        y[i] = v_fma(y[i], corr[i % nv], (c[0][i] + c[1][i]) + (c[2][i] + c[3][i]));
}

/* first[0] <= first[1]. work holds 2 nv D vectors. */
ATT_INLINE void fwd_units(const keys *kv, const unit *un, const dims *m, vec *work, const int nv)
{
    const int64_t D = m->D;
    vec *qt = work, *y = work + D * nv;
    vec s[ATT_TILE * 2];
    vec max[2], base[2], sum[2], corr[2];
    int64_t first[2];
    for (int u = 0; u < nv; u++) {
        att_to_lanes(qt + u, un[u].q, m->q_step, un[u].lo, un[u].hi, D, nv, m->scale);
        first[u] = un[u].first;
        max[u] = v_set1(-INFINITY);
        sum[u] = v_set1(REAL(0.0));
    }
    for (int64_t i = 0; i < D * nv; i++) y[i] = v_set1(REAL(0.0));

    const int64_t n_keys = min64(kv->n, first[nv - 1] + VL);
    for (int64_t k0 = att_first_tile(first[0] + un[0].lo, m->window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0), runs = (n + VL - 1) / VL,
                      at = k0 - kv->from;
        const real *k = kv->k + at / ATT_TILE * kv->k_tile, *v = kv->v + at * kv->v_key;
        att_dots(s, qt, k, kv->k_key, kv->k_dim, n, D, nv);
        if (m->cap > 0) att_cap(s, NULL, n * nv, m->cap);
        att_hide(s, k0, n, nv, first, m->window);
        for (int u = 0; u < nv; u++) {
            const vec top = greatest(s + u, n, nv, max[u]);
            base[u] = att_base(top);
            corr[u] = att_exp(max[u] - base[u]);
            max[u] = top;
        }
        for (int64_t j = 0; j < n; j++)
            for (int u = 0; u < nv; u++) s[j * nv + u] = att_exp(s[j * nv + u] - base[u]);
        for (int64_t j = n * nv; j < runs * VL * nv; j++) s[j] = v_set1(REAL(0.0));

        int64_t d = 0;
        for (; d + ATT_BLOCK <= D; d += ATT_BLOCK)
            mix_tile(y + d * nv, corr, s, v + d, kv->v_key, n, nv, ATT_BLOCK, first, k0, m->window);
        for (; d < D; d++)
            mix_tile(y + d * nv, corr, s, v + d, kv->v_key, n, nv, 1, first, k0, m->window);
        for (int u = 0; u < nv; u++) sum[u] = v_fma(sum[u], corr[u], sum_tile(s + u, runs, nv));
    }

    for (int u = 0; u < nv; u++) {
        vec inverse = v_set1(REAL(1.0)) / sum[u];
        for (int64_t d = 0; d < D; d++) y[d * nv + u] *= inverse;
        att_from_lanes(un[u].y, y + u, m->q_step, un[u].lo, un[u].hi, D, nv, REAL(1.0));
        if (un[u].lse) {
            const vec lse = max[u] + v_log(sum[u]);
            for (int64_t r = un[u].lo; r < un[u].hi; r++) un[u].lse[(r - un[u].lo) * m->H] = lse[r];
        }
    }
}

static void fwd_units_1(const keys *kv, const unit *un, const dims *m, vec *work)
{
    fwd_units(kv, un, m, work, 1);
}

static void fwd_units_2(const keys *kv, const unit *un, const dims *m, vec *work)
{
    fwd_units(kv, un, m, work, 2);
}

/* Rows at positions [from, to) of a sequence, the n_heads heads of one key head. q, y, lse point to
** the row at `from`. Pairs of heads share units; an odd head pairs its own neighbours. */
static void fwd_stretch(const keys *kv, const real *q, real *y, real *lse, const dims *m,
                        int64_t from, int64_t to, int64_t n_heads, vec *work)
{
    for (int64_t h = 0; h < n_heads;) {
        const bool pair = h + 1 < n_heads;
        int64_t first = from - from % VL;
        while (first < to) {
            unit un[2];
            int n_un = 0;
            while (n_un < 2 && first < to) {
                const int64_t lo = max64(0, from - first), at = first + lo - from;
                const int64_t head = h + (pair ? n_un : 0);
                un[n_un++] = (unit){q + at * m->q_step + head * m->D,
                                    y + at * m->q_step + head * m->D,
                                    lse ? lse + at * m->H + head : NULL,
                                    first,
                                    lo,
                                    min64(VL, to - first)};
                if (!pair || n_un == 2) first += VL;
            }
            if (n_un == 2) fwd_units_2(kv, un, m, work);
            else fwd_units_1(kv, un, m, work);
        }
        h += pair ? 2 : 1;
    }
}

void K(attention_fwd)(real *y, real *lse, const real *q, const real *k, const real *v,
                      const att_shape *a, void *work)
{
    const int64_t stretches = (longest(a) + STRETCH - 1) / STRETCH;
    const int64_t tasks = a->B * a->G * stretches, n_heads = a->H / a->G;
    const int64_t kv_step = a->G * a->D, share = att_fwd_share(a, longest(a));
    const dims m = dims_of(a);
    const int threads = pl__threads_for(work_of(a, NULL));
    const pl_stop stop = pl__stop_get();
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < tasks; task++) {
        /* Late rows have most keys: they are dealt out first. */
        const int64_t b = task % a->B, g = task / a->B % a->G;
        const int64_t from = (stretches - 1 - task / a->B / a->G) * STRETCH;
        const int64_t start = a->offsets[b], n = a->offsets[b + 1] - start;
        if (from >= n || pl__stopped(stop)) continue;
        const int64_t to = min64(n, from + STRETCH), seen = att_first_tile(from, m.window);
        const int64_t kv_at = (start + seen) * kv_step + g * a->D;
        vec *mine = (vec *)work + omp_get_thread_num() * share;
        real *k_rows = (real *)(mine + 4 * a->D), *v_rows = k_rows + (to - seen) * a->D;
        att_gather(k_rows, k + kv_at, kv_step, to - seen, a->D);
        att_gather(v_rows, v + kv_at, kv_step, to - seen, a->D);
        const keys kv = {k_rows, v_rows, ATT_TILE * a->D, a->D, 1, a->D, seen, to};
        const int64_t row = (start + from) * m.q_step + g * n_heads * a->D;
        fwd_stretch(&kv, q + row, y + row, lse ? lse + (start + from) * a->H + g * n_heads : NULL,
                    &m, from, to, n_heads, mine);
    }
}

/* --------------------------------------------------------------------------------------------
** Rows
*/

ATT_INLINE vec load_channels(const real *p, int64_t n)
{
    return n == VL ? v_load(p) : v_load_n(p, n, REAL(0.0));
}

/* What a row has for each of its heads: scaled query, mix of values, greatest score, sum. */
typedef struct {
    real *q, *y; /* [n_heads, Dp] */
    vec *max, *sum;
} row_state;

#define ROW_HEADS 4 /* heads that go through a tile together */

static row_state row_state_at(vec *work, int64_t n_heads, int64_t D)
{
    real *q = (real *)(work + 2 * n_heads);
    return (row_state){q, q + n_heads * padded(D), work, work + n_heads};
}

/* y[h][d..] = corr y + mix of the keys lo..n-1 of the tile, for the nc vectors of channels from d
** on. */
ATT_INLINE void mix_row(real *y, int64_t Dp, const vec *corr, const real *p, const real *v,
                        int64_t v_key, int64_t lo, int64_t n, int64_t d, int64_t D, const int nh,
                        const int nc)
{
    vec c[4][ROW_HEADS][2];
    for (int r = 0; r < 4; r++)
        for (int h = 0; h < nh; h++)
            for (int i = 0; i < nc; i++) c[r][h][i] = v_set1(REAL(0.0));
    const int64_t last = min64(VL, D - d - (nc - 1) * VL); /* channels of the last vector */
    if (lo == 0 && n == ATT_TILE) {
        for (int64_t j = 0; j < VL; j++)
            for (int r = 0; r < 4; r++)
                for (int i = 0; i < nc; i++) {
                    const real *at = v + (r * VL + j) * v_key + d + i * VL;
                    vec x = i < nc - 1 ? v_load(at) : load_channels(at, last);
                    for (int h = 0; h < nh; h++)
                        c[r][h][i] = v_fma(v_set1(p[h * ATT_TILE + r * VL + j]), x, c[r][h][i]);
                }
    } else {
        for (int r = 0; r < 4; r++)
            for (int64_t j = max64(r * VL, lo); j < min64((r + 1) * VL, n); j++)
                for (int i = 0; i < nc; i++) {
                    const real *at = v + j * v_key + d + i * VL;
                    vec x = i < nc - 1 ? v_load(at) : load_channels(at, last);
                    for (int h = 0; h < nh; h++)
                        c[r][h][i] = v_fma(v_set1(p[h * ATT_TILE + j]), x, c[r][h][i]);
                }
    }
    for (int h = 0; h < nh; h++)
        for (int i = 0; i < nc; i++) {
            real *at = y + h * Dp + d + i * VL;
            v_store(at, v_fma(v_load(at), corr[h],
                              (c[0][h][i] + c[1][h][i]) + (c[2][h][i] + c[3][h][i])));
        }
}

/* A tile of keys and values that will be read soon; NULL: none. Asking for its lines one by one
** between the steps for another keeps the memory at work without holding up the arithmetic. */
typedef struct {
    const char *k, *v;
} ahead;

/* s[h] += the products of nh queries with the first n_runs runs of a tile's keys. */
ATT_INLINE void row_scores(vec s[][4], const real *q, const real *k, int64_t D, const ahead *next,
                           const int nh, const int n_runs)
{
    const int64_t Dp = padded(D);
    for (int64_t d = 0; d < D; d++)
        for (int r = 0; r < n_runs; r++) {
            const vec x = v_load(k + d * ATT_TILE + r * VL);
            for (int h = 0; h < nh; h++) s[h][r] = v_fma(v_set1(q[h * Dp + d]), x, s[h][r]);
            if (next->k) __builtin_prefetch(next->k + (d * 4 + r) * (int64_t)sizeof(vec));
        }
}

/* The keys lo..n-1 of a tile for nh neighbouring heads, h0 the first. */
ATT_INLINE void row_tile(const row_state *row, int64_t h0, const real *k, const real *v,
                         int64_t v_key, int64_t lo, int64_t n, const dims *m, const ahead *next,
                         const int nh)
{
    const int64_t D = m->D, Dp = padded(D);
    const real *q = row->q + h0 * Dp;
    real *y = row->y + h0 * Dp;
    real p[ROW_HEADS * ATT_TILE];
    vec s[ROW_HEADS][4], corr[ROW_HEADS];
    for (int h = 0; h < nh; h++)
        for (int r = 0; r < 4; r++) s[h][r] = v_set1(REAL(0.0));
    if (n > 2 * VL) row_scores(s, q, k, D, next, nh, 4);
    else row_scores(s, q, k, D, next, nh, 2);
    if (m->cap > 0)
        for (int h = 0; h < nh; h++) att_cap(s[h], NULL, 4, m->cap);
    if (lo > 0 || n < ATT_TILE)
        for (int h = 0; h < nh; h++)
            for (int r = 0; r < 4; r++) {
                const ivec key = att_iota() + (ireal)(r * VL);
                s[h][r] =
                    v_select((key >= (ireal)lo) & (key < (ireal)n), s[h][r], v_set1(-INFINITY));
            }
    for (int h = 0; h < nh; h++) {
        const vec before = row->max[h0 + h];
        vec top = v_max(v_max(s[h][0], s[h][1]), v_max(s[h][2], s[h][3]));
        top = v_max(v_set1(v_fold_max(top)), before);
        const vec base = att_base(top);
        corr[h] = att_exp(before - base);
        row->max[h0 + h] = top;
        for (int r = 0; r < 4; r++) {
            s[h][r] = att_exp(s[h][r] - base);
            v_store(p + h * ATT_TILE + r * VL, s[h][r]);
            if (next->v)
                for (int64_t i = (h * 4 + r) * D / nh; i < (h * 4 + r + 1) * D / nh; i++)
                    __builtin_prefetch(next->v + i * (int64_t)sizeof(vec));
        }
    }
    for (int h = 0; h < nh; h++) {
        const real t = v_sum((s[h][0] + s[h][1]) + (s[h][2] + s[h][3]));
        row->sum[h0 + h] = v_fma(row->sum[h0 + h], corr[h], v_set1(t));
    }
    int64_t d = 0;
    for (; d + VL < D; d += 2 * VL) mix_row(y, Dp, corr, p, v, v_key, lo, n, d, D, nh, 2);
    if (d < D) mix_row(y, Dp, corr, p, v, v_key, lo, n, d, D, nh, 1);
}

#define ROW_TILE(nh)                                                                          \
    static void row_tile_##nh(const row_state *row, int64_t h0, const real *k, const real *v, \
                              int64_t v_key, int64_t lo, int64_t n, const dims *m,            \
                              const ahead *next)                                              \
    {                                                                                         \
        row_tile(row, h0, k, v, v_key, lo, n, m, next, nh);                                   \
    }
ROW_TILE(1)
ROW_TILE(2)
ROW_TILE(3)
ROW_TILE(4)
#undef ROW_TILE

/* One row, at position n_keys - 1, of the n_heads heads of a key head: each tile once for all. */
static void fwd_row(real *y, const real *q, const keys *kv, int64_t n_keys, const dims *m,
                    int64_t n_heads, ahead next, vec *work)
{
    static void (*const tile_of[])(const row_state *, int64_t, const real *, const real *, int64_t,
                                   int64_t, int64_t, const dims *, const ahead *) = {
        row_tile_1, row_tile_2, row_tile_3, row_tile_4};
    const int64_t D = m->D, Dp = padded(D), seen = n_keys - m->window;
    const int64_t tile_bytes = ATT_TILE * D * (int64_t)sizeof(real);
    const row_state row = row_state_at(work, n_heads, D);
    for (int64_t h = 0; h < n_heads; h++) {
        V_EACH(d, n, D) {
            v_store(row.q + h * Dp + d, load_channels(q + h * D + d, n) * v_set1(m->scale));
            v_store(row.y + h * Dp + d, v_set1(REAL(0.0)));
        }
        row.max[h] = v_set1(-INFINITY);
        row.sum[h] = v_set1(REAL(0.0));
    }
    for (int64_t k0 = att_first_tile(n_keys - 1, m->window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0), lo = max64(0, seen - k0);
        const int64_t at = k0 - kv->from;
        const real *k = kv->k + at / ATT_TILE * kv->k_tile, *v = kv->v + at * kv->v_key;
        for (int64_t h = 0; h < n_heads;) {
            const int64_t nh = min64(ROW_HEADS, n_heads - h);
            tile_of[nh - 1](&row, h, k, v, kv->v_key, lo, n, m, &next);
            h += nh;
        }
        if (next.k) next = (ahead){next.k + tile_bytes, next.v + tile_bytes};
    }
    for (int64_t h = 0; h < n_heads; h++) {
        const vec inverse = v_set1(REAL(1.0)) / row.sum[h];
        V_EACH(d, n, D) v_store_n(y + h * D + d, v_load(row.y + h * Dp + d) * inverse, n);
    }
}

/* --------------------------------------------------------------------------------------------
** The cache
*/

/* Puts n rows of one key head at the positions from `past` on. */
static void append(real *k_cache, real *v_cache, const real *k, const real *v, int64_t step,
                   int64_t past, int64_t n, int64_t D)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = past + i;
        real *column = k_cache + at / ATT_TILE * (ATT_TILE * D) + at % ATT_TILE;
        for (int64_t d = 0; d < D; d++) column[d * ATT_TILE] = k[i * step + d];
        memcpy(v_cache + at * D, v + i * step, (size_t)D * sizeof(real));
    }
}

/* The place of sequence i / G, key head i % G. */
static int64_t cache_at(const att_cache *cache, const att_shape *a, int64_t i)
{
    return (cache->slots[i / a->G] * a->G + i % a->G) * cache->max_len * a->D;
}

/* Appends its new rows. */
static void append_task(const att_cache *cache, const real *k, const real *v, const att_shape *a,
                        int64_t i)
{
    const int64_t b = i / a->G, g = i % a->G, start = a->offsets[b], kv_step = a->G * a->D;
    const int64_t at = cache_at(cache, a, i);
    append(cache->k + at, cache->v + at, k + start * kv_step + g * a->D,
           v + start * kv_step + g * a->D, kv_step, cache->past[b], a->offsets[b + 1] - start,
           a->D);
}

/* Where the cache of the i-th (sequence, key head) begins, if it is worth asking for ahead. */
static ahead ahead_of(const att_cache *cache, const att_shape *a, int64_t i)
{
    if (a->D > AHEAD_DIM || i >= a->B * a->G) return (ahead){NULL, NULL};
    const int64_t at = cache_at(cache, a, i);
    return (ahead){(const char *)(cache->k + at), (const char *)(cache->v + at)};
}

void K(attention_cached)(real *y, const real *q, const real *k, const real *v, const att_shape *a,
                         const att_cache *cache, void *work)
{
    const int64_t stretches = max64(1, (longest(a) + STRETCH - 1) / STRETCH);
    const int64_t n_heads = a->H / a->G;
    const int64_t heads = a->B * a->G, tasks = heads * stretches;
    const int64_t share = att_fwd_share(a, longest(a));
    const dims m = dims_of(a);
    const int threads = pl__threads_for(work_of(a, cache->past));
    const int64_t chunk = max64(1, tasks / (32 * threads));
    const pl_stop stop = pl__stop_get();
#pragma omp parallel num_threads(threads)
    {
        vec *mine = (vec *)work + omp_get_thread_num() * share;
        if (stretches > 1) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < heads; i++) append_task(cache, k, v, a, i);
        }
#pragma omp for schedule(dynamic, chunk)
        for (int64_t task = 0; task < tasks; task++) {
            const int64_t b = task / a->G % a->B, g = task % a->G;
            const int64_t from = (stretches - 1 - task / heads) * STRETCH;
            if (stretches == 1) append_task(cache, k, v, a, task);
            const int64_t start = a->offsets[b], n = a->offsets[b + 1] - start;
            const int64_t past = cache->past[b];
            if (from >= n || pl__stopped(stop)) continue;
            const int64_t at = cache_at(cache, a, task % heads);
            const keys kv = {cache->k + at, cache->v + at, ATT_TILE * a->D, 1, ATT_TILE, a->D, 0,
                             past + n};
            const int64_t row = (start + from) * m.q_step + g * n_heads * a->D;
            const int64_t to = min64(n, from + STRETCH);
            if (n >= ROWS_AS_UNITS) {
                fwd_stretch(&kv, q + row, y + row, NULL, &m, past + from, past + to, n_heads, mine);
                continue;
            }
            for (int64_t i = 0; i < to - from; i++)
                fwd_row(y + row + i * m.q_step, q + row + i * m.q_step, &kv, past + from + i + 1,
                        &m, n_heads, ahead_of(cache, a, task + 1), mine);
        }
    }
}

void K(attention_cache_copy)(real *k_cache, real *v_cache, int64_t G, int64_t max_len, int64_t D,
                             int64_t from, int64_t to, int64_t n)
{
    if (from == to) return;
    const int64_t tiled = (n + ATT_TILE - 1) / ATT_TILE * ATT_TILE;
    for (int64_t g = 0; g < G; g++) {
        const int64_t src = (from * G + g) * max_len * D, dst = (to * G + g) * max_len * D;
        memcpy(k_cache + dst, k_cache + src, (size_t)(tiled * D) * sizeof(real));
        memcpy(v_cache + dst, v_cache + src, (size_t)(n * D) * sizeof(real));
    }
}

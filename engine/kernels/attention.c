/*
** attention.c - attention forward, for a packed batch and against a cache.
**
** The maths and the canonical order are in attention.h. Two ways compute the same bits:
**   units  many rows: VL rows of a head in the lanes (attention_tile.h), keys one at a time
**   rows   a decode step: one row of all heads of a key head (attention_row.h)
** Work is shared among threads by (sequence, key head, stretch of rows); places are disjoint.
*/
#include "attention_amx.h"
#include "attention_row.h"
#include "attention_small.h"

#include "base/thread.h"

#define STRETCH 128     /* rows of a task, a multiple of 2 VL */
#define AHEAD_DIM 16    /* channels up to which a decode step asks for the next float cache ahead */
#define ROWS_AS_UNITS 6 /* from this many new rows of a sequence on, units are faster than rows */

/* The lanes lo..hi-1 hold rows of one head; lane 0 is at position `first` of the sequence. */
typedef struct {
    const real *q; /* of lane lo; the next row is q_step further */
    real *y, *lse; /* y: y_step */
    int64_t first, lo, hi;
} unit;

static dims dims_of(const att_shape *a)
{
    return (dims){att_q_step(a),
                  a->H * a->D,
                  a->H,
                  a->D,
                  att_window(a),
                  (real)a->scale,
                  (real)a->softcap,
                  ATT_HAS_BF16 && a->bf16};
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

/* The sum over a tile, its lacking keys 0: runs in pairs, then lanes folded as by v_sum. */
ATT_INLINE vec sum_tile(const vec *s, const int nv)
{
    vec t[VL];
    for (int i = 0; i < VL; i++)
        t[i] = (s[i * nv] + s[(VL + i) * nv]) + (s[(2 * VL + i) * nv] + s[(3 * VL + i) * nv]);
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++) t[i] += t[i + w];
    return t[0];
}

/* out[d, u] = sum_j p[j, u] v[j, d], one chain over n keys: at, at + by, .. of the tile at k0. */
ATT_INLINE void mix_chain(vec *out, const vec *p, const real *v, int64_t v_key, int64_t at,
                          int64_t n, const int nv, const int nd, const int64_t *first, int64_t k0,
                          int64_t window, const int by)
{
    if (n <= 0) {
        for (int i = 0; i < nd * nv; i++) out[i] = v_set1(REAL(0.0));
        return;
    }
    const vec *pr = p + at * nv;
    const real *vr = v + at * v_key;
    const int64_t key = k0 + at;
    if (key < first[nv - 1] + VL - window)
        att_mix(out, pr, vr, v_key, n, nv, nd, false, ATT_IN_WINDOW, first, key, window, by);
    else if (key + (n - 1) * by > first[0])
        att_mix(out, pr, vr, v_key, n, nv, nd, false, ATT_NOT_AFTER, first, key, 0, by);
    else att_mix(out, pr, vr, v_key, n, nv, nd, false, ATT_ALL, NULL, 0, 0, by);
}

/* y[d, u] = corr y + mix of the tile's values, for nd channels. */
ATT_INLINE void mix_tile(vec *y, const vec *corr, const vec *p, const real *v, int64_t v_key,
                         int64_t n, const int nv, const int nd, const int64_t *first, int64_t k0,
                         int64_t window, const bool bf16)
{
    vec c[4][ATT_BLOCK * 2];
    const int n_y = nd * nv;
    for (int r = 0; r < 4; r++) {
        const int64_t at = bf16 ? r / 2 * ATT_CHAINS + r % 2 : r * VL;
        if (bf16) {
            const int64_t end = at < ATT_TILE ? min64(n, (r / 2 + 1) * ATT_CHAINS) : 0;
            mix_chain(c[r], p, v, v_key, at, (end - at + 1) / 2, nv, nd, first, k0, window, 2);
        } else {
            mix_chain(c[r], p, v, v_key, at, min64(VL, n - at), nv, nd, first, k0, window, 1);
        }
    }
    for (int i = 0; i < n_y; i++)
        y[i] = v_fma(y[i], corr[i % nv], (c[0][i] + c[1][i]) + (c[2][i] + c[3][i]));
}

/* first[0] <= first[1]. work holds 2 nv D vectors. */
ATT_INLINE void fwd_units(const keys *kv, const unit *un, const dims *m, vec *work, const int nv,
                          const bool bf16, const bool tiles)
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
    if (bf16) att_round_all(qt, D * nv);
    if (tiles) amx_pack_queries(kv->amx, qt, nv);
    for (int64_t i = 0; i < D * nv; i++) y[i] = v_set1(REAL(0.0));

    const int64_t n_keys = min64(kv->n, first[nv - 1] + VL);
    for (int64_t k0 = att_first_tile(first[0] + un[0].lo, m->window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0);
        const real *k, *v;
        att_find_tile(kv, k0, &k, &v);
        int64_t v_key = kv->v_key;
        if (bf16 && !tiles && kv->expanded) {
            real *values = kv->expanded + ATT_TILE * 2 * att_words(D);
            att_expand(kv->expanded, values, k, v, n, att_words(D));
            k = kv->expanded;
            v = values;
            v_key = padded(D);
        }
        if (tiles) amx_scores(s, kv->amx, k0, n, nv);
        else if (bf16) att_chain_dots(s, qt, k, kv->k_key, kv->k_dim, n, D, nv);
        else att_dots(s, qt, k, kv->k_key, kv->k_dim, n, D, nv);
        if (m->cap > 0) att_cap(s, NULL, n * nv, m->cap);
        att_hide(s, k0, n, nv, first, m->window);
        for (int u = 0; u < nv; u++) {
            const vec top = greatest(s + u, n, nv, max[u]);
            base[u] = att_base(top);
            corr[u] = v_exp_normal(max[u] - base[u]);
            max[u] = top;
        }
        for (int64_t j = 0; j < n; j++)
            for (int u = 0; u < nv; u++) s[j * nv + u] = v_exp_normal(s[j * nv + u] - base[u]);
        for (int64_t j = n * nv; j < ATT_TILE * nv; j++) s[j] = v_set1(REAL(0.0));
        for (int u = 0; u < nv; u++) sum[u] = v_fma(sum[u], corr[u], sum_tile(s + u, nv));
        if (tiles) {
            amx_mix(y, corr, s, kv->amx, k0, n, nv);
            continue;
        }
        if (bf16) att_round_all(s, n * nv);
        int64_t d = 0;
        for (; d + ATT_BLOCK <= D; d += ATT_BLOCK)
            mix_tile(y + d * nv, corr, s, v + d, v_key, n, nv, ATT_BLOCK, first, k0, m->window,
                     bf16);
        for (; d < D; d++)
            mix_tile(y + d * nv, corr, s, v + d, v_key, n, nv, 1, first, k0, m->window, bf16);
    }

    for (int u = 0; u < nv; u++) {
        vec inverse = v_set1(REAL(1.0)) / sum[u];
        for (int64_t d = 0; d < D; d++) y[d * nv + u] *= inverse;
        att_from_lanes(un[u].y, y + u, m->y_step, un[u].lo, un[u].hi, D, nv, REAL(1.0));
        if (un[u].lse) {
            const vec lse = max[u] + v_log(sum[u]);
            for (int64_t r = un[u].lo; r < un[u].hi; r++) un[u].lse[(r - un[u].lo) * m->H] = lse[r];
        }
    }
}

#if ATT_SMALL
/* Rows of SMALL_DIM numbers in a packed batch: key_step SMALL_DIM, dim_step 1; in a cache 1 and
** ATT_TILE. */
ATT_INLINE void small_fwd(const keys *kv, const unit *un, const dims *m, const int64_t key_step,
                          const int64_t dim_step)
{
    const int64_t first = un->first, window = m->window, n_keys = min64(kv->n, first + VL);
    vec q[SMALL_DIM], y[SMALL_DIM], s[ATT_TILE];
    vec max = v_set1(-INFINITY), sum = v_set1(REAL(0.0));
    small_rows(q, un->q, m->q_step, un->lo, un->hi, m->D, m->scale);
    small_transpose(q);
    for (int d = 0; d < SMALL_DIM; d++) y[d] = v_set1(REAL(0.0));
    for (int64_t k0 = att_first_tile(first + un->lo, window); k0 < n_keys; k0 += ATT_TILE) {
        const int64_t n = min64(ATT_TILE, n_keys - k0);
        const real *k, *v;
        att_find_tile(kv, k0, &k, &v);
        const vec top = small_scores(s, max, q, k, n, first, k0, window, key_step, dim_step);
        const vec base = att_base(top), corr = v_exp_normal(max - base);
        vec low[SMALL_DIM], high[SMALL_DIM];
        max = top;
        small_exps(s, base, n);
        sum = v_fma(sum, corr, sum_tile(s, 1));
        small_two_runs(low, s, v, n, first, k0, window);
        small_two_runs(high, s + 2 * VL, v + 2 * VL * SMALL_DIM, n - 2 * VL, first, k0 + 2 * VL,
                       window);
        for (int d = 0; d < SMALL_DIM; d++) y[d] = v_fma(y[d], corr, low[d] + high[d]);
    }
    const vec inverse = v_set1(REAL(1.0)) / sum;
    for (int d = 0; d < SMALL_DIM; d++) y[d] *= inverse;
    small_put(un->y, y, m->y_step, un->lo, un->hi, m->D, REAL(1.0));
    if (un->lse) {
        const vec lse = max + v_log(sum);
        for (int64_t r = un->lo; r < un->hi; r++) un->lse[(r - un->lo) * m->H] = lse[r];
    }
}

#define UNITS(name, nv, key_step, dim_step)                                        \
    static void name(const keys *kv, const unit *un, const dims *m, vec *work)     \
    {                                                                              \
        (void)work;                                                                \
        for (int u = 0; u < nv; u++) small_fwd(kv, un + u, m, key_step, dim_step); \
    }
UNITS(small_units_1, 1, SMALL_DIM, 1)
UNITS(small_units_2, 2, SMALL_DIM, 1)
UNITS(small_cached_1, 1, 1, ATT_TILE)
UNITS(small_cached_2, 2, 1, ATT_TILE)
#undef UNITS
#endif

typedef void (*units_fn)(const keys *, const unit *, const dims *, vec *);

#define UNITS(name, nv, bf16, tiles)                                           \
    static void name(const keys *kv, const unit *un, const dims *m, vec *work) \
    {                                                                          \
        fwd_units(kv, un, m, work, nv, bf16, tiles);                           \
    }
UNITS(wide_units_1, 1, false, false)
UNITS(wide_units_2, 2, false, false)
UNITS(chain_units_1, 1, ATT_HAS_BF16, false)
UNITS(chain_units_2, 2, ATT_HAS_BF16, false)
UNITS(tile_units_1, 1, ATT_HAS_BF16, ATT_AMX)
UNITS(tile_units_2, 2, ATT_HAS_BF16, ATT_AMX)
#undef UNITS

/* One or two units. */
static units_fn units_of(const keys *kv, const dims *m, int n)
{
#if ATT_SMALL
    if (kv->small && kv->k_key == 1) return n == 2 ? small_cached_2 : small_cached_1;
    if (kv->small) return n == 2 ? small_units_2 : small_units_1;
#endif
    if (!m->bf16) return n == 2 ? wide_units_2 : wide_units_1;
    if (kv->amx == NULL) return n == 2 ? chain_units_2 : chain_units_1;
    return n == 2 ? tile_units_2 : tile_units_1;
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
                                    y + at * m->y_step + head * m->D,
                                    lse ? lse + at * m->H + head : NULL,
                                    first,
                                    lo,
                                    min64(VL, to - first)};
                if (!pair || n_un == 2) first += VL;
            }
            units_of(kv, m, n_un)(kv, un, m, work);
        }
        h += pair ? 2 : 1;
    }
}

/* Rows of a task: a multiple of STRETCH, the more the fewer times keys and values are packed, while
** there are tasks enough. */
static int64_t stretch_of(const att_shape *a, bool tiles, int threads)
{
    int64_t rows = STRETCH;
    while ((tiles || att_is_small(a)) && rows < longest(a) &&
           a->B * a->G * longest(a) > 16 * threads * rows)
        rows *= 2;
    return rows;
}

/* Rows [from, to) of sequence b, key head g; `mine` is this thread's workspace. */
static void fwd_task(real *y, real *lse, const real *q, const real *k, const real *v,
                     const att_shape *a, const dims *m, int64_t b, int64_t g, int64_t from,
                     int64_t to, bool tiles, vec *mine)
{
    const int64_t start = a->offsets[b], D = a->D, n_heads = a->H / a->G;
    const int64_t kv_step = att_kv_step(a);
    const int64_t seen = att_first_tile(from, m->window), n = to - seen;
    real *k_rows = (real *)(mine + 4 * D), *v_rows = k_rows + att_rows_room(n, D);
    const bool small = att_is_small(a);
    const int64_t width = small ? SMALL_DIM : D;
    keys kv = {.k = k_rows,
               .v = v_rows,
               .k_tile = ATT_TILE * width,
               .k_key = width,
               .k_dim = 1,
               .v_key = width,
               .from = seen,
               .n = to,
               .small = small};
    k += (start + seen) * kv_step + g * D;
    v += (start + seen) * kv_step + g * D;
    const unsigned before = att_enter(m->bf16);
#if ATT_AMX
    const amx packed = amx_at(mine + att_units_share(longest(a), D), n, D, seen);
    if (tiles && amx_pack_values(&packed, v, kv_step, n)) {
        amx_pack_keys(&packed, k, kv_step, n);
        kv.amx = &packed;
        tiles_open();
    }
#else
    (void)tiles;
#endif
    if (small) {
        small_gather(k_rows, k, kv_step, n, D);
        small_gather(v_rows, v, kv_step, n, D);
    } else if (kv.amx == NULL) {
        (m->bf16 ? att_gather_rounded : att_gather)(k_rows, k, kv_step, n, D);
        (m->bf16 ? att_gather_rounded : att_gather)(v_rows, v, kv_step, n, D);
    }
    const int64_t row = start + from, head = g * n_heads * D;
    fwd_stretch(&kv, q + row * m->q_step + head, y + row * m->y_step + head,
                lse ? lse + row * a->H + g * n_heads : NULL, m, from, to, n_heads, mine);
#if ATT_AMX
    if (kv.amx) tiles_close();
#endif
    att_leave(before);
}

void K(attention_fwd)(real *y, real *lse, const real *q, const real *k, const real *v,
                      const att_shape *a, void *work)
{
    const dims m = dims_of(a);
    const int threads = pl__threads_for(work_of(a, NULL));
#if ATT_AMX
    const bool tiles = m.bf16 && amx_usable();
#else
    const bool tiles = false;
#endif
    const int64_t stretch = stretch_of(a, tiles, threads);
    const int64_t stretches = (longest(a) + stretch - 1) / stretch;
    const int64_t tasks = a->B * a->G * stretches, share = att_fwd_share(a, longest(a));
    const pl_stop stop = pl__stop_get();
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < tasks; task++) {
        /* Late rows have most keys: they are dealt out first. */
        const int64_t b = task / a->G % a->B, g = task % a->G; /* heads share lines of memory */
        const int64_t from = (stretches - 1 - task / a->B / a->G) * stretch;
        const int64_t n = a->offsets[b + 1] - a->offsets[b];
        if (from >= n || pl__stopped(stop)) continue;
        fwd_task(y, lse, q, k, v, a, &m, b, g, from, min64(n, from + stretch), tiles,
                 (vec *)work + omp_get_thread_num() * share);
    }
}

/* --------------------------------------------------------------------------------------------
** The cache
*/

/* Numbers, or words of bfloat16, of a key or value in a cache. */
static int64_t cache_width(const att_shape *a)
{
    return a->bf16 ? att_words(a->D) : a->D;
}

/* Numbers of a block's head. */
static int64_t head_size(const att_cache *cache, const att_shape *a)
{
    return cache->block_len * cache_width(a);
}

/* Appends the new rows of sequence i / G, key head i % G. */
static void append(const att_cache *cache, const real *k, const real *v, const att_shape *a,
                   int64_t i)
{
    const int64_t b = i / a->G, g = i % a->G, D = a->D, step = a->G * D;
    const int64_t start = a->offsets[b], n = a->offsets[b + 1] - start;
    k += start * step + g * D;
    v += start * step + g * D;
    for (int64_t to = cache->past[b]; to < cache->past[b] + n; to++, k += step, v += step) {
        const int64_t block = cache->blocks[b * cache->most + to / cache->block_len];
        const int64_t head = (block * a->G + g) * head_size(cache, a), at = to % cache->block_len;
        real *k_cache = cache->k + head, *v_cache = cache->v + head;
        if (a->bf16) {
            att_put_narrow(k_cache, v_cache, k, v, at, D);
            continue;
        }
        real *column = k_cache + at / ATT_TILE * (ATT_TILE * D) + at % ATT_TILE;
        for (int64_t d = 0; d < D; d++) column[d * ATT_TILE] = k[d];
        memcpy(v_cache + at * D, v, (size_t)D * sizeof(real));
    }
}

/* Those of the i-th (sequence, key head), its new ones among them. */
static keys cached_keys(const att_cache *cache, const att_shape *a, int64_t i, real *expanded)
{
    const int64_t b = i / a->G, width = cache_width(a), head = i % a->G * head_size(cache, a);
    return (keys){.k = cache->k + head,
                  .v = cache->v + head,
                  .k_tile = ATT_TILE * width,
                  .k_key = 1,
                  .k_dim = ATT_TILE,
                  .v_key = width,
                  .n = cache->past[b] + a->offsets[b + 1] - a->offsets[b],
                  .small = att_is_small(a) && a->D == SMALL_DIM,
                  .expanded = a->bf16 ? expanded : NULL,
                  .blocks = cache->blocks + b * cache->most,
                  .block_len = cache->block_len,
                  .block_step = a->G * head_size(cache, a)};
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
            for (int64_t i = 0; i < heads; i++) append(cache, k, v, a, i);
        }
#pragma omp for schedule(dynamic, chunk)
        for (int64_t task = 0; task < tasks; task++) {
            const int64_t b = task / a->G % a->B, g = task % a->G;
            const int64_t from = (stretches - 1 - task / heads) * STRETCH;
            if (stretches == 1) append(cache, k, v, a, task);
            const int64_t start = a->offsets[b], n = a->offsets[b + 1] - start;
            const int64_t past = cache->past[b];
            if (from >= n || pl__stopped(stop)) continue;
            const keys kv = cached_keys(cache, a, task % heads, (real *)(mine + 4 * a->D));
            const bool early = (a->bf16 || a->D <= AHEAD_DIM) && task + 1 < heads;
            const keys next = early ? cached_keys(cache, a, task + 1, NULL) : (keys){0};
            const int64_t row = (start + from) * m.q_step + g * n_heads * a->D;
            const int64_t to = min64(n, from + STRETCH);
            const unsigned before = att_enter(m.bf16);
            if (n >= ROWS_AS_UNITS)
                fwd_stretch(&kv, q + row, y + row, NULL, &m, past + from, past + to, n_heads, mine);
            else
                for (int64_t i = 0; i < to - from; i++)
                    fwd_row(y + row + i * m.q_step, q + row + i * m.q_step, &kv,
                            past + from + i + 1, &m, n_heads, early ? &next : NULL, mine);
            att_leave(before);
        }
    }
}

void K(attention_cache_copy)(real *k_cache, real *v_cache, int64_t G, int64_t block_len,
                             int64_t width, int64_t from, int64_t to, int64_t n)
{
    if (from == to) return;
    const int64_t tiled = (n + ATT_TILE - 1) / ATT_TILE * ATT_TILE, even = (n + 1) / 2 * 2;
    for (int64_t g = 0; g < G; g++) {
        const int64_t src = (from * G + g) * block_len * width;
        const int64_t dst = (to * G + g) * block_len * width;
        memcpy(k_cache + dst, k_cache + src, (size_t)(tiled * width) * sizeof(real));
        memcpy(v_cache + dst, v_cache + src, (size_t)(even * width) * sizeof(real));
    }
}

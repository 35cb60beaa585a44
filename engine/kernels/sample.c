/*
** sample.c - log-probabilities, entropy and divergences of single rows of logits.
**
** The maximum is subtracted before exponentials, and before the temperature: a difference of two
** logits of about one size is exact. Sums run in VL lanes in a fixed order (v_total of vec.h).
**   d = (z - peak) / T;   total = sum e^d;   p = e^d / total;   ln p = d - ln total
**   H = ln total - sum p d
** A row is read span by span, each against its own maximum, so that one look at it will do, and
** logits that are made a few columns at a time need not be kept. Spans are joined from the first to
** the last; where the maximum moves by s, what was summed so far becomes
**   total e^s,   sum e^(d + s) (d + s) = e^s (sum e^d d + s total)
*/
#include "kernels/sample.h"

#include "kernels/vmath.h"

#define INLINE static inline __attribute__((always_inline))
#define SPAN (V_BLOCK * VL)

static real max_of(int64_t n, const real *x)
{
    const vec least = v_set1(-(real)INFINITY);
    vec most = least,
        other[3] = {least, least, least}; /* four at a time wait for each other less */
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        most = v_max(v_load(x + i), most);
        for (int r = 0; r < 3; r++) other[r] = v_max(v_load(x + i + (r + 1) * VL), other[r]);
    }
    V_SPAN(j, k, i, n) most = v_max(v_load_n(x + j, k, -(real)INFINITY), most);
    return v_fold_max(v_max(v_max(most, other[0]), v_max(other[1], other[2])));
}

/* Exponentials are taken against the span's peak; where that is no number to subtract, all are 0
** or not a number. */
static real level_of(real peak)
{
    return peak == -(real)INFINITY ? 0 : peak;
}

/* As K(read_span); the exponentials go to `out` where it is not NULL. */
INLINE k_span read_span(int64_t n, const real *logits, real inv_temperature, const bool weighted,
                        real *out)
{
    k_span span = {.peak = max_of(n, logits)};
    const vec m = v_set1(level_of(span.peak)), t = v_set1(inv_temperature);
    vec sum = v_set1(0), w = v_set1(0);
    V_EACH(i, k, n) {
        const vec d = (v_load_n(logits + i, k, -(real)INFINITY) - m) * t;
        __builtin_prefetch(logits + i + 2 * SPAN); /* the next spans are soon looked at */
        const vec e = v_exp_normal(d);
        sum += e;
        if (out != NULL) v_store_n(out + i, e, k);
        if (weighted) w += v_select(e > v_set1(0), e * d, v_set1(0)); /* 0 ln 0 = 0 */
    }
    span.total = v_sum(sum);
    if (weighted) span.weighted = v_sum(w);
    return span;
}

int64_t K(span_size)(void)
{
    return SPAN;
}

k_span K(read_span)(int64_t n, const real *logits, real inv_temperature, bool weighted)
{
    return weighted ? read_span(n, logits, inv_temperature, true, NULL)
                    : read_span(n, logits, inv_temperature, false, NULL);
}

/* A sum with what rounding took from it (Knuth's two-sum). */
typedef struct {
    real sum, lost;
} kept_sum;

static kept_sum sum_add(kept_sum t, real x)
{
    const real sum = t.sum + x, part = sum - t.sum;
    return (kept_sum){sum, t.lost + ((t.sum - (sum - part)) + (x - part))};
}

/* What was lost is not a number where the sum is infinite. */
static real sum_of(kept_sum t)
{
    return t.sum - t.sum == 0 ? t.sum + t.lost : t.sum;
}

/* Spans of a row, joined so far. */
typedef struct {
    real peak;
    kept_sum total, weighted;
} joined;

static real exp_of(real x)
{
    return v_exp_normal(v_set1(x))[0];
}

static void join(joined *row, k_span span, real t)
{
    if (span.peak > row->peak) {
        if (row->peak != -(real)INFINITY) {
            const real s = (row->peak - span.peak) * t, f = exp_of(s);
            const kept_sum w = row->weighted, e = row->total;
            row->weighted = f > 0 ? (kept_sum){(w.sum + s * e.sum) * f, (w.lost + s * e.lost) * f}
                                  : (kept_sum){0};
            row->total = (kept_sum){row->total.sum * f, row->total.lost * f};
        }
        row->peak = span.peak;
    } else if (span.peak < row->peak && span.total > 0) {
        const real s = (span.peak - row->peak) * t, f = exp_of(s);
        span.weighted = f > 0 ? (span.weighted + s * span.total) * f : 0;
        span.total *= f;
    }
    row->total = sum_add(row->total, span.total);
    row->weighted = sum_add(row->weighted, span.weighted);
}

static const joined JOINED_NONE = {.peak = -(real)INFINITY};

static k_row close_row(const joined *row, real *entropy)
{
    const k_row read = {row->peak, sum_of(row->total)};
    if (entropy != NULL)
        *entropy = v_log(v_set1(read.total))[0] - sum_of(row->weighted) / read.total;
    return read;
}

k_row K(join_spans)(int64_t n, const k_span *spans, real inv_temperature, real *entropy)
{
    joined row = JOINED_NONE;
    for (int64_t i = 0; i < n; i++) join(&row, spans[i], inv_temperature);
    return close_row(&row, entropy);
}

/* As K(read_row). Exponentials go to `out` where it is not NULL, each against its span's peak. */
INLINE k_row read_row(int64_t n, const real *logits, real inv_temperature, real *entropy, real *out)
{
    joined row = JOINED_NONE;
    V_BLOCKS(from, to, n)
    join(&row,
         read_span(to - from, logits + from, inv_temperature, entropy != NULL,
                   out != NULL ? out + from : NULL),
         inv_temperature);
    return close_row(&row, entropy);
}

k_row K(read_row)(int64_t n, const real *logits, real inv_temperature, real *entropy)
{
    return entropy != NULL ? read_row(n, logits, inv_temperature, entropy, NULL)
                           : read_row(n, logits, inv_temperature, NULL, NULL);
}

real K(row_logprob)(k_row row, real inv_temperature, real logit)
{
    return (logit - row.peak) * inv_temperature - v_log(v_set1(row.total))[0];
}

/* The slope of cap tanh(x / cap) where its value is z. */
INLINE vec cap_slope(vec z, vec inverse)
{
    const vec t = z * inverse;
    return v_set1(1) - t * t;
}

INLINE void logprob_bwd(int64_t n, real *logits, real inv_temperature, real cap, int64_t target,
                        k_row row, real entropy, real g_logprob, real g_entropy, const bool capped)
{
    const vec inverse = v_set1(capped ? 1 / cap : 0);
    const bool here = target >= 0 && target < n;
    const real bend = capped && here ? cap_slope(v_set1(logits[target]), inverse)[0] : 1;
    const vec t = v_set1(inv_temperature), peak = v_set1(row.peak);
    const vec part = v_set1(1 / row.total), log_total = v_log(v_set1(row.total));
    const vec gl = v_set1(g_logprob), ge = v_set1(g_entropy), h = v_set1(entropy);
    V_EACH(i, k, n) {
        const vec z = v_load_n(logits + i, k, 0), d = (z - peak) * t;
        const vec p = v_exp_normal(d) * part;
        /* -p (g_logprob + g_entropy (ln p + H)); where p = 0 nothing flows */
        const vec g = v_select(p > v_set1(0), p * (gl + ge * (d - log_total + h)), v_set1(0));
        v_store_n(logits + i, capped ? -(g * t) * cap_slope(z, inverse) : -(g * t), k);
    }
    if (here) logits[target] += g_logprob * inv_temperature * bend;
}

void K(logprob_row_bwd)(int64_t n, real *logits, real inv_temperature, real cap, int64_t target,
                        k_row row, real entropy, real g_logprob, real g_entropy)
{
    if (cap > 0)
        logprob_bwd(n, logits, inv_temperature, cap, target, row, entropy, g_logprob, g_entropy,
                    true);
    else
        logprob_bwd(n, logits, inv_temperature, 0, target, row, entropy, g_logprob, g_entropy,
                    false);
}

real K(kl_row)(int64_t n, const real *logits, const real *ref_logits, real inv_temperature,
               k_row row, k_row ref)
{
    const vec t = v_set1(inv_temperature), peak = v_set1(row.peak), ref_peak = v_set1(ref.peak);
    const vec part = v_set1(1 / row.total), log_total = v_log(v_set1(row.total));
    const vec ref_log_total = v_log(v_set1(ref.total));
    v_total total = {0};
    V_BLOCKS(from, to, n)
    {
        vec sum = v_set1(0);
        V_SPAN(i, k, from, to)
        {
            const vec d = (v_load_n(logits + i, k, -(real)INFINITY) - peak) * t;
            const vec log_q = (v_load_n(ref_logits + i, k, 0) - ref_peak) * t - ref_log_total;
            const vec p = v_exp_normal(d) * part;
            sum += v_select(p > v_set1(0), p * (d - log_total - log_q), v_set1(0));
        }
        total = v_total_add(total, sum);
    }
    return v_total_sum(total);
}

INLINE void kl_bwd(int64_t n, real *logits, const real *ref_logits, real inv_temperature, real cap,
                   k_row row, k_row ref, real kl, real g, const bool capped)
{
    const vec inverse = v_set1(capped ? 1 / cap : 0);
    const vec t = v_set1(inv_temperature), peak = v_set1(row.peak), ref_peak = v_set1(ref.peak);
    const vec part = v_set1(1 / row.total), log_total = v_log(v_set1(row.total));
    const vec ref_log_total = v_log(v_set1(ref.total));
    const vec mean = v_set1(kl), gv = v_set1(g * inv_temperature);
    V_EACH(i, k, n) {
        const vec z = v_load_n(logits + i, k, 0), d = (z - peak) * t;
        const vec log_q = (v_load_n(ref_logits + i, k, 0) - ref_peak) * t - ref_log_total;
        const vec p = v_exp_normal(d) * part;
        const vec o = v_select(p > v_set1(0), p * ((d - log_total - log_q) - mean), v_set1(0));
        v_store_n(logits + i, capped ? gv * o * cap_slope(z, inverse) : gv * o, k);
    }
}

void K(kl_row_bwd)(int64_t n, real *logits, const real *ref_logits, real inv_temperature, real cap,
                   k_row row, k_row ref, real kl, real g)
{
    if (cap > 0) kl_bwd(n, logits, ref_logits, inv_temperature, cap, row, ref, kl, g, true);
    else kl_bwd(n, logits, ref_logits, inv_temperature, 0, row, ref, kl, g, false);
}

double K(row_max)(int64_t n, const void *x)
{
    return (double)max_of(n, x);
}

/* Exponentials against the peaks of their spans -> probabilities. */
static void scale_spans(int64_t n, const real *logits, real t, k_row row, real *p)
{
    const real part = 1 / row.total;
    V_BLOCKS(from, to, n)
    {
        const real peak = max_of(to - from, logits + from);
        const real factor = peak < row.peak ? exp_of((peak - row.peak) * t) * part : part;
        V_SPAN(i, k, from, to) v_store_n(p + i, v_load_n(p + i, k, 0) * v_set1(factor), k);
    }
}

pl_row_read K(softmax_row_any)(int64_t n, const void *logits, double inv_temperature, void *out)
{
    real entropy;
    const real t = (real)inv_temperature;
    const k_row row = out != NULL ? read_row(n, logits, t, &entropy, out)
                                  : read_row(n, logits, t, &entropy, NULL);
    if (out != NULL) scale_spans(n, logits, t, row, out);
    return (pl_row_read){row.peak, row.total, entropy};
}

double K(row_logprob_any)(pl_row_read row, double inv_temperature, double logit)
{
    const k_row read = {(real)row.peak, (real)row.total};
    return (double)K(row_logprob)(read, (real)inv_temperature, (real)logit);
}

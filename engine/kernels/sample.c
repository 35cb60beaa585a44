/*
** sample.c - log-probabilities, entropy and divergences of single rows of logits.
**
** The maximum is subtracted before exponentials, and before the temperature: a difference of two
** logits of about one size is exact. Sums run in VL lanes in a fixed order (v_total of vec.h).
**   d = (z - peak) / T;   total = sum e^d;   p = e^d / total;   ln p = d - ln total
**   H = ln total - sum p d
*/
#include "kernels/sample.h"

#include "kernels/vmath.h"

static real max_of(int64_t n, const real *x)
{
    vec most = v_set1(-(real)INFINITY);
    V_EACH(i, k, n) most = v_max(v_load_n(x + i, k, -(real)INFINITY), most);
    return v_fold_max(most);
}

#define INLINE static inline __attribute__((always_inline))

/* As K(read_row); the exponentials go to `out` where it is not NULL. */
INLINE k_row read_row(int64_t n, const real *logits, real inv_temperature, real *entropy, real *out)
{
    const real peak = max_of(n, logits);
    const vec m = v_set1(peak), t = v_set1(inv_temperature);
    v_total total = {0}, weighted = {0};
    V_BLOCKS(from, to, n)
    {
        vec sum = v_set1(0), w = v_set1(0);
        V_SPAN(i, k, from, to)
        {
            const vec d = (v_load_n(logits + i, k, -(real)INFINITY) - m) * t;
            const vec e = v_exp_normal(d);
            sum += e;
            if (out != NULL) v_store_n(out + i, e, k);
            if (entropy != NULL) /* 0 ln 0 = 0 */
                w += v_select(e > v_set1(0), e * d, v_set1(0));
        }
        total = v_total_add(total, sum);
        if (entropy != NULL) weighted = v_total_add(weighted, w);
    }
    const k_row row = {peak, v_total_sum(total)};
    if (entropy != NULL) *entropy = v_log(v_set1(row.total))[0] - v_total_sum(weighted) / row.total;
    return row;
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
    const real bend = capped ? cap_slope(v_set1(logits[target]), inverse)[0] : 1;
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
    logits[target] += g_logprob * inv_temperature * bend;
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

pl_row_read K(softmax_row_any)(int64_t n, const void *logits, double inv_temperature, void *out)
{
    real entropy, *p = out;
    const real t = (real)inv_temperature;
    const k_row row =
        p != NULL ? read_row(n, logits, t, &entropy, p) : read_row(n, logits, t, &entropy, NULL);
    const vec part = v_set1(1 / row.total);
    if (p != NULL)
        V_EACH(i, k, n) v_store_n(p + i, v_load_n(p + i, k, 0) * part, k);
    return (pl_row_read){row.peak, row.total, entropy};
}

double K(row_logprob_any)(pl_row_read row, double inv_temperature, double logit)
{
    const k_row read = {(real)row.peak, (real)row.total};
    return (double)K(row_logprob)(read, (real)inv_temperature, (real)logit);
}

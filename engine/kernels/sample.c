/*
** sample.c - log-probabilities, entropy and divergences of single rows of logits.
**
** The maximum is subtracted before exponentials; sums run in 16 lanes folded in a fixed tree.
**   lse = m + ln sum e^(z-m);   ln p = z - lse;   H = lse - sum p z
*/
#include "kernels/sample.h"

#include "kernels/vmath.h"

static real max_of(int64_t n, const real *x)
{
    vec most = v_set1(-(real)INFINITY);
    V_EACH(i, k, n) most = v_max(v_load_n(x + i, k, -(real)INFINITY), most);
    return v_fold_max(most);
}

real K(lse_row)(int64_t n, const real *logits, real inv_temperature, real *entropy)
{
    const real peak = max_of(n, logits) * inv_temperature;
    const vec m = v_set1(peak), t = v_set1(inv_temperature);
    vec sum = v_set1(0), weighted = v_set1(0);
    V_EACH(i, k, n)
    {
        const vec z = v_load_n(logits + i, k, -(real)INFINITY) * t - m;
        const vec e = v_exp_normal(z);
        sum += e;
        if (entropy != NULL) /* 0 ln 0 = 0 */
            weighted += v_select(e > v_set1(0), e * z, v_set1(0));
    }
    const real total = v_sum(sum), log_total = v_log(v_set1(total))[0];
    if (entropy != NULL) *entropy = log_total - v_sum(weighted) / total;
    return peak + log_total;
}

void K(logprob_row_bwd)(int64_t n, real *logits, real inv_temperature, int64_t target, real lse,
                        real entropy, real g_logprob, real g_entropy)
{
    const vec t = v_set1(inv_temperature), l = v_set1(lse), h = v_set1(entropy);
    const vec gl = v_set1(g_logprob), ge = v_set1(g_entropy);
    V_EACH(i, k, n)
    {
        const vec log_p = v_load_n(logits + i, k, 0) * t - l;
        const vec p = v_exp_normal(log_p);
        /* -p (g_logprob + g_entropy (ln p + H)); where p = 0 nothing flows */
        const vec d = v_select(p > v_set1(0), p * (gl + ge * (log_p + h)), v_set1(0));
        v_store_n(logits + i, -(d * t), k);
    }
    logits[target] += g_logprob * inv_temperature;
}

real K(kl_row)(int64_t n, const real *logits, const real *ref_logits, real inv_temperature,
               real lse, real ref_lse)
{
    const vec t = v_set1(inv_temperature), l = v_set1(lse), r = v_set1(ref_lse);
    vec sum = v_set1(0);
    V_EACH(i, k, n)
    {
        const vec log_p = v_load_n(logits + i, k, -(real)INFINITY) * t - l;
        const vec log_q = v_load_n(ref_logits + i, k, 0) * t - r;
        const vec p = v_exp_normal(log_p);
        sum += v_select(p > v_set1(0), p * (log_p - log_q), v_set1(0));
    }
    return v_sum(sum);
}

void K(kl_row_bwd)(int64_t n, real *logits, const real *ref_logits, real inv_temperature, real lse,
                   real ref_lse, real kl, real g)
{
    const vec t = v_set1(inv_temperature), l = v_set1(lse), r = v_set1(ref_lse);
    const vec mean = v_set1(kl), gv = v_set1(g * inv_temperature);
    V_EACH(i, k, n)
    {
        const vec log_p = v_load_n(logits + i, k, 0) * t - l;
        const vec log_q = v_load_n(ref_logits + i, k, 0) * t - r;
        const vec p = v_exp_normal(log_p);
        const vec d = v_select(p > v_set1(0), p * ((log_p - log_q) - mean), v_set1(0));
        v_store_n(logits + i, gv * d, k);
    }
}

double K(row_max)(int64_t n, const void *x)
{
    return (double)max_of(n, x);
}

void K(logprob_row_any)(int64_t n, const void *logits, double inv_temperature, int64_t target,
                        void *logprob, void *entropy)
{
    const real *z = logits;
    const real t = (real)inv_temperature;
    *(real *)logprob = z[target] * t - K(lse_row)(n, z, t, entropy);
}

void K(softmax_row_any)(int64_t n, const void *logits, double inv_temperature, void *out)
{
    const real *z = logits;
    const real t = (real)inv_temperature;
    const vec l = v_set1(K(lse_row)(n, z, t, NULL)), tv = v_set1(t);
    V_EACH(i, k, n)
    v_store_n((real *)out + i, v_exp_normal(v_load_n(z + i, k, 0) * tv - l), k);
}

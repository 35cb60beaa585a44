/*
** sample.h - what is read off one row of logits: log-probabilities, entropy, probabilities.
**
** One routine serves generation and training, so that the log-prob of a sampled token has the same
** bits in both. z = logits * inv_temperature throughout; n entries a row.
*/
#ifndef PL_KERNELS_SAMPLE_H
#define PL_KERNELS_SAMPLE_H

#include "kernels/variant.h"

/* ln sum_v e^(z_v); entropy (NULL: not wanted) of softmax(z) in nats. */
real K(lse_row)(int64_t n, const real *logits, real inv_temperature, real *entropy);

/* logits -> dlogits of  g_logprob ln p[target] + g_entropy H(p), by the row's lse and entropy. */
void K(logprob_row_bwd)(int64_t n, real *logits, real inv_temperature, int64_t target, real lse,
                        real entropy, real g_logprob, real g_entropy);

/* sum_v p_v (ln p_v - ln q_v) */
real K(kl_row)(int64_t n, const real *logits, const real *ref_logits, real inv_temperature,
               real lse, real ref_lse);
/* logits -> dlogits of g KL(p, q) */
void K(kl_row_bwd)(int64_t n, real *logits, const real *ref_logits, real inv_temperature, real lse,
                   real ref_lse, real kl, real g);

/* For floors that know no `real`: see kernels/set.h. */
double K(row_max)(int64_t n, const void *x);
void K(logprob_row_any)(int64_t n, const void *logits, double inv_temperature, int64_t target,
                        void *logprob, void *entropy);
void K(softmax_row_any)(int64_t n, const void *logits, double inv_temperature, void *out);

#endif

/*
** sample.h - what is read off one row of logits: log-probabilities, entropy, probabilities.
**
** One routine serves generation and training, so that the log-prob of a sampled token has the same
** bits in both. n entries a row; inv_temperature is 1 / T.
*/
#ifndef PL_KERNELS_SAMPLE_H
#define PL_KERNELS_SAMPLE_H

#include "kernels/set.h"
#include "kernels/variant.h"

/* What is read off a row: its largest logit, and the sum of e^((z_v - peak) / T). The two are kept
** apart: as one number they would lose the digits of a large peak in (z - peak) / T - ln total. */
typedef struct {
    real peak, total;
} k_row;

/* Of a span of a row, `span_size` logits or at its end what is left: the largest logit, and the
** sums of e^d and of e^d d with d = (z_v - peak) / T. */
typedef struct {
    real peak, total, weighted;
} k_span;

int64_t K(span_size)(void);
/* weighted: whether the second sum is made. */
k_span K(read_span)(int64_t n, const real *logits, real inv_temperature, bool weighted);
/* What K(read_row) gives, from the spans of a row in their order. */
k_row K(join_spans)(int64_t n, const k_span *spans, real inv_temperature, real *entropy);

/* entropy (NULL: not wanted) of the softmax in nats. */
k_row K(read_row)(int64_t n, const real *logits, real inv_temperature, real *entropy);
/* ln p of the token with this logit. */
real K(row_logprob)(k_row row, real inv_temperature, real logit);

/* logits -> dlogits of  g_logprob ln p[target] + g_entropy H(p), by what was read off the row. They
** may be a part of it: then a target that is not in it is less than 0, or n and more.
** Logits that were soft-capped come as they are after it, with the cap: the gradient is then the
** one before it. cap 0: none. */
void K(logprob_row_bwd)(int64_t n, real *logits, real inv_temperature, real cap, int64_t target,
                        k_row row, real entropy, real g_logprob, real g_entropy);

/* sum_v p_v (ln p_v - ln q_v) */
real K(kl_row)(int64_t n, const real *logits, const real *ref_logits, real inv_temperature,
               k_row row, k_row ref);
/* logits -> dlogits of g KL(p, q); cap as above, of the policy. */
void K(kl_row_bwd)(int64_t n, real *logits, const real *ref_logits, real inv_temperature, real cap,
                   k_row row, k_row ref, real kl, real g);

/* For floors that know no `real`: see kernels/set.h. */
double K(row_max)(int64_t n, const void *x);
/* read_row with the entropy, and the probabilities into `out` where it is not NULL. */
pl_row_read K(softmax_row_any)(int64_t n, const void *logits, double inv_temperature, void *out);
double K(row_logprob_any)(pl_row_read row, double inv_temperature, double logit);

#endif

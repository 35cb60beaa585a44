/*
** head_parts.h - logits of a large vocabulary in bfloat16, a part of the columns at a time.
**
** A part's logits are made, read and turned into gradients while the cache of one core has them, so
** that they never come to memory; threads share out the parts. Rows are read twice, for what
** ln p and its entropy are, and, with that, for gradients: the product is made anew.
*/
#ifndef PL_OPS_HEAD_PARTS_H
#define PL_OPS_HEAD_PARTS_H

#include "kernels/sample.h"
#include "ops/op.h"

/* Rows of one op over a head. */
typedef struct {
    int64_t n, v, c;
    const real *hidden;            /* [T,C] */
    const pl_tensor *head;         /* [V,C], float32 or kept */
    const int32_t *rows, *targets; /* [N] */
    real inv_temperature;
    real cap; /* of the logits; 0: none */
} head_rows;

/* Whether the vocabulary is worth it: all parts of a small one are one core's. */
bool K(head_by_parts)(int64_t v);

/* Of each row: read[i] as of K(read_row), entropy[i] where it is not NULL, the target's logit. */
pl_status K(head_read)(pl_call *c, const head_rows *h, k_row *read, real *entropy, real *logit);

/* Gradients of sum_i g_logprob[i] ln p_i[target] + g_entropy[i] H_i, by what K(head_read) gave. One
** of g_logprob and g_entropy may be NULL (zeros), then `entropy` too with the latter; adds to
** d_hidden [T,C]; d_head [V,C] is added to when `acc`, else made. Either may be NULL. Rows without
** a gradient send nothing, whatever they hold. */
pl_status K(head_back)(pl_call *c, const head_rows *h, const k_row *read, const real *entropy,
                       const real *g_logprob, const real *g_entropy, real *d_hidden, real *d_head,
                       bool acc);

#endif

/*
** packed.h - weights packed once for the products that read them, and kept by the tensor until its
** data change. A packed copy gives the same bits, so to have none is no failure.
*/
#ifndef PL_OPS_PACKED_H
#define PL_OPS_PACKED_H

#include "base/cpu.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#include "kernels/gemm_bf16.h"
#include "ops/op.h"

/* Elements of a weight whose copies in bfloat16, at most two of 2 bytes each, are kept while it is
** trained, beside 16 bytes for each of its elements: models with such weights go through their
** blocks in parts, and each part, forward and back, would pack it again. */
enum { PACK_TRAINED = 1 << 18 };

/* Of w [n,k], in bytes. */
static inline size_t pack_bytes(pl_pack_kind kind, int64_t n, int64_t k)
{
#ifndef PL_F64_BUILD
    if (kind == PL_PACK_BF16) return (size_t)K(gemm_bf16_pack_size)(n, k);
    if (kind == PL_PACK_BF16_TURNED) return (size_t)K(gemm_bf16_pack_size)(k, n);
#endif
    (void)kind;
    return (size_t)(K(gemm_pack_size)(n, k) + 1) * sizeof(real);
}

static inline void pack_weight(pl_pack_kind kind, const pl_tensor *w, void *to)
{
    const int64_t n = w->shape[0], k = w->shape[1];
#ifndef PL_F64_BUILD
    if (kind == PL_PACK_BF16) {
        K(gemm_bf16_pack)(true, n, k, w->dtype, pl__data(w), k, to);
        return;
    }
    if (kind == PL_PACK_BF16_TURNED) {
        K(gemm_bf16_pack)(false, k, n, w->dtype, pl__data(w), k, to);
        return;
    }
#endif
    (void)kind;
    K(gemm_pack)(true, n, k, pl__real(w), k, to);
}

/* The packed copy of w, a matrix that is the transpose of an op's B (turned: that is B itself);
** where there is none, and it is `worth` it, one is made now. NULL to do without, as while a tape
** is on, before w changes, unless w is small. */
static inline const void *packed_weight(pl_call *c, pl_tensor *w, pl_pack_kind kind, bool worth)
{
    const bool ours = w->ctx == c->ctx; /* else other threads may read it now (graph/lane.h) */
    const bool parameter = ours && w->node == NULL && (w->requires_grad || w->name[0] != '\0');
    const int rule = kind == PL_PACK_PLAIN ? 0 : (int)pl__bf16_rule().kind;
    if (c->grad && (kind == PL_PACK_PLAIN || w->count > PACK_TRAINED)) {
        if (w->requires_grad) pl__pack_set(w, kind, rule, NULL); /* it is about to change */
        return NULL;
    }
    if (pl__kept(w->dtype) && kind == PL_PACK_PLAIN) return NULL;
    void *packed = pl__pack_get(w, kind, rule);
    if (packed != NULL || !parameter || !worth) return packed;
    packed = pl_alloc(c->ctx, pack_bytes(kind, w->shape[0], w->shape[1]));
    if (packed == NULL) return NULL;
    pack_weight(kind, w, packed);
    if (pl__stopped(pl__stop_get())) { /* it may not be whole */
        pl_free(c->ctx, packed);
        return NULL;
    }
    pl__pack_set(w, kind, rule, packed);
    return packed;
}

#endif

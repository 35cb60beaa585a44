/*
** norm.h - row kernels: RMSNorm, LayerNorm, softmax and log-softmax over rows of c elements.
**
** All run on the calling thread, one row at a time, each row in an order that depends on c alone:
** VL lanes along the row, their sums by v_total (vec.h). rows may be 0; c may be 0 (nothing is
** written then).
**
**   RMSNorm (Zhang & Sennrich 2019)   r = (mean x^2 + eps)^(-1/2),  y = w x r
**     with h = x r, g = w dy:  dx = r (g - h mean(g h)),  dw = sum over rows of dy h
**   LayerNorm (Ba, Kiros & Hinton 2016)   h = (x - mean) r,  y = w h + b,  r from the variance
**     dx = r (g - mean(g) - h mean(g h)),  dw = sum dy h,  db = sum dy
**   softmax       dx = y (dy - sum(y dy));   log-softmax   dx = dy - e^y sum(dy)
*/
#ifndef PL_KERNELS_NORM_H
#define PL_KERNELS_NORM_H

#include "kernels/variant.h"

/* rstd (and mean): one a row, or NULL where no backward comes. */
void K(rmsnorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *rstd, const real *x,
                    const real *w);
void K(layernorm_fwd)(int64_t rows, int64_t c, real eps, real *y, real *mean, real *rstd,
                      const real *x, const real *w, const real *b);
/* dx may be NULL; dw and db, where not NULL, are added to. */
void K(rmsnorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, const real *dy,
                    const real *x, const real *w, const real *rstd);
void K(layernorm_bwd)(int64_t rows, int64_t c, real *dx, bool acc, real *dw, real *db,
                      const real *dy, const real *x, const real *w, const real *mean,
                      const real *rstd);

void K(softmax_fwd)(int64_t rows, int64_t c, real *y, const real *x);
void K(softmax_bwd)(int64_t rows, int64_t c, real *dx, bool acc, const real *dy, const real *y);
void K(log_softmax_fwd)(int64_t rows, int64_t c, real *y, const real *x);
void K(log_softmax_bwd)(int64_t rows, int64_t c, real *dx, bool acc, const real *dy, const real *y);

#endif

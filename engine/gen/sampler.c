/*
** sampler.c - sampling with top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024).
**
** Candidates come off a heap in the order of falling probability, the lower id first among equals,
** until a rule says stop: their sum in that order is the mass the draw is scaled by. Without
** truncation ids are walked in their own order, block by block. Sums are in double.
*/
#include "gen/sampler.h"

#define BLOCK 64

int64_t pl__argmax(const float *p, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

static double block_sum(const float *p, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)p[i];
    return sum;
}

static int64_t sample_all(const float *p, int64_t n, double u)
{
    double total = 0;
    for (int64_t i = 0; i < n; i += BLOCK) total += block_sum(p + i, n - i < BLOCK ? n - i : BLOCK);
    const double target = u * total;
    double before = 0;
    int64_t last = 0; /* the last token that has any probability: rounding may run past the end */
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t m = n - i < BLOCK ? n - i : BLOCK;
        const double sum = block_sum(p + i, m);
        if (sum > 0) {
            double inside = 0;
            for (int64_t k = 0; k < m; k++) {
                inside += (double)p[i + k];
                if (p[i + k] > 0) last = i + k;
                if (before + inside > target && p[i + k] > 0) return i + k;
            }
        }
        before += sum;
    }
    return last;
}

/* Whether a stands before b. */
static bool before(const float *p, int32_t a, int32_t b)
{
    return p[a] > p[b] || (p[a] == p[b] && a < b);
}

static void sift(const float *p, int32_t *heap, int64_t n, int64_t i)
{
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(p, heap[child + 1], heap[child])) child++;
        if (!before(p, heap[child], heap[i])) return;
        const int32_t t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
    }
}

int64_t pl__sample(const float *p, int64_t n, double u, const pl_truncation *cut, int32_t *heap,
                   double *mass)
{
    *mass = 1;
    if (cut->top_k <= 0 && cut->top_p >= 1 && cut->min_p <= 0) return sample_all(p, n, u);
    for (int64_t i = 0; i < n; i++) heap[i] = (int32_t)i;
    for (int64_t i = n / 2 - 1; i >= 0; i--) sift(p, heap, n, i);
    const double least = cut->min_p > 0 ? cut->min_p * (double)p[heap[0]] : 0;
    double sum = 0;
    int64_t kept = 0, left = n; /* kept tokens are moved behind the heap, in order from the end */
    while (left > 0) {
        const int32_t top = heap[0];
        if (kept > 0 && ((double)p[top] < least || p[top] <= 0)) break;
        heap[0] = heap[--left];
        heap[left] = top;
        sift(p, heap, left, 0);
        sum += (double)p[top];
        kept++;
        if ((cut->top_k > 0 && kept == cut->top_k) || sum >= cut->top_p) break;
    }
    *mass = sum;
    const double target = u * sum;
    double inside = 0;
    for (int64_t i = 0; i < kept; i++) {
        inside += (double)p[heap[n - 1 - i]];
        if (inside > target) return heap[n - 1 - i];
    }
    return heap[n - kept];
}

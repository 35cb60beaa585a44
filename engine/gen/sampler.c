/*
** sampler.c - sampling with top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024).
**
** Candidates come off a heap in the order of falling probability, the lower id first among equals,
** until a rule says stop: their sum in that order is the mass the draw is scaled by. Without
** truncation ids are walked in their own order, block by block. Sums are in double.
*/
#include "gen/sampler.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    BLOCK = 64,
    GROUP = 8, /* blocks whose sums are made side by side; even */
};

int64_t pl__place_of(const float *x, int64_t n, float value)
{
    int64_t from = 0;
    for (; n - from >= BLOCK; from += BLOCK) {
        int found = 0; /* no way out within a block: its comparisons go side by side */
        for (int64_t k = 0; k < BLOCK; k++) found |= x[from + k] == value;
        if (found) break;
    }
    for (int64_t i = from; i < n; i++)
        if (x[i] == value) return i;
    return 0;
}

static double block_sum(const float *p, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)p[i];
    return sum;
}

/* The sums of a group of whole blocks. A sum is a chain of additions, each waiting for the one
** before it: the chains of the blocks run side by side, two in a vector. */
static void group_sums(const float *p, double sums[GROUP])
{
#if defined(__SSE2__)
    __m128d sum[GROUP / 2];
    for (int k = 0; k < GROUP / 2; k++) sum[k] = _mm_setzero_pd();
    for (int i = 0; i < BLOCK; i += 4)
        for (int k = 0; k < GROUP / 2; k++) {
            const __m128 a = _mm_loadu_ps(p + 2 * k * BLOCK + i);
            const __m128 b = _mm_loadu_ps(p + (2 * k + 1) * BLOCK + i);
            const __m128 low = _mm_unpacklo_ps(a, b), high = _mm_unpackhi_ps(a, b);
            sum[k] = _mm_add_pd(sum[k], _mm_cvtps_pd(low));
            sum[k] = _mm_add_pd(sum[k], _mm_cvtps_pd(_mm_movehl_ps(low, low)));
            sum[k] = _mm_add_pd(sum[k], _mm_cvtps_pd(high));
            sum[k] = _mm_add_pd(sum[k], _mm_cvtps_pd(_mm_movehl_ps(high, high)));
        }
    for (int k = 0; k < GROUP / 2; k++) _mm_storeu_pd(sums + 2 * k, sum[k]);
#else
    for (int k = 0; k < GROUP; k++) sums[k] = block_sum(p + k * BLOCK, BLOCK);
#endif
}

/* The token where the sum of the probabilities passes `target`, from token `from` on, which
** `before` stands before; -1 when it does not before token `to`. */
static int64_t walk(const float *p, int64_t from, int64_t to, double before, double target)
{
    for (int64_t i = from; i < to; i += BLOCK) {
        const int64_t m = to - i < BLOCK ? to - i : BLOCK;
        double inside = 0;
        for (int64_t k = 0; k < m; k++) {
            inside += (double)p[i + k];
            if (before + inside > target && p[i + k] > 0) return i + k;
        }
        before += inside;
    }
    return -1;
}

static int64_t sample_all(const float *p, int64_t n, double u)
{
    enum { MARKS = 64, SPAN = GROUP * BLOCK };
    double marks[MARKS]; /* what stands before every `step`th token */
    const int64_t step = (n / (MARKS * SPAN) + 1) * SPAN;
    double total = 0;
    for (int64_t i = 0; i < n; i += SPAN) {
        if (i % step == 0) marks[i / step] = total;
        if (n - i >= SPAN) {
            double sums[GROUP];
            group_sums(p + i, sums);
            for (int k = 0; k < GROUP; k++) total += sums[k];
        } else {
            for (int64_t k = i; k < n; k += BLOCK)
                total += block_sum(p + k, n - k < BLOCK ? n - k : BLOCK);
        }
    }
    const double target = u * total;
    int64_t mark = (n - 1) / step;
    while (mark > 0 && marks[mark] > target) mark--;
    const int64_t token = walk(p, mark * step, n, marks[mark], target);
    if (token >= 0) return token;
    int64_t last = n - 1; /* rounding ran past the end: the last token that has any probability */
    while (last > 0 && !(p[last] > 0)) last--;
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

/*
** thread.h - the one way work is shared among threads: OpenMP over fixed tiles.
**
** How work is cut depends on shapes alone, never on the number of threads, and tiles write disjoint
** places: so results have the same bits for any thread count. Work below PL_PARALLEL_MIN (rough
** count of scalar operations) stays on the calling thread, where waking others would cost more.
*/
#ifndef PL_BASE_THREAD_H
#define PL_BASE_THREAD_H

#include <omp.h>
#include <stdint.h>

#define PL_PARALLEL_MIN 20000

/* Threads for a job of about `work` scalar operations. */
static inline int pl__threads_for(int64_t work)
{
    return work < PL_PARALLEL_MIN || omp_in_parallel() ? 1 : omp_get_max_threads();
}

#define PL_PRAGMA_(x) _Pragma(#x)
/* Use: PL_PARALLEL_FOR(tiles * cost) for (int64_t i = 0; i < tiles; i++) ... */
#define PL_PARALLEL_FOR(work) \
    PL_PRAGMA_(omp parallel for schedule(static) num_threads(pl__threads_for(work)))

#endif

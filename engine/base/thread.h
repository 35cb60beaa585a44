/*
** thread.h - the one way work is shared among threads: OpenMP over fixed tiles.
**
** How work is cut depends on shapes alone, never on the number of threads, and tiles write disjoint
** places: so results have the same bits for any thread count. Work below PL_PARALLEL_MIN (rough
** count of scalar operations) stays on the calling thread, where waking others would cost more.
**
** A long loop asks between tiles whether to stop. Kernels know no context, so who runs an op tells
** its thread which flag to look at (pl__stop_set) and afterwards throws the unfinished result away.
** Where nobody told, as in the optimizer, which must not stop half way, loops run to their end.
*/
#ifndef PL_BASE_THREAD_H
#define PL_BASE_THREAD_H

#include <omp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define PL_PARALLEL_MIN 20000

/* Threads for a job of about `work` scalar operations. */
static inline int pl__threads_for(int64_t work)
{
    return work < PL_PARALLEL_MIN || omp_in_parallel() ? 1 : omp_get_max_threads();
}

typedef const volatile sig_atomic_t *pl_stop;

#define PL_LOOK 65536 /* elements of a serial loop from one look at the flag to the next */

/* The flag that stops the kernels called from this thread; NULL: none. */
void pl__stop_set(pl_stop flag);
/* That flag, to be asked for before a parallel region and used inside it. */
pl_stop pl__stop_get(void);

static inline bool pl__stopped(pl_stop flag)
{
    return flag != NULL && *flag != 0;
}

#define PL_PRAGMA_(x) _Pragma(#x)
/* Use: PL_PARALLEL_FOR(tiles * cost) for (int64_t i = 0; i < tiles; i++) ... */
#define PL_PARALLEL_FOR(work) \
    PL_PRAGMA_(omp parallel for schedule(static) num_threads(pl__threads_for(work)))

#endif

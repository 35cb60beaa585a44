/*
** cpu.c - CPU detection and the thread count.
*/
#include "base/cpu.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"

static const char *const isa_names[] = {"plain", "avx2", "avx512"};

static pl_isa_kind best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return PL_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return PL_ISA_AVX2;
#endif
    return PL_ISA_PLAIN;
}

pl_isa_kind pl__isa(void)
{
    pl_isa_kind isa = best();
    const char *wish = getenv("PERILUNE_ISA");
    for (int i = 0; wish != NULL && i <= (int)isa; i++)
        if (strcmp(wish, isa_names[i]) == 0) isa = (pl_isa_kind)i;
    return isa;
}

bool pl__has_avx(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx");
#else
    return false;
#endif
}

const char *pl_isa(void)
{
    return isa_names[pl__isa()];
}

pl_status pl_isa_check(pl_ctx *ctx)
{
    const char *wish = getenv("PERILUNE_ISA");
    if (wish == NULL || *wish == '\0' || strcmp(wish, pl_isa()) == 0) return PL_OK;
    return pl__fail(ctx, PL_ERR_ARG,
                    "PERILUNE_ISA is '%.40s': plain, avx2 or avx512 wanted, of which this machine "
                    "runs %s",
                    wish,
                    best() == PL_ISA_AVX512 ? "all"
                    : best() == PL_ISA_AVX2 ? "plain and avx2"
                                            : "plain");
}

bool pl_threads_set(int64_t n)
{
    if (n < 1 || n > PL_MAX_THREADS) return false;
    omp_set_num_threads((int)n);
    return true;
}

int pl_threads_get(void)
{
    return omp_get_max_threads();
}

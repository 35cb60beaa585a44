/*
** cpu.c - CPU detection, the rule of bfloat16 products and the thread count.
*/
#include "base/cpu.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

/* ---- bfloat16 ---- */

static const char *const bf16_names[] = {"chain", "pairs", "tiles"};

static bool has_pairs, has_tiles, has_vnni, has_avx_vnni;

#if defined(__x86_64__)
/* The kernel lets a process use AMX's registers, which make its saved state larger, on request. */
static bool may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static void find_products(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };
    enum { AVX_VNNI = 1 << 4, AVX512_VNNI = 1 << 11 };
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        has_pairs = (a & AVX512_BF16) != 0;
        has_avx_vnni = (a & AVX_VNNI) != 0;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    has_tiles = (d & AMX_BF16) != 0 && (d & AMX_TILE) != 0 && may_use_tiles();
    has_vnni = (c & AVX512_VNNI) != 0;
}
#else
static void find_products(void) {}
#endif

static pthread_once_t found = PTHREAD_ONCE_INIT;

/* Both instructions are compiled into the AVX-512 variant alone. */
static bool has_rule(int kind)
{
    if (kind == PL_BF16_CHAIN) return true;
    pthread_once(&found, find_products);
    return pl__isa() == PL_ISA_AVX512 && (kind == PL_BF16_TILES ? has_tiles : has_pairs);
}

bool pl__has_tiles(void)
{
    return has_rule(PL_BF16_TILES);
}

/* The rule that PERILUNE_BF16 names, -1 for none. */
static int wished_rule(void)
{
    const char *wish = getenv("PERILUNE_BF16");
    for (int i = 0; wish != NULL && i <= PL_BF16_TILES; i++)
        if (strcmp(wish, bf16_names[i]) == 0) return i;
    return -1;
}

pl_bf16_rule pl__bf16_rule(void)
{
    int kind = wished_rule();
    if (kind < 0)
        for (kind = PL_BF16_TILES; !has_rule(kind);) kind--;
    return (pl_bf16_rule){(pl_bf16_kind)kind, kind != PL_BF16_CHAIN && has_rule(kind)};
}

const char *pl_bf16(bool *native)
{
    const pl_bf16_rule rule = pl__bf16_rule();
    if (native != NULL) *native = rule.native || rule.kind == PL_BF16_CHAIN;
    return bf16_names[rule.kind];
}

pl_status pl_bf16_check(pl_ctx *ctx)
{
    const char *wish = getenv("PERILUNE_BF16");
    if (wish == NULL || *wish == '\0' || strcmp(wish, "auto") == 0 || wished_rule() >= 0)
        return PL_OK;
    return pl__fail(ctx, PL_ERR_ARG, "PERILUNE_BF16 is '%.40s': auto, chain, pairs or tiles wanted",
                    wish);
}

/* ---- eight bits ---- */

bool pl_vnni(void)
{
    pthread_once(&found, find_products);
    return pl__isa() == PL_ISA_AVX512 ? has_vnni : pl__isa() == PL_ISA_AVX2 && has_avx_vnni;
}

/* ---- Threads ---- */

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

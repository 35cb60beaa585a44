/*
** limits.c - what this processor can do: multiplications a second and bytes a second, measured.
**
** Each figure is the best of several short runs on all threads, by the processor time of each
** thread: other programs that take turns with it on its core are left out. Multiplications are
** chains in registers, twelve or more side by side, so that neither memory nor the latency of an
** instruction counts. Products of bfloat16 use the best instruction the processor has (TDPBF16PS of
** AMX, VDPBF16PS of AVX-512); without one they are as fast as float32's. A split product is six.
*/
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/ctx.h"
#include "base/thread.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    CHAINS = 12,
    RUNS = 5,
    SPLIT_PRODUCTS = 6, /* of bfloat16 in one of split float32 numbers (kernels/gemm_split.h) */
    ROUNDS = 100000,    /* of a chain before the clock is looked at: about 0.2 ms */
};

#define LARGE_BYTES ((int64_t)96 << 20) /* beyond every cache but the very largest */
#define SMALL_BYTES ((int64_t)1 << 20)  /* of one thread */
#define PIECE ((int64_t)64 << 10)

/* ---- chains of multiplications; each gives the sum of its registers, so that none is left out --
*/
typedef float four __attribute__((vector_size(16)));

static float chain_plain(int64_t rounds) /* a product and a sum apart */
{
    four a[CHAINS], sum = {0};
    for (int i = 0; i < CHAINS; i++) a[i] = sum + (float)i;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) a[i] = a[i] * 0.999f + 0.001f;
    for (int i = 0; i < CHAINS; i++) sum += a[i];
    return sum[0];
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float chain_avx2(int64_t rounds)
{
    const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    __m256 a[CHAINS], sum = y;
    for (int i = 0; i < CHAINS; i++) a[i] = _mm256_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
    for (int i = 0; i < CHAINS; i++) sum = _mm256_add_ps(sum, a[i]);
    return _mm256_cvtss_f32(sum);
}

__attribute__((target("avx512f"))) static float chain_avx512(int64_t rounds)
{
    const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    __m512 a[CHAINS], sum = y;
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
    for (int i = 0; i < CHAINS; i++) sum = _mm512_add_ps(sum, a[i]);
    return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512bf16"))) static float chain_pairs(int64_t rounds)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3c003c00); /* 2^-7, twice */
    __m512 a[2 * CHAINS], sum = _mm512_setzero_ps();
    for (int i = 0; i < 2 * CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 2 * CHAINS; i++) a[i] = _mm512_dpbf16_ps(a[i], x, x);
    for (int i = 0; i < 2 * CHAINS; i++) sum = _mm512_add_ps(sum, a[i]);
    return _mm512_cvtss_f32(sum);
}

/* Four tiles of sums from two of operands, all of 16 rows of 64 bytes. */
__attribute__((target("amx-tile,amx-bf16"))) static float chain_tiles(int64_t rounds)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64))) = {.palette = 1};
    float out[256] __attribute__((aligned(64)));
    for (int i = 0; i < 6; i++) {
        config.bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
    for (int64_t r = 0; r < rounds; r++)
        __asm__ volatile("tdpbf16ps %tmm5, %tmm4, %tmm0\n\t"
                         "tdpbf16ps %tmm5, %tmm4, %tmm1\n\t"
                         "tdpbf16ps %tmm5, %tmm4, %tmm2\n\t"
                         "tdpbf16ps %tmm5, %tmm4, %tmm3");
    __asm__ volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(out), "r"((int64_t)64) : "memory");
    __asm__ volatile("tilerelease");
    return out[0];
}
#endif

/* Whether the kernel lets this process use tiles; the processor has them. */
static bool tiles_allowed(void)
{
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

typedef struct {
    float (*run)(int64_t rounds);
    double flops; /* of a round */
} chain;

static chain chain_of_float32(void)
{
#if defined(__x86_64__)
    if (pl__isa() == PL_ISA_AVX512) return (chain){chain_avx512, 2.0 * 16 * CHAINS};
    if (pl__isa() == PL_ISA_AVX2) return (chain){chain_avx2, 2.0 * 8 * CHAINS};
#endif
    return (chain){chain_plain, 2.0 * 4 * CHAINS};
}

static chain chain_of_bfloat16(void)
{
#if defined(__x86_64__)
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    const bool tiles = a < 64 && (d >> 22 & 1) && (d >> 24 & 1);
    if (tiles && pl__isa() == PL_ISA_AVX512 && tiles_allowed())
        return (chain){chain_tiles, 4.0 * 2 * 16 * 16 * 32};
    if (pl__isa() == PL_ISA_AVX512 && __builtin_cpu_supports("avx512bf16"))
        return (chain){chain_pairs, 2.0 * 2 * 16 * 2 * CHAINS};
#endif
    return chain_of_float32();
}

/* Seconds of a clock: that of this thread's processor time, or the wall's. */
static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Operations a second of all threads, over about `seconds`. */
static double chain_rate(chain c, double seconds, clockid_t clock)
{
    const int threads = omp_get_max_threads();
    double rate = 0;
    volatile float keep = 0;
#pragma omp parallel num_threads(threads) reduction(+ : rate)
    {
        const double began = now(clock);
        double rounds = 0, took;
        do {
            keep = c.run(ROUNDS);
            rounds += ROUNDS;
            took = now(clock) - began;
        } while (took < seconds);
        rate += rounds * c.flops / took;
    }
    (void)keep;
    return rate;
}

double pl_fma_rate(double seconds)
{
    return chain_rate(chain_of_float32(), seconds, CLOCK_MONOTONIC);
}

/* ---- bytes a second ---- */

/* `times` passes over a thread's part of a block; bytes that crossed. */
typedef double (*pass)(char *to, const char *from, int64_t bytes);

static double read_pass(char *to, const char *from, int64_t bytes)
{
    (void)to;
    uint64_t sum[8] = {0};
    for (int64_t i = 0; i < bytes / 64; i++) {
        uint64_t line[8];
        memcpy(line, from + 64 * i, sizeof line);
        for (int k = 0; k < 8; k++) sum[k] += line[k];
    }
    volatile uint64_t keep = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
    (void)keep;
    return (double)bytes;
}

static double copy_pass(char *to, const char *from, int64_t bytes) /* as the library likes it */
{
    memcpy(to, from, (size_t)bytes);
    return 2.0 * (double)bytes;
}

static double piece_pass(char *to, const char *from, int64_t bytes) /* through the caches */
{
    for (int64_t at = 0; at < bytes; at += PIECE)
        memcpy(to + at, from + at, (size_t)(bytes - at < PIECE ? bytes - at : PIECE));
    return 2.0 * (double)bytes;
}

static double pass_rate(pass run, char *block, int64_t bytes, double seconds)
{
    const int threads = omp_get_max_threads();
    const int64_t part = bytes / threads / 128 * 128; /* of which half is the target */
    double rate = 0;
#pragma omp parallel num_threads(threads) reduction(+ : rate)
    {
        char *const own = block + part * omp_get_thread_num();
        const double began = now(CLOCK_THREAD_CPUTIME_ID);
        double moved = 0, took;
        do {
            moved += run(own, own + part / 2, part / 2);
            took = now(CLOCK_THREAD_CPUTIME_ID) - began;
        } while (took < seconds);
        rate += moved / took;
    }
    return rate;
}

static double greatest(double a, double b)
{
    return a > b ? a : b;
}

pl_status pl_limits_measure(pl_ctx *ctx, pl_limits *limits)
{
    const int64_t small = SMALL_BYTES * omp_get_max_threads();
    char *const block = pl_calloc(ctx, 1, LARGE_BYTES + small);
    if (block == NULL) return PL_ERR_NOMEM;
    memset(block, 1, (size_t)LARGE_BYTES);
    const chain float32 = chain_of_float32(), bfloat16 = chain_of_bfloat16();
    pl_limits best = {.cache_bytes = LARGE_BYTES / 8};
    for (int i = 0; i < RUNS; i++) {
        best.float32 = greatest(best.float32, chain_rate(float32, 0.02, CLOCK_THREAD_CPUTIME_ID));
        best.bfloat16 =
            greatest(best.bfloat16, chain_rate(bfloat16, 0.02, CLOCK_THREAD_CPUTIME_ID));
        best.split = best.bfloat16 / SPLIT_PRODUCTS;
        best.read = greatest(best.read, pass_rate(read_pass, block, LARGE_BYTES, 0.02));
        best.copy = greatest(best.copy, pass_rate(copy_pass, block, LARGE_BYTES, 0.02));
        best.copy = greatest(best.copy, pass_rate(piece_pass, block, LARGE_BYTES, 0.02));
        best.cache = greatest(best.cache, pass_rate(piece_pass, block, small, 0.01));
    }
    pl_free(ctx, block);
    *limits = best;
    return PL_OK;
}

/*
** cpu.h - which kernel variant this machine runs, and by which rule it adds bfloat16 products.
*/
#ifndef PL_BASE_CPU_H
#define PL_BASE_CPU_H

#include <stdbool.h>

typedef enum { PL_ISA_PLAIN, PL_ISA_AVX2, PL_ISA_AVX512 } pl_isa_kind;

pl_isa_kind pl__isa(void);

/* How bfloat16 products are added up (kernels/gemm_bf16.h): by PERILUNE_BF16, else the fastest that
** the variant in use and the processor have. `native`: by the processor's own instruction; a rule
** that was asked for and has none here is emulated. Never `native` for chain. */
typedef enum { PL_BF16_CHAIN, PL_BF16_PAIRS, PL_BF16_TILES } pl_bf16_kind;

typedef struct {
    pl_bf16_kind kind;
    bool native;
} pl_bf16_rule;

pl_bf16_rule pl__bf16_rule(void);

/* Whether the variant in use and the processor have AMX's products of bfloat16. */
bool pl__has_tiles(void);

/* Whether the processor has AVX (of 2011; AVX2 came in 2013). */
bool pl__has_avx(void);

#endif

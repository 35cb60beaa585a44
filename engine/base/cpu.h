/*
** cpu.h - which kernel variant this machine runs.
*/
#ifndef PL_BASE_CPU_H
#define PL_BASE_CPU_H

#include <stdbool.h>

typedef enum { PL_ISA_PLAIN, PL_ISA_AVX2, PL_ISA_AVX512 } pl_isa_kind;

pl_isa_kind pl__isa(void);

/* Whether the processor has AVX (of 2011; AVX2 came in 2013). */
bool pl__has_avx(void);

#endif

/*
** cpu.h - which kernel variant this machine runs.
*/
#ifndef PL_BASE_CPU_H
#define PL_BASE_CPU_H

typedef enum { PL_ISA_PLAIN, PL_ISA_AVX2, PL_ISA_AVX512 } pl_isa_kind;

pl_isa_kind pl__isa(void);

#endif

/*
** vmath_avx512_test.c - vmath.h in the variant f32_avx512; plain where the compiler has no pragma.
*/
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("arch=skylake-avx512")
#define MACHINE_CAN (__builtin_cpu_supports("avx512f") != 0)
#else
#define MACHINE_CAN true
#endif
#define PL_VARIANT f32_avx512
#include "vmath_cases.h"
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC pop_options
#endif

int main(void)
{
    return run_vmath_tests();
}

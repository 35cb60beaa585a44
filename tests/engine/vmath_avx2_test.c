/*
** vmath_avx2_test.c - vmath.h in the variant f32_avx2; plain where the compiler has no such pragma.
*/
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("arch=haswell")
#define MACHINE_CAN (__builtin_cpu_supports("avx2") != 0)
#else
#define MACHINE_CAN true
#endif
#define PL_VARIANT f32_avx2
#include "vmath_cases.h"
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC pop_options
#endif

int main(void)
{
    return run_vmath_tests();
}

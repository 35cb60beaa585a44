/* vmath_f64_test.c - vmath.h in float64. */
#define PL_VARIANT f64
#define PL_F64_BUILD
#define MACHINE_CAN true
#include "vmath_cases.h"

int main(void)
{
    return run_vmath_tests();
}

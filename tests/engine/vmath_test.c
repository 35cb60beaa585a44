/* vmath_test.c - vmath.h in the plain float32 variant. */
#define PL_VARIANT f32_plain
#define MACHINE_CAN true
#include "vmath_cases.h"

int main(void)
{
    return run_vmath_tests();
}

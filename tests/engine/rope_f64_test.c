/* rope_f64_test.c - rotary embedding in float64. */
#define PL_VARIANT f64
#define PL_F64_BUILD
#include "rope_cases.h"

DECLARE_VARIANT(f64)

static int variant_list(variant out[4])
{
    out[0] = (variant)VARIANT(f64, true);
    return 1;
}

/* attention_f64_test.c - attention in float64, with numeric gradients. */
#define PL_VARIANT f64
#define PL_F64_BUILD
#include "attention_cases.h"

DECLARE_VARIANT(f64)

static int variant_list(variant out[4])
{
    out[0] = (variant)VARIANT(f64, true);
    return 1;
}

/* rope_test.c - rotary embedding in float32, in every variant this machine can run. */
#define PL_VARIANT f32_plain
#include "rope_cases.h"

#include "variants_f32.h"

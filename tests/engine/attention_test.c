/* attention_test.c - attention in float32, in every variant this machine can run. */
#define PL_VARIANT f32_plain
#include "attention_cases.h"

#include "variants_f32.h"

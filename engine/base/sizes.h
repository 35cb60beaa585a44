/*
** sizes.h - arithmetic on sizes that many loops need.
*/
#ifndef PL_BASE_SIZES_H
#define PL_BASE_SIZES_H

#include <stdint.h>

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* a / b rounded up; a is 0 or more, b more than 0. */
static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

#endif

/*
** philox.h - Philox4x32-10 for 16 neighbouring counters at once, in a form compilers vectorise.
**
** The same numbers as pl_random_bits(seed, purpose, index + k), k = 0..15 (Salmon et al., SC'11;
** base/random.c has the scalar form and the reasons).
*/
#ifndef PL_KERNELS_PHILOX_H
#define PL_KERNELS_PHILOX_H

#include <stdint.h>

#define PHILOX_LANES 16

/* out[word][lane] */
static inline void philox_lanes(uint64_t seed, uint64_t purpose, uint64_t index,
                                uint32_t out[4][PHILOX_LANES])
{
    uint32_t *x0 = out[0], *x1 = out[1], *x2 = out[2], *x3 = out[3];
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int i = 0; i < PHILOX_LANES; i++) {
        x0[i] = (uint32_t)(index + (uint64_t)i);
        x1[i] = (uint32_t)((index + (uint64_t)i) >> 32);
        x2[i] = (uint32_t)purpose;
        x3[i] = (uint32_t)(purpose >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < PHILOX_LANES; i++) {
            const uint64_t a = (uint64_t)0xD2511F53u * x0[i], b = (uint64_t)0xCD9E8D57u * x2[i];
            x0[i] = (uint32_t)(b >> 32) ^ x1[i] ^ key0;
            x1[i] = (uint32_t)b;
            x2[i] = (uint32_t)(a >> 32) ^ x3[i] ^ key1;
            x3[i] = (uint32_t)a;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

#endif

/*
** random.c - Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw: "Parallel random
** numbers: as easy as 1, 2, 3", SC'11). A value is a function of (seed, purpose, index): there is
** no state to save, and any value can be had out of order, on any thread.
*/
#include <math.h>
#include <string.h>

#include <xxhash.h>

#include "perilune.h"

uint64_t pl_random_purpose(const char *name, const int64_t *parts, int n)
{
    uint64_t purpose = XXH3_64bits(name, strlen(name));
    for (int i = 0; i < n; i++) purpose = XXH3_64bits_withSeed(&parts[i], sizeof parts[i], purpose);
    return purpose;
}

static void multiply(uint32_t a, uint32_t b, uint32_t *high, uint32_t *low)
{
    const uint64_t product = (uint64_t)a * b;
    *high = (uint32_t)(product >> 32);
    *low = (uint32_t)product;
}

void pl_random_bits(uint64_t seed, uint64_t purpose, uint64_t index, uint32_t out[4])
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    uint32_t x0 = (uint32_t)index, x1 = (uint32_t)(index >> 32);
    uint32_t x2 = (uint32_t)purpose, x3 = (uint32_t)(purpose >> 32);
    for (int round = 0; round < 10; round++) {
        uint32_t high0, low0, high1, low1;
        multiply(0xD2511F53u, x0, &high0, &low0);
        multiply(0xCD9E8D57u, x2, &high1, &low1);
        x0 = high1 ^ x1 ^ key0;
        x1 = low1;
        x2 = high0 ^ x3 ^ key1;
        x3 = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

static double to_unit(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double pl_random_uniform(uint64_t seed, uint64_t purpose, uint64_t index)
{
    uint32_t bits[4];
    pl_random_bits(seed, purpose, index, bits);
    return to_unit(bits[0], bits[1]);
}

double pl_random_normal(uint64_t seed, uint64_t purpose, uint64_t index)
{
    uint32_t bits[4];
    pl_random_bits(seed, purpose, index, bits);
    const double u = 1.0 - to_unit(bits[0], bits[1]); /* (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * to_unit(bits[2], bits[3]));
}

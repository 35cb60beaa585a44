/*
** mem.c - the only door to malloc: counted, aligned to 64 bytes, with a limit, a cache and a fault
** hook.
**
** Freed blocks wait in bins by size class (four to each power of two, sixteen from 2 MiB) and are
** handed out again: giving memory back to the system costs a page fault for each 4 KiB at the next
** use, which halves the speed of small models. Blocks of 128 KiB and more are mapped each by
** itself, those of 2 MiB and more aligned to 2 MiB and asking for huge pages. Of these so many wait
** that the program never holds much more than it needed at its peak, although batches of other
** lengths want blocks of other classes.
** Under AddressSanitizer nothing is cached, so that a use after free is seen.
*/
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/ctx.h"

#define ALIGN 64
#define LEAD ((size_t)64 << 10) /* no page of any system is larger */
#define LARGE_BLOCK ((size_t)128 << 10)
#define LARGE_BIN 44 /* the first whose blocks are so large */
#define HUGE_BLOCK ((size_t)2 << 20)
#define SPARE_PART 16                   /* this part of the peak may wait beyond it, */
#define SPARE_BYTES ((int64_t)16 << 20) /* and so many bytes */
#if defined(__SANITIZE_ADDRESS__)
#define CACHE_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHE_BLOCKS 0
#endif
#endif
#ifndef CACHE_BLOCKS
#define CACHE_BLOCKS 1
#endif

/* Stands just before each block; as large as the alignment, so that the block keeps it. */
typedef struct header {
    size_t size; /* of the block, rounded up to its class */
    int bin;
    struct header *next; /* in the bin */
} header;

_Static_assert(sizeof(header) <= ALIGN, "the header fits before an aligned block");

static header *header_of(void *block)
{
    return (header *)((char *)block - ALIGN);
}

/* The class of a size and the rounded size: 64, 80, 96, 112, 128, 160, ... -1 when too large. */
static int bin_of(size_t bytes, size_t *rounded)
{
    size_t base = 64;
    for (int bin = 0; bin < PL_MEM_CLASSES; base *= 2) {
        const int steps = base < HUGE_BLOCK ? 4 : 16;
        if (bytes <= 2 * base - base / (size_t)steps)
            for (int step = 0; step < steps; step++) {
                const size_t size = base + base / (size_t)steps * (size_t)step;
                if (bytes > size) continue;
                *rounded = (size + ALIGN - 1) / ALIGN * ALIGN;
                return bin + step;
            }
        bin += steps;
    }
    return -1;
}

static size_t mapped_bytes(size_t size)
{
    return (size + LEAD - 1) / LEAD * LEAD;
}

/* A mapping of its own, which goes back whole. Its header stands at the end of a page before the
** block; a huge block begins where a huge page does, so that no more of these are touched than it
** fills. */
static header *map_block(size_t size)
{
    const size_t align = size >= HUGE_BLOCK ? HUGE_BLOCK : LEAD; /* a multiple of LEAD */
    const size_t room = LEAD + mapped_bytes(size) + align;
    char *const from = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED) return NULL;
    char *const block = (char *)(((uintptr_t)from + LEAD + align - 1) / align * align);
    char *const end = block + mapped_bytes(size);
    if (block - LEAD > from) munmap(from, (size_t)(block - LEAD - from));
    if (from + room > end) munmap(end, (size_t)(from + room - end));
    if (align == HUGE_BLOCK) madvise(block, size, MADV_HUGEPAGE);
    return (header *)(block - ALIGN);
}

/* From another context, which others ask too: its limit, its counts and its faults hold. */
static header *from_lender(pl_ctx *ctx, size_t size)
{
    header *h;
#pragma omp critical(pl_lender)
    h = pl_alloc(ctx->mem.lender, size + ALIGN);
    return h;
}

static header *from_system(pl_ctx *ctx, size_t size)
{
    header *h = NULL;
    if (ctx->mem.lender != NULL) return from_lender(ctx, size);
    if (CACHE_BLOCKS && size >= LARGE_BLOCK) return map_block(size);
    return posix_memalign((void **)&h, ALIGN, size + ALIGN) == 0 ? h : NULL;
}

static void to_system(pl_ctx *ctx, header *h)
{
    if (ctx->mem.lender != NULL) {
#pragma omp critical(pl_lender)
        pl_free(ctx->mem.lender, h);
        return;
    }
    if (CACHE_BLOCKS && h->size >= LARGE_BLOCK)
        munmap((char *)h + ALIGN - LEAD, LEAD + mapped_bytes(h->size));
    else free(h);
}

pl_ctx *pl__mem_context(size_t size)
{
    return calloc(1, size);
}

void pl__mem_close(pl_ctx *ctx)
{
    pl_mem_trim(ctx);
    free(ctx);
}

void pl_mem_trim(pl_ctx *ctx)
{
    for (int bin = 0; bin < PL_MEM_CLASSES; bin++) {
        for (header *h = ctx->mem.bins[bin]; h != NULL;) {
            header *next = h->next;
            to_system(ctx, h);
            h = next;
        }
        ctx->mem.bins[bin] = NULL;
    }
    ctx->mem.info.cached = 0;
    ctx->mem.needed = ctx->mem.info.live;
}

/* Gives large blocks that wait back to the system, so that with `size` more the program does not
** hold much more than it needed at once since all was given back. */
static void make_room(pl_ctx *ctx, size_t size)
{
    pl_mem_info *info = &ctx->mem.info;
    const int64_t wanted = info->live + (int64_t)size;
    const int64_t needed = wanted > ctx->mem.needed ? wanted : ctx->mem.needed;
    const int64_t most = needed + needed / SPARE_PART + SPARE_BYTES;
    for (int bin = PL_MEM_CLASSES - 1; bin >= LARGE_BIN; bin--)
        while (ctx->mem.bins[bin] != NULL && wanted + info->cached > most) {
            header *h = ctx->mem.bins[bin];
            ctx->mem.bins[bin] = h->next;
            info->cached -= (int64_t)h->size;
            to_system(ctx, h);
        }
}

/* The bin of the smallest block that waits and is at most a quarter larger than one of `bin`: a new
** one would have to be cleared. -1: none. Small blocks fit exactly. */
static int waiting_bin(const pl_ctx *ctx, int bin, size_t size)
{
    if (ctx->mem.bins[bin] != NULL) return bin;
    const pl_mem_info *info = &ctx->mem.info;
    size_t most = size + size / 4;
    if (info->limit > 0 && (int64_t)most > info->limit - info->live) most = size;
    for (int at = bin + 1; bin >= LARGE_BIN && at < PL_MEM_CLASSES; at++) {
        const header *h = ctx->mem.bins[at];
        if (h != NULL) return h->size <= most ? at : -1;
    }
    return -1;
}

/* As pl_alloc; `zeroed`: the block is new from the system and all zeros. */
static void *take(pl_ctx *ctx, size_t bytes, bool *zeroed)
{
    size_t size = 0;
    *zeroed = false;
    int bin = bin_of(bytes, &size);
    pl_mem_info *info = &ctx->mem.info;
    header *h = NULL;
    if (!pl__faults_next(&ctx->mem.faults) && bin >= 0 &&
        (info->limit == 0 || info->live + (int64_t)size <= info->limit)) {
        const int waits = waiting_bin(ctx, bin, size);
        if (waits >= 0) {
            h = ctx->mem.bins[waits];
            bin = waits;
            size = h->size;
            ctx->mem.bins[bin] = h->next;
            info->cached -= (int64_t)size;
        } else {
            make_room(ctx, size);
            h = from_system(ctx, size);
            if (h == NULL && info->cached > 0) {
                pl_mem_trim(ctx);
                h = from_system(ctx, size);
            }
            *zeroed = h != NULL && CACHE_BLOCKS && size >= LARGE_BLOCK && ctx->mem.lender == NULL;
        }
    }
    if (h == NULL) {
        pl__fail(ctx, PL_ERR_NOMEM,
                 "not enough memory: %zu bytes wanted, %lld live, limit %lld (0: none)", bytes,
                 (long long)info->live, (long long)info->limit);
        return NULL;
    }
    h->size = size;
    h->bin = bin;
    h->next = NULL;
    info->live += (int64_t)size;
    if (info->live > info->peak) info->peak = info->live;
    if (info->live > ctx->mem.needed) ctx->mem.needed = info->live;
    if (info->live + info->cached > info->held_peak) info->held_peak = info->live + info->cached;
    return (char *)h + ALIGN;
}

void *pl_alloc(pl_ctx *ctx, size_t bytes)
{
    bool zeroed;
    return take(ctx, bytes, &zeroed);
}

void *pl_calloc(pl_ctx *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        pl__fail(ctx, PL_ERR_NOMEM, "not enough memory: %zu items of %zu bytes wanted", count,
                 size);
        return NULL;
    }
    bool zeroed;
    void *block = take(ctx, bytes, &zeroed);
    if (block != NULL && !zeroed) memset(block, 0, bytes);
    return block;
}

void *pl_realloc(pl_ctx *ctx, void *block, size_t bytes)
{
    if (block == NULL) return pl_alloc(ctx, bytes);
    const size_t old = header_of(block)->size;
    void *fresh = pl_alloc(ctx, bytes);
    if (fresh == NULL) return NULL;
    memcpy(fresh, block, old < bytes ? old : bytes);
    pl_free(ctx, block);
    return fresh;
}

char *pl_strndup(pl_ctx *ctx, const char *text, size_t length)
{
    char *copy = pl_alloc(ctx, length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void pl_free(pl_ctx *ctx, void *block)
{
    if (block == NULL) return;
    header *h = header_of(block);
    ctx->mem.info.live -= (int64_t)h->size;
    if (!CACHE_BLOCKS) {
        to_system(ctx, h);
        return;
    }
    h->next = ctx->mem.bins[h->bin];
    ctx->mem.bins[h->bin] = h;
    ctx->mem.info.cached += (int64_t)h->size;
}

pl_mem_info pl_mem_get(const pl_ctx *ctx)
{
    pl_mem_info info = ctx->mem.info;
    info.calls = ctx->mem.faults.calls;
    return info;
}

void pl_mem_set_limit(pl_ctx *ctx, int64_t bytes)
{
    ctx->mem.info.limit = bytes > 0 ? bytes : 0;
}

void pl_mem_reset_peak(pl_ctx *ctx)
{
    ctx->mem.info.peak = ctx->mem.info.live;
    ctx->mem.info.held_peak = ctx->mem.info.live + ctx->mem.info.cached;
}

void pl_mem_fail_at(pl_ctx *ctx, int64_t k, bool forever)
{
    pl__faults_set(&ctx->mem.faults, k, forever);
}

/*
** mem.c - the only door to malloc: counted, aligned to 64 bytes, with a limit, a cache and a fault
** hook.
**
** Freed blocks wait in bins by size class (four to each power of two, sixteen from 2 MiB) and are
** handed out again: giving memory back to the system costs a page fault for each 4 KiB at the next
** use, which halves the speed of small models. Blocks of 128 KiB and more are mapped each by
** itself, those of 2 MiB and more aligned to 2 MiB and asking for huge pages (pages.h). Of these so
** many wait that the program never holds much more than it needed at its peak, although batches of
** other lengths want blocks of other classes: beyond that a new block gets its memory, unit by
** unit, from blocks that wait.
**
** A block in use can lend its memory while nobody counts on what it holds. What is lent waits like
** a freed block, but where its owner finds it again, if nothing else took it, without any cost.
** Under AddressSanitizer nothing is cached or lent, so that a use after free is seen.
*/
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "base/pages.h"

#define ALIGN 64
#define LARGE_BLOCK ((size_t)128 << 10)
#define LARGE_BIN 44 /* the first whose blocks are so large */
#define HUGE_BLOCK PL_UNIT
#define HUGE_BIN 60
#define LEND_LEAST ((size_t)64 << 20)   /* of smaller blocks it would not pay */
#define SPARE_PART 32                   /* this part of the peak may wait beyond it, */
#define SPARE_BYTES ((int64_t)32 << 20) /* and so many bytes */
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
    struct header *next; /* in the bin; of blocks that lend */
    uint8_t *units;      /* of a block that lends: what each unit is */
} header;

/* A unit's memory is the owner's; or lent, and nobody has taken it; or gone to another block. */
enum { OWN, LENT, GONE };

_Static_assert(sizeof(header) <= ALIGN, "the header fits before an aligned block");

static header *header_of(void *block)
{
    return (header *)((char *)block - ALIGN);
}

static char *block_of(header *h)
{
    return (char *)h + ALIGN;
}

static int64_t units_of(const header *h)
{
    return (int64_t)(h->size / PL_UNIT);
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
    if (!CACHE_BLOCKS || size < LARGE_BLOCK)
        return posix_memalign((void **)&h, ALIGN, size + ALIGN) == 0 ? h : NULL;
    char *block = pl__pages_map(size);
    return block != NULL ? header_of(block) : NULL;
}

static void to_system(pl_ctx *ctx, header *h)
{
    if (ctx->mem.lender != NULL) {
#pragma omp critical(pl_lender)
        pl_free(ctx->mem.lender, h);
        return;
    }
    if (CACHE_BLOCKS && h->size >= LARGE_BLOCK) pl__pages_unmap(block_of(h), h->size);
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

/* ---- memory that waits ---- */

/* Takes the memory of a unit to `to`, or gives it back to the system. */
static void take_unit(pl_ctx *ctx, char *to, char *from)
{
    if (to == NULL || !pl__pages_move(to, from)) pl__pages_drop(from);
    ctx->mem.info.cached -= (int64_t)PL_UNIT;
}

/* That of a unit which is lent: the last one, since backward writes the gradients of the first
** layers last. */
static bool take_lent(pl_ctx *ctx, char *to)
{
    for (header *h = ctx->mem.lending; h != NULL; h = h->next) {
        uint8_t *unit = memrchr(h->units, LENT, (size_t)units_of(h));
        if (unit == NULL) continue;
        *unit = GONE;
        take_unit(ctx, to, block_of(h) + (size_t)(unit - h->units) * PL_UNIT);
        return true;
    }
    return false;
}

/* That of a unit of the largest block that waits. The block is out of its bin from then on, and
** goes back to the system with its last unit. Blocks from another context go whole. */
static bool take_waiting(pl_ctx *ctx, char *to)
{
    if (ctx->mem.lender != NULL) return false;
    for (int bin = PL_MEM_CLASSES - 1; bin >= HUGE_BIN && ctx->mem.opened == NULL; bin--) {
        header *h = ctx->mem.bins[bin];
        if (h == NULL) continue;
        ctx->mem.bins[bin] = h->next;
        ctx->mem.opened = h;
        ctx->mem.opened_units = units_of(h);
    }
    header *h = ctx->mem.opened;
    if (h == NULL) return false;
    take_unit(ctx, to, block_of(h) + (size_t)--ctx->mem.opened_units * PL_UNIT);
    if (ctx->mem.opened_units > 0) return true;
    ctx->mem.info.cached -= (int64_t)(h->size % PL_UNIT);
    ctx->mem.opened = NULL;
    to_system(ctx, h);
    return true;
}

/* Gives the largest block that waits in a bin from `first` on back to the system. */
static bool drop_waiting(pl_ctx *ctx, int first)
{
    for (int bin = PL_MEM_CLASSES - 1; bin >= first; bin--) {
        header *h = ctx->mem.bins[bin];
        if (h == NULL) continue;
        ctx->mem.bins[bin] = h->next;
        ctx->mem.info.cached -= (int64_t)h->size;
        to_system(ctx, h);
        return true;
    }
    return false;
}

void pl_mem_trim(pl_ctx *ctx)
{
    while (take_lent(ctx, NULL) || take_waiting(ctx, NULL)) continue;
    while (drop_waiting(ctx, 0)) continue;
    ctx->mem.needed = ctx->mem.info.live;
}

/* By how much the program, with `size` bytes more, would hold more than it may: more than it needed
** at once since all was given back, and what it may have to spare. */
static int64_t excess(const pl_ctx *ctx, size_t size)
{
    const pl_mem_info *info = &ctx->mem.info;
    const int64_t wanted = info->live + (int64_t)size;
    const int64_t needed = wanted > ctx->mem.needed ? wanted : ctx->mem.needed;
    return wanted + info->cached - (needed + needed / SPARE_PART + SPARE_BYTES);
}

/* Makes room for `size` more bytes. Memory that waits becomes that of `units` units from `to` on,
** and what goes beyond is given back. What is lent goes first, or last: then its owner wants it. */
static void make_room(pl_ctx *ctx, size_t size, char *to, int64_t units, bool lent_first)
{
    while (excess(ctx, size) > 0) {
        char *place = units > 0 ? to : NULL;
        const bool taken = (lent_first && take_lent(ctx, place)) || take_waiting(ctx, place);
        if (!taken && drop_waiting(ctx, LARGE_BIN)) continue;
        if (!taken && (lent_first || !take_lent(ctx, place))) return;
        if (units-- > 0) to += PL_UNIT;
    }
}

/* A new block; all zeros where they are wanted and it is large, as memory from the system is. */
static header *new_block(pl_ctx *ctx, size_t size, bool zeros)
{
    const int64_t units = size >= HUGE_BLOCK && !zeros ? (int64_t)(size / PL_UNIT) : 0;
    header *h = from_system(ctx, size);
    if (h == NULL && ctx->mem.info.cached > 0) {
        pl_mem_trim(ctx);
        h = from_system(ctx, size);
    }
    if (h != NULL) make_room(ctx, size, block_of(h), units, true);
    return h;
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

static pl_status refuse(pl_ctx *ctx, size_t bytes)
{
    const pl_mem_info *info = &ctx->mem.info;
    return pl__fail(ctx, PL_ERR_NOMEM,
                    "not enough memory: %zu bytes wanted, %lld live, limit %lld (0: none)", bytes,
                    (long long)info->live, (long long)info->limit);
}

static void count_live(pl_ctx *ctx, size_t size)
{
    pl_mem_info *info = &ctx->mem.info;
    info->live += (int64_t)size;
    if (info->live > info->peak) info->peak = info->live;
    if (info->live > ctx->mem.needed) ctx->mem.needed = info->live;
    if (info->live + info->cached > info->held_peak) info->held_peak = info->live + info->cached;
}

/* As pl_alloc, and *zeros from whether they are wanted to whether the block is all zeros. */
static void *take(pl_ctx *ctx, size_t bytes, bool *zeros)
{
    size_t size = 0;
    bool fresh = false;
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
            h = new_block(ctx, size, *zeros);
            fresh = CACHE_BLOCKS && size >= LARGE_BLOCK && ctx->mem.lender == NULL;
        }
    }
    if (h == NULL) {
        refuse(ctx, bytes);
        return NULL;
    }
    *zeros = *zeros && fresh;
    *h = (header){.size = size, .bin = bin};
    count_live(ctx, size);
    return block_of(h);
}

void *pl_alloc(pl_ctx *ctx, size_t bytes)
{
    bool zeros = false;
    return take(ctx, bytes, &zeros);
}

void *pl_calloc(pl_ctx *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        pl__fail(ctx, PL_ERR_NOMEM, "not enough memory: %zu items of %zu bytes wanted", count,
                 size);
        return NULL;
    }
    bool zeros = true;
    void *block = take(ctx, bytes, &zeros);
    if (block != NULL && !zeros) memset(block, 0, bytes);
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

/* ---- lending ---- */

void pl__mem_lend(pl_ctx *ctx, void *block)
{
    header *h = header_of(block);
    if (!CACHE_BLOCKS || ctx->mem.lender != NULL || h->size < LEND_LEAST) return;
    if (h->units == NULL) {
        h->units = pl_calloc(ctx, (size_t)units_of(h), sizeof *h->units);
        if (h->units == NULL) return;
        h->next = ctx->mem.lending;
        ctx->mem.lending = h;
    }
    for (int64_t i = 0; i < units_of(h); i++) {
        if (h->units[i] != OWN) continue;
        h->units[i] = LENT;
        ctx->mem.info.live -= (int64_t)PL_UNIT;
        ctx->mem.info.cached += (int64_t)PL_UNIT;
    }
}

pl_status pl__mem_claim(pl_ctx *ctx, void *block, size_t from, size_t bytes)
{
    header *h = header_of(block);
    pl_mem_info *info = &ctx->mem.info;
    if (h->units == NULL || bytes == 0) return PL_OK;
    const int64_t first = (int64_t)(from / PL_UNIT);
    int64_t end = (int64_t)((from + bytes - 1) / PL_UNIT) + 1, wanted = 0;
    if (end > units_of(h)) end = units_of(h);
    for (int64_t i = first; i < end; i++) wanted += h->units[i] != OWN;
    if (wanted == 0) return PL_OK;
    wanted *= (int64_t)PL_UNIT;
    if (pl__faults_next(&ctx->mem.faults) || (info->limit > 0 && info->live + wanted > info->limit))
        return refuse(ctx, (size_t)wanted);
    for (int64_t i = first; i < end; i++) {
        if (h->units[i] == OWN) continue;
        if (h->units[i] == LENT) info->cached -= (int64_t)PL_UNIT;
        else make_room(ctx, PL_UNIT, (char *)block + (size_t)i * PL_UNIT, 1, false);
        h->units[i] = OWN;
        count_live(ctx, PL_UNIT);
    }
    return PL_OK;
}

/* Ends a block's lending, as if all of it were live; false when some of its memory is gone. */
static bool take_back(pl_ctx *ctx, header *h)
{
    bool whole = true;
    if (h->units == NULL) return true;
    for (int64_t i = 0; i < units_of(h); i++) {
        if (h->units[i] == LENT) ctx->mem.info.cached -= (int64_t)PL_UNIT;
        if (h->units[i] != OWN) ctx->mem.info.live += (int64_t)PL_UNIT;
        whole = whole && h->units[i] != GONE;
    }
    header **at = (header **)&ctx->mem.lending;
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    pl_free(ctx, h->units);
    h->units = NULL;
    return whole;
}

void pl_free(pl_ctx *ctx, void *block)
{
    if (block == NULL) return;
    header *h = header_of(block);
    const bool whole = take_back(ctx, h);
    ctx->mem.info.live -= (int64_t)h->size;
    if (!CACHE_BLOCKS || !whole) {
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

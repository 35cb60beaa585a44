/*
** mem_test.c - the allocator: what it counts, how it aligns, how it refuses and recovers, and that
*a
** refusal costs nothing but itself.
*/
#include "check.h"

#if defined(__SANITIZE_ADDRESS__)
#define CACHES false /* see the head of mem.c */
#else
#define CACHES true
#endif

static int64_t cached_bytes(const pl_ctx *ctx)
{
    return pl_mem_get(ctx).cached;
}

/* A block costs its size, rounded up by less than a quarter and to a multiple of 64. */
static void blocks_are_aligned_and_cost_little_more(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx);
    for (size_t size = 0; size < (size_t)40 << 20; size = size < 2000 ? size + 1 : size * 17 / 8) {
        unsigned char *block = pl_alloc(ctx, size);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        memset(block, 0xa5, size);
        const int64_t cost = live_bytes(ctx) - start;
        assert_int_equal(cost % 64, 0);
        assert_true(cost >= (int64_t)size && cost >= 64);
        assert_true(cost <= 64 || cost < (int64_t)size * 5 / 4 + 64);
        pl_free(ctx, block);
        assert_int_equal(live_bytes(ctx), start);
    }
}

static void blocks_do_not_meet(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 500 };
    unsigned char *blocks[N];
    size_t sizes[N];
    for (int round = 0; round < 3; round++) { /* from the second on, out of the cache */
        for (int i = 0; i < N; i++) {
            sizes[i] = (size_t)(i * 37 + round * 11) % 900;
            blocks[i] = pl_alloc(ctx, sizes[i]);
            assert_non_null(blocks[i]);
            memset(blocks[i], i % 251, sizes[i]);
        }
        for (int i = 0; i < N; i++) {
            for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(blocks[i][k], i % 251);
            pl_free(ctx, blocks[i]);
        }
    }
    pl_free(ctx, NULL);
}

static void counts_live_peak_and_calls(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx), calls = pl_mem_get(ctx).calls;
    pl_mem_reset_peak(ctx);
    assert_int_equal(pl_mem_get(ctx).peak, start);
    void *a = pl_alloc(ctx, 64), *b = pl_alloc(ctx, 128), *c = pl_alloc(ctx, 1024);
    assert_int_equal(live_bytes(ctx), start + 64 + 128 + 1024);
    pl_free(ctx, b);
    assert_int_equal(live_bytes(ctx), start + 64 + 1024);
    assert_int_equal(pl_mem_get(ctx).peak, start + 64 + 128 + 1024);
    b = pl_alloc(ctx, 64);
    assert_int_equal(pl_mem_get(ctx).peak, start + 64 + 128 + 1024); /* 1152 live is no new peak */
    pl_mem_reset_peak(ctx);
    assert_int_equal(pl_mem_get(ctx).peak, start + 64 + 64 + 1024);
    pl_free(ctx, a);
    pl_free(ctx, b);
    pl_free(ctx, c);
    assert_int_equal(pl_mem_get(ctx).peak, start + 64 + 64 + 1024);
    assert_int_equal(pl_mem_get(ctx).calls, calls + 4);
    assert_int_equal(pl_mem_get(ctx).limit, 0);
}

static void a_limit_refuses_and_recovers(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx);
    pl_mem_set_limit(ctx, start + 1024);
    assert_int_equal(pl_mem_get(ctx).limit, start + 1024);
    pl_mem_reset_peak(ctx);
    void *a = pl_alloc(ctx, 512), *b = pl_alloc(ctx, 512); /* to the limit exactly */
    assert_non_null(a);
    assert_non_null(b);
    assert_null(pl_alloc(ctx, 1));
    char text[200];
    snprintf(text, sizeof text,
             "not enough memory: 1 bytes wanted, %lld live, limit %lld (0: none)",
             (long long)start + 1024, (long long)start + 1024);
    assert_string_equal(pl_error(ctx), text);
    assert_int_equal(live_bytes(ctx), start + 1024);
    assert_int_equal(pl_mem_get(ctx).peak, start + 1024);
    pl_free(ctx, a);
    a = pl_alloc(ctx, 512);
    assert_non_null(a);
    pl_mem_set_limit(ctx, 1); /* below what is live: nothing is taken away, nothing given */
    assert_null(pl_alloc(ctx, 1));
    pl_mem_set_limit(ctx, -5); /* none */
    assert_int_equal(pl_mem_get(ctx).limit, 0);
    void *c = pl_alloc(ctx, 1 << 20);
    assert_non_null(c);
    pl_free(ctx, a);
    pl_free(ctx, b);
    pl_free(ctx, c);
}

static void too_large_sizes_are_refused(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx);
    assert_null(pl_alloc(ctx, SIZE_MAX));
    assert_null(pl_alloc(ctx, SIZE_MAX / 2));
    assert_null(pl_calloc(ctx, SIZE_MAX / 2, 3));
    char text[200];
    snprintf(text, sizeof text, "not enough memory: %zu items of 3 bytes wanted", SIZE_MAX / 2);
    assert_string_equal(pl_error(ctx), text);
    assert_null(pl_calloc(ctx, (size_t)1 << 32, (size_t)1 << 32)); /* 2^64: the product is 0 */
    void *block = pl_alloc(ctx, 100);
    assert_null(pl_realloc(ctx, block, SIZE_MAX));
    pl_free(ctx, block);
    assert_int_equal(live_bytes(ctx), start);
}

static void calloc_zeroes_what_was_used_before(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    static const unsigned char zeros[777];
    void *dirty = pl_alloc(ctx, sizeof zeros);
    memset(dirty, 0xff, sizeof zeros);
    pl_free(ctx, dirty);
    void *block = pl_calloc(ctx, 7, 111);
    assert_memory_equal(block, zeros, sizeof zeros);
    pl_free(ctx, block);
    void *none = pl_calloc(ctx, 0, 8), *other = pl_calloc(ctx, 8, 0); /* blocks of no bytes */
    assert_non_null(none);
    assert_non_null(other);
    assert_ptr_not_equal(none, other);
    pl_free(ctx, none);
    pl_free(ctx, other);
}

/* What waits and is at most a quarter larger serves: to map a new block costs its clearing. */
static void a_large_block_that_waits_serves_a_smaller_one(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { LARGE = 5 << 20 };
    const int64_t start = live_bytes(ctx);
    void *block = pl_alloc(ctx, LARGE);
    const int64_t size = live_bytes(ctx) - start;
    pl_free(ctx, block);
    if (pl_mem_get(ctx).cached < LARGE) return; /* under AddressSanitizer nothing waits */
    void *again = pl_alloc(ctx, LARGE / 10 * 9);
    assert_ptr_equal(again, block);
    assert_int_equal(live_bytes(ctx), start + size);
    pl_free(ctx, again);
    void *half = pl_alloc(ctx, LARGE / 2); /* much smaller: one of its own */
    assert_ptr_not_equal(half, block);
    pl_mem_set_limit(ctx, live_bytes(ctx) + LARGE / 10 * 9); /* no room for all of the block */
    void *tight = pl_alloc(ctx, LARGE / 20 * 17);
    assert_non_null(tight);
    assert_ptr_not_equal(tight, block);
    pl_free(ctx, tight);
    pl_free(ctx, half);
    pl_mem_set_limit(ctx, 0);
}

static void realloc_moves_or_leaves_the_old_block(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx);
    unsigned char *block = pl_realloc(ctx, NULL, 10);
    size_t size = 10;
    memset(block, 7, size);
    static const size_t sizes[] = {64, 65, 4000, 3000, 1, 0, 5000, 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        pl_mem_fail_at(ctx, 1, false);
        const int64_t live = live_bytes(ctx);
        assert_null(pl_realloc(ctx, block, sizes[i]));
        assert_int_equal(live_bytes(ctx), live);
        for (size_t k = 0; k < size; k++) assert_int_equal(block[k], 7);
        block = pl_realloc(ctx, block, sizes[i]);
        assert_non_null(block);
        for (size_t k = 0; k < (size < sizes[i] ? size : sizes[i]); k++)
            assert_int_equal(block[k], 7);
        size = sizes[i];
        memset(block, 7, size);
    }
    pl_mem_set_limit(ctx, live_bytes(ctx) + 64); /* no room for old and new at once */
    assert_null(pl_realloc(ctx, block, 6000));
    for (size_t k = 0; k < size; k++) assert_int_equal(block[k], 7);
    pl_free(ctx, block);
    assert_int_equal(live_bytes(ctx), start);
}

static void strndup_ends_its_copy(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    char *copy = pl_strndup(ctx, "moon\0light", 7);
    assert_memory_equal(copy, "moon\0li", 8);
    char *empty = pl_strndup(ctx, "", 0);
    assert_string_equal(empty, "");
    pl_free(ctx, copy);
    pl_free(ctx, empty);
    pl_mem_fail_at(ctx, 1, false);
    assert_null(pl_strndup(ctx, "moon", 4));
}

static void the_hook_fails_the_kth_once_or_for_ever(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    for (int forever = 0; forever < 2; forever++)
        for (int k = 0; k <= 5; k++) {
            const int64_t calls = pl_mem_get(ctx).calls;
            pl_mem_fail_at(ctx, k, forever);
            for (int i = 1; i <= 8; i++) {
                void *block = pl_alloc(ctx, 32);
                const bool fails = k > 0 && (i == k || (forever && i > k));
                assert_int_equal(block == NULL, fails);
                pl_free(ctx, block);
            }
            assert_int_equal(pl_mem_get(ctx).calls,
                             calls + 8); /* refused ones were asked for too */
        }
    pl_mem_fail_at(ctx, 3, true);
    pl_mem_fail_at(ctx, 0, false);
    void *block = pl_alloc(ctx, 32);
    assert_non_null(block);
    pl_free(ctx, block);
    pl_mem_fail_at(ctx, -1, true); /* off as well */
    block = pl_alloc(ctx, 32);
    assert_non_null(block);
    pl_free(ctx, block);
}

static void freed_blocks_wait_in_the_cache(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_mem_trim(ctx);
    assert_int_equal(cached_bytes(ctx), 0);
    const int64_t start = live_bytes(ctx);
    void *a = pl_alloc(ctx, 1024), *b = pl_alloc(ctx, 64);
    pl_free(ctx, a);
    assert_int_equal(cached_bytes(ctx), CACHES ? 1024 : 0);
    pl_free(ctx, b);
    assert_int_equal(cached_bytes(ctx), CACHES ? 1024 + 64 : 0);
    void *again = pl_alloc(ctx, 1000); /* of the same class */
    if (CACHES) assert_ptr_equal(again, a);
    assert_int_equal(live_bytes(ctx), start + 1024);
    assert_int_equal(cached_bytes(ctx), CACHES ? 64 : 0);
    memset(again, 3, 1000);
    pl_mem_trim(ctx);
    pl_mem_trim(ctx);
    assert_int_equal(cached_bytes(ctx), 0);
    assert_int_equal(live_bytes(ctx), start + 1024); /* what is in use stays */
    for (int i = 0; i < 1000; i++) assert_int_equal(((unsigned char *)again)[i], 3);
    /* Waiting blocks do not count against the limit. */
    pl_free(ctx, again);
    pl_mem_set_limit(ctx, start + 2048);
    void *large = pl_alloc(ctx, 2048);
    assert_non_null(large);
    pl_free(ctx, large);
}

static void batches_of_other_lengths_do_not_fill_the_cache(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_mem_trim(ctx);
    const int64_t mb = 1 << 20;
    int64_t most = 0;
    for (int64_t size = 40; size < 160; size += 3) { /* every class between once */
        void *a = pl_alloc(ctx, (size_t)(size * mb)), *b = pl_alloc(ctx, (size_t)(size * mb / 2));
        pl_free(ctx, a);
        pl_free(ctx, b);
        const int64_t held = live_bytes(ctx) + cached_bytes(ctx);
        most = held > most ? held : most;
    }
    const int64_t peak = pl_mem_get(ctx).peak;
    assert_true(peak >= 157 * mb * 3 / 2);
    assert_true(most <= peak + peak / 32 + 32 * mb);
    const int64_t held_peak = pl_mem_get(ctx).held_peak;
    assert_true(held_peak >= (CACHES ? most : peak));
    assert_true(held_peak <= (CACHES ? most + 160 * mb : peak));
    /* Those of a few hundred kilobytes are no other. */
    const int64_t kb = 1 << 10, before = live_bytes(ctx);
    pl_mem_trim(ctx);
    pl_mem_reset_peak(ctx);
    for (int64_t size = 128; size < 2048; size += 16) {
        void *blocks[64];
        for (int i = 0; i < 64; i++)
            assert_non_null(blocks[i] = pl_alloc(ctx, (size_t)(size * kb)));
        for (int i = 0; i < 64; i++) pl_free(ctx, blocks[i]);
    }
    const pl_mem_info info = pl_mem_get(ctx);
    assert_int_equal(info.peak, before + 64 * 2048 * kb);
    if (CACHES) assert_true(info.held_peak > info.peak);
    assert_true(info.held_peak <= info.peak + info.peak / 32 + 32 * mb);
    pl_mem_trim(ctx);
}

/* Blocks of every class of large ones, each written from end to end, neighbours among them given
** back while others stay. */
static void large_blocks_are_their_own(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 40 };
    unsigned char *blocks[N];
    size_t sizes[N];
    for (int i = 0; i < N; i++) {
        sizes[i] = ((size_t)100 << 10) * (size_t)(i + 1) + (size_t)i;
        assert_non_null(blocks[i] = pl_alloc(ctx, sizes[i]));
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], i, sizes[i]);
    }
    for (int i = 0; i < N; i += 2) pl_free(ctx, blocks[i]);
    pl_mem_trim(ctx);
    for (int i = 0; i < N; i += 2) {
        assert_non_null(blocks[i] = pl_calloc(ctx, 1, sizes[i]));
        for (size_t k = 0; k < sizes[i]; k += 511) assert_int_equal(blocks[i][k], 0);
        memset(blocks[i], i, sizes[i]);
    }
    for (int i = 0; i < N; i++) {
        for (size_t k = 0; k < sizes[i]; k += 511) assert_int_equal(blocks[i][k], i);
        assert_int_equal(blocks[i][sizes[i] - 1], i);
        pl_free(ctx, blocks[i]);
    }
    pl_mem_trim(ctx);
}

static void tensors_are_counted(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    const int64_t start = live_bytes(ctx), shape[] = {1000, 16};
    pl_tensor *t, *view, *refused;
    OK(pl_tensor_new(ctx, &t, PL_F64, 2, shape));
    const int64_t with = live_bytes(ctx);
    assert_true(with - start >= 128000 && with - start < 128000 * 5 / 4 + 1024);
    OK(pl_tensor_view(ctx, &view, t, 16, 1, shape)); /* shares the data */
    assert_true(live_bytes(ctx) - with < 1024);
    pl_mem_set_limit(ctx, live_bytes(ctx) + 100000);
    FAILS(pl_tensor_new(ctx, &refused, PL_F64, 2, shape), PL_ERR_NOMEM,
          "not enough memory: 128000 bytes wanted");
    assert_null(refused);
    pl_tensor_release(t);
    assert_true(live_bytes(ctx) > start + 128000); /* the view holds it */
    pl_tensor_release(view);
    assert_int_equal(live_bytes(ctx), start);
    OK(pl_tensor_zeros(ctx, &t, PL_F32, 2, (const int64_t[]){0, 16})); /* no elements */
    assert_int_equal(pl_tensor_count(t), 0);
    pl_tensor_release(t);
    FAILS(pl_tensor_new(ctx, &t, PL_F32, 2, (const int64_t[]){INT64_MAX, 2}), PL_ERR_SHAPE,
          "bad shape");
    FAILS(pl_tensor_new(ctx, &t, PL_F32, 1, (const int64_t[]){-1}), PL_ERR_SHAPE, "bad shape");
    FAILS(pl_tensor_new(ctx, &t, PL_F32, PL_MAX_RANK + 1, (const int64_t[]){1, 1, 1, 1, 1, 1, 1}),
          PL_ERR_SHAPE, "bad shape");
}

/* A new name of a scope is kept by the context: one without memory leaves none. */
static void a_scope_without_memory_is_not_open(void **state)
{
    (void)state;
    for (int64_t k = 1;; k++) {
        pl_ctx *fresh = pl_ctx_new();
        assert_non_null(fresh);
        int64_t id;
        pl_mem_fail_at(fresh, k, true);
        const pl_status st = pl_scope_open(fresh, &id, "a name of its own", false);
        pl_mem_fail_at(fresh, 0, false);
        assert_int_equal(pl_scope_depth(fresh), st == PL_OK ? 1 : 0);
        assert_int_equal(id > 0, st == PL_OK);
        pl_scope_close(fresh, id);
        pl_ctx_free(fresh);
        if (st == PL_OK) {
            assert_int_equal(k, 4); /* the list of names, the name, the scope */
            break;
        }
        assert_int_equal(st, PL_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTEXT_CASE(blocks_are_aligned_and_cost_little_more),
        CONTEXT_CASE(blocks_do_not_meet),
        CONTEXT_CASE(counts_live_peak_and_calls),
        CONTEXT_CASE(a_limit_refuses_and_recovers),
        CONTEXT_CASE(too_large_sizes_are_refused),
        CONTEXT_CASE(calloc_zeroes_what_was_used_before),
        CONTEXT_CASE(a_large_block_that_waits_serves_a_smaller_one),
        CONTEXT_CASE(realloc_moves_or_leaves_the_old_block),
        CONTEXT_CASE(strndup_ends_its_copy),
        CONTEXT_CASE(the_hook_fails_the_kth_once_or_for_ever),
        CONTEXT_CASE(freed_blocks_wait_in_the_cache),
        CONTEXT_CASE(batches_of_other_lengths_do_not_fill_the_cache),
        CONTEXT_CASE(large_blocks_are_their_own),
        CONTEXT_CASE(tensors_are_counted),
        CONTEXT_CASE(a_scope_without_memory_is_not_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

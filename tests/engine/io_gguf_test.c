/*
** io_gguf_test.c - GGUF files: entries and tensors at their places, malformed files each with its
** own refusal, damage at every bit and length, faults and lack of memory at every call.
*/
#include "io_cases.h"

typedef struct {
    unsigned char bytes[4096];
    size_t n;
} builder;

static void put(builder *b, const void *data, size_t size)
{
    memcpy(b->bytes + b->n, data, size);
    b->n += size;
}

static void u32(builder *b, uint32_t value)
{
    put(b, &value, sizeof value);
}

static void u64(builder *b, uint64_t value)
{
    put(b, &value, sizeof value);
}

static void text(builder *b, const char *value)
{
    u64(b, strlen(value));
    put(b, value, strlen(value));
}

static void begin(builder *b, uint32_t version, uint64_t tensors, uint64_t entries)
{
    b->n = 0;
    put(b, "GGUF", 4);
    u32(b, version);
    u64(b, tensors);
    u64(b, entries);
}

static void key(builder *b, const char *name, uint32_t type)
{
    text(b, name);
    u32(b, type);
}

static void tensor(builder *b, const char *name, int axes, const uint64_t *sizes, uint32_t type,
                   uint64_t offset)
{
    text(b, name);
    u32(b, (uint32_t)axes);
    for (int i = 0; i < axes; i++) u64(b, sizes[i]);
    u32(b, type);
    u64(b, offset);
}

static void align(builder *b, size_t to)
{
    while (b->n % to != 0) b->bytes[b->n++] = 0;
}

/* --------------------------------------------------------------------------------------------
** A sound file
*/
#define N_KEYS 11

static void build_good(builder *b, uint32_t version)
{
    static const float single = -0.1f, data[6] = {1, 2, 3, 4, 5, 6};
    static const double wide = 0.1;
    static const uint16_t half[2] = {0x3c00, 0xc000};
    begin(b, version, 3, N_KEYS);
    key(b, "general.architecture", 8), text(b, "llama");
    key(b, "z.u8", 0), put(b, "\xff", 1);
    key(b, "z.i8", 1), put(b, "\xff", 1);
    key(b, "z.i16", 3), put(b, "\x00\x80", 2);
    key(b, "z.f32", 6), put(b, &single, 4);
    key(b, "z.f64", 12), put(b, &wide, 8);
    key(b, "z.i64", 11), u64(b, (uint64_t)INT64_MIN);
    key(b, "z.bools", 9), u32(b, 7), u64(b, 3), put(b, "\1\0\1", 3);
    key(b, "z.texts", 9), u32(b, 8), u64(b, 3), text(b, "a"), text(b, ""), u64(b, 2),
        put(b, "\0b", 2);
    key(b, "z.none", 9), u32(b, 5), u64(b, 0);
    key(b, "general.alignment", 4), u32(b, 64);
    tensor(b, "wide", 2, (uint64_t[]){3, 2}, 0, 64);
    tensor(b, "half", 1, (uint64_t[]){2}, 1, 0);
    tensor(b, "empty", 2, (uint64_t[]){0, 7}, 0, 0);
    align(b, 64);
    put(b, half, sizeof half);
    align(b, 64);
    put(b, data, sizeof data);
}

static void expect_text(const pl_gguf *g, const char *name, int64_t j, const char *value, size_t n)
{
    size_t length;
    const int64_t i = pl_gguf_find(g, name);
    assert_true(i >= 0);
    assert_int_equal(pl_gguf_get(g, i).kind, PL_GGUF_TEXT);
    const char *held = pl_gguf_text(g, i, j, &length);
    assert_int_equal(length, n);
    assert_memory_equal(held, value, n);
}

static void entries_and_tensors(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    for (uint32_t version = 2; version <= 3; version++) {
        builder b;
        pl_gguf *g;
        pl_tensor *t;
        build_good(&b, version);
        put_raw(s->path, b.bytes, b.n);
        OK(pl_gguf_open(ctx, &g, s->path));
        assert_int_equal(pl_gguf_count(g), N_KEYS);
        expect_text(g, "general.architecture", 0, "llama", 5);
        expect_text(g, "z.texts", 0, "a", 1);
        expect_text(g, "z.texts", 1, "", 0);
        expect_text(g, "z.texts", 2, "\0b", 2);
        assert_int_equal(pl_gguf_integer(g, pl_gguf_find(g, "z.u8"), 0), 255);
        assert_int_equal(pl_gguf_integer(g, pl_gguf_find(g, "z.i8"), 0), -1);
        assert_int_equal(pl_gguf_integer(g, pl_gguf_find(g, "z.i16"), 0), -32768);
        assert_true(pl_gguf_integer(g, pl_gguf_find(g, "z.i64"), 0) == INT64_MIN);
        assert_true(pl_gguf_number(g, pl_gguf_find(g, "z.f32"), 0) == (double)-0.1f);
        assert_true(pl_gguf_number(g, pl_gguf_find(g, "z.f64"), 0) == 0.1);
        assert_true(pl_gguf_number(g, pl_gguf_find(g, "z.i8"), 0) == -1);
        assert_int_equal(pl_gguf_integer(g, pl_gguf_find(g, "z.bools"), 2), 1);
        const pl_gguf_entry none = pl_gguf_get(g, pl_gguf_find(g, "z.none"));
        assert_true(none.list && none.n == 0 && none.kind == PL_GGUF_INTEGER);
        assert_int_equal(pl_gguf_find(g, "absent"), -1);

        const pl_weights *w = pl_gguf_weights(g);
        assert_int_equal(pl_weights_count(w), 3);
        OK(pl_weights_load(ctx, &t, w, pl_weights_find(w, "wide")));
        assert_int_equal(pl_tensor_rank(t), 2);
        assert_int_equal(pl_tensor_shape(t)[0], 2); /* the slow axis first */
        assert_true(((float *)pl_tensor_data(t))[5] == 6);
        pl_tensor_release(t);
        OK(pl_weights_load(ctx, &t, w, pl_weights_find(w, "half")));
        assert_true(((float *)pl_tensor_data(t))[1] == -2);
        pl_tensor_release(t);
        pl_gguf_close(g);
    }
}

/* --------------------------------------------------------------------------------------------
** Refusals
*/
static void expect_refusal(scratch *s, const builder *b, const char *why)
{
    pl_gguf *g;
    const int fds = count_fds();
    put_raw(s->path, b->bytes, b->n);
    const pl_status st = pl_gguf_open(s->ctx, &g, s->path);
    if (st == PL_OK) fail_msg("accepted, though: %s", why);
    assert_null(g);
    assert_int_equal(st, PL_ERR_FORMAT);
    if (strstr(pl_error(s->ctx), why) == NULL)
        fail_msg("expected '%s', got '%s'", why, pl_error(s->ctx));
    assert_non_null(strstr(pl_error(s->ctx), s->folder));
    assert_int_equal(count_fds(), fds);
}

/* The least there is: no name has a byte, and a tensor no axis. */
static void empty_names(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    builder b;
    pl_gguf *g;
    begin(&b, 3, 1, 1), key(&b, "", 8), text(&b, "");
    tensor(&b, "", 0, NULL, 0, 0);
    align(&b, 32);
    u32(&b, 0x40000000);
    put_raw(s->path, b.bytes, b.n);
    OK(pl_gguf_open(ctx, &g, s->path));
    expect_text(g, "", 0, "", 0);
    assert_int_equal(pl_weights_find(pl_gguf_weights(g), ""), 0);
    assert_int_equal(pl_weights_get(pl_gguf_weights(g), 0).rank, 0);
    pl_gguf_close(g);
}

static void bad_heads(void **state)
{
    scratch *s = *state;
    builder b = {.n = 0};
    expect_refusal(s, &b, "byte 0: the file ends within its head");
    put(&b, "GGML0000", 8);
    expect_refusal(s, &b, "is no GGUF file");
    begin(&b, 1, 0, 0);
    expect_refusal(s, &b, "GGUF of version 1; versions 2 and 3 are read");
    begin(&b, 4, 0, 0);
    expect_refusal(s, &b, "GGUF of version 4");
    begin(&b, 0x03000000, 0, 0);
    expect_refusal(s, &b, "is a big-endian GGUF file (version 3)");
    begin(&b, 3, UINT64_MAX, 0);
    expect_refusal(s, &b, "more tensors or entries than the file can hold");
    begin(&b, 3, 0, 1);
    expect_refusal(s, &b, "more tensors or entries than the file can hold");
}

static void bad_entries(void **state)
{
    scratch *s = *state;
    builder b;
    begin(&b, 3, 0, 1), u64(&b, UINT64_MAX), u64(&b, 0);
    expect_refusal(s, &b, "byte 32: a key of more than 65535 bytes");
    begin(&b, 3, 0, 1), u64(&b, 65535), u64(&b, 0);
    expect_refusal(s, &b, "the file ends within its head");
    begin(&b, 3, 0, 1), key(&b, "\xff", 4), u32(&b, 1);
    expect_refusal(s, &b, "a key that is not UTF-8, or holds a NUL");
    begin(&b, 3, 0, 1), u64(&b, 2), put(&b, "a\0", 2), u32(&b, 4), u32(&b, 1);
    expect_refusal(s, &b, "a key that is not UTF-8, or holds a NUL");
    begin(&b, 3, 0, 1), key(&b, "k", 13), u64(&b, 0);
    expect_refusal(s, &b, "a value of an unknown type");
    begin(&b, 3, 0, 1), key(&b, "k", 9), u32(&b, 13), u64(&b, 0);
    expect_refusal(s, &b, "a value of an unknown type");
    begin(&b, 3, 0, 1), key(&b, "k", 9), u32(&b, 9), u64(&b, 0);
    expect_refusal(s, &b, "a list of lists, which is not read");
    begin(&b, 3, 0, 1), key(&b, "k", 9), u32(&b, 12), u64(&b, UINT64_MAX / 8 + 2);
    expect_refusal(s, &b, "a list that is longer than the file");
    begin(&b, 3, 0, 1), key(&b, "k", 9), u32(&b, 8), u64(&b, 2), text(&b, "a");
    expect_refusal(s, &b, "a list that is longer than the file");
    begin(&b, 3, 0, 1), key(&b, "k", 8), u64(&b, UINT64_MAX);
    expect_refusal(s, &b, "the file ends within its head");
    begin(&b, 3, 0, 1), key(&b, "k", 7), put(&b, "\2", 1);
    expect_refusal(s, &b, "a boolean that is neither 0 nor 1");
    begin(&b, 3, 0, 1), key(&b, "k", 10), u64(&b, (uint64_t)INT64_MAX + 1);
    expect_refusal(s, &b, "an integer beyond 2^63 - 1");
    begin(&b, 3, 0, 2), key(&b, "k", 4), u32(&b, 1), key(&b, "k", 4), u32(&b, 1);
    expect_refusal(s, &b, "the key 'k' stands twice");
    static const uint32_t alignments[] = {0, 3, 33, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        begin(&b, 3, 0, 1), key(&b, "general.alignment", 4), u32(&b, alignments[i]);
        expect_refusal(s, &b, "general.alignment is no power of two");
    }
    begin(&b, 3, 0, 1), key(&b, "general.alignment", 8), text(&b, "32");
    expect_refusal(s, &b, "general.alignment is no power of two");
}

static void bad_tensors(void **state)
{
    static const struct {
        int axes;
        uint64_t sizes[5];
        uint32_t type;
        uint64_t offset;
        const char *why;
    } cases[] = {
        {5, {1, 1, 1, 1, 1}, 0, 0, "a tensor of more than 4 axes"},
        {1, {UINT64_MAX}, 0, 0, "a tensor of more than 2^63 - 1 elements"},
        {2, {1ULL << 32, 1ULL << 32}, 0, 0, "a tensor of more than 2^63 - 1 elements"},
        {1, {1ULL << 62}, 0, 0, "a tensor of more than 2^63 - 1 bytes"},
        {1, {4}, 77, 0, "a tensor of type 77, which is not known"},
        {1, {4}, 4, 0, "a tensor of type 4, which is not known"},
        {2, {33, 32}, 8, 0, "no whole number of its type's blocks"},
        {0, {0}, 12, 0, "no whole number of its type's blocks"},
        {1, {4}, 0, 1ULL << 63, "an offset beyond the end of the file"},
        {1, {4}, 0, 16, "the tensor 'x' at offset 16 is not aligned"},
        {1, {4}, 0, 32, "the tensor 'x' at offset 32 goes beyond the end of the file"},
        {1, {9}, 0, 0, "the tensor 'x' at offset 0 goes beyond the end of the file"},
        {1, {4}, 0, INT64_MAX - 31, "goes beyond the end of the file"},
    };
    scratch *s = *state;
    builder b;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(&b, 3, 1, 0);
        tensor(&b, "x", cases[i].axes, cases[i].sizes, cases[i].type, cases[i].offset);
        align(&b, 32);
        b.n += 32;
        memset(b.bytes + b.n - 32, 0, 32);
        expect_refusal(s, &b, cases[i].why);
    }
    for (int same = 0; same < 2; same++) { /* two tensors: of one name, at one place */
        begin(&b, 3, 2, 0);
        tensor(&b, "x", 1, (uint64_t[]){4}, 0, 0);
        tensor(&b, same ? "x" : "y", 1, (uint64_t[]){4}, 0, same ? 32 : 0);
        align(&b, 32);
        memset(b.bytes + b.n, 0, 64);
        b.n += 64;
        expect_refusal(s, &b, same ? "the tensor 'x' stands twice" : "lies over another");
    }
    begin(&b, 3, 1, 0), tensor(&b, "x\xff", 0, NULL, 0, 0);
    expect_refusal(s, &b, "the name of a tensor that is not UTF-8");
}

/* What is opened is looked at in full. */
static pl_status read_all(scratch *s)
{
    pl_gguf *g;
    size_t length;
    pl_status st = pl_gguf_open(s->ctx, &g, s->path);
    if (st != PL_OK) return st;
    for (int64_t i = 0; i < pl_gguf_count(g); i++) {
        const pl_gguf_entry e = pl_gguf_get(g, i);
        assert_int_equal(pl_gguf_find(g, e.key), i);
        for (int64_t j = 0; j < e.n; j++) {
            if (e.kind != PL_GGUF_TEXT) pl_gguf_number(g, i, j);
            else assert_true(pl_gguf_text(g, i, j, &length) != NULL && length < 4096);
        }
    }
    const pl_weights *w = pl_gguf_weights(g);
    for (int64_t i = 0; st == PL_OK && i < pl_weights_count(w); i++) {
        pl_tensor *t;
        st = pl_weights_load(s->ctx, &t, w, i);
        pl_tensor_release(t);
    }
    pl_gguf_close(g);
    return st;
}

static void damaged_files(void **state)
{
    scratch *s = *state;
    builder b;
    int refused = 0;
    build_good(&b, 3);
    for (size_t i = 0; i < b.n * 8; i++) {
        b.bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        put_raw(s->path, b.bytes, b.n);
        b.bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        refused += read_all(s) != PL_OK;
    }
    assert_true(refused > 1000);
    for (builder cut = b; cut.n-- > 0;) expect_refusal(s, &cut, "cut short");
}

static void shrinks_while_open(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    builder b;
    pl_gguf *g;
    pl_tensor *t;
    build_good(&b, 3);
    put_raw(s->path, b.bytes, b.n);
    OK(pl_gguf_open(ctx, &g, s->path));
    assert_int_equal(truncate(s->path, (off_t)b.n - 1), 0);
    const pl_weights *w = pl_gguf_weights(g);
    assert_int_equal(pl_weights_load(ctx, &t, w, pl_weights_find(w, "wide")), PL_ERR_FORMAT);
    assert_non_null(strstr(pl_error(ctx), "while it was read"));
    pl_gguf_close(g);
}

static void any(scratch *s, pl_status st)
{
    (void)s;
    (void)st;
}

static void survives_every_fault(void **state)
{
    scratch *s = *state;
    builder b;
    build_good(&b, 3);
    put_raw(s->path, b.bytes, b.n);
    const fault_case c = {read_all, any};
    assert_true(for_each_fault(s, &c) > 4);
    int64_t k = 1;
    for (bool reached = true; reached; k++) {
        const int64_t live = pl_mem_get(s->ctx).live, calls = pl_mem_get(s->ctx).calls;
        pl_mem_fail_at(s->ctx, k, false);
        const pl_status st = read_all(s);
        pl_mem_fail_at(s->ctx, 0, false);
        reached = pl_mem_get(s->ctx).calls - calls >= k;
        assert_int_equal(st, reached ? PL_ERR_NOMEM : PL_OK);
        assert_int_equal(pl_mem_get(s->ctx).live, live);
    }
    assert_true(k > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_and_tensors, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(empty_names, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(bad_heads, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(bad_entries, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(bad_tensors, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(damaged_files, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(shrinks_while_open, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(survives_every_fault, scratch_open, scratch_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

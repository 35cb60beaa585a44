/*
** io_test.c - safetensors: round trips to the bit, malformed files each with its own refusal,
** faults and lack of memory at every call, conversion of stored types, shards.
*/
#include "io_cases.h"

static pl_tensor *make(pl_ctx *ctx, pl_dtype dtype, int rank, const int64_t *shape,
                       const void *data)
{
    pl_tensor *t;
    OK(pl_tensor_new(ctx, &t, dtype, rank, shape));
    memcpy(pl_tensor_data(t), data, pl_tensor_bytes(t));
    return t;
}

/* A file of this header and so many bytes 0, 1, 2, ... of data. */
static void put_file(const scratch *s, const char *header, size_t data_bytes)
{
    const uint64_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n + data_bytes + 1);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++) bytes[8 + n + i] = (unsigned char)i;
    put_raw(s->path, bytes, 8 + n + data_bytes);
    free(bytes);
}

static void expect_refusal(scratch *s, const char *path, const char *why)
{
    pl_weights *w;
    const int fds = count_fds();
    const pl_status st = pl_safetensors_open(s->ctx, &w, path);
    if (st == PL_OK) fail_msg("accepted, though: %s", why);
    assert_null(w);
    if (strstr(pl_error(s->ctx), why) == NULL)
        fail_msg("expected '%s', got '%s'", why, pl_error(s->ctx));
    assert_non_null(strstr(pl_error(s->ctx), s->folder));
    assert_int_equal(count_fds(), fds);
}

/* --------------------------------------------------------------------------------------------
** Round trip
*/
static const uint32_t hostile_bits[6] = {0x7fc00001, 0xffbfffff, 0x7f800001,
                                         0x80000000, 0x00000001, 0xff800000};
#define N_NAMED 5
static const char *const names[N_NAMED] = {"b.weight", "a \"q\"\n\xc3\xa4", "empty", "ids", "one"};

static void make_named(pl_ctx *ctx, pl_tensor *out[N_NAMED])
{
    static const double wide[3] = {0.1, -1e300, 5e-324};
    static const int32_t ids[2] = {INT32_MIN, INT32_MAX};
    static const float one = 1.5f;
    out[0] = make(ctx, PL_F32, 2, (int64_t[]){2, 3}, hostile_bits);
    out[1] = make(ctx, PL_F64, 1, (int64_t[]){3}, wide);
    out[2] = make(ctx, PL_F32, 3, (int64_t[]){4, 0, 7}, wide);
    out[3] = make(ctx, PL_I32, 1, (int64_t[]){2}, ids);
    out[4] = make(ctx, PL_F32, 0, NULL, &one);
}

static void release_named(pl_tensor *t[N_NAMED])
{
    for (int i = 0; i < N_NAMED; i++) pl_tensor_release(t[i]);
}

static pl_status save_named(scratch *s, const char *path)
{
    static const char *const keys[] = {"step", "note"}, *const values[] = {"7", "tab\there"};
    pl_tensor *t[N_NAMED];
    make_named(s->ctx, t);
    const pl_status st = pl_safetensors_save(s->ctx, path, names, t, N_NAMED, keys, values, 2);
    release_named(t);
    return st;
}

static void expect_named(scratch *s, const char *path)
{
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t[N_NAMED], *got;
    make_named(ctx, t);
    OK(pl_safetensors_open(ctx, &w, path));
    assert_int_equal(pl_weights_count(w), N_NAMED);
    for (int i = 0; i < N_NAMED; i++) {
        const int64_t at = pl_weights_find(w, names[i]);
        assert_true(at >= 0);
        OK(pl_weights_load(ctx, &got, w, at));
        assert_int_equal(pl_tensor_dtype(got), pl_tensor_dtype(t[i]));
        assert_int_equal(pl_tensor_rank(got), pl_tensor_rank(t[i]));
        for (int axis = 0; axis < pl_tensor_rank(got); axis++)
            assert_int_equal(pl_tensor_shape(got)[axis], pl_tensor_shape(t[i])[axis]);
        const size_t bytes = pl_tensor_bytes(t[i]);
        assert_memory_equal(pl_tensor_data(got), pl_tensor_data(t[i]), bytes);
        pl_tensor_release(got);
    }
    assert_int_equal(pl_weights_find(w, "c"), -1);
    assert_int_equal(pl_weights_note_count(w), 3);
    const char *key, *value;
    pl_weights_note(w, 1, &key, &value);
    assert_string_equal(key, "note");
    assert_string_equal(value, "tab\there");
    pl_weights_note(w, 2, &key, &value);
    assert_string_equal(key, "format");
    assert_string_equal(value, "pt");
    pl_weights_close(w);
    release_named(t);
}

static void round_trip_keeps_every_bit(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_named(s, s->path));
    expect_named(s, s->path);
    assert_int_equal(count_items(s->folder), 1);
    char first[PL_HASH_TEXT], second[PL_HASH_TEXT];
    OK(pl_file_hash(ctx, first, s->path));
    OK(save_named(s, s->path));
    OK(pl_file_hash(ctx, second, s->path));
    assert_string_equal(first, second);
}

static void no_tensors_at_all(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    OK(pl_safetensors_save(ctx, s->path, NULL, NULL, 0, NULL, NULL, 0));
    OK(pl_safetensors_open(ctx, &w, s->path));
    assert_int_equal(pl_weights_count(w), 0);
    assert_int_equal(pl_weights_find(w, "x"), -1);
    pl_weights_close(w);
}

/* The reader keeps what it opened, even when the file is written anew meanwhile. */
static void saving_onto_the_loaded_path(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t;
    static const float other[2] = {3, 4};
    OK(save_named(s, s->path));
    OK(pl_safetensors_open(ctx, &w, s->path));
    pl_tensor *small = make(ctx, PL_F32, 1, (int64_t[]){2}, other);
    OK(pl_safetensors_save(ctx, s->path, (const char *[]){"o"}, &small, 1, NULL, NULL, 0));
    OK(pl_weights_load(ctx, &t, w, pl_weights_find(w, "b.weight")));
    assert_memory_equal(pl_tensor_data(t), hostile_bits, sizeof hostile_bits);
    pl_tensor_release(t);
    pl_weights_close(w);
    OK(pl_safetensors_open(ctx, &w, s->path));
    OK(pl_weights_load(ctx, &t, w, 0));
    assert_memory_equal(pl_tensor_data(t), other, sizeof other);
    pl_tensor_release(t);
    pl_tensor_release(small);
    pl_weights_close(w);
}

static void saving_refuses(void **state)
{
    scratch *s = *state;
    static const struct {
        const char *a, *b, *why;
    } cases[] = {{"x", "x", "the tensor name 'x' stands twice"},
                 {"x", "\xff", "a tensor name is not UTF-8"},
                 {"x", "__metadata__", "no tensor may be called __metadata__"}};
    pl_tensor *t[2];
    for (int i = 0; i < 2; i++) t[i] = make(s->ctx, PL_F32, 1, (int64_t[]){6}, hostile_bits);
    for (size_t i = 0; i < 3; i++) {
        const char *pair[] = {cases[i].a, cases[i].b};
        assert_int_equal(pl_safetensors_save(s->ctx, s->path, pair, t, 2, NULL, NULL, 0),
                         PL_ERR_ARG);
        assert_non_null(strstr(pl_error(s->ctx), cases[i].why));
    }
    pl_tensor_free_data(t[0]);
    assert_int_equal(pl_safetensors_save(s->ctx, s->path, names, t, 2, NULL, NULL, 0),
                     PL_ERR_FREED);
    assert_int_equal(pl_safetensors_save(s->ctx, s->folder, names, t + 1, 1, NULL, NULL, 0),
                     PL_ERR_IO);
    assert_non_null(strstr(pl_error(s->ctx), "it is a folder"));
    for (int i = 0; i < 2; i++) pl_tensor_release(t[i]);
    assert_int_equal(count_items(s->folder), 0);
}

/* --------------------------------------------------------------------------------------------
** Refusals
*/
#define T(name, shape, a, b) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"
#define ENTRY(text) "{\"x\":" text "}"

static void malformed_headers(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        const char *why;
    } cases[] = {
        {"", 0, "byte 8: '{' expected"},
        {"[]", 0, "byte 8: '{' expected"},
        {"{", 0, "byte 9: '\"' expected"},
        {"{}x", 0, "byte 10: text after the end of the header"},
        {"{" T("x", "[2]", 0, 8) ",}", 8, "'\"' expected"},
        {"{" T("x", "[1]", 0, 4) "," T("x", "[1]", 4, 8) "}", 8, "the tensor 'x' stands twice"},
        {"{" T("x", "[1]", 0, 4) "," T("\\u0078", "[1]", 4, 8) "}", 8, "stands twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands twice"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "byte 29: '\"' expected"},
        {"{\"__metadata__\":[]}", 0, "byte 24: '{' expected"},
        {"{" T("x", "[2]", 0, 8) "}", 7, "data_offsets beyond the end of the file"},
        {"{" T("x", "[2]", 0, 8) "}", 9, "1 bytes after the last tensor"},
        {"{" T("x", "[2]", 1, 9) "}", 9, "tensor 'x' leaves a hole before it"},
        {"{" T("x", "[1]", 0, 4) "," T("y", "[1]", 8, 12) "}", 12, "'y' leaves a hole before it"},
        {"{" T("x", "[2]", 0, 8) "," T("y", "[2]", 4, 12) "}", 12, "'y' overlaps another"},
        {"{" T("x", "[2]", 0, 8) "," T("y", "[2]", 0, 8) "}", 8, "overlaps another"},
        {"{" T("x", "[2]", 8, 0) "}", 8, "data_offsets run backwards"},
        {"{" T("x", "[3]", 0, 8) "}", 8, "data_offsets do not fit dtype and shape"},
        {"{" T("x", "[]", 0, 8) "}", 8, "data_offsets do not fit dtype and shape"},
        {"{" T("x", "[-2]", 0, 8) "}", 8, "an integer from 0 expected"},
        {"{" T("x", "[2.0]", 0, 8) "}", 8, "an integer from 0 expected"},
        {"{" T("x", "[02]", 0, 8) "}", 8, "number with a leading zero"},
        {"{" T("x", "[1,1,1,1,1,1,2]", 0, 8) "}", 8, "more than 6 axes"},
        {"{" T("x", "[4294967296,4294967296]", 0, 0) "}", 0, "shape too large"},
        {"{" T("x", "[2305843009213693952]", 0, 0) "}", 0, "shape too large"},
        {"{" T("x", "[9223372036854775808]", 0, 0) "}", 0, "number too large"},
        {"{" T("x", "[2]", 0, 18446744073709551624) "}", 8, "number too large"},
        {"{" T("x", "[2 3]", 0, 8) "}", 8, "']' expected"},
        {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}"), 8,
         "data_offsets has fewer than two numbers"},
        {ENTRY("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}"), 8,
         "data_offsets has more than two numbers"},
        {ENTRY("{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}"), 8, "unknown dtype"},
        {ENTRY("{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}"), 8, "byte 22: '\"' expected"},
        {ENTRY("{\"shape\":[2],\"data_offsets\":[0,8]}"), 8, "dtype is missing"},
        {ENTRY("{\"dtype\":\"F32\",\"data_offsets\":[0,8]}"), 8, "shape is missing"},
        {ENTRY("{\"dtype\":\"F32\",\"shape\":[2]}"), 8, "data_offsets is missing"},
        {ENTRY("{\"dtype\":\"F32\",\"dtype\":\"F32\"}"), 8, "stands twice"},
        {ENTRY("{\"dtype\":\"F32\",\"strides\":[2]}"), 8, "only dtype, shape and data_offsets"},
        {ENTRY("null"), 8, "byte 13: '{' expected"},
        {"{\"x", 0, "string without an end"},
        {"{\"x\\", 0, "unknown escape"},
        {"{\"\\q\":{}}", 0, "byte 11: unknown escape"},
        {"{\"a\nb\":{}}", 0, "byte 11: control character in a string"},
        {"{\"\xff\":{}}", 0, "string is not UTF-8"},
        {"{\"\\u0000\":{}}", 0, "\\u0000 is not allowed"},
        {"{\"\\ud800\":{}}", 0, "half of a surrogate pair"},
        {"{\"\\ud800\\u0041\":{}}", 0, "half of a surrogate pair"},
        {"{\"\\u12g4\":{}}", 0, "four hexadecimal digits expected"},
    };
    scratch *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_file(s, cases[i].header, cases[i].data);
        expect_refusal(s, s->path, cases[i].why);
    }
}

static void malformed_files(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *why;
    } cases[] = {
        {"", 0, "has 0 bytes, too few"},
        {"\2\0\0\0\0\0\0", 7, "has 7 bytes, too few"},
        {"\3\0\0\0\0\0\0\0{}", 10,
         "a header of 3 bytes, but only 2 follow: the file was cut short"},
        {"\0\341\365\5\0\0\0\0{}", 10, "but only 2 follow"},
        {"\1\341\365\5\0\0\0\0{}", 10, "at most 100000000 are allowed"},
        {"\377\377\377\377\377\377\377\377{}", 10, "at most 100000000 are allowed"},
        {"PK\3\4abcdefgh", 12, "is a PyTorch pickle"},
        {"\200\2\212\nl\374\234F\371 j\250P\31", 14, "is a PyTorch pickle"},
    };
    scratch *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_raw(s->path, cases[i].bytes, cases[i].size);
        expect_refusal(s, s->path, cases[i].why);
    }
    assert_int_equal(unlink(s->path), 0);
    expect_refusal(s, s->path, "No such file");
    expect_refusal(s, s->folder, "is a folder without model.safetensors");
    assert_int_equal(mkfifo(s->path, 0600), 0);
    expect_refusal(s, s->path, "is a pipe, not a regular file");
    pl_weights *w;
    assert_int_equal(pl_safetensors_open(s->ctx, &w, "/dev/zero"), PL_ERR_FORMAT);
    assert_non_null(strstr(pl_error(s->ctx), "is a device"));
}

/* Every bit of a small file flipped, and the file cut at every length: refused or well read. */
static void damaged_files(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char *good;
    size_t size;
    OK(save_named(s, s->path));
    OK(pl_file_read(ctx, &good, &size, s->path, 1 << 20));
    int refused = 0;
    for (size_t i = 0; i < size * 8; i++) {
        good[i / 8] ^= (char)(1 << i % 8);
        put_raw(s->path, good, size);
        good[i / 8] ^= (char)(1 << i % 8);
        pl_weights *w;
        if (pl_safetensors_open(ctx, &w, s->path) != PL_OK) {
            refused++;
            continue;
        }
        for (int64_t j = 0; j < pl_weights_count(w); j++) {
            pl_tensor *t;
            if (pl_weights_load(ctx, &t, w, j) == PL_OK) pl_tensor_release(t);
        }
        pl_weights_close(w);
    }
    assert_true(refused > 1000);
    for (size_t i = 0; i < size; i++) {
        put_raw(s->path, good, i);
        expect_refusal(s, s->path, "'");
    }
    pl_free(ctx, good);
}

static void shrinks_while_open(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t;
    put_file(s, "{" T("x", "[2]", 0, 8) "}", 8);
    OK(pl_safetensors_open(ctx, &w, s->path));
    assert_int_equal(truncate(s->path, 60), 0);
    assert_int_equal(pl_weights_load(ctx, &t, w, 0), PL_ERR_FORMAT);
    assert_null(t);
    assert_non_null(strstr(pl_error(ctx), "while it was read"));
    pl_weights_close(w);
}

/* --------------------------------------------------------------------------------------------
** Stored types
*/
static pl_tensor *load_one(scratch *s, const char *type, int64_t n, const void *data, size_t bytes)
{
    char header[256];
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t;
    snprintf(header, sizeof header,
             "{\"x\":{\"dtype\":\"%s\",\"shape\":[%lld],\"data_offsets\":[0,%zu]}}", type,
             (long long)n, bytes);
    put_file(s, header, bytes);
    FILE *f = fopen(s->path, "r+b");
    fseek(f, (long)(8 + strlen(header)), SEEK_SET);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
    OK(pl_safetensors_open(ctx, &w, s->path));
    assert_string_equal(pl_weights_get(w, 0).stored, type);
    if (pl_weights_load(ctx, &t, w, 0) == PL_OK)
        assert_int_equal(pl_tensor_dtype(t), pl_weights_get(w, 0).dtype);
    pl_weights_close(w);
    return t;
}

static void expect_converted(scratch *s, const char *type, int n, const void *data, size_t bytes,
                             const void *expected)
{
    pl_tensor *t = load_one(s, type, n, data, bytes);
    assert_non_null(t);
    assert_memory_equal(pl_tensor_data(t), expected, (size_t)n * 4);
    pl_tensor_release(t);
}

static void stored_types(void **state)
{
    scratch *s = *state;
    static const uint16_t half[9] = {0x3c00, 0x8001, 0x03ff, 0x0400, 0x7bff,
                                     0xfc00, 0x7e01, 0x7e00, 0x8000};
    static const uint32_t half_as[9] = {0x3f800000, 0xb3800000, 0x387fc000, 0x38800000, 0x477fe000,
                                        0xff800000, 0x7fc02000, 0x7fc00000, 0x80000000};
    static const uint16_t brain[4] = {0x3f80, 0xff81, 0x0001, 0x8000};
    static const uint32_t brain_as[4] = {0x3f800000, 0xff810000, 0x00010000, 0x80000000};
    static const int64_t wide[2] = {INT32_MIN, INT32_MAX}, too_wide[1] = {INT32_MAX + 1LL};
    static const int32_t wide_as[2] = {INT32_MIN, INT32_MAX};
    static const int16_t i16[2] = {-32768, 7};
    static const int32_t i16_as[2] = {-32768, 7}, u16_as[2] = {32768, 7};
    static const uint8_t u8[2] = {255, 1};
    static const int32_t u8_as[2] = {255, 1}, i8_as[2] = {-1, 1};
    expect_converted(s, "F16", 9, half, sizeof half, half_as);
    expect_converted(s, "BF16", 4, brain, sizeof brain, brain_as);
    expect_converted(s, "I64", 2, wide, sizeof wide, wide_as);
    expect_converted(s, "I16", 2, i16, sizeof i16, i16_as);
    expect_converted(s, "U16", 2, i16, sizeof i16, u16_as);
    expect_converted(s, "U8", 2, u8, sizeof u8, u8_as);
    expect_converted(s, "I8", 2, u8, sizeof u8, i8_as);
    expect_converted(s, "BOOL", 2, u8, sizeof u8, u8_as);
    assert_null(load_one(s, "I64", 1, too_wide, sizeof too_wide));
    assert_non_null(strstr(pl_error(s->ctx), "int64 values that do not fit int32"));
    assert_null(load_one(s, "F8_E4M3", 2, u8, sizeof u8));
    assert_non_null(strstr(pl_error(s->ctx), "is F8_E4M3, which cannot be loaded"));
}

/* More values than the conversion takes at once. */
static void long_conversion(void **state)
{
    scratch *s = *state;
    const int64_t n = (1 << 19) + 5;
    uint16_t *brain = malloc((size_t)n * 2);
    for (int64_t i = 0; i < n; i++) brain[i] = (uint16_t)(i * 40503);
    pl_tensor *t = load_one(s, "BF16", n, brain, (size_t)n * 2);
    const uint32_t *got = pl_tensor_data(t);
    for (int64_t i = 0; i < n; i++)
        if (got[i] != (uint32_t)brain[i] << 16) fail_msg("value %lld", (long long)i);
    pl_tensor_release(t);
    free(brain);
}

/* --------------------------------------------------------------------------------------------
** Index of shards
*/
static void put_index(const scratch *s, const char *text)
{
    put_raw(in(s, "model.safetensors.index.json"), text, strlen(text));
}

static void sharded(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t;
    static const float a = 1, b = 2;
    pl_tensor *ta = make(ctx, PL_F32, 0, NULL, &a), *tb = make(ctx, PL_F32, 0, NULL, &b);
    const char *name = "a";
    OK(pl_safetensors_save(ctx, in(s, "m-1.safetensors"), &name, &ta, 1, NULL, NULL, 0));
    pl_tensor *both[] = {tb, ta};
    OK(pl_safetensors_save(ctx, in(s, "m-2.safetensors"), (const char *[]){"b", "unlisted"}, both,
                           2, NULL, NULL, 0));
    put_index(s, "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"b\":\"m-2.safetensors\","
                 "\"a\":\"m-1.safetensors\"}}");
    OK(pl_safetensors_open(ctx, &w, in(s, "model.safetensors.index.json")));
    assert_int_equal(pl_weights_count(w), 2);
    pl_weights_close(w);
    OK(pl_safetensors_open(ctx, &w, s->folder));
    OK(pl_weights_load(ctx, &t, w, pl_weights_find(w, "b")));
    assert_true(*(float *)pl_tensor_data(t) == 2);
    pl_tensor_release(t);
    pl_tensor_release(ta);
    pl_tensor_release(tb);
    pl_weights_close(w);
}

static void bad_indexes(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{", "malformed JSON"},
        {"{}", "'weight_map' of an index of safetensors shards is missing"},
        {"[]", "is a list, not an object"},
        {"{\"weight_map\":[]}", "'weight_map' of an index of safetensors shards is a list"},
        {"{\"weight_map\":null}", "'weight_map' of an index of safetensors shards is null"},
        {"{\"weight_map\":{\"x\":3}}", "'x' of weight_map is 3, not a text"},
        {"{\"weight_map\":{\"x\":null}}", "'x' of weight_map is null, not a text"},
        {"{\"weight_map\":{\"x\":true}}", "'x' of weight_map is true, not a text"},
        {"{\"weight_map\":{\"x\":[]}}", "'x' of weight_map is a list, not a text"},
        {"{\"weight_map\":{\"x\":{}}}", "'x' of weight_map is an object, not a text"},
        {"{\"weight_map\":{\"x\":\"../../../etc/passwd\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"/etc/passwd\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"..\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"a/b\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"..\\\\b\"}}", "leads out of the folder"},
        {"{\"weight_map\":{\"x\":\"a\\u0000b\"}}", "holds \\u0000"},
        {"{\"weight_map\":{\"x\":\"missing\"}}", "No such file"},
        {"{\"weight_map\":{\"x\":\"pipe\"}}", "is a pipe"},
        {"{\"weight_map\":{\"x\":\"model.safetensors.index.json\"}}", "safetensors"},
        {"{\"weight_map\":{\"zz\":\"good\"}}", "tensor 'zz' is not in 'good'"},
        {"{\"weight_map\":{\"x\":\"good\",\"y\":\"same\"}}", "the tensor 'x' stands twice"},
    };
    scratch *s = *state;
    put_file(s, "{" T("x", "[2]", 0, 8) "}", 8);
    assert_int_equal(link(s->path, in(s, "same")), 0);
    assert_int_equal(rename(s->path, in(s, "good")), 0);
    assert_int_equal(mkfifo(in(s, "pipe"), 0600), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_index(s, cases[i].text);
        expect_refusal(s, in(s, "model.safetensors.index.json"), cases[i].why);
    }
}

/* --------------------------------------------------------------------------------------------
** Faults and lack of memory
*/
static pl_status save_over(scratch *s)
{
    return save_named(s, s->path);
}

/* Either the file of before or the new one, whole; nothing beside it. */
static void old_or_new(scratch *s, pl_status st)
{
    pl_ctx *ctx = s->ctx;
    char *text, error[1024];
    size_t size;
    snprintf(error, sizeof error, "%s", pl_error(ctx));
    assert_int_equal(count_items(s->folder), 1);
    OK(pl_file_read(ctx, &text, &size, s->path, 1 << 20));
    const bool old = size == 3 && memcmp(text, "old", 3) == 0;
    pl_free(ctx, text);
    if (st == PL_OK) assert_false(old);
    if (!old) expect_named(s, s->path);
    if (st != PL_OK && !old) assert_non_null(strstr(error, "the folder"));
    put_raw(s->path, "old", 3);
}

static void saving_survives_every_fault(void **state)
{
    scratch *s = *state;
    put_raw(s->path, "old", 3);
    const fault_case c = {save_over, old_or_new};
    assert_true(for_each_fault(s, &c) > 8);
}

static pl_status load_all(scratch *s)
{
    pl_weights *w;
    pl_status st = pl_safetensors_open(s->ctx, &w, s->path);
    for (int64_t i = 0; st == PL_OK && i < pl_weights_count(w); i++) {
        pl_tensor *t;
        st = pl_weights_load(s->ctx, &t, w, i);
        pl_tensor_release(t);
    }
    pl_weights_close(w);
    return st;
}

static void any(scratch *s, pl_status st)
{
    (void)s;
    (void)st;
}

static void loading_survives_every_fault(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_named(s, s->path));
    const fault_case c = {load_all, any};
    assert_true(for_each_fault(s, &c) > 5);
}

/* Each allocation fails in turn: a clean status, nothing kept, nothing left behind. */
static int64_t without_memory(scratch *s, pl_status (*work)(scratch *))
{
    int64_t k = 1;
    for (bool reached = true; reached; k++) {
        const int64_t live = pl_mem_get(s->ctx).live, calls = pl_mem_get(s->ctx).calls;
        const int fds = count_fds();
        pl_mem_fail_at(s->ctx, k, false);
        const pl_status st = work(s);
        pl_mem_fail_at(s->ctx, 0, false);
        reached = pl_mem_get(s->ctx).calls - calls >= k;
        assert_int_equal(st, reached ? PL_ERR_NOMEM : PL_OK);
        assert_int_equal(pl_mem_get(s->ctx).live, live);
        assert_int_equal(count_fds(), fds);
        assert_int_equal(count_items(s->folder), 1);
    }
    return k;
}

static pl_tensor *kept; /* for save_kept, which must not allocate tensors itself */

static pl_status save_kept(scratch *s)
{
    const char *name = "kept";
    return pl_safetensors_save(s->ctx, s->path, &name, &kept, 1, NULL, NULL, 0);
}

static void lack_of_memory(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_named(s, s->path));
    assert_true(without_memory(s, load_all) > 8);
    kept = make(ctx, PL_F32, 1, (int64_t[]){6}, hostile_bits);
    assert_true(without_memory(s, save_kept) > 4);
    pl_tensor_release(kept);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_open, scratch_close)
    const struct CMUnitTest tests[] = {
        CASE(round_trip_keeps_every_bit),
        CASE(no_tensors_at_all),
        CASE(saving_onto_the_loaded_path),
        CASE(saving_refuses),
        CASE(malformed_headers),
        CASE(malformed_files),
        CASE(damaged_files),
        CASE(shrinks_while_open),
        CASE(stored_types),
        CASE(long_conversion),
        CASE(sharded),
        CASE(bad_indexes),
        CASE(saving_survives_every_fault),
        CASE(loading_survives_every_fault),
        CASE(lack_of_memory),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}

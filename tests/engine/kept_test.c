/*
** kept_test.c - kept dtypes through the C API: sizes of blocks, tensors of bytes, numbers to blocks
** and back. tests/lua/kept_spec.lua holds the values to those of the gguf package.
*/
#include "check.h"

#include <math.h>

static void blocks_have_their_sizes(void **state)
{
    (void)state;
    assert_int_equal(pl_dtype_block(PL_F32), 1);
    assert_int_equal(pl_dtype_size(PL_F64), 8);
    assert_false(pl_dtype_kept(PL_I32));
    assert_true(pl_dtype_kept(PL_BF16));
    assert_int_equal(pl_dtype_size(PL_F16), 2);
    assert_int_equal(pl_dtype_block(PL_Q4_1), 32);
    assert_int_equal(pl_dtype_size(PL_Q4_1), 20);
    assert_int_equal(pl_dtype_block(PL_Q6_K), 256);
    assert_int_equal(pl_dtype_size(PL_Q6_K), 210);
    assert_string_equal(pl_dtype_name(PL_Q5_K), "q5_k");
}

static void tensors_take_bytes_of_their_size(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_tensor *t = NULL;
    uint8_t bytes[3 * 34];
    for (int i = 0; i < (int)sizeof bytes; i++) bytes[i] = (uint8_t)i;
    OK(pl_tensor_from_bytes(ctx, &t, PL_Q8_0, 2, (int64_t[]){3, 32}, bytes, sizeof bytes));
    assert_int_equal(pl_tensor_bytes(t), sizeof bytes);
    assert_memory_equal(pl_tensor_data(t), bytes, sizeof bytes);
    pl_tensor *view = NULL;
    OK(pl_tensor_view(ctx, &view, t, 32, 1, (int64_t[]){64}));
    assert_memory_equal(pl_tensor_data(view), bytes + 34, 2 * 34);
    pl_tensor_release(view);
    FAILS(pl_tensor_view(ctx, &view, t, 16, 1, (int64_t[]){32}), PL_ERR_SHAPE,
          "view: element 16 of q8_0 is inside a block");
    FAILS(pl_tensor_fill(ctx, t, 0), PL_ERR_DTYPE,
          "fill: the tensor is q8_0, a kept dtype; cast makes it float32");
    pl_tensor_set_requires_grad(t, true);
    assert_false(pl_tensor_requires_grad(t));
    pl_tensor_release(t);
    const int64_t live = live_bytes(ctx);
    FAILS(pl_tensor_from_bytes(ctx, &t, PL_Q8_0, 2, (int64_t[]){3, 32}, bytes, 34), PL_ERR_SHAPE,
          "tensor: 34 bytes given, the shape of q8_0 has 102");
    assert_null(t);
    FAILS(pl_tensor_from_bytes(ctx, &t, PL_Q4_K, 2, (int64_t[]){1, 32}, bytes, 18), PL_ERR_SHAPE,
          "tensor: rows of q4_k have a multiple of 256 elements, not 32");
    FAILS(pl_tensor_new(ctx, &t, PL_BF16, 0, NULL), PL_ERR_SHAPE,
          "tensor: a single number is never kept as bfloat16");
    assert_int_equal(live_bytes(ctx), live);
    OK(pl_tensor_from_bytes(ctx, &t, PL_Q4_0, 2, (int64_t[]){0, 32}, NULL, 0));
    pl_tensor_release(t);
}

static void numbers_become_blocks_and_come_back(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 3 * 4096 + 32 }; /* several of the runs that threads share */
    static float values[N], back[N];
    static uint8_t blocks[N / 32 * 34];
    static uint16_t halves[N];
    for (int i = 0; i < N; i++) values[i] = (float)(i % 255 - 127) / 4;
    for (int i = 31; i < N; i += 32) values[i] = 31.75f; /* the scale is 1/4 */
    OK(pl_quantise(ctx, blocks, PL_Q8_0, values, N));
    OK(pl_dequantise(ctx, back, PL_Q8_0, blocks, N));
    assert_memory_equal(back, values, sizeof values);
    OK(pl_quantise(ctx, halves, PL_F16, values, N));
    OK(pl_dequantise(ctx, back, PL_F16, halves, N));
    assert_memory_equal(back, values, sizeof values);
    OK(pl_quantise(ctx, halves, PL_BF16, values, 0));

    values[8000] = INFINITY;
    values[12300] = NAN;
    FAILS(pl_quantise(ctx, blocks, PL_Q8_0, values, N), PL_ERR_ARG,
          "quantise: element 8000 is inf, which q8_0 cannot hold");
    OK(pl_quantise(ctx, halves, PL_F16, values, N));
    FAILS(pl_quantise(ctx, blocks, PL_Q8_0, values, 33), PL_ERR_SHAPE,
          "quantise: 33 elements are no whole blocks of q8_0 (32 each)");
    FAILS(pl_quantise(ctx, blocks, PL_Q4_0, values, 32), PL_ERR_DTYPE,
          "quantise: to bfloat16, float16 or q8_0, not to q4_0");
    FAILS(pl_dequantise(ctx, back, PL_F32, values, 32), PL_ERR_DTYPE,
          "dequantise: float32 is no kept dtype");
}

/* Every float16 there is comes back from float32 as it was, NaNs but for the quiet bit. */
static void float16_and_bfloat16_round_trip(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    enum { N = 1 << 16 };
    static uint16_t halves[N], again[N];
    static float values[N];
    for (int i = 0; i < N; i++) halves[i] = (uint16_t)i;
    for (int kind = 0; kind < 2; kind++) {
        const pl_dtype dtype = kind == 0 ? PL_F16 : PL_BF16;
        const uint16_t top = kind == 0 ? 0x7c00 : 0x7f80, quiet = kind == 0 ? 0x200 : 0x40;
        OK(pl_dequantise(ctx, values, dtype, halves, N));
        OK(pl_quantise(ctx, again, dtype, values, N));
        for (int i = 0; i < N; i++) {
            const bool nan = (i & 0x7fff) > top;
            assert_int_equal(isnan(values[i]) != 0, nan);
            assert_int_equal(again[i], nan ? i | quiet : i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_their_sizes),
        CONTEXT_CASE(tensors_take_bytes_of_their_size),
        CONTEXT_CASE(numbers_become_blocks_and_come_back),
        CONTEXT_CASE(float16_and_bfloat16_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

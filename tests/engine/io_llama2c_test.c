/*
** io_llama2c_test.c - llama2.c checkpoints: every name at its place, refusals, a real model.
*/
#include "io_cases.h"

#include <math.h>

#define STORIES "../shared/data/models/stories260K/stories260K.bin"

/* dim 4, hidden 6, 2 layers, 2 heads, 1 kv head, vocabulary 3, context 5; weight i has value i. */
static size_t put_llama(const scratch *s, bool tied, int more)
{
    const int32_t head[7] = {4, 6, 2, 2, 1, tied ? 3 : -3, 5};
    const int n = 3 * 4 + 2 * (4 + 16 + 8 + 8 + 16 + 4 + 24 * 3) + 4 + 5 * 2 + (tied ? 0 : 12);
    FILE *f = fopen(s->path, "wb");
    fwrite(head, 4, 7, f);
    for (int i = 0; i < n + more; i++) {
        const float x = (float)i;
        fwrite(&x, 4, 1, f);
    }
    fclose(f);
    return 28 + (size_t)n * 4;
}

static void expect_first(pl_ctx *ctx, const pl_weights *w, const char *name, int rows, int columns,
                         int first)
{
    pl_tensor *t;
    const int64_t i = pl_weights_find(w, name);
    if (i < 0) fail_msg("no %s", name);
    OK(pl_weights_load(ctx, &t, w, i));
    assert_int_equal(pl_tensor_rank(t), columns ? 2 : 1);
    assert_int_equal(pl_tensor_shape(t)[0], rows);
    if (columns) assert_int_equal(pl_tensor_shape(t)[1], columns);
    assert_true(((float *)pl_tensor_data(t))[0] == (float)first);
    pl_tensor_release(t);
}

static void llama_names_and_places(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_llama2c_config c;
    put_llama(s, false, 0);
    OK(pl_llama2c_open(ctx, &w, &c, s->path));
    assert_false(c.tied);
    assert_int_equal(c.vocab_size, 3);
    assert_int_equal(pl_weights_count(w), 21);
    expect_first(ctx, w, "model.embed_tokens.weight", 3, 4, 0);
    expect_first(ctx, w, "model.layers.1.input_layernorm.weight", 4, 0, 16);
    expect_first(ctx, w, "model.layers.0.self_attn.q_proj.weight", 4, 4, 20);
    expect_first(ctx, w, "model.layers.1.self_attn.k_proj.weight", 2, 4, 60);
    expect_first(ctx, w, "model.layers.0.self_attn.v_proj.weight", 2, 4, 68);
    expect_first(ctx, w, "model.layers.0.self_attn.o_proj.weight", 4, 4, 84);
    expect_first(ctx, w, "model.layers.0.post_attention_layernorm.weight", 4, 0, 116);
    expect_first(ctx, w, "model.layers.1.mlp.gate_proj.weight", 6, 4, 148);
    expect_first(ctx, w, "model.layers.0.mlp.down_proj.weight", 4, 6, 172);
    expect_first(ctx, w, "model.layers.1.mlp.up_proj.weight", 6, 4, 244);
    expect_first(ctx, w, "model.norm.weight", 4, 0, 268);
    expect_first(ctx, w, "lm_head.weight", 3, 4, 282);
    pl_weights_close(w);
    put_llama(s, true, 0);
    OK(pl_llama2c_open(ctx, &w, &c, s->path));
    assert_true(c.tied);
    assert_int_equal(pl_weights_find(w, "lm_head.weight"), -1);
    pl_weights_close(w);
}

static void llama_refusals(void **state)
{
    static const struct {
        int place, value;
        const char *why;
    } cases[] = {{0, 0, "byte 0: dim 0"},
                 {0, -4, "byte 0: dim -4"},
                 {0, 1 << 30, "byte 0: dim 1073741824"},
                 {0, 5, "dim is no even multiple of n_heads"},
                 {0, 6, "dim is no even multiple of n_heads"},
                 {0, 0x616b3432, "is a llama2.c checkpoint of version"},
                 {1, 7, "cut short"},
                 {1, 1 << 24, "cut short"},
                 {2, 0, "byte 8: n_layers 0"},
                 {2, 10000, "cut short"},
                 {3, 3, "dim is no even multiple of n_heads"},
                 {4, 3, "n_heads is no multiple of n_kv_heads"},
                 {5, 0, "byte 20: vocab_size 0"},
                 {5, INT32_MIN, "byte 20: vocab_size"},
                 {5, 4, "cut short"},
                 {6, 0, "byte 24: seq_len 0"}};
    scratch *s = *state;
    pl_weights *w;
    pl_llama2c_config c;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_llama(s, true, 0);
        FILE *f = fopen(s->path, "r+b");
        fseek(f, 4 * cases[i].place, SEEK_SET);
        fwrite(&cases[i].value, 4, 1, f);
        fclose(f);
        assert_int_equal(pl_llama2c_open(s->ctx, &w, &c, s->path), PL_ERR_FORMAT);
        if (strstr(pl_error(s->ctx), cases[i].why) == NULL)
            fail_msg("expected '%s', got '%s'", cases[i].why, pl_error(s->ctx));
    }
    put_llama(s, true, 1);
    assert_int_equal(pl_llama2c_open(s->ctx, &w, &c, s->path), PL_ERR_FORMAT);
    const size_t size = put_llama(s, true, 0);
    for (size_t cut = 0; cut < size; cut += 7) {
        assert_int_equal(truncate(s->path, (long)(size - 1 - cut)), 0);
        assert_int_equal(pl_llama2c_open(s->ctx, &w, &c, s->path), PL_ERR_FORMAT);
    }
}

static void llama_real_model(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_weights *w;
    pl_tensor *t;
    pl_llama2c_config c;
    if (access(STORIES, R_OK) != 0) {
        print_message("skipped: there is no %s\n", STORIES);
        skip();
    }
    OK(pl_llama2c_open(ctx, &w, &c, STORIES));
    assert_int_equal(c.dim, 64);
    assert_int_equal(c.hidden_dim, 172);
    assert_int_equal(c.n_layers, 5);
    assert_int_equal(c.n_heads, 8);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.vocab_size, 512);
    assert_int_equal(c.seq_len, 512);
    assert_true(c.tied);
    assert_int_equal(pl_weights_count(w), 47);
    int64_t values = 0;
    for (int64_t i = 0; i < pl_weights_count(w); i++) {
        OK(pl_weights_load(ctx, &t, w, i));
        const float *x = pl_tensor_data(t);
        for (int64_t j = 0; j < pl_tensor_count(t); j++)
            if (!(fabsf(x[j]) < 20))
                fail_msg("%s[%lld] is %g", pl_tensor_name(t), (long long)j, (double)x[j]);
        values += pl_tensor_count(t);
        pl_tensor_release(t);
    }
    assert_int_equal(values, 260032);
    pl_weights_close(w);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_open, scratch_close)
    const struct CMUnitTest tests[] = {
        CASE(llama_names_and_places),
        CASE(llama_refusals),
        CASE(llama_real_model),
    };
    return cmocka_run_group_tests_name("llama2.c checkpoints", tests, NULL, NULL);
}

/*
** jinja_test.c - chat templates from C: spans, budgets, and no memory lost whichever allocation
** fails. What templates give is held to Python's in tests/lua/jinja_spec.lua.
*/
#include "check.h"

static const char TEXT[] =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content | trim }}{% endgeneration %}{% else %}{{ m.content | tojson }}"
    "{% endif %}{% endfor %}";
static const char VALUES[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a b\"},"
                             "{\"role\":\"assistant\",\"content\":\" c \"}]}";

static pl_jinja_input input(void)
{
    return (pl_jinja_input){.values = VALUES,
                            .values_length = sizeof VALUES - 1,
                            .trusted = "{\"bos_token\":\"<s>\"}",
                            .trusted_length = 19};
}

static void spans(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_jinja *t;
    pl_jinja_output out;
    const pl_jinja_input in = input();
    OK(pl_jinja_compile(ctx, &t, TEXT, sizeof TEXT - 1, "t"));
    assert_true(pl_jinja_has_generation(t));
    OK(pl_jinja_render(t, &out, &in));
    assert_string_equal(out.text, "<s><|user|>\"a b\"<|assistant|>c");
    assert_int_equal(out.length, 30);
    assert_int_equal(out.n_user, 2);
    assert_int_equal(out.user[0].start, 12);
    assert_int_equal(out.user[0].end, 15);
    assert_int_equal(out.user[1].start, 29);
    assert_int_equal(out.user[1].end, 30);
    assert_int_equal(out.n_generated, 1);
    assert_int_equal(out.generated[0].start, 29);
    assert_int_equal(out.generated[0].end, 30);
    pl_jinja_output_free(ctx, &out);
    pl_jinja_free(t);
}

static void values_and_budgets(void **state)
{
    pl_ctx *ctx = ((fixture *)*state)->ctx;
    pl_jinja *t;
    pl_jinja_output out;
    pl_jinja_input in = input();
    FAILS(pl_jinja_compile(ctx, &t, "{% if %}", 8, "t"), PL_ERR_FORMAT,
          "t:1: an expression wanted, but '%}' stands here");
    OK(pl_jinja_compile(ctx, &t, TEXT, sizeof TEXT - 1, "t"));
    in.values_length--;
    FAILS(pl_jinja_render(t, &out, &in), PL_ERR_FORMAT, "the text ends early");
    in = input();
    in.most_steps = 10;
    FAILS(pl_jinja_render(t, &out, &in), PL_ERR_NOMEM,
          "t:1: the template takes more than 10 steps");
    in = input();
    in.most_bytes = 1000;
    FAILS(pl_jinja_render(t, &out, &in), PL_ERR_NOMEM,
          "t:1: the template wants more than 1000 bytes of memory");
    in = input();
    pl_interrupt(ctx);
    FAILS(pl_jinja_render(t, &out, &in), PL_ERR_INTERRUPTED, "");
    assert_null(out.text);
    pl_jinja_free(t);
    pl_jinja_free(NULL);
}

static pl_status compile_and_render(fixture *f)
{
    pl_jinja *t = NULL;
    pl_jinja_output out = {0};
    const pl_jinja_input in = input();
    pl_status st = pl_jinja_compile(f->ctx, &t, TEXT, sizeof TEXT - 1, "t");
    if (st == PL_OK) st = pl_jinja_render(t, &out, &in);
    assert_true((st == PL_OK) == (out.text != NULL));
    pl_jinja_output_free(f->ctx, &out);
    pl_jinja_free(t);
    return st;
}

static void no_memory(void **state)
{
    assert_true(for_each_allocation(*state, compile_and_render) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {CONTEXT_CASE(spans), CONTEXT_CASE(values_and_budgets),
                                       CONTEXT_CASE(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
** jinja.c - fuzz target: a chat template, and behind a NUL byte its values as JSON. What compiles
** is rendered within budgets; spans have to be in order, apart, and within the text.
*/
#include "fuzz.h"

static const char talk[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
    "{\"role\":\"user\",\"content\":\"a b\xC3\xA9\"},"
    "{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{\"function\":"
    "{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,null,true]}}}]}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
    "\"add_generation_prompt\":true,\"n\":7,\"f\":-2.5}";

static void check(const pl_text_span *spans, int64_t n, size_t length)
{
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (spans[i].start < at || spans[i].end <= spans[i].start || spans[i].end > length) abort();
        at = spans[i].end + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    const size_t length = end == NULL ? size : (size_t)(end - text);
    pl_ctx *ctx = pl_ctx_new();
    pl_jinja *t;
    pl_jinja_output out;
    if (!ctx) abort();
    pl_mem_set_limit(ctx, MOST_MEMORY);
    pl_jinja_input in = {.values = talk,
                         .values_length = sizeof talk - 1,
                         .trusted = "{\"bos_token\":\"<s>\"}",
                         .trusted_length = 19,
                         .now = 0,
                         .most_steps = 30000,
                         .most_bytes = 8 << 20};
    if (end != NULL && length + 1 < size) {
        in.values = end + 1;
        in.values_length = size - length - 1;
    }
    if (pl_jinja_compile(ctx, &t, text, length, "fuzz") == PL_OK) {
        if (pl_jinja_render(t, &out, &in) == PL_OK) {
            check(out.user, out.n_user, out.length);
            check(out.generated, out.n_generated, out.length);
            pl_jinja_output_free(ctx, &out);
        }
        pl_jinja_free(t);
    }
    if (pl_mem_get(ctx).live != 0) abort();
    pl_ctx_free(ctx);
    return 0;
}

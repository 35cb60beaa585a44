/*
** gguf.c - fuzz target: GGUF files. All entries of what opens are looked at, all tensors loaded.
** Here the whole input is the file.
*/
#include "fuzz.h"

static void look(const pl_gguf *g)
{
    size_t length;
    for (int64_t i = 0; i < pl_gguf_count(g); i++) {
        const pl_gguf_entry e = pl_gguf_get(g, i);
        if (pl_gguf_find(g, e.key) != i) abort();
        for (int64_t j = 0; j < e.n; j++) {
            if (e.kind != PL_GGUF_TEXT) {
                (void)pl_gguf_number(g, i, j);
                (void)pl_gguf_integer(g, i, j);
                continue;
            }
            const char *text = pl_gguf_text(g, i, j, &length);
            if (length > 0 && text[0] == text[length - 1] && length > 1 << 20) abort();
        }
    }
}

static void load_all(pl_ctx *ctx, const pl_weights *w)
{
    int64_t scope;
    if (pl_scope_open(ctx, &scope, "fuzz", false) != PL_OK) return;
    for (int64_t i = 0; i < pl_weights_count(w); i++) {
        pl_tensor *t;
        if (pl_weights_find(w, pl_weights_get(w, i).name) != i) abort();
        if (pl_weights_load(ctx, &t, w, i) == PL_OK) pl_tensor_release(t);
        else if (pl_error(ctx)[0] == '\0') abort();
        if (pl_weights_keep(ctx, &t, w, i) == PL_OK) pl_tensor_release(t);
    }
    pl_scope_close(ctx, scope);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pl_ctx *ctx; /* names of scopes are kept for good */
    if (!ctx) {
        make_folder();
        ctx = pl_ctx_new();
        if (!ctx) abort();
        pl_mem_set_limit(ctx, MOST_MEMORY);
    }
    pl_gguf *g;
    if (pl_gguf_open(ctx, &g, put("x.gguf", data, size)) == PL_OK) {
        look(g);
        load_all(ctx, pl_gguf_weights(g));
        pl_gguf_close(g);
    }
    return 0;
}

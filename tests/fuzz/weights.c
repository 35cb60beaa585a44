/*
** weights.c - fuzz target: safetensors files, their index, llama2.c checkpoints, manifests. All
** tensors of what opens are loaded.
*/
#include "fuzz.h"

static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                    "manifest.json", "llama2c.bin"};

static void load_all(pl_ctx *ctx, const pl_weights *w)
{
    int64_t scope;
    if (pl_scope_open(ctx, &scope, "fuzz", false) != PL_OK) return;
    for (int64_t i = 0; i < pl_weights_count(w); i++) {
        pl_tensor *t;
        const pl_weight_info info = pl_weights_get(w, i);
        if (pl_weights_find(w, info.name) != i) abort();
        if (pl_weights_load(ctx, &t, w, i) == PL_OK) pl_tensor_release(t);
        else if (pl_error(ctx)[0] == '\0') abort();
    }
    pl_scope_close(ctx, scope);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pl_ctx *ctx; /* names of scopes are kept for good */
    if (size < 1) return 0;
    if (!ctx) {
        make_folder();
        ctx = pl_ctx_new();
        if (!ctx) abort();
        pl_mem_set_limit(ctx, MOST_MEMORY);
    }
    const unsigned kind = data[0] % 4;
    if (kind == 1) {
        static const char header[] =
            "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
        char shard[128];
        const uint64_t n = sizeof header - 1;
        memcpy(shard, &n, 8);
        memcpy(shard + 8, header, n);
        put("a", shard, 8 + n);
    }
    const char *file = put(names[kind], data + 1, size - 1);
    pl_weights *w = NULL;
    pl_llama2c_config config;
    pl_status st;
    if (kind == 2) st = pl_folder_verify(ctx, folder);
    else if (kind == 3) st = pl_llama2c_open(ctx, &w, &config, file);
    else st = pl_safetensors_open(ctx, &w, file);
    if (st == PL_OK && w) load_all(ctx, w);
    pl_weights_close(w);
    take_away("a");
    take_away(names[kind]);
    return 0;
}

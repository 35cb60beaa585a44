/*
** llama2c.c - reader of llama2.c checkpoints, version 0 (github.com/karpathy/llama2.c, run.c).
**
** Seven int32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the output
** layer has weights of its own), seq_len. Then float32 weights, each kind for all layers together,
** matrices as [out, in]; then two tables of RoPE angles nobody needs any more, and last the output
** layer if it has one. Heads rotate neighbouring pairs of channels (interleaved RoPE): the weights
** are not permuted to the half-split order of Hugging Face, the model's configuration says so.
**
** It does not read the later versions (magic "ak42", quantised): their authors' export.py writes
** version 0 too.
*/
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/weights.h"

#define HEADER_BYTES 28
#define MAGIC_LATER 0x616b3432
#define MAX_SIZE (1 << 24) /* of any width: larger is nonsense */
#define MAX_LAYERS 10000
#define NAME_ROOM 64

typedef struct {
    pl_weights *w;
    char *name; /* where the next name goes */
    int64_t at; /* offset in the file */
} layout;

static pl_status bad(pl_ctx *ctx, const char *path, int at, const char *why, int value)
{
    return pl__fail(ctx, PL_ERR_FORMAT,
                    "'%s', byte %d: %s %d: this is no llama2.c checkpoint of version 0", path, at,
                    why, value);
}

static pl_status read_header(pl_ctx *ctx, pl_llama2c_config *config, const pl__weight_source *file)
{
    static const char *const fields[] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                         "n_kv_heads", "vocab_size", "seq_len"};
    int32_t head[7];
    if (file->size < HEADER_BYTES)
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s' has %lld bytes, a llama2.c header has %d",
                        file->path, (long long)file->size, HEADER_BYTES);
    PL_TRY(pl__file_pread(ctx, file->fd, file->path, head, HEADER_BYTES, 0));
    if (head[0] == MAGIC_LATER)
        return pl__fail(
            ctx, PL_ERR_FORMAT,
            "'%s' is a llama2.c checkpoint of version %d; only version 0 is read: export "
            "it again with --version 0",
            file->path, head[1]);
    config->tied = head[5] > 0;
    if (head[5] < 0 && head[5] > INT32_MIN) head[5] = -head[5];
    for (int i = 0; i < 7; i++)
        if (head[i] <= 0 || head[i] > (i == 2 ? MAX_LAYERS : MAX_SIZE))
            return bad(ctx, file->path, 4 * i, fields[i], head[i]);
    config->dim = head[0];
    config->hidden_dim = head[1];
    config->n_layers = head[2];
    config->n_heads = head[3];
    config->n_kv_heads = head[4];
    config->vocab_size = head[5];
    config->seq_len = head[6];
    if (config->dim % config->n_heads != 0 || config->dim / config->n_heads % 2 != 0)
        return bad(ctx, file->path, 12, "dim is no even multiple of n_heads", config->n_heads);
    if (config->n_heads % config->n_kv_heads != 0)
        return bad(ctx, file->path, 16, "n_heads is no multiple of n_kv_heads", config->n_kv_heads);
    return PL_OK;
}

/* One tensor for each layer (layers > 0; "%d" of the name is the layer) or one in all (layers 0).
** No overflow: three factors below 2^24 give less than 2^63, and the file is that large. */
static pl_status add(layout *to, const char *name, int layers, int64_t rows, int64_t columns)
{
    const int64_t bytes = rows * (columns ? columns : 1) * 4;
    for (int layer = 0; layer < (layers ? layers : 1); layer++) {
        const char *mark = strstr(name, "%d");
        if (mark != NULL)
            snprintf(to->name, NAME_ROOM, "%.*s%d%s", (int)(mark - name), name, layer, mark + 2);
        else snprintf(to->name, NAME_ROOM, "%s", name);
        const pl__weight row = {.name = to->name,
                                .type = pl__stored_type_find("F32"),
                                .rank = columns ? 2 : 1,
                                .shape = {rows, columns},
                                .begin = to->at,
                                .bytes = bytes};
        PL_TRY(pl__weights_add(to->w, &row));
        to->name += NAME_ROOM;
        to->at += bytes;
    }
    return PL_OK;
}

/* The size the file must have; false when it is beyond int64. */
static bool expected_size(const pl_llama2c_config *c, int64_t *size)
{
    const int64_t dim = c->dim, hidden = c->hidden_dim, vocab = c->vocab_size;
    const int64_t head = dim / c->n_heads, kv = head * c->n_kv_heads;
    const int64_t attention = 2 * dim * dim + 2 * kv * dim; /* < 2^50 each */
    const int64_t layer = attention + 3 * hidden * dim + 2 * dim;
    const int64_t rope = head * (int64_t)c->seq_len;
    int64_t floats;
    return pl__mul(layer, c->n_layers, &floats) &&
           pl__add(floats, vocab * dim * (c->tied ? 1 : 2) + dim + rope, &floats) &&
           pl__mul(floats, 4, size) && pl__add(*size, HEADER_BYTES, size);
}

static pl_status add_all(pl_weights *w, const pl_llama2c_config *c)
{
    const int64_t dim = c->dim, hidden = c->hidden_dim, head = dim / c->n_heads;
    const int64_t kv = head * c->n_kv_heads;
    const int layers = c->n_layers;
    char *names = pl_alloc(w->ctx, ((size_t)layers * 9 + 3) * NAME_ROOM);
    if (names == NULL) return PL_ERR_NOMEM;
    w->sources[0].text = names;
    layout to = {.w = w, .name = names, .at = HEADER_BYTES};
    PL_TRY(add(&to, "model.embed_tokens.weight", 0, c->vocab_size, dim));
    PL_TRY(add(&to, "model.layers.%d.input_layernorm.weight", layers, dim, 0));
    PL_TRY(add(&to, "model.layers.%d.self_attn.q_proj.weight", layers, dim, dim));
    PL_TRY(add(&to, "model.layers.%d.self_attn.k_proj.weight", layers, kv, dim));
    PL_TRY(add(&to, "model.layers.%d.self_attn.v_proj.weight", layers, kv, dim));
    PL_TRY(add(&to, "model.layers.%d.self_attn.o_proj.weight", layers, dim, dim));
    PL_TRY(add(&to, "model.layers.%d.post_attention_layernorm.weight", layers, dim, 0));
    PL_TRY(add(&to, "model.layers.%d.mlp.gate_proj.weight", layers, hidden, dim));
    PL_TRY(add(&to, "model.layers.%d.mlp.down_proj.weight", layers, dim, hidden));
    PL_TRY(add(&to, "model.layers.%d.mlp.up_proj.weight", layers, hidden, dim));
    PL_TRY(add(&to, "model.norm.weight", 0, dim, 0));
    to.at += head * (int64_t)c->seq_len * 4; /* two tables of seq_len x head / 2 */
    if (!c->tied) PL_TRY(add(&to, "lm_head.weight", 0, c->vocab_size, dim));
    return pl__weights_sort(w);
}

pl_status pl_llama2c_open(pl_ctx *ctx, pl_weights **out, pl_llama2c_config *config,
                          const char *path)
{
    pl_status st;
    pl_weights *w = NULL;
    int64_t size = 0;
    *out = NULL;
    *config = (pl_llama2c_config){0};
    PL_GO(pl__weights_new(ctx, &w));
    PL_GO(pl__weights_add_source(w, path));
    PL_GO(read_header(ctx, config, &w->sources[0]));
    if (!expected_size(config, &size) || size != w->sources[0].size) {
        st = pl__fail(ctx, PL_ERR_FORMAT,
                      "'%s' has %lld bytes, its header (dim %d, %d layers, vocabulary %d) asks for "
                      "%lld: cut short, or no llama2.c checkpoint of version 0",
                      path, (long long)w->sources[0].size, config->dim, config->n_layers,
                      config->vocab_size, (long long)size);
        goto done;
    }
    PL_GO(add_all(w, config));
    *out = w;
    w = NULL;
done:
    pl_weights_close(w);
    return st;
}

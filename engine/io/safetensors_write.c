/*
** safetensors_write.c - writer of .safetensors files.
**
** Wider dtypes first, then by name, as the reference writer does, so that data stay aligned; the
** header is padded with spaces to a multiple of 8. Tensors are written from where they are, one
** after the other; the file appears under its name only when it is complete (file.c).
*/
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "io/file.h"

typedef struct {
    const char *name;
    const pl_tensor *tensor;
    int64_t bytes;
} entry;

static int by_width_and_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const size_t wx = pl_dtype_size(pl_tensor_dtype(x->tensor));
    const size_t wy = pl_dtype_size(pl_tensor_dtype(y->tensor));
    if (wx != wy) return wx > wy ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_utf8(const char *text)
{
    return pl__utf8_run(text, strlen(text)) == strlen(text);
}

/* PL_ERR_ARG when a text stands twice or is not UTF-8. */
static pl_status check_texts(pl_ctx *ctx, const char *path, const char *what,
                             const char *const *texts, int64_t n)
{
    pl_status st = PL_OK;
    const char **sorted = pl_calloc(ctx, (size_t)n + 1, sizeof *sorted);
    if (sorted == NULL) return PL_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) sorted[i] = texts[i];
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t i = 0; i < n && st == PL_OK; i++) {
        if (!is_utf8(sorted[i]))
            st = pl__fail(ctx, PL_ERR_ARG, "saving '%s': a %s is not UTF-8", path, what);
        else if (i > 0 && strcmp(sorted[i - 1], sorted[i]) == 0)
            st = pl__fail(ctx, PL_ERR_ARG, "saving '%s': the %s '%.200s' stands twice", path, what,
                          sorted[i]);
    }
    pl_free(ctx, sorted);
    return st;
}

static pl_status put_notes(pl_ctx *ctx, pl__buf *text, const char *const *keys,
                           const char *const *values, int64_t n)
{
    bool has_format = false;
    PL_TRY(pl__buf_format(ctx, text, "{\"__metadata__\":{"));
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) PL_TRY(pl__buf_add(ctx, text, ",", 1));
        PL_TRY(pl__buf_quote(ctx, text, keys[i]));
        PL_TRY(pl__buf_add(ctx, text, ":", 1));
        PL_TRY(pl__buf_quote(ctx, text, values[i]));
        has_format = has_format || strcmp(keys[i], "format") == 0;
    }
    if (!has_format) PL_TRY(pl__buf_format(ctx, text, "%s\"format\":\"pt\"", n > 0 ? "," : ""));
    return pl__buf_add(ctx, text, "}", 1);
}

/* What the format calls a dtype; NULL when it does not know it. */
static const char *stored_name(pl_dtype dtype)
{
    static const char *const names[PL_DTYPE_COUNT] = {
        [PL_F32] = "F32", [PL_F64] = "F64", [PL_I32] = "I32", [PL_BF16] = "BF16", [PL_F16] = "F16"};
    return names[dtype];
}

static pl_status put_entry(pl_ctx *ctx, pl__buf *text, const entry *e, int64_t begin)
{
    const int64_t *shape = pl_tensor_shape(e->tensor);
    PL_TRY(pl__buf_add(ctx, text, ",", 1));
    PL_TRY(pl__buf_quote(ctx, text, e->name));
    PL_TRY(pl__buf_format(ctx, text, ":{\"dtype\":\"%s\",\"shape\":[",
                          stored_name(pl_tensor_dtype(e->tensor))));
    for (int i = 0; i < pl_tensor_rank(e->tensor); i++)
        PL_TRY(pl__buf_format(ctx, text, i > 0 ? ",%lld" : "%lld", (long long)shape[i]));
    return pl__buf_format(ctx, text, "],\"data_offsets\":[%lld,%lld]}", (long long)begin,
                          (long long)(begin + e->bytes));
}

pl_status pl_safetensors_save(pl_ctx *ctx, const char *path, const char *const *names,
                              pl_tensor *const *tensors, int64_t n, const char *const *keys,
                              const char *const *values, int64_t n_notes)
{
    pl_status st;
    pl__buf text = {0};
    pl__writer w = {.ctx = ctx, .fd = -1};
    int64_t at = 0;
    entry *entries = pl_calloc(ctx, (size_t)n + 1, sizeof *entries);
    if (entries == NULL) return PL_ERR_NOMEM;
    PL_GO(check_texts(ctx, path, "tensor name", names, n));
    PL_GO(check_texts(ctx, path, "metadata key", keys, n_notes));
    for (int64_t i = 0; i < n_notes; i++)
        if (!is_utf8(values[i])) {
            st = pl__fail(ctx, PL_ERR_ARG, "saving '%s': the metadata of '%.200s' is not UTF-8",
                          path, keys[i]);
            goto done;
        }
    for (int64_t i = 0; i < n; i++) {
        PL_GO(pl_tensor_check(ctx, tensors[i]));
        if (strcmp(names[i], "__metadata__") == 0) {
            st = pl__fail(ctx, PL_ERR_ARG, "saving '%s': no tensor may be called __metadata__",
                          path);
            goto done;
        }
        if (stored_name(pl_tensor_dtype(tensors[i])) == NULL) {
            st = pl__fail(ctx, PL_ERR_DTYPE,
                          "saving '%s': '%.200s' is %s, which safetensors cannot hold; cast makes "
                          "it float32",
                          path, names[i], pl_dtype_name(pl_tensor_dtype(tensors[i])));
            goto done;
        }
        entries[i] = (entry){names[i], tensors[i], (int64_t)pl_tensor_bytes(tensors[i])};
    }
    qsort(entries, (size_t)n, sizeof *entries, by_width_and_name);

    PL_GO(put_notes(ctx, &text, keys, values, n_notes));
    for (int64_t i = 0; i < n; i++) {
        PL_GO(put_entry(ctx, &text, &entries[i], at));
        at += entries[i].bytes;
    }
    PL_GO(pl__buf_add(ctx, &text, "}", 1));
    while (text.length % 8 != 0) PL_GO(pl__buf_add(ctx, &text, " ", 1));
    const uint64_t length = text.length;
    PL_GO(pl__writer_open(ctx, &w, path));
    PL_GO(pl__writer_put(&w, &length, sizeof length));
    PL_GO(pl__writer_put(&w, text.data, text.length));
    for (int64_t i = 0; i < n; i++)
        PL_GO(pl__writer_put(&w, pl_tensor_data(entries[i].tensor), (size_t)entries[i].bytes));
    st = pl__writer_commit(&w);
done:
    pl__writer_abort(&w);
    pl__buf_free(ctx, &text);
    pl_free(ctx, entries);
    return st;
}

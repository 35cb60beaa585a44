/*
** weights.c - named tensors in files: finding, loading, converting; hashing of tensors.
**
** bfloat16, float16 and the blocks of GGUF have the values of their kept dtype. int64 becomes int32
** when every value fits and is an error otherwise.
*/
#include "io/weights.h"

#include <stdlib.h>
#include <string.h>

#include "io/file.h"

#define CONVERT_BUFFER ((int64_t)1 << 20)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weight files are little-endian");

#define NUMBERS(name, width, dtype)        \
    {                                      \
        name, 1, width, true, dtype, dtype \
    }
#define KEPT(name, block, bytes, kept)         \
    {                                          \
        name, block, bytes, true, PL_F32, kept \
    }
#define NAMED(name, block, bytes)                 \
    {                                             \
        name, block, bytes, false, PL_F32, PL_F32 \
    } /* never loaded */

static const pl__stored_type types[] = {
    NUMBERS("F32", 4, PL_F32),
    NUMBERS("F64", 8, PL_F64),
    NUMBERS("I32", 4, PL_I32),
    NUMBERS("I64", 8, PL_I32),
    NUMBERS("I16", 2, PL_I32),
    NUMBERS("U16", 2, PL_I32),
    NUMBERS("I8", 1, PL_I32),
    NUMBERS("U8", 1, PL_I32),
    NUMBERS("BOOL", 1, PL_I32),
    KEPT("F16", 1, 2, PL_F16),
    KEPT("BF16", 1, 2, PL_BF16),
    KEPT("Q8_0", 32, 34, PL_Q8_0),
    KEPT("Q4_0", 32, 18, PL_Q4_0),
    KEPT("Q4_1", 32, 20, PL_Q4_1),
    KEPT("Q5_0", 32, 22, PL_Q5_0),
    KEPT("Q5_1", 32, 24, PL_Q5_1),
    KEPT("Q4_K", 256, 144, PL_Q4_K),
    KEPT("Q5_K", 256, 176, PL_Q5_K),
    KEPT("Q6_K", 256, 210, PL_Q6_K),
    NAMED("U32", 1, 4),
    NAMED("U64", 1, 8),
    NAMED("F8_E4M3", 1, 1),
    NAMED("F8_E5M2", 1, 1),
    NAMED("Q8_1", 32, 40),
    NAMED("Q2_K", 256, 84),
    NAMED("Q3_K", 256, 110),
    NAMED("Q8_K", 256, 292),
    NAMED("IQ1_S", 256, 50),
    NAMED("IQ1_M", 256, 56),
    NAMED("IQ2_XXS", 256, 66),
    NAMED("IQ2_XS", 256, 74),
    NAMED("IQ2_S", 256, 82),
    NAMED("IQ3_XXS", 256, 98),
    NAMED("IQ3_S", 256, 110),
    NAMED("IQ4_NL", 32, 18),
    NAMED("IQ4_XS", 256, 136),
    NAMED("TQ1_0", 256, 54),
    NAMED("TQ2_0", 256, 66),
    NAMED("MXFP4", 32, 17),
    NAMED("NVFP4", 64, 36),
};

const pl__stored_type *pl__stored_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

/* --------------------------------------------------------------------------------------------
** Building
*/
pl_status pl__weights_new(pl_ctx *ctx, pl_weights **out)
{
    *out = pl_calloc(ctx, 1, sizeof **out);
    if (*out == NULL) return PL_ERR_NOMEM;
    (*out)->ctx = ctx;
    return PL_OK;
}

/* Room for one more row of `size` bytes in *rows. */
static pl_status grow(pl_ctx *ctx, void **rows, int64_t n, int64_t *cap, size_t size)
{
    if (n < *cap) return PL_OK;
    const int64_t wanted = *cap * 2 + 8;
    void *block = pl_realloc(ctx, *rows, (size_t)wanted * size);
    if (block == NULL) return PL_ERR_NOMEM;
    *rows = block;
    *cap = wanted;
    return PL_OK;
}

pl_status pl__weights_add_source(pl_weights *w, const char *path)
{
    int64_t cap = w->cap_sources;
    void *rows = w->sources;
    PL_TRY(grow(w->ctx, &rows, w->n_sources, &cap, sizeof *w->sources));
    w->sources = rows;
    w->cap_sources = (int)cap;
    pl__weight_source *source = &w->sources[w->n_sources];
    *source = (pl__weight_source){.fd = -1};
    source->path = pl_strndup(w->ctx, path, strlen(path));
    if (source->path == NULL) return PL_ERR_NOMEM;
    w->n_sources++;
    return pl__file_open(w->ctx, &source->fd, &source->size, path, true);
}

pl_status pl__weights_add(pl_weights *w, const pl__weight *row)
{
    void *rows = w->rows;
    PL_TRY(grow(w->ctx, &rows, w->n, &w->cap, sizeof *w->rows));
    w->rows = rows;
    w->rows[w->n++] = *row;
    return PL_OK;
}

pl_status pl__weights_add_note(pl_weights *w, const char *key, const char *value)
{
    void *rows = w->notes;
    PL_TRY(grow(w->ctx, &rows, w->n_notes, &w->cap_notes, sizeof *w->notes));
    w->notes = rows;
    w->notes[w->n_notes].key = key;
    w->notes[w->n_notes++].value = value;
    return PL_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const pl__weight *)a)->name, ((const pl__weight *)b)->name);
}

pl_status pl__weights_sort(pl_weights *w)
{
    if (w->n > 1) qsort(w->rows, (size_t)w->n, sizeof *w->rows, by_name);
    for (int64_t i = 1; i < w->n; i++)
        if (strcmp(w->rows[i - 1].name, w->rows[i].name) == 0)
            return pl__fail(w->ctx, PL_ERR_FORMAT, "'%s': the tensor '%s' stands twice",
                            w->sources[w->rows[i].source].path, w->rows[i].name);
    return PL_OK;
}

void pl_weights_close(pl_weights *w)
{
    if (w == NULL) return;
    for (int i = 0; i < w->n_sources; i++) {
        pl__file_close(&w->sources[i].fd);
        pl_free(w->ctx, w->sources[i].path);
        pl_free(w->ctx, w->sources[i].text);
    }
    pl_free(w->ctx, w->sources);
    pl_free(w->ctx, w->rows);
    pl_free(w->ctx, w->notes);
    pl_free(w->ctx, w);
}

/* --------------------------------------------------------------------------------------------
** Looking
*/
int64_t pl_weights_count(const pl_weights *w)
{
    return w->n;
}

pl_weight_info pl_weights_get(const pl_weights *w, int64_t i)
{
    const pl__weight *row = &w->rows[i];
    pl_weight_info info = {
        .name = row->name, .stored = row->type->name, .dtype = row->type->dtype, .rank = row->rank};
    memcpy(info.shape, row->shape, sizeof info.shape);
    return info;
}

int64_t pl_weights_find(const pl_weights *w, const char *name)
{
    const pl__weight key = {.name = name};
    if (w->n == 0) return -1;
    const pl__weight *row = bsearch(&key, w->rows, (size_t)w->n, sizeof *w->rows, by_name);
    return row == NULL ? -1 : row - w->rows;
}

int64_t pl_weights_note_count(const pl_weights *w)
{
    return w->n_notes;
}

void pl_weights_note(const pl_weights *w, int64_t i, const char **key, const char **value)
{
    *key = w->notes[i].key;
    *value = w->notes[i].value;
}

/* --------------------------------------------------------------------------------------------
** Loading
*/
/* n stored integers to int32; false at a value that does not fit. */
static bool convert(const pl__stored_type *type, int32_t *d, const void *from, int64_t n)
{
    if (strcmp(type->name, "I16") == 0) {
        for (int64_t i = 0; i < n; i++) d[i] = ((const int16_t *)from)[i];
    } else if (strcmp(type->name, "U16") == 0) {
        for (int64_t i = 0; i < n; i++) d[i] = ((const uint16_t *)from)[i];
    } else if (strcmp(type->name, "I8") == 0) {
        for (int64_t i = 0; i < n; i++) d[i] = ((const int8_t *)from)[i];
    } else if (type->bytes == 1) {
        for (int64_t i = 0; i < n; i++) d[i] = ((const uint8_t *)from)[i];
    } else {
        const int64_t *wide = from;
        for (int64_t i = 0; i < n; i++) {
            if (wide[i] < INT32_MIN || wide[i] > INT32_MAX) return false;
            d[i] = (int32_t)wide[i];
        }
    }
    return true;
}

/* n stored values (whole blocks) to those of a tensor. */
static pl_status read_values(pl_ctx *ctx, const pl__weight *row, const pl__weight_source *source,
                             void *to, const void *from, int64_t n)
{
    if (pl_dtype_kept(row->type->kept)) return pl_dequantise(ctx, to, row->type->kept, from, n);
    if (convert(row->type, to, from, n)) return PL_OK;
    return pl__fail(ctx, PL_ERR_FORMAT, "'%s': tensor '%s' has int64 values that do not fit int32",
                    source->path, row->name);
}

/* Reads and converts piece by piece; a buffer is far from any alignment trouble. */
static pl_status load_converted(pl_ctx *ctx, pl_tensor *t, const pl__weight *row,
                                const pl__weight_source *source)
{
    pl_status st = PL_OK;
    const int64_t bytes = row->type->bytes, blocks = CONVERT_BUFFER / bytes;
    const int64_t step = blocks * row->type->block, n = pl_tensor_count(t);
    char *buffer = pl_alloc(ctx, (size_t)CONVERT_BUFFER);
    if (buffer == NULL) return PL_ERR_NOMEM;
    for (int64_t i = 0; i < n; i += step) {
        const int64_t count = n - i < step ? n - i : step;
        PL_GO(pl__file_pread(ctx, source->fd, source->path, buffer,
                             count / row->type->block * bytes,
                             row->begin + i / row->type->block * bytes));
        PL_GO(read_values(ctx, row, source, (char *)pl_tensor_data(t) + i * 4, buffer, count));
    }
done:
    pl_free(ctx, buffer);
    return st;
}

static pl_status load(pl_ctx *ctx, pl_tensor **out, const pl_weights *w, int64_t i, bool keep)
{
    *out = NULL;
    if (i < 0 || i >= w->n)
        return pl__fail(ctx, PL_ERR_ARG, "weights: no tensor %lld of %lld", (long long)i,
                        (long long)w->n);
    const pl__weight *row = &w->rows[i];
    const pl__weight_source *source = &w->sources[row->source];
    const pl_dtype dtype = keep ? row->type->kept : row->type->dtype;
    pl_tensor *t = NULL;
    if (!row->type->loads)
        return pl__fail(
            ctx, PL_ERR_DTYPE,
            "'%s': tensor '%s' is %s, which cannot be loaded (can: F32, F64, F16, BF16, "
            "I64, I32, I16, I8, U16, U8, BOOL, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K)",
            source->path, row->name, row->type->name);
    PL_TRY(pl_tensor_new(ctx, &t, dtype, row->rank, row->shape));
    pl_tensor_set_name(t, row->name);
    const bool as_is =
        row->type->block == pl_dtype_block(dtype) && row->type->bytes == (int)pl_dtype_size(dtype);
    const pl_status st = as_is ? pl__file_pread(ctx, source->fd, source->path, pl_tensor_data(t),
                                                row->bytes, row->begin)
                               : load_converted(ctx, t, row, source);
    pl_tensor_touch(t);
    if (st != PL_OK) {
        pl_tensor_free_data(t);
        pl_tensor_release(t);
        return st;
    }
    *out = t;
    return PL_OK;
}

pl_status pl_weights_load(pl_ctx *ctx, pl_tensor **out, const pl_weights *w, int64_t i)
{
    return load(ctx, out, w, i, false);
}

pl_status pl_weights_keep(pl_ctx *ctx, pl_tensor **out, const pl_weights *w, int64_t i)
{
    return load(ctx, out, w, i, true);
}

/* --------------------------------------------------------------------------------------------
** Hash of tensors
*/
typedef struct {
    const char *name;
    const pl_tensor *tensor;
} named_tensor;

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp(((const named_tensor *)a)->name, ((const named_tensor *)b)->name);
}

pl_status pl_hash_tensors(pl_ctx *ctx, char hex[PL_HASH_TEXT], const char *const *names,
                          pl_tensor *const *tensors, int64_t n)
{
    pl_status st = PL_OK;
    XXH3_state_t *state = XXH3_createState();
    named_tensor *rows = pl_calloc(ctx, (size_t)n + 1, sizeof *rows);
    if (state == NULL || rows == NULL) {
        st = pl__fail(ctx, PL_ERR_NOMEM, "hash of tensors: not enough memory");
        goto done;
    }
    for (int64_t i = 0; i < n; i++) {
        PL_GO(pl_tensor_check(ctx, tensors[i]));
        rows[i] = (named_tensor){names[i], tensors[i]};
    }
    qsort(rows, (size_t)n, sizeof *rows, by_tensor_name);
    XXH3_128bits_reset(state);
    for (int64_t i = 0; i < n; i++) {
        const pl_tensor *t = rows[i].tensor;
        const int64_t head[2] = {pl_tensor_dtype(t), pl_tensor_rank(t)};
        XXH3_128bits_update(state, rows[i].name, strlen(rows[i].name) + 1);
        XXH3_128bits_update(state, head, sizeof head);
        XXH3_128bits_update(state, pl_tensor_shape(t), (size_t)head[1] * sizeof(int64_t));
        XXH3_128bits_update(state, pl_tensor_data(t), pl_tensor_bytes(t));
    }
    pl__hash_hex(hex, XXH3_128bits_digest(state));
done:
    pl_free(ctx, rows);
    XXH3_freeState(state);
    return st;
}

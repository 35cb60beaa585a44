/*
** gguf_write.c - writer of GGUF files, version 3 (for the layout see gguf.c).
**
** The data are aligned to 32 bytes, tensors in the order of their names, from where they are in
** memory; the file appears under its name only when it is complete (file.c).
*/
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "io/file.h"

#define VERSION 3
#define ALIGNMENT 32
#define MAX_TENSOR_NAME 63 /* of ggml */
#define MAX_AXES 4
#define LIST_TYPE 9

typedef struct {
    const char *name;
    const pl_tensor *tensor;
} entry;

/* As the format numbers them. */
static const uint32_t value_types[] = {[PL_GGUF_AS_U32] = 4,
                                       [PL_GGUF_AS_I32] = 5,
                                       [PL_GGUF_AS_F32] = 6,
                                       [PL_GGUF_AS_BOOL] = 7,
                                       [PL_GGUF_AS_TEXT] = 8};
static const uint32_t tensor_types[PL_DTYPE_COUNT] = {
    [PL_F32] = 0,  [PL_F16] = 1,  [PL_Q4_0] = 2,  [PL_Q4_1] = 3,  [PL_Q5_0] = 6,
    [PL_Q5_1] = 7, [PL_Q8_0] = 8, [PL_Q4_K] = 12, [PL_Q5_K] = 13, [PL_Q6_K] = 14,
    [PL_I32] = 26, [PL_F64] = 28, [PL_BF16] = 30,
};

/* --------------------------------------------------------------------------------------------
** The head
*/
static pl_status put_u32(pl_ctx *ctx, pl__buf *to, uint32_t value)
{
    return pl__buf_add(ctx, to, (const char *)&value, sizeof value);
}

static pl_status put_u64(pl_ctx *ctx, pl__buf *to, uint64_t value)
{
    return pl__buf_add(ctx, to, (const char *)&value, sizeof value);
}

static pl_status put_text(pl_ctx *ctx, pl__buf *to, const char *text, size_t length)
{
    PL_TRY(put_u64(ctx, to, length));
    return pl__buf_add(ctx, to, text, length);
}

static pl_status put_number(pl_ctx *ctx, pl__buf *to, const pl_gguf_field *field, double value)
{
    if (field->type == PL_GGUF_AS_F32) {
        const float single = (float)value;
        return pl__buf_add(ctx, to, (const char *)&single, sizeof single);
    }
    if (field->type == PL_GGUF_AS_BOOL) return pl__buf_add(ctx, to, value != 0 ? "\1" : "\0", 1);
    const bool is_signed = field->type == PL_GGUF_AS_I32;
    const double least = is_signed ? INT32_MIN : 0, most = is_signed ? INT32_MAX : UINT32_MAX;
    if (!(value >= least && value <= most) || (double)(int64_t)value != value)
        return pl__fail(ctx, PL_ERR_ARG, "GGUF: '%s' is %g, no integer from %.0f to %.0f",
                        field->key, value, least, most);
    return put_u32(ctx, to, (uint32_t)(int64_t)value);
}

static pl_status put_field(pl_ctx *ctx, pl__buf *to, const pl_gguf_field *field)
{
    PL_TRY(put_text(ctx, to, field->key, strlen(field->key)));
    if (field->list) {
        PL_TRY(put_u32(ctx, to, LIST_TYPE));
        PL_TRY(put_u32(ctx, to, value_types[field->type]));
        PL_TRY(put_u64(ctx, to, (uint64_t)field->n));
    } else {
        PL_TRY(put_u32(ctx, to, value_types[field->type]));
    }
    for (int64_t i = 0; i < field->n; i++)
        PL_TRY(field->type == PL_GGUF_AS_TEXT
                   ? put_text(ctx, to, field->texts[i], field->lengths[i])
                   : put_number(ctx, to, field, field->numbers[i]));
    return PL_OK;
}

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static pl_status put_tensor(pl_ctx *ctx, pl__buf *to, const char *name, const pl_tensor *t,
                            int64_t offset)
{
    const int64_t *shape = pl_tensor_shape(t);
    const int rank = pl_tensor_rank(t);
    PL_TRY(put_text(ctx, to, name, strlen(name)));
    PL_TRY(put_u32(ctx, to, (uint32_t)rank));
    for (int axis = rank - 1; axis >= 0; axis--) PL_TRY(put_u64(ctx, to, (uint64_t)shape[axis]));
    PL_TRY(put_u32(ctx, to, tensor_types[pl_tensor_dtype(t)]));
    return put_u64(ctx, to, (uint64_t)offset);
}

/* --------------------------------------------------------------------------------------------
** Checks
*/
static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* PL_ERR_ARG when a name stands twice, is too long or not UTF-8. Sorts the list. */
static pl_status check_names(pl_ctx *ctx, const char *path, const char *what, const char **names,
                             int64_t n, size_t most)
{
    if (n > 1) qsort(names, (size_t)n, sizeof *names, by_text);
    for (int64_t i = 0; i < n; i++) {
        const size_t length = strlen(names[i]);
        const char *why = NULL;
        if (length > most) why = "is too long";
        else if (pl__utf8_run(names[i], length) < length) why = "is not UTF-8";
        else if (i > 0 && strcmp(names[i - 1], names[i]) == 0) why = "stands twice";
        if (why != NULL)
            return pl__fail(ctx, PL_ERR_ARG, "saving '%s': the %s '%.200s' %s", path, what,
                            names[i], why);
    }
    return PL_OK;
}

static pl_status check(pl_ctx *ctx, const char *path, const pl_gguf_field *fields, int64_t n_fields,
                       const char *const *names, pl_tensor *const *tensors, int64_t n)
{
    pl_status st = PL_OK;
    const char **list = pl_calloc(ctx, (size_t)(n > n_fields ? n : n_fields) + 1, sizeof *list);
    if (list == NULL) return PL_ERR_NOMEM;
    for (int64_t i = 0; i < n_fields; i++) list[i] = fields[i].key;
    PL_GO(check_names(ctx, path, "key", list, n_fields, UINT16_MAX));
    for (int64_t i = 0; i < n; i++) list[i] = names[i];
    PL_GO(check_names(ctx, path, "tensor name", list, n, MAX_TENSOR_NAME));
    for (int64_t i = 0; i < n; i++) {
        PL_GO(pl_tensor_check(ctx, tensors[i]));
        if (pl_tensor_rank(tensors[i]) > MAX_AXES) {
            st =
                pl__fail(ctx, PL_ERR_ARG, "saving '%s': '%s' has more than 4 axes", path, names[i]);
            goto done;
        }
    }
done:
    pl_free(ctx, list);
    return st;
}

/* --------------------------------------------------------------------------------------------
** The file
*/
static pl_status put_padding(pl__writer *w, int64_t bytes)
{
    static const char zeros[ALIGNMENT];
    return pl__writer_put(w, zeros, (size_t)(aligned(bytes) - bytes));
}

pl_status pl_gguf_save(pl_ctx *ctx, const char *path, const pl_gguf_field *fields, int64_t n_fields,
                       const char *const *names, pl_tensor *const *tensors, int64_t n)
{
    pl_status st;
    pl__buf head = {0};
    pl__writer w = {.ctx = ctx, .fd = -1};
    int64_t at = 0;
    entry *entries = pl_calloc(ctx, (size_t)n + 1, sizeof *entries);
    if (entries == NULL) return PL_ERR_NOMEM;
    PL_GO(check(ctx, path, fields, n_fields, names, tensors, n));
    for (int64_t i = 0; i < n; i++) entries[i] = (entry){names[i], tensors[i]};
    qsort(entries, (size_t)n, sizeof *entries, by_name);
    PL_GO(pl__buf_add(ctx, &head, "GGUF", 4));
    PL_GO(put_u32(ctx, &head, VERSION));
    PL_GO(put_u64(ctx, &head, (uint64_t)n));
    PL_GO(put_u64(ctx, &head, (uint64_t)n_fields));
    for (int64_t i = 0; i < n_fields; i++) PL_GO(put_field(ctx, &head, &fields[i]));
    for (int64_t i = 0; i < n; i++) {
        PL_GO(put_tensor(ctx, &head, entries[i].name, entries[i].tensor, at));
        at += aligned((int64_t)pl_tensor_bytes(entries[i].tensor));
    }
    PL_GO(pl__writer_open(ctx, &w, path));
    PL_GO(pl__writer_put(&w, head.data, head.length));
    PL_GO(put_padding(&w, (int64_t)head.length));
    for (int64_t i = 0; i < n; i++) {
        const size_t bytes = pl_tensor_bytes(entries[i].tensor);
        PL_GO(pl__writer_put(&w, pl_tensor_data(entries[i].tensor), bytes));
        PL_GO(put_padding(&w, (int64_t)bytes));
    }
    st = pl__writer_commit(&w);
done:
    pl__writer_abort(&w);
    pl__buf_free(ctx, &head);
    pl_free(ctx, entries);
    return st;
}

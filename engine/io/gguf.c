/*
** gguf.c - reader of GGUF files, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md).
**
** All little-endian: "GGUF", u32 version, u64 number of tensors, u64 number of entries; the
** entries, each a key, a u32 type and a value; the tensors, each a name, u32 number of axes, u64
** axes (the fastest first), u32 type and u64 offset. The data begin at the next multiple of the
** entry general.alignment (32). A text is a u64 length and its bytes; a list a u32 type, a u64
** length and the values.
**
** The head is walked twice: first to find where it ends and that it is sound, reading the file on
** as it goes, then to take what it says from a text that no longer moves. Keys and names are moved
** one byte down, over their own length, to make room for a NUL; the other values stay as they are.
** Nothing is allocated by a number that the file only claims.
**
** It does not read version 1, big-endian files, lists of lists or the further parts of a split
** model, and knows nothing of what entries mean.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "io/file.h"
#include "io/weights.h"

#define FIRST_READ ((int64_t)64 << 10)
#define MAX_HEAD ((int64_t)512 << 20)
#define MAX_NAME 65535  /* of a key, as the format says; tensors' names are far shorter */
#define LEAST_ENTRY 13  /* bytes of an entry: an empty key, its type, a byte */
#define LEAST_TENSOR 24 /* bytes of a tensor: an empty name, no axes, its type, its offset */
#define MAX_AXES 4      /* as ggml */
#define MAX_ALIGNMENT (1 << 30)

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, LIST, U64, I64, F64, N_TYPES };

static const int widths[N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const struct {
    uint32_t number;
    const char *name;
} tensor_types[] = {
    {0, "F32"},     {1, "F16"},    {2, "Q4_0"},     {3, "Q4_1"},    {6, "Q5_0"},     {7, "Q5_1"},
    {8, "Q8_0"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},
    {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {30, "BF16"},    {34, "TQ1_0"},
    {35, "TQ2_0"},  {39, "MXFP4"}, {40, "NVFP4"},
};

typedef struct {
    const char *key;
    uint32_t type; /* of the value, or of a list's values */
    bool list;
    int64_t n;     /* values */
    int64_t first; /* where they begin in the head; texts: their first place */
} entry;

struct pl_gguf {
    pl_weights *weights; /* the head is the text of its source */
    entry *entries;      /* by key */
    int64_t n, cap;
    int64_t *places; /* where each text of a value begins, with its length */
    int64_t n_places;
};

/* --------------------------------------------------------------------------------------------
** Reading the head
*/
typedef struct {
    pl_ctx *ctx;
    pl__weight_source *file; /* its text grows as the head is read */
    int64_t held, at;
    bool taking; /* the second walk */
} head;

static pl_status fail(const head *h, const char *why)
{
    return pl__fail(h->ctx, PL_ERR_FORMAT, "'%s', byte %lld: %s", h->file->path, (long long)h->at,
                    why);
}

/* The next `bytes` bytes are in memory. */
static pl_status need(head *h, uint64_t bytes)
{
    if (bytes > (uint64_t)(h->file->size - h->at))
        return fail(h, "the file ends within its head: it was cut short, or is no GGUF file");
    const int64_t end = h->at + (int64_t)bytes;
    if (end <= h->held) return PL_OK;
    if (end > MAX_HEAD) return fail(h, "a head of more than 512 MB is not read");
    int64_t wanted = h->held * 2 < FIRST_READ ? FIRST_READ : h->held * 2;
    if (wanted < end) wanted = end;
    if (wanted > h->file->size) wanted = h->file->size;
    char *text = pl_realloc(h->ctx, h->file->text, (size_t)wanted);
    if (text == NULL) return PL_ERR_NOMEM;
    h->file->text = text;
    PL_TRY(pl__file_pread(h->ctx, h->file->fd, h->file->path, text + h->held, wanted - h->held,
                          h->held));
    h->held = wanted;
    return PL_OK;
}

static pl_status take_u32(head *h, uint32_t *out)
{
    PL_TRY(need(h, sizeof *out));
    memcpy(out, h->file->text + h->at, sizeof *out);
    h->at += (int64_t)sizeof *out;
    return PL_OK;
}

static pl_status take_u64(head *h, uint64_t *out)
{
    PL_TRY(need(h, sizeof *out));
    memcpy(out, h->file->text + h->at, sizeof *out);
    h->at += (int64_t)sizeof *out;
    return PL_OK;
}

/* A key or the name of a tensor; a string once it is taken. */
static pl_status take_name(head *h, const char **out, const char *what)
{
    uint64_t length;
    char why[80];
    PL_TRY(take_u64(h, &length));
    if (length > MAX_NAME) {
        snprintf(why, sizeof why, "%s of more than %d bytes", what, MAX_NAME);
        return fail(h, why);
    }
    PL_TRY(need(h, length));
    char *text = h->file->text + h->at;
    if (memchr(text, '\0', length) != NULL || pl__utf8_run(text, length) < length) {
        snprintf(why, sizeof why, "%s that is not UTF-8, or holds a NUL", what);
        return fail(h, why);
    }
    h->at += (int64_t)length;
    if (!h->taking) return PL_OK;
    *out = memmove(text - 1, text, length);
    text[-1 + (int64_t)length] = '\0';
    return PL_OK;
}

/* --------------------------------------------------------------------------------------------
** Entries
*/
static pl_status take_texts(head *h, pl_gguf *g, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t length;
        const int64_t place = h->at;
        PL_TRY(take_u64(h, &length));
        PL_TRY(need(h, length));
        h->at += (int64_t)length;
        if (h->taking) g->places[g->n_places] = place;
        g->n_places++;
    }
    return PL_OK;
}

/* n values of one width; all that cannot be told apart later is refused here. */
static pl_status take_numbers(head *h, uint32_t type, int64_t n)
{
    PL_TRY(need(h, (uint64_t)n * (uint64_t)widths[type]));
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *value = (const unsigned char *)h->file->text + h->at;
        if (type == BOOL && *value > 1) return fail(h, "a boolean that is neither 0 nor 1");
        if (type == U64 && value[7] > 0x7f) return fail(h, "an integer beyond 2^63 - 1");
        h->at += widths[type];
    }
    return PL_OK;
}

static pl_status take_entry(head *h, pl_gguf *g)
{
    entry e = {.n = 1};
    uint64_t n = 1;
    PL_TRY(take_name(h, &e.key, "a key"));
    PL_TRY(take_u32(h, &e.type));
    e.list = e.type == LIST;
    if (e.list) {
        PL_TRY(take_u32(h, &e.type));
        PL_TRY(take_u64(h, &n));
        if (e.type == LIST) return fail(h, "a list of lists, which is not read");
    }
    if (e.type >= N_TYPES) return fail(h, "a value of an unknown type");
    const int least = e.type == TEXT ? 8 : widths[e.type];
    if (n > (uint64_t)(h->file->size - h->at) / (uint64_t)least)
        return fail(h, "a list that is longer than the file: it was cut short");
    e.n = (int64_t)n;
    e.first = e.type == TEXT ? g->n_places : h->at;
    PL_TRY(e.type == TEXT ? take_texts(h, g, e.n) : take_numbers(h, e.type, e.n));
    if (h->taking) g->entries[g->n++] = e;
    return PL_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

static pl_status sort_entries(pl_gguf *g, const head *h)
{
    if (g->n > 1) qsort(g->entries, (size_t)g->n, sizeof *g->entries, by_key);
    for (int64_t i = 1; i < g->n; i++)
        if (strcmp(g->entries[i - 1].key, g->entries[i].key) == 0)
            return pl__fail(h->ctx, PL_ERR_FORMAT, "'%s': the key '%.200s' stands twice",
                            h->file->path, g->entries[i].key);
    return PL_OK;
}

/* --------------------------------------------------------------------------------------------
** Tensors
*/
static pl_status take_type(head *h, pl__weight *row)
{
    uint32_t number;
    char why[80];
    PL_TRY(take_u32(h, &number));
    for (size_t i = 0; i < sizeof tensor_types / sizeof tensor_types[0]; i++)
        if (tensor_types[i].number == number)
            row->type = pl__stored_type_find(tensor_types[i].name);
    if (row->type != NULL) return PL_OK;
    snprintf(why, sizeof why, "a tensor of type %u, which is not known", number);
    return fail(h, why);
}

/* Axes in the order of the engine: the fastest last. */
static pl_status take_shape(head *h, pl__weight *row, int64_t *count)
{
    uint32_t axes;
    uint64_t size;
    PL_TRY(take_u32(h, &axes));
    if (axes > MAX_AXES) return fail(h, "a tensor of more than 4 axes");
    row->rank = (int)axes;
    *count = 1;
    for (int axis = row->rank - 1; axis >= 0; axis--) {
        PL_TRY(take_u64(h, &size));
        if (size > INT64_MAX || !pl__mul(*count, (int64_t)size, count))
            return fail(h, "a tensor of more than 2^63 - 1 elements");
        row->shape[axis] = (int64_t)size;
    }
    return PL_OK;
}

static pl_status take_tensor(head *h, pl_gguf *g)
{
    pl__weight row = {0};
    int64_t count;
    uint64_t offset;
    PL_TRY(take_name(h, &row.name, "the name of a tensor"));
    PL_TRY(take_shape(h, &row, &count));
    PL_TRY(take_type(h, &row));
    const int block = row.type->block;
    if (block > 1 && (row.rank == 0 || row.shape[row.rank - 1] % block != 0))
        return fail(h, "a row of a tensor that is no whole number of its type's blocks");
    if (!pl__mul(count / block, row.type->bytes, &row.bytes))
        return fail(h, "a tensor of more than 2^63 - 1 bytes");
    PL_TRY(take_u64(h, &offset));
    if (offset > INT64_MAX) return fail(h, "an offset beyond the end of the file");
    row.begin = (int64_t)offset;
    return h->taking ? pl__weights_add(g->weights, &row) : PL_OK;
}

static int by_place(const void *a, const void *b)
{
    const pl__weight *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static pl_status find_alignment(const pl_gguf *g, const head *h, int64_t *out)
{
    *out = 32;
    const int64_t i = pl_gguf_find(g, "general.alignment");
    if (i < 0) return PL_OK;
    const entry *e = &g->entries[i];
    if (e->type == U32 && !e->list) *out = pl_gguf_integer(g, i, 0);
    if (e->type != U32 || e->list || *out < 1 || *out > MAX_ALIGNMENT || (*out & (*out - 1)) != 0)
        return pl__fail(h->ctx, PL_ERR_FORMAT,
                        "'%s': general.alignment is no power of two as an unsigned 32-bit number",
                        h->file->path);
    return PL_OK;
}

/* Turns offsets into those of the file: each aligned, whole in the file, none over another. */
static pl_status place_tensors(pl_gguf *g, const head *h)
{
    pl_weights *w = g->weights;
    int64_t alignment, end = 0;
    PL_TRY(find_alignment(g, h, &alignment));
    const int64_t data = (h->at + alignment - 1) / alignment * alignment;
    if (w->n > 1) qsort(w->rows, (size_t)w->n, sizeof *w->rows, by_place);
    for (int64_t i = 0; i < w->n; i++) {
        pl__weight *row = &w->rows[i];
        int64_t last;
        const char *why = NULL;
        if (row->begin % alignment != 0) why = "is not aligned";
        else if (row->begin < end) why = "lies over another";
        else if (!pl__add(row->begin, row->bytes, &end) || !pl__add(data, end, &last) ||
                 last > h->file->size)
            why = "goes beyond the end of the file: it was cut short";
        if (why != NULL)
            return pl__fail(h->ctx, PL_ERR_FORMAT, "'%s': the tensor '%.200s' at offset %lld %s",
                            h->file->path, row->name, (long long)row->begin, why);
        row->begin += data;
    }
    return pl__weights_sort(w);
}

/* --------------------------------------------------------------------------------------------
** The file
*/
static pl_status take_counts(head *h, uint64_t *tensors, uint64_t *entries)
{
    uint32_t magic, version;
    PL_TRY(take_u32(h, &magic));
    if (memcmp(&magic, "GGUF", 4) != 0)
        return pl__fail(h->ctx, PL_ERR_FORMAT, "'%s' is no GGUF file: it does not begin with GGUF",
                        h->file->path);
    PL_TRY(take_u32(h, &version));
    if (version != 2 && version != 3)
        return pl__fail(
            h->ctx, PL_ERR_FORMAT,
            (version & 0xffff) == 0 && version != 0
                ? "'%s' is a big-endian GGUF file (version %u); little-endian ones are read"
                : "'%s' is GGUF of version %u; versions 2 and 3 are read",
            h->file->path, (version & 0xffff) == 0 ? version >> 24 : version);
    PL_TRY(take_u64(h, tensors));
    PL_TRY(take_u64(h, entries));
    const uint64_t rest = (uint64_t)(h->file->size - h->at);
    if (*tensors > rest / LEAST_TENSOR || *entries > rest / LEAST_ENTRY)
        return fail(h, "more tensors or entries than the file can hold: it was cut short");
    return PL_OK;
}

static pl_status walk(head *h, pl_gguf *g)
{
    uint64_t tensors = 0, entries = 0;
    h->at = 0;
    g->n_places = 0;
    PL_TRY(take_counts(h, &tensors, &entries));
    if (h->taking) {
        g->entries = pl_calloc(h->ctx, (size_t)entries + 1, sizeof *g->entries);
        if (g->entries == NULL) return PL_ERR_NOMEM;
    }
    for (uint64_t i = 0; i < entries; i++) PL_TRY(take_entry(h, g));
    for (uint64_t i = 0; i < tensors; i++) PL_TRY(take_tensor(h, g));
    return PL_OK;
}

static pl_status read_head(pl_ctx *ctx, pl_gguf *g)
{
    head h = {.ctx = ctx, .file = &g->weights->sources[0]};
    PL_TRY(walk(&h, g));
    g->places = pl_calloc(ctx, (size_t)g->n_places + 1, sizeof *g->places);
    if (g->places == NULL) return PL_ERR_NOMEM;
    h.taking = true;
    PL_TRY(walk(&h, g));
    PL_TRY(sort_entries(g, &h));
    return place_tensors(g, &h);
}

pl_status pl_gguf_open(pl_ctx *ctx, pl_gguf **out, const char *path)
{
    pl_status st;
    *out = NULL;
    pl_gguf *g = pl_calloc(ctx, 1, sizeof *g);
    if (g == NULL) return PL_ERR_NOMEM;
    PL_GO(pl__weights_new(ctx, &g->weights));
    PL_GO(pl__weights_add_source(g->weights, path));
    PL_GO(read_head(ctx, g));
    *out = g;
    return PL_OK;
done:
    if (g->weights == NULL) pl_free(ctx, g);
    else pl_gguf_close(g);
    return st;
}

void pl_gguf_close(pl_gguf *g)
{
    if (g == NULL) return;
    pl_ctx *ctx = g->weights->ctx;
    pl_weights_close(g->weights);
    pl_free(ctx, g->entries);
    pl_free(ctx, g->places);
    pl_free(ctx, g);
}

const pl_weights *pl_gguf_weights(const pl_gguf *g)
{
    return g->weights;
}

/* --------------------------------------------------------------------------------------------
** Looking
*/
int64_t pl_gguf_count(const pl_gguf *g)
{
    return g->n;
}

int64_t pl_gguf_find(const pl_gguf *g, const char *key)
{
    const entry wanted = {.key = key};
    if (g->n == 0) return -1;
    const entry *e = bsearch(&wanted, g->entries, (size_t)g->n, sizeof *g->entries, by_key);
    return e == NULL ? -1 : e - g->entries;
}

pl_gguf_entry pl_gguf_get(const pl_gguf *g, int64_t i)
{
    static const pl_gguf_kind kinds[N_TYPES] = {
        [F32] = PL_GGUF_NUMBER, [F64] = PL_GGUF_NUMBER, [BOOL] = PL_GGUF_BOOLEAN,
        [TEXT] = PL_GGUF_TEXT,  [LIST] = PL_GGUF_TEXT, /* the rest: PL_GGUF_INTEGER, which is 0 */
    };
    const entry *e = &g->entries[i];
    return (pl_gguf_entry){.key = e->key, .kind = kinds[e->type], .list = e->list, .n = e->n};
}

static const char *value_at(const pl_gguf *g, const entry *e, int64_t j)
{
    return g->weights->sources[0].text + e->first + j * widths[e->type];
}

int64_t pl_gguf_integer(const pl_gguf *g, int64_t i, int64_t j)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        int64_t i64;
    } v;
    const entry *e = &g->entries[i];
    memcpy(&v, value_at(g, e, j), (size_t)widths[e->type]);
    switch (e->type) {
    case I8: return v.i8;
    case U16: return v.u16;
    case I16: return v.i16;
    case U32: return v.u32;
    case I32: return v.i32;
    case U64:
    case I64: return v.i64;
    default: return v.u8;
    }
}

double pl_gguf_number(const pl_gguf *g, int64_t i, int64_t j)
{
    const entry *e = &g->entries[i];
    float single;
    double wide;
    if (e->type != F32 && e->type != F64) return (double)pl_gguf_integer(g, i, j);
    memcpy(&single, value_at(g, e, j), sizeof single);
    if (e->type == F32) return (double)single;
    memcpy(&wide, value_at(g, e, j), sizeof wide);
    return wide;
}

const char *pl_gguf_text(const pl_gguf *g, int64_t i, int64_t j, size_t *length)
{
    const char *text = g->weights->sources[0].text + g->places[g->entries[i].first + j];
    uint64_t size;
    memcpy(&size, text, sizeof size);
    *length = (size_t)size;
    return text + sizeof size;
}

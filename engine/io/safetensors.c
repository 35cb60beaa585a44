/*
** safetensors.c - reader of .safetensors files and of their sharded index.
**
** The file (github.com/huggingface/safetensors, format section): u64 little-endian length N of the
** header, N bytes of JSON, then the data. The header maps each name to {"dtype", "shape",
** "data_offsets": [begin, end]} and "__metadata__" to strings; the offsets cover the data without
** hole or overlap.
**
** The header is read by a parser of exactly this shape instead of json-c, because a header may name
** a million tensors (json-c needs 1.4 kB for each), because duplicate keys must be refused, which
** json-c cannot see, and because every error names its byte. Strings are decoded in place, so the
** names live in the header's own text. Nothing is allocated by a size that the file only claims.
**
** It does not follow names out of the folder of an index, map files into memory, or read pickles.
*/
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/path.h"
#include "base/utf8.h"
#include "io/file.h"
#include "io/weights.h"

#define MAX_HEADER 100000000 /* as the reference implementation */
#define MAX_INDEX ((int64_t)100 << 20)
#define MAX_SHARDS 1024

/* --------------------------------------------------------------------------------------------
** Reading the header's text
*/
typedef struct {
    pl_ctx *ctx;
    const char *path;
    char *s; /* NUL after the last byte */
    int64_t at, end;
} cursor;

static pl_status fail(const cursor *c, const char *why)
{
    return pl__fail(c->ctx, PL_ERR_FORMAT, "'%s', byte %lld: %s", c->path, (long long)c->at + 8,
                    why);
}

static void skip_space(cursor *c)
{
    while (c->at < c->end && strchr(" \t\r\n", c->s[c->at]) != NULL && c->s[c->at] != '\0') c->at++;
}

/* Past the character when it comes next. */
static bool take(cursor *c, char wanted)
{
    skip_space(c);
    if (c->at >= c->end || c->s[c->at] != wanted) return false;
    c->at++;
    return true;
}

static pl_status expect(cursor *c, char wanted)
{
    char why[] = "'?' expected";
    why[1] = wanted;
    return take(c, wanted) ? PL_OK : fail(c, why);
}

/* Four hexadecimal digits; -1 when they are not there. */
static int take_hex4(cursor *c)
{
    int code = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = c->at < c->end ? strchr(digits, c->s[c->at]) : NULL;
        if (digit == NULL || *digit == '\0') return -1;
        code = code * 16 + (int)(digit - digits) % 16;
    }
    return code;
}

static char *put_utf8(char *to, unsigned code)
{
    const int length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = length - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(lead[length] | code);
    return to + length;
}

/* After "\u": one character or a surrogate pair. */
static pl_status take_unicode(cursor *c, char **to)
{
    int code = take_hex4(c);
    if (code < 0) return fail(c, "four hexadecimal digits expected");
    if (code == 0) return fail(c, "\\u0000 is not allowed");
    if (code >= 0xd800 && code < 0xe000) {
        const bool more = c->at + 6 <= c->end && c->s[c->at] == '\\' && c->s[c->at + 1] == 'u';
        if (code >= 0xdc00 || !more) return fail(c, "half of a surrogate pair");
        c->at += 2;
        const int low = take_hex4(c);
        if (low < 0xdc00 || low > 0xdfff) return fail(c, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, (unsigned)code);
    return PL_OK;
}

/* A string, decoded where it stands: an escape is never shorter than what it means. */
static pl_status take_string(cursor *c, const char **out)
{
    static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    PL_TRY(expect(c, '"'));
    char *to = c->s + c->at;
    *out = to;
    while (c->at < c->end && c->s[c->at] != '"') {
        const char ch = c->s[c->at];
        if ((unsigned char)ch < 0x20) return fail(c, "control character in a string");
        c->at++;
        if (ch != '\\') {
            *to++ = ch;
            continue;
        }
        const char kind = c->at < c->end ? c->s[c->at] : '\0';
        const char *letter = kind ? strchr(letters, kind) : NULL;
        if (kind != 'u' && letter == NULL) return fail(c, "unknown escape");
        c->at++;
        if (kind == 'u') PL_TRY(take_unicode(c, &to));
        else *to++ = means[letter - letters];
    }
    if (c->at >= c->end) return fail(c, "string without an end");
    if (pl__utf8_run(*out, (size_t)(to - *out)) < (size_t)(to - *out))
        return fail(c, "string is not UTF-8");
    c->at++;
    *to = '\0';
    return PL_OK;
}

static pl_status take_size(cursor *c, int64_t *out)
{
    skip_space(c);
    const int64_t start = c->at;
    int64_t value = 0;
    while (c->at < c->end && c->s[c->at] >= '0' && c->s[c->at] <= '9') {
        const int digit = c->s[c->at] - '0';
        if (value > (INT64_MAX - digit) / 10) return fail(c, "number too large");
        value = value * 10 + digit;
        c->at++;
    }
    const char next = c->at < c->end ? c->s[c->at] : '\0';
    if (c->at == start || next == '.' || next == 'e' || next == 'E')
        return fail(c, "an integer from 0 expected");
    if (c->s[start] == '0' && c->at > start + 1) return fail(c, "number with a leading zero");
    *out = value;
    return PL_OK;
}

/* [a, b, ...] of at most `most` numbers. */
static pl_status take_sizes(cursor *c, int64_t *out, int *n, int most, const char *too_many)
{
    *n = 0;
    PL_TRY(expect(c, '['));
    if (take(c, ']')) return PL_OK;
    do {
        if (*n == most) return fail(c, too_many);
        PL_TRY(take_size(c, &out[*n]));
        ++*n;
    } while (take(c, ','));
    return expect(c, ']');
}

/* --------------------------------------------------------------------------------------------
** The header
*/
static pl_status take_notes(cursor *c, pl_weights *w)
{
    const char *key, *value;
    PL_TRY(expect(c, '{'));
    if (take(c, '}')) return PL_OK;
    do {
        PL_TRY(take_string(c, &key));
        PL_TRY(expect(c, ':'));
        PL_TRY(take_string(c, &value));
        PL_TRY(pl__weights_add_note(w, key, value));
    } while (take(c, ','));
    return expect(c, '}');
}

/* {"dtype": .., "shape": .., "data_offsets": ..} in any order. */
static pl_status take_entry(cursor *c, pl__weight *row, int64_t data_bytes)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    const char *key, *type;
    int64_t offsets[2] = {0, 0}, count = 1;
    int seen = 0, n;
    PL_TRY(expect(c, '{'));
    do {
        PL_TRY(take_string(c, &key));
        int field = 0;
        while (field < 3 && strcmp(key, fields[field]) != 0) field++;
        if (field == 3) return fail(c, "only dtype, shape and data_offsets may stand here");
        if (seen & 1 << field) return fail(c, "dtype, shape or data_offsets stands twice");
        seen |= 1 << field;
        PL_TRY(expect(c, ':'));
        if (field == 0) {
            PL_TRY(take_string(c, &type));
            row->type = pl__stored_type_find(type);
            if (row->type == NULL || row->type->block > 1) return fail(c, "unknown dtype");
        } else if (field == 1) {
            PL_TRY(take_sizes(c, row->shape, &row->rank, PL_MAX_RANK, "more than 6 axes"));
        } else {
            PL_TRY(take_sizes(c, offsets, &n, 2, "data_offsets has more than two numbers"));
            if (n != 2) return fail(c, "data_offsets has fewer than two numbers");
        }
    } while (take(c, ','));
    PL_TRY(expect(c, '}'));
    if (seen != ALL)
        return fail(c, !(seen & DTYPE)   ? "dtype is missing"
                       : !(seen & SHAPE) ? "shape is missing"
                                         : "data_offsets is missing");
    for (int i = 0; i < row->rank; i++)
        if (!pl__mul(count, row->shape[i], &count)) return fail(c, "shape too large");
    if (!pl__mul(count, row->type->bytes, &row->bytes)) return fail(c, "shape too large");
    if (offsets[0] > offsets[1]) return fail(c, "data_offsets run backwards");
    if (offsets[1] > data_bytes) return fail(c, "data_offsets beyond the end of the file");
    if (offsets[1] - offsets[0] != row->bytes)
        return fail(c, "data_offsets do not fit dtype and shape");
    row->begin = offsets[0];
    return PL_OK;
}

static pl_status take_header(cursor *c, pl_weights *w, int source, int64_t data_bytes)
{
    bool has_notes = false;
    PL_TRY(expect(c, '{'));
    if (!take(c, '}')) {
        do {
            pl__weight row = {.source = source};
            PL_TRY(take_string(c, &row.name));
            PL_TRY(expect(c, ':'));
            if (strcmp(row.name, "__metadata__") != 0) {
                PL_TRY(take_entry(c, &row, data_bytes));
                PL_TRY(pl__weights_add(w, &row));
            } else {
                if (has_notes) return fail(c, "__metadata__ stands twice");
                has_notes = true;
                PL_TRY(take_notes(c, w));
            }
        } while (take(c, ','));
        PL_TRY(expect(c, '}'));
    }
    skip_space(c);
    return c->at == c->end ? PL_OK : fail(c, "text after the end of the header");
}

static int by_place(const void *a, const void *b)
{
    const pl__weight *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Every byte of the data belongs to one tensor. Turns offsets into those of the file. */
static pl_status check_cover(pl_weights *w, int64_t first, int64_t data_at, int64_t data_bytes,
                             const char *path)
{
    int64_t at = 0;
    if (w->n > first + 1) qsort(w->rows + first, (size_t)(w->n - first), sizeof *w->rows, by_place);
    for (int64_t i = first; i < w->n; i++) {
        pl__weight *row = &w->rows[i];
        if (row->begin != at)
            return pl__fail(w->ctx, PL_ERR_FORMAT,
                            "'%s', byte %lld: tensor '%s' %s (its data begins at %lld, expected "
                            "%lld)",
                            path, (long long)(data_at + row->begin), row->name,
                            row->begin > at ? "leaves a hole before it" : "overlaps another",
                            (long long)row->begin, (long long)at);
        at += row->bytes;
        row->begin += data_at;
    }
    if (at != data_bytes)
        return pl__fail(w->ctx, PL_ERR_FORMAT, "'%s', byte %lld: %lld bytes after the last tensor",
                        path, (long long)(data_at + at), (long long)(data_bytes - at));
    return PL_OK;
}

/* --------------------------------------------------------------------------------------------
** Files
*/
static bool is_pickle(const unsigned char head[8])
{
    return memcmp(head, "PK\3\4", 4) == 0 || (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5);
}

/* Appends the tensors of one file. */
static pl_status add_file(pl_weights *w, const char *path)
{
    union {
        unsigned char bytes[8];
        uint64_t length;
    } head;
    pl_ctx *ctx = w->ctx;
    const int64_t first = w->n;
    PL_TRY(pl__weights_add_source(w, path));
    const int index = w->n_sources - 1;
    pl__weight_source *source = &w->sources[index];
    if (source->size < 8)
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s' has %lld bytes, too few for a safetensors file",
                        path, (long long)source->size);
    PL_TRY(pl__file_pread(ctx, source->fd, path, head.bytes, 8, 0));
    const int64_t rest = source->size - 8;
    if (head.length > (uint64_t)rest && is_pickle(head.bytes))
        return pl__fail(
            ctx, PL_ERR_FORMAT,
            "'%s' is a PyTorch pickle, which can run code and is never read: convert it "
            "with safetensors.torch.save_file",
            path);
    if (head.length > MAX_HEADER)
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "'%s', byte 0: a header of %llu bytes; at most %d are allowed: this is no "
                        "safetensors file",
                        path, (unsigned long long)head.length, MAX_HEADER);
    if (head.length > (uint64_t)rest)
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "'%s', byte 0: a header of %llu bytes, but only %lld follow: the file was "
                        "cut short",
                        path, (unsigned long long)head.length, (long long)rest);
    const int64_t length = (int64_t)head.length;
    source->text = pl_alloc(ctx, (size_t)length + 1);
    if (source->text == NULL) return PL_ERR_NOMEM;
    PL_TRY(pl__file_pread(ctx, source->fd, path, source->text, length, 8));
    source->text[length] = '\0';
    cursor c = {.ctx = ctx, .path = path, .s = source->text, .end = length};
    PL_TRY(take_header(&c, w, index, rest - length));
    return check_cover(w, first, 8 + length, rest - length, path);
}

static pl_status bad_index(pl_ctx *ctx, const char *path, const char *why)
{
    return pl__fail(ctx, PL_ERR_FORMAT, "'%s': %s", path, why);
}

/* A shard is a plain name beside the index. */
static pl_status check_shard_name(pl_ctx *ctx, const char *path, const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL ||
        strchr(name, '\\') != NULL || strlen(name) > NAME_MAX)
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "'%s': the shard name '%.200s' leads out of the folder or is hidden", path,
                        name);
    return PL_OK;
}

/* The source of the shard, opened at its first mention. */
static pl_status shard_source(pl_weights *w, const char *folder, const char *path, const char *name,
                              int *index)
{
    PL_TRY(check_shard_name(w->ctx, path, name));
    char *full = pl__join_name(w->ctx, folder, name);
    if (full == NULL) return PL_ERR_NOMEM;
    pl_status st = PL_OK;
    for (*index = 0; *index < w->n_sources; ++*index)
        if (strcmp(w->sources[*index].path, full) == 0) break;
    if (*index == w->n_sources)
        st = *index < MAX_SHARDS ? add_file(w, full)
                                 : bad_index(w->ctx, path, "more than 1024 shards");
    pl_free(w->ctx, full);
    return st;
}

/* Opens the shards of the map, then keeps the rows that it names, each from the shard it says. */
static pl_status add_shards(pl_weights *w, struct json_object *map, const char *path)
{
    pl_status st = PL_OK;
    struct json_object_iter it;
    char key[256];
    int64_t kept = 0;
    int index;
    char *folder = pl__parent_name(w->ctx, path);
    if (folder == NULL) return PL_ERR_NOMEM;
    json_object_object_foreachC(map, it)
    {
        snprintf(key, sizeof key, "'%.200s' of weight_map", it.key);
        PL_GO(pl__json_check_type(w->ctx, it.val, key, PL__JSON_TEXT, path));
        PL_GO(shard_source(w, folder, path, json_object_get_string(it.val), &index));
    }
    PL_GO(pl__weights_sort(w));
    json_object_object_foreachC(map, it)
    {
        const char *shard = json_object_get_string(it.val);
        const int64_t i = pl_weights_find(w, it.key);
        const char *held = i < 0 ? "" : w->sources[w->rows[i].source].path;
        if (strcmp(held + (i < 0 ? 0 : strlen(folder) + 1), shard) != 0) {
            st = pl__fail(w->ctx, PL_ERR_FORMAT, "'%s': tensor '%.200s' is not in '%.200s'", path,
                          it.key, shard);
            goto done;
        }
    }
    for (int64_t i = 0; i < w->n; i++)
        if (json_object_object_get_ex(map, w->rows[i].name, NULL)) w->rows[kept++] = w->rows[i];
    w->n = kept;
done:
    pl_free(w->ctx, folder);
    return st;
}

static pl_status add_index(pl_weights *w, const char *path)
{
    static const pl__json_field fields[] = {{"weight_map", PL__JSON_OBJECT, true},
                                            {NULL, 0, false}};
    pl_status st;
    char *text = NULL;
    size_t size = 0;
    struct json_object *root = NULL;
    PL_GO(pl_file_read(w->ctx, &text, &size, path, MAX_INDEX));
    PL_GO(pl__json_parse(w->ctx, &root, text, size, 8, path));
    PL_GO(pl__json_check(w->ctx, root, "an index of safetensors shards", fields, path));
    st = add_shards(w, pl__json_get(root, "weight_map"), path);
done:
    json_object_put(root);
    pl_free(w->ctx, text);
    return st;
}

/* A new string: the weight file of a model folder, or the path itself when it is no folder. */
static pl_status find_file(pl_ctx *ctx, char **found, const char *path)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "adapter_model.safetensors"};
    struct stat info;
    *found = NULL;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        *found = pl_strndup(ctx, path, strlen(path));
        return *found == NULL ? PL_ERR_NOMEM : PL_OK;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *full = pl__join_name(ctx, path, names[i]);
        if (full == NULL) return PL_ERR_NOMEM;
        if (stat(full, &info) == 0) {
            *found = full;
            return PL_OK;
        }
        pl_free(ctx, full);
    }
    return pl__fail(ctx, PL_ERR_FORMAT,
                    "'%s' is a folder without model.safetensors or model.safetensors.index.json "
                    "(PyTorch's .bin and .pt files are never read: convert them)",
                    path);
}

pl_status pl_safetensors_open(pl_ctx *ctx, pl_weights **out, const char *path)
{
    pl_status st;
    pl_weights *w = NULL;
    char *file = NULL;
    *out = NULL;
    PL_GO(find_file(ctx, &file, path));
    PL_GO(pl__weights_new(ctx, &w));
    const size_t length = strlen(file);
    if (length > 5 && strcmp(file + length - 5, ".json") == 0) {
        PL_GO(add_index(w, file));
    } else {
        PL_GO(add_file(w, file));
        PL_GO(pl__weights_sort(w));
    }
    *out = w;
    w = NULL;
done:
    pl_weights_close(w);
    pl_free(ctx, file);
    return st;
}

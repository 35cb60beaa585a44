/*
** weights.h - the inside of an open weight file: where each named tensor lies, and in which type.
** Readers of formats fill it through the functions below; names, finding and loading are common.
*/
#ifndef PL_IO_WEIGHTS_H
#define PL_IO_WEIGHTS_H

#include "base/ctx.h"

typedef struct {
    char name[8];         /* as safetensors or ggml calls it */
    int block, bytes;     /* elements and bytes of a block: 1 and the width of plain types */
    bool loads;           /* there is a tensor dtype that can hold its values */
    pl_dtype dtype, kept; /* of its values; of its bytes as they are: `dtype` again when none is */
} pl__stored_type;

/* NULL when there is no such type. */
const pl__stored_type *pl__stored_type_find(const char *name);

typedef struct {
    const char *name; /* in a source's text */
    const pl__stored_type *type;
    int source, rank;
    int64_t shape[PL_MAX_RANK];
    int64_t begin, bytes; /* in the file */
} pl__weight;

typedef struct {
    char *path, *text; /* owned; text holds the names */
    int fd;
    int64_t size;
} pl__weight_source;

struct pl_weights {
    pl_ctx *ctx;
    pl__weight *rows;
    int64_t n, cap;
    pl__weight_source *sources;
    int n_sources, cap_sources;
    struct {
        const char *key, *value; /* in a source's text */
    } * notes;
    int64_t n_notes, cap_notes;
};

pl_status pl__weights_new(pl_ctx *ctx, pl_weights **out);
/* Opens the file; its row is the last of w->sources. */
pl_status pl__weights_add_source(pl_weights *w, const char *path);
pl_status pl__weights_add(pl_weights *w, const pl__weight *row);
pl_status pl__weights_add_note(pl_weights *w, const char *key, const char *value);
/* Sorts by name; PL_ERR_FORMAT when a name stands twice. */
pl_status pl__weights_sort(pl_weights *w);

#endif

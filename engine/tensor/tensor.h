/*
** tensor.h - the inside of a tensor, for the engine alone.
**
** A tensor is a handle (shape, dtype, name, autograd state) on a storage that views may share. Two
** counts keep the handle alive: `refs` (users: Lua, C programs) and `node_refs` (the tape). The
** data lives while `claimed` (its scope is open and a user can reach it) or while the tape
** holds it.
*/
#ifndef PL_TENSOR_TENSOR_H
#define PL_TENSOR_TENSOR_H

#include "base/ctx.h"
#include "base/dtype.h"

struct pl_node;
typedef struct pl_scope pl_scope;

typedef struct pl_storage {
    pl_ctx *ctx;
    void *data;
    int users;        /* tensors with this storage */
    int holds;        /* how often the tape holds the data */
    uint64_t version; /* grows with every write that pl_tensor_touch is told of */
    bool lent;        /* some of the memory may be lent */
} pl_storage;

/* What a packed copy is for: products of its dtype, or with precision bf16; of these the gradients'
** too, which want it turned. */
typedef enum { PL_PACK_PLAIN, PL_PACK_BF16, PL_PACK_BF16_TURNED } pl_pack_kind;

typedef struct {
    void *data;
    pl_pack_kind kind;
    int rule;         /* by which kernels laid it out */
    uint64_t version; /* of the storage it was made from */
} pl_pack;

struct pl_tensor {
    pl_ctx *ctx;
    int refs, node_refs;
    int holds; /* how often the tape holds the data */
    bool claimed;
    bool requires_grad;
    bool grad_valid; /* `grad` holds a gradient (else it is memory waiting for one) */
    pl_dtype dtype;
    int rank;
    int64_t shape[PL_MAX_RANK];
    int64_t count;
    pl_storage *storage; /* NULL once the data is gone */
    int64_t offset;      /* elements into the storage */
    pl_scope *scope;     /* NULL: in no scope */
    pl_tensor *prev, *next;
    const char *freed_in;
    struct pl_node *node; /* of the tape that made it (graph/), NULL for a leaf */
    int remakers;   /* nodes that will have the data made again when they read them (graph/) */
    bool remakable; /* its op can make the data again from what the tape keeps */
    pl_tensor *grad;
    struct pl_node *borrower; /* it keeps values in the memory of `grad`, which waits (graph/) */
    pl_pack packs[2];         /* kernels' packed copies of the data: one turned, one not */
    pl_tensor *rounded;       /* the data in bfloat16 */
    uint64_t rounded_version;
    char name[PL_MAX_NAME + 1];
};

struct pl_scope {
    pl_scope *outer;
    int64_t id;
    const char *name; /* interned */
    bool frame;
    pl_tensor *tensors;
    struct pl_node *mark; /* the tape's last node when the scope was opened (graph/) */
};

/* What the tape wants to know of tensors and scopes; set before the first scope is opened. */
typedef struct {
    void (*scope_opened)(pl_ctx *ctx, pl_scope *scope);
    void (*scope_closing)(pl_ctx *ctx, pl_scope *scope); /* not told of a frame's end */
    void (*last_user_gone)(pl_ctx *ctx, pl_tensor *t);   /* of a tensor with a node; it may go */
    pl_status (*check_write)(pl_ctx *ctx, const pl_tensor *t, const char *what);
} pl_tensor_hooks;

/* This floor's part of a context (base/ctx.h). */
typedef struct {
    pl_ctx base;
    pl_scope *innermost;
    int64_t opened; /* scopes so far: the next id */
    char **names;   /* interned: a freed tensor still names its scope */
    int n_names;
    const pl_tensor_hooks *hooks;
} pl_tensor_floor;

static inline pl_tensor_floor *pl__tensor_floor(const pl_ctx *ctx)
{
    return (pl_tensor_floor *)ctx;
}

static inline void *pl__data(const pl_tensor *t)
{
    return (char *)t->storage->data + pl__dtype_bytes(t->dtype, t->offset);
}

/* As pl_tensor_new and pl_tensor_zeros, in no scope. */
pl_status pl__tensor_new_free(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                              const int64_t *shape);
pl_status pl__tensor_zeros_free(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                                const int64_t *shape);

/* The first axis of a tensor that shares its data with none has `rows`; what is new is 0. A failure
** changes nothing. */
pl_status pl__tensor_resize(pl_tensor *t, int64_t rows);
/* The first rows alone, at least one; memory stays as it is. */
void pl__tensor_cut(pl_tensor *t, int64_t rows);

/* Lets the memory of the data serve other tensors: their values are lost. A tensor that shares
** them claims what it has before it is read or written again; fails for want of memory. */
void pl__tensor_lend(pl_tensor *t);
pl_status pl__tensor_claim(pl_tensor *t);

/* New data, not filled, for a handle whose data are gone; `version` is theirs. */
pl_status pl__tensor_data_again(pl_tensor *t, uint64_t version);

/* The tape's references to the handle, and its holds on the data. */
void pl__tensor_node_ref(pl_tensor *t);
void pl__tensor_node_unref(pl_tensor *t);
void pl__tensor_hold(pl_tensor *t);
void pl__tensor_unhold(pl_tensor *t);

/* A packed copy of the tensor's data for kernels of one kind and rule: NULL when there is none or
** the data changed since. There is one turned and one not at a time; `set` takes a block of
** pl_alloc. */
void *pl__pack_get(const pl_tensor *t, pl_pack_kind kind, int rule);
void pl__pack_set(pl_tensor *t, pl_pack_kind kind, int rule, void *block);
/* The data in bfloat16, a tensor of that dtype which goes with them: NULL when there is none or the
** data changed since. `get` gives a borrowed one; `set` takes a reference of its own. */
pl_tensor *pl__rounded_get(const pl_tensor *t);
void pl__rounded_set(pl_tensor *t, pl_tensor *rounded);
/* Whether the tape holds the data, of this tensor or of another that shares them. */
bool pl__tensor_held(const pl_tensor *t);

/* "[2,3]" into text; returns text. */
#define PL_SHAPE_TEXT 160
const char *pl__shape_text(const pl_tensor *t, char text[PL_SHAPE_TEXT]);
/* *count = product of the shape; false when negative or too large for memory. */
bool pl__shape_count(int rank, const int64_t *shape, int64_t *count);

/* Enters the tensor into a scope's list (NULL: none), or takes it out of its own. */
void pl__scope_add(pl_tensor *t, pl_scope *scope);
void pl__scope_remove(pl_tensor *t);
void pl__scopes_close(pl_ctx *ctx);

#endif

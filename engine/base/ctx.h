/*
** ctx.h - the context's inside and how the engine reports failures.
**
** Struct bodies are for the engine alone; other code holds pointers. Each floor keeps its own part
** of the context here, so that nothing in the engine is global.
*/
#ifndef PL_BASE_CTX_H
#define PL_BASE_CTX_H

#include "perilune.h"

#include <signal.h>

#define PL_ERROR_MAX 1024
#define PL_MEM_CLASSES 160

struct pl_node;
struct pl_plan;
struct pl_scope;
struct pl_ops_table;

struct pl_ctx {
    char error[PL_ERROR_MAX];
    volatile sig_atomic_t interrupted;

    struct { /* mem.c */
        pl_mem_info info;
        int64_t fail_at; /* 0: off; else counts down to the failing allocation */
        bool fail_forever;
        void *bins[PL_MEM_CLASSES];
    } mem;

    struct { /* scope.c */
        struct pl_scope *innermost;
        int64_t opened; /* scopes so far: the next id */
        char **names; /* interned: a freed tensor still names its scope */
        int n_names;
    } scopes;

    struct { /* autograd/tape.c */
        struct pl_node *first, *last;
        struct pl_node *barrier; /* a nested backward walks no further back */
        int walking;             /* depth of running backwards */
        bool enabled;
    } tape;

    struct { /* ops/ */
        pl_op_row *rows;
        const struct pl_ops_table *f32, *f64;
        bool nan_check;
        bool openblas; /* matmul and linear by OpenBLAS, for comparison; not batch-invariant */
        struct pl_plan *recording;
    } ops;

    struct { /* io/file.c: the fault hook */
        int64_t calls, fail_at;
        int fail_error;
        bool fail_forever;
    } io;
};

/* Keeps the text and returns `st`, so that a failure is one line: return pl__fail(...). */
pl_status pl__fail(pl_ctx *ctx, pl_status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* PL_ERR_INTERRUPTED when pl_interrupt was called since the last check, else PL_OK. */
pl_status pl__check_interrupt(pl_ctx *ctx);

/* *out = a * b (or a + b); false on overflow or a negative argument. */
bool pl__mul(int64_t a, int64_t b, int64_t *out);
bool pl__add(int64_t a, int64_t b, int64_t *out);

/* Forwards a failure. */
#define PL_TRY(expr)                                                                              \
    do {                                                                                          \
        pl_status try_st_ = (expr);                                                               \
        if (try_st_ != PL_OK) return try_st_;                                                     \
    } while (0)

/* The same where something must be released: sets `st` and jumps to `done`. */
#define PL_GO(expr)                                                                               \
    do {                                                                                          \
        if ((st = (expr)) != PL_OK) goto done;                                                    \
    } while (0)

#endif

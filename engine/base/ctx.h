/*
** ctx.h - what every floor needs of a context: error text, memory, the interrupt flag.
**
** Nothing in the engine is global: each floor keeps what it must remember in the context, and base/
** does not know what that is. A floor's part is a struct that begins with the part of the floor
** below: pl_ctx here, pl_tensor_floor (tensor/tensor.h), pl_ops_floor (ops/op.h), pl_graph_floor
** (graph/graph.h). So one pointer is a pointer to each of them, and a floor reaches its own part at
** a fixed distance. context/context.c makes the whole.
*/
#ifndef PL_BASE_CTX_H
#define PL_BASE_CTX_H

#include "perilune.h"

#include <signal.h>

#define PL_ERROR_MAX 1024
#define PL_MEM_CLASSES 400

/* A fault hook for tests: the `fail_at`-th try from now fails. */
typedef struct {
    int64_t calls;   /* tries so far */
    int64_t fail_at; /* 0: off; counts down */
    bool forever;    /* and every later one too */
} pl__faults;

/* Counts a try; true when it must fail. */
bool pl__faults_next(pl__faults *faults);
void pl__faults_set(pl__faults *faults, int64_t k, bool forever);

struct pl_ctx {
    char error[PL_ERROR_MAX];
    volatile sig_atomic_t interrupted;
    int first; /* what error texts count axes and places from */

    struct { /* mem.c */
        pl_mem_info info;
        int64_t needed; /* the most that lived at once since all that waited was given back */
        pl__faults faults;
        void *bins[PL_MEM_CLASSES];
        pl_ctx *lender; /* blocks come from there, not from the system; NULL: none */
        void *lending;  /* blocks of which something may be lent */
        void *opened;   /* a block that waits, in no bin, whose first units alone are there */
        int64_t opened_units;
    } mem;

    pl__faults system_calls; /* those that read and write files */
    int system_error;        /* errno of the failing one */
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
#define PL_TRY(expr)                          \
    do {                                      \
        pl_status try_st_ = (expr);           \
        if (try_st_ != PL_OK) return try_st_; \
    } while (0)

/* The same where something must be released: sets `st` and jumps to `done`. */
#define PL_GO(expr)                            \
    do {                                       \
        if ((st = (expr)) != PL_OK) goto done; \
    } while (0)

#endif

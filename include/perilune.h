/*
** perilune.h - the one public header of the engine: all that Lua can do, a C program can do.
**
** Conventions
**   - A call that can fail returns pl_status; the text (operation, argument, shapes, hint) is kept
**     by the context: pl_error(ctx). The engine never exits, prints or calls back unasked.
**   - `new`/`load`: the caller owns the result; `get`/`view`: borrowed; `take`: the callee owns.
**   - Order of arguments: context, outputs, inputs, sizes, options.
**   - Every tensor is dense and row-major. Axes and indices count from 0 here; the Lua binding
**     alone counts from 1. Token ids are data and always count from 0.
**   - Dimensions: B sequences, T tokens (all sequences of a batch laid end to end), C channels,
**     H heads, D channels a head, V vocabulary, N rows.
**   - A context and what it made belong to one thread at a time; ops use OpenMP inside.
*/
#ifndef PERILUNE_H
#define PERILUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* libperilune.so exports what stands here and no more */

#define PL_VERSION "0.1.0"
#define PL_MAX_RANK 6
#define PL_MAX_NAME 127 /* bytes of a tensor's name */

/* --------------------------------------------------------------------------------------------
** Status and context
*/
#define PL_STATUS_MAP(X)                       \
    X(PL_OK, "ok")                             \
    X(PL_ERR_NOMEM, "not enough memory")       \
    X(PL_ERR_ARG, "bad argument")              \
    X(PL_ERR_SHAPE, "shapes do not fit")       \
    X(PL_ERR_DTYPE, "wrong dtype")             \
    X(PL_ERR_FREED, "tensor was freed")        \
    X(PL_ERR_GRAD, "autograd misuse")          \
    X(PL_ERR_NONFINITE, "not a finite number") \
    X(PL_ERR_IO, "input/output error")         \
    X(PL_ERR_FORMAT, "malformed file")         \
    X(PL_ERR_INTERRUPTED, "interrupted")       \
    X(PL_ERR_CALLBACK, "error in a callback")

typedef enum {
#define X(name, text) name,
    PL_STATUS_MAP(X)
#undef X
} pl_status;

typedef struct pl_ctx pl_ctx;

/* A context: error text, memory accounts, scopes, tape. NULL when there is no memory at all. */
pl_ctx *pl_ctx_new(void);
/* Ends its scopes, tape and plan; NULL is fine. What was made in it (tensors, files, tokenizers)
** is to be freed before. */
void pl_ctx_free(pl_ctx *ctx);

/* The text of the last failure in this context, "" when there was none. Borrowed. */
const char *pl_error(const pl_ctx *ctx);
const char *pl_status_name(pl_status st); /* "ok", "bad argument", ...: a constant */
/* For callbacks: keeps `text` as the error and returns PL_ERR_CALLBACK. */
pl_status pl_fail_callback(pl_ctx *ctx, const char *text);

/* What error texts count axes and places from: 0, as the calls here do (the default), or 1. */
void pl_count_from(pl_ctx *ctx, int first);

/* Asks the running operation to stop; callable from a signal handler. The next check point returns
** PL_ERR_INTERRUPTED and clears the request. */
void pl_interrupt(pl_ctx *ctx);
/* Whether such a request waits: for long loops of the caller's own. */
bool pl_interrupted(const pl_ctx *ctx);
/* Forgets a request that no check point has met yet. */
void pl_interrupt_clear(pl_ctx *ctx);

/* --------------------------------------------------------------------------------------------
** Memory: one counted, 64-byte aligned allocator. Sizes in bytes.
*/
typedef struct {
    int64_t live, peak, limit; /* limit 0: none */
    int64_t cached;            /* freed blocks kept for reuse, not part of live */
    int64_t held_peak;         /* the most of both together */
    int64_t calls;             /* allocations asked for since the context was made */
} pl_mem_info;

void *pl_alloc(pl_ctx *ctx, size_t bytes);                      /* NULL and error text on failure */
void *pl_calloc(pl_ctx *ctx, size_t count, size_t size);        /* zeroed; product checked */
void *pl_realloc(pl_ctx *ctx, void *block, size_t bytes);       /* the old block stays on failure */
char *pl_strndup(pl_ctx *ctx, const char *text, size_t length); /* adds the final NUL */
void pl_free(pl_ctx *ctx, void *block);                         /* NULL is fine */
pl_mem_info pl_mem_get(const pl_ctx *ctx); /* a copy of the account as it is now */
/* What would take `live` beyond so many bytes fails with PL_ERR_NOMEM; 0 or less: no limit. */
void pl_mem_set_limit(pl_ctx *ctx, int64_t bytes);
void pl_mem_reset_peak(pl_ctx *ctx); /* both peaks */
void pl_mem_trim(pl_ctx *ctx);       /* gives cached blocks back to the system */
/* Test hook: the k-th allocation from now on fails (k = 1 is the next; 0 turns the hook off);
** with `forever` all later ones fail too. */
void pl_mem_fail_at(pl_ctx *ctx, int64_t k, bool forever);

/* --------------------------------------------------------------------------------------------
** Machine
*/
#define PL_MAX_THREADS 1024
/* OpenMP threads for this process, 1 to PL_MAX_THREADS; for another n false: nothing changes. */
bool pl_threads_set(int64_t n);
int pl_threads_get(void); /* threads in use, at least 1 */
/* The kernel variant in use: "avx512", "avx2" or "plain"; chosen by CPUID, or by the environment
** variable PERILUNE_ISA when that names a variant the machine can run. */
const char *pl_isa(void);
/* PL_ERR_ARG when PERILUNE_ISA is set to something else; pl_isa goes by CPUID then. */
pl_status pl_isa_check(pl_ctx *ctx);
/* The rule by which products of bfloat16 are added up: "chain" (the same bits on all machines),
** "pairs" (AVX512_BF16) or "tiles" (AMX); the fastest of this machine, or what the environment
** variable PERILUNE_BF16 names. `native` (may be NULL): false where the processor lacks the rule's
** instruction, which is emulated then, to the bit and slowly. */
const char *pl_bf16(bool *native);
/* Whether products in eight bits have an instruction of their own here (AVX512_VNNI, AVX_VNNI with
** "avx2"); without it they are slower, and have the same bits. */
bool pl_vnni(void);
/* PL_ERR_ARG when PERILUNE_BF16 is set to no rule; pl_bf16 goes by the machine then. */
pl_status pl_bf16_check(pl_ctx *ctx);

/* Of `names` (n of them) the one that was probably meant by `name`, NULL when none is near: the
** fewest edits (a letter more, less, another or two swapped; case does not count), at most one in
** three letters; else a name that continues it. Ties: the first in the alphabet. For errors that
** name what is known. Borrowed. */
const char *pl_nearest(const char *name, const char *const *names, int64_t n);

/* --------------------------------------------------------------------------------------------
** Random numbers: Philox4x32-10 (Salmon et al., SC'11). Stateless: value i of stream (seed,
** purpose) is a pure function of the three. A purpose is a hash of what the numbers are for, so
** that two uses never draw the same ones: pl_random_purpose("ppo.order", (int64_t[]){iteration,
** epoch}, 2).
*/
/* XXH3 of the name and the parts (n of them; NULL for none). */
uint64_t pl_random_purpose(const char *name, const int64_t *parts, int n);
/* The 128 bits of Philox for counter (index, purpose) and key seed. */
void pl_random_bits(uint64_t seed, uint64_t purpose, uint64_t index, uint32_t out[4]);
double pl_random_uniform(uint64_t seed, uint64_t purpose, uint64_t index); /* [0, 1), 53 bits */
double pl_random_normal(uint64_t seed, uint64_t purpose, uint64_t index);  /* N(0, 1), Box-Muller */

/* --------------------------------------------------------------------------------------------
** Tensors
*/
/* From PL_BF16 on the *kept* dtypes: constant weights as a file had them. Half precision, and the
** block formats of GGUF (blocks of 32 elements, of 256 for the K kinds; ggml's layout, so that the
** bytes are those of the file). Their values are float32 numbers: scale * q, or scale * q + least,
** with the one rounding that float32 leaves. A kept tensor wants no gradient and no op writes to
** it; linear, embedding, gather, cast and the heads of the losses read it, all other ops refuse. */
typedef enum {
    PL_F32,
    PL_F64,
    PL_I32,
    PL_BF16,
    PL_F16,
    PL_Q8_0,
    PL_Q4_0,
    PL_Q4_1,
    PL_Q5_0,
    PL_Q5_1,
    PL_Q4_K,
    PL_Q5_K,
    PL_Q6_K,
    PL_DTYPE_COUNT
} pl_dtype;

typedef struct pl_tensor pl_tensor;

int64_t pl_dtype_block(pl_dtype dtype);    /* elements in a block: 1, 32 or 256 */
size_t pl_dtype_size(pl_dtype dtype);      /* bytes of a block */
bool pl_dtype_kept(pl_dtype dtype);        /* from PL_BF16 on */
const char *pl_dtype_name(pl_dtype dtype); /* "float32", "bfloat16", "q4_k", ... */

/* The float32 values of `count` elements (whole blocks) of a kept dtype. */
pl_status pl_dequantise(pl_ctx *ctx, float *values, pl_dtype dtype, const void *blocks,
                        int64_t count);
/* The other way, for bfloat16, float16 (to the nearest, ties to even) and q8_0 (scale = largest
** magnitude / 127 in float16, ties away from zero). PL_ERR_ARG names the first element that does
** not fit: a finite one beyond the dtype's range, and for q8_0 what is not finite; PL_ERR_DTYPE for
** another dtype. */
pl_status pl_quantise(pl_ctx *ctx, void *blocks, pl_dtype dtype, const float *values,
                      int64_t count);

/* A new tensor, contents undefined (NaN in debug builds). Rank 0 is one number. The creator holds
** one reference; the innermost open scope holds the data's lifetime (see scopes). The last axis of
** a kept tensor is a multiple of the block. */
pl_status pl_tensor_new(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                        const int64_t *shape);
/* The same, all zeros. */
pl_status pl_tensor_zeros(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                          const int64_t *shape);
/* A tensor with a copy of these bytes as its data (kept: its blocks); PL_ERR_SHAPE when `size` is
** not the shape's. */
pl_status pl_tensor_from_bytes(pl_ctx *ctx, pl_tensor **out, pl_dtype dtype, int rank,
                               const int64_t *shape, const void *bytes, size_t size);
/* A tensor of the same data seen in another shape, `offset` elements in (kept: whole blocks); no
** copy, no autograd. */
pl_status pl_tensor_view(pl_ctx *ctx, pl_tensor **out, pl_tensor *base, int64_t offset, int rank,
                         const int64_t *shape);
void pl_tensor_retain(pl_tensor *t);  /* one reference more */
void pl_tensor_release(pl_tensor *t); /* NULL is fine */

pl_dtype pl_tensor_dtype(const pl_tensor *t);       /* of the elements */
int pl_tensor_rank(const pl_tensor *t);             /* axes: 0 (one number) to PL_MAX_RANK */
const int64_t *pl_tensor_shape(const pl_tensor *t); /* rank sizes; borrowed */
int64_t pl_tensor_count(const pl_tensor *t);        /* elements: the product of the sizes */
size_t pl_tensor_bytes(const pl_tensor *t);         /* of the data */
/* The elements; NULL once the tensor was freed. Writing through it must be followed by
** pl_tensor_touch, so that packed copies of a weight are made anew. */
void *pl_tensor_data(const pl_tensor *t);
void pl_tensor_touch(pl_tensor *t); /* the version grows */
/* Grows with every write into the memory that the tensor and its views share; 0 once freed. */
uint64_t pl_tensor_version(const pl_tensor *t);
/* PL_ERR_FREED with the tensor's name and the scope that freed it, else PL_OK. */
pl_status pl_tensor_check(pl_ctx *ctx, const pl_tensor *t);
void pl_tensor_set_name(pl_tensor *t, const char *name); /* copied, cut at PL_MAX_NAME bytes */
const char *pl_tensor_name(const pl_tensor *t);          /* "" when it has none */
/* Gives up the data now, whatever scope it is in. Idempotent. */
void pl_tensor_free_data(pl_tensor *t);
/* PL_ERR_GRAD when writing into t would make a gradient wrong: a recorded op still needs the value
** it has, or t is itself the result of one. `what` begins the text. While no tape is recorded
** (pl_set_grad_enabled) always PL_OK: then the backward pass that needs the old value fails. To be
** asked by who lets others write; pl_tensor_copy and pl_tensor_fill do not. */
pl_status pl_tensor_check_write(pl_ctx *ctx, const pl_tensor *t, const char *what);
/* dst and src of the same dtype and count. */
pl_status pl_tensor_copy(pl_ctx *ctx, pl_tensor *dst, const pl_tensor *src);
/* Every element becomes `value`, rounded to the dtype, which is not a kept one. */
pl_status pl_tensor_fill(pl_ctx *ctx, pl_tensor *t, double value);
/* A part of a tensor: `count` places from `start` on along an axis; with `drop` (count 1) the axis
** is not one of the part's own. */
typedef struct {
    int64_t start, count;
    bool drop;
} pl_part;
/* Writes src into a part of dst, which has one pl_part for each axis. src broadcasts to the shape
** of the part and has the dtype of dst, not a kept one; they may share memory. */
pl_status pl_tensor_put(pl_ctx *ctx, pl_tensor *dst, const pl_part *parts, const pl_tensor *src);
/* Every element from the stream (seed, purpose): uniform in [a, b) or normal of mean a, standard
** deviation b. Interrupted it leaves elements that mean nothing. */
pl_status pl_tensor_random(pl_ctx *ctx, pl_tensor *t, bool normal, double a, double b,
                           uint64_t seed, uint64_t purpose);

/* Ragged batches: B sequences laid end to end along the first axis, and int32 offsets [B+1] of
** where each begins (offsets[0] = 0, the last is the number of rows). Any dtype; nothing is
** recorded on the tape. */
/* The sequences `index` (0-based, n of them) in that order, and where each begins now. */
pl_status pl_ragged_take(pl_ctx *ctx, pl_tensor **out, pl_tensor **out_offsets, const pl_tensor *x,
                         const pl_tensor *offsets, const int64_t *index, int64_t n);
/* Each sequence of `a` followed by that of `b` (the answer to a prompt); `before` gives for each
** row of b the place of the row before it, which predicts it. A sequence of a may be empty only
** where b's is. */
pl_status pl_ragged_join(pl_ctx *ctx, pl_tensor **out, pl_tensor **out_offsets, pl_tensor **before,
                         const pl_tensor *a, const pl_tensor *a_offsets, const pl_tensor *b,
                         const pl_tensor *b_offsets);
/* int32 [T]: the place of each row in its own sequence, from 0. */
pl_status pl_ragged_positions(pl_ctx *ctx, pl_tensor **out, const pl_tensor *offsets);
/* The rows of tokens (int32 [T]) that do not repeat a common beginning of their sequence and the
** one before it: `rows`, int32 [U], in rising order. `places`, int32 [T], tells where among them
** each row of the batch stands: the same tokens at the same positions, after the same tokens. */
pl_status pl_ragged_distinct(pl_ctx *ctx, pl_tensor **rows, pl_tensor **places,
                             const pl_tensor *tokens, const pl_tensor *offsets);

/* Scopes: tensors made while a scope is open end with it, unless kept. A `frame` is a scope inside
** a forward pass: what the tape still needs stays until the tape is done with it, the rest goes. */
pl_status pl_scope_open(pl_ctx *ctx, int64_t *id, const char *name, bool frame);
/* Closes the scope and those opened after it; nothing when it is closed already. */
void pl_scope_close(pl_ctx *ctx, int64_t id);
/* Ends the scope alone and frees nothing: its tensors move to the scope around it. */
void pl_scope_dissolve(pl_ctx *ctx, int64_t id);
/* Whether the scope is open; then how many tensors it holds and the bytes of their data. */
bool pl_scope_get(const pl_ctx *ctx, int64_t id, int64_t *tensors, int64_t *bytes);
int pl_scope_depth(const pl_ctx *ctx); /* open scopes, frames among them */
/* Moves the tensor to the scope around its own (outermost: to no scope at all). */
void pl_tensor_keep(pl_tensor *t);
/* Moves the tensor to no scope: it lives until its last reference goes. */
void pl_tensor_keep_forever(pl_tensor *t);

/* --------------------------------------------------------------------------------------------
** Operations: engine/ops/ops.def has one row for each.
*/
#define PL_MAX_IN 8
#define PL_MAX_OUT 3
#define PL_MAX_PARAM 8

typedef enum {
#define OP(name, inputs, params, outputs, flags, shapes, doc) PL_OP_##name,
#include "ops.def"
#undef OP
    PL_OP_COUNT
} pl_op_id;

enum {
    PL_OPF_NOGRAD = 1,
    PL_OPF_FUSED = 2,
    PL_OPF_KEEP_IN = 4,
    PL_OPF_KEEP_OUT = 8,
    PL_OPF_METHOD = 16,
    PL_OPF_LIST = 32,
    PL_OPF_REMAKE = 64
};

typedef enum {
    PL_PARAM_INT,
    PL_PARAM_FLOAT,
    PL_PARAM_BOOL,
    PL_PARAM_ENUM,
    PL_PARAM_AXIS,
    PL_PARAM_LIST,
    PL_PARAM_START,
    PL_PARAM_STOP
} pl_param_kind;

/* One parameter value: `f` for FLOAT; `list`, `n` for LIST; `i` for all others: the index of the
** choice for ENUM; PL_AXIS_ALL as an AXIS means "all", as a STOP the end. START and STOP bound a
** run of elements of an axis: from 0 and without STOP here, from 1 and with STOP in Lua. */
typedef struct {
    int64_t i;
    double f;
    int64_t list[PL_MAX_RANK];
    int n;
} pl_param;
#define PL_AXIS_ALL INT64_MIN

typedef struct {
    char name[24];
    pl_param_kind kind;
    pl_param fallback;   /* the default */
    char choices[8][16]; /* ENUM: names by index */
    int n_choices;
} pl_param_row;

typedef struct {
    char name[24];
    bool optional, integer;
    bool kept; /* may be of a kept dtype */
    bool any;  /* int32 too: the op only moves elements */
} pl_input_row;

typedef struct {
    const char *name, *shapes, *doc;
    int flags, n_in, n_param, n_out;
    pl_input_row in[PL_MAX_IN];
    pl_param_row param[PL_MAX_PARAM];
    char out[PL_MAX_OUT][24];
} pl_op_row;

/* The parsed row of an op, valid as long as the context. */
const pl_op_row *pl_op_get(const pl_ctx *ctx, pl_op_id op);

/* Runs one op: checks, computes, records on the tape when an input wants a gradient. `in` has
** row->n_in places (NULL where an optional input is absent), `param` row->n_param values or is NULL
** for all defaults; `out` receives row->n_out new references. Nothing is left behind on failure. */
pl_status pl_op(pl_ctx *ctx, pl_op_id op, pl_tensor *const *in, const pl_param *param,
                pl_tensor **out);

/* With the check on, the first op that makes a NaN or an infinity fails with PL_ERR_NONFINITE. */
void pl_set_nan_check(pl_ctx *ctx, bool on);

/* Who does the matrix products of matmul, linear and the losses over a head: "own" (the engine's
** kernels, by chains of multiply-adds), "openblas" (all but small ones), "split" (own, and the
** products of linear's and the head's float32 gradients, and of cross_entropy, from numbers split
** into three bfloat16 ones: docs/determinism.md; emulated without AMX), or "auto", which takes
** OpenBLAS where it is faster and a row's bits do not depend on the other rows, and "split" where
** there is AMX (docs/performance.md). Begins with the environment
** variable PERILUNE_GEMM, or "auto". PL_ERR_ARG for another name, from the variable too: then from
** every such product. */
pl_status pl_gemm_set(pl_ctx *ctx, const char *name);
typedef struct {
    const char *wish; /* "auto", "own", "openblas" or "split" */
    bool openblas;    /* large products of the dtype go to OpenBLAS */
    bool split;       /* products for gradients are of split numbers */
    bool rows_alone;  /* a row's bits depend on no other row */
} pl_gemm_info;
/* For products of PL_F32 or PL_F64. PL_ERR_ARG when PERILUNE_GEMM is set to no such name. */
pl_status pl_gemm_get(pl_ctx *ctx, pl_dtype dtype, pl_gemm_info *info);

/* --------------------------------------------------------------------------------------------
** Profile: where the time goes, against what the machine can do
*/
typedef struct {
    double float32, bfloat16; /* multiplications and additions a second, in registers, all threads;
                              ** bfloat16: products with float32 sums */
    double split;             /* the same of split float32 products: a sixth of bfloat16 */
    double read, copy;        /* bytes a second of memory; a copy counts what it reads and writes */
    double cache;             /* the same of a copy of 1 MiB a thread */
    int64_t cache_bytes;      /* up to this size operands are counted at `cache` */
} pl_limits;

/* The best of several short runs on all threads, by processor time: about half a second, and 100 MB
** for it. */
pl_status pl_limits_measure(pl_ctx *ctx, pl_limits *limits);
/* float32 of the above, but by the clock on the wall, over `seconds`: the state the machine is
** in. */
double pl_fma_rate(double seconds);

/* From now on every op, its backward, the optimizer and the drawing of tokens are timed, by stage:
** the innermost open scope that is no frame, or a part of pl_generate. Keeps up to `events` single
** calls for a trace. Ends a profile that runs. */
pl_status pl_profile_begin(pl_ctx *ctx, const pl_limits *limits, int64_t events);
void pl_profile_end(pl_ctx *ctx);      /* and forgets it; fine without one */
bool pl_profile_on(const pl_ctx *ctx); /* whether one runs */

typedef struct {
    const char *stage, *name; /* name: an op's, "adamw", "gradient norm", ... */
    bool backward;
    int64_t calls;
    double seconds;
    double flops, bytes; /* that the calls must at least do, by their shapes */
    double split;        /* of flops, those of split products */
    double peak;         /* seconds their multiplications alone would take at the limits */
    double least;        /* seconds they would take at the limits */
    char example[120];   /* shapes of the inputs of the longest call */
} pl_profile_row;

typedef struct {
    const char *name;
    int64_t calls;
    double seconds, nested, ops; /* nested: in stages inside it; ops: in rows of its own */
} pl_profile_stage;

typedef struct {
    const char *name, *stage; /* name NULL: the stage itself */
    bool backward;
    double began, seconds; /* began: since pl_profile_begin */
} pl_profile_event;

typedef enum {
    PL_PROFILE_ROWS,
    PL_PROFILE_STAGES,
    PL_PROFILE_EVENTS,
    PL_PROFILE_LOST /* events that were not kept */
} pl_profile_list;

/* How many there are of the running profile, 0 without one; items 0 .. count-1, whose names live
** until the profile ends. */
int64_t pl_profile_count(const pl_ctx *ctx, pl_profile_list list);
const pl_profile_row *pl_profile_get_row(const pl_ctx *ctx, int64_t i); /* borrowed */
pl_profile_stage pl_profile_get_stage(const pl_ctx *ctx, int64_t i);    /* a copy */
pl_profile_event pl_profile_get_event(const pl_ctx *ctx, int64_t i);    /* a copy */

/* --------------------------------------------------------------------------------------------
** Autograd
*/
bool pl_grad_enabled(const pl_ctx *ctx);        /* whether ops are recorded on the tape */
bool pl_set_grad_enabled(pl_ctx *ctx, bool on); /* returns the former state */
/* Whether a leaf wants a gradient; nothing is set where the dtype is not PL_F32 or PL_F64. */
void pl_tensor_set_requires_grad(pl_tensor *t, bool on);
bool pl_tensor_requires_grad(const pl_tensor *t); /* of a result: whether an input wanted one */
/* The gradient of a leaf, of its shape and dtype; NULL when none has flowed yet. Borrowed. */
pl_tensor *pl_tensor_grad(const pl_tensor *t);
void pl_tensor_zero_grad(pl_tensor *t); /* as if none had flowed */
/* From `t` (one number when seed is NULL) to every leaf; gradients are added to what is there. The
** part of the tape that was walked is released. */
pl_status pl_backward(pl_ctx *ctx, pl_tensor *t, const pl_tensor *seed);

/* A node from `in` to `out` (made by the caller) with a backward of the caller's own: gets the
** gradients of the outputs (NULL where none flowed), returns those of the inputs as new references
** (NULL for none). `drop` frees `data` with the node; after a failure of pl_custom `data` is still
** the caller's. At most PL_MAX_IN and PL_MAX_OUT. */
typedef pl_status (*pl_backward_fn)(pl_ctx *ctx, void *data, pl_tensor *const *d_out,
                                    pl_tensor **d_in);
/* Puts such a node on the tape. */
pl_status pl_custom(pl_ctx *ctx, pl_tensor *const *in, int n_in, pl_tensor *const *out, int n_out,
                    pl_backward_fn fn, void (*drop)(void *data), void *data);

/* --------------------------------------------------------------------------------------------
** Files. Writing never touches the old file: a temporary file in the same folder is written, synced
** and renamed over it, with the old file's mode. Only regular files are opened. A failed sync is a
** failed write.
*/
#define PL_HASH_TEXT 33 /* XXH3-128 as 32 hexadecimal digits, and the final NUL */

/* The whole file, with a NUL after it; PL_ERR_FORMAT when it is larger than `limit` bytes. The
** caller frees *data with pl_free. */
pl_status pl_file_read(pl_ctx *ctx, char **data, size_t *size, const char *path, int64_t limit);
/* When the last step fails, the sync of the folder after the rename, the new file is in place,
** complete, but may not survive a power cut; on every other failure the old one is. */
pl_status pl_file_write(pl_ctx *ctx, const char *path, const void *data, size_t size);
pl_status pl_file_copy(pl_ctx *ctx, const char *to, const char *from); /* as by pl_file_write */
/* In one step, in place of what stands at `to`; the folder is synced. */
pl_status pl_file_rename(pl_ctx *ctx, const char *from, const char *to);
pl_status pl_file_remove(pl_ctx *ctx, const char *path); /* PL_OK when there is none */
/* XXH3-128 of a file's bytes; of these bytes. */
pl_status pl_file_hash(pl_ctx *ctx, char hex[PL_HASH_TEXT], const char *path);
void pl_hash(char hex[PL_HASH_TEXT], const void *data, size_t size); /* cannot fail */
/* XXH3-128 over names, dtypes, shapes and bytes of n tensors, in the order of the names. */
pl_status pl_hash_tensors(pl_ctx *ctx, char hex[PL_HASH_TEXT], const char *const *names,
                          pl_tensor *const *tensors, int64_t n);

/* A file written piece by piece: `open` makes a temporary one beside it, `put` appends to that,
** and it appears whole at `commit` as by pl_file_write. A failed put fails the commit. `close`
** without a commit gives it up; NULL is fine. */
typedef struct pl_writer pl_writer;
pl_status pl_writer_open(pl_ctx *ctx, pl_writer **out, const char *path);
pl_status pl_writer_put(pl_writer *writer, const void *data, size_t size);
pl_status pl_writer_commit(pl_writer *writer); /* afterwards only close */
void pl_writer_close(pl_writer *writer);

/* A log: `open` gives a file that rows are appended to, made when it is not there; `owner_only`:
** then nobody else can read it. Each row is with the kernel, whole, when append returns, so that a
** killed process loses none; of a row whose `append` failed nothing stays. `sync`: the rows so far
** outlive a power cut. Ctrl-C does not stop an append. */
typedef struct pl_logfile pl_logfile;
pl_status pl_logfile_open(pl_ctx *ctx, pl_logfile **out, const char *path, bool owner_only);
pl_status pl_logfile_append(pl_logfile *log, const void *row, size_t size);
pl_status pl_logfile_sync(pl_logfile *log);
void pl_logfile_close(pl_logfile *log); /* NULL is fine */

/* The folder and those above it, as far as they are missing. */
pl_status pl_folder_make(pl_ctx *ctx, const char *path);
/* The folder and all that is in it; symbolic links are not followed; PL_OK when there is none. It
** goes away as a whole: renamed aside ("<path>.tmp-gone-<host>-<pid>-<n>") first. */
pl_status pl_folder_remove(pl_ctx *ctx, const char *path);

/* A folder that appears whole or not at all. `begin` makes "<path>.tmp-<host>-<pid>-<n>" and gives
** its name (pl_free) to be filled with files; `commit` syncs every file, writes manifest.json
** (name, size and hash of each) last and renames the folder to `path`, in one step with what stood
** there. On failure the temporary folder is removed. `verify` holds a folder against its manifest;
** files that the manifest does not name are let be. `discard` removes a temporary folder. */
pl_status pl_folder_begin(pl_ctx *ctx, char **tmp, const char *path);
pl_status pl_folder_commit(pl_ctx *ctx, const char *tmp, const char *path);
pl_status pl_folder_verify(pl_ctx *ctx, const char *path);
pl_status pl_folder_discard(pl_ctx *ctx, const char *tmp);
/* Writing, beginning and removing clear away what processes of this machine that were killed left
** beside the same name; this, what they left beside any name in the folder. */
void pl_folder_sweep(const char *path);

/* Lines: a text file, plain or gzip (told by its content), one line after the other. Memory is flat
** in the size of the file: at most one line of max_bytes is held. */
typedef struct pl_lines pl_lines;

#define PL_LINES_MAX_BYTES ((int64_t)16 << 20)

typedef struct {
    int64_t max_bytes; /* longer lines are passed over and told; 0: PL_LINES_MAX_BYTES */
    int64_t offset;    /* uncompressed byte to start at: where a line begins */
    int64_t line;      /* lines before that byte: the first line given has number line + 1 */
    bool skip_empty;   /* lines without a byte are counted but not given */
} pl_lines_options;

typedef struct {
    const char *text; /* without "\n" or "\r\n"; any bytes; borrowed until the next call */
    int64_t size, number;
    const char *problem; /* NULL, or why there is no text (text NULL); borrowed likewise */
} pl_line;

/* `options` NULL: all zeros. A byte-order mark at the beginning is passed over. PL_ERR_FORMAT when
** the file holds fewer than `offset` bytes. */
pl_status pl_lines_open(pl_ctx *ctx, pl_lines **out, const char *path,
                        const pl_lines_options *options);
/* The next line; *more is false at the end. Damage (gzip that is cut off or corrupt, a read that
** fails) is the problem of a last line; the lines before it have come out whole. */
pl_status pl_lines_next(pl_lines *reader, pl_line *line, bool *more);
/* The uncompressed byte where the next line starts, and the number of lines before it. */
int64_t pl_lines_offset(const pl_lines *reader);
int64_t pl_lines_count(const pl_lines *reader); /* given, passed over and empty ones */
void pl_lines_close(pl_lines *reader);          /* NULL is fine */

/* Test hook: the k-th input/output call from now on fails with `error` (an errno; 0: it moves only
** half of the bytes), with `forever` all later ones too; k = 0 turns it off. The removal of
** temporary files, and undoing what a failed call left, is not counted. */
void pl_io_fail_at(pl_ctx *ctx, int64_t k, int error, bool forever);
int64_t pl_io_calls(const pl_ctx *ctx); /* since the context was made */

/* Weight files: named tensors, read on demand. Opening checks everything that can be checked
** without reading the weights; no size from a file is believed before it is held against the file.
*/
typedef struct pl_weights pl_weights;

typedef struct {
    const char *name;
    const char *stored; /* as the file calls it: "BF16" */
    pl_dtype dtype;     /* what it is loaded as: halves and blocks become float32, integers int32 */
    int rank;
    int64_t shape[PL_MAX_RANK];
} pl_weight_info;

/* A .safetensors file, a model.safetensors.index.json with its shards beside it, or the folder that
** holds one of the two. */
pl_status pl_safetensors_open(pl_ctx *ctx, pl_weights **out, const char *path);

typedef struct {
    int dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len;
    bool tied; /* the output layer is the embedding */
} pl_llama2c_config;

/* A llama2.c checkpoint of version 0. Tensors have the names of Hugging Face's Llama; query and key
** rows are in llama2.c's order, which wants interleaved RoPE. */
pl_status pl_llama2c_open(pl_ctx *ctx, pl_weights **out, pl_llama2c_config *config,
                          const char *path);

void pl_weights_close(pl_weights *w);          /* NULL is fine */
int64_t pl_weights_count(const pl_weights *w); /* tensors in the file, or in all shards */
/* In the order of the names. The text lives as long as `w`. */
pl_weight_info pl_weights_get(const pl_weights *w, int64_t i);
int64_t pl_weights_find(const pl_weights *w, const char *name); /* -1: not there */
/* Tensor i as a new reference, of the dtype and shape that pl_weights_get tells. */
pl_status pl_weights_load(pl_ctx *ctx, pl_tensor **out, const pl_weights *w, int64_t i);
/* The same in the kept dtype that holds the file's bytes as they are, where there is one. */
pl_status pl_weights_keep(pl_ctx *ctx, pl_tensor **out, const pl_weights *w, int64_t i);
/* The file's own notes (safetensors' __metadata__). */
int64_t pl_weights_note_count(const pl_weights *w);
/* Note i; both texts live as long as `w`. */
void pl_weights_note(const pl_weights *w, int64_t i, const char **key, const char **value);

/* GGUF files, versions 2 and 3: tensors and entries (keys with values), the latter in the order of
** their keys; i is an entry, j one of its values (0 when it is no list): both must be there.
** Tensors have llama.cpp's names and their axes in the engine's order, the fastest last. */
typedef struct pl_gguf pl_gguf;

typedef enum { PL_GGUF_INTEGER, PL_GGUF_NUMBER, PL_GGUF_BOOLEAN, PL_GGUF_TEXT } pl_gguf_kind;

typedef struct {
    const char *key; /* lives as long as the file is open */
    pl_gguf_kind kind;
    bool list;
    int64_t n; /* values: 1 when it is no list */
} pl_gguf_entry;

/* PL_ERR_FORMAT for what is no such file, or is cut off. */
pl_status pl_gguf_open(pl_ctx *ctx, pl_gguf **out, const char *path);
void pl_gguf_close(pl_gguf *g);                          /* NULL is fine */
const pl_weights *pl_gguf_weights(const pl_gguf *g);     /* borrowed: closed with `g` */
int64_t pl_gguf_count(const pl_gguf *g);                 /* entries */
int64_t pl_gguf_find(const pl_gguf *g, const char *key); /* -1: not there */
pl_gguf_entry pl_gguf_get(const pl_gguf *g, int64_t i);  /* its key is borrowed */
/* Of an entry that is no text; a boolean is 0 or 1. */
int64_t pl_gguf_integer(const pl_gguf *g, int64_t i, int64_t j);
double pl_gguf_number(const pl_gguf *g, int64_t i, int64_t j); /* an integer is converted */
/* Of a text: any bytes, no NUL after them. Lives as long as the file is open. */
const char *pl_gguf_text(const pl_gguf *g, int64_t i, int64_t j, size_t *length);

typedef enum {
    PL_GGUF_AS_U32,
    PL_GGUF_AS_I32,
    PL_GGUF_AS_F32,
    PL_GGUF_AS_BOOL,
    PL_GGUF_AS_TEXT
} pl_gguf_type;

typedef struct {
    const char *key;
    pl_gguf_type type;
    bool list;
    int64_t n;                /* values: 1 when it is no list */
    const double *numbers;    /* n of them; for texts NULL */
    const char *const *texts; /* with their lengths */
    const size_t *lengths;
} pl_gguf_field;

/* Writes a GGUF file of version 3. Keys differ, and so do the names of tensors (63 bytes at most, 4
** axes); a number that its type cannot hold is PL_ERR_ARG. */
pl_status pl_gguf_save(pl_ctx *ctx, const char *path, const pl_gguf_field *fields, int64_t n_fields,
                       const char *const *names, pl_tensor *const *tensors, int64_t n);

/* Writes a .safetensors file; a note "format" = "pt" is added when there is none, since readers
** insist on it. Names must differ. */
pl_status pl_safetensors_save(pl_ctx *ctx, const char *path, const char *const *names,
                              pl_tensor *const *tensors, int64_t n, const char *const *keys,
                              const char *const *values, int64_t n_notes);

/* --------------------------------------------------------------------------------------------
** Store: SQLite by prepared statements. Error texts name the file and the statement. pl_interrupt
** stops a long statement; a write that it stops rolls back its whole transaction.
*/
typedef struct pl_db pl_db;
typedef struct pl_statement pl_statement;

typedef struct {
    bool readonly;
    int64_t busy_ms;  /* how long to wait for another program's lock */
    int64_t cache_kb; /* page cache; 0: SQLite's own size */
} pl_db_options;

typedef enum { PL_DB_NULL, PL_DB_INTEGER, PL_DB_FLOAT, PL_DB_TEXT } pl_db_kind;

typedef struct {
    pl_db_kind kind;
    int64_t integer;
    double number;
    const char *text; /* any bytes, NUL too; blobs are read as text */
    int64_t size;
} pl_db_value;

/* Opens or makes a file; ":memory:" and "" are databases for the time they are open. `options`
** NULL: {false, 5000, 0}. Foreign keys are on. What is not a database, cannot be written or does
** not exist (readonly) is refused here. */
pl_status pl_db_open(pl_ctx *ctx, pl_db **out, const char *path, const pl_db_options *options);
/* Closes the file at once. Statements that are left fail from now on and are still to be freed. */
void pl_db_close(pl_db *db); /* NULL is fine */
/* A script; rows that it gives are passed over. It stops at the first failure. */
pl_status pl_db_exec(pl_db *db, const char *sql);
int64_t pl_db_last_id(const pl_db *db); /* of the last row that was inserted */
int64_t pl_db_changes(const pl_db *db); /* rows that the last insert, update or delete changed */
bool pl_db_in_transaction(const pl_db *db); /* begun, and neither committed nor rolled back */

pl_status pl_statement_new(pl_db *db, pl_statement **out, const char *sql); /* one statement */
void pl_statement_free(pl_statement *s);            /* NULL is fine; after its pl_db is fine too */
int pl_statement_parameters(const pl_statement *s); /* how many it has */
/* Parameter i, from 0, of a statement at its beginning (new, reset or run to its end). A text that
** is not copied must live until the parameter is bound anew. NaN: PL_ERR_NONFINITE. */
pl_status pl_statement_bind(pl_statement *s, int i, const pl_db_value *value, bool copy);
/* To the next row; *row is false at the end, where the statement is at its beginning again, as it
** is after a failure. */
pl_status pl_statement_step(pl_statement *s, bool *row);
/* To the end; *changed rows. */
pl_status pl_statement_run(pl_statement *s, int64_t *changed);
void pl_statement_reset(pl_statement *s);        /* back to the beginning; parameters stay bound */
int pl_statement_columns(const pl_statement *s); /* of its rows; 0 when it gives none */
/* Column i of the row that step went to; its text is borrowed until the next call. */
pl_db_value pl_statement_column(const pl_statement *s, int i);

/* --------------------------------------------------------------------------------------------
** Text: tokenizers (engine/text). Text is bytes with a length; NUL and invalid UTF-8 are fine.
**
** What a vocabulary has no token for becomes its model's unknown token, or nothing when the model
** names none (words: an error). Ordinary text never becomes a control token: an "added token" of
** the vocabulary (all but runs of white space) is found in the text only with PL_ENCODE_SPECIAL. A
** post-processor is not run: pl_tokenizer_info says what it would add, the flags below add it.
*/
typedef struct pl_tokenizer pl_tokenizer;

typedef enum {
    PL_TOKENIZER_BYTELEVEL,
    PL_TOKENIZER_SENTENCEPIECE,
    PL_TOKENIZER_WORD,
    PL_TOKENIZER_UNIGRAM,
    PL_TOKENIZER_WORDPIECE
} pl_tokenizer_kind;

enum {
    PL_ENCODE_SPECIAL = 1,  /* the text's added tokens become their ids */
    PL_ENCODE_BOS = 2,      /* the beginning token first, unless the text gave it already */
    PL_ENCODE_EOS = 4,      /* the end token last, unless the text gave it already */
    PL_ENCODE_CONTINUED = 8 /* this text follows another: no prefix space */
};
enum { PL_DECODE_SKIP_SPECIAL = 1 };

/* The bytes [start, end) of a text. */
typedef struct {
    size_t start, end;
} pl_text_span;

/* `guarded`: where PL_ENCODE_SPECIAL looks for no control token, nor for one that reaches in; in
** order and apart. What a user wrote inside a rendered template is guarded: words are cut and
** merged across its borders as anywhere.
** `spans`, unless it is NULL, receives for each id the bytes of the text it stands for; what is put
** in front or behind stands for none. The caller frees it with pl_free. */
typedef struct {
    unsigned flags;
    const pl_text_span *guarded;
    int64_t n_guarded;
    pl_text_span **spans;
} pl_encode_options;

typedef struct {
    pl_tokenizer_kind kind;
    int64_t size;               /* highest id + 1 */
    int32_t bos, eos, pad, unk; /* -1: none */
    bool adds_bos, adds_eos;    /* what the folder's post-processor would add */
    const char *chat_template;  /* Jinja text, NULL when there is none; borrowed */
} pl_tokenizer_info;

/* `path` is a model folder, a tokenizer.json, a SentencePiece model (.model), a vocab.json or
** encoder.json beside its merges.txt or vocab.bpe, or a llama2.c tokenizer (.bin). The names of the
** special ids come from the tokenizer_config.json or special_tokens_map.json beside it. */
pl_status pl_tokenizer_load(pl_ctx *ctx, pl_tokenizer **out, const char *path);

/* What a GGUF file holds of a tokenizer. Texts are UTF-8 with a length and are copied. */
typedef struct {
    const char *model; /* "llama": SentencePiece BPE; "gpt2": byte-level BPE */
    const char *pre;   /* how "gpt2" cuts words, NULL: "default" */
    int64_t count;
    const char *const *pieces;
    const size_t *lengths;
    const float *scores;  /* "llama" needs them */
    const int32_t *types; /* 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte;
                             NULL: all normal */
    int64_t n_merges;     /* of "gpt2": "left right" */
    const char *const *merges;
    const size_t *merge_lengths;
    int32_t bos, eos, pad, unk;                /* -1: none */
    int8_t add_bos, add_eos, add_space_prefix; /* -1: what the model does by itself */
    const char *chat_template;                 /* or NULL */
} pl_tokenizer_pieces;
/* `where` names the file in error texts. */
pl_status pl_tokenizer_from_pieces(pl_ctx *ctx, pl_tokenizer **out,
                                   const pl_tokenizer_pieces *pieces, const char *where);
void pl_tokenizer_free(pl_tokenizer *tok);                        /* NULL is fine */
pl_tokenizer_info pl_tokenizer_get_info(const pl_tokenizer *tok); /* a copy; its text borrowed */
/* Names the special ids, -1 for none. */
pl_status pl_tokenizer_set_special(pl_tokenizer *tok, int32_t bos, int32_t eos, int32_t pad);

/* The id of a token by its name in the vocabulary, else by the text it stands for; -1: none. */
int32_t pl_tokenizer_id(const pl_tokenizer *tok, const char *text, size_t length);
/* The name of a token ("Ġthe"), NULL where the id has no token. Borrowed. */
const char *pl_tokenizer_name(const pl_tokenizer *tok, int64_t id, size_t *length);
/* The bytes it stands for (" the"), NULL likewise. Borrowed. */
const char *pl_tokenizer_bytes(const pl_tokenizer *tok, int64_t id, size_t *length);
/* Whether ordinary text can never give this id. */
bool pl_tokenizer_is_control(const pl_tokenizer *tok, int64_t id);

/* The ids of a text, `count` of them. The caller frees *ids with pl_free (NULL when there are
** none). */
pl_status pl_tokenizer_encode(pl_tokenizer *tok, int32_t **ids, int64_t *count, const char *text,
                              size_t length, unsigned flags);
/* The same with all options. */
pl_status pl_tokenizer_encode_with(pl_tokenizer *tok, int32_t **ids, int64_t *count,
                                   const char *text, size_t length,
                                   const pl_encode_options *options);
/* The caller frees *text with pl_free; a final NUL is added. An id without a token gives U+FFFD.
** Byte-level: decode(encode(x)) is x byte for byte, unless the tokenizer normalizes. SentencePiece:
** the space in front goes after the beginning token. Words are joined by single spaces, WordPiece's
** pieces unless they stand inside a word. */
pl_status pl_tokenizer_decode(pl_tokenizer *tok, char **text, size_t *length, const int32_t *ids,
                              int64_t count, unsigned flags);

/* The text with each character in Unicode's simple lower case; bytes that are no UTF-8 stay. The
** caller frees *out with pl_free; a final NUL is added. */
pl_status pl_text_lower(pl_ctx *ctx, char **out, size_t *size, const char *text, size_t length);

/* Decoding one id at a time: start with {0}. A character whose bytes are not all there yet is held
** back; id -1 gives out what is held. */
typedef struct {
    unsigned char held[4];
    int n_held;
    bool started, after_bos;
} pl_text_stream;
/* The bytes that are complete now, perhaps none; *text is borrowed until the tokenizer's next
** call. */
pl_status pl_tokenizer_stream(pl_tokenizer *tok, pl_text_stream *stream, const char **text,
                              size_t *length, int32_t id, unsigned flags);

/* A vocabulary learned from texts: byte-level BPE with GPT-2's cuts, or the most frequent white-
** space separated words. Ids: `special` in order, the 256 bytes (BPE), then merges or words. Ties
** go to the smaller ids (BPE) or to byte order (words), so the result depends on the texts alone.
** bos, eos, pad and unk name one of `special` or are NULL; words need an unknown token: "<unk>" is
** added behind `special` when unk is NULL. A vocabulary smaller than asked is not an error. */
typedef struct {
    pl_tokenizer_kind kind; /* BYTELEVEL or WORD */
    int64_t vocab_size;
    const char *const *special;
    int64_t n_special;
    const char *bos, *eos, *pad, *unk;
    int64_t min_frequency; /* of a pair or a word; 0 is taken as 2 for BPE, 1 for words */
} pl_tokenizer_training;
/* PL_ERR_ARG for another kind, or a vocab_size below 1. */
pl_status pl_tokenizer_train(pl_ctx *ctx, pl_tokenizer **out, const char *const *texts,
                             const size_t *lengths, int64_t n_texts,
                             const pl_tokenizer_training *options);

/* Writes tokenizer.json and tokenizer_config.json into the folder, as transformers reads them. A
** tokenizer.json that was loaded is written back unchanged. chat_template replaces the one the
** tokenizer carries; NULL keeps it. */
pl_status pl_tokenizer_save(pl_tokenizer *tok, const char *folder, const char *chat_template);
/* pl_hash of the tokenizer.json that pl_tokenizer_save would write. */
pl_status pl_tokenizer_hash(const pl_tokenizer *tok, char hex[PL_HASH_TEXT]);

/* Chat templates: Jinja2 as transformers configures it (trim_blocks, lstrip_blocks, loop controls,
** its own tojson, raise_exception, strftime_now, generation blocks), byte for byte. A template
** reads its values and nothing else: include, import and extends are refused, and so are values
** Python could change. Integers have 64 bits. */
typedef struct pl_jinja pl_jinja;

/* `name` stands in errors, "name:line: text". PL_ERR_FORMAT for what is no template. */
pl_status pl_jinja_compile(pl_ctx *ctx, pl_jinja **out, const char *text, size_t length,
                           const char *name);
void pl_jinja_free(pl_jinja *t); /* NULL is fine */
/* Whether it says itself, in generation blocks, what an assistant writes. */
bool pl_jinja_has_generation(const pl_jinja *t);

/* The variables, as texts of JSON objects: `values` are a user's, the conversation among them (of
** it, a message's `role` is the template's own when it is a usual one); `trusted` (NULL: none) are
** names of tokens. Budgets of 0 are the defaults; what goes beyond one is refused. */
typedef struct {
    const char *values, *trusted;
    size_t values_length, trusted_length;
    int64_t now; /* what strftime_now takes for the time: seconds since 1970, < 0: the clock's */
    int64_t most_steps, most_bytes;
    int most_depth;
} pl_jinja_input;

/* The text, and the bytes of it that came from `values`, however they were cut and joined: the
** spans to be guarded when it is encoded; and those of generation blocks. In order and apart. */
typedef struct {
    char *text; /* with a final NUL */
    size_t length;
    pl_text_span *user, *generated;
    int64_t n_user, n_generated;
} pl_jinja_output;

/* PL_ERR_ARG with "name:line: text" when the template refuses the values (raise_exception), or
** cannot do with them what it wants; PL_ERR_NOMEM beyond a budget. The caller frees the output. */
pl_status pl_jinja_render(const pl_jinja *t, pl_jinja_output *out, const pl_jinja_input *in);
void pl_jinja_output_free(pl_ctx *ctx, pl_jinja_output *out); /* what it holds, not itself */

/* --------------------------------------------------------------------------------------------
** Plans: a recorded run of ops, replayed from C with other inputs of other sizes
*/
typedef struct pl_plan pl_plan;

/* From begin to end every op that runs is written down; tensors other than `inputs` and results are
** constants and are held by the plan. One recording at a time. */
pl_status pl_plan_begin(pl_ctx *ctx, pl_tensor *const *inputs, int n);
/* PL_ERR_ARG when none is being recorded, or `output` was not made by it: then there is no plan. */
pl_status pl_plan_end(pl_ctx *ctx, pl_tensor *output, pl_plan **out);
void pl_plan_cancel(pl_ctx *ctx); /* gives up the one that is being recorded; fine without one */
/* Runs the plan without a tape; *output is a new reference. */
pl_status pl_plan_run(pl_plan *plan, pl_tensor *const *inputs, pl_tensor **output);
/* Size of the output's last axis when it was recorded: the vocabulary of a decode step. */
int64_t pl_plan_columns(const pl_plan *plan);
void pl_plan_free(pl_plan *plan); /* NULL is fine */

/* --------------------------------------------------------------------------------------------
** Training: flat parameter blocks and what runs over them
*/
typedef struct pl_block pl_block;
typedef struct pl_optimizer pl_optimizer;

typedef struct {
    const char *name;
    int rank;
    int64_t shape[PL_MAX_RANK];
} pl_block_entry;

/* All parameters of a model in one flat, zeroed piece of memory; each is a view that wants
** gradients, each starts at a multiple of 64 bytes. */
pl_status pl_block_new(pl_ctx *ctx, pl_block **out, pl_dtype dtype, int n,
                       const pl_block_entry *entries);
void pl_block_free(pl_block *block);                   /* after its optimizers; NULL is fine */
int pl_block_size(const pl_block *block);              /* number of parameters */
int64_t pl_block_count(const pl_block *block);         /* elements in them, without the gaps */
pl_tensor *pl_block_get(const pl_block *block, int i); /* borrowed */
pl_tensor *pl_block_flat(const pl_block *block);       /* borrowed: the weights, gaps are zeros */
/* The flat gradients; parameters no gradient reached are set to zero first. */
pl_status pl_block_grads(pl_block *block, pl_tensor **borrowed);
/* Between a block and tensors of the same shapes and dtype that stand alone, one for each
** parameter: `take` copies their values and gradients into the block, `give` the values back. */
pl_status pl_block_take(pl_block *block, pl_tensor *const *tensors);
pl_status pl_block_give(const pl_block *block, pl_tensor *const *tensors);
/* Whether a gradient has reached parameter i since the last zero_grad. */
bool pl_block_has_grad(const pl_block *block, int i);
/* As if no gradient had reached any; their memory serves other tensors until one does. */
void pl_block_zero_grad(pl_block *block);
/* The Euclidean norm of all gradients, summed in double precision. */
pl_status pl_block_grad_norm(pl_block *block, double *norm);
/* dst = decay dst + (1 - decay) src; decay 0 copies. Blocks of the same parameters. */
pl_status pl_block_average(pl_block *dst, const pl_block *src, double decay);
/* XXH3-128 over names, shapes and values, as 32 hexadecimal digits. */
pl_status pl_block_hash(pl_block *block, char text[33]);

typedef struct {
    double lr, beta1, beta2, eps, weight_decay; /* decay on parameters of rank 2 and more */
    double max_grad_norm;                       /* 0: no clipping */
    double momentum;                            /* of matrices that Muon steps; 0.95 is usual */
    bool tf_eps; /* eps is added to the root before the bias correction, as in TensorFlow */
} pl_optimizer_options;

typedef struct {
    double grad_norm; /* before clipping */
    bool skipped;     /* not finite: weights and moments are untouched */
} pl_optimizer_result;

/* Optimizers over a block, which is borrowed. AdamW (Loshchilov & Hutter, arXiv:1711.05101), with
** c = 1 - b^step:
**   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
**   w = w (1 - lr wd) - lr m/c1 / (sqrt(v/c2) + eps)
** where g is first scaled to max_grad_norm when its norm is larger. */
pl_status pl_optimizer_new_adamw(pl_ctx *ctx, pl_optimizer **out, pl_block *block);
/* The same with both moments in 8 bits an element and a scale for each 256, a quarter of the
** memory (after arXiv:2110.02861; see engine/kernels/adamw_8bit.c). Float32 blocks alone. */
pl_status pl_optimizer_new_adamw_8bit(pl_ctx *ctx, pl_optimizer **out, pl_block *block);
/* Muon (Jordan et al. 2024; see engine/kernels/muon.c) for the parameters i with matrices[i], which
** have two axes, AdamW for the others; matrices: one for each parameter, copied. bf16: products
** with operands in bfloat16, of float32 blocks alone. One rate and decay for both. */
pl_status pl_optimizer_new_muon(pl_ctx *ctx, pl_optimizer **out, pl_block *block,
                                const bool *matrices, bool bf16);
void pl_optimizer_free(pl_optimizer *opt); /* before its block */
/* One step on the block's gradients, which stay as they are. */
pl_status pl_optimizer_step(pl_optimizer *opt, const pl_optimizer_options *options,
                            pl_optimizer_result *result);
/* State for checkpoints: moment m (0) or v (1), in the block's shape and dtype (v without the
** parameters that Muon steps), or of 8 bits as int32 [blocks of 256, 65 words]; borrowed, writable.
*/
pl_tensor *pl_optimizer_moment(const pl_optimizer *opt, int which);
int64_t pl_optimizer_steps(const pl_optimizer *opt); /* that were taken; skipped ones are not */
void pl_optimizer_set_steps(pl_optimizer *opt, int64_t steps); /* as a checkpoint has them */

/* --------------------------------------------------------------------------------------------
** Generation
*/
typedef struct pl_generator pl_generator;

typedef struct {
    int64_t max_tokens; /* new tokens for each answer */
    int64_t samples;    /* answers to each prompt; they share its prefill */
    int64_t context;    /* prompt and answer together have at most so many tokens; 0: no limit */
    double temperature; /* 0: the most likely token */
    int64_t top_k;      /* 0: off */
    double top_p;       /* 1: off */
    double min_p;       /* 0: off */
    uint64_t seed;
    uint64_t stream;     /* what the answers are for, as pl_random_purpose gives it; 0 is one too */
    const int32_t *stop; /* tokens that end an answer (and belong to it) */
    int n_stop;
    /* Asked after each token of an answer; true ends it. NULL: never asked. A failure stops all. */
    pl_status (*ends)(void *data, const int32_t *tokens, int64_t n, bool *end);
    void *ends_data;
    int64_t slots;        /* answers that grow at a time at most; 0: as many as cache blocks */
    int64_t cache_blocks; /* the caches may grow to; 0: as they are */
    /* One answer to one prompt whose beginning may stand in the cache since the last such call, and
    ** is then not run again: for conversations. The weights must be the same as then. */
    bool reuse;
    /* Tokens at most that are guessed ahead of an answer while few grow, and checked by the same
    ** replay: what followed where its last tokens stood in its text before. Those are kept that the
    ** draws of their places give, so answers are the same bits. 0: none. */
    int64_t prompt_lookup;
} pl_gen_options;

typedef enum { PL_FINISH_STOP, PL_FINISH_LENGTH, PL_FINISH_TEXT } pl_finish;

/* Answers in the order prompt 1 sample 1, prompt 1 sample 2, ...; answer i has `length[i]` tokens
** at [i * max_tokens]. Log-probs are of softmax(z/temperature) ("the model"; at temperature 0 of
** softmax(z)) and of the truncated distribution that was sampled; entropy is of the former. */
typedef struct {
    int64_t n, max_tokens;
    int32_t *tokens;
    float *logprob, *sampling_logprob, *entropy;
    int64_t *length;
    pl_finish *finish;
    int64_t steps;             /* replays of the plan */
    int64_t prefill_tokens;    /* of prompts, and of answers that had been paused, that were run */
    int64_t pauses;            /* answers that gave their blocks to older ones and waited */
    int64_t drafted, accepted; /* tokens guessed ahead, and those of them that were drawn */
} pl_gen_result;

/* `plan` (taken) maps tokens [T], positions [T], offsets [B+1], blocks [B,M], past [B], last [B]
** (row of each sequence's last token; with `prompt_lookup` more rows) to logits of as many rows as
** `last` has, [.,V]; `caches` are the k and v caches it writes,
** in pairs, each [blocks, G, block_len, D], block_len a multiple of 64. A text takes a block for
** each block_len of its positions; texts share those of what they begin with. With `cache_blocks`
** the caches' first axis grows when that is wanted, and their data move: no view may share them. */
pl_status pl_generator_new(pl_ctx *ctx, pl_generator **out, pl_plan *plan, pl_tensor *const *caches,
                           int n_caches);
void pl_generator_free(pl_generator *g); /* NULL is fine */
/* Prompt i is tokens[offsets[i]] ..; prompts and `stop` hold ids of the vocabulary. `keys` (NULL:
** 0, 1, ..) name prompts to the random stream, so that an answer depends on (seed, key, sample)
** alone and not on what is generated beside it, nor on slots and cache: where blocks run out the
** youngest answers wait. PL_ERR_ARG names an empty prompt, an id that the vocabulary does not have,
** a prompt that leaves no room in `context`, one whose longest answer no cache of so many blocks
** holds, an option out of range. */
pl_status pl_generate(pl_generator *g, pl_gen_result **out, int64_t n_prompts,
                      const int32_t *tokens, const int64_t *offsets, const int64_t *keys,
                      const pl_gen_options *options);
void pl_gen_result_free(pl_ctx *ctx, pl_gen_result *result); /* NULL is fine */

/* --------------------------------------------------------------------------------------------
** Net: lines of text between programs of one user on one machine (Unix-domain sockets). Nothing
** waits but pl_net_wait; what a channel holds for its two sides is bounded.
*/
#define PL_CHANNEL_LINE ((size_t)1 << 20)    /* bytes of a line that has no end yet */
#define PL_CHANNEL_BACKLOG ((size_t)8 << 20) /* bytes that the other side has not read */

typedef struct pl_listener pl_listener;
typedef struct pl_channel pl_channel;

/* A socket at `path`, mode 0600 from the first moment. What a dead process left there is replaced;
** PL_ERR_IO where a live one serves it, or something else stands. Longer paths than a socket's
** address holds are fine. Two processes that replace one left socket at the same time must have
** settled between them who does. */
pl_status pl_listen(pl_ctx *ctx, pl_listener **out, const char *path);
void pl_listener_close(pl_listener *listener); /* removes its file; NULL is fine */
/* The next one who connected; *out is NULL when there is none. Other users are turned away. */
pl_status pl_accept(pl_listener *listener, pl_channel **out);
/* To who listens at `path`; PL_ERR_IO when nobody does, or another user's process. */
pl_status pl_connect(pl_ctx *ctx, pl_channel **out, const char *path);
void pl_channel_close(pl_channel *channel); /* NULL is fine */
/* Sends what it can and keeps the rest. PL_ERR_IO, from then on, when the other side has gone or
** PL_CHANNEL_BACKLOG would be passed. */
pl_status pl_channel_send(pl_channel *channel, const void *bytes, size_t size);
pl_status pl_channel_flush(pl_channel *channel, bool *empty); /* sends of what was kept */
/* The next line without its end, borrowed until the next call with this channel; *line is NULL when
** none is there yet. PL_ERR_IO when the other side has gone and all its lines are read, or its line
** passes PL_CHANNEL_LINE. */
pl_status pl_channel_line(pl_channel *channel, const char **line, size_t *size);
/* While on, SIGURG comes when the other side sends or goes; a process ignores it by default. */
pl_status pl_channel_alarm(pl_channel *channel, bool on);
/* Waits until somebody connects (listener may be NULL), a line or an end comes, or a channel takes
** what was kept for it. `ready` is false when the time is over or a signal came; it may be true for
** nothing. n at most 63. */
pl_status pl_net_wait(pl_ctx *ctx, pl_listener *listener, pl_channel *const *channels, int64_t n,
                      double seconds, bool *ready);

/* --------------------------------------------------------------------------------------------
** HTTP: pages, actions and events for one person's browser, on 127.0.0.1 alone. Each address begins
** with a token: http://127.0.0.1:PORT/TOKEN/PATH. Requests of another host's or page's name, or
** without the token, are refused before anybody sees them. The server has threads of its own; all
** functions belong to the thread of the context.
*/
#define PL_HTTP_TOKEN 32 /* hexadecimal digits: 128 bits */

typedef struct pl_http pl_http;

typedef struct {
    int64_t number;           /* from 1; 0: none */
    bool post;                /* POST, with a body of JSON; else GET */
    const char *path, *query; /* behind the token and a slash; not decoded */
    const char *body;
    size_t body_size; /* at most 64 KiB */
} pl_http_request;

/* Begins to listen; port 0 is any that is free, token NULL a random one. PL_ERR_IO where the port
** is taken. */
pl_status pl_http_open(pl_ctx *ctx, pl_http **out, int port, const char *token);
void pl_http_close(pl_http *http);              /* connections end; NULL is fine */
int pl_http_port(const pl_http *http);          /* the one that was taken */
const char *pl_http_token(const pl_http *http); /* borrowed */
/* The next request, waited for at most so long; request->number is 0 when none came. Its texts are
** borrowed until it is answered; one that is not answered in 30 s is told so. */
pl_status pl_http_next(pl_http *http, pl_http_request *request, double seconds);
/* `policy` is the Content-Security-Policy; "" allows nothing. The body is copied. */
pl_status pl_http_answer(pl_http *http, int64_t number, int status, const char *type,
                         const char *policy, const void *body, size_t size);
/* An event, one line of text of at most 2 MiB, to all who view PATH "events" (text/event-stream, 8
** at most). Events have numbers from 1; the last 1024, 8 MiB together, are kept for those who come
** back with the number they saw last (header Last-Event-ID, or ?after=N). Who needs older ones is
** sent the event "reload". */
pl_status pl_http_publish(pl_http *http, const char *name, const char *text, size_t size);
int64_t pl_http_events(const pl_http *http); /* number of the last event */
int64_t pl_http_viewers(pl_http *http);      /* connections that events go to now */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

/*
** lb_show.c - a tensor as text: a head with what it is, then its numbers in rows.
**
**   float32[3,4] | min -1.805 mean -0.1154 max 1.952
**     -1.8046  -1.4756  -0.1731   1.0454
**      ...
**
** Rows and columns that are too many for the terminal are cut in the middle; a tensor of three and
** more axes comes as its matrices, each under its place. Numbers share one format, chosen by those
** that are shown.
*/
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lb.h"

enum {
    MOST_ROWS = 16,
    EDGE_ROWS = 5,
    MOST_SLICES = 6,
    EDGE_SLICES = 2,
    MOST_LINES = 6, /* of a vector */
    MOST_WIDTH = 200,
    GAP = 2,              /* before a number */
    LEAST_WIDTH = 1 + GAP /* of a number with its gap */
};

/* Columns of the terminal: $COLUMNS, else what it says, else 100; 40 to 200. */
static int terminal_width(void)
{
    const char *set = getenv("COLUMNS");
    struct winsize size;
    long n = set != NULL ? strtol(set, NULL, 10) : 0;
    if (n <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) n = size.ws_col;
    if (n <= 0) n = 100;
    return n < 40 ? 40 : n > MOST_WIDTH ? MOST_WIDTH : (int)n;
}

/* ---- values ---------------------------------------------------------------------------------- */

enum { BLOCK = 256 }; /* elements of the largest block of a kept dtype */

/* Values at [at, at + n), n <= BLOCK; of a kept dtype `at` begins a block and n is whole blocks. */
static void read_values(lua_State *L, const pl_tensor *t, int64_t at, int64_t n, double *values)
{
    const void *data = pl_tensor_data(t);
    const pl_dtype dtype = pl_tensor_dtype(t);
    float kept[BLOCK];
    if (pl_dtype_kept(dtype)) {
        const char *blocks =
            (const char *)data + (size_t)(at / pl_dtype_block(dtype)) * pl_dtype_size(dtype);
        lb_check(L, pl_dequantise(lb_ctx(L), kept, dtype, blocks, n));
        for (int64_t i = 0; i < n; i++) values[i] = (double)kept[i];
    } else if (dtype == PL_F32) {
        for (int64_t i = 0; i < n; i++) values[i] = (double)((const float *)data)[at + i];
    } else if (dtype == PL_F64) {
        memcpy(values, (const double *)data + at, (size_t)n * sizeof *values);
    } else {
        for (int64_t i = 0; i < n; i++) values[i] = ((const int32_t *)data)[at + i];
    }
}

static double value_at(lua_State *L, const pl_tensor *t, int64_t i)
{
    double values[BLOCK];
    const int64_t block = pl_dtype_block(pl_tensor_dtype(t));
    read_values(L, t, i / block * block, block, values);
    return values[i % block];
}

/* ---- text ------------------------------------------------------------------------------------ */

enum { MOST_TEXT = 1 << 16 }; /* more than rows, columns and slices can make */

typedef struct {
    char *at, *end;
} text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(t->at, (size_t)(t->end - t->at), format, args);
    va_end(args);
    if (n > 0) t->at += n < t->end - t->at ? n : t->end - t->at - 1;
}

/* ---- the head -------------------------------------------------------------------------------- */

static void add_spread(lua_State *L, text *to, const pl_tensor *t)
{
    const int64_t n = pl_tensor_count(t);
    double least = INFINITY, most = -INFINITY, sum = 0, values[BLOCK];
    int64_t nans = 0, infinities = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t here = n - at < BLOCK ? n - at : BLOCK;
        lb_check_interrupt(L, lb_ctx(L));
        read_values(L, t, at, here, values);
        for (int64_t i = 0; i < here; i++) {
            const double v = values[i];
            if (isnan(v)) nans++;
            else if (isinf(v)) infinities++;
            else {
                least = v < least ? v : least;
                most = v > most ? v : most;
                sum += v;
            }
        }
    }
    const int64_t finite = n - nans - infinities;
    if (finite > 0 && n > 1)
        add(to, " | min %.4g mean %.4g max %.4g", least, sum / (double)finite, most);
    if (nans > 0) add(to, " | %lld NaN", (long long)nans);
    if (infinities > 0) add(to, "%s%lld Inf", nans > 0 ? ", " : " | ", (long long)infinities);
}

static void add_head(lua_State *L, text *to, const pl_tensor *t)
{
    const char *name = pl_tensor_name(t);
    const pl_dtype dtype = pl_tensor_dtype(t);
    add(to, "%s%s%s%s", name, name[0] != '\0' ? ": " : "", pl_dtype_name(dtype),
        lb_shape_text(L, t));
    if (pl_tensor_requires_grad(t)) add(to, " requires_grad");
    if (pl_dtype_kept(dtype)) add(to, " %lld bytes", (long long)pl_tensor_bytes(t));
}

/* ---- one format for all ---------------------------------------------------------------------- */

typedef struct {
    const char *format; /* of printf */
    int width;          /* of the longest number, and the gap before it */
} number_format;

static void number_text(const number_format *f, double v, char number[32])
{
    if (isnan(v)) strcpy(number, "nan");
    else if (isinf(v)) strcpy(number, v > 0 ? "inf" : "-inf");
    else if (f->format[2] == '0') snprintf(number, 32, "%.0f", v);
    else if (f->format[3] == 'e') snprintf(number, 32, "%.4e", v);
    else snprintf(number, 32, "%.4f", v);
}

static void add_number(text *to, const number_format *f, double v)
{
    char number[32];
    number_text(f, v, number);
    add(to, "%*s", f->width, number);
}

/* The format for these numbers: whole, with four decimals, or with an exponent when four decimals
** would be too many or too few. */
static number_format choose_format(const double *values, int64_t n)
{
    number_format f = {"%.0f", 0};
    double most = 0, least = INFINITY;
    bool whole = true;
    for (int64_t i = 0; i < n; i++) {
        const double v = fabs(values[i]);
        if (!isfinite(v)) continue;
        whole = whole && v == floor(v);
        most = v > most ? v : most;
        if (v > 0) least = v < least ? v : least;
    }
    if (!whole || most >= 1e10)
        f.format = most >= 1e5 || most < 1e-2 || least < 5e-5 ? "%.4e" : "%.4f";
    for (int64_t i = 0; i < n; i++) {
        char number[32];
        number_text(&f, values[i], number);
        const int width = (int)strlen(number) + GAP;
        f.width = width > f.width ? width : f.width;
    }
    return f;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Which of `n` places are shown: all, or the first and last `edge`. */
typedef struct {
    int64_t n, edge; /* edge 0: all */
} cut;

static int64_t shown(cut c)
{
    return c.edge == 0 ? c.n : 2 * c.edge;
}

static int64_t shown_at(cut c, int64_t k)
{
    return c.edge == 0 || k < c.edge ? k : c.n - 2 * c.edge + k;
}

static bool gap_before(cut c, int64_t k)
{
    return c.edge > 0 && k == c.edge;
}

static cut cut_at(int64_t n, int64_t most, int64_t edge)
{
    return n <= most ? (cut){n, 0} : (cut){n, edge};
}

/* As many columns as fit: all, or as many at one edge as at the other. */
static cut cut_columns(int64_t n, int width, int of_one)
{
    if (n * of_one <= width) return (cut){n, 0};
    const int64_t edge = (width - GAP - 3) / of_one / 2;
    return cut_at(n, 2 * edge, edge > 0 ? edge : 1);
}

enum { MOST_SHOWN = MOST_ROWS * MOST_WIDTH / LEAST_WIDTH };

typedef struct {
    cut rows, cols;
    number_format format;
    double values[MOST_SHOWN]; /* those shown, row by row */
} matrix;

static void fetch(lua_State *L, matrix *m, const pl_tensor *t, int64_t first)
{
    const int64_t wide = shown(m->cols);
    for (int64_t r = 0; r < shown(m->rows); r++)
        for (int64_t k = 0; k < wide; k++)
            m->values[r * wide + k] =
                value_at(L, t, first + shown_at(m->rows, r) * m->cols.n + shown_at(m->cols, k));
    m->format = choose_format(m->values, shown(m->rows) * wide);
}

/* The matrix that begins at element `first`. Which columns fit depends on the format, and that on
** the columns: fewer are tried until they fit. */
static void add_matrix(lua_State *L, text *to, const pl_tensor *t, int64_t first, cut rows,
                       int64_t columns, int width)
{
    matrix m = {.rows = rows, .cols = cut_columns(columns, width, LEAST_WIDTH)};
    fetch(L, &m, t, first);
    for (;;) {
        const cut cols = cut_columns(columns, width, m.format.width);
        if (shown(cols) >= shown(m.cols)) break;
        m.cols = cols;
        fetch(L, &m, t, first);
    }
    for (int64_t r = 0; r < shown(rows); r++) {
        add(to, gap_before(rows, r) ? "\n%*s...\n" : "\n", GAP, "");
        for (int64_t k = 0; k < shown(m.cols); k++) {
            if (gap_before(m.cols, k)) add(to, "%*s...", GAP, "");
            add_number(to, &m.format, m.values[r * shown(m.cols) + k]);
        }
    }
}

/* A vector that takes a few lines is shown whole, each line after the place it begins at. */
static bool add_lines(lua_State *L, text *to, const pl_tensor *t, int width)
{
    const int64_t n = pl_tensor_count(t);
    double values[MOST_SHOWN] = {0};
    if (n > MOST_LINES * (width / LEAST_WIDTH)) return false;
    for (int64_t i = 0; i < n; i++) values[i] = value_at(L, t, i);
    const number_format f = choose_format(values, n);
    const int label = snprintf(NULL, 0, "[%lld]", (long long)n);
    const int64_t on_line = (width - label) / f.width;
    const bool one = n * f.width <= width;
    if (!one && (on_line < 1 || n > MOST_LINES * on_line)) return false;
    for (int64_t i = 0; i < n; i++) {
        char place[32];
        snprintf(place, sizeof place, "[%lld]", (long long)i + 1);
        if (one) add(to, i == 0 ? "\n" : "%s", "");
        else if (i % on_line == 0) add(to, "\n%*s", label, place);
        add_number(to, &f, values[i]);
    }
    return true;
}

/* "[2][1]": the place of matrix k of a tensor of three or more axes. */
static void add_place(text *to, const pl_tensor *t, int64_t k)
{
    const int axes = pl_tensor_rank(t) - 2;
    int64_t place[PL_MAX_RANK];
    for (int i = axes - 1; i >= 0; i--) {
        place[i] = k % pl_tensor_shape(t)[i];
        k /= pl_tensor_shape(t)[i];
    }
    add(to, "\n");
    for (int i = 0; i < axes; i++) add(to, "[%lld]", (long long)place[i] + 1);
}

static void add_values(lua_State *L, text *to, const pl_tensor *t)
{
    const int rank = pl_tensor_rank(t), width = terminal_width();
    const int64_t *shape = pl_tensor_shape(t);
    if (rank == 1) {
        if (!add_lines(L, to, t, width))
            add_matrix(L, to, t, 0, (cut){1, 0}, pl_tensor_count(t), width);
        return;
    }
    const int64_t rows = shape[rank - 2], columns = shape[rank - 1];
    if (rank == 2) {
        add_matrix(L, to, t, 0, cut_at(rows, MOST_ROWS, EDGE_ROWS), columns, width);
        return;
    }
    const cut slices = cut_at(pl_tensor_count(t) / (rows * columns), MOST_SLICES, EDGE_SLICES);
    for (int64_t k = 0; k < shown(slices); k++) {
        if (gap_before(slices, k)) add(to, "\n...");
        add_place(to, t, shown_at(slices, k));
        add_matrix(L, to, t, shown_at(slices, k) * rows * columns,
                   cut_at(rows, MOST_ROWS / 2, EDGE_ROWS / 2), columns, width);
    }
}

/* How it was freed: the engine's words between the shape and the advice. */
static void add_freed(lua_State *L, text *to, const pl_tensor *t)
{
    pl_tensor_check(lb_ctx(L), t);
    const char *from = strstr(pl_error(lb_ctx(L)), " was freed");
    const char *end = from != NULL ? strchr(from, ';') : NULL;
    if (end != NULL) add(to, " (%.*s)", (int)(end - from) - 5, from + 5);
    else add(to, " (freed)");
}

static int tensor_tostring(lua_State *L)
{
    const pl_tensor *t = lb_check_handle(L, 1);
    char *memory = lua_newuserdatauv(L, MOST_TEXT, 0);
    text to = {memory, memory + MOST_TEXT};
    memory[0] = '\0';
    add_head(L, &to, t);
    if (pl_tensor_data(t) == NULL) add_freed(L, &to, t);
    else if (pl_tensor_count(t) == 0) add(&to, " | no elements");
    else if (pl_tensor_count(t) == 1) {
        const double value = value_at(L, t, 0);
        add(&to, pl_tensor_dtype(t) == PL_I32 ? " %.0f" : " %.7g", value);
    } else {
        add_spread(L, &to, t);
        add_values(L, &to, t);
    }
    lua_pushlstring(L, memory, (size_t)(to.at - memory));
    return 1;
}

/* After lb_open_tensor. */
void lb_open_show(lua_State *L)
{
    luaL_getmetatable(L, LB_TENSOR);
    lua_pushcfunction(L, tensor_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

/*
** view.c - ops whose result shares the memory of their input: view and reshape. Writing into one
** writes into the other.
*/
#include <stdio.h>

#include "kernels/elementwise.h"
#include "ops/geometry.h"

/* The same places in both rows. */
enum { X = VIEW_x, SHAPE = VIEW_shape, Y = VIEW_y };
PL_SAME_PLACE(RESHAPE_x, X);
PL_SAME_PLACE(RESHAPE_shape, SHAPE);
PL_SAME_PLACE(RESHAPE_y, Y);

static pl_status misfit(pl_call *c, int64_t count)
{
    const pl_param *want = &c->param[SHAPE];
    char text[PL_SHAPE_TEXT], wanted[PL_MAX_RANK * 24 + 1] = "";
    int at = 0;
    for (int i = 0; i < want->n; i++)
        at += snprintf(wanted + at, sizeof wanted - (size_t)at, i ? ",%lld" : "%lld",
                       (long long)want->list[i]);
    pl__shape_text(c->in[X], text);
    if (count < c->in[X]->count)
        return pl__op_fail(c, PL_ERR_SHAPE,
                           "x of shape %s has %lld elements from there on, too few for shape [%s]",
                           text, (long long)count, wanted);
    return pl__op_fail(c, PL_ERR_SHAPE,
                       "x of shape %s has %lld elements and cannot take shape [%s] (one axis may "
                       "be -1)",
                       text, (long long)count, wanted);
}

/* The shape wanted, its open axis filled so that it has `count` elements; false when it cannot.
** *known is the number of elements it has. */
static bool read_shape(const pl_param *want, int64_t count, int64_t *shape, int64_t *known)
{
    int open = -1;
    *known = 1;
    for (int i = 0; i < want->n; i++) {
        shape[i] = want->list[i];
        if (shape[i] == -1 && open < 0) open = i;
        else if (!pl__mul(*known, shape[i], known)) return false;
    }
    if (open < 0) return true;
    if (*known == 0 || count % *known != 0) return false;
    shape[open] = count / *known;
    *known = count;
    return true;
}

static pl_status reshape_shape(pl_call *c)
{
    int64_t shape[PL_MAX_RANK], known;
    const int64_t count = c->in[X]->count;
    if (!read_shape(&c->param[SHAPE], count, shape, &known) || known != count)
        return misfit(c, count);
    return pl__out_view(c, Y, c->in[X], 0, c->param[SHAPE].n, shape);
}

static pl_status nothing(pl_call *c)
{
    (void)c; /* a view: the elements are there */
    return PL_OK;
}

static pl_status reshape_backward(pl_call *c)
{
    const pl_tensor *dx = c->d_in[X];
    if (dx != NULL) K(put)(dx->count, pl__real(dx), c->acc[X], pl__real(c->d_out[Y]));
    return PL_OK;
}

const pl_op_impl OPI(reshape) = {reshape_shape, nothing, reshape_backward};

static pl_status view_shape(pl_call *c)
{
    int64_t shape[PL_MAX_RANK], known;
    const int64_t offset = c->param[VIEW_offset].i, count = c->in[X]->count - offset;
    if (offset < 0 || count < 0)
        return pl__op_fail(c, PL_ERR_SHAPE, "offset is %lld; 0 to %lld wanted", (long long)offset,
                           (long long)c->in[X]->count);
    if (!read_shape(&c->param[SHAPE], count, shape, &known) || known > count)
        return misfit(c, count);
    return pl__out_view(c, Y, c->in[X], offset, c->param[SHAPE].n, shape);
}

static pl_status view_backward(pl_call *c)
{
    const pl_tensor *dx = c->d_in[X], *dy = c->d_out[Y];
    if (dx == NULL) return PL_OK;
    if (!c->acc[X]) memset(pl__real(dx), 0, (size_t)dx->count * sizeof(real));
    K(put)(dy->count, pl__real(dx) + c->param[VIEW_offset].i, c->acc[X], pl__real(dy));
    return PL_OK;
}

const pl_op_impl OPI(view) = {view_shape, nothing, view_backward};

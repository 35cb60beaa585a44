/*
** table.c - the dispatch table of one variant, made from ops.def.
*/
#include "ops/op.h"

#include "kernels/train.h"
#include "kernels/sample.h"

#define OP(name, inputs, params, outputs, flags, shapes, doc) extern const pl_op_impl OPI(name);
#include "ops.def"
#undef OP

extern const pl_ops_table OPI(table_);
const pl_ops_table OPI(table_) = {
    .impl = {
#define OP(name, inputs, params, outputs, flags, shapes, doc) &OPI(name),
#include "ops.def"
#undef OP
    },
    .kernels = {
        .adamw = K(adamw),
        .ema = K(ema),
        .sum_squares = K(sum_squares),
        .scale = K(scale),
        .row_max = K(row_max),
        .logprob_row = K(logprob_row_any),
        .softmax_row = K(softmax_row_any),
    },
};

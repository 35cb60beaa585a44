/*
** eval.c - the value of an expression. Integers have 64 bits; what Python would make a longer one
** of is refused.
*/
#include "text/jinja/jinja.h"

#include <math.h>

/* Operators ----------------------------------------------------------------------------------- */

static pl_status refuse_operands(jinja_run *run, jinja_op op, jinja_value a, jinja_value b)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    for (int i = 0; i < 2; i++) {
        const jinja_value v = i == 0 ? a : b;
        if (v.kind == JINJA_UNDEFINED && v.text != NULL)
            return JINJA_FAIL(run, "'%.*s' is undefined: %s cannot be computed with it",
                              (int)(v.text->length < 60 ? v.text->length : 60), v.text->bytes,
                              names[op]);
    }
    return JINJA_FAIL(run, "%s does not go with %s and %s", names[op], pl__jinja_kind_name(a),
                      pl__jinja_kind_name(b));
}

static pl_status beyond(jinja_run *run)
{
    return JINJA_FAIL(run, "an integer beyond 64 bits");
}

static pl_status integer_power(jinja_run *run, jinja_value *out, int64_t base, int64_t exponent)
{
    int64_t n = 1;
    if (exponent < 0 && base == 0) return JINJA_FAIL(run, "division by zero");
    if (exponent < 0) {
        *out = jinja_float(pow((double)base, (double)exponent));
        return PL_OK;
    }
    if (base == 0 || base == 1) exponent = exponent > 0;
    if (base == -1) exponent &= 1;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(n, base, &n)) return beyond(run);
    *out = jinja_int(n);
    return PL_OK;
}

static pl_status on_integers(jinja_run *run, jinja_value *out, jinja_op op, int64_t a, int64_t b)
{
    int64_t n = 0;
    bool fits = true;
    if (b == 0 && (op == OP_FLOORDIV || op == OP_MOD)) return JINJA_FAIL(run, "division by zero");
    switch (op) {
    case OP_ADD: fits = !__builtin_add_overflow(a, b, &n); break;
    case OP_SUB: fits = !__builtin_sub_overflow(a, b, &n); break;
    case OP_MUL: fits = !__builtin_mul_overflow(a, b, &n); break;
    case OP_POW: return integer_power(run, out, a, b);
    case OP_FLOORDIV:
        fits = a != INT64_MIN || b != -1;
        if (fits) n = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    default: /* OP_MOD */
        n = b == -1 ? 0 : a % b;
        if (n != 0 && (n < 0) != (b < 0)) n += b;
    }
    if (!fits) return beyond(run);
    *out = jinja_int(n);
    return PL_OK;
}

static pl_status on_floats(jinja_run *run, jinja_value *out, jinja_op op, double a, double b)
{
    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD))
        return JINJA_FAIL(run, "division by zero");
    double rest = op == OP_FLOORDIV || op == OP_MOD ? fmod(a, b) : 0;
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    switch (op) {
    case OP_ADD: *out = jinja_float(a + b); break;
    case OP_SUB: *out = jinja_float(a - b); break;
    case OP_MUL: *out = jinja_float(a * b); break;
    case OP_DIV: *out = jinja_float(a / b); break;
    case OP_FLOORDIV: {
        const double whole = rint((a - rest) / b);
        *out = jinja_float(whole == 0 ? copysign(0, a / b) : whole);
        break;
    }
    case OP_MOD: *out = jinja_float(rest == 0 ? copysign(0, b) : rest); break;
    default:
        if ((a == 0 && b < 0) || (a < 0 && b != floor(b)))
            return JINJA_FAIL(run, "** gives no real number here");
        *out = jinja_float(pow(a, b));
        if (isinf(out->number) && isfinite(a) && isfinite(b))
            return JINJA_FAIL(run, "** gives a number beyond all floats");
    }
    return PL_OK;
}

static pl_status repeated(jinja_run *run, jinja_value *out, jinja_value v, int64_t n)
{
    PL_TRY(pl__jinja_step(run, n > 0 ? n : 0));
    if (v.kind == JINJA_TEXT) {
        const jinja_text *text;
        jinja_builder b = jinja_builder_of(run);
        for (; n > 0 && v.text->length > 0; n--)
            PL_TRY(pl__jinja_add_text(&b, v.text, 0, v.text->length, 0));
        PL_TRY(pl__jinja_built(&b, &text));
        *out = jinja_of_text(text);
        return PL_OK;
    }
    jinja_seq *seq;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, v.seq->flavor, 0));
    for (; n > 0; n--)
        for (int64_t i = 0; i < v.seq->count; i++)
            PL_TRY(pl__jinja_push(&run->arena, seq, v.seq->items[i]));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static bool is_list(jinja_value v)
{
    return v.kind == JINJA_SEQ && (v.seq->flavor == JINJA_LIST || v.seq->flavor == JINJA_TUPLE);
}

/* What is not arithmetic; *done says whether it was. */
static pl_status on_others(jinja_run *run, jinja_value *out, jinja_op op, jinja_value a,
                           jinja_value b, bool *done)
{
    int64_t n;
    *done = true;
    if (op == OP_ADD && a.kind == JINJA_TEXT && b.kind == JINJA_TEXT)
        return pl__jinja_join2(run, out, a.text, b.text);
    if (op == OP_ADD && is_list(a) && is_list(b) && a.seq->flavor == b.seq->flavor) {
        jinja_seq *seq;
        PL_TRY(pl__jinja_step(run, a.seq->count + b.seq->count));
        PL_TRY(pl__jinja_seq(&run->arena, &seq, a.seq->flavor, a.seq->count + b.seq->count));
        for (int64_t i = 0; i < a.seq->count + b.seq->count; i++)
            PL_TRY(pl__jinja_push(&run->arena, seq,
                                  i < a.seq->count ? a.seq->items[i]
                                                   : b.seq->items[i - a.seq->count]));
        *out = jinja_of_seq(seq);
        return PL_OK;
    }
    if (op == OP_MUL && (a.kind == JINJA_TEXT || is_list(a)) && pl__jinja_integer(b, &n))
        return repeated(run, out, a, n);
    if (op == OP_MUL && (b.kind == JINJA_TEXT || is_list(b)) && pl__jinja_integer(a, &n))
        return repeated(run, out, b, n);
    if (op == OP_MOD && a.kind == JINJA_TEXT) return pl__jinja_percent(run, out, a.text, b);
    *done = false;
    return PL_OK;
}

pl_status pl__jinja_binary(jinja_run *run, jinja_value *out, jinja_op op, jinja_value a,
                           jinja_value b)
{
    int64_t m, n;
    double x, y;
    bool done;
    if (op != OP_DIV && pl__jinja_integer(a, &m) && pl__jinja_integer(b, &n)) {
        PL_TRY(on_integers(run, out, op, m, n));
    } else if (pl__jinja_number(a, &x) && pl__jinja_number(b, &y)) {
        PL_TRY(on_floats(run, out, op, x, y));
    } else {
        PL_TRY(on_others(run, out, op, a, b, &done));
        return done ? PL_OK : refuse_operands(run, op, a, b);
    }
    out->marks = a.marks | b.marks;
    return PL_OK;
}

static pl_status compared(jinja_run *run, bool *out, jinja_op op, jinja_value a, jinja_value b)
{
    int order;
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(a)));
    switch (op) {
    case OP_EQ: *out = pl__jinja_equal(a, b); return PL_OK;
    case OP_NE: *out = !pl__jinja_equal(a, b); return PL_OK;
    case OP_IN: return pl__jinja_contains(run, b, a, out);
    case OP_NOT_IN:
        PL_TRY(pl__jinja_contains(run, b, a, out));
        *out = !*out;
        return PL_OK;
    default: break;
    }
    PL_TRY(pl__jinja_order(run, a, b, &order));
    *out = order != 2 && (op == OP_LT   ? order < 0
                          : op == OP_LE ? order <= 0
                          : op == OP_GT ? order > 0
                                        : order >= 0);
    return PL_OK;
}

/* a < b < c: each with its neighbour, up to the first that does not hold. */
static pl_status eval_comparisons(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value left, right;
    bool holds = true;
    PL_TRY(pl__jinja_eval(run, &left, node->a));
    for (int64_t i = 0; i < node->count && holds; i++) {
        PL_TRY(pl__jinja_eval(run, &right, node->list[i]->a));
        run->arena.line = node->line;
        PL_TRY(compared(run, &holds, node->list[i]->op, left, right));
        left = right;
    }
    *out = jinja_bool(holds);
    return PL_OK;
}

static pl_status eval_sign(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    int64_t n;
    PL_TRY(pl__jinja_eval(run, out, node->a));
    const bool minus = node->kind == NODE_NEGATE;
    if (out->kind == JINJA_FLOAT) {
        if (minus) out->number = -out->number;
    } else if (pl__jinja_integer(*out, &n)) {
        if (minus && n == INT64_MIN) return beyond(run);
        const uint8_t marks = out->marks;
        *out = jinja_int(minus ? -n : n);
        out->marks = marks;
    } else {
        return JINJA_FAIL(run, "a sign does not go with %s", pl__jinja_kind_name(*out));
    }
    return PL_OK;
}

/* Names and literals -------------------------------------------------------------------------- */

static pl_status eval_name(jinja_run *run, jinja_value *out, const jinja_text *name)
{
    for (const jinja_frame *frame = run->frame; frame != NULL; frame = frame->parent) {
        for (int64_t i = 0; i < frame->count; i++)
            if (pl__jinja_same(frame->entries[i].name, name)) {
                *out = frame->entries[i].value;
                return PL_OK;
            }
        PL_TRY(pl__jinja_step(run, frame->count / 8));
    }
    const jinja_value *found = pl__jinja_find_text(run->values, name->bytes, name->length);
    *out = found != NULL ? *found : jinja_undefined(name);
    if (found != NULL) return PL_OK;
    const jinja_row *row = pl__jinja_row(pl__jinja_functions, name->bytes, name->length);
    if (row == NULL) return PL_OK;
    jinja_bound *bound;
    JINJA_TAKE(&run->arena, &bound, 1);
    bound->row = row;
    *out = (jinja_value){.kind = JINJA_FUNCTION, .bound = bound};
    return PL_OK;
}

static pl_status eval_list(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_seq *seq;
    jinja_value item;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE,
                         node->count));
    for (int64_t i = 0; i < node->count; i++) {
        PL_TRY(pl__jinja_eval(run, &item, node->list[i]));
        PL_TRY(pl__jinja_push(&run->arena, seq, item));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status eval_dict(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_dict *dict;
    jinja_value key, value;
    PL_TRY(pl__jinja_dict(&run->arena, &dict, node->count / 2));
    for (int64_t i = 0; i + 1 < node->count; i += 2) {
        PL_TRY(pl__jinja_eval(run, &key, node->list[i]));
        PL_TRY(pl__jinja_eval(run, &value, node->list[i + 1]));
        PL_TRY(pl__jinja_put_key(run, dict, key, value));
    }
    *out = jinja_of_dict(dict);
    return PL_OK;
}

static pl_status eval_concat(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_builder b = jinja_builder_of(run);
    const jinja_text *text;
    jinja_value item;
    for (int64_t i = 0; i < node->count; i++) {
        PL_TRY(pl__jinja_eval(run, &item, node->list[i]));
        PL_TRY(pl__jinja_add_str(run, &b, item));
    }
    PL_TRY(pl__jinja_built(&b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

/* Slices -------------------------------------------------------------------------------------- */

/* A part of a slice: absent, none, or an integer. */
static pl_status eval_bound(jinja_run *run, const jinja_node *node, int64_t *n, bool *given)
{
    jinja_value v = jinja_none();
    if (node != NULL) PL_TRY(pl__jinja_eval(run, &v, node));
    *given = v.kind != JINJA_NONE;
    if (!*given || pl__jinja_integer(v, n)) return PL_OK;
    return JINJA_FAIL(run, "the bounds of a slice are integers, not %s", pl__jinja_kind_name(v));
}

static pl_status slice_of_text(jinja_run *run, jinja_value *out, const jinja_text *text,
                               int64_t first, int64_t n, int64_t step)
{
    jinja_value *chars;
    jinja_builder b = jinja_builder_of(run);
    const jinja_text *built;
    int64_t count;
    if (step == 1) {
        const int64_t from = pl__jinja_byte_of(text, first);
        const jinja_text rest = {.bytes = text->bytes + from, .length = text->length - from};
        return pl__jinja_part(run, out, text, from, from + pl__jinja_byte_of(&rest, n));
    }
    PL_TRY(pl__jinja_items(run, jinja_of_text(text), &chars, &count));
    for (int64_t i = 0; i < n; i++) {
        const jinja_text *c = chars[first + i * step].text;
        PL_TRY(pl__jinja_add_text(&b, c, 0, c->length, 0));
    }
    PL_TRY(pl__jinja_built(&b, &built));
    *out = jinja_of_text(built);
    return PL_OK;
}

/* What a sliced range prints. Its numbers are there already. */
static void slice_range(int64_t *out, const jinja_seq *range, const int64_t *stop, int64_t step,
                        int64_t first)
{
    int64_t last = step > 0 ? range->count : -1;
    const uint64_t by = (uint64_t)range->range[2], start = (uint64_t)range->range[0];
    if (stop != NULL) pl__jinja_slice(range->count, stop, NULL, step, &last);
    out[0] = (int64_t)(start + (uint64_t)first * by);
    out[1] = (int64_t)(start + (uint64_t)last * by);
    out[2] = (int64_t)((uint64_t)step * by);
}

static pl_status eval_slice(jinja_run *run, jinja_value *out, jinja_value v, const jinja_node *node)
{
    int64_t start = 0, stop = 0, step = 1, count, first;
    bool has_start, has_stop, has_step;
    PL_TRY(eval_bound(run, node->a, &start, &has_start));
    PL_TRY(eval_bound(run, node->b, &stop, &has_stop));
    PL_TRY(eval_bound(run, node->c, &step, &has_step));
    run->arena.line = node->line;
    if (v.kind != JINJA_TEXT &&
        (!is_list(v) && (v.kind != JINJA_SEQ || v.seq->flavor != JINJA_RANGE)))
        return JINJA_FAIL(run, "%s cannot be sliced", pl__jinja_kind_name(v));
    if (step == 0) return JINJA_FAIL(run, "a slice with a step of 0");
    PL_TRY(pl__jinja_length(run, v, &count));
    const int64_t n =
        pl__jinja_slice(count, has_start ? &start : NULL, has_stop ? &stop : NULL, step, &first);
    PL_TRY(pl__jinja_step(run, n));
    if (v.kind == JINJA_TEXT) return slice_of_text(run, out, v.text, first, n, step);
    jinja_seq *seq;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, v.seq->flavor, n));
    if (v.seq->flavor == JINJA_RANGE)
        slice_range(seq->range, v.seq, has_stop ? &stop : NULL, step, first);
    for (int64_t i = 0; i < n; i++)
        PL_TRY(pl__jinja_push(&run->arena, seq, v.seq->items[first + i * step]));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status eval_item(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value whole, key;
    PL_TRY(pl__jinja_eval(run, &whole, node->a));
    if (node->b->kind == NODE_SLICE) return eval_slice(run, out, whole, node->b);
    PL_TRY(pl__jinja_eval(run, &key, node->b));
    run->arena.line = node->line;
    return pl__jinja_item(run, out, whole, key);
}

/* Calls --------------------------------------------------------------------------------------- */

static pl_status add_more(jinja_run *run, jinja_args *out, jinja_value *list, int64_t fixed,
                          jinja_value more)
{
    jinja_value *items;
    int64_t n;
    if (more.kind == JINJA_ABSENT) return PL_OK;
    PL_TRY(pl__jinja_items(run, more, &items, &n));
    jinja_value *all;
    JINJA_TAKE(&run->arena, &all, fixed + n + 1);
    memcpy(all, list, (size_t)fixed * sizeof *all);
    if (n > 0) memcpy(all + fixed, items, (size_t)n * sizeof *all);
    out->list = all;
    out->count = fixed + n;
    return PL_OK;
}

pl_status pl__jinja_eval_args(jinja_run *run, jinja_args *out, const jinja_arguments *args)
{
    *out = (jinja_args){0};
    if (args == NULL) return PL_OK;
    jinja_value *list, *named, more = {.kind = JINJA_ABSENT}, more_named = more;
    const jinja_text **names;
    if (args->more != NULL) PL_TRY(pl__jinja_eval(run, &more, args->more));
    if (args->more_named != NULL) PL_TRY(pl__jinja_eval(run, &more_named, args->more_named));
    if (more_named.kind != JINJA_ABSENT && more_named.kind != JINJA_DICT)
        return JINJA_FAIL(run, "** wants a dict, not %s", pl__jinja_kind_name(more_named));
    const int64_t extra = more_named.kind == JINJA_DICT ? more_named.dict->count : 0;
    JINJA_TAKE(&run->arena, &list, args->count + 1);
    JINJA_TAKE(&run->arena, &named, args->n_named + extra + 1);
    JINJA_TAKE(&run->arena, &names, args->n_named + extra + 1);
    for (int64_t i = 0; i < args->count; i++) PL_TRY(pl__jinja_eval(run, &list[i], args->list[i]));
    for (int64_t i = 0; i < args->n_named; i++) {
        names[i] = args->names[i];
        PL_TRY(pl__jinja_eval(run, &named[i], args->named[i]));
    }
    for (int64_t i = 0; i < extra; i++) {
        if (more_named.dict->keys[i].kind != JINJA_TEXT)
            return JINJA_FAIL(run, "the names of arguments are texts");
        names[args->n_named + i] = more_named.dict->keys[i].text;
        named[args->n_named + i] = more_named.dict->values[i];
    }
    *out = (jinja_args){list, args->count, names, named, args->n_named + extra};
    return add_more(run, out, list, args->count, more);
}

pl_status pl__jinja_call_value(jinja_run *run, jinja_value *out, jinja_value callee,
                               const jinja_args *args)
{
    if (callee.kind == JINJA_FUNCTION)
        return callee.bound->row->call(run, out, callee.bound->self, args);
    if (callee.kind == JINJA_MACRO) return run->call_macro(run, out, callee.macro, args);
    if (callee.kind == JINJA_LOOP && args->count == 1 && args->n_named == 0)
        return run->call_loop(run, out, callee.loop, args->list[0]);
    if (callee.kind == JINJA_UNDEFINED && callee.text != NULL)
        return JINJA_FAIL(run, "'%.*s' is undefined: it cannot be called",
                          (int)(callee.text->length < 60 ? callee.text->length : 60),
                          callee.text->bytes);
    return JINJA_FAIL(run, "%s cannot be called", pl__jinja_kind_name(callee));
}

static pl_status eval_call(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value callee;
    jinja_args args;
    PL_TRY(pl__jinja_eval(run, &callee, node->a));
    PL_TRY(pl__jinja_eval_args(run, &args, node->call));
    run->arena.line = node->line;
    return pl__jinja_call_value(run, out, callee, &args);
}

/* A filter or a test. */
static pl_status eval_row(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value self;
    jinja_args args;
    PL_TRY(pl__jinja_eval(run, &self, node->a));
    PL_TRY(pl__jinja_eval_args(run, &args, node->call));
    run->arena.line = node->line;
    return node->row->call(run, out, self, &args);
}

pl_status pl__jinja_apply(jinja_run *run, jinja_value *out, const jinja_node *filter,
                          jinja_value piped)
{
    jinja_args args;
    *out = piped;
    if (filter == NULL) return PL_OK;
    PL_TRY(pl__jinja_enter(run));
    PL_TRY(pl__jinja_apply(run, &piped, filter->a, piped));
    PL_TRY(pl__jinja_eval_args(run, &args, filter->call));
    run->arena.line = filter->line;
    PL_TRY(filter->row->call(run, out, piped, &args));
    pl__jinja_leave(run);
    return PL_OK;
}

/* --------------------------------------------------------------------------------------------- */

static pl_status eval_choice(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    PL_TRY(pl__jinja_eval(run, out, node->a));
    const bool holds = pl__jinja_true(*out);
    switch (node->kind) {
    case NODE_NOT: *out = jinja_bool(!holds); return PL_OK;
    case NODE_AND: return holds ? pl__jinja_eval(run, out, node->b) : PL_OK;
    case NODE_OR: return holds ? PL_OK : pl__jinja_eval(run, out, node->b);
    default: break;
    }
    if (holds) return pl__jinja_eval(run, out, node->b);
    *out = jinja_undefined(NULL);
    return node->c != NULL ? pl__jinja_eval(run, out, node->c) : PL_OK;
}

static pl_status eval_binary(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value a, b;
    PL_TRY(pl__jinja_eval(run, &a, node->a));
    PL_TRY(pl__jinja_eval(run, &b, node->b));
    run->arena.line = node->line;
    return pl__jinja_binary(run, out, node->op, a, b);
}

static pl_status eval_attribute(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_value whole;
    PL_TRY(pl__jinja_eval(run, &whole, node->a));
    run->arena.line = node->line;
    return pl__jinja_attribute(run, out, whole, node->name);
}

static pl_status eval_node(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    switch (node->kind) {
    case NODE_CONST: *out = node->value; return PL_OK;
    case NODE_NAME: return eval_name(run, out, node->name);
    case NODE_TUPLE:
    case NODE_LIST: return eval_list(run, out, node);
    case NODE_DICT: return eval_dict(run, out, node);
    case NODE_COND:
    case NODE_AND:
    case NODE_OR:
    case NODE_NOT: return eval_choice(run, out, node);
    case NODE_COMPARE: return eval_comparisons(run, out, node);
    case NODE_BINARY: return eval_binary(run, out, node);
    case NODE_NEGATE:
    case NODE_PLUS: return eval_sign(run, out, node);
    case NODE_CONCAT: return eval_concat(run, out, node);
    case NODE_ATTR: return eval_attribute(run, out, node);
    case NODE_ITEM: return eval_item(run, out, node);
    case NODE_CALL: return eval_call(run, out, node);
    case NODE_FILTER:
    case NODE_TEST: return eval_row(run, out, node);
    default: return JINJA_FAIL(run, "no expression stands here");
    }
}

pl_status pl__jinja_eval(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    run->arena.line = node->line;
    PL_TRY(pl__jinja_enter(run));
    PL_TRY(eval_node(run, out, node));
    pl__jinja_leave(run);
    return PL_OK;
}

/*
** parse_expression.c - expressions of a template, from the loosest bond to the tightest:
**
**   a if b else c · or · and · not · == != < > in, chained · + - · ~ · * / // % · ** · -a +a · a.b
**   a[b] a(b) · a|filter, a is test
*/
#include "text/jinja/jinja.h"

#define MOST_NESTED 120

static bool is_operator(const jinja_parser *p, const char *text)
{
    return pl__jinja_is(p->at, TOKEN_OPERATOR, text);
}

static bool skip_operator(jinja_parser *p, const char *text)
{
    return pl__jinja_skip(p, TOKEN_OPERATOR, text);
}

static pl_status two(jinja_parser *p, jinja_node **out, jinja_node_kind kind, jinja_node *a,
                     jinja_node *b)
{
    PL_TRY(pl__jinja_node(p, out, kind));
    (*out)->a = a;
    (*out)->b = b;
    (*out)->line = a->line;
    return PL_OK;
}

/* Literals ------------------------------------------------------------------------------------ */

static pl_status take_items(jinja_parser *p, jinja_node *node, const char *end, bool pairs)
{
    jinja_node *item;
    while (!is_operator(p, end)) {
        if (node->count > 0) PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ","));
        if (is_operator(p, end)) break;
        PL_TRY(pl__jinja_expression(p, &item, true));
        PL_TRY(pl__jinja_append(p, &node->list, &node->count, item));
        if (!pairs) continue;
        PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ":"));
        PL_TRY(pl__jinja_expression(p, &item, true));
        PL_TRY(pl__jinja_append(p, &node->list, &node->count, item));
    }
    return pl__jinja_expect(p, TOKEN_OPERATOR, end);
}

/* Neighbouring strings are one. */
static pl_status take_strings(jinja_parser *p, jinja_node **out)
{
    int64_t length = 0, n = 0;
    PL_TRY(pl__jinja_node(p, out, NODE_CONST));
    for (n = 0; p->at[n].kind == TOKEN_STRING; n++) length += p->at[n].length;
    char *bytes;
    JINJA_TAKE(p->arena, &bytes, length + 1);
    jinja_text *text;
    JINJA_TAKE(p->arena, &text, 1);
    text->bytes = bytes;
    for (; p->at->kind == TOKEN_STRING; p->at++) {
        memcpy(bytes + text->length, p->at->text, (size_t)p->at->length);
        text->length += p->at->length;
    }
    (*out)->value = jinja_of_text(text);
    return PL_OK;
}

static pl_status take_constant(jinja_parser *p, jinja_node **out, jinja_value value)
{
    PL_TRY(pl__jinja_node(p, out, NODE_CONST));
    (*out)->value = value;
    p->at++;
    return PL_OK;
}

static pl_status take_name(jinja_parser *p, jinja_node **out, bool spaced)
{
    static const struct {
        const char *name;
        jinja_value value;
    } constants[] = {{"true", {.kind = JINJA_BOOL, .flag = true}},
                     {"True", {.kind = JINJA_BOOL, .flag = true}},
                     {"false", {.kind = JINJA_BOOL}},
                     {"False", {.kind = JINJA_BOOL}},
                     {"none", {.kind = JINJA_NONE}},
                     {"None", {.kind = JINJA_NONE}}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (pl__jinja_is(p->at, TOKEN_NAME, constants[i].name))
            return take_constant(p, out, constants[i].value);
    PL_TRY(pl__jinja_node(p, out, NODE_NAME));
    PL_TRY(pl__jinja_name(p, &(*out)->name));
    if (spaced && skip_operator(p, ".")) {
        (*out)->kind = NODE_SPACED;
        return pl__jinja_name(p, &(*out)->text);
    }
    if (p->macro != NULL) {
        p->macro->varargs |= pl__jinja_is_text((*out)->name, "varargs");
        p->macro->kwargs |= pl__jinja_is_text((*out)->name, "kwargs");
        p->macro->caller |= pl__jinja_is_text((*out)->name, "caller");
    }
    return PL_OK;
}

static pl_status take_tuple(jinja_parser *p, jinja_node **out, bool simple, bool with_condition,
                            bool spaced, bool bracketed, const char *end);

static pl_status take_primary(jinja_parser *p, jinja_node **out, bool spaced)
{
    switch (p->at->kind) {
    case TOKEN_NAME: return take_name(p, out, spaced);
    case TOKEN_STRING: return take_strings(p, out);
    case TOKEN_INTEGER: return take_constant(p, out, jinja_int(p->at->integer));
    case TOKEN_FLOAT: return take_constant(p, out, jinja_float(p->at->number));
    default: break;
    }
    if (skip_operator(p, "(")) {
        PL_TRY(take_tuple(p, out, false, true, false, true, NULL));
        return pl__jinja_expect(p, TOKEN_OPERATOR, ")");
    }
    if (is_operator(p, "[") || is_operator(p, "{")) {
        const bool is_list = is_operator(p, "[");
        PL_TRY(pl__jinja_node(p, out, is_list ? NODE_LIST : NODE_DICT));
        p->at++;
        return take_items(p, *out, is_list ? "]" : "}", !is_list);
    }
    return pl__jinja_wrong(p, "an expression");
}

/* Calls, attributes, items, filters, tests ---------------------------------------------------- */

static pl_status append_name(jinja_parser *p, jinja_arguments *args, const jinja_text *name)
{
    const jinja_text **names;
    JINJA_TAKE(p->arena, &names, args->n_named + 1);
    if (args->n_named > 0) memcpy(names, args->names, (size_t)args->n_named * sizeof *names);
    names[args->n_named] = name;
    args->names = names;
    return PL_OK;
}

static pl_status take_argument(jinja_parser *p, jinja_arguments *args)
{
    jinja_node *value;
    const jinja_text *name;
    if (is_operator(p, "*") && args->more == NULL && args->more_named == NULL) {
        p->at++;
        return pl__jinja_expression(p, &args->more, true);
    }
    if (is_operator(p, "**") && args->more_named == NULL) {
        p->at++;
        return pl__jinja_expression(p, &args->more_named, true);
    }
    if (p->at->kind == TOKEN_NAME && pl__jinja_is(p->at + 1, TOKEN_OPERATOR, "=")) {
        if (args->more_named != NULL) return pl__jinja_wrong(p, "')' behind **");
        PL_TRY(pl__jinja_name(p, &name));
        p->at++;
        PL_TRY(pl__jinja_expression(p, &value, true));
        PL_TRY(append_name(p, args, name));
        return pl__jinja_append(p, &args->named, &args->n_named, value);
    }
    if (args->n_named > 0 || args->more != NULL || args->more_named != NULL)
        return pl__jinja_wrong(p, "a named argument behind named ones");
    PL_TRY(pl__jinja_expression(p, &value, true));
    return pl__jinja_append(p, &args->list, &args->count, value);
}

/* "(" to ")". */
static pl_status take_arguments(jinja_parser *p, jinja_arguments **out)
{
    bool comma = false;
    JINJA_TAKE(p->arena, out, 1);
    PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, "("));
    while (!is_operator(p, ")")) {
        if (comma) PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ","));
        if (is_operator(p, ")")) break;
        PL_TRY(take_argument(p, *out));
        comma = true;
    }
    return pl__jinja_expect(p, TOKEN_OPERATOR, ")");
}

static pl_status take_call(jinja_parser *p, jinja_node **out, jinja_node *callee)
{
    PL_TRY(two(p, out, NODE_CALL, callee, NULL));
    (*out)->line = p->at->line;
    return take_arguments(p, &(*out)->call);
}

/* What stands in [ ]: an expression, or a:b:c. */
static pl_status take_subscript(jinja_parser *p, jinja_node **out)
{
    jinja_node *first = NULL, **parts[2];
    if (!is_operator(p, ":")) {
        PL_TRY(pl__jinja_expression(p, &first, true));
        if (!is_operator(p, ":")) {
            *out = first;
            return PL_OK;
        }
    }
    PL_TRY(pl__jinja_node(p, out, NODE_SLICE));
    (*out)->a = first;
    parts[0] = &(*out)->b;
    parts[1] = &(*out)->c;
    for (int i = 0; i < 2 && skip_operator(p, ":"); i++)
        if (!is_operator(p, ":") && !is_operator(p, "]") && !is_operator(p, ","))
            PL_TRY(pl__jinja_expression(p, parts[i], true));
    return PL_OK;
}

static pl_status take_item(jinja_parser *p, jinja_node **out, jinja_node *whole)
{
    jinja_node *key, *keys = NULL;
    PL_TRY(take_subscript(p, &key));
    while (skip_operator(p, ",")) {
        if (keys == NULL) {
            PL_TRY(pl__jinja_node(p, &keys, NODE_TUPLE));
            PL_TRY(pl__jinja_append(p, &keys->list, &keys->count, key));
        }
        PL_TRY(take_subscript(p, &key));
        PL_TRY(pl__jinja_append(p, &keys->list, &keys->count, key));
    }
    for (int64_t i = 0; keys != NULL && i < keys->count; i++)
        if (keys->list[i]->kind == NODE_SLICE) return pl__jinja_wrong(p, "one slice alone in [ ]");
    PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, "]"));
    return two(p, out, NODE_ITEM, whole, keys != NULL ? keys : key);
}

static pl_status take_attribute(jinja_parser *p, jinja_node **out, jinja_node *whole)
{
    jinja_node *key;
    if (p->at->kind == TOKEN_INTEGER) {
        PL_TRY(take_constant(p, &key, jinja_int(p->at->integer)));
        return two(p, out, NODE_ITEM, whole, key);
    }
    PL_TRY(two(p, out, NODE_ATTR, whole, NULL));
    return pl__jinja_name(p, &(*out)->name);
}

static pl_status take_postfix(jinja_parser *p, jinja_node **node)
{
    for (;;) {
        if (skip_operator(p, ".")) PL_TRY(take_attribute(p, node, *node));
        else if (skip_operator(p, "[")) PL_TRY(take_item(p, node, *node));
        else if (is_operator(p, "(")) PL_TRY(take_call(p, node, *node));
        else return PL_OK;
    }
}

/* The row of a filter's or test's name. */
static pl_status take_row(jinja_parser *p, const jinja_row **out, const jinja_row *const *tables,
                          const char *what)
{
    if (p->at->kind != TOKEN_NAME) return pl__jinja_wrong(p, what);
    *out = jinja_row_of(tables, p->at->text, p->at->length);
    if (*out == NULL) {
        p->arena->line = p->at->line;
        return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "there is no %s '%.*s' here",
                              tables == p->tests ? "test" : "filter",
                              (int)(p->at->length < 40 ? p->at->length : 40), p->at->text);
    }
    p->at++;
    return PL_OK;
}

pl_status pl__jinja_filter_chain(jinja_parser *p, jinja_node **out, jinja_node *piped, bool inlined)
{
    *out = piped;
    while (inlined || skip_operator(p, "|")) {
        jinja_node *node;
        PL_TRY(pl__jinja_node(p, &node, NODE_FILTER));
        node->a = *out;
        PL_TRY(take_row(p, &node->row, p->filters, "the name of a filter"));
        if (is_operator(p, "(")) PL_TRY(take_arguments(p, &node->call));
        *out = node;
        inlined = false;
    }
    return PL_OK;
}

static bool begins_argument(const jinja_token *t)
{
    if (t->kind == TOKEN_NAME)
        return !pl__jinja_is(t, TOKEN_NAME, "else") && !pl__jinja_is(t, TOKEN_NAME, "or") &&
               !pl__jinja_is(t, TOKEN_NAME, "and");
    return t->kind == TOKEN_STRING || t->kind == TOKEN_INTEGER || t->kind == TOKEN_FLOAT ||
           pl__jinja_is(t, TOKEN_OPERATOR, "[") || pl__jinja_is(t, TOKEN_OPERATOR, "{");
}

static pl_status take_test(jinja_parser *p, jinja_node **out, jinja_node *tested)
{
    const bool negated = pl__jinja_skip(p, TOKEN_NAME, "not");
    PL_TRY(two(p, out, NODE_TEST, tested, NULL));
    PL_TRY(take_row(p, &(*out)->row, p->tests, "the name of a test"));
    if (is_operator(p, "(")) {
        PL_TRY(take_arguments(p, &(*out)->call));
    } else if (begins_argument(p->at)) {
        jinja_node *argument;
        if (pl__jinja_is(p->at, TOKEN_NAME, "is"))
            return pl__jinja_wrong(p, "one test with `is` alone");
        PL_TRY(take_primary(p, &argument, false));
        PL_TRY(take_postfix(p, &argument));
        JINJA_TAKE(p->arena, &(*out)->call, 1);
        PL_TRY(pl__jinja_append(p, &(*out)->call->list, &(*out)->call->count, argument));
    }
    return negated ? two(p, out, NODE_NOT, *out, NULL) : PL_OK;
}

static pl_status take_filters(jinja_parser *p, jinja_node **node)
{
    for (;;) {
        if (is_operator(p, "|")) PL_TRY(pl__jinja_filter_chain(p, node, *node, false));
        else if (pl__jinja_skip(p, TOKEN_NAME, "is")) PL_TRY(take_test(p, node, *node));
        else if (is_operator(p, "(")) PL_TRY(take_call(p, node, *node));
        else return PL_OK;
    }
}

/* Operators ----------------------------------------------------------------------------------- */

static pl_status deeper(jinja_parser *p)
{
    if (p->depth++ < MOST_NESTED) return PL_OK;
    p->arena->line = p->at->line;
    return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "more than %d levels of nesting", MOST_NESTED);
}

static pl_status take_unary(jinja_parser *p, jinja_node **out, bool with_filters)
{
    PL_TRY(deeper(p));
    if (is_operator(p, "-") || is_operator(p, "+")) {
        jinja_node *a;
        PL_TRY(pl__jinja_node(p, out, is_operator(p, "-") ? NODE_NEGATE : NODE_PLUS));
        p->at++;
        PL_TRY(take_unary(p, &a, false));
        (*out)->a = a;
    } else {
        PL_TRY(take_primary(p, out, false));
    }
    PL_TRY(take_postfix(p, out));
    p->depth--;
    return with_filters ? take_filters(p, out) : PL_OK;
}

typedef struct {
    const char *text;
    jinja_op op;
} op_name;

static pl_status binary(jinja_parser *p, jinja_node **left, jinja_op op, jinja_node *right)
{
    PL_TRY(two(p, left, NODE_BINARY, *left, right));
    (*left)->op = op;
    return PL_OK;
}

static const op_name *operator_of(const jinja_parser *p, const op_name *names)
{
    for (; names->text != NULL; names++)
        if (is_operator(p, names->text)) return names;
    return NULL;
}

static pl_status take_power(jinja_parser *p, jinja_node **out)
{
    jinja_node *right;
    PL_TRY(take_unary(p, out, true));
    while (skip_operator(p, "**")) {
        PL_TRY(take_unary(p, &right, true));
        PL_TRY(binary(p, out, OP_POW, right));
    }
    return PL_OK;
}

static pl_status take_product(jinja_parser *p, jinja_node **out)
{
    static const op_name names[] = {
        {"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}, {NULL, OP_MUL}};
    jinja_node *right;
    const op_name *found;
    PL_TRY(take_power(p, out));
    while ((found = operator_of(p, names)) != NULL) {
        p->at++;
        PL_TRY(take_power(p, &right));
        PL_TRY(binary(p, out, found->op, right));
    }
    return PL_OK;
}

static pl_status take_concat(jinja_parser *p, jinja_node **out)
{
    jinja_node *part, *all = NULL;
    PL_TRY(take_product(p, out));
    while (skip_operator(p, "~")) {
        if (all == NULL) {
            PL_TRY(pl__jinja_node(p, &all, NODE_CONCAT));
            PL_TRY(pl__jinja_append(p, &all->list, &all->count, *out));
            *out = all;
        }
        PL_TRY(take_product(p, &part));
        PL_TRY(pl__jinja_append(p, &all->list, &all->count, part));
    }
    return PL_OK;
}

static pl_status take_sum(jinja_parser *p, jinja_node **out)
{
    static const op_name names[] = {{"+", OP_ADD}, {"-", OP_SUB}, {NULL, OP_ADD}};
    jinja_node *right;
    const op_name *found;
    PL_TRY(take_concat(p, out));
    while ((found = operator_of(p, names)) != NULL) {
        p->at++;
        PL_TRY(take_concat(p, &right));
        PL_TRY(binary(p, out, found->op, right));
    }
    return PL_OK;
}

/* The comparison that stands here, and past it; false: none does. */
static bool take_comparison(jinja_parser *p, jinja_op *op)
{
    static const op_name names[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE},
                                    {">", OP_GT},  {">=", OP_GE}, {NULL, OP_EQ}};
    const op_name *found = operator_of(p, names);
    if (found != NULL) {
        p->at++;
        *op = found->op;
        return true;
    }
    if (pl__jinja_skip(p, TOKEN_NAME, "in")) {
        *op = OP_IN;
        return true;
    }
    if (!pl__jinja_is(p->at, TOKEN_NAME, "not") || !pl__jinja_is(p->at + 1, TOKEN_NAME, "in"))
        return false;
    p->at += 2;
    *op = OP_NOT_IN;
    return true;
}

static pl_status take_comparisons(jinja_parser *p, jinja_node **out)
{
    jinja_node *all = NULL, *operand, *right;
    jinja_op op;
    PL_TRY(take_sum(p, out));
    while (take_comparison(p, &op)) {
        if (all == NULL) {
            PL_TRY(two(p, &all, NODE_COMPARE, *out, NULL));
            *out = all;
        }
        PL_TRY(pl__jinja_node(p, &operand, NODE_OPERAND));
        PL_TRY(take_sum(p, &right));
        operand->op = op;
        operand->a = right;
        PL_TRY(pl__jinja_append(p, &all->list, &all->count, operand));
    }
    return PL_OK;
}

static pl_status take_not(jinja_parser *p, jinja_node **out)
{
    jinja_node *first = NULL, **hole = out;
    while (pl__jinja_is(p->at, TOKEN_NAME, "not")) {
        PL_TRY(deeper(p));
        PL_TRY(pl__jinja_node(p, hole, NODE_NOT));
        if (first == NULL) first = *hole;
        hole = &(*hole)->a;
        p->at++;
    }
    PL_TRY(take_comparisons(p, hole));
    for (const jinja_node *n = first; n != NULL && n != *hole; n = n->a) p->depth--;
    return PL_OK;
}

static pl_status take_and(jinja_parser *p, jinja_node **out)
{
    jinja_node *right;
    PL_TRY(take_not(p, out));
    while (pl__jinja_skip(p, TOKEN_NAME, "and")) {
        PL_TRY(take_not(p, &right));
        PL_TRY(two(p, out, NODE_AND, *out, right));
    }
    return PL_OK;
}

static pl_status take_or(jinja_parser *p, jinja_node **out)
{
    jinja_node *right;
    PL_TRY(take_and(p, out));
    while (pl__jinja_skip(p, TOKEN_NAME, "or")) {
        PL_TRY(take_and(p, &right));
        PL_TRY(two(p, out, NODE_OR, *out, right));
    }
    return PL_OK;
}

pl_status pl__jinja_expression(jinja_parser *p, jinja_node **out, bool with_condition)
{
    PL_TRY(deeper(p));
    PL_TRY(take_or(p, out));
    while (with_condition && pl__jinja_skip(p, TOKEN_NAME, "if")) {
        jinja_node *test, *otherwise = NULL;
        PL_TRY(take_or(p, &test));
        if (pl__jinja_skip(p, TOKEN_NAME, "else"))
            PL_TRY(pl__jinja_expression(p, &otherwise, true));
        PL_TRY(two(p, out, NODE_COND, *out, NULL));
        (*out)->b = (*out)->a;
        (*out)->a = test;
        (*out)->c = otherwise;
    }
    p->depth--;
    return PL_OK;
}

static bool ends_tuple(const jinja_parser *p, const char *end)
{
    return p->at->kind == TOKEN_VARIABLE_END || p->at->kind == TOKEN_BLOCK_END ||
           is_operator(p, ")") || (end != NULL && pl__jinja_is(p->at, TOKEN_NAME, end));
}

static pl_status take_tuple(jinja_parser *p, jinja_node **out, bool simple, bool with_condition,
                            bool spaced, bool bracketed, const char *end)
{
    jinja_node *all, *item;
    bool is_tuple = false;
    PL_TRY(deeper(p));
    PL_TRY(pl__jinja_node(p, &all, NODE_TUPLE));
    while (!ends_tuple(p, end)) {
        if (simple) PL_TRY(take_primary(p, &item, spaced));
        else PL_TRY(pl__jinja_expression(p, &item, with_condition));
        PL_TRY(pl__jinja_append(p, &all->list, &all->count, item));
        if (!skip_operator(p, ",")) break;
        is_tuple = true;
    }
    if (all->count == 0 && !bracketed) return pl__jinja_wrong(p, "an expression");
    *out = is_tuple || all->count == 0 ? all : all->list[0];
    p->depth--;
    return PL_OK;
}

pl_status pl__jinja_tuple(jinja_parser *p, jinja_node **out, bool with_condition, const char *end)
{
    return take_tuple(p, out, false, with_condition, false, false, end);
}

static pl_status check_target(jinja_parser *p, const jinja_node *node)
{
    for (int64_t i = 0; node->kind == NODE_TUPLE && i < node->count; i++)
        PL_TRY(check_target(p, node->list[i]));
    if (node->kind == NODE_TUPLE || node->kind == NODE_NAME || node->kind == NODE_SPACED)
        return PL_OK;
    p->arena->line = node->line;
    return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "what stands here cannot be assigned to");
}

pl_status pl__jinja_target(jinja_parser *p, jinja_node **out, bool spaced, const char *end)
{
    PL_TRY(take_tuple(p, out, true, false, spaced, false, end));
    return check_target(p, *out);
}

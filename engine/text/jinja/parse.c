/*
** parse.c - statements of a template. What would reach out of it (include, import, extends) or
** needs others (block) is refused in words.
*/
#include "text/jinja/jinja.h"

#define MOST_BLOCKS 60

static pl_status wrong(jinja_parser *p, int line, const char *text)
{
    p->arena->line = line;
    return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "%s", text);
}

static bool is_name(const jinja_parser *p, const char *name)
{
    return pl__jinja_is(p->at, TOKEN_NAME, name);
}

static bool skip_name(jinja_parser *p, const char *name)
{
    return pl__jinja_skip(p, TOKEN_NAME, name);
}

static pl_status statements(jinja_parser *p, jinja_node ***list, int64_t *count,
                            const char *const *ends);

/* "%}", statements up to one of `ends`, which stays. */
static pl_status take_body(jinja_parser *p, jinja_node *node, const char *const *ends)
{
    pl__jinja_skip(p, TOKEN_OPERATOR, ":");
    PL_TRY(pl__jinja_expect(p, TOKEN_BLOCK_END, NULL));
    return statements(p, &node->list, &node->count, ends);
}

/* The same, with the end. */
static pl_status take_whole(jinja_parser *p, jinja_node *node, const char *end)
{
    const char *const ends[] = {end, NULL};
    PL_TRY(take_body(p, node, ends));
    return pl__jinja_expect(p, TOKEN_NAME, end);
}

static pl_status take_for(jinja_parser *p, jinja_node **out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    PL_TRY(pl__jinja_node(p, out, NODE_FOR));
    PL_TRY(pl__jinja_target(p, &(*out)->a, false, "in"));
    PL_TRY(pl__jinja_expect(p, TOKEN_NAME, "in"));
    PL_TRY(pl__jinja_tuple(p, &(*out)->b, false, "recursive"));
    if (skip_name(p, "if")) PL_TRY(pl__jinja_expression(p, &(*out)->c, true));
    (*out)->flag = skip_name(p, "recursive");
    p->loops++;
    PL_TRY(take_body(p, *out, ends));
    p->loops--;
    if (skip_name(p, "endfor")) return PL_OK;
    jinja_node otherwise = {0};
    p->at++;
    PL_TRY(take_whole(p, &otherwise, "endfor"));
    (*out)->other = otherwise.list;
    (*out)->n_other = otherwise.count;
    return PL_OK;
}

static pl_status take_if(jinja_parser *p, jinja_node **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    jinja_node *branch;
    PL_TRY(pl__jinja_node(p, out, NODE_IF));
    for (;;) {
        PL_TRY(pl__jinja_node(p, &branch, NODE_BRANCH));
        PL_TRY(pl__jinja_tuple(p, &branch->a, false, NULL));
        PL_TRY(take_body(p, branch, ends));
        PL_TRY(pl__jinja_append(p, &(*out)->list, &(*out)->count, branch));
        if (skip_name(p, "endif")) return PL_OK;
        if (skip_name(p, "elif")) continue;
        p->at++;
        PL_TRY(pl__jinja_node(p, &branch, NODE_BRANCH));
        PL_TRY(take_whole(p, branch, "endif"));
        return pl__jinja_append(p, &(*out)->list, &(*out)->count, branch);
    }
}

static pl_status take_set(jinja_parser *p, jinja_node **out)
{
    PL_TRY(pl__jinja_node(p, out, NODE_SET));
    PL_TRY(pl__jinja_target(p, &(*out)->a, true, NULL));
    if (pl__jinja_skip(p, TOKEN_OPERATOR, "=")) return pl__jinja_tuple(p, &(*out)->b, true, NULL);
    (*out)->kind = NODE_SET_BLOCK;
    PL_TRY(pl__jinja_filter_chain(p, &(*out)->b, NULL, false));
    return take_whole(p, *out, "endset");
}

static pl_status take_signature(jinja_parser *p, jinja_signature *signature)
{
    const jinja_text *names[64];
    jinja_node *defaults[64] = {NULL};
    PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, "("));
    while (!pl__jinja_skip(p, TOKEN_OPERATOR, ")")) {
        const int64_t n = signature->count;
        if (n == 64) return wrong(p, p->at->line, "more than 64 parameters");
        if (n > 0) PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ","));
        PL_TRY(pl__jinja_name(p, &names[n]));
        if (pl__jinja_skip(p, TOKEN_OPERATOR, "="))
            PL_TRY(pl__jinja_expression(p, &defaults[n], true));
        else if (n > 0 && defaults[n - 1] != NULL)
            return wrong(p, p->at->line, "a parameter without a default behind one that has it");
        signature->count++;
    }
    if (signature->count == 0) return PL_OK;
    JINJA_TAKE(p->arena, &signature->names, signature->count);
    JINJA_TAKE(p->arena, &signature->defaults, signature->count);
    memcpy(signature->names, names, (size_t)signature->count * sizeof *names);
    memcpy(signature->defaults, defaults, (size_t)signature->count * sizeof *defaults);
    return PL_OK;
}

/* The body of a macro or of what is handed to one: it is called, so break does not reach out. */
static pl_status take_called(jinja_parser *p, jinja_node *node, const char *end)
{
    jinja_signature *outer = p->macro;
    const int loops = p->loops;
    p->macro = node->signature;
    p->loops = 0;
    PL_TRY(take_whole(p, node, end));
    p->macro = outer;
    p->loops = loops;
    if (outer != NULL) { /* what is read inside is read by the outer one as well */
        outer->varargs |= node->signature->varargs;
        outer->kwargs |= node->signature->kwargs;
        outer->caller |= node->signature->caller;
    }
    return PL_OK;
}

static pl_status take_macro(jinja_parser *p, jinja_node **out)
{
    PL_TRY(pl__jinja_node(p, out, NODE_MACRO));
    JINJA_TAKE(p->arena, &(*out)->signature, 1);
    PL_TRY(pl__jinja_name(p, &(*out)->name));
    PL_TRY(take_signature(p, (*out)->signature));
    return take_called(p, *out, "endmacro");
}

static pl_status take_call_block(jinja_parser *p, jinja_node **out)
{
    static const jinja_text caller = {.bytes = "caller", .length = 6};
    PL_TRY(pl__jinja_node(p, out, NODE_CALL_BLOCK));
    (*out)->name = &caller;
    JINJA_TAKE(p->arena, &(*out)->signature, 1);
    if (pl__jinja_is(p->at, TOKEN_OPERATOR, "(")) PL_TRY(take_signature(p, (*out)->signature));
    PL_TRY(pl__jinja_expression(p, &(*out)->a, true));
    if ((*out)->a->kind != NODE_CALL)
        return wrong(p, (*out)->line, "`call` wants the call of a macro");
    return take_called(p, *out, "endcall");
}

static pl_status take_generation(jinja_parser *p, jinja_node **out)
{
    p->generation = true;
    PL_TRY(pl__jinja_node(p, out, NODE_GENERATION));
    JINJA_TAKE(p->arena, &(*out)->signature, 1);
    return take_called(p, *out, "endgeneration");
}

static pl_status take_filtered(jinja_parser *p, jinja_node **out)
{
    PL_TRY(pl__jinja_node(p, out, NODE_FILTERED));
    PL_TRY(pl__jinja_filter_chain(p, &(*out)->a, NULL, true));
    return take_whole(p, *out, "endfilter");
}

static pl_status take_with(jinja_parser *p, jinja_node **out)
{
    jinja_node *item;
    PL_TRY(pl__jinja_node(p, out, NODE_WITH));
    while (p->at->kind != TOKEN_BLOCK_END) {
        if ((*out)->n_other > 0) PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ","));
        PL_TRY(pl__jinja_target(p, &item, false, NULL));
        PL_TRY(pl__jinja_append(p, &(*out)->other, &(*out)->n_other, item));
        PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, "="));
        PL_TRY(pl__jinja_expression(p, &item, true));
        PL_TRY(pl__jinja_append(p, &(*out)->other, &(*out)->n_other, item));
    }
    return take_whole(p, *out, "endwith");
}

static pl_status take_print(jinja_parser *p, jinja_node **out)
{
    jinja_node *item;
    PL_TRY(pl__jinja_node(p, out, NODE_PRINT));
    while (p->at->kind != TOKEN_BLOCK_END) {
        if ((*out)->count > 0) PL_TRY(pl__jinja_expect(p, TOKEN_OPERATOR, ","));
        PL_TRY(pl__jinja_expression(p, &item, true));
        PL_TRY(pl__jinja_append(p, &(*out)->list, &(*out)->count, item));
    }
    return PL_OK;
}

static pl_status take_jump(jinja_parser *p, jinja_node **out, jinja_node_kind kind)
{
    if (p->loops == 0) return wrong(p, p->at->line, "break and continue stand in a loop");
    return pl__jinja_node(p, out, kind);
}

static pl_status refuse_tag(jinja_parser *p, const jinja_token *tag)
{
    static const char *const outside[] = {"include", "import", "from", "extends"};
    p->arena->line = tag->line;
    const int shown = (int)(tag->length < 40 ? tag->length : 40);
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        if (pl__jinja_is(tag, TOKEN_NAME, outside[i]))
            return pl__jinja_fail(
                p->arena, PL_ERR_FORMAT,
                "'%.*s' would read another template: a chat template stands alone", shown,
                tag->text);
    return pl__jinja_fail(p->arena, PL_ERR_FORMAT,
                          "'%.*s' does not stand here, or is not known here", shown, tag->text);
}

static pl_status take_statement(jinja_parser *p, jinja_node **out)
{
    static const struct {
        const char *name;
        pl_status (*take)(jinja_parser *p, jinja_node **out);
    } kinds[] = {
        {"for", take_for},         {"if", take_if},           {"set", take_set},
        {"macro", take_macro},     {"call", take_call_block}, {"generation", take_generation},
        {"filter", take_filtered}, {"with", take_with},       {"print", take_print}};
    const jinja_token *tag = p->at;
    if (tag->kind != TOKEN_NAME) return wrong(p, tag->line, "the name of a statement wanted");
    p->at++;
    if (pl__jinja_is(tag, TOKEN_NAME, "break")) return take_jump(p, out, NODE_BREAK);
    if (pl__jinja_is(tag, TOKEN_NAME, "continue")) return take_jump(p, out, NODE_CONTINUE);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (pl__jinja_is(tag, TOKEN_NAME, kinds[i].name)) {
            PL_TRY(kinds[i].take(p, out));
            (*out)->line = tag->line;
            return PL_OK;
        }
    return refuse_tag(p, tag);
}

static pl_status take_printed(jinja_parser *p, jinja_node **out)
{
    jinja_node *item;
    PL_TRY(pl__jinja_node(p, out, NODE_PRINT));
    PL_TRY(pl__jinja_tuple(p, &item, true, NULL));
    PL_TRY(pl__jinja_append(p, &(*out)->list, &(*out)->count, item));
    return pl__jinja_expect(p, TOKEN_VARIABLE_END, NULL);
}

static pl_status take_data(jinja_parser *p, jinja_node **out)
{
    jinja_text *text;
    PL_TRY(pl__jinja_node(p, out, NODE_DATA));
    JINJA_TAKE(p->arena, &text, 1);
    text->bytes = p->at->text;
    text->length = p->at->length;
    (*out)->text = text;
    p->at++;
    return PL_OK;
}

/* Up to "{% END" of one of `ends`, which stays; to the template's end where `ends` is NULL. */
static pl_status statements(jinja_parser *p, jinja_node ***list, int64_t *count,
                            const char *const *ends)
{
    jinja_node *node;
    const int line = p->at->line;
    if (++p->depth > MOST_BLOCKS) return wrong(p, line, "blocks are nested too deep");
    for (;;) {
        if (p->at->kind == TOKEN_END) {
            if (ends == NULL) return PL_OK;
            p->arena->line = line;
            return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "the block that begins here has no '%s'",
                                  ends[0]);
        }
        if (p->at->kind == TOKEN_DATA) {
            PL_TRY(take_data(p, &node));
        } else if (pl__jinja_skip(p, TOKEN_VARIABLE, NULL)) {
            PL_TRY(take_printed(p, &node));
        } else {
            PL_TRY(pl__jinja_expect(p, TOKEN_BLOCK, NULL));
            for (int i = 0; ends != NULL && ends[i] != NULL; i++)
                if (is_name(p, ends[i])) {
                    p->depth--;
                    return PL_OK;
                }
            PL_TRY(take_statement(p, &node));
            PL_TRY(pl__jinja_expect(p, TOKEN_BLOCK_END, NULL));
        }
        PL_TRY(pl__jinja_append(p, list, count, node));
    }
}

pl_status pl__jinja_parse(jinja_parser *p, jinja_node ***list, int64_t *count)
{
    *list = NULL;
    *count = 0;
    return statements(p, list, count, NULL);
}

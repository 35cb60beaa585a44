/*
** run.c - statements. `set` writes into the innermost frame: the template's, a macro's call, one
** turn of a loop, a block's body. `if` has none of its own.
*/
#include "text/jinja/jinja.h"

static const jinja_text LOOP = {.bytes = "loop", .length = 4},
                        CALLER = {.bytes = "caller", .length = 6},
                        VARARGS = {.bytes = "varargs", .length = 7},
                        KWARGS = {.bytes = "kwargs", .length = 6};

/* Frames -------------------------------------------------------------------------------------- */

static pl_status push_frame(jinja_run *run, jinja_frame *parent)
{
    jinja_frame *frame;
    JINJA_TAKE(&run->arena, &frame, 1);
    frame->parent = parent;
    run->frame = frame;
    return PL_OK;
}

pl_status pl__jinja_set(jinja_run *run, const jinja_text *name, jinja_value value)
{
    jinja_frame *frame = run->frame;
    PL_TRY(pl__jinja_step(run, frame->count / 8));
    for (int64_t i = 0; i < frame->count; i++)
        if (pl__jinja_same(frame->entries[i].name, name)) {
            frame->entries[i].value = value;
            return PL_OK;
        }
    if (frame->count == frame->room) {
        jinja_entry *entries;
        const int64_t room = frame->room * 2 + 4;
        JINJA_TAKE(&run->arena, &entries, room);
        if (frame->count > 0)
            memcpy(entries, frame->entries, (size_t)frame->count * sizeof *entries);
        frame->entries = entries;
        frame->room = room;
    }
    frame->entries[frame->count++] = (jinja_entry){name, value};
    return PL_OK;
}

static pl_status set_attribute(jinja_run *run, const jinja_node *target, jinja_value value)
{
    jinja_value space;
    const jinja_node name = {.kind = NODE_NAME, .line = target->line, .name = target->name};
    PL_TRY(pl__jinja_eval(run, &space, &name));
    if (space.kind != JINJA_NAMESPACE)
        return JINJA_FAIL(run, "'%.*s' is %s: only the attributes of a namespace can be set",
                          (int)(target->name->length < 40 ? target->name->length : 40),
                          target->name->bytes, pl__jinja_kind_name(space));
    if (target->text->bytes[0] == '_')
        return JINJA_FAIL(run, "a namespace's names do not begin with _");
    return pl__jinja_put_key(run, space.dict, jinja_of_text(target->text), value);
}

static pl_status assign(jinja_run *run, const jinja_node *target, jinja_value value)
{
    jinja_value *items;
    int64_t n;
    run->arena.line = target->line;
    if (target->kind == NODE_NAME) return pl__jinja_set(run, target->name, value);
    if (target->kind == NODE_SPACED) return set_attribute(run, target, value);
    PL_TRY(pl__jinja_items(run, value, &items, &n));
    if (n != target->count)
        return JINJA_FAIL(run, "%lld values for %lld names", (long long)n,
                          (long long)target->count);
    for (int64_t i = 0; i < n; i++) PL_TRY(assign(run, target->list[i], items[i]));
    return PL_OK;
}

/* What statements print, as a text, in a frame of their own within `parent`. */
static pl_status captured(jinja_run *run, const jinja_text **out, jinja_frame *parent,
                          jinja_node *const *list, int64_t count)
{
    jinja_builder b = jinja_builder_of(run), *outer = run->out;
    jinja_frame *frame = run->frame;
    if (parent != NULL) PL_TRY(push_frame(run, parent));
    run->out = &b;
    PL_TRY(pl__jinja_exec(run, list, count));
    run->out = outer;
    run->frame = frame;
    return pl__jinja_built(&b, out);
}

/* Loops --------------------------------------------------------------------------------------- */

/* Those for which the loop's `if` holds. */
static pl_status chosen_items(jinja_run *run, const jinja_node *node, jinja_frame *home,
                              jinja_value **items, int64_t *count)
{
    jinja_value *kept, holds;
    int64_t n = 0;
    JINJA_TAKE(&run->arena, &kept, *count + 1);
    PL_TRY(push_frame(run, home));
    for (int64_t i = 0; i < *count; i++) {
        run->frame->count = 0;
        PL_TRY(assign(run, node->a, (*items)[i]));
        PL_TRY(pl__jinja_eval(run, &holds, node->c));
        if (pl__jinja_true(holds)) kept[n++] = (*items)[i];
    }
    *items = kept;
    *count = n;
    return PL_OK;
}

static pl_status run_loop(jinja_run *run, const jinja_node *node, jinja_frame *home,
                          jinja_value over, int depth)
{
    jinja_loop *loop;
    jinja_frame *outer = run->frame;
    JINJA_TAKE(&run->arena, &loop, 1);
    loop->node = node;
    loop->home = home;
    loop->depth = depth;
    PL_TRY(pl__jinja_items(run, over, &loop->items, &loop->count));
    if (node->c != NULL) PL_TRY(chosen_items(run, node, home, &loop->items, &loop->count));
    PL_TRY(push_frame(run, home));
    for (loop->index = 0; loop->index < loop->count; loop->index++) {
        if (run->frame->is_held) PL_TRY(push_frame(run, home));
        run->frame->count = 0;
        PL_TRY(pl__jinja_step(run, 1));
        PL_TRY(pl__jinja_set(run, &LOOP, (jinja_value){.kind = JINJA_LOOP, .loop = loop}));
        PL_TRY(assign(run, node->a, loop->items[loop->index]));
        PL_TRY(pl__jinja_exec(run, node->list, node->count));
        const jinja_signal signal = run->signal;
        run->signal = SIGNAL_NONE;
        if (signal == SIGNAL_BREAK) break;
    }
    if (loop->count == 0) PL_TRY(pl__jinja_exec(run, node->other, node->n_other));
    run->frame = outer;
    return PL_OK;
}

static pl_status exec_for(jinja_run *run, const jinja_node *node)
{
    jinja_value over;
    PL_TRY(pl__jinja_eval(run, &over, node->b));
    run->arena.line = node->line;
    return run_loop(run, node, run->frame, over, 0);
}

static pl_status call_loop(jinja_run *run, jinja_value *out, const jinja_loop *loop,
                           jinja_value items)
{
    jinja_builder b = jinja_builder_of(run), *outer = run->out;
    const jinja_text *text;
    if (!loop->node->flag) return JINJA_FAIL(run, "loop is called, but its for is not `recursive`");
    PL_TRY(pl__jinja_enter(run));
    run->out = &b;
    PL_TRY(run_loop(run, loop->node, loop->home, items, loop->depth + 1));
    run->out = outer;
    pl__jinja_leave(run);
    PL_TRY(pl__jinja_built(&b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

/* Macros -------------------------------------------------------------------------------------- */

/* A macro whose body sees the frame we are in; such frames are not used again. */
static pl_status macro_of(jinja_run *run, jinja_value *out, const jinja_node *node)
{
    jinja_macro *macro;
    JINJA_TAKE(&run->arena, &macro, 1);
    macro->node = node;
    macro->home = run->frame;
    for (jinja_frame *frame = run->frame; frame != NULL && !frame->is_held; frame = frame->parent)
        frame->is_held = true;
    *out = (jinja_value){.kind = JINJA_MACRO, .macro = macro};
    return PL_OK;
}

static int64_t parameter_of(const jinja_signature *s, const jinja_text *name)
{
    for (int64_t i = 0; i < s->count; i++)
        if (pl__jinja_same(s->names[i], name)) return i;
    return -1;
}

/* The arguments that are named, into their parameters or into `kwargs`. */
static pl_status take_named(jinja_run *run, const jinja_signature *s, const jinja_args *args,
                            jinja_value *given, jinja_dict *kwargs, jinja_value *caller)
{
    for (int64_t i = 0; i < args->n_named; i++) {
        const jinja_text *name = args->names[i];
        const int shown = (int)(name->length < 40 ? name->length : 40);
        const int64_t place = parameter_of(s, name);
        if (place >= 0 && given[place].kind != JINJA_ABSENT)
            return JINJA_FAIL(run, "the macro is given '%.*s' twice", shown, name->bytes);
        if (place >= 0) given[place] = args->named[i];
        else if (s->caller && pl__jinja_same(name, &CALLER)) *caller = args->named[i];
        else if (s->kwargs)
            PL_TRY(pl__jinja_put_key(run, kwargs, jinja_of_text(name), args->named[i]));
        else return JINJA_FAIL(run, "the macro has no parameter '%.*s'", shown, name->bytes);
    }
    return PL_OK;
}

static pl_status bind_macro(jinja_run *run, const jinja_signature *s, const jinja_args *args)
{
    jinja_value *given, caller = jinja_undefined(&CALLER);
    jinja_seq *varargs;
    jinja_dict *kwargs;
    if (args->count > s->count && !s->varargs)
        return JINJA_FAIL(run, "the macro takes at most %lld arguments, not %lld",
                          (long long)s->count, (long long)args->count);
    JINJA_TAKE(&run->arena, &given, s->count + 1);
    PL_TRY(pl__jinja_seq(&run->arena, &varargs, JINJA_TUPLE, 0));
    PL_TRY(pl__jinja_dict(&run->arena, &kwargs, 0));
    for (int64_t i = 0; i < args->count; i++)
        if (i < s->count) given[i] = args->list[i];
        else PL_TRY(pl__jinja_push(&run->arena, varargs, args->list[i]));
    PL_TRY(take_named(run, s, args, given, kwargs, &caller));
    if (s->varargs) PL_TRY(pl__jinja_set(run, &VARARGS, jinja_of_seq(varargs)));
    if (s->kwargs) PL_TRY(pl__jinja_set(run, &KWARGS, jinja_of_dict(kwargs)));
    if (s->caller) PL_TRY(pl__jinja_set(run, &CALLER, caller));
    for (int64_t i = 0; i < s->count; i++) {
        if (given[i].kind == JINJA_ABSENT) {
            given[i] = jinja_undefined(s->names[i]);
            if (s->defaults[i] != NULL) PL_TRY(pl__jinja_eval(run, &given[i], s->defaults[i]));
        }
        PL_TRY(pl__jinja_set(run, s->names[i], given[i]));
    }
    return PL_OK;
}

static pl_status call_macro(jinja_run *run, jinja_value *out, const jinja_macro *macro,
                            const jinja_args *args)
{
    jinja_frame *outer = run->frame;
    const jinja_text *text;
    PL_TRY(pl__jinja_enter(run));
    PL_TRY(push_frame(run, macro->home));
    PL_TRY(bind_macro(run, macro->node->signature, args));
    PL_TRY(captured(run, &text, NULL, macro->node->list, macro->node->count));
    run->frame = outer;
    pl__jinja_leave(run);
    *out = jinja_of_text(text);
    return PL_OK;
}

/* {% call %}: the macro's `caller` is the block's body. */
static pl_status exec_call(jinja_run *run, const jinja_node *node)
{
    jinja_value callee, caller, result;
    jinja_args args, more;
    PL_TRY(macro_of(run, &caller, node));
    PL_TRY(pl__jinja_eval(run, &callee, node->a->a));
    PL_TRY(pl__jinja_eval_args(run, &args, node->a->call));
    jinja_value *named;
    const jinja_text **names;
    JINJA_TAKE(&run->arena, &named, args.n_named + 1);
    JINJA_TAKE(&run->arena, &names, args.n_named + 1);
    for (int64_t i = 0; i < args.n_named; i++) {
        names[i] = args.names[i];
        named[i] = args.named[i];
    }
    names[args.n_named] = &CALLER;
    named[args.n_named] = caller;
    more = args;
    more.names = names;
    more.named = named;
    more.n_named++;
    run->arena.line = node->line;
    PL_TRY(pl__jinja_call_value(run, &result, callee, &more));
    return pl__jinja_add_str(run, run->out, result);
}

/* Other statements ---------------------------------------------------------------------------- */

static pl_status exec_if(jinja_run *run, const jinja_node *node)
{
    jinja_value test;
    for (int64_t i = 0; i < node->count; i++) {
        const jinja_node *branch = node->list[i];
        if (branch->a != NULL) {
            PL_TRY(pl__jinja_eval(run, &test, branch->a));
            if (!pl__jinja_true(test)) continue;
        }
        return pl__jinja_exec(run, branch->list, branch->count);
    }
    return PL_OK;
}

static pl_status exec_print(jinja_run *run, const jinja_node *node)
{
    jinja_value value;
    for (int64_t i = 0; i < node->count; i++) {
        PL_TRY(pl__jinja_eval(run, &value, node->list[i]));
        run->arena.line = node->line;
        PL_TRY(pl__jinja_add_str(run, run->out, value));
    }
    return PL_OK;
}

static pl_status exec_set(jinja_run *run, const jinja_node *node)
{
    const jinja_text *text;
    jinja_value value;
    if (node->kind == NODE_SET) {
        PL_TRY(pl__jinja_eval(run, &value, node->b));
    } else {
        PL_TRY(captured(run, &text, run->frame, node->list, node->count));
        PL_TRY(pl__jinja_apply(run, &value, node->b, jinja_of_text(text)));
    }
    return assign(run, node->a, value);
}

static pl_status exec_with(jinja_run *run, const jinja_node *node)
{
    jinja_frame *outer = run->frame, *inner;
    jinja_value value;
    PL_TRY(push_frame(run, outer));
    inner = run->frame;
    for (int64_t i = 0; i + 1 < node->n_other; i += 2) { /* values see what is around alone */
        run->frame = outer;
        PL_TRY(pl__jinja_eval(run, &value, node->other[i + 1]));
        run->frame = inner;
        PL_TRY(assign(run, node->other[i], value));
    }
    PL_TRY(pl__jinja_exec(run, node->list, node->count));
    run->frame = outer;
    return PL_OK;
}

static pl_status exec_block(jinja_run *run, const jinja_node *node)
{
    const jinja_text *text;
    jinja_value value;
    PL_TRY(captured(run, &text, run->frame, node->list, node->count));
    if (node->kind == NODE_GENERATION)
        return pl__jinja_add_text(run->out, text, 0, text->length, JINJA_GENERATED);
    PL_TRY(pl__jinja_apply(run, &value, node->a, jinja_of_text(text)));
    return pl__jinja_add_str(run, run->out, value);
}

static pl_status exec_macro(jinja_run *run, const jinja_node *node)
{
    jinja_value macro;
    PL_TRY(macro_of(run, &macro, node));
    return pl__jinja_set(run, node->name, macro);
}

static pl_status exec_node(jinja_run *run, const jinja_node *node)
{
    switch (node->kind) {
    case NODE_DATA: return pl__jinja_add_text(run->out, node->text, 0, node->text->length, 0);
    case NODE_PRINT: return exec_print(run, node);
    case NODE_FOR: return exec_for(run, node);
    case NODE_IF: return exec_if(run, node);
    case NODE_SET:
    case NODE_SET_BLOCK: return exec_set(run, node);
    case NODE_MACRO: return exec_macro(run, node);
    case NODE_CALL_BLOCK: return exec_call(run, node);
    case NODE_WITH: return exec_with(run, node);
    case NODE_FILTERED:
    case NODE_GENERATION: return exec_block(run, node);
    case NODE_BREAK: run->signal = SIGNAL_BREAK; return PL_OK;
    case NODE_CONTINUE: run->signal = SIGNAL_CONTINUE; return PL_OK;
    default: return JINJA_FAIL(run, "no statement stands here");
    }
}

pl_status pl__jinja_exec(jinja_run *run, jinja_node *const *list, int64_t count)
{
    run->call_macro = call_macro;
    run->call_loop = call_loop;
    for (int64_t i = 0; i < count && run->signal == SIGNAL_NONE; i++) {
        run->arena.line = list[i]->line;
        PL_TRY(pl__jinja_enter(run));
        PL_TRY(exec_node(run, list[i]));
        pl__jinja_leave(run);
    }
    return PL_OK;
}

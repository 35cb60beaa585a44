/*
** render.c - templates from outside (perilune.h): compile once, render many times.
*/
#include "base/buffer.h"
#include "base/json.h"
#include "text/jinja/jinja.h"

#include <time.h>

#define MOST_TEMPLATE_BYTES ((int64_t)64 << 20)
#define DEFAULT_STEPS 20000000
#define DEFAULT_BYTES ((int64_t)192 << 20)
#define DEFAULT_DEPTH 800
#define JSON_DEPTH 96

struct pl_jinja {
    jinja_arena arena;
    jinja_node **list;
    int64_t count;
    bool generation;
};

pl_status pl_jinja_compile(pl_ctx *ctx, pl_jinja **out, const char *text, size_t length,
                           const char *name)
{
    *out = NULL;
    pl_jinja *t = pl_calloc(ctx, 1, sizeof *t);
    if (t == NULL) return PL_ERR_NOMEM;
    jinja_tokens tokens = {0};
    pl_status st = PL_OK;
    t->arena = (jinja_arena){.ctx = ctx, .line = 1, .name = "", .most = MOST_TEMPLATE_BYTES};
    char *own = pl__jinja_take(&t->arena, (int64_t)strlen(name) + 1, 1);
    if (own == NULL) st = PL_ERR_NOMEM;
    else t->arena.name = strcpy(own, name);
    jinja_parser p = {.arena = &t->arena,
                      .filters = {pl__jinja_filters, pl__jinja_list_filters},
                      .tests = {pl__jinja_tests, NULL}};
    if (st == PL_OK) st = pl__jinja_tokens(&t->arena, &tokens, text, length);
    p.at = tokens.list;
    if (st == PL_OK) st = pl__jinja_parse(&p, &t->list, &t->count);
    pl_free(ctx, tokens.list);
    t->generation = p.generation;
    if (st == PL_OK) *out = t;
    else pl_jinja_free(t);
    return st;
}

void pl_jinja_free(pl_jinja *t)
{
    if (t == NULL) return;
    pl_ctx *ctx = t->arena.ctx;
    pl__jinja_free(&t->arena);
    pl_free(ctx, t);
}

bool pl_jinja_has_generation(const pl_jinja *t)
{
    return t->generation;
}

/* Values -------------------------------------------------------------------------------------- */

/* Where in the values we are: their roles are words of the template's own. */
typedef enum { AT_ROOT, AT_MESSAGES, AT_MESSAGE, AT_ELSEWHERE } place;

static bool is_role(const jinja_text *text)
{
    static const char *const roles[] = {"system",       "user",         "assistant", "tool",
                                        "model",        "developer",    "ipython",   "function",
                                        "tool_results", "tool_response"};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (pl__jinja_is_text(text, roles[i])) return true;
    return false;
}

static pl_status take_value(jinja_run *run, jinja_value *out, struct json_object *json,
                            uint8_t marks, place where);

static pl_status take_object(jinja_run *run, jinja_value *out, struct json_object *json,
                             uint8_t marks, place where)
{
    jinja_dict *dict;
    PL_TRY(pl__jinja_dict(&run->arena, &dict, json_object_object_length(json)));
    json_object_object_foreach(json, name, member)
    {
        const jinja_text *key;
        jinja_value value;
        const int64_t length = (int64_t)strlen(name);
        /* The names of variables are the template's; those of other objects are data. */
        PL_TRY(pl__jinja_text(&run->arena, &key, name, length, where == AT_ROOT ? 0 : marks));
        const place inside =
            where == AT_ROOT && strcmp(name, "messages") == 0 ? AT_MESSAGES : AT_ELSEWHERE;
        PL_TRY(take_value(run, &value, member, marks, inside));
        if (where == AT_MESSAGE && strcmp(name, "role") == 0 && value.kind == JINJA_TEXT &&
            is_role(value.text))
            PL_TRY(
                pl__jinja_text(&run->arena, &value.text, value.text->bytes, value.text->length, 0));
        PL_TRY(pl__jinja_put_key(run, dict, jinja_of_text(key), value));
    }
    *out = jinja_of_dict(dict);
    return PL_OK;
}

static pl_status take_array(jinja_run *run, jinja_value *out, struct json_object *json,
                            uint8_t marks, place where)
{
    jinja_seq *seq;
    jinja_value item;
    const int64_t n = (int64_t)json_object_array_length(json);
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_LIST, n));
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(take_value(run, &item, json_object_array_get_idx(json, (size_t)i), marks,
                          where == AT_MESSAGES ? AT_MESSAGE : AT_ELSEWHERE));
        PL_TRY(pl__jinja_push(&run->arena, seq, item));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status take_integer(jinja_run *run, jinja_value *out, struct json_object *json)
{
    const int64_t n = json_object_get_int64(json);
    if (n == INT64_MIN || (n == INT64_MAX && json_object_get_uint64(json) > INT64_MAX))
        return JINJA_FAIL(run, "the values hold an integer beyond 64 bits");
    *out = jinja_int(n);
    return PL_OK;
}

/* Recurs no deeper than the JSON was allowed to be. */
static pl_status take_value(jinja_run *run, jinja_value *out, struct json_object *json,
                            uint8_t marks, place where)
{
    PL_TRY(pl__jinja_step(run, 1));
    switch (json_object_get_type(json)) {
    case json_type_boolean: *out = jinja_bool(json_object_get_boolean(json)); return PL_OK;
    case json_type_double: *out = jinja_float(json_object_get_double(json)); break;
    case json_type_int: PL_TRY(take_integer(run, out, json)); break;
    case json_type_string: {
        const jinja_text *text;
        PL_TRY(pl__jinja_text(&run->arena, &text, json_object_get_string(json),
                              json_object_get_string_len(json), marks));
        *out = jinja_of_text(text);
        return PL_OK;
    }
    case json_type_object: return take_object(run, out, json, marks, where);
    case json_type_array: return take_array(run, out, json, marks, where);
    case json_type_null: *out = jinja_none(); return PL_OK;
    }
    out->marks = marks;
    return PL_OK;
}

/* The members of an object into the run's variables. */
static pl_status take_values(jinja_run *run, const char *text, size_t length, uint8_t marks)
{
    pl_ctx *ctx = run->arena.ctx;
    struct json_object *json = NULL;
    jinja_value all = {.kind = JINJA_ABSENT};
    if (text == NULL) return PL_OK;
    char *own = pl_strndup(ctx, text, length); /* with the final NUL that the parser reads */
    if (own == NULL) return PL_ERR_NOMEM;
    pl_status st =
        pl__json_parse(ctx, &json, own, length, JSON_DEPTH, "the values of a chat template");
    if (st == PL_OK) st = take_value(run, &all, json, marks, AT_ROOT);
    json_object_put(json);
    pl_free(ctx, own);
    for (int64_t i = 0; st == PL_OK && i < all.dict->count; i++)
        st = pl__jinja_put_key(run, run->values, all.dict->keys[i], all.dict->values[i]);
    return st;
}

/* Rendering ----------------------------------------------------------------------------------- */

/* The runs of bytes that have `mark`. */
static pl_status spans_of(pl_ctx *ctx, pl_text_span **out, int64_t *count, const jinja_builder *b,
                          uint8_t mark)
{
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0;
        for (int64_t i = 0; b->marks != NULL && i < b->length; i++) {
            if (!(b->marks[i] & mark)) continue;
            const int64_t start = i;
            while (i < b->length && (b->marks[i] & mark)) i++;
            if (pass == 1) (*out)[n] = (pl_text_span){(size_t)start, (size_t)i};
            n++;
        }
        *count = n;
        if (n == 0 || pass == 1) return PL_OK;
        *out = pl_calloc(ctx, (size_t)n, sizeof **out);
        if (*out == NULL) return PL_ERR_NOMEM;
    }
    return PL_OK;
}

static pl_status give(pl_ctx *ctx, pl_jinja_output *out, const jinja_builder *b)
{
    out->text = pl_strndup(ctx, b->bytes == NULL ? "" : b->bytes, (size_t)b->length);
    if (out->text == NULL) return PL_ERR_NOMEM;
    out->length = (size_t)b->length;
    PL_TRY(spans_of(ctx, &out->user, &out->n_user, b, JINJA_USER));
    return spans_of(ctx, &out->generated, &out->n_generated, b, JINJA_GENERATED);
}

static pl_status render(const pl_jinja *t, jinja_run *run, pl_jinja_output *out,
                        const pl_jinja_input *in)
{
    jinja_builder b = jinja_builder_of(run);
    jinja_frame *frame;
    PL_TRY(pl__jinja_dict(&run->arena, &run->values, 0));
    PL_TRY(take_values(run, in->trusted, in->trusted_length, 0));
    PL_TRY(take_values(run, in->values, in->values_length, JINJA_USER));
    JINJA_TAKE(&run->arena, &frame, 1);
    run->frame = frame;
    run->out = &b;
    PL_TRY(pl__jinja_exec(run, t->list, t->count));
    return give(run->arena.ctx, out, &b);
}

pl_status pl_jinja_render(const pl_jinja *t, pl_jinja_output *out, const pl_jinja_input *in)
{
    pl_ctx *ctx = t->arena.ctx;
    jinja_run run = {
        .arena = {.ctx = ctx,
                  .name = t->arena.name,
                  .line = 1,
                  .most = in->most_bytes > 0 ? in->most_bytes : DEFAULT_BYTES},
        .filters = {pl__jinja_filters, pl__jinja_list_filters},
        .tests = {pl__jinja_tests, NULL},
        .most_steps = in->most_steps > 0 ? in->most_steps : DEFAULT_STEPS,
        .most_depth = in->most_depth > 0 ? in->most_depth : DEFAULT_DEPTH,
        .now = in->now >= 0 ? in->now : (int64_t)time(NULL),
    };
    *out = (pl_jinja_output){0};
    const pl_status st = render(t, &run, out, in);
    pl__jinja_free(&run.arena);
    if (st != PL_OK) pl_jinja_output_free(ctx, out);
    return st;
}

void pl_jinja_output_free(pl_ctx *ctx, pl_jinja_output *out)
{
    pl_free(ctx, out->text);
    pl_free(ctx, out->user);
    pl_free(ctx, out->generated);
    *out = (pl_jinja_output){0};
}

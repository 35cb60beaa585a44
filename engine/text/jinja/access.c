/*
** access.c - attributes, items and slices of values, and the methods of dicts and lists. Methods
** that would change a value are not there: values are never changed.
*/
#include "text/jinja/jinja.h"

/* Dicts --------------------------------------------------------------------------------------- */

static pl_status dict_get(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args)
{
    static const char *const names[] = {"key", "default"};
    jinja_value slots[2];
    PL_TRY(pl__jinja_bind(run, "get", args, names, slots, 2));
    if (slots[0].kind == JINJA_ABSENT) return JINJA_FAIL(run, "get lacks a key");
    PL_TRY(pl__jinja_step(run, 1 + self.dict->count / 8));
    const jinja_value *found = pl__jinja_find(self.dict, slots[0]);
    *out = found != NULL ? *found : slots[1].kind != JINJA_ABSENT ? slots[1] : jinja_none();
    return PL_OK;
}

/* 0: keys, 1: values, 2: pairs of both. */
static pl_status dict_view(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args, const char *printed, int what)
{
    const jinja_dict *dict = self.dict;
    jinja_seq *seq, *pair;
    PL_TRY(pl__jinja_bind(run, printed, args, NULL, NULL, 0));
    PL_TRY(pl__jinja_step(run, dict->count));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_VIEW, dict->count));
    seq->printed = printed;
    for (int64_t i = 0; i < dict->count; i++) {
        jinja_value item = what == 0 ? dict->keys[i] : dict->values[i];
        if (what == 2) {
            PL_TRY(pl__jinja_seq(&run->arena, &pair, JINJA_TUPLE, 2));
            PL_TRY(pl__jinja_push(&run->arena, pair, dict->keys[i]));
            PL_TRY(pl__jinja_push(&run->arena, pair, dict->values[i]));
            item = jinja_of_seq(pair);
        }
        PL_TRY(pl__jinja_push(&run->arena, seq, item));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status dict_keys(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args)
{
    return dict_view(run, out, self, args, "dict_keys", 0);
}

static pl_status dict_values(jinja_run *run, jinja_value *out, jinja_value self,
                             const jinja_args *args)
{
    return dict_view(run, out, self, args, "dict_values", 1);
}

static pl_status dict_items(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args)
{
    return dict_view(run, out, self, args, "dict_items", 2);
}

static pl_status dict_copy(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args)
{
    PL_TRY(pl__jinja_bind(run, "copy", args, NULL, NULL, 0));
    *out = self;
    return PL_OK;
}

const jinja_row pl__jinja_dict_methods[] = {{"copy", dict_copy},     {"get", dict_get},
                                            {"items", dict_items},   {"keys", dict_keys},
                                            {"values", dict_values}, {NULL, NULL}};

/* Lists --------------------------------------------------------------------------------------- */

static pl_status seq_count(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args)
{
    static const char *const names[] = {"value"};
    jinja_value wanted;
    PL_TRY(pl__jinja_bind(run, "count", args, names, &wanted, 1));
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(self)));
    *out = jinja_int(0);
    for (int64_t i = 0; i < self.seq->count; i++)
        out->integer += pl__jinja_equal(self.seq->items[i], wanted);
    return PL_OK;
}

static pl_status seq_index(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args)
{
    static const char *const names[] = {"value"};
    jinja_value wanted;
    PL_TRY(pl__jinja_bind(run, "index", args, names, &wanted, 1));
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(self)));
    for (int64_t i = 0; i < self.seq->count; i++)
        if (pl__jinja_equal(self.seq->items[i], wanted)) {
            *out = jinja_int(i);
            return PL_OK;
        }
    return JINJA_FAIL(run, "index: the value is not there");
}

static pl_status seq_copy(jinja_run *run, jinja_value *out, jinja_value self,
                          const jinja_args *args)
{
    PL_TRY(pl__jinja_bind(run, "copy", args, NULL, NULL, 0));
    if (self.seq->flavor != JINJA_LIST) return JINJA_FAIL(run, "lists alone are copied");
    *out = self;
    return PL_OK;
}

const jinja_row pl__jinja_seq_methods[] = {
    {"copy", seq_copy}, {"count", seq_count}, {"index", seq_index}, {NULL, NULL}};

/* Loops --------------------------------------------------------------------------------------- */

static pl_status loop_cycle(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args)
{
    if (args->count == 0) return JINJA_FAIL(run, "loop.cycle wants values to choose from");
    *out = args->list[self.loop->index % args->count];
    return PL_OK;
}

static pl_status loop_changed(jinja_run *run, jinja_value *out, jinja_value self,
                              const jinja_args *args)
{
    jinja_seq *seq;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_TUPLE, args->count));
    for (int64_t i = 0; i < args->count; i++)
        PL_TRY(pl__jinja_push(&run->arena, seq, args->list[i]));
    PL_TRY(pl__jinja_step(run, seq->size));
    const jinja_value now = jinja_of_seq(seq);
    *out = jinja_bool(!pl__jinja_equal(self.loop->changed, now));
    self.loop->changed = now;
    return PL_OK;
}

static const jinja_row loop_methods[] = {
    {"changed", loop_changed}, {"cycle", loop_cycle}, {NULL, NULL}};

static bool loop_field(const jinja_loop *loop, const jinja_text *name, jinja_value *out)
{
    const int64_t i = loop->index, n = loop->count;
    const struct {
        const char *name;
        jinja_value value;
    } fields[] = {{"index", jinja_int(i + 1)},
                  {"index0", jinja_int(i)},
                  {"revindex", jinja_int(n - i)},
                  {"revindex0", jinja_int(n - i - 1)},
                  {"first", jinja_bool(i == 0)},
                  {"last", jinja_bool(i == n - 1)},
                  {"length", jinja_int(n)},
                  {"depth", jinja_int(loop->depth + 1)},
                  {"depth0", jinja_int(loop->depth)},
                  {"previtem", i > 0 ? loop->items[i - 1] : jinja_undefined(name)},
                  {"nextitem", i + 1 < n ? loop->items[i + 1] : jinja_undefined(name)}};
    for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++)
        if (pl__jinja_is_text(name, fields[k].name)) {
            *out = fields[k].value;
            return true;
        }
    return false;
}

/* Attributes ---------------------------------------------------------------------------------- */

/* Python's own attributes of a dict that change it: they hide a key of that name. */
static bool is_hidden(const jinja_text *name)
{
    static const char *const names[] = {"clear",   "fromkeys",   "pop",
                                        "popitem", "setdefault", "update"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (pl__jinja_is_text(name, names[i])) return true;
    return name->length > 4 && memcmp(name->bytes, "__", 2) == 0 &&
           memcmp(name->bytes + name->length - 2, "__", 2) == 0;
}

static pl_status method_of(jinja_run *run, jinja_value *out, jinja_value v, const jinja_text *name)
{
    const jinja_row *table =
        v.kind == JINJA_TEXT   ? pl__jinja_text_methods
        : v.kind == JINJA_DICT ? pl__jinja_dict_methods
        : v.kind == JINJA_LOOP ? loop_methods
        : v.kind == JINJA_SEQ && v.seq->flavor != JINJA_VIEW && v.seq->flavor != JINJA_GENERATOR
            ? pl__jinja_seq_methods
            : NULL;
    const jinja_row *row = table == NULL ? NULL : pl__jinja_row(table, name->bytes, name->length);
    *out = jinja_undefined(name);
    if (row == NULL) return PL_OK;
    jinja_bound *bound;
    JINJA_TAKE(&run->arena, &bound, 1);
    bound->row = row;
    bound->self = v;
    *out = (jinja_value){.kind = JINJA_FUNCTION, .bound = bound};
    return PL_OK;
}

static pl_status refuse_undefined(jinja_run *run, jinja_value v, const char *what,
                                  const jinja_text *name)
{
    const jinja_text *own = v.text;
    return JINJA_FAIL(run, "'%.*s' is undefined: it has no %s%.*s",
                      own == NULL ? 13 : (int)(own->length < 60 ? own->length : 60),
                      own == NULL ? "an expression" : own->bytes, what,
                      name == NULL ? 0 : (int)(name->length < 60 ? name->length : 60),
                      name == NULL ? "" : name->bytes);
}

pl_status pl__jinja_attribute(jinja_run *run, jinja_value *out, jinja_value v,
                              const jinja_text *name)
{
    const jinja_value *found = NULL;
    PL_TRY(pl__jinja_step(run, 1));
    if (v.kind == JINJA_UNDEFINED) return refuse_undefined(run, v, "", name);
    if (v.kind == JINJA_LOOP && loop_field(v.loop, name, out)) return PL_OK;
    if (v.kind == JINJA_NAMESPACE) {
        found = pl__jinja_find_text(v.dict, name->bytes, name->length);
        *out = found != NULL ? *found : jinja_undefined(name);
        return PL_OK;
    }
    PL_TRY(method_of(run, out, v, name));
    if (out->kind == JINJA_FUNCTION || v.kind != JINJA_DICT || is_hidden(name)) return PL_OK;
    PL_TRY(pl__jinja_step(run, v.dict->count / 8));
    found = pl__jinja_find_text(v.dict, name->bytes, name->length);
    if (found != NULL) *out = *found;
    return PL_OK;
}

/* Items --------------------------------------------------------------------------------------- */

static pl_status nth(jinja_run *run, jinja_value *out, jinja_value v, int64_t n)
{
    int64_t count;
    *out = jinja_undefined(NULL);
    PL_TRY(pl__jinja_length(run, v, &count));
    if (n < 0) n += count;
    if (n < 0 || n >= count) return PL_OK;
    if (v.kind == JINJA_SEQ) {
        *out = v.seq->items[n];
        return PL_OK;
    }
    const int64_t at = pl__jinja_byte_of(v.text, n);
    uint32_t code;
    return pl__jinja_part(run, out, v.text, at, at + pl__jinja_char(v.text, at, &code));
}

static bool has_places(jinja_value v)
{
    return v.kind == JINJA_TEXT ||
           (v.kind == JINJA_SEQ && v.seq->flavor != JINJA_VIEW && v.seq->flavor != JINJA_GENERATOR);
}

pl_status pl__jinja_item(jinja_run *run, jinja_value *out, jinja_value v, jinja_value key)
{
    int64_t n;
    const jinja_text *name = key.kind == JINJA_TEXT ? key.text : NULL;
    PL_TRY(pl__jinja_step(run, 1));
    if (v.kind == JINJA_UNDEFINED) return refuse_undefined(run, v, "item ", name);
    if (has_places(v) && pl__jinja_integer(key, &n)) return nth(run, out, v, n);
    if (v.kind == JINJA_DICT) {
        PL_TRY(pl__jinja_step(run, v.dict->count / 8));
        const jinja_value *found = pl__jinja_find(v.dict, key);
        if (found != NULL) {
            *out = *found;
            return PL_OK;
        }
    }
    *out = jinja_undefined(name);
    return name != NULL ? pl__jinja_attribute(run, out, v, name) : PL_OK;
}

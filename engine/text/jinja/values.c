/*
** values.c - what Python's values do: truth, equality, order, membership, what is gone over.
**
** Lists and dicts know how deep they are nested and how many values are in them (one that is there
** twice counts twice); more than MOST_DEPTH and MOST_SIZE are refused. So walking a value may
** recur, and ends soon.
*/
#include "text/jinja/jinja.h"

#define MOST_DEPTH 100
#define MOST_SIZE 4000000

/* Lists and dicts ----------------------------------------------------------------------------- */

static pl_status check_nested(jinja_arena *arena, int *depth, int64_t *size, jinja_value item)
{
    const int below = item.kind == JINJA_SEQ    ? item.seq->depth
                      : item.kind == JINJA_DICT ? item.dict->depth
                                                : 0;
    if (below + 1 > *depth) *depth = below + 1;
    if (*depth > MOST_DEPTH)
        return pl__jinja_fail(arena, PL_ERR_NOMEM, "lists are nested deeper than %d levels",
                              MOST_DEPTH);
    *size += 1 + (item.kind == JINJA_SEQ    ? item.seq->size
                  : item.kind == JINJA_DICT ? item.dict->size
                                            : 0);
    if (*size <= MOST_SIZE) return PL_OK;
    return pl__jinja_fail(arena, PL_ERR_NOMEM, "a list of more than %d values", MOST_SIZE);
}

pl_status pl__jinja_seq(jinja_arena *arena, jinja_seq **out, jinja_flavor flavor, int64_t room)
{
    JINJA_TAKE(arena, out, 1);
    (*out)->flavor = flavor;
    (*out)->depth = 1;
    (*out)->room = room;
    (*out)->printed = "a view";
    if (room > 0) JINJA_TAKE(arena, &(*out)->items, room);
    return PL_OK;
}

pl_status pl__jinja_push(jinja_arena *arena, jinja_seq *seq, jinja_value item)
{
    if (seq->count == seq->room) {
        jinja_value *items;
        const int64_t room = seq->room * 2 + 4;
        JINJA_TAKE(arena, &items, room);
        if (seq->count > 0) memcpy(items, seq->items, (size_t)seq->count * sizeof *items);
        seq->items = items;
        seq->room = room;
    }
    PL_TRY(check_nested(arena, &seq->depth, &seq->size, item));
    seq->items[seq->count++] = item;
    return PL_OK;
}

pl_status pl__jinja_dict(jinja_arena *arena, jinja_dict **out, int64_t room)
{
    JINJA_TAKE(arena, out, 1);
    (*out)->depth = 1;
    (*out)->room = room;
    if (room == 0) return PL_OK;
    JINJA_TAKE(arena, &(*out)->keys, room);
    JINJA_TAKE(arena, &(*out)->values, room);
    return PL_OK;
}

jinja_value *pl__jinja_find_text(const jinja_dict *dict, const char *bytes, int64_t length)
{
    for (int64_t i = 0; i < dict->count; i++) {
        const jinja_value key = dict->keys[i];
        if (key.kind == JINJA_TEXT && key.text->length == length &&
            memcmp(key.text->bytes, bytes, (size_t)length) == 0)
            return &dict->values[i];
    }
    return NULL;
}

jinja_value *pl__jinja_find(const jinja_dict *dict, jinja_value key)
{
    if (key.kind == JINJA_TEXT) return pl__jinja_find_text(dict, key.text->bytes, key.text->length);
    for (int64_t i = 0; i < dict->count; i++)
        if (pl__jinja_equal(dict->keys[i], key)) return &dict->values[i];
    return NULL;
}

static bool can_be_key(jinja_value key)
{
    if (key.kind == JINJA_DICT) return false;
    if (key.kind != JINJA_SEQ) return true;
    if (key.seq->flavor == JINJA_LIST) return false;
    for (int64_t i = 0; key.seq->flavor == JINJA_TUPLE && i < key.seq->count; i++)
        if (!can_be_key(key.seq->items[i])) return false;
    return true;
}

pl_status pl__jinja_put_key(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value)
{
    jinja_arena *arena = &run->arena;
    if (!can_be_key(key))
        return JINJA_FAIL(run, "%s cannot be a key of a dict", pl__jinja_kind_name(key));
    PL_TRY(pl__jinja_step(run, 1 + dict->count / 8));
    PL_TRY(check_nested(arena, &dict->depth, &dict->size, value));
    jinja_value *found = pl__jinja_find(dict, key);
    if (found != NULL) {
        *found = value;
        return PL_OK;
    }
    if (dict->count == dict->room) {
        jinja_value *keys, *values;
        const int64_t room = dict->room * 2 + 4;
        JINJA_TAKE(arena, &keys, room);
        JINJA_TAKE(arena, &values, room);
        if (dict->count > 0) {
            memcpy(keys, dict->keys, (size_t)dict->count * sizeof *keys);
            memcpy(values, dict->values, (size_t)dict->count * sizeof *values);
        }
        dict->keys = keys;
        dict->values = values;
        dict->room = room;
    }
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
    return PL_OK;
}

/* What values are ----------------------------------------------------------------------------- */

const char *pl__jinja_kind_name(jinja_value v)
{
    static const char *const names[] = {"nothing",    "an undefined value",
                                        "none",       "a boolean",
                                        "an integer", "a float",
                                        "a text",     "a list",
                                        "a dict",     "a namespace",
                                        "a macro",    "a function",
                                        "a loop"};
    static const char *const flavors[] = {"a list", "a tuple", "a range", "a dict's view",
                                          "a generator"};
    return v.kind == JINJA_SEQ ? flavors[v.seq->flavor] : names[v.kind];
}

bool pl__jinja_integer(jinja_value v, int64_t *out)
{
    if (v.kind != JINJA_INT && v.kind != JINJA_BOOL) return false;
    *out = v.kind == JINJA_INT ? v.integer : v.flag;
    return true;
}

bool pl__jinja_number(jinja_value v, double *out)
{
    int64_t n = 0;
    if (v.kind != JINJA_FLOAT && !pl__jinja_integer(v, &n)) return false;
    *out = v.kind == JINJA_FLOAT ? v.number : (double)n;
    return true;
}

bool pl__jinja_true(jinja_value v)
{
    switch (v.kind) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL: return v.flag;
    case JINJA_INT: return v.integer != 0;
    case JINJA_FLOAT: return v.number != 0;
    case JINJA_TEXT: return v.text->length > 0;
    case JINJA_SEQ: return v.seq->flavor == JINJA_GENERATOR || v.seq->count > 0;
    case JINJA_DICT: return v.dict->count > 0;
    default: return true;
    }
}

static bool equal_seqs(const jinja_seq *a, const jinja_seq *b)
{
    if (a == b) return true;
    if (a->flavor != b->flavor || a->count != b->count || a->flavor == JINJA_VIEW ||
        a->flavor == JINJA_GENERATOR)
        return false;
    for (int64_t i = 0; i < a->count; i++)
        if (!pl__jinja_equal(a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(const jinja_dict *a, const jinja_dict *b)
{
    if (a == b) return true;
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++) {
        const jinja_value *other = pl__jinja_find(b, a->keys[i]);
        if (other == NULL || !pl__jinja_equal(a->values[i], *other)) return false;
    }
    return true;
}

bool pl__jinja_equal(jinja_value a, jinja_value b)
{
    int64_t m, n;
    double x, y;
    if (pl__jinja_integer(a, &m) && pl__jinja_integer(b, &n)) return m == n;
    if (pl__jinja_number(a, &x) && pl__jinja_number(b, &y)) return x == y;
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case JINJA_TEXT: return pl__jinja_same(a.text, b.text);
    case JINJA_SEQ: return equal_seqs(a.seq, b.seq);
    case JINJA_DICT: return equal_dicts(a.dict, b.dict);
    case JINJA_NAMESPACE: return a.dict == b.dict;
    case JINJA_MACRO: return a.macro == b.macro;
    case JINJA_LOOP: return a.loop == b.loop;
    case JINJA_FUNCTION:
        return a.bound->row == b.bound->row && a.bound->self.kind == b.bound->self.kind &&
               a.bound->self.text == b.bound->self.text;
    default: return true; /* none, undefined */
    }
}

static pl_status order_seqs(jinja_run *run, const jinja_seq *a, const jinja_seq *b, int *out)
{
    for (int64_t i = 0; i < a->count && i < b->count; i++) {
        if (pl__jinja_equal(a->items[i], b->items[i])) continue;
        return pl__jinja_order(run, a->items[i], b->items[i], out);
    }
    *out = a->count < b->count ? -1 : a->count > b->count;
    return PL_OK;
}

pl_status pl__jinja_order(jinja_run *run, jinja_value a, jinja_value b, int *out)
{
    int64_t m, n;
    double x, y;
    if (pl__jinja_integer(a, &m) && pl__jinja_integer(b, &n)) {
        *out = m < n ? -1 : m > n;
        return PL_OK;
    }
    if (pl__jinja_number(a, &x) && pl__jinja_number(b, &y)) {
        *out = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; /* 2: with NaN nothing holds */
        return PL_OK;
    }
    if (a.kind == JINJA_TEXT && b.kind == JINJA_TEXT) {
        const int64_t least = a.text->length < b.text->length ? a.text->length : b.text->length;
        const int c = memcmp(a.text->bytes, b.text->bytes, (size_t)least);
        *out = c != 0                            ? (c < 0 ? -1 : 1)
               : a.text->length < b.text->length ? -1
                                                 : a.text->length > least;
        return PL_OK;
    }
    if (a.kind == JINJA_SEQ && b.kind == JINJA_SEQ && a.seq->flavor == b.seq->flavor &&
        (a.seq->flavor == JINJA_LIST || a.seq->flavor == JINJA_TUPLE))
        return order_seqs(run, a.seq, b.seq, out);
    return JINJA_FAIL(run, "%s and %s have no order", pl__jinja_kind_name(a),
                      pl__jinja_kind_name(b));
}

int64_t pl__jinja_weight(jinja_value v)
{
    return v.kind == JINJA_TEXT   ? 1 + v.text->length / 64
           : v.kind == JINJA_SEQ  ? 1 + v.seq->size
           : v.kind == JINJA_DICT ? 1 + v.dict->size
                                  : 1;
}

pl_status pl__jinja_contains(jinja_run *run, jinja_value whole, jinja_value part, bool *out)
{
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(whole)));
    *out = false;
    if (whole.kind == JINJA_TEXT) {
        if (part.kind != JINJA_TEXT)
            return JINJA_FAIL(run, "`in` a text looks for a text, not for %s",
                              pl__jinja_kind_name(part));
        *out = pl__jinja_find_part(whole.text, 0, part.text) >= 0;
        return PL_OK;
    }
    if (whole.kind == JINJA_DICT) {
        if (!can_be_key(part))
            return JINJA_FAIL(run, "%s cannot be a key of a dict", pl__jinja_kind_name(part));
        *out = pl__jinja_find(whole.dict, part) != NULL;
        return PL_OK;
    }
    if (whole.kind == JINJA_UNDEFINED) return PL_OK;
    if (whole.kind != JINJA_SEQ)
        return JINJA_FAIL(run, "`in` wants a text, a list or a dict, not %s",
                          pl__jinja_kind_name(whole));
    jinja_seq *seq = whole.seq;
    for (int64_t i = seq->given; i < seq->count && !*out; i++) {
        *out = pl__jinja_equal(seq->items[i], part);
        PL_TRY(pl__jinja_step(run, pl__jinja_weight(seq->items[i])));
        if (seq->flavor == JINJA_GENERATOR) seq->given = i + 1;
    }
    return PL_OK;
}

static pl_status items_of_text(jinja_run *run, const jinja_text *text, jinja_value **items,
                               int64_t *count)
{
    uint32_t code;
    PL_TRY(pl__jinja_step(run, 1 + text->length / 8));
    *count = pl__jinja_chars(text);
    JINJA_TAKE(&run->arena, items, *count + 1);
    for (int64_t at = 0, i = 0; at < text->length; i++) {
        const int64_t n = pl__jinja_char(text, at, &code);
        PL_TRY(pl__jinja_part(run, &(*items)[i], text, at, at + n));
        at += n;
    }
    return PL_OK;
}

pl_status pl__jinja_items(jinja_run *run, jinja_value v, jinja_value **items, int64_t *count)
{
    *items = NULL;
    *count = 0;
    PL_TRY(pl__jinja_step(run, 1));
    if (v.kind == JINJA_UNDEFINED) return PL_OK;
    if (v.kind == JINJA_TEXT) return items_of_text(run, v.text, items, count);
    if (v.kind == JINJA_DICT) {
        *items = v.dict->keys;
        *count = v.dict->count;
        return PL_OK;
    }
    if (v.kind != JINJA_SEQ)
        return JINJA_FAIL(run, "%s has no items to go over", pl__jinja_kind_name(v));
    *items = v.seq->items == NULL ? NULL : v.seq->items + v.seq->given;
    *count = v.seq->count - v.seq->given;
    if (v.seq->flavor == JINJA_GENERATOR) v.seq->given = v.seq->count;
    return PL_OK;
}

pl_status pl__jinja_length(jinja_run *run, jinja_value v, int64_t *out)
{
    *out = 0;
    if (v.kind == JINJA_UNDEFINED) return PL_OK;
    if (v.kind == JINJA_TEXT) {
        PL_TRY(pl__jinja_step(run, pl__jinja_weight(v)));
        *out = pl__jinja_chars(v.text);
    } else if (v.kind == JINJA_DICT) {
        *out = v.dict->count;
    } else if (v.kind == JINJA_SEQ && v.seq->flavor != JINJA_GENERATOR) {
        *out = v.seq->count;
    } else {
        return JINJA_FAIL(run, "%s has no length", pl__jinja_kind_name(v));
    }
    return PL_OK;
}

/* Arguments ----------------------------------------------------------------------------------- */

pl_status pl__jinja_bind(jinja_run *run, const char *what, const jinja_args *args,
                         const char *const *names, jinja_value *slots, int n)
{
    if (args->count > n)
        return JINJA_FAIL(run, "%s takes at most %d arguments, not %lld", what, n,
                          (long long)args->count);
    for (int i = 0; i < n; i++)
        slots[i] = i < args->count ? args->list[i] : (jinja_value){.kind = JINJA_ABSENT};
    for (int64_t k = 0; k < args->n_named; k++) {
        const jinja_text *name = args->names[k];
        int i = 0;
        while (i < n && !pl__jinja_is_text(name, names[i])) i++;
        if (i == n || slots[i].kind != JINJA_ABSENT)
            return JINJA_FAIL(run, "%s %s '%.*s'", what,
                              i == n ? "has no argument" : "is given twice its argument",
                              (int)(name->length < 40 ? name->length : 40), name->bytes);
        slots[i] = args->named[k];
    }
    return PL_OK;
}

pl_status pl__jinja_text_at(jinja_run *run, const jinja_value *slots, int i, const char *what,
                            const jinja_text *fallback, const jinja_text **out)
{
    *out = fallback;
    if (slots[i].kind == JINJA_ABSENT && fallback == NULL)
        return JINJA_FAIL(run, "%s lacks an argument", what);
    if (slots[i].kind == JINJA_ABSENT) return PL_OK;
    if (slots[i].kind != JINJA_TEXT)
        return JINJA_FAIL(run, "%s wants a text, not %s", what, pl__jinja_kind_name(slots[i]));
    *out = slots[i].text;
    return PL_OK;
}

pl_status pl__jinja_integer_at(jinja_run *run, const jinja_value *slots, int i, const char *what,
                               int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (slots[i].kind == JINJA_ABSENT || pl__jinja_integer(slots[i], out)) return PL_OK;
    return JINJA_FAIL(run, "%s wants an integer, not %s", what, pl__jinja_kind_name(slots[i]));
}

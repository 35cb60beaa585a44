/*
** filters_list.c - filters on lists and dicts. What gives a generator in Python gives one here: it
** is true, has no length, and is gone over once.
*/
#include "text/jinja/call.h"

static bool given(jinja_value v)
{
    return v.kind != JINJA_ABSENT && v.kind != JINJA_NONE;
}

/* Attributes ---------------------------------------------------------------------------------- */

/* "a.b.0" of an item; an undefined one is `fallback` where that is given. */
static pl_status look_up(jinja_run *run, jinja_value *out, jinja_value item, jinja_value path,
                         jinja_value fallback)
{
    *out = item;
    if (path.kind == JINJA_INT) return pl__jinja_item(run, out, item, path);
    if (!given(path)) return PL_OK;
    if (path.kind != JINJA_TEXT)
        return JINJA_FAIL(run, "an attribute is named by a text, not by %s",
                          pl__jinja_kind_name(path));
    const jinja_text *text = path.text;
    for (int64_t at = 0; at <= text->length;) {
        const char *dot = memchr(text->bytes + at, '.', (size_t)(text->length - at));
        const int64_t end = dot == NULL ? text->length : dot - text->bytes;
        jinja_value key, whole = *out;
        PL_TRY(pl__jinja_part(run, &key, text, at, end));
        int64_t number = end > at && end - at < 10 ? 0 : -1;
        for (int64_t i = at; i < end && number >= 0; i++)
            number = text->bytes[i] >= '0' && text->bytes[i] <= '9'
                         ? number * 10 + (text->bytes[i] - '0')
                         : -1;
        PL_TRY(pl__jinja_item(run, out, whole, number >= 0 ? jinja_int(number) : key));
        if (out->kind == JINJA_UNDEFINED && given(fallback)) *out = fallback;
        at = end + 1;
    }
    return PL_OK;
}

static const jinja_value ABSENT = {.kind = JINJA_ABSENT};

/* What is compared: the attribute, in lower case unless case counts. */
static pl_status sort_key(jinja_run *run, jinja_value *out, jinja_value item, jinja_value path,
                          bool with_case)
{
    PL_TRY(look_up(run, out, item, path, ABSENT));
    if (with_case || out->kind != JINJA_TEXT) return PL_OK;
    return pl__jinja_cased(run, out, out->text, CASE_LOWER);
}

/* Sorting ------------------------------------------------------------------------------------- */

typedef struct {
    jinja_value key, item;
} sorted_item;

/* Merges the ordered halves of list[0..n) by way of `spare`; equal ones keep their order. */
static pl_status merge(jinja_run *run, sorted_item *list, sorted_item *spare, int64_t half,
                       int64_t n, bool reverse)
{
    int64_t i = 0, k = half, to = 0;
    while (i < half && k < n) {
        int order;
        PL_TRY(pl__jinja_step(run, 1));
        PL_TRY(pl__jinja_order(run, list[k].key, list[i].key, &order));
        const bool later = reverse ? order > 0 && order != 2 : order < 0;
        spare[to++] = later ? list[k++] : list[i++];
    }
    while (i < half) spare[to++] = list[i++];
    while (k < n) spare[to++] = list[k++];
    memcpy(list, spare, (size_t)n * sizeof *list);
    return PL_OK;
}

static pl_status sort_items(jinja_run *run, sorted_item *list, int64_t n, bool reverse)
{
    sorted_item *spare;
    JINJA_TAKE(&run->arena, &spare, n + 1);
    for (int64_t width = 1; width < n; width *= 2)
        for (int64_t at = 0; at + width < n; at += 2 * width) {
            const int64_t rest = n - at;
            PL_TRY(
                merge(run, list + at, spare, width, rest < 2 * width ? rest : 2 * width, reverse));
        }
    return PL_OK;
}

/* The items sorted by `path`, as a list. */
static pl_status sorted_list(jinja_run *run, jinja_value *out, jinja_value self, jinja_value path,
                             bool with_case, bool reverse)
{
    jinja_value *items;
    jinja_seq *seq;
    sorted_item *list;
    int64_t n;
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    JINJA_TAKE(&run->arena, &list, n + 1);
    for (int64_t i = 0; i < n; i++) {
        list[i].item = items[i];
        PL_TRY(sort_key(run, &list[i].key, items[i], path, with_case));
    }
    PL_TRY(sort_items(run, list, n, reverse));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_LIST, n));
    for (int64_t i = 0; i < n; i++) PL_TRY(pl__jinja_push(&run->arena, seq, list[i].item));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

FILTER(sort)
{
    BIND("sort", "reverse", "case_sensitive", "attribute");
    return sorted_list(run, out, self, slots[2], pl__jinja_true(slots[1]),
                       pl__jinja_true(slots[0]));
}

static pl_status pairs_of(jinja_run *run, jinja_value *out, jinja_value self)
{
    static const jinja_args none = {0};
    const jinja_row *items = pl__jinja_row(pl__jinja_dict_methods, "items", 5);
    if (self.kind != JINJA_DICT)
        return JINJA_FAIL(run, "pairs are those of a dict, not of %s", pl__jinja_kind_name(self));
    return items->call(run, out, self, &none);
}

FILTER(dictsort)
{
    jinja_value pairs;
    BIND("dictsort", "case_sensitive", "by", "reverse");
    const bool by_value = slots[1].kind == JINJA_TEXT && pl__jinja_is_text(slots[1].text, "value");
    PL_TRY(pairs_of(run, &pairs, self));
    return sorted_list(run, out, pairs, jinja_int(by_value), pl__jinja_true(slots[0]),
                       pl__jinja_true(slots[2]));
}

FILTER(items)
{
    if (args->count + args->n_named > 0) return JINJA_FAIL(run, "items takes no arguments");
    if (self.kind == JINJA_UNDEFINED) {
        jinja_seq *none;
        PL_TRY(pl__jinja_seq(&run->arena, &none, JINJA_GENERATOR, 0));
        *out = jinja_of_seq(none);
        return PL_OK;
    }
    PL_TRY(pairs_of(run, out, self));
    out->seq->flavor = JINJA_GENERATOR;
    return PL_OK;
}

/* The least or the greatest; the first of equal ones. */
static pl_status extreme(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                         bool greatest)
{
    jinja_value *items, key, best = ABSENT;
    int64_t n;
    int order;
    BIND("max", "case_sensitive", "attribute");
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    *out = jinja_undefined(NULL);
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(pl__jinja_step(run, 1));
        PL_TRY(sort_key(run, &key, items[i], slots[1], pl__jinja_true(slots[0])));
        if (best.kind != JINJA_ABSENT) {
            PL_TRY(pl__jinja_order(run, key, best, &order));
            if (order == 2 || (greatest ? order <= 0 : order >= 0)) continue;
        }
        best = key;
        *out = items[i];
    }
    return PL_OK;
}

FILTER(max)
{
    return extreme(run, out, self, args, true);
}
FILTER(min)
{
    return extreme(run, out, self, args, false);
}

/* Taking -------------------------------------------------------------------------------------- */

FILTER(first)
{
    jinja_value *items;
    int64_t n;
    if (args->count + args->n_named > 0) return JINJA_FAIL(run, "first takes no arguments");
    jinja_seq *generator =
        self.kind == JINJA_SEQ && self.seq->flavor == JINJA_GENERATOR ? self.seq : NULL;
    const int64_t given_before = generator == NULL ? 0 : generator->given;
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    if (generator != NULL) generator->given = given_before + (n > 0);
    *out = n > 0 ? items[0] : jinja_undefined(NULL);
    return PL_OK;
}

FILTER(last)
{
    jinja_value *items;
    int64_t n;
    if (args->count + args->n_named > 0) return JINJA_FAIL(run, "last takes no arguments");
    PL_TRY(pl__jinja_length(run, self, &n)); /* a generator has none */
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    *out = n > 0 ? items[n - 1] : jinja_undefined(NULL);
    return PL_OK;
}

static pl_status seq_of(jinja_run *run, jinja_value *out, jinja_flavor flavor,
                        const jinja_value *items, int64_t n)
{
    jinja_seq *seq;
    PL_TRY(pl__jinja_step(run, n));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, flavor, n));
    for (int64_t i = 0; i < n; i++) PL_TRY(pl__jinja_push(&run->arena, seq, items[i]));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

FILTER(list)
{
    jinja_value *items;
    int64_t n;
    if (args->count + args->n_named > 0) return JINJA_FAIL(run, "list takes no arguments");
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    return seq_of(run, out, JINJA_LIST, items, n);
}

FILTER(reverse)
{
    jinja_value *items;
    jinja_seq *seq;
    jinja_builder b = jinja_builder_of(run);
    const jinja_text *text;
    int64_t n;
    if (args->count + args->n_named > 0) return JINJA_FAIL(run, "reverse takes no arguments");
    const bool generated = self.kind == JINJA_SEQ && self.seq->flavor == JINJA_GENERATOR;
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    PL_TRY(pl__jinja_step(run, n));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, generated ? JINJA_LIST : JINJA_GENERATOR, n));
    for (int64_t i = n - 1; i >= 0; i--)
        if (self.kind == JINJA_TEXT)
            PL_TRY(pl__jinja_add_text(&b, items[i].text, 0, items[i].text->length, 0));
        else PL_TRY(pl__jinja_push(&run->arena, seq, items[i]));
    PL_TRY(pl__jinja_built(&b, &text));
    *out = self.kind == JINJA_TEXT ? jinja_of_text(text) : jinja_of_seq(seq);
    return PL_OK;
}

FILTER(join)
{
    jinja_value *items, item;
    const jinja_text *between, *text;
    jinja_builder b = jinja_builder_of(run);
    int64_t n;
    BIND("join", "d", "attribute");
    if (slots[0].kind == JINJA_ABSENT) PL_TRY(pl__jinja_literal(run, &slots[0], ""));
    PL_TRY(pl__jinja_str(run, &between, slots[0]));
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(pl__jinja_step(run, 1));
        PL_TRY(look_up(run, &item, items[i], slots[1], ABSENT));
        if (i > 0) PL_TRY(pl__jinja_add_text(&b, between, 0, between->length, 0));
        PL_TRY(pl__jinja_add_str(run, &b, item));
    }
    PL_TRY(pl__jinja_built(&b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

FILTER(sum)
{
    jinja_value *items, item;
    int64_t n;
    BIND("sum", "attribute", "start");
    *out = slots[1].kind == JINJA_ABSENT ? jinja_int(0) : slots[1];
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(look_up(run, &item, items[i], slots[0], ABSENT));
        const jinja_value before = *out;
        PL_TRY(pl__jinja_binary(run, out, OP_ADD, before, item));
    }
    return PL_OK;
}

FILTER(unique)
{
    jinja_value *items, key;
    jinja_seq *seen, *seq;
    int64_t n;
    BIND("unique", "case_sensitive", "attribute");
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    PL_TRY(pl__jinja_seq(&run->arena, &seen, JINJA_LIST, 0));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_GENERATOR, 0));
    for (int64_t i = 0; i < n; i++) {
        bool known;
        PL_TRY(sort_key(run, &key, items[i], slots[1], pl__jinja_true(slots[0])));
        PL_TRY(pl__jinja_contains(run, jinja_of_seq(seen), key, &known));
        if (known) continue;
        PL_TRY(pl__jinja_push(&run->arena, seen, key));
        PL_TRY(pl__jinja_push(&run->arena, seq, items[i]));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

/* Lists of at most so many items. */
FILTER(batch)
{
    jinja_value *items, part;
    jinja_seq *seq;
    int64_t n, width;
    BIND("batch", "linecount", "fill_with");
    if (!pl__jinja_integer(slots[0], &width) || width < 1)
        return JINJA_FAIL(run, "batch wants how many items go together");
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_GENERATOR, 0));
    for (int64_t at = 0; at < n; at += width) {
        const int64_t there = n - at < width ? n - at : width;
        PL_TRY(seq_of(run, &part, JINJA_LIST, items + at, there));
        if (given(slots[1]))
            for (int64_t i = there; i < width; i++) {
                PL_TRY(pl__jinja_step(run, 1));
                PL_TRY(pl__jinja_push(&run->arena, part.seq, slots[1]));
            }
        PL_TRY(pl__jinja_push(&run->arena, seq, part));
        if (there < width) break;
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

FILTER(attr)
{
    BIND("attr", "name");
    if (slots[0].kind != JINJA_TEXT) return JINJA_FAIL(run, "attr wants a name");
    if (self.kind != JINJA_DICT) return pl__jinja_attribute(run, out, self, slots[0].text);
    *out = jinja_undefined(slots[0].text); /* keys are items, not attributes */
    if (pl__jinja_row(pl__jinja_dict_methods, slots[0].text->bytes, slots[0].text->length) != NULL)
        return pl__jinja_attribute(run, out, self, slots[0].text);
    return PL_OK;
}

/* Choosing ------------------------------------------------------------------------------------ */

static pl_status named_row(jinja_run *run, const jinja_row *const tables[2], jinja_value name,
                           const char *what, const jinja_row **out)
{
    *out =
        name.kind == JINJA_TEXT ? jinja_row_of(tables, name.text->bytes, name.text->length) : NULL;
    if (*out != NULL) return PL_OK;
    if (name.kind != JINJA_TEXT) return JINJA_FAIL(run, "the name of a %s wanted", what);
    return JINJA_FAIL(run, "there is no %s '%.*s' here", what,
                      (int)(name.text->length < 40 ? name.text->length : 40), name.text->bytes);
}

/* Without the first `n` arguments. */
static jinja_args behind(const jinja_args *args, int64_t n)
{
    jinja_args rest = *args;
    if (n > 0) rest.list += n;
    rest.count -= n;
    return rest;
}

/* What is false, none among it, has no items for map, select and their like. */
static pl_status nothing(jinja_run *run, jinja_value *out)
{
    jinja_seq *seq;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_GENERATOR, 0));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

FILTER(map)
{
    jinja_value *items, item, path = ABSENT, fallback = ABSENT;
    jinja_seq *seq;
    const jinja_row *row = NULL;
    jinja_args rest = *args;
    int64_t n;
    if (!pl__jinja_true(self)) return nothing(run, out);
    if (args->count == 0) {
        static const char *const names[] = {"attribute", "default"};
        jinja_value slots[2];
        PL_TRY(pl__jinja_bind(run, "map", args, names, slots, 2));
        path = slots[0];
        fallback = slots[1];
        if (path.kind == JINJA_ABSENT) return JINJA_FAIL(run, "map wants a filter or an attribute");
    } else {
        PL_TRY(named_row(run, run->filters, args->list[0], "filter", &row));
        rest = behind(args, 1);
    }
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_GENERATOR, n));
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(pl__jinja_enter(run));
        if (row != NULL) PL_TRY(row->call(run, &item, items[i], &rest));
        else PL_TRY(look_up(run, &item, items[i], path, fallback));
        pl__jinja_leave(run);
        PL_TRY(pl__jinja_push(&run->arena, seq, item));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status choose(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                        bool wanted, bool by_attribute)
{
    jinja_value *items, seen, holds;
    jinja_seq *seq;
    const jinja_row *row = NULL;
    const int64_t off = by_attribute;
    int64_t n;
    if (!pl__jinja_true(self)) return nothing(run, out);
    if (args->count < off) return JINJA_FAIL(run, "selectattr and rejectattr want an attribute");
    if (args->count > off) PL_TRY(named_row(run, run->tests, args->list[off], "test", &row));
    const jinja_args rest = behind(args, args->count > off ? off + 1 : off);
    PL_TRY(pl__jinja_items(run, self, &items, &n));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_GENERATOR, 0));
    for (int64_t i = 0; i < n; i++) {
        PL_TRY(pl__jinja_enter(run));
        PL_TRY(look_up(run, &seen, items[i], by_attribute ? args->list[0] : ABSENT, ABSENT));
        holds = jinja_bool(pl__jinja_true(seen));
        if (row != NULL) PL_TRY(row->call(run, &holds, seen, &rest));
        pl__jinja_leave(run);
        if (pl__jinja_true(holds) == wanted) PL_TRY(pl__jinja_push(&run->arena, seq, items[i]));
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

FILTER(select_)
{
    return choose(run, out, self, args, true, false);
}
FILTER(reject)
{
    return choose(run, out, self, args, false, false);
}
FILTER(selectattr)
{
    return choose(run, out, self, args, true, true);
}
FILTER(rejectattr)
{
    return choose(run, out, self, args, false, true);
}

const jinja_row pl__jinja_list_filters[] = {{"attr", attr},
                                            {"batch", batch},
                                            {"dictsort", dictsort},
                                            {"first", first},
                                            {"items", items},
                                            {"join", join},
                                            {"last", last},
                                            {"list", list},
                                            {"map", map},
                                            {"max", max},
                                            {"min", min},
                                            {"reject", reject},
                                            {"rejectattr", rejectattr},
                                            {"reverse", reverse},
                                            {"select", select_},
                                            {"selectattr", selectattr},
                                            {"sort", sort},
                                            {"sum", sum},
                                            {"unique", unique},
                                            {NULL, NULL}};

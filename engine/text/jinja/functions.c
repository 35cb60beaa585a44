/*
** functions.c - what a template may call by name; Jinja's cycler, joiner and lipsum are not there.
*/
#include "text/jinja/jinja.h"

#include <time.h>

#define MOST_RANGE 100000

#define FUNCTION(name)                                                        \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)

FUNCTION(range)
{
    int64_t bounds[3] = {0, 0, 1};
    jinja_seq *seq;
    (void)self;
    if (args->count < 1 || args->count > 3 || args->n_named > 0)
        return JINJA_FAIL(run, "range takes one to three integers");
    for (int64_t i = 0; i < args->count; i++)
        if (!pl__jinja_integer(args->list[i], &bounds[i]))
            return JINJA_FAIL(run, "range wants integers, not %s",
                              pl__jinja_kind_name(args->list[i]));
    if (args->count == 1) {
        bounds[1] = bounds[0];
        bounds[0] = 0;
    }
    if (bounds[2] == 0) return JINJA_FAIL(run, "range with a step of 0");
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_RANGE, 0));
    memcpy(seq->range, bounds, sizeof bounds);
    for (int64_t n = bounds[0]; bounds[2] > 0 ? n < bounds[1] : n > bounds[1];) {
        if (seq->count == MOST_RANGE)
            return JINJA_FAIL(run, "a range of more than %d numbers", MOST_RANGE);
        PL_TRY(pl__jinja_step(run, 1));
        PL_TRY(pl__jinja_push(&run->arena, seq, jinja_int(n)));
        if (__builtin_add_overflow(n, bounds[2], &n)) break;
    }
    *out = jinja_of_seq(seq);
    return PL_OK;
}

/* dict(a_dict_or_pairs, name=value, ...) */
static pl_status fill(jinja_run *run, jinja_dict *dict, const jinja_args *args)
{
    jinja_value *items, *pair;
    int64_t n, two;
    if (args->count > 1) return JINJA_FAIL(run, "dict and namespace take one dict at most");
    if (args->count == 1) {
        const jinja_value from = args->list[0];
        PL_TRY(pl__jinja_items(run, from, &items, &n));
        for (int64_t i = 0; i < n; i++) {
            if (from.kind == JINJA_DICT) {
                PL_TRY(pl__jinja_put_key(run, dict, items[i], from.dict->values[i]));
                continue;
            }
            PL_TRY(pl__jinja_items(run, items[i], &pair, &two));
            if (two != 2) return JINJA_FAIL(run, "a dict is made of pairs");
            PL_TRY(pl__jinja_put_key(run, dict, pair[0], pair[1]));
        }
    }
    for (int64_t i = 0; i < args->n_named; i++)
        PL_TRY(pl__jinja_put_key(run, dict, jinja_of_text(args->names[i]), args->named[i]));
    return PL_OK;
}

FUNCTION(dict)
{
    (void)self;
    jinja_dict *made;
    PL_TRY(pl__jinja_dict(&run->arena, &made, 0));
    PL_TRY(fill(run, made, args));
    *out = jinja_of_dict(made);
    return PL_OK;
}

FUNCTION(namespace)
{
    PL_TRY(dict(run, out, self, args));
    out->kind = JINJA_NAMESPACE;
    for (int64_t i = 0; i < out->dict->count; i++) {
        const jinja_value key = out->dict->keys[i];
        if (key.kind == JINJA_TEXT && key.text->length > 0 && key.text->bytes[0] == '_')
            return JINJA_FAIL(run, "a namespace's names do not begin with _");
    }
    return PL_OK;
}

FUNCTION(raise_exception)
{
    static const char *const names[] = {"message"};
    jinja_value message;
    const jinja_text *text;
    (void)self;
    (void)out;
    PL_TRY(pl__jinja_bind(run, "raise_exception", args, names, &message, 1));
    PL_TRY(pl__jinja_str(run, &text, message));
    return JINJA_FAIL(run, "%.*s", (int)(text->length < 600 ? text->length : 600), text->bytes);
}

FUNCTION(strftime_now)
{
    static const char *const names[] = {"format"};
    jinja_value format;
    char wanted[256], date[1024];
    struct tm tm;
    const time_t now = (time_t)run->now;
    const jinja_text *text;
    (void)self;
    PL_TRY(pl__jinja_bind(run, "strftime_now", args, names, &format, 1));
    if (format.kind != JINJA_TEXT || format.text->length >= (int64_t)sizeof wanted - 2)
        return JINJA_FAIL(run, "strftime_now wants a short text");
    memcpy(wanted, format.text->bytes, (size_t)format.text->length);
    strcpy(wanted + format.text->length, "."); /* so that an empty result is no failure */
    if (localtime_r(&now, &tm) == NULL)
        return JINJA_FAIL(run, "strftime_now: there is no such date");
    const size_t n = strftime(date, sizeof date, wanted, &tm);
    if (n == 0) return JINJA_FAIL(run, "strftime_now: the date is too long");
    PL_TRY(pl__jinja_text(&run->arena, &text, date, (int64_t)n - 1, 0));
    *out = jinja_of_text(text);
    return PL_OK;
}

const jinja_row pl__jinja_functions[] = {
    {"dict", dict},   {"namespace", namespace},       {"raise_exception", raise_exception},
    {"range", range}, {"strftime_now", strftime_now}, {NULL, NULL}};

/*
** percent.c - "%s of %d" % (a, b), as Python formats.
*/
#include "text/jinja/jinja.h"

#include <math.h>
#include <stdio.h>

#define MOST_WIDTH 1000

typedef struct {
    const jinja_text *format;
    int64_t at;
    jinja_value values;
    int64_t next; /* of a tuple's */
    jinja_builder b;
} formatter;

static char here(const formatter *f)
{
    return f->at < f->format->length ? f->format->bytes[f->at] : '\0';
}

/* "(name)" of a dict, the next of a tuple, or the one value there is. */
static pl_status take_value(jinja_run *run, formatter *f, const jinja_text *name, jinja_value *out)
{
    if (name != NULL) {
        const jinja_value *found =
            f->values.kind == JINJA_DICT
                ? pl__jinja_find_text(f->values.dict, name->bytes, name->length)
                : NULL;
        if (found == NULL) return JINJA_FAIL(run, "%%: there is no value of that name");
        *out = *found;
        return PL_OK;
    }
    const bool is_tuple = f->values.kind == JINJA_SEQ && f->values.seq->flavor == JINJA_TUPLE;
    if (f->next >= (is_tuple ? f->values.seq->count : 1))
        return JINJA_FAIL(run, "%%: fewer values than places");
    *out = is_tuple ? f->values.seq->items[f->next] : f->values;
    f->next++;
    return PL_OK;
}

static int take_number(formatter *f)
{
    int n = 0;
    for (; here(f) >= '0' && here(f) <= '9'; f->at++)
        n = n > MOST_WIDTH ? n : n * 10 + (here(f) - '0');
    return n;
}

static pl_status add_padded(jinja_run *run, formatter *f, const jinja_text *text, int width,
                            bool left)
{
    const int64_t chars = pl__jinja_chars(text);
    PL_TRY(pl__jinja_step(run, 1));
    for (int64_t i = chars; !left && i < width; i++) PL_TRY(pl__jinja_add(&f->b, " ", 1, 0));
    PL_TRY(pl__jinja_add_text(&f->b, text, 0, text->length, 0));
    for (int64_t i = chars; left && i < width; i++) PL_TRY(pl__jinja_add(&f->b, " ", 1, 0));
    return PL_OK;
}

static pl_status add_number(jinja_run *run, formatter *f, jinja_value v, const char *flags,
                            int width, int precision, char type)
{
    char spec[32], out[MOST_WIDTH * 2 + 400];
    double x;
    int64_t n;
    if (!pl__jinja_number(v, &x))
        return JINJA_FAIL(run, "%%%c wants a number, not %s", type, pl__jinja_kind_name(v));
    if (strchr("dixXo", type) != NULL) {
        if (v.kind == JINJA_FLOAT && (!(fabs(x) < 9e18) || strchr("di", type) == NULL))
            return JINJA_FAIL(run, "%%%c wants an integer", type);
        if (!pl__jinja_integer(v, &n)) n = (int64_t)x;
        if (n < 0 && strchr("di", type) == NULL)
            return JINJA_FAIL(run, "%%%c of a negative number is not known here", type);
        snprintf(spec, sizeof spec, "%%%s*.*ll%c", flags, type);
        snprintf(out, sizeof out, spec, width, precision, (long long)n);
    } else {
        snprintf(spec, sizeof spec, "%%%s*.*%c", flags, type);
        snprintf(out, sizeof out, spec, width, precision, x);
    }
    return pl__jinja_add(&f->b, out, (int64_t)strlen(out), v.marks);
}

static pl_status add_field(jinja_run *run, formatter *f)
{
    jinja_text name, *key = NULL;
    char flags[8] = "";
    int width, precision = -1;
    jinja_value v;
    if (here(f) == '(') {
        const int64_t begin = ++f->at;
        while (here(f) != ')' && f->at < f->format->length) f->at++;
        name = (jinja_text){.bytes = f->format->bytes + begin, .length = f->at - begin};
        key = &name;
        f->at++;
    }
    for (; here(f) != '\0' && strchr("-+ 0#", here(f)) != NULL; f->at++)
        if (strlen(flags) < sizeof flags - 1 && strchr(flags, here(f)) == NULL)
            strncat(flags, (char[2]){here(f), '\0'}, 1);
    width = take_number(f);
    if (here(f) == '.') {
        f->at++;
        precision = take_number(f);
    }
    if (width > MOST_WIDTH || precision > MOST_WIDTH)
        return JINJA_FAIL(run, "%%: a width of more than %d", MOST_WIDTH);
    const char type = here(f);
    f->at++;
    if (type == '%') return pl__jinja_add(&f->b, "%", 1, 0);
    if (type == '\0' || strchr("srdixXoeEfFgG", type) == NULL)
        return JINJA_FAIL(run, "%%: what stands behind it is not known here");
    PL_TRY(take_value(run, f, key, &v));
    if (type != 's' && type != 'r') return add_number(run, f, v, flags, width, precision, type);
    const jinja_text *text;
    jinja_builder b = jinja_builder_of(run);
    PL_TRY(type == 'r' ? pl__jinja_add_repr(run, &b, v) : pl__jinja_add_str(run, &b, v));
    PL_TRY(pl__jinja_built(&b, &text));
    if (precision >= 0) {
        jinja_value cut;
        PL_TRY(pl__jinja_part(run, &cut, text, 0, pl__jinja_byte_of(text, precision)));
        text = cut.text;
    }
    return add_padded(run, f, text, width, strchr(flags, '-') != NULL);
}

pl_status pl__jinja_percent(jinja_run *run, jinja_value *out, const jinja_text *format,
                            jinja_value values)
{
    formatter f = {.format = format, .values = values, .b = jinja_builder_of(run)};
    const jinja_text *text;
    while (f.at < format->length) {
        if (here(&f) == '%') {
            f.at++;
            PL_TRY(add_field(run, &f));
            continue;
        }
        PL_TRY(pl__jinja_add_text(&f.b, format, f.at, f.at + 1, 0));
        f.at++;
    }
    const bool is_tuple = values.kind == JINJA_SEQ && values.seq->flavor == JINJA_TUPLE;
    /* What can be asked for an item counts as a dict, whose values may be left over. */
    const bool is_seq = values.kind == JINJA_SEQ && !is_tuple && values.seq->flavor != JINJA_VIEW &&
                        values.seq->flavor != JINJA_GENERATOR;
    const bool may_be_left = values.kind == JINJA_DICT || values.kind == JINJA_UNDEFINED || is_seq;
    if (!may_be_left && f.next < (is_tuple ? values.seq->count : 1))
        return JINJA_FAIL(run, "%%: more values than places");
    PL_TRY(pl__jinja_built(&f.b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

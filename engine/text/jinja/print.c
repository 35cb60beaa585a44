/*
** print.c - values as text: what Python's str and repr give, and JSON as its json.dumps writes it.
*/
#include "text/jinja/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ADD(b, text) PL_TRY(pl__jinja_add((b), (text), (int64_t)strlen(text), 0))

void pl__jinja_float_text(double x, char out[40])
{
    if (isnan(x) || isinf(x)) {
        strcpy(out, isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
        return;
    }
    char digits[40];
    int n = 1;
    do snprintf(digits, sizeof digits, "%.*e", n - 1, x);
    while (strtod(digits, NULL) != x && n++ < 17);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= 16 || exponent < -4) {
        strcpy(out, digits); /* "%e" has two digits of exponent at least, as Python has */
        return;
    }
    snprintf(out, 40, "%.*f", n - 1 > exponent ? n - 1 - exponent : 1, x);
}

static pl_status add_integer(jinja_builder *b, int64_t n, uint8_t marks)
{
    char digits[24];
    return pl__jinja_add(b, digits, snprintf(digits, sizeof digits, "%lld", (long long)n), marks);
}

static pl_status add_float(jinja_builder *b, double x, uint8_t marks)
{
    char digits[40];
    pl__jinja_float_text(x, digits);
    return pl__jinja_add(b, digits, (int64_t)strlen(digits), marks);
}

/* A text in quotes, as Python's repr writes it. */
static pl_status add_quoted(jinja_builder *b, const jinja_text *text)
{
    const bool doubled = memchr(text->bytes, '\'', (size_t)text->length) != NULL &&
                         memchr(text->bytes, '"', (size_t)text->length) == NULL;
    const char *quote = doubled ? "\"" : "'";
    char escape[16];
    uint32_t code;
    ADD(b, quote);
    for (int64_t at = 0, n; at < text->length; at += n) {
        n = pl__jinja_char(text, at, &code);
        const char *named = code == '\n'               ? "\\n"
                            : code == '\r'             ? "\\r"
                            : code == '\t'             ? "\\t"
                            : code == '\\'             ? "\\\\"
                            : code == '\'' && !doubled ? "\\'"
                                                       : NULL;
        if (named == NULL && pl__jinja_is_printable(code)) {
            PL_TRY(pl__jinja_add_text(b, text, at, at + n, 0));
            continue;
        }
        if (named == NULL)
            snprintf(escape, sizeof escape,
                     code > 0xFFFF ? "\\U%08x"
                     : code > 0xFF ? "\\u%04x"
                                   : "\\x%02x",
                     code);
        named = named == NULL ? escape : named;
        PL_TRY(pl__jinja_add(b, named, (int64_t)strlen(named),
                             text->marks == NULL ? 0 : text->marks[at]));
    }
    ADD(b, quote);
    return PL_OK;
}

static pl_status add_seq(jinja_run *run, jinja_builder *b, const jinja_seq *seq)
{
    const bool is_tuple = seq->flavor == JINJA_TUPLE;
    if (seq->flavor == JINJA_RANGE) {
        ADD(b, "range(");
        for (int i = 0; i < (seq->range[2] == 1 ? 2 : 3); i++) {
            if (i > 0) ADD(b, ", ");
            PL_TRY(add_integer(b, seq->range[i], 0));
        }
        ADD(b, ")");
        return PL_OK;
    }
    if (seq->flavor == JINJA_GENERATOR)
        return JINJA_FAIL(run, "a generator has no text: make a list of it with |list");
    if (seq->flavor == JINJA_VIEW) {
        ADD(b, seq->printed);
        ADD(b, "(");
    }
    ADD(b, is_tuple ? "(" : "[");
    for (int64_t i = 0; i < seq->count; i++) {
        if (i > 0) ADD(b, ", ");
        PL_TRY(pl__jinja_add_repr(run, b, seq->items[i]));
    }
    if (is_tuple && seq->count == 1) ADD(b, ",");
    ADD(b, is_tuple ? ")" : "]");
    if (seq->flavor == JINJA_VIEW) ADD(b, ")");
    return PL_OK;
}

static pl_status add_dict(jinja_run *run, jinja_builder *b, const jinja_dict *dict)
{
    ADD(b, "{");
    for (int64_t i = 0; i < dict->count; i++) {
        if (i > 0) ADD(b, ", ");
        PL_TRY(pl__jinja_add_repr(run, b, dict->keys[i]));
        ADD(b, ": ");
        PL_TRY(pl__jinja_add_repr(run, b, dict->values[i]));
    }
    ADD(b, "}");
    return PL_OK;
}

pl_status pl__jinja_add_repr(jinja_run *run, jinja_builder *b, jinja_value v)
{
    PL_TRY(pl__jinja_step(run, 1));
    if (v.kind == JINJA_TEXT) {
        if (v.text->markup) ADD(b, "Markup(");
        PL_TRY(add_quoted(b, v.text));
        return v.text->markup ? pl__jinja_add(b, ")", 1, 0) : PL_OK;
    }
    if (v.kind == JINJA_UNDEFINED) {
        ADD(b, "Undefined");
        return PL_OK;
    }
    return pl__jinja_add_str(run, b, v);
}

pl_status pl__jinja_add_str(jinja_run *run, jinja_builder *b, jinja_value v)
{
    switch (v.kind) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED: return PL_OK;
    case JINJA_NONE: ADD(b, "None"); return PL_OK;
    case JINJA_BOOL: ADD(b, v.flag ? "True" : "False"); return PL_OK;
    case JINJA_INT: return add_integer(b, v.integer, v.marks);
    case JINJA_FLOAT: return add_float(b, v.number, v.marks);
    case JINJA_TEXT: return pl__jinja_add_text(b, v.text, 0, v.text->length, 0);
    case JINJA_SEQ: return add_seq(run, b, v.seq);
    case JINJA_DICT: return add_dict(run, b, v.dict);
    case JINJA_NAMESPACE:
        ADD(b, "<Namespace ");
        PL_TRY(pl__jinja_enter(run)); /* it may hold itself */
        PL_TRY(add_dict(run, b, v.dict));
        pl__jinja_leave(run);
        ADD(b, ">");
        return PL_OK;
    case JINJA_MACRO:
        ADD(b, "<Macro '");
        PL_TRY(pl__jinja_add_text(b, v.macro->node->name, 0, v.macro->node->name->length, 0));
        ADD(b, "'>");
        return PL_OK;
    default:
        return JINJA_FAIL(run, "%s has no text%s", pl__jinja_kind_name(v),
                          v.kind == JINJA_FUNCTION ? ": call it with ( )" : "");
    }
}

pl_status pl__jinja_str(jinja_run *run, const jinja_text **out, jinja_value v)
{
    jinja_builder b = jinja_builder_of(run);
    if (v.kind == JINJA_TEXT) {
        *out = v.text;
        return PL_OK;
    }
    PL_TRY(pl__jinja_add_str(run, &b, v));
    return pl__jinja_built(&b, out);
}

/* JSON ---------------------------------------------------------------------------------------- */

static pl_status add_json_text(jinja_builder *b, const jinja_text *text, bool ascii)
{
    char escape[16];
    uint32_t code;
    ADD(b, "\"");
    for (int64_t at = 0, n; at < text->length; at += n) {
        n = pl__jinja_char(text, at, &code);
        const char *named = code == '"'    ? "\\\""
                            : code == '\\' ? "\\\\"
                            : code == '\n' ? "\\n"
                            : code == '\r' ? "\\r"
                            : code == '\t' ? "\\t"
                            : code == '\f' ? "\\f"
                            : code == '\b' ? "\\b"
                                           : NULL;
        if (named == NULL && code >= 0x20 && (!ascii || code < 0x7F)) {
            PL_TRY(pl__jinja_add_text(b, text, at, at + n, 0));
            continue;
        }
        if (named == NULL && ascii && code == 0x7F) named = "\x7F";
        if (named == NULL && code > 0xFFFF)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10),
                     0xDC00 + ((code - 0x10000) & 0x3FF));
        else if (named == NULL) snprintf(escape, sizeof escape, "\\u%04x", code);
        named = named == NULL ? escape : named;
        PL_TRY(pl__jinja_add(b, named, (int64_t)strlen(named),
                             text->marks == NULL ? 0 : text->marks[at]));
    }
    ADD(b, "\"");
    return PL_OK;
}

typedef struct {
    jinja_run *run;
    jinja_builder *b;
    const jinja_json_style *style;
    int level;
} json_writer;

static pl_status add_json(json_writer *w, jinja_value v);

static pl_status add_line(json_writer *w)
{
    if (w->style->indent == NULL) return PL_OK;
    ADD(w->b, "\n");
    for (int i = 0; i < w->level; i++)
        PL_TRY(pl__jinja_add_text(w->b, w->style->indent, 0, w->style->indent->length, 0));
    return PL_OK;
}

static pl_status add_between(json_writer *w, int64_t i)
{
    if (i > 0) PL_TRY(pl__jinja_add_text(w->b, w->style->between, 0, w->style->between->length, 0));
    return add_line(w);
}

static pl_status add_json_list(json_writer *w, const jinja_seq *seq)
{
    if (seq->count == 0) {
        ADD(w->b, "[]");
        return PL_OK;
    }
    ADD(w->b, "[");
    w->level++;
    for (int64_t i = 0; i < seq->count; i++) {
        PL_TRY(add_between(w, i));
        PL_TRY(add_json(w, seq->items[i]));
    }
    w->level--;
    PL_TRY(add_line(w));
    ADD(w->b, "]");
    return PL_OK;
}

static pl_status add_key(json_writer *w, jinja_value key)
{
    const jinja_text *text;
    if (key.kind == JINJA_NONE) PL_TRY(pl__jinja_literal(w->run, &key, "null"));
    else if (key.kind == JINJA_BOOL)
        PL_TRY(pl__jinja_literal(w->run, &key, key.flag ? "true" : "false"));
    if (key.kind != JINJA_TEXT && key.kind != JINJA_INT && key.kind != JINJA_FLOAT)
        return JINJA_FAIL(w->run, "%s cannot be a key in JSON", pl__jinja_kind_name(key));
    PL_TRY(pl__jinja_str(w->run, &text, key));
    return add_json_text(w->b, text, w->style->ascii);
}

/* The places of the keys in order. */
static pl_status sorted_keys(json_writer *w, const jinja_dict *dict, int64_t **out)
{
    JINJA_TAKE(&w->run->arena, out, dict->count + 1);
    for (int64_t i = 0; i < dict->count; i++) {
        int64_t at = i;
        for (; w->style->sorted && at > 0; at--) {
            int order;
            PL_TRY(pl__jinja_step(w->run, 1));
            PL_TRY(pl__jinja_order(w->run, dict->keys[(*out)[at - 1]], dict->keys[i], &order));
            if (order <= 0) break;
            (*out)[at] = (*out)[at - 1];
        }
        (*out)[at] = i;
    }
    return PL_OK;
}

static pl_status add_json_dict(json_writer *w, const jinja_dict *dict)
{
    int64_t *order;
    if (dict->count == 0) {
        ADD(w->b, "{}");
        return PL_OK;
    }
    PL_TRY(sorted_keys(w, dict, &order));
    ADD(w->b, "{");
    w->level++;
    for (int64_t i = 0; i < dict->count; i++) {
        PL_TRY(add_between(w, i));
        PL_TRY(add_key(w, dict->keys[order[i]]));
        PL_TRY(pl__jinja_add_text(w->b, w->style->colon, 0, w->style->colon->length, 0));
        PL_TRY(add_json(w, dict->values[order[i]]));
    }
    w->level--;
    PL_TRY(add_line(w));
    ADD(w->b, "}");
    return PL_OK;
}

static pl_status add_json(json_writer *w, jinja_value v)
{
    PL_TRY(pl__jinja_step(w->run, 1));
    switch (v.kind) {
    case JINJA_NONE: ADD(w->b, "null"); return PL_OK;
    case JINJA_BOOL: ADD(w->b, v.flag ? "true" : "false"); return PL_OK;
    case JINJA_FLOAT:
        if (isfinite(v.number)) return add_float(w->b, v.number, v.marks);
        ADD(w->b, isnan(v.number) ? "NaN" : v.number > 0 ? "Infinity" : "-Infinity");
        return PL_OK;
    case JINJA_INT: return add_integer(w->b, v.integer, v.marks);
    case JINJA_TEXT: return add_json_text(w->b, v.text, w->style->ascii);
    case JINJA_DICT: return add_json_dict(w, v.dict);
    case JINJA_SEQ:
        if (v.seq->flavor == JINJA_LIST || v.seq->flavor == JINJA_TUPLE)
            return add_json_list(w, v.seq);
        break;
    default: break;
    }
    return JINJA_FAIL(w->run, "%s has no form in JSON", pl__jinja_kind_name(v));
}

pl_status pl__jinja_add_json(jinja_run *run, jinja_builder *b, jinja_value v,
                             const jinja_json_style *style)
{
    json_writer w = {.run = run, .b = b, .style = style};
    return add_json(&w, v);
}

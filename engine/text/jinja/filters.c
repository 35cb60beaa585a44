/*
** filters.c - filters on texts and numbers. `tojson` is transformers' (no HTML escapes, its own
** indent and separators), not Jinja's.
*/
#include "text/jinja/call.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BIND_NOTHING(what) PL_TRY(pl__jinja_bind(run, what, args, NULL, NULL, 0))

static bool given(jinja_value v)
{
    return v.kind != JINJA_ABSENT && v.kind != JINJA_NONE;
}

static pl_status integer_of(jinja_run *run, const char *what, jinja_value v, int64_t fallback,
                            int64_t *out)
{
    *out = fallback;
    if (!given(v) || pl__jinja_integer(v, out)) return PL_OK;
    return JINJA_FAIL(run, "%s wants an integer, not %s", what, pl__jinja_kind_name(v));
}

static pl_status built(jinja_builder *b, jinja_value *out)
{
    const jinja_text *text;
    PL_TRY(pl__jinja_built(b, &text));
    *out = jinja_of_text(text);
    return PL_OK;
}

/* A method of texts on whatever has a text. */
static pl_status as_method(jinja_run *run, jinja_value *out, jinja_value self,
                           const jinja_args *args, const char *name)
{
    const jinja_text *text;
    PL_TRY(pl__jinja_str(run, &text, self));
    const jinja_row *row = pl__jinja_row(pl__jinja_text_methods, name, (int64_t)strlen(name));
    return row->call(run, out, jinja_of_text(text), args);
}

FILTER(upper)
{
    return as_method(run, out, self, args, "upper");
}
FILTER(lower)
{
    return as_method(run, out, self, args, "lower");
}
FILTER(capitalize)
{
    return as_method(run, out, self, args, "capitalize");
}
FILTER(trim)
{
    return as_method(run, out, self, args, "strip");
}

FILTER(center)
{
    const jinja_value width = jinja_int(80);
    const jinja_args all = {.list = &width, .count = 1};
    return as_method(run, out, self, args->count + args->n_named > 0 ? args : &all, "center");
}

/* A capital at the beginning and behind "-", white space and opening brackets. */
FILTER(title)
{
    const jinja_text *text;
    jinja_builder b = jinja_builder_of(run);
    jinja_value part, cased;
    uint32_t code;
    BIND_NOTHING("title");
    PL_TRY(pl__jinja_str(run, &text, self));
    PL_TRY(pl__jinja_step(run, 1 + text->length));
    for (int64_t at = 0; at < text->length;) {
        const int64_t begin = at;
        bool in_word = false;
        while (at < text->length) {
            const int64_t n = pl__jinja_char(text, at, &code);
            const bool cuts = pl__jinja_is_space(code) ||
                              (code < 0x80 && code != 0 && strchr("-({[<", (int)code));
            if (cuts && in_word) break;
            at += n;
            if (cuts) break;
            in_word = true;
        }
        PL_TRY(pl__jinja_part(run, &part, text, begin, at));
        PL_TRY(pl__jinja_cased(run, &cased, part.text, CASE_FIRST));
        PL_TRY(pl__jinja_add_text(&b, cased.text, 0, cased.text->length, 0));
    }
    return built(&b, out);
}

FILTER(replace)
{
    const jinja_text *text, *old, *new;
    int64_t most;
    BIND("replace", "old", "new", "count");
    if (slots[0].kind == JINJA_ABSENT || slots[1].kind == JINJA_ABSENT)
        return JINJA_FAIL(run, "replace wants what to look for and what to put there");
    PL_TRY(integer_of(run, "replace", slots[2], -1, &most));
    PL_TRY(pl__jinja_str(run, &text, self));
    PL_TRY(pl__jinja_str(run, &old, slots[0]));
    PL_TRY(pl__jinja_str(run, &new, slots[1]));
    return pl__jinja_replace(run, out, text, old, new, most);
}

FILTER(string)
{
    const jinja_text *text;
    BIND_NOTHING("string");
    PL_TRY(pl__jinja_str(run, &text, self));
    *out = jinja_of_text(text);
    return PL_OK;
}

FILTER(safe)
{
    const jinja_text *text;
    jinja_text *copy;
    BIND_NOTHING("safe");
    PL_TRY(pl__jinja_str(run, &text, self));
    JINJA_TAKE(&run->arena, &copy, 1);
    *copy = *text;
    copy->markup = true;
    *out = jinja_of_text(copy);
    return PL_OK;
}

FILTER(escape)
{
    const jinja_text *text;
    BIND_NOTHING("escape");
    PL_TRY(pl__jinja_str(run, &text, self));
    if (!text->markup) PL_TRY(pl__jinja_escape(run, &text, text));
    *out = jinja_of_text(text);
    return PL_OK;
}

FILTER(format)
{
    const jinja_text *text;
    jinja_seq *values;
    jinja_dict *named;
    PL_TRY(pl__jinja_str(run, &text, self));
    PL_TRY(pl__jinja_seq(&run->arena, &values, JINJA_TUPLE, args->count));
    for (int64_t i = 0; i < args->count; i++)
        PL_TRY(pl__jinja_push(&run->arena, values, args->list[i]));
    PL_TRY(pl__jinja_dict(&run->arena, &named, args->n_named));
    for (int64_t i = 0; i < args->n_named; i++)
        PL_TRY(pl__jinja_put_key(run, named, jinja_of_text(args->names[i]), args->named[i]));
    return pl__jinja_percent(run, out, text,
                             args->n_named > 0 ? jinja_of_dict(named) : jinja_of_seq(values));
}

static pl_status spaces(jinja_run *run, const char *what, jinja_value width, int64_t fallback,
                        const jinja_text **out)
{
    int64_t n;
    jinja_builder b = jinja_builder_of(run);
    if (width.kind == JINJA_TEXT) {
        *out = width.text;
        return PL_OK;
    }
    PL_TRY(integer_of(run, what, width, fallback, &n));
    PL_TRY(pl__jinja_step(run, n > 0 ? n : 0));
    for (; n > 0; n--) PL_TRY(pl__jinja_add(&b, " ", 1, 0));
    return pl__jinja_built(&b, out);
}

FILTER(indent)
{
    const jinja_text *text, *with;
    jinja_builder b = jinja_builder_of(run);
    jinja_value lines, *items;
    int64_t count;
    BIND("indent", "width", "first", "blank");
    PL_TRY(spaces(run, "indent", slots[0], 4, &with));
    if (self.kind != JINJA_TEXT)
        return JINJA_FAIL(run, "indent wants a text, not %s", pl__jinja_kind_name(self));
    text = self.text;
    const jinja_args none = {0};
    PL_TRY(as_method(run, &lines, jinja_of_text(text), &none, "splitlines"));
    PL_TRY(pl__jinja_items(run, lines, &items, &count));
    const bool blank = pl__jinja_true(slots[2]);
    const bool ends = text->length > 0 && text->bytes[text->length - 1] == '\n';
    for (int64_t i = 0; i < count + ends || i == 0; i++) {
        const int64_t length = i < count ? items[i].text->length : 0;
        if (i > 0) PL_TRY(pl__jinja_add(&b, "\n", 1, 0));
        if (i == 0 ? pl__jinja_true(slots[1]) : blank || length > 0)
            PL_TRY(pl__jinja_add_text(&b, with, 0, with->length, 0));
        if (length > 0) PL_TRY(pl__jinja_add_text(&b, items[i].text, 0, length, 0));
    }
    return built(&b, out);
}

FILTER(truncated)
{
    static const jinja_text dots = {.bytes = "...", .length = 3};
    const jinja_text *text, *end = &dots;
    int64_t length, leeway;
    BIND("truncate", "length", "killwords", "end", "leeway");
    PL_TRY(integer_of(run, "truncate", slots[0], 255, &length));
    PL_TRY(integer_of(run, "truncate", slots[3], 5, &leeway));
    if (given(slots[2])) PL_TRY(pl__jinja_str(run, &end, slots[2]));
    int64_t there;
    const int64_t kept = length - pl__jinja_chars(end);
    if (kept < 0 || leeway < 0 || leeway > INT64_MAX - length)
        return JINJA_FAIL(run, "truncate: a length shorter than the end");
    PL_TRY(pl__jinja_length(run, self, &there));
    *out = self;
    if (there <= length + leeway) return PL_OK;
    if (self.kind != JINJA_TEXT)
        return JINJA_FAIL(run, "truncate wants a text, not %s", pl__jinja_kind_name(self));
    text = self.text;
    int64_t to = pl__jinja_byte_of(text, kept);
    if (!pl__jinja_true(slots[1])) {
        const char *space = memrchr(text->bytes, ' ', (size_t)to);
        if (space != NULL) to = space - text->bytes;
    }
    jinja_value part;
    PL_TRY(pl__jinja_part(run, &part, text, 0, to));
    return pl__jinja_join2(run, out, part.text, end);
}

FILTER(wordcount)
{
    const jinja_text *text;
    uint32_t code;
    bool inside = false;
    BIND_NOTHING("wordcount");
    PL_TRY(pl__jinja_str(run, &text, self));
    PL_TRY(pl__jinja_step(run, 1 + text->length / 8));
    *out = jinja_int(0);
    for (int64_t at = 0; at < text->length;) {
        at += pl__jinja_char(text, at, &code);
        const bool word = pl__jinja_is_word(code);
        out->integer += word && !inside;
        inside = word;
    }
    return PL_OK;
}

/* Values -------------------------------------------------------------------------------------- */

FILTER(or_default)
{
    BIND("default", "default_value", "boolean");
    const bool missing =
        self.kind == JINJA_UNDEFINED || (pl__jinja_true(slots[1]) && !pl__jinja_true(self));
    *out = self;
    if (!missing) return PL_OK;
    if (slots[0].kind == JINJA_ABSENT) return pl__jinja_literal(run, out, "");
    *out = slots[0];
    return PL_OK;
}

FILTER(length)
{
    BIND_NOTHING("length");
    *out = jinja_int(0);
    return pl__jinja_length(run, self, &out->integer);
}

static pl_status refuse_undefined(jinja_run *run, const char *what, jinja_value self)
{
    if (self.kind != JINJA_UNDEFINED) return PL_OK;
    return JINJA_FAIL(run, "%s of an undefined value", what);
}

FILTER(absolute)
{
    BIND_NOTHING("abs");
    *out = self;
    if (self.kind == JINJA_BOOL) *out = jinja_int(self.flag);
    else if (self.kind == JINJA_FLOAT) out->number = fabs(self.number);
    else if (self.kind != JINJA_INT || self.integer == INT64_MIN)
        return JINJA_FAIL(run, "abs wants a number, not %s", pl__jinja_kind_name(self));
    else out->integer = self.integer < 0 ? -self.integer : self.integer;
    return PL_OK;
}

/* The text without white space at its ends and single underscores between digits; false where it
** is too long for a number or has others. */
static bool plain_number(const jinja_text *text, char out[128])
{
    int64_t from, to, n = 0;
    pl__jinja_strip(text, NULL, true, true, &from, &to);
    for (int64_t i = from; i < to; i++) {
        const char c = text->bytes[i];
        const bool between = i > from && i + 1 < to && text->bytes[i - 1] != '_' &&
                             text->bytes[i + 1] != '_' && text->bytes[i - 1] != '+' &&
                             text->bytes[i - 1] != '-';
        if (c == '_' && !between) return false;
        if (c == '_') continue;
        if (n == 127 || c == '\0' || (unsigned char)c >= 0x80 ||
            pl__jinja_is_space((unsigned char)c))
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n > 0;
}

static bool read_float(const jinja_text *text, double *out)
{
    char digits[128], *end;
    if (!plain_number(text, digits) || strpbrk(digits, "xX(") != NULL) return false;
    *out = strtod(digits, &end);
    return *end == '\0';
}

static bool read_integer(const jinja_text *text, int64_t base, int64_t *out)
{
    char digits[128], *end;
    if (base != 0 && (base < 2 || base > 36)) return false;
    if (!plain_number(text, digits)) return false;
    const char *begin = digits + strspn(digits, "+-");
    if (begin - digits > 1 || *begin == '\0') return false;
    const char *prefix = base == 2 ? "bB" : base == 8 ? "oO" : "";
    char *from = digits;
    if (begin[0] == '0' && begin[1] != '\0' && strchr(prefix, begin[1]) != NULL) {
        memmove((char *)begin, begin + 2, strlen(begin + 2) + 1);
        if (*begin == '\0') return false;
    }
    errno = 0;
    *out = strtoll(from, &end, (int)base);
    return *end == '\0' && end != digits && errno == 0;
}

static bool fits(double x)
{
    return x > -9.2e18 && x < 9.2e18;
}

FILTER(integer)
{
    int64_t base, n;
    double x;
    BIND("int", "default", "base");
    PL_TRY(refuse_undefined(run, "int", self));
    PL_TRY(integer_of(run, "int", slots[1], 10, &base));
    *out = slots[0].kind == JINJA_ABSENT ? jinja_int(0) : slots[0];
    if (self.kind == JINJA_TEXT) {
        if (read_integer(self.text, base, &n)) *out = jinja_int(n);
        else if (read_float(self.text, &x) && fits(x)) *out = jinja_int((int64_t)x);
        else return PL_OK;
        out->marks = self.text->marks != NULL ? JINJA_USER : 0;
    } else if (pl__jinja_number(self, &x)) {
        if (pl__jinja_integer(self, &n)) *out = jinja_int(n);
        else if (fits(x)) *out = jinja_int((int64_t)x);
        out->marks = self.marks;
    }
    return PL_OK;
}

FILTER(floating)
{
    double x;
    BIND("float", "default");
    PL_TRY(refuse_undefined(run, "float", self));
    *out = slots[0].kind == JINJA_ABSENT ? jinja_float(0) : slots[0];
    if (self.kind == JINJA_TEXT && read_float(self.text, &x)) {
        *out = jinja_float(x);
        out->marks = self.text->marks != NULL ? JINJA_USER : 0;
    } else if (pl__jinja_number(self, &x)) {
        *out = jinja_float(x);
        out->marks = self.marks;
    }
    return PL_OK;
}

/* As Python's round: halves of the decimal number that x exactly is go to the even digit. */
static double rounded(double x, int64_t places)
{
    char digits[700];
    if (!isfinite(x) || places > 300) return x;
    if (places < 0) {
        const double unit = pow(10, (double)-places);
        return places < -300 ? 0 : nearbyint(x / unit) * unit;
    }
    snprintf(digits, sizeof digits, "%.*f", (int)places, x);
    return strtod(digits, NULL);
}

FILTER(rounding)
{
    int64_t places, n;
    double x;
    BIND("round", "precision", "method");
    PL_TRY(integer_of(run, "round", slots[0], 0, &places));
    if (!pl__jinja_number(self, &x))
        return JINJA_FAIL(run, "round wants a number, not %s", pl__jinja_kind_name(self));
    const jinja_text *method = slots[1].kind == JINJA_TEXT ? slots[1].text : NULL;
    const double unit = pow(10, (double)places);
    if (slots[1].kind == JINJA_ABSENT || (method != NULL && pl__jinja_is_text(method, "common"))) {
        const bool whole = pl__jinja_integer(self, &n);
        *out = whole && places >= 0 ? jinja_int(n)
               : whole              ? jinja_int((int64_t)rounded(x, places))
                                    : jinja_float(rounded(x, places));
    } else if (method != NULL && pl__jinja_is_text(method, "ceil")) {
        *out = jinja_float(ceil(x * unit) / unit);
    } else if (method != NULL && pl__jinja_is_text(method, "floor")) {
        *out = jinja_float(floor(x * unit) / unit);
    } else {
        return JINJA_FAIL(run, "round knows the methods common, ceil and floor");
    }
    out->marks = self.marks;
    return PL_OK;
}

FILTER(tojson)
{
    static const jinja_text comma = {.bytes = ", ", .length = 2},
                            bare = {.bytes = ",", .length = 1},
                            colon = {.bytes = ": ", .length = 2};
    jinja_builder b = jinja_builder_of(run);
    BIND("tojson", "ensure_ascii", "indent", "separators", "sort_keys");
    jinja_json_style style = {.between = &comma,
                              .colon = &colon,
                              .ascii = pl__jinja_true(slots[0]),
                              .sorted = pl__jinja_true(slots[3])};
    if (given(slots[1])) {
        PL_TRY(spaces(run, "tojson's indent", slots[1], 0, &style.indent));
        style.between = &bare;
    }
    if (given(slots[2])) {
        jinja_value *parts;
        int64_t n;
        PL_TRY(pl__jinja_items(run, slots[2], &parts, &n));
        if (n != 2 || parts[0].kind != JINJA_TEXT || parts[1].kind != JINJA_TEXT)
            return JINJA_FAIL(run, "tojson's separators are two texts");
        style.between = parts[0].text;
        style.colon = parts[1].text;
    }
    PL_TRY(pl__jinja_add_json(run, &b, self, &style));
    return built(&b, out);
}

const jinja_row pl__jinja_filters[] = {
    {"abs", absolute},   {"capitalize", capitalize}, {"center", center},   {"count", length},
    {"d", or_default},   {"default", or_default},    {"e", escape},        {"escape", escape},
    {"float", floating}, {"format", format},         {"indent", indent},   {"int", integer},
    {"length", length},  {"lower", lower},           {"replace", replace}, {"round", rounding},
    {"safe", safe},      {"string", string},         {"title", title},     {"tojson", tojson},
    {"trim", trim},      {"truncate", truncated},    {"upper", upper},     {"wordcount", wordcount},
    {NULL, NULL}};

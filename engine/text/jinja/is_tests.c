/*
** is_tests.c - the tests behind `is`.
*/
#include "text/jinja/jinja.h"

#define TEST(name)                                                            \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)

static pl_status answer(jinja_run *run, jinja_value *out, const jinja_args *args, bool holds)
{
    *out = jinja_bool(holds);
    if (args->count + args->n_named == 0) return PL_OK;
    return JINJA_FAIL(run, "the test takes no argument");
}

#define IS(name, holds)                       \
    TEST(name)                                \
    {                                         \
        return answer(run, out, args, holds); \
    }
IS(defined, self.kind != JINJA_UNDEFINED)
IS(undefined, self.kind == JINJA_UNDEFINED)
IS(none, self.kind == JINJA_NONE)
IS(boolean, self.kind == JINJA_BOOL)
IS(is_true, self.kind == JINJA_BOOL && self.flag)
IS(is_false, self.kind == JINJA_BOOL && !self.flag)
IS(integer, self.kind == JINJA_INT)
IS(floating, self.kind == JINJA_FLOAT)
IS(number, self.kind == JINJA_INT || self.kind == JINJA_FLOAT || self.kind == JINJA_BOOL)
IS(string, self.kind == JINJA_TEXT)
IS(mapping, self.kind == JINJA_DICT)
IS(iterable, self.kind == JINJA_TEXT || self.kind == JINJA_SEQ || self.kind == JINJA_DICT ||
                 self.kind == JINJA_UNDEFINED || self.kind == JINJA_LOOP)
IS(sequence, self.kind == JINJA_TEXT || self.kind == JINJA_DICT || self.kind == JINJA_UNDEFINED ||
                 (self.kind == JINJA_SEQ && self.seq->flavor != JINJA_VIEW &&
                  self.seq->flavor != JINJA_GENERATOR))
IS(callable, self.kind == JINJA_FUNCTION || self.kind == JINJA_MACRO ||
                 self.kind == JINJA_UNDEFINED || self.kind == JINJA_LOOP)
IS(escaped, self.kind == JINJA_TEXT && self.text->markup)

static pl_status one(jinja_run *run, const jinja_args *args, jinja_value *out)
{
    if (args->count != 1 || args->n_named != 0)
        return JINJA_FAIL(run, "the test takes one argument");
    *out = args->list[0];
    return PL_OK;
}

TEST(equal)
{
    jinja_value other;
    PL_TRY(one(run, args, &other));
    PL_TRY(pl__jinja_step(run, pl__jinja_weight(self)));
    *out = jinja_bool(pl__jinja_equal(self, other));
    return PL_OK;
}

TEST(unequal)
{
    PL_TRY(equal(run, out, self, args));
    out->flag = !out->flag;
    return PL_OK;
}

static pl_status ordered(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                         int least, int greatest)
{
    jinja_value other;
    int order;
    PL_TRY(one(run, args, &other));
    PL_TRY(pl__jinja_order(run, self, other, &order));
    const int sign = order < 0 ? -1 : order > 0;
    *out = jinja_bool(order != 2 && sign >= least && sign <= greatest);
    return PL_OK;
}

TEST(less)
{
    return ordered(run, out, self, args, -1, -1);
}
TEST(at_most)
{
    return ordered(run, out, self, args, -1, 0);
}
TEST(greater)
{
    return ordered(run, out, self, args, 1, 1);
}
TEST(at_least)
{
    return ordered(run, out, self, args, 0, 1);
}

TEST(within)
{
    jinja_value whole;
    PL_TRY(one(run, args, &whole));
    *out = jinja_bool(false);
    return pl__jinja_contains(run, whole, self, &out->flag);
}

/* The very same object: for numbers and texts, which have no identity here, the same value. */
TEST(sameas)
{
    jinja_value other;
    PL_TRY(one(run, args, &other));
    const bool same_kind = self.kind == other.kind;
    *out = jinja_bool(same_kind && (self.kind == JINJA_SEQ    ? self.seq == other.seq
                                    : self.kind == JINJA_DICT ? self.dict == other.dict
                                                              : pl__jinja_equal(self, other)));
    return PL_OK;
}

/* Whether self divided by `by` leaves `rest`. */
static pl_status divided(jinja_run *run, jinja_value *out, jinja_value self, jinja_value by,
                         double rest)
{
    jinja_value left;
    double x;
    PL_TRY(pl__jinja_binary(run, &left, OP_MOD, self, by));
    *out = jinja_bool(pl__jinja_number(left, &x) && x == rest);
    return PL_OK;
}

TEST(even)
{
    PL_TRY(answer(run, out, args, false));
    return divided(run, out, self, jinja_int(2), 0);
}

TEST(odd)
{
    PL_TRY(answer(run, out, args, false));
    return divided(run, out, self, jinja_int(2), 1);
}

TEST(divisible)
{
    jinja_value by;
    PL_TRY(one(run, args, &by));
    return divided(run, out, self, by, 0);
}

static pl_status cased(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                       const char *name)
{
    const jinja_text *text;
    PL_TRY(pl__jinja_str(run, &text, self));
    return pl__jinja_row(pl__jinja_text_methods, name, 7)
        ->call(run, out, jinja_of_text(text), args);
}

TEST(upper)
{
    return cased(run, out, self, args, "isupper");
}
TEST(lower)
{
    return cased(run, out, self, args, "islower");
}

static pl_status known(jinja_run *run, jinja_value *out, jinja_value self, const jinja_args *args,
                       const jinja_row *const tables[2])
{
    return answer(run, out, args,
                  self.kind == JINJA_TEXT &&
                      jinja_row_of(tables, self.text->bytes, self.text->length) != NULL);
}

TEST(filter)
{
    return known(run, out, self, args, run->filters);
}
TEST(test)
{
    return known(run, out, self, args, run->tests);
}

const jinja_row pl__jinja_tests[] = {{"!=", unequal},
                                     {"<", less},
                                     {"<=", at_most},
                                     {"==", equal},
                                     {">", greater},
                                     {">=", at_least},
                                     {"boolean", boolean},
                                     {"callable", callable},
                                     {"defined", defined},
                                     {"divisibleby", divisible},
                                     {"eq", equal},
                                     {"equalto", equal},
                                     {"escaped", escaped},
                                     {"even", even},
                                     {"false", is_false},
                                     {"filter", filter},
                                     {"float", floating},
                                     {"ge", at_least},
                                     {"greaterthan", greater},
                                     {"gt", greater},
                                     {"in", within},
                                     {"integer", integer},
                                     {"iterable", iterable},
                                     {"le", at_most},
                                     {"lessthan", less},
                                     {"lower", lower},
                                     {"lt", less},
                                     {"mapping", mapping},
                                     {"ne", unequal},
                                     {"none", none},
                                     {"number", number},
                                     {"odd", odd},
                                     {"sameas", sameas},
                                     {"sequence", sequence},
                                     {"string", string},
                                     {"test", test},
                                     {"true", is_true},
                                     {"undefined", undefined},
                                     {"upper", upper},
                                     {NULL, NULL}};

/*
** call.h - how filters are declared, and how the arguments of filters and methods are taken.
*/
#ifndef PL_TEXT_JINJA_CALL_H
#define PL_TEXT_JINJA_CALL_H

#include "text/jinja/jinja.h"

/* A filter: of `self`, the value it stands behind, with `args`, it makes *out. */
#define FILTER(name)                                                          \
    static pl_status name(jinja_run *run, jinja_value *out, jinja_value self, \
                          const jinja_args *args)

/* Binds the arguments to these names, in slots[]; one that was not given is JINJA_ABSENT. */
#define BIND(what, ...)                                \
    static const char *const names[] = {__VA_ARGS__};  \
    enum { N_NAMES = sizeof names / sizeof names[0] }; \
    jinja_value slots[N_NAMES];                        \
    PL_TRY(pl__jinja_bind(run, what, args, names, slots, N_NAMES))

/* Slot `i` as a text, or as an integer; `fallback` where it was not given: an error of a
   text without one. */
pl_status pl__jinja_text_at(jinja_run *run, const jinja_value *slots, int i, const char *what,
                            const jinja_text *fallback, const jinja_text **out);
pl_status pl__jinja_integer_at(jinja_run *run, const jinja_value *slots, int i, const char *what,
                               int64_t fallback, int64_t *out);

/* methods_cut.c: methods of a text, for the table of them. */
#define CUTS(name)                                                                      \
    pl_status pl__jinja_text_##name(jinja_run *run, jinja_value *out, jinja_value self, \
                                    const jinja_args *args)
CUTS(split);
CUTS(rsplit);
CUTS(splitlines);
CUTS(partition);
CUTS(rpartition);
#undef CUTS

#endif

/*
** jinja.h - what the files of the Jinja interpreter share: memory, values, nodes, a run.
**
** A template becomes tokens (lexer.c), then nodes (parse.c, parse_expression.c, parse_tokens.c). A
** run walks them: expressions in eval.c, statements in run.c; values.c and strings.c hold what
** Python's values do, print.c how they look, methods.c, methods_cut.c, filters.c, filters_list.c
** and is_tests.c what is called by name. render.c is the public face.
**
** Every byte of a text carries marks: JINJA_USER where it came from the values of a conversation,
** JINJA_GENERATED where it stood in a generation block. Whatever is made of texts keeps them.
**
** All memory of a template and of a run is an arena with a limit; nothing is freed before the
** whole. Values are never changed once made, but for namespaces, and a generator's place.
*/
#ifndef PL_TEXT_JINJA_H
#define PL_TEXT_JINJA_H

#include "base/ctx.h"

#include <string.h>

/* Memory -------------------------------------------------------------------------------------- */

typedef struct jinja_chunk jinja_chunk;

typedef struct {
    pl_ctx *ctx;
    const char *name; /* of the template, for errors */
    int line;         /* where we are */
    jinja_chunk *chunks;
    char *at, *end;
    int64_t taken, most; /* bytes so far, and how many there may be; most 0: no limit */
} jinja_arena;

/* Zeroed, aligned for every type; NULL with error text. */
void *pl__jinja_take(jinja_arena *arena, int64_t count, int64_t size);
void pl__jinja_free(jinja_arena *arena);
/* "name:line: text"; returns `st`. */
pl_status pl__jinja_fail(jinja_arena *arena, pl_status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* *out = room for `count` of its type. */
#define JINJA_TAKE(arena, out, count)                                                \
    do {                                                                             \
        *(out) = pl__jinja_take((arena), (int64_t)(count), (int64_t)sizeof **(out)); \
        if (*(out) == NULL) return PL_ERR_NOMEM;                                     \
    } while (0)

/* Values -------------------------------------------------------------------------------------- */

enum { JINJA_USER = 1, JINJA_GENERATED = 2 };

typedef struct {
    const char *bytes;
    const uint8_t *marks; /* a mark for each byte; NULL: none has one */
    int64_t length;       /* bytes */
    bool markup;          /* what Python calls Markup: text joined to it by + is escaped */
} jinja_text;

typedef enum {
    JINJA_ABSENT, /* no value at all: an argument that was not given */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_TEXT,
    JINJA_SEQ,
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_FUNCTION,
    JINJA_LOOP
} jinja_kind;

typedef struct jinja_seq jinja_seq;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_bound jinja_bound;
typedef struct jinja_loop jinja_loop;

typedef struct {
    jinja_kind kind;
    uint8_t marks; /* of the text a number or a boolean would give */
    union {
        bool flag;
        int64_t integer;
        double number;
        const jinja_text *text; /* JINJA_UNDEFINED: the name that was looked for, or NULL */
        jinja_seq *seq;
        jinja_dict *dict; /* JINJA_NAMESPACE too */
        jinja_macro *macro;
        jinja_bound *bound;
        jinja_loop *loop;
    };
} jinja_value;

/* Python's kinds of sequences: they differ in what may be done with them. A generator gives its
** items once. */
typedef enum { JINJA_LIST, JINJA_TUPLE, JINJA_RANGE, JINJA_VIEW, JINJA_GENERATOR } jinja_flavor;

struct jinja_seq {
    jinja_flavor flavor;
    int depth;    /* of nesting */
    int64_t size; /* of all that is in it, in values */
    jinja_value *items;
    int64_t count, room;
    int64_t given;       /* items a generator has given already */
    int64_t range[3];    /* start, stop, step */
    const char *printed; /* a view's name in Python */
};

struct jinja_dict {
    jinja_value *keys, *values; /* in the order they were put there */
    int64_t count, room;
    int depth;
    int64_t size;
};

typedef struct jinja_run jinja_run;
typedef struct jinja_node jinja_node;
typedef struct jinja_frame jinja_frame;

typedef struct {
    const jinja_value *list;
    int64_t count;
    const jinja_text **names; /* of named arguments */
    const jinja_value *named;
    int64_t n_named;
} jinja_args;

/* A filter, a test, a method or a function: `self` is what it is applied to. */
typedef pl_status (*jinja_call)(jinja_run *run, jinja_value *out, jinja_value self,
                                const jinja_args *args);

typedef struct {
    const char *name; /* NULL: the end of a table */
    jinja_call call;
} jinja_row;

struct jinja_bound {
    const jinja_row *row;
    jinja_value self;
};

struct jinja_macro {
    const jinja_node *node;
    jinja_frame *home; /* what its body sees */
};

struct jinja_loop {
    const jinja_node *node;
    jinja_frame *home;
    jinja_value *items;
    int64_t count, index; /* index from 0 */
    int depth;            /* of recursive loops, from 0 */
    jinja_value changed;  /* what loop.changed saw last; absent at first */
};

/* Nodes --------------------------------------------------------------------------------------- */

typedef enum {
    /* expressions */
    NODE_CONST,   /* value */
    NODE_NAME,    /* name */
    NODE_TUPLE,   /* list */
    NODE_LIST,    /* list */
    NODE_DICT,    /* list: key, value, key, ... */
    NODE_COND,    /* b if a else c; c may be NULL */
    NODE_AND,     /* a, b */
    NODE_OR,      /* a, b */
    NODE_NOT,     /* a */
    NODE_COMPARE, /* a, list of NODE_OPERAND */
    NODE_OPERAND, /* op, a */
    NODE_BINARY,  /* op, a, b */
    NODE_NEGATE,  /* a */
    NODE_PLUS,    /* a */
    NODE_CONCAT,  /* list */
    NODE_ATTR,    /* a, name */
    NODE_ITEM,    /* a, b; b may be a NODE_SLICE */
    NODE_SLICE,   /* a, b, c; each may be NULL */
    NODE_CALL,    /* a, call */
    NODE_FILTER,  /* a (NULL: the body of a block), row, call */
    NODE_TEST,    /* a, row, call */
    NODE_SPACED,  /* name.text, a target of `set`: name is the namespace's, text the attribute's */
    /* statements */
    NODE_DATA,       /* text */
    NODE_PRINT,      /* list */
    NODE_FOR,        /* target a, iterable b, condition c or NULL, list, other (else), flag */
    NODE_IF,         /* list of NODE_BRANCH */
    NODE_BRANCH,     /* a (NULL: else), list */
    NODE_SET,        /* target a, b */
    NODE_SET_BLOCK,  /* target a, filter b or NULL, list */
    NODE_MACRO,      /* name, signature, list */
    NODE_CALL_BLOCK, /* call a, signature, list */
    NODE_FILTERED,   /* filter a, list */
    NODE_WITH,       /* other: target, value, target, ...; list */
    NODE_GENERATION, /* list */
    NODE_BREAK,
    NODE_CONTINUE
} jinja_node_kind;

typedef enum {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
} jinja_op;

typedef struct {
    jinja_node **list;
    int64_t count;
    const jinja_text **names;
    jinja_node **named;
    int64_t n_named;
    jinja_node *more, *more_named; /* *x and **x, or NULL */
} jinja_arguments;

typedef struct {
    const jinja_text **names;
    jinja_node **defaults; /* NULL where there is none */
    int64_t count;
    bool varargs, kwargs, caller; /* whether the body reads these */
} jinja_signature;

struct jinja_node {
    jinja_node_kind kind;
    jinja_op op;
    int line;
    bool flag; /* NODE_FOR: recursive */
    const jinja_text *name, *text;
    jinja_value value;
    jinja_node *a, *b, *c;
    jinja_node **list, **other;
    int64_t count, n_other;
    const jinja_row *row;
    jinja_arguments *call;
    jinja_signature *signature;
};

/* Tokens -------------------------------------------------------------------------------------- */

typedef enum {
    TOKEN_END,
    TOKEN_DATA,
    TOKEN_VARIABLE,     /* {{ */
    TOKEN_VARIABLE_END, /* }} */
    TOKEN_BLOCK,        /* {% */
    TOKEN_BLOCK_END,    /* %} */
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR
} jinja_token_kind;

typedef struct {
    jinja_token_kind kind;
    int line;
    const char *text; /* a name, an operator as it is written, data, the value of a string */
    int64_t length;
    int64_t integer;
    double number;
} jinja_token;

typedef struct {
    jinja_token *list; /* ends with TOKEN_END */
    int64_t count, room;
} jinja_tokens;

/* The tokens of a template's text, in the arena; PL_ERR_FORMAT for what is none. */
pl_status pl__jinja_tokens(jinja_arena *arena, jinja_tokens *out, const char *text, size_t length);

typedef struct {
    jinja_arena *arena;
    const jinja_token *at;
    int depth;
    const jinja_row *filters[2], *tests[2]; /* a table and perhaps another */
    jinja_signature *macro;                 /* the innermost that is being read, or NULL */
    int loops;                              /* loops around, within the innermost macro */
    bool generation;                        /* there is a generation block */
} jinja_parser;

/* parse_expression.c: each leaves the token behind what was read. */
pl_status pl__jinja_expression(jinja_parser *p, jinja_node **out, bool with_condition);
/* Perhaps several, as a tuple; `end`: the name of a statement that ends it, or NULL. */
pl_status pl__jinja_tuple(jinja_parser *p, jinja_node **out, bool with_condition, const char *end);
/* What may be assigned to: names and tuples of them, `spaced` attributes of namespaces too. */
pl_status pl__jinja_target(jinja_parser *p, jinja_node **out, bool spaced, const char *end);
pl_status pl__jinja_filter_chain(jinja_parser *p, jinja_node **out, jinja_node *piped,
                                 bool inlined);

/* parse_tokens.c. */
pl_status pl__jinja_node(jinja_parser *p, jinja_node **out, jinja_node_kind kind);
pl_status pl__jinja_append(jinja_parser *p, jinja_node ***list, int64_t *count, jinja_node *node);
bool pl__jinja_is(const jinja_token *token, jinja_token_kind kind, const char *text);
bool pl__jinja_skip(jinja_parser *p, jinja_token_kind kind, const char *text);
pl_status pl__jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text);
/* The error of another token than is wanted. */
pl_status pl__jinja_wrong(jinja_parser *p, const char *wanted);
/* The text of a token. */
pl_status pl__jinja_name_text(jinja_parser *p, const jinja_text **out, const jinja_token *token);
/* The text of a name that stands here, and past it. */
pl_status pl__jinja_name(jinja_parser *p, const jinja_text **out);

/* parse.c: the whole template. */
pl_status pl__jinja_parse(jinja_parser *p, jinja_node ***list, int64_t *count);

/* A run --------------------------------------------------------------------------------------- */

typedef struct {
    jinja_arena *arena;
    char *bytes;
    uint8_t *marks;
    int64_t length, room;
} jinja_builder;

typedef struct {
    const jinja_text *name;
    jinja_value value;
} jinja_entry;

struct jinja_frame {
    jinja_frame *parent;
    jinja_entry *entries;
    int64_t count, room;
    bool is_held; /* a macro was made in it, and sees it */
};

typedef enum { SIGNAL_NONE, SIGNAL_BREAK, SIGNAL_CONTINUE } jinja_signal;

struct jinja_run {
    jinja_arena arena; /* first: a run is its arena */
    jinja_frame *frame;
    jinja_dict *values; /* what the caller gave */
    jinja_builder *out;
    const jinja_row *filters[2], *tests[2];
    int64_t steps, most_steps, interrupt_at;
    int depth, most_depth;
    int64_t now; /* seconds since 1970 */
    jinja_signal signal;
    /* of run.c, for eval.c */
    pl_status (*call_macro)(jinja_run *run, jinja_value *out, const jinja_macro *macro,
                            const jinja_args *args);
    pl_status (*call_loop)(jinja_run *run, jinja_value *out, const jinja_loop *loop,
                           jinja_value items);
};

#define JINJA_FAIL(run, ...) pl__jinja_fail(&(run)->arena, PL_ERR_ARG, __VA_ARGS__)

/* Counts `n` steps of work; refused when there were too many. */
pl_status pl__jinja_step(jinja_run *run, int64_t n);
pl_status pl__jinja_enter(jinja_run *run); /* one level deeper */
static inline void pl__jinja_leave(jinja_run *run)
{
    run->depth--;
}

/* values.c ------------------------------------------------------------------------------------ */

static inline jinja_value jinja_undefined(const jinja_text *name)
{
    return (jinja_value){.kind = JINJA_UNDEFINED, .text = name};
}
static inline jinja_value jinja_none(void)
{
    return (jinja_value){.kind = JINJA_NONE};
}
static inline jinja_value jinja_bool(bool flag)
{
    return (jinja_value){.kind = JINJA_BOOL, .flag = flag};
}
static inline jinja_value jinja_int(int64_t n)
{
    return (jinja_value){.kind = JINJA_INT, .integer = n};
}
static inline jinja_value jinja_float(double x)
{
    return (jinja_value){.kind = JINJA_FLOAT, .number = x};
}
static inline jinja_value jinja_of_text(const jinja_text *text)
{
    return (jinja_value){.kind = JINJA_TEXT, .text = text};
}
static inline jinja_value jinja_of_seq(jinja_seq *seq)
{
    return (jinja_value){.kind = JINJA_SEQ, .seq = seq};
}
static inline jinja_value jinja_of_dict(jinja_dict *dict)
{
    return (jinja_value){.kind = JINJA_DICT, .dict = dict};
}

/* Whether two names are the same. */
bool pl__jinja_same(const jinja_text *a, const jinja_text *b);
bool pl__jinja_is_text(const jinja_text *text, const char *name);

/* An integer or a boolean as an integer; false for others. */
bool pl__jinja_integer(jinja_value v, int64_t *out);
/* Any number as a float; false for what is none. */
bool pl__jinja_number(jinja_value v, double *out);

pl_status pl__jinja_seq(jinja_arena *arena, jinja_seq **out, jinja_flavor flavor, int64_t room);
pl_status pl__jinja_push(jinja_arena *arena, jinja_seq *seq, jinja_value item);
pl_status pl__jinja_dict(jinja_arena *arena, jinja_dict **out, int64_t room);
/* Replaces the value of a key that is there; refuses keys that Python cannot hash. */
pl_status pl__jinja_put_key(jinja_run *run, jinja_dict *dict, jinja_value key, jinja_value value);
jinja_value *pl__jinja_find(const jinja_dict *dict, jinja_value key);
jinja_value *pl__jinja_find_text(const jinja_dict *dict, const char *bytes, int64_t length);

const char *pl__jinja_kind_name(jinja_value v); /* "text", "a list", ... */
bool pl__jinja_true(jinja_value v);
bool pl__jinja_equal(jinja_value a, jinja_value b);
/* *out < 0, 0, > 0 as a is before, like or behind b; refuses what has no order. */
pl_status pl__jinja_order(jinja_run *run, jinja_value a, jinja_value b, int *out);
pl_status pl__jinja_contains(jinja_run *run, jinja_value whole, jinja_value part, bool *out);
/* What a loop goes over; a generator has given its items then. */
pl_status pl__jinja_items(jinja_run *run, jinja_value v, jinja_value **items, int64_t *count);
/* Python's len; refuses what has none. */
pl_status pl__jinja_length(jinja_run *run, jinja_value v, int64_t *out);
/* Work in proportion to the size of a value. */
int64_t pl__jinja_weight(jinja_value v);

/* Arguments into `slots`, one for each of the n `names`, absent where not given. */
pl_status pl__jinja_bind(jinja_run *run, const char *what, const jinja_args *args,
                         const char *const *names, jinja_value *slots, int n);

/* strings.c ----------------------------------------------------------------------------------- */

pl_status pl__jinja_text(jinja_arena *arena, const jinja_text **out, const char *bytes,
                         int64_t length, uint8_t marks);
/* `bytes` stays the caller's; it is not copied. */
pl_status pl__jinja_literal(jinja_run *run, jinja_value *out, const char *bytes);

pl_status pl__jinja_add(jinja_builder *b, const char *bytes, int64_t length, uint8_t marks);
/* The bytes [from, to) of a text, with `more` marks on each. */
pl_status pl__jinja_add_text(jinja_builder *b, const jinja_text *text, int64_t from, int64_t to,
                             uint8_t more);
pl_status pl__jinja_built(jinja_builder *b, const jinja_text **out);
static inline jinja_builder jinja_builder_of(jinja_run *run)
{
    return (jinja_builder){.arena = &run->arena};
}

/* Bytes of the character at `at`: a stray byte is one by itself. *code is its code point. */
int64_t pl__jinja_char(const jinja_text *text, int64_t at, uint32_t *code);
/* Where the character that ends at `at` begins. */
int64_t pl__jinja_char_before(const jinja_text *text, int64_t at, uint32_t *code);
int64_t pl__jinja_chars(const jinja_text *text);
/* The byte where character n (from 0) begins; the length for those beyond. */
int64_t pl__jinja_byte_of(const jinja_text *text, int64_t n);
pl_status pl__jinja_part(jinja_run *run, jinja_value *out, const jinja_text *text, int64_t from,
                         int64_t to);
/* The first place at or behind `from` where `part` stands, -1: none. */
int64_t pl__jinja_find_part(const jinja_text *text, int64_t from, const jinja_text *part);
/* The byte of the last place of a part; -1 where it is not there. */
int64_t pl__jinja_find_last(const jinja_text *text, const jinja_text *part);
pl_status pl__jinja_join2(jinja_run *run, jinja_value *out, const jinja_text *a,
                          const jinja_text *b);
/* Without the characters of `chars` at its ends (NULL: white space). */
void pl__jinja_strip(const jinja_text *text, const jinja_text *chars, bool left, bool right,
                     int64_t *from, int64_t *to);
pl_status pl__jinja_replace(jinja_run *run, jinja_value *out, const jinja_text *text,
                            const jinja_text *old, const jinja_text *new, int64_t most);
pl_status pl__jinja_escape(jinja_run *run, const jinja_text **out, const jinja_text *text);
/* CASE_CAPITAL is Python's capitalize; CASE_FIRST has the first letter in upper, not title case. */
typedef enum { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_FIRST, CASE_TITLE, CASE_SWAP } jinja_case;
pl_status pl__jinja_cased(jinja_run *run, jinja_value *out, const jinja_text *text, jinja_case how);
/* Python's slice [start:stop:step] over `count` items: how many, the first and the step. */
int64_t pl__jinja_slice(int64_t count, const int64_t *start, const int64_t *stop, int64_t step,
                        int64_t *first);

bool pl__jinja_is_space(uint32_t code);
bool pl__jinja_is_printable(uint32_t code);
bool pl__jinja_is_word(uint32_t code); /* a letter, a digit or _ */

/* print.c ------------------------------------------------------------------------------------- */

/* As Python's str gives it; a text is itself. */
pl_status pl__jinja_str(jinja_run *run, const jinja_text **out, jinja_value v);
pl_status pl__jinja_add_str(jinja_run *run, jinja_builder *b, jinja_value v);
pl_status pl__jinja_add_repr(jinja_run *run, jinja_builder *b, jinja_value v);
/* The shortest text that reads back to x, as Python writes it. */
void pl__jinja_float_text(double x, char out[40]);

typedef struct {
    const jinja_text *indent; /* NULL: one line */
    const jinja_text *between, *colon;
    bool ascii, sorted;
} jinja_json_style;
pl_status pl__jinja_add_json(jinja_run *run, jinja_builder *b, jinja_value v,
                             const jinja_json_style *style);

/* Tables -------------------------------------------------------------------------------------- */

extern const jinja_row pl__jinja_text_methods[], pl__jinja_dict_methods[], pl__jinja_seq_methods[];
extern const jinja_row pl__jinja_filters[], pl__jinja_list_filters[], pl__jinja_tests[];
extern const jinja_row pl__jinja_functions[];
const jinja_row *pl__jinja_row(const jinja_row *table, const char *name, int64_t length);
static inline const jinja_row *jinja_row_of(const jinja_row *const tables[2], const char *name,
                                            int64_t length)
{
    const jinja_row *row = pl__jinja_row(tables[0], name, length);
    return row != NULL || tables[1] == NULL ? row : pl__jinja_row(tables[1], name, length);
}
/* percent.c: Python's % on a text. */
pl_status pl__jinja_percent(jinja_run *run, jinja_value *out, const jinja_text *format,
                            jinja_value values);

/* access.c: attributes and items. */
pl_status pl__jinja_attribute(jinja_run *run, jinja_value *out, jinja_value v,
                              const jinja_text *name);
pl_status pl__jinja_item(jinja_run *run, jinja_value *out, jinja_value v, jinja_value key);

/* eval.c -------------------------------------------------------------------------------------- */

pl_status pl__jinja_eval(jinja_run *run, jinja_value *out, const jinja_node *node);
pl_status pl__jinja_apply(jinja_run *run, jinja_value *out, const jinja_node *filter,
                          jinja_value piped);
pl_status pl__jinja_eval_args(jinja_run *run, jinja_args *out, const jinja_arguments *args);
pl_status pl__jinja_call_value(jinja_run *run, jinja_value *out, jinja_value callee,
                               const jinja_args *args);
pl_status pl__jinja_binary(jinja_run *run, jinja_value *out, jinja_op op, jinja_value a,
                           jinja_value b);

/* run.c --------------------------------------------------------------------------------------- */

pl_status pl__jinja_set(jinja_run *run, const jinja_text *name, jinja_value value);
pl_status pl__jinja_exec(jinja_run *run, jinja_node *const *list, int64_t count);

#endif

/*
** rows.c - parses the text columns of ops.def once for each context.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/op.h"

/* The next word of *text into `word`; false at the end. */
static bool next_word(const char **text, char *word, size_t size)
{
    const char *s = *text + strspn(*text, " ");
    const size_t n = strcspn(s, " ");
    if (n == 0 || n >= size) return false;
    memcpy(word, s, n);
    word[n] = '\0';
    *text = s + n;
    return true;
}

static void parse_input(pl_input_row *in, char *word)
{
    char *mark = strchr(word, ':');
    in->integer = mark != NULL && strchr(mark, 'i') != NULL;
    in->kept = mark != NULL && strchr(mark, 'k') != NULL;
    in->any = mark != NULL && strchr(mark, 'a') != NULL;
    if (mark != NULL) *mark = '\0';
    char *question = strchr(word, '?');
    in->optional = question != NULL;
    if (question != NULL) *question = '\0';
    snprintf(in->name, sizeof in->name, "%.23s", word);
}

static void parse_choices(pl_param_row *p, char *text, const char *fallback)
{
    text++; /* the opening parenthesis */
    text[strcspn(text, ")")] = '\0';
    for (char *choice = strtok(text, "|"); choice != NULL && p->n_choices < 8;
         choice = strtok(NULL, "|")) {
        if (fallback != NULL && strcmp(choice, fallback) == 0) p->fallback.i = p->n_choices;
        snprintf(p->choices[p->n_choices++], sizeof p->choices[0], "%.15s", choice);
    }
}

static bool parse_param(pl_param_row *p, char *word)
{
    char *fallback = strchr(word, '=');
    if (fallback != NULL) *fallback++ = '\0';
    char *kind = strchr(word, ':');
    if (kind == NULL) return false;
    *kind++ = '\0';
    snprintf(p->name, sizeof p->name, "%.23s", word);
    switch (*kind) {
    case 'i':
    case 'b':
        p->kind = *kind == 'i' ? PL_PARAM_INT : PL_PARAM_BOOL;
        if (fallback != NULL) p->fallback.i = strtoll(fallback, NULL, 10);
        return true;
    case 'f':
        p->kind = PL_PARAM_FLOAT;
        if (fallback != NULL) p->fallback.f = strtod(fallback, NULL);
        return true;
    case 'a':
        p->kind = PL_PARAM_AXIS;
        p->fallback.i =
            fallback == NULL || *fallback == '*' ? PL_AXIS_ALL : strtoll(fallback, NULL, 10);
        return true;
    case 's':
    case 't':
        p->kind = *kind == 's' ? PL_PARAM_START : PL_PARAM_STOP;
        if (fallback != NULL)
            p->fallback.i = *fallback == '*' ? PL_AXIS_ALL : strtoll(fallback, NULL, 10);
        return true;
    case 'l': p->kind = PL_PARAM_LIST; return true;
    case 'e':
        p->kind = PL_PARAM_ENUM;
        parse_choices(p, kind + 1, fallback);
        return true;
    default: return false;
    }
}

pl_status pl__parse_row(pl_ctx *ctx, pl_op_row *row, const char *inputs, const char *params,
                        const char *outputs)
{
    char word[96];
    bool fine = true;
    while (row->n_in < PL_MAX_IN && next_word(&inputs, word, sizeof word))
        parse_input(&row->in[row->n_in++], word);
    while (fine && row->n_param < PL_MAX_PARAM && next_word(&params, word, sizeof word))
        fine = parse_param(&row->param[row->n_param++], word);
    while (row->n_out < PL_MAX_OUT && next_word(&outputs, word, sizeof word))
        snprintf(row->out[row->n_out++], sizeof row->out[0], "%.23s", word);
    if (fine && *(inputs + strspn(inputs, " ")) == '\0' && *(params + strspn(params, " ")) == '\0')
        return PL_OK;
    return pl__fail(ctx, PL_ERR_ARG, "ops.def: row '%s' cannot be read", row->name);
}

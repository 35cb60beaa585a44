/*
** parse_tokens.c - what the parsers of statements and of expressions share: the token that stands
** here, what was wanted in its place, nodes and lists of them.
*/
#include "text/jinja/jinja.h"

pl_status pl__jinja_wrong(jinja_parser *p, const char *wanted)
{
    const jinja_token *t = p->at;
    p->arena->line = t->line;
    if (t->kind == TOKEN_END)
        return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "%s wanted, but the template ends", wanted);
    return pl__jinja_fail(p->arena, PL_ERR_FORMAT, "%s wanted, but '%.*s' stands here", wanted,
                          (int)(t->length < 40 ? t->length : 40), t->text);
}

bool pl__jinja_is(const jinja_token *token, jinja_token_kind kind, const char *text)
{
    return token->kind == kind &&
           (text == NULL || ((int64_t)strlen(text) == token->length &&
                             memcmp(text, token->text, (size_t)token->length) == 0));
}

bool pl__jinja_skip(jinja_parser *p, jinja_token_kind kind, const char *text)
{
    if (!pl__jinja_is(p->at, kind, text)) return false;
    p->at++;
    return true;
}

pl_status pl__jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text)
{
    static const char *const names[] = {"the end of the template",
                                        "text",
                                        "'{{'",
                                        "'}}'",
                                        "'{%'",
                                        "'%}'",
                                        "a name",
                                        "a string",
                                        "an integer",
                                        "a number",
                                        "an operator"};
    char wanted[40];
    if (pl__jinja_skip(p, kind, text)) return PL_OK;
    if (text == NULL) return pl__jinja_wrong(p, names[kind]);
    strcpy(wanted, "'");
    strncat(wanted, text, 30);
    strcat(wanted, "'");
    return pl__jinja_wrong(p, wanted);
}

pl_status pl__jinja_node(jinja_parser *p, jinja_node **out, jinja_node_kind kind)
{
    JINJA_TAKE(p->arena, out, 1);
    (*out)->kind = kind;
    (*out)->line = p->at->line;
    return PL_OK;
}

pl_status pl__jinja_append(jinja_parser *p, jinja_node ***list, int64_t *count, jinja_node *node)
{
    if ((*count & (*count - 1)) == 0) { /* full at every power of two */
        jinja_node **more;
        JINJA_TAKE(p->arena, &more, *count == 0 ? 1 : *count * 2);
        if (*count > 0) memcpy(more, *list, (size_t)*count * sizeof *more);
        *list = more;
    }
    (*list)[(*count)++] = node;
    return PL_OK;
}

pl_status pl__jinja_name_text(jinja_parser *p, const jinja_text **out, const jinja_token *token)
{
    jinja_text *text;
    JINJA_TAKE(p->arena, &text, 1);
    text->bytes = token->text;
    text->length = token->length;
    *out = text;
    return PL_OK;
}

pl_status pl__jinja_name(jinja_parser *p, const jinja_text **out)
{
    if (p->at->kind != TOKEN_NAME) return pl__jinja_wrong(p, "a name");
    PL_TRY(pl__jinja_name_text(p, out, p->at));
    p->at++;
    return PL_OK;
}

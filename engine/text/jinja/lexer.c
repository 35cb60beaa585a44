/*
** lexer.c - the tokens of a template, as Jinja cuts it with trim_blocks and lstrip_blocks: the line
** end behind a block or a comment goes, and so does the white space that stands alone before one;
** "-" takes all white space on its side, "+" keeps what these two would take. Line ends are \n
** whatever they were, and one at the very end goes. Names are ASCII.
*/
#include "base/buffer.h"
#include "base/utf8.h"
#include "text/jinja/jinja.h"

#include <errno.h>
#include <stdlib.h>

#define MOST_TEXT ((size_t)4 << 20)

typedef struct {
    jinja_arena *arena;
    const char *text;
    int64_t length, at;
    int line;
    jinja_tokens *out;
    pl__buf open; /* brackets that wait to be closed */
} lexer;

static pl_status wrong(lexer *lx, const char *what)
{
    lx->arena->line = lx->line;
    return pl__jinja_fail(lx->arena, PL_ERR_FORMAT, "%s", what);
}

static pl_status add(lexer *lx, jinja_token token)
{
    jinja_tokens *out = lx->out;
    if (out->count == out->room) {
        const int64_t room = out->room * 2 + 64;
        jinja_token *list = pl_realloc(lx->arena->ctx, out->list, (size_t)room * sizeof *out->list);
        if (list == NULL) return PL_ERR_NOMEM;
        out->list = list;
        out->room = room;
    }
    token.line = lx->line;
    out->list[out->count++] = token;
    return PL_OK;
}

static pl_status add_simple(lexer *lx, jinja_token_kind kind, int64_t from, int64_t to)
{
    return add(lx, (jinja_token){.kind = kind, .text = lx->text + from, .length = to - from});
}

static char at(const lexer *lx, int64_t i)
{
    return i < lx->length ? lx->text[i] : '\0';
}

static bool stands(const lexer *lx, int64_t i, const char *what)
{
    const int64_t n = (int64_t)strlen(what);
    return i >= 0 && n <= lx->length - i && memcmp(lx->text + i, what, (size_t)n) == 0;
}

/* Bytes of the white space character at i, 0: none. */
static int64_t space_at(const lexer *lx, int64_t i)
{
    if (i >= lx->length) return 0;
    const int n = pl__utf8_char(lx->text + i, (size_t)(lx->length - i));
    return n > 0 && pl__jinja_is_space(pl__utf8_get(lx->text + i, n)) ? n : 0;
}

static int64_t past_space(const lexer *lx, int64_t i)
{
    for (int64_t n; (n = space_at(lx, i)) > 0;) i += n;
    return i;
}

/* Where the white space that ends at `to` begins. */
static int64_t before_space(const lexer *lx, int64_t from, int64_t to)
{
    const jinja_text part = {.bytes = lx->text + from, .length = to - from};
    uint32_t code;
    int64_t end = part.length;
    while (end > 0) {
        const int64_t begin = pl__jinja_char_before(&part, end, &code);
        if (!pl__jinja_is_space(code)) break;
        end = begin;
    }
    return from + end;
}

static void go_to(lexer *lx, int64_t to)
{
    for (; lx->at < to; lx->at++) lx->line += lx->text[lx->at] == '\n';
}

/* The data [from, to) before a tag whose sign is `sign`. */
static pl_status add_data(lexer *lx, int64_t from, int64_t to, char sign, bool is_variable)
{
    int64_t end = to;
    if (sign == '-') {
        end = before_space(lx, from, to);
    } else if (sign != '+' && !is_variable) {
        int64_t line = to;
        while (line > from && lx->text[line - 1] != '\n') line--;
        const bool starts_line = line > from || from == 0 || lx->text[from - 1] == '\n';
        if (starts_line && past_space(lx, line) >= to) end = line;
    }
    return end > from ? add_simple(lx, TOKEN_DATA, from, end) : PL_OK;
}

static bool is_sign(char c)
{
    return c == '-' || c == '+';
}

/* Behind the end mark at i ("-%}" and the white space, "+%}", or "%}" and a line end); 0: none. */
static int64_t past_end(const lexer *lx, int64_t i, const char *mark, bool trims)
{
    if (at(lx, i) == '-' && stands(lx, i + 1, mark)) return past_space(lx, i + 3);
    if (trims && at(lx, i) == '+' && stands(lx, i + 1, mark)) return i + 3;
    if (!stands(lx, i, mark)) return 0;
    return i + 2 + (trims && at(lx, i + 2) == '\n');
}

/* Behind "{% NAME %}" that begins at i, with the sign of its beginning; 0: none. */
static int64_t past_tag(const lexer *lx, int64_t i, const char *name, bool trims, char *sign)
{
    if (!stands(lx, i, "{%")) return 0;
    i += 2;
    *sign = is_sign(at(lx, i)) ? at(lx, i) : '\0';
    i = past_space(lx, i + (*sign != '\0'));
    if (!stands(lx, i, name)) return 0;
    i = past_space(lx, i + (int64_t)strlen(name));
    if (!trims && at(lx, i) == '+') return 0;
    return past_end(lx, i, "%}", trims) == 0 ? 0
           : trims || at(lx, i) == '-'       ? past_end(lx, i, "%}", trims)
                                             : i + 2;
}

static pl_status take_comment(lexer *lx)
{
    int64_t i = lx->at + 2;
    i += is_sign(at(lx, i));
    for (; i < lx->length; i++) {
        const int64_t end = past_end(lx, i, "#}", true);
        if (end > 0) {
            go_to(lx, end);
            return PL_OK;
        }
    }
    return wrong(lx, "the comment that begins here does not end");
}

static pl_status take_raw(lexer *lx, int64_t begin)
{
    char sign;
    for (int64_t i = begin; i < lx->length; i++) {
        const int64_t end = past_tag(lx, i, "endraw", true, &sign);
        if (end == 0) continue;
        go_to(lx, begin);
        PL_TRY(add_data(lx, begin, i, sign, false));
        go_to(lx, end);
        return PL_OK;
    }
    return wrong(lx, "the raw block that begins here has no endraw");
}

/* Strings ------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The character of \x, \u or \U with its digits at i. */
static pl_status take_code(lexer *lx, int64_t i, int64_t end, int digits, char **out)
{
    uint32_t code = 0;
    for (int k = 0; k < digits; k++) {
        const int d = i + k < end ? hex_digit(lx->text[i + k]) : -1;
        if (d < 0) return wrong(lx, "a \\x, \\u or \\U in a string lacks its 2, 4 or 8 hex digits");
        code = code << 4 | (uint32_t)d;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return wrong(lx, "a \\u or \\U in a string is no character");
    *out += pl__utf8_put(code, *out);
    return PL_OK;
}

static pl_status take_escape(lexer *lx, int64_t *i, int64_t end, char **out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = lx->text[*i];
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    if (known != NULL) {
        *(*out)++ = to[known - from];
        *i += 1;
    } else if (c == '\n') {
        *i += 1;
    } else if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        for (int k = 0; k < 3 && *i < end && lx->text[*i] >= '0' && lx->text[*i] <= '7'; k++)
            code = code * 8 + (uint32_t)(lx->text[(*i)++] - '0');
        *out += pl__utf8_put(code, *out);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        PL_TRY(take_code(lx, *i + 1, end, digits, out));
        *i += 1 + digits;
    } else if (c == 'N') {
        return wrong(lx, "\\N{name} in a string is not known here");
    } else {
        *(*out)++ = '\\';
    }
    return PL_OK;
}

static pl_status take_string(lexer *lx)
{
    const char quote = lx->text[lx->at];
    int64_t end = lx->at + 1;
    while (end < lx->length && lx->text[end] != quote) end += lx->text[end] == '\\' ? 2 : 1;
    if (end >= lx->length) return wrong(lx, "the string that begins here does not end");
    /* An escape is never shorter than what it stands for. */
    char *value;
    JINJA_TAKE(lx->arena, &value, end - lx->at + 4);
    char *to = value;
    for (int64_t i = lx->at + 1; i < end;) {
        if (lx->text[i] != '\\') {
            *to++ = lx->text[i++];
            continue;
        }
        i++;
        PL_TRY(take_escape(lx, &i, end, &to));
    }
    PL_TRY(add(lx, (jinja_token){.kind = TOKEN_STRING, .text = value, .length = to - value}));
    go_to(lx, end + 1);
    return PL_OK;
}

/* Numbers and names --------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Behind digits with single underscores between; i where there are none. */
static int64_t past_digits(const lexer *lx, int64_t i)
{
    if (!is_digit(at(lx, i))) return i;
    while (is_digit(at(lx, i)) || (at(lx, i) == '_' && is_digit(at(lx, i + 1)))) i++;
    return i;
}

/* Behind a float that begins at i; 0: none does. */
static int64_t past_float(const lexer *lx, int64_t i)
{
    int64_t end = past_digits(lx, i);
    bool is_float = false;
    if (at(lx, end) == '.' && is_digit(at(lx, end + 1))) {
        end = past_digits(lx, end + 1);
        is_float = true;
    }
    if ((at(lx, end) | 32) == 'e') {
        const int64_t digits = end + 1 + is_sign(at(lx, end + 1));
        if (is_digit(at(lx, digits))) {
            end = past_digits(lx, digits);
            is_float = true;
        }
    }
    return is_float ? end : 0;
}

static pl_status take_number(lexer *lx)
{
    const bool behind_dot = lx->at > 0 && lx->text[lx->at - 1] == '.';
    int64_t end = behind_dot ? 0 : past_float(lx, lx->at);
    jinja_token token = {.kind = end > 0 ? TOKEN_FLOAT : TOKEN_INTEGER};
    if (end == 0) end = past_digits(lx, lx->at);
    char digits[64];
    int n = 0;
    for (int64_t i = lx->at; i < end; i++) {
        if (lx->text[i] == '_') continue;
        if (n == (int)sizeof digits - 1) return wrong(lx, "a number of more than 63 digits");
        digits[n++] = lx->text[i];
    }
    digits[n] = '\0';
    if (token.kind == TOKEN_INTEGER && digits[0] == '0' && strspn(digits, "0") != (size_t)n)
        return wrong(lx, "an integer does not begin with 0");
    errno = 0;
    if (token.kind == TOKEN_FLOAT) token.number = strtod(digits, NULL);
    else token.integer = strtoll(digits, NULL, 10);
    if (token.kind == TOKEN_INTEGER && errno == ERANGE)
        return wrong(lx, "an integer beyond 64 bits");
    token.text = lx->text + lx->at;
    token.length = end - lx->at;
    PL_TRY(add(lx, token));
    go_to(lx, end);
    return PL_OK;
}

static bool is_letter(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

static pl_status take_operator(lexer *lx)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    const char c = lx->text[lx->at];
    int64_t n = 1;
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (stands(lx, lx->at, two[i])) n = 2;
    if (n == 1 && (c == '\0' || strchr("+-/*%~[](){}><=.:|,;", c) == NULL)) {
        lx->arena->line = lx->line;
        return pl__jinja_fail(lx->arena, PL_ERR_FORMAT,
                              (unsigned char)c >= 0x80 || (unsigned char)c < 0x20
                                  ? "a character that stands for nothing here (byte %d)"
                                  : "'%c' stands for nothing here",
                              c & 255);
    }
    if (strchr("([{", c) != NULL) {
        PL_TRY(pl__buf_add(lx->arena->ctx, &lx->open, c == '(' ? ")" : c == '[' ? "]" : "}", 1));
    } else if (strchr(")]}", c) != NULL) {
        if (lx->open.length == 0 || lx->open.data[lx->open.length - 1] != c) {
            lx->arena->line = lx->line;
            return pl__jinja_fail(lx->arena, PL_ERR_FORMAT, "'%c' closes nothing here", c);
        }
        lx->open.length--;
    }
    PL_TRY(add_simple(lx, TOKEN_OPERATOR, lx->at, lx->at + n));
    go_to(lx, lx->at + n);
    return PL_OK;
}

/* What stands in {{ }} or {% %}, and its end. */
static pl_status take_inside(lexer *lx, bool is_variable)
{
    const char *mark = is_variable ? "}}" : "%}";
    const int first_line = lx->line;
    lx->open.length = 0;
    for (;;) {
        if (lx->open.length == 0) {
            const int64_t end = past_end(lx, lx->at, mark, !is_variable);
            if (end > 0) {
                PL_TRY(add_simple(lx, is_variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END, lx->at,
                                  end));
                go_to(lx, end);
                return PL_OK;
            }
        }
        if (lx->at >= lx->length) {
            lx->line = first_line;
            return wrong(lx, is_variable ? "the {{ that begins here does not end"
                                         : "the {% that begins here does not end");
        }
        const char c = lx->text[lx->at];
        const int64_t space = space_at(lx, lx->at);
        if (space > 0) {
            go_to(lx, lx->at + space);
        } else if (is_digit(c)) {
            PL_TRY(take_number(lx));
        } else if (is_letter(c)) {
            int64_t end = lx->at;
            while (is_letter(at(lx, end)) || is_digit(at(lx, end))) end++;
            PL_TRY(add_simple(lx, TOKEN_NAME, lx->at, end));
            go_to(lx, end);
        } else if (c == '\'' || c == '"') {
            PL_TRY(take_string(lx));
        } else {
            PL_TRY(take_operator(lx));
        }
    }
}

static pl_status take_all(lexer *lx)
{
    while (lx->at < lx->length) {
        int64_t tag = lx->at;
        while (tag < lx->length && !(lx->text[tag] == '{' && at(lx, tag + 1) != '\0' &&
                                     strchr("{%#", at(lx, tag + 1)) != NULL))
            tag++;
        if (tag == lx->length) {
            PL_TRY(add_simple(lx, TOKEN_DATA, lx->at, tag));
            break;
        }
        const char what = lx->text[tag + 1];
        char sign = is_sign(at(lx, tag + 2)) ? at(lx, tag + 2) : '\0';
        PL_TRY(add_data(lx, lx->at, tag, sign, what == '{'));
        go_to(lx, tag);
        const int64_t raw = past_tag(lx, tag, "raw", false, &sign);
        if (what == '#') {
            PL_TRY(take_comment(lx));
        } else if (raw > 0) {
            PL_TRY(take_raw(lx, raw));
        } else {
            const int64_t inside = tag + 2 + is_sign(at(lx, tag + 2));
            PL_TRY(add_simple(lx, what == '{' ? TOKEN_VARIABLE : TOKEN_BLOCK, tag, inside));
            go_to(lx, inside);
            PL_TRY(take_inside(lx, what == '{'));
        }
    }
    return add_simple(lx, TOKEN_END, lx->length, lx->length);
}

/* A copy in the arena with \n at the end of each line, but for the last. */
static pl_status take_text(lexer *lx, const char *text, size_t length)
{
    char *copy;
    JINJA_TAKE(lx->arena, &copy, length + 1);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') continue;
        copy[lx->length++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (lx->length > 0 && copy[lx->length - 1] == '\n') lx->length--;
    lx->text = copy;
    return PL_OK;
}

pl_status pl__jinja_tokens(jinja_arena *arena, jinja_tokens *out, const char *text, size_t length)
{
    lexer lx = {.arena = arena, .line = 1, .out = out};
    if (length > MOST_TEXT)
        return pl__jinja_fail(arena, PL_ERR_FORMAT, "a template of %zu bytes: at most %zu", length,
                              MOST_TEXT);
    if (pl__utf8_run(text, length) < length)
        return pl__jinja_fail(arena, PL_ERR_FORMAT, "byte %zu is not UTF-8",
                              pl__utf8_run(text, length));
    PL_TRY(take_text(&lx, text, length));
    const pl_status st = take_all(&lx);
    pl__buf_free(arena->ctx, &lx.open);
    return st;
}

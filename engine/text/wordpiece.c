/*
** wordpiece.c - WordPiece: from the left, the longest piece that the rest of the word begins with.
**
** Pieces that do not start a word have a prefix in the vocabulary ("##"). A word that cannot
** be cut this way, or is longer than `longest_word` characters, is one unknown token.
*/
#include "text/text.h"

#include "base/utf8.h"

/* The id of text[0..length) as the vocabulary writes it, -1: none. */
static int32_t piece_id(const pl_tokenizer *tok, const char *text, size_t length, bool inside)
{
    char name[2 * PL_TEXT_MAX_TOKEN];
    const size_t prefix = inside && tok->word_prefix ? strlen(tok->word_prefix) : 0;
    if (prefix + length > PL_TEXT_MAX_TOKEN) return -1;
    if (prefix > 0) memcpy(name, tok->word_prefix, prefix);
    memcpy(name + prefix, text, length);
    const int32_t id = pl__tok_by_name(tok, name, prefix + length);
    return id >= 0 && tok->tokens[id].flags & PL__TOK_CONTROL ? -1 : id;
}

static size_t last_char(const char *text, size_t length)
{
    size_t n = 1;
    while (n < 4 && n < length && ((unsigned char)text[length - n] & 0xC0) == 0x80) n++;
    return pl__utf8_char(text + length - n, n) == (int)n ? n : 1;
}

static int64_t count_chars(const char *text, size_t length)
{
    int64_t n = 0;
    for (size_t at = 0; at < length; n++) {
        const int step = pl__utf8_char(text + at, length - at);
        at += step > 0 ? (size_t)step : 1;
    }
    return n;
}

pl_status pl__wordpiece_encode(pl__run *run, size_t start, size_t length)
{
    pl_tokenizer *tok = run->tok;
    const char *word = run->text + start;
    const int64_t before = run->ids.count;
    bool known = count_chars(word, length) <= tok->longest_word;
    for (size_t at = 0; known && at < length;) {
        size_t end = length;
        int32_t id = -1;
        while (end > at && (id = piece_id(tok, word + at, end - at, at > 0)) < 0)
            end -= last_char(word + at, end - at);
        known = id >= 0;
        if (known) PL_TRY(pl__emit(run, id, start + at, start + end));
        at = end;
    }
    if (known) return PL_OK;
    run->ids.count = before;
    const int32_t unknown = pl__tok_unknown(tok);
    if (unknown < 0)
        return pl__fail(tok->ctx, PL_ERR_ARG,
                        "encode: '%.*s' is not in the vocabulary and there is no unknown token",
                        (int)(length < 60 ? length : 60), word);
    return pl__emit(run, unknown, start, start + length);
}

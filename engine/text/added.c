/*
** added.c - looking for added tokens in a text.
**
** Two passes as in Hugging Face's tokenizers: tokens not marked `normalized` in the original
** text, the others, as the normalizer writes them, in the normalized one. At each place the
** longest one is taken; one that has to stand by itself (single_word) is passed over, whole,
** beside a letter; lstrip and rstrip swallow the white space beside a token. Control tokens
** are looked for when the caller asks (PL_ENCODE_SPECIAL), and then outside the guarded spans
** alone.
*/
#include "text/text.h"

#include "base/utf8.h"

pl_status pl__added_list(pl_tokenizer *tok)
{
    pl__trie_free(tok->ctx, &tok->added);
    pl__trie_free(tok->ctx, &tok->added_normalized);
    for (int64_t id = 0; id < tok->count; id++) {
        const pl__token *t = &tok->tokens[id];
        const char *text = pl__tok_name(tok, id);
        size_t length = t->name_length;
        if (!(t->flags & PL__TOK_ADDED)) continue;
        if (length == 0)
            return pl__fail(tok->ctx, PL_ERR_FORMAT, "the added token %lld is empty",
                            (long long)id);
        pl__trie *set = t->flags & PL__TOK_NORMALIZED ? &tok->added_normalized : &tok->added;
        if (t->flags & PL__TOK_NORMALIZED && tok->n_norm > 0) {
            pl__changed *made;
            PL_TRY(pl__norm_run(tok, text, length, 0, false, false, &made));
            text = made->text.data;
            length = made->text.length;
            if (length == 0) continue; /* nothing of it is left to be found */
        }
        PL_TRY(pl__trie_add(tok->ctx, set, text, length, (int32_t)id));
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

typedef struct {
    pl__run *run;
    const pl__trie *set;
    const char *text;
    size_t length, base;
    const pl__origin *origin;
    int64_t next_guarded;
} search;

/* The original bytes that the text's bytes [start, end), at least one, come from. */
static pl_text_span original(const search *s, size_t start, size_t end)
{
    if (!s->origin) return (pl_text_span){s->base + start, s->base + end};
    return (pl_text_span){s->origin[start].start, s->origin[end - 1].end};
}

/* Whether a control token may stand here. */
static bool is_open(search *s, size_t start, size_t end)
{
    const pl_encode_options *o = s->run->options;
    if (!(o->flags & PL_ENCODE_SPECIAL)) return false;
    if (o->n_guarded == 0) return true;
    const pl_text_span here = original(s, start, end);
    while (s->next_guarded < o->n_guarded && o->guarded[s->next_guarded].end <= here.start)
        s->next_guarded++;
    for (int64_t i = s->next_guarded; i < o->n_guarded && o->guarded[i].start < here.end; i++)
        if (o->guarded[i].end > o->guarded[i].start && o->guarded[i].end > here.start) return false;
    return true;
}

/* The id of the longest token at `at`, -1: none. */
static int32_t longest_at(search *s, size_t at, size_t *end)
{
    int32_t node = 0, best = -1;
    for (size_t i = at; i < s->length; i++) {
        node = pl__trie_step(s->set, node, (unsigned char)s->text[i]);
        if (node < 0) break;
        const int32_t id = s->set->value[node];
        if (id < 0) continue;
        if (s->run->tok->tokens[id].flags & PL__TOK_CONTROL && !is_open(s, at, i + 1)) continue;
        best = id;
        *end = i + 1;
    }
    return best;
}

/* The character that ends before `at`; 0 bytes when there is none. */
static int char_before(const char *text, size_t at, uint32_t *code)
{
    for (size_t n = 1; n <= 4 && n <= at; n++)
        if (pl__utf8_char(text + at - n, n) == (int)n) {
            *code = pl__utf8_get(text + at - n, (int)n);
            return (int)n;
        }
    return 0;
}

static int char_behind(const char *text, size_t at, size_t length, uint32_t *code)
{
    const int n = pl__utf8_char(text + at, length - at);
    if (n > 0) *code = pl__utf8_get(text + at, n);
    return n;
}

static bool beside_word(const search *s, size_t start, size_t end)
{
    uint32_t c;
    if (char_before(s->text, start, &c) > 0 && pl__is_word_char(c)) return true;
    return char_behind(s->text, end, s->length, &c) > 0 && pl__is_word_char(c);
}

/* A token's bytes with the white space that it swallows; nothing before `least`. */
static void widen(const search *s, uint16_t flags, size_t least, size_t *start, size_t *end)
{
    uint32_t c;
    int n;
    while (flags & PL__TOK_STRIP_LEFT && *start > least &&
           (n = char_before(s->text, *start, &c)) > 0 && pl__is_white(c))
        *start -= (size_t)n;
    while (flags & PL__TOK_STRIP_RIGHT && (n = char_behind(s->text, *end, s->length, &c)) > 0 &&
           pl__is_white(c))
        *end += (size_t)n;
    if (flags & PL__TOK_STRIP_LEFT && *start < least) *start = least;
}

static pl_status between_tokens(const search *s, size_t start, size_t end, pl__between *between)
{
    if (start >= end) return PL_OK;
    return between(s->run, s->text + start, end - start, s->base + start,
                   s->origin ? s->origin + start : NULL);
}

pl_status pl__added_split(pl__run *run, const pl__trie *set, const char *text, size_t length,
                          size_t base, const pl__origin *origin, pl__between *between)
{
    search s = {run, set, text, length, base, origin, 0};
    size_t done = 0, at = set->count > 0 ? 0 : length, end = 0;
    while (at < length) {
        if (set->root[(unsigned char)text[at]] == 0) {
            at++;
            continue;
        }
        const int32_t id = longest_at(&s, at, &end);
        if (id < 0) {
            at++;
            continue;
        }
        const uint16_t flags = run->tok->tokens[id].flags;
        size_t start = at;
        at = end; /* white space that a token swallows may still hold another one */
        if (flags & PL__TOK_SINGLE_WORD && beside_word(&s, start, end)) continue;
        widen(&s, flags, done, &start, &end);
        PL_TRY(between_tokens(&s, done, start, between));
        run->text = text;
        run->origin = origin;
        run->base = base;
        PL_TRY(pl__emit(run, id, start, end));
        run->continued = false;
        done = end;
    }
    return between_tokens(&s, done, length, between);
}

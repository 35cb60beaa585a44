/*
** bpe.c - byte-pair encoding: the merge loop, the table of pairs, and a cache of words.
**
** Sennrich et al. 2016: start from single symbols; as long as some neighbours form a known
** pair, merge the pair of lowest rank, the leftmost of several. Symbols are a doubly linked
** list in an array, candidate merges a heap ordered by (rank, position); a candidate whose
** place no longer holds a pair of its rank is dropped when it comes up. n symbols cost O(n
** log n) and no recursion.
**
** The "highest score" rule is the same loop with ranks made from scores (scores.c). There a
** whole text is one word, and may be cut before a "▁" that stands behind another character
** when no token of the vocabulary could bridge that cut.
*/
#include "text/text.h"

#include "base/utf8.h"

typedef struct {
    int32_t id, previous, next; /* id -1: merged away */
    int32_t length;             /* bytes of the text */
} symbol;

/* A candidate merge: rank above, position below, so that the smallest number comes first. */
typedef uint64_t candidate;

/* Direct-mapped: a word's slot is given by its hash; a newcomer replaces what was there. */
#define CACHE_SIZE 8192
#define CACHE_BYTES 24
#define CACHE_IDS 8

struct pl__cached {
    uint32_t hash;
    uint8_t length, n; /* length 0: empty */
    uint8_t bytes_of[CACHE_IDS];
    char bytes[CACHE_BYTES];
    int32_t id[CACHE_IDS];
};

struct pl__word_cache {
    struct pl__cached entry[CACHE_SIZE];
};

void pl__bpe_free(pl_tokenizer *tok)
{
    pl_free(tok->ctx, tok->cache);
    pl_free(tok->ctx, tok->symbols);
    pl_free(tok->ctx, tok->heap);
}

/* ------------------------------------------------------------------------------------------- */

const pl__pair *pl__pairs_get(const pl__pairs *pairs, int32_t left, int32_t right)
{
    if (!pairs->slot) return NULL;
    for (uint32_t i = pl__pair_hash(left, right);; i++) {
        const pl__pair *p = &pairs->slot[i & pairs->mask];
        if (p->left < 0) return NULL;
        if (p->left == left && p->right == right) return p;
    }
}

pl_status pl__pairs_build(pl_tokenizer *tok)
{
    pl__pairs *pairs = &tok->pairs;
    uint32_t size = 16;
    while ((int64_t)size < 2 * tok->n_merges) size *= 2;
    pairs->slot = pl_alloc(tok->ctx, size * sizeof *pairs->slot);
    if (!pairs->slot) return PL_ERR_NOMEM;
    memset(pairs->slot, 0xFF, size * sizeof *pairs->slot);
    pairs->mask = size - 1;
    for (int64_t m = 0; m < tok->n_merges; m++) {
        pl__pair merge = tok->merges[m];
        if (tok->tokens[merge.result].flags & PL__TOK_CONTROL) continue;
        uint32_t i = pl__pair_hash(merge.left, merge.right);
        while (pairs->slot[i & pairs->mask].left >= 0 &&
               (pairs->slot[i & pairs->mask].left != merge.left ||
                pairs->slot[i & pairs->mask].right != merge.right))
            i++;
        pairs->slot[i & pairs->mask] = merge; /* of two equal pairs the later one counts */
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

/* A heap with four children a node: half as deep as with two, and its nodes share cache lines. */
static inline void heap_push(candidate *heap, int64_t *count, candidate c)
{
    int64_t i = (*count)++;
    for (; i > 0 && c < heap[(i - 1) / 4]; i = (i - 1) / 4) heap[i] = heap[(i - 1) / 4];
    heap[i] = c;
}

static inline candidate heap_pop(candidate *heap, int64_t *count)
{
    candidate top = heap[0], c = heap[--*count];
    int64_t i = 0, n = *count;
    for (;;) {
        int64_t first = 4 * i + 1, least = first;
        if (first >= n) break;
        int64_t end = first + 4 < n ? first + 4 : n;
        for (int64_t child = first + 1; child < end; child++)
            if (heap[child] < heap[least]) least = child;
        if (heap[least] >= c) break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = c;
    return top;
}

/* Room for n symbols: each merge makes at most two candidates beside the n - 1 at the start. */
static pl_status reserve(pl_tokenizer *tok, int64_t n)
{
    if (n > tok->symbols_room) {
        int64_t room = n + n / 2 + 64;
        void *block = pl_realloc(tok->ctx, tok->symbols, (size_t)room * sizeof(symbol));
        if (!block) return PL_ERR_NOMEM;
        tok->symbols = block;
        tok->symbols_room = room;
    }
    if (3 * n > tok->heap_room) {
        int64_t room = 3 * n + n / 2 + 64;
        void *block = pl_realloc(tok->ctx, tok->heap, (size_t)room * sizeof(candidate));
        if (!block) return PL_ERR_NOMEM;
        tok->heap = block;
        tok->heap_room = room;
    }
    return PL_OK;
}

static inline void offer(const pl_tokenizer *tok, int64_t *count, int32_t at, int32_t right_at)
{
    const symbol *s = tok->symbols;
    const pl__pair *p = pl__pairs_get(&tok->pairs, s[at].id, s[right_at].id);
    if (p) heap_push(tok->heap, count, (uint64_t)(uint32_t)p->rank << 32 | (uint32_t)at);
}

/* Merges the n symbols in tok->symbols (ids set) as far as they go. */
static pl_status merge_all(pl_tokenizer *tok, int64_t n)
{
    symbol *s = tok->symbols;
    int64_t count = 0, turns = 0;
    for (int64_t i = 0; i < n; i++) {
        s[i].previous = (int32_t)i - 1;
        s[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
        if (i > 0) offer(tok, &count, (int32_t)i - 1, (int32_t)i);
    }
    while (count > 0) {
        if ((++turns & 0xFFFF) == 0) PL_TRY(pl__check_interrupt(tok->ctx));
        candidate c = heap_pop(tok->heap, &count);
        int32_t at = (int32_t)(uint32_t)c;
        symbol *left = &s[at];
        if (left->id < 0 || left->next < 0) continue;
        symbol *right = &s[left->next];
        const pl__pair *p = pl__pairs_get(&tok->pairs, left->id, right->id);
        if (!p || (uint32_t)p->rank != c >> 32) continue;
        left->id = p->result;
        left->length += right->length;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0) {
            s[left->next].previous = at;
            offer(tok, &count, at, left->next);
        }
        if (left->previous >= 0) offer(tok, &count, left->previous, at);
    }
    return PL_OK;
}

/* Whether a "▁" stands at `i` and another character before it, in the word that begins at
** `at`. */
static bool starts_word(const char *text, size_t at, size_t i, size_t end)
{
    static const char block[] = "\xE2\x96\x81";
    return text[i] == block[0] && end - i >= 3 && !memcmp(text + i, block, 3) &&
           (i - at < 3 || memcmp(text + i - 3, block, 3) != 0);
}

/* A character's id as the vocabulary writes it at its place in a word, -1: none. */
static int32_t char_id(const pl_tokenizer *tok, const char *text, size_t length, bool first,
                       bool last)
{
    int32_t id;
    if (!tok->word_prefix && !tok->word_suffix) {
        id = pl__tok_by_name(tok, text, length);
    } else {
        char name[2 * PL_TEXT_MAX_AFFIX + 8];
        const size_t before = tok->word_prefix && !first ? strlen(tok->word_prefix) : 0;
        const size_t behind = tok->word_suffix && last ? strlen(tok->word_suffix) : 0;
        if (before > 0) memcpy(name, tok->word_prefix, before);
        memcpy(name + before, text, length);
        if (behind > 0) memcpy(name + before + length, tok->word_suffix, behind);
        id = pl__tok_by_name(tok, name, before + length + behind);
    }
    return id >= 0 && tok->tokens[id].flags & PL__TOK_CONTROL ? -1 : id;
}

/* The symbols of a character that the vocabulary does not have; *fused is the unknown one
** before. */
static void unknown_char(pl_tokenizer *tok, const char *text, int length, int64_t *n, bool *fused)
{
    symbol *s = tok->symbols;
    const int32_t unknown = pl__tok_unknown(tok);
    bool bytes = tok->byte_fallback;
    for (int i = 0; bytes && i < length; i++) bytes = tok->byte_id[(unsigned char)text[i]] >= 0;
    if (bytes) {
        for (int i = 0; i < length; i++)
            s[(*n)++] = (symbol){.id = tok->byte_id[(unsigned char)text[i]], .length = 1};
        *fused = false;
    } else if (unknown >= 0 && *fused) {
        s[*n - 1].length += length;
    } else if (unknown >= 0) {
        s[(*n)++] = (symbol){.id = unknown, .length = length};
        *fused = tok->fuse_unk;
    }
}

/* Sets the first symbols of a word; *n of them. Places were reserved for one a byte. What the
** vocabulary has no token for is the unknown token, or nothing when the model names none. */
static void first_symbols(pl_tokenizer *tok, const char *text, size_t length, int64_t *n)
{
    symbol *s = tok->symbols;
    bool fused = false;
    *n = 0;
    if (tok->kind == PL_TOKENIZER_BYTELEVEL) {
        const int32_t unknown = pl__tok_unknown(tok);
        for (size_t at = 0; at < length; at++) {
            const int32_t byte = tok->byte_id[(unsigned char)text[at]];
            const int32_t id = byte >= 0 ? byte : unknown;
            if (id >= 0) s[(*n)++] = (symbol){.id = id, .length = 1};
        }
        return;
    }
    for (size_t at = 0; at < length;) {
        int step = pl__utf8_char(text + at, length - at);
        if (step == 0) step = 1;
        const int32_t id =
            char_id(tok, text + at, (size_t)step, at == 0, at + (size_t)step == length);
        if (id >= 0) {
            s[(*n)++] = (symbol){.id = id, .length = step};
            fused = false;
        } else {
            unknown_char(tok, text + at, step, n, &fused);
        }
        at += (size_t)step;
    }
}

static int32_t whole_word(const pl_tokenizer *tok, const char *text, size_t length)
{
    if (tok->kind == PL_TOKENIZER_BYTELEVEL) return pl__tok_by_bytes(tok, text, length);
    const int32_t id = pl__tok_by_name(tok, text, length);
    return id >= 0 && tok->tokens[id].flags & PL__TOK_CONTROL ? -1 : id;
}

/* Gives out the ids of a word that the cache holds. */
static pl_status from_cache(pl__run *run, const struct pl__cached *entry, size_t start)
{
    for (int i = 0; i < entry->n; i++) {
        PL_TRY(pl__emit(run, entry->id[i], start, start + entry->bytes_of[i]));
        start += entry->bytes_of[i];
    }
    return PL_OK;
}

static pl_status encode_word(pl__run *run, size_t start, size_t length)
{
    pl_tokenizer *tok = run->tok;
    const char *text = run->text + start;
    struct pl__cached *entry = NULL;
    const uint32_t hash = pl__text_hash(text, length);
    if (length <= CACHE_BYTES) {
        if (!tok->cache) tok->cache = pl_calloc(tok->ctx, 1, sizeof *tok->cache);
        if (!tok->cache) return PL_ERR_NOMEM;
        entry = &tok->cache->entry[hash % CACHE_SIZE];
        if (entry->hash == hash && entry->length == length && !memcmp(entry->bytes, text, length))
            return from_cache(run, entry, start);
    }
    int64_t n = 1;
    const int32_t whole = tok->whole_words ? whole_word(tok, text, length) : -1;
    PL_TRY(reserve(tok, (int64_t)length));
    symbol *s = tok->symbols;
    if (whole >= 0) {
        s[0] = (symbol){.id = whole, .next = -1, .length = (int32_t)length};
    } else {
        first_symbols(tok, text, length, &n);
        PL_TRY(merge_all(tok, n));
    }
    int64_t count = 0;
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = s[i].next, count++) {
        PL_TRY(pl__emit(run, s[i].id, start, start + (size_t)s[i].length));
        start += (size_t)s[i].length;
        if (!entry || count >= CACHE_IDS) continue;
        entry->length = 0; /* while it is filled it holds no word */
        entry->id[count] = s[i].id;
        entry->bytes_of[count] = (uint8_t)s[i].length;
    }
    if (entry && count <= CACHE_IDS) {
        entry->hash = hash;
        entry->length = (uint8_t)length;
        entry->n = (uint8_t)count;
        memcpy(entry->bytes, text, length);
    }
    return PL_OK;
}

pl_status pl__bpe_encode(pl__run *run, size_t start, size_t length)
{
    const pl_tokenizer *tok = run->tok;
    if (tok->kind == PL_TOKENIZER_BYTELEVEL || !tok->cut_at_spaces)
        return encode_word(run, start, length);
    const char *text = run->text;
    for (size_t at = start; at < start + length;) {
        size_t end = at + 1;
        while (end < start + length && !starts_word(text, at, end, start + length)) end++;
        PL_TRY(encode_word(run, at, end - at));
        at = end;
    }
    return PL_OK;
}

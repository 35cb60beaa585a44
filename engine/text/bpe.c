/*
** bpe.c - byte-pair encoding: the merge loop, the table of pairs, and a cache of words.
**
** Sennrich et al. 2016: start from single symbols; as long as some neighbours form a known pair,
** merge the pair of lowest rank, the leftmost of several. Symbols are a doubly linked list in an
** array, candidate merges a heap ordered by (rank, position); a candidate whose place no longer
** holds a pair of its rank is dropped when it comes up. n symbols cost O(n log n) and no recursion.
**
** llama2.c's "highest score" rule is the same loop with ranks made from scores (load.c). There a
** whole text is one word, and may be cut between a non-space and a space when no token of the
** vocabulary could bridge that cut.
*/
#include "text/text.h"

#include "base/utf8.h"

typedef struct {
    int32_t id, previous, next; /* id -1: merged away */
} symbol;

/* A candidate merge: rank above, position below, so that the smallest number comes first. */
typedef uint64_t candidate;

/* Direct-mapped: a word's slot is given by its hash; a newcomer replaces what was there. */
#define CACHE_SIZE 8192
#define CACHE_BYTES 24
#define CACHE_IDS 8

struct pl__word_cache {
    struct {
        uint32_t hash;
        uint8_t length, n; /* length 0: empty */
        char bytes[CACHE_BYTES];
        int32_t id[CACHE_IDS];
    } entry[CACHE_SIZE];
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

/* Sets the first symbols of a word; *n of them. Places were reserved for one a byte. What the
** vocabulary has no token for is the unknown token, or nothing when the model names none. */
static void first_symbols(pl_tokenizer *tok, const char *text, size_t length, int64_t *n)
{
    symbol *s = tok->symbols;
    const int32_t unknown = pl__tok_unknown(tok);
    *n = 0;
    for (size_t at = 0; at < length;) {
        int step = 1;
        int32_t id;
        if (tok->kind == PL_TOKENIZER_SENTENCEPIECE) {
            step = pl__utf8_char(text + at, length - at);
            id = step ? pl__tok_by_bytes(tok, text + at, (size_t)step) : -1;
            if (step == 0) step = 1;
            if (id < 0) {
                for (int i = 0; i < step; i++) {
                    const int32_t byte = tok->byte_id[(unsigned char)text[at + (size_t)i]];
                    if (byte >= 0) s[(*n)++].id = byte;
                    else if (unknown >= 0) s[(*n)++].id = unknown;
                }
                at += (size_t)step;
                continue;
            }
        } else {
            const int32_t byte = tok->byte_id[(unsigned char)text[at]];
            id = byte >= 0 ? byte : unknown;
        }
        if (id >= 0) s[(*n)++].id = id;
        at += (size_t)step;
    }
}

static pl_status encode_word(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length)
{
    uint32_t hash = pl__text_hash(text, length);
    bool cached = length <= CACHE_BYTES;
    uint32_t place = hash % CACHE_SIZE;
    if (cached) {
        if (!tok->cache) tok->cache = pl_calloc(tok->ctx, 1, sizeof *tok->cache);
        if (!tok->cache) return PL_ERR_NOMEM;
        const struct pl__word_cache *cache = tok->cache;
        if (cache->entry[place].hash == hash && cache->entry[place].length == length &&
            !memcmp(cache->entry[place].bytes, text, length)) {
            for (int i = 0; i < cache->entry[place].n; i++)
                PL_TRY(pl__ids_add(tok->ctx, out, cache->entry[place].id[i]));
            return PL_OK;
        }
    }
    int64_t first = out->count, n = 0;
    int32_t whole = tok->whole_words ? pl__tok_by_bytes(tok, text, length) : -1;
    if (whole >= 0) {
        PL_TRY(pl__ids_add(tok->ctx, out, whole));
    } else {
        PL_TRY(reserve(tok, (int64_t)length));
        first_symbols(tok, text, length, &n);
        PL_TRY(merge_all(tok, n));
        const symbol *s = tok->symbols;
        for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = s[i].next)
            PL_TRY(pl__ids_add(tok->ctx, out, s[i].id));
    }
    if (cached && out->count - first <= CACHE_IDS) {
        struct pl__word_cache *cache = tok->cache;
        cache->entry[place].hash = hash;
        cache->entry[place].length = (uint8_t)length;
        cache->entry[place].n = (uint8_t)(out->count - first);
        memcpy(cache->entry[place].bytes, text, length);
        memcpy(cache->entry[place].id, out->data + first,
               (size_t)(out->count - first) * sizeof(int32_t));
    }
    return PL_OK;
}

pl_status pl__bpe_encode(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length)
{
    if (length == 0) return PL_OK;
    if (length > INT32_MAX / 2)
        return pl__fail(tok->ctx, PL_ERR_ARG, "encode: one text of %zu bytes; cut it below 1 GB",
                        length);
    if (tok->kind != PL_TOKENIZER_SENTENCEPIECE || !tok->cut_at_spaces)
        return encode_word(tok, out, text, length);
    for (size_t at = 0; at < length;) {
        size_t end = at + 1;
        while (end < length && (text[end] != ' ' || text[end - 1] == ' ')) end++;
        PL_TRY(encode_word(tok, out, text + at, end - at));
        at = end;
    }
    return PL_OK;
}

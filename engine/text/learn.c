/*
** learn.c - learning a vocabulary from texts: byte-level BPE, or whole words by frequency.
**
** BPE (Sennrich et al. 2016): cut the texts into words, count the different ones, then again
** and again merge the most frequent pair of neighbours. Each pair keeps its count and the
** words it was seen in, so that a merge touches those words alone; a heap ordered by (count,
** then smaller ids) gives the next pair, and an entry whose count has changed meanwhile is
** put back with the new one. The outcome is that of Hugging Face's BpeTrainer with the byte
** alphabet.
**
** A merge whose result would be spelled like a special token is passed over: text must not be able
** to reach one.
*/
#include "text/text.h"

#include <stdlib.h>

#include "base/utf8.h"

typedef struct {
    uint32_t hash;
    size_t text_at;
    size_t length;
    int64_t count;
    int64_t symbols_at, n_symbols;
    int32_t stamp; /* the last merge that went over it */
} word;

typedef struct {
    int32_t left, right; /* left -1: empty slot */
    int64_t count;
    int64_t seen;   /* first of its list in `sightings`, -1: none */
    int32_t pushed; /* the last merge that put it on the heap */
} pair_count;

typedef struct {
    int32_t word;
    int64_t next;
} sighting;

typedef struct {
    int64_t count;
    int32_t left, right;
} ranked;

typedef struct {
    pl_ctx *ctx;
    pl_tokenizer *tok;
    pl__buf text; /* the words, end to end */
    word *words;
    int64_t n_words, words_room;
    int32_t *word_slot; /* -1: empty */
    int64_t word_slots;
    int32_t *symbols;
    pair_count *pairs;
    int64_t n_pairs, pair_slots;
    sighting *sightings;
    int64_t n_sightings, sightings_room;
    ranked *heap;
    int64_t n_heap, heap_room;
} trainer;

static void trainer_free(trainer *t)
{
    pl__buf_free(t->ctx, &t->text);
    pl_free(t->ctx, t->words);
    pl_free(t->ctx, t->word_slot);
    pl_free(t->ctx, t->symbols);
    pl_free(t->ctx, t->pairs);
    pl_free(t->ctx, t->sightings);
    pl_free(t->ctx, t->heap);
}

/* Makes room for one more of `size` bytes in an array that doubles. */
static pl_status grow(pl_ctx *ctx, void **data, int64_t count, int64_t *room, size_t size)
{
    if (count < *room) return PL_OK;
    int64_t more = *room * 2 + 1024;
    void *block = pl_realloc(ctx, *data, (size_t)more * size);
    if (!block) return PL_ERR_NOMEM;
    *data = block;
    *room = more;
    return PL_OK;
}

#define GROW(t, array, count, room) \
    grow((t)->ctx, (void **)&(t)->array, (t)->count, &(t)->room, sizeof *(t)->array)

/* -------------------------------------------------------------------------------------------
** Counting words
*/
static pl_status rehash_words(trainer *t)
{
    if (2 * t->n_words < t->word_slots) return PL_OK;
    int64_t slots = t->word_slots > 0 ? 4 * t->word_slots : 4096;
    int32_t *slot = pl_alloc(t->ctx, (size_t)slots * sizeof *slot);
    if (!slot) return PL_ERR_NOMEM;
    memset(slot, 0xFF, (size_t)slots * sizeof *slot);
    for (int64_t w = 0; w < t->n_words; w++) {
        int64_t i = t->words[w].hash & (slots - 1);
        while (slot[i] >= 0) i = (i + 1) & (slots - 1);
        slot[i] = (int32_t)w;
    }
    pl_free(t->ctx, t->word_slot);
    t->word_slot = slot;
    t->word_slots = slots;
    return PL_OK;
}

static pl_status count_word(trainer *t, const char *text, size_t length)
{
    PL_TRY(rehash_words(t));
    uint32_t hash = pl__text_hash(text, length);
    int64_t i = hash & (t->word_slots - 1);
    for (; t->word_slot[i] >= 0; i = (i + 1) & (t->word_slots - 1)) {
        word *w = &t->words[t->word_slot[i]];
        if (w->hash == hash && w->length == length &&
            !memcmp(t->text.data + w->text_at, text, length)) {
            w->count++;
            return PL_OK;
        }
    }
    if (t->n_words == INT32_MAX)
        return pl__fail(t->ctx, PL_ERR_ARG, "train: more than %d different words", INT32_MAX);
    PL_TRY(GROW(t, words, n_words, words_room));
    t->words[t->n_words] =
        (word){.hash = hash, .text_at = t->text.length, .length = length, .count = 1, .stamp = -1};
    PL_TRY(pl__buf_add(t->ctx, &t->text, text, length));
    t->word_slot[i] = (int32_t)t->n_words++;
    return PL_OK;
}

/* The words of a text, as they are cut before encoding. */
static pl_status cut_words(trainer *t, const char *text, size_t length, const pl__pieces **out)
{
    const pl_encode_options options = {0};
    pl__run run = {.tok = t->tok, .options = &options, .text = text};
    if (length > INT32_MAX / 2)
        return pl__fail(t->ctx, PL_ERR_ARG, "train: one text of %zu bytes; cut it below 1 GB",
                        length);
    return pl__steps_run(&run, length, out);
}

static pl_status count_words(trainer *t, const char *const *texts, const size_t *lengths,
                             int64_t n_texts)
{
    const pl__pieces *pieces;
    for (int64_t i = 0; i < n_texts; i++) {
        PL_TRY(pl__check_interrupt(t->ctx));
        PL_TRY(cut_words(t, texts[i], lengths[i], &pieces));
        for (int64_t k = 0; k < pieces->count; k++) {
            const char *text = texts[i] + pieces->data[k].start;
            size_t length = pieces->data[k].length;
            if (t->tok->kind == PL_TOKENIZER_WORD &&
                (length > PL_TEXT_MAX_TOKEN || pl__utf8_run(text, length) < length ||
                 pl__tok_by_name(t->tok, text, length) >= 0))
                continue;
            PL_TRY(count_word(t, text, length));
        }
    }
    return PL_OK;
}

/* -------------------------------------------------------------------------------------------
** Pairs
*/
static int64_t pair_place(const pair_count *pairs, int64_t slots, int32_t left, int32_t right)
{
    int64_t i = pl__pair_hash(left, right) & (slots - 1);
    while (pairs[i].left >= 0 && (pairs[i].left != left || pairs[i].right != right))
        i = (i + 1) & (slots - 1);
    return i;
}

static pl_status rehash_pairs(trainer *t)
{
    if (2 * t->n_pairs < t->pair_slots) return PL_OK;
    int64_t slots = t->pair_slots > 0 ? 4 * t->pair_slots : 16384;
    pair_count *pairs = pl_alloc(t->ctx, (size_t)slots * sizeof *pairs);
    if (!pairs) return PL_ERR_NOMEM;
    memset(pairs, 0xFF, (size_t)slots * sizeof *pairs);
    for (int64_t i = 0; i < t->pair_slots; i++)
        if (t->pairs[i].left >= 0)
            pairs[pair_place(pairs, slots, t->pairs[i].left, t->pairs[i].right)] = t->pairs[i];
    pl_free(t->ctx, t->pairs);
    t->pairs = pairs;
    t->pair_slots = slots;
    return PL_OK;
}

static bool before(const ranked *a, const ranked *b)
{
    if (a->count != b->count) return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static pl_status heap_push(trainer *t, ranked r)
{
    PL_TRY(GROW(t, heap, n_heap, heap_room));
    int64_t i = t->n_heap++;
    for (; i > 0 && before(&r, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = r;
    return PL_OK;
}

static ranked heap_pop(trainer *t)
{
    ranked top = t->heap[0], r = t->heap[--t->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= t->n_heap) break;
        if (child + 1 < t->n_heap && before(&t->heap[child + 1], &t->heap[child])) child++;
        if (!before(&t->heap[child], &r)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = r;
    return top;
}

/* Changes a pair's count by what one word has; a rise is noted with the word. */
static pl_status change_pair(trainer *t, int32_t left, int32_t right, int64_t change,
                             int32_t in_word)
{
    PL_TRY(rehash_pairs(t));
    pair_count *p = &t->pairs[pair_place(t->pairs, t->pair_slots, left, right)];
    if (p->left < 0) {
        *p = (pair_count){left, right, 0, -1, -1};
        t->n_pairs++;
    }
    p->count += change;
    if (change < 0 || (p->seen >= 0 && t->sightings[p->seen].word == in_word)) return PL_OK;
    PL_TRY(GROW(t, sightings, n_sightings, sightings_room));
    t->sightings[t->n_sightings] = (sighting){in_word, p->seen};
    p->seen = t->n_sightings++;
    return PL_OK;
}

static pl_status first_pairs(trainer *t)
{
    int64_t total = 0;
    for (int64_t w = 0; w < t->n_words; w++) {
        t->words[w].symbols_at = total;
        t->words[w].n_symbols = (int64_t)t->words[w].length;
        total += t->words[w].n_symbols;
    }
    t->symbols = pl_alloc(t->ctx, (size_t)(total + 1) * sizeof *t->symbols);
    if (!t->symbols) return PL_ERR_NOMEM;
    for (int64_t w = 0; w < t->n_words; w++) {
        const word *x = &t->words[w];
        int32_t *s = t->symbols + x->symbols_at;
        for (int64_t i = 0; i < x->n_symbols; i++) {
            s[i] = t->tok->byte_id[(unsigned char)t->text.data[x->text_at + (size_t)i]];
            if (i > 0) PL_TRY(change_pair(t, s[i - 1], s[i], x->count, (int32_t)w));
        }
    }
    for (int64_t i = 0; i < t->pair_slots; i++)
        if (t->pairs[i].left >= 0)
            PL_TRY(heap_push(t, (ranked){t->pairs[i].count, t->pairs[i].left, t->pairs[i].right}));
    return PL_OK;
}

/* Merges in one word, and counts the neighbours it changes. */
static pl_status merge_in_word(trainer *t, int32_t w, ranked pair, int32_t result)
{
    word *x = &t->words[w];
    int32_t *s = t->symbols + x->symbols_at;
    int64_t n = 0;
    for (int64_t i = 0; i < x->n_symbols; i++) {
        bool here = s[i] == pair.left && i + 1 < x->n_symbols && s[i + 1] == pair.right;
        if (!here) {
            s[n++] = s[i];
            continue;
        }
        if (n > 0) {
            PL_TRY(change_pair(t, s[n - 1], pair.left, -x->count, w));
            PL_TRY(change_pair(t, s[n - 1], result, x->count, w));
        }
        if (i + 2 < x->n_symbols) {
            PL_TRY(change_pair(t, pair.right, s[i + 2], -x->count, w));
            PL_TRY(change_pair(t, result, s[i + 2], x->count, w));
        }
        s[n++] = result;
        i++;
    }
    x->n_symbols = n;
    return PL_OK;
}

/* Pairs with the new token go on the heap when all words are counted. */
static pl_status push_neighbours(trainer *t, int32_t w, int32_t result, int32_t stamp)
{
    word *x = &t->words[w];
    const int32_t *s = t->symbols + x->symbols_at;
    if (x->stamp == stamp) return PL_OK;
    x->stamp = stamp;
    for (int64_t i = 0; i + 1 < x->n_symbols; i++) {
        if (s[i] != result && s[i + 1] != result) continue;
        pair_count *p = &t->pairs[pair_place(t->pairs, t->pair_slots, s[i], s[i + 1])];
        if (p->pushed == stamp) continue;
        p->pushed = stamp;
        PL_TRY(heap_push(t, (ranked){p->count, s[i], s[i + 1]}));
    }
    return PL_OK;
}

/* -------------------------------------------------------------------------------------------
** Training
*/

/* The id of the merged token: a new one, one that is spelled so already, or -1 to pass over. */
static pl_status merged_id(trainer *t, ranked pair, int32_t *id)
{
    pl_tokenizer *tok = t->tok;
    char name[2 * PL_TEXT_MAX_TOKEN];
    size_t left = tok->tokens[pair.left].name_length, right = tok->tokens[pair.right].name_length;
    *id = -1;
    if (left + right > PL_TEXT_MAX_TOKEN) return PL_OK;
    memcpy(name, pl__tok_name(tok, pair.left), left);
    memcpy(name + left, pl__tok_name(tok, pair.right), right);
    *id = pl__tok_by_name(tok, name, left + right);
    if (*id >= 0) {
        if (tok->tokens[*id].flags & PL__TOK_ADDED) *id = -1;
        return PL_OK;
    }
    int32_t fresh = (int32_t)tok->count;
    PL_TRY(pl__tok_set(tok, fresh, name, left + right, 0));
    pl__tok_index_name(tok, fresh);
    *id = fresh;
    return PL_OK;
}

static pl_status learn_merges(trainer *t, int64_t vocab_size, int64_t min_frequency)
{
    pl_tokenizer *tok = t->tok;
    while (tok->count < vocab_size && t->n_heap > 0) {
        PL_TRY(pl__check_interrupt(t->ctx));
        ranked top = heap_pop(t);
        int64_t place = pair_place(t->pairs, t->pair_slots, top.left, top.right);
        int64_t count = t->pairs[place].count;
        if (count != top.count) {
            if (count > 0) PL_TRY(heap_push(t, (ranked){count, top.left, top.right}));
            continue;
        }
        if (count < min_frequency) break;
        int32_t result;
        PL_TRY(merged_id(t, top, &result));
        int64_t seen = t->pairs[place].seen;
        t->pairs[place].seen = -1;
        if (result >= 0) {
            int32_t stamp = (int32_t)tok->n_merges;
            PL_TRY(pl__tok_add_merge(tok, top.left, top.right, stamp, result));
            for (int64_t k = seen; k >= 0; k = t->sightings[k].next)
                PL_TRY(merge_in_word(t, t->sightings[k].word, top, result));
            for (int64_t k = seen; k >= 0; k = t->sightings[k].next)
                PL_TRY(push_neighbours(t, t->sightings[k].word, result, stamp));
        }
        t->pairs[pair_place(t->pairs, t->pair_slots, top.left, top.right)].count = 0;
    }
    return PL_OK;
}

static pl_status train_bpe(trainer *t, const pl_tokenizer_training *o, const char *const *texts,
                           const size_t *lengths, int64_t n_texts)
{
    pl_tokenizer *tok = t->tok;
    if (o->vocab_size < tok->count + 256)
        return pl__fail(t->ctx, PL_ERR_ARG,
                        "train: vocab_size %lld is below %lld special tokens and 256 bytes",
                        (long long)o->vocab_size, (long long)tok->count);
    PL_TRY(pl__load_parts(tok, "null", PL_TEXT_GPT2, PL_TEXT_GPT2, "train"));
    for (uint32_t code = 33; code <= 323; code++) {
        char name[4];
        int byte = pl__alphabet_byte(code);
        if (byte < 0) continue;
        int32_t id = (int32_t)tok->count;
        size_t length = (size_t)pl__utf8_put(code, name);
        if (pl__tok_by_name(tok, name, length) >= 0)
            return pl__fail(t->ctx, PL_ERR_ARG,
                            "train: the special token '%.*s' is a single character: it would "
                            "take that character's place",
                            (int)length, name);
        PL_TRY(pl__tok_set(tok, id, name, length, 0));
        pl__tok_index_name(tok, id);
        tok->byte_id[byte] = id;
    }
    PL_TRY(count_words(t, texts, lengths, n_texts));
    PL_TRY(first_pairs(t));
    return learn_merges(t, o->vocab_size, o->min_frequency > 0 ? o->min_frequency : 2);
}

typedef struct {
    const char *text;
    size_t length;
    int64_t count;
} frequent;

static int by_frequency(const void *a, const void *b)
{
    const frequent *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order != 0 ? order : x->length < y->length ? -1 : x->length > y->length;
}

static pl_status train_words(trainer *t, const pl_tokenizer_training *o, const char *const *texts,
                             const size_t *lengths, int64_t n_texts)
{
    pl_tokenizer *tok = t->tok;
    if (o->vocab_size <= tok->count)
        return pl__fail(t->ctx, PL_ERR_ARG,
                        "train: vocab_size %lld leaves no place beside %lld special tokens",
                        (long long)o->vocab_size, (long long)tok->count);
    tok->spaces_between = true;
    PL_TRY(pl__load_parts(tok, "null", "{\"type\":\"WhitespaceSplit\"}", "null", "train"));
    PL_TRY(count_words(t, texts, lengths, n_texts));
    frequent *list = pl_alloc(t->ctx, (size_t)(t->n_words + 1) * sizeof *list);
    if (!list) return PL_ERR_NOMEM;
    for (int64_t w = 0; w < t->n_words; w++)
        list[w] =
            (frequent){t->text.data + t->words[w].text_at, t->words[w].length, t->words[w].count};
    qsort(list, (size_t)t->n_words, sizeof *list, by_frequency);
    pl_status st = PL_OK;
    for (int64_t w = 0; w < t->n_words && tok->count < o->vocab_size && st == PL_OK; w++)
        if (list[w].count >= o->min_frequency)
            st = pl__tok_set(tok, tok->count, list[w].text, list[w].length, 0);
    pl_free(t->ctx, list);
    return st;
}

/* The special tokens come first; their names must be distinct UTF-8. */
static pl_status set_special(pl_tokenizer *tok, const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || pl__utf8_run(name, length) < length)
        return pl__fail(tok->ctx, PL_ERR_ARG, "train: a special token is empty or not UTF-8");
    if (pl__tok_by_name(tok, name, length) >= 0)
        return pl__fail(tok->ctx, PL_ERR_ARG, "train: the special token '%s' is there twice", name);
    int32_t id = (int32_t)tok->count;
    PL_TRY(pl__tok_set(tok, id, name, length, PL__TOK_ADDED | PL__TOK_SPECIAL));
    pl__tok_index_name(tok, id);
    return PL_OK;
}

static pl_status set_role(pl_tokenizer *tok, int32_t *role, const char *what, const char *name)
{
    if (!name) return PL_OK;
    *role = pl__tok_by_name(tok, name, strlen(name));
    return *role >= 0
               ? PL_OK
               : pl__fail(tok->ctx, PL_ERR_ARG,
                          "train: %s is '%s', which is not among the special tokens", what, name);
}

pl_status pl_tokenizer_train(pl_ctx *ctx, pl_tokenizer **out, const char *const *texts,
                             const size_t *lengths, int64_t n_texts, const pl_tokenizer_training *o)
{
    trainer t = {.ctx = ctx};
    pl_status st = PL_OK;
    bool words = o->kind == PL_TOKENIZER_WORD;
    *out = NULL;
    if (!words && o->kind != PL_TOKENIZER_BYTELEVEL)
        return pl__fail(ctx, PL_ERR_ARG, "train: byte-level and word vocabularies can be trained");
    if (o->vocab_size < 1 || o->vocab_size > (1 << 24) || o->n_special < 0)
        return pl__fail(ctx, PL_ERR_ARG, "train: vocab_size is %lld; it goes from 1 to %d",
                        (long long)o->vocab_size, 1 << 24);
    t.tok = pl__tok_new(ctx, o->kind);
    if (!t.tok) return PL_ERR_NOMEM;
    PL_GO(pl__tok_reserve_names(t.tok, o->vocab_size + o->n_special + 257));
    for (int64_t i = 0; i < o->n_special; i++) PL_GO(set_special(t.tok, o->special[i]));
    if (words && !o->unk) PL_GO(set_special(t.tok, "<unk>"));
    PL_GO(set_role(t.tok, &t.tok->bos, "bos", o->bos));
    PL_GO(set_role(t.tok, &t.tok->eos, "eos", o->eos));
    PL_GO(set_role(t.tok, &t.tok->pad, "pad", o->pad));
    PL_GO(set_role(t.tok, &t.tok->unk, "unk", words && !o->unk ? "<unk>" : o->unk));
    PL_GO(words ? train_words(&t, o, texts, lengths, n_texts)
                : train_bpe(&t, o, texts, lengths, n_texts));
    PL_GO(pl__tok_index_names(t.tok));
    PL_GO(pl__tok_derive(t.tok));
    PL_GO(pl__added_list(t.tok));
    if (!words) PL_GO(pl__pairs_build(t.tok));
    *out = t.tok;
    t.tok = NULL;
done:
    trainer_free(&t);
    pl_tokenizer_free(t.tok);
    return st;
}

/*
** vocab.c - the vocabulary: tokens by id, by name and by bytes.
**
** A loader sets tokens and merges in any order, then pl__tok_derive finds what encoding needs: the
** bytes of each token, which ids stand for single bytes, which tokens are control tokens. Ids may
** have holes, and the table is no larger than a small multiple of what the file holds, so that a
** hostile id cannot ask for memory.
*/
#include "text/text.h"

#include <stdlib.h>

#include "base/utf8.h"

/* ------------------------------------------------------------------------------------------- */

pl_tokenizer *pl__tok_new(pl_ctx *ctx, pl_tokenizer_kind kind)
{
    pl_tokenizer *tok = pl_calloc(ctx, 1, sizeof *tok);
    if (!tok) return NULL;
    tok->ctx = ctx;
    tok->kind = kind;
    tok->bos = tok->eos = tok->pad = tok->unk = tok->model_unk = -1;
    return tok;
}

pl_status pl__tok_set(pl_tokenizer *tok, int64_t id, const char *name, size_t length,
                      uint16_t flags)
{
    pl_ctx *ctx = tok->ctx;
    if (id < 0 || id > INT32_MAX / 2)
        return pl__fail(ctx, PL_ERR_FORMAT, "token '%.*s' has the id %lld",
                        (int)(length < 60 ? length : 60), name, (long long)id);
    if (length > PL_TEXT_MAX_TOKEN)
        return pl__fail(ctx, PL_ERR_FORMAT, "token %lld has %zu bytes; at most %d are taken",
                        (long long)id, length, PL_TEXT_MAX_TOKEN);
    if (id >= tok->room) {
        int64_t room = id + id / 2 + 256;
        pl__token *tokens = pl_realloc(ctx, tok->tokens, (size_t)room * sizeof *tokens);
        if (!tokens) return PL_ERR_NOMEM;
        memset(tokens + tok->room, 0, (size_t)(room - tok->room) * sizeof *tokens);
        tok->tokens = tokens;
        tok->room = room;
    }
    pl__token *t = &tok->tokens[id];
    if (t->flags & PL__TOK_PRESENT)
        return pl__fail(ctx, PL_ERR_FORMAT, "tokens '%.*s' and '%.*s' have the same id %lld",
                        (int)t->name_length, tok->names.data + t->name_at, (int)length, name,
                        (long long)id);
    if (tok->names.length + length > UINT32_MAX / 2)
        return pl__fail(ctx, PL_ERR_FORMAT, "the vocabulary's text is over 2 GB");
    uint32_t at = (uint32_t)tok->names.length;
    PL_TRY(pl__buf_add(ctx, &tok->names, name, length));
    PL_TRY(pl__buf_add(ctx, &tok->names, "", 1));
    *t = (pl__token){.name_at = at,
                     .name_length = (uint32_t)length,
                     .flags = (uint16_t)(flags | PL__TOK_PRESENT)};
    if (id >= tok->count) tok->count = id + 1;
    return PL_OK;
}

pl_status pl__tok_add_merge(pl_tokenizer *tok, int32_t left, int32_t right, int32_t rank,
                            int32_t result)
{
    if (tok->n_merges == tok->merges_room) {
        int64_t room = tok->merges_room * 2 + 256;
        pl__pair *merges = pl_realloc(tok->ctx, tok->merges, (size_t)room * sizeof *merges);
        if (!merges) return PL_ERR_NOMEM;
        tok->merges = merges;
        tok->merges_room = room;
    }
    tok->merges[tok->n_merges++] = (pl__pair){left, right, rank, result};
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

/* Makes an empty map with room for n keys. */
static pl_status map_new(pl_ctx *ctx, pl__map *map, int64_t n)
{
    uint32_t size = 16;
    while ((int64_t)size < 2 * n) size *= 2;
    pl_free(ctx, map->slot);
    map->slot = pl_alloc(ctx, size * sizeof *map->slot);
    if (!map->slot) return PL_ERR_NOMEM;
    memset(map->slot, 0xFF, size * sizeof *map->slot);
    map->mask = size - 1;
    return PL_OK;
}

int32_t pl__tok_by_name(const pl_tokenizer *tok, const char *name, size_t length)
{
    if (!tok->by_name.slot) return -1;
    for (uint32_t i = pl__text_hash(name, length);; i++) {
        int32_t id = tok->by_name.slot[i & tok->by_name.mask];
        if (id < 0) return -1;
        const pl__token *t = &tok->tokens[id];
        if (t->name_length == length && !memcmp(tok->names.data + t->name_at, name, length))
            return id;
    }
}

int32_t pl__tok_by_bytes(const pl_tokenizer *tok, const char *bytes, size_t length)
{
    if (!tok->by_bytes.slot) return -1;
    for (uint32_t i = pl__text_hash(bytes, length);; i++) {
        int32_t id = tok->by_bytes.slot[i & tok->by_bytes.mask];
        if (id < 0) return -1;
        const pl__token *t = &tok->tokens[id];
        if (t->bytes_length == length && !memcmp(tok->bytes.data + t->bytes_at, bytes, length))
            return id;
    }
}

/* A linear probe; the map is never more than half full. */
static void map_put(pl__map *map, uint32_t hash, int32_t id)
{
    while (map->slot[hash & map->mask] >= 0) hash++;
    map->slot[hash & map->mask] = id;
}

pl_status pl__tok_reserve_names(pl_tokenizer *tok, int64_t count)
{
    return map_new(tok->ctx, &tok->by_name, count);
}

void pl__tok_index_name(pl_tokenizer *tok, int32_t id)
{
    map_put(&tok->by_name, pl__text_hash(pl__tok_name(tok, id), tok->tokens[id].name_length), id);
}

pl_status pl__tok_index_names(pl_tokenizer *tok)
{
    int64_t present = 0;
    for (int64_t id = 0; id < tok->count; id++)
        present += (tok->tokens[id].flags & PL__TOK_PRESENT) != 0;
    if (tok->count > 16 * present + 65536)
        return pl__fail(tok->ctx, PL_ERR_FORMAT,
                        "%lld tokens with ids up to %lld: the ids have too many holes",
                        (long long)present, (long long)tok->count - 1);
    PL_TRY(map_new(tok->ctx, &tok->by_name, present));
    for (int64_t id = 0; id < tok->count; id++) {
        const pl__token *t = &tok->tokens[id];
        const char *name = pl__tok_name(tok, id);
        if (!(t->flags & PL__TOK_PRESENT) || pl__tok_by_name(tok, name, t->name_length) >= 0)
            continue;
        map_put(&tok->by_name, pl__text_hash(name, t->name_length), (int32_t)id);
    }
    return PL_OK;
}

/* -------------------------------------------------------------------------------------------
** The alphabet: printable Latin-1 bytes stand for themselves, the 68 others, in order, for the
** code points from 256 on.
*/
uint32_t pl__alphabet_char(unsigned byte)
{
    if (byte <= 32) return 256 + byte;
    if (byte >= 127 && byte <= 160) return 256 + 33 + (byte - 127);
    if (byte == 173) return 256 + 67;
    return byte;
}

int pl__alphabet_byte(uint32_t code)
{
    if (code >= 256 && code <= 288) return (int)(code - 256);
    if (code >= 289 && code <= 322) return (int)(code - 289) + 127;
    if (code == 323) return 173;
    if (code > 255 || code <= 32 || code == 173 || (code >= 127 && code <= 160)) return -1;
    return (int)code;
}

/* Byte-level: the bytes a name stands for; false when it has a character outside the alphabet. */
static bool name_to_bytes(const char *name, size_t length, char *out, size_t *n)
{
    *n = 0;
    for (size_t at = 0; at < length;) {
        int step = pl__utf8_char(name + at, length - at);
        int byte = step ? pl__alphabet_byte(pl__utf8_get(name + at, step)) : -1;
        if (byte < 0) return false;
        out[(*n)++] = (char)byte;
        at += (size_t)step;
    }
    return true;
}

/* SentencePiece: "▁" (U+2581) is a space. */
static size_t lower_blocks_to_spaces(const char *name, size_t length, char *out)
{
    size_t n = 0;
    for (size_t at = 0; at < length;) {
        if (length - at >= 3 && !memcmp(name + at, "\xE2\x96\x81", 3)) {
            out[n++] = ' ';
            at += 3;
        } else {
            out[n++] = name[at++];
        }
    }
    return n;
}

/* The value of "<0xXX>", -1 for any other name. */
static int byte_name(const char *name, size_t length)
{
    static const char digits[] = "0123456789ABCDEF";
    if (length != 6 || memcmp(name, "<0x", 3) || name[5] != '>') return -1;
    const char *high = memchr(digits, name[3], 16), *low = memchr(digits, name[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

/* White space alone; "▁" too where it stands for a space. */
static bool all_space(const pl_tokenizer *tok, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (tok->kind != PL_TOKENIZER_BYTELEVEL && length - i >= 3 &&
            !memcmp(text + i, "\xE2\x96\x81", 3))
            i += 2;
        else if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r')) return false;
    }
    return length > 0;
}

/* What stands for a piece in text: "▁" a space, no prefix, no suffix; sets the flags. */
static size_t piece_to_bytes(const pl_tokenizer *tok, pl__token *t, const char *name, char *out)
{
    size_t length = t->name_length;
    const size_t prefix = tok->word_prefix ? strlen(tok->word_prefix) : 0;
    const size_t suffix = tok->word_suffix ? strlen(tok->word_suffix) : 0;
    if (tok->kind == PL_TOKENIZER_WORD) {
        memcpy(out, name, length);
        return length;
    }
    if (prefix > 0 && length > prefix && !memcmp(name, tok->word_prefix, prefix)) {
        t->flags |= PL__TOK_CONTINUES;
        name += prefix;
        length -= prefix;
    }
    const bool ends =
        suffix > 0 && length >= suffix && !memcmp(name + length - suffix, tok->word_suffix, suffix);
    if (ends) length -= suffix;
    size_t n =
        tok->kind == PL_TOKENIZER_WORDPIECE ? length : lower_blocks_to_spaces(name, length, out);
    if (tok->kind == PL_TOKENIZER_WORDPIECE) memcpy(out, name, length);
    if (ends) out[n++] = ' ';
    return n;
}

static pl_status find_bytes(pl_tokenizer *tok, int64_t id)
{
    pl__token *t = &tok->tokens[id];
    const char *name = pl__tok_name(tok, id);
    char made[PL_TEXT_MAX_TOKEN + 1];
    const char *bytes = name;
    size_t n = t->name_length;
    const bool can_be_byte =
        tok->kind == PL_TOKENIZER_SENTENCEPIECE || tok->kind == PL_TOKENIZER_UNIGRAM;
    const int byte = can_be_byte ? byte_name(name, t->name_length) : -1;
    if (t->flags & PL__TOK_ADDED) {
        if (tok->kind != PL_TOKENIZER_BYTELEVEL && all_space(tok, name, n)) {
            bytes = made;
            n = lower_blocks_to_spaces(name, n, made);
        }
    } else if (tok->kind == PL_TOKENIZER_BYTELEVEL) {
        if (name_to_bytes(name, t->name_length, made, &n)) bytes = made;
        else n = t->name_length;
    } else if (byte >= 0) {
        made[0] = (char)byte;
        bytes = made;
        n = 1;
        t->flags |= PL__TOK_BYTE;
        if (tok->byte_id[byte] < 0) tok->byte_id[byte] = (int32_t)id;
    } else {
        bytes = made;
        n = piece_to_bytes(tok, t, name, made);
    }
    t->bytes_at = (uint32_t)tok->bytes.length;
    t->bytes_length = (uint32_t)n;
    PL_TRY(pl__buf_add(tok->ctx, &tok->bytes, bytes, n));
    return pl__buf_add(tok->ctx, &tok->bytes, "", 1);
}

/* ------------------------------------------------------------------------------------------- */

typedef struct {
    const pl_tokenizer *tok;
    bool backwards;
} byte_order;

/* The first byte where the tokens differ decides, else the length. */
static int by_bytes(const void *x, const void *y, void *how)
{
    const byte_order *order = how;
    const int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    const unsigned char *s = (const unsigned char *)pl__tok_bytes(order->tok, a);
    const unsigned char *t = (const unsigned char *)pl__tok_bytes(order->tok, b);
    const int64_t n = order->tok->tokens[a].bytes_length, m = order->tok->tokens[b].bytes_length;
    const int64_t least = n < m ? n : m;
    int sign = 0;
    if (!order->backwards) sign = memcmp(s, t, (size_t)least);
    for (int64_t i = 1; order->backwards && sign == 0 && i <= least; i++)
        sign = s[n - i] - t[m - i];
    if (sign != 0) return sign;
    return n != m ? (n > m ? 1 : -1) : a > b ? 1 : -1;
}

/* Whether `longer` begins (ends) with `shorter`. */
static bool holds(const byte_order *order, int32_t longer, int32_t shorter)
{
    const pl_tokenizer *tok = order->tok;
    const size_t n = tok->tokens[longer].bytes_length, m = tok->tokens[shorter].bytes_length;
    const char *at = pl__tok_bytes(tok, longer) + (order->backwards && m <= n ? n - m : 0);
    return m <= n && !memcmp(at, pl__tok_bytes(tok, shorter), m);
}

pl_status pl__prefixes_new(pl_ctx *ctx, pl__prefixes *set, int64_t count)
{
    set->ids = pl_alloc(ctx, ((size_t)count + 1) * sizeof *set->ids);
    set->shorter = pl_alloc(ctx, ((size_t)count + 1) * sizeof *set->shorter);
    set->count = count;
    return set->ids && set->shorter ? PL_OK : PL_ERR_NOMEM;
}

void pl__prefixes_order(const pl_tokenizer *tok, pl__prefixes *set, bool backwards)
{
    byte_order order = {tok, backwards};
    int64_t kept = 0;
    qsort_r(set->ids, (size_t)set->count, sizeof *set->ids, by_bytes, &order);
    for (int64_t i = 0; i < set->count; i++) {
        const int32_t id = set->ids[i];
        int64_t before = kept - 1;
        if (kept > 0 &&
            tok->tokens[id].bytes_length == tok->tokens[set->ids[before]].bytes_length &&
            holds(&order, id, set->ids[before]))
            continue;
        /* What does not hold for this one holds for none after it: each link is followed once. */
        while (before >= 0 && !holds(&order, id, set->ids[before])) before = set->shorter[before];
        set->shorter[kept] = (int32_t)before;
        set->ids[kept++] = id;
    }
    set->count = kept;
}

void pl__prefixes_free(pl_ctx *ctx, pl__prefixes *set)
{
    pl_free(ctx, set->ids);
    pl_free(ctx, set->shorter);
    *set = (pl__prefixes){0};
}

/* Whether a "▁" stands behind another character. */
static bool has_inner_block(const char *name, size_t length)
{
    for (size_t i = 1; i + 3 <= length; i++)
        if (!memcmp(name + i, "\xE2\x96\x81", 3) &&
            (i < 3 || memcmp(name + i - 3, "\xE2\x96\x81", 3) != 0))
            return true;
    return false;
}

/* SentencePiece writes spaces of a text as blocks, so a piece with a bare space fits none. */
static bool never_fits(const pl_tokenizer *tok, int64_t id)
{
    return tok->kind == PL_TOKENIZER_SENTENCEPIECE &&
           memchr(pl__tok_name(tok, id), ' ', tok->tokens[id].name_length) != NULL;
}

static pl_status index_bytes(pl_tokenizer *tok)
{
    PL_TRY(map_new(tok->ctx, &tok->by_bytes, tok->count));
    tok->cut_at_spaces =
        !tok->whole_words && pl__tok_by_name(tok, "\xE2\x96\x81", 3) >= 0 && !tok->word_suffix;
    for (int64_t id = 0; id < tok->count; id++) {
        pl__token *t = &tok->tokens[id];
        const char *bytes = pl__tok_bytes(tok, id);
        if (!(t->flags & PL__TOK_PRESENT)) continue;
        if ((t->flags & PL__TOK_ADDED) && !all_space(tok, bytes, t->bytes_length))
            t->flags |= PL__TOK_CONTROL;
        if (t->flags & (PL__TOK_CONTROL | PL__TOK_BYTE)) continue;
        if (has_inner_block(pl__tok_name(tok, id), t->name_length)) tok->cut_at_spaces = false;
        if (t->flags & PL__TOK_ADDED || never_fits(tok, id)) continue;
        if (t->bytes_length == 0 || pl__tok_by_bytes(tok, bytes, t->bytes_length) >= 0) continue;
        map_put(&tok->by_bytes, pl__text_hash(bytes, t->bytes_length), (int32_t)id);
        if (tok->kind == PL_TOKENIZER_BYTELEVEL && t->bytes_length == 1)
            tok->byte_id[(unsigned char)bytes[0]] = (int32_t)id;
    }
    return PL_OK;
}

int32_t pl__tok_unknown(const pl_tokenizer *tok)
{
    int32_t id = tok->kind == PL_TOKENIZER_WORD ? tok->unk : tok->model_unk;
    return id == tok->bos || id == tok->eos || id == tok->pad ? -1 : id;
}

void pl__tok_make_special(pl_tokenizer *tok, int32_t id)
{
    if (id >= 0) tok->tokens[id].flags |= PL__TOK_ADDED | PL__TOK_SPECIAL;
}

pl_status pl__tok_derive(pl_tokenizer *tok)
{
    memset(tok->byte_id, 0xFF, sizeof tok->byte_id);
    for (int64_t id = 0; id < tok->count; id++)
        if (tok->tokens[id].flags & PL__TOK_PRESENT) PL_TRY(find_bytes(tok, id));
    return index_bytes(tok);
}

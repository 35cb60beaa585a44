/*
** trie.c - words of bytes found by walking a tree: nodes are numbers, edges a hash table.
**
** Used for added tokens (the longest one at a place) and for Unigram's pieces (all at a place). A
** walk costs one table access a byte, the first byte none.
*/
#include "text/text.h"

struct pl__edge {
    int32_t from, to; /* to 0: empty slot */
    unsigned char byte;
};

static uint32_t edge_hash(int32_t from, unsigned char byte)
{
    const uint64_t key = ((uint64_t)(uint32_t)from << 8 | byte) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32);
}

int32_t pl__trie_step(const pl__trie *trie, int32_t node, unsigned char byte)
{
    if (node == 0) return trie->count > 0 && trie->root[byte] > 0 ? trie->root[byte] : -1;
    for (uint32_t i = edge_hash(node, byte);; i++) {
        const struct pl__edge *e = &trie->edge[i & trie->mask];
        if (e->to == 0) return -1;
        if (e->from == node && e->byte == byte) return e->to;
    }
}

static void put_edge(pl__trie *trie, struct pl__edge edge)
{
    uint32_t i = edge_hash(edge.from, edge.byte);
    while (trie->edge[i & trie->mask].to != 0) i++;
    trie->edge[i & trie->mask] = edge;
}

/* Room for one node more, and edges at most half full. */
static pl_status grow(pl_ctx *ctx, pl__trie *trie)
{
    if (trie->count == trie->room) {
        const int64_t room = trie->room * 2 + 256;
        int32_t *value = pl_realloc(ctx, trie->value, (size_t)room * sizeof *value);
        if (!value) return PL_ERR_NOMEM;
        trie->value = value;
        trie->room = room;
    }
    if (trie->edge && 2 * trie->count < (int64_t)trie->mask) return PL_OK;
    const uint32_t old = trie->edge ? trie->mask + 1 : 0, size = old ? old * 2 : 256;
    struct pl__edge *before = trie->edge, *edge = pl_calloc(ctx, size, sizeof *edge);
    if (!edge) return PL_ERR_NOMEM;
    trie->edge = edge;
    trie->mask = size - 1;
    for (uint32_t i = 0; i < old; i++)
        if (before[i].to != 0) put_edge(trie, before[i]);
    pl_free(ctx, before);
    return PL_OK;
}

static pl_status new_node(pl_ctx *ctx, pl__trie *trie, int32_t *node)
{
    if (trie->count > INT32_MAX / 4)
        return pl__fail(ctx, PL_ERR_FORMAT, "the vocabulary's text is too long");
    PL_TRY(grow(ctx, trie));
    *node = (int32_t)trie->count++;
    trie->value[*node] = -1;
    return PL_OK;
}

pl_status pl__trie_add(pl_ctx *ctx, pl__trie *trie, const char *word, size_t length, int32_t value)
{
    int32_t node = 0;
    if (trie->count == 0) PL_TRY(new_node(ctx, trie, &node));
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)word[i];
        int32_t next = pl__trie_step(trie, node, byte);
        if (next < 0) {
            PL_TRY(new_node(ctx, trie, &next));
            if (node == 0) trie->root[byte] = next;
            else put_edge(trie, (struct pl__edge){node, next, byte});
        }
        node = next;
    }
    if (trie->value[node] < 0) trie->value[node] = value;
    return PL_OK;
}

void pl__trie_free(pl_ctx *ctx, pl__trie *trie)
{
    pl_free(ctx, trie->value);
    pl_free(ctx, trie->edge);
    *trie = (pl__trie){0};
}

/*
** charsmap.c - SentencePiece's precompiled map of character runs to what they are written as.
**
** The map is four bytes with the size of a trie, the trie, and NUL-ended texts. The trie is a
** double array (Aoe 1989, in the form of the Darts-clone library): 32-bit units with an
** offset, a label and a mark for "a word ends here", whose value is the place of its text.
**
** SentencePiece takes the longest match at each place. Hugging Face's tokenizers look at a
** grapheme of less than six bytes as a whole, take the first match in it, the shortest, and
** put its text for the whole grapheme; longer ones are looked at by characters. Both are
** here: files of either kind were trained with their own.
*/
#include "text/text.h"

#include <utf8proc.h>

#include "base/utf8.h"

#define HEAD 4
#define SHORT_GRAPHEME 6

typedef struct {
    const char *map;
    size_t units, texts, size; /* 32-bit units; where texts begin; bytes of the map */
} charsmap;

static uint32_t number_at(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint32_t unit(const charsmap *m, size_t i)
{
    return number_at(m->map + HEAD + 4 * i);
}

static size_t offset_of(uint32_t u)
{
    return (size_t)(u >> 10) << ((u & (1u << 9)) >> 6);
}

static charsmap open_map(const char *map, size_t size)
{
    const size_t trie = number_at(map);
    return (charsmap){map, trie / 4, HEAD + trie, size};
}

pl_status pl__charsmap_check(pl_ctx *ctx, const char *map, size_t size, const char *path)
{
    if (size > HEAD) {
        const size_t trie = number_at(map);
        if (trie % 4 == 0 && trie > 0 && trie < size - HEAD && map[size - 1] == '\0') return PL_OK;
    }
    return pl__fail(ctx, PL_ERR_FORMAT, "%s: the precompiled map of characters is damaged", path);
}

/* What the longest (shortest) match at `text` is written as, NULL: no match; *used bytes of it. */
static const char *find(const charsmap *m, const char *text, size_t length, bool longest,
                        size_t *used)
{
    size_t at = offset_of(unit(m, 0));
    const char *found = NULL;
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        at ^= byte;
        if (byte == 0 || at >= m->units) break;
        const uint32_t u = unit(m, at);
        if ((u & 0x800000FFu) != byte) break;
        at ^= offset_of(u);
        if (at >= m->units) break;
        if (!(u >> 8 & 1)) continue;
        const size_t value = unit(m, at) & 0x7FFFFFFFu;
        if (value >= m->size - m->texts) break;
        found = m->map + m->texts + value;
        *used = i + 1;
        if (!longest) break;
    }
    return found;
}

/* Bytes of the grapheme at `text`, all of it valid UTF-8. */
static size_t grapheme(const char *text, size_t length)
{
    utf8proc_int32_t state = 0, before = -1;
    size_t at = 0;
    while (at < length) {
        const int step = pl__utf8_char(text + at, length - at);
        const utf8proc_int32_t code = (utf8proc_int32_t)pl__utf8_get(text + at, step);
        if (before >= 0 && utf8proc_grapheme_break_stateful(before, code, &state)) break;
        before = code;
        at += (size_t)step;
    }
    return at;
}

/* Bytes [at, at + length) of `from` become `text`, or stay when it is NULL. */
static pl_status put(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t at,
                     size_t length, const char *text)
{
    if (!text) return pl__changed_copy(ctx, out, from, at, length);
    return pl__changed_add(ctx, out, text, strlen(text), pl__changed_origin(from, at, at + length));
}

static pl_status map_grapheme(pl_ctx *ctx, pl__changed *out, const pl__changed *from,
                              const charsmap *m, size_t start, size_t length)
{
    const char *text = from->text.data + start;
    size_t used;
    if (length < SHORT_GRAPHEME) {
        const char *whole = find(m, text, length, false, &used);
        if (whole) return put(ctx, out, from, start, length, whole);
    }
    for (size_t at = 0; at < length;) {
        const size_t step = (size_t)pl__utf8_char(text + at, length - at);
        PL_TRY(put(ctx, out, from, start + at, step, find(m, text + at, step, false, &used)));
        at += step;
    }
    return PL_OK;
}

pl_status pl__charsmap_run(pl_ctx *ctx, pl__changed *out, const pl__changed *from, const char *map,
                           size_t size, bool longest)
{
    const charsmap m = open_map(map, size);
    const char *text = from->text.data;
    const size_t length = from->text.length;
    size_t valid = 0; /* up to here the text is UTF-8 */
    for (size_t at = 0; at < length;) {
        if (valid <= at) valid = at + pl__utf8_run(text + at, length - at);
        const int step = pl__utf8_char(text + at, length - at);
        size_t used = step > 0 ? (size_t)step : 1;
        if (step == 0) {
            PL_TRY(pl__changed_copy(ctx, out, from, at, 1));
        } else if (longest) {
            const char *mapped = find(&m, text + at, length - at, true, &used);
            PL_TRY(put(ctx, out, from, at, used, mapped));
        } else {
            used = grapheme(text + at, valid - at);
            PL_TRY(map_grapheme(ctx, out, from, &m, at, used));
        }
        at += used;
    }
    return PL_OK;
}

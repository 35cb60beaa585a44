/*
** tokenizer.c - the public face: text to ids, ids to text, looking tokens up, freeing all.
**
** Encoding: look for added tokens (only when asked), then for each stretch of plain text between
** them: normalize, put the prefix space, cut into words, merge. A stray byte of invalid UTF-8 goes
** through as itself.
**
** Decoding has one path, a token at a time, which decode and the stream share.
*/
#include "text/text.h"

#include "base/utf8.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD, for an id without a token */

pl_tokenizer_info pl_tokenizer_get_info(const pl_tokenizer *tok)
{
    return (pl_tokenizer_info){.kind = tok->kind,
                               .size = tok->count,
                               .bos = tok->bos,
                               .eos = tok->eos,
                               .pad = tok->pad,
                               .unk = tok->unk,
                               .adds_bos = tok->adds_bos,
                               .adds_eos = tok->adds_eos,
                               .chat_template = tok->chat_template};
}

static bool is_token(const pl_tokenizer *tok, int64_t id)
{
    return id >= 0 && id < tok->count && (tok->tokens[id].flags & PL__TOK_PRESENT);
}

pl_status pl_tokenizer_set_special(pl_tokenizer *tok, int32_t bos, int32_t eos, int32_t pad)
{
    const int32_t ids[3] = {bos, eos, pad};
    for (int i = 0; i < 3; i++)
        if (ids[i] != -1 && !is_token(tok, ids[i]))
            return pl__fail(tok->ctx, PL_ERR_ARG, "the tokenizer has no token %d; ids go to %lld",
                            ids[i], (long long)tok->count - 1);
    tok->bos = bos;
    tok->eos = eos;
    tok->pad = pad;
    return PL_OK;
}

int32_t pl_tokenizer_id(const pl_tokenizer *tok, const char *text, size_t length)
{
    int32_t id = pl__tok_by_name(tok, text, length);
    if (id < 0) id = pl__tok_by_bytes(tok, text, length);
    if (id < 0 && length == 1) id = tok->byte_id[(unsigned char)text[0]];
    return id;
}

const char *pl_tokenizer_name(const pl_tokenizer *tok, int64_t id, size_t *length)
{
    if (!is_token(tok, id)) return NULL;
    *length = tok->tokens[id].name_length;
    return pl__tok_name(tok, id);
}

const char *pl_tokenizer_bytes(const pl_tokenizer *tok, int64_t id, size_t *length)
{
    if (!is_token(tok, id)) return NULL;
    *length = tok->tokens[id].bytes_length;
    return pl__tok_bytes(tok, id);
}

bool pl_tokenizer_is_control(const pl_tokenizer *tok, int64_t id)
{
    return is_token(tok, id) && (tok->tokens[id].flags & PL__TOK_CONTROL) &&
           id != pl__tok_unknown(tok);
}

void pl_tokenizer_free(pl_tokenizer *tok)
{
    if (!tok) return;
    pl_ctx *ctx = tok->ctx;
    pl__bpe_free(tok);
    pl__steps_free(tok);
    pl_free(ctx, tok->tokens);
    pl_free(ctx, tok->by_name.slot);
    pl_free(ctx, tok->by_bytes.slot);
    pl_free(ctx, tok->merges);
    pl_free(ctx, tok->pairs.slot);
    pl__prefixes_free(ctx, &tok->added);
    pl_free(ctx, tok->chat_template);
    pl_free(ctx, tok->pieces[0].data);
    pl_free(ctx, tok->pieces[1].data);
    pl__buf_free(ctx, &tok->names);
    pl__buf_free(ctx, &tok->bytes);
    pl_free(ctx, tok->json);
    pl_free(ctx, tok->config);
    pl__buf_free(ctx, &tok->normalized);
    pl__buf_free(ctx, &tok->streamed);
    pl_free(ctx, tok);
}

/* ------------------------------------------------------------------------------------------- */

static pl_status encode_words(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length)
{
    const pl__pieces *pieces;
    PL_TRY(pl__steps_run(tok, text, length, &pieces));
    for (int64_t i = 0; i < pieces->count; i++) {
        const char *word = text + pieces->data[i].start;
        size_t n = pieces->data[i].length;
        if (tok->kind == PL_TOKENIZER_WORD) {
            int32_t id = pl__tok_by_bytes(tok, word, n);
            if (id < 0) id = pl__tok_unknown(tok);
            if (id < 0)
                return pl__fail(tok->ctx, PL_ERR_ARG,
                                "encode: '%.*s' is not in the vocabulary and there is no unknown "
                                "token",
                                (int)(n < 60 ? n : 60), word);
            PL_TRY(pl__ids_add(tok->ctx, out, id));
        } else {
            PL_TRY(pl__bpe_encode(tok, out, word, n));
        }
    }
    return PL_OK;
}

/* A stretch without added tokens. */
static pl_status encode_plain(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length,
                              bool prefix)
{
    if (length == 0) return PL_OK;
    prefix = prefix && tok->prefix_space;
    if (!prefix && tok->normal == PL__NORMAL_NONE) return encode_words(tok, out, text, length);
    pl__buf *made = &tok->normalized;
    made->length = 0;
    PL_TRY(pl__buf_add(tok->ctx, made, " ", 1));
    PL_TRY(pl__normalize(tok->ctx, made, text, length, tok->normal));
    /* SentencePiece puts its space always, byte-level BPE where there is none. */
    if (tok->kind == PL_TOKENIZER_BYTELEVEL && made->length > 1 && made->data[1] == ' ')
        prefix = false;
    return encode_words(tok, out, made->data + !prefix, made->length - !prefix);
}

/* The id of the longest added token at `text`, -1: none. A control token has to end within the
** first `open` bytes. */
static int32_t added_at(const pl_tokenizer *tok, const char *text, size_t length, size_t open)
{
    const pl__prefixes *added = &tok->added;
    if (!(tok->added_starts[(unsigned char)text[0]] & (open > 0 ? 3 : 2))) return -1;
    int64_t low = 0, high = added->count; /* those before `low` are not behind the text, sorted */
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const size_t n = tok->tokens[added->ids[middle]].bytes_length;
        const int sign =
            memcmp(pl__tok_bytes(tok, added->ids[middle]), text, n < length ? n : length);
        if (sign < 0 || (sign == 0 && n <= length)) low = middle + 1;
        else high = middle;
    }
    for (int64_t i = low - 1; i >= 0; i = added->shorter[i]) {
        const int32_t id = added->ids[i];
        const pl__token *t = &tok->tokens[id];
        if (t->bytes_length <= (t->flags & PL__TOK_CONTROL ? open : length) &&
            !memcmp(pl__tok_bytes(tok, id), text, t->bytes_length))
            return id;
    }
    return -1;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* How many bytes from `at` on may hold a control token. Empty spans, and those that end there or
** before, are passed over; *next is the first other one. */
static size_t open_bytes(const pl_encode_options *o, int64_t *next, size_t at, size_t length)
{
    if (!(o->flags & PL_ENCODE_SPECIAL)) return 0;
    while (*next < o->n_guarded &&
           (o->guarded[*next].end <= at || o->guarded[*next].start == o->guarded[*next].end))
        ++*next;
    if (*next == o->n_guarded) return length - at;
    const size_t start = o->guarded[*next].start;
    return start > at ? start - at : 0;
}

static pl_status encode_text(pl_tokenizer *tok, pl__ids *out, const char *text, size_t length,
                             const pl_encode_options *o)
{
    bool prefix = !(o->flags & PL_ENCODE_CONTINUED);
    size_t start = 0, at = 0;
    int64_t next_guarded = 0;
    while (tok->added.count > 0 && at < length) {
        const size_t open = open_bytes(o, &next_guarded, at, length);
        const int32_t id = added_at(tok, text + at, length - at, open);
        if (id < 0) {
            at++;
            continue;
        }
        const pl__token *t = &tok->tokens[id];
        size_t end = at, next = at + t->bytes_length;
        while ((t->flags & PL__TOK_STRIP_LEFT) && end > start && is_blank(text[end - 1])) end--;
        while ((t->flags & PL__TOK_STRIP_RIGHT) && next < length && is_blank(text[next])) next++;
        PL_TRY(encode_plain(tok, out, text + start, end - start, prefix));
        PL_TRY(pl__ids_add(tok->ctx, out, id));
        prefix = !tok->prefix_once;
        start = at = next;
    }
    return encode_plain(tok, out, text + start, length - start, prefix);
}

/* Work space for one huge text is not kept for ever. */
static void shed(pl_tokenizer *tok)
{
    if (tok->symbols_room > PL_TEXT_KEEP) {
        pl_free(tok->ctx, tok->symbols);
        tok->symbols = NULL;
        tok->symbols_room = 0;
    }
    if (tok->heap_room > 4 * PL_TEXT_KEEP) {
        pl_free(tok->ctx, tok->heap);
        tok->heap = NULL;
        tok->heap_room = 0;
    }
    if (tok->normalized.room > 16 * PL_TEXT_KEEP) pl__buf_free(tok->ctx, &tok->normalized);
    for (int i = 0; i < 2; i++)
        if (tok->pieces[i].room > 4 * PL_TEXT_KEEP) {
            pl_free(tok->ctx, tok->pieces[i].data);
            tok->pieces[i] = (pl__pieces){0};
        }
}

static pl_status check_guarded(pl_ctx *ctx, const pl_encode_options *o, size_t length)
{
    size_t before = 0;
    for (int64_t i = 0; i < o->n_guarded; i++) {
        const pl_text_span span = o->guarded[i];
        if (span.start < before || span.end < span.start || span.end > length)
            return pl__fail(ctx, PL_ERR_ARG,
                            "encode: guarded span %lld is bytes %zu to %zu; spans have to be in "
                            "order, apart, and inside the text of %zu bytes",
                            (long long)i + 1, span.start, span.end, length);
        before = span.end;
    }
    return PL_OK;
}

pl_status pl_tokenizer_encode(pl_tokenizer *tok, int32_t **ids, int64_t *count, const char *text,
                              size_t length, unsigned flags)
{
    const pl_encode_options options = {.flags = flags};
    return pl_tokenizer_encode_with(tok, ids, count, text, length, &options);
}

pl_status pl_tokenizer_encode_with(pl_tokenizer *tok, int32_t **ids, int64_t *count,
                                   const char *text, size_t length,
                                   const pl_encode_options *options)
{
    const unsigned flags = options->flags;
    pl_ctx *ctx = tok->ctx;
    pl__ids out = {0};
    pl_status st = PL_OK;
    *ids = NULL;
    *count = 0;
    PL_TRY(check_guarded(ctx, options, length));
    if ((flags & PL_ENCODE_BOS) && tok->bos < 0)
        return pl__fail(ctx, PL_ERR_ARG, "encode: this tokenizer names no beginning token (bos)");
    if ((flags & PL_ENCODE_EOS) && tok->eos < 0)
        return pl__fail(ctx, PL_ERR_ARG, "encode: this tokenizer names no end token (eos)");
    if (flags & PL_ENCODE_BOS) PL_GO(pl__ids_add(ctx, &out, tok->bos));
    PL_GO(encode_text(tok, &out, text, length, options));
    if ((flags & PL_ENCODE_BOS) && out.count > 1 && out.data[1] == tok->bos)
        memmove(out.data, out.data + 1, (size_t)--out.count * sizeof *out.data);
    if ((flags & PL_ENCODE_EOS) && (out.count == 0 || out.data[out.count - 1] != tok->eos ||
                                    (out.count == 1 && (flags & PL_ENCODE_BOS))))
        PL_GO(pl__ids_add(ctx, &out, tok->eos));
    *ids = out.data;
    *count = out.count;
done:
    if (st != PL_OK) pl_free(ctx, out.data);
    shed(tok);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

/* Appends what `id` adds to the text so far. */
static pl_status decode_one(pl_tokenizer *tok, pl__buf *out, pl_text_stream *stream, int64_t id,
                            unsigned flags)
{
    pl_ctx *ctx = tok->ctx;
    if (id < 0) return pl__fail(ctx, PL_ERR_ARG, "decode: the id %lld", (long long)id);
    const pl__token *t = is_token(tok, id) ? &tok->tokens[id] : NULL;
    bool after_bos = stream->after_bos;
    stream->after_bos = t && id == tok->bos;
    if (t && (flags & PL_DECODE_SKIP_SPECIAL) && (t->flags & PL__TOK_SPECIAL)) return PL_OK;
    if (tok->kind == PL_TOKENIZER_WORD && stream->started) PL_TRY(pl__buf_add(ctx, out, " ", 1));
    stream->started = true;
    if (!t) return pl__buf_add(ctx, out, REPLACEMENT, 3);
    const char *bytes = tok->bytes.data + t->bytes_at;
    size_t n = t->bytes_length;
    if (tok->kind == PL_TOKENIZER_SENTENCEPIECE && tok->prefix_space && after_bos && n > 0 &&
        bytes[0] == ' ' && !(t->flags & PL__TOK_BYTE))
        bytes++, n--;
    return pl__buf_add(ctx, out, bytes, n);
}

pl_status pl_tokenizer_decode(pl_tokenizer *tok, char **text, size_t *length, const int32_t *ids,
                              int64_t count, unsigned flags)
{
    pl__buf out = {0};
    pl_text_stream stream = {0};
    pl_status st = PL_OK;
    *text = NULL;
    *length = 0;
    for (int64_t i = 0; i < count; i++) PL_GO(decode_one(tok, &out, &stream, ids[i], flags));
    PL_GO(pl__buf_add(tok->ctx, &out, "", 1));
    *text = out.data;
    *length = out.length - 1;
done:
    if (st != PL_OK) pl__buf_free(tok->ctx, &out);
    return st;
}

pl_status pl_tokenizer_stream(pl_tokenizer *tok, pl_text_stream *stream, const char **text,
                              size_t *length, int32_t id, unsigned flags)
{
    pl__buf *out = &tok->streamed;
    out->length = 0;
    PL_TRY(pl__buf_add(tok->ctx, out, (const char *)stream->held, (size_t)stream->n_held));
    if (id != -1) PL_TRY(decode_one(tok, out, stream, id, flags));
    size_t hold = id == -1 ? 0 : pl__utf8_unfinished(out->data, out->length);
    out->length -= hold;
    if (hold > 0) memcpy(stream->held, out->data + out->length, hold);
    stream->n_held = (int)hold;
    *text = out->data;
    *length = out->length;
    return PL_OK;
}

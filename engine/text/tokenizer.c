/*
** tokenizer.c - the public face but for encoding: ids to text, looking tokens up, freeing all.
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
    pl__norm_free(tok);
    pl__trie_free(ctx, &tok->added);
    pl__trie_free(ctx, &tok->added_normalized);
    pl__trie_free(ctx, &tok->words);
    pl_free(ctx, tok->scores);
    pl_free(ctx, tok->lattice);
    pl_free(ctx, tok->word_prefix);
    pl_free(ctx, tok->word_suffix);
    pl_free(ctx, tok->norm_text);
    pl_free(ctx, tok->steps_text);
    pl_free(ctx, tok->decoder_text);
    pl_free(ctx, tok->chat_template);
    pl_free(ctx, tok->pieces[0].data);
    pl_free(ctx, tok->pieces[1].data);
    pl__buf_free(ctx, &tok->names);
    pl__buf_free(ctx, &tok->bytes);
    pl_free(ctx, tok->json);
    pl_free(ctx, tok->config);
    pl__buf_free(ctx, &tok->streamed);
    pl_free(ctx, tok);
}

/* ------------------------------------------------------------------------------------------- */

/* Whether WordPiece's cleaning takes the space before this token away. */
static bool sticks(const pl_tokenizer *tok, int64_t id)
{
    static const char *const begins[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    const char *bytes = pl__tok_bytes(tok, id);
    for (size_t i = 0; tok->clean_spaces && i < sizeof begins / sizeof begins[0]; i++)
        if (!strncmp(bytes, begins[i], strlen(begins[i]))) return true;
    return false;
}

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
    const bool space = tok->spaces_between && stream->started &&
                       !(t && t->flags & PL__TOK_CONTINUES) && !(t && sticks(tok, id));
    if (space) PL_TRY(pl__buf_add(ctx, out, " ", 1));
    stream->started = true;
    if (!t) return pl__buf_add(ctx, out, REPLACEMENT, 3);
    const char *bytes = tok->bytes.data + t->bytes_at;
    size_t n = t->bytes_length;
    if (tok->kind != PL_TOKENIZER_BYTELEVEL && tok->prefix_space && after_bos && n > 0 &&
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

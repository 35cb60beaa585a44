/*
** spm.c - SentencePiece's own tokenizer.model: a protocol-buffer message with pieces, scores,
** types, how it was trained and how it normalizes. Fields by number, from
** sentencepiece_model.proto.
**
** Taken: BPE and Unigram models. The normalizer becomes steps in tokenizer.json's form: the
** map of characters, spaces taken away at both ends and in runs, "▁" in front and for spaces;
** so that what is saved is what was run, but for the map, of which SentencePiece takes the
** longest match. A user-defined piece is an added token.
*/
#include "text/text.h"

#include <math.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */
enum { UNIGRAM = 1, BPE = 2 };                            /* of trainer_spec.model_type */
enum { UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4 };      /* of a piece */

typedef struct {
    const char *data;
    size_t length, at;
} message;

typedef struct {
    uint32_t number;
    int wire;
    uint64_t value;    /* VARINT, FIXED32 */
    const char *bytes; /* BYTES */
    size_t length;
} field;

typedef struct {
    const char *charsmap;
    size_t charsmap_length;
    bool dummy_prefix, remove_spaces, escape_spaces;
    bool suffix_spaces, byte_fallback;
    int64_t model_type;
    int32_t unk, bos, eos, pad;
} spec;

static bool read_varint(message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && m->at < m->length; shift += 7) {
        const unsigned char byte = (unsigned char)m->data[m->at++];
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* The next field; false at the end, and with *ok false where the message is damaged. */
static bool next_field(message *m, field *f, bool *ok)
{
    uint64_t key, size;
    if (m->at == m->length) return false;
    *ok = false;
    if (!read_varint(m, &key) || key >> 3 > UINT32_MAX) return false;
    *f = (field){.number = (uint32_t)(key >> 3), .wire = (int)(key & 7)};
    switch (f->wire) {
    case VARINT:
        if (!read_varint(m, &f->value)) return false;
        break;
    case BYTES:
        if (!read_varint(m, &size) || size > m->length - m->at) return false;
        f->bytes = m->data + m->at;
        f->length = (size_t)size;
        m->at += f->length;
        break;
    case FIXED32:
    case FIXED64:
        size = f->wire == FIXED32 ? 4 : 8;
        if (size > m->length - m->at) return false;
        for (uint64_t i = 0; i < size; i++)
            f->value |= (uint64_t)(unsigned char)m->data[m->at + i] << (8 * i);
        m->at += (size_t)size;
        break;
    default: return false;
    }
    *ok = true;
    return true;
}

static pl_status damaged(pl_ctx *ctx, const char *path)
{
    return pl__fail(ctx, PL_ERR_FORMAT, "%s: damaged, or no SentencePiece model", path);
}

/* ------------------------------------------------------------------------------------------- */

static bool read_trainer(spec *s, const field *part)
{
    message m = {part->bytes, part->length, 0};
    field f;
    bool ok = true;
    while (next_field(&m, &f, &ok)) {
        if (f.wire != VARINT) continue;
        switch (f.number) {
        case 3: s->model_type = (int64_t)f.value; break;
        case 24: s->suffix_spaces = f.value != 0; break;
        case 35: s->byte_fallback = f.value != 0; break;
        case 40: s->unk = (int32_t)f.value; break;
        case 41: s->bos = (int32_t)f.value; break;
        case 42: s->eos = (int32_t)f.value; break;
        case 43: s->pad = (int32_t)f.value; break;
        default: break;
        }
    }
    return ok;
}

static bool read_normalizer(spec *s, const field *part)
{
    message m = {part->bytes, part->length, 0};
    field f;
    bool ok = true;
    while (next_field(&m, &f, &ok)) {
        if (f.number == 2 && f.wire == BYTES) {
            s->charsmap = f.bytes;
            s->charsmap_length = f.length;
        } else if (f.wire == VARINT) {
            if (f.number == 3) s->dummy_prefix = f.value != 0;
            if (f.number == 4) s->remove_spaces = f.value != 0;
            if (f.number == 5) s->escape_spaces = f.value != 0;
        }
    }
    return ok;
}

static pl_status add_piece(pl_tokenizer *tok, const field *part, pl__buf *scores, const char *path)
{
    message m = {part->bytes, part->length, 0};
    field f;
    const char *name = "";
    size_t length = 0;
    uint64_t type = 1;
    float score = 0.0f;
    bool ok = true;
    while (next_field(&m, &f, &ok)) {
        if (f.number == 1 && f.wire == BYTES) {
            name = f.bytes;
            length = f.length;
        } else if (f.number == 2 && f.wire == FIXED32) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else if (f.number == 3 && f.wire == VARINT) {
            type = f.value;
        }
    }
    if (!ok || length == 0 || !isfinite(score)) return damaged(tok->ctx, path);
    uint16_t flags = 0;
    if (type == UNKNOWN || type == CONTROL) flags = PL__TOK_ADDED | PL__TOK_SPECIAL;
    if (type == USER_DEFINED) flags = PL__TOK_ADDED;
    PL_TRY(pl__tok_set(tok, tok->count, name, length, flags));
    return pl__buf_add(tok->ctx, scores, (const char *)&score, sizeof score);
}

/* The parts that say what kind of model it is, before the pieces are read. */
static pl_status read_spec(pl_ctx *ctx, spec *s, const char *data, size_t size, const char *path)
{
    message m = {data, size, 0};
    field f;
    bool ok = true, pieces = false;
    while (ok && next_field(&m, &f, &ok)) {
        if (f.wire != BYTES) continue;
        pieces |= f.number == 1;
        if (f.number == 2) ok = read_trainer(s, &f);
        if (f.number == 3) ok = read_normalizer(s, &f);
    }
    if (!ok || !pieces) return damaged(ctx, path);
    if (s->model_type != UNIGRAM && s->model_type != BPE)
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%s: a SentencePiece model of type %lld (3: words, 4: characters); Unigram "
                        "and BPE can be read",
                        path, (long long)s->model_type);
    if (s->suffix_spaces || !s->escape_spaces)
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: the setting %s is not supported", path,
                        s->suffix_spaces ? "treat_whitespace_as_suffix"
                                         : "escape_whitespaces = false");
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

static pl_status add_base64(pl_ctx *ctx, pl__buf *out, const char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    PL_TRY(pl__buf_reserve(ctx, out, size / 3 * 4 + 4));
    for (size_t i = 0; i < size; i += 3) {
        const size_t n = size - i < 3 ? size - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < n ? (uint32_t)(unsigned char)data[i + k] : 0);
        char four[4];
        for (size_t k = 0; k < 4; k++) four[k] = k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
        PL_TRY(pl__buf_add(ctx, out, four, 4));
    }
    return PL_OK;
}

static pl_status add_text(pl_ctx *ctx, pl__buf *out, const char *text)
{
    return pl__buf_add(ctx, out, text, strlen(text));
}

/* The normalizer in tokenizer.json's form. */
static pl_status write_normalizer(pl_ctx *ctx, pl__buf *out, const spec *s)
{
    PL_TRY(add_text(ctx, out, "{\"type\":\"Sequence\",\"normalizers\":["));
    if (s->charsmap_length > 0) {
        PL_TRY(add_text(ctx, out, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\""));
        PL_TRY(add_base64(ctx, out, s->charsmap, s->charsmap_length));
        PL_TRY(add_text(ctx, out, "\"},"));
    }
    if (s->remove_spaces)
        PL_TRY(add_text(
            ctx, out,
            "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\A +|[ \xE2\x96\x81]+\\\\z\"},"
            "\"content\":\"\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},"
            "\"content\":\" \"},"));
    if (s->dummy_prefix)
        PL_TRY(add_text(ctx, out, "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},"));
    PL_TRY(add_text(ctx, out, PL_TEXT_SPM "]}"));
    return pl__buf_add(ctx, out, "", 1);
}

static pl_status set_roles(pl_tokenizer *tok, const spec *s, const char *path)
{
    const int32_t ids[] = {s->unk, s->bos, s->eos, s->pad};
    int32_t *const role[] = {&tok->unk, &tok->bos, &tok->eos, &tok->pad};
    for (int i = 0; i < 4; i++) {
        if (ids[i] >= tok->count) return damaged(tok->ctx, path);
        *role[i] = ids[i] < 0 ? -1 : ids[i];
        if (i > 0) pl__tok_make_special(tok, *role[i]);
    }
    tok->model_unk = tok->unk;
    tok->adds_bos = tok->bos >= 0;
    tok->adds_eos = tok->bos < 0 && tok->eos >= 0; /* T5 and its kin */
    return PL_OK;
}

static pl_status fill(pl_tokenizer *tok, const spec *s, const char *data, size_t size,
                      const char *path)
{
    pl_ctx *ctx = tok->ctx;
    pl__buf scores = {0}, normalizer = {0};
    message m = {data, size, 0};
    field f;
    bool ok = true;
    pl_status st = PL_OK;
    while (next_field(&m, &f, &ok))
        if (f.number == 1 && f.wire == BYTES) PL_GO(add_piece(tok, &f, &scores, path));
    PL_GO(set_roles(tok, s, path));
    PL_GO(write_normalizer(ctx, &normalizer, s));
    PL_GO(pl__load_parts(tok, normalizer.data, "null",
                         s->dummy_prefix ? PL_TEXT_SPM_STRIP : PL_TEXT_SPM_DECODER, path));
    for (int i = 0; i < tok->n_norm; i++)
        if (tok->norm[i].kind == PL__STEP_CHARSMAP) tok->norm[i].longest = true;
    tok->byte_fallback = s->byte_fallback;
    tok->fuse_unk = tok->float_scores = true;
    tok->n_scores = tok->count;
    tok->scores = pl_calloc(ctx, (size_t)tok->count, sizeof *tok->scores);
    if (!tok->scores) st = PL_ERR_NOMEM;
    for (int64_t id = 0; st == PL_OK && id < tok->count; id++) {
        float score;
        memcpy(&score, scores.data + (size_t)id * sizeof score, sizeof score);
        tok->scores[id] = (double)score;
    }
done:
    pl__buf_free(ctx, &scores);
    pl__buf_free(ctx, &normalizer);
    return st;
}

pl_status pl__load_spm(pl_ctx *ctx, pl_tokenizer **out, const char *data, size_t size,
                       const char *path)
{
    spec s = {.dummy_prefix = true,
              .remove_spaces = true,
              .escape_spaces = true,
              .model_type = UNIGRAM,
              .unk = 0,
              .bos = 1,
              .eos = 2,
              .pad = -1};
    pl_status st = PL_OK;
    PL_TRY(read_spec(ctx, &s, data, size, path));
    pl_tokenizer *tok =
        pl__tok_new(ctx, s.model_type == BPE ? PL_TOKENIZER_SENTENCEPIECE : PL_TOKENIZER_UNIGRAM);
    if (!tok) return PL_ERR_NOMEM;
    PL_GO(fill(tok, &s, data, size, path));
    PL_GO(pl__tok_index_names(tok));
    for (int64_t id = 0; id < tok->count; id++)
        if (pl__tok_by_name(tok, pl__tok_name(tok, id), tok->tokens[id].name_length) != id) {
            st = pl__fail(ctx, PL_ERR_FORMAT, "%s: the piece '%.60s' is there twice", path,
                          pl__tok_name(tok, id));
            goto done;
        }
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    return st;
}

/*
** save.c - writing tokenizer.json and tokenizer_config.json so that transformers reads them.
**
** A tokenizer.json that was read is written back byte for byte, and unknown keys of a config stay.
** For the others the file is made here; their steps were read from text in the same form
** (pl__load_parts), so that what is saved is what was run.
**
** Of two cuts of one token with equal score the file orders them by id where llama2.c takes the
** leftmost; that is the one thing the form cannot say.
*/
#include "text/text.h"

#include <stdio.h>

#include "base/json.h"
#include "base/path.h"
#include "base/utf8.h"

/* Takes `value` even on failure. */
static pl_status put(pl_ctx *ctx, struct json_object *object, const char *key,
                     struct json_object *value)
{
    if (json_object_object_add(object, key, value) == 0) return PL_OK;
    json_object_put(value);
    return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
}

/* A part that never changes, as text. */
static pl_status put_json(pl_ctx *ctx, struct json_object *object, const char *key,
                          const char *text)
{
    struct json_object *value = json_tokener_parse(text);
    if (!value && strcmp(text, "null") != 0)
        return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
    return put(ctx, object, key, value);
}

static struct json_object *name_of(const pl_tokenizer *tok, int32_t id)
{
    return json_object_new_string_len(pl__tok_name(tok, id), (int)tok->tokens[id].name_length);
}

static pl_status put_added(const pl_tokenizer *tok, struct json_object *root)
{
    static const struct {
        const char *key;
        uint16_t flag;
    } keys[] = {{"single_word", PL__TOK_SINGLE_WORD},
                {"lstrip", PL__TOK_STRIP_LEFT},
                {"rstrip", PL__TOK_STRIP_RIGHT},
                {"normalized", PL__TOK_NORMALIZED},
                {"special", PL__TOK_SPECIAL}};
    pl_ctx *ctx = tok->ctx;
    struct json_object *list = json_object_new_array();
    PL_TRY(put(ctx, root, "added_tokens", list));
    for (int64_t id = 0; id < tok->count; id++) {
        if (!(tok->tokens[id].flags & PL__TOK_ADDED)) continue;
        struct json_object *item = json_object_new_object();
        if (!item || json_object_array_add(list, item) != 0) {
            json_object_put(item);
            return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
        }
        PL_TRY(put(ctx, item, "id", json_object_new_int64(id)));
        PL_TRY(put(ctx, item, "content", name_of(tok, (int32_t)id)));
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            PL_TRY(put(ctx, item, keys[k].key,
                       json_object_new_boolean((tok->tokens[id].flags & keys[k].flag) != 0)));
    }
    return PL_OK;
}

/* "Add the beginning token": what a llama2.c model wants. */
static pl_status put_post(const pl_tokenizer *tok, struct json_object *root)
{
    if (!tok->adds_bos || tok->bos < 0) return put_json(tok->ctx, root, "post_processor", "null");
    pl__buf text = {0};
    pl_ctx *ctx = tok->ctx;
    pl_status st = PL_OK;
    char number[32];
    struct json_object *name = name_of(tok, tok->bos);
    const char *bos = json_object_to_json_string_ext(name, JSON_C_TO_STRING_NOSLASHESCAPE);
    snprintf(number, sizeof number, "%d", tok->bos);
    const char *parts[] = {
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":",
        bos,
        ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"SpecialToken\":"
        "{\"id\":",
        bos,
        ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":",
        bos,
        ",\"type_id\":1}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{",
        bos,
        ":{\"id\":",
        bos,
        ",\"ids\":[",
        number,
        "],\"tokens\":[",
        bos,
        "]}}}"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        PL_GO(pl__buf_add(ctx, &text, parts[i], strlen(parts[i])));
    PL_GO(pl__buf_add(ctx, &text, "", 1));
    PL_GO(put_json(ctx, root, "post_processor", text.data));
done:
    json_object_put(name);
    pl__buf_free(ctx, &text);
    return st;
}

static pl_status put_parts(const pl_tokenizer *tok, struct json_object *root)
{
    pl_ctx *ctx = tok->ctx;
    PL_TRY(put_json(ctx, root, "normalizer", tok->norm_text ? tok->norm_text : "null"));
    PL_TRY(put_json(ctx, root, "pre_tokenizer", tok->steps_text ? tok->steps_text : "null"));
    PL_TRY(put_post(tok, root));
    return put_json(ctx, root, "decoder", tok->decoder_text ? tok->decoder_text : "null");
}

/* A JSON text can hold it. */
static pl_status check_name(const pl_tokenizer *tok, int64_t id)
{
    const char *name = pl__tok_name(tok, id);
    const size_t length = tok->tokens[id].name_length;
    if (pl__utf8_run(name, length) == length && !memchr(name, 0, length)) return PL_OK;
    return pl__fail(tok->ctx, PL_ERR_FORMAT,
                    "token %lld is not UTF-8 text: a tokenizer.json cannot hold it", (long long)id);
}

static pl_status put_vocab(const pl_tokenizer *tok, struct json_object *model)
{
    pl_ctx *ctx = tok->ctx;
    struct json_object *vocab = json_object_new_object();
    PL_TRY(put(ctx, model, "vocab", vocab));
    for (int64_t id = 0; id < tok->count; id++) {
        const pl__token *t = &tok->tokens[id];
        const char *name = pl__tok_name(tok, id);
        if (!(t->flags & PL__TOK_PRESENT) || pl__tok_by_name(tok, name, t->name_length) != id)
            continue;
        PL_TRY(check_name(tok, id));
        PL_TRY(put(ctx, vocab, name, json_object_new_int64(id)));
    }
    return PL_OK;
}

/* A merge as JSON: "left right", or a pair of texts where a part holds a space itself. */
static struct json_object *merge_of(const pl_tokenizer *tok, const pl__pair *m, bool pairs)
{
    char text[2 * PL_TEXT_MAX_TOKEN + 1];
    const char *left = pl__tok_name(tok, m->left), *right = pl__tok_name(tok, m->right);
    const size_t n_left = tok->tokens[m->left].name_length;
    const size_t n_right = tok->tokens[m->right].name_length;
    if (!pairs) {
        memcpy(text, left, n_left);
        text[n_left] = ' ';
        memcpy(text + n_left + 1, right, n_right);
        return json_object_new_string_len(text, (int)(n_left + n_right + 1));
    }
    struct json_object *pair = json_object_new_array();
    struct json_object *part[2] = {json_object_new_string_len(left, (int)n_left),
                                   json_object_new_string_len(right, (int)n_right)};
    for (int i = 0; i < 2; i++) {
        if (pair && part[i] && json_object_array_add(pair, part[i]) == 0) continue;
        for (int k = i; k < 2; k++) json_object_put(part[k]);
        json_object_put(pair);
        return NULL;
    }
    return pair;
}

static pl_status put_merges(const pl_tokenizer *tok, struct json_object *model)
{
    pl_ctx *ctx = tok->ctx;
    size_t size = 0;
    bool pairs = false;
    for (int64_t i = 0; i < tok->n_merges; i++) {
        const int32_t parts[2] = {tok->merges[i].left, tok->merges[i].right};
        for (int k = 0; k < 2; k++) {
            const size_t length = tok->tokens[parts[k]].name_length;
            size += length + 1;
            pairs = pairs || memchr(pl__tok_name(tok, parts[k]), ' ', length);
        }
    }
    if (size > PL_TEXT_MAX_FILE) /* long tokens that can be cut everywhere */
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%lld merges of %zu bytes: a tokenizer.json has at most %d",
                        (long long)tok->n_merges, size, PL_TEXT_MAX_FILE);
    struct json_object *list = json_object_new_array();
    PL_TRY(put(ctx, model, "merges", list));
    for (int64_t i = 0; i < tok->n_merges; i++) {
        struct json_object *item = merge_of(tok, &tok->merges[i], pairs);
        if (!item || json_object_array_add(list, item) != 0) {
            json_object_put(item);
            return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
        }
    }
    return PL_OK;
}

/* Unigram: [piece, score] in order of ids. */
static pl_status put_scored(const pl_tokenizer *tok, struct json_object *model)
{
    pl_ctx *ctx = tok->ctx;
    struct json_object *list = json_object_new_array();
    PL_TRY(put(ctx, model, "vocab", list));
    for (int64_t id = 0; id < tok->n_scores; id++) {
        PL_TRY(check_name(tok, id));
        struct json_object *pair = json_object_new_array(), *name = name_of(tok, (int32_t)id),
                           *score = json_object_new_double(tok->scores[id]);
        if (!pair || !name || !score || json_object_array_add(pair, name) != 0) {
            json_object_put(name);
            json_object_put(score);
            json_object_put(pair);
            return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
        }
        if (json_object_array_add(pair, score) != 0 || json_object_array_add(list, pair) != 0)
            return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
    }
    return PL_OK;
}

static pl_status put_unigram(const pl_tokenizer *tok, struct json_object *model)
{
    pl_ctx *ctx = tok->ctx;
    PL_TRY(put_json(ctx, model, "type", "\"Unigram\""));
    PL_TRY(put(ctx, model, "unk_id",
               tok->model_unk >= 0 ? json_object_new_int64(tok->model_unk) : NULL));
    PL_TRY(put(ctx, model, "byte_fallback", json_object_new_boolean(tok->byte_fallback)));
    return put_scored(tok, model);
}

static pl_status put_bpe(const pl_tokenizer *tok, struct json_object *model)
{
    pl_ctx *ctx = tok->ctx;
    struct json_object *unk = tok->model_unk >= 0 ? name_of(tok, tok->model_unk) : NULL;
    PL_TRY(put(ctx, model, "unk_token", unk));
    PL_TRY(put_json(ctx, model, "type", "\"BPE\""));
    PL_TRY(put_json(ctx, model, "dropout", "null"));
    PL_TRY(put_json(ctx, model, "continuing_subword_prefix", "null"));
    PL_TRY(put_json(ctx, model, "end_of_word_suffix", "null"));
    PL_TRY(put(ctx, model, "fuse_unk", json_object_new_boolean(tok->fuse_unk)));
    PL_TRY(put(ctx, model, "byte_fallback", json_object_new_boolean(tok->byte_fallback)));
    PL_TRY(put(ctx, model, "ignore_merges", json_object_new_boolean(tok->whole_words)));
    PL_TRY(put_vocab(tok, model));
    return put_merges(tok, model);
}

static pl_status put_model(const pl_tokenizer *tok, struct json_object *root)
{
    pl_ctx *ctx = tok->ctx;
    struct json_object *model = json_object_new_object();
    PL_TRY(put(ctx, root, "model", model));
    switch (tok->kind) {
    case PL_TOKENIZER_UNIGRAM: return put_unigram(tok, model);
    case PL_TOKENIZER_WORD:
        PL_TRY(put(ctx, model, "unk_token", tok->unk >= 0 ? name_of(tok, tok->unk) : NULL));
        PL_TRY(put_json(ctx, model, "type", "\"WordLevel\""));
        return put_vocab(tok, model);
    default: return put_bpe(tok, model);
    }
}

/* ------------------------------------------------------------------------------------------- */

static pl_status write_in(pl_ctx *ctx, const char *folder, const char *name, const char *data,
                          size_t size)
{
    char *path = pl__join_name(ctx, folder, name);
    if (!path) return PL_ERR_NOMEM;
    pl_status st = pl_file_write(ctx, path, data, size);
    pl_free(ctx, path);
    return st;
}

/* Borrowed from `root`. */
static pl_status text_of(pl_ctx *ctx, struct json_object *root, const char **text, size_t *length)
{
    *text = json_object_to_json_string_length(
        root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE,
        length);
    return *text ? PL_OK : pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
}

static pl_status write_tree(pl_ctx *ctx, const char *folder, const char *name,
                            struct json_object *root)
{
    const char *text;
    size_t length;
    PL_TRY(text_of(ctx, root, &text, &length));
    return write_in(ctx, folder, name, text, length);
}

/* What tokenizer.json holds: borrowed from *tree (for the caller to put), or from the tokenizer. */
static pl_status tokenizer_json(const pl_tokenizer *tok, struct json_object **tree,
                                const char **text, size_t *length)
{
    pl_ctx *ctx = tok->ctx;
    pl_status st = PL_OK;
    *tree = NULL;
    *text = tok->json;
    *length = tok->json_length;
    if (tok->json) return PL_OK;
    struct json_object *root = json_object_new_object();
    if (!root) return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
    PL_GO(put_json(ctx, root, "version", "\"1.0\""));
    PL_GO(put_json(ctx, root, "truncation", "null"));
    PL_GO(put_json(ctx, root, "padding", "null"));
    PL_GO(put_added(tok, root));
    PL_GO(put_parts(tok, root));
    PL_GO(put_model(tok, root));
    PL_GO(text_of(ctx, root, text, length));
    *tree = root;
done:
    if (st != PL_OK) json_object_put(root);
    return st;
}

static pl_status save_json(const pl_tokenizer *tok, const char *folder)
{
    struct json_object *tree;
    const char *text;
    size_t length;
    PL_TRY(tokenizer_json(tok, &tree, &text, &length));
    const pl_status st = write_in(tok->ctx, folder, "tokenizer.json", text, length);
    json_object_put(tree);
    return st;
}

pl_status pl_tokenizer_hash(const pl_tokenizer *tok, char hex[PL_HASH_TEXT])
{
    struct json_object *tree;
    const char *text;
    size_t length;
    PL_TRY(tokenizer_json(tok, &tree, &text, &length));
    pl_hash(hex, text, length);
    json_object_put(tree);
    return PL_OK;
}

/* Names a role's token, unless the config names it already in some form. */
static pl_status put_role(const pl_tokenizer *tok, struct json_object *config, const char *key,
                          int32_t id)
{
    struct json_object *old = pl__json_get(config, key);
    if (id < 0) return old ? put(tok->ctx, config, key, NULL) : PL_OK;
    const char *name = json_object_is_type(old, json_type_object) ? pl__json_text(old, "content")
                                                                  : pl__json_text(config, key);
    if (old && !strcmp(name, pl__tok_name(tok, id))) return PL_OK;
    PL_TRY(check_name(tok, id));
    return put(tok->ctx, config, key, name_of(tok, id));
}

static pl_status save_config(const pl_tokenizer *tok, const char *folder, const char *chat)
{
    pl_ctx *ctx = tok->ctx;
    pl_status st = PL_OK;
    struct json_object *config = NULL;
    if (tok->config)
        PL_TRY(pl__json_parse(ctx, &config, tok->config, tok->config_length, PL_TEXT_JSON_DEPTH,
                              "tokenizer_config.json"));
    else config = json_object_new_object();
    if (!config) return pl__fail(ctx, PL_ERR_NOMEM, "no memory to write a tokenizer");
    if (!tok->config) {
        PL_GO(put_json(ctx, config, "tokenizer_class", "\"PreTrainedTokenizerFast\""));
        PL_GO(put(ctx, config, "clean_up_tokenization_spaces", json_object_new_boolean(false)));
    }
    PL_GO(put_role(tok, config, "bos_token", tok->bos));
    PL_GO(put_role(tok, config, "eos_token", tok->eos));
    PL_GO(put_role(tok, config, "pad_token", tok->pad));
    if (tok->unk >= 0) PL_GO(put_role(tok, config, "unk_token", tok->unk));
    if (!chat && (tok->template_is_file || !pl__json_get(config, "chat_template")))
        chat = tok->chat_template;
    if (chat) PL_GO(put(ctx, config, "chat_template", json_object_new_string(chat)));
    PL_GO(write_tree(ctx, folder, "tokenizer_config.json", config));
done:
    json_object_put(config);
    return st;
}

pl_status pl_tokenizer_save(pl_tokenizer *tok, const char *folder, const char *chat_template)
{
    PL_TRY(save_json(tok, folder));
    return save_config(tok, folder, chat_template);
}

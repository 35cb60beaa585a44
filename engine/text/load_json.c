/*
** load_json.c - Hugging Face's tokenizer.json: which model it is, its vocabulary, merges and added
** tokens; load_steps.c has its steps.
**
** Taken: models BPE, Unigram, WordPiece and WordLevel. Whatever else changes ids is refused
** by name, never passed over. `truncation` and `padding` belong to batches and are not looked
** at.
*/
#include "text/text.h"

#include <math.h>

#include "base/json.h"

/* ------------------------------------------------------------------------------------------- */

/* The keys that are read, and the types they may have; all others change no ids. */
static const pl__json_field root_fields[] = {{"model", PL__JSON_OBJECT, true},
                                             {"added_tokens", PL__JSON_LIST, false},
                                             {"normalizer", PL__JSON_OBJECT, false},
                                             {"pre_tokenizer", PL__JSON_OBJECT, false},
                                             {"post_processor", PL__JSON_OBJECT, false},
                                             {"decoder", PL__JSON_OBJECT, false},
                                             {NULL, 0, false}};
static const pl__json_field type_fields[] = {{"type", PL__JSON_TEXT, false}, {NULL, 0, false}};
static const pl__json_field model_fields[] = {{"vocab", PL__JSON_OBJECT | PL__JSON_LIST, true},
                                              {"merges", PL__JSON_LIST, false},
                                              {"unk_token", PL__JSON_TEXT, false},
                                              {"dropout", PL__JSON_NUMBER, false},
                                              {"unk_id", PL__JSON_INTEGER, false},
                                              {"max_input_chars_per_word", PL__JSON_INTEGER, false},
                                              {"fuse_unk", PL__JSON_BOOLEAN, false},
                                              {"byte_fallback", PL__JSON_BOOLEAN, false},
                                              {"ignore_merges", PL__JSON_BOOLEAN, false},
                                              {"continuing_subword_prefix", PL__JSON_TEXT, false},
                                              {"end_of_word_suffix", PL__JSON_TEXT, false},
                                              {NULL, 0, false}};
static const pl__json_field added_fields[] = {{"content", PL__JSON_TEXT, true},
                                              {"single_word", PL__JSON_BOOLEAN, false},
                                              {"lstrip", PL__JSON_BOOLEAN, false},
                                              {"rstrip", PL__JSON_BOOLEAN, false},
                                              {"special", PL__JSON_BOOLEAN, false},
                                              {"normalized", PL__JSON_BOOLEAN, false},
                                              {NULL, 0, false}};
static pl_status refuse(pl_ctx *ctx, const char *path, const char *what, struct json_object *thing)
{
    return pl__fail(ctx, PL_ERR_FORMAT, "%s: the %s %.200s is not supported", path, what,
                    json_object_to_json_string_ext(thing, JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* ------------------------------------------------------------------------------------------- */

pl_status pl__load_vocab(pl_tokenizer *tok, struct json_object *vocab, const char *path)
{
    if (!json_object_is_type(vocab, json_type_object))
        return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: there is no vocabulary {name: id}", path);
    int64_t limit = 16 * (int64_t)json_object_object_length(vocab) + 65536;
    json_object_object_foreach(vocab, name, value)
    {
        const int64_t id =
            json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
        if (id < 0 || id >= limit)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: token '%.60s' has the id %.40s; ids are integers below %lld "
                            "here",
                            path, name, json_object_to_json_string(value), (long long)limit);
        PL_TRY(pl__tok_set(tok, id, name, strlen(name), 0));
    }
    return PL_OK;
}

pl_status pl__load_merge(pl_tokenizer *tok, const char *left, size_t n_left, const char *right,
                         size_t n_right, int64_t rank, const char *path)
{
    char both[2 * PL_TEXT_MAX_TOKEN];
    const size_t prefix = tok->word_prefix ? strlen(tok->word_prefix) : 0;
    int32_t l = -1, r = -1, result = -1;
    if (n_left <= PL_TEXT_MAX_TOKEN && n_right <= PL_TEXT_MAX_TOKEN) {
        l = pl__tok_by_name(tok, left, n_left);
        r = pl__tok_by_name(tok, right, n_right);
        /* A right part stands inside a word: its prefix goes. */
        const size_t skip = n_right >= prefix ? prefix : n_right;
        memcpy(both, left, n_left);
        memcpy(both + n_left, right + skip, n_right - skip);
        result = pl__tok_by_name(tok, both, n_left + n_right - skip);
    }
    if (l < 0 || r < 0 || result < 0)
        return pl__fail(tok->ctx, PL_ERR_FORMAT,
                        "%s: merge %lld, '%.*s' with '%.*s': %s is not in the vocabulary", path,
                        (long long)rank, (int)(n_left < 80 ? n_left : 80), left,
                        (int)(n_right < 80 ? n_right : 80), right,
                        l < 0   ? "the left part"
                        : r < 0 ? "the right part"
                                : "the result");
    return pl__tok_add_merge(tok, l, r, (int32_t)rank, result);
}

static pl_status load_merges(pl_tokenizer *tok, struct json_object *list, const char *path)
{
    if (!json_object_is_type(list, json_type_array))
        return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: the BPE model has no list of merges", path);
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        struct json_object *merge = json_object_array_get_idx(list, i), *left, *right;
        if (json_object_is_type(merge, json_type_string)) {
            const char *text = json_object_get_string(merge);
            size_t length = (size_t)json_object_get_string_len(merge);
            const char *space = memchr(text, ' ', length);
            size_t n_left = space ? (size_t)(space - text) : 0;
            if (!space || memchr(space + 1, ' ', length - n_left - 1))
                return pl__fail(tok->ctx, PL_ERR_FORMAT,
                                "%s: merge %zu, '%.80s', is not two parts with one space between",
                                path, i, text);
            PL_TRY(pl__load_merge(tok, text, n_left, space + 1, length - n_left - 1, (int64_t)i,
                                  path));
        } else if (json_object_is_type(merge, json_type_array) &&
                   json_object_array_length(merge) == 2 &&
                   json_object_is_type(left = json_object_array_get_idx(merge, 0),
                                       json_type_string) &&
                   json_object_is_type(right = json_object_array_get_idx(merge, 1),
                                       json_type_string)) {
            PL_TRY(pl__load_merge(tok, json_object_get_string(left),
                                  (size_t)json_object_get_string_len(left),
                                  json_object_get_string(right),
                                  (size_t)json_object_get_string_len(right), (int64_t)i, path));
        } else {
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: merge %zu is neither text nor a pair of texts", path, i);
        }
    }
    return PL_OK;
}

pl_status pl__load_added_token(pl_tokenizer *tok, int64_t id, struct json_object *item,
                               const char *path)
{
    static const struct {
        const char *key;
        uint16_t flag;
    } flags[] = {{"special", PL__TOK_SPECIAL},
                 {"lstrip", PL__TOK_STRIP_LEFT},
                 {"rstrip", PL__TOK_STRIP_RIGHT},
                 {"single_word", PL__TOK_SINGLE_WORD}};
    pl_ctx *ctx = tok->ctx;
    PL_TRY(pl__json_check(ctx, item, "an added token", added_fields, path));
    const char *content = pl__json_text(item, "content");
    size_t length = strlen(content);
    if (length == 0 || id < 0 || id >= 16 * tok->count + 65536)
        return refuse(ctx, path, "added token", item);
    if (id >= tok->count || !(tok->tokens[id].flags & PL__TOK_PRESENT))
        PL_TRY(pl__tok_set(tok, id, content, length, 0));
    else if (tok->tokens[id].name_length != length ||
             memcmp(pl__tok_name(tok, id), content, length))
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%s: the added token '%.60s' has the id %lld, which is '%.60s' in the "
                        "vocabulary",
                        path, content, (long long)id, pl__tok_name(tok, id));
    pl__token *t = &tok->tokens[id];
    if (t->flags & PL__TOK_ADDED) return PL_OK;
    t->flags |= PL__TOK_ADDED;
    for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++)
        if (pl__json_flag(item, flags[k].key, false)) t->flags |= flags[k].flag;
    if (pl__json_flag(item, "normalized", !(t->flags & PL__TOK_SPECIAL)))
        t->flags |= PL__TOK_NORMALIZED;
    return PL_OK;
}

static pl_status load_added(pl_tokenizer *tok, struct json_object *list, const char *path)
{
    const size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i),
                           *id = pl__json_get(item, "id");
        PL_TRY(
            pl__json_check_type(tok->ctx, id, "the id of an added token", PL__JSON_INTEGER, path));
        PL_TRY(pl__load_added_token(tok, json_object_get_int64(id), item, path));
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

static bool is_bytelevel(struct json_object *thing)
{
    struct json_object *list = pl__json_get(thing, "pretokenizers");
    if (!strcmp(pl__json_text(thing, "type"), "ByteLevel")) return true;
    if (!json_object_is_type(list, json_type_array)) return false;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        if (json_object_is_type(item, json_type_object) && is_bytelevel(item)) return true;
    }
    return false;
}

static pl_status find_kind(pl_ctx *ctx, pl_tokenizer_kind *kind, struct json_object *root,
                           const char *path)
{
    struct json_object *model = pl__json_get(root, "model");
    PL_TRY(pl__json_check(ctx, model, "the model", type_fields, path));
    const char *type = pl__json_text(model, "type");
    const bool bpe = !strcmp(type, "BPE") || (*type == '\0' && pl__json_get(model, "merges"));
    if (bpe)
        *kind = is_bytelevel(pl__json_get(root, "pre_tokenizer")) ? PL_TOKENIZER_BYTELEVEL
                                                                  : PL_TOKENIZER_SENTENCEPIECE;
    else if (!strcmp(type, "Unigram")) *kind = PL_TOKENIZER_UNIGRAM;
    else if (!strcmp(type, "WordPiece")) *kind = PL_TOKENIZER_WORDPIECE;
    else if (!strcmp(type, "WordLevel")) *kind = PL_TOKENIZER_WORD;
    else
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%s: the model type is '%s'; BPE, Unigram, WordPiece and WordLevel can be "
                        "read",
                        path, type);
    return PL_OK;
}

static pl_status take_affix(pl_tokenizer *tok, char **out, struct json_object *model,
                            const char *key, const char *fallback, const char *path)
{
    const char *text = pl__json_get(model, key) ? pl__json_text(model, key) : fallback;
    if (*text == '\0') return PL_OK;
    if (strlen(text) > PL_TEXT_MAX_AFFIX || tok->kind == PL_TOKENIZER_BYTELEVEL)
        return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: the %s '%.80s' is not supported", path, key,
                        text);
    *out = pl_strndup(tok->ctx, text, strlen(text));
    return *out ? PL_OK : PL_ERR_NOMEM;
}

/* What the model says beside its vocabulary. */
static pl_status load_settings(pl_tokenizer *tok, struct json_object *model, const char *path)
{
    const bool wordpiece = tok->kind == PL_TOKENIZER_WORDPIECE;
    struct json_object *dropout = pl__json_get(model, "dropout"),
                       *longest = pl__json_get(model, "max_input_chars_per_word");
    if (dropout && json_object_get_double(dropout) != 0.0)
        return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: BPE dropout is not supported", path);
    PL_TRY(take_affix(tok, &tok->word_prefix, model, "continuing_subword_prefix",
                      wordpiece ? "##" : "", path));
    PL_TRY(take_affix(tok, &tok->word_suffix, model, "end_of_word_suffix", "", path));
    tok->whole_words = pl__json_flag(model, "ignore_merges", false);
    tok->byte_fallback = pl__json_flag(model, "byte_fallback", false);
    tok->fuse_unk = tok->kind == PL_TOKENIZER_UNIGRAM || pl__json_flag(model, "fuse_unk", false);
    tok->longest_word = longest ? json_object_get_int64(longest) : 100;
    tok->spaces_between = wordpiece || tok->kind == PL_TOKENIZER_WORD;
    return PL_OK;
}

/* Unigram: a list of [piece, score] in order of ids. */
static pl_status load_scored(pl_tokenizer *tok, struct json_object *model, const char *path)
{
    struct json_object *list = pl__json_get(model, "vocab"), *unk = pl__json_get(model, "unk_id");
    const size_t n =
        json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    if (n == 0 || n > INT32_MAX / 2)
        return pl__fail(tok->ctx, PL_ERR_FORMAT,
                        "%s: the Unigram model's 'vocab' is no list [piece, score]", path);
    tok->scores = pl_calloc(tok->ctx, n, sizeof *tok->scores);
    if (!tok->scores) return PL_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct json_object *pair = json_object_array_get_idx(list, i), *piece = NULL, *score = NULL;
        if (json_object_is_type(pair, json_type_array) && json_object_array_length(pair) == 2) {
            piece = json_object_array_get_idx(pair, 0);
            score = json_object_array_get_idx(pair, 1);
        }
        if (!json_object_is_type(piece, json_type_string) ||
            !(json_object_is_type(score, json_type_double) ||
              json_object_is_type(score, json_type_int)))
            return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: item %zu of 'vocab' is no [piece, score]",
                            path, i);
        tok->scores[i] = json_object_get_double(score);
        if (!isfinite(tok->scores[i]))
            return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: the score of piece %zu is not finite",
                            path, i);
        PL_TRY(pl__tok_set(tok, (int64_t)i, json_object_get_string(piece),
                           (size_t)json_object_get_string_len(piece), 0));
    }
    tok->n_scores = (int64_t)n;
    if (!unk) return PL_OK;
    const int64_t id = json_object_get_int64(unk);
    if (id < 0 || id >= (int64_t)n)
        return pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: 'unk_id' is %lld; there are %zu pieces", path,
                        (long long)id, n);
    tok->unk = tok->model_unk = (int32_t)id;
    return PL_OK;
}

static pl_status load_model(pl_tokenizer *tok, struct json_object *root, const char *path)
{
    struct json_object *model = pl__json_get(root, "model");
    PL_TRY(load_settings(tok, model, path));
    if (tok->kind == PL_TOKENIZER_UNIGRAM) PL_TRY(load_scored(tok, model, path));
    else PL_TRY(pl__load_vocab(tok, pl__json_get(model, "vocab"), path));
    PL_TRY(load_added(tok, pl__json_get(root, "added_tokens"), path));
    PL_TRY(pl__tok_index_names(tok));
    if (tok->kind == PL_TOKENIZER_BYTELEVEL || tok->kind == PL_TOKENIZER_SENTENCEPIECE)
        PL_TRY(load_merges(tok, pl__json_get(model, "merges"), path));
    const char *unk = pl__json_text(model, "unk_token");
    if (pl__json_get(model, "unk_token"))
        tok->unk = tok->model_unk = pl__tok_by_name(tok, unk, strlen(unk));
    return PL_OK;
}

pl_status pl__load_json(pl_ctx *ctx, pl_tokenizer **out, const char *text, size_t length,
                        const char *path)
{
    pl_tokenizer *tok = NULL;
    pl_status st = PL_OK;
    struct json_object *root;
    pl_tokenizer_kind kind = PL_TOKENIZER_BYTELEVEL;
    PL_TRY(pl__json_parse(ctx, &root, text, length, PL_TEXT_JSON_DEPTH, path));
    PL_GO(pl__json_check(ctx, root, "the file", root_fields, path));
    PL_GO(find_kind(ctx, &kind, root, path));
    PL_GO(pl__json_check(ctx, pl__json_get(root, "model"), "the model", model_fields, path));
    tok = pl__tok_new(ctx, kind);
    if (!tok) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    PL_GO(load_model(tok, root, path));
    PL_GO(pl__load_normalizer(tok, pl__json_get(root, "normalizer"), path));
    PL_GO(pl__load_steps(tok, pl__json_get(root, "pre_tokenizer"), path));
    PL_GO(pl__load_post(tok, pl__json_get(root, "post_processor"), path));
    PL_GO(pl__load_decoder(tok, pl__json_get(root, "decoder"), path));
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    json_object_put(root);
    return st;
}

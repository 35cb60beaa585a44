/*
** load_json.c - Hugging Face's tokenizer.json: which model it is, its vocabulary, merges and steps.
**
** Taken: models BPE (byte-level, or with byte_fallback) and WordLevel; normalizers NFC, NFD, NFKC,
** NFKD and SentencePiece's Prepend and Replace; pre-tokenizers ByteLevel, Split, Digits,
** WhitespaceSplit, Whitespace, Metaspace, alone or in a Sequence. Whatever else changes ids is
** refused by name, never passed over. The post-processor is not run: if it would add tokens, the
** tokenizer says so (adds_bos, adds_eos) and PL_ENCODE_BOS and _EOS add them. `truncation`,
** `padding` and the decoder do not touch encoding and are not looked at.
*/
#include "text/text.h"

#include "base/json.h"

#define MAX_ITEMS 16 /* of a Sequence */
#define LOWER_BLOCK "\xE2\x96\x81"

/* ------------------------------------------------------------------------------------------- */

/* The keys that are read, and the types they may have; all others change no ids. */
static const pl__json_field root_fields[] = {
    {"model", PL__JSON_OBJECT, true},           {"added_tokens", PL__JSON_LIST, false},
    {"normalizer", PL__JSON_OBJECT, false},     {"pre_tokenizer", PL__JSON_OBJECT, false},
    {"post_processor", PL__JSON_OBJECT, false}, {NULL, 0, false}};
static const pl__json_field type_fields[] = {{"type", PL__JSON_TEXT, false}, {NULL, 0, false}};
static const pl__json_field model_fields[] = {{"vocab", PL__JSON_OBJECT, true},
                                              {"merges", PL__JSON_LIST, false},
                                              {"unk_token", PL__JSON_TEXT, false},
                                              {"dropout", PL__JSON_NUMBER, false},
                                              {"byte_fallback", PL__JSON_BOOLEAN, false},
                                              {"ignore_merges", PL__JSON_BOOLEAN, false},
                                              {"continuing_subword_prefix", PL__JSON_TEXT, false},
                                              {"end_of_word_suffix", PL__JSON_TEXT, false},
                                              {NULL, 0, false}};
static const pl__json_field added_fields[] = {{"id", PL__JSON_INTEGER, true},
                                              {"content", PL__JSON_TEXT, true},
                                              {"single_word", PL__JSON_BOOLEAN, false},
                                              {"lstrip", PL__JSON_BOOLEAN, false},
                                              {"rstrip", PL__JSON_BOOLEAN, false},
                                              {"special", PL__JSON_BOOLEAN, false},
                                              {NULL, 0, false}};
/* Of a normalizer, pre-tokenizer or post-processor. */
static const pl__json_field step_fields[] = {{"type", PL__JSON_TEXT, true},
                                             {"normalizers", PL__JSON_LIST, false},
                                             {"pretokenizers", PL__JSON_LIST, false},
                                             {"processors", PL__JSON_LIST, false},
                                             {"prepend", PL__JSON_TEXT, false},
                                             {"content", PL__JSON_TEXT, false},
                                             {"pattern", PL__JSON_OBJECT, false},
                                             {"behavior", PL__JSON_TEXT, false},
                                             {"invert", PL__JSON_BOOLEAN, false},
                                             {"replacement", PL__JSON_TEXT, false},
                                             {"prepend_scheme", PL__JSON_TEXT, false},
                                             {"split", PL__JSON_BOOLEAN, false},
                                             {"add_prefix_space", PL__JSON_BOOLEAN, false},
                                             {"use_regex", PL__JSON_BOOLEAN, false},
                                             {"individual_digits", PL__JSON_BOOLEAN, false},
                                             {"single", PL__JSON_LIST, false},
                                             {NULL, 0, false}};
static const pl__json_field pattern_fields[] = {
    {"Regex", PL__JSON_TEXT, false}, {"String", PL__JSON_TEXT, false}, {NULL, 0, false}};
static const pl__json_field part_fields[] = {{"SpecialToken", PL__JSON_OBJECT, false},
                                             {"Sequence", PL__JSON_OBJECT, false},
                                             {NULL, 0, false}};
static const pl__json_field special_fields[] = {{"id", PL__JSON_TEXT, true}, {NULL, 0, false}};

static pl_status check_step(pl_ctx *ctx, struct json_object *item, const char *what,
                            const char *path)
{
    PL_TRY(pl__json_check(ctx, item, what, step_fields, path));
    struct json_object *pattern = pl__json_get(item, "pattern");
    return pattern ? pl__json_check(ctx, pattern, "a pattern", pattern_fields, path) : PL_OK;
}

/* The items of a Sequence, or the thing itself, all of them checked; *n of them. */
static pl_status items(pl_ctx *ctx, struct json_object *thing, const char *what,
                       const char *list_key, struct json_object *out[MAX_ITEMS], int *n,
                       const char *path)
{
    *n = 0;
    if (!thing) return PL_OK;
    PL_TRY(check_step(ctx, thing, what, path));
    if (strcmp(pl__json_text(thing, "type"), "Sequence") != 0) {
        out[(*n)++] = thing;
        return PL_OK;
    }
    struct json_object *list = pl__json_get(thing, list_key);
    if (!json_object_is_type(list, json_type_array))
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: a Sequence without '%s'", path, list_key);
    size_t count = json_object_array_length(list);
    if (count > MAX_ITEMS)
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: '%s' has %zu items; at most %d are taken", path,
                        list_key, count, MAX_ITEMS);
    for (size_t i = 0; i < count; i++) {
        out[*n] = json_object_array_get_idx(list, i);
        PL_TRY(check_step(ctx, out[(*n)++], what, path));
    }
    return PL_OK;
}

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
    int32_t l = -1, r = -1, result = -1;
    if (n_left <= PL_TEXT_MAX_TOKEN && n_right <= PL_TEXT_MAX_TOKEN) {
        l = pl__tok_by_name(tok, left, n_left);
        r = pl__tok_by_name(tok, right, n_right);
        memcpy(both, left, n_left);
        memcpy(both + n_left, right, n_right);
        result = pl__tok_by_name(tok, both, n_left + n_right);
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

static pl_status load_added(pl_tokenizer *tok, struct json_object *list, const char *path)
{
    pl_ctx *ctx = tok->ctx;
    if (!list) return PL_OK;
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        PL_TRY(pl__json_check(ctx, item, "an added token", added_fields, path));
        const char *content = pl__json_text(item, "content");
        size_t length = strlen(content);
        int64_t id = json_object_get_int64(pl__json_get(item, "id"));
        if (length == 0 || id < 0 || id >= 16 * (tok->count + (int64_t)n) + 65536)
            return refuse(ctx, path, "added token", item);
        if (pl__json_flag(item, "single_word", false))
            return refuse(ctx, path, "added token with single_word", item);
        if (id >= tok->count || !(tok->tokens[id].flags & PL__TOK_PRESENT))
            PL_TRY(pl__tok_set(tok, id, content, length, 0));
        else if (tok->tokens[id].name_length != length ||
                 memcmp(pl__tok_name(tok, id), content, length))
            return pl__fail(ctx, PL_ERR_FORMAT,
                            "%s: the added token '%.60s' has the id %lld, which is '%.60s' in the "
                            "vocabulary",
                            path, content, (long long)id, pl__tok_name(tok, id));
        if (tok->tokens[id].flags & PL__TOK_ADDED) continue;
        tok->tokens[id].flags |= PL__TOK_ADDED;
        if (pl__json_flag(item, "special", false)) tok->tokens[id].flags |= PL__TOK_SPECIAL;
        if (pl__json_flag(item, "lstrip", false)) tok->tokens[id].flags |= PL__TOK_STRIP_LEFT;
        if (pl__json_flag(item, "rstrip", false)) tok->tokens[id].flags |= PL__TOK_STRIP_RIGHT;
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

static pl_status load_normalizer(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    static const struct {
        const char *name;
        pl__normal form;
    } forms[] = {{"NFC", PL__NORMAL_NFC},
                 {"NFD", PL__NORMAL_NFD},
                 {"NFKC", PL__NORMAL_NFKC},
                 {"NFKD", PL__NORMAL_NFKD}};
    struct json_object *item[MAX_ITEMS];
    int n;
    PL_TRY(items(tok->ctx, thing, "a normalizer", "normalizers", item, &n, path));
    for (int i = 0; i < n; i++) {
        const char *type = pl__json_text(item[i], "type");
        bool known = false;
        for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++)
            if (!strcmp(type, forms[k].name) && tok->normal == PL__NORMAL_NONE) {
                tok->normal = forms[k].form;
                known = true;
            }
        if (tok->kind == PL_TOKENIZER_SENTENCEPIECE) {
            if (!strcmp(type, "Prepend") && !strcmp(pl__json_text(item[i], "prepend"), LOWER_BLOCK))
                known = tok->prefix_space = true;
            if (!strcmp(type, "Replace") &&
                !strcmp(pl__json_text(pl__json_get(item[i], "pattern"), "String"), " ") &&
                !strcmp(pl__json_text(item[i], "content"), LOWER_BLOCK))
                known = true;
        }
        if (!known) return refuse(tok->ctx, path, "normalizer", item[i]);
    }
    return PL_OK;
}

static pl_status load_split(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const char *behavior = pl__json_text(item, "behavior");
    struct json_object *pattern = pl__json_get(item, "pattern"),
                       *text = pl__json_get(pattern, "Regex");
    bool literal = text == NULL, isolated = !strcmp(behavior, "Isolated");
    if (literal) text = pl__json_get(pattern, "String");
    if (!json_object_is_type(text, json_type_string) ||
        (!isolated && strcmp(behavior, "Removed") != 0))
        return refuse(tok->ctx, path, "pre-tokenizer", item);
    bool invert = pl__json_flag(item, "invert", false);
    return pl__step_add(tok, json_object_get_string(text), (size_t)json_object_get_string_len(text),
                        literal, isolated || invert, isolated || !invert, path);
}

static pl_status load_metaspace(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const char *scheme = pl__json_text(item, "prepend_scheme");
    if (strcmp(pl__json_text(item, "replacement"), LOWER_BLOCK) != 0 ||
        pl__json_flag(item, "split", true))
        return refuse(tok->ctx, path, "pre-tokenizer", item);
    tok->prefix_space =
        *scheme ? strcmp(scheme, "never") != 0 : pl__json_flag(item, "add_prefix_space", true);
    tok->prefix_once = !strcmp(scheme, "first");
    return PL_OK;
}

static pl_status add_pattern(pl_tokenizer *tok, const char *pattern, bool keep_match, bool keep_gap,
                             const char *path)
{
    return pl__step_add(tok, pattern, strlen(pattern), false, keep_match, keep_gap, path);
}

static pl_status load_steps(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    struct json_object *item[MAX_ITEMS];
    int n;
    bool bytes = false;
    PL_TRY(items(tok->ctx, thing, "a pre-tokenizer", "pretokenizers", item, &n, path));
    for (int i = 0; i < n; i++) {
        const char *type = pl__json_text(item[i], "type");
        if (tok->kind == PL_TOKENIZER_SENTENCEPIECE) {
            if (strcmp(type, "Metaspace") != 0)
                return refuse(tok->ctx, path, "pre-tokenizer", item[i]);
            PL_TRY(load_metaspace(tok, item[i], path));
        } else if (!strcmp(type, "ByteLevel") && tok->kind == PL_TOKENIZER_BYTELEVEL) {
            bytes = true;
            tok->prefix_space = pl__json_flag(item[i], "add_prefix_space", true);
            if (pl__json_flag(item[i], "use_regex", true))
                PL_TRY(add_pattern(tok, pl__gpt2_pattern, true, true, path));
        } else if (!strcmp(type, "Split")) {
            PL_TRY(load_split(tok, item[i], path));
        } else if (!strcmp(type, "Digits")) {
            bool single = pl__json_flag(item[i], "individual_digits", false);
            PL_TRY(add_pattern(tok, single ? "\\p{N}" : "\\p{N}+", true, true, path));
        } else if (!strcmp(type, "WhitespaceSplit")) {
            PL_TRY(add_pattern(tok, "\\s+", false, true, path));
        } else if (!strcmp(type, "Whitespace")) {
            const char *words = "[" PL_TEXT_WORD "]+|[^\\s" PL_TEXT_WORD "]+"; /* Rust's \w */
            PL_TRY(add_pattern(tok, words, true, false, path));
        } else {
            return refuse(tok->ctx, path, "pre-tokenizer", item[i]);
        }
    }
    if (tok->kind == PL_TOKENIZER_BYTELEVEL && !bytes)
        return pl__fail(tok->ctx, PL_ERR_FORMAT,
                        "%s: a BPE model needs a ByteLevel pre-tokenizer or byte_fallback", path);
    return PL_OK;
}

pl_status pl__load_steps_text(pl_tokenizer *tok, const char *json, const char *path)
{
    struct json_object *thing;
    PL_TRY(pl__json_parse(tok->ctx, &thing, json, strlen(json), PL_TEXT_JSON_DEPTH, path));
    pl_status st = load_steps(tok, thing, path);
    json_object_put(thing);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

static pl_status load_template(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    struct json_object *single = pl__json_get(item, "single");
    bool behind = false;
    if (!json_object_is_type(single, json_type_array))
        return refuse(tok->ctx, path, "post-processor", item);
    for (size_t i = 0; i < json_object_array_length(single); i++) {
        struct json_object *part = json_object_array_get_idx(single, i);
        PL_TRY(pl__json_check(tok->ctx, part, "a part of the post-processor", part_fields, path));
        struct json_object *special = pl__json_get(part, "SpecialToken");
        if (pl__json_get(part, "Sequence")) behind = true;
        if (!special) continue;
        PL_TRY(pl__json_check(tok->ctx, special, "a SpecialToken", special_fields, path));
        const char *name = pl__json_text(special, "id");
        int32_t id = pl__tok_by_name(tok, name, strlen(name));
        int32_t *role = behind ? &tok->eos : &tok->bos;
        if (id < 0 || (*role >= 0 && *role != id))
            return refuse(tok->ctx, path, "post-processor", item);
        *role = id;
        *(behind ? &tok->adds_eos : &tok->adds_bos) = true;
    }
    return PL_OK;
}

static pl_status load_post(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    struct json_object *item[MAX_ITEMS];
    int n;
    PL_TRY(items(tok->ctx, thing, "a post-processor", "processors", item, &n, path));
    for (int i = 0; i < n; i++) {
        const char *type = pl__json_text(item[i], "type");
        if (!strcmp(type, "TemplateProcessing")) PL_TRY(load_template(tok, item[i], path));
        else if (strcmp(type, "ByteLevel") != 0)
            return refuse(tok->ctx, path, "post-processor", item[i]);
    }
    return PL_OK;
}

/* What would change ids and is not done here. */
static pl_status check_model(pl_ctx *ctx, struct json_object *model, const char *path)
{
    struct json_object *dropout = pl__json_get(model, "dropout");
    if (dropout && json_object_get_double(dropout) != 0.0)
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: BPE dropout is not supported", path);
    if (*pl__json_text(model, "continuing_subword_prefix") ||
        *pl__json_text(model, "end_of_word_suffix"))
        return pl__fail(ctx, PL_ERR_FORMAT,
                        "%s: subword prefixes and word suffixes are not supported", path);
    return PL_OK;
}

pl_status pl__load_json(pl_ctx *ctx, pl_tokenizer **out, const char *text, size_t length,
                        const char *path)
{
    pl_tokenizer *tok = NULL;
    pl_status st = PL_OK;
    struct json_object *root, *model;
    PL_TRY(pl__json_parse(ctx, &root, text, length, PL_TEXT_JSON_DEPTH, path));
    PL_GO(pl__json_check(ctx, root, "the file", root_fields, path));
    model = pl__json_get(root, "model");
    PL_GO(pl__json_check(ctx, model, "the model", type_fields, path));
    const char *type = pl__json_text(model, "type");
    bool words = !strcmp(type, "WordLevel");
    if (!words && strcmp(type, "BPE") != 0 && !(pl__json_get(model, "merges") && !*type)) {
        st = pl__fail(ctx, PL_ERR_FORMAT,
                      "%s: the model type is '%s'; BPE and WordLevel can be read", path, type);
        goto done;
    }
    PL_GO(pl__json_check(ctx, model, "the model", model_fields, path));
    PL_GO(check_model(ctx, model, path));
    tok =
        pl__tok_new(ctx, words                                          ? PL_TOKENIZER_WORD
                         : pl__json_flag(model, "byte_fallback", false) ? PL_TOKENIZER_SENTENCEPIECE
                                                                        : PL_TOKENIZER_BYTELEVEL);
    if (!tok) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    tok->whole_words = pl__json_flag(model, "ignore_merges", false);
    PL_GO(pl__load_vocab(tok, pl__json_get(model, "vocab"), path));
    PL_GO(load_added(tok, pl__json_get(root, "added_tokens"), path));
    PL_GO(pl__tok_index_names(tok));
    if (!words) PL_GO(load_merges(tok, pl__json_get(model, "merges"), path));
    const char *unk = pl__json_text(model, "unk_token");
    if (pl__json_get(model, "unk_token"))
        tok->unk = tok->model_unk = pl__tok_by_name(tok, unk, strlen(unk));
    PL_GO(load_normalizer(tok, pl__json_get(root, "normalizer"), path));
    PL_GO(load_steps(tok, pl__json_get(root, "pre_tokenizer"), path));
    PL_GO(load_post(tok, pl__json_get(root, "post_processor"), path));
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    json_object_put(root);
    return st;
}

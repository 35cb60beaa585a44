/*
** load.c - finding and reading a tokenizer: folder, tokenizer.json, tokenizer.model, GPT-2's two
** files, llama2.c; and what the configs beside them say.
**
** llama2.c's file (tokenizer.bin, tok512.bin): int32 length of the longest token, then for each
** token its score (float32), its length (int32) and its bytes; little-endian. Ids 0, 1, 2 are
** unknown, beginning and end, 3 to 258 the bytes. "Merge the pair whose token scores highest" is
** turned into ranks (scores.c).
*/
#include "text/text.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/path.h"
#include "base/utf8.h"

/* ------------------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The name of an ordinary token is its text with "▁" for spaces. */
static pl_status set_piece(pl_tokenizer *tok, int64_t id, const char *text, size_t length)
{
    static const char *const control[3] = {"<unk>", "<s>", "</s>"};
    char name[3 * PL_TEXT_MAX_TOKEN];
    size_t n = 0;
    if (id < 3)
        return pl__tok_set(tok, id, control[id], strlen(control[id]),
                           PL__TOK_ADDED | PL__TOK_SPECIAL);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ') {
            memcpy(name + n, "\xE2\x96\x81", 3);
            n += 3;
        } else {
            name[n++] = text[i];
        }
    }
    return pl__tok_set(tok, id, name, n, 0);
}

static pl_status load_llama2c(pl_ctx *ctx, pl_tokenizer **out, const char *data, size_t size,
                              const char *path)
{
    double *scores = NULL;
    pl_status st = PL_OK;
    pl_tokenizer *tok = pl__tok_new(ctx, PL_TOKENIZER_SENTENCEPIECE);
    if (!tok) return PL_ERR_NOMEM;
    scores = pl_alloc(ctx, (size / 8 + 1) * sizeof *scores);
    if (!scores) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    size_t at = 4;
    for (int32_t id = 0; at < size; id++) {
        int32_t length = -1;
        float score = NAN;
        if (size - at >= 8) {
            memcpy(&score, data + at, 4);
            memcpy(&length, data + at + 4, 4);
        }
        if (length < 0 || length > PL_TEXT_MAX_TOKEN || (size_t)length > size - at - 8 ||
            !isfinite(score)) {
            st = pl__fail(ctx, PL_ERR_FORMAT,
                          "%s: token %d, at byte %zu of %zu, has no sensible score and length: "
                          "is this a llama2.c tokenizer?",
                          path, id, at, size);
            goto done;
        }
        scores[id] = (double)score;
        PL_GO(set_piece(tok, id, data + at + 8, (size_t)length));
        at += 8 + (size_t)length;
    }
    if (tok->count < 259) {
        st = pl__fail(ctx, PL_ERR_FORMAT,
                      "%s: %lld tokens; a llama2.c tokenizer has at least 259 (three control "
                      "tokens and 256 bytes)",
                      path, (long long)tok->count);
        goto done;
    }
    tok->unk = tok->model_unk = 0;
    tok->bos = 1;
    tok->eos = 2;
    tok->adds_bos = tok->byte_fallback = true;
    PL_GO(pl__tok_index_names(tok));
    PL_GO(pl__load_parts(tok, PL_TEXT_SPM_PREFIX, "null", PL_TEXT_SPM_STRIP, path));
    PL_GO(pl__tok_derive(tok));
    PL_GO(pl__added_list(tok));
    PL_GO(pl__merges_from_scores(tok, scores, tok->count));
    PL_GO(pl__pairs_build(tok));
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    pl_free(ctx, scores);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

/* GPT-2: merges.txt or vocab.bpe, a merge a line behind a line "#version". */
static pl_status load_merge_lines(pl_tokenizer *tok, const char *text, size_t size,
                                  const char *path)
{
    int64_t rank = 0;
    for (size_t at = 0; at < size;) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        size_t length = end ? (size_t)(end - line) : size - at;
        bool version = at == 0 && length >= 8 && !memcmp(line, "#version", 8);
        at += length + 1;
        if (length > 0 && line[length - 1] == '\r') length--;
        if (version || length == 0) continue;
        const char *space = memchr(line, ' ', length);
        if (!space)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: merge %lld, '%.*s', is not two parts with a space between", path,
                            (long long)rank, (int)(length < 80 ? length : 80), line);
        size_t n = (size_t)(space - line);
        PL_TRY(pl__load_merge(tok, line, n, space + 1, length - n - 1, rank++, path));
    }
    return PL_OK;
}

static pl_status load_pair_of_files(pl_ctx *ctx, pl_tokenizer **out, const char *vocab_path,
                                    const char *merges_path)
{
    char *vocab = NULL, *merges = NULL;
    size_t n_vocab = 0, n_merges = 0;
    pl_tokenizer *tok = NULL;
    struct json_object *root = NULL;
    pl_status st = PL_OK;
    PL_GO(pl_file_read(ctx, &vocab, &n_vocab, vocab_path, PL_TEXT_MAX_FILE));
    PL_GO(pl_file_read(ctx, &merges, &n_merges, merges_path, PL_TEXT_MAX_FILE));
    PL_GO(pl__json_parse(ctx, &root, vocab, n_vocab, PL_TEXT_JSON_DEPTH, vocab_path));
    tok = pl__tok_new(ctx, PL_TOKENIZER_BYTELEVEL);
    if (!tok) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    PL_GO(pl__load_vocab(tok, root, vocab_path));
    PL_GO(pl__tok_index_names(tok));
    PL_GO(load_merge_lines(tok, merges, n_merges, merges_path));
    PL_GO(pl__load_parts(tok, "null", PL_TEXT_GPT2, PL_TEXT_GPT2, vocab_path));
    tok->bos = tok->eos = tok->unk = pl__tok_by_name(tok, "<|endoftext|>", 13);
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    json_object_put(root);
    pl_free(ctx, vocab);
    pl_free(ctx, merges);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

/* What is read of tokenizer_config.json and special_tokens_map.json. */
static const pl__json_field config_fields[] = {
    {"bos_token", PL__JSON_TEXT | PL__JSON_OBJECT, false},
    {"eos_token", PL__JSON_TEXT | PL__JSON_OBJECT, false},
    {"pad_token", PL__JSON_TEXT | PL__JSON_OBJECT, false},
    {"unk_token", PL__JSON_TEXT | PL__JSON_OBJECT, false},
    {"chat_template", PL__JSON_TEXT | PL__JSON_LIST, false},
    {"add_bos_token", PL__JSON_BOOLEAN, false},
    {"add_eos_token", PL__JSON_BOOLEAN, false},
    {"added_tokens_decoder", PL__JSON_OBJECT, false},
    {NULL, 0, false}};
static const pl__json_field token_fields[] = {{"content", PL__JSON_TEXT, true}, {NULL, 0, false}};
static const pl__json_field template_fields[] = {
    {"name", PL__JSON_TEXT, true}, {"template", PL__JSON_TEXT, true}, {NULL, 0, false}};

/* A token named in a config, "text" or {"content": "text"}; NULL when it is absent. */
static pl_status token_name(pl_ctx *ctx, const char **out, struct json_object *config,
                            const char *key, const char *path)
{
    struct json_object *value = pl__json_get(config, key);
    *out = NULL;
    if (json_object_is_type(value, json_type_object)) {
        PL_TRY(pl__json_check(ctx, value, key, token_fields, path));
        *out = pl__json_text(value, "content");
    } else if (value) {
        *out = pl__json_text(config, key);
    }
    return PL_OK;
}

static pl_status read_roles(pl_tokenizer *tok, struct json_object *config, const char *path)
{
    static const char *const key[] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    int32_t *role[] = {&tok->bos, &tok->eos, &tok->pad, &tok->unk};
    for (int i = 0; i < 4; i++) {
        const char *name;
        PL_TRY(token_name(tok->ctx, &name, config, key[i], path));
        if (!name || (i == 3 && tok->unk >= 0)) continue;
        int32_t id = pl__tok_by_name(tok, name, strlen(name));
        if (id < 0 && i < 2)
            return pl__fail(tok->ctx, PL_ERR_FORMAT,
                            "%s: %s is '%.60s', which is not in the vocabulary", path, key[i],
                            name);
        *role[i] = id;
        if (i < 3) pl__tok_make_special(tok, id);
    }
    return PL_OK;
}

/* The chat template: a text, or a list of {name, template} whose "default" counts. */
static pl_status read_template(pl_tokenizer *tok, struct json_object *config, const char *path)
{
    struct json_object *value = pl__json_get(config, "chat_template");
    const char *text = pl__json_text(config, "chat_template");
    if (!value) return PL_OK;
    for (size_t n = json_object_is_type(value, json_type_array) ? json_object_array_length(value)
                                                                : 0;
         n > 0; n--) {
        struct json_object *item = json_object_array_get_idx(value, n - 1);
        PL_TRY(pl__json_check(tok->ctx, item, "an item of 'chat_template'", template_fields, path));
        if (!strcmp(pl__json_text(item, "name"), "default")) text = pl__json_text(item, "template");
    }
    if (*text == '\0') return PL_OK;
    tok->chat_template = pl_strndup(tok->ctx, text, strlen(text));
    return tok->chat_template ? PL_OK : PL_ERR_NOMEM;
}

/* What only the config says of a vocabulary without a tokenizer.json: more tokens, and what
** is added to a text. */
static pl_status read_additions(pl_tokenizer *tok, struct json_object *config, const char *path)
{
    struct json_object *more = pl__json_get(config, "added_tokens_decoder");
    if (more) {
        json_object_object_foreach(more, key, item)
        {
            char *end;
            const long long id = strtoll(key, &end, 10);
            if (end == key || *end != '\0')
                return pl__fail(tok->ctx, PL_ERR_FORMAT,
                                "%s: 'added_tokens_decoder': '%.60s' is no id", path, key);
            PL_TRY(pl__load_added_token(tok, id, item, path));
        }
        PL_TRY(pl__tok_index_names(tok));
    }
    tok->adds_bos = pl__json_flag(config, "add_bos_token", tok->adds_bos);
    tok->adds_eos = pl__json_flag(config, "add_eos_token", tok->adds_eos);
    return PL_OK;
}

/* Reads a config of the folder when it is there. */
static pl_status read_config(pl_tokenizer *tok, const char *folder, const char *file, bool keep)
{
    pl_ctx *ctx = tok->ctx;
    char *path = pl__join_name(ctx, folder, file), *text = NULL;
    struct json_object *config = NULL;
    size_t size = 0;
    pl_status st = path ? PL_OK : PL_ERR_NOMEM;
    if (!path || !is_there(path)) goto done;
    PL_GO(pl_file_read(ctx, &text, &size, path, PL_TEXT_MAX_FILE));
    PL_GO(pl__json_parse(ctx, &config, text, size, PL_TEXT_JSON_DEPTH, path));
    PL_GO(pl__json_check(ctx, config, "the file", config_fields, path));
    if (keep && !tok->json) PL_GO(read_additions(tok, config, path));
    PL_GO(read_roles(tok, config, path));
    if (keep) {
        PL_GO(read_template(tok, config, path));
        tok->config = text;
        tok->config_length = size;
        text = NULL;
    }
done:
    json_object_put(config);
    pl_free(ctx, text);
    pl_free(ctx, path);
    return st;
}

static pl_status read_jinja(pl_tokenizer *tok, const char *folder)
{
    size_t size;
    char *path = pl__join_name(tok->ctx, folder, "chat_template.jinja"), *text;
    if (!path) return PL_ERR_NOMEM;
    pl_status st = PL_OK;
    if (is_there(path)) {
        st = pl_file_read(tok->ctx, &text, &size, path, PL_TEXT_MAX_FILE);
        tok->template_is_file = st == PL_OK;
    }
    if (tok->template_is_file) {
        pl_free(tok->ctx, tok->chat_template);
        tok->chat_template = text;
    }
    pl_free(tok->ctx, path);
    return st;
}

/* ------------------------------------------------------------------------------------------- */

/* The one tok*.bin of a folder, as llama2.c's models have beside them. */
static pl_status find_llama2c(pl_ctx *ctx, char **out, const char *folder)
{
    DIR *dir = opendir(folder);
    pl_status st = PL_OK;
    if (!dir) return pl__fail(ctx, PL_ERR_IO, "%s: cannot be read", folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "tok", 3) != 0 || !ends_with(entry->d_name, ".bin")) continue;
        if (*out) {
            st = pl__fail(ctx, PL_ERR_ARG,
                          "%s: more than one tok*.bin (%s, %s): name the file itself", folder,
                          strrchr(*out, '/') + 1, entry->d_name);
            break;
        }
        *out = pl__join_name(ctx, folder, entry->d_name);
        if (!*out) {
            st = PL_ERR_NOMEM;
            break;
        }
    }
    closedir(dir);
    if (st == PL_OK && !*out)
        st = pl__fail(ctx, PL_ERR_IO,
                      "%s: no tokenizer there: looked for tokenizer.json, tokenizer.model, "
                      "vocab.json with merges.txt, encoder.json with vocab.bpe, tok*.bin",
                      folder);
    return st;
}

/* The file of a folder that holds the tokenizer. */
static pl_status find_file(pl_ctx *ctx, char **out, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                        "vocab.json", "encoder.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = pl__join_name(ctx, folder, names[i]);
        if (!path) return PL_ERR_NOMEM;
        if (is_there(path)) {
            *out = path;
            return PL_OK;
        }
        pl_free(ctx, path);
    }
    return find_llama2c(ctx, out, folder);
}

static pl_status load_file(pl_ctx *ctx, pl_tokenizer **tok, const char *path, const char *folder)
{
    bool vocab = ends_with(path, "vocab.json"), encoder = ends_with(path, "encoder.json");
    pl_status st = PL_OK;
    char *text = NULL, *merges = NULL;
    size_t size = 0;
    if (vocab || encoder) {
        merges = pl__join_name(ctx, folder, vocab ? "merges.txt" : "vocab.bpe");
        PL_GO(merges ? load_pair_of_files(ctx, tok, path, merges) : PL_ERR_NOMEM);
    } else {
        PL_GO(pl_file_read(ctx, &text, &size, path, PL_TEXT_MAX_FILE));
        if (ends_with(path, ".bin")) {
            PL_GO(load_llama2c(ctx, tok, text, size, path));
        } else if (ends_with(path, ".model")) {
            PL_GO(pl__load_spm(ctx, tok, text, size, path));
        } else {
            PL_GO(pl__load_json(ctx, tok, text, size, path));
            (*tok)->json = text;
            (*tok)->json_length = size;
            text = NULL;
        }
    }
    if (ends_with(path, ".bin")) goto done;
    PL_GO(read_config(*tok, folder, "special_tokens_map.json", false));
    PL_GO(read_config(*tok, folder, "tokenizer_config.json", true));
    PL_GO(read_jinja(*tok, folder));
    pl__tok_make_special(*tok, (*tok)->bos);
    pl__tok_make_special(*tok, (*tok)->eos);
    PL_GO(pl__tok_derive(*tok));
    PL_GO(pl__added_list(*tok));
    if (ends_with(path, ".model") && (*tok)->kind == PL_TOKENIZER_SENTENCEPIECE)
        PL_GO(pl__merges_from_scores(*tok, (*tok)->scores, (*tok)->n_scores));
    PL_GO(pl__pairs_build(*tok));
    if ((*tok)->kind == PL_TOKENIZER_UNIGRAM)
        PL_GO(pl__unigram_derive(*tok, !ends_with(path, ".model")));
done:
    pl_free(ctx, text);
    pl_free(ctx, merges);
    return st;
}

pl_status pl_tokenizer_load(pl_ctx *ctx, pl_tokenizer **out, const char *path)
{
    struct stat info;
    pl_tokenizer *tok = NULL;
    char *file = NULL, *folder = NULL;
    pl_status st = PL_OK;
    *out = NULL;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        PL_GO(find_file(ctx, &file, path));
    } else {
        file = pl_strndup(ctx, path, strlen(path));
    }
    folder = file ? pl__parent_name(ctx, file) : NULL;
    if (!folder) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    PL_GO(load_file(ctx, &tok, file, folder));
    *out = tok;
    tok = NULL;
done:
    pl_tokenizer_free(tok);
    pl_free(ctx, file);
    pl_free(ctx, folder);
    return st;
}

/*
** load_steps.c - the steps of a tokenizer.json: normalizer, pre-tokenizer, post-processor,
** decoder.
**
** Whatever is not done here is refused by name, never passed over. The post-processor is not
** run: if it would add tokens, the tokenizer says so (adds_bos, adds_eos) and PL_ENCODE_BOS
** and _EOS add them. Of the decoder only what says which text a token stands for is taken:
** the prefix or suffix of pieces, and whether spaces go between words; decoding is the same
** for all kinds otherwise.
*/
#include "text/text.h"

#include "base/json.h"

#define MAX_ITEMS 16 /* of a Sequence */
#define LOWER_BLOCK "\xE2\x96\x81"

static const pl__json_field step_fields[] = {{"type", PL__JSON_TEXT, true},
                                             {"normalizers", PL__JSON_LIST, false},
                                             {"pretokenizers", PL__JSON_LIST, false},
                                             {"processors", PL__JSON_LIST, false},
                                             {"decoders", PL__JSON_LIST, false},
                                             {"prepend", PL__JSON_TEXT, false},
                                             {"content", PL__JSON_TEXT, false},
                                             {"pattern", PL__JSON_OBJECT, false},
                                             {"behavior", PL__JSON_TEXT, false},
                                             {"invert", PL__JSON_BOOLEAN, false},
                                             {"replacement", PL__JSON_TEXT, false},
                                             {"prepend_scheme", PL__JSON_TEXT, false},
                                             {"split", PL__JSON_BOOLEAN, false},
                                             {"delimiter", PL__JSON_TEXT, false},
                                             {"add_prefix_space", PL__JSON_BOOLEAN, false},
                                             {"use_regex", PL__JSON_BOOLEAN, false},
                                             {"individual_digits", PL__JSON_BOOLEAN, false},
                                             {"single", PL__JSON_LIST, false},
                                             {"strip_left", PL__JSON_BOOLEAN, false},
                                             {"strip_right", PL__JSON_BOOLEAN, false},
                                             {"clean_text", PL__JSON_BOOLEAN, false},
                                             {"handle_chinese_chars", PL__JSON_BOOLEAN, false},
                                             {"strip_accents", PL__JSON_BOOLEAN, false},
                                             {"lowercase", PL__JSON_BOOLEAN, false},
                                             {"precompiled_charsmap", PL__JSON_TEXT, false},
                                             {"sep", PL__JSON_LIST, false},
                                             {"cls", PL__JSON_LIST, false},
                                             {"prefix", PL__JSON_TEXT, false},
                                             {"suffix", PL__JSON_TEXT, false},
                                             {"cleanup", PL__JSON_BOOLEAN, false},
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

/* Appends the items of a Sequence, or the thing itself, all of them checked. */
static pl_status add_items(pl_ctx *ctx, struct json_object *thing, const char *what,
                           const char *list_key, struct json_object *out[MAX_ITEMS], int *n,
                           const char *path)
{
    PL_TRY(check_step(ctx, thing, what, path));
    struct json_object *list = NULL;
    size_t count = 1;
    if (!strcmp(pl__json_text(thing, "type"), "Sequence")) {
        list = pl__json_get(thing, list_key);
        if (!json_object_is_type(list, json_type_array))
            return pl__fail(ctx, PL_ERR_FORMAT, "%s: a Sequence without '%s'", path, list_key);
        count = json_object_array_length(list);
    }
    if (count > (size_t)(MAX_ITEMS - *n))
        return pl__fail(ctx, PL_ERR_FORMAT, "%s: '%s' has %zu items; at most %d are taken", path,
                        list_key, count, MAX_ITEMS);
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = list ? json_object_array_get_idx(list, i) : thing;
        if (list) PL_TRY(check_step(ctx, item, what, path));
        out[(*n)++] = item;
    }
    return PL_OK;
}

/* The steps of a thing in order, Sequences inside Sequences opened once. */
static pl_status items(pl_ctx *ctx, struct json_object *thing, const char *what,
                       const char *list_key, struct json_object *out[MAX_ITEMS], int *n,
                       const char *path)
{
    struct json_object *outer[MAX_ITEMS];
    int count = 0;
    *n = 0;
    if (!thing) return PL_OK;
    PL_TRY(add_items(ctx, thing, what, list_key, outer, &count, path));
    for (int i = 0; i < count; i++) PL_TRY(add_items(ctx, outer[i], what, list_key, out, n, path));
    return PL_OK;
}

static pl_status refuse(pl_ctx *ctx, const char *path, const char *what, struct json_object *thing)
{
    return pl__fail(ctx, PL_ERR_FORMAT, "%s: the %s %.200s is not supported", path, what,
                    json_object_to_json_string_ext(thing, JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* The pattern of an item; NULL when there is none. */
static struct json_object *pattern_of(struct json_object *item, bool *literal)
{
    struct json_object *pattern = pl__json_get(item, "pattern"),
                       *text = pl__json_get(pattern, "Regex");
    *literal = text == NULL;
    return text ? text : pl__json_get(pattern, "String");
}

/* -------------------------------------------------------------------------------------------
** Normalizers
*/
static pl_status add_text_step(pl_tokenizer *tok, pl__norm_step step, const char *text,
                               size_t length, const char *path)
{
    step.text = pl_strndup(tok->ctx, text, length);
    step.length = length;
    if (step.text) return pl__norm_add(tok, step, path);
    pcre2_code_free(step.code);
    return PL_ERR_NOMEM;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static pl_status load_charsmap(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const char *text = pl__json_text(item, "precompiled_charsmap");
    pl__buf map = {0};
    pl_status st = PL_OK;
    uint32_t bits = 0;
    int held = 0;
    for (; *text && *text != '='; text++) {
        const int value = base64_value(*text);
        if (value < 0) {
            st = pl__fail(tok->ctx, PL_ERR_FORMAT, "%s: 'precompiled_charsmap' is not base64 text",
                          path);
            goto done;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        const char byte = (char)(bits >> held);
        PL_GO(pl__buf_add(tok->ctx, &map, &byte, 1));
    }
    if (map.length == 0) goto done; /* an empty map changes nothing */
    PL_GO(pl__charsmap_check(tok->ctx, map.data, map.length, path));
    PL_GO(pl__norm_add(
        tok, (pl__norm_step){.kind = PL__STEP_CHARSMAP, .text = map.data, .length = map.length},
        path));
    map.data = NULL;
done:
    pl_free(tok->ctx, map.data);
    return st;
}

static pl_status load_bert(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const bool lower = pl__json_flag(item, "lowercase", true);
    const pl__norm_step bert = {.kind = PL__STEP_BERT,
                                .clean = pl__json_flag(item, "clean_text", true),
                                .chinese = pl__json_flag(item, "handle_chinese_chars", true)};
    PL_TRY(pl__norm_add(tok, bert, path));
    if (pl__json_flag(item, "strip_accents", lower)) {
        const pl__norm_step nfd = {.kind = PL__STEP_FORM, .form = PL__NORMAL_NFD};
        const pl__norm_step marks = {.kind = PL__STEP_STRIP_MARKS, .left = true};
        PL_TRY(pl__norm_add(tok, nfd, path));
        PL_TRY(pl__norm_add(tok, marks, path));
    }
    return lower ? pl__norm_add(tok, (pl__norm_step){.kind = PL__STEP_LOWER}, path) : PL_OK;
}

static pl_status load_replace(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    pl__norm_step step = {.kind = PL__STEP_REPLACE};
    bool literal;
    struct json_object *pattern = pattern_of(item, &literal);
    const char *content = pl__json_text(item, "content");
    if (!json_object_is_type(pattern, json_type_string))
        return refuse(tok->ctx, path, "normalizer", item);
    PL_TRY(pl__regex_new(tok, &step.code, json_object_get_string(pattern),
                         (size_t)json_object_get_string_len(pattern), literal, path));
    return add_text_step(tok, step, content, strlen(content), path);
}

static pl_status load_normal_step(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    static const struct {
        const char *name;
        pl__norm_step step;
    } simple[] = {
        {"NFC", {.kind = PL__STEP_FORM, .form = PL__NORMAL_NFC}},
        {"NFD", {.kind = PL__STEP_FORM, .form = PL__NORMAL_NFD}},
        {"NFKC", {.kind = PL__STEP_FORM, .form = PL__NORMAL_NFKC}},
        {"NFKD", {.kind = PL__STEP_FORM, .form = PL__NORMAL_NFKD}},
        {"Nmt", {.kind = PL__STEP_NMT}},
        {"Lowercase", {.kind = PL__STEP_LOWER}},
        {"StripAccents", {.kind = PL__STEP_STRIP_MARKS}},
    };
    const char *type = pl__json_text(item, "type");
    for (size_t k = 0; k < sizeof simple / sizeof simple[0]; k++)
        if (!strcmp(type, simple[k].name)) return pl__norm_add(tok, simple[k].step, path);
    if (!strcmp(type, "BertNormalizer")) return load_bert(tok, item, path);
    if (!strcmp(type, "Replace")) return load_replace(tok, item, path);
    if (!strcmp(type, "Precompiled")) return load_charsmap(tok, item, path);
    if (!strcmp(type, "Strip")) {
        const pl__norm_step step = {.kind = PL__STEP_STRIP,
                                    .left = pl__json_flag(item, "strip_left", true),
                                    .right = pl__json_flag(item, "strip_right", true)};
        return pl__norm_add(tok, step, path);
    }
    if (!strcmp(type, "Prepend")) {
        const char *text = pl__json_text(item, "prepend");
        tok->prefix_space = true;
        return add_text_step(tok, (pl__norm_step){.kind = PL__STEP_PREPEND}, text, strlen(text),
                             path);
    }
    return refuse(tok->ctx, path, "normalizer", item);
}

pl_status pl__load_normalizer(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    struct json_object *item[MAX_ITEMS];
    int n;
    PL_TRY(items(tok->ctx, thing, "a normalizer", "normalizers", item, &n, path));
    for (int i = 0; i < n; i++) PL_TRY(load_normal_step(tok, item[i], path));
    return PL_OK;
}

/* -------------------------------------------------------------------------------------------
** Pre-tokenizers
*/
static bool behavior_of(struct json_object *item, pl__behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(pl__json_text(item, "behavior"), names[i])) {
            *out = (pl__behavior)i;
            return true;
        }
    return false;
}

static pl_status add_cut(pl_tokenizer *tok, const char *pattern, pl__behavior behavior,
                         const char *path)
{
    return pl__step_add(tok, pattern, strlen(pattern), false, behavior, false, path);
}

static pl_status load_split(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    pl__behavior behavior;
    bool literal;
    struct json_object *text = pattern_of(item, &literal);
    if (!json_object_is_type(text, json_type_string) || !behavior_of(item, &behavior))
        return refuse(tok->ctx, path, "pre-tokenizer", item);
    return pl__step_add(tok, json_object_get_string(text), (size_t)json_object_get_string_len(text),
                        literal, behavior, pl__json_flag(item, "invert", false), path);
}

static pl_status load_metaspace(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const char *scheme = pl__json_text(item, "prepend_scheme");
    if (strcmp(pl__json_text(item, "replacement"), LOWER_BLOCK) != 0)
        return refuse(tok->ctx, path, "pre-tokenizer", item);
    const pl__step step = {.kind = PL__STEP_METASPACE,
                           .prefix = *scheme ? strcmp(scheme, "never") != 0
                                             : pl__json_flag(item, "add_prefix_space", true),
                           .first_only = !strcmp(scheme, "first"),
                           .split = pl__json_flag(item, "split", true)};
    tok->prefix_space |= step.prefix;
    tok->traced |= step.first_only;
    return pl__step_put(tok, step, path);
}

/* GPT-2's bytes: `last` unless cuts follow, which then see the alphabet. */
static pl_status load_bytelevel(pl_tokenizer *tok, struct json_object *item, bool last,
                                const char *path)
{
    if (pl__json_flag(item, "add_prefix_space", true)) {
        tok->prefix_space = true;
        PL_TRY(pl__step_put(tok, (pl__step){.kind = PL__STEP_SPACE}, path));
    }
    if (pl__json_flag(item, "use_regex", true))
        PL_TRY(add_cut(tok, pl__gpt2_pattern, PL__ISOLATED, path));
    return last ? PL_OK : pl__step_put(tok, (pl__step){.kind = PL__STEP_ALPHABET}, path);
}

#define RUST_WORD PL_TEXT_WORD "\\x{200C}\\x{200D}"
#define PUNCTUATION "[!-/:-@\\[-`{-~\\p{P}]"

static pl_status load_step(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    const char *type = pl__json_text(item, "type");
    if (!strcmp(type, "Split")) return load_split(tok, item, path);
    if (!strcmp(type, "Metaspace")) return load_metaspace(tok, item, path);
    if (!strcmp(type, "WhitespaceSplit")) return add_cut(tok, "\\s+", PL__REMOVED, path);
    if (!strcmp(type, "Digits"))
        return pl__json_flag(item, "individual_digits", false)
                   ? add_cut(tok, "\\p{N}", PL__ISOLATED, path)
                   : add_cut(tok, "\\p{N}+", PL__ISOLATED, path);
    if (!strcmp(type, "Whitespace")) { /* Rust's \w */
        static const char words[] = "[" RUST_WORD "]+|[^\\s" RUST_WORD "]+";
        return pl__step_add(tok, words, sizeof words - 1, false, PL__REMOVED, true, path);
    }
    if (!strcmp(type, "BertPreTokenizer")) {
        PL_TRY(add_cut(tok, "\\s", PL__REMOVED, path));
        return add_cut(tok, PUNCTUATION, PL__ISOLATED, path);
    }
    if (!strcmp(type, "Punctuation")) {
        pl__behavior behavior = PL__ISOLATED;
        if (pl__json_get(item, "behavior") && !behavior_of(item, &behavior))
            return refuse(tok->ctx, path, "pre-tokenizer", item);
        return add_cut(tok, PUNCTUATION, behavior, path);
    }
    if (!strcmp(type, "CharDelimiterSplit")) {
        const char *text = pl__json_text(item, "delimiter");
        return pl__step_add(tok, text, strlen(text), true, PL__REMOVED, false, path);
    }
    return refuse(tok->ctx, path, "pre-tokenizer", item);
}

pl_status pl__load_steps(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    struct json_object *item[MAX_ITEMS];
    int n, bytes = -1;
    PL_TRY(items(tok->ctx, thing, "a pre-tokenizer", "pretokenizers", item, &n, path));
    for (int i = 0; i < n; i++) {
        if (strcmp(pl__json_text(item[i], "type"), "ByteLevel") != 0) {
            PL_TRY(load_step(tok, item[i], path));
            continue;
        }
        if (bytes >= 0 || tok->kind != PL_TOKENIZER_BYTELEVEL)
            return refuse(tok->ctx, path, "pre-tokenizer", item[i]);
        bytes = i;
        PL_TRY(load_bytelevel(tok, item[i], i == n - 1, path));
    }
    return bytes >= 0 && bytes < n - 1 ? pl__step_put(tok, (pl__step){.kind = PL__STEP_BYTES}, path)
                                       : PL_OK;
}

/* -------------------------------------------------------------------------------------------
** Post-processors
*/
static pl_status take_role(pl_tokenizer *tok, const char *name, bool behind,
                           struct json_object *item, const char *path)
{
    int32_t id = pl__tok_by_name(tok, name, strlen(name));
    int32_t *role = behind ? &tok->eos : &tok->bos;
    if (id < 0 || (*role >= 0 && *role != id))
        return refuse(tok->ctx, path, "post-processor", item);
    *role = id;
    *(behind ? &tok->adds_eos : &tok->adds_bos) = true;
    return PL_OK;
}

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
        PL_TRY(take_role(tok, pl__json_text(special, "id"), behind, item, path));
    }
    return PL_OK;
}

/* BERT's and RoBERTa's: [name, id] before and behind. */
static pl_status load_cls_sep(pl_tokenizer *tok, struct json_object *item, const char *path)
{
    static const char *const keys[] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        struct json_object *pair = pl__json_get(item, keys[i]), *name = NULL;
        if (json_object_is_type(pair, json_type_array) && json_object_array_length(pair) > 0)
            name = json_object_array_get_idx(pair, 0);
        if (!json_object_is_type(name, json_type_string))
            return refuse(tok->ctx, path, "post-processor", item);
        PL_TRY(take_role(tok, json_object_get_string(name), i == 1, item, path));
    }
    return PL_OK;
}

pl_status pl__load_post(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    struct json_object *item[MAX_ITEMS];
    int n;
    PL_TRY(items(tok->ctx, thing, "a post-processor", "processors", item, &n, path));
    for (int i = 0; i < n; i++) {
        const char *type = pl__json_text(item[i], "type");
        if (!strcmp(type, "TemplateProcessing")) PL_TRY(load_template(tok, item[i], path));
        else if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing"))
            PL_TRY(load_cls_sep(tok, item[i], path));
        else if (strcmp(type, "ByteLevel") != 0)
            return refuse(tok->ctx, path, "post-processor", item[i]);
    }
    return PL_OK;
}

/* -------------------------------------------------------------------------------------------
** Decoders
*/
static pl_status take_affix(pl_tokenizer *tok, char **affix, struct json_object *item,
                            const char *key, const char *path)
{
    const char *text = pl__json_text(item, key);
    if (*affix || *text == '\0') return PL_OK;
    if (strlen(text) > PL_TEXT_MAX_AFFIX) return refuse(tok->ctx, path, "decoder", item);
    *affix = pl_strndup(tok->ctx, text, strlen(text));
    return *affix ? PL_OK : PL_ERR_NOMEM;
}

pl_status pl__load_decoder(pl_tokenizer *tok, struct json_object *thing, const char *path)
{
    static const char *const plain[] = {"ByteLevel", "Metaspace", "ByteFallback",
                                        "Fuse",      "Strip",     "Replace"};
    struct json_object *item[MAX_ITEMS];
    int n;
    PL_TRY(items(tok->ctx, thing, "a decoder", "decoders", item, &n, path));
    for (int i = 0; i < n; i++) {
        const char *type = pl__json_text(item[i], "type");
        bool known = false;
        for (size_t k = 0; k < sizeof plain / sizeof plain[0]; k++)
            known |= !strcmp(type, plain[k]);
        if (!strcmp(type, "WordPiece")) {
            tok->spaces_between = true;
            tok->clean_spaces = pl__json_flag(item[i], "cleanup", true);
            PL_TRY(take_affix(tok, &tok->word_prefix, item[i], "prefix", path));
        } else if (!strcmp(type, "BPEDecoder")) {
            PL_TRY(take_affix(tok, &tok->word_suffix, item[i], "suffix", path));
        } else if (!known) {
            return refuse(tok->ctx, path, "decoder", item[i]);
        }
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

pl_status pl__load_parts(pl_tokenizer *tok, const char *normalizer, const char *steps,
                         const char *decoder, const char *path)
{
    const struct {
        const char *json;
        char **kept;
        pl_status (*load)(pl_tokenizer *, struct json_object *, const char *);
    } parts[] = {{normalizer, &tok->norm_text, pl__load_normalizer},
                 {steps, &tok->steps_text, pl__load_steps},
                 {decoder, &tok->decoder_text, pl__load_decoder}};
    for (int i = 0; i < 3; i++) {
        struct json_object *thing;
        if (!strcmp(parts[i].json, "null")) continue;
        PL_TRY(pl__json_parse(tok->ctx, &thing, parts[i].json, strlen(parts[i].json),
                              PL_TEXT_JSON_DEPTH, path));
        pl_status st = parts[i].load(tok, thing, path);
        json_object_put(thing);
        PL_TRY(st);
        *parts[i].kept = pl_strndup(tok->ctx, parts[i].json, strlen(parts[i].json));
        if (!*parts[i].kept) return PL_ERR_NOMEM;
    }
    return PL_OK;
}

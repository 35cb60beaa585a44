/*
** json_types_test.c - files in JSON with a value of another type in each place: what is read is
** refused with the file and the key in the text, what is not read does no harm.
**
** Every member of a good file is replaced in turn by null, a number, a truth value, a text, a list
** and an object. null may stand for an absent member where one may be absent.
*/
#include "check.h"

#include <json-c/json.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    pl_ctx *ctx;
    char folder[64];
} scratch;

static char *in(scratch *s, const char *name)
{
    static char path[2][160];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", s->folder, name);
    return path[turn];
}

static void put_file(scratch *s, const char *name, const char *text, size_t size)
{
    FILE *f = fopen(in(s, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    strcpy(s->folder, "/tmp/perilune-types-XXXXXX");
    *state = s;
    return mkdtemp(s->folder) && (s->ctx = pl_ctx_new()) ? 0 : -1;
}

static int tear_down(void **state)
{
    scratch *s = *state;
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "manifest.json",  "model.safetensors.index.json",
                                        "a.safetensors",  "text"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(in(s, names[i]));
    rmdir(s->folder);
    pl_ctx_free(s->ctx);
    free(s);
    return 0;
}

/* ---- The files, whole ---- */

static const char tokenizer[] =
    "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"dropout\":0,\"byte_fallback\":false,"
    "\"ignore_merges\":false,\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":\"\","
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3},\"merges\":[\"a b\",[\"b\",\"a\"]]},"
    "\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"special\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\" \"},\"behavior\":\"Isolated\","
    "\"invert\":false},{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
    "\"behavior\":\"Removed\"},{\"type\":\"Digits\",\"individual_digits\":true},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
    "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{}}]}}";
static const char config[] =
    "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"<s>\"},\"pad_token\":\"<s>\","
    "\"unk_token\":\"a\",\"chat_template\":[{\"name\":\"default\",\"template\":\"x\"}]}";
static const char sharded[] = "{\"weight_map\":{\"x\":\"a.safetensors\"}}";
static const char manifest[] = "{\"files\":[{\"name\":\"text\",\"size\":4,"
                               "\"xxh3_128\":\"4f8c9ff8a2f9bd84d8a3a9fc39dd3a05\"}]}";

/* Keys whose objects are looked at no further, and those that one may leave away. */
static const char *const optional[] = {"type",
                                       "unk_token",
                                       "dropout",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "added_tokens",
                                       "single_word",
                                       "lstrip",
                                       "rstrip",
                                       "special",
                                       "normalizer",
                                       "pre_tokenizer",
                                       "post_processor",
                                       "invert",
                                       "individual_digits",
                                       "add_prefix_space",
                                       "use_regex",
                                       "SpecialToken",
                                       "Sequence",
                                       "bos_token",
                                       "eos_token",
                                       "pad_token",
                                       "chat_template",
                                       "Regex",
                                       "String",
                                       "pattern",
                                       "behavior"};

static bool may_be_null(const char *key)
{
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        if (!strcmp(optional[i], key)) return true;
    return false;
}

/* ---- The walk ---- */

typedef struct {
    scratch *s;
    struct json_object *root;
    const char *name;
    pl_status (*read)(scratch *s);
    int tried;
} walk;

static pl_status load(scratch *s)
{
    pl_tokenizer *tok;
    const pl_status st = pl_tokenizer_load(s->ctx, &tok, s->folder);
    pl_tokenizer_free(tok);
    return st;
}

static pl_status open_index(scratch *s)
{
    pl_weights *w;
    const pl_status st = pl_safetensors_open(s->ctx, &w, in(s, "model.safetensors.index.json"));
    pl_weights_close(w);
    return st;
}

static pl_status verify(scratch *s)
{
    return pl_folder_verify(s->ctx, s->folder);
}

/* The file as it is now. Two types may stand for a role and for a template. */
static void try_it(walk *w, const char *key, enum json_type had, enum json_type has)
{
    const char *text = json_object_to_json_string(w->root);
    put_file(w->s, w->name, text, strlen(text));
    const pl_status st = w->read(w->s);
    const char *said = pl_error(w->s->ctx);
    const bool either = strstr(key, "_token") != NULL || !strcmp(key, "chat_template");
    const bool number =
        !strcmp(key, "dropout") && (has == json_type_int || has == json_type_double);
    w->tried++;
    if (st != PL_OK && st != PL_ERR_FORMAT && has != json_type_string)
        fail_msg("%s: %s: status %s: %s", text, key, pl_status_name(st), said);
    if (st == PL_ERR_FORMAT && has != had && !strstr(said, w->name))
        fail_msg("%s: %s: the file is not named: %s", text, key, said);
    if (has == had || st == PL_ERR_IO || either || number ||
        (has == json_type_null && may_be_null(key)))
        return;
    if (st != PL_ERR_FORMAT) fail_msg("%s: %s of another type was taken", text, key);
    if (!strstr(said, key)) fail_msg("%s: '%s' is not named: %s", text, key, said);
}

static struct json_object *replacement(int i)
{
    switch (i) {
    case 0: return NULL;
    case 1: return json_object_new_int(7);
    case 2: return json_object_new_double(1.5);
    case 3: return json_object_new_boolean(1);
    case 4: return json_object_new_string("zz");
    case 5: return json_object_new_array();
    default: return json_object_new_object();
    }
}

static void visit(walk *w, struct json_object *value, const char *key);

/* Puts each replacement in the place of `was`, then `was` again. `object` or `list` holds it. */
static void exchange(walk *w, struct json_object *object, struct json_object *list, size_t place,
                     const char *key, struct json_object *was)
{
    char name[64];
    strcpy(name, key); /* the table's key goes with its entry */
    json_object_get(was);
    for (int i = 0; i <= 7; i++) {
        struct json_object *now = i < 7 ? replacement(i) : was;
        const enum json_type has = json_object_get_type(now);
        if (object) json_object_object_add(object, name, now);
        else json_object_array_put_idx(list, place, now);
        if (i < 7) try_it(w, name, json_object_get_type(was), has);
    }
    visit(w, was, name);
}

static void visit(walk *w, struct json_object *value, const char *key)
{
    if (json_object_is_type(value, json_type_array)) {
        const char *item = !strcmp(key, "merges") ? "merge" : ""; /* items have no key */
        for (size_t i = 0; i < json_object_array_length(value); i++)
            exchange(w, NULL, value, i, item, json_object_array_get_idx(value, i));
    } else if (json_object_is_type(value, json_type_object)) {
        char keys[16][64];
        int n = 0;
        struct json_object_iter it;
        json_object_object_foreachC(value, it) strncpy(keys[n++], it.key, 63)[63] = '\0';
        for (int i = 0; i < n; i++)
            exchange(w, value, NULL, 0, keys[i], json_object_object_get(value, keys[i]));
    }
}

static int walk_through(scratch *s, const char *name, const char *text,
                        pl_status (*read)(scratch *s))
{
    pl_ctx *ctx = s->ctx;
    walk w = {.s = s, .name = name, .read = read, .root = json_tokener_parse(text)};
    put_file(s, name, text, strlen(text));
    OK(read(s));
    visit(&w, w.root, "");
    json_object_put(w.root);
    put_file(s, name, text, strlen(text));
    OK(read(s));
    return w.tried;
}

static void tokenizer_json(void **state)
{
    assert_true(walk_through(*state, "tokenizer.json", tokenizer, load) > 300);
}

static void tokenizer_config(void **state)
{
    scratch *s = *state;
    put_file(s, "tokenizer.json", tokenizer, strlen(tokenizer));
    assert_true(walk_through(s, "tokenizer_config.json", config, load) > 50);
}

static void index_of_shards(void **state)
{
    static const char header[] = "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}} ";
    char file[128];
    const uint64_t n = sizeof header - 1;
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    put_file(*state, "a.safetensors", file, 8 + n);
    assert_true(walk_through(*state, "model.safetensors.index.json", sharded, open_index) == 14);
}

static void manifest_json(void **state)
{
    char text[sizeof manifest], hash[PL_HASH_TEXT];
    scratch *s = *state;
    memcpy(text, manifest, sizeof text);
    pl_hash(hash, "text", 4);
    memcpy(strstr(text, "4f8c9"), hash, strlen(hash));
    put_file(s, "text", "text", 4);
    assert_true(walk_through(s, "manifest.json", text, verify) == 35);
}

/* The one that crashed: a nameless template. */
static void template_without_a_name(void **state)
{
    static const char *const bad[] = {
        "{\"chat_template\":[{\"name\":null}]}", "{\"chat_template\":[null]}",
        "{\"chat_template\":[{\"name\":\"default\",\"template\":null}]}",
        "{\"chat_template\":[{\"name\":3,\"template\":\"x\"}]}", "{\"chat_template\":7}"};
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    put_file(s, "tokenizer.json", tokenizer, strlen(tokenizer));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_file(s, "tokenizer_config.json", bad[i], strlen(bad[i]));
        FAILS(load(s), PL_ERR_FORMAT, "chat_template");
    }
}

/* A vocabulary may name a token "": no unknown token is meant by that. */
static void empty_name(void **state)
{
    static const char json[] = "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"\":0,\"a\":1}},"
                               "\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}}";
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_tokenizer *tok;
    put_file(s, "tokenizer.json", json, strlen(json));
    OK(pl_tokenizer_load(ctx, &tok, s->folder));
    assert_int_equal(pl_tokenizer_get_info(tok).unk, -1);
    pl_tokenizer_free(tok);
}

/* json-c ends a key at its first \u0000: "b\u0000x" would be one more "b". */
static void nul_in_a_key(void **state)
{
    static const char *const bad[] = {
        "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"b\\u0000x\":1}}}",
        "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0,\"\\\\\\u0000\" :1}}}"};
    static const char good[] =
        "{\"x\":\"\\u0000\",\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},"
        "\"model\":{\"type\":\"WordLevel\",\"vocab\":"
        "{\"a\":0,\"\\\\u0000\":1}}}";
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_tokenizer *tok;
    for (size_t i = 0; i < 2; i++) {
        put_file(s, "tokenizer.json", bad[i], strlen(bad[i]));
        FAILS(load(s), PL_ERR_FORMAT, "byte 44: a key holds \\u0000");
    }
    put_file(s, "tokenizer.json", good, strlen(good));
    OK(pl_tokenizer_load(ctx, &tok, s->folder));
    assert_int_equal(pl_tokenizer_id(tok, "\\u0000", 6), 1);
    pl_tokenizer_free(tok);
}

/* A name of 59 letters and an ä, of which the text of an error quotes 60 bytes. */
static void half_a_character(void **state)
{
    char json[400], name[64];
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    memset(name, 'x', 59);
    strcpy(name + 59, "\xC3\xA4");
    snprintf(json, sizeof json, "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"%s\":-1}}}", name);
    put_file(s, "tokenizer.json", json, strlen(json));
    FAILS(load(s), PL_ERR_FORMAT, "xxx?' has the id -1");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(tokenizer_json), CASE(tokenizer_config),        CASE(index_of_shards),
        CASE(manifest_json),  CASE(template_without_a_name), CASE(empty_name),
        CASE(nul_in_a_key),   CASE(half_a_character),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}

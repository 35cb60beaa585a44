/*
** text_test.c - tokenizers: published vectors exactly, round trips, control tokens out of reach of
** text, malformed files each with its own refusal, lack of memory at every allocation, small
** stacks.
**
** Vectors of real tokenizers lie outside the repository; where they are absent those cases skip.
*/
#include "perilune.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA "../shared/data/"

typedef struct {
    pl_ctx *ctx;
    char folder[64], path[128];
    int64_t live; /* bytes a fresh context holds */
} scratch;

static int set_up(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    s->ctx = pl_ctx_new();
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* syncs cost nothing */
    snprintf(s->folder, sizeof s->folder, "%s/perilune-text-XXXXXX", root);
    if (!s->ctx || !mkdtemp(s->folder)) return -1;
    snprintf(s->path, sizeof s->path, "%s/tokenizer.json", s->folder);
    s->live = pl_mem_get(s->ctx).live;
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json", "tok.bin",
                                        "vocab.json", "merges.txt"};
    scratch *s = *state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", s->folder, files[i]);
        unlink(path);
    }
    rmdir(s->folder);
    const int64_t live = pl_mem_get(s->ctx).live, at_start = s->live;
    pl_ctx_free(s->ctx);
    free(s);
    assert_int_equal(live, at_start); /* every case frees what it made */
    return 0;
}

static void put_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* malloc'ed, with a final NUL; NULL when there is no such file. */
static char *get_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*size + 1);
    assert_int_equal(fread(data, 1, *size, f), *size);
    data[*size] = '\0';
    fclose(f);
    return data;
}

#define OK(expr)                                                          \
    do {                                                                  \
        if ((expr) != PL_OK) fail_msg("%s: %s", #expr, pl_error(s->ctx)); \
    } while (0)

static pl_tokenizer *load(scratch *s, const char *path)
{
    pl_tokenizer *tok;
    OK(pl_tokenizer_load(s->ctx, &tok, path));
    return tok;
}

static pl_tokenizer *load_text(scratch *s, const char *json)
{
    put_file(s->path, json, strlen(json));
    return load(s, s->path);
}

/* "1 2 3", in a static buffer. */
static const char *ids_of(scratch *s, pl_tokenizer *tok, const char *text, size_t length,
                          unsigned flags)
{
    static char out[65536];
    int32_t *ids;
    int64_t count;
    size_t at = 0;
    out[0] = '\0';
    OK(pl_tokenizer_encode(tok, &ids, &count, text, length, flags));
    for (int64_t i = 0; i < count && at < sizeof out - 16; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%d", i ? " " : "", ids[i]);
    pl_free(s->ctx, ids);
    return out;
}

#define expect_ids(tok, text, flags, expected) \
    assert_string_equal(ids_of(s, tok, text, sizeof text - 1, flags), expected)

static void expect_round_trip(scratch *s, pl_tokenizer *tok, const char *text, size_t length,
                              unsigned flags, unsigned decode_flags)
{
    int32_t *ids;
    int64_t count;
    char *back;
    size_t n;
    OK(pl_tokenizer_encode(tok, &ids, &count, text, length, flags));
    OK(pl_tokenizer_decode(tok, &back, &n, ids, count, decode_flags));
    assert_int_equal(n, length);
    assert_memory_equal(back, text, length);
    pl_free(s->ctx, ids);
    pl_free(s->ctx, back);
}

/* --------------------------------------------------------------------------------------------
** Real tokenizers
*/

/* Strings between separator lines, and for each a line of ids. Returns how many agreed. */
static int check_vectors(scratch *s, pl_tokenizer *tok, const char *in, const char *out)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    int n = 0;
    for (const char *line = out; in; n++) {
        const char *end = strstr(in, separator), *line_end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - in) : strlen(in);
        char expected[16384];
        size_t n_line = line_end ? (size_t)(line_end - line) : strlen(line);
        size_t skip = n_line > 0 && line[0] == ' ';
        snprintf(expected, sizeof expected, "%.*s", (int)(n_line - skip), line + skip);
        assert_string_equal(ids_of(s, tok, in, length, 0), expected);
        expect_round_trip(s, tok, in, length, 0, 0);
        line = line_end ? line_end + 1 : "";
        in = end ? end + strlen(separator) : NULL;
    }
    return n;
}

static void check_folder(scratch *s, const char *folder, int64_t size)
{
    char path[256];
    size_t n;
    snprintf(path, sizeof path, "%s/vectors.inp", folder);
    char *in = get_file(path, &n);
    snprintf(path, sizeof path, "%s/vectors.out", folder);
    char *out = get_file(path, &n);
    if (!in || !out) {
        print_message("%s is absent: skipped\n", folder);
        skip();
    }
    pl_tokenizer *tok = load(s, folder);
    assert_int_equal(pl_tokenizer_get_info(tok).size, size);
    assert_true(check_vectors(s, tok, in, out) >= 46);
    pl_tokenizer_free(tok);
    free(in);
    free(out);
}

static void gpt2_vectors(void **state)
{
    check_folder(*state, DATA "tokenizers/gpt2", 50257);
}

static void qwen_vectors(void **state)
{
    check_folder(*state, DATA "tokenizers/qwen3", 151669);
}

static void skip_unless(const char *path)
{
    if (access(path, R_OK) == 0) return;
    print_message("%s is absent: skipped\n", path);
    skip();
}

static void small_byte_level_loads(void **state)
{
    scratch *s = *state;
    skip_unless(DATA "tokenizers/oasst-783/tokenizer.json");
    pl_tokenizer *tok = load(s, DATA "tokenizers/oasst-783");
    pl_tokenizer_info info = pl_tokenizer_get_info(tok);
    assert_int_equal(info.kind, PL_TOKENIZER_BYTELEVEL);
    assert_int_equal(info.size, 783);
    assert_int_equal(info.eos, 0);
    assert_int_equal(info.pad, 1);
    expect_ids(tok, "<|prompter|><|endoftext|>", PL_ENCODE_SPECIAL, "2 0");
    expect_round_trip(s, tok, "<|prompter|> hello", 18, 0, PL_DECODE_SKIP_SPECIAL);
    pl_tokenizer_free(tok);
}

static void stories_tokenizer(void **state)
{
    scratch *s = *state;
    skip_unless(DATA "models/stories260K/tok512.bin");
    pl_tokenizer *tok = load(s, DATA "models/stories260K");
    pl_tokenizer_info info = pl_tokenizer_get_info(tok);
    assert_int_equal(info.kind, PL_TOKENIZER_SENTENCEPIECE);
    assert_int_equal(info.size, 512);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, 2);
    assert_true(info.adds_bos);
    /* as llama2.c encodes it */
    expect_ids(tok, "Once upon a time", PL_ENCODE_BOS, "1 403 407 261 378");
    expect_ids(tok, "", PL_ENCODE_BOS | PL_ENCODE_EOS, "1 2");
    expect_ids(tok, "\n", PL_ENCODE_CONTINUED, "13");
    assert_int_equal(pl_tokenizer_id(tok, "\n", 1), 13);
    assert_int_equal(pl_tokenizer_id(tok, "<0x0A>", 6), 13);

    size_t n;
    char *text = get_file(DATA "models/stories260K/greedy.txt", &n);
    expect_round_trip(s, tok, text, n, PL_ENCODE_BOS, PL_DECODE_SKIP_SPECIAL);
    free(text);
    expect_round_trip(s, tok, " two  spaces \xFF\xE2\x82 \xF0\x9F\xA6\x99", 21, PL_ENCODE_BOS,
                      PL_DECODE_SKIP_SPECIAL);

    /* behind a prompt the space of a first word stays */
    const int32_t answer[] = {261, 378};
    char *out;
    OK(pl_tokenizer_decode(tok, &out, &n, answer, 2, 0));
    assert_string_equal(out, " a time");
    pl_free(s->ctx, out);

    /* saved as tokenizer.json and read back it is the same */
    OK(pl_tokenizer_save(tok, s->folder, NULL));
    pl_tokenizer *again = load(s, s->folder);
    assert_true(pl_tokenizer_get_info(again).adds_bos);
    assert_int_equal(pl_tokenizer_get_info(again).eos, 2);
    char *stories = get_file(DATA "text/tinystories.txt", &n);
    if (stories) {
        int32_t *a, *b;
        int64_t na, nb;
        OK(pl_tokenizer_encode(tok, &a, &na, stories, n, PL_ENCODE_BOS));
        OK(pl_tokenizer_encode(again, &b, &nb, stories, n, PL_ENCODE_BOS));
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, (size_t)na * sizeof *a);
        pl_free(s->ctx, a);
        pl_free(s->ctx, b);
        free(stories);
    }
    pl_tokenizer_free(again);
    pl_tokenizer_free(tok);
}

/* --------------------------------------------------------------------------------------------
** Trained here
*/
static const char *const special[] = {"<|end|>", "<|user|>", "END", "<|pad|>"};
static const char corpus[] =
    "the moon goes round the earth and the earth goes round the sun; the END of the end.\n"
    "ENDENDEND END <|end|> <|end|> the moon, the moon, it's the moon's moon 123 1234 12345\n";

static pl_tokenizer *train(scratch *s, pl_tokenizer_kind kind, int64_t size)
{
    const char *texts[] = {corpus, corpus + 10};
    const size_t lengths[] = {sizeof corpus - 1, sizeof corpus - 11};
    pl_tokenizer_training o = {.kind = kind,
                               .vocab_size = size,
                               .special = special,
                               .n_special = 4,
                               .eos = "<|end|>",
                               .pad = "<|pad|>"};
    pl_tokenizer *tok;
    OK(pl_tokenizer_train(s->ctx, &tok, texts, lengths, 2, &o));
    return tok;
}

/* One whole life: train, save, load, encode, decode. PL_OK or what failed. */
static pl_status life(scratch *s, pl_tokenizer_kind kind)
{
    const char *texts[] = {corpus};
    const size_t lengths[] = {sizeof corpus - 1};
    pl_tokenizer_training o = {
        .kind = kind, .vocab_size = 280, .special = special, .n_special = 4, .eos = "<|end|>"};
    pl_tokenizer *tok = NULL, *again = NULL;
    int32_t *ids = NULL;
    int64_t count;
    char *text = NULL;
    size_t n;
    pl_status st = pl_tokenizer_train(s->ctx, &tok, texts, lengths, 1, &o);
    if (st == PL_OK) st = pl_tokenizer_save(tok, s->folder, "{{ messages }}");
    if (st == PL_OK) st = pl_tokenizer_load(s->ctx, &again, s->folder);
    if (st == PL_OK)
        st = pl_tokenizer_encode(again, &ids, &count, corpus, sizeof corpus - 1,
                                 PL_ENCODE_SPECIAL | PL_ENCODE_EOS);
    if (st == PL_OK) st = pl_tokenizer_decode(again, &text, &n, ids, count, 0);
    pl_free(s->ctx, ids);
    pl_free(s->ctx, text);
    pl_tokenizer_free(tok);
    pl_tokenizer_free(again);
    return st;
}

static void merges_are_the_most_frequent(void **state)
{
    scratch *s = *state;
    const char *texts[] = {"ab ab ab abc"};
    const size_t lengths[] = {12};
    pl_tokenizer_training o = {.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 300};
    pl_tokenizer *tok;
    size_t n;
    OK(pl_tokenizer_train(s->ctx, &tok, texts, lengths, 1, &o));
    /* "ab" four times, then "Ġab" three times; nothing else twice */
    assert_int_equal(pl_tokenizer_get_info(tok).size, 258);
    assert_string_equal(pl_tokenizer_name(tok, 256, &n), "ab");
    assert_string_equal(pl_tokenizer_name(tok, 257, &n), "\u0120ab");
    assert_string_equal(pl_tokenizer_bytes(tok, 257, &n), " ab");
    assert_int_equal(pl_tokenizer_id(tok, " ab", 3), 257);
    assert_int_equal(pl_tokenizer_id(tok, " abc", 4), -1);
    assert_null(pl_tokenizer_name(tok, 258, &n));
    assert_null(pl_tokenizer_name(tok, -1, &n));
    expect_ids(tok, "ab abab", 0, "256 257 256");
    pl_tokenizer_free(tok);
}

static void bytes_come_back(void **state)
{
    scratch *s = *state;
    pl_tokenizer *tok = train(s, PL_TOKENIZER_BYTELEVEL, 330);
    char text[512];
    uint32_t word[4];
    for (uint64_t i = 0; i < 3000; i++) {
        size_t length = i % 97;
        for (size_t k = 0; k < length; k++) {
            if (k % 4 == 0) pl_random_bits(3, 1, i * 64 + k, word);
            text[k] = (char)(i % 3 ? word[k % 4] : 0x20 + word[k % 4] % 95);
        }
        expect_round_trip(s, tok, text, length, 0, 0);
    }
    expect_round_trip(s, tok, corpus, sizeof corpus, 0, 0); /* with its NUL */
    pl_tokenizer_free(tok);
}

/* Every control token, whole, doubled, and in pieces beside others. */
static void text_gives_no_control_token(void **state)
{
    scratch *s = *state;
    for (int kind = 0; kind < 3; kind += 2) {
        pl_tokenizer *tok = train(s, (pl_tokenizer_kind)kind, kind ? 30 : 330);
        int controls = 0;
        for (int i = 0; i < 4; i++) controls += pl_tokenizer_is_control(tok, i);
        assert_int_equal(controls, 4);
        for (uint64_t i = 0; i < 2000; i++) {
            char text[128] = "";
            uint32_t word[4];
            pl_random_bits(5, 1, i, word);
            for (int k = 0; k < 4; k++) {
                const char *piece = special[word[k] % 4];
                if (word[k] & 16) strcat(text, " ");
                strncat(text, piece, word[k] & 32 ? 99 : (word[k] >> 8) % 8);
            }
            int32_t *ids;
            int64_t count;
            OK(pl_tokenizer_encode(tok, &ids, &count, text, strlen(text), 0));
            for (int64_t k = 0; k < count; k++)
                if (pl_tokenizer_is_control(tok, ids[k])) fail_msg("'%s' gave %d", text, ids[k]);
            pl_free(s->ctx, ids);
        }
        expect_ids(tok, "<|user|>END<|end|>", PL_ENCODE_SPECIAL, "1 2 0");
        expect_ids(tok, "<|end|>", PL_ENCODE_SPECIAL | PL_ENCODE_EOS, "0");
        pl_tokenizer_free(tok);
    }
}

static void training_refuses(void **state)
{
    scratch *s = *state;
    const char *texts[] = {"a b"};
    const size_t lengths[] = {3};
    const char *twice[] = {"<x>", "<x>"}, *single[] = {"a"}, *broken[] = {"\xFF"};
    const struct {
        pl_tokenizer_training o;
        const char *why;
    } cases[] = {
        {{.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 255}, "below"},
        {{.kind = PL_TOKENIZER_WORD, .vocab_size = 1}, "leaves no place"},
        {{.kind = PL_TOKENIZER_SENTENCEPIECE, .vocab_size = 999}, "can be trained"},
        {{.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 999, .special = twice, .n_special = 2},
         "there twice"},
        {{.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 999, .special = single, .n_special = 1},
         "single character"},
        {{.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 999, .special = broken, .n_special = 1},
         "not UTF-8"},
        {{.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 999, .eos = "<e>"},
         "not among the special tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pl_tokenizer *tok;
        assert_int_equal(pl_tokenizer_train(s->ctx, &tok, texts, lengths, 1, &cases[i].o),
                         PL_ERR_ARG);
        assert_null(tok);
        if (!strstr(pl_error(s->ctx), cases[i].why))
            fail_msg("expected '%s', got '%s'", cases[i].why, pl_error(s->ctx));
    }
}

static void words(void **state)
{
    scratch *s = *state;
    const char *texts[] = {"b a\tb\n c  b a <|end|>"};
    const size_t lengths[] = {21};
    pl_tokenizer_training o = {.kind = PL_TOKENIZER_WORD,
                               .vocab_size = 7,
                               .special = special,
                               .n_special = 1,
                               .eos = "<|end|>"};
    pl_tokenizer *tok;
    char *text;
    size_t n;
    OK(pl_tokenizer_train(s->ctx, &tok, texts, lengths, 1, &o));
    OK(pl_tokenizer_save(tok, s->folder, NULL));
    pl_tokenizer_free(tok);
    tok = load(s, s->folder);
    assert_int_equal(pl_tokenizer_get_info(tok).kind, PL_TOKENIZER_WORD);
    assert_int_equal(pl_tokenizer_get_info(tok).unk, 1);
    assert_int_equal(pl_tokenizer_get_info(tok).eos, 0);
    expect_ids(tok, " b  a c d <|end|>", PL_ENCODE_EOS, "2 3 4 1 1 0"); /* b, a, c by frequency */
    const int32_t ids[] = {2, 3, 0, 99};
    OK(pl_tokenizer_decode(tok, &text, &n, ids, 4, 0));
    assert_string_equal(text, "b a <|end|> \xEF\xBF\xBD");
    pl_free(s->ctx, text);
    OK(pl_tokenizer_decode(tok, &text, &n, ids, 3, PL_DECODE_SKIP_SPECIAL));
    assert_string_equal(text, "b a");
    pl_free(s->ctx, text);
    pl_tokenizer_free(tok);
}

static void every_allocation_may_fail(void **state)
{
    scratch *s = *state;
    for (int kind = 0; kind < 3; kind += 2) {
        int64_t before = pl_mem_get(s->ctx).calls;
        assert_int_equal(life(s, (pl_tokenizer_kind)kind), PL_OK);
        int64_t calls = pl_mem_get(s->ctx).calls - before;
        assert_true(calls > 20);
        for (int64_t k = 1; k <= calls; k++) {
            pl_mem_fail_at(s->ctx, k, true);
            assert_int_equal(life(s, (pl_tokenizer_kind)kind), PL_ERR_NOMEM);
            pl_mem_fail_at(s->ctx, 0, false);
            assert_int_equal(pl_mem_get(s->ctx).live, s->live);
        }
    }
}

/* --------------------------------------------------------------------------------------------
** tokenizer.json: what is taken
*/
#define VOCAB                                                                                     \
    "\"vocab\":{\"a\":0,\"b\":1,\"\u0120\":2,\"ab\":3,\"1\":4,\"-\":5,\"\u00C3\":6,\"\u00A9\":7," \
    "\"\u00C3\u00A9\":8,\"\u0120ab\":10}"
#define MERGES "\"merges\":[\"a b\",[\"\xC4\xA0\",\"ab\"],\"\xC3\x83 \xC2\xA9\"]"
#define MODEL "\"model\":{\"type\":\"BPE\"," VOCAB "," MERGES "}"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define STEPS(x) "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" x "," BYTES "]}"

static void steps_of_a_file(void **state)
{
    scratch *s = *state;
    pl_tokenizer *tok = load_text(s, "{" MODEL ",\"pre_tokenizer\":" BYTES "}");
    assert_int_equal(pl_tokenizer_get_info(tok).size, 11); /* 9 is a hole */
    expect_ids(tok, "ab ab", 0, "3 10");
    pl_tokenizer_free(tok);

    tok = load_text(s, "{" MODEL ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}");
    expect_ids(tok, "ab ab", 0, "10 10"); /* add_prefix_space is the default */
    expect_ids(tok, " ab", 0, "10");
    expect_ids(tok, "ab", PL_ENCODE_CONTINUED, "3");
    pl_tokenizer_free(tok);

    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},"
                                           "\"behavior\":\"Isolated\"}") "}");
    expect_ids(tok, "abab", 0, "0 1 0 1");
    pl_tokenizer_free(tok);

    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"-+\"},"
                                           "\"behavior\":\"Removed\"}") "}");
    expect_ids(tok, "a--b-ab", 0, "0 1 3");
    pl_tokenizer_free(tok);

    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]\"},"
                                           "\"behavior\":\"Removed\",\"invert\":true}") "}");
    expect_ids(tok, "ab-1", 0, "0 1");
    pl_tokenizer_free(tok);

    /* a stray byte stays by itself: no pattern behind the space in front may see it */
    tok =
        load_text(s, "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
                     "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"-\"},\"behavior\":\"Removed\"},"
                     "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}}");
    expect_ids(tok, "ab-ab\xFF\xC3\xA9", 0, "10 10 2 8");
    pl_tokenizer_free(tok);

    /* ^ stands at every line there; the vocabulary has no token for the line's end */
    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"^b\"},"
                                           "\"behavior\":\"Removed\"}") "}");
    expect_ids(tok, "ab\nbab", 0, "3 3");
    pl_tokenizer_free(tok);

    /* \w and \s as Oniguruma has them: a combining mark is of the word, U+180E is no space */
    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                                           "\"[^\\\\w\\\\s]|\\\\w\\\\w\"},"
                                           "\"behavior\":\"Removed\"}") "}");
    expect_ids(tok, "a\u0301ab", 0, ""); /* a with acute: \w\w; then ab */
    expect_ids(tok, "a-b\u180Ea", 0, "0 1 0");
    pl_tokenizer_free(tok);

    /* clang-format off */
    tok = load_text(s, "{" MODEL "," STEPS("{\"type\":\"Digits\",\"individual_digits\":true}")
                       ",\"normalizer\":{\"type\":\"NFC\"}}");
    /* clang-format on */
    expect_ids(tok, "11", 0, "4 4");
    pl_tokenizer_free(tok);
}

static void expect_lower(scratch *s, const char *text, size_t length, const char *want)
{
    char *got;
    size_t size;
    OK(pl_text_lower(s->ctx, &got, &size, text, length));
    assert_int_equal(size, strlen(want));
    assert_string_equal(got, want);
    pl_free(s->ctx, got);
}

static void lower_case(void **state)
{
    scratch *s = *state;
    expect_lower(s, "", 0, "");
    expect_lower(s, "A[Z]@`z{1", 9, "a[z]@`z{1");
    expect_lower(s, "\xC3\x84\xC8\x98\xCE\xA3", 6, "\xC3\xA4\xC8\x99\xCF\x83"); /* ÄȘΣ */
    expect_lower(s, "\xC8\xBA", 2, "\xE2\xB1\xA5");             /* U+023A: two bytes become three */
    expect_lower(s, "\xC4\xB0\xE2\x84\xAA", 5, "ik");           /* U+0130, the sign of kelvin */
    expect_lower(s, "\xF0\x90\x90\x80", 4, "\xF0\x90\x90\xA8"); /* U+10400 */
    expect_lower(s, "A\xFF\xC3", 3, "a\xFF\xC3");
}

static void normal_form(void **state)
{
    scratch *s = *state;
    pl_tokenizer *tok =
        load_text(s, "{" MODEL ",\"pre_tokenizer\":" BYTES ",\"normalizer\":{\"type\":\"NFC\"}}");
    assert_int_equal(pl_tokenizer_id(tok, "\xC3\xA9", 2), 8); /* é */
    expect_ids(tok, "\xC3\xA9", 0, "8");
    pl_tokenizer_free(tok);

    /* marks in the wrong order, as long a run as one likes: the tokens come in canonical order */
    tok = train(s, PL_TOKENIZER_BYTELEVEL, 260);
    OK(pl_tokenizer_save(tok, s->folder, NULL));
    pl_tokenizer_free(tok);
    size_t n;
    char *json = get_file(s->path, &n), *at = strstr(json, "\"normalizer\": null");
    assert_non_null(at);
    memcpy(at, "\"normalizer\":\"NFC\"", 18);
    put_file(s->path, json, n);
    pl_tokenizer *refused;
    assert_int_equal(pl_tokenizer_load(s->ctx, &refused, s->path), PL_ERR_FORMAT);
    char *with = malloc(n + 64);
    int before = (int)(at - json);
    int made =
        snprintf(with, n + 64, "%.*s\"normalizer\":{\"type\":\"NFC\"}%s", before, json, at + 18);
    put_file(s->path, with, (size_t)made);
    tok = load(s, s->path);
    enum { MARKS = 200000 };
    char *text = malloc(1 + 4 * MARKS), *back;
    text[0] = 'x';
    for (int i = 0; i < MARKS; i++) /* U+0315 (class 232), U+0316 (class 220) */
        memcpy(text + 1 + 4 * i, "\xCC\x95\xCC\x96", 4);
    int32_t *ids;
    int64_t count;
    OK(pl_tokenizer_encode(tok, &ids, &count, text, 1 + 4 * MARKS, 0));
    OK(pl_tokenizer_decode(tok, &back, &n, ids, count, 0));
    assert_int_equal(n, 1 + 4 * MARKS);
    for (int i = 0; i < 2 * MARKS; i++)
        assert_memory_equal(back + 1 + 2 * i, i < MARKS ? "\xCC\x96" : "\xCC\x95", 2);
    pl_free(s->ctx, ids);
    pl_free(s->ctx, back);
    free(text);
    free(with);
    free(json);
    pl_tokenizer_free(tok);
}

#define ADDED(id, text, more) "{\"id\":" id ",\"content\":\"" text "\"" more "}"

static void added_tokens(void **state)
{
    scratch *s = *state;
    /* clang-format off */
    pl_tokenizer *tok =
        load_text(s, "{" MODEL ",\"pre_tokenizer\":" BYTES ",\"added_tokens\":["
                     ADDED("11", "<s>", ",\"special\":true") ","
                     ADDED("12", "<s><s>", ",\"special\":true") ","
                     ADDED("13", "  ", "") "," ADDED("14", "<t>", "") ","
                     ADDED("15", "<r>", ",\"rstrip\":true,\"lstrip\":true") "],"
                     "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
                     "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
                     "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}}");
    /* clang-format on */
    assert_true(pl_tokenizer_get_info(tok).adds_bos);
    assert_false(pl_tokenizer_get_info(tok).adds_eos);
    assert_int_equal(pl_tokenizer_get_info(tok).bos, 11);
    expect_ids(tok, "a<s><s><s>b", PL_ENCODE_SPECIAL, "0 12 11 1");     /* the longest first */
    expect_ids(tok, "<s>a", PL_ENCODE_SPECIAL | PL_ENCODE_BOS, "11 0"); /* one beginning only */
    expect_ids(tok, "a", 0, "0");                                       /* and none unasked */
    expect_ids(tok, "a  b", 0, "0 13 1"); /* white space is no control token */
    expect_ids(tok, "a <r> b", PL_ENCODE_SPECIAL, "0 15 1");
    assert_true(pl_tokenizer_is_control(tok, 14));
    assert_false(pl_tokenizer_is_control(tok, 13));
    /* "<" has no token here and is left out; the text must not become <t> */
    expect_ids(tok, "<t>ab", 0, "3");
    pl_tokenizer_free(tok);
}

static void saved_unchanged(void **state)
{
    scratch *s = *state;
    static const char json[] = "{ " MODEL ",\"pre_tokenizer\":" BYTES ",  \"odd\": [1,2] }";
    static const char config[] = "{\"eos_token\":{\"content\":\"ab\",\"x\":1},\"other\":7.50}";
    char path[128];
    size_t n;
    snprintf(path, sizeof path, "%s/tokenizer_config.json", s->folder);
    put_file(path, config, sizeof config - 1);
    pl_tokenizer *tok = load_text(s, json);
    assert_int_equal(pl_tokenizer_get_info(tok).eos, 3);
    assert_int_equal(unlink(s->path), 0);
    OK(pl_tokenizer_save(tok, s->folder, "T"));
    pl_tokenizer_free(tok);
    char *text = get_file(s->path, &n);
    assert_string_equal(text, json);
    free(text);
    text = get_file(path, &n);
    assert_non_null(strstr(text, "7.50"));
    assert_non_null(strstr(text, "\"x\""));
    free(text);
    tok = load(s, s->folder);
    assert_string_equal(pl_tokenizer_get_info(tok).chat_template, "T");
    pl_tokenizer_free(tok);
}

static void gpt2_pair_of_files(void **state)
{
    scratch *s = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/merges.txt", s->folder);
    put_file(path, "#version: 0.2\na b\r\n\n", 20);
    snprintf(path, sizeof path, "%s/vocab.json", s->folder);
    put_file(path, "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}", 38);
    pl_tokenizer *tok = load(s, s->folder);
    expect_ids(tok, "aab", PL_ENCODE_EOS, "0 2 3");
    assert_true(pl_tokenizer_is_control(tok, 3));
    pl_tokenizer_free(tok);
    put_file(path, "{\"a\":0,\"b\":1}", 13);
    assert_int_equal(pl_tokenizer_load(s->ctx, &tok, path), PL_ERR_FORMAT);
    assert_non_null(strstr(pl_error(s->ctx), "the result is not in the vocabulary"));
}

/* --------------------------------------------------------------------------------------------
** Files that are refused
*/
static void refusals(void **state)
{
    static const char *const cases[][2] = {
        {"", "the text ends early"},
        {"[1]", "the whole file is a list, not an object"},
        {"{\"model\":", "the text ends early"},
        {"{\"model\":{\"type\":\"BPE\"}} x", "unexpected character"},
        {"{}", "'model' of the file is missing"},
        {"{\"model\":{\"vocab\":{}}}", "the model type is ''"},
        {"{\"model\":{\"type\":\"Rwkv\"}}", "the model type is 'Rwkv'"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}}", "is no list [piece, score]"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"b\"]]}}", "item 1 of 'vocab'"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1e999]]}}", "is not finite"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "'unk_id' is 1"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}",
         "there is no vocabulary {name: id}"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "has the id -1"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}}", "has the id 1.5"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2000000000},\"merges\":[]}}",
         "has the id 2000000000"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "the same id"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB "}}", "no list of merges"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"ab\"]}}", "two parts"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b c\"]}}", "two parts"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\"]]}}", "neither text nor"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"x a\"]}}", "the left part"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a x\"]}}", "the right part"},
        {"{\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"b a\"]}}", "the result"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1," VOCAB "," MERGES "}}", "dropout"},
        {"{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"," VOCAB "," MERGES
         "},\"pre_tokenizer\":" BYTES "}",
         "end_of_word_suffix '</w>' is not supported"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}", "UnicodeScripts"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\"}}", "without 'pretokenizers'"},
        {"{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
                             "\"behavior\":\"Isolated\"}") "}",
         "missing closing parenthesis"},
        {"{" MODEL "," STEPS("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
                             "\"behavior\":\"Merged\"}") "}",
         "Merged"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"normalizer\":{\"type\":\"ByteLevel\"}}",
         "ByteLevel"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"decoder\":{\"type\":\"CTC\"}}", "CTC"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"normalizer\":{\"type\":\"Precompiled\","
         "\"precompiled_charsmap\":\"?\"}}",
         "is not base64"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"normalizer\":{\"type\":\"Precompiled\","
         "\"precompiled_charsmap\":\"BBBBBBBB\"}}",
         "map of characters is damaged"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
         "BertProcessing"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"added_tokens\":{}}",
         "'added_tokens' of the file is an object, not a list"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"added_tokens\":[" ADDED("1", "<x>", "") "]}",
         "which is 'b' in the vocabulary"},
        {"{" MODEL ",\"pre_tokenizer\":" BYTES ",\"added_tokens\":[" ADDED("11", "", "") "]}",
         "added token"},
    };
    scratch *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pl_tokenizer *tok;
        put_file(s->path, cases[i][0], strlen(cases[i][0]));
        pl_status st = pl_tokenizer_load(s->ctx, &tok, s->path);
        if (st != PL_ERR_FORMAT) fail_msg("case %zu gave status %d", i, (int)st);
        assert_null(tok);
        if (!strstr(pl_error(s->ctx), cases[i][1]))
            fail_msg("case %zu: expected '%s', got '%s'", i, cases[i][1], pl_error(s->ctx));
        assert_int_equal(pl_mem_get(s->ctx).live, s->live);
    }
    pl_tokenizer *tok;
    assert_int_equal(pl_tokenizer_load(s->ctx, &tok, "no/such/folder"), PL_ERR_IO);
    assert_int_equal(pl_tokenizer_load(s->ctx, &tok, s->folder), PL_ERR_FORMAT);
    assert_int_equal(unlink(s->path), 0);
    assert_int_equal(pl_tokenizer_load(s->ctx, &tok, s->folder), PL_ERR_IO);
    assert_non_null(strstr(pl_error(s->ctx), "no tokenizer there"));
}

/* A llama2.c file: three control tokens, the bytes, then tokens with falling scores. */
static size_t llama2c_file(char *out)
{
    static const char *const pieces[] = {"a", "b", " ", " a", "ab", " ab", "bb"};
    size_t at = 4;
    int32_t longest = 6;
    memcpy(out, &longest, 4);
    for (int id = 0; id < 259 + 7; id++) {
        char text[16];
        float score = id < 259 ? 0.0f : (float)(259 - id);
        if (id < 3) strcpy(text, id == 0 ? "<unk>" : id == 1 ? "\n<s>\n" : "\n</s>\n");
        else if (id < 259) snprintf(text, sizeof text, "<0x%02X>", (unsigned)(id - 3));
        else strcpy(text, pieces[id - 259]);
        int32_t length = (int32_t)strlen(text);
        memcpy(out + at, &score, 4);
        memcpy(out + at + 4, &length, 4);
        memcpy(out + at + 8, text, (size_t)length);
        at += 8 + (size_t)length;
    }
    return at;
}

static void llama2c_files(void **state)
{
    scratch *s = *state;
    static char data[8192];
    char path[128];
    size_t size = llama2c_file(data);
    snprintf(path, sizeof path, "%s/tok.bin", s->folder);
    put_file(path, data, size);
    pl_tokenizer *tok = load(s, s->folder);
    /* " ab": " a" (score -3) before "ab" (-4); then nothing joins " a" and "b" but " ab" (-5) */
    expect_ids(tok, "ab", PL_ENCODE_BOS, "1 264");
    expect_ids(tok, "abb", 0, "264 260"); /* " ab" before "bb" (-6) */
    expect_ids(tok, "aab", 0, "262 263");
    expect_ids(tok, "bbb", PL_ENCODE_CONTINUED, "265 260"); /* the leftmost of two */
    expect_ids(tok, "<s>", PL_ENCODE_CONTINUED, "63 118 65");
    expect_ids(tok, "<s>", PL_ENCODE_SPECIAL, "1");
    pl_tokenizer_free(tok);
    int refused = 0;
    for (size_t cut = 0; cut < size; cut++) {
        put_file(path, data, cut);
        pl_status st = pl_tokenizer_load(s->ctx, &tok, path);
        refused += st == PL_ERR_FORMAT;
        pl_tokenizer_free(tok);
        assert_int_equal(pl_mem_get(s->ctx).live, s->live);
    }
    assert_true(refused >= (int)size - 8); /* it may end behind each of the last tokens */
}

/* Single bytes of a good file exchanged: refused or loaded, and then it encodes. */
static void damaged_files(void **state)
{
    scratch *s = *state;
    pl_tokenizer *tok = train(s, PL_TOKENIZER_BYTELEVEL, 300);
    OK(pl_tokenizer_save(tok, s->folder, NULL));
    pl_tokenizer_free(tok);
    size_t n;
    char *json = get_file(s->path, &n);
    int loaded = 0, refused = 0;
    for (uint64_t i = 0; i < 1500; i++) {
        uint32_t word[4];
        pl_random_bits(11, 1, i, word);
        size_t at = word[0] % n;
        char old = json[at];
        json[at] = "\"{}[],:0 9x"[word[1] % 11];
        put_file(s->path, json, n);
        json[at] = old;
        if (pl_tokenizer_load(s->ctx, &tok, s->path) == PL_OK) {
            int32_t *ids;
            int64_t count;
            loaded++;
            pl_tokenizer_encode(tok, &ids, &count, corpus, sizeof corpus - 1, PL_ENCODE_SPECIAL);
            pl_free(s->ctx, ids);
            pl_tokenizer_free(tok);
        } else {
            refused++;
            assert_true(pl_error(s->ctx)[0] != '\0');
        }
        assert_int_equal(pl_mem_get(s->ctx).live, s->live);
    }
    assert_true(loaded > 100 && refused > 100);
    free(json);
}

/* --------------------------------------------------------------------------------------------
** Streams, long texts
*/
static void streams(void **state)
{
    scratch *s = *state;
    pl_tokenizer *tok = train(s, PL_TOKENIZER_BYTELEVEL, 260); /* bytes alone */
    static const char text[] = "a\xF0\x9F\xA6\x99\xC3\xA9\xFFz\xE2\x82";
    static const char *const steps[] = {"a",    "",  "", "", "\xF0\x9F\xA6\x99", "", "\xC3\xA9",
                                        "\xFF", "z", "", ""};
    pl_text_stream stream = {0};
    const char *out;
    size_t n;
    int32_t *ids;
    int64_t count;
    OK(pl_tokenizer_encode(tok, &ids, &count, text, sizeof text - 1, 0));
    assert_int_equal(count, 11);
    for (int i = 0; i < 11; i++) {
        OK(pl_tokenizer_stream(tok, &stream, &out, &n, ids[i], 0));
        assert_int_equal(n, strlen(steps[i]));
        assert_memory_equal(out, steps[i], n);
    }
    OK(pl_tokenizer_stream(tok, &stream, &out, &n, -1, 0));
    assert_int_equal(n, 2);
    assert_memory_equal(out, "\xE2\x82", 2);
    assert_int_equal(pl_tokenizer_stream(tok, &stream, &out, &n, -2, 0), PL_ERR_ARG);
    pl_free(s->ctx, ids);
    pl_tokenizer_free(tok);
}

typedef struct {
    scratch *s;
    pl_tokenizer *tok;
    char *text;
    size_t length;
    pl_status st;
    int64_t count;
} long_job;

static void *encode_long(void *data)
{
    long_job *job = data;
    int32_t *ids = NULL;
    job->st = pl_tokenizer_encode(job->tok, &ids, &job->count, job->text, job->length, 0);
    pl_free(job->s->ctx, ids);
    return NULL;
}

/* A megabyte of one character is one word: it must need neither a deep stack nor quadratic time
** (which would run into the suite's time limit). */
static void long_words_on_a_small_stack(void **state)
{
    scratch *s = *state;
    const char *texts[] = {"aaaaaaaaaaaaaaaa    !!!!!!!!"};
    const size_t lengths[] = {28};
    pl_tokenizer_training o = {.kind = PL_TOKENIZER_BYTELEVEL, .vocab_size = 262};
    long_job job = {.s = s, .length = 1000000, .text = malloc(1000000)};
    OK(pl_tokenizer_train(s->ctx, &job.tok, texts, lengths, 1, &o));
    for (const char *c = "a !\n\xFF\xCC"; *c; c++) {
        pthread_t thread;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
        memset(job.text, *c, job.length);
        assert_int_equal(pthread_create(&thread, &attr, encode_long, &job), 0);
        pthread_join(thread, NULL);
        pthread_attr_destroy(&attr);
        assert_int_equal(job.st, PL_OK);
        if (*c == 'a') assert_int_equal(job.count, 1000000 / 8);
        if (*c == '\xFF') assert_int_equal(job.count, 1000000);
    }
    free(job.text);
    pl_tokenizer_free(job.tok);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(gpt2_vectors),
        CASE(qwen_vectors),
        CASE(small_byte_level_loads),
        CASE(stories_tokenizer),
        CASE(merges_are_the_most_frequent),
        CASE(bytes_come_back),
        CASE(text_gives_no_control_token),
        CASE(training_refuses),
        CASE(words),
        CASE(every_allocation_may_fail),
        CASE(steps_of_a_file),
        CASE(normal_form),
        CASE(lower_case),
        CASE(added_tokens),
        CASE(saved_unchanged),
        CASE(gpt2_pair_of_files),
        CASE(refusals),
        CASE(llama2c_files),
        CASE(damaged_files),
        CASE(streams),
        CASE(long_words_on_a_small_stack),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}

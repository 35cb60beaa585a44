/*
** long_inputs_test.c - inputs whose work once grew with the square of their size. Each is tried at
** a size and at twice that size, the times are printed, and the sizes are such that the square
** would run into the time limit of the test.
*/
#include "check.h"

#include <time.h>
#include <unistd.h>
#include <zlib.h>

typedef struct {
    pl_ctx *ctx;
    char folder[64], path[128];
} scratch;

static int set_up(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    strcpy(s->folder, "/tmp/perilune-long-XXXXXX");
    *state = s;
    return mkdtemp(s->folder) && (s->ctx = pl_ctx_new()) ? 0 : -1;
}

static int tear_down(void **state)
{
    scratch *s = *state;
    unlink(s->path);
    rmdir(s->folder);
    pl_ctx_free(s->ctx);
    free(s);
    return 0;
}

static FILE *new_file(scratch *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->folder, name);
    FILE *f = fopen(s->path, "wb");
    assert_non_null(f);
    return f;
}

static double now(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void try_twice(scratch *s, const char *what, int n, void (*work)(scratch *s, int n))
{
    double at = now();
    work(s, n);
    const double once = now() - at;
    at = now();
    work(s, 2 * n);
    print_message("%s: %d in %.2f s, %d in %.2f s\n", what, n, once, 2 * n, now() - at);
}

/* n added tokens that begin alike, and a text that might be one of them at every place. */
static void many_added(scratch *s, int n)
{
    pl_ctx *ctx = s->ctx;
    pl_tokenizer *tok;
    int32_t *ids;
    int64_t count;
    FILE *f = new_file(s, "tokenizer.json");
    fputs("{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0}},"
          "\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"added_tokens\":[",
          f);
    for (int i = 1; i <= n; i++)
        fprintf(f, "%s{\"id\":%d,\"content\":\"<%d>\"}", i > 1 ? "," : "", i, i);
    fputs("]}", f);
    fclose(f);
    OK(pl_tokenizer_load(ctx, &tok, s->path));
    const size_t length = 8 * (size_t)n;
    char *text = malloc(length);
    memset(text, '<', length);
    memcpy(text + length - 4, "<7> ", 4);
    OK(pl_tokenizer_encode(tok, &ids, &count, text, length, PL_ENCODE_SPECIAL));
    assert_int_equal(count, 2);
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[1], 7);
    pl_free(ctx, ids);
    free(text);
    pl_tokenizer_free(tok);
}

static void added_tokens(void **state)
{
    try_twice(*state, "added tokens", 100000, many_added);
}

/* A llama2.c vocabulary of n long pieces, none of which can be cut into two others. */
static void long_pieces(scratch *s, int n)
{
    enum { LONG = 4096 };
    pl_ctx *ctx = s->ctx;
    pl_tokenizer *tok;
    const int32_t longest = LONG;
    const float score = 0;
    char piece[LONG];
    FILE *f = new_file(s, "tok.bin");
    fwrite(&longest, 4, 1, f);
    for (int i = 0; i < 259 + n; i++) {
        int32_t length =
            i < 259 ? snprintf(piece, LONG, "<0x%02X>", (unsigned)(i - 3) & 255) : LONG;
        if (i >= 259) memset(piece, 'a', LONG);
        if (i >= 259) snprintf(piece, 16, "%d.", i);
        fwrite(&score, 4, 1, f);
        fwrite(&length, 4, 1, f);
        fwrite(piece, 1, (size_t)length, f);
    }
    fclose(f);
    OK(pl_tokenizer_load(ctx, &tok, s->path));
    assert_int_equal(pl_tokenizer_get_info(tok).size, 259 + n);
    pl_tokenizer_free(tok);
}

static void vocabulary(void **state)
{
    try_twice(*state, "pieces of 4,096 bytes", 4000, long_pieces);
}

/* Newlines, packed a thousand times: passed over without a call for each. */
static void packed_newlines(scratch *s, int n)
{
    pl_ctx *ctx = s->ctx;
    pl_lines *reader;
    pl_line line;
    bool more;
    snprintf(s->path, sizeof s->path, "%s/lines.gz", s->folder);
    gzFile z = gzopen(s->path, "wb1");
    static char block[1 << 16];
    memset(block, '\n', sizeof block);
    for (int i = 0; i < n; i++) gzwrite(z, block, sizeof block);
    gzwrite(z, "x\n\n", 3);
    gzclose(z);
    const pl_lines_options options = {.skip_empty = true};
    OK(pl_lines_open(ctx, &reader, s->path, &options));
    OK(pl_lines_next(reader, &line, &more));
    assert_true(more);
    assert_int_equal(line.size, 1);
    assert_int_equal(line.number, n * 65536 + 1);
    OK(pl_lines_next(reader, &line, &more));
    assert_false(more);
    assert_int_equal(pl_lines_count(reader), n * 65536 + 2);
    assert_int_equal(pl_lines_offset(reader), n * 65536 + 3);
    pl_lines_close(reader);
}

static void newlines(void **state)
{
    try_twice(*state, "packed newlines (65,536 each)", 1000, packed_newlines);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {CASE(added_tokens), CASE(vocabulary), CASE(newlines)};
    return cmocka_run_group_tests(cases, NULL, NULL);
}

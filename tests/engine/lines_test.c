/*
** lines_test.c - lines of plain and gzip files: the same from both and from every place to start,
** damage at any byte gives the whole lines before it and a problem, memory stays flat, faults and
** lack of memory at every call release everything.
*/
#include <zlib.h>

#include "io_cases.h"

#define N_LINES 300

/* Text of N_LINES lines, some longer than the reader's buffers; the caller frees it. */
static char *make_text(size_t *size)
{
    const size_t most = (size_t)12 << 20;
    char *text = malloc(most);
    size_t n = 0;
    uint32_t bits[4];
    for (int i = 0; i < N_LINES; i++) {
        pl_random_bits(7, 1, (uint64_t)i, bits);
        size_t length = i % 100 == 50 ? 2500000 + bits[0] % 100000 : bits[0] % 300;
        for (size_t k = 0; k < length; k++) text[n + k] = (char)('a' + (k * 7 + bits[1]) % 26);
        n += length;
        if (i % 3 == 0) text[n++] = '\r';
        if (i < N_LINES - 1) text[n++] = '\n';
        assert_true(n < most);
    }
    *size = n;
    return text;
}

/* gzip of the text in `members` pieces; the caller frees it. */
static unsigned char *pack(const char *text, size_t size, int members, size_t *packed)
{
    const size_t most = compressBound(size) + 1000 * (size_t)members;
    unsigned char *out = malloc(most);
    *packed = 0;
    for (int m = 0; m < members; m++) {
        const size_t from = size * (size_t)m / (size_t)members;
        const size_t to = size * (size_t)(m + 1) / (size_t)members;
        z_stream z = {0};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = (unsigned char *)(uintptr_t)(text + from);
        z.avail_in = (uInt)(to - from);
        z.next_out = out + *packed;
        z.avail_out = (uInt)(most - *packed);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        *packed += z.total_out;
        deflateEnd(&z);
    }
    return out;
}

/* Reads to the end; every line must be that of `text`, where `number` lines stand before `offset`.
** The return is the number of the last whole line; *problem: a last line told of damage. */
static int64_t read_all(scratch *s, const char *text, size_t size, int64_t offset, int64_t number,
                        bool *problem)
{
    pl_ctx *ctx = s->ctx;
    const pl_lines_options o = {.offset = offset, .line = number};
    pl_lines *r;
    pl_line line;
    bool more;
    size_t at = (size_t)offset;
    *problem = false;
    OK(pl_lines_open(ctx, &r, s->path, &o));
    for (;;) {
        OK(pl_lines_next(r, &line, &more));
        if (!more) break;
        assert_false(*problem);
        assert_int_equal(line.number, number + 1);
        if (line.problem) {
            *problem = true;
            assert_null(line.text);
            assert_int_equal(pl_lines_offset(r), at);
            continue;
        }
        const char *newline = memchr(text + at, '\n', size - at);
        size_t n = newline ? (size_t)(newline - text) - at : size - at;
        const size_t next = at + n + (newline != NULL);
        if (newline && n > 0 && text[at + n - 1] == '\r') n--;
        assert_int_equal(line.size, n);
        assert_memory_equal(line.text, text + at, n);
        assert_int_equal(pl_lines_offset(r), next);
        at = next;
        number++;
    }
    OK(pl_lines_next(r, &line, &more)); /* the end stays the end */
    assert_false(more);
    pl_lines_close(r);
    if (!*problem) assert_int_equal(at, size);
    return number;
}

static void same_from_plain_and_gzip(void **state)
{
    scratch *s = *state;
    size_t size, packed;
    bool problem;
    char *text = make_text(&size);
    put_raw(s->path, text, size);
    assert_int_equal(read_all(s, text, size, 0, 0, &problem), N_LINES);
    assert_false(problem);
    for (int members = 1; members < 50; members += 24) {
        unsigned char *gz = pack(text, size, members, &packed);
        put_raw(s->path, gz, packed);
        assert_int_equal(read_all(s, text, size, 0, 0, &problem), N_LINES);
        assert_false(problem);
        int64_t number = 0; /* and on from where a few of the lines begin */
        for (const char *p = text; (p = memchr(p, '\n', size - (size_t)(p - text))) != NULL; p++)
            if (++number % 60 == 1)
                assert_int_equal(read_all(s, text, size, p + 1 - text, number, &problem), N_LINES);
        free(gz);
    }
    free(text);
}

static void damage_gives_the_lines_before_it(void **state)
{
    scratch *s = *state;
    size_t packed;
    const size_t size = 40000;
    bool problem;
    char *text = malloc(size);
    for (size_t i = 0; i < size; i++) { /* hardly compressible */
        uint32_t bits[4];
        pl_random_bits(3, 2, i, bits);
        text[i] = i % 101 == 100 ? '\n' : (char)('a' + bits[0] % 26);
    }
    unsigned char *gz = pack(text, size, 1, &packed);
    for (size_t cut = packed - 1; cut > 20; cut -= 97) {
        put_raw(s->path, gz, cut);
        const int64_t lines = read_all(s, text, size, 0, 0, &problem);
        assert_true(problem);
        if (cut > packed / 2) assert_true(lines > 100);
        if (cut < 100) break;
    }
    int told = 0, tries = 0;
    for (size_t at = 12; at < packed; at += 499, tries++) {
        pl_lines *r;
        pl_line line;
        bool more = true;
        pl_ctx *ctx = s->ctx;
        gz[at] ^= 0x10;
        put_raw(s->path, gz, packed);
        gz[at] ^= 0x10;
        OK(pl_lines_open(ctx, &r, s->path, NULL));
        while (more) {
            OK(pl_lines_next(r, &line, &more));
            told += more && line.problem != NULL;
        }
        pl_lines_close(r);
    }
    assert_int_equal(told, tries); /* gzip has a checksum: no damage passes */
    static const char junk[] = "junk";
    unsigned char *with_junk = malloc(packed + sizeof junk);
    memcpy(with_junk, gz, packed);
    memcpy(with_junk + packed, junk, sizeof junk);
    put_raw(s->path, with_junk, packed + sizeof junk);
    read_all(s, text, size, 0, 0, &problem);
    assert_true(problem);
    memset(with_junk + packed, 0, sizeof junk); /* a tape's zeros are fine */
    put_raw(s->path, with_junk, packed + sizeof junk);
    read_all(s, text, size, 0, 0, &problem);
    assert_false(problem);
    free(with_junk);
    free(gz);
    free(text);
}

static void memory_is_flat(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    const size_t size = (size_t)80 << 20;
    size_t packed;
    char *text = malloc(size);
    memset(text, 'x', size);
    memcpy(text + size - 5, "\ngood", 5);
    unsigned char *gz = pack(text, size, 1, &packed); /* 80 MB in 80 kB */
    put_raw(s->path, gz, packed);
    pl_lines *r;
    pl_line line;
    bool more;
    pl_mem_reset_peak(ctx);
    OK(pl_lines_open(ctx, &r, s->path, NULL));
    OK(pl_lines_next(r, &line, &more));
    assert_true(more);
    assert_non_null(strstr(line.problem, "83886075 bytes"));
    OK(pl_lines_next(r, &line, &more));
    assert_int_equal(line.number, 2);
    assert_int_equal(line.size, 4);
    assert_memory_equal(line.text, "good", 4);
    pl_lines_close(r);
    assert_true(pl_mem_get(ctx).peak < (int64_t)36 << 20); /* a line of 16 MB while it grows */
    free(gz);
    free(text);
}

static pl_status read_quietly(scratch *s)
{
    pl_lines *r;
    pl_line line;
    bool more = true, told = false;
    pl_status st = pl_lines_open(s->ctx, &r, s->path, NULL);
    if (st != PL_OK) return st;
    while (more && (st = pl_lines_next(r, &line, &more)) == PL_OK)
        told = told || (more && line.problem != NULL);
    pl_lines_close(r);
    return st == PL_OK && told ? PL_ERR_IO : st;
}

static void check_nothing(scratch *s, pl_status st)
{
    (void)s;
    (void)st;
}

static void faults_and_no_memory_release_everything(void **state)
{
    scratch *s = *state;
    size_t size, packed;
    char *text = make_text(&size);
    unsigned char *gz = pack(text, size, 2, &packed);
    put_raw(s->path, gz, packed);
    const fault_case reading = {read_quietly, check_nothing};
    assert_true(for_each_fault(s, &reading) >= 2);
    for (int64_t k = 1;; k++) {
        const int fds = count_fds();
        pl_mem_fail_at(s->ctx, k, true);
        const pl_status st = read_quietly(s);
        pl_mem_fail_at(s->ctx, 0, false);
        assert_int_equal(count_fds(), fds);
        assert_int_equal(pl_mem_get(s->ctx).live, s->live);
        if (st == PL_OK) {
            assert_true(k > 5);
            break;
        }
        assert_int_equal(st, PL_ERR_NOMEM);
    }
    free(gz);
    free(text);
}

static void refuses_what_is_no_file(void **state)
{
    scratch *s = *state;
    pl_lines *r;
    assert_int_equal(pl_lines_open(s->ctx, &r, s->folder, NULL), PL_ERR_FORMAT);
    assert_null(r);
    assert_non_null(strstr(pl_error(s->ctx), "is a folder, not a regular file"));
    assert_int_equal(pl_lines_open(s->ctx, &r, in(s, "none"), NULL), PL_ERR_IO);
    put_raw(s->path, "", 0);
    bool problem;
    assert_int_equal(read_all(s, "", 0, 0, 0, &problem), 0);
    assert_false(problem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_from_plain_and_gzip, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(damage_gives_the_lines_before_it, scratch_open,
                                        scratch_close),
        cmocka_unit_test_setup_teardown(memory_is_flat, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(faults_and_no_memory_release_everything, scratch_open,
                                        scratch_close),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_file, scratch_open, scratch_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

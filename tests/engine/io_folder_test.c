/*
** io_folder_test.c - single files and folders that appear whole: faults at every call, damage of
** every byte, what may stand in the way.
*/
#include <signal.h>
#include <sys/wait.h>

#include "io_cases.h"

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

static bool has_text(scratch *s, const char *path, const char *expected)
{
    char *text;
    size_t size;
    pl_ctx *ctx = s->ctx;
    OK(pl_file_read(ctx, &text, &size, path, 1 << 20));
    const bool same = size == strlen(expected) && memcmp(text, expected, size) == 0;
    assert_int_equal(text[size], '\0');
    pl_free(ctx, text);
    return same;
}

/* --------------------------------------------------------------------------------------------
** Single files
*/
static void reading(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char *text;
    size_t size;
    OK(pl_file_write(ctx, s->path, "a\0b", 3));
    OK(pl_file_read(ctx, &text, &size, s->path, 3));
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 4);
    pl_free(ctx, text);
    FAILS(pl_file_read(ctx, &text, &size, s->path, 2), PL_ERR_FORMAT,
          "has 3 bytes, more than the 2 allowed here");
    assert_null(text);
    FAILS(pl_file_read(ctx, &text, &size, in(s, "none"), 2), PL_ERR_IO, "No such file");
    FAILS(pl_file_read(ctx, &text, &size, s->folder, 2), PL_ERR_FORMAT, "is a folder");
    pl_interrupt(ctx);
    assert_int_equal(pl_file_read(ctx, &text, &size, s->path, 3), PL_ERR_INTERRUPTED);
}

static void writing_refuses(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    FAILS(pl_file_write(ctx, s->folder, "x", 1), PL_ERR_IO, "it is a folder");
    FAILS(pl_file_write(ctx, "/dev/null", "x", 1), PL_ERR_IO, "it is a device");
    FAILS(pl_file_write(ctx, in(s, "no/file"), "x", 1), PL_ERR_IO, "No such file");
    OK(pl_file_write(ctx, s->path, "old", 3));
    pl_interrupt(ctx);
    assert_int_equal(pl_file_write(ctx, s->path, "new", 3), PL_ERR_INTERRUPTED);
    assert_true(has_text(s, s->path, "old"));
    assert_int_equal(count_items(s->folder), 1);
}

/* A symbolic link is replaced by the file, not written through. */
static void writing_over_a_link(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(pl_file_write(ctx, in(s, "target"), "old", 3));
    assert_int_equal(symlink("target", s->path), 0);
    OK(pl_file_write(ctx, s->path, "new", 3));
    assert_true(has_text(s, s->path, "new"));
    assert_true(has_text(s, in(s, "target"), "old"));
}

static pl_status write_new(scratch *s)
{
    return pl_file_write(s->ctx, s->path, "the new text", 12);
}

static pl_status copy_new(scratch *s)
{
    return pl_file_copy(s->ctx, s->path, in(s, "source"));
}

static void old_or_new(scratch *s, pl_status st)
{
    const bool in_place = st == PL_OK || strstr(pl_error(s->ctx), "the folder") != NULL;
    assert_true(has_text(s, s->path, in_place ? "the new text" : "old"));
    assert_int_equal(count_items(s->folder), 2);
    put_raw(s->path, "old", 3);
}

static void writing_survives_every_fault(void **state)
{
    scratch *s = *state;
    put_raw(s->path, "old", 3);
    put_raw(in(s, "source"), "the new text", 12);
    assert_true(for_each_fault(s, &(fault_case){write_new, old_or_new}) >= 8);
    assert_true(for_each_fault(s, &(fault_case){copy_new, old_or_new}) >= 10);
}

static void hashes(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char a[PL_HASH_TEXT], b[PL_HASH_TEXT];
    pl_hash(a, "", 0);
    assert_string_equal(a, "99aa06d3014798d86001c324468d497f"); /* of the XXH3 specification */
    const size_t size = (5 << 20) + 3;
    char *data = malloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (char)(i * 31 >> 3);
    OK(pl_file_write(ctx, s->path, data, size));
    OK(pl_file_hash(ctx, a, s->path));
    pl_hash(b, data, size);
    assert_string_equal(a, b);
    data[size - 1] ^= 1;
    pl_hash(b, data, size);
    assert_string_not_equal(a, b);
    free(data);
}

static void hash_of_tensors(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char a[PL_HASH_TEXT], b[PL_HASH_TEXT];
    pl_tensor *t[2];
    for (int i = 0; i < 2; i++) {
        OK(pl_tensor_zeros(ctx, &t[i], PL_F32, 1, (int64_t[]){3}));
        OK(pl_tensor_fill(ctx, t[i], i));
    }
    OK(pl_hash_tensors(ctx, a, (const char *[]){"x", "y"}, t, 2));
    pl_tensor *swapped[] = {t[1], t[0]};
    OK(pl_hash_tensors(ctx, b, (const char *[]){"y", "x"}, swapped, 2));
    assert_string_equal(a, b);
    OK(pl_hash_tensors(ctx, b, (const char *[]){"x", "y"}, swapped, 2));
    assert_string_not_equal(a, b);
    OK(pl_hash_tensors(ctx, b, (const char *[]){"x", "z"}, t, 2));
    assert_string_not_equal(a, b);
    ((float *)pl_tensor_data(t[0]))[1] = -0.0f;
    OK(pl_hash_tensors(ctx, b, (const char *[]){"x", "y"}, t, 2));
    assert_string_not_equal(a, b);
    pl_tensor_release(t[0]);
    pl_tensor_release(t[1]);
}

/* --------------------------------------------------------------------------------------------
** Folders
*/

/* Fills a temporary folder with two files and one in a folder inside, and commits it. */
static pl_status save_folder(scratch *s, const char *text)
{
    char *tmp, name[600];
    pl_status st = pl_folder_begin(s->ctx, &tmp, s->path);
    if (st != PL_OK) return st;
    snprintf(name, sizeof name, "%s/inner", tmp);
    assert_int_equal(mkdir(name, 0777), 0);
    snprintf(name, sizeof name, "%s/inner/deep.json", tmp);
    put_raw(name, "{}", 2);
    snprintf(name, sizeof name, "%s/empty", tmp);
    put_raw(name, "", 0);
    snprintf(name, sizeof name, "%s/text", tmp);
    st = pl_file_write(s->ctx, name, text, strlen(text));
    if (st == PL_OK) st = pl_folder_commit(s->ctx, tmp, s->path);
    else pl_folder_discard(s->ctx, tmp);
    pl_free(s->ctx, tmp);
    return st;
}

static void folder_round_trip(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_folder(s, "one"));
    assert_int_equal(count_items(s->folder), 1);
    OK(pl_folder_verify(ctx, s->path));
    assert_true(has_text(s, in(s, "x/manifest.json"),
                         "{\n  \"format\": \"perilune-manifest\",\n  \"version\": 1,\n"
                         "  \"files\": [\n"
                         "    {\"name\": \"empty\", \"size\": 0, "
                         "\"xxh3_128\": \"99aa06d3014798d86001c324468d497f\"},\n"
                         "    {\"name\": \"inner/deep.json\", \"size\": 2, "
                         "\"xxh3_128\": \"dc7048f8f8747f561349cde127705c16\"},\n"
                         "    {\"name\": \"text\", \"size\": 3, "
                         "\"xxh3_128\": \"0a1c6d4cf41eb499911faba7321fe1a0\"}\n  ]\n}\n"));
    OK(save_folder(s, "another"));
    assert_int_equal(count_items(s->folder), 1);
    assert_true(has_text(s, in(s, "x/text"), "another"));
    OK(pl_folder_verify(ctx, s->path));
    put_raw(in(s, "x/README"), "mine", 4);
    OK(pl_folder_verify(ctx, s->path));
}

/* Every bit of every file, and every file missing. */
static void folder_damage_is_seen(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_folder(s, "some text"));
    static const char *const names[] = {"x/text", "x/inner/deep.json"};
    for (int f = 0; f < 2; f++) {
        char *text;
        size_t size;
        const char *path = in(s, names[f]);
        OK(pl_file_read(ctx, &text, &size, path, 100));
        for (size_t bit = 0; bit < size * 8; bit++) {
            text[bit / 8] ^= (char)(1 << bit % 8);
            put_raw(path, text, size);
            FAILS(pl_folder_verify(ctx, s->path), PL_ERR_FORMAT, "is damaged");
            assert_non_null(strstr(pl_error(ctx), names[f] + 2));
            text[bit / 8] ^= (char)(1 << bit % 8);
        }
        put_raw(path, text, size - 1);
        FAILS(pl_folder_verify(ctx, s->path), PL_ERR_FORMAT, "its manifest says");
        assert_int_equal(unlink(path), 0);
        FAILS(pl_folder_verify(ctx, s->path), PL_ERR_IO, "No such file");
        assert_int_equal(symlink("/etc/hostname", path), 0);
        FAILS(pl_folder_verify(ctx, s->path), PL_ERR_FORMAT, "is a symbolic link");
        assert_int_equal(unlink(path), 0);
        put_raw(path, text, size);
        OK(pl_folder_verify(ctx, s->path));
        pl_free(ctx, text);
    }
    assert_int_equal(unlink(in(s, "x/manifest.json")), 0);
    FAILS(pl_folder_verify(ctx, s->path), PL_ERR_IO, "manifest.json");
}

static void bad_manifests(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"{", "malformed JSON"},
        {"{}", "'files' of a manifest is missing"},
        {"[]", "the whole file is a list, not an object"},
        {"{\"files\":[3]}", "a row of 'files' is 3, not an object"},
        {"{\"files\":[{\"name\":\"a\",\"size\":\"1\",\"xxh3_128\":\"\"}]}",
         "'size' of a row of 'files' is '1', not an integer"},
        {"{\"files\":[{\"name\":\"../x\",\"size\":1,\"xxh3_128\":\"\"}]}", "out of the folder"},
        {"{\"files\":[{\"name\":\"a/../../x\",\"size\":1,\"xxh3_128\":\"\"}]}",
         "out of the folder"},
        {"{\"files\":[{\"name\":\"a/..\",\"size\":1,\"xxh3_128\":\"\"}]}", "out of the folder"},
        {"{\"files\":[{\"name\":\"/etc/passwd\",\"size\":1,\"xxh3_128\":\"\"}]}",
         "out of the folder"},
        {"{\"files\":[{\"name\":\"inner\",\"size\":1,\"xxh3_128\":\"\"}]}", "is a folder"},
    };
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_folder(s, "text"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_raw(in(s, "x/manifest.json"), cases[i].text, strlen(cases[i].text));
        FAILS(pl_folder_verify(ctx, s->path), PL_ERR_FORMAT, cases[i].why);
    }
}

static void committing_refuses(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char *tmp, name[600];
    FAILS(pl_folder_commit(ctx, s->folder, s->path), PL_ERR_ARG, "was not made by folder_begin");
    FAILS(pl_folder_discard(ctx, s->folder), PL_ERR_ARG, "is no temporary folder");
    assert_true(exists(s->folder));
    put_raw(s->path, "a file", 6);
    OK(pl_folder_begin(ctx, &tmp, s->path));
    FAILS(pl_folder_commit(ctx, tmp, s->path), PL_ERR_IO, "a file of that name is in the way");
    assert_false(exists(tmp));
    pl_free(ctx, tmp);
    OK(pl_folder_begin(ctx, &tmp, in(s, "y")));
    snprintf(name, sizeof name, "%s/link", tmp);
    assert_int_equal(symlink("/etc/hostname", name), 0);
    FAILS(pl_folder_commit(ctx, tmp, in(s, "y")), PL_ERR_FORMAT, "is a symbolic link");
    assert_false(exists(tmp));
    assert_false(exists(in(s, "y")));
    pl_free(ctx, tmp);
    OK(pl_folder_begin(ctx, &tmp, in(s, "z")));
    OK(pl_folder_discard(ctx, tmp));
    OK(pl_folder_discard(ctx, tmp));
    pl_free(ctx, tmp);
    assert_int_equal(count_items(s->folder), 1);
}

static pl_status save_new(scratch *s)
{
    return save_folder(s, "new");
}

static void folder_old_or_new(scratch *s, pl_status st)
{
    pl_ctx *ctx = s->ctx;
    const bool in_place = st == PL_OK || (strstr(pl_error(ctx), "the folder") != NULL &&
                                          strstr(pl_error(ctx), ".tmp-") == NULL);
    OK(pl_folder_verify(ctx, s->path));
    const bool is_new = has_text(s, in(s, "x/text"), "new");
    if (st == PL_OK) assert_true(is_new);
    if (is_new) assert_true(in_place);
    assert_int_equal(count_items(s->folder), 1);
    if (is_new) OK(save_folder(s, "old"));
}

static void folder_survives_every_fault(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_folder(s, "old"));
    assert_true(for_each_fault(s, &(fault_case){save_new, folder_old_or_new}) > 20);
}

static void folder_none_or_new(scratch *s, pl_status st)
{
    const bool there = exists(s->path);
    if (st == PL_OK) assert_true(there);
    assert_int_equal(count_items(s->folder), there);
    if (!there) return;
    pl_ctx *ctx = s->ctx;
    OK(pl_folder_verify(ctx, s->path));
    nftw(s->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void first_folder_survives_every_fault(void **state)
{
    scratch *s = *state;
    assert_true(for_each_fault(s, &(fault_case){save_new, folder_none_or_new}) > 20);
}

static void lack_of_memory(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    OK(save_folder(s, "old"));
    int64_t k = 1;
    for (bool reached = true; reached; k++) {
        const int64_t live = pl_mem_get(ctx).live, calls = pl_mem_get(ctx).calls;
        const int fds = count_fds();
        pl_mem_fail_at(ctx, k, false);
        const pl_status st = save_folder(s, "new");
        pl_mem_fail_at(ctx, 0, false);
        reached = pl_mem_get(ctx).calls - calls >= k;
        assert_int_equal(pl_mem_get(ctx).live, live);
        assert_int_equal(count_fds(), fds);
        OK(pl_folder_verify(ctx, s->path));
        if (st == PL_ERR_NOMEM) assert_true(has_text(s, in(s, "x/text"), "old"));
        assert_int_equal(count_items(s->folder), 1);
        if (st == PL_OK) OK(save_folder(s, "old"));
    }
    assert_true(k > 20);
}

/* --------------------------------------------------------------------------------------------
** What killed writers leave
*/
static void leave_file(scratch *s)
{
    pl_writer *writer;
    if (pl_writer_open(s->ctx, &writer, s->path) == PL_OK) pl_writer_put(writer, "half", 4);
}

static void leave_folder(scratch *s)
{
    char *tmp, name[600];
    if (pl_folder_begin(s->ctx, &tmp, s->path) != PL_OK) return;
    snprintf(name, sizeof name, "%s/inner", tmp);
    if (mkdir(name, 0777) != 0) return;
    snprintf(name, sizeof name, "%s/inner/half", tmp);
    pl_file_write(s->ctx, name, "half", 4);
}

/* A process that does this, and is killed. */
static pid_t killed_after(scratch *s, void (*doing)(scratch *s))
{
    const pid_t pid = fork();
    if (pid == 0) {
        doing(s);
        kill(getpid(), SIGKILL);
    }
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    return pid;
}

static void of_the_killed_goes_when_written_again(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    killed_after(s, leave_file);
    assert_int_equal(count_items(s->folder), 1);
    OK(pl_file_write(ctx, in(s, "xx"), "beside", 6)); /* another name: it stays */
    OK(pl_file_write(ctx, in(s, "w"), "beside", 6));
    assert_int_equal(count_items(s->folder), 3);
    killed_after(s, leave_folder); /* takes the file's away as it begins */
    assert_int_equal(count_items(s->folder), 3);
    OK(pl_file_write(ctx, s->path, "whole", 5));
    assert_int_equal(count_items(s->folder), 3);
    assert_true(has_text(s, s->path, "whole"));
    OK(pl_file_remove(ctx, s->path));
    killed_after(s, leave_folder);
    OK(save_folder(s, "whole"));
    assert_int_equal(count_items(s->folder), 3);
    killed_after(s, leave_folder);
    killed_after(s, leave_file);
    OK(pl_folder_remove(ctx, s->path));
    assert_int_equal(count_items(s->folder), 2);
    killed_after(s, leave_folder);
    pl_folder_sweep(s->folder);
    assert_int_equal(count_items(s->folder), 2);
    pl_folder_sweep(in(s, "none"));
}

/* Beside x: by whom a name is, and whether it is swept. %s is what stands for this machine. */
static void of_others_stays(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char *tmp, form[600], name[600], host[9] = "";
    const long dead = (long)killed_after(s, leave_file), own = (long)getpid();
    pl_folder_sweep(s->folder);
    OK(pl_folder_begin(ctx, &tmp, s->path));
    memcpy(host, strstr(tmp, ".tmp-") + 5, 8);
    OK(pl_folder_discard(ctx, tmp));
    pl_free(ctx, tmp);
    const struct {
        const char *form;
        long pid;
        bool stays;
    } cases[] = {
        {"x.tmp-%s-%ld-0", dead, false},      {"x.tmp-gone-%s-%ld-0", dead, false},
        {"x.tmp-%s-%ld-12", dead, false},     {"x.tmp-%s-%ld-0", own, true},
        {"x.tmp-%s-%ld-0", 1, true},          {"x.tmp-0%s-%ld-0", dead, true},
        {"x.tmp-%s-%ld", dead, true},         {"x.tmp-%s-%ld-", dead, true},
        {"x.tmp-%s-%ld-0x", dead, true},      {"x.tmp-%s--%ld-0", dead, true},
        {"x.tmp-bak-%s-%ld-0", dead, true},   {".tmp-%s-%ld-0", dead, true},
        {"x.tmp-old-%s-%ld-0", dead, true}, /* it may be the only one: there is no x */
        {"x.tmp-%s-%ld-0.tmp-x", dead, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(form, sizeof form, "%s/%s", s->folder, cases[i].form);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(name, sizeof name, form, host, cases[i].pid);
#pragma GCC diagnostic pop
        put_raw(name, "half", 4);
        pl_folder_sweep(s->folder);
        if (exists(name) != cases[i].stays) fail_msg("%s", name);
        unlink(name);
    }
    snprintf(name, sizeof name, "%s/x.tmp-old-%s-%ld-0", s->folder, host, dead);
    put_raw(name, "old", 3);
    OK(pl_file_write(ctx, s->path, "new", 3));
    assert_true(exists(name));
    OK(pl_file_write(ctx, s->path, "new", 3));
    assert_false(exists(name));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_open, scratch_close)
    const struct CMUnitTest tests[] = {
        CASE(reading),
        CASE(writing_refuses),
        CASE(writing_over_a_link),
        CASE(writing_survives_every_fault),
        CASE(hashes),
        CASE(hash_of_tensors),
        CASE(folder_round_trip),
        CASE(folder_damage_is_seen),
        CASE(bad_manifests),
        CASE(committing_refuses),
        CASE(folder_survives_every_fault),
        CASE(first_folder_survives_every_fault),
        CASE(lack_of_memory),
        CASE(of_the_killed_goes_when_written_again),
        CASE(of_others_stays),
    };
    return cmocka_run_group_tests_name("files and folders", tests, NULL, NULL);
}

/*
** folder.c - folders that appear whole or not at all: checkpoints and exported models.
**
** begin: make "<path>.tmp-<host>-<pid>-<n>". The caller fills it. commit: hash and sync every file,
** sync every folder inside, write manifest.json last (name, size, XXH3-128 of each file, in the
** order of the names), rename, sync the folder above. What stood at `path` changes places with the
** new folder in one step (renameat2) and is removed afterwards, so that there is never a moment
** without one of the two. A folder with a manifest that verifies is complete; one without is not.
**
** It does not follow or store symbolic links.
*/
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/path.h"
#include "base/utf8.h"
#include "io/file.h"

#define MANIFEST "manifest.json"
#define MAX_MANIFEST ((int64_t)64 << 20)
#define MAX_DEPTH 8 /* of folders in folders */
#define MAX_NAMES 100

/* --------------------------------------------------------------------------------------------
** Lists of names
*/
typedef struct {
    pl_ctx *ctx;
    char **names; /* relative to the folder; those of folders end in '/' */
    int64_t n, cap;
} name_list;

static void names_free(name_list *list)
{
    for (int64_t i = 0; i < list->n; i++) pl_free(list->ctx, list->names[i]);
    pl_free(list->ctx, list->names);
    *list = (name_list){.ctx = list->ctx};
}

static pl_status names_add(name_list *list, const char *prefix, const char *name, bool is_folder)
{
    if (list->n == list->cap) {
        const int64_t cap = list->cap * 2 + 16;
        char **names = pl_realloc(list->ctx, list->names, (size_t)cap * sizeof *names);
        if (names == NULL) return PL_ERR_NOMEM;
        list->names = names;
        list->cap = cap;
    }
    const size_t size = strlen(prefix) + strlen(name) + 2;
    char *full = pl_alloc(list->ctx, size);
    if (full == NULL) return PL_ERR_NOMEM;
    snprintf(full, size, "%s%s%s", prefix, name, is_folder ? "/" : "");
    list->names[list->n++] = full;
    return PL_OK;
}

static bool is_folder_name(const char *name)
{
    const size_t n = strlen(name);
    return n > 0 && name[n - 1] == '/';
}

/* Appends what lies directly in "<root>/<prefix>". */
static pl_status names_list(name_list *list, const char *root, const char *prefix)
{
    pl_status st = PL_OK;
    pl_ctx *ctx = list->ctx;
    struct dirent *item;
    char *folder = pl__join_name(ctx, root, prefix);
    if (folder == NULL) return PL_ERR_NOMEM;
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        st = pl__io_fail(ctx, "listing", folder);
        goto done;
    }
    while (st == PL_OK && (item = readdir(dir)) != NULL) {
        struct stat info;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) continue;
        if (fstatat(dirfd(dir), item->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            st = pl__io_fail(ctx, "looking into", folder);
        else st = names_add(list, prefix, item->d_name, S_ISDIR(info.st_mode));
    }
done:
    if (dir != NULL) closedir(dir);
    pl_free(ctx, folder);
    return st;
}

/* Everything below root; a folder comes before what is in it. */
static pl_status names_walk(name_list *list, const char *root)
{
    PL_TRY(names_list(list, root, ""));
    for (int64_t i = 0; i < list->n; i++) {
        if (!is_folder_name(list->names[i])) continue;
        int depth = 0;
        for (const char *p = list->names[i]; *p != '\0'; p++) depth += *p == '/';
        if (depth >= MAX_DEPTH)
            return pl__fail(list->ctx, PL_ERR_FORMAT, "'%s': folders nested deeper than %d", root,
                            MAX_DEPTH);
        /* The name is copied: the list may move while it grows. */
        char *prefix = pl_strndup(list->ctx, list->names[i], strlen(list->names[i]));
        if (prefix == NULL) return PL_ERR_NOMEM;
        const pl_status st = names_list(list, root, prefix);
        pl_free(list->ctx, prefix);
        PL_TRY(st);
    }
    return PL_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* --------------------------------------------------------------------------------------------
** Temporary folders
*/
static bool is_temporary(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strstr(slash != NULL ? slash : path, ".tmp-") != NULL;
}

/* Makes one folder whose entry in the folder above lasts; one that is there already is fine. */
static pl_status make_one(pl_ctx *ctx, const char *path)
{
    if (pl__folder_make(ctx, path) != PL_OK) return errno == EEXIST ? PL_OK : PL_ERR_IO;
    char *parent = pl__parent_name(ctx, path);
    if (parent == NULL) return PL_ERR_NOMEM;
    const pl_status st = pl__file_sync_folder(ctx, parent);
    pl_free(ctx, parent);
    return st;
}

pl_status pl_folder_make(pl_ctx *ctx, const char *path)
{
    pl_status st = PL_OK;
    struct stat info;
    const size_t length = strlen(path);
    char *part = pl_strndup(ctx, path, length);
    if (part == NULL) return PL_ERR_NOMEM;
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        part[i] = '\0';
        PL_GO(make_one(ctx, part));
        part[i] = path[i];
    }
    if (stat(path, &info) != 0) st = pl__io_fail(ctx, "making the folder", path);
    else if (!S_ISDIR(info.st_mode))
        st = pl__fail(ctx, PL_ERR_IO, "making the folder '%s': a file of that name is in the way",
                      path);
done:
    pl_free(ctx, part);
    return st;
}

pl_status pl_folder_remove(pl_ctx *ctx, const char *path)
{
    pl_status st = PL_ERR_IO;
    struct stat info;
    char *aside = NULL;
    pl__sweep_beside(path);
    if (lstat(path, &info) != 0 && errno == ENOENT) return PL_OK;
    for (int n = 0; n < MAX_NAMES && st != PL_OK; n++) {
        pl_free(ctx, aside);
        aside = pl__tmp_name(ctx, path, "tmp-gone", n);
        if (aside == NULL) return PL_ERR_NOMEM;
        if (lstat(aside, &info) == 0) continue;
        PL_GO(pl__file_rename(ctx, path, aside));
    }
    if (st != PL_OK || pl__tree_remove(aside) != 0) st = pl__io_fail(ctx, "removing", path);
done:
    pl_free(ctx, aside);
    return st;
}

pl_status pl_folder_discard(pl_ctx *ctx, const char *tmp)
{
    if (!is_temporary(tmp))
        return pl__fail(ctx, PL_ERR_ARG, "folder: '%s' is no temporary folder; it is not removed",
                        tmp);
    return pl__tree_remove(tmp) == 0 || errno == ENOENT ? PL_OK : pl__io_fail(ctx, "removing", tmp);
}

pl_status pl_folder_begin(pl_ctx *ctx, char **tmp, const char *path)
{
    *tmp = NULL;
    pl__sweep_beside(path);
    for (int n = 0; n < MAX_NAMES; n++) {
        char *name = pl__tmp_name(ctx, path, "tmp", n);
        if (name == NULL) return PL_ERR_NOMEM;
        if (pl__folder_make(ctx, name) == PL_OK) {
            *tmp = name;
            return PL_OK;
        }
        const int error = errno;
        pl_free(ctx, name);
        if (error != EEXIST) return PL_ERR_IO;
    }
    return PL_ERR_IO;
}

/* --------------------------------------------------------------------------------------------
** Commit
*/

/* Syncs the file and adds its row to the manifest. */
static pl_status seal_file(pl_ctx *ctx, pl__buf *manifest, const char *root, const char *name,
                           bool first)
{
    pl_status st;
    int fd = -1;
    int64_t size = 0;
    char hex[PL_HASH_TEXT];
    char *full = pl__join_name(ctx, root, name);
    if (full == NULL) return PL_ERR_NOMEM;
    if (pl__utf8_run(name, strlen(name)) < strlen(name)) {
        st = pl__fail(ctx, PL_ERR_ARG, "'%s': a file name is not UTF-8", root);
        goto done;
    }
    PL_GO(pl__file_open(ctx, &fd, &size, full, false));
    PL_GO(pl__file_hash_fd(ctx, hex, fd, full, size));
    PL_GO(pl__file_sync(ctx, fd, full));
    PL_GO(pl__buf_format(ctx, manifest, "%s\n    {\"name\": ", first ? "" : ","));
    PL_GO(pl__buf_quote(ctx, manifest, name));
    PL_GO(pl__buf_format(ctx, manifest, ", \"size\": %lld, \"xxh3_128\": \"%s\"}", (long long)size,
                         hex));
done:
    pl__file_close(&fd);
    pl_free(ctx, full);
    return st;
}

static pl_status seal(pl_ctx *ctx, const char *root)
{
    pl_status st;
    name_list list = {.ctx = ctx};
    pl__buf text = {0};
    char *full = NULL;
    bool first = true;
    PL_GO(names_walk(&list, root));
    if (list.n > 1) qsort(list.names, (size_t)list.n, sizeof *list.names, by_text);
    PL_GO(pl__buf_format(ctx, &text,
                         "{\n  \"format\": \"perilune-manifest\",\n  \"version\": 1,\n"
                         "  \"files\": ["));
    for (int64_t i = 0; i < list.n; i++) {
        const char *name = list.names[i];
        if (strcmp(name, MANIFEST) == 0) continue;
        if (is_folder_name(name)) {
            full = pl__join_name(ctx, root, name);
            if (full == NULL) {
                st = PL_ERR_NOMEM;
                goto done;
            }
            PL_GO(pl__file_sync_folder(ctx, full));
            pl_free(ctx, full);
            full = NULL;
        } else {
            PL_GO(seal_file(ctx, &text, root, name, first));
            first = false;
        }
    }
    PL_GO(pl__buf_format(ctx, &text, "\n  ]\n}\n"));
    full = pl__join_name(ctx, root, MANIFEST);
    if (full == NULL) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    st = pl_file_write(ctx, full, text.data, text.length);
done:
    pl_free(ctx, full);
    pl__buf_free(ctx, &text);
    names_free(&list);
    return st;
}

pl_status pl_folder_commit(pl_ctx *ctx, const char *tmp, const char *path)
{
    pl_status st;
    struct stat info;
    char *parent = NULL;
    bool replaced = false;
    if (!is_temporary(tmp))
        return pl__fail(ctx, PL_ERR_ARG, "folder: '%s' was not made by folder_begin", tmp);
    const bool stood = lstat(path, &info) == 0;
    if (stood && !S_ISDIR(info.st_mode)) {
        st = pl__fail(ctx, PL_ERR_IO, "saving '%s': a file of that name is in the way", path);
        goto done;
    }
    parent = pl__parent_name(ctx, path);
    if (parent == NULL) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    PL_GO(seal(ctx, tmp));
    PL_GO(stood ? pl__file_swap(ctx, tmp, path) : pl__file_rename(ctx, tmp, path));
    replaced = true;
    st = pl__file_sync_folder(ctx, parent);
done:
    if (!replaced || stood) pl__tree_remove(tmp);
    pl_free(ctx, parent);
    return st;
}

/* --------------------------------------------------------------------------------------------
** Verify
*/
/* A relative name that stays in its folder. */
static bool is_safe_name(const char *name)
{
    if (name[0] == '\0' || name[0] == '/') return false;
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) return false;
    }
    return true;
}

static pl_status verify_file(pl_ctx *ctx, const char *path, struct json_object *row,
                             const char *manifest)
{
    static const pl__json_field fields[] = {{"name", PL__JSON_TEXT, true},
                                            {"size", PL__JSON_INTEGER, true},
                                            {"xxh3_128", PL__JSON_TEXT, true},
                                            {NULL, 0, false}};
    pl_status st;
    char hex[PL_HASH_TEXT];
    int fd = -1;
    int64_t length = 0;
    PL_TRY(pl__json_check(ctx, row, "a row of 'files'", fields, manifest));
    const int64_t size = json_object_get_int64(pl__json_get(row, "size"));
    const char *hash = pl__json_text(row, "xxh3_128");
    if (!is_safe_name(pl__json_text(row, "name")))
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s': a name leads out of the folder", manifest);
    char *full = pl__join_name(ctx, path, pl__json_text(row, "name"));
    if (full == NULL) return PL_ERR_NOMEM;
    PL_GO(pl__file_open(ctx, &fd, &length, full, false));
    if (length != size) {
        st = pl__fail(ctx, PL_ERR_FORMAT, "'%s' has %lld bytes, its manifest says %lld", full,
                      (long long)length, (long long)size);
        goto done;
    }
    PL_GO(pl__file_hash_fd(ctx, hex, fd, full, length));
    if (strcmp(hex, hash) != 0)
        st = pl__fail(ctx, PL_ERR_FORMAT, "'%s' is damaged: its hash is %s, its manifest says %s",
                      full, hex, hash);
done:
    pl__file_close(&fd);
    pl_free(ctx, full);
    return st;
}

pl_status pl_folder_verify(pl_ctx *ctx, const char *path)
{
    static const pl__json_field fields[] = {{"files", PL__JSON_LIST, true}, {NULL, 0, false}};
    pl_status st;
    char *text = NULL, *full = pl__join_name(ctx, path, MANIFEST);
    size_t size = 0;
    struct json_object *root = NULL, *files;
    if (full == NULL) return PL_ERR_NOMEM;
    PL_GO(pl_file_read(ctx, &text, &size, full, MAX_MANIFEST));
    PL_GO(pl__json_parse(ctx, &root, text, size, 8, full));
    PL_GO(pl__json_check(ctx, root, "a manifest", fields, full));
    files = pl__json_get(root, "files");
    for (size_t i = 0; i < json_object_array_length(files); i++)
        PL_GO(verify_file(ctx, path, json_object_array_get_idx(files, i), full));
done:
    json_object_put(root);
    pl_free(ctx, text);
    pl_free(ctx, full);
    return st;
}

/*
** stale.c - what writers that were killed leave behind: temporary files and folders beside those
** that they were to become.
**
** A name tells its process (base/path.h). What belongs to one that lives, or to one of another
** machine, is let be. Whatever fails here is left for the next time: nothing depends on it. None of
** the engine's memory is needed, since lack of it may be why something goes.
*/
#include <dirent.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "io/file.h"

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

int pl__tree_remove(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Of two folders that changed places in three steps, "tmp-old" may be the only one there is. */
static bool is_needed(const char *folder, const char *name, size_t length, const char *mark)
{
    char path[PATH_MAX];
    struct stat info;
    if (strncmp(mark, "tmp-old-", 8) != 0) return false;
    const int n = snprintf(path, sizeof path, "%s/%.*s", folder, (int)length, name);
    return n >= (int)sizeof path || lstat(path, &info) != 0;
}

/* In a folder what stood beside `only`, a name of so many bytes; NULL: beside anything. */
static void sweep(const char *folder, const char *only, size_t only_length)
{
    char path[PATH_MAX];
    const struct dirent *item;
    DIR *dir = opendir(folder);
    while (dir != NULL && (item = readdir(dir)) != NULL) {
        const char *name = item->d_name, *mark;
        size_t length;
        if (only != NULL && strncmp(name, only, only_length) != 0) continue;
        if (!pl__tmp_is_stale(name, &length, &mark)) continue;
        if (only != NULL && length != only_length) continue;
        if (is_needed(folder, name, length, mark)) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path)
            pl__tree_remove(path);
    }
    if (dir != NULL) closedir(dir);
}

void pl_folder_sweep(const char *path)
{
    sweep(path, NULL, 0);
}

void pl__sweep_beside(const char *path)
{
    char folder[PATH_MAX];
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    if (start >= sizeof folder) return;
    memcpy(folder, path, start);
    folder[start] = '\0';
    sweep(start > 0 ? folder : ".", path + start, end - start);
}

/*
** path.c - names of files beside and inside others.
*/
#include "base/path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *pl__tmp_name(pl_ctx *ctx, const char *path, const char *mark, int n)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    const size_t size = length + strlen(mark) + 32;
    char *name = pl_alloc(ctx, size);
    if (name != NULL)
        snprintf(name, size, "%.*s.%s-%ld-%d", (int)length, path, mark, (long)getpid(), n);
    return name;
}

char *pl__parent_name(pl_ctx *ctx, const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    return length == 0 ? pl_strndup(ctx, ".", 1) : pl_strndup(ctx, path, length);
}

char *pl__join_name(pl_ctx *ctx, const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *joined = pl_alloc(ctx, size);
    if (joined != NULL) snprintf(joined, size, "%s/%s", folder, name);
    return joined;
}

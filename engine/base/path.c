/*
** path.c - names of files beside and inside others.
*/
#include "base/path.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* FNV-1a (Fowler, Noll, Vo) of the machine's name: a process is known by its id on its own machine
** alone, and containers that share a folder have names of their own. */
static uint32_t host_number(void)
{
    char host[256] = "";
    uint32_t hash = 2166136261u;
    gethostname(host, sizeof host - 1);
    for (const char *p = host; *p != '\0'; p++) hash = (hash ^ (uint8_t)*p) * 16777619u;
    return hash;
}

char *pl__tmp_name(pl_ctx *ctx, const char *path, const char *mark, int n)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    const size_t size = length + strlen(mark) + 48;
    char *name = pl_alloc(ctx, size);
    if (name != NULL)
        snprintf(name, size, "%.*s.%s-%08x-%ld-%d", (int)length, path, mark, host_number(),
                 (long)getpid(), n);
    return name;
}

/* The digits of a positive number, and the '-' or end behind them; NULL when they are none. */
static const char *read_number(const char *text, long *number)
{
    char *end;
    if (*text < '1' || *text > '9') return NULL;
    errno = 0;
    *number = strtol(text, &end, 10);
    return errno == 0 ? end : NULL;
}

bool pl__tmp_is_stale(const char *name, size_t *length, const char **mark)
{
    const char *at = NULL;
    char host[16];
    long pid;
    for (const char *p = strstr(name, ".tmp-"); p != NULL; p = strstr(p + 1, ".tmp-")) at = p;
    if (at == NULL || at == name) return false;
    *length = (size_t)(at - name);
    *mark = at + 1;
    at += strlen(".tmp-");
    if (strncmp(at, "gone-", 5) == 0) at += 5;
    else if (strncmp(at, "old-", 4) == 0) at += 4;
    const int n = snprintf(host, sizeof host, "%08x-", host_number());
    if (strncmp(at, host, (size_t)n) != 0) return false;
    at = read_number(at + n, &pid);
    if (at == NULL || *at != '-' || at[1] == '\0' || at[1 + strspn(at + 1, "0123456789")] != '\0')
        return false;
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
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

/*
** text_buffer.c - growing text, JSON strings, path names: what the writers of io/ share.
*/
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#include "io/file.h"

static bool reserve(pl__text *t, size_t more)
{
    if (t->failed) return false;
    if (t->cap - t->n > more) return true;
    size_t cap = t->cap * 2 + more + 256;
    char *s = pl_realloc(t->ctx, t->s, cap);
    if (s == NULL) {
        t->failed = true;
        return false;
    }
    t->s = s;
    t->cap = cap;
    return true;
}

void pl__text_put(pl__text *t, const char *s, size_t n)
{
    if (!reserve(t, n)) return;
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = '\0';
}

void pl__text_format(pl__text *t, const char *format, ...)
{
    char piece[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof piece)
        t->failed = true;
    else
        pl__text_put(t, piece, (size_t)n);
}

void pl__text_quote(pl__text *t, const char *s)
{
    pl__text_put(t, "\"", 1);
    for (; *s != '\0'; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') pl__text_put(t, "\\", 1);
        if (c < 0x20)
            pl__text_format(t, "\\u%04x", c);
        else
            pl__text_put(t, s, 1);
    }
    pl__text_put(t, "\"", 1);
}

void pl__text_free(pl__text *t)
{
    pl_free(t->ctx, t->s);
    t->s = NULL;
    t->n = t->cap = 0;
}

bool pl__utf8_valid(const char *s, size_t n)
{
    while (n > 0) {
        utf8proc_int32_t code;
        const utf8proc_ssize_t step =
            utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
        if (step <= 0) return false;
        s += step;
        n -= (size_t)step;
    }
    return true;
}

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

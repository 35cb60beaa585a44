/*
** ctx.c - error text, interrupts, fault hooks, checked arithmetic.
*/
#include "base/ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

const char *pl_error(const pl_ctx *ctx)
{
    return ctx->error;
}

const char *pl_status_name(pl_status st)
{
    static const char *const names[] = {
#define X(name, text) text,
        PL_STATUS_MAP(X)
#undef X
    };
    const size_t n = sizeof names / sizeof names[0];
    return (size_t)st < n ? names[st] : "unknown status";
}

/* '?' for each byte that is no character: of what is quoted, a length in bytes may keep half a
** character, and it need not be text at all. */
static void keep_characters(char *text)
{
    const size_t n = strlen(text);
    for (size_t at = pl__utf8_run(text, n); at < n; at += pl__utf8_run(text + at, n - at))
        text[at++] = '?';
}

pl_status pl__fail(pl_ctx *ctx, pl_status st, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->error, sizeof ctx->error, format, args);
    va_end(args);
    keep_characters(ctx->error);
    return st;
}

pl_status pl_fail_callback(pl_ctx *ctx, const char *text)
{
    return pl__fail(ctx, PL_ERR_CALLBACK, "%s", text);
}

void pl_count_from(pl_ctx *ctx, int first)
{
    ctx->first = first;
}

void pl_interrupt(pl_ctx *ctx)
{
    ctx->interrupted = 1;
}

bool pl_interrupted(const pl_ctx *ctx)
{
    return ctx->interrupted != 0;
}

void pl_interrupt_clear(pl_ctx *ctx)
{
    ctx->interrupted = 0;
}

pl_status pl__check_interrupt(pl_ctx *ctx)
{
    if (!ctx->interrupted) return PL_OK;
    ctx->interrupted = 0;
    return pl__fail(ctx, PL_ERR_INTERRUPTED, "interrupted!");
}

bool pl__faults_next(pl__faults *faults)
{
    faults->calls++;
    if (faults->fail_at == 0) return false;
    if (faults->fail_at > 1) {
        faults->fail_at--;
        return false;
    }
    if (!faults->forever) faults->fail_at = 0;
    return true;
}

void pl__faults_set(pl__faults *faults, int64_t k, bool forever)
{
    faults->fail_at = k > 0 ? k : 0;
    faults->forever = forever;
}

bool pl__mul(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool pl__add(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

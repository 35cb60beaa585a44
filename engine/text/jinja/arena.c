/*
** arena.c - the memory of a template and of a run, the words of its errors, its budgets.
*/
#include "text/jinja/jinja.h"

#include <stdarg.h>
#include <stdio.h>

#define CHUNK 16384
#define STEPS_A_CHECK 10000

struct jinja_chunk {
    jinja_chunk *next;
};

/* Memory and work ----------------------------------------------------------------------------- */

pl_status pl__jinja_fail(jinja_arena *arena, pl_status st, const char *format, ...)
{
    char text[PL_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pl__fail(arena->ctx, st, "%s:%d: %s", arena->name, arena->line, text);
}

void *pl__jinja_take(jinja_arena *arena, int64_t count, int64_t size)
{
    int64_t bytes;
    if (!pl__mul(count, size, &bytes) || bytes > INT64_MAX - 64 ||
        (arena->most > 0 && bytes > arena->most - arena->taken)) {
        pl__jinja_fail(arena, PL_ERR_NOMEM, "the template wants more than %lld bytes of memory",
                       (long long)arena->most);
        return NULL;
    }
    bytes = (bytes + 15) & ~(int64_t)15;
    arena->taken += bytes;
    if (bytes > arena->end - arena->at) {
        const int64_t room = bytes > CHUNK / 4 ? bytes : CHUNK;
        jinja_chunk *chunk = pl_alloc(arena->ctx, (size_t)room + 64);
        if (chunk == NULL) return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        char *data = (char *)chunk + 64;
        if (room > CHUNK / 4 && room != CHUNK) { /* by itself; the chunk in use stays */
            memset(data, 0, (size_t)bytes);
            return data;
        }
        arena->at = data;
        arena->end = data + room;
    }
    void *out = arena->at;
    arena->at += bytes;
    memset(out, 0, (size_t)bytes);
    return out;
}

void pl__jinja_free(jinja_arena *arena)
{
    for (jinja_chunk *chunk = arena->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        pl_free(arena->ctx, chunk);
    }
    arena->chunks = NULL;
    arena->at = arena->end = NULL;
}

pl_status pl__jinja_step(jinja_run *run, int64_t n)
{
    run->steps += n;
    if (run->steps > run->most_steps)
        return pl__jinja_fail(&run->arena, PL_ERR_NOMEM, "the template takes more than %lld steps",
                              (long long)run->most_steps);
    if (run->steps < run->interrupt_at) return PL_OK;
    run->interrupt_at = run->steps + STEPS_A_CHECK;
    return pl__check_interrupt(run->arena.ctx);
}

pl_status pl__jinja_enter(jinja_run *run)
{
    if (++run->depth > run->most_depth)
        return pl__jinja_fail(&run->arena, PL_ERR_NOMEM, "the template nests deeper than %d levels",
                              run->most_depth);
    return pl__jinja_step(run, 1);
}

/* Names --------------------------------------------------------------------------------------- */

bool pl__jinja_same(const jinja_text *a, const jinja_text *b)
{
    return a == b || (a->length == b->length && memcmp(a->bytes, b->bytes, (size_t)a->length) == 0);
}

bool pl__jinja_is_text(const jinja_text *text, const char *name)
{
    return (int64_t)strlen(name) == text->length &&
           memcmp(text->bytes, name, (size_t)text->length) == 0;
}

const jinja_row *pl__jinja_row(const jinja_row *table, const char *name, int64_t length)
{
    for (; table->name != NULL; table++)
        if ((int64_t)strlen(table->name) == length &&
            memcmp(table->name, name, (size_t)length) == 0)
            return table;
    return NULL;
}

/*
** lines.c - the lines of a text file, plain or gzip, one after the other in flat memory.
**
** gzip is told by its first bytes, not by the name; several members laid end to end are one text
** (RFC 1952). inflate is driven here rather than zlib's gzread, because gzread drops what it has
** unpacked in a call that then meets damage: here every whole line before the damage comes out. A
** line that the damage cut is not given: half a line is no line.
**
** A file is read up to the size it had when it was opened, so a log that grows meanwhile is read to
** the same place whatever the speed. No other compression, no UTF-16.
*/
#include "io/file.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define OUT_BYTES ((int64_t)1 << 20) /* text in hand */
#define IN_BYTES ((int64_t)1 << 18)  /* packed bytes in hand */

struct pl_lines {
    pl_ctx *ctx;
    int fd;
    int64_t size, at;     /* of the file; the next byte to read of it */
    bool gzip, unpacking; /* unpacking: z is set up */
    bool skip_empty;
    z_stream z;
    unsigned char *in;
    char *out;
    int64_t begin, end; /* what of `out` is not yet given */
    bool ended, told;   /* nothing more to come; the problem below was given */
    pl_status broken;   /* a failure of a call is that of all later ones */
    char problem[512];  /* what is wrong with the file, "" for nothing */
    char *held;         /* a line that did not stand whole in `out` */
    int64_t held_size, held_cap, max_bytes;
    int64_t number, offset; /* of the last line given; of the byte where the next one starts */
    char too_long[128];
    char *path;
};

/* --------------------------------------------------------------------------------------------
** Bytes
*/
static voidpf z_alloc(voidpf ctx, uInt count, uInt size)
{
    return pl_calloc(ctx, count, size);
}

static void z_free(voidpf ctx, voidpf block)
{
    pl_free(ctx, block);
}

/* The file is at fault, not the call: keeps the text and ends the reading. */
static void spoil(pl_lines *r, const char *text)
{
    snprintf(r->problem, sizeof r->problem, "%s", text);
    r->ended = true;
}

/* A failed read is a problem of the file, unless it is ours. */
static pl_status read_some(pl_lines *r, void *to, int64_t most, int64_t *n)
{
    *n = r->size - r->at < most ? r->size - r->at : most;
    const pl_status st = pl__file_pread(r->ctx, r->fd, r->path, to, *n, r->at);
    if (st == PL_ERR_IO || st == PL_ERR_FORMAT) {
        spoil(r, pl_error(r->ctx));
        *n = 0;
        return PL_OK;
    }
    if (st == PL_OK) r->at += *n;
    return st;
}

static pl_status need_input(pl_lines *r)
{
    int64_t n;
    if (r->z.avail_in > 0 || r->at == r->size) return PL_OK;
    PL_TRY(read_some(r, r->in, IN_BYTES, &n));
    r->z.next_in = r->in;
    r->z.avail_in = (uInt)n;
    return PL_OK;
}

/* After a member: another one, zeros that fill up a tape's block, or nothing. */
static void next_member(pl_lines *r)
{
    if (r->z.avail_in == 0 || r->z.next_in[0] == 0) r->ended = true;
    else if (r->z.next_in[0] == 0x1f) inflateReset(&r->z);
    else spoil(r, "bytes that are not gzip follow the end of the gzip data; they are left out");
}

/* Fills `out` with unpacked bytes: some, unless the file has ended. */
static pl_status unpack(pl_lines *r)
{
    r->z.next_out = (unsigned char *)r->out;
    r->z.avail_out = (uInt)OUT_BYTES;
    while (!r->ended && r->z.avail_out == OUT_BYTES) {
        PL_TRY(need_input(r));
        if (r->ended) break;
        if (r->z.avail_in == 0) {
            spoil(r, "the gzip data ends early: the file is cut off");
            break;
        }
        const int code = inflate(&r->z, Z_NO_FLUSH);
        if (code == Z_STREAM_END) {
            PL_TRY(need_input(r));
            if (!r->ended) next_member(r);
        } else if (code == Z_MEM_ERROR) {
            return PL_ERR_NOMEM;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            spoil(r, "the gzip data is damaged");
            if (r->z.msg)
                snprintf(r->problem, sizeof r->problem, "the gzip data is damaged: %s", r->z.msg);
        }
    }
    r->end = OUT_BYTES - (int64_t)r->z.avail_out;
    return PL_OK;
}

static pl_status fill(pl_lines *r)
{
    r->begin = r->end = 0;
    if (r->gzip) return unpack(r);
    PL_TRY(read_some(r, r->out, OUT_BYTES, &r->end));
    if (r->end == 0) r->ended = true;
    return PL_OK;
}

/* --------------------------------------------------------------------------------------------
** Opening
*/
static pl_status start_gzip(pl_lines *r)
{
    unsigned char magic[3] = {0};
    if (r->size < 3) return PL_OK;
    PL_TRY(pl__file_pread(r->ctx, r->fd, r->path, magic, 3, 0));
    r->gzip = magic[0] == 0x1f && magic[1] == 0x8b && magic[2] == Z_DEFLATED;
    if (!r->gzip) return PL_OK;
    r->in = pl_alloc(r->ctx, (size_t)IN_BYTES);
    if (r->in == NULL) return PL_ERR_NOMEM;
    r->z.zalloc = z_alloc;
    r->z.zfree = z_free;
    r->z.opaque = r->ctx;
    if (inflateInit2(&r->z, 15 + 16) != Z_OK) return PL_ERR_NOMEM;
    r->unpacking = true;
    return PL_OK;
}

static pl_status too_short(pl_lines *r, int64_t offset, int64_t size)
{
    return pl__fail(r->ctx, PL_ERR_FORMAT,
                    "'%s' holds %lld bytes and cannot be read on from byte %lld (it was cut or "
                    "replaced: start anew)",
                    r->path, (long long)size, (long long)offset);
}

/* To the byte where reading shall start. */
static pl_status go_to(pl_lines *r, int64_t offset)
{
    int64_t passed = 0;
    if (!r->gzip) {
        if (offset > r->size) return too_short(r, offset, r->size);
        r->at = offset;
    }
    while (r->gzip && passed < offset) {
        PL_TRY(fill(r));
        const int64_t here = r->end < offset - passed ? r->end : offset - passed;
        r->begin = here;
        passed += here;
        if (passed < offset && r->ended) return too_short(r, offset, passed);
    }
    r->offset = offset;
    return PL_OK;
}

/* A byte-order mark is no part of the first line. */
static pl_status skip_mark(pl_lines *r)
{
    PL_TRY(fill(r));
    if (r->end >= 3 && memcmp(r->out, "\xef\xbb\xbf", 3) == 0) {
        r->begin = 3;
        r->offset = 3;
    }
    return PL_OK;
}

pl_status pl_lines_open(pl_ctx *ctx, pl_lines **out, const char *path,
                        const pl_lines_options *options)
{
    static const pl_lines_options defaults = {0};
    const pl_lines_options *o = options ? options : &defaults;
    pl_status st;
    *out = NULL;
    if (o->max_bytes < 0 || o->max_bytes > INT64_MAX / 4 || o->offset < 0 || o->line < 0)
        return pl__fail(ctx, PL_ERR_ARG, "'%s': max_bytes, offset and line must not be negative",
                        path);
    pl_lines *r = pl_calloc(ctx, 1, sizeof *r);
    if (r == NULL) return PL_ERR_NOMEM;
    r->ctx = ctx;
    r->fd = -1;
    r->max_bytes = o->max_bytes > 0 ? o->max_bytes : PL_LINES_MAX_BYTES;
    r->number = o->line;
    r->skip_empty = o->skip_empty;
    st = PL_ERR_NOMEM;
    if ((r->path = pl_strndup(ctx, path, strlen(path))) == NULL) goto done;
    if ((r->out = pl_alloc(ctx, (size_t)OUT_BYTES)) == NULL) goto done;
    PL_GO(pl__file_open(ctx, &r->fd, &r->size, path, true));
    PL_GO(start_gzip(r));
    PL_GO(go_to(r, o->offset));
    if (o->offset == 0) PL_GO(skip_mark(r));
done:
    if (st != PL_OK) {
        pl_lines_close(r);
        return st;
    }
    *out = r;
    return PL_OK;
}

void pl_lines_close(pl_lines *r)
{
    if (r == NULL) return;
    pl_ctx *ctx = r->ctx;
    if (r->unpacking) inflateEnd(&r->z);
    pl__file_close(&r->fd);
    pl_free(ctx, r->in);
    pl_free(ctx, r->out);
    pl_free(ctx, r->held);
    pl_free(ctx, r->path);
    pl_free(ctx, r);
}

/* --------------------------------------------------------------------------------------------
** Lines
*/
static pl_status hold(pl_lines *r, const char *from, int64_t n)
{
    if (r->held_size + n > r->held_cap) {
        int64_t cap = r->held_cap > 0 ? r->held_cap : 4096;
        while (cap < r->held_size + n) cap *= 2;
        char *grown = pl_realloc(r->ctx, r->held, (size_t)cap);
        if (grown == NULL) return PL_ERR_NOMEM;
        r->held = grown;
        r->held_cap = cap;
    }
    memcpy(r->held + r->held_size, from, (size_t)n);
    r->held_size += n;
    return PL_OK;
}

/* The problem of the file, once; then the end. */
static void give_end(pl_lines *r, pl_line *line, bool *more)
{
    *more = r->problem[0] != '\0' && !r->told;
    r->told = true;
    if (*more) *line = (pl_line){.number = r->number + 1, .problem = r->problem};
}

/* `total` bytes without the newline; all of them at `text` unless they were too many to hold. */
static void give_line(pl_lines *r, pl_line *line, const char *text, int64_t total, bool newline)
{
    r->number++;
    r->offset += total + newline;
    const bool whole = total <= r->max_bytes + 1;
    if (whole && total > 0 && newline && text[total - 1] == '\r') total--;
    *line = (pl_line){.number = r->number};
    if (total <= r->max_bytes) {
        line->text = text;
        line->size = total;
        return;
    }
    snprintf(r->too_long, sizeof r->too_long,
             "the line has %lld bytes, more than the %lld that are allowed (max_bytes)",
             (long long)total, (long long)r->max_bytes);
    line->problem = r->too_long;
}

/* A packed file may unpack to a thousand times as many newlines: a tight loop passes over them. */
static void skip_empty_lines(pl_lines *r)
{
    const int64_t begin = r->begin;
    while (r->begin < r->end && r->out[r->begin] == '\n') r->begin++;
    r->number += r->begin - begin;
    r->offset += r->begin - begin;
}

static pl_status next_line(pl_lines *r, pl_line *line, bool *more)
{
    int64_t total = 0;
    r->held_size = 0;
    for (;;) {
        if (r->begin == r->end) {
            if (!r->ended) PL_TRY(fill(r));
            if (r->begin == r->end && r->ended) {
                if (total == 0 || r->problem[0] != '\0') give_end(r, line, more);
                else give_line(r, line, r->held, total, false);
                return PL_OK;
            }
        }
        if (r->skip_empty && total == 0) {
            skip_empty_lines(r);
            if (r->begin == r->end) continue;
        }
        const char *from = r->out + r->begin;
        const int64_t have = r->end - r->begin;
        const char *newline = memchr(from, '\n', (size_t)have);
        const int64_t piece = newline ? newline - from : have;
        const bool first = total == 0;
        total += piece;
        r->begin += piece + (newline != NULL);
        if (newline && first) {
            give_line(r, line, from, total, true);
            return PL_OK;
        }
        /* One byte above the limit may be a '\r' that does not count. */
        if (total <= r->max_bytes + 1) PL_TRY(hold(r, from, piece));
        if (newline) {
            give_line(r, line, r->held, total, true);
            return PL_OK;
        }
    }
}

pl_status pl_lines_next(pl_lines *r, pl_line *line, bool *more)
{
    *more = true;
    if (r->broken != PL_OK)
        return pl__fail(r->ctx, r->broken, "reading '%s' failed before (open it anew)", r->path);
    r->broken = next_line(r, line, more);
    if (r->broken != PL_OK) *more = false;
    return r->broken;
}

int64_t pl_lines_offset(const pl_lines *r)
{
    return r->offset;
}

int64_t pl_lines_count(const pl_lines *r)
{
    return r->number;
}

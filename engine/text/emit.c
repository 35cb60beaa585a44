/*
** emit.c - what a call of encode gives out: ids, and the bytes of the original text they stand for.
*/
#include "text/text.h"

pl_status pl__emit(pl__run *run, int32_t id, size_t start, size_t end)
{
    PL_TRY(pl__ids_add(run->tok->ctx, &run->ids, id));
    if (!run->wants_spans) return PL_OK;
    if (run->ids.count > run->spans_room) {
        const int64_t room = run->ids.room;
        pl_text_span *spans = pl_realloc(run->tok->ctx, run->spans, (size_t)room * sizeof *spans);
        if (!spans) return PL_ERR_NOMEM;
        run->spans = spans;
        run->spans_room = room;
    }
    pl_text_span span = {run->base + start, run->base + end};
    if (run->origin && end > start)
        span = (pl_text_span){run->origin[start].start, run->origin[end - 1].end};
    run->spans[run->ids.count - 1] = span;
    return PL_OK;
}

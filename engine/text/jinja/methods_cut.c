/*
** methods_cut.c - the methods of Python's str that cut a text: split, splitlines, partition. Parts
** keep the marks of the bytes they are made of.
*/
#include "text/jinja/call.h"

static pl_status push_part(jinja_run *run, jinja_seq *seq, const jinja_text *text, int64_t from,
                           int64_t to)
{
    jinja_value part;
    PL_TRY(pl__jinja_part(run, &part, text, from, to));
    return pl__jinja_push(&run->arena, seq, part);
}

/* Cuts at runs of white space. */
static pl_status split_words(jinja_run *run, jinja_seq *seq, const jinja_text *text, int64_t most)
{
    uint32_t code;
    for (int64_t at = 0;;) {
        while (at < text->length) {
            const int64_t n = pl__jinja_char(text, at, &code);
            if (!pl__jinja_is_space(code)) break;
            at += n;
        }
        if (at >= text->length) return PL_OK;
        if (most >= 0 && seq->count >= most) return push_part(run, seq, text, at, text->length);
        const int64_t begin = at;
        while (at < text->length) {
            const int64_t n = pl__jinja_char(text, at, &code);
            if (pl__jinja_is_space(code)) break;
            at += n;
        }
        PL_TRY(push_part(run, seq, text, begin, at));
    }
}

/* The same from the end. */
static pl_status split_words_back(jinja_run *run, jinja_seq *seq, const jinja_text *text,
                                  int64_t most)
{
    uint32_t code;
    int64_t begin;
    for (int64_t end = text->length;;) {
        for (; end > 0; end = begin) {
            begin = pl__jinja_char_before(text, end, &code);
            if (!pl__jinja_is_space(code)) break;
        }
        if (end == 0) return PL_OK;
        if (most >= 0 && seq->count >= most) return push_part(run, seq, text, 0, end);
        int64_t at = end;
        for (; at > 0; at = begin) {
            begin = pl__jinja_char_before(text, at, &code);
            if (pl__jinja_is_space(code)) break;
        }
        PL_TRY(push_part(run, seq, text, at, end));
        end = at;
    }
}

static pl_status split_at(jinja_run *run, jinja_seq *seq, const jinja_text *text,
                          const jinja_text *mark, int64_t most)
{
    int64_t at = 0;
    for (; most < 0 || seq->count < most;) {
        const int64_t found = pl__jinja_find_part(text, at, mark);
        if (found < 0) break;
        PL_TRY(push_part(run, seq, text, at, found));
        at = found + mark->length;
    }
    return push_part(run, seq, text, at, text->length);
}

static pl_status split_at_back(jinja_run *run, jinja_seq *seq, const jinja_text *text,
                               const jinja_text *mark, int64_t most)
{
    int64_t end = text->length;
    for (; most < 0 || seq->count < most;) {
        const jinja_text before = {.bytes = text->bytes, .length = end};
        const int64_t found = pl__jinja_find_last(&before, mark);
        if (found < 0) break;
        PL_TRY(push_part(run, seq, text, found + mark->length, end));
        end = found;
    }
    return push_part(run, seq, text, 0, end);
}

static void turn_round(jinja_seq *seq)
{
    for (int64_t i = 0, k = seq->count - 1; i < k; i++, k--) {
        const jinja_value item = seq->items[i];
        seq->items[i] = seq->items[k];
        seq->items[k] = item;
    }
}

static pl_status split_with(jinja_run *run, jinja_value *out, jinja_value self,
                            const jinja_args *args, bool back)
{
    BIND("split", "sep", "maxsplit");
    const jinja_text *mark = NULL;
    jinja_seq *seq;
    int64_t most;
    if (slots[0].kind != JINJA_ABSENT && slots[0].kind != JINJA_NONE)
        PL_TRY(pl__jinja_text_at(run, slots, 0, "split", NULL, &mark));
    PL_TRY(pl__jinja_integer_at(run, slots, 1, "split", -1, &most));
    if (mark != NULL && mark->length == 0) return JINJA_FAIL(run, "split: the separator is empty");
    PL_TRY(pl__jinja_step(run, 1 + self.text->length / 8));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_LIST, 2));
    if (mark == NULL)
        PL_TRY((back && most >= 0 ? split_words_back : split_words)(run, seq, self.text, most));
    else PL_TRY((back ? split_at_back : split_at)(run, seq, self.text, mark, most));
    if (back && (mark != NULL || most >= 0)) turn_round(seq);
    *out = jinja_of_seq(seq);
    return PL_OK;
}

pl_status pl__jinja_text_split(jinja_run *run, jinja_value *out, jinja_value self,
                               const jinja_args *args)
{
    return split_with(run, out, self, args, false);
}

pl_status pl__jinja_text_rsplit(jinja_run *run, jinja_value *out, jinja_value self,
                                const jinja_args *args)
{
    return split_with(run, out, self, args, true);
}

static bool ends_line(uint32_t code)
{
    return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

pl_status pl__jinja_text_splitlines(jinja_run *run, jinja_value *out, jinja_value self,
                                    const jinja_args *args)
{
    BIND("splitlines", "keepends");
    const bool keeps = pl__jinja_true(slots[0]);
    const jinja_text *text = self.text;
    jinja_seq *seq;
    uint32_t code;
    int64_t begin = 0;
    PL_TRY(pl__jinja_step(run, 1 + text->length / 8));
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_LIST, 2));
    for (int64_t at = 0, n; at < text->length; at += n) {
        n = pl__jinja_char(text, at, &code);
        if (!ends_line(code)) continue;
        if (code == '\r' && at + 1 < text->length && text->bytes[at + 1] == '\n') n = 2;
        PL_TRY(push_part(run, seq, text, begin, keeps ? at + n : at));
        begin = at + n;
    }
    if (begin < text->length) PL_TRY(push_part(run, seq, text, begin, text->length));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

static pl_status partition_with(jinja_run *run, jinja_value *out, jinja_value self,
                                const jinja_args *args, bool back)
{
    BIND("partition", "sep");
    const jinja_text *mark, *text = self.text;
    jinja_seq *seq;
    PL_TRY(pl__jinja_text_at(run, slots, 0, "partition", NULL, &mark));
    if (mark->length == 0) return JINJA_FAIL(run, "partition: the separator is empty");
    const int64_t at = back ? pl__jinja_find_last(text, mark) : pl__jinja_find_part(text, 0, mark);
    const int64_t cut = at >= 0 ? at : back ? 0 : text->length;
    const int64_t behind = at >= 0 ? at + mark->length : cut;
    PL_TRY(pl__jinja_seq(&run->arena, &seq, JINJA_TUPLE, 3));
    PL_TRY(push_part(run, seq, text, 0, cut));
    PL_TRY(push_part(run, seq, text, cut, behind));
    PL_TRY(push_part(run, seq, text, behind, text->length));
    *out = jinja_of_seq(seq);
    return PL_OK;
}

pl_status pl__jinja_text_partition(jinja_run *run, jinja_value *out, jinja_value self,
                                   const jinja_args *args)
{
    return partition_with(run, out, self, args, false);
}

pl_status pl__jinja_text_rpartition(jinja_run *run, jinja_value *out, jinja_value self,
                                    const jinja_args *args)
{
    return partition_with(run, out, self, args, true);
}

/*
** lb_text.c - core.tokenizer: load, train, and the handle that model/tokenizer.lua wraps.
**
** The handle's methods take plain arguments; names, defaults and documentation are the Lua side's.
** A file that cannot be read is nil, message; everything else raises.
*/
#include <string.h>

#include "lb.h"

#define TOKENIZER_MT "perilune.TokenizerCore"
#define STREAM_MT "perilune.TextStream"

static const char *const kinds[] = {"bytelevel", "sentencepiece", "word",
                                    "unigram",   "wordpiece",     NULL};

/* --------------------------------------------------------------------------------------------
** Boxes
*/
static int tokenizer_gc(lua_State *L)
{
    pl_tokenizer **box = luaL_checkudata(L, 1, TOKENIZER_MT);
    pl_tokenizer_free(*box);
    *box = NULL;
    return 0;
}

static pl_tokenizer **new_tokenizer(lua_State *L)
{
    pl_tokenizer **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, TOKENIZER_MT);
    return box;
}

static pl_tokenizer *check_tokenizer(lua_State *L)
{
    pl_tokenizer **box = luaL_checkudata(L, 1, TOKENIZER_MT);
    luaL_argcheck(L, *box != NULL, 1, "the tokenizer was released");
    return *box;
}

/* --------------------------------------------------------------------------------------------
** load, train
*/
static int load(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_tokenizer **box = new_tokenizer(L);
    pl_status st = pl_tokenizer_load(lb_ctx(L), box, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/* The strings of the list in field `name`, in an array the Lua collector owns; the list stays on
** the stack, so the strings live. `lengths` may be NULL: then no string may hold a NUL. */
static const char **string_list(lua_State *L, int idx, const char *name, size_t **lengths,
                                int64_t *n)
{
    *n = 0;
    if (lua_getfield(L, idx, name) == LUA_TNIL) return NULL;
    if (lua_type(L, -1) != LUA_TTABLE) luaL_error(L, "'%s' must be a list of strings", name);
    int list = lua_gettop(L);
    *n = (int64_t)lua_rawlen(L, list);
    const char **out = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *out, 0);
    if (lengths) *lengths = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof **lengths, 0);
    for (int64_t i = 0; i < *n; i++) {
        size_t length;
        if (lua_rawgeti(L, list, i + 1) != LUA_TSTRING)
            luaL_error(L, "'%s': item %I is a %s, not a string", name, (LUAI_UACINT)(i + 1),
                       luaL_typename(L, -1));
        out[i] = lua_tolstring(L, -1, &length);
        if (lengths) (*lengths)[i] = length;
        else if (strlen(out[i]) != length)
            luaL_error(L, "'%s': item %I holds a NUL", name, (LUAI_UACINT)(i + 1));
        lua_pop(L, 1); /* the list still holds it */
    }
    return out;
}

static int train(lua_State *L)
{
    static const char *const known[] = {"texts", "vocab_size", "kind", "special",       "bos",
                                        "eos",   "pad",        "unk",  "min_frequency", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lb_known(L, 1, "option of tokenizer.train", known);
    const char *kind = lb_string_field(L, 1, "kind", "bytelevel");
    pl_tokenizer_training o = {.kind = PL_TOKENIZER_BYTELEVEL,
                               .vocab_size = lb_integer_field(L, 1, "vocab_size", 0),
                               .min_frequency = lb_integer_field(L, 1, "min_frequency", 0),
                               .bos = lb_string_field(L, 1, "bos", NULL),
                               .eos = lb_string_field(L, 1, "eos", NULL),
                               .pad = lb_string_field(L, 1, "pad", NULL),
                               .unk = lb_string_field(L, 1, "unk", NULL)};
    if (strcmp(kind, "word") == 0) {
        o.kind = PL_TOKENIZER_WORD;
    } else if (strcmp(kind, "bytelevel") != 0) {
        static const char *const trainable[] = {"bytelevel", "word", NULL};
        return lb_unknown(L, "kind of tokenizer", kind, trainable);
    }
    if (o.vocab_size < 1) return luaL_error(L, "tokenizer.train wants vocab_size, an integer");
    size_t *lengths = NULL;
    int64_t n_texts;
    o.special = string_list(L, 1, "special", NULL, &o.n_special);
    const char **texts = string_list(L, 1, "texts", &lengths, &n_texts);
    if (!texts) return luaL_error(L, "tokenizer.train wants texts, a list of strings");
    pl_tokenizer **box = new_tokenizer(L);
    lb_check(L, pl_tokenizer_train(lb_ctx(L), box, texts, lengths, n_texts, &o));
    return 1;
}

/* The numbers of the list in field `name`, NULL when it is absent: `count` of them, as float or as
** int32; in memory the Lua collector owns. */
static void *number_list(lua_State *L, int idx, const char *name, int64_t count, bool integers)
{
    if (lua_getfield(L, idx, name) == LUA_TNIL) return NULL;
    if (lua_type(L, -1) != LUA_TTABLE || (int64_t)lua_rawlen(L, -1) != count)
        luaL_error(L, "'%s' must be a list of %I numbers, one a piece", name, (LUAI_UACINT)count);
    const int list = lua_gettop(L);
    void *out = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof(int32_t), 0);
    for (int64_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, i + 1);
        if (integers) {
            ((int32_t *)out)[i] = lb_list_int32(L, name, i + 1);
        } else {
            int is_number;
            ((float *)out)[i] = (float)lua_tonumberx(L, -1, &is_number);
            if (!is_number) luaL_error(L, "'%s': item %I is no number", name, (LUAI_UACINT)(i + 1));
        }
        lua_pop(L, 1);
    }
    return out;
}

static int8_t three_way_field(lua_State *L, int idx, const char *name)
{
    const int type = lua_getfield(L, idx, name);
    lua_pop(L, 1);
    return type == LUA_TNIL ? -1 : (int8_t)lb_boolean_field(L, idx, name, false);
}

static int32_t id_field(lua_State *L, const char *name)
{
    const lua_Integer id = lb_integer_field(L, 1, name, -1);
    if (id < -1 || id > INT32_MAX) luaL_error(L, "'%s' is no token id", name);
    return (int32_t)id;
}

/* from_pieces(opts) -> handle, or nil and a message */
static int from_pieces(lua_State *L)
{
    static const char *const known[] = {
        "model", "pre", "pieces", "scores",  "types",   "merges",           "bos",
        "eos",   "pad", "unk",    "add_bos", "add_eos", "add_space_prefix", "chat_template",
        "where", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_checkstack(L, 30, NULL);
    lb_known(L, 1, "option of tokenizer.from_pieces", known);
    pl_tokenizer_pieces p = {.model = lb_string_field(L, 1, "model", ""),
                             .pre = lb_string_field(L, 1, "pre", NULL),
                             .bos = id_field(L, "bos"),
                             .eos = id_field(L, "eos"),
                             .pad = id_field(L, "pad"),
                             .unk = id_field(L, "unk"),
                             .add_bos = three_way_field(L, 1, "add_bos"),
                             .add_eos = three_way_field(L, 1, "add_eos"),
                             .add_space_prefix = three_way_field(L, 1, "add_space_prefix"),
                             .chat_template = lb_string_field(L, 1, "chat_template", NULL)};
    size_t *lengths = NULL, *merge_lengths = NULL;
    p.pieces = string_list(L, 1, "pieces", &lengths, &p.count);
    p.merges = string_list(L, 1, "merges", &merge_lengths, &p.n_merges);
    if (!p.pieces) return luaL_error(L, "tokenizer.from_pieces wants pieces, a list of strings");
    p.lengths = lengths;
    p.merge_lengths = merge_lengths;
    p.scores = number_list(L, 1, "scores", p.count, false);
    p.types = number_list(L, 1, "types", p.count, true);
    const char *where = lb_string_field(L, 1, "where", "the tokenizer");
    pl_tokenizer **box = new_tokenizer(L);
    pl_status st = pl_tokenizer_from_pieces(lb_ctx(L), box, &p, where);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/* --------------------------------------------------------------------------------------------
** Methods of the handle
*/
static void set_id(lua_State *L, const char *name, int32_t id)
{
    if (id >= 0) lb_set_integer(L, name, id);
}

/* info() -> {kind, size, bos_id, eos_id, pad_id, unk_id, adds_bos, adds_eos, chat_template} */
static int tok_info(lua_State *L)
{
    pl_tokenizer_info info = pl_tokenizer_get_info(check_tokenizer(L));
    lua_createtable(L, 0, 9);
    lb_set_string(L, "kind", kinds[info.kind]);
    lb_set_integer(L, "size", info.size);
    set_id(L, "bos_id", info.bos);
    set_id(L, "eos_id", info.eos);
    set_id(L, "pad_id", info.pad);
    set_id(L, "unk_id", info.unk);
    lb_set_boolean(L, "adds_bos", info.adds_bos);
    lb_set_boolean(L, "adds_eos", info.adds_eos);
    if (info.chat_template) {
        lb_set_string(L, "chat_template", info.chat_template);
    }
    return 1;
}

/* The spans of the list {first, last, first, last, ...} in field "guarded", bytes counted as
** string.sub does; in memory the Lua collector owns. */
static const pl_text_span *guarded_spans(lua_State *L, int idx, size_t length, int64_t *n)
{
    *n = 0;
    if (lua_type(L, idx) != LUA_TTABLE || lua_getfield(L, idx, "guarded") == LUA_TNIL) return NULL;
    if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) % 2 != 0)
        luaL_error(L, "encode: 'guarded' must be a list {first, last, first, last, ...}");
    const int list = lua_gettop(L);
    *n = (int64_t)(lua_rawlen(L, list) / 2);
    pl_text_span *spans = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *spans, 0);
    for (int64_t i = 0; i < 2 * *n; i++) {
        int is_integer;
        lua_rawgeti(L, list, i + 1);
        const lua_Integer byte = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || byte < (i % 2 == 0 ? 1 : 0) ||
            (lua_Unsigned)byte > length + (i % 2 == 0 ? 1 : 0))
            luaL_error(L, "encode: 'guarded': item %I is no byte of a text of %I bytes",
                       (LUAI_UACINT)(i + 1), (LUAI_UACINT)length);
        if (i % 2 == 0) spans[i / 2].start = (size_t)byte - 1;
        else spans[i / 2].end = (size_t)byte;
        lua_pop(L, 1);
    }
    return spans;
}

/* Pushes {first, last, ...}, bytes counted as string.sub does. */
static void push_spans(lua_State *L, const pl_text_span *spans, int64_t count)
{
    lua_createtable(L, (int)(2 * count), 0);
    for (int64_t i = 0; i < count; i++) {
        lua_pushinteger(L, (lua_Integer)spans[i].start + 1);
        lua_rawseti(L, -2, 2 * i + 1);
        lua_pushinteger(L, (lua_Integer)spans[i].end);
        lua_rawseti(L, -2, 2 * i + 2);
    }
}

/* encode(text, opts) -> ids, spans or nothing */
static int tok_encode(lua_State *L)
{
    static const char *const known[] = {"special", "bos",   "eos", "continued",
                                        "guarded", "spans", NULL};
    pl_tokenizer *tok = check_tokenizer(L);
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    lb_known(L, 3, "option of encode", known);
    unsigned flags = (lb_boolean_field(L, 3, "special", false) ? PL_ENCODE_SPECIAL : 0u) |
                     (lb_boolean_field(L, 3, "bos", false) ? PL_ENCODE_BOS : 0u) |
                     (lb_boolean_field(L, 3, "eos", false) ? PL_ENCODE_EOS : 0u) |
                     (lb_boolean_field(L, 3, "continued", false) ? PL_ENCODE_CONTINUED : 0u);
    pl_encode_options options = {.flags = flags};
    options.guarded = guarded_spans(L, 3, length, &options.n_guarded);
    lb_block *box = lb_new_block(L), *spans_box = lb_new_block(L);
    int32_t *ids = NULL;
    pl_text_span *spans = NULL;
    int64_t count = 0;
    if (lb_boolean_field(L, 3, "spans", false)) options.spans = &spans;
    pl_status st = pl_tokenizer_encode_with(tok, &ids, &count, text, length, &options);
    box->block = ids;
    spans_box->block = spans;
    lb_check(L, st);
    lua_createtable(L, (int)count, 0);
    for (int64_t i = 0; i < count; i++) {
        lua_pushinteger(L, ids[i]);
        lua_rawseti(L, -2, i + 1);
    }
    if (!options.spans) return 1;
    push_spans(L, spans, count);
    return 2;
}

/* The ids at idx: a list, or an int32 tensor; in memory Lua or the tensor owns. */
static const int32_t *check_ids(lua_State *L, int idx, int64_t *count)
{
    const int32_t *ids;
    if (lua_type(L, idx) == LUA_TUSERDATA) {
        pl_tensor *t = lb_check_tensor(L, idx);
        luaL_argcheck(L, pl_tensor_dtype(t) == PL_I32, idx, "ids are a list or an int32 tensor");
        *count = pl_tensor_count(t);
        ids = pl_tensor_data(t);
    } else {
        luaL_checktype(L, idx, LUA_TTABLE);
        *count = (int64_t)lua_rawlen(L, idx);
        int32_t *list = lua_newuserdatauv(L, (size_t)(*count + 1) * sizeof *list, 0);
        for (int64_t i = 0; i < *count; i++) {
            lua_rawgeti(L, idx, i + 1);
            list[i] = lb_list_int32(L, "decode: ids", i + 1);
            lua_pop(L, 1);
        }
        ids = list;
    }
    for (int64_t i = 0; i < *count; i++)
        if (ids[i] < 0)
            luaL_error(L, "decode: ids: item %I is %d; token ids from 0 wanted",
                       (LUAI_UACINT)(i + 1), (int)ids[i]);
    return ids;
}

static unsigned decode_flags(lua_State *L, int idx)
{
    static const char *const known[] = {"skip_special", NULL};
    lb_known(L, idx, "option of decode", known);
    return lb_boolean_field(L, idx, "skip_special", false) ? PL_DECODE_SKIP_SPECIAL : 0u;
}

/* decode(ids, opts) -> text */
static int tok_decode(lua_State *L)
{
    pl_tokenizer *tok = check_tokenizer(L);
    lua_settop(L, 3);
    unsigned flags = decode_flags(L, 3);
    int64_t count;
    const int32_t *ids = check_ids(L, 2, &count);
    lb_block *box = lb_new_block(L);
    char *text = NULL;
    size_t length = 0;
    pl_status st = pl_tokenizer_decode(tok, &text, &length, ids, count, flags);
    box->block = text;
    lb_check(L, st);
    lua_pushlstring(L, text, length);
    return 1;
}

/* id(text) -> id or nil */
static int tok_id(lua_State *L)
{
    pl_tokenizer *tok = check_tokenizer(L);
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    int32_t id = pl_tokenizer_id(tok, text, length);
    if (id < 0) lua_pushnil(L);
    else lua_pushinteger(L, id);
    return 1;
}

static int push_text(lua_State *L, const char *text, size_t length)
{
    if (text) lua_pushlstring(L, text, length);
    else lua_pushnil(L);
    return 1;
}

/* token(id) -> its name in the vocabulary, or nil */
static int tok_token(lua_State *L)
{
    size_t length = 0;
    const char *name = pl_tokenizer_name(check_tokenizer(L), luaL_checkinteger(L, 2), &length);
    return push_text(L, name, length);
}

/* bytes(id) -> the text it stands for, or nil */
static int tok_bytes(lua_State *L)
{
    size_t length = 0;
    const char *bytes = pl_tokenizer_bytes(check_tokenizer(L), luaL_checkinteger(L, 2), &length);
    return push_text(L, bytes, length);
}

/* is_control(id) -> whether ordinary text can never give it */
static int tok_is_control(lua_State *L)
{
    lua_pushboolean(L, pl_tokenizer_is_control(check_tokenizer(L), luaL_checkinteger(L, 2)));
    return 1;
}

static int32_t opt_id(lua_State *L, int idx)
{
    lua_Integer id = luaL_optinteger(L, idx, -1);
    luaL_argcheck(L, id >= -1 && id <= INT32_MAX, idx, "no token id");
    return (int32_t)id;
}

/* set_special(bos, eos, pad): ids or nil */
static int tok_set_special(lua_State *L)
{
    lb_check(
        L, pl_tokenizer_set_special(check_tokenizer(L), opt_id(L, 2), opt_id(L, 3), opt_id(L, 4)));
    return 0;
}

/* save(folder, chat_template) -> true, or nil and a message */
static int tok_save(lua_State *L)
{
    pl_tokenizer *tok = check_tokenizer(L);
    pl_status st = pl_tokenizer_save(tok, luaL_checkstring(L, 2), luaL_optstring(L, 3, NULL));
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

/* hash() -> 32 hexadecimal digits of its tokenizer.json */
static int tok_hash(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    lb_check(L, pl_tokenizer_hash(check_tokenizer(L), hex));
    lua_pushstring(L, hex);
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Streams
*/
typedef struct {
    pl_text_stream state;
    unsigned flags;
} stream_box;

/* stream(opts) -> a stream that keeps the tokenizer alive */
static int tok_stream(lua_State *L)
{
    check_tokenizer(L);
    lua_settop(L, 2);
    unsigned flags = decode_flags(L, 2);
    stream_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (stream_box){.flags = flags};
    luaL_setmetatable(L, STREAM_MT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static int stream_text(lua_State *L, int32_t id)
{
    stream_box *box = luaL_checkudata(L, 1, STREAM_MT);
    const char *text;
    size_t length;
    lua_getiuservalue(L, 1, 1);
    pl_tokenizer **tok = luaL_checkudata(L, -1, TOKENIZER_MT);
    if (*tok == NULL) return luaL_error(L, "the tokenizer was released");
    lb_check(L, pl_tokenizer_stream(*tok, &box->state, &text, &length, id, box->flags));
    lua_pushlstring(L, text, length);
    return 1;
}

/* push(id) -> the text that is complete now */
static int stream_push(lua_State *L)
{
    lua_Integer id = luaL_checkinteger(L, 2);
    luaL_argcheck(L, id >= 0 && id <= INT32_MAX, 2, "no token id");
    return stream_text(L, (int32_t)id);
}

/* finish() -> what was held back */
static int stream_finish(lua_State *L)
{
    return stream_text(L, -1);
}

/* ------------------------------------------------------------------------------------------ */

/* text.lower(text): each character in Unicode's simple lower case; bytes that are no UTF-8 stay */
static int text_lower(lua_State *L)
{
    size_t length, size;
    const char *text = luaL_checklstring(L, 1, &length);
    lb_block *box = lb_new_block(L);
    char *lower;
    const pl_status st = pl_text_lower(lb_ctx(L), &lower, &size, text, length);
    box->block = lower;
    lb_check(L, st);
    lua_pushlstring(L, lower, size);
    return 1;
}

void lb_open_text(lua_State *L)
{
    static const luaL_Reg stream_methods[] = {
        {"push", stream_push}, {"finish", stream_finish}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"info", tok_info},
                                       {"encode", tok_encode},
                                       {"decode", tok_decode},
                                       {"id", tok_id},
                                       {"token", tok_token},
                                       {"bytes", tok_bytes},
                                       {"save", tok_save},
                                       {"hash", tok_hash},
                                       {"is_control", tok_is_control},
                                       {"set_special", tok_set_special},
                                       {"stream", tok_stream},
                                       {"__gc", tokenizer_gc},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"load", load}, {"train", train}, {"from_pieces", from_pieces}, {NULL, NULL}};
    lb_class(L, STREAM_MT, stream_methods);
    lb_class(L, TOKENIZER_MT, methods);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "tokenizer");
    lua_newtable(L);
    lua_pushcfunction(L, text_lower);
    lua_setfield(L, -2, "lower");
    lua_setfield(L, -2, "text");
}

/*
** lb_io.c - files in Lua: core.files, core.safetensors, core.llama2c.
**
** What can go wrong outside (a missing file, a full disk, a malformed checkpoint) is nil, message;
** wrong arguments, lack of memory and Ctrl-C raise. C resources sit in to-be-closed boxes, so that
** an error on the way out releases them.
*/
#include <errno.h>
#include <string.h>

#include "lb.h"

#define WEIGHTS_MT "perilune.Weights"
#define WRITER_MT "perilune.Writer"
#define LOG_MT "perilune.Log"
#define READ_LIMIT ((lua_Integer)1 << 31)

/* --------------------------------------------------------------------------------------------
** Boxes
*/
static int weights_close(lua_State *L)
{
    pl_weights **box = luaL_checkudata(L, 1, WEIGHTS_MT);
    pl_weights_close(*box);
    *box = NULL;
    return 0;
}

static pl_weights **new_weights(lua_State *L)
{
    pl_weights **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, WEIGHTS_MT);
    lua_toclose(L, -1);
    return box;
}

static int succeed(lua_State *L, pl_status st)
{
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Single files
*/

/// files.read(path, limit = 2 GB) -> text | nil, message
static int files_read(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    const lua_Integer limit = luaL_optinteger(L, 2, READ_LIMIT);
    lb_block *box = lb_new_block(L);
    char *data;
    size_t size;
    const pl_status st = pl_file_read(lb_ctx(L), &data, &size, path, limit);
    box->block = data;
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushlstring(L, data, size);
    return 1;
}

/// files.write_atomic(path, text) -> true | nil, message
static int files_write(lua_State *L)
{
    size_t size;
    const char *path = lb_check_path(L, 1), *text = luaL_checklstring(L, 2, &size);
    return succeed(L, pl_file_write(lb_ctx(L), path, text, size));
}

/// files.copy(from, to) -> true | nil, message
static int files_copy(lua_State *L)
{
    const char *from = lb_check_path(L, 1), *to = lb_check_path(L, 2);
    return succeed(L, pl_file_copy(lb_ctx(L), to, from));
}

/// files.hash(path) -> 32 hexadecimal digits (XXH3-128) | nil, message
static int files_hash(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    const pl_status st = pl_file_hash(lb_ctx(L), hex, lb_check_path(L, 1));
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushstring(L, hex);
    return 1;
}

/// files.hash_string(text) -> 32 hexadecimal digits
static int files_hash_string(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    pl_hash(hex, text, size);
    lua_pushstring(L, hex);
    return 1;
}

/// files.rename(from, to) -> true | nil, message
static int files_rename(lua_State *L)
{
    const char *from = lb_check_path(L, 1), *to = lb_check_path(L, 2);
    return succeed(L, pl_file_rename(lb_ctx(L), from, to));
}

/// files.remove(path) -> true | nil, message
static int files_remove(lua_State *L)
{
    return succeed(L, pl_file_remove(lb_ctx(L), lb_check_path(L, 1)));
}

/* --------------------------------------------------------------------------------------------
** Files written piece by piece, and logs
*/
static pl_writer *check_writer(lua_State *L)
{
    pl_writer **box = luaL_checkudata(L, 1, WRITER_MT);
    luaL_argcheck(L, *box != NULL, 1, "the file was closed");
    return *box;
}

/// files.create(path) -> writer | nil, message
static int files_create(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_writer **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, WRITER_MT);
    const pl_status st = pl_writer_open(lb_ctx(L), box, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// writer:write(text, ...) -> true | nil, message
static int writer_write(lua_State *L)
{
    pl_writer *writer = check_writer(L);
    const int n = lua_gettop(L);
    pl_status st = PL_OK;
    for (int i = 2; i <= n; i++) luaL_checkstring(L, i);
    for (int i = 2; i <= n && st == PL_OK; i++)
        st = pl_writer_put(writer, lua_tostring(L, i), lua_rawlen(L, i));
    return succeed(L, st);
}

/// writer:commit() -> true | nil, message
static int writer_commit(lua_State *L)
{
    return succeed(L, pl_writer_commit(check_writer(L)));
}

/// writer:close(): gives up what was not committed; more than once is fine
static int writer_close(lua_State *L)
{
    pl_writer **box = luaL_checkudata(L, 1, WRITER_MT);
    pl_writer *writer = *box;
    *box = NULL;
    pl_writer_close(writer);
    return 0;
}

static pl_logfile *check_log(lua_State *L)
{
    pl_logfile **box = luaL_checkudata(L, 1, LOG_MT);
    luaL_argcheck(L, *box != NULL, 1, "the log was closed");
    return *box;
}

/// files.open_log(path, {owner_only = false}) -> log | nil, message
static int files_open_log(lua_State *L)
{
    static const char *const known[] = {"owner_only", NULL};
    const char *path = lb_check_path(L, 1);
    lb_known(L, 2, "open_log option", known);
    const bool owner_only = lb_boolean_field(L, 2, "owner_only", false);
    pl_logfile **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LOG_MT);
    const pl_status st = pl_logfile_open(lb_ctx(L), box, path, owner_only);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// log:append(text) -> true | nil, message
static int log_append(lua_State *L)
{
    size_t size;
    pl_logfile *log = check_log(L);
    const char *text = luaL_checklstring(L, 2, &size);
    return succeed(L, pl_logfile_append(log, text, size));
}

/// log:sync() -> true | nil, message
static int log_sync(lua_State *L)
{
    return succeed(L, pl_logfile_sync(check_log(L)));
}

/// log:close(): more than once is fine
static int log_close(lua_State *L)
{
    pl_logfile **box = luaL_checkudata(L, 1, LOG_MT);
    pl_logfile *log = *box;
    *box = NULL;
    pl_logfile_close(log);
    return 0;
}

/* --------------------------------------------------------------------------------------------
** Folders
*/

/// files.folder_make(path) -> true | nil, message
static int folder_make(lua_State *L)
{
    return succeed(L, pl_folder_make(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_remove(path) -> true | nil, message
static int folder_remove(lua_State *L)
{
    return succeed(L, pl_folder_remove(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_begin(path) -> name of a temporary folder to fill | nil, message
static int folder_begin(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    lb_block *box = lb_new_block(L);
    char *tmp;
    const pl_status st = pl_folder_begin(lb_ctx(L), &tmp, path);
    box->block = tmp;
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushstring(L, tmp);
    return 1;
}

/// files.folder_commit(tmp, path) -> true | nil, message
static int folder_commit(lua_State *L)
{
    const char *tmp = lb_check_path(L, 1), *path = lb_check_path(L, 2);
    return succeed(L, pl_folder_commit(lb_ctx(L), tmp, path));
}

/// files.folder_verify(path) -> true | nil, message
static int folder_verify(lua_State *L)
{
    return succeed(L, pl_folder_verify(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_discard(tmp) -> true | nil, message
static int folder_discard(lua_State *L)
{
    return succeed(L, pl_folder_discard(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.io_fail_at(k, kind = "EIO", forever = false): test hook; k = 0 turns it off
static int io_fail_at(lua_State *L)
{
    static const char *const kinds[] = {"EIO", "ENOSPC", "EDQUOT", "EINTR", "short", NULL};
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, 0};
    const lua_Integer k = luaL_checkinteger(L, 1);
    pl_io_fail_at(lb_ctx(L), k, errors[luaL_checkoption(L, 2, "EIO", kinds)], lua_toboolean(L, 3));
    return 0;
}

/// files.io_calls() -> input/output calls since the start
static int io_calls(lua_State *L)
{
    lua_pushinteger(L, pl_io_calls(lb_ctx(L)));
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Tables of named tensors
*/

/* Arrays with the strings and tensors of the table at idx, held by userdata left on the stack. */
static lua_Integer gather(lua_State *L, int idx, const char ***names, pl_tensor ***tensors)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    lua_Integer n = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) n++;
    *names = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **names, 0);
    *tensors = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **tensors, 0);
    n = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        size_t length;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_argerror(L, idx, "the keys of the table must be the names of the tensors");
        const char *name = lua_tolstring(L, -2, &length);
        if (strlen(name) != length) luaL_argerror(L, idx, "a name holds a NUL");
        if (luaL_testudata(L, -1, "perilune.Tensor") == NULL)
            luaL_error(L, "'%s' must be a tensor, not %s", name, luaL_typename(L, -1));
        (*tensors)[n] = lb_check_tensor(L, -1);
        (*names)[n++] = name;
    }
    return n;
}

/* The same for a table of strings; nil is an empty table. */
static lua_Integer gather_notes(lua_State *L, int idx, const char ***keys, const char ***values)
{
    lua_Integer n = 0;
    *keys = *values = NULL;
    if (lua_isnoneornil(L, idx)) return 0;
    luaL_checktype(L, idx, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) n++;
    *keys = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **keys, 0);
    *values = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof **values, 0);
    n = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING ||
            strlen(lua_tostring(L, -2)) != lua_rawlen(L, -2) ||
            strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
            luaL_argerror(L, idx, "metadata must be strings by string, without NUL");
        (*keys)[n] = lua_tostring(L, -2);
        (*values)[n++] = lua_tostring(L, -1);
    }
    return n;
}

/// files.hash_tensors{name = tensor} -> 32 hexadecimal digits over names, dtypes, shapes and bytes
static int files_hash_tensors(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    const char **names;
    pl_tensor **tensors;
    const lua_Integer n = gather(L, 1, &names, &tensors);
    lb_check(L, pl_hash_tensors(lb_ctx(L), hex, names, tensors, n));
    lua_pushstring(L, hex);
    return 1;
}

/* Sets tensor i of the weights into the table at idx under its name. */
static pl_status set_tensor(lua_State *L, int idx, const pl_weights *w, int64_t i)
{
    const pl_weight_info info = pl_weights_get(w, i);
    pl_tensor **box = lb_new_tensor(L);
    const pl_status st = pl_weights_load(lb_ctx(L), box, w, i);
    if (st != PL_OK) return st;
    lb_charge(L, *box);
    lua_setfield(L, idx, info.name);
    return PL_OK;
}

/* The first name of the list at `only` that the file does not have, else NULL. */
static const char *missing_name(lua_State *L, const pl_weights *w, int only)
{
    const lua_Integer n = only != 0 ? (lua_Integer)lua_rawlen(L, only) : 0;
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, only, i) != LUA_TSTRING) luaL_error(L, "'only' must be a list of names");
        const char *name = lua_tostring(L, -1);
        lua_pop(L, 1);
        if (pl_weights_find(w, name) < 0) return name;
    }
    return NULL;
}

/* Pushes a table of the tensors: all, or those that the list at `only` names. */
static pl_status push_tensors(lua_State *L, const pl_weights *w, int only)
{
    lua_newtable(L);
    const int table = lua_gettop(L);
    pl_status st = PL_OK;
    if (only == 0) {
        for (int64_t i = 0; i < pl_weights_count(w) && st == PL_OK; i++)
            st = set_tensor(L, table, w, i);
        return st;
    }
    const lua_Integer n = (lua_Integer)lua_rawlen(L, only);
    for (lua_Integer i = 1; i <= n && st == PL_OK; i++) {
        lua_rawgeti(L, only, i);
        st = set_tensor(L, table, w, pl_weights_find(w, lua_tostring(L, -1)));
        if (st == PL_OK) lua_settop(L, table);
    }
    return st;
}

static void push_notes(lua_State *L, const pl_weights *w)
{
    lua_newtable(L);
    for (int64_t i = 0; i < pl_weights_note_count(w); i++) {
        const char *key, *value;
        pl_weights_note(w, i, &key, &value);
        lua_pushstring(L, value);
        lua_setfield(L, -2, key);
    }
}

/* The stack index of opts.only, 0 when absent. */
static int check_only(lua_State *L, int idx)
{
    static const char *const known[] = {"only", NULL};
    lb_known(L, idx, "option", known);
    if (lua_isnoneornil(L, idx) || lua_getfield(L, idx, "only") == LUA_TNIL) return 0;
    luaL_checktype(L, -1, LUA_TTABLE);
    return lua_gettop(L);
}

/// safetensors.load(path, {only = names}) -> {name = tensor}, metadata | nil, message
static int safetensors_load(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    const int only = check_only(L, 2);
    pl_weights **box = new_weights(L);
    pl_status st = pl_safetensors_open(lb_ctx(L), box, path);
    if (st != PL_OK) return lb_soft_fail(L, st);
    const char *missing = missing_name(L, *box, only);
    if (missing != NULL) {
        lua_pushnil(L);
        lua_pushfstring(L, "'%s' has no tensor '%s'", path, missing);
        return 2;
    }
    st = push_tensors(L, *box, only);
    if (st != PL_OK) return lb_soft_fail(L, st);
    push_notes(L, *box);
    return 2;
}

static void push_info(lua_State *L, const pl_weight_info *info)
{
    lua_createtable(L, 0, 3);
    lua_pushstring(L, info->stored);
    lua_setfield(L, -2, "stored");
    lua_pushstring(L, pl_dtype_name(info->dtype));
    lua_setfield(L, -2, "dtype");
    lua_createtable(L, info->rank, 0);
    for (int i = 0; i < info->rank; i++) {
        lua_pushinteger(L, info->shape[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "shape");
}

/// safetensors.names(path) -> {name, ...}, {name = {stored =, dtype =, shape =}}, metadata
static int safetensors_names(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_weights **box = new_weights(L);
    const pl_status st = pl_safetensors_open(lb_ctx(L), box, path);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_newtable(L);
    lua_newtable(L);
    for (int64_t i = 0; i < pl_weights_count(*box); i++) {
        const pl_weight_info info = pl_weights_get(*box, i);
        lua_pushstring(L, info.name);
        lua_rawseti(L, -3, i + 1);
        push_info(L, &info);
        lua_setfield(L, -2, info.name);
    }
    push_notes(L, *box);
    return 3;
}

/// safetensors.save(path, {name = tensor}, metadata) -> true | nil, message
static int safetensors_save(lua_State *L)
{
    const char **names, **keys, **values;
    pl_tensor **tensors;
    const char *path = lb_check_path(L, 1);
    lua_settop(L, 3);
    const lua_Integer n = gather(L, 2, &names, &tensors);
    const lua_Integer n_notes = gather_notes(L, 3, &keys, &values);
    return succeed(L,
                   pl_safetensors_save(lb_ctx(L), path, names, tensors, n, keys, values, n_notes));
}

/// llama2c.load(path) -> config in Hugging Face's names, {name = tensor} | nil, message
static int llama2c_load(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_llama2c_config c;
    pl_weights **box = new_weights(L);
    pl_status st = pl_llama2c_open(lb_ctx(L), box, &c, path);
    if (st != PL_OK) return lb_soft_fail(L, st);
    const struct {
        const char *name;
        lua_Integer value;
    } sizes[] = {{"hidden_size", c.dim},
                 {"intermediate_size", c.hidden_dim},
                 {"num_hidden_layers", c.n_layers},
                 {"num_attention_heads", c.n_heads},
                 {"num_key_value_heads", c.n_kv_heads},
                 {"vocab_size", c.vocab_size},
                 {"max_position_embeddings", c.seq_len}};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        lua_pushinteger(L, sizes[i].value);
        lua_setfield(L, -2, sizes[i].name);
    }
    lua_pushliteral(L, "llama");
    lua_setfield(L, -2, "model_type");
    lua_pushboolean(L, c.tied);
    lua_setfield(L, -2, "tie_word_embeddings");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "rope_interleaved");
    lua_pushnumber(L, 10000.0);
    lua_setfield(L, -2, "rope_theta");
    lua_pushnumber(L, 1e-5);
    lua_setfield(L, -2, "rms_norm_eps");
    lua_pushinteger(L, 1);
    lua_setfield(L, -2, "bos_token_id");
    lua_pushinteger(L, 2);
    lua_setfield(L, -2, "eos_token_id");
    st = push_tensors(L, *box, 0);
    return st == PL_OK ? 2 : lb_soft_fail(L, st);
}

static void sub_table(lua_State *L, const char *name, const luaL_Reg *functions)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, name);
}

void lb_open_io(lua_State *L)
{
    static const luaL_Reg weights[] = {
        {"__gc", weights_close}, {"__close", weights_close}, {NULL, NULL}};
    static const luaL_Reg writer[] = {{"write", writer_write},   {"commit", writer_commit},
                                      {"close", writer_close},   {"__gc", writer_close},
                                      {"__close", writer_close}, {NULL, NULL}};
    static const luaL_Reg log[] = {{"append", log_append}, {"sync", log_sync},
                                   {"close", log_close},   {"__gc", log_close},
                                   {"__close", log_close}, {NULL, NULL}};
    static const luaL_Reg files[] = {{"read", files_read},
                                     {"write_atomic", files_write},
                                     {"copy", files_copy},
                                     {"rename", files_rename},
                                     {"remove", files_remove},
                                     {"create", files_create},
                                     {"open_log", files_open_log},
                                     {"hash", files_hash},
                                     {"hash_string", files_hash_string},
                                     {"hash_tensors", files_hash_tensors},
                                     {"folder_make", folder_make},
                                     {"folder_remove", folder_remove},
                                     {"folder_begin", folder_begin},
                                     {"folder_commit", folder_commit},
                                     {"folder_verify", folder_verify},
                                     {"folder_discard", folder_discard},
                                     {"io_fail_at", io_fail_at},
                                     {"io_calls", io_calls},
                                     {NULL, NULL}};
    static const luaL_Reg safetensors[] = {{"load", safetensors_load},
                                           {"names", safetensors_names},
                                           {"save", safetensors_save},
                                           {NULL, NULL}};
    static const luaL_Reg llama2c[] = {{"load", llama2c_load}, {NULL, NULL}};
    lb_class(L, WEIGHTS_MT, weights);
    lb_class(L, WRITER_MT, writer);
    lb_class(L, LOG_MT, log);
    sub_table(L, "files", files);
    sub_table(L, "safetensors", safetensors);
    sub_table(L, "llama2c", llama2c);
}

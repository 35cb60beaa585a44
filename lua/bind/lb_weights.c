/*
** lb_weights.c - weight files in Lua: core.safetensors, core.llama2c, core.gguf; hashes of tensors.
**
** What can go wrong outside is nil, message, as in lb_io.c. Files sit in to-be-closed boxes, so
** that an error on the way out closes them; those of `open` stay open with their handle.
*/
#include <string.h>

#include "lb.h"

#define WEIGHTS_MT "perilune.Weights"
#define FILE_MT "perilune.WeightFile"

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
        lb_set_string(L, key, value);
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
    lb_set_string(L, "stored", info->stored);
    lb_set_string(L, "dtype", pl_dtype_name(info->dtype));
    lua_createtable(L, info->rank, 0);
    for (int i = 0; i < info->rank; i++) {
        lua_pushinteger(L, info->shape[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "shape");
}

/* A list of the names, and a table of what each is. */
static void push_names(lua_State *L, const pl_weights *w)
{
    lua_newtable(L);
    lua_newtable(L);
    for (int64_t i = 0; i < pl_weights_count(w); i++) {
        const pl_weight_info info = pl_weights_get(w, i);
        lua_pushstring(L, info.name);
        lua_rawseti(L, -3, i + 1);
        push_info(L, &info);
        lua_setfield(L, -2, info.name);
    }
}

/// safetensors.names(path) -> {name, ...}, {name = {stored =, dtype =, shape =}}, metadata
static int safetensors_names(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_weights **box = new_weights(L);
    const pl_status st = pl_safetensors_open(lb_ctx(L), box, path);
    if (st != PL_OK) return lb_soft_fail(L, st);
    push_names(L, *box);
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
    const pl_status st =
        pl_safetensors_save(lb_ctx(L), path, names, tensors, n, keys, values, n_notes);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
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
        lb_set_integer(L, sizes[i].name, sizes[i].value);
    }
    lb_set_string(L, "model_type", "llama");
    lb_set_boolean(L, "tie_word_embeddings", c.tied);
    lb_set_boolean(L, "rope_interleaved", 1);
    lb_set_number(L, "rope_theta", 10000.0);
    lb_set_number(L, "rms_norm_eps", 1e-5);
    lb_set_integer(L, "bos_token_id", 1);
    lb_set_integer(L, "eos_token_id", 2);
    st = push_tensors(L, *box, 0);
    return st == PL_OK ? 2 : lb_soft_fail(L, st);
}

/* --------------------------------------------------------------------------------------------
** Open files
*/
typedef struct {
    pl_weights *weights; /* owned, unless it is gguf's */
    pl_gguf *gguf;       /* NULL for other formats */
} open_file;

static int file_close(lua_State *L)
{
    open_file *file = luaL_checkudata(L, 1, FILE_MT);
    if (file->gguf != NULL) pl_gguf_close(file->gguf);
    else pl_weights_close(file->weights);
    *file = (open_file){NULL, NULL};
    return 0;
}

static open_file *new_file(lua_State *L)
{
    open_file *file = lua_newuserdatauv(L, sizeof *file, 0);
    *file = (open_file){NULL, NULL};
    luaL_setmetatable(L, FILE_MT);
    return file;
}

static const pl_weights *check_file(lua_State *L)
{
    const open_file *file = luaL_checkudata(L, 1, FILE_MT);
    luaL_argcheck(L, file->gguf != NULL || file->weights != NULL, 1, "the file was closed");
    return file->gguf != NULL ? pl_gguf_weights(file->gguf) : file->weights;
}

static const pl_gguf *check_gguf(lua_State *L)
{
    check_file(L);
    const open_file *file = lua_touserdata(L, 1);
    luaL_argcheck(L, file->gguf != NULL, 1, "the file is no GGUF file: it has no entries");
    return file->gguf;
}

/// gguf.open(path) -> file | nil, message
static int gguf_open(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    open_file *file = new_file(L);
    const pl_status st = pl_gguf_open(lb_ctx(L), &file->gguf, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// safetensors.open(path) -> file | nil, message
static int safetensors_open(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    open_file *file = new_file(L);
    const pl_status st = pl_safetensors_open(lb_ctx(L), &file->weights, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

static void push_value(lua_State *L, const pl_gguf *g, int64_t i, int64_t j, pl_gguf_kind kind)
{
    size_t length;
    if (kind == PL_GGUF_TEXT) {
        const char *text = pl_gguf_text(g, i, j, &length);
        lua_pushlstring(L, text, length);
    } else if (kind == PL_GGUF_NUMBER) {
        lua_pushnumber(L, pl_gguf_number(g, i, j));
    } else if (kind == PL_GGUF_BOOLEAN) {
        lua_pushboolean(L, (int)pl_gguf_integer(g, i, j));
    } else {
        lua_pushinteger(L, pl_gguf_integer(g, i, j));
    }
}

/// file:get(key) -> the value, a list for a list; nil when there is no such key
static int file_get(lua_State *L)
{
    const pl_gguf *g = check_gguf(L);
    const int64_t i = pl_gguf_find(g, luaL_checkstring(L, 2));
    if (i < 0) return 0;
    const pl_gguf_entry e = pl_gguf_get(g, i);
    if (!e.list) {
        push_value(L, g, i, 0, e.kind);
        return 1;
    }
    lua_createtable(L, e.n < INT32_MAX ? (int)e.n : 0, 0);
    for (int64_t j = 0; j < e.n; j++) {
        push_value(L, g, i, j, e.kind);
        lua_rawseti(L, -2, j + 1);
    }
    return 1;
}

/// file:keys() -> {key, ...} in their order
static int file_keys(lua_State *L)
{
    const pl_gguf *g = check_gguf(L);
    lua_newtable(L);
    for (int64_t i = 0; i < pl_gguf_count(g); i++) {
        lua_pushstring(L, pl_gguf_get(g, i).key);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/// file:names() -> {name, ...}, {name = {stored =, dtype =, shape =}}
static int file_names(lua_State *L)
{
    push_names(L, check_file(L));
    return 2;
}

/// file:load(name, keep = false) -> tensor | nil, message
static int file_load(lua_State *L)
{
    const pl_weights *w = check_file(L);
    const char *name = luaL_checkstring(L, 2);
    const bool keep = lua_toboolean(L, 3);
    const int64_t i = pl_weights_find(w, name);
    if (i < 0) {
        lua_pushnil(L);
        lua_pushfstring(L, "the file has no tensor '%s'", name);
        return 2;
    }
    pl_tensor **box = lb_new_tensor(L);
    const pl_status st =
        keep ? pl_weights_keep(lb_ctx(L), box, w, i) : pl_weights_load(lb_ctx(L), box, w, i);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lb_charge(L, *box);
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Writing GGUF
*/

/* The values of the field on top of the stack, into memory that stays on the stack as userdata. */
static void take_values(lua_State *L, pl_gguf_field *field)
{
    const int values = lua_gettop(L);
    const size_t n = (size_t)field->n;
    double *numbers = lua_newuserdatauv(L, (n + 1) * sizeof *numbers, 0);
    const char **texts = lua_newuserdatauv(L, (n + 1) * sizeof *texts, 0);
    size_t *lengths = lua_newuserdatauv(L, (n + 1) * sizeof *lengths, 0);
    for (size_t i = 0; i < n; i++) {
        if (field->list) lua_rawgeti(L, values, (lua_Integer)i + 1);
        else lua_pushvalue(L, values);
        if (field->type == PL_GGUF_AS_TEXT) {
            if (lua_type(L, -1) != LUA_TSTRING)
                luaL_error(L, "gguf.save: '%s' must hold texts", field->key);
            texts[i] = lua_tolstring(L, -1, &lengths[i]); /* the table holds the string */
        } else if (field->type == PL_GGUF_AS_BOOL) {
            numbers[i] = lua_toboolean(L, -1);
        } else {
            if (lua_type(L, -1) != LUA_TNUMBER)
                luaL_error(L, "gguf.save: '%s' must hold numbers", field->key);
            numbers[i] = lua_tonumber(L, -1);
        }
        lua_pop(L, 1);
    }
    field->numbers = numbers;
    field->texts = texts;
    field->lengths = lengths;
}

/* The fields of the list at idx: {key, type, value}. Three values a field stay on the stack, in a
** table, so that their memory lives as long as the call. */
static pl_gguf_field *take_fields(lua_State *L, int idx, lua_Integer *n)
{
    static const char *const types[] = {"u32", "i32", "f32", "bool", "text", NULL};
    luaL_checktype(L, idx, LUA_TTABLE);
    *n = (lua_Integer)lua_rawlen(L, idx);
    pl_gguf_field *fields = lua_newuserdatauv(L, ((size_t)*n + 1) * sizeof *fields, 0);
    lua_newtable(L);
    const int anchors = lua_gettop(L);
    for (lua_Integer i = 0; i < *n; i++) {
        pl_gguf_field *field = &fields[i];
        if (lua_rawgeti(L, idx, i + 1) != LUA_TTABLE)
            luaL_error(L, "gguf.save: a field is no table");
        const int row = lua_gettop(L);
        if (lua_rawgeti(L, row, 1) != LUA_TSTRING || lua_rawgeti(L, row, 2) != LUA_TSTRING)
            luaL_error(L, "gguf.save: a field is {key, type, value}");
        *field = (pl_gguf_field){.key = lua_tostring(L, -2),
                                 .type = (pl_gguf_type)luaL_checkoption(L, -1, NULL, types),
                                 .n = 1};
        field->list = lua_rawgeti(L, row, 3) == LUA_TTABLE;
        if (field->list) field->n = (int64_t)lua_rawlen(L, -1);
        take_values(L, field);
        for (int kept = 3; kept > 0; kept--) lua_rawseti(L, anchors, 3 * i + kept);
        lua_settop(L, anchors);
    }
    return fields;
}

/// gguf.save(path, {{key, type, value}, ...}, {name = tensor}) -> true | nil, message
static int gguf_save(lua_State *L)
{
    const char **names;
    pl_tensor **tensors;
    lua_Integer n_fields;
    const char *path = lb_check_path(L, 1);
    lua_settop(L, 3);
    const pl_gguf_field *fields = take_fields(L, 2, &n_fields);
    const lua_Integer n = gather(L, 3, &names, &tensors);
    const pl_status st = pl_gguf_save(lb_ctx(L), path, fields, n_fields, names, tensors, n);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

static void sub_table(lua_State *L, const char *name, const luaL_Reg *functions)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, name);
}

void lb_open_weights(lua_State *L)
{
    static const luaL_Reg weights[] = {
        {"__gc", weights_close}, {"__close", weights_close}, {NULL, NULL}};
    static const luaL_Reg file[] = {
        {"get", file_get},     {"keys", file_keys},  {"names", file_names},   {"load", file_load},
        {"close", file_close}, {"__gc", file_close}, {"__close", file_close}, {NULL, NULL}};
    static const luaL_Reg safetensors[] = {{"open", safetensors_open},
                                           {"load", safetensors_load},
                                           {"names", safetensors_names},
                                           {"save", safetensors_save},
                                           {NULL, NULL}};
    static const luaL_Reg llama2c[] = {{"load", llama2c_load}, {NULL, NULL}};
    static const luaL_Reg gguf[] = {{"open", gguf_open}, {"save", gguf_save}, {NULL, NULL}};
    static const luaL_Reg hashes[] = {{"hash_tensors", files_hash_tensors}, {NULL, NULL}};
    lb_class(L, WEIGHTS_MT, weights);
    lb_class(L, FILE_MT, file);
    sub_table(L, "safetensors", safetensors);
    sub_table(L, "llama2c", llama2c);
    sub_table(L, "gguf", gguf);
    lua_getfield(L, -1, "files");
    luaL_setfuncs(L, hashes, 0);
    lua_pop(L, 1);
}

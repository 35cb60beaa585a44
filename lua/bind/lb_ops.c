/*
** lb_ops.c - one Lua function for each row of ops.def, and the method where the row has the flag M.
**
** pl.<op>(inputs..., parameters): inputs in the row's order; a number stands for a tensor of one
** element, a table of integers for an int32 tensor, nil for an absent optional input.
** Parameters follow by position, or as one table with names; an unknown name is an error. Axes
** count from 1 (negative from the end), and so do elements along an axis.
*/
#include <stdio.h>
#include <string.h>

#include "lb.h"

static pl_tensor *test_tensor(lua_State *L, int idx)
{
    return lb_test_tensor(L, idx) != NULL ? lb_check_tensor(L, idx) : NULL;
}

/* What the user called: the op, or the operator that stands for it. */
static const char *called(lua_State *L, const pl_op_row *row)
{
    const char *sign = lua_tostring(L, lua_upvalueindex(2));
    return sign != NULL ? sign : row->name;
}

/* lb_check, with an operator in place of the op's name. */
static void check_op(lua_State *L, const pl_op_row *row, pl_status st)
{
    const char *name = called(L, row), *text = pl_error(lb_ctx(L));
    const size_t n = strlen(row->name);
    if (st == PL_OK || name == row->name || strncmp(text, row->name, n) != 0 || text[n] != ':')
        lb_check(L, st);
    else luaL_error(L, "%s%s", name, text + n);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static int bad_value(lua_State *L, const pl_op_row *row, const pl_param_row *p, const char *want)
{
    return luaL_error(L, "%s: '%s' must be %s", row->name, p->name, want);
}

static void read_list(lua_State *L, int idx, const pl_op_row *row, const pl_param_row *p,
                      pl_param *value)
{
    const char *what = lua_pushfstring(L, "%s: %s", row->name, p->name);
    if (!lua_istable(L, idx)) bad_value(L, row, p, "a list of integers");
    value->n = 0;
    const lua_Integer n = luaL_len(L, idx);
    if (n > PL_MAX_RANK) luaL_error(L, "%s: at most %d integers wanted", what, PL_MAX_RANK);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, idx, i);
        value->list[value->n++] = lb_list_integer(L, what, i);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_param(lua_State *L, int idx, const pl_op_row *row, int k, pl_param *value)
{
    const pl_param_row *p = &row->param[k];
    int fine = 1;
    switch (p->kind) {
    case PL_PARAM_FLOAT:
        value->f = lua_tonumberx(L, idx, &fine);
        if (!fine) bad_value(L, row, p, "a number");
        break;
    case PL_PARAM_BOOL:
        if (!lua_isboolean(L, idx)) bad_value(L, row, p, "true or false");
        value->i = lua_toboolean(L, idx);
        break;
    case PL_PARAM_ENUM: {
        const char *name = lua_type(L, idx) == LUA_TSTRING ? lua_tostring(L, idx) : "";
        const char *names[9] = {NULL};
        for (int c = 0; c < p->n_choices; c++) {
            names[c] = p->choices[c];
            if (strcmp(name, p->choices[c]) == 0) {
                value->i = c;
                return;
            }
        }
        lua_pushfstring(L, "%s of %s", p->name, row->name);
        lb_unknown(L, lua_tostring(L, -1), name, names);
        break;
    }
    case PL_PARAM_LIST: read_list(L, idx, row, p, value); break;
    case PL_PARAM_INT:
    case PL_PARAM_AXIS:
    case PL_PARAM_START:
    case PL_PARAM_STOP: /* the last one taken, from 1, is the first one not taken, from 0 */
        value->i = lua_tointegerx(L, idx, &fine);
        if (!fine) bad_value(L, row, p, "an integer");
        if (p->kind == PL_PARAM_AXIS || p->kind == PL_PARAM_START) {
            if (value->i == 0)
                luaL_error(L, "%s: %s is 0; %s count from 1, or from the end with -1", row->name,
                           p->name, p->kind == PL_PARAM_AXIS ? "axes" : "places");
            if (value->i > 0) value->i--;
        }
        break;
    }
}

static void read_named(lua_State *L, int idx, const pl_op_row *row, pl_param *values)
{
    const char *names[PL_MAX_PARAM + 1] = {NULL};
    for (int k = 0; k < row->n_param; k++) names[k] = row->param[k].name;
    lua_pushfstring(L, "parameter of %s", row->name);
    lb_known(L, idx, lua_tostring(L, -1), names);
    lua_pop(L, 1);
    for (int k = 0; k < row->n_param; k++) {
        if (lua_getfield(L, idx, names[k]) != LUA_TNIL)
            read_param(L, lua_gettop(L), row, k, &values[k]);
        lua_pop(L, 1);
    }
}

static void read_params(lua_State *L, int idx, const pl_op_row *row, pl_param *values)
{
    for (int k = 0; k < row->n_param; k++) values[k] = row->param[k].fallback;
    const int top = lua_gettop(L);
    if (idx > top) return;
    const bool list_first = row->n_param > 0 && row->param[0].kind == PL_PARAM_LIST;
    if (list_first && lua_isinteger(L, idx)) { /* x:reshape(2, 3) */
        values[0].n = 0;
        if (top - idx + 1 > PL_MAX_RANK) luaL_error(L, "%s: at most 6 sizes", row->name);
        for (; idx <= top; idx++) values[0].list[values[0].n++] = luaL_checkinteger(L, idx);
        return;
    }
    if (lua_istable(L, idx) && !(list_first && lua_rawlen(L, idx) > 0)) {
        if (top > idx) luaL_error(L, "%s: nothing may follow the table of parameters", row->name);
        read_named(L, idx, row, values);
        return;
    }
    if (top - idx + 1 > row->n_param)
        luaL_error(L, "%s: %d argument%s too many", row->name, top - idx + 1 - row->n_param,
                   top - idx + 1 - row->n_param == 1 ? "" : "s");
    for (int k = 0; idx <= top; idx++, k++)
        if (!lua_isnil(L, idx)) read_param(L, idx, row, k, &values[k]);
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* A tensor of one element for a number, in the dtype of the other inputs. Replaces the argument. */
static pl_tensor *scalar_at(lua_State *L, int idx, pl_dtype dtype)
{
    const double value = lua_tonumber(L, idx);
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_new(lb_ctx(L), box, dtype, 0, NULL));
    if (dtype == PL_F64) *(double *)pl_tensor_data(*box) = value;
    else *(float *)pl_tensor_data(*box) = (float)value;
    lua_replace(L, idx);
    return *(pl_tensor **)lua_touserdata(L, idx);
}

static pl_tensor *ints_at(lua_State *L, int idx, const pl_op_row *row, const pl_input_row *want)
{
    const char *what = lua_pushfstring(L, "%s: %s", row->name, want->name);
    const int64_t n = luaL_len(L, idx);
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_new(lb_ctx(L), box, PL_I32, 1, &n));
    int32_t *data = pl_tensor_data(*box);
    for (int64_t i = 0; i < n; i++) {
        lua_geti(L, idx, i + 1);
        data[i] = lb_list_int32(L, what, i + 1);
        lua_pop(L, 1);
    }
    lua_replace(L, idx);
    lua_pop(L, 1);
    return *(pl_tensor **)lua_touserdata(L, idx);
}

static pl_dtype float_dtype(lua_State *L, int top)
{
    for (int i = 1; i <= top; i++) {
        const pl_tensor *t = test_tensor(L, i);
        if (t != NULL && (pl_tensor_dtype(t) == PL_F32 || pl_tensor_dtype(t) == PL_F64))
            return pl_tensor_dtype(t);
    }
    return PL_F32;
}

/* Fills in[] from the arguments; returns the index of the first parameter. */
static int read_inputs(lua_State *L, const pl_op_row *row, pl_tensor **in)
{
    const int top = lua_gettop(L);
    const pl_dtype dtype = float_dtype(L, top);
    int idx = 1;
    for (int i = 0; i < row->n_in; i++, idx++) {
        const pl_input_row *want = &row->in[i];
        in[i] = idx <= top ? test_tensor(L, idx) : NULL;
        if (in[i] != NULL) continue;
        if (want->integer && lua_istable(L, idx) && (!want->optional || lua_rawlen(L, idx) > 0)) {
            in[i] = ints_at(L, idx, row, want);
            continue;
        }
        if (!want->integer && !want->optional && lua_isnumber(L, idx)) {
            in[i] = scalar_at(L, idx, dtype);
            continue;
        }
        if (want->optional) {
            if (idx > top || !lua_isnil(L, idx)) idx--; /* absent: a parameter stands here */
            continue;
        }
        return luaL_error(L, "%s: '%s' must be %s, got %s", called(L, row), want->name,
                          want->integer ? "int32 or a list of integers"
                          : i > 0       ? "a tensor or a number"
                                        : "a tensor",
                          idx > top ? "nothing" : luaL_typename(L, idx));
    }
    return idx;
}

/* Ends of a run that are counted from the end: the size of the axis is known only now. */
static void settle_runs(const pl_op_row *row, pl_tensor *const *in, pl_param *values)
{
    int64_t axis = 0;
    for (int k = 0; k < row->n_param; k++)
        if (row->param[k].kind == PL_PARAM_AXIS) axis = values[k].i;
    const int rank = row->n_in > 0 && in[0] != NULL ? pl_tensor_rank(in[0]) : 0;
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return; /* the op says so */
    for (int k = 0; k < row->n_param; k++) {
        const pl_param_kind kind = row->param[k].kind;
        if (values[k].i >= 0 || values[k].i == PL_AXIS_ALL) continue;
        if (kind == PL_PARAM_START) values[k].i += pl_tensor_shape(in[0])[axis];
        else if (kind == PL_PARAM_STOP) values[k].i += pl_tensor_shape(in[0])[axis] + 1;
    }
}

/* pl.concat{a, b, ...} -> pl.concat(a, b, ...) */
static void spread_table(lua_State *L)
{
    const lua_Integer n = luaL_len(L, 1);
    luaL_argcheck(L, n >= 1 && n <= PL_MAX_IN, 1, "1 to 8 tensors wanted");
    luaL_checkstack(L, (int)n + 4, NULL);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_geti(L, 1, i);
        lua_insert(L, 1 + (int)i);
    }
    lua_remove(L, 1);
}

static int op_call(lua_State *L)
{
    const pl_op_id op = (pl_op_id)lua_tointeger(L, lua_upvalueindex(1));
    pl_ctx *ctx = lb_ctx(L);
    const pl_op_row *row = pl_op_get(ctx, op);
    pl_tensor *in[PL_MAX_IN], *out[PL_MAX_OUT];
    pl_param values[PL_MAX_PARAM];
    if ((row->flags & PL_OPF_LIST) && lua_istable(L, 1)) spread_table(L);
    read_params(L, read_inputs(L, row, in), row, values);
    settle_runs(row, in, values);

    luaL_checkstack(L, PL_MAX_OUT + 4, NULL);
    pl_tensor **boxes[PL_MAX_OUT];
    for (int i = 0; i < row->n_out; i++) boxes[i] = lb_new_tensor(L);
    pl_status st = pl_op(ctx, op, in, values, out);
    if (st == PL_ERR_NOMEM && pl_scope_depth(ctx) == 0) { /* garbage tensors may make room */
        lua_gc(L, LUA_GCCOLLECT);
        st = pl_op(ctx, op, in, values, out);
    }
    check_op(L, row, st);
    for (int i = 0; i < row->n_out; i++) {
        *boxes[i] = out[i];
        lb_charge(L, out[i]);
    }
    return row->n_out;
}

/* Lua gives the operand of unary minus twice. */
static int op_unary(lua_State *L)
{
    lua_settop(L, 1);
    return op_call(L);
}

/* ---- what rows say about themselves ---------------------------------------------------------- */

static void push_param_row(lua_State *L, const pl_param_row *p)
{
    static const char *const kinds[] = {"int",  "float", "bool",  "enum",
                                        "axis", "list",  "start", "stop"};
    lua_newtable(L);
    lb_set_string(L, "name", p->name);
    lb_set_string(L, "kind", kinds[p->kind]);
    if (p->kind == PL_PARAM_FLOAT) lua_pushnumber(L, p->fallback.f);
    else if (p->kind == PL_PARAM_BOOL) lua_pushboolean(L, p->fallback.i != 0);
    else if (p->kind == PL_PARAM_ENUM) lua_pushstring(L, p->choices[p->fallback.i]);
    else if (p->kind == PL_PARAM_AXIS && p->fallback.i == PL_AXIS_ALL) lua_pushliteral(L, "all");
    else if (p->kind == PL_PARAM_STOP && p->fallback.i == PL_AXIS_ALL) lua_pushliteral(L, "end");
    else if (p->kind == PL_PARAM_START) lua_pushinteger(L, p->fallback.i + 1);
    else if (p->kind == PL_PARAM_AXIS && p->fallback.i >= 0) lua_pushinteger(L, p->fallback.i + 1);
    else if (p->kind == PL_PARAM_LIST) lua_pushnil(L);
    else lua_pushinteger(L, p->fallback.i);
    lua_setfield(L, -2, "default");
    if (p->kind != PL_PARAM_ENUM) return;
    lua_newtable(L);
    for (int c = 0; c < p->n_choices; c++) {
        lua_pushstring(L, p->choices[c]);
        lua_seti(L, -2, c + 1);
    }
    lua_setfield(L, -2, "choices");
}

static void push_row(lua_State *L, const pl_op_row *row)
{
    lua_newtable(L);
    lb_set_string(L, "name", row->name);
    lb_set_string(L, "shapes", row->shapes);
    lb_set_string(L, "doc", row->doc);
    lua_newtable(L);
    for (int i = 0; i < row->n_in; i++) {
        lua_newtable(L);
        lb_set_string(L, "name", row->in[i].name);
        lb_set_boolean(L, "optional", row->in[i].optional);
        lb_set_boolean(L, "integer", row->in[i].integer);
        lb_set_boolean(L, "kept", row->in[i].kept);
        lb_set_boolean(L, "any", row->in[i].any);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "inputs");
    lua_newtable(L);
    for (int i = 0; i < row->n_param; i++) {
        push_param_row(L, &row->param[i]);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "params");
    lua_newtable(L);
    for (int i = 0; i < row->n_out; i++) {
        lua_pushstring(L, row->out[i]);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "outputs");
    lua_newtable(L);
    lb_set_boolean(L, "nograd", row->flags & PL_OPF_NOGRAD);
    lb_set_boolean(L, "fused", row->flags & PL_OPF_FUSED);
    lb_set_boolean(L, "method", row->flags & PL_OPF_METHOD);
    lb_set_boolean(L, "list", row->flags & PL_OPF_LIST);
    lua_setfield(L, -2, "flags");
}

static int ops_list(lua_State *L)
{
    lua_newtable(L);
    for (int op = 0; op < PL_OP_COUNT; op++) {
        push_row(L, pl_op_get(lb_ctx(L), (pl_op_id)op));
        lua_seti(L, -2, op + 1);
    }
    return 1;
}

static int nan_check(lua_State *L)
{
    pl_set_nan_check(lb_ctx(L), lua_toboolean(L, 1));
    return 0;
}

void lb_open_ops(lua_State *L)
{
    static const struct {
        const char *event, *op, *sign;
    } operators[] = {
        {"__add", "add", "+"}, {"__sub", "sub", "-"}, {"__mul", "mul", "*"},
        {"__div", "div", "/"}, {"__pow", "pow", "^"}, {"__unm", "neg", "-"},
    };
    luaL_getmetatable(L, LB_TENSOR);
    lua_getfield(L, -1, "__methods"); /* core, metatable, methods */
    for (int op = 0; op < PL_OP_COUNT; op++) {
        const pl_op_row *row = pl_op_get(lb_ctx(L), (pl_op_id)op);
        lua_pushinteger(L, op);
        lua_pushnil(L);
        lua_pushcclosure(L, op_call, 2);
        if (row->flags & PL_OPF_METHOD) {
            lua_pushvalue(L, -1);
            lua_setfield(L, -3, row->name);
        }
        for (size_t k = 0; k < sizeof operators / sizeof *operators; k++)
            if (strcmp(row->name, operators[k].op) == 0) {
                lua_pushinteger(L, op);
                lua_pushstring(L, operators[k].sign);
                lua_pushcclosure(L, row->n_in == 1 ? op_unary : op_call, 2);
                lua_setfield(L, -4, operators[k].event);
            }
        lua_setfield(L, -4, row->name);
    }
    lua_pop(L, 2);
    lua_pushcfunction(L, ops_list);
    lua_setfield(L, -2, "ops");
    lua_pushcfunction(L, nan_check);
    lua_setfield(L, -2, "nan_check");
}

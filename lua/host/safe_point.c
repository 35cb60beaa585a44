/*
** safe_point.c - where a signal handler may raise a Lua error, and table.sort that keeps its table.
**
** A pattern that backtracks, or a sort of ten million numbers, is one call of a C function in Lua's
** own library: no hook fires in it. Between its calls of the Lua API such a function is a C
** function like any other, at a place where it could itself raise an error: the Lua state is whole,
** what the function holds is on the Lua stack. So a handler may raise there in its stead, by the
** ordinary lua_error, if it knows that
**   - the interrupted instruction is the function's own, not one of Lua's core, of malloc or of
**     libc, called from it;
**   - the function has no duty to finish what it does, as table.insert has, which moves elements.
** Both are read off addresses. liblua is made of one object file a library, whose code lies in one
** run, and the C functions of `string`, `utf8` and `table` tell where those runs are; an exported
** symbol inside one (the core's functions are exported, or lie beside those that are) would mean
** that the build has mixed files, and then nothing is safe. The thread's innermost function has to
** be of the same run, which also proves that the thread is the one that runs; and no finalizer may
** be on the way, since errors in those are lost.
**
** Most of the time of such functions is their own (matching: nearly all, sorting: about a tenth),
** so a handler that is called again and again soon finds a safe point.
**
** table.sort swaps two elements by two calls of the API, and an error between them would lose one.
** Large tables without a comparison of their own are therefore sorted aside and copied back.
*/
#include "host.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

typedef struct {
    uintptr_t from, to; /* to: excluded; equal when the run is not known */
} code_run;

enum { STRING, UTF8, TABLE, N_RUNS };

static struct {
    code_run run[N_RUNS];
    lua_CFunction sort, may_stop[4]; /* of `table`, what may be left half way */
} lib;

enum {
    SORTED_ASIDE = 1000, /* elements from which a sort is done aside */
    MOST_LEVELS = 200,   /* of calls that are looked through for finalizers */
    COPIES_A_LOOK = 1 << 16,
};

static uintptr_t address(lua_CFunction f)
{
    uintptr_t at = 0;
    memcpy(&at, &f, sizeof f);
    return at;
}

/* Whether the same exported symbol is the nearest below both addresses: none lies between. */
static bool no_symbol_between(uintptr_t from, uintptr_t to)
{
    Dl_info a, b;
    void *first = NULL, *last = NULL;
    memcpy(&first, &from, sizeof first);
    memcpy(&last, &to, sizeof last);
    return dladdr(first, &a) && dladdr(last, &b) && a.dli_fbase == b.dli_fbase &&
           a.dli_saddr == b.dli_saddr;
}

/* The run from the first C function of the library to the one that opens it, which is the last of
** its file. */
static code_run find_run(lua_State *L, const char *library, lua_CFunction open)
{
    code_run run = {UINTPTR_MAX, address(open)};
    lua_getglobal(L, library);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_CFunction f = lua_tocfunction(L, -1);
        if (f && address(f) < run.from) run.from = address(f);
        if (f && address(f) >= run.to) run.to = 0;
    }
    lua_pop(L, 1);
    if (run.from >= run.to || !no_symbol_between(run.from, run.to - 1)) return (code_run){0, 0};
    return run;
}

static lua_CFunction table_function(lua_State *L, const char *name)
{
    lua_getglobal(L, LUA_TABLIBNAME);
    lua_getfield(L, -1, name);
    lua_CFunction f = lua_tocfunction(L, -1);
    lua_pop(L, 2);
    return f;
}

/* The interrupted instruction; 0 where the machine is not known. */
static uintptr_t instruction(const void *context)
{
#if defined(__x86_64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static const code_run *run_of(uintptr_t at)
{
    for (int i = 0; i < N_RUNS; i++)
        if (at >= lib.run[i].from && at < lib.run[i].to) return &lib.run[i];
    return NULL;
}

static bool in_finalizer(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        if (level > MOST_LEVELS || !lua_getinfo(L, "n", &ar)) return true;
        if (ar.name && strcmp(ar.name, "__gc") == 0) return true;
    }
    return false;
}

bool host_safe_point(lua_State *L, const void *context)
{
    const code_run *run = run_of(instruction(context));
    lua_Debug ar;
    if (!run || !lua_checkstack(L, LUA_MINSTACK) || !lua_getstack(L, 0, &ar)) return false;
    lua_getinfo(L, "f", &ar);
    lua_CFunction f = lua_tocfunction(L, -1);
    lua_pop(L, 1);
    if (!f || run_of(address(f)) != run) return false;
    if (run == &lib.run[TABLE]) {
        bool may = f == lib.sort; /* itself it is called for tables aside only */
        for (size_t i = 0; i < sizeof lib.may_stop / sizeof *lib.may_stop; i++)
            may = may || f == lib.may_stop[i];
        if (!may) return false;
    }
    return !in_finalizer(L);
}

/* ---- table.sort ------------------------------------------------------------------------------ */

static void copy_list(lua_State *L, int from, int to, lua_Integer n, bool look)
{
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, from, i);
        lua_rawseti(L, to, i);
        if (look && i % COPIES_A_LOOK == 0 && host_interrupt_pending())
            luaL_error(L, "interrupted!");
    }
}

static int host_sort(lua_State *L)
{
    const int given = lua_gettop(L);
    const bool plain = lua_istable(L, 1) && lua_isnoneornil(L, 2) && !lua_getmetatable(L, 1);
    lua_settop(L, given); /* without the metatable */
    const lua_Unsigned n = plain ? lua_rawlen(L, 1) : 0;
    if (n < SORTED_ASIDE || n >= INT_MAX) return lib.sort(L);
    lua_settop(L, 1);
    lua_createtable(L, (int)n, 0);
    copy_list(L, 1, 2, (lua_Integer)n, true);
    lua_pushcfunction(L, lib.sort);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 0);
    copy_list(L, 2, 1, (lua_Integer)n, false);
    return 0;
}

void host_safe_point_open(lua_State *L)
{
    lib.run[STRING] = find_run(L, LUA_STRLIBNAME, luaopen_string);
    lib.run[UTF8] = find_run(L, LUA_UTF8LIBNAME, luaopen_utf8);
    lib.run[TABLE] = find_run(L, LUA_TABLIBNAME, luaopen_table);
    lib.may_stop[0] = table_function(L, "concat");
    lib.may_stop[1] = table_function(L, "unpack");
    lib.may_stop[2] = table_function(L, "pack");
    lib.may_stop[3] = table_function(L, "move"); /* as a loop over elements may */
    lib.sort = table_function(L, "sort");
    lua_getglobal(L, LUA_TABLIBNAME);
    lua_pushcfunction(L, host_sort);
    lua_setfield(L, -2, "sort");
    lua_pop(L, 1);
}

/*
** main.c - the program: stock Lua's command line, sub-commands, recipes, the REPL.
**
**   perilune [options] [script [args]]   as lua5.4: -e -l -i -v -E -W -- -, LUA_INIT, arg, status
**   perilune COMMAND [args]              lua/perilune/cli/COMMAND.lua, a function(args)
**   perilune run RECIPE [args]           a script, also found by its name in recipes/
**   perilune                             the REPL on a terminal, else a script from standard input
**
** package.path: the script's own folder, then LUA_PATH (";;" stands for the rest), then lua/ of the
** build or of the installed share folder, then Lua's own default.
**
** An error gives status 1; Ctrl-C gives 130, a SIGTERM that a run honoured 143. A traceback is
** printed when Lua code failed, or always with --traceback, which may stand at the end of `run`
** too.
*/
#include "host.h"

#include "lb.h"

#include <errno.h>
#include <lfs.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM "perilune"

int luaopen_perilune_core(lua_State *L);

static struct {
    char executable[PATH_MAX]; /* "" when unknown */
    char root[PATH_MAX];       /* the folder that holds lua/ and recipes/ */
} place;

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static void find_place(void)
{
    ssize_t n = readlink("/proc/self/exe", place.executable, sizeof place.executable - 1);
    if (n <= 0) return;
    place.executable[n] = '\0';
    const char *slash = strrchr(place.executable, '/');
    int dir = (int)(slash - place.executable);
    static const char *const candidates[] = {".", PL_SHARE_DIR};
    static const char room[] = "/lua/perilune";
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        char probe[PATH_MAX + 32];
        int length =
            snprintf(probe, sizeof probe, "%.*s/%s%s", dir, place.executable, candidates[i], room);
        if (length >= (int)sizeof probe || !is_folder(probe)) continue;
        /* In a build folder lua/ is a link: the root is where it leads. */
        if (!realpath(probe, place.root)) continue;
        const size_t end = strlen(place.root), tail = sizeof room - 1;
        if (end <= tail || strcmp(place.root + end - tail, room) != 0) continue;
        place.root[end - tail] = '\0';
        return;
    }
    place.root[0] = '\0';
}

/* Texts of data and models may stand in a message: their control characters are spelled out. */
static void complain(const char *message)
{
    fflush(stdout);
    fputs(PROGRAM ": ", stderr);
    for (const unsigned char *c = (const unsigned char *)message; *c; c++) {
        if ((*c < 32 && *c != '\n' && *c != '\t') || *c == 127) fprintf(stderr, "\\x%02X", *c);
        else fputc(*c, stderr);
    }
    fputc('\n', stderr);
    fflush(stderr);
}

/* Reports what host_call left on the stack; the exit status that goes with it. */
static int report(lua_State *L, int status)
{
    if (status == LUA_OK) return EXIT_SUCCESS;
    if (host_interrupt_pending()) {
        complain("interrupted");
        lua_pop(L, 1);
        return 128 + host_interrupt_cause();
    }
    complain(lua_tostring(L, -1));
    lua_pop(L, 1);
    return EXIT_FAILURE;
}

static int usage(const char *bad)
{
    if (bad[1] == 'e' || bad[1] == 'l' || bad[1] == 'W')
        fprintf(stderr, PROGRAM ": '%s' needs an argument\n", bad);
    else fprintf(stderr, PROGRAM ": unrecognized option '%s'\n", bad);
    fprintf(stderr, "usage: " PROGRAM " [-e stat] [-i] [-l mod] [-l g=mod] [-v] [-E] [-W] [--] "
                    "[script | command] [args]\nTry '" PROGRAM " help'.\n");
    return EXIT_FAILURE;
}

/* ---- Options --------------------------------------------------------------------------------- */

typedef struct {
    bool interactive, version, execute, no_env, help;
    int first; /* index of the first argument that is no option */
} options;

/* The index of a bad option, or 0. */
static int read_options(char **argv, options *o)
{
    int i = 1;
    for (; argv[i]; i++) {
        const char *a = argv[i];
        if (a[0] != '-' || a[1] == '\0') break;
        if (strcmp(a, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            o->help = true;
        } else if (strcmp(a, "--traceback") == 0) {
            host_always_trace(true);
        } else if (strcmp(a, "--version") == 0) {
            o->version = true;
        } else if (a[1] == 'e' || a[1] == 'l') {
            if (a[1] == 'e') o->execute = true;
            if (a[2] == '\0' && (!argv[++i] || argv[i][0] == '-')) return i - 1;
        } else if (a[2] != '\0') {
            return i;
        } else if (a[1] == 'i') {
            o->interactive = o->version = true;
        } else if (a[1] == 'v') {
            o->version = true;
        } else if (a[1] == 'E') {
            o->no_env = true;
        } else if (a[1] != 'W') {
            return i;
        }
    }
    o->first = i;
    return 0;
}

static int run_chunk(lua_State *L, int load_status)
{
    if (load_status == LUA_OK) load_status = host_call(L, 0, 0);
    return report(L, load_status);
}

/* -l mod and -l g=mod: requires it and sets the global. */
static int require_option(lua_State *L, const char *text)
{
    const char *equals = strchr(text, '=');
    const char *module = equals ? equals + 1 : text;
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    int status = host_call(L, 1, 1);
    if (status != LUA_OK) return report(L, status);
    if (equals) lua_pushlstring(L, text, (size_t)(equals - text));
    else lua_pushstring(L, module);
    lua_insert(L, -2);
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return EXIT_SUCCESS;
}

/* -e, -l and -W in their order. */
static int apply_options(lua_State *L, char **argv, const options *o)
{
    for (int i = 1; i < o->first; i++) {
        char letter = argv[i][0] == '-' ? argv[i][1] : '\0';
        int result = EXIT_SUCCESS;
        if (letter == 'e' || letter == 'l') {
            const char *text = argv[i][2] ? argv[i] + 2 : argv[++i];
            result = letter == 'l'
                         ? require_option(L, text)
                         : run_chunk(L, luaL_loadbuffer(L, text, strlen(text), "=(command line)"));
        } else if (letter == 'W') {
            lua_warning(L, "@on", 0);
        }
        if (result != EXIT_SUCCESS) return result;
    }
    return EXIT_SUCCESS;
}

static int run_init(lua_State *L)
{
    const char *name = "=LUA_INIT_5_4";
    const char *init = getenv(name + 1);
    if (!init) init = getenv((name = "=LUA_INIT") + 1);
    if (!init) return EXIT_SUCCESS;
    if (init[0] == '@') return run_chunk(L, luaL_loadfile(L, init + 1));
    return run_chunk(L, luaL_loadbuffer(L, init, strlen(init), name));
}

/* ---- What scripts see ------------------------------------------------------------------------ */

/* The global `arg`: argv[script] at 0, what follows above, what precedes below. */
static void set_arg(lua_State *L, char **argv, int argc, int script)
{
    lua_createtable(L, argc > script ? argc - script : 0, script + 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

static void set_path(lua_State *L, bool no_env)
{
    const char *env = NULL;
    if (!no_env && !(env = getenv("LUA_PATH_5_4"))) env = getenv("LUA_PATH");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    const char *gap = env ? strstr(env, ";;") : NULL;
    if (env) {
        luaL_addlstring(&b, env, gap ? (size_t)(gap - env) : strlen(env));
        luaL_addchar(&b, ';');
    }
    if (place.root[0]) {
        luaL_addstring(&b, place.root);
        luaL_addstring(&b, "/lua/?.lua;");
        luaL_addstring(&b, place.root);
        luaL_addstring(&b, "/lua/?/init.lua;");
    }
    luaL_addstring(&b, LUA_PATH_DEFAULT);
    if (gap && gap[2]) luaL_addstring(&b, gap + 1);
    luaL_pushresult(&b);
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_insert(L, -2);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
}

static void prepend_script_folder(lua_State *L, const char *script)
{
    const char *slash = strrchr(script, '/');
    if (slash) lua_pushlstring(L, script, slash > script ? (size_t)(slash - script) : 1);
    else lua_pushliteral(L, ".");
    const char *dir = lua_tostring(L, -1);
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 3);
}

/* ---- Libraries ------------------------------------------------------------------------------- */

/* perilune.host: functions, and where the program is. */
static int open_host(lua_State *L)
{
    host_offer(L);
    lua_pushstring(L, place.executable);
    lua_setfield(L, -2, "executable");
    lua_pushstring(L, place.root);
    lua_setfield(L, -2, "root");
    lua_pushliteral(L, PL_MODULE_DIR); /* from the program's folder, once it is installed */
    lua_setfield(L, -2, "modules");
    lua_pushliteral(L, PL_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}

static void open_libraries(lua_State *L)
{
    static const luaL_Reg preload[] = {{"perilune.core", luaopen_perilune_core},
                                       {"perilune.host", open_host},
                                       {"perilune.lineedit", luaopen_perilune_lineedit},
                                       {"lfs", luaopen_lfs},
                                       {NULL, NULL}};
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, preload, 0);
    lua_pop(L, 1);
    luaL_requiref(L, "perilune.core", luaopen_perilune_core, 0); /* makes the engine's context */
    lua_pop(L, 1);
    host_interrupt_open(L);
}

/* ---- Running --------------------------------------------------------------------------------- */

/* Pushes the arguments of `arg` from 1 on. */
static int push_arguments(lua_State *L)
{
    lua_getglobal(L, "arg");
    if (!lua_istable(L, -1)) luaL_error(L, "'arg' is not a table");
    int n = (int)luaL_len(L, -1);
    luaL_checkstack(L, n + 3, "too many arguments to script");
    for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
    lua_remove(L, -n - 1);
    return n;
}

/* Loads a script whose locals the prompt after it will have. */
static int load_kept(lua_State *L, const char *file)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.repl");
    int status = host_call(L, 1, 1);
    if (status != LUA_OK) return status;
    lua_getfield(L, -1, "load");
    lua_remove(L, -2);
    lua_pushstring(L, file);
    status = host_call(L, 1, 2);
    if (status != LUA_OK) return status;
    if (lua_isnil(L, -2)) {
        lua_remove(L, -2);
        return LUA_ERRSYNTAX;
    }
    lua_pop(L, 1);
    return LUA_OK;
}

static int run_script(lua_State *L, const char *file, bool interactive)
{
    if (file) prepend_script_folder(L, file);
    int status = interactive && file ? load_kept(L, file) : luaL_loadfile(L, file);
    if (status == LUA_OK) {
        int n = push_arguments(L);
        status = host_call(L, n, 0);
    }
    return report(L, status);
}

/* A sub-command is a name without dot or slash that has a file in lua/perilune/cli; init.lua is the
** head of that folder. */
static bool is_command(const char *name)
{
    if (!place.root[0] || name[0] == '\0' || strpbrk(name, "./") || is_file(name)) return false;
    if (strcmp(name, "init") == 0) return false;
    char path[PATH_MAX + 64];
    int n = snprintf(path, sizeof path, "%s/lua/perilune/cli/%s.lua", place.root, name);
    return n < (int)sizeof path && is_file(path);
}

/* Calls a function of lua/perilune/cli/init.lua with a name and, unless they are NULL, a table of
** arguments; it returns an exit status, or true, false or nothing. */
static int call_cli(lua_State *L, const char *function, const char *name, char **args)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.cli");
    int status = host_call(L, 1, 1);
    if (status == LUA_OK) {
        lua_getfield(L, -1, function);
        lua_remove(L, -2);
        lua_pushstring(L, name);
        if (args) lua_newtable(L);
        for (int i = 0; args && args[i]; i++) {
            lua_pushstring(L, args[i]);
            lua_rawseti(L, -2, i + 1);
        }
        status = host_call(L, args ? 2 : 1, 1);
    }
    if (status != LUA_OK) return report(L, status);
    int result = EXIT_SUCCESS;
    if (lua_isinteger(L, -1)) result = (int)lua_tointeger(L, -1);
    else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) result = EXIT_FAILURE;
    lua_pop(L, 1);
    return result;
}

static int run_command(lua_State *L, const char *name, char **args)
{
    return call_cli(L, "run", name, args);
}

/* The recipe as named, else in the folder of recipes, with or without ".lua". */
static const char *find_recipe(lua_State *L, const char *name)
{
    static const char *const forms[] = {"%s/%s", "%s/recipes/%s", "%s/recipes/%s.lua"};
    if (is_file(name)) return name;
    for (size_t i = 0; i < sizeof forms / sizeof *forms && place.root[0]; i++) {
        const char *path = lua_pushfstring(L, forms[i], place.root, name);
        if (is_file(path)) return path; /* stays on the stack */
        lua_pop(L, 1);
    }
    return name;
}

static int run_repl(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.repl");
    int status = host_call(L, 1, 1);
    if (status == LUA_OK) {
        lua_getfield(L, -1, "start");
        lua_remove(L, -2);
        status = host_call(L, 0, 0);
    }
    return report(L, status);
}

static void print_version(void)
{
    printf("Perilune %s (%s kernels, %s)\n", PL_VERSION, pl_isa(), LUA_RELEASE);
    fflush(stdout);
}

/* Takes --detach out of the arguments of `run`, where it may stand anywhere; false with --help,
** which is for this terminal. */
static bool take_detach(char **args)
{
    bool found = false, help = false;
    char **to = args;
    for (char **from = args; *from; from++) {
        if (strcmp(*from, "--help") == 0 || strcmp(*from, "-h") == 0) help = true;
        if (strcmp(*from, "--detach") == 0) found = true;
        else *to++ = *from;
    }
    *to = NULL;
    return found && !help;
}

/* --traceback behind a recipe's own arguments; gives the number of arguments that are left. */
static int take_traceback(char **argv, int argc)
{
    if (strcmp(argv[argc - 1], "--traceback") != 0) return argc;
    host_always_trace(true);
    argv[argc - 1] = NULL;
    return argc - 1;
}

static int run(lua_State *L, int argc, char **argv, const options *o)
{
    int result = o->no_env ? EXIT_SUCCESS : run_init(L);
    if (result == EXIT_SUCCESS) result = apply_options(L, argv, o);
    if (result != EXIT_SUCCESS) return result;

    const char *first = argv[o->first];
    if (o->help) return run_command(L, "help", argv + o->first);
    if (first) {
        if (strcmp(first, "run") == 0 && !is_file(first)) {
            if (take_detach(argv + o->first + 1))
                return run_command(L, "support.detach", argv + o->first + 1);
            while (!argv[argc - 1]) argc--; /* --detach is gone */
            char *name = argv[o->first + 1];
            const bool is_name = name && name[0] != '-';
            const char *path = is_name ? find_recipe(L, name) : NULL;
            if (!is_name || !is_file(path)) /* --help, or a word on what is wrong */
                return run_command(L, first, argv + o->first + 1);
            argc = take_traceback(argv, argc);
            set_arg(L, argv, argc, o->first + 1);
            result = run_script(L, path, o->interactive);
        } else if (strcmp(argv[o->first - 1], "--") != 0 && is_command(first)) {
            result = run_command(L, first, argv + o->first + 1);
        } else if (place.root[0] && first[0] != '-' && !is_file(first)) {
            return call_cli(L, "no_command", first, NULL);
        } else {
            result = run_script(L, strcmp(first, "-") == 0 ? NULL : first, o->interactive);
        }
        if (result != EXIT_SUCCESS && !o->interactive) return result;
    }
    if (o->interactive) return run_repl(L);
    if (first || o->execute || o->version) return result;
    return isatty(STDIN_FILENO) ? run_repl(L) : run_script(L, NULL, false);
}

typedef struct {
    int argc;
    char **argv;
    int result;
} command_line;

static int protected_main(lua_State *L)
{
    command_line *c = lua_touserdata(L, 1);
    options o = {0};
    int bad = read_options(c->argv, &o);
    if (bad) {
        c->result = usage(c->argv[bad]);
        return 0;
    }
    if (o.version) print_version();
    if (o.no_env) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    open_libraries(L);
    set_path(L, o.no_env);
    set_arg(L, c->argv, c->argc, o.first < c->argc ? o.first : 0);
    c->result = run(L, c->argc, c->argv, &o);
    return 0;
}

/* ---- Before the libraries start -------------------------------------------------------------- */

/* OpenBLAS takes memory for each of its threads when it is loaded, and asks again for ever when
** there is none. Measured: 250 MB with one thread, 310 MB with two. */
#define LEAST_MEMORY ((rlim_t)256 << 20)
#define THREAD_MEMORY ((rlim_t)128 << 20)

/* The threads that OpenBLAS is going to start. */
static rlim_t threads_to_come(char **environment)
{
    cpu_set_t set;
    rlim_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (rlim_t)CPU_COUNT(&set) : 1;
    for (; *environment; environment++) {
        if (strncmp(*environment, "OMP_NUM_THREADS=", 16) != 0) continue;
        const long wanted = strtol(*environment + 16, NULL, 10);
        if (wanted > 0 && (rlim_t)wanted < n) n = (rlim_t)wanted;
    }
    return n;
}

/* Runs before the initializers of the shared libraries. */
static void check_address_space(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    struct rlimit limit;
    char text[256];
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const rlim_t threads = threads_to_come(environment);
    const rlim_t wanted = LEAST_MEMORY + (threads - 1) * THREAD_MEMORY;
    if (limit.rlim_cur >= wanted) return;
    const int n =
        snprintf(text, sizeof text,
                 PROGRAM ": the address space is limited to %llu MB (ulimit -v); with "
                         "%llu threads at least %llu MB are needed: raise the limit%s\n",
                 (unsigned long long)limit.rlim_cur >> 20, (unsigned long long)threads,
                 (unsigned long long)wanted >> 20, threads > 1 ? ", or set OMP_NUM_THREADS=1" : "");
    if (write(STDERR_FILENO, text, (size_t)n) < 0) _exit(EXIT_FAILURE);
    _exit(EXIT_FAILURE);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const before_libraries)(int, char **,
                                                            char **) = check_address_space;

/* libgomp's threads spin for milliseconds at every barrier by default. On a machine that is shared
** that burns the time slices the others need: three times the wall time was measured with four
** processes on two cores. A short spin costs nothing when cores are free. The library reads its
** settings before main, so the program begins once more with them. */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || !place.executable[0]) return;
    setenv("GOMP_SPINCOUNT", "10000", 1);
    execv(place.executable, argv); /* on failure: go on as we are */
}

/* Blocks of a tensor's size come from the system and go back to it. By default the first large one
** that is freed makes the C library keep all below its size, up to 32 MB, in one heap, whose holes
** stay with the program: 2.2 GB were held for 1.6 GB of tensors in a PPO run, and 1.9 GB so. */
static void give_memory_back(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
#endif
}

int main(int argc, char **argv)
{
    find_place();
    spin_briefly(argv);
    give_memory_back();
    lua_State *L = luaL_newstate();
    if (!L) {
        complain("not enough memory for a Lua state");
        return EXIT_FAILURE;
    }
    command_line c = {argc, argv, EXIT_FAILURE};
    lua_pushcfunction(L, protected_main);
    lua_pushlightuserdata(L, &c);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        complain(message ? message : "error that is not text");
        c.result = EXIT_FAILURE;
    }
    host_interrupt_close();
    lua_close(L);
    return c.result;
}

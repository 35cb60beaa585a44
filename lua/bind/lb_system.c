/*
** lb_system.c - perilune.core.system: what Lua programs need of the operating system and Lua and
** LuaFileSystem do not offer: terminal, clocks, processes, the machine.
** Also core.nearest.
**
** What can go wrong outside gives nil, message, errno. Times are seconds as floats. A child process
** is started by posix_spawn, never by fork: the OpenMP threads of this process would not
** survive it.
*/
#include "lb.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <utf8proc.h>

extern char **environ;

static int soft_errno(lua_State *L, const char *what)
{
    int code = errno;
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, strerror(code));
    lua_pushinteger(L, code);
    return 3;
}

static int true_or_errno(lua_State *L, int result, const char *what)
{
    if (result != 0) return soft_errno(L, what);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- Terminal and clocks --------------------------------------------------------------------- */

/* isatty(fd = 1) */
static int l_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_optinteger(L, 1, 1)));
    return 1;
}

/* terminal_size(fd = 1) -> columns, rows; nothing when it is no terminal */
static int l_terminal_size(lua_State *L)
{
    struct winsize size;
    if (ioctl((int)luaL_optinteger(L, 1, 1), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

static int push_clock(lua_State *L, clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + 1e-9 * (lua_Number)t.tv_nsec);
    return 1;
}

/* monotonic(): seconds since some fixed moment */
static int l_monotonic(lua_State *L)
{
    return push_clock(L, CLOCK_MONOTONIC);
}

/* realtime(): seconds since 1970 */
static int l_realtime(lua_State *L)
{
    return push_clock(L, CLOCK_REALTIME);
}

/* sleep(seconds) -> true, or false when a signal cut it short */
static int l_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e9, 1, "seconds out of range");
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (lua_Number)t.tv_sec) * 1e9);
    lua_pushboolean(L, nanosleep(&t, NULL) == 0);
    return 1;
}

/* ---- Processes ------------------------------------------------------------------------------- */

static int l_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int l_hostname(lua_State *L)
{
    char name[HOST_NAME_MAX + 1];
    if (gethostname(name, sizeof name) != 0) return soft_errno(L, "hostname");
    name[sizeof name - 1] = '\0';
    lua_pushstring(L, name);
    return 1;
}

/* kill(pid, signal = 15); signal 0 only asks whether the process is there */
static int l_kill(lua_State *L)
{
    lua_Integer pid = luaL_checkinteger(L, 1), sig = luaL_optinteger(L, 2, SIGTERM);
    luaL_argcheck(L, pid > 0 && pid <= INT_MAX, 1, "one process: a positive number");
    luaL_argcheck(L, sig >= 0 && sig < NSIG, 2, "no such signal");
    return true_or_errno(L, kill((pid_t)pid, (int)sig), "kill");
}

static int push_wait_status(lua_State *L, int status)
{
    if (WIFSIGNALED(status)) {
        lua_pushliteral(L, "signal");
        lua_pushinteger(L, WTERMSIG(status));
    } else {
        lua_pushliteral(L, "exit");
        lua_pushinteger(L, WEXITSTATUS(status));
    }
    return 2;
}

/* Waits; a Ctrl-C also reaches the child (same group of processes), which then ends. */
static int wait_for(lua_State *L, pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return soft_errno(L, "wait");
    return push_wait_status(L, status);
}

/* wait(pid, block = true) -> "exit", code or "signal", number; nothing while the process goes on
** and `block` is false */
static int l_wait(lua_State *L)
{
    int status;
    lua_Integer pid = luaL_checkinteger(L, 1);
    luaL_argcheck(L, pid > 0 && pid <= INT_MAX, 1, "one process: a positive number");
    if (lua_isnoneornil(L, 2) || lua_toboolean(L, 2)) return wait_for(L, (pid_t)pid);
    const pid_t ended = waitpid((pid_t)pid, &status, WNOHANG);
    if (ended < 0 && errno != EINTR) return soft_errno(L, "wait");
    return ended > 0 ? push_wait_status(L, status) : 0;
}

/* lock_holder(path) -> the process that holds a lock on the file (another than this one); nothing
** when none does */
static int l_lock_holder(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return soft_errno(L, path);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const int code = fcntl(fd, F_GETLK, &lock) == 0 ? 0 : errno;
    close(fd);
    errno = code;
    if (code != 0) return soft_errno(L, path);
    if (lock.l_type == F_UNLCK) return 0;
    lua_pushinteger(L, lock.l_pid);
    return 1;
}

/* redirect(path) -> true: standard output and standard error go to the end of a file from now on */
static int l_redirect(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return soft_errno(L, path);
    fflush(NULL);
    const int failed = dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0;
    const int code = errno;
    close(fd);
    errno = code;
    return true_or_errno(L, failed, path);
}

/* Opens the path of descriptor fd, when there is one, in the child; one path of both outputs is
** opened once, so that neither writes over the other. */
static int redirect(posix_spawn_file_actions_t *actions, const char *const paths[3], int fd)
{
    const int flags = fd == STDIN_FILENO ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    if (!paths[fd]) return 0;
    if (fd == STDERR_FILENO && paths[STDOUT_FILENO] && strcmp(paths[fd], paths[STDOUT_FILENO]) == 0)
        return posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    return posix_spawn_file_actions_addopen(actions, fd, paths[fd], flags, 0666);
}

/*
** spawn({"program", "arg", ...}, {stdin =, stdout =, stderr = paths, wait = true, session = false})
**   -> "exit", code or "signal", number; with wait = false the pid. With `session` it leads a
**   session of its own: no Ctrl-C of this terminal reaches it, nor the terminal's end.
*/
static int l_spawn(lua_State *L)
{
    static const char *const known[] = {"stdin", "stdout", "stderr", "wait", "session", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    lb_known(L, 2, "option of spawn", known);
    bool wait = lb_boolean_field(L, 2, "wait", true);
    const bool session = lb_boolean_field(L, 2, "session", false);
    const char *paths[3];
    for (int fd = 0; fd < 3; fd++) paths[fd] = lb_string_field(L, 2, known[fd], NULL);
    lua_Integer n = luaL_len(L, 1);
    luaL_argcheck(L, n >= 1 && n < 100000, 1, "a list of the program and its arguments");
    char **argv = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *argv, 0);
    luaL_checkstack(L, (int)n + 4, "too many arguments");
    for (lua_Integer i = 1; i <= n; i++) { /* the strings stay on the stack, so alive */
        lua_geti(L, 1, i);
        argv[i - 1] = (char *)luaL_checkstring(L, -1);
    }
    argv[n] = NULL;

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    pid_t pid = 0;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    int code = posix_spawn_file_actions_init(&actions);
    if (code == 0) {
        code = posix_spawnattr_init(&attr);
        if (code == 0) {
            posix_spawnattr_setsigdefault(&attr, &defaults);
            posix_spawnattr_setflags(
                &attr, (short)(POSIX_SPAWN_SETSIGDEF | (session ? POSIX_SPAWN_SETSID : 0)));
            for (int fd = 0; fd < 3 && code == 0; fd++) code = redirect(&actions, paths, fd);
            if (code == 0) code = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
            posix_spawnattr_destroy(&attr);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    if (code != 0) {
        errno = code;
        return soft_errno(L, argv[0]);
    }
    if (wait) return wait_for(L, pid);
    lua_pushinteger(L, pid);
    return 1;
}

/* ---- The machine ----------------------------------------------------------------------------- */

/* disk_free(path) -> bytes an ordinary user can still write there */
static int l_disk_free(lua_State *L)
{
    struct statvfs fs;
    const char *path = luaL_checkstring(L, 1);
    if (statvfs(path, &fs) != 0) return soft_errno(L, path);
    lua_pushinteger(L, (lua_Integer)fs.f_bavail * (lua_Integer)fs.f_frsize);
    return 1;
}

/* affinity() -> how many CPUs this process may run on */
static int l_affinity(lua_State *L)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return soft_errno(L, "affinity");
    lua_pushinteger(L, CPU_COUNT(&set));
    return 1;
}

/* meminfo() -> {total =, available =, rss =, peak_rss =} in bytes, as far as known */
static int l_meminfo(lua_State *L)
{
    static const struct {
        const char *file, *key, *field;
    } rows[] = {
        {"/proc/meminfo", "MemTotal:", "total"},
        {"/proc/meminfo", "MemAvailable:", "available"},
        {"/proc/self/status", "VmRSS:", "rss"},
        {"/proc/self/status", "VmHWM:", "peak_rss"},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[256];
        long long kilobytes = -1;
        FILE *f = fopen(rows[i].file, "re");
        if (!f) continue;
        while (kilobytes < 0 && fgets(line, sizeof line, f))
            if (strncmp(line, rows[i].key, strlen(rows[i].key)) == 0)
                sscanf(line + strlen(rows[i].key), "%lld", &kilobytes);
        fclose(f);
        if (kilobytes >= 0) lb_set_integer(L, rows[i].field, (lua_Integer)kilobytes * 1024);
    }
    return 1;
}

/*
** openblas() -> {config =, core =, parallel =}; parallel is "serial", "threads" or "openmp".
*/
static int l_openblas(lua_State *L)
{
    static const char *const flavours[] = {"serial", "threads", "openmp"};
    int parallel = openblas_get_parallel();
    lua_newtable(L);
    lb_set_string(L, "config", openblas_get_config());
    lb_set_string(L, "core", openblas_get_corename());
    lb_set_string(L, "parallel", parallel >= 0 && parallel < 3 ? flavours[parallel] : "unknown");
    return 1;
}

/* setenv(name, value): for this process and its children; nil takes the name away */
static int l_setenv(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *value = luaL_optstring(L, 2, NULL);
    return true_or_errno(L, value ? setenv(name, value, 1) : unsetenv(name), name);
}

/* ---- Text ------------------------------------------------------------------------------------ */

/// columns(text[, limit]) -> columns, bytes: how wide a terminal shows the text (2 for a wide
/// character, 0 for a mark on the one before) and how many of its first bytes fit within `limit`
/// columns; nil when it is not UTF-8
static int l_columns(lua_State *L)
{
    size_t length;
    const utf8proc_uint8_t *text = (const utf8proc_uint8_t *)luaL_checklstring(L, 1, &length);
    const lua_Integer limit = luaL_optinteger(L, 2, LUA_MAXINTEGER);
    lua_Integer columns = 0, fits = 0;
    for (size_t at = 0; at < length;) {
        utf8proc_int32_t code;
        const utf8proc_ssize_t n =
            utf8proc_iterate(text + at, (utf8proc_ssize_t)(length - at), &code);
        if (n <= 0) return 0;
        at += (size_t)n;
        columns += utf8proc_charwidth(code);
        if (columns <= limit) fits = (lua_Integer)at;
    }
    lua_pushinteger(L, columns);
    lua_pushinteger(L, fits);
    return 2;
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* nearest(name, names): of the list the name that was probably meant, nil when none is near */
static int l_nearest(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    const lua_Integer n = luaL_len(L, 2);
    const char **names = lua_newuserdatauv(L, sizeof *names * (size_t)(n + 1), 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 2, "a list of names wanted");
        names[i] = lua_tostring(L, -1); /* the list holds the string */
        lua_pop(L, 1);
    }
    lua_pushstring(L, pl_nearest(name, names, n));
    return 1;
}

void lb_open_system(lua_State *L)
{
    static const luaL_Reg functions[] = {{"isatty", l_isatty},
                                         {"terminal_size", l_terminal_size},
                                         {"monotonic", l_monotonic},
                                         {"realtime", l_realtime},
                                         {"sleep", l_sleep},
                                         {"pid", l_pid},
                                         {"hostname", l_hostname},
                                         {"kill", l_kill},
                                         {"wait", l_wait},
                                         {"lock_holder", l_lock_holder},
                                         {"redirect", l_redirect},
                                         {"spawn", l_spawn},
                                         {"disk_free", l_disk_free},
                                         {"affinity", l_affinity},
                                         {"meminfo", l_meminfo},
                                         {"openblas", l_openblas},
                                         {"setenv", l_setenv},
                                         {"columns", l_columns},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "system");
    lua_pushcfunction(L, l_nearest);
    lua_setfield(L, -2, "nearest");
}

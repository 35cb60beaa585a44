/*
** interrupt.c - Ctrl-C: within 200 ms, wherever the program is, and the session survives.
**
** The signal handler sets the engine's flag (ops stop between tiles) and arms a hook on the Lua
** thread that runs, which raises "interrupted!" at the next instruction. lua.c does the same for
** the main thread only; three things are added here:
**   - coroutines: resume and wrap note which thread runs, so the hook lands on it;
**   - protected calls: pcall, xpcall and resume hand an interrupt on instead of returning it, so
**     `while true do pcall(f) end` stops as well; only host_call (the REPL, the program) ends it;
**   - functions of Lua's own library that take long (a pattern that backtracks, a sort, a concat)
**     are left by an error raised in the handler itself, where that is safe (safe_point.c); a timer
**     calls the handler again and again until one way or the other has worked.
** To-be-closed variables run on the way out as with any error, without hook and timer.
**
** A training loop that keeps checkpoints asks for a grace (perilune.host.graceful): then the first
** Ctrl-C or SIGTERM is only noted, the loop ends its step, writes a checkpoint and calls
** perilune.host.stop; a second one acts as the first does elsewhere. Without a grace SIGTERM ends
** the process at once, as ever; a run that has nothing to write yet leaves words for both.
** SIGURG, which the channel of somebody attached to a run can send, acts as Ctrl-C on what that one
** runs there, and is nothing at other times.
**
** Not covered: what neither asks the engine's flag nor is Lua's (compiling a text of megabytes, a C
** library of somebody else's). When an interrupt has waited for a second, the next Ctrl-C says
** so and the one after it ends the process.
*/
#include "host.h"

#include "lb.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { TICK_US = 250 }; /* from one look for a safe point to the next */

static struct {
    lua_State *volatile running;
    pl_ctx *volatile ctx;
    pthread_t thread; /* Lua's */
    volatile sig_atomic_t pending, idle;
    volatile sig_atomic_t raised;          /* the pending interrupt is an error on its way out */
    volatile sig_atomic_t warned;          /* that it cannot be stopped */
    volatile sig_atomic_t ticks;           /* the timer runs */
    volatile sig_atomic_t graceful, noted; /* a loop honours signals; the signal it has to honour */
    volatile sig_atomic_t attended;        /* SIGURG stops what runs */
    timer_t timer;                         /* sends it, when `timed` */
    bool timed;
    int cause;                        /* the signal that ended the program's work */
    volatile sig_atomic_t words_size; /* of `words`, written when a signal is not waited for */
    char words[2048];
    struct timespec since; /* when the pending interrupt came */
} intr;

static void stop(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    if (!intr.pending) return;
    intr.raised = 1;
    luaL_error(L, "interrupted!");
}

static void set_ticks(bool on)
{
    const struct itimerval every = {{0, on ? TICK_US : 0}, {0, on ? TICK_US : 0}};
    if (on == (intr.ticks != 0)) return;
    intr.ticks = on;
    setitimer(ITIMER_REAL, &every, NULL);
}

/* lua_sethook is what lua.c calls from its handler too: it only stores a few words. */
static void arm(lua_State *L)
{
    intr.raised = 0;
    lua_sethook(L, stop, LUA_MASKCALL | LUA_MASKCOUNT, 1);
    set_ticks(true);
}

/* Raises the error here if that is safe: then it does not return. */
static void stop_in_library(const void *context)
{
    lua_State *L = intr.running;
    if (!intr.pending || intr.raised || !host_safe_point(L, context)) return;
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGURG);
    sigaddset(&ours, SIGALRM);
    intr.raised = 1;
    lua_sethook(L, NULL, 0, 0);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL); /* the handler is left by a jump */
    luaL_error(L, "interrupted!");
}

static void on_tick(int sig, siginfo_t *info, void *context)
{
    (void)info;
    if (!pthread_equal(pthread_self(), intr.thread)) pthread_kill(intr.thread, sig);
    else if (intr.pending && !intr.raised) stop_in_library(context);
    else set_ticks(false);
}

/* A further Ctrl-C while one is pending. */
static void insist(int sig)
{
    static const char text[] = "\nperilune: this cannot be stopped from here; once more ends the "
                               "program, and what it holds is lost\n";
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double waited = (double)(now.tv_sec - intr.since.tv_sec) +
                          1e-9 * (double)(now.tv_nsec - intr.since.tv_nsec);
    if (waited < 1.0) return;
    if (intr.warned) {
        signal(sig, SIG_DFL);
        raise(sig);
    } else {
        intr.warned = 1;
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
    }
}

/* Stops what runs; may leave by a jump. */
static void interrupt(const void *context)
{
    clock_gettime(CLOCK_MONOTONIC, &intr.since);
    intr.pending = 1;
    if (intr.ctx) pl_interrupt(intr.ctx);
    arm(intr.running);
    stop_in_library(context);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)info;
    if (!pthread_equal(pthread_self(), intr.thread)) {
        pthread_kill(intr.thread, sig);
        return;
    }
    if (intr.graceful && !intr.noted) {
        static const char text[] = "\nperilune: the step is finished and a checkpoint written; "
                                   "once more stops at once\n";
        intr.noted = sig;
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        return;
    }
    if (!intr.idle && intr.words_size > 0) {
        (void)!write(STDERR_FILENO, intr.words, (size_t)intr.words_size);
        intr.words_size = 0;
    }
    if (sig != SIGINT) {
        signal(sig, SIG_DFL);
        raise(sig);
        return;
    }
    if (intr.idle) {
        intr.pending = 1;
        return;
    }
    if (intr.pending) {
        insist(sig);
        return;
    }
    interrupt(context);
}

static void on_urgent(int sig, siginfo_t *info, void *context)
{
    (void)info;
    if (!pthread_equal(pthread_self(), intr.thread)) pthread_kill(intr.thread, sig);
    else if (intr.attended && !intr.pending) interrupt(context);
}

void host_interrupt_attend(bool on, unsigned seconds)
{
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGURG;
    if (intr.timed) timer_delete(intr.timer);
    intr.attended = on;
    intr.timed = on && seconds > 0 && timer_create(CLOCK_MONOTONIC, &event, &intr.timer) == 0;
    if (!intr.timed) return;
    const struct itimerspec once = {.it_value = {.tv_sec = seconds}};
    timer_settime(intr.timer, 0, &once, NULL);
}

bool host_interrupt_pending(void)
{
    return intr.pending != 0;
}

int host_interrupt_cause(void)
{
    return intr.cause ? intr.cause : SIGINT;
}

bool host_interrupt_graceful(bool on)
{
    bool was = intr.graceful != 0;
    intr.graceful = on;
    return was;
}

void host_interrupt_words(const char *text, size_t size)
{
    intr.words_size = 0;
    if (size > sizeof intr.words) size = sizeof intr.words;
    if (size > 0) memcpy(intr.words, text, size);
    intr.words_size = (sig_atomic_t)size;
}

int host_interrupt_noted(void)
{
    return intr.noted;
}

int host_interrupt_raise(lua_State *L)
{
    intr.pending = intr.raised = 1;
    return luaL_error(L, "interrupted!");
}

int host_interrupt_stop(lua_State *L)
{
    intr.cause = intr.noted;
    return host_interrupt_raise(L);
}

void host_interrupt_forget(lua_State *L)
{
    set_ticks(false);
    intr.pending = intr.raised = intr.warned = 0;
    lua_sethook(L, NULL, 0, 0);
    if (intr.ctx) pl_interrupt_clear(intr.ctx);
}

void host_interrupt_clear(lua_State *L)
{
    intr.noted = intr.graceful = 0;
    intr.cause = 0;
    host_interrupt_forget(L);
}

bool host_interrupt_idle(bool idle)
{
    bool was = intr.idle != 0;
    intr.idle = idle;
    return was;
}

/* ---- Protected calls ------------------------------------------------------------------------- */

#define LIBRARY "/lua/perilune/" /* in the path of its sources */

/* Pushes the sentence that tells a fault as a wrong argument of a function of the library; false,
** with nothing pushed, when it is none. */
static bool explain(lua_State *L, const char *message)
{
    const int top = lua_gettop(L);
    if (strstr(message, "stack overflow") || strstr(message, "interrupted") ||
        !lua_checkstack(L, LUA_MINSTACK))
        return false;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.reference.misuse");
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_istable(L, -1)) {
        lua_getfield(L, -1, "explain");
        lua_pushstring(L, message);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_isstring(L, -1)) return true;
    }
    lua_settop(L, top);
    return false;
}

/* Results of a protected call that ended with `status`: all values above `skip`. */
static int finish_pcall(lua_State *L, int status, lua_KContext skip)
{
    bool ok = status == LUA_OK || status == LUA_YIELD;
    if (intr.pending) {
        if (ok) return luaL_error(L, "interrupted!");
        return lua_error(L);
    }
    if (ok) return lua_gettop(L) - (int)skip;
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

/* Whether a function of the library runs at this level of the stack, or the first below it that is
** not C's. */
static bool in_library(lua_State *L, int level)
{
    lua_Debug ar;
    do {
        if (!lua_getstack(L, level++, &ar) || !lua_getinfo(L, "S", &ar)) return false;
    } while (*ar.what == 'C');
    return *ar.source == '@' && strstr(ar.source, LIBRARY) != NULL;
}

/* The handler of a pcall that is not the library's own: a wrong argument of the library's functions
** is told as the prompt tells it. */
static int say_misuse(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING || intr.pending) return 1;
    const char *message = lua_tostring(L, 1);
    if (in_library(L, 1) || strstr(message, "perilune.")) (void)explain(L, message);
    return 1;
}

/* Stack during the call: handler, true, function, arguments. */
static int host_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    const bool own = in_library(L, 1);
    lua_pushcfunction(L, say_misuse);
    lua_pushboolean(L, 1);
    lua_rotate(L, 1, 2);
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, own ? 0 : 1, 1, finish_pcall);
    return finish_pcall(L, status, 1);
}

/* Stack during the call: function, handler, true, function, arguments. */
static int host_xpcall(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, finish_pcall);
    return finish_pcall(L, status, 2);
}

/* ---- Coroutines ------------------------------------------------------------------------------ */

/* Runs `co` with the n values on top of L. Returns the number of results moved to L, or -1 with
** the error value moved instead. */
static int resume(lua_State *L, lua_State *co, int n)
{
    if (!lua_checkstack(co, n)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, n);
    lua_State *outer = intr.running;
    int results;
    intr.running = co;
    int status = lua_resume(co, L, n, &results);
    intr.running = outer;
    if (intr.pending) arm(outer);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(co, results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, results);
    return results;
}

static lua_State *check_thread(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static int co_resume(lua_State *L)
{
    lua_State *co = check_thread(L);
    int n = resume(L, co, lua_gettop(L) - 1);
    if (n >= 0) {
        lua_pushboolean(L, 1);
        lua_insert(L, -(n + 1));
        return n + 1;
    }
    if (intr.pending) return lua_error(L);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int co_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int n = resume(L, co, lua_gettop(L));
    if (n >= 0) return n;
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) { /* it died of the error: close its variables */
        status = lua_resetthread(co);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, co_wrapped, 1);
    return 1;
}

/* ---- The outer boundary ---------------------------------------------------------------------- */

static bool always_trace;

void host_always_trace(bool on)
{
    always_trace = on;
}

/* Whether the program itself is at fault: an operation of Lua code failed. What error(), assert()
** or a C function raises is a sentence for the user, whom a traceback does not help. */
static bool is_fault(lua_State *L, const char *message)
{
    lua_Debug ar;
    if (strstr(message, "attempt to ") || strstr(message, "stack overflow")) return true;
    return !lua_getstack(L, 1, &ar) || !lua_getinfo(L, "S", &ar) || *ar.what != 'C';
}

static const char watcher_key = 0; /* its address is the key in the registry */

void host_watch(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &watcher_key);
}

/* Shows the error, at 1, to who watches errors, while the stack stands as it was. */
static void tell_watcher(lua_State *L)
{
    const int top = lua_gettop(L);
    const char *message = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
    if (strstr(message, "stack overflow") || !lua_checkstack(L, LUA_MINSTACK)) return;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &watcher_key) == LUA_TFUNCTION) {
        lua_pushvalue(L, 1);
        lua_pcall(L, 1, 0, 0);
    }
    lua_settop(L, top);
}

/* A fault of the program gets its traceback, as does everything with --traceback, unless a wrong
** argument is behind it; an error object with __tostring speaks for itself. */
static int add_traceback(lua_State *L)
{
    tell_watcher(L);
    const char *message = lua_tostring(L, 1);
    if (!message) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) {
            if (always_trace) luaL_traceback(L, L, lua_tostring(L, -1), 1);
            return 1;
        }
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    if (!always_trace && explain(L, message)) return 1;
    if (always_trace || is_fault(L, message)) luaL_traceback(L, L, message, 1);
    else lua_pushstring(L, message);
    return 1;
}

int host_call(lua_State *L, int nargs, int nresults)
{
    int base = lua_gettop(L) - nargs;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    lua_State *outer = intr.running;
    intr.running = L;
    int status = lua_pcall(L, nargs, nresults, base);
    intr.running = outer;
    lua_remove(L, base);
    return status;
}

void host_interrupt_open(lua_State *L)
{
    static const luaL_Reg base[] = {{"pcall", host_pcall}, {"xpcall", host_xpcall}, {NULL, NULL}};
    static const luaL_Reg co[] = {{"resume", co_resume}, {"wrap", co_wrap}, {NULL, NULL}};
    intr.running = L;
    intr.ctx = lb_ctx(L);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, base, 0);
    lua_getfield(L, -1, LUA_COLIBNAME);
    luaL_setfuncs(L, co, 0);
    lua_pop(L, 2);

    host_safe_point_open(L);
    intr.thread = pthread_self();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    action.sa_sigaction = on_tick;
    sigaction(SIGALRM, &action, NULL);
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = on_signal;
    sigemptyset(&action.sa_mask); /* no SA_RESTART: a read at the prompt has to come back */
    sigaction(SIGINT, &action, NULL);
    struct sigaction urgent = action;
    urgent.sa_sigaction = on_urgent;
    sigaction(SIGURG, &urgent, NULL);
    struct sigaction before;
    sigaction(SIGTERM, NULL, &before);
    if (before.sa_handler != SIG_IGN) sigaction(SIGTERM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit fails to be written, which is told */
}

void host_interrupt_close(void)
{
    set_ticks(false);
    signal(SIGALRM, SIG_IGN);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    intr.ctx = NULL;
}

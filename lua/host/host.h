/*
** host.h - what the files of the program share.
**
** The program is stock Lua with the engine inside: lua.c's options, sub-commands written in Lua
** (lua/perilune/cli), a REPL (lua/perilune/repl.lua) and Ctrl-C that reaches everything.
*/
#ifndef PL_HOST_H
#define PL_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdbool.h>

/* interrupt.c. `host_interrupt_open` replaces pcall, xpcall and the coroutine functions of the
** global table by ones that Ctrl-C passes through, and takes over SIGINT and SIGTERM. */
void host_interrupt_open(lua_State *L);
/* Gives the signals back: before the state closes, with it the engine's context. */
void host_interrupt_close(void);
/* True while a Ctrl-C waits to be honoured. */
bool host_interrupt_pending(void);
/* Forgets it, in Lua and in the engine, with any grace and the signal that was noted. */
void host_interrupt_clear(lua_State *L);
/* Forgets it alone. */
void host_interrupt_forget(lua_State *L);
/* While attended SIGURG acts as Ctrl-C, and so does the end of the seconds (0: none). */
void host_interrupt_attend(bool on, unsigned seconds);
/* The signal that the pending interrupt comes from. */
int host_interrupt_cause(void);
/* While graceful a first SIGINT or SIGTERM is noted for the loop that asked for it. Returns the
** former state. */
bool host_interrupt_graceful(bool on);
/* What a signal that nobody waits for writes to standard error before it acts, once; at most 2048
** bytes are kept. */
void host_interrupt_words(const char *text, size_t size);
/* The signal that was noted, 0 when none. */
int host_interrupt_noted(void);
/* Raises the error of an interrupt. */
int host_interrupt_raise(lua_State *L);
/* Honours the noted signal: raises the error of an interrupt. */
int host_interrupt_stop(lua_State *L);
/* While idle (a prompt is shown) Ctrl-C is only noted: nothing runs that it could stop, and a
** second one does not end the process. Returns the former state. */
bool host_interrupt_idle(bool idle);

/* safe_point.c. Finds the code of Lua's libraries and replaces table.sort; before scripts run. */
void host_safe_point_open(lua_State *L);
/* Whether a signal handler that got this ucontext_t may raise an error in L, which runs. */
bool host_safe_point(lua_State *L, const void *context);

/* lua_pcall with a handler that adds a traceback to faults of the program; forgets any Ctrl-C on
** the way out. The stack is as for lua_pcall. */
int host_call(lua_State *L, int nargs, int nresults);

/* Takes a function off the stack, which host_call's handler calls with each error; nil: none. */
void host_watch(lua_State *L);

/* offered.c. Pushes a table of the functions of perilune.host. */
void host_offer(lua_State *L);

/* Whether every error gets a traceback, also those that are sentences for the user. */
void host_always_trace(bool on);

/* lineedit.c: the module "perilune.lineedit". */
int luaopen_perilune_lineedit(lua_State *L);

#endif

/*
** pump.h - the sockets of a notebook kernel, served by a thread of their own.
**
** Lua runs a cell for as long as the cell takes. What cannot wait for that is done here: the
** heartbeat is answered, an interrupt stops the cell, and what the program prints goes out while it
** prints. Everything else is handed to Lua as it came, once its signature has been checked, and
** Lua's messages are signed and sent. The messages themselves are Lua's (lua/perilune/jupyter).
*/
#ifndef PL_HOST_PUMP_H
#define PL_HOST_PUMP_H

#include <stdbool.h>
#include <stddef.h>

enum { PUMP_SHELL, PUMP_CONTROL, PUMP_STDIN, PUMP_HEARTBEAT, PUMP_IOPUB, PUMP_SOCKETS };

typedef struct {
    const char *address[PUMP_SOCKETS]; /* as libzmq takes them */
    const char *key;                   /* "": messages are not signed */
    const char *session, *user;        /* for the headers of what is printed */
    bool watch_parent;                 /* tell when the process that began this one has gone */
} pump_options;

typedef struct pump pump;

/* Kinds of messages between Lua and the thread: their first frame, one byte. */
enum {
    PUMP_OF_SHELL = 's',
    PUMP_OF_CONTROL = 'c',
    PUMP_OF_STDIN = 'i',
    PUMP_OF_IOPUB = 'p',
    PUMP_PARENT = 'h',      /* to the thread: see pump_parent */
    PUMP_QUIT = 'q',        /* to the thread */
    PUMP_PARENT_GONE = 'g', /* from it */
};

#define PUMP_DELIMITER "<IDS|MSG>"

/* Binds the sockets, puts pipes in the place of standard output and standard error and starts the
** thread. The calling thread is the one that SIGINT is sent to on an interrupt. NULL on failure,
** with what is wrong in `message`. */
pump *pump_open(const pump_options *options, char *message, size_t room);

/* Lua's end, a PAIR socket: [kind] identities... <IDS|MSG> header parent metadata content.
** Signatures are the thread's. */
void *pump_end(pump *p);

/* Waits until the thread has dealt with a message of Lua; to be called once for each, so that what
** is printed after it follows it. */
void pump_heard(pump *p);

/* What is printed from now on answers the message of this header. */
void pump_parent(pump *p, const char *header, size_t size);

/* Sends what is left, ends the thread, gives standard output and error back. NULL is fine. */
void pump_close(pump *p);

/* A text of 32 hexadecimal digits that nobody can guess, and its zero. */
void pump_token(char text[33]);

#endif

/*
** path.h - names of files beside and inside others. Each is a new string (pl_free), NULL when there
** is no memory.
*/
#ifndef PL_BASE_PATH_H
#define PL_BASE_PATH_H

#include "perilune.h"

/* "<path>.<mark>-<host>-<pid>-<n>": host stands for the machine's name, in 8 hexadecimal digits. */
char *pl__tmp_name(pl_ctx *ctx, const char *path, const char *mark, int n);
/* Whether a name without folders is of pl__tmp_name, of a process of this machine that is no more;
** then *length bytes of it are the name that it stood beside, and *mark is what follows ".". */
bool pl__tmp_is_stale(const char *name, size_t *length, const char **mark);
/* The folder that holds path. */
char *pl__parent_name(pl_ctx *ctx, const char *path);
/* "<folder>/<name>" */
char *pl__join_name(pl_ctx *ctx, const char *folder, const char *name);

#endif

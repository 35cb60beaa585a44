/*
** path.h - names of files beside and inside others. Each is a new string (pl_free), NULL when there
** is no memory.
*/
#ifndef PL_BASE_PATH_H
#define PL_BASE_PATH_H

#include "perilune.h"

/* "<path>.<mark>-<pid>-<n>" */
char *pl__tmp_name(pl_ctx *ctx, const char *path, const char *mark, int n);
/* The folder that holds path. */
char *pl__parent_name(pl_ctx *ctx, const char *path);
/* "<folder>/<name>" */
char *pl__join_name(pl_ctx *ctx, const char *folder, const char *name);

#endif

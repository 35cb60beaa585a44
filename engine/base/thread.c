/*
** thread.c - the flag that stops the kernels of a thread (see thread.h).
*/
#include "base/thread.h"

#include <stddef.h>

static _Thread_local pl_stop stop_flag;

void pl__stop_set(pl_stop flag)
{
    stop_flag = flag;
}

pl_stop pl__stop_get(void)
{
    return stop_flag;
}

/*
** fuzz.h - what the fuzz targets share: a folder in memory, and files in it. The first byte of an
** input says what it is taken for, the rest is the file.
*/
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perilune.h"

#define MOST_MEMORY ((int64_t)256 << 20) /* no small file may ask for more */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], path[128];

static inline void leave(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) return;
}

static inline void make_folder(void)
{
    if (folder[0] != '\0') return;
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/perilune-fuzz-XXXXXX"
                                                 : "/tmp/perilune-fuzz-XXXXXX");
    if (!mkdtemp(folder)) abort();
    atexit(leave);
}

/* The file's path, until the next call. */
static inline const char *put(const char *name, const void *data, size_t size)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || (size > 0 && fwrite(data, 1, size, f) != size) || fclose(f) != 0) abort();
    return path;
}

static inline void take_away(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

#endif

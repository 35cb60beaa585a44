/*
** pages.h - large blocks straight from the system: a mapping each, whose memory can move into
** another one without being copied or cleared.
*/
#ifndef PL_BASE_PAGES_H
#define PL_BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#define PL_UNIT ((size_t)2 << 20) /* what moves: a huge page where there are such */

/* A block of `size` bytes, zeros, with PL_LEAD more before it for the caller; NULL when there is no
** memory. One of PL_UNIT and more is aligned to that and asks for huge pages. */
#define PL_LEAD ((size_t)64 << 10) /* no page of any system is larger */
char *pl__pages_map(size_t size);
void pl__pages_unmap(char *block, size_t size);

/* The memory of the unit at `from` is that of the unit at `to` from now on, whose own goes back to
** the system; `from` is as new. Both are aligned. false: this system cannot; nothing happened. */
bool pl__pages_move(char *to, char *from);
/* Gives the memory of a unit back to the system; the unit is as new. */
void pl__pages_drop(char *unit);

#endif

/*
** pages.c - see pages.h.
*/
#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>

static size_t mapped_bytes(size_t size)
{
    return (size + PL_LEAD - 1) / PL_LEAD * PL_LEAD;
}

/* The lead stands at the end of a page before the block; a huge block begins where a huge page
** does, so that no more of these are touched than it fills. */
char *pl__pages_map(size_t size)
{
    const size_t align = size >= PL_UNIT ? PL_UNIT : PL_LEAD; /* a multiple of PL_LEAD */
    const size_t room = PL_LEAD + mapped_bytes(size) + align;
    char *const from = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED) return NULL;
    char *const block = (char *)(((uintptr_t)from + PL_LEAD + align - 1) / align * align);
    char *const end = block + mapped_bytes(size);
    if (block - PL_LEAD > from) munmap(from, (size_t)(block - PL_LEAD - from));
    if (from + room > end) munmap(end, (size_t)(from + room - end));
    if (align == PL_UNIT) madvise(block, size, MADV_HUGEPAGE);
    return block;
}

void pl__pages_unmap(char *block, size_t size)
{
    munmap(block - PL_LEAD, PL_LEAD + mapped_bytes(size));
}

bool pl__pages_move(char *to, char *from)
{
#ifdef MREMAP_DONTUNMAP /* else another thread could map something into the gap */
    const int how = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    return mremap(from, PL_UNIT, PL_UNIT, how, to) == to;
#else
    (void)to, (void)from;
    return false;
#endif
}

void pl__pages_drop(char *unit)
{
    madvise(unit, PL_UNIT, MADV_DONTNEED);
}

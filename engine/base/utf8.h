/*
** utf8.h - characters in UTF-8. Text that is not UTF-8 is no error here: callers treat each stray
** byte by itself or refuse the whole.
*/
#ifndef PL_BASE_UTF8_H
#define PL_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the valid UTF-8 character at `text`, 0 when there is none. */
int pl__utf8_char(const char *text, size_t length);
/* Length of the longest valid run at the start of `text`: `length` when all of it is UTF-8. */
size_t pl__utf8_run(const char *text, size_t length);
/* Bytes at the end of `text` that may still become a character. */
size_t pl__utf8_unfinished(const char *text, size_t length);
int pl__utf8_put(uint32_t code, char out[4]);
/* The code point of a valid character of `length` bytes. */
uint32_t pl__utf8_get(const char *text, int length);

#endif

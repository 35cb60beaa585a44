/*
** utf8.c - UTF-8 as in the Unicode standard's table 3-7: no surrogates, no overlong forms, at most
** U+10FFFF; the tables are utf8proc's.
*/
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

int pl__utf8_char(const char *text, size_t length)
{
    utf8proc_int32_t code;
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text,
                                                length < 4 ? (utf8proc_ssize_t)length : 4, &code);
    return n > 0 ? (int)n : 0;
}

size_t pl__utf8_run(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        int n = pl__utf8_char(text + at, length - at);
        if (n == 0) break;
        at += (size_t)n;
    }
    return at;
}

/* Whether some bytes more make one character of the text. The second byte of a character is bounded
** from one side at most, so that the least or the greatest continuation fits. */
static bool may_become_char(const char *text, size_t length)
{
    for (int fill = 0x80; fill <= 0xBF; fill += 0x3F) {
        char whole[4];
        memset(whole, fill, sizeof whole);
        memcpy(whole, text, length);
        if (pl__utf8_char(whole, sizeof whole) > (int)length) return true;
    }
    return false;
}

size_t pl__utf8_unfinished(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++)
        if (((unsigned char)text[length - back] & 0xC0) != 0x80)
            return may_become_char(text + length - back, back) ? back : 0;
    return 0;
}

int pl__utf8_put(uint32_t code, char out[4])
{
    return (int)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

uint32_t pl__utf8_get(const char *text, int length)
{
    utf8proc_int32_t code;
    utf8proc_iterate((const utf8proc_uint8_t *)text, length, &code);
    return (uint32_t)code;
}

/*
** utf8.c - UTF-8 as in the Unicode standard's table 3-7: no surrogates, no overlong forms, at most
** U+10FFFF.
*/
#include "base/utf8.h"

#include <utf8proc.h>

/* Lead byte to length and the permitted range of the second byte; length 0: no lead byte. */
static int lead_byte(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) return 2;
    if (c < 0xF0) {
        if (c == 0xE0) *low = 0xA0;
        if (c == 0xED) *high = 0x9F;
        return 3;
    }
    if (c < 0xF5) {
        if (c == 0xF0) *low = 0x90;
        if (c == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

/* How many bytes of the character at `text` are there and well-formed; *need is its full length. */
static int well_formed(const char *text, size_t length, int *need)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char low, high;
    *need = length > 0 ? lead_byte(s[0], &low, &high) : 0;
    if (*need == 0) return 0;
    int n = 1;
    while (n < *need && (size_t)n < length && s[n] >= low && s[n] <= high) {
        low = 0x80;
        high = 0xBF;
        n++;
    }
    return n;
}

int pl__utf8_char(const char *text, size_t length)
{
    int need, have = well_formed(text, length, &need);
    return have == need ? have : 0;
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

size_t pl__utf8_unfinished(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char c = (unsigned char)text[length - back];
        if (c < 0x80) return 0;
        if (c >= 0xC0) {
            int need, have = well_formed(text + length - back, back, &need);
            return (size_t)have == back && have < need ? back : 0;
        }
    }
    return 0;
}

int pl__utf8_put(uint32_t code, char out[4])
{
    return (int)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

uint32_t pl__utf8_get(const char *text, int length)
{
    static const unsigned char lead_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)text[0] & lead_mask[length];
    for (int i = 1; i < length; i++) code = (code << 6) | ((unsigned char)text[i] & 0x3F);
    return code;
}

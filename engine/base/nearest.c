/*
** nearest.c - the known name that somebody probably meant.
**
** The distance is optimal string alignment (Damerau 1964, Levenshtein 1966): the fewest insertions,
** deletions, substitutions and swaps of neighbouring letters that make one name the other.
** Deliberately not here: names that mean the same but look different; those are aliases.
*/
#include <ctype.h>
#include <string.h>

#include "perilune.h"

enum { LONGEST = 64 }; /* letters that are looked at */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* The distance of a and b, small and capital letters alike. */
static int distance(const char *a, const char *b)
{
    const int m = (int)strnlen(a, LONGEST), n = (int)strnlen(b, LONGEST);
    int rows[3][LONGEST + 1]; /* of i - 2, i - 1 and i letters of a, by i modulo 3 */
    for (int j = 0; j <= n; j++) rows[0][j] = j;
    for (int i = 1; i <= m; i++) {
        const int *before = rows[(i + 1) % 3], *above = rows[(i + 2) % 3];
        int *row = rows[i % 3];
        const int letter = tolower((unsigned char)a[i - 1]);
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int other = tolower((unsigned char)b[j - 1]);
            row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + (letter != other));
            if (i > 1 && j > 1 && letter == tolower((unsigned char)b[j - 2]) &&
                other == tolower((unsigned char)a[i - 2]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

const char *pl_nearest(const char *name, const char *const *names, int64_t n)
{
    const int length = (int)strlen(name), near = length / 3 > 1 ? length / 3 : 1;
    const char *found = NULL, *continued = NULL;
    int best = 0;
    for (int64_t i = 0; i < n; i++) {
        const int d = distance(name, names[i]);
        if (found == NULL || d < best || (d == best && strcmp(names[i], found) < 0)) {
            found = names[i];
            best = d;
        }
        if (length >= 2 && strncasecmp(name, names[i], (size_t)length) == 0 &&
            (continued == NULL || strcmp(names[i], continued) < 0))
            continued = names[i];
    }
    return found != NULL && best <= near ? found : continued;
}

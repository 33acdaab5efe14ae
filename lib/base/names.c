#include "names.h"

#include <string.h>

#define NAME_MOST 64 /* names that are longer are not searched for */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment; three rows of the table suffice. */
size_t name_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), rows[3][NAME_MOST + 1];
    if (n > NAME_MOST || m > NAME_MOST) return n > m ? n : m;
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(above[j - 1] + (a[i - 1] != b[j - 1]), 1 + least(above[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

void name_search_init(name_search *search, const char *wanted)
{
    *search = (name_search){wanted, NULL, 0};
}

void name_search_offer(name_search *search, const char *name)
{
    size_t length = strlen(search->wanted), distance = name_distance(search->wanted, name);
    size_t most = length < 4 ? 1 : length < 8 ? 2 : length / 3;
    /* A part of a name, "warmup" for "lr-warmup-steps", is near however long the rest is; its start is nearer. */
    const char *part = length >= 3 ? strstr(name, search->wanted) : NULL;
    if (part && distance > 1)
        distance = part == name ? 1 : least(distance, 2);
    else if (distance > most)
        return;
    if (search->best && distance >= search->best_distance) return;
    search->best = name;
    search->best_distance = distance;
}

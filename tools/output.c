#include "output.h"

#include "system.h"
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void *need_memory(void *pointer)
{
    if (!pointer) exit(tool_fail(TOOL_ERROR, "no memory left"));
    return pointer;
}

/* ---- columns ----------------------------------------------------------------------------------------------------- */

/* The first character's bytes, of which there is at least one, and its columns. */
static size_t measure(const char *text, size_t size, int *columns)
{
    size_t length = character_size(text, size);
    *columns = length ? system_character_columns(text, length) : 1;
    return length ? length : 1;
}

int text_columns(const char *text, size_t size)
{
    int all = 0, one;
    for (size_t at = 0; at < size; all += one) at += measure(text + at, size - at, &one);
    return all;
}

size_t text_fit(const char *text, int columns)
{
    size_t at = 0, size = strlen(text);
    for (int one; at < size; columns -= one) {
        size_t length = measure(text + at, size - at, &one);
        if (one > columns) break;
        at += length;
    }
    return at;
}

size_t text_whole(const char *text, size_t size)
{
    size_t last = size;
    while (last > 0 && size - last < 4 && ((unsigned char)text[last - 1] & 0xc0) == 0x80) last--;
    if (last == 0 || (unsigned char)text[last - 1] < 0xc0) return size; /* ASCII, or no UTF-8 */
    return character_size(text + last - 1, size - last + 1) ? size : last - 1;
}

int folder_size(const char *folder)
{
    size_t size = strlen(folder);
    while (size > 0 && folder[size - 1] == '/') size--;
    return (int)size;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

void grid_add_cells(struct grid *grid, const char *const *cells, int count)
{
    if ((grid->rows + 1) * GRID_COLUMNS_MOST > grid->capacity) {
        grid->capacity = 2 * grid->capacity + 16 * GRID_COLUMNS_MOST;
        grid->cells = need_memory(realloc(grid->cells, (size_t)grid->capacity * sizeof *grid->cells));
    }
    char **row = grid->cells + grid->rows++ * GRID_COLUMNS_MOST;
    for (int i = 0; i < GRID_COLUMNS_MOST; i++) row[i] = i < count ? need_memory(strdup(cells[i])) : NULL;
    if (count > grid->columns) grid->columns = count < GRID_COLUMNS_MOST ? count : GRID_COLUMNS_MOST;
}

void grid_print(const struct grid *grid, FILE *to)
{
    int widths[GRID_COLUMNS_MOST] = {0};
    for (int i = 0; i < grid->rows * GRID_COLUMNS_MOST; i++) {
        int width = grid->cells[i] ? text_columns(grid->cells[i], strlen(grid->cells[i])) : 0;
        if (width > widths[i % GRID_COLUMNS_MOST]) widths[i % GRID_COLUMNS_MOST] = width;
    }
    for (int r = 0; r < grid->rows; r++) {
        char *const *row = grid->cells + r * GRID_COLUMNS_MOST;
        for (int c = 0; c < grid->columns && row[c]; c++) {
            int last = c + 1 == grid->columns || !row[c + 1];
            int space = last ? 0 : widths[c] - text_columns(row[c], strlen(row[c])) + 2;
            (void)fprintf(to, "%s%*s%s", row[c], space, "", last ? "\n" : "");
        }
    }
}

void grid_free(struct grid *grid)
{
    for (int i = 0; i < grid->rows * GRID_COLUMNS_MOST; i++) free(grid->cells[i]);
    free(grid->cells);
    *grid = (struct grid){0, 0, 0, NULL};
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

const char *show_bytes(uint64_t bytes, char to[NUMBER_SIZE])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < COUNT_OF(units); unit++) value /= 1024;
    (void)snprintf(to, NUMBER_SIZE, "%.1f %s", value, units[unit]);
    return to;
}

const char *show_count(int64_t count, char to[NUMBER_SIZE])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)count), used = 0;
    for (int i = 0; i < length; i++) {
        if (i > (count < 0) && (length - i) % 3 == 0) to[used++] = ',';
        to[used++] = digits[i];
    }
    to[used] = 0;
    return to;
}

const char *show_short(double value, char to[NUMBER_SIZE])
{
    static const char *const units[] = {"", "k", "M", "G"};
    size_t unit = 0;
    if (!isfinite(value)) return "-";
    for (; fabs(value) >= 999.5 && unit + 1 < COUNT_OF(units); unit++) value /= 1000;
    (void)snprintf(to, NUMBER_SIZE, "%.*f%s", unit == 0 || fabs(value) >= 99.95 ? 0 : fabs(value) >= 9.995 ? 1 : 2, value, units[unit]);
    return to;
}

const char *show_time(double seconds, char to[NUMBER_SIZE])
{
    if (!(seconds >= 0 && seconds < 1e9)) return "-";
    long s = lround(seconds), days = s / 86400;
    if (days)
        (void)snprintf(to, NUMBER_SIZE, "%ldd %ld:%02ld:%02ld", days, s / 3600 % 24, s / 60 % 60, s % 60);
    else if (s >= 3600)
        (void)snprintf(to, NUMBER_SIZE, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        (void)snprintf(to, NUMBER_SIZE, "%ld:%02ld", s / 60, s % 60);
    return to;
}

const char *show_loss(double value, char to[NUMBER_SIZE])
{
    if (!isfinite(value)) return "-";
    (void)snprintf(to, NUMBER_SIZE, "%.4f", value);
    return to;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void print_as(json_t *value, FILE *to, size_t flags)
{
    (void)json_dumpf(need_memory(value), to, flags | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    (void)fputc('\n', to);
    json_decref(value);
}

void print_json(json_t *value, FILE *to)
{
    print_as(value, to, JSON_INDENT(2));
}

void print_json_line(json_t *value, FILE *to)
{
    print_as(value, to, 0);
}

size_t character_size(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : bytes[0] < 0xf5 ? 4 : 0;
    if (length <= 1) return length;
    if (length > size) return 0;
    unsigned code = bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (bytes[i] & 0x3fu);
    }
    return code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? length : 0;
}

json_t *json_from_bytes(const char *bytes, size_t size)
{
    char *clean = need_memory(malloc(3 * size + 1));
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t length = character_size(bytes + i, size - i);
        memcpy(clean + used, length ? bytes + i : "\xef\xbf\xbd", length ? length : 3);
        used += length ? length : 3;
        i += length ? length : 1;
    }
    json_t *value = json_stringn(clean, used);
    free(clean);
    return value;
}

json_t *json_from_text(const char *text)
{
    return json_from_bytes(text, strlen(text));
}

json_t *json_from_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

void print_wrapped(FILE *to, const char *text, int column, int indent, int width)
{
    while (*text) {
        size_t word = strcspn(text, " ");
        int columns = text_columns(text, word);
        if (column + columns > width && column > indent) {
            (void)fprintf(to, "\n%*s", indent, "");
            column = indent;
        }
        (void)fwrite(text, 1, word, to);
        column += columns;
        text += word;
        if (*text != ' ') break;
        text++;
        if (column + 1 + text_columns(text, strcspn(text, " ")) <= width) {
            (void)fputc(' ', to);
            column++;
        } else {
            (void)fprintf(to, "\n%*s", indent, "");
            column = indent;
        }
    }
    (void)fputc('\n', to);
}

void print_quoted(FILE *to, const char *argument)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (*argument && argument[strspn(argument, safe)] == 0) {
        (void)fputs(argument, to);
        return;
    }
    (void)fputc('\'', to);
    for (; *argument; argument++) {
        if (*argument == '\'')
            (void)fputs("'\\''", to);
        else
            (void)fputc(*argument, to);
    }
    (void)fputc('\'', to);
}

/* output.h: tables, numbers and JSON on standard output. */
#ifndef AIOS_TOOLS_OUTPUT_H
#define AIOS_TOOLS_OUTPUT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define GRID_COLUMNS_MOST 8
#define NUMBER_SIZE       32

/* The columns of a terminal that UTF-8 takes, whatever the locale is; a byte that is none of it takes one. */
int text_columns(const char *text, size_t size);
/* How many bytes of a text are whole characters that fit into so many columns. */
size_t text_fit(const char *text, int columns);
/* The size without the part of a character that stands at the end of a text that was cut. */
size_t text_whole(const char *text, size_t size);

/* How much of a folder's name stands before the slash of "FOLDER/name", which it may end with already. */
int folder_size(const char *folder);

/* Rows of cells, printed in columns that are as wide as their widest cell. */
struct grid {
    int columns, rows, capacity;
    char **cells;
};
/* One cell per argument; the first row is the heading.  Texts are copied. */
#define grid_add(grid, ...)                                                                                                                \
    grid_add_cells(grid, (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))
void grid_add_cells(struct grid *grid, const char *const *cells, int count);
void grid_print(const struct grid *grid, FILE *to);
void grid_free(struct grid *grid);

/* "139.8 GiB"; "12,345,678"; "12.3k"; "1:02:03"; "3.457" or "-" where it is not finite. */
const char *show_bytes(uint64_t bytes, char to[NUMBER_SIZE]);
const char *show_count(int64_t count, char to[NUMBER_SIZE]);
const char *show_short(double value, char to[NUMBER_SIZE]);
const char *show_time(double seconds, char to[NUMBER_SIZE]);
const char *show_loss(double value, char to[NUMBER_SIZE]);

/* Prints and gives up a value: indented, or one line. */
void print_json(json_t *value, FILE *to);
void print_json_line(json_t *value, FILE *to);
/* How many bytes the UTF-8 character at the start of `text` has, which has at least one; 0 where there is none. */
size_t character_size(const char *text, size_t size);
/* A text of any bytes; those that are no UTF-8 become U+FFFD. */
json_t *json_from_bytes(const char *bytes, size_t size);
json_t *json_from_text(const char *text);
json_t *json_from_number(double value); /* null where it is not finite, which JSON has no word for */
/* Ends the process with a message where there is no memory left. */
void *need_memory(void *pointer);

/* Paragraphs of at most `width` columns, every line but the first indented. */
void print_wrapped(FILE *to, const char *text, int column, int indent, int width);
/* One argument as a shell takes it: quoted where it must be. */
void print_quoted(FILE *to, const char *argument);

#endif

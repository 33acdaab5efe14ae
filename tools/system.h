/* system.h: what the command asks of the operating system; system_posix.c is the only file that includes its headers. */
#ifndef AIOS_TOOLS_SYSTEM_H
#define AIOS_TOOLS_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int system_is_terminal(FILE *file);
int system_terminal_width(FILE *file);                        /* in columns; 80 where it can't be told */
int system_character_columns(const char *bytes, size_t size); /* of one character in UTF-8: 0, 1 or 2 */
double system_now(void);                                      /* monotonic seconds */
uint64_t system_seed(void);                                   /* another one each time */

/* A line that a person writes at a terminal, arrow keys and earlier lines included, by libedit: 1, and *line is the caller's to free, NULL
 * at the end of the input.  0: there is no libedit, or no terminal that it could move about on. */
int system_edit_line(const char *prompt, char **line);

/* Ctrl-C, termination and hang-up call ask(n), n being 1 for the first of them and 2 for the second, inside a signal handler;
 * from the third on they act as if never caught.  A signal that the process was told to ignore stays ignored. */
void system_catch_stops(void (*ask)(int count));
void system_release_stops(void);
/* The same for work that looks at a number: it becomes 1 with the first of them, and the second acts as if never caught. */
const volatile int32_t *system_catch_first_stop(void);
/* After a stop, in its handler too: ends the process in so many seconds with those words and the code of that signal.  0 seconds: it does
 * not. */
void system_end_in(unsigned seconds, const char *words);
int system_stop_signal(void); /* the last one that was caught; 0: none */
/* A write to standard error that a signal handler may do. */
void system_note(const char *text);

/* A closed pipe is an error of the write, not the end of the process. */
void system_survive_closed_pipe(void);
/* Ends the process as a closed pipe does. */
void system_die_of_closed_pipe(void);

/* ---- processes of this command ------------------------------------------------------------------------------------- */

/* Starts this program once more: arguments (with argv[0], NULL at the end), variables ("NAME=value", NULL at the end) beside those that are
 * set, output appended to the file `output` (NULL: where this one's goes).  It gets no signals from the terminal, and is killed
 * with this process.  Returns its id, -1 where it can't be started. */
int64_t system_start(char *const *arguments, char *const *variables, const char *output);
/* Waits for the next of them to end: its id, and its exit code, or 128 + the signal that ended it.  -1: there is none. */
int64_t system_wait(int *code);
void system_signal(int64_t id, int number); /* in a signal handler too */
int system_free_port(void);                 /* of the loopback interface, that nobody has at the moment; 0: none */
int system_make_folders(const char *path);  /* with those above it; 0, 1: it was there, or -1 */

/* The library's path where the loader finds and opens it: 1, else 0. */
int system_find_library(const char *name, char *path, size_t size);

enum { SYSTEM_NO_FOLDER, SYSTEM_READ_ONLY, SYSTEM_WRITABLE, SYSTEM_NOT_A_FOLDER };
int system_folder_state(const char *path);

struct system_cpu {
    char name[128];
    char features[4096]; /* the processor's own list, each followed by a blank */
    int usable;          /* logical processors that this process may use */
    uint64_t memory_total, memory_free;
};
void system_get_cpu(struct system_cpu *cpu);

#endif

/* system.h: what the command asks of the operating system; system_posix.c is the only file that includes its headers. */
#ifndef AIOS_TOOLS_SYSTEM_H
#define AIOS_TOOLS_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int system_is_terminal(FILE *file);
int system_terminal_width(FILE *file); /* in columns; 80 where it can't be told */
double system_now(void);               /* monotonic seconds */
uint64_t system_seed(void);            /* another one each time */

/* Ctrl-C, termination and hang-up call ask(n), n being 1 for the first of them and 2 for the second, inside a signal handler;
 * from the third on they act as if never caught.  A signal that the process was told to ignore stays ignored. */
void system_catch_stops(void (*ask)(int count));
void system_release_stops(void);
int system_stop_signal(void); /* the last one that was caught; 0: none */
/* A write to standard error that a signal handler may do. */
void system_note(const char *text);

/* A closed pipe is an error of the write, not the end of the process. */
void system_survive_closed_pipe(void);
/* Ends the process as a closed pipe does. */
void system_die_of_closed_pipe(void);

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

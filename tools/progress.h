/* progress.h: a run's events for a person: a bar that is redrawn in one line of a terminal, plain lines elsewhere. */
#ifndef AIOS_TOOLS_PROGRESS_H
#define AIOS_TOOLS_PROGRESS_H

#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *to;    /* NULL: nobody looks */
    int bar;     /* 1: to is a terminal */
    int shown;   /* 1: the bar stands in the current line */
    int lines;   /* step lines so far */
    double last; /* when the last line or bar was written */
    int64_t step, steps;
    char line[256];           /* the newest bar's text, beside the bar itself */
    char data_phase[64];      /* "" beside such a phase */
    double part;              /* of it */
    double began, began_part; /* its first event */
    char checkpoint[1024];    /* path of the newest; "" before the first */
};

void progress_init(struct progress *progress, FILE *to);
/* An event of trainer.h. */
void progress_event(struct progress *progress, const char *name, const char *json);
/* Takes the bar away so that something else can be written, and draws it again. */
void progress_hide(struct progress *progress);
void progress_show(struct progress *progress);

/* For a command whose standard output is its result: how far fetching, tokenizing and evaluating are, on standard error; nowhere with
 * --quiet, and with --json only where a person looks on. */
struct tool;
void progress_init_aside(struct progress *progress, const struct tool *tool);
/* The same, of all its events. */
void progress_follow(struct progress *progress, struct tool *tool);

#endif

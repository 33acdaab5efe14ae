/* page.h: a run's log as a page of HTML: what was read (page_log.c), how it is drawn (page_chart.c), what stands where (page.c). */
#ifndef AIOS_TOOLS_PAGE_H
#define AIOS_TOOLS_PAGE_H

#include <jansson.h>
#include <stdio.h>

/* ---- what a run logged -------------------------------------------------------------------------------------------- */

struct points {
    double *x, *y; /* y may be NaN: a gap */
    size_t count, capacity;
};
void points_add(struct points *points, double x, double y);
void points_cut(struct points *points, double x); /* those from x on, which a run that went back made again */
void points_free(struct points *points);

enum { MARK_EVAL, MARK_CHECKPOINT, MARK_MERGE, MARK_BALANCE, MARK_DROP, MARK_RECOVERY, MARK_WARNING, MARK_START, MARK_KINDS };
struct mark {
    int kind;
    double step, elapsed; /* NaN where the log does not say */
    char *text;
};

/* Over the steps, but the last, which is over the seconds. */
enum {
    CURVE_LOSS,
    CURVE_RATE,
    CURVE_GRADIENT,
    CURVE_EXACT,
    CURVE_SEGMENTS,
    CURVE_EVAL_LOSS,
    CURVE_EVAL_ACCURACY,
    CURVE_EVAL_EXACT,
    CURVE_SPEED,
    CURVES
};

struct run_device {
    char name[64];
    double units, share, steps, chunks, alone; /* NaN where the log does not say; alone: units per second while it computes */
    double dropped_at;                         /* seconds; NaN: it was not */
    struct points done;                        /* steps, units: of its logged steps */
    size_t part;                               /* while it is read: its first point since the start, or since another lot of devices */
    struct points work;                        /* seconds, units: its logged steps, where devices train on their own */
    struct points speed;                       /* seconds, units per second */
};

enum { RUN_DEVICES_MOST = 64 };
struct run_log {
    json_t *run, *start, *complete, *last_step, *config; /* run.json, events, config.json of a checkpoint; NULL where missing */
    struct points curves[CURVES];
    struct mark *marks;
    size_t mark_count, mark_capacity;
    struct run_device devices[RUN_DEVICES_MOST];
    int device_count;
    double together, efficiency; /* units per second of all; of the sum of the parts; NaN where the log does not say */
    double step, elapsed, units; /* of the newest event that tells them */
    /* While it is read: seconds of earlier starts; units by the steps; who trains, in the events' order, as places in devices (-1: no
     * room); each device's part of a step. */
    double offset, shares[RUN_DEVICES_MOST];
    struct points totals;
    int order[RUN_DEVICES_MOST], order_count, shares_known, restarted;
    size_t lines, unreadable;
    const char *unit; /* "tokens"; "puzzles" where those are what is learnt */
};

/* The log of a run's folder, or a log itself.  0, or a complaint was printed and this is the exit code. */
int run_log_read(struct run_log *log, const char *path);
void run_log_free(struct run_log *log);
double run_number(const json_t *object, const char *key); /* NaN where it is missing or null */
const char *run_text(const json_t *object, const char *key);

/* ---- drawing ------------------------------------------------------------------------------------------------------ */

enum { AXIS_COUNT, AXIS_SECONDS, AXIS_NUMBER, AXIS_PERCENT };
enum { LINE_PLAIN, LINE_FAINT, LINE_DOTTED };
struct line {
    const char *name; /* as the legend and tooltips call it */
    int color;        /* 0: the text's own, then 1 to 8, again and again */
    int style;
    const struct points *points;
};
struct chart {
    const char *id, *title, *note; /* note: below it; NULL for none */
    const char *missing;           /* what is told where there is nothing to draw */
    const char *x_name, *y_name;
    int x_axis, y_axis;
    int from_zero; /* the y axis begins at 0 */
    const struct line *lines;
    int line_count;
    const struct run_log *log; /* drops and recoveries are drawn into it; NULL: none */
};
void chart_draw(FILE *to, const struct chart *chart);
void chart_smooth(const struct points *from, struct points *to);

void draw_timeline(FILE *to, const struct run_log *log);
void draw_efficiency(FILE *to, const struct run_log *log);

void page_text(FILE *to, const char *text); /* escaped; what XML has no place for becomes U+FFFD */
int page_color(int device);                 /* of a device by its place */
/* "1,234", "0:42", "4.25", "2e-4", "12.5 %" as the axis has it; step: the distance of what is to be told apart. */
void page_number(int axis, double value, double step, char to[48]);

#endif

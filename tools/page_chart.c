/* Drawings of a page: inline SVG, in the colors of its style sheet.  A plot's element tells its axes' ends (data-x0 …), and a
 * line's its name, so that a reader that is no eye finds the numbers again. */
#include "page.h"

#include "output.h"
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 640, HEIGHT = 270, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 42, COLORS = 8 };
enum { POINTS_DRAWN = 800, TIPS_DRAWN = 160, TICKS_WANTED = 6 };

struct axis {
    int kind;
    double low, high, step;
    double from, to; /* pixels */
};

/* ---- text and numbers --------------------------------------------------------------------------------------------- */

void page_text(FILE *to, const char *text)
{
    for (size_t left = strlen(text), size; left; text += size, left -= size) {
        const char *escaped = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : NULL;
        size = character_size(text, left);
        if (!size || ((unsigned char)*text < ' ' && *text != '\n' && *text != '\t')) escaped = "\xef\xbf\xbd";
        if (!size) size = 1; /* a text that was cut in the middle of a character */
        if (escaped)
            (void)fputs(escaped, to);
        else
            (void)fwrite(text, 1, size, to);
    }
}

int page_color(int device)
{
    return device % COLORS + 1;
}

/* "2e-4", "1.5e9": shorter than what printf makes of it. */
static void show_exponent(double value, char to[48])
{
    char text[48];
    (void)snprintf(text, sizeof text, "%.2e", value);
    char *e = strchr(text, 'e'), *end = e;
    while (end > text && (end[-1] == '0' || end[-1] == '.')) {
        int point = *--end == '.';
        if (point) break;
    }
    (void)snprintf(to, 48, "%.*se%d", (int)(end - text), text, atoi(e + 1));
}

void page_number(int axis, double value, double step, char to[48])
{
    char number[NUMBER_SIZE];
    double size = fabs(value);
    int decimals = step > 0 ? (int)ceil(-log10(step) - 1e-9) : 0;
    decimals = decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
    if (!isfinite(value))
        (void)snprintf(to, 48, "\xe2\x80\x93");
    else if (axis == AXIS_SECONDS && step < 1)
        (void)snprintf(to, 48, "%.*f s", decimals, value);
    else if (axis == AXIS_SECONDS)
        (void)snprintf(to, 48, "%s", show_time(value, number));
    else if (axis == AXIS_PERCENT)
        (void)snprintf(to, 48, "%.*f %%", step > 0 && step < 0.01 ? (decimals > 2 ? decimals - 2 : 0) : 0, 100 * value);
    else if (axis == AXIS_COUNT && step >= 1 && size < 1e6)
        (void)snprintf(to, 48, "%s", show_count((int64_t)llround(value), number));
    else if (size >= 1e4 && size < 1e12)
        (void)snprintf(to, 48, "%.4g%s",
                       value / (size >= 1e9   ? 1e9
                                : size >= 1e6 ? 1e6
                                              : 1e3),
                       size >= 1e9   ? "G"
                       : size >= 1e6 ? "M"
                                     : "k");
    else if (size == 0 && step > 0 && step < 1e-3)
        (void)snprintf(to, 48, "0");
    else if (size > 0 && (size < 1e-3 || size >= 1e12 || (step > 0 && step < 1e-3 && size < 0.05)))
        show_exponent(value, to);
    else
        (void)snprintf(to, 48, "%.*f", decimals, value);
}

/* ---- axes --------------------------------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten; of seconds what clocks divide by. */
static double nice_step(double span, int kind)
{
    static const double clock[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400};
    double rough = span / TICKS_WANTED, power = pow(10, floor(log10(rough)));
    if (kind == AXIS_SECONDS && rough > 0.5) {
        for (size_t i = 0; i < COUNT_OF(clock); i++)
            if (clock[i] >= rough) return clock[i];
        return 86400 * ceil(rough / 86400);
    }
    double step = rough <= power ? power : rough <= 2 * power ? 2 * power : rough <= 5 * power ? 5 * power : 10 * power;
    return kind == AXIS_COUNT && step < 1 ? 1 : step;
}

static void set_axis(struct axis *axis, int kind, double low, double high, int whole_steps)
{
    double size = fmax(fabs(low), fabs(high));
    if (!(high - low > 1e-9 * size)) { /* also where rounding alone parts them: ticks so near could not be told apart, or counted */
        double half = size > 0 ? 0.05 * size : 0.5;
        low -= low == 0 ? 0 : half;
        high += half;
    }
    axis->kind = kind;
    axis->step = nice_step(high - low, kind);
    axis->low = whole_steps ? axis->step * floor(low / axis->step + 1e-9) : low;
    axis->high = whole_steps ? axis->step * ceil(high / axis->step - 1e-9) : high;
}

static double place(const struct axis *axis, double value)
{
    return axis->from + (value - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

static void grow(const struct points *points, double *x0, double *x1, double *y0, double *y1)
{
    for (size_t i = 0; i < points->count; i++) {
        if (!isfinite(points->y[i])) continue;
        *x0 = fmin(*x0, points->x[i]);
        *x1 = fmax(*x1, points->x[i]);
        *y0 = fmin(*y0, points->y[i]);
        *y1 = fmax(*y1, points->y[i]);
    }
}

/* 0 where there is nothing to draw. */
static int set_axes(const struct chart *chart, struct axis *x, struct axis *y)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int i = 0; i < chart->line_count; i++) grow(chart->lines[i].points, &x0, &x1, &y0, &y1);
    if (!isfinite(x0)) return 0;
    if (chart->from_zero) y0 = fmin(y0, 0);
    if (chart->x_axis == AXIS_SECONDS || x0 < 0.2 * x1) x0 = fmin(x0, 0);
    *x = (struct axis){.from = LEFT, .to = WIDTH - RIGHT};
    *y = (struct axis){.from = HEIGHT - BOTTOM, .to = TOP};
    set_axis(x, chart->x_axis, x0, x1, 0);
    set_axis(y, chart->y_axis, y0, y1, 1);
    return 1;
}

static void draw_x_ticks(FILE *to, const struct axis *x, double top, double bottom)
{
    char text[48];
    for (double at = x->step * ceil(x->low / x->step - 1e-9); at <= x->high + 1e-9 * x->step; at += x->step) {
        double px = place(x, at);
        page_number(x->kind, fabs(at) < 1e-9 * x->step ? 0 : at, x->step, text);
        (void)fprintf(to, "<line class=\"grid\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%.0f\" y2=\"%.0f\"/>", px, px, top, bottom);
        (void)fprintf(to, "<text class=\"tick x\" x=\"%.2f\" y=\"%.0f\">%s</text>\n", px, bottom + 16, text);
    }
}

static void draw_y_ticks(FILE *to, const struct axis *y)
{
    char text[48];
    for (double at = y->low; at <= y->high + 1e-9 * y->step; at += y->step) {
        double py = place(y, at);
        page_number(y->kind, fabs(at) < 1e-9 * y->step ? 0 : at, y->step, text);
        (void)fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.2f\" y2=\"%.2f\"/>", LEFT, WIDTH - RIGHT, py, py);
        (void)fprintf(to, "<text class=\"tick y\" x=\"%d\" y=\"%.2f\">%s</text>\n", LEFT - 8, py + 4, text);
    }
}

/* ---- lines -------------------------------------------------------------------------------------------------------- */

/* One way along the points, then back, and the mean of both: a curve that lags behind neither end. */
void chart_smooth(const struct points *from, struct points *to)
{
    double keep = 1 - 1 / fmax(2, (double)from->count / 40), sum = 0, weight = 0;
    for (size_t i = 0; i < from->count; i++) {
        if (!isfinite(from->y[i])) continue;
        sum = keep * sum + (1 - keep) * from->y[i];
        weight = keep * weight + (1 - keep);
        points_add(to, from->x[i], sum / weight);
    }
    sum = weight = 0;
    for (size_t i = from->count, at = to->count; i-- > 0;) {
        if (!isfinite(from->y[i])) continue;
        sum = keep * sum + (1 - keep) * from->y[i];
        weight = keep * weight + (1 - keep);
        at--;
        to->y[at] = (to->y[at] + sum / weight) / 2;
    }
}

/* At most POINTS_DRAWN of them: the means of as many runs of points. */
static void thin_out(const struct points *from, struct points *to)
{
    size_t each = (from->count + POINTS_DRAWN - 1) / POINTS_DRAWN;
    for (size_t i = 0; i < from->count; i += each) {
        double x = 0, y = 0;
        size_t count = i + each <= from->count ? each : from->count - i, good = 0;
        for (size_t k = i; k < i + count; k++) {
            x += from->x[k] / (double)count;
            if (isfinite(from->y[k])) y += from->y[k], good++;
        }
        points_add(to, x, good ? y / (double)good : (double)NAN);
    }
}

static void draw_path(FILE *to, const struct line *line, const struct points *points, const struct axis *x, const struct axis *y)
{
    static const char *const styles[] = {"line", "line faint", "line dotted"};
    for (size_t i = 0; i < points->count;) {
        if (!isfinite(points->y[i])) {
            i++;
            continue;
        }
        (void)fprintf(to, "<polyline class=\"%s c%d\" data-name=\"", styles[line->style], line->color);
        page_text(to, line->name);
        (void)fputs("\" points=\"", to);
        size_t first = i;
        for (; i < points->count && isfinite(points->y[i]); i++)
            (void)fprintf(to, "%s%.2f,%.2f", i > first ? " " : "", place(x, points->x[i]), place(y, points->y[i]));
        (void)fputs("\"/>\n", to);
    }
}

/* A dot that shows its numbers; where there are many points, at some of them. */
static void draw_tips(FILE *to, const struct chart *chart, const struct line *line, const struct points *points, const struct axis *x,
                      const struct axis *y)
{
    size_t each = (points->count + TIPS_DRAWN - 1) / TIPS_DRAWN;
    char at[48], value[48];
    for (size_t i = 0; i < points->count; i++) {
        if (!isfinite(points->y[i]) || (i % each && i + 1 != points->count)) continue;
        page_number(chart->x_axis, points->x[i], chart->x_axis == AXIS_COUNT ? 1 : fmin(x->step / 10, 1), at);
        page_number(chart->y_axis, points->y[i], y->step / 100, value);
        (void)fprintf(to, "<circle class=\"tip c%d%s\" cx=\"%.2f\" cy=\"%.2f\" r=\"%s\"><title>", line->color,
                      points->count <= 40 && line->style != LINE_FAINT ? " shown" : "", place(x, points->x[i]), place(y, points->y[i]),
                      points->count <= 40 ? "3" : "5");
        page_text(to, line->name);
        (void)fprintf(to, ": %s\n%s %s</title></circle>\n", value, chart->x_name, at);
    }
}

static void draw_line(FILE *to, const struct chart *chart, const struct line *line, const struct axis *x, const struct axis *y)
{
    struct points thin = {NULL, NULL, 0, 0};
    thin_out(line->points, &thin);
    draw_path(to, line, &thin, x, y);
    if (line->style != LINE_FAINT) draw_tips(to, chart, line, &thin, x, y);
    points_free(&thin);
}

/* Where devices were lost, and where the run went on. */
static void draw_breaks(FILE *to, const struct chart *chart, const struct axis *x)
{
    for (size_t i = 0; chart->log && i < chart->log->mark_count; i++) {
        const struct mark *mark = &chart->log->marks[i];
        double at = chart->x_axis == AXIS_SECONDS ? mark->elapsed : mark->step;
        if ((mark->kind != MARK_DROP && mark->kind != MARK_RECOVERY) || !(at >= x->low && at <= x->high)) continue;
        (void)fprintf(to, "<g class=\"break\"><line x1=\"%.2f\" x2=\"%.2f\" y1=\"%d\" y2=\"%d\"/><title>", place(x, at), place(x, at), TOP,
                      HEIGHT - BOTTOM);
        page_text(to, mark->text);
        (void)fputs("</title></g>\n", to);
    }
}

static void draw_legend(FILE *to, const struct chart *chart)
{
    (void)fputs("<p class=\"legend\">", to);
    for (int i = 0; i < chart->line_count; i++) {
        if (!chart->lines[i].points->count) continue;
        (void)fprintf(to, "<span><i class=\"key b%d%s\"></i>", chart->lines[i].color,
                      chart->lines[i].style == LINE_FAINT    ? " faint"
                      : chart->lines[i].style == LINE_DOTTED ? " dotted"
                                                             : "");
        page_text(to, chart->lines[i].name);
        (void)fputs("</span> ", to);
    }
    (void)fputs("</p>\n", to);
}

void chart_draw(FILE *to, const struct chart *chart)
{
    struct axis x, y;
    (void)fprintf(to, "<figure id=\"%s\">\n<figcaption>%s</figcaption>\n", chart->id, chart->title);
    if (!set_axes(chart, &x, &y)) {
        (void)fprintf(to, "<p class=\"missing\">%s</p>\n</figure>\n", chart->missing);
        return;
    }
    draw_legend(to, chart);
    (void)fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, chart->title);
    (void)fprintf(to,
                  "<g class=\"plot\" data-x0=\"%.17g\" data-x1=\"%.17g\" data-y0=\"%.17g\" data-y1=\"%.17g\" data-box=\"%d %d %d %d\">\n",
                  x.low, x.high, y.low, y.high, LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM);
    draw_x_ticks(to, &x, TOP, HEIGHT - BOTTOM);
    draw_y_ticks(to, &y);
    (void)fprintf(to, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM,
                  HEIGHT - BOTTOM);
    for (int i = 0; i < chart->line_count; i++) draw_line(to, chart, &chart->lines[i], &x, &y);
    draw_breaks(to, chart, &x);
    (void)fputs("</g>\n", to);
    (void)fprintf(to, "<text class=\"name\" x=\"%d\" y=\"%d\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, chart->x_name);
    (void)fprintf(to, "<text class=\"name\" transform=\"translate(13 %d) rotate(-90)\">%s</text>\n</svg>\n", (TOP + HEIGHT - BOTTOM) / 2,
                  chart->y_name);
    if (chart->note) (void)fprintf(to, "<p class=\"note\">%s</p>\n", chart->note);
    (void)fputs("</figure>\n", to);
}

/* ---- the timeline ------------------------------------------------------------------------------------------------- */

enum { LANE = 26, LANES_LEFT = 118, LANES_WIDTH = 1300, LANES_TOP = 8 };

static const struct {
    const char *name;
    const char *class;
} lanes[MARK_KINDS] = {{"evaluations", "m2"},   {"checkpoints", "m3"},  {"merges", "m1"},     {"new shares", "m5"},
                       {"lost devices", "bad"}, {"recoveries", "good"}, {"warnings", "warn"}, {"starts", "m0"}};

static int lane_is_used(const struct run_log *log, int kind)
{
    for (size_t i = 0; i < log->mark_count; i++)
        if (log->marks[i].kind == kind && isfinite(log->marks[i].elapsed)) return 1;
    return 0;
}

static void draw_lane_name(FILE *to, const char *name, double y)
{
    (void)fprintf(to, "<text class=\"tick y\" x=\"%d\" y=\"%.1f\">", LANES_LEFT - 10, y + LANE / 2.0 + 4);
    page_text(to, name);
    (void)fputs("</text>", to);
}

/* Its life as a bar; of devices on their own its steps as ticks, as many as can be told apart. */
static void draw_device(FILE *to, const struct run_log *log, int index, const struct axis *x, double y)
{
    const struct run_device *d = &log->devices[index];
    double end = isfinite(d->dropped_at) ? d->dropped_at : log->elapsed, last = -INFINITY;
    char ends[48];
    draw_lane_name(to, d->name, y);
    page_number(AXIS_SECONDS, end, 1, ends);
    (void)fputs("<g data-lane=\"", to);
    page_text(to, d->name);
    (void)fprintf(to, "\"><rect class=\"life b%d\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" rx=\"3\"><title>", page_color(index),
                  place(x, 0), y + 5, place(x, end) - place(x, 0), LANE - 10);
    page_text(to, d->name);
    (void)fprintf(to, ": %s %s</title></rect>", isfinite(d->dropped_at) ? "lost at" : "until", ends);
    for (size_t i = 0; i < d->work.count; i++) {
        double at = place(x, d->work.x[i]);
        if (at - last < 1.5) continue;
        last = at;
        (void)fprintf(to, "<line class=\"work c%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", page_color(index), at, at, y + 5,
                      y + LANE - 5);
    }
    (void)fputs("</g>\n", to);
}

/* Those that would lie on each other are one, that says how many. */
static void draw_marks(FILE *to, const struct run_log *log, int kind, const struct axis *x, double y)
{
    draw_lane_name(to, lanes[kind].name, y);
    (void)fprintf(to, "<g data-lane=\"%s\">", lanes[kind].name);
    for (size_t i = 0; i < log->mark_count;) {
        const struct mark *first = &log->marks[i++], *last = first;
        size_t count = 1;
        char at[48];
        if (first->kind != kind || !isfinite(first->elapsed)) continue;
        for (; i < log->mark_count; i++) {
            if (log->marks[i].kind != kind) continue;
            if (place(x, log->marks[i].elapsed) - place(x, first->elapsed) > 7) break;
            last = &log->marks[i];
            count++;
        }
        page_number(AXIS_SECONDS, first->elapsed, 1, at);
        (void)fprintf(to, "<circle class=\"mark %s\" cx=\"%.2f\" cy=\"%.1f\" r=\"%s\" data-count=\"%zu\"><title>", lanes[kind].class,
                      place(x, first->elapsed), y + LANE / 2.0, count > 1 ? "6" : "4.5", count);
        if (count > 1) (void)fprintf(to, "%zu of these, steps %.0f to %.0f; the first: ", count, first->step, last->step);
        page_text(to, first->text);
        (void)fprintf(to, "\nat %s", at);
        if (isfinite(first->step)) (void)fprintf(to, ", step %.0f", first->step);
        (void)fputs("</title></circle>\n", to);
    }
    (void)fputs("</g>\n", to);
}

void draw_timeline(FILE *to, const struct run_log *log)
{
    struct axis x = {.from = LANES_LEFT, .to = LANES_WIDTH - 20};
    int rows = log->device_count;
    for (int kind = 0; kind < MARK_KINDS; kind++) rows += lane_is_used(log, kind);
    (void)fputs("<figure id=\"timeline\" class=\"wide\">\n<figcaption>Timeline</figcaption>\n", to);
    if (!(log->elapsed > 0)) {
        (void)fputs("<p class=\"missing\">The log has no event with a time.</p>\n</figure>\n", to);
        return;
    }
    double bottom = LANES_TOP + rows * LANE, y = LANES_TOP;
    set_axis(&x, AXIS_SECONDS, 0, log->elapsed, 0);
    x.step = nice_step((x.high - x.low) / 2, AXIS_SECONDS);
    (void)fprintf(to, "<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"Timeline\">\n", LANES_WIDTH, bottom + 42);
    (void)fprintf(to, "<g class=\"plot\" data-x0=\"%.17g\" data-x1=\"%.17g\" data-box=\"%d %d %d %.0f\">\n", x.low, x.high, LANES_LEFT,
                  LANES_TOP, LANES_WIDTH - 20, bottom);
    draw_x_ticks(to, &x, LANES_TOP, bottom);
    for (int i = 0; i < log->device_count; i++, y += LANE) draw_device(to, log, i, &x, y);
    for (int kind = 0; kind < MARK_KINDS; kind++) {
        if (!lane_is_used(log, kind)) continue;
        draw_marks(to, log, kind, &x, y);
        y += LANE;
    }
    (void)fprintf(to, "</g>\n<text class=\"name\" x=\"%d\" y=\"%.0f\">time of training</text>\n</svg>\n", (LANES_LEFT + LANES_WIDTH) / 2,
                  bottom + 36);
    (void)fputs("<p class=\"note\">Point at a mark to read it; larger marks stand for several.</p>\n</figure>\n", to);
}

/* ---- all together beside the sum of the parts ---------------------------------------------------------------------- */

void draw_efficiency(FILE *to, const struct run_log *log)
{
    enum { BAR = 34, FROM = 118, ALL = 640, ROOM = 14 };
    double sum = 0, at = FROM;
    char text[48];
    for (int i = 0; i < log->device_count; i++) sum += isfinite(log->devices[i].alone) ? log->devices[i].alone : 0;
    (void)fputs("<figure id=\"efficiency\">\n<figcaption>Together and the sum of the parts</figcaption>\n", to);
    if (log->device_count < 2 || !(sum > 0) || !isfinite(log->together)) {
        (void)fprintf(to, "<p class=\"missing\">%s</p>\n</figure>\n",
                      log->device_count < 2 ? "One device: there is nothing to compare."
                                            : "The log does not say what each device does while it computes: runs of ddp tell it with "
                                              "balance measured, parallel-independent ones when they end.");
        return;
    }
    double scale = (ALL - FROM - ROOM) / fmax(sum, log->together);
    (void)fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Efficiency\">\n", ALL, 2 * BAR + 40);
    (void)fprintf(to, "<text class=\"tick y\" x=\"%d\" y=\"%d\">sum of parts</text>", FROM - 10, BAR / 2 + 12);
    for (int i = 0; i < log->device_count; i++) {
        const struct run_device *d = &log->devices[i];
        if (!(d->alone > 0)) continue;
        page_number(AXIS_NUMBER, d->alone, d->alone / 100, text);
        (void)fprintf(to, "<rect class=\"part b%d\" x=\"%.2f\" y=\"8\" width=\"%.2f\" height=\"%d\"><title>", page_color(i), at,
                      scale * d->alone, BAR - 8);
        page_text(to, d->name);
        (void)fprintf(to, " alone: %s %s/s</title></rect>\n", text, log->unit);
        at += scale * d->alone;
    }
    page_number(AXIS_NUMBER, log->together, log->together / 100, text);
    (void)fprintf(to, "<text class=\"tick y\" x=\"%d\" y=\"%d\">together</text>", FROM - 10, BAR + BAR / 2 + 20);
    (void)fprintf(to, "<rect class=\"together\" x=\"%d\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>together: %s %s/s</title></rect>\n",
                  FROM, BAR + 16, scale * log->together, BAR - 8, text, log->unit);
    double end = FROM + scale * log->together;
    int inside = end - FROM > 230; /* the words' width */
    (void)fprintf(to, "<text class=\"%s\" x=\"%.2f\" y=\"%d\">%s %s/s, %.1f %% of the sum</text></svg>\n", inside ? "value" : "beside",
                  inside ? FROM + 10 : end + 8, BAR + BAR / 2 + 20, text, log->unit,
                  100 * (isfinite(log->efficiency) ? log->efficiency : log->together / sum));
    (void)fputs(
        "<p class=\"note\">Sum of parts: what each device does in a second of computing, added up. Together: what all did in a second "
        "of the run.</p>\n</figure>\n",
        to);
}

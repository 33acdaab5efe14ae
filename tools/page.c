/* aios report: a run as one page of HTML that needs nothing else. */
#include "page.h"

#include "output.h"
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_OUTPUT }; /* the order of report_flags */

/* Colors are picked apart for eyes of every kind, in both lights. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c2024;--soft:#656d76;--edge:#e3e5e8;--grid:#edeef0;"
    "--s1:#2f6fdb;--s2:#d9730d;--s3:#1a8a5f;--s4:#b8359b;--s5:#7a5bd6;--s6:#0b8fa8;--s7:#a3760a;--s8:#c2453f;"
    "--bad:#cf3b31;--good:#1a8a5f;--warn:#c98a00}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#111417;--card:#191d21;--ink:#e6e8ea;--soft:#98a1aa;--edge:#2b3137;--grid:#252a30;"
    "--s1:#6ea4ff;--s2:#f5a04c;--s3:#4cc391;--s4:#e582cd;--s5:#ab95f5;--s6:#4cc4dc;--s7:#d9b04c;--s8:#f08a83;"
    "--bad:#ff7a6e;--good:#4cc391;--warn:#e5b23c}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"DejaVu "
    "Sans\",sans-serif;font-variant-numeric:tabular-nums}\n"
    "main{max-width:1340px;margin:0 auto;padding:32px 24px 48px}h1{font-size:26px;line-height:1.2;margin:0 0 6px;font-weight:650}\n"
    "h2{font-size:17px;margin:32px 0 12px;font-weight:620}p{margin:0}.sub{color:var(--soft)}\n"
    ".badge{display:inline-block;padding:1px 10px;border-radius:99px;font-size:13px;vertical-align:3px;margin-left:10px;border:1px solid}\n"
    ".badge.good{color:var(--good)}.badge.bad{color:var(--bad)}.badge.warn{color:var(--warn)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0 16px}\n"
    ".tile{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 16px}\n"
    ".tile b{display:block;font-size:22px;font-weight:620;line-height:1.3}.tile span{color:var(--soft);font-size:13px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:16px}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:14px 16px 12px}\n"
    "figure.wide{grid-column:1/-1}figcaption{font-weight:620}svg{display:block;width:100%;height:auto;margin-top:6px}\n"
    "svg text{fill:var(--soft);font-size:12px}.tick.x{text-anchor:middle}.tick.y{text-anchor:end}.name{text-anchor:middle}\n"
    ".grid{stroke:var(--grid)}.axis{stroke:var(--soft)}\n"
    ".line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.faint{opacity:.32;stroke-width:1}.dotted{stroke-"
    "dasharray:5 4}\n"
    ".tip{opacity:0}.tip.shown,.tip:hover{opacity:1}.tip{stroke:none}\n"
    ".break line{stroke:var(--bad);stroke-dasharray:3 3;stroke-width:1.5}\n"
    ".life{opacity:.28}.work{stroke-width:1}.mark{fill-opacity:.85}.mark.m0{fill:var(--soft)}.mark.m1{fill:var(--s1)}.mark.m2{fill:var(--"
    "s2)}"
    ".mark.m3{fill:var(--s3)}.mark.m5{fill:var(--s5)}.mark.bad{fill:var(--bad)}.mark.good{fill:var(--good)}.mark.warn{fill:var(--warn)}\n"
    ".together{fill:var(--ink);opacity:.8}svg .value{fill:var(--bg);font-weight:600}\n"
    ".legend{font-size:13px;color:var(--soft);min-height:20px}.legend span{margin-right:14px;white-space:nowrap}\n"
    ".key{display:inline-block;width:14px;height:3px;border-radius:2px;vertical-align:middle;margin-right:6px}.key.faint{opacity:.45}"
    ".key.dotted{height:0;border-top:3px dotted;background:none!important}\n"
    ".note,.missing{color:var(--soft);font-size:13px;margin-top:6px}.missing{padding:40px 12px;text-align:center}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}th{text-align:left;color:var(--soft);font-weight:500}"
    "\n"
    "th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--edge);vertical-align:top}td.n,th.n{text-align:right}tr:last-child "
    "td{border:0}\n"
    "dl{margin:4px 0;columns:3 340px;column-gap:36px;font-size:14px}dl div{display:flex;gap:12px;justify-content:space-between;"
    "break-inside:avoid;padding:4px 0;border-bottom:1px solid var(--edge)}dt{color:var(--soft);white-space:nowrap}"
    "dd{margin:0;text-align:right;font-family:ui-monospace,\"DejaVu Sans Mono\",monospace;font-size:13px;overflow-wrap:anywhere}\n"
    ".share{display:inline-block;height:9px;border-radius:3px;vertical-align:middle;min-width:1px}\n"
    "details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}footer{color:var(--soft);font-size:13px;margin-top:32px}\n"
    "@media print{figure,.tile{break-inside:avoid}main{padding:0}}\n";

static void write_style(FILE *to)
{
    (void)fprintf(to, "<style>\n%s", style);
    for (int i = 1; i <= 8; i++)
        (void)fprintf(
            to, ".c%d{stroke:var(--s%d)}.tip.c%d{fill:var(--s%d)}.b%d{fill:var(--s%d);background:var(--s%d);border-color:var(--s%d)}\n", i,
            i, i, i, i, i, i, i);
    (void)fputs(
        ".c0{stroke:var(--ink)}.tip.c0{fill:var(--ink)}.b0{fill:var(--ink);background:var(--ink);border-color:var(--ink)}\n</style>\n", to);
}

/* ---- the head ----------------------------------------------------------------------------------------------------- */

static const char *outcome_of(const struct run_log *log)
{
    const char *outcome = run_text(log->complete, "outcome");
    if (!*outcome) outcome = run_text(log->run, "outcome");
    return *outcome ? outcome : "no end in the log";
}

static void write_more(FILE *to, const char *markup, const char *text)
{
    (void)fputs(markup, to);
    page_text(to, text);
}

static void write_title(FILE *to, const struct run_log *log, const char *name)
{
    const char *outcome = outcome_of(log), *message = run_text(log->run, "message"), *strategy = run_text(log->start, "strategy"),
               *precision = run_text(log->start, "precision"), *started = run_text(log->run, "started");
    int good = strcmp(outcome, "complete") == 0 || strcmp(outcome, "done") == 0;
    int bad = strcmp(outcome, "failed") == 0 || strcmp(outcome, "error") == 0;
    char parameters[NUMBER_SIZE];
    (void)fputs("<h1>", to);
    page_text(to, name);
    (void)fprintf(to, "<span class=\"badge %s\">", good ? "good" : bad ? "bad" : "warn");
    page_text(to, outcome);
    (void)fputs("</span></h1>\n<p class=\"sub\">", to);
    page_text(to, run_text(log->start, "model"));
    if (fabs(run_number(log->start, "parameters")) < 1e18)
        (void)fprintf(to, ", %s parameters", show_count((int64_t)run_number(log->start, "parameters"), parameters));
    (void)fputs(" on ", to);
    page_text(to, run_text(log->start, "device"));
    if (*strategy) write_more(to, ", ", strategy);
    if (*precision) write_more(to, ", precision ", precision);
    if (*started) write_more(to, "; started ", started);
    (void)fputs("</p>\n", to);
    if (!*message) return;
    (void)fputs("<p class=\"sub\">", to);
    page_text(to, message);
    (void)fputs("</p>\n", to);
}

static void write_tile(FILE *to, const char *id, const char *value, const char *what)
{
    (void)fprintf(to, "<div class=\"tile\" id=\"%s\"><b>%s</b><span>%s</span></div>\n", id, value, what);
}

static size_t count_marks(const struct run_log *log, int kind)
{
    size_t count = 0;
    for (size_t i = 0; i < log->mark_count; i++) count += log->marks[i].kind == kind;
    return count;
}

static void write_best(FILE *to, const struct points *evaluations)
{
    size_t best = 0;
    char value[48], what[80];
    if (!evaluations->count) {
        write_tile(to, "best", "\xe2\x80\x93", "no evaluation in the log");
        return;
    }
    for (size_t i = 1; i < evaluations->count; i++)
        if (evaluations->y[i] < evaluations->y[best] || !isfinite(evaluations->y[best])) best = i;
    page_number(AXIS_NUMBER, evaluations->y[best], 1e-4, value);
    (void)snprintf(what, sizeof what, "best evaluation loss, step %.0f", evaluations->x[best]);
    write_tile(to, "best", value, what);
}

static double mean_speed(const struct run_log *log)
{
    const struct points *speed = &log->curves[CURVE_SPEED];
    double sum = 0;
    size_t count = 0;
    if (isfinite(log->together)) return log->together;
    for (size_t i = 0; i < speed->count; i++)
        if (isfinite(speed->y[i])) sum += speed->y[i], count++;
    return count ? sum / (double)count : (double)NAN;
}

static void write_tiles(FILE *to, const struct run_log *log)
{
    const struct points *loss = &log->curves[CURVE_LOSS], *exact = &log->curves[CURVE_EVAL_EXACT];
    char value[48], what[80], all[48];
    (void)fputs("<div class=\"tiles\">\n", to);
    page_number(AXIS_NUMBER, loss->count ? loss->y[loss->count - 1] : (double)NAN, 1e-4, value);
    write_tile(to, "loss", value, "last training loss");
    write_best(to, &log->curves[CURVE_EVAL_LOSS]);
    if (exact->count) {
        page_number(AXIS_PERCENT, exact->y[exact->count - 1], 1e-4, value);
        write_tile(to, "exact", value, "solved at the last evaluation");
    }
    page_number(AXIS_COUNT, log->step, 1, value);
    page_number(AXIS_COUNT, run_number(log->start, "steps"), 1, all);
    (void)snprintf(what, sizeof what, "of %s steps", all);
    write_tile(to, "steps", value, what);
    page_number(AXIS_NUMBER, log->units > 0 ? log->units : (double)NAN, 1, value);
    (void)snprintf(what, sizeof what, "%s trained", log->unit);
    write_tile(to, "units", value, what);
    page_number(AXIS_NUMBER, mean_speed(log), fmax(0.01, mean_speed(log) / 100), value);
    (void)snprintf(what, sizeof what, "%s per second", log->unit);
    write_tile(to, "speed", value, what);
    page_number(AXIS_SECONDS, log->elapsed > 0 ? log->elapsed : (double)NAN, 1, value);
    write_tile(to, "time", value, "of training");
    (void)snprintf(value, sizeof value, "%zu", count_marks(log, MARK_CHECKPOINT));
    write_tile(to, "checkpoints", value, "checkpoints written");
    (void)fputs("</div>\n", to);
}

/* ---- charts ------------------------------------------------------------------------------------------------------- */

static void draw_loss(FILE *to, const struct run_log *log)
{
    struct points smooth = {NULL, NULL, 0, 0};
    const struct points *loss = &log->curves[CURVE_LOSS];
    int smoothed = loss->count >= 60;
    if (smoothed) chart_smooth(loss, &smooth);
    struct line lines[] = {{"training", 1, smoothed ? LINE_FAINT : LINE_PLAIN, loss},
                           {"training, smoothed", 1, LINE_PLAIN, &smooth},
                           {"evaluation", 2, LINE_PLAIN, &log->curves[CURVE_EVAL_LOSS]}};
    struct chart chart = {"chart-loss",
                          "Loss",
                          log->curves[CURVE_EVAL_LOSS].count ? NULL : "The log has no evaluation.",
                          "The log has no step with a loss.",
                          "step",
                          strcmp(log->unit, "tokens") == 0 ? "nats per token" : "loss",
                          AXIS_COUNT,
                          AXIS_NUMBER,
                          0,
                          lines,
                          COUNT_OF(lines),
                          log};
    chart_draw(to, &chart);
    points_free(&smooth);
}

static void draw_one(FILE *to, const struct run_log *log, int curve, const char *id, const char *title, const char *name, int axis)
{
    struct line line = {title, 1, LINE_PLAIN, &log->curves[curve]};
    char missing[128];
    (void)snprintf(missing, sizeof missing, "The log has no %s.", name);
    struct chart chart = {id, title, NULL, missing, "step", name, AXIS_COUNT, axis, curve == CURVE_RATE, &line, 1, log};
    chart_draw(to, &chart);
}

static void draw_speed(FILE *to, const struct run_log *log)
{
    struct line lines[RUN_DEVICES_MOST + 1];
    int count = 0, alone = 0;
    char name[64];
    for (int i = 0; i < log->device_count; i++) {
        alone += log->devices[i].work.count > 0;
        if (log->devices[i].speed.count)
            lines[count++] = (struct line){log->devices[i].name, page_color(i), LINE_PLAIN, &log->devices[i].speed};
    }
    int several = count > 0;
    lines[count++] = several ? (struct line){"all", 0, LINE_DOTTED, &log->curves[CURVE_SPEED]}
                             : (struct line){"speed", 1, LINE_PLAIN, &log->curves[CURVE_SPEED]};
    (void)snprintf(name, sizeof name, "%s per second", log->unit);
    struct chart chart = {"chart-speed",
                          "Throughput",
                          alone       ? "In equal parts of the run's time, evaluations and checkpoints included."
                          : count > 1 ? "Of the time in steps; each device by its share of a step."
                                      : "Of the time in steps.",
                          "The log has too few steps with a time to tell.",
                          "time of training",
                          name,
                          AXIS_SECONDS,
                          AXIS_NUMBER,
                          1,
                          lines,
                          count,
                          log};
    chart_draw(to, &chart);
}

static void draw_accuracy(FILE *to, const struct run_log *log)
{
    struct line lines[] = {{"solved, training", 1, LINE_FAINT, &log->curves[CURVE_EXACT]},
                           {"solved, evaluation", 2, LINE_PLAIN, &log->curves[CURVE_EVAL_EXACT]},
                           {strcmp(log->unit, "tokens") == 0 ? "next tokens, evaluation" : "cells, evaluation", 3, LINE_PLAIN,
                            &log->curves[CURVE_EVAL_ACCURACY]}};
    struct chart chart = {"chart-accuracy",
                          "Accuracy",
                          NULL,
                          "The log has no evaluation with an accuracy.",
                          "step",
                          "right",
                          AXIS_COUNT,
                          AXIS_PERCENT,
                          1,
                          lines,
                          COUNT_OF(lines),
                          log};
    chart_draw(to, &chart);
}

static void draw_charts(FILE *to, const struct run_log *log)
{
    (void)fputs("<div class=\"charts\">\n", to);
    draw_loss(to, log);
    draw_speed(to, log);
    draw_one(to, log, CURVE_RATE, "chart-rate", "Learning rate", "learning rate", AXIS_NUMBER);
    draw_accuracy(to, log);
    if (log->curves[CURVE_GRADIENT].count)
        draw_one(to, log, CURVE_GRADIENT, "chart-gradient", "Gradient norm", "2-norm before clipping", AXIS_NUMBER);
    if (log->curves[CURVE_SEGMENTS].count)
        draw_one(to, log, CURVE_SEGMENTS, "chart-segments", "Segments until it halts", "segments per puzzle", AXIS_NUMBER);
    draw_efficiency(to, log);
    draw_timeline(to, log);
    (void)fputs("</div>\n", to);
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

static void write_number(FILE *to, int axis, double value, double step)
{
    char text[48];
    page_number(axis, value, step, text);
    (void)fprintf(to, "<td class=\"n\">%s</td>", text);
}

static void write_devices(FILE *to, const struct run_log *log)
{
    int known = 0;
    for (int i = 0; i < log->device_count; i++) known += isfinite(log->devices[i].share);
    (void)fputs(
        "<h2>Devices</h2>\n<figure class=\"wide\"><div class=\"scroll\"><table id=\"devices\">\n<thead><tr><th>Device</th><th class=\"n\">",
        to);
    page_text(to, log->unit);
    (void)fputs(
        "</th><th class=\"n\">Share</th><th></th><th class=\"n\">Steps</th><th class=\"n\">Chunks</th><th class=\"n\">Per second, computing"
        "</th><th>State</th></tr></thead>\n<tbody>\n",
        to);
    for (int i = 0; i < log->device_count; i++) {
        const struct run_device *d = &log->devices[i];
        double share = log->device_count == 1 ? 1 : d->share;
        (void)fputs("<tr><td>", to);
        page_text(to, d->name);
        (void)fputs("</td>", to);
        write_number(to, AXIS_COUNT, log->device_count == 1 && !isfinite(d->units) && log->units > 0 ? log->units : d->units, 1);
        write_number(to, AXIS_PERCENT, share, 1e-3);
        (void)fprintf(to, "<td><i class=\"share b%d\" style=\"width:%.0fpx\"></i></td>", page_color(i), isfinite(share) ? 160 * share : 0);
        write_number(to, AXIS_COUNT, d->steps, 1);
        write_number(to, AXIS_COUNT, d->chunks, 1);
        write_number(to, AXIS_NUMBER, d->alone, 1);
        (void)fprintf(to, "<td>%s</td></tr>\n", isfinite(d->dropped_at) ? "lost" : "");
    }
    (void)fputs("</tbody></table></div>\n", to);
    if (!known && log->device_count > 1) (void)fputs("<p class=\"note\">The log does not tell the devices' shares.</p>\n", to);
    (void)fputs("</figure>\n", to);
}

static void write_marks(FILE *to, const struct run_log *log)
{
    size_t count = count_marks(log, MARK_DROP) + count_marks(log, MARK_RECOVERY) + count_marks(log, MARK_WARNING);
    (void)fputs("<h2>What went wrong</h2>\n", to);
    if (!count) {
        (void)fputs("<p class=\"sub\">Nothing: no device was lost, and nothing was warned of.</p>\n", to);
        return;
    }
    (void)fputs("<figure class=\"wide\"><div class=\"scroll\"><table id=\"incidents\">\n<thead><tr><th>Time</th><th class=\"n\">Step</th>"
                "<th>What</th></tr></thead>\n<tbody>\n",
                to);
    for (size_t i = 0; i < log->mark_count; i++) {
        const struct mark *mark = &log->marks[i];
        char at[48];
        if (mark->kind != MARK_DROP && mark->kind != MARK_RECOVERY && mark->kind != MARK_WARNING) continue;
        page_number(AXIS_SECONDS, mark->elapsed, 1, at);
        (void)fprintf(to, "<tr><td>%s</td>", at);
        write_number(to, AXIS_COUNT, mark->step, 1);
        (void)fputs("<td>", to);
        page_text(to, mark->text);
        (void)fputs("</td></tr>\n", to);
    }
    (void)fputs("</tbody></table></div></figure>\n", to);
}

static void write_setting(FILE *to, const char *name, const json_t *value)
{
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
    write_more(to, "<div><dt>", name);
    (void)fputs("</dt><dd>", to);
    page_text(to, json_is_string(value) ? json_string_value(value) : text ? text : "");
    (void)fputs("</dd></div>\n", to);
    free(text);
}

/* 1 where an option has its default. */
static int is_default(const char *name, const json_t *value)
{
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, &info) != AIOS_OK || strcmp(info.name, name) != 0) continue;
        if (json_is_string(value)) return strcmp(json_string_value(value), info.default_text) == 0;
        if (json_is_boolean(value)) return json_is_true(value) == (strcmp(info.default_text, "on") == 0);
        return json_is_number(value) &&
               fabs(json_number_value(value) - strtod(info.default_text, NULL)) <= 1e-12 * fabs(json_number_value(value));
    }
    return 0;
}

static void write_settings(FILE *to, json_t *options, int defaults)
{
    const char *name;
    json_t *value;
    (void)fprintf(to, "<dl class=\"%s\">\n", defaults < 0 ? "model" : defaults ? "defaults" : "chosen");
    json_object_foreach (options, name, value)
        if (defaults < 0 || is_default(name, value) == defaults) write_setting(to, name, value);
    (void)fputs("</dl>\n", to);
}

static void write_configuration(FILE *to, const struct run_log *log)
{
    json_t *options = json_object_get(log->run, "options");
    (void)fputs("<h2>Configuration</h2>\n", to);
    if (options) {
        (void)fputs("<figure class=\"wide\" id=\"options\"><p class=\"note\">Options that are not at their default</p>\n", to);
        write_settings(to, options, 0);
        (void)fputs("<details><summary>All others</summary>\n", to);
        write_settings(to, options, 1);
        (void)fputs("</details></figure>\n", to);
    } else {
        (void)fputs("<p class=\"sub\">The folder has no run.json: the options of this run were not kept.</p>\n", to);
    }
    if (!log->config) return;
    (void)fputs(
        "<figure class=\"wide\" id=\"model\" style=\"margin-top:16px\"><p class=\"note\">The model, as its newest checkpoint says</p>\n",
        to);
    write_settings(to, log->config, -1);
    (void)fputs("</figure>\n", to);
}

/* ---- the page ----------------------------------------------------------------------------------------------------- */

static void write_page(FILE *to, const struct run_log *log, const char *name)
{
    (void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
                to);
    page_text(to, name);
    (void)fputs("</title>\n", to);
    write_style(to);
    (void)fputs("</head>\n<body>\n<main>\n", to);
    write_title(to, log, name);
    write_tiles(to, log);
    draw_charts(to, log);
    write_devices(to, log);
    write_marks(to, log);
    write_configuration(to, log);
    (void)fprintf(to, "<footer>Written by aios %s from %zu lines of the run's log", aios_version(), log->lines);
    if (log->unreadable)
        (void)fprintf(to, "; %zu %s could not be read and %s left out", log->unreadable, log->unreadable == 1 ? "line" : "lines",
                      log->unreadable == 1 ? "is" : "are");
    (void)fputs(".</footer>\n</main>\n</body>\n</html>\n", to);
}

/* "runs/notes/" is "notes". */
static void name_of(const char *path, char name[256])
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    size_t size = end - begin > 200 ? text_whole(path + begin, 200) : end - begin;
    (void)snprintf(name, 256, "%.*s", (int)size, path + begin);
}

/* Under another name first, so that the page is there whole or not at all. */
static int write_file(const struct run_log *log, const char *name, const char *path)
{
    char unfinished[4608];
    (void)snprintf(unfinished, sizeof unfinished, "%s.unfinished", path);
    FILE *to = fopen(unfinished, "wbe");
    if (!to) return tool_fail(TOOL_ERROR, "%s can't be written: %s", path, strerror(errno));
    write_page(to, log, name);
    int broken = ferror(to);
    broken |= fclose(to) != 0;
    if (!broken && rename(unfinished, path) == 0) return TOOL_DONE;
    int reason = errno;
    (void)remove(unfinished);
    return tool_fail(TOOL_ERROR, "%s can't be written: %s", path, strerror(reason));
}

int run_report(struct tool *tool)
{
    struct run_log log;
    char name[256], path[4352];
    if (tool->argument_count == 0)
        return tool_fail(TOOL_USAGE, "report needs a RUN_DIR: the folder of a run (its save-dir), or its metrics.jsonl");
    const char *run = tool->arguments[0], *output = tool->values[OWN_OUTPUT];
    int code = run_log_read(&log, run);
    if (code != TOOL_DONE) return code;
    name_of(run, name);
    size_t length = strlen(run);
    int is_log = length > 6 && strcmp(run + length - 6, ".jsonl") == 0;
    int shown = is_log ? (int)length : folder_size(run);
    (void)snprintf(path, sizeof path, "%.*s%s", shown < 4200 ? shown : 4200, run, is_log ? ".html" : "/report.html");
    if (output) (void)snprintf(path, sizeof path, "%.4300s", output);
    if (output && strcmp(output, "-") == 0) {
        write_page(stdout, &log, name);
    } else {
        code = write_file(&log, name, path);
        if (code == TOOL_DONE && tool_json(tool))
            print_json(need_memory(json_pack("{so sI sI}", "output", json_from_text(path), "lines", (json_int_t)log.lines, "unreadable",
                                             (json_int_t)log.unreadable)),
                       stdout);
        else if (code == TOOL_DONE && !tool_quiet(tool))
            (void)printf("%s\n", path);
    }
    run_log_free(&log);
    return code;
}

#include "progress.h"

#include "output.h"
#include "system.h"
#include "tool.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define BAR_SECONDS  0.1 /* between two drawings: faster than the eye reads is waste */
#define LINE_SECONDS 5.0 /* between two step lines */
#define BAR_MOST     40
#define BAR_LEAST    10

static double number_of(const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *text_of(const json_t *event, const char *key)
{
    const char *value = json_string_value(json_object_get(event, key));
    return value ? value : "-";
}

static int64_t count_of(const json_t *event, const char *key)
{
    return json_integer_value(json_object_get(event, key));
}

/* ---- the bar ----------------------------------------------------------------------------------------------------- */

static void draw(struct progress *p, double done, const char *left)
{
    char bar[BAR_MOST + 3];
    int width = system_terminal_width(p->to) - 1; /* the last column would wrap on some terminals */
    int room = width - text_columns(left, strlen(left)) - text_columns(p->line, strlen(p->line)) - 4;
    int length = room > BAR_MOST ? BAR_MOST : room >= BAR_LEAST ? room : 0;
    int full = (int)lround((double)length * (done > 1 ? 1 : done > 0 ? done : 0));
    bar[0] = 0;
    if (length) {
        bar[0] = '[';
        for (int i = 0; i < length; i++) bar[1 + i] = i < full - 1 ? '=' : i == full - 1 ? (full == length ? '=' : '>') : ' ';
        memcpy(bar + 1 + length, "]", 2);
    }
    char text[sizeof p->line + sizeof bar + 64];
    (void)snprintf(text, sizeof text, "%s%s%s%s", left, bar, length ? " " : "", p->line);
    (void)fprintf(p->to, "\r\033[K%.*s", (int)text_fit(text, width), text);
    (void)fflush(p->to);
    p->shown = 1;
}

void progress_hide(struct progress *p)
{
    if (!p->shown) return;
    (void)fputs("\r\033[K", p->to);
    (void)fflush(p->to);
}

void progress_show(struct progress *p)
{
    char left[64];
    if (!p->shown) return;
    if (p->data_phase[0]) {
        draw(p, p->part, p->data_phase);
        return;
    }
    double done = p->steps > 0 ? (double)p->step / (double)p->steps : 0;
    int digits = snprintf(left, sizeof left, "%lld", (long long)p->steps);
    (void)snprintf(left, sizeof left, "%*lld/%lld ", digits, (long long)p->step, (long long)p->steps);
    draw(p, done, left);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void on_start(struct progress *p, const json_t *e)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE], d[NUMBER_SIZE];
    p->steps = count_of(e, "steps");
    p->step = count_of(e, "step");
    p->data_phase[0] = 0;
    p->shown = 0;
    (void)fprintf(p->to, "model      %s, %s parameters\n", text_of(e, "model"), show_count(count_of(e, "parameters"), a));
    (void)fprintf(p->to, "device     %s, precision %s\n", text_of(e, "device"), text_of(e, "precision"));
    (void)fprintf(p->to, "data       %s samples to train on, %s to evaluate on\n", show_count(count_of(e, "train_samples"), a),
                  show_count(count_of(e, "eval_samples"), b));
    (void)fprintf(p->to, "steps      %s of %s tokens", show_count(p->steps, c), show_count(count_of(e, "tokens_per_step"), d));
    if (p->step) (void)fprintf(p->to, ", going on after step %s", show_count(p->step, a));
    (void)fputc('\n', p->to);
    (void)fflush(p->to);
}

static void on_step(struct progress *p, const json_t *e)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];
    double now = system_now();
    p->step = count_of(e, "step");
    int last = p->step >= p->steps, skipped = json_is_true(json_object_get(e, "skipped")) || count_of(e, "skipped") != 0;
    const char *loss = show_loss(number_of(e, "loss"), a), *rate = show_short(number_of(e, "tokens_per_second"), b);
    const char *eta = show_time(number_of(e, "eta"), c);
    if (p->bar) {
        if (p->shown && !last && now - p->last < BAR_SECONDS) return;
        (void)snprintf(p->line, sizeof p->line, "loss %s  %s tok/s  ETA %s  lr %.2e%s", loss, rate, eta, number_of(e, "lr"),
                       skipped ? "  skipped" : "");
        p->shown = 1;
        progress_show(p);
    } else {
        if (p->lines && !last && now - p->last < LINE_SECONDS) return;
        (void)fprintf(p->to, "step %lld/%lld  loss %s  grad norm %.3g  lr %.2e  %s tokens/s  ETA %s%s\n", (long long)p->step,
                      (long long)p->steps, loss, number_of(e, "grad_norm"), number_of(e, "lr"), rate, eta,
                      skipped ? "  skipped (not finite)" : "");
        (void)fflush(p->to);
        p->lines++;
    }
    p->last = now;
}

static void on_eval(struct progress *p, const json_t *e)
{
    char loss[NUMBER_SIZE];
    double accuracy = number_of(e, "accuracy"), per_byte = number_of(e, "nats_per_byte");
    (void)fprintf(p->to, "step %lld  evaluation: loss %s", (long long)count_of(e, "step"), show_loss(number_of(e, "loss"), loss));
    if (isfinite(accuracy)) (void)fprintf(p->to, ", accuracy %.2f %%", 100 * accuracy);
    if (isfinite(per_byte)) (void)fprintf(p->to, ", %.4f nats per byte", per_byte);
    (void)fputc('\n', p->to);
}

/* Fetching, tokenizing, evaluating. */
static void on_phase(struct progress *p, const char *phase, const json_t *e)
{
    int64_t done = count_of(e, "done"), total = count_of(e, "total");
    double now = system_now();
    int first = strncmp(p->data_phase, phase, strlen(phase)) != 0, last = total > 0 && done >= total;
    p->part = total > 0 ? (double)done / (double)total : 0;
    if (first) {
        p->began = now;
        p->began_part = p->part;
    }
    if (!first && !last && now - p->last < (p->bar ? BAR_SECONDS : LINE_SECONDS)) return;
    p->last = now;
    (void)snprintf(p->data_phase, sizeof p->data_phase, "%.40s ", phase);
    int used = snprintf(p->line, sizeof p->line, "%.0f %%", 100 * p->part);
    char eta[NUMBER_SIZE];
    if (p->part > p->began_part && !last)
        (void)snprintf(p->line + used, sizeof p->line - (size_t)used, "  ETA %s",
                       show_time((now - p->began) * (1 - p->part) / (p->part - p->began_part), eta));
    if (p->bar)
        draw(p, p->part, p->data_phase);
    else
        (void)fprintf(p->to, "%s%s\n", p->data_phase, p->line);
    (void)fflush(p->to);
    if (!last) return;
    progress_hide(p);
    p->shown = 0;
    p->data_phase[0] = 0;
    p->line[0] = 0;
}

static void on_complete(struct progress *p, const json_t *e)
{
    char step[NUMBER_SIZE], loss[NUMBER_SIZE], tokens[NUMBER_SIZE], time[NUMBER_SIZE];
    (void)fprintf(p->to, "%s at step %s: loss %s, %s tokens, %s\n", text_of(e, "outcome"), show_count(count_of(e, "step"), step),
                  show_loss(number_of(e, "loss"), loss), show_count(count_of(e, "tokens"), tokens),
                  show_time(number_of(e, "elapsed"), time));
}

/* What each of several devices did. */
static void on_devices(struct progress *p, const json_t *e)
{
    size_t i;
    json_t *device;
    json_array_foreach (json_object_get(e, "devices"), i, device) {
        char steps[NUMBER_SIZE], speed[NUMBER_SIZE];
        (void)fprintf(p->to, "%-10s ", text_of(device, "device"));
        if (json_object_get(device, "steps")) (void)fprintf(p->to, "%s steps, ", show_count(count_of(device, "steps"), steps));
        if (isfinite(number_of(device, "share")))
            (void)fprintf(p->to, "%.1f %% of the tokens", 100 * number_of(device, "share"));
        else
            (void)fputs("no tokens", p->to);
        if (isfinite(number_of(device, "tokens_per_second")))
            (void)fprintf(p->to, ", %s tokens/s", show_short(number_of(device, "tokens_per_second"), speed));
        (void)fprintf(p->to, "%s\n", json_is_true(json_object_get(device, "dropped")) ? ", dropped" : "");
    }
    if (isfinite(number_of(e, "efficiency")))
        (void)fprintf(p->to, "together   %.1f %% of what they do each on its own\n", 100 * number_of(e, "efficiency"));
}

void progress_init(struct progress *p, FILE *to)
{
    memset(p, 0, sizeof *p);
    p->to = to;
    p->bar = to && system_is_terminal(to);
}

void progress_event(struct progress *p, const char *name, const char *json)
{
    json_t *e = json_loads(json, 0, NULL);
    if (!e) return;
    if (strcmp(name, "checkpoint_save") == 0) (void)snprintf(p->checkpoint, sizeof p->checkpoint, "%s", text_of(e, "path"));
    if (p->to && strcmp(name, "step") == 0) {
        on_step(p, e);
    } else if (p->to && strcmp(name, "data") == 0) {
        on_phase(p, text_of(e, "phase"), e);
    } else if (p->to && strcmp(name, "evaluating") == 0) {
        on_phase(p, name, e);
    } else if (p->to) {
        progress_hide(p);
        if (strcmp(name, "run_start") == 0)
            on_start(p, e);
        else if (strcmp(name, "eval") == 0)
            on_eval(p, e);
        else if (strcmp(name, "checkpoint_save") == 0)
            (void)fprintf(p->to, "step %lld  checkpoint saved in %.1f s: %s\n", (long long)count_of(e, "step"), number_of(e, "seconds"),
                          text_of(e, "path"));
        else if (strcmp(name, "devices") == 0)
            on_devices(p, e);
        else if (strcmp(name, "training_complete") == 0) {
            p->shown = 0;
            on_complete(p, e);
        }
        (void)fflush(p->to);
        progress_show(p);
    }
    json_decref(e);
}

/* ---- beside a result -------------------------------------------------------------------------------------------------- */

static void on_event(void *user, const char *name, const char *json)
{
    if (strcmp(name, "data") == 0 || strcmp(name, "evaluating") == 0) progress_event(user, name, json);
}

static void around_log(void *user, int after)
{
    if (after)
        progress_show(user);
    else
        progress_hide(user);
}

void progress_init_aside(struct progress *p, const struct tool *tool)
{
    int wanted = !tool_quiet(tool) && (!tool_json(tool) || system_is_terminal(stderr));
    progress_init(p, wanted ? stderr : NULL);
}

void progress_follow(struct progress *p, struct tool *tool)
{
    progress_init_aside(p, tool);
    tool_listen(tool, on_event, around_log, p);
}

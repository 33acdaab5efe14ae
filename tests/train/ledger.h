/* ledger.h: which samples are in a model that independent devices trained, by what the run logged of steps and merges, not by what the
 * chunk tracker says. */
#ifndef AIOS_TEST_LEDGER_H
#define AIOS_TEST_LEDGER_H

#include "run.h"

#include <string.h>

#define LEDGER_DEVICES 8
#define LEDGER_SAMPLES 4096

struct ledger {
    char names[LEDGER_DEVICES][64];
    int pending[LEDGER_DEVICES][LEDGER_SAMPLES]; /* trained since the last merge */
    int trained[LEDGER_SAMPLES];                 /* how often it is in the model */
    int devices, merges, left_out, dropped;
};

static inline int ledger_device(struct ledger *l, const char *name)
{
    for (int i = 0; i < l->devices; i++)
        if (strcmp(l->names[i], name) == 0) return i;
    assert_true(l->devices < LEDGER_DEVICES);
    (void)snprintf(l->names[l->devices], sizeof l->names[0], "%s", name);
    return l->devices++;
}

static inline void ledger_text(const char *json, const char *name, char to[64])
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\": \"", name);
    const char *at = strstr(json, key);
    assert_non_null(at);
    at += strlen(key);
    (void)snprintf(to, 64, "%.*s", (int)strcspn(at, "\""), at);
}

static inline void ledger_line(struct ledger *l, const char *line)
{
    char device[64], quoted[70];
    if (strstr(line, "\"event\": \"step\"")) {
        ledger_text(line, "device", device);
        int d = ledger_device(l, device), first = (int)field_of(line, "sample"), count = (int)field_of(line, "samples");
        for (int i = 0; i < count; i++) l->pending[d][first + i]++;
    } else if (strstr(line, "\"event\": \"merge\"")) {
        l->merges++;
        for (int d = 0; d < l->devices; d++) {
            (void)snprintf(quoted, sizeof quoted, "\"%s\"", l->names[d]);
            int gave = strstr(line, quoted) != NULL;
            for (int i = 0; i < LEDGER_SAMPLES; i++) l->trained[i] += gave * l->pending[d][i];
            memset(l->pending[d], 0, sizeof l->pending[d]);
        }
    } else if (strstr(line, "\"event\": \"device_dropped\"")) {
        l->dropped++;
    } else if (strstr(line, "left out of the merge")) {
        l->left_out++;
        for (int d = 0; d < l->devices; d++) {
            (void)snprintf(quoted, sizeof quoted, "weights of %s ", l->names[d]);
            if (strstr(line, quoted)) memset(l->pending[d], 0, sizeof l->pending[d]);
        }
    }
}

/* Of the log of the run's folder. */
static inline void ledger_read(struct ledger *l, const char *folder)
{
    char path[PATH_SIZE + 20];
    size_t size;
    memset(l, 0, sizeof *l);
    (void)snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    char *text = read_file(path, &size), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) ledger_line(l, line);
    free(text);
}

/* Each of `count` samples is in the model `times` times, no other at all. */
static inline void ledger_assert(const struct ledger *l, int count, int times)
{
    for (int i = 0; i < LEDGER_SAMPLES; i++)
        if (l->trained[i] != (i < count ? times : 0)) fail_msg("sample %d is %d times in the model", i, l->trained[i]);
}

#endif

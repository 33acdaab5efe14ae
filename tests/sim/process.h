/* process.h: tests that are processes of their own, each with its own simulated devices, and that end with none of the simulation's
 * complaints: no wrong use, and nothing that was not given back.  The caller's environment leads the plugin to the stand-ins
 * (LD_LIBRARY_PATH) and the library to the plugin (AIOS_BACKEND_PATH).  For one source file a program. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include <aios/device.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *backend_name; /* "cuda" */

static char logged[4096]; /* warnings */

static void keep_log(void *user, int32_t level, const char *message)
{
    (void)user;
    size_t used = strlen(logged);
    if (level <= AIOS_LOG_WARNING) (void)snprintf(logged + used, sizeof logged - used, "%s\n", message);
}

#define CHECK(condition)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            (void)fprintf(stderr, "%s:%d: %s; the last error: %s; the log: %s\n", __FILE__, __LINE__, #condition, aios_error_message(),    \
                          logged);                                                                                                         \
            _exit(1);                                                                                                                      \
        }                                                                                                                                  \
    } while (0)
#define OK(call)              CHECK((call) == AIOS_OK)
#define FAILS(call, code)     CHECK((call) == (code))
#define SAID(words)           CHECK(strstr(aios_error_message(), words))
#define NEAR(a, b, tolerance) CHECK(fabs((double)(a) - (double)(b)) <= (tolerance))

static inline aios_context *make_context(void)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    options.log = keep_log;
    OK(aios_context_create(&options, &context));
    return context;
}

static inline aios_device *open_device(aios_context *context, int index)
{
    char spec[32];
    aios_device *device;
    (void)snprintf(spec, sizeof spec, "%s:%d", backend_name, index);
    OK(aios_device_open(context, spec, &device));
    return device;
}

/* "2;…" -> AIOS_SIM="cuda:2;…", where every "@" is followed by the vendor's name. */
static void set_devices(const char *simulated)
{
    char text[256];
    size_t used = (size_t)snprintf(text, sizeof text, "%s:", backend_name);
    for (const char *c = simulated; *c && used + 16 < sizeof text; c++) {
        text[used++] = *c;
        if (*c == '@') used += (size_t)snprintf(text + used, sizeof text - used, "%s:", backend_name);
    }
    text[used] = 0;
    (void)setenv("AIOS_SIM", text, 1);
}

/* Prints what the simulation complained about; 0: nothing. */
static int show_report(const char *path)
{
    char line[512];
    int lines = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        (void)fprintf(stderr, "  complaint: %s", line);
        lines++;
    }
    if (file) (void)fclose(file);
    (void)unlink(path);
    return lines;
}

static int run_test(const char *name, const char *simulated, void (*test)(void))
{
    char report[64];
    int status = 0;
    (void)snprintf(report, sizeof report, "/tmp/aios-driver-test-%d", (int)getpid());
    (void)unlink(report);
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("AIOS_SIM_REPORT", report, 1);
        set_devices(simulated);
        test();
        exit(0);
    }
    (void)waitpid(child, &status, 0);
    int good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && show_report(report) == 0;
    (void)printf("%s  %s\n", good ? "ok    " : "FAILED", name);
    (void)fflush(stdout);
    return good;
}

#endif

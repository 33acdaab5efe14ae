/* aios-sim: runs a command on simulated devices: sets the environment that vendor.h describes, and tells what the simulation
 * complained about. */
#include "vendor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "aios-sim: run a command on simulated devices\n"
    "\n"
    "Usage: aios-sim --devices LIST [FLAGS] -- COMMAND…\n"
    "\n"
    "The vendors' own libraries are replaced by stand-ins, and libaios' plugins run on them unchanged.  Work is deferred until\n"
    "something waits for it, fresh memory is NaN, wrong pointers and sizes are refused.\n"
    "\n"
    "  --devices LIST              how many of each vendor: cuda:2,hip:1,xpu:1\n"
    "  --memory [DEVICE=]SIZE      memory of each device, or of one: 2GiB, cuda:1=512MiB (2GiB)\n"
    "  --speed [DEVICE=]FACTOR     below 1: slower by so much: hip:0=0.5 (1)\n"
    "  --fault CALL@DEVICE[:N][:MODE]\n"
    "                              the N-th CALL (the vendor's own name, or \"work\": a piece of submitted work) on DEVICE\n"
    "                              fails: once, forever, hang or lost; CALL=CODE@… answers with the vendor's CODE\n"
    "  --drivers LIST              Intel's devices by several drivers: discrete,integrated (the first shows the ones, the second the\n"
    "                              others; every second device is integrated), integrated,discrete or all,all (all)\n"
    "  --xmx 8|16                  Intel's devices have matrix units, for sub-groups of so many lanes (none)\n"
    "  --peer yes|no|broken        whether devices of a vendor reach each other's memory; broken: with wrong bytes (yes)\n"
    "  --seed N                    of the order of work on several streams (1)\n"
    "  --report FILE               append the complaints to FILE, and print none\n"
    "  --help                      describe the command\n"
    "\n"
    "--memory, --speed and --fault may be given several times.  The exit code is the command's; 3 where that is 0 and the\n"
    "simulation complained: of wrong use, or of something that was not given back.\n"
    "\n"
    "Examples\n"
    "  aios-sim --devices cuda:2,hip:1,xpu:1 -- aios devices\n"
    "  aios-sim --devices cuda:2 --speed cuda:1=0.5 --fault cuMemAlloc@cuda:0:3:once -- aios train …\n";

static char settings[4096];
static char report[] = "/tmp/aios-sim-XXXXXX";
static const char *drivers, *xmx; /* NULL: one, none */
static pid_t child;

static int fail(const char *what, const char *value)
{
    (void)fprintf(stderr, "aios-sim: %s%s; aios-sim --help says what there is\n", what, value ? value : "");
    return 2;
}

static void add(const char *format, const char *value)
{
    size_t used = strlen(settings);
    (void)snprintf(settings + used, sizeof settings - used, format, value);
}

static void set_environment(void)
{
    char path[8192];
    const char *before = getenv("LD_LIBRARY_PATH");
    (void)snprintf(path, sizeof path, "%s%s%s", AIOS_SIM_FOLDER, before && *before ? ":" : "", before ? before : "");
    (void)setenv("LD_LIBRARY_PATH", path, 1);
    if (vendor_count("xpu", NULL)) {
        const char *second = drivers && strchr(drivers, ',') ? "," AIOS_SIM_FOLDER "/libze_sim_second.so" : "";
        (void)snprintf(path, sizeof path, "%s%s", AIOS_SIM_FOLDER "/libze_sim.so", second);
        (void)setenv("ZE_ENABLE_ALT_DRIVERS", path, 1);
        if (drivers) (void)setenv("AIOS_SIM_XPU_DRIVERS", drivers, 1);
        if (xmx) (void)setenv("AIOS_SIM_XMX", xmx, 1);
        (void)setenv("ZES_ENABLE_SYSMAN", "1", 1); /* telemetry and free memory, with loaders that lack zesInit */
    }
}

static int is_known(const char *list)
{
    static const char *const known[] = {"all", "all,all", "discrete,integrated", "integrated,discrete"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i], list) == 0) return 1;
    return 0;
}

/* Reads the flags into `settings`; returns where the command begins, or minus the exit code, less one. */
static int read_flags(int count, char **words, int *printed)
{
    static const char *const flags[] = {"--memory", "--speed", "--fault", "--peer", "--seed"};
    const char *devices = NULL;
    char rest[sizeof settings];
    int i = 1;
    for (; i < count && strcmp(words[i], "--") != 0; i += 2) {
        int known = 0;
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            (void)fputs(help, stdout);
            return -1;
        }
        if (words[i][0] != '-') return -1 - fail("-- must stand before the command ", words[i]);
        if (i + 1 >= count) return -1 - fail("a value is missing after ", words[i]);
        for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++) {
            if (strcmp(words[i], flags[f]) != 0) continue;
            add(";%s=", flags[f] + 2);
            add("%s", words[i + 1]);
            known = 1;
        }
        if (strcmp(words[i], "--devices") == 0) devices = words[i + 1], known = 1;
        if (strcmp(words[i], "--xmx") == 0) xmx = words[i + 1], known = 1;
        if (strcmp(words[i], "--drivers") == 0) drivers = words[i + 1], known = 1;
        if (strcmp(words[i], "--report") == 0) (void)setenv("AIOS_SIM_REPORT", words[i + 1], 1), known = 1, *printed = 0;
        if (!known) return -1 - fail("there is no flag ", words[i]);
    }
    if (drivers && !is_known(drivers)) return -1 - fail("--drivers can't be ", drivers);
    if (xmx && strcmp(xmx, "8") != 0 && strcmp(xmx, "16") != 0) return -1 - fail("--xmx must be 8 or 16, not ", xmx);
    if (!devices) return -1 - fail("--devices must say which: cuda:2,hip:1,xpu:1", NULL);
    if (i + 1 >= count) return -1 - fail("a command must follow behind --", NULL);
    memcpy(rest, settings, sizeof rest);
    settings[0] = 0;
    add("%s", devices);
    add("%s", rest);
    return i + 1;
}

static void pass_on(int signal_number)
{
    if (child > 0) (void)kill(child, signal_number);
}

static int run(char **command)
{
    int status = 0;
    child = fork();
    if (child == 0) {
        (void)execvp(command[0], command);
        (void)fprintf(stderr, "aios-sim: %s can't be run: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    (void)signal(SIGINT, SIG_IGN); /* the terminal sends it to the command as well */
    (void)signal(SIGTERM, pass_on);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Whether there was any. */
static int print_complaints(void)
{
    char line[600];
    int any = 0;
    FILE *file = fopen(report, "r");
    for (; file && fgets(line, sizeof line, file); any = 1) (void)fprintf(stderr, "aios-sim: %s", line);
    if (file) (void)fclose(file);
    (void)unlink(report);
    return any;
}

int main(int count, char **words)
{
    int printed = 1, first = read_flags(count, words, &printed), file = -1;
    if (first < 0) return -1 - first;
    if (printed) {
        file = mkstemp(report);
        if (file < 0 || close(file) != 0) return fail("no temporary file: ", strerror(errno));
        (void)setenv("AIOS_SIM_REPORT", report, 1);
    }
    (void)setenv("AIOS_SIM", settings, 1);
    if (vendor_misconfigured()) {
        if (printed) (void)unlink(report);
        return fail("this is not understood: ", vendor_misconfigured());
    }
    set_environment();
    int code = run(words + first);
    int complained = printed && print_complaints();
    return code == 0 && complained ? 3 : code;
}

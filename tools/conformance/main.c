/* aios-conformance: judges a backend.  Prints a line for each promise and exits with 1 where one is broken, or none was tried. */
#include "gpu/registry.h"
#include "judge.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: aios-conformance (--backend PATH | --builtin cpu) [--device N] [--seed S] [--filter NAME] [--brief] [--json]\n"
    "                        [--deadline SECONDS]\n"
    "       aios-conformance --list\n"
    "\n"
    "Judges a backend of libaios: the calls of its table, every kernel against float64, and ten steps of training.\n"
    "\n"
    "  --backend PATH      the plugin, libaios-NAME.so\n"
    "  --builtin cpu       the CPU device that libaios brings\n"
    "  --device N          the backend's number of the device (0)\n"
    "  --seed S            of the random numbers (0)\n"
    "  --filter NAME       only cases and kernels whose name has NAME in it\n"
    "  --brief             small sizes, for a device that is simulated\n"
    "  --deadline SECONDS  how long a case may take before it counts as hanging (300)\n"
    "  --json              the verdicts as one JSON object\n"
    "  --list              the cases, and what each promises\n"
    "\n"
    "Exit codes: 0 every case passed, 1 one failed or none was run, 2 the command line is wrong.\n";

struct arguments {
    const char *path, *builtin, *filter;
    long device, seed, deadline;
    int brief, json, list;
};

enum verdict { PASSED, FAILED, NOT_OFFERED };

struct report {
    int counts[3], json;
    json_t *cases;
};

static struct report report;

/* ---- crashes and hangs: the process is not to be trusted any more, so it only says what it knows ------------------- */

static volatile sig_atomic_t passed, failed;
static char running[96] = "backend.load";

static void write_text(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(1);
}

static void write_number(int number)
{
    char digits[16];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    write_text(digits + at);
}

static void end_badly(int signal_number)
{
    write_text("FAILED       ");
    write_text(running);
    write_text(signal_number == SIGALRM ? ": hangs: the deadline passed\n" : ": crashed with signal ");
    if (signal_number != SIGALRM) write_number(signal_number), write_text("\n");
    write_text("\n");
    write_number((int)passed);
    write_text(" passed, ");
    write_number((int)failed + 1);
    write_text(" failed, the rest was not tried\n");
    _exit(1);
}

static void begin_case(const char *name)
{
    (void)snprintf(running, sizeof running, "%s", name);
    (void)fflush(stdout);
}

/* ---- verdicts ---------------------------------------------------------------------------------------------------- */

static void tell(const char *name, const char *promise, enum verdict verdict, const char *words)
{
    static const char *const texts[] = {"passed", "FAILED", "not offered"}, *const codes[] = {"passed", "failed", "not_offered"};
    report.counts[verdict]++;
    passed = report.counts[PASSED], failed = report.counts[FAILED];
    if (report.json)
        (void)json_array_append_new(report.cases, json_pack("{ss ss ss so}", "name", name, "promise", promise, "verdict", codes[verdict],
                                                            "reason", words[0] ? json_string(words) : json_null()));
    else
        (void)printf("%-12s %s%s%s\n", texts[verdict], name, words[0] ? ": " : "", words);
}

static int is_wanted(const struct arguments *a, const char *name)
{
    return !a->filter || strstr(name, a->filter) != NULL;
}

static void run_case(struct judge *judge, const struct arguments *a, const char *name, const char *promise, judge_case_fn run)
{
    if (!is_wanted(a, name)) return;
    judge->failed = judge->unoffered = 0;
    judge->words[0] = 0;
    begin_case(name);
    (void)alarm((unsigned)a->deadline);
    run(judge);
    judge_end_case(judge);
    (void)alarm(0);
    tell(name, promise, judge->failed ? FAILED : judge->unoffered ? NOT_OFFERED : PASSED, judge->words);
}

static const char *kernel_name(int id)
{
    if (id == VERDICT_GEMM) return "gemm group";
    if (id == VERDICT_ATTENTION_FORWARD) return "attention.forward";
    if (id == VERDICT_ATTENTION_BACKWARD) return "attention.backward";
#define KERNEL_DEF(name, ...) #name,
    static const char *const names[] = {
#include "kernels/kernels.def"
    };
#undef KERNEL_DEF
    return names[id];
}

static void tell_kernel(const struct judge *judge, int id)
{
    char name[80], words[700] = "";
    const struct kernel_verdict *v = &judge->runner.kernels[id];
    int offered = id < KERNEL_COUNT || v->runs[0] + v->runs[1] + v->runs[2] + v->failures > 0;
    (void)snprintf(name, sizeof name, "%s%s", id < KERNEL_COUNT ? "kernel." : "", kernel_name(id));
    if (v->failures)
        (void)snprintf(words, sizeof words, "%s (and %ld more)", v->failure, v->failures - 1);
    else if (offered)
        for (int s = 0; s < KERNEL_STORAGE_TYPES; s++) {
            size_t used = strlen(words);
            if (v->runs[s]) (void)snprintf(words + used, sizeof words - used, "%s%ld in %s", used ? ", " : "", v->runs[s], storage_name(s));
            if (id < KERNEL_COUNT && !v->runs[s] && runner_has(&judge->runner, s)) {
                (void)snprintf(words, sizeof words, "no case ran it in %s", storage_name(s));
                tell(name, "agrees with float64", FAILED, words);
                return;
            }
        }
    tell(name, "agrees with float64", v->failures ? FAILED : offered ? PASSED : NOT_OFFERED, words);
}

static void run_kernels(struct judge *judge, const struct arguments *a)
{
    int wanted = 0;
    const char *filter = a->filter && strncmp(a->filter, "kernel.", 7) == 0 ? a->filter + 7 : a->filter;
    judge->filter = filter && *filter && strcmp(filter, "kernel") != 0 ? filter : NULL;
    for (int i = 0; i < VERDICT_COUNT; i++) wanted += !judge->filter || strstr(kernel_name(i), judge->filter) != NULL;
    if (!wanted) return;
    judge->failed = judge->unoffered = 0;
    judge->words[0] = 0;
    begin_case("kernels");
    (void)alarm((unsigned)a->deadline);
    if (!kernels_run(judge, begin_case)) tell("kernels", "every kernel can be run", FAILED, judge->words);
    for (int i = 0; i < VERDICT_COUNT && !judge->failed; i++)
        if (!judge->filter || strstr(kernel_name(i), judge->filter)) tell_kernel(judge, i);
    judge_end_case(judge);
    (void)alarm(0);
}

static void run_cases(struct judge *judge, const struct arguments *a)
{
#define JUDGE_CASE(name, function, promise) run_case(judge, a, name, promise, function);
#define JUDGE_KERNELS                       run_kernels(judge, a);
#include "cases.def"
#undef JUDGE_CASE
#undef JUDGE_KERNELS
}

static void list_cases(void)
{
#define JUDGE_CASE(name, function, promise) (void)printf("%-28s %s\n", name, promise);
#define JUDGE_KERNELS                                                                                                                      \
    for (int i = 0; i < VERDICT_COUNT; i++)                                                                                                \
        (void)printf("%s%-*s agrees with float64\n", i < KERNEL_COUNT ? "kernel." : "", i < KERNEL_COUNT ? 21 : 28, kernel_name(i));
#include "cases.def"
#undef JUDGE_CASE
#undef JUDGE_KERNELS
}

/* ---- the backend ------------------------------------------------------------------------------------------------- */

static void log_line(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level <= AIOS_LOG_WARNING) (void)fprintf(stderr, "[aios] %s\n", message);
}

/* The name of the only plugin that was named, or the sentence why it can't be used. */
static int find_backend(struct judge *judge, const struct arguments *a, const char *path, char name[48])
{
    backend_table table;
    const backend_slot *found = NULL;
    if (registry_scan(judge->context, &table) != AIOS_OK) {
        judge_fail(judge, "%s", aios_error_message());
        return 0;
    }
    for (size_t i = 0; i < table.count; i++)
        if (a->builtin ? strcmp(table.slots[i].entry.name, a->builtin) == 0
                       : strncmp(table.slots[i].entry.path, path, sizeof table.slots[i].entry.path - 1) == 0)
            found = &table.slots[i];
    if (!found)
        judge_fail(judge, a->builtin ? "there is no built-in backend %s: there is cpu" : "%s is no file that could be a plugin",
                   a->builtin ? a->builtin : path);
    else if (!found->backend)
        judge_fail(judge, "%s", found->entry.reason);
    else if (a->device >= found->entry.device_count)
        judge_fail(judge, "there is no device %ld: the backend counts %d", a->device, (int)found->entry.device_count);
    else
        (void)snprintf(name, 48, "%s:%ld", found->entry.name, a->device);
    registry_free(&table);
    return !judge->failed;
}

static int open_backend(struct judge *judge, const struct arguments *a)
{
    char spec[48] = "", path[4096] = "";
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = log_line;
    if (a->path && os_path_absolute(a->path, path, sizeof path) != AIOS_OK) judge_fail(judge, "%s", aios_error_message());
    if (setenv("AIOS_BACKEND_PATH", a->path ? path : "/nonexistent", 1) || aios_context_create(&options, &judge->context) != AIOS_OK)
        judge_fail(judge, "%s", aios_error_message());
    if (judge->failed || !find_backend(judge, a, path, spec)) return 0;
    if (aios_device_open(judge->context, spec, &judge->device) != AIOS_OK) {
        judge_fail(judge, "opening %s: %s", spec, aios_error_message());
        return 0;
    }
    judge->backend = judge->device->backend;
    judge->table = judge->device->table;
    judge->handle = judge->device->handle;
    judge->info = judge->device->info;
    judge->index = (int32_t)a->device;
    judge->seed = (uint64_t)a->seed;
    judge->brief = a->brief;
    return 1;
}

static void print_end(const struct judge *judge, const struct arguments *a)
{
    if (!report.json) {
        (void)printf("\n%d passed, %d failed, %d not offered; %s, seed %ld\n", report.counts[PASSED], report.counts[FAILED],
                     report.counts[NOT_OFFERED], judge->info.name[0] ? judge->info.name : "no device", a->seed);
        if (report.counts[PASSED] + report.counts[FAILED] == 0) (void)printf("no case was run, which is no pass\n");
        return;
    }
    json_t *root = json_pack("{ss ss sI si si si so}", "backend", judge->info.backend, "device", judge->info.name, "seed",
                             (json_int_t)a->seed, "passed", report.counts[PASSED], "failed", report.counts[FAILED], "not_offered",
                             report.counts[NOT_OFFERED], "cases", report.cases);
    (void)json_dumpf(root, stdout, JSON_INDENT(2));
    (void)printf("\n");
    json_decref(root);
}

static int examine(const struct arguments *a)
{
    static struct judge judge; /* large */
    static const int signals[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action = {.sa_handler = end_badly};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) (void)sigaction(signals[i], &action, NULL);
    report.json = a->json;
    report.cases = json_array();
    (void)alarm((unsigned)a->deadline);
    int opened = open_backend(&judge, a);
    (void)alarm(0);
    tell("backend.load", "the plugin loads, and its device opens", opened ? PASSED : FAILED, judge.words);
    if (opened) {
        if (!report.json) (void)printf("%-12s %s, %s\n", "", judge.info.name, judge.info.architecture);
        int before = report.counts[PASSED] + report.counts[FAILED];
        run_cases(&judge, a);
        if (report.counts[PASSED] + report.counts[FAILED] == before) report.counts[PASSED] = report.counts[FAILED] = 0;
    }
    begin_case("device.close");
    aios_device_close(judge.device);
    aios_context_destroy(judge.context);
    print_end(&judge, a);
    if (!report.json) json_decref(report.cases);
    return report.counts[FAILED] == 0 && report.counts[PASSED] > 0 ? 0 : 1;
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static int wrong_usage(const char *what, const char *which)
{
    (void)fprintf(stderr, "aios-conformance: %s%s\n\n%s", what, which, usage);
    return 2;
}

static int read_number(const char *text, long least, long *value)
{
    char *end;
    *value = strtol(text, &end, 10);
    return end != text && *end == 0 && *value >= least;
}

int main(int count, char **words)
{
    struct arguments a = {.deadline = 300};
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
        const struct {
            const char *name;
            const char **text;
            long *number;
            int *flag;
        } options[] = {{"--backend", &a.path, NULL, NULL},  {"--builtin", &a.builtin, NULL, NULL}, {"--filter", &a.filter, NULL, NULL},
                       {"--device", NULL, &a.device, NULL}, {"--seed", NULL, &a.seed, NULL},       {"--deadline", NULL, &a.deadline, NULL},
                       {"--brief", NULL, NULL, &a.brief},   {"--json", NULL, NULL, &a.json},       {"--list", NULL, NULL, &a.list}};
        size_t o = 0;
        while (o < sizeof options / sizeof options[0] && strcmp(word, options[o].name) != 0) o++;
        if (strcmp(word, "--help") == 0) return printf("%s", usage) < 0;
        if (o == sizeof options / sizeof options[0]) return wrong_usage("unknown argument ", word);
        if (options[o].flag) {
            *options[o].flag = 1;
            continue;
        }
        i++;
        if (options[o].text) *options[o].text = value;
        if (!*value || (options[o].number && !read_number(value, options[o].number == &a.deadline, options[o].number)))
            return wrong_usage(options[o].number ? "a number must follow " : "a word must follow ", word);
    }
    if (a.list) {
        list_cases();
        return 0;
    }
    if (!a.path == !a.builtin) return wrong_usage("give one of --backend PATH and --builtin cpu", "");
    return examine(&a);
}

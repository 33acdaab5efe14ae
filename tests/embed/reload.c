/* reload.c: a host that opens libaios, uses it and closes it, a hundred times.  reload LIBRARY
 *
 * What is left after a round may not grow with the rounds: memory, threads, descriptors, mappings.  The first rounds fill caches that the
 * loader and oneDNN keep. */
#include <aios/aios.h>

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 100, SETTLED = 20 };

#define EXPECT(x)                                                                                                                          \
    do {                                                                                                                                   \
        if (!(x)) {                                                                                                                        \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                                          \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static int entries(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    EXPECT(folder);
    while (readdir(folder)) count++;
    (void)closedir(folder);
    return count;
}

static long resident_pages(void)
{
    long size, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file && fscanf(file, "%ld %ld", &size, &resident) == 2);
    (void)fclose(file);
    return resident;
}

static int is_mapped(const char *name)
{
    char line[4096];
    int found = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    EXPECT(file);
    while (fgets(line, sizeof line, file)) found |= strstr(line, name) != NULL;
    (void)fclose(file);
    return found;
}

static void *find(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    EXPECT(symbol);
    return symbol;
}
#define FIND(name) (__extension__(__typeof__(&(name))) find(library, #name))

/* A step of a small model on the CPU: threads, oneDNN, tokenizer, options. */
static void use(void *library)
{
    enum { N = 64 };
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_options *options;
    aios_device_list *list;
    static float x[N * N];
    aios_plan_options how = AIOS_PLAN_OPTIONS_INIT;
    EXPECT(FIND(aios_context_create)(NULL, &context) == AIOS_OK);
    EXPECT(FIND(aios_device_list_create)(context, &list) == AIOS_OK);
    EXPECT(FIND(aios_options_create)(context, AIOS_SCOPE_TRAIN, &options) == AIOS_OK);
    EXPECT(FIND(aios_options_set)(options, "stepps", "1") == AIOS_NOT_FOUND);
    EXPECT(FIND(aios_device_open)(context, "cpu", &device) == AIOS_OK);
    EXPECT(FIND(aios_graph_create)(context, &graph) == AIOS_OK);
    aios_tensor in = FIND(aios_graph_input)(graph, "x", AIOS_F32, (int32_t[]){N, N}, 2);
    aios_tensor weight = FIND(aios_graph_parameter)(graph, "w", (int32_t[]){N, N}, 2, AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    FIND(aios_graph_output)(graph, "y", FIND(aios_graph_linear)(graph, in, weight, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_GELU));
    EXPECT(FIND(aios_graph_finish)(graph) == AIOS_OK);
    EXPECT(FIND(aios_parameters_create)(device, graph, NULL, &parameters) == AIOS_OK);
    EXPECT(FIND(aios_parameters_initialize)(parameters, 1) == AIOS_OK);
    EXPECT(FIND(aios_plan_create)(graph, parameters, &how, &plan) == AIOS_OK);
    EXPECT(FIND(aios_plan_write)(plan, "x", x, sizeof x) == AIOS_OK);
    EXPECT(FIND(aios_plan_run)(plan) == AIOS_OK);
    EXPECT(FIND(aios_plan_read)(plan, "y", x, sizeof x) == AIOS_OK);
    FIND(aios_plan_destroy)(plan);
    FIND(aios_parameters_destroy)(parameters);
    FIND(aios_graph_destroy)(graph);
    FIND(aios_device_close)(device);
    FIND(aios_options_destroy)(options);
    FIND(aios_device_list_destroy)(list);
    FIND(aios_context_destroy)(context);
}

int main(int argc, char **argv)
{
    int threads = 0, descriptors = 0;
    long pages = 0;
    if (argc != 2) return 2;
    for (int round = 0; round < ROUNDS; round++) {
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) (void)fprintf(stderr, "%s\n", dlerror());
        EXPECT(library);
        use(library);
        EXPECT(dlclose(library) == 0);
        EXPECT(!is_mapped("libaios.so"));
        if (round == SETTLED) {
            threads = entries("/proc/self/task");
            descriptors = entries("/proc/self/fd");
            pages = resident_pages();
        }
    }
    (void)printf("threads %d and %d, descriptors %d and %d, pages %ld and %ld\n", threads, entries("/proc/self/task"), descriptors,
                 entries("/proc/self/fd"), pages, resident_pages());
    EXPECT(entries("/proc/self/task") == threads && threads == 3); /* ".", ".." and the only one */
    EXPECT(entries("/proc/self/fd") == descriptors);
    EXPECT(resident_pages() - pages < 256); /* 1 MiB in 80 rounds: what a leak of a thread's stack or a plan would pass in a few */
    return 0;
}

/* training.h: a tiny training run, and a number that stands for every bit of what it learned. */
#ifndef AIOS_TESTS_EMBED_TRAINING_H
#define AIOS_TESTS_EMBED_TRAINING_H

#include <aios/aios.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXPECT(x)                                                                                                                          \
    do {                                                                                                                                   \
        if (!(x)) {                                                                                                                        \
            (void)fprintf(stderr, "%s:%d: not so: %s: %s\n", __FILE__, __LINE__, #x, aios_error_message());                                \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)
#define OK(x) EXPECT((x) == AIOS_OK)

/* FNV-1a. */
static uint64_t digest(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash;
}

static void write_text(const char *path, const char *line, int lines)
{
    FILE *file = fopen(path, "w");
    EXPECT(file);
    for (int i = 0; i < lines; i++) (void)fprintf(file, "%s %d\n", line, i % 17);
    EXPECT(fclose(file) == 0);
}

static aios_options *tiny_options(aios_context *context, const char *folder, const char *name)
{
    char text[600], run[600], cache[600];
    aios_options *options;
    (void)snprintf(text, sizeof text, "%s/%s.txt", folder, name);
    (void)snprintf(run, sizeof run, "%s/%s", folder, name);
    (void)snprintf(cache, sizeof cache, "%s/%s.cache", folder, name);
    write_text(text, "The quick brown fox jumps over the lazy dog.", 200);
    OK(aios_options_create(context, AIOS_SCOPE_TRAIN, &options));
    OK(aios_options_read_json(options, "{\"n-layer\": 1, \"n-head\": 2, \"n-embd\": 32, \"max-seq-len\": 32, \"steps\": 6, \"lr\": 3e-3, "
                                       "\"lr-warmup-steps\": 2, \"log-interval\": 1, \"tokenizer\": \"bytes\"}"));
    OK(aios_options_set(options, "dataset-file", text));
    OK(aios_options_set(options, "save-dir", run));
    OK(aios_options_set(options, "cache-dir", cache));
    return options;
}

/* Trains, and returns the digest of all weights. */
static uint64_t train_tiny(aios_context *context, const aios_options *options)
{
    aios_trainer *trainer;
    uint64_t hash = UINT64_C(14695981039346656037);
    OK(aios_trainer_create(context, options, NULL, &trainer));
    OK(aios_trainer_run(trainer));
    aios_parameters *parameters = aios_trainer_parameters(trainer);
    for (uint32_t i = 0; i < aios_parameters_count(parameters); i++) {
        aios_parameter_info info = AIOS_PARAMETER_INFO_INIT;
        OK(aios_parameters_info(parameters, i, &info));
        float *values = malloc((size_t)info.count * sizeof *values);
        EXPECT(values);
        OK(aios_parameters_read(parameters, info.name, AIOS_VALUE, values, info.count));
        hash = digest(hash, values, (size_t)info.count * sizeof *values);
        free(values);
    }
    aios_trainer_destroy(trainer);
    return hash;
}

static uint64_t train_in(aios_context *context, const char *folder, const char *name)
{
    aios_options *options = tiny_options(context, folder, name);
    uint64_t hash = train_tiny(context, options);
    aios_options_destroy(options);
    return hash;
}

static void empty_folder(const char *folder)
{
    char command[700];
    (void)snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s'", folder, folder);
    EXPECT(system(command) == 0);
}

#endif

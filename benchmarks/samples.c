/* What it costs to read a chunk of a dataset by number, wherever it lies, from memory and from the disk, with and without having asked
 * for it before.
 *
 *     benchmark_samples [--folder PATH] [--megabytes N]
 *
 * PATH (.) should lie on the disk that a run would use.  A text of N megabytes (256) is tokenized by bytes, 2 of the disk for each, and
 * chunks of 4,000 samples of 1,024 tokens are read at its start, middle and end:
 *   warm        from memory
 *   cold        after the system forgot the file, checksums and all
 *   prefetched  the same, asked for two seconds before */
#include "bench.h"

#include <aios/dataset.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 4000, LENGTH = 1024, MEGABYTE = 1 << 20 };

static aios_context *context;
static char folder[4096];

static void stop(const char *doing)
{
    (void)fprintf(stderr, "benchmark_samples: %s: %s\n", doing, aios_error_message());
    exit(1);
}

static void write_text(const char *path, long megabytes)
{
    FILE *file = fopen(path, "wb");
    char *text = malloc(MEGABYTE);
    uint32_t state = 1;
    if (!file || !text) stop("writing the text");
    for (long m = 0; m < megabytes; m++) {
        for (int i = 0; i < MEGABYTE; i++) {
            state = state * 1664525u + 1013904223u;
            text[i] = (char)(state >> 24 < 40 ? ' ' : 'a' + (state >> 24) % 26);
        }
        if (fwrite(text, MEGABYTE, 1, file) != 1) stop("writing the text");
    }
    if (fclose(file) != 0) stop("writing the text");
    free(text);
}

static aios_dataset *open_dataset(const char *path, const char *cache, int32_t shuffle)
{
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    aios_dataset *d;
    if (aios_tokenizer_open(context, "bytes", &o.tokenizer) != AIOS_OK) stop("opening the tokenizer");
    o.path = path;
    o.cache_folder = cache;
    o.sequence_length = LENGTH;
    o.shuffle = shuffle;
    if (aios_dataset_open(context, &o, &d) != AIOS_OK) stop("opening the dataset");
    aios_tokenizer_close(o.tokenizer);
    return d;
}

static void forget(const char *path)
{
    int file = open(path, O_RDONLY);
    if (file < 0 || fsync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) stop("evicting the file");
    (void)close(file);
}

static double read_chunk(const aios_dataset *d, uint64_t first)
{
    static int32_t inputs[32 * LENGTH], labels[32 * LENGTH];
    double start = bench_now();
    for (uint64_t at = 0; at < CHUNK; at += 32)
        if (aios_dataset_read_range(d, 0, first + at, 32, inputs, labels) != AIOS_OK) stop("reading");
    return bench_now() - start;
}

/* Each measurement with the dataset opened anew, because what is mapped and touched is not forgotten. */
static void measure(const char *path, const char *cache, int32_t shuffle, const char *where, double part)
{
    double seconds[3];
    for (int kind = 0; kind < 3; kind++) {
        aios_dataset *d = open_dataset(path, cache, shuffle);
        uint64_t first = (uint64_t)(part * (double)(aios_dataset_count(d) - CHUNK));
        forget(aios_dataset_cache_path(d));
        if (kind == 0) (void)read_chunk(d, first);
        if (kind == 2) {
            aios_dataset_prefetch(d, 0, first, CHUNK);
            (void)sleep(2);
        }
        seconds[kind] = read_chunk(d, first);
        aios_dataset_close(d);
    }
    (void)printf("%-8s  %-6s  warm %6.1f ms   cold %6.1f ms   prefetched %6.1f ms\n", shuffle ? "shuffled" : "in order", where,
                 1e3 * seconds[0], 1e3 * seconds[1], 1e3 * seconds[2]);
    (void)fflush(stdout);
}

int main(int count, char **arguments)
{
    const char *above = ".";
    long megabytes = 256;
    char path[4200], cache[4200], command[4300];
    for (int i = 1; i < count; i += 2) {
        if (i + 1 < count && strcmp(arguments[i], "--folder") == 0)
            above = arguments[i + 1];
        else if (i + 1 < count && strcmp(arguments[i], "--megabytes") == 0 && atol(arguments[i + 1]) >= 16)
            megabytes = atol(arguments[i + 1]);
        else {
            (void)fprintf(stderr, "benchmark_samples [--folder PATH] [--megabytes N, at least 16]\n");
            return 2;
        }
    }
    (void)snprintf(folder, sizeof folder, "%s/benchmark-samples-XXXXXX", above);
    if (!mkdtemp(folder) || aios_context_create(NULL, &context) != AIOS_OK) stop("making a folder");
    (void)snprintf(path, sizeof path, "%s/text.txt", folder);
    (void)snprintf(cache, sizeof cache, "%s/cache", folder);
    write_text(path, megabytes);
    double start = bench_now();
    aios_dataset *d = open_dataset(path, cache, 0);
    (void)printf("%ld MB, %llu samples of %d tokens: tokenized in %.2f s\n", megabytes, (unsigned long long)aios_dataset_count(d), LENGTH,
                 bench_now() - start);
    aios_dataset_close(d);
    for (int32_t shuffle = 0; shuffle < 2; shuffle++) {
        measure(path, cache, shuffle, "start", 0.0);
        measure(path, cache, shuffle, "middle", 0.5);
        measure(path, cache, shuffle, "end", 1.0);
    }
    aios_context_destroy(context);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0;
}

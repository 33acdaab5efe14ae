/* Any bytes as a .npy file and as the CSV of Sudokus: refused with an error, or what was read can be read again within its bounds. */
#include "base/context.h"
#include "data/puzzles/npy.h"
#include <aios/puzzles.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int right)
{
    if (!right) abort();
}

static void read_array(const uint8_t *bytes, size_t size)
{
    struct npy array;
    volatile int64_t sum = 0; /* so that every value is read */
    if (npy_parse("fuzz", bytes, size, &array) != AIOS_OK) {
        check(strlen(aios_error_message()) > 5);
        return;
    }
    check(array.count == array.shape[0] * (array.rank == 2 ? array.shape[1] : 1));
    check(array.data + array.count * (uint64_t)array.size == bytes + size);
    for (uint64_t i = 0; i < array.count; i++) sum = npy_get(&array, i);
    (void)sum;
}

static void read_csv(aios_context *context, const uint8_t *bytes, size_t size)
{
    char path[64];
    aios_puzzles *set;
    aios_puzzles_info info = {.struct_size = sizeof info};
    (void)snprintf(path, sizeof path, "/dev/shm/aios-fuzz-%d.csv", (int)getpid());
    FILE *file = fopen(path, "wb");
    check(file != NULL && fwrite(bytes, 1, size, file) == size);
    check(fclose(file) == 0);
    if (aios_puzzles_read_sudoku_csv(context, path, 0, 0, 1, 1, &set) == AIOS_OK) {
        int32_t in[81], out[81];
        check(aios_puzzles_get_info(set, &info) == AIOS_OK && info.examples > 0);
        for (uint64_t i = 0; i < info.examples; i++) check(aios_puzzles_example(set, i, in, out, NULL) == AIOS_OK);
        aios_puzzles_destroy(set);
    }
    check(unlink(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static aios_context *context;
    if (!context) check(aios_context_create(NULL, &context) == AIOS_OK);
    aios_error_clear();
    if (size && bytes[0] == 0x93)
        read_array(bytes, size);
    else
        read_csv(context, bytes, size);
    return 0;
}

/* saver PARENT STEP [prune]: saves generation 1 as that step and, where asked, prunes to one checkpoint.  Exit: 0 saved, 10 failed as it
 * should (an error with a message, no memory and no descriptor lost), anything else is a defect, told on stderr. */
#include "base/os.h"
#include "saves.h"

#include <stdio.h>
#include <stdlib.h>

static long blocks;

static void *count_alloc(void *user, size_t size)
{
    void *block = malloc(size);
    (void)user;
    blocks += block != NULL;
    return block;
}

static void *count_realloc(void *user, void *block, size_t size)
{
    (void)user;
    return realloc(block, size);
}

static void count_free(void *user, void *block)
{
    (void)user;
    blocks -= block != NULL;
    free(block);
}

static aios_status count_one(void *user, const char *name)
{
    *(int *)user += atoi(name) < 200; /* the shim's own are above */
    return AIOS_OK;
}

static int count_descriptors(aios_context *context)
{
    int count = 0;
    (void)os_folder_list(context, "/proc/self/fd", count_one, &count);
    return count;
}

int main(int count, char **arguments)
{
    const aios_allocator allocator = {sizeof allocator, 0, NULL, count_alloc, count_realloc, count_free};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    options.allocator = &allocator;
    if (count < 3 || aios_context_create(&options, &context) != AIOS_OK) return 2;
    int before = count_descriptors(context);
    aios_error_clear();
    aios_status status = save_generation(context, arguments[1], strtoull(arguments[2], NULL, 10), 1);
    if (status != AIOS_OK && (aios_error_status() != status || strlen(aios_error_message()) < 20)) {
        (void)fprintf(stderr, "%s came with the message \"%s\"\n", aios_status_name(status), aios_error_message());
        return 3;
    }
    if (status != AIOS_OK && getenv("AIOS_FAULT_SHOW")) (void)fprintf(stderr, "%s\n", aios_error_message());
    aios_status pruned = status == AIOS_OK && count > 3 ? checkpoint_prune(context, arguments[1], 1) : AIOS_OK;
    int after = count_descriptors(context);
    aios_context_destroy(context);
    if (blocks != 0 || after != before) {
        (void)fprintf(stderr, "%ld blocks and %d descriptors are lost after: %s\n", blocks, after - before, aios_error_message());
        return 4;
    }
    return status != AIOS_OK || pruned != AIOS_OK ? 10 : 0;
}

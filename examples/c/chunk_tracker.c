/* chunk_tracker.c: the chunk tracker in a program that has nothing else to do with libaios.
 *
 * The program sums up the records of a "dataset", 0 … 9999: its "model" is one number, its "checkpoint" a file.  Kill it whenever
 * you like and start it again, or start several in a row with few chunks each: every record is in the sum once.
 *
 *     cc chunk_tracker.c $(pkg-config --cflags --libs libaios) -o chunk_tracker && ./chunk_tracker state 4 && ./chunk_tracker state */
#include <aios/aios.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RECORDS = 10000, PER_BLOCK = 5000, PER_CHUNK = 700 };

static aios_status save(aios_chunk_tracker *tracker, const char *path, uint64_t sum)
{
    char next[1024];
    uint64_t checkpoint;
    aios_status status = aios_chunk_tracker_seal(tracker, &checkpoint); /* what was completed so far belongs to this checkpoint … */
    if (status != AIOS_OK) return status;
    snprintf(next, sizeof next, "%s.next", path);
    FILE *file = fopen(next, "w");
    if (!file) return AIOS_IO;
    fprintf(file, "%" PRIu64 " %" PRIu64 "\n", checkpoint, sum); /* (a program that fears the loss of power calls fsync here) */
    if (fclose(file) != 0 || rename(next, path) != 0) return AIOS_IO;
    return aios_chunk_tracker_commit(tracker, checkpoint); /* … and counts, since the file is there */
}

static aios_status work(aios_chunk_tracker *tracker, const char *path, int chunks)
{
    uint64_t checkpoint = 0, sum = 0;
    aios_chunk_claim_options options = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%" SCNu64 " %" SCNu64, &checkpoint, &sum) != 2) checkpoint = sum = 0;
    if (file) fclose(file);
    aios_status status = aios_chunk_tracker_resume(tracker, checkpoint); /* whatever came after it is free again */
    options.owner = "the only worker";
    options.last_epoch = 0; /* one pass */
    for (; status == AIOS_OK && chunks > 0; chunks--) {
        status = aios_chunk_tracker_claim(tracker, &options, &claim);
        if (status != AIOS_OK || claim.outcome != AIOS_CHUNK_CLAIMED) break;
        for (uint64_t record = claim.first; record < claim.end; record++) sum += record;
        status = aios_chunk_tracker_complete(tracker, claim.token, 1, 0);
        printf("block %" PRIu64 " chunk %" PRIu64 ": records %" PRIu64 " to %" PRIu64 "\n", claim.block, claim.chunk, claim.first,
               claim.end - 1);
        if (status == AIOS_OK && claim.chunk % 3 == 2) status = save(tracker, path, sum);
    }
    if (status == AIOS_OK) status = save(tracker, path, sum);
    if (status == AIOS_OK) printf("sum %" PRIu64 "%s\n", sum, claim.outcome == AIOS_CHUNK_FINISHED ? ": of all records" : " so far");
    return status;
}

int main(int argc, char **argv)
{
    aios_chunk_tracker_options options = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_context *context = NULL;
    aios_chunk_tracker *tracker = NULL;
    char path[1000];
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [CHUNKS]\n", argv[0]);
        return 2;
    }
    options.folder = argv[1];
    options.dataset_name = "numbers";
    options.total_samples = RECORDS;
    options.block_samples = PER_BLOCK;
    options.chunk_samples = PER_CHUNK;
    snprintf(path, sizeof path, "%s/sum.txt", argv[1]);
    aios_status status = aios_context_create(NULL, &context);
    if (status == AIOS_OK) status = aios_chunk_tracker_open(context, &options, &tracker);
    if (status == AIOS_OK) status = work(tracker, path, argc > 2 ? atoi(argv[2]) : RECORDS);
    if (status != AIOS_OK) fprintf(stderr, "chunk_tracker: %s: %s\n", aios_status_name(status), aios_error_message());
    aios_chunk_tracker_close(tracker);
    aios_context_destroy(context);
    return status == AIOS_OK ? 0 : 1;
}

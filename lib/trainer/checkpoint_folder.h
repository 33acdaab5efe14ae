/* checkpoint_folder.h (internal): checkpoints that are whole or not there.
 *
 * A checkpoint is a folder PARENT/NAME with a manifest (checkpoint_manifest.h).  It is written as PARENT/.tmp-NAME.PID.N, every file
 * made durable, the manifest last, then renamed, and PARENT made durable: whatever is killed when, the newest complete one
 * can be found.  Saving NAME again moves the old one to .old-NAME, the new one in, and the old one away; a save that died between
 * is put right by the next call here.  What is to be deleted is renamed to .trash-… first, so that nothing half-deleted carries
 * a checkpoint's name.
 *
 * Processes: PARENT/.lock is held while names change (never while data is written), and each temporary folder is locked through its
 * .owner file by the process that fills it: the lock ends with the process, on this machine or another one of the same file
 * system, so no live save is ever taken for a dead one.  On a file system without locks nothing temporary is ever removed.
 * Threads: a writer belongs to one thread at a time; the other calls are free. */
#ifndef AIOS_TRAINER_CHECKPOINT_FOLDER_H
#define AIOS_TRAINER_CHECKPOINT_FOLDER_H

#include "base/error.h"
#include <aios/context.h>

#define CHECKPOINT_NAME_MAX 64 /* bytes, with the final 0 */

/* "step-00001000": at least 8 digits. */
void checkpoint_step_name(uint64_t step, char name[CHECKPOINT_NAME_MAX]);

/* ---- saving ------------------------------------------------------------------------------------------------------ */

typedef struct checkpoint_writer checkpoint_writer;

/* Makes PARENT (with its parents) where missing, and the temporary folder.  name is letters, digits, '-', '_' and '.', and begins with none
 * of '.'; "step-N" must have N = step, and such names alone are listed, found and pruned below.
 * Errors: INVALID_ARGUMENT, TIMEOUT where another process holds PARENT/.lock for 60 s, IO, OUT_OF_MEMORY. */
aios_status checkpoint_begin(aios_context *context, const char *parent, const char *name, uint64_t step, checkpoint_writer **writer);
/* The temporary folder: write files into it by path, none in folders below it, none that begins with a dot. */
const char *checkpoint_writer_path(const checkpoint_writer *writer);
/* Writes one file.  Errors: INVALID_ARGUMENT for a name with a separator or a leading dot, IO. */
aios_status checkpoint_writer_put(checkpoint_writer *writer, const char *name, const void *bytes, size_t size);
/* Makes it the checkpoint PARENT/NAME.  Ends the writer either way.  On failure what was there before is there still, and the temporary
 * folder is gone as far as the file system lets it; only a failure to make PARENT durable may leave the new one in place.
 * Errors: IO, INVALID_ARGUMENT, TIMEOUT, OUT_OF_MEMORY. */
aios_status checkpoint_commit(checkpoint_writer *writer);
/* Ends the writer and removes what it wrote; NULL is fine.  Keeps the thread's error record. */
void checkpoint_abort(checkpoint_writer *writer);

/* ---- finding ----------------------------------------------------------------------------------------------------- */

typedef struct checkpoint_entry {
    char name[CHECKPOINT_NAME_MAX];
    uint64_t step;
    int complete; /* manifest there, all files there with their sizes */
} checkpoint_entry;

/* The folders step-N of a parent by step, oldest first, complete or not; a parent that is missing has none.
 * Ends with checkpoint_list_free.  Errors: IO, OUT_OF_MEMORY. */
aios_status checkpoint_list(aios_context *context, const char *parent, checkpoint_entry **entries, size_t *count);
void checkpoint_list_free(aios_context *context, checkpoint_entry *entries);

/* Path (context memory) and step of the newest checkpoint that is complete, with verify 1 also by its checksums.  Each one that
 * is skipped is logged as a warning that says what is wrong with it; none is changed or deleted.  A replacement that died
 * half-way is put right first.  Errors: NOT_FOUND where there is none, IO, OUT_OF_MEMORY. */
aios_status checkpoint_find_newest(aios_context *context, const char *parent, int verify, char **path, uint64_t *step);
/* Whether a folder is a complete checkpoint whose every byte is what was saved.  Errors: those of manifest_check. */
aios_status checkpoint_verify(aios_context *context, const char *folder);

/* Removes the checkpoints step-N that are older than the newest `keep` (1 or more) complete ones, the temporary folders of dead processes,
 * and what earlier removals left.  A folder without a manifest is not ours and stays.  What can't be removed is logged. Errors:
 * INVALID_ARGUMENT, TIMEOUT, IO, OUT_OF_MEMORY. */
aios_status checkpoint_prune(aios_context *context, const char *parent, uint32_t keep);

#endif

/* checkpoint_manifest.h (internal): manifest.json, which is written last and says what a complete checkpoint holds:
 *
 *     {"format": 1, "step": 1000, "created": "2026-11-21T07:00:00Z",
 *      "files": {"config.json": {"size": 620, "crc32": "9ae0daaf"}, …}} */
#ifndef AIOS_TRAINER_CHECKPOINT_MANIFEST_H
#define AIOS_TRAINER_CHECKPOINT_MANIFEST_H

#include "base/error.h"
#include <aios/context.h>

#define MANIFEST_NAME "manifest.json"

/* Makes every file of the folder durable, takes size and checksum of each and writes manifest.json, durable itself; then the
 * folder.  Names that begin with a dot are left out when `skip` names them and refused else; so are folders.
 * Errors: INVALID_ARGUMENT, ALREADY_EXISTS where a manifest is there, IO, OUT_OF_MEMORY. */
aios_status manifest_make(aios_context *context, const char *folder, uint64_t step, const char *skip);

/* Whether the folder is a complete checkpoint: the manifest is there and right, and every file that it names has its size; with
 * checksums also its CRC-32.  step may be NULL.  Errors: NOT_FOUND where the manifest or a file is missing, CORRUPT names file,
 * value and what the manifest says, UNSUPPORTED for a newer format, IO, OUT_OF_MEMORY. */
aios_status manifest_check(aios_context *context, const char *folder, int checksums, uint64_t *step);

#endif

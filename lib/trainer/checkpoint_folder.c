#include "checkpoint_folder.h"

#include "base/context.h"
#include "base/os.h"
#include "checkpoint_manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MOST    OS_PATH_MAX
#define LOCK_SECONDS 60.0
#define PARENT_LOCK  ".lock"
#define OWNER        ".owner"
#define TMP          ".tmp-"
#define OLD          ".old-"
#define TRASH        ".trash-"
#define DAMAGED      "damaged-"
#define TRIES        10000

static int starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

void checkpoint_step_name(uint64_t step, char name[CHECKPOINT_NAME_MAX])
{
    (void)snprintf(name, CHECKPOINT_NAME_MAX, "step-%08llu", (unsigned long long)step);
}

/* The N of "step-N"; 0 where the name is another. */
static int parse_step(const char *name, uint64_t *step)
{
    const char *digits = name + strlen("step-");
    if (!starts_with(name, "step-")) return 0;
    size_t length = strlen(digits);
    if (length < 1 || length > 18 || strspn(digits, "0123456789") != length || strlen(name) >= CHECKPOINT_NAME_MAX) return 0;
    *step = strtoull(digits, NULL, 10);
    return 1;
}

static aios_status check_name(const char *name, uint64_t step)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    uint64_t said;
    size_t length = strlen(name);
    if (length == 0 || length >= CHECKPOINT_NAME_MAX || *name == '.' || strspn(name, allowed) != length)
        return FAIL(AIOS_INVALID_ARGUMENT, "checkpoint name \"%.80s\": 1 to %d letters, digits, '-', '_' or '.' are allowed, no '.' first",
                    name, CHECKPOINT_NAME_MAX - 1);
    if (step > INT64_MAX || (parse_step(name, &said) && said != step))
        return FAIL(AIOS_INVALID_ARGUMENT, "checkpoint %s can't have step %llu", name, (unsigned long long)step);
    return AIOS_OK;
}

/* ---- moving and removing ----------------------------------------------------------------------------------------- */

/* Failing to clean up is told in the log and does not replace the error that the caller has. */
static void remove_quietly(aios_context *context, const char *path)
{
    aios_error_record record;
    aios_error_save(&record);
    if (os_remove_tree(path) != AIOS_OK && os_path_kind(path) != OS_NOTHING)
        aios_log(context, AIOS_LOG_WARNING, "left behind: %s", aios_error_message());
    (void)aios_error_restore(&record);
}

/* Renames parent/name to the first of parent/PREFIXname.PID.N that is free; to gets the new path. */
static aios_status set_aside(const char *parent, const char *name, const char *prefix, char to[PATH_MOST])
{
    char from[PATH_MOST], other[3 * CHECKPOINT_NAME_MAX + 256];
    TRY_QUIET(os_path_join(from, parent, name));
    for (int n = 0; n < TRIES; n++) {
        if (snprintf(other, sizeof other, "%s%.255s.%d.%d", prefix, name, os_process_id(), n) >= (int)sizeof other) break;
        TRY_QUIET(os_path_join(to, parent, other));
        if (os_path_kind(to) == OS_NOTHING) return os_rename(from, to);
    }
    return FAIL(AIOS_IO, "no free name to move %s to", from);
}

/* Deletes parent/name, which must look like one that is to go from the first moment on: it is renamed, durably, before. */
static aios_status discard(aios_context *context, const char *parent, const char *name)
{
    char trash[PATH_MOST];
    TRY_QUIET(set_aside(parent, name, TRASH, trash));
    TRY_QUIET(os_folder_sync(parent));
    remove_quietly(context, trash);
    return AIOS_OK;
}

/* ---- the parent's lock ------------------------------------------------------------------------------------------- */

/* On a file system without locks the lock stays closed and the call succeeds. */
static aios_status lock_parent(aios_context *context, const char *parent, os_file *lock)
{
    char path[PATH_MOST];
    TRY_QUIET(os_path_join(path, parent, PARENT_LOCK));
    aios_status status = os_lock_take(path, LOCK_SECONDS, lock);
    if (status == AIOS_UNSUPPORTED) {
        aios_log(context, AIOS_LOG_WARNING, "%s: checkpoints are not protected from other processes: %s", parent, aios_error_message());
        return AIOS_OK;
    }
    return status;
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

typedef struct name_list {
    aios_context *context;
    const char *prefix;
    char **names;
    size_t count, capacity;
} name_list;

static aios_status add_name(void *user, const char *name)
{
    name_list *list = user;
    if (!starts_with(name, list->prefix)) return AIOS_OK;
    TRY_QUIET(aios_memory_grow(list->context, (void **)&list->names, &list->capacity, list->count + 1, sizeof *list->names));
    if (!(list->names[list->count] = aios_memory_strdup(list->context, name))) return AIOS_OUT_OF_MEMORY;
    list->count++;
    return AIOS_OK;
}

static void free_names(name_list *list)
{
    for (size_t i = 0; i < list->count; i++) aios_memory_free(list->context, list->names[i]);
    aios_memory_free(list->context, list->names);
}

static aios_status restore_one(aios_context *context, const char *parent, const char *old)
{
    const char *name = old + strlen(OLD);
    char from[PATH_MOST], to[PATH_MOST], aside[PATH_MOST];
    TRY_QUIET(os_path_join(from, parent, old));
    TRY_QUIET(os_path_join(to, parent, name));
    if (os_path_kind(to) != OS_NOTHING) {
        aios_status status = manifest_check(context, to, 0, NULL);
        if (status == AIOS_OK) { /* the new one arrived: the old one is done with */
            TRY_QUIET(os_folder_sync(parent));
            return discard(context, parent, old);
        }
        if (status != AIOS_NOT_FOUND && status != AIOS_CORRUPT) return status;
        aios_log(context, AIOS_LOG_WARNING, "%s is damaged: %s", to, aios_error_message());
        status = manifest_check(context, from, 0, NULL);
        if (status == AIOS_NOT_FOUND || status == AIOS_CORRUPT) return set_aside(parent, old, DAMAGED, aside);
        TRY_QUIET(status);
        TRY_QUIET(set_aside(parent, name, DAMAGED, aside));
    }
    TRY_QUIET(os_rename(from, to));
    TRY_QUIET(os_folder_sync(parent));
    aios_log(context, AIOS_LOG_WARNING, "%s is restored: the save that was to replace it did not end", to);
    return AIOS_OK;
}

/* Puts replacements right that died half-way.  Under the parent's lock.  What can't be put right stays and is logged. */
static void restore(aios_context *context, const char *parent)
{
    name_list list = {.context = context, .prefix = OLD};
    if (os_folder_list(context, parent, add_name, &list) != AIOS_OK)
        aios_log(context, AIOS_LOG_WARNING, "%s is not searched for unfinished saves: %s", parent, aios_error_message());
    for (size_t i = 0; i < list.count; i++)
        if (restore_one(context, parent, list.names[i]) != AIOS_OK)
            aios_log(context, AIOS_LOG_WARNING, "%s/%s stays as it is: %s", parent, list.names[i], aios_error_message());
    free_names(&list);
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

struct checkpoint_writer {
    aios_context *context;
    char *parent, *name, *path; /* path: of the temporary folder; freed and NULL once it has its final name */
    uint64_t step;
    os_file owner;
};

/* Creates a folder with its parents; the names of new ones are durable. */
static aios_status create_durable(const char *path)
{
    char above[PATH_MOST];
    size_t length = strlen(path);
    if (os_path_kind(path) == OS_FOLDER) return AIOS_OK;
    if (length == 0 || length >= sizeof above)
        return FAIL(AIOS_INVALID_ARGUMENT, "folder \"%.200s\": a name has 1 to %d bytes", path, PATH_MOST - 1);
    memcpy(above, path, length + 1);
    while (length > 1 && above[length - 1] == '/') length--;
    while (length && above[length - 1] != '/') length--;
    if (length)
        above[length] = 0;
    else
        memcpy(above, ".", 2);
    TRY_QUIET(create_durable(above));
    aios_status status = os_folder_create_new(path);
    if (status != AIOS_OK && os_path_kind(path) != OS_FOLDER) return status; /* another process may have been faster */
    return os_folder_sync(above);
}

static aios_status make_temporary(checkpoint_writer *writer)
{
    char path[PATH_MOST], owner[PATH_MOST], name[CHECKPOINT_NAME_MAX + 64];
    aios_status status = AIOS_ALREADY_EXISTS;
    for (int n = 0; n < TRIES && status == AIOS_ALREADY_EXISTS; n++) {
        (void)snprintf(name, sizeof name, TMP "%s.%d.%d", writer->name, os_process_id(), n);
        TRY_QUIET(os_path_join(path, writer->parent, name));
        status = os_folder_create_new(path);
    }
    TRY_QUIET(status);
    if (!(writer->path = aios_memory_strdup(writer->context, path))) {
        remove_quietly(writer->context, path);
        return AIOS_OUT_OF_MEMORY;
    }
    TRY_QUIET(os_path_join(owner, path, OWNER));
    status = os_lock_take(owner, 0, &writer->owner);
    return status == AIOS_UNSUPPORTED ? AIOS_OK : status;
}

aios_status checkpoint_begin(aios_context *context, const char *parent, const char *name, uint64_t step, checkpoint_writer **writer)
{
    aios_status status = AIOS_OUT_OF_MEMORY;
    os_file lock = OS_FILE_CLOSED;
    *writer = NULL;
    TRY_QUIET(check_name(name, step));
    checkpoint_writer *made = aios_new(context, checkpoint_writer);
    if (!made) return status;
    made->context = aios_context_retain(context);
    made->owner = OS_FILE_CLOSED;
    made->step = step;
    if (!(made->parent = aios_memory_strdup(context, parent)) || !(made->name = aios_memory_strdup(context, name))) goto done;
    ATTEMPT(create_durable(parent), "saving %s", name);
    ATTEMPT(lock_parent(context, parent, &lock), "saving %s", name);
    ATTEMPT(make_temporary(made), "saving %s", name);
    *writer = made;
    made = NULL;
done:
    os_lock_release(&lock);
    checkpoint_abort(made);
    return status;
}

const char *checkpoint_writer_path(const checkpoint_writer *writer)
{
    return writer->path;
}

aios_status checkpoint_writer_put(checkpoint_writer *writer, const char *name, const void *bytes, size_t size)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    char path[PATH_MOST];
    if (!*name || *name == '.' || strpbrk(name, "/\\"))
        return FAIL(AIOS_INVALID_ARGUMENT, "\"%.80s\": a file of a checkpoint has a name without separator or leading dot", name);
    TRY_QUIET(os_path_join(path, writer->path, name));
    ATTEMPT_QUIET(os_file_create(path, &file));
    ATTEMPT(os_file_write(file, bytes, size), "writing %s", path);
done:
    os_file_close(&file);
    return status;
}

static void end_writer(checkpoint_writer *writer)
{
    aios_context *context = writer->context;
    os_lock_release(&writer->owner);
    aios_memory_free(context, writer->parent);
    aios_memory_free(context, writer->name);
    aios_memory_free(context, writer->path);
    aios_memory_free(context, writer);
    aios_context_release(context);
}

/* Moves what has the final name to .old-NAME, *moved 1.  A folder without a manifest is not ours: it is kept under another name. */
static aios_status move_away(const checkpoint_writer *writer, const char *final, const char *old, int *moved)
{
    char manifest[PATH_MOST], aside[PATH_MOST];
    *moved = 0;
    if (os_path_kind(final) == OS_NOTHING) return AIOS_OK;
    TRY_QUIET(os_path_join(manifest, final, MANIFEST_NAME));
    if (os_path_kind(manifest) != OS_NOTHING) {
        *moved = 1;
        return os_rename(final, old);
    }
    TRY_QUIET(set_aside(writer->parent, writer->name, DAMAGED, aside));
    aios_log(writer->context, AIOS_LOG_WARNING, "%s has no " MANIFEST_NAME ": it is kept as %s", final, aside);
    return AIOS_OK;
}

static aios_status move_in(checkpoint_writer *writer)
{
    char final[PATH_MOST], old[PATH_MOST], old_name[CHECKPOINT_NAME_MAX + sizeof OLD];
    int moved;
    (void)snprintf(old_name, sizeof old_name, OLD "%s", writer->name);
    TRY_QUIET(os_path_join(final, writer->parent, writer->name));
    TRY_QUIET(os_path_join(old, writer->parent, old_name));
    restore(writer->context, writer->parent);
    TRY_QUIET(move_away(writer, final, old, &moved));
    aios_status status = os_rename(writer->path, final);
    if (status != AIOS_OK) {
        aios_error_record record;
        aios_error_save(&record);
        if (moved && os_rename(old, final) != AIOS_OK)
            aios_log(writer->context, AIOS_LOG_WARNING, "kept as %s: %s", old, aios_error_message());
        (void)aios_error_restore(&record);
        return status;
    }
    aios_memory_free(writer->context, writer->path);
    writer->path = NULL;
    TRY_QUIET(os_folder_sync(writer->parent));
    if (moved && discard(writer->context, writer->parent, old_name) != AIOS_OK)
        aios_log(writer->context, AIOS_LOG_WARNING, "left behind: %s", aios_error_message());
    return AIOS_OK;
}

aios_status checkpoint_commit(checkpoint_writer *writer)
{
    aios_status status = AIOS_OK;
    os_file lock = OS_FILE_CLOSED;
    char owner[PATH_MOST];
    ATTEMPT(manifest_make(writer->context, writer->path, writer->step, OWNER), "saving %s", writer->name);
    ATTEMPT(lock_parent(writer->context, writer->parent, &lock), "saving %s", writer->name);
    ATTEMPT_QUIET(os_path_join(owner, writer->path, OWNER));
    ATTEMPT(os_remove(owner), "saving %s", writer->name);
    ATTEMPT(move_in(writer), "saving %s", writer->name);
done:
    os_lock_release(&lock);
    checkpoint_abort(writer);
    return status;
}

void checkpoint_abort(checkpoint_writer *writer)
{
    if (!writer) return;
    if (writer->path) remove_quietly(writer->context, writer->path);
    end_writer(writer);
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

typedef struct listing {
    aios_context *context;
    const char *parent;
    checkpoint_entry *entries;
    size_t count, capacity;
    int warn;
} listing;

static aios_status add_entry(void *user, const char *name)
{
    listing *list = user;
    char path[PATH_MOST];
    uint64_t step, said = 0;
    if (!parse_step(name, &step)) return AIOS_OK;
    TRY_QUIET(os_path_join(path, list->parent, name));
    if (os_path_kind(path) != OS_FOLDER) return AIOS_OK;
    TRY_QUIET(aios_memory_grow(list->context, (void **)&list->entries, &list->capacity, list->count + 1, sizeof *list->entries));
    checkpoint_entry *entry = &list->entries[list->count++];
    *entry = (checkpoint_entry){.step = step};
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    aios_status status = manifest_check(list->context, path, 0, &said);
    if (status == AIOS_OUT_OF_MEMORY) return status;
    if (status == AIOS_OK && said != step)
        status = FAIL(AIOS_CORRUPT, "%s/" MANIFEST_NAME " says step %llu", path, (unsigned long long)said);
    entry->complete = status == AIOS_OK;
    if (!entry->complete && list->warn)
        aios_log(list->context, AIOS_LOG_WARNING, "checkpoint %s is skipped: %s", path, aios_error_message());
    return AIOS_OK;
}

static int by_step(const void *a, const void *b)
{
    const checkpoint_entry *x = a, *y = b;
    return x->step != y->step ? (x->step < y->step ? -1 : 1) : strcmp(x->name, y->name);
}

static aios_status list_entries(listing *list)
{
    aios_status status = AIOS_OK;
    if (os_path_kind(list->parent) != OS_NOTHING) status = os_folder_list(list->context, list->parent, add_entry, list);
    if (status == AIOS_OK && list->count) qsort(list->entries, list->count, sizeof *list->entries, by_step);
    return status;
}

aios_status checkpoint_list(aios_context *context, const char *parent, checkpoint_entry **entries, size_t *count)
{
    listing list = {.context = context, .parent = parent};
    *entries = NULL;
    *count = 0;
    aios_status status = list_entries(&list);
    if (status != AIOS_OK) {
        aios_memory_free(context, list.entries);
        return status;
    }
    *entries = list.entries;
    *count = list.count;
    return AIOS_OK;
}

void checkpoint_list_free(aios_context *context, checkpoint_entry *entries)
{
    aios_memory_free(context, entries);
}

/* Reading needs no right to write: where the lock can't be had, what is there is read as it is. */
static aios_status list_recovered(listing *list)
{
    os_file lock = OS_FILE_CLOSED;
    if (os_path_kind(list->parent) != OS_FOLDER) return AIOS_OK;
    aios_status status = lock_parent(list->context, list->parent, &lock);
    if (status == AIOS_OK)
        restore(list->context, list->parent);
    else
        aios_log(list->context, AIOS_LOG_INFO, "%s is read without its lock: %s", list->parent, aios_error_message());
    status = list_entries(list);
    os_lock_release(&lock);
    return status;
}

aios_status checkpoint_find_newest(aios_context *context, const char *parent, int verify, char **path, uint64_t *step)
{
    aios_status status = AIOS_OK;
    listing list = {.context = context, .parent = parent, .warn = 1};
    char folder[PATH_MOST];
    *path = NULL;
    *step = 0;
    ATTEMPT_QUIET(list_recovered(&list));
    for (size_t i = list.count; i-- > 0 && !*path;) {
        if (!list.entries[i].complete) continue;
        ATTEMPT_QUIET(os_path_join(folder, parent, list.entries[i].name));
        status = verify ? manifest_check(context, folder, 1, NULL) : AIOS_OK;
        if (status == AIOS_OUT_OF_MEMORY) goto done;
        if (status != AIOS_OK) {
            aios_log(context, AIOS_LOG_WARNING, "checkpoint %s is skipped: %s", folder, aios_error_message());
            continue;
        }
        if (!(*path = aios_memory_strdup(context, folder))) {
            status = AIOS_OUT_OF_MEMORY;
            goto done;
        }
        *step = list.entries[i].step;
    }
    if (!*path) status = FAIL(AIOS_NOT_FOUND, "%s has no complete checkpoint (%zu that are not)", parent, list.count);
done:
    aios_memory_free(context, list.entries);
    return status;
}

aios_status checkpoint_verify(aios_context *context, const char *folder)
{
    return manifest_check(context, folder, 1, NULL);
}

/* ---- pruning ----------------------------------------------------------------------------------------------------- */

/* Whether the process that filled a temporary folder is gone.  Under the parent's lock, so a folder without .owner is no
 * save that just begins or ends. */
static int is_dead(const char *folder)
{
    char owner[PATH_MOST];
    os_file lock = OS_FILE_CLOSED;
    if (os_path_join(owner, folder, OWNER) != AIOS_OK) return 0;
    if (os_path_kind(owner) == OS_NOTHING) return 1;
    if (os_lock_take(owner, 0, &lock) != AIOS_OK) return 0;
    os_lock_release(&lock);
    return 1;
}

/* Renames now; remove_trash deletes. */
static void set_aside_as_trash(aios_context *context, const char *parent, const char *name)
{
    char trash[PATH_MOST];
    if (set_aside(parent, name, TRASH, trash) != AIOS_OK) aios_log(context, AIOS_LOG_WARNING, "left behind: %s", aios_error_message());
}

static aios_status discard_older(aios_context *context, const char *parent, uint32_t keep)
{
    listing list = {.context = context, .parent = parent};
    char path[PATH_MOST], manifest[PATH_MOST];
    uint32_t kept = 0;
    aios_status status;
    ATTEMPT_QUIET(list_entries(&list));
    for (size_t i = list.count; i-- > 0;) {
        if (kept < keep) {
            kept += list.entries[i].complete != 0;
            continue;
        }
        ATTEMPT_QUIET(os_path_join(path, parent, list.entries[i].name));
        ATTEMPT_QUIET(os_path_join(manifest, path, MANIFEST_NAME));
        if (os_path_kind(manifest) == OS_FILE) set_aside_as_trash(context, parent, list.entries[i].name);
    }
done:
    aios_memory_free(context, list.entries);
    return status;
}

static aios_status discard_stale(aios_context *context, const char *parent)
{
    name_list list = {.context = context, .prefix = TMP};
    char path[PATH_MOST];
    aios_status status;
    ATTEMPT_QUIET(os_folder_list(context, parent, add_name, &list));
    for (size_t i = 0; i < list.count; i++) {
        ATTEMPT_QUIET(os_path_join(path, parent, list.names[i]));
        if (is_dead(path)) set_aside_as_trash(context, parent, list.names[i]);
    }
done:
    free_names(&list);
    return status;
}

static aios_status remove_trash(aios_context *context, const char *parent)
{
    name_list list = {.context = context, .prefix = TRASH};
    char path[PATH_MOST];
    aios_status status;
    ATTEMPT_QUIET(os_folder_list(context, parent, add_name, &list));
    for (size_t i = 0; i < list.count; i++) {
        ATTEMPT_QUIET(os_path_join(path, parent, list.names[i]));
        remove_quietly(context, path);
    }
done:
    free_names(&list);
    return status;
}

aios_status checkpoint_prune(aios_context *context, const char *parent, uint32_t keep)
{
    aios_status status = AIOS_OK;
    os_file lock = OS_FILE_CLOSED;
    if (keep < 1) return FAIL(AIOS_INVALID_ARGUMENT, "pruning %s: keep is 0: at least 1 checkpoint stays", parent);
    if (os_path_kind(parent) != OS_FOLDER) return AIOS_OK;
    ATTEMPT(lock_parent(context, parent, &lock), "pruning %s", parent);
    restore(context, parent);
    ATTEMPT(discard_older(context, parent, keep), "pruning %s", parent);
    if (lock.descriptor >= 0) ATTEMPT(discard_stale(context, parent), "pruning %s", parent);
    ATTEMPT(os_folder_sync(parent), "pruning %s", parent);
    os_lock_release(&lock);
    ATTEMPT(remove_trash(context, parent), "pruning %s", parent);
done:
    os_lock_release(&lock);
    return status;
}

#include "checkpoint.h"

#include "base/options.h"
#include "carry.h"
#include "checkpoint_folder.h"
#include "graph/parameters.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT    1
#define STATE     "optimizer.state"
#define NAME_ROOM 160
#define PATH_ROOM OS_PATH_MAX

/* ---- the optimizer's tensors ------------------------------------------------------------------------------------- */

struct moments {
    aios_trainer *t;
    safetensors_tensor *tensors;
    char (*names)[NAME_ROOM];
    size_t count; /* the state is the last */
    int velocity; /* 1: those of the outer step are among them */
};

static const char *const kinds[] = {"moment1", "moment2", "velocity"};

/* Whether a parameter has one of that kind. */
static int has_kind(const struct moments *m, size_t kind)
{
    return kind == 2 ? m->velocity : m->t->settings.optimizer != AIOS_SIGN_SGD;
}

static aios_status list_moments(struct moments *m)
{
    aios_context *context = m->t->context;
    uint32_t parameters = aios_parameters_count(leader(m->t)->parameters);
    size_t most = (size_t)parameters * COUNT_OF(kinds) + 1;
    m->tensors = aios_memory_array(context, most, sizeof *m->tensors);
    m->names = aios_memory_array(context, most, sizeof *m->names);
    if (!m->tensors || !m->names) return AIOS_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < parameters; i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        TRY_QUIET(aios_parameters_info(leader(m->t)->parameters, i, &info));
        if (parameters_find(leader(m->t)->parameters, info.name)->is_table) continue; /* it has values alone */
        for (size_t k = 0; k < COUNT_OF(kinds); k++) {
            safetensors_tensor *tensor = &m->tensors[m->count];
            if (!has_kind(m, k)) continue;
            (void)snprintf(m->names[m->count], NAME_ROOM, "%s.%s", info.name, kinds[k]);
            *tensor = (safetensors_tensor){.name = m->names[m->count], .dtype = ELEMENT_F32, .rank = info.rank};
            for (int32_t d = 0; d < info.rank; d++) tensor->shape[d] = info.shape[d];
            m->count++;
        }
    }
    m->tensors[m->count++] = (safetensors_tensor){.name = STATE, .dtype = ELEMENT_F32, .rank = 1, .shape = {aios_optimizer_state_count()}};
    return AIOS_OK;
}

static void free_moments(struct moments *m)
{
    aios_memory_free(m->t->context, m->tensors);
    aios_memory_free(m->t->context, m->names);
}

/* Reads (or writes) tensor number `index` of the list from (to) the device. */
static aios_status move_moment(struct moments *m, size_t index, float *values, uint64_t count, int write)
{
    char name[NAME_ROOM];
    if (index + 1 == m->count)
        return write ? aios_optimizer_write_state(leader(m->t)->optimizer, values, (uint32_t)count)
                     : aios_optimizer_read_state(leader(m->t)->optimizer, values, (uint32_t)count);
    const char *kind = strrchr(m->names[index], '.');
    (void)snprintf(name, sizeof name, "%.*s", (int)(kind - m->names[index]), m->names[index]);
    if (strcmp(kind + 1, kinds[2]) == 0) {
        float *velocity = m->t->velocity + parameters_find(leader(m->t)->parameters, name)->offset;
        memcpy(write ? velocity : values, write ? values : velocity, count * sizeof *values);
        return AIOS_OK;
    }
    int32_t moment = strcmp(kind + 1, kinds[0]) == 0 ? AIOS_MOMENT1 : AIOS_MOMENT2;
    return write ? aios_parameters_write(leader(m->t)->parameters, name, moment, values, count)
                 : aios_parameters_read(leader(m->t)->parameters, name, moment, values, count);
}

static aios_status write_moment(struct moments *m, size_t index, safetensors_writer *writer)
{
    uint64_t bytes;
    TRY_QUIET(safetensors_tensor_bytes(&m->tensors[index], &bytes));
    float *values = aios_memory_alloc(m->t->context, bytes);
    if (!values) return AIOS_OUT_OF_MEMORY;
    aios_status status = move_moment(m, index, values, bytes / sizeof *values, 0);
    if (status == AIOS_OK) status = safetensors_writer_write(writer, values, bytes);
    aios_memory_free(m->t->context, values);
    return status;
}

static aios_status save_optimizer(aios_trainer *t, const char *path)
{
    aios_status status = AIOS_OK;
    struct moments m = {.t = t, .velocity = t->velocity != NULL};
    safetensors_writer *writer = NULL;
    ATTEMPT_QUIET(list_moments(&m));
    ATTEMPT_QUIET(safetensors_writer_begin(t->context, path, m.tensors, m.count, NULL, 0, &writer));
    for (size_t next; (next = safetensors_writer_next(writer)) != SAFETENSORS_END;)
        ATTEMPT(write_moment(&m, next, writer), "saving %s", m.names[next]);
    status = safetensors_writer_finish(writer);
    writer = NULL;
done:
    safetensors_writer_abort(writer);
    free_moments(&m);
    return status;
}

static aios_status read_moment(struct moments *m, size_t index, const safetensors_file *file)
{
    const safetensors_tensor *want = &m->tensors[index], *is = safetensors_find(file, want->name);
    if (!is) return FAIL(AIOS_CORRUPT, "%s has no tensor '%s'", safetensors_path(file), want->name);
    if (is->dtype != want->dtype || is->rank != want->rank || memcmp(is->shape, want->shape, (size_t)want->rank * sizeof *want->shape) != 0)
        return FAIL(AIOS_CORRUPT, "%s: '%s' has another type or shape than the model's parameter", safetensors_path(file), want->name);
    float *values = aios_memory_alloc(m->t->context, is->bytes);
    if (!values) return AIOS_OUT_OF_MEMORY;
    memcpy(values, is->data, is->bytes);
    aios_status status = move_moment(m, index, values, is->bytes / sizeof *values, 1);
    aios_memory_free(m->t->context, values);
    return status;
}

/* Velocities of an outer step are the run's affair: one that has none of them begins at rest, one that makes no such step leaves them. */
static aios_status load_optimizer(aios_trainer *t, const char *path)
{
    aios_status status = AIOS_OK;
    struct moments m = {.t = t};
    safetensors_file *file = NULL;
    size_t velocities = 0;
    ATTEMPT_QUIET(safetensors_open(t->context, path, &file));
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *kind = strrchr(safetensors_get(file, i)->name, '.');
        velocities += kind && strcmp(kind + 1, kinds[2]) == 0;
    }
    m.velocity = t->velocity && velocities;
    ATTEMPT_QUIET(list_moments(&m));
    if (safetensors_count(file) != m.count + (m.velocity ? 0 : velocities)) {
        status = FAIL(AIOS_CORRUPT, "%s holds %zu tensors, the model and its optimizer have %zu", path, safetensors_count(file), m.count);
        goto done;
    }
    for (size_t i = 0; i < m.count; i++) ATTEMPT(read_moment(&m, i, file), "loading %s", m.tensors[i].name);
done:
    safetensors_close(file);
    free_moments(&m);
    return status;
}

/* ---- trainer.json ------------------------------------------------------------------------------------------------ */

/* What every device trained of these weights, this run's parts added to those before. */
static json_t *contributions(const aios_trainer *t)
{
    const struct replicas *all = &t->replicas;
    json_t *list = t->contributions ? json_deep_copy(t->contributions) : json_array();
    for (int i = 0; list && i < all->ranks; i++) {
        const struct peer *peer = &all->peers[i];
        json_t *entry, *found = NULL;
        size_t k;
        if (!all->trained[i]) continue;
        json_array_foreach (list, k, entry) {
            const char *device = json_string_value(json_object_get(entry, "device")),
                       *name = json_string_value(json_object_get(entry, "name"));
            if (device && name && strcmp(device, peer->spec) == 0 && strcmp(name, peer->name) == 0) found = entry;
        }
        json_int_t before = found ? json_integer_value(json_object_get(found, "tokens")) : 0;
        if (found)
            (void)json_object_set_new(found, "tokens", json_integer(before + all->trained[i]));
        else
            (void)json_array_append_new(list, json_pack("{ss ss ss sI}", "device", peer->spec, "name", peer->name, "vendor", peer->vendor,
                                                        "tokens", (json_int_t)all->trained[i]));
    }
    return list;
}

aios_status checkpoint_keep_contributions(aios_trainer *t)
{
    json_t *list = contributions(t);
    if (!list) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for the list of devices");
    json_decref(t->contributions);
    t->contributions = list;
    memset(t->replicas.trained, 0, sizeof t->replicas.trained);
    return AIOS_OK;
}

static void put_contributions(const aios_trainer *t, struct fields *f)
{
    json_t *list = contributions(t);
    char *text = NULL;
    if (list && json_to_text(t->context, list, JSON_TEXT_COMPACT, &text, NULL) == AIOS_OK) fields_json(f, "devices", text);
    aios_memory_free(t->context, text);
    json_decref(list);
}

static aios_status write_state(aios_trainer *t, struct fields *f)
{
    const struct position *p = &t->position;
    fields_begin(f, t->context);
    fields_int(f, "format", FORMAT);
    fields_text(f, "version", aios_version());
    fields_int(f, "step", p->step);
    fields_int(f, "tokens", p->tokens);
    fields_int(f, "next_sample", p->next_sample);
    if (p->chunks) fields_int(f, "chunks", (int64_t)p->chunks);
    put_contributions(t, f);
    fields_int(f, "bad_steps", p->bad_steps);
    fields_number(f, "loss", p->loss);
    fields_number(f, "eval_loss", p->eval_loss);
    fields_number(f, "elapsed", trainer_elapsed(t));
    fields_text(f, "model", aios_model_name(t->model));
    fields_text(f, "dataset", batches_identity(&t->batches));
    fields_int(f, "sequence", t->sequence);
    fields_int(f, "train_samples", batches_train_count(&t->batches));
    fields_text(f, "tokenizer", t->tokenizer ? aios_tokenizer_identity(t->tokenizer) : "");
    fields_json(f, "options", options_write_all(t->options));
    return fields_end(f);
}

aios_status checkpoint_read_state(aios_context *context, const char *folder, json_t **state)
{
    char path[PATH_ROOM];
    int64_t format;
    *state = NULL;
    TRY_QUIET(os_path_join(path, folder, CHECKPOINT_STATE));
    TRY_QUIET(json_read_file(context, path, NULL, state));
    aios_status status = json_get_int(*state, "format", 1, INT64_MAX, &format);
    if (status == AIOS_OK && format > FORMAT)
        status = FAIL(AIOS_UNSUPPORTED, "format is %lld: libaios %s reads up to %d", (long long)format, aios_version(), FORMAT);
    if (status == AIOS_OK) return status;
    json_decref(*state);
    *state = NULL;
    return aios_error_add_frame(status, "reading %s", path);
}

static aios_status read_position(const json_t *state, struct position *p)
{
    TRY_QUIET(json_get_int(state, "step", 0, INT64_MAX / 2, &p->step));
    TRY_QUIET(json_get_int(state, "tokens", 0, INT64_MAX / 2, &p->tokens));
    int64_t chunks;
    TRY_QUIET(json_get_int(state, "next_sample", 0, INT64_MAX / 2, &p->next_sample));
    TRY_QUIET(json_get_int_or(state, "chunks", 0, 0, INT64_MAX / 2, &chunks));
    p->chunks = (uint64_t)chunks;
    TRY_QUIET(json_get_int(state, "bad_steps", 0, INT64_MAX / 2, &p->bad_steps));
    TRY_QUIET(json_get_number_or(state, "loss", NAN, -HUGE_VAL, HUGE_VAL, &p->loss));
    TRY_QUIET(json_get_number_or(state, "eval_loss", NAN, -HUGE_VAL, HUGE_VAL, &p->eval_loss));
    return json_get_number(state, "elapsed", 0, HUGE_VAL, &p->elapsed);
}

/* ---- what puzzles carry ------------------------------------------------------------------------------------------ */

static aios_status carry_path(const char *folder, char path[PATH_ROOM])
{
    return os_path_join(path, folder, CHECKPOINT_CARRY);
}

static aios_status save_carry(aios_trainer *t, const char *folder, const struct carry_image *image)
{
    char path[PATH_ROOM];
    TRY_QUIET(carry_path(folder, path));
    return image->count ? safetensors_write(t->context, path, image->tensors, image->count, NULL, 0) : AIOS_OK;
}

/* Fills in the image; *fits 0 where the file's is of another batch, precision or model. */
static void take_image(const safetensors_file *file, struct carry_image *image, int *fits)
{
    for (size_t i = 0; i < image->count && *fits; i++) {
        const safetensors_tensor *want = &image->tensors[i], *is = safetensors_find(file, want->name);
        *fits = is && is->dtype == want->dtype && is->bytes == want->bytes && is->rank == want->rank && is->shape[0] == want->shape[0];
        if (*fits) memcpy(image->values[i], is->data, is->bytes);
    }
}

/* It waits for replicas_spread. */
static aios_status load_carry(aios_trainer *t, const char *folder)
{
    char path[PATH_ROOM];
    struct carry_image *image = &t->replicas.carried;
    safetensors_file *file = NULL;
    int fits = 1;
    TRY_QUIET(carry_path(folder, path));
    carry_image_free(t->context, image);
    TRY_QUIET(carry_image_create(&t->replicas, image));
    if (!image->count) return AIOS_OK;
    aios_status status = safetensors_open(t->context, path, &file);
    if (status == AIOS_NOT_FOUND) fits = 0;
    if (status == AIOS_NOT_FOUND) status = AIOS_OK;
    if (file) take_image(file, image, &fits);
    safetensors_close(file);
    image->own = image->rows;
    t->carry_lost = !fits;
    if (status != AIOS_OK || !fits) carry_image_free(t->context, image);
    return status;
}

/* ---- whole ------------------------------------------------------------------------------------------------------- */

static aios_status fill(aios_trainer *t, const struct carry_image *carry, checkpoint_writer *writer)
{
    const char *folder = checkpoint_writer_path(writer);
    char path[PATH_ROOM];
    struct fields f;
    TRY_QUIET(os_path_join(path, folder, CHECKPOINT_OPTIMIZER));
    TRY_QUIET(aios_model_save_weights(t->model, leader(t)->parameters, folder, AIOS_F32, 0));
    if (t->tokenizer) TRY_QUIET(aios_tokenizer_save(t->tokenizer, folder));
    TRY_QUIET(save_optimizer(t, path));
    TRY_QUIET(save_carry(t, folder, carry));
    aios_status status = write_state(t, &f);
    if (status == AIOS_OK) status = text_add(&f.text, "\n");
    if (status == AIOS_OK) status = checkpoint_writer_put(writer, CHECKPOINT_STATE, f.text.bytes, f.text.size);
    fields_free(&f);
    return status;
}

/* The chunks that only checkpoints before the oldest one that is kept know of are forgotten. */
static aios_status forget_chunks(aios_trainer *t)
{
    checkpoint_entry *entries = NULL;
    size_t count = 0;
    json_t *state = NULL;
    char path[PATH_ROOM];
    struct position oldest;
    aios_status status = AIOS_OK;
    ATTEMPT_QUIET(checkpoint_list(t->context, t->folder.checkpoints, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].complete) continue;
        ATTEMPT_QUIET(os_path_join(path, t->folder.checkpoints, entries[i].name));
        ATTEMPT_QUIET(checkpoint_read_state(t->context, path, &state));
        ATTEMPT_QUIET(read_position(state, &oldest));
        if (oldest.chunks) status = aios_chunk_tracker_forget(t->tracker, oldest.chunks);
        break;
    }
done:
    json_decref(state);
    checkpoint_list_free(t->context, entries);
    return status;
}

aios_status checkpoint_save(aios_trainer *t)
{
    aios_status status = AIOS_OK;
    checkpoint_writer *writer = NULL;
    struct carry_image carry = {.rows = 0};
    char name[CHECKPOINT_NAME_MAX], path[PATH_ROOM];
    double began = os_now();
    checkpoint_step_name((uint64_t)t->position.step, name);
    TRY_QUIET(os_path_join(path, t->folder.checkpoints, name));
    ATTEMPT_QUIET(replicas_gather(&t->replicas));
    ATTEMPT_QUIET(carry_gather(&t->replicas, &carry));
    if (t->folder.follows) goto done;
    if (t->tracker) ATTEMPT_QUIET(aios_chunk_tracker_seal(t->tracker, &t->position.chunks));
    ATTEMPT_QUIET(checkpoint_begin(t->context, t->folder.checkpoints, name, (uint64_t)t->position.step, &writer));
    ATTEMPT_QUIET(fill(t, &carry, writer));
    /* What the checkpoint counts as done is in the log before the checkpoint is there. */
    if (!t->log_broken) ATTEMPT_QUIET(run_folder_sync_log(&t->folder));
    status = checkpoint_commit(writer);
    writer = NULL;
    if (status != AIOS_OK) goto done;
    if (t->tracker) ATTEMPT_QUIET(aios_chunk_tracker_commit(t->tracker, t->position.chunks));
    report_checkpoint(t, path, os_now() - began);
    ATTEMPT_QUIET(checkpoint_prune(t->context, t->folder.checkpoints, (uint32_t)t->settings.keep_checkpoints));
    if (t->tracker) ATTEMPT_QUIET(forget_chunks(t));
done:
    checkpoint_abort(writer);
    carry_image_free(t->context, &carry);
    if (status != AIOS_OK) return aios_error_add_frame(status, "saving checkpoint %s", path);
    t->saved_step = t->position.step;
    return AIOS_OK;
}

/* The checkpoint's position only makes sense in the same samples. */
static aios_status check_same(const json_t *state, const char *key, const char *now, const char *what)
{
    const char *then;
    TRY_QUIET(json_get_string(state, key, &then));
    if (strcmp(then, now) == 0) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "the %s is another one than the checkpoint's: its identity is %.16s…, the checkpoint's %.16s…", what,
                now, then);
}

static aios_status check_number(const json_t *state, const char *key, int64_t now, const char *what, const char *advice)
{
    int64_t then;
    TRY_QUIET(json_get_int(state, key, 1, INT64_MAX, &then));
    if (then == now) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s: %lld now, %lld in the checkpoint: %s", what, (long long)now, (long long)then, advice);
}

static aios_status check_data(const aios_trainer *t, const json_t *state)
{
    TRY_QUIET(check_same(state, "tokenizer", t->tokenizer ? aios_tokenizer_identity(t->tokenizer) : "", "tokenizer"));
    TRY_QUIET(check_same(state, "dataset", batches_identity(&t->batches), "dataset"));
    TRY_QUIET(check_number(state, "sequence", t->sequence, "tokens of a sample", "max-seq-len must stay as it was"));
    return check_number(state, "train_samples", batches_train_count(&t->batches), "training samples",
                        "eval-fraction and eval-file must stay as they were");
}

aios_status checkpoint_load(aios_trainer *t, const char *folder, const json_t *state)
{
    char path[PATH_ROOM];
    TRY_QUIET(os_path_join(path, folder, CHECKPOINT_OPTIMIZER));
    TRY(check_data(t, state), "going on from %s", folder);
    TRY(read_position(state, &t->position), "reading %s/" CHECKPOINT_STATE, folder);
    if (t->position.chunks && !t->replicas.independent)
        return FAIL(
            AIOS_INVALID_ARGUMENT,
            "%s was trained by devices on chunks of their own, so the samples that are left are known to the chunk tracker alone: go "
            "on with strategy parallel-independent, which one device can do too",
            folder);
    json_t *devices = json_object_get(state, "devices");
    json_decref(t->contributions);
    t->contributions = json_is_array(devices) ? json_incref(devices) : NULL;
    TRY_QUIET(aios_model_load_weights(t->model, leader(t)->parameters, folder));
    TRY(load_optimizer(t, path), "going on from %s", folder);
    TRY(load_carry(t, folder), "going on from %s", folder);
    return AIOS_OK;
}

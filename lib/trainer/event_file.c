#include "event_file.h"

#include "base/context.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define RECORD_MOST 8192
#define TAG_MOST    96

struct event_file {
    aios_context *context;
    char *path;
    os_file file;
    uint32_t table[256]; /* of CRC-32C, a byte at a time */
};

/* A message of protocol buffers while it grows; what does not fit is left out by whoever adds it. */
struct message {
    unsigned char bytes[RECORD_MOST];
    size_t size;
};

/* ---- protocol buffers --------------------------------------------------------------------------------------------- */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_varint(struct message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) m->bytes[m->size++] = (unsigned char)(value | 0x80);
    m->bytes[m->size++] = (unsigned char)value;
}

static void put_little(struct message *m, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) m->bytes[m->size++] = (unsigned char)(value >> 8 * i);
}

static void put_key(struct message *m, unsigned field, unsigned wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_bytes(struct message *m, unsigned field, const void *bytes, size_t size)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, size);
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void begin_event(struct message *m, int64_t step)
{
    double now = os_wall_time();
    uint64_t bits;
    memcpy(&bits, &now, sizeof bits);
    m->size = 0;
    put_key(m, 1, WIRE_64);
    put_little(m, bits, 8);
    put_key(m, 2, WIRE_VARINT);
    put_varint(m, (uint64_t)step);
}

static void put_value(struct message *summary, const char *tag, double number)
{
    struct message value = {.size = 0};
    float narrow = (float)number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    if (summary->size + TAG_MOST + 32 > RECORD_MOST - 64) return;
    put_bytes(&value, 1, tag, strlen(tag));
    put_key(&value, 2, WIRE_32);
    put_little(&value, bits, 4);
    put_bytes(summary, 1, value.bytes, value.size);
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

static void make_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        table[i] = c;
    }
}

/* TensorFlow turns its checksums about, so that one over bytes that hold one is no trivial number. */
static uint32_t masked_crc(const uint32_t table[256], const unsigned char *bytes, size_t size)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < size; i++) c = table[(c ^ bytes[i]) & 255] ^ c >> 8;
    c = ~c;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

static aios_status write_record(struct event_file *file, const struct message *event)
{
    struct message head = {.size = 0}, record = {.size = 0};
    put_little(&head, event->size, 8);
    put_little(&head, masked_crc(file->table, head.bytes, 8), 4);
    memcpy(record.bytes, head.bytes, head.size);
    memcpy(record.bytes + head.size, event->bytes, event->size);
    record.size = head.size + event->size;
    put_little(&record, masked_crc(file->table, event->bytes, event->size), 4);
    TRY(os_file_write(file->file, record.bytes, record.size), "writing %s", file->path);
    return AIOS_OK;
}

/* ---- the file ----------------------------------------------------------------------------------------------------- */

static aios_status begin_file(struct event_file *file, const char *folder, int64_t step)
{
    char path[OS_PATH_MAX], name[80];
    struct message event, session = {.size = 0};
    TRY(os_folder_create(folder), "making the folder of event files");
    (void)snprintf(name, sizeof name, "events.out.tfevents.%010.0f.aios.%d", os_wall_time(), os_process_id());
    TRY(os_path_join(path, folder, name), "option tensorboard");
    file->path = aios_memory_strdup(file->context, path);
    if (!file->path) return AIOS_OUT_OF_MEMORY;
    TRY(os_file_append(path, &file->file), "opening an event file");
    begin_event(&event, 0);
    put_bytes(&event, 3, "brain.Event:2", 13);
    TRY_QUIET(write_record(file, &event));
    if (step < 0) return AIOS_OK;
    begin_event(&event, step + 1);
    put_key(&session, 1, WIRE_VARINT);
    put_varint(&session, 1);
    put_bytes(&event, 7, session.bytes, session.size);
    return write_record(file, &event);
}

aios_status event_file_open(aios_context *context, const char *folder, int64_t step, struct event_file **file)
{
    struct event_file *f = aios_new(context, struct event_file);
    *file = NULL;
    if (!f) return AIOS_OUT_OF_MEMORY;
    f->context = context;
    f->file = OS_FILE_CLOSED;
    make_table(f->table);
    aios_status status = begin_file(f, folder, step);
    if (status != AIOS_OK) {
        event_file_close(f);
        return status;
    }
    *file = f;
    return AIOS_OK;
}

void event_file_close(struct event_file *file)
{
    if (!file) return;
    os_file_close(&file->file);
    aios_memory_free(file->context, file->path);
    aios_memory_free(file->context, file);
}

/* Where and when, not how it went. */
static int is_place(const char *key)
{
    static const char *const places[] = {"step", "elapsed", "eta", "gpu_id", "block_id", "chunk_id", "sample", "samples", "examples"};
    for (size_t i = 0; i < COUNT_OF(places); i++)
        if (strcmp(key, places[i]) == 0) return 1;
    return 0;
}

aios_status event_file_add(struct event_file *file, const char *name, const json_t *fields)
{
    struct message event, summary = {.size = 0};
    int step = strcmp(name, "step") == 0;
    const char *key;
    json_t *value;
    if (!step && strcmp(name, "eval") != 0) return AIOS_OK;
    json_object_foreach ((json_t *)(uintptr_t)fields, key, value) {
        char tag[TAG_MOST];
        if (!json_is_number(value) || is_place(key)) continue;
        (void)snprintf(tag, sizeof tag, "%s/%s", step ? "train" : "eval", key);
        put_value(&summary, tag, json_number_value(value));
    }
    if (summary.size == 0) return AIOS_OK;
    begin_event(&event, json_integer_value(json_object_get(fields, "step")));
    put_bytes(&event, 5, summary.bytes, summary.size);
    return write_record(file, &event);
}

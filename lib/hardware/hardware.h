/* hardware.h (internal): a selection on its way to a resolution. */
#ifndef AIOS_HARDWARE_HARDWARE_H
#define AIOS_HARDWARE_HARDWARE_H

#include "base/context.h"
#include "base/json.h"
#include "gpu/device_list.h"
#include <aios/hardware.h>

#define SELECTED_MOST  256 /* devices of a selection */
#define INFERENCE_MOST 8

enum {
#define WARNING_DEF(token, sentence) WARNING_##token,
#include "warnings.def"
#undef WARNING_DEF
    WARNING_COUNT
};

/* ---- a selection ------------------------------------------------------------------------------------------------- */

/* What a GPU is, or was when its selection was saved; spec "" where that is not known, and of a CPU. */
typedef struct device_identity {
    char spec[32], pci_address[32], vendor[32], uuid[64], name[AIOS_NAME_MAX];
} device_identity;

typedef struct selected_device {
    char word[DEVICE_WORD_SIZE];
    device_identity identity;
} selected_device;

typedef struct device_selection {
    aios_context *context;
    selected_device *devices;
    size_t count, capacity;
    int by_default; /* 1: no devices were named, so the default is meant; an empty list of them means nothing */
    char precision[16];
    char platform[16]; /* where it was saved; "" elsewhere */
} device_selection;

/* Words or JSON, as aios_hardware_resolve says.  On failure what was read so far stays. */
aios_status selection_read(device_selection *to, const char *text);
/* {"hardware": …}, what is inside of it, or the list of devices. */
aios_status selection_read_json(device_selection *to, const json_t *value);
aios_status selection_add(device_selection *to, const char *word, size_t length);
/* What AIOS_CUDA_IDS says, a number meaning a CUDA device; nothing where it is not set. */
aios_status selection_read_environment(device_selection *to);
void selection_free(device_selection *selection);
/* What aios_hardware_save wrote. */
aios_status selection_load(device_selection *to, const char *path);
aios_status selection_read_saved(device_selection *to, const json_t *value);

/* ---- a resolution ------------------------------------------------------------------------------------------------ */

typedef struct line_list {
    char **lines;
    size_t count, capacity;
} line_list;

struct aios_hardware {
    aios_context *context;
    device_selection selection;
    /* the options, their texts being entries of tables */
    int32_t batch_size, num_workers, fallback, keep_cpu;
    const char *asked_strategy; /* NULL: none */
    const char *platform, *precision;
    /* the result */
    const char *accelerator, *strategy;
    aios_device_entry *devices;
    size_t device_count, device_capacity;
    uint32_t inference[INFERENCE_MOST], inference_count; /* indices of devices */
    int32_t learning_rate_scale;
    int64_t effective_batch_size, loader_workers;
    line_list notes, changes;
    uint32_t warned; /* bit per WARNING_… */
    char *json;
};

/* From hardware->selection and the options to the result. */
aios_status hardware_apply(aios_hardware *hardware, const aios_device_list *list);
void hardware_warn(aios_hardware *hardware, int warning);
const char *warning_token(int warning);

/* A line more.  Errors: OUT_OF_MEMORY. */
aios_status hardware_say(aios_hardware *hardware, line_list *lines, const char *format, ...) AIOS_PRINTF(3, 4);
/* hardware->json. */
aios_status hardware_write_json(aios_hardware *hardware);
/* The event of an attempt; failed: this thread's error is its reason. */
void hardware_emit(const aios_hardware *hardware, int failed);

/* What a listed device is, as text that JSON takes. */
void identity_of(const aios_device_entry *entry, device_identity *identity);
/* Replaces what is no UTF-8. */
void clean_text(char *text);

/* "linux", … of any spelling; NULL where it is none that is known. */
const char *platform_find(const char *name);

#endif

/* device_list.h (internal): the list of <aios/device.h> from the inside, and looking a device up by a user's word. */
#ifndef AIOS_GPU_DEVICE_LIST_H
#define AIOS_GPU_DEVICE_LIST_H

#include "base/context.h"
#include "device_word.h"
#include <aios/device.h>

/* A device that is counted and not listed: it can't be opened (it keeps its id), or another backend shows it (id -1). */
typedef struct hidden_device {
    aios_device_entry entry;
    aios_status status;
    char reason[256];
} hidden_device;

struct aios_device_list {
    aios_context *context;
    aios_device_entry *entries;
    aios_backend_entry *backends;
    hidden_device *hidden;
    size_t count, capacity, backend_count, backend_capacity, hidden_count, hidden_capacity;
};

/* An empty list. */
aios_status device_list_new(aios_context *context, aios_device_list **list);
/* Adds a device, or hides it where another backend's entry has its PCI address; *id counts the listed GPUs. */
aios_status device_list_add(aios_device_list *list, const aios_device_entry *device, int32_t *id);
/* Adds one to the hidden with this thread's error as the reason. */
aios_status device_list_hide(aios_device_list *list, const aios_device_entry *device, aios_status status, const char *reason);
/* A list of such devices, ids given in their order: what tests put in the place of this machine's. */
aios_status device_list_make(aios_context *context, const aios_device_info *devices, size_t count, aios_device_list **list);

/* NULL where none is meant. */
const aios_device_entry *device_list_find(const aios_device_list *list, const device_word *word);
const hidden_device *device_list_find_hidden(const aios_device_list *list, const device_word *word);
/* "cpu:0, cuda:0 (gpu:0, NVIDIA H200) and 3 more" */
void device_list_say(const aios_device_list *list, char *text, size_t size);
/* Why there is no such device: NOT_FOUND with what exists, or the reason of a hidden one. */
aios_status device_list_missing(const aios_device_list *list, const char *text, const device_word *word);
/* "; CUDA_VISIBLE_DEVICES is "0" and hides others" for each visibility mask that is set. */
void device_list_say_masks(char *text, size_t size);

#endif

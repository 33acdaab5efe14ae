/* device_word.h (internal): the words by which users name a device. */
#ifndef AIOS_GPU_DEVICE_WORD_H
#define AIOS_GPU_DEVICE_WORD_H

#include <aios/device.h>

#define DEVICE_WORD_SIZE 96 /* of a word with its 0 */

enum {
    WORD_BACKEND, /* "cuda:1", "cpu" (index 0) */
    WORD_GPU,     /* "gpu:2", "2": the global id */
    WORD_PCI,     /* "0000:3b:00.0", "3b:00.0" */
    WORD_UUID,    /* "GPU-5fd4…", "5fd4b087-…" */
};

typedef struct pci_address {
    uint32_t domain, bus, device, function;
} pci_address;

typedef struct device_word {
    int32_t kind, index;
    char backend[16];
    pci_address pci;
    char uuid[64]; /* hexadecimal digits alone */
} device_word;

/* Errors: INVALID_ARGUMENT, which says what a device is called. */
aios_status device_word_read(const char *text, device_word *word);

/* 1 where the word means this device of the list. */
int device_word_matches(const device_word *word, const aios_device_entry *entry);

/* 1 where all of text is an address: [domain:]bus:device.function, hexadecimal. */
int pci_address_read(const char *text, pci_address *address);
int pci_address_equal(const char *a, const char *b); /* 0 where one is no address */
int device_uuid_equal(const char *a, const char *b); /* however they are written; 0 where one is empty */

#endif

/* fatbin.h: reads what nvcc made, as far as a driver must: the machine code for a device, and its kernels' arguments. */
#ifndef SIM_FATBIN_H
#define SIM_FATBIN_H

#include <stddef.h>
#include <stdint.h>

#define FATBIN_ARGUMENTS 32

typedef struct fatbin {
    int found;          /* machine code for the device is there */
    unsigned char *elf; /* the code, unpacked */
    size_t size;
} fatbin;

typedef struct fatbin_kernel {
    uint32_t argument_count, threads; /* threads: the most of one block */
    uint64_t sizes[FATBIN_ARGUMENTS];
    uint32_t registers; /* of one thread */
    uint32_t stack;     /* bytes of one thread in device memory: spilled registers, arrays that are not in registers */
} fatbin_kernel;

/* capability: 90 is 9.0.  NULL, or what is wrong with the image; then there is nothing to close. */
const char *fatbin_open(const void *image, int capability, fatbin *code);
/* 0 where there is no such kernel. */
int fatbin_find(const fatbin *code, const char *name, fatbin_kernel *kernel);
void fatbin_close(fatbin *code);

#endif

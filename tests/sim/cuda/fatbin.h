/* fatbin.h: reads what nvcc made, as far as a driver must: which machine code fits a device and which kernels are in it. */
#ifndef SIM_FATBIN_H
#define SIM_FATBIN_H

#include <pthread.h>
#include <stddef.h>

struct fatbin {
    int found;   /* machine code for the device is in it */
    char *names; /* of its symbols, each with a zero behind it */
    size_t size;
};

/* capability: 90 is 9.0.  NULL, or what is wrong with the image. */
const char *fatbin_open(const void *image, int capability, struct fatbin *fatbin);
int fatbin_has(const struct fatbin *fatbin, const char *kernel);
void fatbin_close(struct fatbin *fatbin);

#endif

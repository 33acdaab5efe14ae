/* stand_in.h: what the stand-ins of NVIDIA's and AMD's drivers have in common: stand_in.c is the simulated side of every row of
 * backends/common/stream_driver.def, exported under the vendor's names.  It is compiled into libcuda.so.1 with STAND_IN_CUDA defined and
 * into libamdhip64.so.6 with STAND_IN_HIP; each adds the rest of its driver and these. */
#ifndef STAND_IN_H
#define STAND_IN_H

#include "vendor.h"

#if defined(STAND_IN_CUDA)
#define STAND_IN_VENDOR "cuda"
#else
#define STAND_IN_VENDOR "hip"
#endif

/* Codes that both vendors number alike. */
enum {
    CODE_OK = 0,
    CODE_INVALID_VALUE = 1,
    CODE_OUT_OF_MEMORY = 2,
    CODE_INVALID_DEVICE = 101,
    CODE_INVALID_IMAGE = 200,
    CODE_INVALID_CONTEXT = 201,
    CODE_NO_BINARY = 209,
    CODE_INVALID_HANDLE = 400,
    CODE_NOT_FOUND = 500,
    CODE_NOT_READY = 600,
    CODE_ILLEGAL_ADDRESS = 700,
    CODE_LAUNCH_FAILED = 719, /* what a driver says of a device that is gone */
    CODE_NOT_SUPPORTED = 801,
    CODE_CAPTURE_UNSUPPORTED = 900,
    CODE_UNKNOWN = 999
};
int stand_in_code(vendor_status status);
/* Its words, for the vendor's function that is asked for them. */
const char *stand_in_words(int code);

/* The first thing in a function: the injected fault or the state of the device, as a code.  call: the vendor's name, with or without
 * its version ("_v2"). */
int stand_in_begin(vendor_device *device, const char *call);

/* ---- given by the vendor's file ---------------------------------------------------------------------------------- */

/* The device that calls of this thread without a stream mean; NULL: none. */
VENDOR_API vendor_device *stand_in_current(void);

#define STAND_IN_ARGUMENTS 32

/* A kernel as the image describes it. */
typedef struct stand_in_kernel {
    uint32_t argument_count;
    uint64_t sizes[STAND_IN_ARGUMENTS];
} stand_in_kernel;

/* Looks at an image for a device and opens it.  Each answers with a code. */
int stand_in_image_open(vendor_device *device, const void *bytes, void **image);
int stand_in_image_find(void *image, const char *name, stand_in_kernel *kernel);
void stand_in_image_close(void *image);

#endif

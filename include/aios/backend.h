/* backend.h: the plugin ABI.  Standalone: copy this one file to write a backend.
 *
 * A backend is a table of functions over bytes, streams and launches.  It knows nothing of tensors, graphs or models.
 * The host (lib/gpu) checks every argument, zeroes every out-parameter, keeps the sticky failure of a device and pools
 * memory, so a backend does none of that: it may assume that handles are its own and pointers are not NULL.
 *
 * Threads: a device may be used from several threads at once, one stream by one thread at a time.  They are the host's own, any of them may
 * make any call (but a stream that is recorded stays on one), and one whose call does not return in time is left behind in it.
 * Order: work on one stream runs in the order of submission; two streams are ordered by events alone.  copy, fill, launch,
 * gemm and attention may return before the work is done; buffers stay valid until the stream was synchronised.
 * Errors: return a code and tell the detail through host->set_error before returning; never print, exit or abort. */
#ifndef AIOS_BACKEND_H
#define AIOS_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ------------------------------------------------------------------------------------------------------ */

typedef int32_t aios_status;

/* Every code, once.  A code keeps its number for ever; new ones are added at the end. */
#define AIOS_STATUS_LIST(X)                                                                                                                \
    X(OK, 0, "success")                                                                                                                    \
    X(INVALID_ARGUMENT, 1, "an argument has a value that is never right")                                                                  \
    X(OUT_OF_RANGE, 2, "a number lies outside what is allowed")                                                                            \
    X(NOT_FOUND, 3, "a file, device, option, tensor or kernel of that name is not there")                                                  \
    X(ALREADY_EXISTS, 4, "the name is taken")                                                                                              \
    X(OUT_OF_MEMORY, 5, "the host has no memory left for this")                                                                            \
    X(DEVICE_OUT_OF_MEMORY, 6, "the device has no memory left for this")                                                                   \
    X(IO, 7, "the operating system refused to read or write")                                                                              \
    X(CORRUPT, 8, "a file or stream does not hold what its format promises")                                                               \
    X(UNSUPPORTED, 9, "the device, format or combination cannot do this")                                                                  \
    X(UNAVAILABLE, 10, "a driver or library that this needs is not on this machine")                                                       \
    X(ABI_MISMATCH, 11, "caller and library, or plugin and library, were built for different ABIs")                                        \
    X(DEVICE_ERROR, 12, "the device reported a failure")                                                                                   \
    X(DEVICE_LOST, 13, "the device is gone or no longer usable in this process")                                                           \
    X(TIMEOUT, 14, "the deadline passed")                                                                                                  \
    X(STOPPED, 15, "a stop was asked for and obeyed")                                                                                      \
    X(NOT_FINITE, 16, "training produced NaN or infinity too often in a row")                                                              \
    X(WRONG_STATE, 17, "the handle is not in a state where this call makes sense")                                                         \
    X(INTERNAL, 18, "a promise inside libaios was broken: please report it")

enum {
#define AIOS_STATUS_ENUM_(name, code, text) AIOS_##name = code,
    AIOS_STATUS_LIST(AIOS_STATUS_ENUM_)
#undef AIOS_STATUS_ENUM_
};

/* ---- ABI version, host services ---------------------------------------------------------------------------------- */

/* A plugin is loaded when its major equals the host's; minors only append. */
#define AIOS_BACKEND_ABI_MAJOR 1
#define AIOS_BACKEND_ABI_MINOR 3 /* 1: backward epilogues of gemm; 2: collectives, which nobody had; 3: packed b and what ends in it */
#define AIOS_BACKEND_ABI       ((uint32_t)(AIOS_BACKEND_ABI_MAJOR << 16 | AIOS_BACKEND_ABI_MINOR))

enum { AIOS_LOG_ERROR = 0, AIOS_LOG_WARNING = 1, AIOS_LOG_INFO = 2, AIOS_LOG_DEBUG = 3 };

/* What the host gives a plugin.  Valid for the life of the process; every function may be called from any thread. */
typedef struct aios_host_services {
    uint32_t struct_size;
    uint32_t reserved;
    void *user;
    void (*log)(void *user, int32_t level, const char *message);
    void *(*alloc)(void *user, size_t size); /* 16-byte aligned; NULL when there is none */
    void (*free)(void *user, void *pointer);
    /* The detail of the failure that the calling function is about to return; native is the vendor's code. */
    void (*set_error)(void *user, aios_status status, int64_t native, const char *message);
} aios_host_services;

/* ---- device ------------------------------------------------------------------------------------------------------ */

/* Storage types.  The numbers are part of the ABI and the order is that of lib/kernels. */
enum { AIOS_F32 = 0, AIOS_BF16 = 1, AIOS_F16 = 2, AIOS_I32 = 3, AIOS_U8 = 4, AIOS_DTYPE_COUNT = 5 };

enum { AIOS_DEVICE_DISCRETE = 0, AIOS_DEVICE_INTEGRATED = 1, AIOS_DEVICE_CPU = 2 };

#define AIOS_NAME_MAX 128

typedef struct aios_device_info {
    uint32_t struct_size;
    int32_t index;            /* the backend's own number */
    int32_t kind;             /* AIOS_DEVICE_… */
    uint32_t pci_vendor;      /* 0x10de, 0x1002, 0x8086; 0 where there is none */
    char backend[16];         /* "cpu", "cuda", "hip", "xpu" */
    char name[AIOS_NAME_MAX]; /* "NVIDIA H200" */
    char vendor[32];          /* "NVIDIA" */
    char architecture[32];    /* "9.0", "gfx942", "dg2", "avx512" */
    char driver_version[32];
    char pci_address[32];     /* "0000:3b:00.0" or "" */
    char uuid[64];            /* or "" */
    uint64_t memory_total;    /* bytes */
    uint64_t alignment;       /* of every address that alloc returns, >= 64 */
    int32_t compute_units;    /* multiprocessors, compute units, Xe cores, threads */
    int32_t teams;            /* how many teams a launch should use to fill the device */
    int32_t team_size;        /* lanes of one team */
    uint32_t storage_types;   /* bit 1 << AIOS_F32 … for which kernels exist */
    uint32_t fast_gemm_types; /* bit per storage type that gemm runs faster than f32 */
    int32_t host_accessible;  /* 1: addresses of alloc may be read and written by the CPU */
} aios_device_info;

/* One launch argument: its kind and size, from lib/kernels/kernels.def. */
enum { AIOS_ARG_OUT = 0, AIOS_ARG_IN = 1, AIOS_ARG_VALUE = 2 };
typedef struct aios_kernel_argument {
    const char *name;
    uint8_t kind; /* AIOS_ARG_… */
    uint8_t size; /* bytes; a pointer's for OUT and IN */
} aios_kernel_argument;

typedef struct aios_kernel {
    const char *name; /* "rmsnorm_forward_bf16": the symbol in the backend's module */
    const aios_kernel_argument *arguments;
    uint32_t argument_count;
    uint32_t reserved;
} aios_kernel;

/* ---- optional groups: NULL where the backend has none; the host then uses its portable kernels ------------------- */

enum {
    AIOS_EPILOGUE_NONE = 0,
    AIOS_EPILOGUE_BIAS = 1,
    AIOS_EPILOGUE_BIAS_GELU = 2,
    AIOS_EPILOGUE_GELU_BACKWARD = 3,   /* since 1.1, as those below */
    AIOS_EPILOGUE_BIAS_GRADIENT_A = 4, /* a is dy: dW (out, in) = dy^T x */
    AIOS_EPILOGUE_BIAS_GRADIENT_B = 5, /* b is dy: dW (in, out) = x^T dy */
    AIOS_EPILOGUE_RESIDUAL = 6,        /* since 1.3, as the one below */
    AIOS_EPILOGUE_SWIGLU = 7,
    AIOS_EPILOGUE_COUNT = 8
};

/* c = alpha * op(a) op(b) + beta * c, row-major, op(a) (m, k), op(b) (k, n), c (m, n), `batch` times with strides.
 * Accumulation is f32 whatever the types.  a and b have one type; c has that type or f32.
 * An epilogue comes with batch 1; the first three with beta 0:
 *   BIAS             adds bias[n] (type of a).
 *   BIAS_GELU        writes the sum to aux (m, n, type of c, ld = ldc) and gelu_tanh(sum) to c.
 *   GELU_BACKWARD    multiplies by the slope gelu_tanh'(aux); aux as BIAS_GELU wrote it, read only.  c is not aux.
 *   BIAS_GRADIENT_A  besides c, with any beta, overwrites aux[m] (f32, dense) with the sums over k of op(a): the column sums of
 *                    a as stored, so transpose_a is 1.  alpha has no part in them.  c is f32.
 *   BIAS_GRADIENT_B  likewise aux[n] with the sums over k of op(b); transpose_b is 0.
 *   RESIDUAL         beta 0: adds bias[n], or no bias (NULL), and aux (m, n, type of c, ld = ldc), read only.  c is not aux.
 *   SWIGLU           beta 0, transpose_a 0, n even, and packed_b of a packed_size that was asked for with this epilogue: c (m, n / 2) is
 *                    silu(gate) * up, where gate are the first n / 2 columns of the product and up the others, and both are kept nowhere.
 * A backend whose mask has an epilogue may still answer UNSUPPORTED for a shape: the host asks again without it and does the
 * epilogue itself (but for SWIGLU, whose sums have no place: there the backend says so by a packed_size of 0). */
typedef struct aios_gemm {
    uint32_t struct_size;
    int32_t type_ab, type_c;
    int32_t transpose_a, transpose_b; /* 1: a is stored (k, m); b is stored (n, k) */
    int32_t m, n, k, batch;
    int32_t epilogue;                     /* AIOS_EPILOGUE_… */
    int64_t lda, ldb, ldc;                /* elements between rows as stored */
    int64_t stride_a, stride_b, stride_c; /* elements between batches */
    const void *a, *b;
    void *c;
    const void *bias;
    void *aux;
    float alpha, beta;
    const void *packed_b; /* since 1.3: what pack made of b, which stays as it was; or NULL */
} aios_gemm;

typedef struct aios_gemm_group {
    uint32_t struct_size;
    uint32_t epilogues; /* bit 1 << AIOS_EPILOGUE_… for each that gemm does itself */
    aios_status (*gemm)(void *device, void *stream, const aios_gemm *gemm);
    /* Since 1.3; NULL where the device has no use for it.  A b that is multiplied many times is brought into the order in which the
     * device reads it once: packed_size bytes (0: it reads b as it is best, or hasn't the epilogue for it), written by pack.  Both look at
     * b, its type and layout, n and k; every product that has these the same takes what was packed, whatever else it has. */
    uint64_t (*packed_size)(void *device, const aios_gemm *gemm);
    aios_status (*pack)(void *device, void *stream, const aios_gemm *gemm, void *packed);
} aios_gemm_group;

/* Scaled dot-product attention over heads of size d.  q, k, v and their gradients are rows of d inside larger rows:
 * element (b, t, h, i) of q is q[(b * q_len + t) * q_stride + h * d + i], of k and v [(b * kv_capacity + t) * kv_stride +
 * h / (heads / kv_heads) * d + i]; out likewise with out_stride.  Query t of a batch row stands at position
 * start[0] + t (start NULL: 0) and with causal sees keys 0 … start[0] + t, else all of kv_len.
 * lse (batch, heads, q_len) f32: the log of each row's sum of exponentials, which backward reads. */
typedef struct aios_attention {
    uint32_t struct_size;
    int32_t type; /* storage of all but lse */
    int32_t batch, heads, kv_heads, head_size, q_len, kv_len, kv_capacity, causal;
    int64_t q_stride, kv_stride, out_stride;
    float scale;
    const int32_t *start; /* device memory, one number; NULL in training */
    const void *q, *k, *v;
    void *out;
    float *lse;
    const void *d_out; /* backward only; strides as their counterparts */
    void *d_q, *d_k, *d_v;
    void *workspace; /* what workspace_size asked for */
} aios_attention;

typedef struct aios_attention_group {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t (*workspace_size)(void *device, const aios_attention *shape, int32_t backward);
    aios_status (*forward)(void *device, void *stream, const aios_attention *attention);
    aios_status (*backward)(void *device, void *stream, const aios_attention *attention); /* overwrites d_q, d_k, d_v */
} aios_attention_group;

/* Records what is submitted to a stream between begin and end, to be replayed as one. */
typedef struct aios_capture_group {
    uint32_t struct_size;
    uint32_t reserved;
    aios_status (*begin)(void *device, void *stream);
    aios_status (*end)(void *device, void *stream, void **recording);
    aios_status (*replay)(void *device, void *stream, void *recording);
    void (*destroy)(void *device, void *recording);
} aios_capture_group;

/* Collectives between the devices of one vendor: NCCL, RCCL.  A communicator is one rank's, of one device, which is in no other rank's
 * place; the ranks are threads of one process, or of several, and each thread makes only its own rank's calls, one at a time.
 *
 * No call waits for another rank.  create and the collectives begin; query then tells how far they are, and until it has said that all is
 * done, query, abort and destroy are the only calls for that communicator, and nothing is submitted to that stream.  So who waits can
 * give up: a rank that hangs, or never comes, is left by abort.
 *
 * The collectives are in place, on f32 (or what `types` says), in device memory, behind what the stream holds.  offsets (ranks + 1), the
 * same on all ranks, rise from 0 to the count of elements: rank r owns [offsets[r], offsets[r + 1]), which may be empty.
 * Errors: UNAVAILABLE, with the library's words, where it fails; a failure of the device itself is the device's own. */
#define AIOS_COLLECTIVE_ID_BYTES 128
typedef struct aios_collective_group {
    uint32_t struct_size;
    uint32_t types; /* bit 1 << AIOS_F32 … for each storage type that it adds up */
    /* "NCCL 2.28.9" into text of `size` bytes.  UNAVAILABLE, with the reason, where there is no such library. */
    aios_status (*get_version)(void *device, char *text, uint64_t size);
    /* What the ranks of one new communicator have in common: made by one of them, which tells the others. */
    aios_status (*get_unique_id)(void *device, uint8_t *id);
    aios_status (*create)(void *device, const uint8_t *id, int32_t rank, int32_t ranks, void **communicator);
    /* *done 1: the communicator is made, or the last collective on `stream` is through. */
    aios_status (*query)(void *device, void *stream, void *communicator, int32_t *done);
    /* Ends what is under way, with nobody knows what in the buffers; the stream then goes on.  Only destroy may follow. */
    aios_status (*abort)(void *device, void *communicator);
    void (*destroy)(void *device, void *communicator); /* in any state; all ranks of a process do it, in any order */
    /* buffer (count) = the sum of all ranks' buffers. */
    aios_status (*all_reduce)(void *device, void *stream, void *communicator, void *buffer, uint64_t count, int32_t type);
    /* The own part of buffer becomes the sum, the rest is as it was. */
    aios_status (*reduce_scatter)(void *device, void *stream, void *communicator, void *buffer, const uint64_t *offsets, int32_t type);
    /* Every part becomes its owner's. */
    aios_status (*all_gather)(void *device, void *stream, void *communicator, void *buffer, const uint64_t *offsets, int32_t type);
    /* Every buffer becomes root's. */
    aios_status (*broadcast)(void *device, void *stream, void *communicator, void *buffer, uint64_t count, int32_t type, int32_t root);
} aios_collective_group;

/* A value that the device cannot tell is negative. */
typedef struct aios_telemetry {
    uint32_t struct_size;
    float utilisation;        /* percent */
    float temperature;        /* degrees Celsius */
    float power, power_limit; /* watts */
} aios_telemetry;

typedef struct aios_telemetry_group {
    uint32_t struct_size;
    uint32_t reserved;
    aios_status (*read)(void *device, aios_telemetry *telemetry);
} aios_telemetry_group;

/* ---- GPUDevice: the table ---------------------------------------------------------------------------------------- */

enum { AIOS_COPY_HOST_TO_DEVICE = 0, AIOS_COPY_DEVICE_TO_HOST = 1, AIOS_COPY_DEVICE_TO_DEVICE = 2 };

typedef struct aios_gpu_device {
    uint32_t struct_size;
    uint32_t reserved;

    /* device */
    aios_status (*open)(int32_t index, void **device);
    void (*close)(void *device); /* after every stream, event and allocation of it is gone */
    aios_status (*get_info)(void *device, aios_device_info *info);
    aios_status (*get_memory_info)(void *device, uint64_t *free_bytes, uint64_t *total_bytes);
    aios_status (*set_device)(void *device); /* makes it current for the calling thread, where the vendor has that idea */
    aios_status (*synchronize)(void *device);

    /* streams and events.  A NULL stream is never passed. */
    aios_status (*create_stream)(void *device, void **stream);
    void (*destroy_stream)(void *device, void *stream);
    aios_status (*synchronize_stream)(void *device, void *stream);
    aios_status (*create_event)(void *device, void **event);
    void (*destroy_event)(void *device, void *event);
    aios_status (*record_event)(void *device, void *event, void *stream);
    aios_status (*wait_event)(void *device, void *stream, void *event);       /* the stream waits, not the caller */
    aios_status (*synchronize_event)(void *device, void *event);              /* the caller waits */
    aios_status (*elapsed_ms)(void *device, void *from, void *to, float *ms); /* both recorded and reached */

    /* memory.  alloc and free are not ordered on streams; the host frees only what no stream uses. */
    aios_status (*alloc)(void *device, uint64_t size, void **pointer);
    void (*free)(void *device, void *pointer);
    aios_status (*host_alloc)(void *device, uint64_t size, void **pointer); /* host memory that the device copies fast */
    void (*host_free)(void *device, void *pointer);
    aios_status (*copy)(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind);
    aios_status (*fill)(void *device, void *stream, void *to, uint32_t pattern, uint64_t size); /* size: multiple of 4 */
    /* to on `device`, from on `other` of the same backend; NULL: the host stages through its own memory. */
    aios_status (*copy_peer)(void *device, void *stream, void *to, void *other, const void *from, uint64_t size);

    /* kernels.  load_kernels is called once, before the first launch; `kernel` is an index of that table.
     * arguments[i] points to the i-th argument's value, of the size that the table says. */
    aios_status (*load_kernels)(void *device, const aios_kernel *kernels, uint32_t count);
    aios_status (*launch)(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments);

    /* optional groups */
    const aios_gemm_group *gemm;
    const aios_attention_group *attention;
    const aios_capture_group *capture;
    const aios_collective_group *collectives;
    const aios_telemetry_group *telemetry;
} aios_gpu_device;

typedef struct aios_backend {
    uint32_t struct_size;
    uint32_t abi;        /* AIOS_BACKEND_ABI that the backend was built with */
    const char *name;    /* "cuda" */
    const char *vendor;  /* "NVIDIA" */
    const char *version; /* of the backend */
    /* How many devices there are.  AIOS_UNAVAILABLE, with the reason in set_error, where the driver is missing. */
    aios_status (*device_count)(int32_t *count);
    const aios_gpu_device *device;
} aios_backend;

/* The one symbol that a plugin exports.  It may be called once; the table lives as long as the process. */
#define AIOS_BACKEND_QUERY_SYMBOL "aios_backend_query"
typedef aios_status (*aios_backend_query_fn)(uint32_t host_abi, const aios_host_services *host, const aios_backend **backend);

#ifdef __cplusplus
}
#endif
#endif

/* runner.h: runs one kernel case on whatever can run kernels, and judges the result.
 *
 * A runner is a launch function and four memory hooks: plain calls of a CPU table, the team simulation, or a device.  A bench holds the
 * buffers of one case.  Every run_<kernel>(bench, storage, teams, …) uploads all buffers, launches, downloads them, and says
 * so where a guard zone was written or an input changed; then bench_expect judges what came out.  A failure is kept as the kernel's
 * verdict in the runner, and the cases go on. */
#ifndef CONFORMANCE_RUNNER_H
#define CONFORMANCE_RUNNER_H

#include "base/error.h"
#include "kernels/kernels.h"

/* Beside the kernels: groups of a backend that are judged in the same way. */
enum { VERDICT_GEMM = KERNEL_COUNT, VERDICT_ATTENTION_FORWARD, VERDICT_ATTENTION_BACKWARD, VERDICT_COUNT };

struct kernel_verdict {
    long runs[KERNEL_STORAGE_TYPES];
    long failures;
    char failure[512]; /* the first */
};

struct runner {
    const char *name;
    uint64_t seed;          /* added to the seed of every case */
    const char *only;       /* NULL, or part of the name of the kernels to judge */
    uint32_t storage_types; /* bit per type that the device has; 0: all */
    double slack;           /* multiplies every tolerance: 1, more for a device whose exp and division are approximate */
    int brief;              /* 1: small sizes only; 2: and f32 only (the team simulation under a sanitizer) */
    void *user;
    /* 0, or, with the words in `error`, not. */
    int (*launch)(struct runner *runner, uint32_t kernel, uint32_t teams, const void *const *arguments);
    void *(*alloc)(struct runner *runner, size_t size); /* aligned to 256 bytes; NULL: `error` says why */
    void (*free)(struct runner *runner, void *pointer);
    int (*upload)(struct runner *runner, void *to, const void *from, size_t size);
    int (*download)(struct runner *runner, void *to, const void *from, size_t size);
    char error[256];
    struct kernel_verdict kernels[VERDICT_COUNT];
};

/* Hooks for a runner that shares the host's memory. */
void *host_alloc(struct runner *runner, size_t size);
void host_free(struct runner *runner, void *pointer);
int host_copy(struct runner *runner, void *to, const void *from, size_t size);

struct buffer {
    int type; /* AIOS_F32 … AIOS_I32 */
    size_t count;
    unsigned char *host, *before; /* with guards */
    void *device;                 /* with guards */
    void *data;                   /* device, what the kernel gets */
    double *values;               /* `before` as doubles: what the reference reads */
};

#define BENCH_BUFFERS 16
struct bench {
    struct runner *runner;
    const char *kernel;
    char text[160]; /* sizes of the case, for messages */
    uint64_t seed;  /* its random numbers */
    int id;         /* of its verdict */
    int unjudged;   /* 1: the kernel didn't run, so there is nothing to expect */
    int count;
    struct buffer buffers[BENCH_BUFFERS];
    double *scratch[32];
    int scratch_count;
};

/* Begins a case; the text (printf) and the seed stand in every failure message. */
void bench_begin(struct bench *bench, struct runner *runner, uint64_t seed, const char *text, ...) AIOS_PRINTF(4, 5);
void bench_end(struct bench *bench);
double bench_uniform(struct bench *bench, double low, double high);
uint32_t bench_below(struct bench *bench, uint32_t bound);

/* A buffer of random values in [low, high), of indices below bound, or of one value; NAN fills an output that must be overwritten. */
struct buffer *bench_random(struct bench *bench, int type, size_t count, double low, double high);
struct buffer *bench_indices(struct bench *bench, size_t count, uint32_t bound);
struct buffer *bench_fill(struct bench *bench, int type, size_t count, double value);
void bench_set(struct buffer *buffer, size_t i, double value); /* rounds to the buffer's type; values follows */
double bench_get(const struct buffer *buffer, size_t i);       /* after a run: what came out */
double *bench_doubles(struct bench *bench, size_t count);      /* zeroed memory that bench_end frees */

/* |got - want| <= slack * (relative |want| + absolute) + half an ulp of the buffer's type (and a bit); NaN and infinity must agree. */
void bench_expect(struct bench *bench, const struct buffer *buffer, const double *want, double relative, double absolute);
void bench_expect_at(struct bench *bench, const struct buffer *buffer, size_t i, double want, double relative, double absolute);
/* Keeps what is wrong with the kernel that ran last. */
void bench_fail(struct bench *bench, const char *format, ...) AIOS_PRINTF(2, 3);
#define bench_check(bench, condition)                                                                                                      \
    do {                                                                                                                                   \
        if (!(bench)->unjudged && !(condition)) bench_fail(bench, "%s (%s): not so: %s", (bench)->kernel, (bench)->text, #condition);      \
    } while (0)

/* What runs between the two is judged as the verdict `id`: upload says whether to go on; download takes what came of it, and checks
 * guards and all buffers but the `count` written ones.  failed: runner->error says why. */
int bench_upload(struct bench *bench, int id, const char *kernel);
void bench_download(struct bench *bench, int storage, int failed, struct buffer *const *written, int count);

/* ---- run_<kernel> ------------------------------------------------------------------------------------------------ */

void bench_run(struct bench *bench, enum kernel_id kernel, int storage, uint32_t teams, const void *const *arguments,
               struct buffer *const *pointers, const char *kinds, int count);

#define RUN_out(type, name)              struct buffer *name
#define RUN_in(type, name)               struct buffer *name
#define RUN_val(type, name)              LAUNCH_TYPE_##type name
#define RUN_PARAMETER_(kind, type, name) RUN_##kind(type, name)
#define RUN_DATA_out(name)               (name ? &name->data : &run_null)
#define RUN_DATA_in(name)                (name ? &name->data : &run_null)
#define RUN_DATA_val(name)               &name
#define RUN_DATA_(kind, type, name)      RUN_DATA_##kind(name)
#define RUN_BUFFER_out(name)             name
#define RUN_BUFFER_in(name)              name
#define RUN_BUFFER_val(name)             NULL
#define RUN_BUFFER_(kind, type, name)    RUN_BUFFER_##kind(name)
#define RUN_KIND_out                     'o'
#define RUN_KIND_in                      'i'
#define RUN_KIND_val                     'v'
#define RUN_KIND_(kind, type, name)      RUN_KIND_##kind
extern void *run_null;
#define KERNEL_DEF(kname, ...)                                                                                                             \
    static inline void run_##kname(struct bench *bench, int storage, uint32_t teams, MAP(RUN_PARAMETER_, __VA_ARGS__))                     \
    {                                                                                                                                      \
        const void *arguments[] = {MAP(RUN_DATA_, __VA_ARGS__)};                                                                           \
        struct buffer *pointers[] = {MAP(RUN_BUFFER_, __VA_ARGS__)};                                                                       \
        const char kinds[] = {MAP(RUN_KIND_, __VA_ARGS__)};                                                                                \
        bench->kernel = #kname;                                                                                                            \
        bench_run(bench, KERNEL_##kname, storage, teams, arguments, pointers, kinds, (int)sizeof kinds);                                   \
    }
#include "kernels/kernels.def"
#undef KERNEL_DEF

#define EACH_STORAGE(s)                                                                                                                    \
    for (int s = AIOS_F32; s <= AIOS_F16; s++)                                                                                             \
        if (runner_has(runner, s))
int runner_has(const struct runner *runner, int storage);
/* 1: too large a case for a brief runner. */
int runner_skips(const struct runner *runner, int rows, int n);
const char *storage_name(int storage);
/* Half the distance of 1 to its neighbour. */
double storage_epsilon(int storage);

/* ---- the cases, by theme: every one runs every storage type and several sizes and team counts --------------------- */

#define RUNNER_THEMES(THEME)                                                                                                               \
    THEME(elementwise)                                                                                                                     \
    THEME(activation)                                                                                                                      \
    THEME(reduce)                                                                                                                          \
    THEME(embedding) THEME(norm) THEME(rope) THEME(attention) THEME(halting) THEME(experts) THEME(loss) THEME(optimizer) THEME(gemm)
#define RUNNER_THEME_(name) void name##_cases(struct runner *runner);
RUNNER_THEMES(RUNNER_THEME_)
#undef RUNNER_THEME_

/* What is wrong with the first wrong kernel, and the first kernel that no case ran; NULL where all is well. */
const char *runner_failure(const struct runner *runner);
const char *runner_forgotten(const struct runner *runner);

#endif

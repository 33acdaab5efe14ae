/* Runs SPIR-V on the CPU: llvm-spirv turns it back into LLVM's code, which PoCL takes.  Both keep what they made in SIM_CACHE
 * (beside the compiled kernels), so that a kernel is compiled once. */
#include "ze_sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef SIM_HAS_POCL

struct pocl_program *pocl_build(const void *bytes, size_t size, uint32_t sub_group, const char **wrong)
{
    (void)bytes, (void)size, (void)sub_group;
    *wrong = NULL;
    return NULL;
}

const char *pocl_run(struct pocl_program *program, const sim_launch *launch, const uint64_t *values)
{
    (void)program, (void)launch, (void)values;
    return "the simulated driver was built without PoCL";
}

#else

#define CL_TARGET_OPENCL_VERSION 200
#include <CL/cl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct pocl_kernel {
    struct pocl_kernel *next;
    char name[96];
    cl_kernel handle;
};

struct pocl_program {
    uint64_t hash;
    cl_program handle;
    struct pocl_kernel *kernels;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of all below: an OpenCL kernel has one set of arguments */
static cl_device_id device;
static cl_context context;
static cl_command_queue queue;
static struct pocl_program programs[8];
static int program_count;
static char reason[400];

/* ---- PoCL -------------------------------------------------------------------------------------------------------- */

static const char *find_pocl(void)
{
    cl_platform_id platforms[8];
    cl_uint count = 0;
    char name[200];
    if (queue) return NULL;
    (void)setenv("POCL_CACHE_DIR", SIM_CACHE "/pocl", 0);
    (void)setenv("OCL_ICD_VENDORS", "/etc/OpenCL/vendors/pocl.icd", 0);
    (void)setenv("POCL_DEVICES", "basic", 0); /* computes in the thread that waits: its processor time is the work's; xmx_shim.c wants it */
    (void)mkdir(SIM_CACHE, 0777);
    (void)mkdir(SIM_CACHE "/pocl", 0777);
    (void)clGetPlatformIDs(8, platforms, &count);
    for (cl_uint i = 0; i < count && i < 8 && !device; i++)
        if (clGetPlatformInfo(platforms[i], CL_PLATFORM_NAME, sizeof name, name, NULL) == CL_SUCCESS && strstr(name, "Portable"))
            (void)clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_CPU, 1, &device, NULL);
    if (!device) return "PoCL has no device (Debian: pocl-opencl-icd)";
    context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
    queue = context ? clCreateCommandQueueWithProperties(context, device, NULL, NULL) : NULL;
    return queue ? NULL : "PoCL makes no queue";
}

/* ---- translation ------------------------------------------------------------------------------------------------- */

static uint64_t hash_more(uint64_t hash, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static int write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    int whole = file && fwrite(bytes, 1, size, file) == size;
    if (file && fclose(file) != 0) whole = 0;
    return whole;
}

/* PROGRAM FLAG FROM [WITH] -o TO */
static int run_tool(const char *program, const char *flag, const char *from, const char *with, const char *to)
{
    extern char **environ;
    const char *words[] = {program, flag, from, "-o", to, with, NULL};
    pid_t child;
    int code = -1;
    if (posix_spawn(&child, program, NULL, NULL, (char **)(uintptr_t)words, environ) != 0) return 0;
    while (waitpid(child, &code, 0) < 0)
        if (errno != EINTR) return 0;
    return code == 0;
}

/* Processes may do this at the same time: each under a name of its own, then renamed. */
static const char *make_bitcode(const void *bytes, size_t size, const char *shim, const char *path)
{
    char spv[300], bc[300], linked[300];
    (void)snprintf(spv, sizeof spv, "%s.%ld.spv", path, (long)getpid());
    (void)snprintf(bc, sizeof bc, "%s.%ld.bc", path, (long)getpid());
    (void)snprintf(linked, sizeof linked, "%s.%ld.linked.bc", path, (long)getpid());
    int done = write_file(spv, bytes, size) && run_tool(SIM_TRANSLATOR, "-r", spv, NULL, bc);
    if (done && shim) /* inlined, since PoCL wants barriers in the kernel itself */
        done = run_tool(SIM_LINKER, "--internalize", bc, shim, linked) &&
               run_tool(SIM_OPTIMIZER, "-passes=always-inline,globaldce", linked, NULL, bc);
    if (done) done = rename(bc, path) == 0;
    (void)remove(spv);
    (void)remove(linked);
    return done ? NULL : SIM_TRANSLATOR " -r does not take the module, or it does not link";
}

static unsigned char *read_bitcode(const char *path, size_t *size)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0) {
        if (file) (void)fclose(file);
        return NULL;
    }
    *size = (size_t)info.st_size;
    unsigned char *bytes = malloc(*size + 1);
    if (fread(bytes, 1, *size, file) != *size) *size = 0;
    (void)fclose(file);
    return bytes;
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

static const char *build_program(struct pocl_program *program, const unsigned char *bitcode, size_t size)
{
    cl_int error, state;
    program->handle = clCreateProgramWithBinary(context, 1, &device, &size, &bitcode, &state, &error);
    if (!program->handle) return "PoCL does not take the module";
    error = clBuildProgram(program->handle, 1, &device, "-x spir -spir-std=1.2", NULL, NULL);
    if (error == CL_SUCCESS) return NULL;
    (void)snprintf(reason, sizeof reason, "PoCL does not build the module: %d", (int)error);
    return reason;
}

static const char *add_program(const void *bytes, size_t size, const char *shim, uint64_t hash, struct pocl_program **program)
{
    char path[256];
    size_t length = 0;
    if (program_count == (int)(sizeof programs / sizeof programs[0])) return "too many different modules";
    const char *wrong = find_pocl();
    if (wrong) return wrong;
    (void)snprintf(path, sizeof path, "%s/%016llx.bc", SIM_CACHE, (unsigned long long)hash);
    if (access(path, R_OK) != 0) wrong = make_bitcode(bytes, size, shim, path);
    if (wrong) return wrong;
    unsigned char *bitcode = read_bitcode(path, &length);
    if (!bitcode) return "the translated module can't be read";
    struct pocl_program made = {.hash = hash};
    wrong = build_program(&made, bitcode, length);
    free(bitcode);
    if (wrong) return wrong;
    programs[program_count] = made;
    *program = &programs[program_count++];
    return NULL;
}

struct pocl_program *pocl_build(const void *bytes, size_t size, uint32_t sub_group, const char **wrong)
{
    struct pocl_program *found = NULL;
    const char *shim = sub_group == 8 ? SIM_SHIM8 : sub_group == 16 ? SIM_SHIM16 : NULL;
    uint64_t hash = hash_more(0xcbf29ce484222325u, bytes, size);
    size_t length = 0;
    unsigned char *linked = shim ? read_bitcode(shim, &length) : NULL;
    if (linked) hash = hash_more(hash, linked, length);
    free(linked);
    *wrong = NULL;
    (void)pthread_mutex_lock(&mutex);
    for (int i = 0; i < program_count; i++)
        if (programs[i].hash == hash) found = &programs[i];
    if (!found) *wrong = add_program(bytes, size, shim, hash, &found);
    (void)pthread_mutex_unlock(&mutex);
    return found;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static cl_kernel get_kernel(struct pocl_program *program, const char *name)
{
    for (struct pocl_kernel *k = program->kernels; k; k = k->next)
        if (strcmp(k->name, name) == 0) return k->handle;
    cl_kernel handle = clCreateKernel(program->handle, name, NULL);
    if (!handle) return NULL;
    struct pocl_kernel *made = calloc(1, sizeof *made);
    (void)snprintf(made->name, sizeof made->name, "%s", name);
    made->handle = handle;
    made->next = program->kernels;
    program->kernels = made;
    return handle;
}

static cl_int enqueue(cl_kernel kernel, const sim_launch *launch, const uint64_t *values, cl_event *done)
{
    size_t local = VENDOR_TEAM_SIZE, global = local * launch->teams;
    for (uint32_t i = 0; i < launch->kernel->argument_count; i++) {
        void *pointer;
        memcpy(&pointer, &values[i], sizeof pointer);
        cl_int error = launch->kernel->arguments[i].is_pointer ? clSetKernelArgSVMPointer(kernel, i, pointer)
                                                               : clSetKernelArg(kernel, i, launch->kernel->arguments[i].size, &values[i]);
        if (error != CL_SUCCESS) return error;
    }
    return clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &local, 0, NULL, done);
}

const char *pocl_run(struct pocl_program *program, const sim_launch *launch, const uint64_t *values)
{
    cl_event done = NULL;
    (void)pthread_mutex_lock(&mutex);
    cl_kernel kernel = get_kernel(program, launch->kernel->name);
    cl_int error = kernel ? enqueue(kernel, launch, values, &done) : CL_INVALID_KERNEL_NAME;
    (void)pthread_mutex_unlock(&mutex);
    if (error == CL_SUCCESS) error = clWaitForEvents(1, &done);
    if (done) (void)clReleaseEvent(done);
    return error == CL_SUCCESS ? NULL : "PoCL does not run it";
}

#endif

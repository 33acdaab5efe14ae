/* A shipped plugin on simulated devices, through the library: driver_test VENDOR.  Each test is a process of its own with its own
 * devices, and ends with none of the simulation's complaints: no wrong use, and nothing that was not given back.  The caller's environment
 * leads the plugin to the stand-ins (LD_LIBRARY_PATH) and the library to the plugin (AIOS_BACKEND_PATH). */
#include "gpu/device.h"
#include "kernels/kernels.h"
#include "process.h"

#include <pthread.h>

/* What a vendor's driver calls the things that are made to fail here. */
static const struct vendor {
    const char *name, *vendor;
    uint32_t pci_vendor;
    const char *architecture; /* begins so */
    const char *alloc, *launch, *wait, *peer;
    const char *mask; /* the variable that hides devices */
    int has_graphs;
    int no_memory; /* what alloc answers where there is none */
} vendors[] = {
    {"cuda", "NVIDIA", 0x10de, "9.", "cuMemAlloc", "cuLaunchKernel", "cuStreamSynchronize", "cuMemcpyPeerAsync", "CUDA_VISIBLE_DEVICES", 1,
     2},
    {"hip", "AMD", 0x1002, "gfx942", "hipMalloc", "hipModuleLaunchKernel", "hipStreamSynchronize", "hipMemcpyPeerAsync",
     "HIP_VISIBLE_DEVICES", 1, 2},
    {"xpu", "Intel", 0x8086, "dg2", "zeMemAllocDevice", "zeCommandListAppendLaunchKernel", "zeEventHostSynchronize",
     "zeDeviceCanAccessPeer", "ZE_AFFINITY_MASK", 1, 0x70000003},
};
static const struct vendor *vendor;

/* ---- what a device is -------------------------------------------------------------------------------------------- */

static void devices_say_what_they_are(void)
{
    aios_context *context = make_context();
    aios_device *first = open_device(context, 0), *second = open_device(context, 1);
    const aios_device_info *a = aios_device_get_info(first), *b = aios_device_get_info(second);
    uint64_t free_bytes, total;
    CHECK(strcmp(a->vendor, vendor->vendor) == 0 && a->pci_vendor == vendor->pci_vendor);
    CHECK(strncmp(a->architecture, vendor->architecture, strlen(vendor->architecture)) == 0 && !strchr(a->architecture, ':'));
    CHECK(a->name[0] && a->driver_version[0] && a->kind == AIOS_DEVICE_DISCRETE);
    CHECK(strlen(a->pci_address) == 12 && strcmp(a->pci_address, b->pci_address) != 0 && a->pci_address[4] == ':');
    CHECK(a->uuid[0] && strcmp(a->uuid, b->uuid) != 0);
    CHECK(a->memory_total == (uint64_t)64 << 20 && a->teams > 0 && a->team_size == 256 && a->compute_units > 0 && !a->host_accessible);
    OK(aios_device_memory_info(second, &free_bytes, &total));
    CHECK(total == (uint64_t)64 << 20 && free_bytes <= total);
    aios_device_close(second);
    aios_device_close(first);
    aios_context_release(context);
}

static void a_mask_hides_and_renumbers(void)
{
    aios_context *context;
    aios_device *only, *other;
    char spec[16];
    (void)setenv(vendor->mask, "1", 1);
    context = make_context();
    only = open_device(context, 0);
    (void)snprintf(spec, sizeof spec, "%s:1", vendor->name);
    FAILS(aios_device_open(context, spec, &other), AIOS_NOT_FOUND);
    aios_device_close(only);
    aios_context_release(context);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

enum { WORDS = 5000 };

static void work_is_ordered_by_streams_and_events(void)
{
    aios_context *context = make_context();
    aios_device *device = open_device(context, 0);
    aios_stream *one, *two;
    aios_event *began, *filled;
    uint32_t *host;
    void *memory, *copy;
    float milliseconds = -1;
    OK(aios_stream_create(device, &one));
    OK(aios_stream_create(device, &two));
    OK(aios_event_create(device, &began));
    OK(aios_event_create(device, &filled));
    OK(aios_device_alloc(device, WORDS * 4, &memory));
    OK(aios_device_alloc(device, WORDS * 4, &copy));
    OK(aios_device_host_alloc(device, WORDS * 4, (void **)&host));
    for (uint32_t i = 0; i < WORDS; i++) host[i] = i;
    OK(aios_event_record(began, one));
    OK(aios_stream_copy(one, memory, host, WORDS * 4, AIOS_COPY_HOST_TO_DEVICE));
    OK(aios_stream_fill(one, (uint32_t *)memory + 7, 0xabcdef01u, 8));
    OK(aios_event_record(filled, one));
    OK(aios_stream_wait_event(two, filled));
    OK(aios_stream_copy(two, copy, memory, WORDS * 4, AIOS_COPY_DEVICE_TO_DEVICE));
    OK(aios_stream_copy(two, host, copy, WORDS * 4, AIOS_COPY_DEVICE_TO_HOST));
    OK(aios_stream_synchronize(two));
    for (uint32_t i = 0; i < WORDS; i++) CHECK(host[i] == (i == 7 || i == 8 ? 0xabcdef01u : i));
    OK(aios_event_synchronize(filled));
    OK(aios_event_elapsed_ms(began, filled, &milliseconds));
    CHECK(milliseconds >= 0);
    OK(aios_device_synchronize(device));
    aios_device_host_free(device, host);
    aios_device_free(device, copy);
    aios_device_free(device, memory);
    aios_event_destroy(filled);
    aios_event_destroy(began);
    aios_stream_destroy(two);
    aios_stream_destroy(one);
    aios_device_close(device);
    aios_context_release(context);
}

static void upload(aios_stream *stream, void *to, const void *from, uint64_t size)
{
    OK(aios_stream_copy(stream, to, from, size, AIOS_COPY_HOST_TO_DEVICE));
    OK(aios_stream_synchronize(stream));
}

static void download(aios_stream *stream, void *to, const void *from, uint64_t size)
{
    OK(aios_stream_copy(stream, to, from, size, AIOS_COPY_DEVICE_TO_HOST));
    OK(aios_stream_synchronize(stream));
}

/* y += 2x, three times by one recording. */
static void a_recording_is_replayed(void)
{
    aios_context *context = make_context();
    aios_device *device = open_device(context, 0);
    aios_stream *stream;
    stream_recording *recording;
    float x[3] = {1, 2, 3}, y[3] = {10, 20, 30};
    void *dx, *dy;
    CHECK(device_can_capture(device) == vendor->has_graphs);
    OK(aios_stream_create(device, &stream));
    OK(aios_device_alloc(device, sizeof x, &dx));
    OK(aios_device_alloc(device, sizeof y, &dy));
    upload(stream, dx, x, sizeof x);
    upload(stream, dy, y, sizeof y);
    OK(stream_capture_begin(stream));
    OK(launch_scale_add(stream, AIOS_F32, 0, dy, dx, 1, 3, 2.0f, 1));
    OK(stream_capture_end(stream, &recording));
    for (int i = 0; i < 3; i++) OK(stream_replay(stream, recording));
    download(stream, y, dy, sizeof y);
    CHECK(y[0] == 16 && y[1] == 32 && y[2] == 48);
    stream_recording_destroy(recording);
    aios_device_free(device, dy);
    aios_device_free(device, dx);
    aios_stream_destroy(stream);
    aios_device_close(device);
    aios_context_release(context);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

enum { GEMM_M = 5, GEMM_N = 7, GEMM_K = 9, GEMM_BATCH = 2, GEMM_LD = 11, GEMM_SLICE = GEMM_LD * GEMM_LD };

/* The same numbers in every storage type: halves of small integers. */
static float element(uint32_t i)
{
    return (float)((int)(i * 37 % 17) - 8) * 0.5f;
}

static void fill_matrix(aios_stream *stream, void *to, void *scratch, int type)
{
    float values[GEMM_BATCH * GEMM_SLICE];
    for (uint32_t i = 0; i < GEMM_BATCH * GEMM_SLICE; i++) values[i] = element(i);
    upload(stream, scratch, values, sizeof values);
    OK(launch_cast_from_f32(stream, type, 0, to, scratch, GEMM_BATCH * GEMM_SLICE));
}

static float expect(const aios_gemm *g, int batch, int row, int column)
{
    double sum = 0;
    for (int k = 0; k < g->k; k++) {
        int64_t a = g->transpose_a ? k * g->lda + row : row * g->lda + k, b = g->transpose_b ? column * g->ldb + k : k * g->ldb + column;
        sum += (double)element((uint32_t)(a + batch * g->stride_a)) * (double)element((uint32_t)(b + batch * g->stride_b));
    }
    return (float)((double)g->alpha * sum + (double)g->beta * (double)element((uint32_t)(row * g->ldc + column + batch * g->stride_c)));
}

static void check_product(aios_stream *stream, void *const memory[4], int type, int type_c, int transposed)
{
    float c[GEMM_BATCH * GEMM_SLICE];
    const aios_gemm g = {.struct_size = sizeof g,
                         .type_ab = type,
                         .type_c = type_c,
                         .transpose_a = transposed & 1,
                         .transpose_b = transposed >> 1,
                         .m = GEMM_M,
                         .n = GEMM_N,
                         .k = GEMM_K,
                         .batch = GEMM_BATCH,
                         .lda = GEMM_LD,
                         .ldb = GEMM_LD,
                         .ldc = GEMM_LD,
                         .stride_a = GEMM_SLICE,
                         .stride_b = GEMM_SLICE,
                         .stride_c = GEMM_SLICE,
                         .a = memory[0],
                         .b = memory[1],
                         .c = memory[2],
                         .alpha = 0.5f,
                         .beta = 2.0f};
    fill_matrix(stream, memory[0], memory[3], type);
    fill_matrix(stream, memory[1], memory[3], type);
    fill_matrix(stream, memory[2], memory[3], type_c);
    OK(aios_stream_gemm(stream, &g));
    OK(launch_cast_to_f32(stream, type_c, 0, memory[3], memory[2], GEMM_BATCH * GEMM_SLICE));
    download(stream, c, memory[3], sizeof c);
    /* sums of at most 9 * 16 * 0.5 + 8: bf16's steps below 128 are 0.5 wide, and rounding is off by half a step */
    double tolerance = type_c == AIOS_F32 ? 1e-5 : type_c == AIOS_F16 ? 0.032 : 0.25;
    for (int batch = 0; batch < GEMM_BATCH; batch++)
        for (int row = 0; row < GEMM_LD; row++)
            for (int column = 0; column < GEMM_LD; column++) {
                int at = batch * GEMM_SLICE + row * GEMM_LD + column;
                int inside = row < GEMM_M && column < GEMM_N;
                NEAR(c[at], inside ? expect(&g, batch, row, column) : element((uint32_t)at), inside ? tolerance : 0);
            }
}

static void products_are_right_in_every_form(void)
{
    aios_context *context = make_context();
    aios_device *device = open_device(context, 0);
    aios_stream *stream;
    void *memory[4];
    OK(aios_stream_create(device, &stream));
    for (int i = 0; i < 4; i++) OK(aios_device_alloc(device, GEMM_BATCH * GEMM_SLICE * 4, &memory[i]));
    for (int type = AIOS_F32; type <= AIOS_F16; type++)
        for (int transposed = 0; transposed < 4; transposed++) {
            check_product(stream, memory, type, type, transposed);
            if (type != AIOS_F32) check_product(stream, memory, type, AIOS_F32, transposed);
        }
    for (int i = 0; i < 4; i++) aios_device_free(device, memory[i]);
    aios_stream_destroy(stream);
    aios_device_close(device);
    aios_context_release(context);
}

/* ---- peers ------------------------------------------------------------------------------------------------------- */

enum { PEER_WORDS = 300000 };

/* Sends words from device 1 to device 0 and looks at what came. */
static void send_and_compare(void)
{
    aios_context *context = make_context();
    aios_device *to = open_device(context, 0), *from = open_device(context, 1);
    aios_stream *to_stream, *from_stream;
    void *destination, *source;
    uint32_t *words = malloc(PEER_WORDS * sizeof *words);
    OK(aios_stream_create(to, &to_stream));
    OK(aios_stream_create(from, &from_stream));
    OK(aios_device_alloc(to, PEER_WORDS * 4, &destination));
    OK(aios_device_alloc(from, PEER_WORDS * 4, &source));
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < PEER_WORDS; i++) words[i] = i * 7 + (uint32_t)round;
        upload(from_stream, source, words, PEER_WORDS * 4);
        OK(stream_copy_peer(to_stream, destination, from_stream, source, PEER_WORDS * 4));
        memset(words, 0, PEER_WORDS * 4);
        download(to_stream, words, destination, PEER_WORDS * 4);
        for (uint32_t i = 0; i < PEER_WORDS; i++) CHECK(words[i] == i * 7 + (uint32_t)round);
    }
    free(words);
    aios_device_free(from, source);
    aios_device_free(to, destination);
    aios_stream_destroy(from_stream);
    aios_stream_destroy(to_stream);
    aios_device_close(from);
    aios_device_close(to);
    aios_context_release(context);
}

static void peers_copy_to_each_other(void)
{
    send_and_compare();
    CHECK(!logged[0]);
}

static void a_peer_that_delivers_wrong_bytes_is_found_out(void)
{
    send_and_compare();
    CHECK(strstr(logged, "from device 1 to device 0 deliver other bytes than were sent"));
    CHECK(!strstr(strstr(logged, "deliver") + 1, "deliver")); /* said once */
}

static void a_peer_copy_that_fails_goes_through_the_host(void)
{
    send_and_compare();
    CHECK(strstr(logged, "from device 1 to device 0 fail"));
}

/* ---- telemetry --------------------------------------------------------------------------------------------------- */

static void telemetry_is_of_this_device(void)
{
    aios_context *context = make_context();
    aios_device *devices[2] = {open_device(context, 0), open_device(context, 1)};
    aios_telemetry read[2];
    for (int i = 0; i < 2; i++) {
        read[i].struct_size = sizeof read[i];
        OK(aios_device_get_telemetry(devices[i], &read[i]));
    }
    for (int i = 0; i < 2; i++) {
        CHECK(read[i].utilisation >= 0 && read[i].utilisation <= 100);
        CHECK(read[i].temperature > 20 && read[i].temperature < 110);
        CHECK(read[i].power > 0 && read[i].power <= read[i].power_limit);
        aios_device_close(devices[i]);
    }
    CHECK(read[0].temperature != read[1].temperature); /* the stand-ins give each its own, in another order than the driver's */
    aios_context_release(context);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void memory_that_is_not_there_is_said_with_numbers(void)
{
    aios_context *context = make_context();
    aios_device *device = open_device(context, 0);
    void *memory;
    FAILS(aios_device_alloc(device, (uint64_t)80 << 20, &memory), AIOS_DEVICE_OUT_OF_MEMORY);
    SAID("83886080");
    SAID("67108864");
    OK(aios_device_alloc(device, (uint64_t)20 << 20, &memory));
    aios_device_free(device, memory);
    aios_device_close(device);
    aios_context_release(context);
}

static aios_status step(aios_device *device, aios_stream *stream)
{
    static const float x[4] = {1, 2, 3, 4}; /* a copy may be pending when a later call fails */
    void *memory;
    aios_status status = aios_device_alloc(device, sizeof x, &memory);
    if (status != AIOS_OK) return status;
    status = aios_stream_copy(stream, memory, x, sizeof x, AIOS_COPY_HOST_TO_DEVICE);
    if (status == AIOS_OK) status = launch_scale_add(stream, AIOS_F32, 0, memory, memory, 1, 4, 1.0f, 0);
    if (status == AIOS_OK) status = aios_stream_synchronize(stream);
    aios_device_free(device, memory);
    return status;
}

/* Device 0 fails in the first step; device 1 goes on. */
static void fail_step(const char *call, aios_status expected)
{
    aios_context *context = make_context();
    aios_device *bad = open_device(context, 0), *good = open_device(context, 1);
    aios_stream *bad_stream, *good_stream;
    char device[16];
    (void)snprintf(device, sizeof device, "%s:0", vendor->name);
    OK(aios_stream_create(bad, &bad_stream));
    OK(aios_stream_create(good, &good_stream));
    FAILS(step(bad, bad_stream), expected);
    SAID(call);
    SAID(device);
    OK(step(good, good_stream));
    CHECK((step(bad, bad_stream) == AIOS_OK) == (aios_device_health(bad) == AIOS_OK));
    OK(step(good, good_stream));
    aios_stream_destroy(good_stream);
    aios_stream_destroy(bad_stream);
    aios_device_close(good);
    aios_device_close(bad);
    aios_context_release(context);
}

static void a_lost_device_is_left_behind(void)
{
    fail_step(vendor->launch, AIOS_DEVICE_LOST);
}

static void a_failing_wait_is_named(void)
{
    fail_step(vendor->wait, AIOS_DEVICE_ERROR);
}

static void work_that_fails_later_is_told_by_the_wait(void)
{
    fail_step(vendor->wait, AIOS_DEVICE_LOST);
}

/* The pool asks again, for no more than it needs. */
static void memory_may_be_refused_once(void)
{
    aios_context *context = make_context();
    aios_device *device = open_device(context, 0);
    aios_stream *stream;
    OK(aios_stream_create(device, &stream));
    OK(step(device, stream));
    OK(aios_device_health(device));
    aios_stream_destroy(stream);
    aios_device_close(device);
    aios_context_release(context);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *work(void *user)
{
    aios_device *device = user;
    aios_stream *stream;
    OK(aios_stream_create(device, &stream));
    for (int i = 0; i < 10; i++) OK(step(device, stream));
    aios_stream_destroy(stream);
    return NULL;
}

static void a_thread_per_device_and_two_on_one(void)
{
    aios_context *context = make_context();
    aios_device *devices[2] = {open_device(context, 0), open_device(context, 1)};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, work, devices[i % 2]) == 0);
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    aios_device_close(devices[1]);
    aios_device_close(devices[0]);
    aios_context_release(context);
}

static int fault_test(const char *name, const char *fault, const char *call, void (*test)(void))
{
    char simulated[160];
    (void)snprintf(simulated, sizeof simulated, fault, call);
    return run_test(name, simulated, test);
}

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 2 && i < sizeof vendors / sizeof vendors[0]; i++)
        if (strcmp(vendors[i].name, arguments[1]) == 0) vendor = &vendors[i];
    if (!vendor) {
        (void)fprintf(stderr, "driver_test VENDOR: cuda, hip or xpu\n");
        return 2;
    }
    backend_name = vendor->name;
    int good = 1;
#define TEST(simulated, test)         good &= run_test(#test, simulated, test)
#define FAULT_TEST(fault, call, test) good &= fault_test(#test, fault, call, test)
    TEST("2;memory=64MiB", devices_say_what_they_are);
    TEST("2", a_mask_hides_and_renumbers);
    TEST("1", work_is_ordered_by_streams_and_events);
    TEST("1", a_recording_is_replayed);
    TEST("1", products_are_right_in_every_form);
    TEST("2", peers_copy_to_each_other);
    TEST("2;peer=no", send_and_compare);
    TEST("2;peer=broken", a_peer_that_delivers_wrong_bytes_is_found_out);
    FAULT_TEST("2;fault=%s@0:1:forever", vendor->peer, a_peer_copy_that_fails_goes_through_the_host);
    TEST("2", telemetry_is_of_this_device);
    TEST("1;memory=64MiB", memory_that_is_not_there_is_said_with_numbers);
    FAULT_TEST("2;fault=%s@0:1:lost", vendor->launch, a_lost_device_is_left_behind);
    FAULT_TEST("2;fault=%s@0:1:once", vendor->wait, a_failing_wait_is_named);
    FAULT_TEST("2;fault=%s@0:1:once", "work", work_that_fails_later_is_told_by_the_wait);
    char refused[64];
    (void)snprintf(refused, sizeof refused, "%s=%d", vendor->alloc, vendor->no_memory);
    FAULT_TEST("2;fault=%s@0:1:once", refused, memory_may_be_refused_once);
    TEST("2", a_thread_per_device_and_two_on_one);
    return good ? 0 : 1;
}

/* What happens when a backend's call fails once or for ever, hangs, or loses its device, while another device trains: an error that names
 * the device and the call, nothing lost, and the other device's losses as if nothing had happened.
 *
 *   device_test fail | brief | hang
 *
 * The backend is that of SHIM_BACKEND, else the template.  hang leaves behind what the backend took for a device that hangs, as libaios
 * must, so leaks are looked for with the context's allocator and the shim's counters alone. */
#include "backend/shim.h"
#include "base/os.h"
#include "gpu/device.h"
#include "test.h"

#include <aios/model.h>

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 2
#define BATCH 2
#define LEN   4

static struct shim_state *shim;
static int is_brief;

/* ---- a little training ------------------------------------------------------------------------------------------- */

static const char config[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_head\": 2, \"n_embd\": 8, \"vocab_size\": 19, \"n_positions\": 6}";

struct training {
    const char *spec;
    aios_context *context;
    aios_device *device;
    aios_stream *stream;
    aios_event *event;
    aios_device *peer; /* the same device, opened again */
    aios_stream *peer_stream;
    void *memory, *host, *peer_memory;
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    double losses[STEPS];
    double deadline; /* of a call, seconds; 0: the usual one */
    double seconds;
    atomic_long taken; /* blocks of the context's memory that were not given back */
    long calls;        /* of the one in question, before anything is given back: a call that fails then is logged, not returned */
    aios_status status;
    char words[1024];
};

#define STEP(call)                                                                                                                         \
    do {                                                                                                                                   \
        aios_status status_ = (call);                                                                                                      \
        if (status_ != AIOS_OK) return status_;                                                                                            \
    } while (0)

static aios_status build(struct training *t)
{
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    plan.training = 1;
    STEP(aios_model_create(t->context, config, &t->model));
    STEP(aios_graph_create(t->context, &t->graph));
    STEP(aios_model_record(t->model, t->graph, AIOS_MODEL_TRAIN, BATCH, LEN));
    STEP(aios_parameters_create(t->device, t->graph, &parameters, &t->parameters));
    STEP(aios_plan_create(t->graph, t->parameters, &plan, &t->plan));
    STEP(aios_optimizer_create(t->parameters, NULL, &t->optimizer));
    return aios_parameters_initialize(t->parameters, 1);
}

/* The calls that training need not make. */
static aios_status touch(struct training *t)
{
    float ms;
    uint64_t free_bytes, total;
    aios_telemetry telemetry;
    STEP(aios_device_set_current(t->device));
    STEP(aios_device_memory_info(t->device, &free_bytes, &total));
    STEP(aios_stream_create(t->device, &t->stream));
    STEP(aios_event_create(t->device, &t->event));
    STEP(aios_device_alloc(t->device, 64, &t->memory));
    STEP(aios_device_host_alloc(t->device, 64, &t->host));
    STEP(aios_event_record(t->event, t->stream));
    STEP(aios_stream_fill(t->stream, t->memory, 1, 64));
    STEP(aios_stream_copy(t->stream, t->host, t->memory, 64, AIOS_COPY_DEVICE_TO_HOST));
    STEP(aios_event_record(t->event, t->stream));
    STEP(aios_stream_wait_event(t->stream, t->event));
    STEP(aios_event_synchronize(t->event));
    STEP(aios_event_elapsed_ms(t->event, t->event, &ms));
    STEP(aios_stream_synchronize(t->stream));
    STEP(device_read_telemetry(t->device, &telemetry));
    STEP(aios_device_open(t->context, t->spec, &t->peer));
    STEP(aios_stream_create(t->peer, &t->peer_stream));
    STEP(aios_device_alloc(t->peer, 64, &t->peer_memory));
    STEP(stream_copy_peer(t->peer_stream, t->peer_memory, t->stream, t->memory, 64));
    STEP(aios_stream_synchronize(t->peer_stream));
    return aios_device_synchronize(t->device);
}

static aios_status train(struct training *t)
{
    STEP(aios_device_open(t->context, t->spec, &t->device));
    STEP(touch(t));
    STEP(build(t));
    for (int step = 0; step < STEPS; step++) {
        int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8}, labels[] = {2, 3, 4, -1, 6, 7, 8, 18};
        aios_loss_sums sums = {.struct_size = sizeof sums};
        STEP(aios_optimizer_begin(t->optimizer, 0.01, 7.0));
        STEP(aios_plan_write(t->plan, "tokens", tokens, sizeof tokens));
        STEP(aios_plan_write(t->plan, "labels", labels, sizeof labels));
        STEP(aios_plan_run(t->plan));
        STEP(aios_optimizer_step(t->optimizer));
        STEP(aios_plan_losses(t->plan, &sums, 1));
        t->losses[step] = sums.loss;
    }
    return aios_device_synchronize(t->device);
}

static void *take(void *user, size_t size)
{
    void *block = malloc(size);
    if (block) (void)atomic_fetch_add(&((struct training *)user)->taken, 1);
    return block;
}

static void *resize(void *user, void *block, size_t size)
{
    (void)user;
    return realloc(block, size);
}

static void give(void *user, void *block)
{
    (void)atomic_fetch_sub(&((struct training *)user)->taken, 1);
    free(block);
}

static void release(struct training *t)
{
    aios_optimizer_destroy(t->optimizer);
    aios_plan_destroy(t->plan);
    aios_parameters_destroy(t->parameters);
    aios_graph_destroy(t->graph);
    aios_model_destroy(t->model);
    aios_event_destroy(t->event);
    aios_stream_destroy(t->peer_stream);
    aios_device_free(t->peer, t->peer_memory);
    aios_device_close(t->peer);
    aios_stream_destroy(t->stream); /* before the memory that its work uses */
    aios_device_free(t->device, t->memory);
    aios_device_host_free(t->device, t->host);
    aios_device_close(t->device);
    aios_context_destroy(t->context);
}

static void *run(void *argument)
{
    struct training *t = argument;
    const aios_allocator allocator = {sizeof allocator, 0, t, take, resize, give};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    double began = os_now();
    options.allocator = &allocator;
    options.device_deadline = t->deadline;
    t->status = aios_context_create(&options, &t->context);
    if (t->status == AIOS_OK) t->status = train(t);
    if (t->status != AIOS_OK) (void)snprintf(t->words, sizeof t->words, "%s", aios_error_message());
    t->calls = atomic_load(&shim->seen);
    release(t);
    t->seconds = os_now() - began;
    return NULL;
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static const char *const calls[] = {"open",
#define SHIM_CALL(name, parameters, arguments) #name,
                                    SHIM_CALLS(SHIM_CALL)
#undef SHIM_CALL
#define SHIM_GROUP_CALL(group, entry, name, parameters, arguments) #name,
                                        SHIM_GROUP_CALLS(SHIM_GROUP_CALL)
#undef SHIM_GROUP_CALL
                                            "capture_begin",
                                    "capture_end"};
/* What has no status to fail with. */
static const char *const silent[] = {"close",
#define SHIM_CALL(name, parameters, arguments) #name,
                                     SHIM_VOID_CALLS(SHIM_CALL)
#undef SHIM_CALL
                                         "capture_destroy",
                                     "attention_workspace_size"};

static struct training healthy; /* what device 0 does when nobody fails */

static void set_fault(const char *call, int mode, long at)
{
    shim->call = call ? call : "";
    shim->mode = mode;
    shim->at = at;
    shim->device = 1;
    atomic_store(&shim->seen, 0);
    atomic_store(&shim->release, 0);
    atomic_store(&shim->lost, 0);
}

static void expect_untouched(const struct training *other, const char *call)
{
    if (other->status != AIOS_OK) fail_msg("while %s failed on shim:1, shim:0 failed: %s", call, other->words);
    assert_memory_equal(other->losses, healthy.losses, sizeof healthy.losses);
    if (other->taken) fail_msg("after a fault in %s on shim:1, %ld blocks of shim:0's context are still taken", call, other->taken);
    if (atomic_load(&shim->live[0])) fail_msg("after a fault in %s on shim:1, %d things of shim:0 are still alive", call, shim->live[0]);
}

static void expect_nothing_left(const struct training *t, const char *call)
{
    if (t->taken) fail_msg("after a fault in %s, %ld blocks of its context are still taken", call, t->taken);
    if (atomic_load(&shim->live[1])) fail_msg("after a fault in %s, %d things of shim:1 are still alive", call, shim->live[1]);
}

/* Trains on both at once. */
static void train_with_fault(const char *call, int mode, long at, struct training *broken)
{
    struct training other = {.spec = "shim:0"};
    os_thread threads[2];
    *broken = (struct training){.spec = "shim:1"};
    set_fault(call, mode, at);
    assert_ok(os_thread_start(&threads[0], "broken", run, broken));
    assert_ok(os_thread_start(&threads[1], "other", run, &other));
    os_thread_join(threads[1]);
    if (mode == SHIM_HANG) atomic_store(&shim->release, 1); /* only now: the other device has finished by itself */
    os_thread_join(threads[0]);
    set_fault(NULL, SHIM_NONE, 0);
    expect_untouched(&other, call);
    expect_nothing_left(broken, call);
}

static void expect_failure(const struct training *t, const char *call, int mode, long at)
{
    char where[80];
    (void)snprintf(where, sizeof where, "call %ld of %s, mode %d", at, call, mode);
    if (t->status == AIOS_OK) fail_msg("%s failed and nobody said so", where);
    aios_status want = mode == SHIM_LOST ? AIOS_DEVICE_LOST : AIOS_DEVICE_ERROR;
    if (t->status != want) fail_msg("%s: %s (%s), not %s", where, aios_status_name(t->status), t->words, aios_status_name(want));
    if (!strstr(t->words, "shim:1") || !strstr(t->words, call)) fail_msg("%s: '%s' names not both device and call", where, t->words);
}

/* How often a run makes the call. */
static long count_calls(size_t call)
{
    static long counts[COUNT_OF(calls)];
    struct training t;
    if (counts[call]) return counts[call];
    train_with_fault(calls[call], SHIM_ONCE, 1000000, &t);
    assert_int_equal(t.status, AIOS_OK);
    if (t.calls == 0) fail_msg("%s is never called", calls[call]);
    return counts[call] = t.calls;
}

/* The first call, one in the middle and the last; brief: one of them. */
static void fail_everywhere(int mode)
{
    struct training broken;
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        long count = count_calls(i);
        const long places[] = {1, (count + 1) / 2, count};
        for (int p = 0; p < 3; p++) {
            if (is_brief ? p != mode % 3 : p && places[p] == places[p - 1]) continue;
            train_with_fault(calls[i], mode, places[p], &broken);
            expect_failure(&broken, calls[i], mode, places[p]);
        }
    }
}

static void a_call_that_fails_once_is_told(void **state)
{
    (void)state;
    fail_everywhere(SHIM_ONCE);
}

static void a_call_that_always_fails_is_told(void **state)
{
    (void)state;
    fail_everywhere(SHIM_FOREVER);
}

static void a_lost_device_is_told(void **state)
{
    (void)state;
    fail_everywhere(SHIM_LOST);
}

static void a_device_lost_while_it_is_released_loses_nothing(void **state)
{
    (void)state;
    struct training broken;
    for (size_t i = 0; i < COUNT_OF(silent); i++) train_with_fault(silent[i], SHIM_LOST, 1, &broken);
}

/* Within the deadline a call may take its time. */
static void a_call_that_hangs_for_a_while_is_waited_for(void **state)
{
    (void)state;
    struct training broken;
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        train_with_fault(calls[i], SHIM_HANG, 1, &broken);
        if (broken.status != AIOS_OK) fail_msg("after %s hung for a while: %s", calls[i], broken.words);
    }
    for (size_t i = 0; i < COUNT_OF(silent); i++) train_with_fault(silent[i], SHIM_HANG, 1, &broken);
}

/* ---- hanging for ever -------------------------------------------------------------------------------------------- */

/* What a hanging call's own thread holds of the context, until the driver lets it go: itself, and the context. */
enum { HELD_BY_A_HANGING_CALL = 2 };

static void hang_for_ever(const char *call, struct training *broken, struct training *other)
{
    os_thread threads[2];
    *other = (struct training){.spec = "shim:0"};
    *broken = (struct training){.spec = "shim:1", .deadline = 3 * healthy.seconds + 0.2};
    set_fault(call, SHIM_STUCK, 1);
    assert_ok(os_thread_start(&threads[0], "broken", run, broken));
    assert_ok(os_thread_start(&threads[1], "other", run, other));
    os_thread_join(threads[0]);
    os_thread_join(threads[1]);
    expect_untouched(other, call);
    atomic_store(&shim->live[1], 0); /* it stays where it is */
}

static void expect_a_clean_end(struct training *broken, const char *call, int is_silent)
{
    if (is_silent && broken->status == AIOS_OK) return; /* told by the log */
    if (broken->status != AIOS_DEVICE_LOST)
        fail_msg("%s hung: %s (%s), not AIOS_DEVICE_LOST", call, aios_status_name(broken->status), broken->words);
    if (!strstr(broken->words, "shim:1") || !strstr(broken->words, call) || !strstr(broken->words, "has not returned"))
        fail_msg("'%s' names not both device and call (%s)", broken->words, call);
}

static void a_call_that_hangs_for_ever_is_told_and_left_behind(void **state)
{
    (void)state;
    enum { ALL = COUNT_OF(calls) + COUNT_OF(silent) };
    static struct training broken[ALL], other;
    for (size_t i = 0; i < ALL; i++) { /* capture_end last: a driver's recording that never ends is in the way of what follows */
        int is_silent = i < COUNT_OF(silent);
        const char *call = is_silent ? silent[i] : calls[i - COUNT_OF(silent)];
        hang_for_ever(call, &broken[i], &other);
        expect_a_clean_end(&broken[i], call, is_silent);
        if (broken[i].taken != HELD_BY_A_HANGING_CALL) fail_msg("%s hangs: %ld blocks are still taken", call, broken[i].taken);
    }
    atomic_store(&shim->release, 1); /* the driver comes back after all */
    for (double until = os_now() + 10; os_now() < until && atomic_load(&shim->hung);) os_sleep(0.001);
    for (size_t i = 0; i < ALL; i++) {
        for (double until = os_now() + 10; os_now() < until && broken[i].taken;) os_sleep(0.001);
        assert_int_equal(broken[i].taken, 0);
    }
}

static void out_of_memory_names_asked_free_and_total(void **state)
{
    (void)state;
    void *memory;
    char total_text[32];
    uint64_t free_bytes, total;
    aios_context *context = test_context();
    aios_device *device;
    assert_ok(aios_device_open(context, "shim:0", &device));
    assert_ok(aios_device_memory_info(device, &free_bytes, &total));
    (void)snprintf(total_text, sizeof total_text, "%llu", (unsigned long long)total);
    assert_int_equal(aios_device_alloc(device, 123456789012345u, &memory), AIOS_DEVICE_OUT_OF_MEMORY);
    if (!strstr(aios_error_message(), "123456789012345") || !strstr(aios_error_message(), total_text) ||
        !strstr(aios_error_message(), "free"))
        fail_msg("%s", aios_error_message());
    assert_ok(aios_device_alloc(device, 1000, &memory));
    aios_device_free(device, memory);
    assert_ok(aios_device_health(device));
    aios_device_close(device);
    aios_context_destroy(context);
}

static int open_shim(void **state)
{
    (void)state;
    (void)setenv("SHIM_BACKEND", TEMPLATE, 0);
    (void)setenv("SHIM_GROUPS", "1", 1);
    (void)setenv("AIOS_BACKEND_PATH", SHIM, 1);
    void *library = dlopen(SHIM, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    shim = dlsym(library, "shim_state");
    assert_non_null(shim);
    for (int i = 0; i < 2; i++) { /* the first pays for what is made at first use */
        healthy = (struct training){.spec = "shim:0"};
        set_fault(NULL, SHIM_NONE, 0);
        (void)run(&healthy);
        if (healthy.status != AIOS_OK) fail_msg("%s", healthy.words);
    }
    return 0;
}

static int leaves_things_behind;

/* The leak checker's question. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return leaves_things_behind;
}

int main(int count, char **words)
{
    const struct CMUnitTest failing[] = {
        cmocka_unit_test(a_call_that_fails_once_is_told),
        cmocka_unit_test(a_call_that_always_fails_is_told),
        cmocka_unit_test(a_lost_device_is_told),
        cmocka_unit_test(a_device_lost_while_it_is_released_loses_nothing),
        cmocka_unit_test(a_call_that_hangs_for_a_while_is_waited_for),
        cmocka_unit_test(out_of_memory_names_asked_free_and_total),
    };
    const struct CMUnitTest hanging[] = {cmocka_unit_test(a_call_that_hangs_for_ever_is_told_and_left_behind)};
    if (count == 2 && strcmp(words[1], "hang") == 0) {
        leaves_things_behind = 1;
        return cmocka_run_group_tests_name("devices that hang", hanging, open_shim, NULL);
    }
    is_brief = count == 2 && strcmp(words[1], "brief") == 0;
    return cmocka_run_group_tests_name("device faults", failing, open_shim, NULL);
}

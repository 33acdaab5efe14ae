#include "call.h"

#include "base/os.h"
#include "collectives.h"
#include "host.h"

#include <aios/device.h>

#include <stdatomic.h>
#include <string.h>

#define SPINS          1000 /* looks at the other thread before sleeping: some ten microseconds */
#define ARGUMENTS_MOST 32
#define IN_MOST        ((DEVICE_RANKS_MOST + 1) * sizeof(uint64_t)) /* of the borders of a collective's parts, the longest thing given */

_Static_assert(sizeof(aios_attention) <= IN_MOST && sizeof(aios_gemm) <= IN_MOST, "a structure is longer than what a proxy keeps");

static const char *const names[] = {
#define CALL(name, made) #name,
#include "call.def"
#undef CALL
};

static aios_status make(const aios_backend *b, void *h, driver_call *c)
{
    const aios_gpu_device *t = c->table;
#define DONE(call) ((call), AIOS_OK) /* it can't fail */
    switch (c->kind) {
#define CALL(name, made)                                                                                                                   \
    case CALL_##name:                                                                                                                      \
        return made;
#include "call.def"
#undef CALL
    }
    return FAIL(AIOS_INTERNAL, "there is no call %d", c->kind);
}

aios_status call_make(aios_context *context, const aios_backend *backend, void *handle, driver_call *call)
{
    host_enter(context);
    return host_leave(backend, make(backend, handle, call));
}

/* ---- proxies ----------------------------------------------------------------------------------------------------- */

enum { IS_IDLE, IS_ASKED, IS_ANSWERED, IS_LEFT, IS_ENDING };

struct call_proxy {
    call_proxy *next;
    aios_context *context;
    const aios_backend *backend;
    os_thread thread;
    atomic_int state;
    atomic_int proxy_sleeps, asker_sleeps;
    os_mutex mutex; /* of sleeping */
    os_condition asked, answered;
    int spins;

    void *handle;
    driver_call call;
    aios_status status;
    aios_error_record record;
    const void *arguments[ARGUMENTS_MOST];
    uint64_t values[ARGUMENTS_MOST];
    _Alignas(16) unsigned char in[IN_MOST], out[sizeof(aios_device_info)];
};

static void release(call_proxy *p)
{
    aios_context *context = p->context;
    os_condition_destroy(&p->asked);
    os_condition_destroy(&p->answered);
    os_mutex_destroy(&p->mutex);
    aios_memory_free(context, p);
    aios_context_release(context);
}

static int changes(const call_proxy *p, int from)
{
    for (int i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(&p->state, memory_order_acquire) != from) return 1;
        os_cpu_relax();
    }
    return 0;
}

/* Who changes the state first and then finds nobody asleep was seen by the other, who looks at the state after it has said that it sleeps.
 */
static void wake(call_proxy *p, atomic_int *sleeps, os_condition *condition)
{
    if (!atomic_load(sleeps)) return;
    os_mutex_lock(&p->mutex);
    os_condition_signal(condition);
    os_mutex_unlock(&p->mutex);
}

static int wait_for_question(call_proxy *p)
{
    for (;;) {
        int state = atomic_load(&p->state);
        if (state == IS_ASKED) return 1;
        if (state == IS_ENDING) return 0;
        if (changes(p, state)) continue;
        os_mutex_lock(&p->mutex);
        atomic_store(&p->proxy_sleeps, 1);
        while (atomic_load(&p->state) == state) os_condition_wait(&p->asked, &p->mutex);
        atomic_store(&p->proxy_sleeps, 0);
        os_mutex_unlock(&p->mutex);
    }
}

static void *run(void *user)
{
    call_proxy *p = user;
    while (wait_for_question(p)) {
        int asked = IS_ASKED;
        p->status = call_make(p->context, p->backend, p->handle, &p->call);
        if (p->status != AIOS_OK) aios_error_save(&p->record);
        if (!atomic_compare_exchange_strong(&p->state, &asked, IS_ANSWERED)) {
            release(p); /* nobody waits any more */
            return NULL;
        }
        wake(p, &p->asker_sleeps, &p->answered);
    }
    return NULL;
}

/* What the call points to has to outlive who asked. */
static aios_status take_in(call_proxy *p, void *handle, const driver_call *call)
{
    p->handle = handle;
    p->call = *call;
    if (call->in) p->call.in = memcpy(p->in, call->in, call->in_size);
    if (call->out) p->call.out = memcpy(p->out, call->out, call->out_size);
    if (!call->arguments) return AIOS_OK;
    const aios_kernel *kernel = aios_kernel_get(call->kernel);
    if (kernel->argument_count > ARGUMENTS_MOST)
        return FAIL(AIOS_INTERNAL, "kernel %s has %u arguments: at most %d", kernel->name, (unsigned)kernel->argument_count,
                    ARGUMENTS_MOST);
    for (uint32_t i = 0; i < kernel->argument_count; i++)
        p->arguments[i] = memcpy(&p->values[i], call->arguments[i], kernel->arguments[i].size);
    p->call.arguments = p->arguments;
    return AIOS_OK;
}

static void give_out(const call_proxy *p, driver_call *call)
{
    if (call->out) memcpy(call->out, p->out, call->out_size);
    call->made = p->call.made;
    call->number = p->call.number;
    memcpy(call->counts, p->call.counts, sizeof call->counts);
    call->milliseconds = p->call.milliseconds;
}

/* 1: it is answered. */
static int sleep_until_answered(call_proxy *p, double deadline)
{
    double until = os_now() + deadline;
    int late = 0;
    os_mutex_lock(&p->mutex);
    atomic_store(&p->asker_sleeps, 1);
    while (atomic_load(&p->state) == IS_ASKED && !late)
        late = !os_condition_wait_for(&p->answered, &p->mutex, until - os_now()) && os_now() >= until;
    atomic_store(&p->asker_sleeps, 0);
    os_mutex_unlock(&p->mutex);
    return atomic_load(&p->state) == IS_ANSWERED;
}

aios_status proxy_call(call_proxy **proxy, void *handle, driver_call *call, double deadline)
{
    call_proxy *p = *proxy;
    TRY_QUIET(take_in(p, handle, call));
    atomic_store(&p->state, IS_ASKED);
    wake(p, &p->proxy_sleeps, &p->asked);
    if (!changes(p, IS_ASKED) && !sleep_until_answered(p, deadline)) {
        os_thread thread = p->thread;
        int asked = IS_ASKED;
        if (atomic_compare_exchange_strong(&p->state, &asked, IS_LEFT)) {
            os_thread_detach(thread);
            *proxy = NULL;
            return FAIL(AIOS_DEVICE_LOST, "%s has not returned for %g s: the driver or the device hangs, and is not called again",
                        names[call->kind], deadline);
        }
    }
    give_out(p, call);
    aios_status status = p->status;
    if (status != AIOS_OK) status = aios_error_restore(&p->record);
    atomic_store(&p->state, IS_IDLE);
    return status;
}

aios_status proxy_create(aios_context *context, const aios_backend *backend, call_proxy **proxy)
{
    call_proxy *p = aios_new(context, call_proxy);
    *proxy = NULL;
    if (!p) return AIOS_OUT_OF_MEMORY;
    p->context = aios_context_retain(context);
    p->backend = backend;
    p->spins = os_cpu_count() > 1 ? SPINS : 0;
    os_mutex_init(&p->mutex);
    os_condition_init(&p->asked);
    os_condition_init(&p->answered);
    aios_status status = os_thread_start(&p->thread, "aios driver", run, p);
    if (status != AIOS_OK)
        release(p);
    else
        *proxy = p;
    return status;
}

void proxy_destroy(call_proxy *p)
{
    if (!p) return;
    atomic_store(&p->state, IS_ENDING);
    wake(p, &p->proxy_sleeps, &p->asked);
    os_thread_join(p->thread);
    release(p);
}

call_proxy *proxy_pop(call_proxy **list)
{
    call_proxy *p = *list;
    if (p) *list = p->next;
    return p;
}

void proxy_push(call_proxy **list, call_proxy *p)
{
    p->next = *list;
    *list = p;
}

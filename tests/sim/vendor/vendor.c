/* The simulation's configuration, devices, faults and report. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct core core = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .random = 1};

static _Thread_local char reason_text[256];
static _Thread_local int fault_code;
static char misunderstood[256];
static pthread_once_t configured = PTHREAD_ONCE_INIT;
static pthread_mutex_t report_mutex = PTHREAD_MUTEX_INITIALIZER;

/* ---- what is said ------------------------------------------------------------------------------------------------ */

vendor_status refuse(vendor_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason_text, sizeof reason_text, format, arguments);
    va_end(arguments);
    return status;
}

const char *vendor_reason(void)
{
    return reason_text;
}

void vendor_complain(const vendor_device *device, const char *format, ...)
{
    const char *path = getenv("AIOS_SIM_REPORT");
    char text[512];
    va_list arguments;
    if (!path || !*path) return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)pthread_mutex_lock(&report_mutex);
    FILE *report = fopen(path, "a");
    if (report) {
        if (device)
            (void)fprintf(report, "%s:%d: %s\n", device->vendor, device->index, text);
        else
            (void)fprintf(report, "%s\n", text);
        (void)fclose(report);
    }
    (void)pthread_mutex_unlock(&report_mutex);
}

uint32_t draw(uint32_t below)
{
    core.random = core.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((core.random >> 33) % below);
}

/* ---- AIOS_SIM ---------------------------------------------------------------------------------------------------- */

static vendor_device *find_device(const char *vendor, int index)
{
    for (int i = 0; i < core.device_count; i++)
        if (core.devices[i].index == index && strcmp(core.devices[i].vendor, vendor) == 0) return &core.devices[i];
    return NULL;
}

/* "cuda:1" or "cuda" -> vendor, index (-1); returns what follows, NULL where it is neither. */
static const char *read_device(const char *text, char vendor[8], int *index)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz");
    if (length == 0 || length > 7) return NULL;
    memcpy(vendor, text, length);
    vendor[length] = 0;
    *index = -1;
    if (text[length] != ':' || text[length + 1] < '0' || text[length + 1] > '9') return text + length;
    char *end;
    *index = (int)strtol(text + length + 1, &end, 10);
    return end;
}

/* "cuda:2,hip:1" */
static int read_devices(const char *text)
{
    while (*text) {
        char vendor[8];
        int count;
        const char *end = read_device(text, vendor, &count);
        if (!end || count < 0 || core.device_count + count > DEVICES_MAX || (*end && *end != ',')) return 0;
        for (int i = 0; i < count; i++) {
            vendor_device *device = &core.devices[core.device_count++];
            memcpy(device->vendor, vendor, sizeof vendor);
            device->index = i;
            device->memory = (uint64_t)2 << 30;
            device->speed = 1;
        }
        text = *end ? end + 1 : end;
    }
    return 1;
}

/* "2GiB" or "cuda:1=2GiB", "0.5" or "hip:0=0.5": calls set for each device meant. */
static int read_amount(const char *text, int (*set)(vendor_device *, const char *))
{
    char vendor[8] = "";
    int index = -1;
    const char *equals = strchr(text, '=');
    if (equals && read_device(text, vendor, &index) != equals) return 0;
    int found = 0;
    for (int i = 0; i < core.device_count; i++) {
        vendor_device *device = &core.devices[i];
        if (equals && (strcmp(device->vendor, vendor) != 0 || (index >= 0 && device->index != index))) continue;
        if (!set(device, equals ? equals + 1 : text)) return 0;
        found = 1;
    }
    return found;
}

static int set_memory(vendor_device *device, const char *text)
{
    char *unit;
    double amount = strtod(text, &unit);
    double factor = strcmp(unit, "GiB") == 0   ? 1073741824.0
                    : strcmp(unit, "MiB") == 0 ? 1048576.0
                    : strcmp(unit, "KiB") == 0 ? 1024.0
                    : *unit == 0               ? 1.0
                                               : 0.0;
    device->memory = (uint64_t)(amount * factor);
    return device->memory > 0;
}

static int set_speed(vendor_device *device, const char *text)
{
    char *end;
    device->speed = strtod(text, &end);
    return *end == 0 && device->speed > 0;
}

static int read_peer(const char *text)
{
    static const char *const words[] = {"yes", "no", "broken"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        core.peer = i;
        return 1;
    }
    return 0;
}

/* "CALL[=CODE]@DEVICE[:N][:MODE]" */
static int read_fault(const char *text)
{
    static const char *const modes[] = {"once", "forever", "hang", "lost"};
    const char *at = strchr(text, '@');
    if (!at || core.fault_count == FAULTS_MAX) return 0;
    struct fault *fault = &core.faults[core.fault_count];
    size_t name = strcspn(text, "=@");
    if (name == 0 || name >= sizeof fault->call) return 0;
    memcpy(fault->call, text, name);
    if (text[name] == '=') fault->code = (int)strtol(text + name + 1, NULL, 10);
    const char *rest = read_device(at + 1, fault->vendor, &fault->index);
    fault->at = 1;
    if (rest && *rest == ':' && rest[1] >= '0' && rest[1] <= '9') {
        char *end;
        fault->at = strtoull(rest + 1, &end, 10);
        rest = end;
    }
    if (!rest || fault->at == 0 || (*rest && *rest != ':')) return 0;
    if (fault->index >= 0 && !find_device(fault->vendor, fault->index)) return 0;
    for (int mode = 0; *rest && mode < 4; mode++) {
        if (strcmp(rest + 1, modes[mode]) != 0) continue;
        fault->mode = mode;
        rest = "";
    }
    core.fault_count++;
    return *rest == 0;
}

static int read_field(const char *field)
{
    if (strncmp(field, "memory=", 7) == 0) return read_amount(field + 7, set_memory);
    if (strncmp(field, "speed=", 6) == 0) return read_amount(field + 6, set_speed);
    if (strncmp(field, "peer=", 5) == 0) return read_peer(field + 5);
    if (strncmp(field, "fault=", 6) == 0) return read_fault(field + 6);
    if (strncmp(field, "seed=", 5) == 0) {
        core.random = strtoull(field + 5, NULL, 10);
        return 1;
    }
    return 0;
}

static void configure(void)
{
    const char *said = getenv("AIOS_SIM");
    char *copy = strdup(said ? said : ""), *rest = NULL;
    int first = 1;
    for (char *field = strtok_r(copy, ";", &rest); field; field = strtok_r(NULL, ";", &rest), first = 0) {
        if (first ? read_devices(field) : read_field(field)) continue;
        (void)snprintf(misunderstood, sizeof misunderstood, "%s", field);
        vendor_complain(NULL, "AIOS_SIM has \"%s\", which is nothing that vendor.h describes: there are no devices", field);
        core.device_count = 0;
        break;
    }
    free(copy);
    for (int i = 0; i < core.device_count; i++) {
        if (memory_start(&core.devices[i])) continue;
        vendor_complain(&core.devices[i], "no range of addresses for %llu bytes", (unsigned long long)core.devices[i].memory);
        core.device_count = i;
    }
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

/* The n-th device that the mask shows, or NULL. */
static vendor_device *pick(const char *vendor, const char *visible, int n)
{
    (void)pthread_once(&configured, configure);
    if (!visible) return n >= 0 ? find_device(vendor, n) : NULL;
    for (int seen = 0; *visible; seen++) {
        char *end;
        long number = strtol(visible, &end, 10);
        vendor_device *device = end == visible || number < 0 || number >= DEVICES_MAX ? NULL : find_device(vendor, (int)number);
        if (!device || (*end && *end != ',')) return NULL;
        if (seen == n) return device;
        visible = *end ? end + 1 : end;
    }
    return NULL;
}

int vendor_count(const char *vendor, const char *visible)
{
    int count = 0;
    while (pick(vendor, visible, count)) count++;
    return count;
}

vendor_device *vendor_get(const char *vendor, const char *visible, int index)
{
    return pick(vendor, visible, index);
}

const char *vendor_misconfigured(void)
{
    (void)pthread_once(&configured, configure);
    return misunderstood[0] ? misunderstood : NULL;
}

int vendor_index(const vendor_device *device)
{
    return device->index;
}

int vendor_hangs(const vendor_device *device)
{
    return device->hangs;
}

double vendor_speed(const vendor_device *device)
{
    return device->speed;
}

void vendor_memory(vendor_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    (void)pthread_mutex_lock(&core.mutex);
    *free_bytes = device->memory - device->used;
    *total_bytes = device->memory;
    (void)pthread_mutex_unlock(&core.mutex);
}

int vendor_can_peer(const vendor_device *device, const vendor_device *other)
{
    return device != other && core.peer != PEER_NO && strcmp(device->vendor, other->vendor) == 0;
}

static vendor_status set_peer(vendor_device *device, vendor_device *other, int on)
{
    uint32_t bit = 1u << (other - core.devices);
    vendor_status status = VENDOR_OK;
    if (!vendor_can_peer(device, other))
        return refuse(VENDOR_UNSUPPORTED, "%s:%d does not reach %s:%d", device->vendor, device->index, other->vendor, other->index);
    (void)pthread_mutex_lock(&core.mutex);
    if (!on && !(device->peers & bit)) status = refuse(VENDOR_INVALID, "peer access was not enabled");
    device->peers = on ? device->peers | bit : device->peers & ~bit;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_enable_peer(vendor_device *device, vendor_device *other)
{
    return set_peer(device, other, 1);
}

vendor_status vendor_disable_peer(vendor_device *device, vendor_device *other)
{
    return set_peer(device, other, 0);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

void fail_device(vendor_device *device, vendor_status state, const char *reason)
{
    if (device->state == VENDOR_LOST || device->state == state) return;
    if (device->state == VENDOR_OK) (void)snprintf(device->state_reason, sizeof device->state_reason, "%s", reason);
    device->state = state;
    drop_work(device);
    (void)pthread_cond_broadcast(&core.moved);
}

static int same_call(const char *wanted, const char *call)
{
    size_t length = strlen(wanted);
    return strncmp(wanted, call, length) == 0 && (call[length] == 0 || strncmp(call + length, "_v", 2) == 0);
}

/* A call that belongs to no device is of all of the vendor's. */
static void hang(const char *vendor, const vendor_device *device)
{
    for (int i = 0; i < core.device_count; i++)
        core.devices[i].hangs |= device ? device == &core.devices[i] : strcmp(core.devices[i].vendor, vendor) == 0;
    (void)pthread_mutex_unlock(&core.mutex);
    for (;;) (void)pause();
}

vendor_status inject(const char *vendor, vendor_device *device, const char *call)
{
    for (int i = 0; i < core.fault_count; i++) {
        struct fault *fault = &core.faults[i];
        if (!same_call(fault->call, call) || strcmp(fault->vendor, vendor) != 0) continue;
        if (fault->index >= 0 && (!device || device->index != fault->index)) continue;
        fault->seen++;
        if (fault->mode == FAULT_FOREVER ? fault->seen < fault->at : fault->seen != fault->at) continue;
        if (device) device->faulted = 1;
        if (fault->mode == FAULT_HANG) hang(vendor, device);
        if (fault->mode == FAULT_LOST && device) {
            fail_device(device, VENDOR_LOST, "the device was lost, as AIOS_SIM asked");
            return VENDOR_LOST;
        }
        fault_code = fault->code;
        return refuse(VENDOR_FAULT, "%s failed, as AIOS_SIM asked", call);
    }
    return VENDOR_OK;
}

vendor_status vendor_call(const char *vendor, vendor_device *device, const char *call)
{
    (void)pthread_once(&configured, configure);
    fault_code = 0;
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = inject(vendor, device, call);
    if (device && device->state != VENDOR_OK) status = refuse(device->state, "%s", device->state_reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

int vendor_fault_code(void)
{
    return fault_code;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* A thread that hangs holds no lock, and what its device holds is left to it; one that works may go on: what it holds then is no leak. */
__attribute__((destructor)) static void report(void)
{
    if (pthread_mutex_trylock(&core.mutex) != 0) return;
    for (int i = 0; i < core.device_count && core.running == 0; i++) {
        if (core.devices[i].hangs) continue;
        stream_report(&core.devices[i]);
        memory_report(&core.devices[i]);
    }
    (void)pthread_mutex_unlock(&core.mutex);
}

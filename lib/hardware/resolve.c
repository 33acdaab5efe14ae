/* The rules: which devices a selection means here, and how a run uses them. */
#include "hardware.h"

#include <stdio.h>
#include <string.h>

static int is_gpu(const aios_device_entry *device)
{
    return device->info.kind != AIOS_DEVICE_CPU;
}

static int is_on_windows(const aios_hardware *h)
{
    return strcmp(h->platform, "windows") == 0;
}

static size_t gpu_count(const aios_hardware *h)
{
    size_t count = 0;
    for (size_t i = 0; i < h->device_count; i++) count += (size_t)is_gpu(&h->devices[i]);
    return count;
}

/* What notes call the devices. */
static const char *plural(const aios_hardware *h)
{
    return gpu_count(h) == h->device_count ? "GPUs" : "devices";
}

/* ---- the devices that are meant ---------------------------------------------------------------------------------- */

static int is_same(const device_identity *saved, const aios_device_entry *entry, int system_changed)
{
    device_identity now;
    identity_of(entry, &now);
    if (saved->uuid[0] && now.uuid[0]) {
        if (strcmp(saved->uuid, now.uuid) == 0) return 1;
        if (!system_changed) return 0; /* another driver may count its UUIDs otherwise */
    }
    if (strcmp(saved->vendor, now.vendor) != 0 || strcmp(saved->name, now.name) != 0) return 0;
    if (saved->pci_address[0] && now.pci_address[0]) return pci_address_equal(saved->pci_address, now.pci_address);
    return strcmp(saved->spec, now.spec) == 0;
}

static const aios_device_entry *find_saved(const aios_device_list *list, const device_identity *saved, int system_changed)
{
    for (size_t i = 0; i < list->count; i++)
        if (is_same(saved, &list->entries[i], system_changed)) return &list->entries[i];
    return NULL;
}

static aios_status add_device(aios_hardware *h, const aios_device_list *list, const aios_device_entry *entry, const char *word)
{
    device_identity identity;
    char there[300];
    for (size_t i = 0; i < h->device_count; i++) {
        if (strcmp(h->devices[i].spec, entry->spec) != 0) continue;
        if (h->fallback) return hardware_say(h, &h->notes, "%s is selected twice: it counts once", entry->spec);
        device_list_say(list, there, sizeof there);
        return FAIL(AIOS_ALREADY_EXISTS, "%s is selected twice, the second time as \"%s\": select each device once; there are %s",
                    entry->spec, word, there);
    }
    TRY_QUIET(aios_memory_grow(h->context, (void **)&h->devices, &h->device_capacity, h->device_count + 1, sizeof *h->devices));
    aios_device_entry *added = &h->devices[h->device_count++];
    *added = *entry;
    identity_of(entry, &identity);
    memcpy(added->info.name, identity.name, sizeof added->info.name);
    memcpy(added->info.vendor, identity.vendor, sizeof added->info.vendor);
    return AIOS_OK;
}

static aios_status say_gone(aios_hardware *h, const selected_device *selected)
{
    const char *name = selected->identity.name;
    hardware_warn(h, WARNING_selected_device_missing);
    return hardware_say(h, &h->changes, "%s%s%s%s is gone: it stays selected and is left out", selected->word, name[0] ? " (" : "", name,
                        name[0] ? ")" : "");
}

/* A selection that was saved means the devices that were there then, whatever their numbers are now. */
static aios_status find_device(aios_hardware *h, const aios_device_list *list, selected_device *selected)
{
    device_identity *saved = &selected->identity;
    int system_changed = h->selection.platform[0] && strcmp(h->selection.platform, h->platform) != 0;
    device_word word;
    TRY_QUIET(device_word_read(selected->word, &word));
    const aios_device_entry *entry = saved->spec[0] ? find_saved(list, saved, system_changed) : device_list_find(list, &word);
    if (!entry) return h->fallback ? say_gone(h, selected) : device_list_missing(list, selected->word, &word);
    if (saved->spec[0] && strcmp(saved->spec, entry->spec) != 0)
        TRY_QUIET(hardware_say(h, &h->changes, "%s (%s) was %s and is %s now", selected->word, saved->name, saved->spec, entry->spec));
    if (is_gpu(entry)) identity_of(entry, saved);
    return add_device(h, list, entry, selected->word);
}

static const aios_device_entry *default_device(const aios_device_list *list)
{
    const aios_device_entry *cpu = NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (is_gpu(&list->entries[i])) return &list->entries[i];
        if (!cpu) cpu = &list->entries[i];
    }
    return cpu;
}

static aios_status use_default(aios_hardware *h, const aios_device_list *list)
{
    char word[24] = "cpu";
    const aios_device_entry *entry = default_device(list);
    if (!entry) return FAIL(AIOS_UNAVAILABLE, "there is no device that could be used");
    if (is_gpu(entry)) (void)snprintf(word, sizeof word, "gpu:%d", (int)entry->id);
    if (!h->selection.by_default) return add_device(h, list, entry, word);
    TRY_QUIET(selection_add(&h->selection, word, strlen(word)));
    return find_device(h, list, &h->selection.devices[0]);
}

/* Nothing of the selection can be used, or it is empty. */
static aios_status fall_back(aios_hardware *h, const aios_device_list *list)
{
    const aios_device_entry *entry = default_device(list);
    int wanted_gpu = 0;
    if (!h->fallback) return FAIL(AIOS_INVALID_ARGUMENT, "No device selected");
    for (size_t i = 0; i < h->selection.count; i++) wanted_gpu |= strncmp(h->selection.devices[i].word, "cpu", 3) != 0;
    hardware_warn(h, wanted_gpu && entry && !is_gpu(entry) ? WARNING_cuda_devices_unavailable : WARNING_empty_selection_defaulted);
    return use_default(h, list);
}

/* With a GPU selected, the CPU is ignored unless it is asked for. */
static aios_status drop_cpus(aios_hardware *h)
{
    size_t kept = 0, gpus = gpu_count(h);
    if (gpus == 0 || gpus == h->device_count || h->keep_cpu) return AIOS_OK;
    for (size_t i = 0; i < h->device_count; i++)
        if (is_gpu(&h->devices[i])) h->devices[kept++] = h->devices[i];
    h->device_count = kept;
    hardware_warn(h, WARNING_mixed_device_selection);
    return hardware_say(h, &h->notes, "CPU ignored");
}

static aios_status find_devices(aios_hardware *h, const aios_device_list *list)
{
    if (h->selection.by_default) {
        TRY_QUIET(selection_read_environment(&h->selection));
        if (h->selection.count == 0) return use_default(h, list);
        h->selection.by_default = 0;
        TRY_QUIET(hardware_say(h, &h->notes, "No device was named: AIOS_CUDA_IDS selects them."));
    }
    for (size_t i = 0; i < h->selection.count; i++) TRY_QUIET(find_device(h, list, &h->selection.devices[i]));
    if (h->device_count == 0) return fall_back(h, list);
    return drop_cpus(h);
}

/* Inference: the GPUs where there are any, eight devices at most; on Windows the first CUDA device, else the first. */
static void choose_for_inference(aios_hardware *h)
{
    size_t gpus = gpu_count(h);
    if (h->device_count > INFERENCE_MOST) hardware_warn(h, WARNING_device_selection_truncated);
    for (uint32_t i = 0; i < h->device_count && h->inference_count < INFERENCE_MOST; i++)
        if (gpus == 0 || is_gpu(&h->devices[i])) h->inference[h->inference_count++] = i;
    if (!is_on_windows(h) || gpus < 2) return;
    hardware_warn(h, WARNING_windows_single_gpu_fallback);
    h->inference_count = 1;
    for (size_t i = h->device_count; i-- > 0;)
        if (strcmp(h->devices[i].info.backend, "cuda") == 0) h->inference[0] = (uint32_t)i;
}

/* ---- how they are used ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t storage; /* types that the device must have */
} precisions[] = {{"32", 1u << AIOS_F32}, {"16-mixed", 1u << AIOS_F32 | 1u << AIOS_F16}, {"bf16-mixed", 1u << AIOS_F32 | 1u << AIOS_BF16}};

static aios_status check_precision(aios_hardware *h)
{
    const char *wanted = h->precision ? h->precision : h->selection.precision[0] ? h->selection.precision : precisions[0].name;
    size_t p = 0;
    while (p < COUNT_OF(precisions) && strcmp(precisions[p].name, wanted) != 0) p++;
    if (p == COUNT_OF(precisions))
        return FAIL(AIOS_INVALID_ARGUMENT, "precision is \"%.64s\": it must be 32, 16-mixed or bf16-mixed", wanted);
    h->precision = precisions[p].name;
    for (size_t i = 0; i < h->device_count; i++) {
        const aios_device_info *info = &h->devices[i].info;
        char can[64] = "";
        if ((info->storage_types & precisions[p].storage) == precisions[p].storage) continue;
        for (size_t q = 0; q < COUNT_OF(precisions); q++) {
            size_t used = strlen(can);
            if ((info->storage_types & precisions[q].storage) != precisions[q].storage) continue;
            (void)snprintf(can + used, sizeof can - used, "%s%s", used ? ", " : "", precisions[q].name);
        }
        return FAIL(AIOS_UNSUPPORTED, "%s (%s) can't do precision %s: it can do %s", h->devices[i].spec, info->name, h->precision,
                    can[0] ? can : "none of 32, 16-mixed, bf16-mixed");
    }
    return AIOS_OK;
}

static int is_mixed(const aios_hardware *h)
{
    for (size_t i = 1; i < h->device_count; i++)
        if (is_gpu(&h->devices[i]) != is_gpu(&h->devices[0]) || strcmp(h->devices[i].info.vendor, h->devices[0].info.vendor) != 0) return 1;
    return 0;
}

static aios_status choose_strategy(aios_hardware *h)
{
    const char *asked = h->asked_strategy;
    const char *mixed = gpu_count(h) == h->device_count ? "GPUs of several vendors" : "GPU and CPU";
    int ddp = asked && strcmp(asked, "ddp") == 0;
    h->strategy = "auto";
    if (h->device_count < 2) return asked ? hardware_say(h, &h->notes, "One device: %s has nothing to distribute", asked) : AIOS_OK;
    if (asked) {
        h->strategy = asked;
        return ddp && is_mixed(h) ? hardware_say(h, &h->notes, "%s exchange gradients by way of host memory.", mixed) : AIOS_OK;
    }
    h->strategy = is_on_windows(h) || is_mixed(h) ? "parallel_independent" : "ddp";
    if (is_mixed(h)) return hardware_say(h, &h->notes, "%s: each trains on its own chunks (parallel_independent).", mixed);
    if (is_on_windows(h)) return hardware_say(h, &h->notes, "Windows: each device trains on its own chunks (parallel_independent).");
    return hardware_say(h, &h->notes, "Multi-%s (DDP) will be used automatically.", gpu_count(h) ? "GPU" : "device");
}

static aios_status count_batches(aios_hardware *h)
{
    long long n = (long long)h->device_count, batch = h->batch_size, workers = h->num_workers;
    const char *unit = plural(h);
    int together = strcmp(h->strategy, "ddp") == 0;
    h->learning_rate_scale = together ? (int32_t)n : 1;
    h->effective_batch_size = batch * h->learning_rate_scale;
    h->loader_workers = workers * n;
    if (n < 2) return AIOS_OK;
    if (batch && together) TRY_QUIET(hardware_say(h, &h->notes, "Effective batch size: %lld (%lld × %lld %s)", batch * n, batch, n, unit));
    if (batch && !together)
        TRY_QUIET(hardware_say(h, &h->notes, "Effective batch size: %lld on each of %lld %s, which step independently", batch, n, unit));
    if (together)
        TRY_QUIET(hardware_say(h, &h->notes,
                               "Linear scaling rule: with %lld times the batch, a learning rate for one device may be multiplied by %lld.",
                               n, n));
    if (!workers) return AIOS_OK;
    return hardware_say(h, &h->notes, "Data loading workers: %lld (%lld × %lld %s)", workers * n, workers, n, unit);
}

aios_status hardware_apply(aios_hardware *hardware, const aios_device_list *list)
{
    const char *saved = hardware->selection.platform;
    if (saved[0] && strcmp(saved, hardware->platform) != 0) {
        hardware_warn(hardware, WARNING_operating_system_changed);
        TRY_QUIET(hardware_say(hardware, &hardware->changes, "the selection was saved on %s and this is %s", saved, hardware->platform));
    }
    TRY_QUIET(find_devices(hardware, list));
    hardware->accelerator = gpu_count(hardware) ? "gpu" : "cpu";
    TRY_QUIET(check_precision(hardware));
    choose_for_inference(hardware);
    TRY_QUIET(choose_strategy(hardware));
    return count_batches(hardware);
}

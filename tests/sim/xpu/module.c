/* Modules and kernels. */
#include "ze_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_module {
    vendor_device *device;
    spirv_kernel *kernels;
    uint32_t kernel_count;
    int live; /* kernels made of it */
    struct pocl_program *program;
};

struct sim_log {
    char text[256];
};

struct sim_kernel {
    struct sim_module *module;
    const spirv_kernel *entry;
    uint32_t group[3];
    uint32_t set; /* bit per argument */
    uint64_t values[ARGUMENTS_MAX];
};

/* ---- modules ----------------------------------------------------------------------------------------------------- */

static ze_module_build_log_handle_t make_log(const char *text)
{
    struct sim_log *log = calloc(1, sizeof *log);
    (void)snprintf(log->text, sizeof log->text, "%s", text);
    return (ze_module_build_log_handle_t)log;
}

ze_result_t zeModuleCreate(ze_context_handle_t context, ze_device_handle_t device, const ze_module_desc_t *desc, ze_module_handle_t *module,
                           ze_module_build_log_handle_t *log)
{
    const char *wrong = NULL;
    (void)context;
    vendor_status status = vendor_call("xpu", sim_core(device), __func__);
    if (status != VENDOR_OK) {
        if (log) *log = make_log("no module, as AIOS_SIM asked");
        return sim_result(status);
    }
    struct sim_module *made = calloc(1, sizeof *made);
    made->device = sim_core(device);
    if (desc->format != ZE_MODULE_FORMAT_IL_SPIRV) wrong = "the module is no SPIR-V";
    if (!wrong) made->kernels = spirv_read(desc->pInputModule, desc->inputSize, &made->kernel_count, &wrong);
    uint32_t sub_group = wrong ? 0 : made->kernels[0].sub_group; /* a module's kernels have one */
    if (sub_group && sub_group != sim_xmx()) wrong = "the device has no matrix units for sub-groups of this size";
    if (!wrong) made->program = pocl_build(desc->pInputModule, desc->inputSize, sub_group, &wrong);
    if (log) *log = make_log(wrong ? wrong : "");
    if (wrong) {
        free(made->kernels);
        free(made);
        return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
    }
    *module = (ze_module_handle_t)made;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleDestroy(ze_module_handle_t handle)
{
    struct sim_module *module = (struct sim_module *)handle;
    vendor_status status = vendor_call("xpu", module->device, __func__);
    if (module->live) vendor_complain(module->device, "a module is destroyed while %d of its kernels live", module->live);
    free(module->kernels);
    free(module);
    return sim_result(status);
}

ze_result_t zeModuleBuildLogGetString(ze_module_build_log_handle_t handle, size_t *size, char *text)
{
    const struct sim_log *log = (struct sim_log *)handle;
    *size = strlen(log->text) + 1;
    if (text) memcpy(text, log->text, *size);
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeModuleBuildLogDestroy(ze_module_build_log_handle_t log)
{
    free(log);
    return ZE_RESULT_SUCCESS;
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

ze_result_t zeKernelCreate(ze_module_handle_t handle, const ze_kernel_desc_t *desc, ze_kernel_handle_t *kernel)
{
    struct sim_module *module = (struct sim_module *)handle;
    ENTER(module->device);
    for (uint32_t i = 0; i < module->kernel_count; i++) {
        if (strcmp(module->kernels[i].name, desc->pKernelName) != 0) continue;
        struct sim_kernel *made = calloc(1, sizeof *made);
        *made = (struct sim_kernel){.module = module, .entry = &module->kernels[i]};
        module->live++;
        *kernel = (ze_kernel_handle_t)made;
        return ZE_RESULT_SUCCESS;
    }
    return ZE_RESULT_ERROR_INVALID_KERNEL_NAME;
}

ze_result_t zeKernelDestroy(ze_kernel_handle_t handle)
{
    struct sim_kernel *kernel = (struct sim_kernel *)handle;
    vendor_status status = vendor_call("xpu", kernel->module->device, __func__);
    kernel->module->live--;
    free(kernel);
    return sim_result(status);
}

ze_result_t zeKernelGetProperties(ze_kernel_handle_t handle, ze_kernel_properties_t *properties)
{
    const struct sim_kernel *kernel = (struct sim_kernel *)handle;
    ENTER(kernel->module->device);
    properties->numKernelArgs = kernel->entry->argument_count;
    properties->requiredGroupSizeX = kernel->entry->group[0];
    properties->requiredGroupSizeY = kernel->entry->group[1];
    properties->requiredGroupSizeZ = kernel->entry->group[2];
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeKernelSetGroupSize(ze_kernel_handle_t handle, uint32_t x, uint32_t y, uint32_t z)
{
    struct sim_kernel *kernel = (struct sim_kernel *)handle;
    const uint32_t group[3] = {x, y, z};
    ENTER(kernel->module->device);
    if (kernel->entry->group[0] && memcmp(group, kernel->entry->group, sizeof group) != 0) {
        vendor_complain(kernel->module->device, "%s: groups of %u: it is compiled for %u", kernel->entry->name, (unsigned)x,
                        (unsigned)kernel->entry->group[0]);
        return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
    }
    memcpy(kernel->group, group, sizeof group);
    return ZE_RESULT_SUCCESS;
}

static ze_result_t check_value(const struct sim_kernel *kernel, uint32_t index, size_t size, const void *value)
{
    vendor_device *device = kernel->module->device;
    void *pointer;
    if (size != kernel->entry->arguments[index].size) {
        vendor_complain(device, "%s: argument %u has %zu bytes: it must have %u", kernel->entry->name, (unsigned)index, size,
                        (unsigned)kernel->entry->arguments[index].size);
        return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE;
    }
    if (!kernel->entry->arguments[index].is_pointer || !value) return ZE_RESULT_SUCCESS;
    memcpy(&pointer, value, sizeof pointer);
    return sim_result(vendor_check(device, kernel->entry->name, pointer, 1)); /* NULL is no address */
}

ze_result_t zeKernelSetArgumentValue(ze_kernel_handle_t handle, uint32_t index, size_t size, const void *value)
{
    struct sim_kernel *kernel = (struct sim_kernel *)handle;
    ENTER(kernel->module->device);
    if (index >= kernel->entry->argument_count) return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX;
    ze_result_t result = check_value(kernel, index, size, value);
    if (result != ZE_RESULT_SUCCESS) return result;
    kernel->values[index] = 0;
    if (value) memcpy(&kernel->values[index], value, size);
    kernel->set |= 1u << index;
    return ZE_RESULT_SUCCESS;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

ze_result_t sim_take_launch(ze_kernel_handle_t handle, vendor_device *device, uint32_t teams, sim_launch *launch)
{
    const struct sim_kernel *kernel = (struct sim_kernel *)handle;
    const spirv_kernel *entry = kernel->entry;
    const char *wrong = NULL;
    uint32_t all = entry->argument_count == 32 ? ~0u : (1u << entry->argument_count) - 1;
    if (kernel->module->device != device) wrong = "it is of another device";
    if (kernel->set != all) wrong = "not every argument was set";
    if (kernel->group[0] != VENDOR_TEAM_SIZE) wrong = "its group size was not set";
    if (teams == 0) wrong = "it is given no groups";
    if (wrong) {
        vendor_complain(device, "%s is launched: %s", entry->name, wrong);
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    launch->kernel = entry;
    launch->program = kernel->module->program;
    launch->teams = teams;
    memcpy(launch->values, kernel->values, sizeof launch->values);
    return ZE_RESULT_SUCCESS;
}

/* Turns addresses of the device into those of their bytes, runs the kernel, and looks for what it wrote beside its buffers. */
static const char *run(vendor_device *device, void *payload)
{
    const sim_launch *launch = payload;
    uint64_t values[ARGUMENTS_MAX];
    for (uint32_t i = 0; i < launch->kernel->argument_count; i++) {
        void *pointer, *bytes;
        values[i] = launch->values[i];
        if (!launch->kernel->arguments[i].is_pointer || values[i] == 0) continue;
        memcpy(&pointer, &values[i], sizeof pointer);
        bytes = vendor_bytes(device, pointer, 1);
        if (!bytes) return vendor_reason();
        memcpy(&values[i], &bytes, sizeof bytes);
    }
    const char *wrong = pocl_run(launch->program, launch, values);
    return wrong ? wrong : vendor_check_guards(device);
}

vendor_status sim_submit_launch(vendor_stream *stream, const sim_launch *launch)
{
    const void *arguments[ARGUMENTS_MAX];
    uint64_t sizes[ARGUMENTS_MAX];
    if (!launch->program) { /* no PoCL: the same kernels, as the core has them */
        int kernel = vendor_kernel_find(launch->kernel->name);
        for (uint32_t i = 0; i < launch->kernel->argument_count; i++) {
            arguments[i] = &launch->values[i];
            sizes[i] = launch->kernel->arguments[i].size;
        }
        if (kernel < 0) return VENDOR_INVALID;
        return vendor_launch(stream, kernel, launch->teams, VENDOR_TEAM_SIZE, arguments, launch->kernel->argument_count, sizes);
    }
    sim_launch *kept = malloc(sizeof *kept);
    *kept = *launch;
    return vendor_submit(stream, launch->kernel->name, run, free, kept);
}

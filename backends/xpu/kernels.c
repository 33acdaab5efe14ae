/* The kernels: one SPIR-V module, compiled by the driver when it is loaded. */
#include "xpu.h"

#include "embed.h"

#include <string.h>

EMBED(xpu_module, XPU_MODULE);

/* Of a module that does not build, loaders that wrap handles (1.8 is one) return the driver's own log, with which their functions crash. */
static aios_status say_build_failure(ze_result_t result, ze_module_build_log_handle_t log)
{
    aios_status status = xpu_check(result, "zeModuleCreate");
    size_t size = 0;
    char *text = NULL;
    if (log && ze.zeModuleBuildLogGetString(log, &size, NULL) == ZE_RESULT_SUCCESS && size > 1) text = plugin_alloc(size + 1);
    if (text && ze.zeModuleBuildLogGetString(log, &size, text) == ZE_RESULT_SUCCESS) {
        status = plugin_fail(status, result, "zeModuleCreate: the kernels do not build (0x%x): %.400s", (unsigned)result, text);
        plugin_log(AIOS_LOG_INFO, "xpu: the driver's compiler: %s", text);
    }
    plugin_free(text);
    return status;
}

aios_status xpu_module_create(xpu_device *device, const unsigned char *from, const unsigned char *end, const char *flags,
                              ze_module_handle_t *module, ze_result_t *result)
{
    ze_module_build_log_handle_t log = NULL;
    const ze_module_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_MODULE_DESC,
                                   .format = ZE_MODULE_FORMAT_IL_SPIRV,
                                   .inputSize = (size_t)(end - from),
                                   .pInputModule = from,
                                   .pBuildFlags = flags};
    *result = ze.zeModuleCreate(device->place->context, device->place->device, &desc, module, &log);
    if (*result != ZE_RESULT_SUCCESS && device->place->is_wrapped) log = NULL;
    aios_status status = *result == ZE_RESULT_SUCCESS ? AIOS_OK : say_build_failure(*result, log);
    if (log) (void)ze.zeModuleBuildLogDestroy(log);
    if (status != AIOS_OK) *module = NULL;
    return status;
}

aios_status xpu_load_kernels(void *handle, const aios_kernel *kernels, uint32_t count)
{
    xpu_device *device = handle;
    ze_result_t result;
    ze_kernel_handle_t *handles = plugin_alloc(count * sizeof *handles);
    if (!handles) return AIOS_OUT_OF_MEMORY;
    aios_status status = xpu_module_create(device, xpu_module, xpu_module_end, XPU_BUILD_FLAGS, &device->module, &result);
    if (status != AIOS_OK) {
        plugin_free(handles);
        return status;
    }
    device->kernels = kernels;
    device->kernel_count = count;
    device->kernel_handles = handles;
    return AIOS_OK;
}

void xpu_kernels_destroy(xpu_device *device)
{
    xpu_xmx_destroy(device);
    for (uint32_t i = 0; i < device->kernel_count; i++)
        if (device->kernel_handles[i]) (void)ze.zeKernelDestroy(device->kernel_handles[i]);
    plugin_free(device->kernel_handles);
    if (device->module) (void)ze.zeModuleDestroy(device->module);
}

static aios_status prepare(ze_kernel_handle_t kernel, const char *name, uint32_t arguments)
{
    ze_kernel_properties_t properties = {.stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES};
    PLUGIN_TRY(ZE(zeKernelGetProperties, kernel, &properties));
    if (properties.numKernelArgs != arguments)
        return plugin_fail(AIOS_ABI_MISMATCH, 0, "kernel %s of the module takes %u arguments and the library's %u: rebuild the plugin",
                           name, properties.numKernelArgs, arguments);
    return ZE(zeKernelSetGroupSize, kernel, XPU_TEAM_SIZE, 1, 1);
}

aios_status xpu_kernel_create(ze_module_handle_t module, const char *name, uint32_t arguments, ze_kernel_handle_t *kernel)
{
    const ze_kernel_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = name};
    ze_kernel_handle_t made = NULL;
    PLUGIN_TRY(ZE(zeKernelCreate, module, &desc, &made));
    aios_status status = prepare(made, name, arguments);
    if (status == AIOS_OK)
        *kernel = made;
    else
        (void)ze.zeKernelDestroy(made);
    return status;
}

static aios_status get_kernel(xpu_device *device, uint32_t index, ze_kernel_handle_t *kernel)
{
    const aios_kernel *wanted = &device->kernels[index];
    if (!device->kernel_handles[index])
        PLUGIN_TRY(xpu_kernel_create(device->module, wanted->name, wanted->argument_count, &device->kernel_handles[index]));
    *kernel = device->kernel_handles[index];
    return AIOS_OK;
}

/* A pointer that is NULL is passed as no value: Level Zero refuses addresses that are nobody's memory. */
static aios_status set_arguments(ze_kernel_handle_t kernel, const aios_kernel *wanted, const void *const *arguments)
{
    static const void *const none = NULL;
    for (uint32_t i = 0; i < wanted->argument_count; i++) {
        const aios_kernel_argument *argument = &wanted->arguments[i];
        int absent = argument->kind != AIOS_ARG_VALUE && memcmp(arguments[i], &none, sizeof none) == 0;
        PLUGIN_TRY(ZE(zeKernelSetArgumentValue, kernel, i, argument->size, absent ? NULL : arguments[i]));
    }
    return AIOS_OK;
}

aios_status xpu_append_launch(xpu_stream *stream, ze_kernel_handle_t kernel, uint32_t teams)
{
    const ze_group_count_t groups = {teams, 1, 1};
    ze_command_list_handle_t list;
    PLUGIN_TRY(xpu_ordered_list(stream, &list));
    PLUGIN_TRY(ZE(zeCommandListAppendLaunchKernel, list, kernel, &groups, NULL, 0, NULL));
    xpu_appended(stream);
    return AIOS_OK;
}

/* The caller holds the mutex: a kernel object has one set of arguments, which are taken when it is appended. */
static aios_status launch(xpu_device *device, xpu_stream *stream, uint32_t index, uint32_t teams, const void *const *arguments)
{
    ze_kernel_handle_t kernel;
    PLUGIN_TRY(get_kernel(device, index, &kernel));
    PLUGIN_TRY(set_arguments(kernel, &device->kernels[index], arguments));
    return xpu_append_launch(stream, kernel, teams);
}

aios_status xpu_launch(void *handle, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = launch(device, stream, kernel, teams, arguments);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

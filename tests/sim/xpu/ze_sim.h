/* ze_sim.h (internal): a Level Zero driver on the simulated devices (tests/sim/vendor).  The real loader loads it where
 * ZE_ENABLE_ALT_DRIVERS names it.  It runs the SPIR-V that it is given through PoCL, OpenCL on the CPU.
 *
 * What it holds a program to beyond the core: commands between two barriers of a command list run in any order; a barrier that waits for
 * events does not wait for the commands before it; a closed list that the device may still use is not executed or destroyed; two
 * threads don't use one list; a kernel is launched with the group size that it was compiled for and with every argument set; a
 * NULL address is passed as no value. */
#ifndef ZE_SIM_H
#define ZE_SIM_H

#include "vendor.h"

#include <level_zero/ze_api.h>
#include <level_zero/ze_ddi.h>
#include <level_zero/zes_api.h>
#include <level_zero/zes_ddi.h>
#include <level_zero/zet_api.h>
#include <level_zero/zet_ddi.h>

#include <stdatomic.h>

#define SIM_FREQUENCY 19200000u /* of the timestamps, and 32 bits of them: what a GPU has */
#define ARGUMENTS_MAX 32

/* ---- devices: driver.c ------------------------------------------------------------------------------------------- */

#define SIM_DEVICES_MAX 16
typedef struct sim_device {
    vendor_device *core;
    uint64_t busy_since; /* microseconds; what the engine's activity counts from */
} sim_device;
/* The devices that ZE_AFFINITY_MASK leaves, those of them that this driver shows. */
int sim_devices(sim_device **devices);
vendor_device *sim_core(ze_device_handle_t device);

/* AIOS_SIM_XMX, 8 or 16: the devices have matrix units for sub-groups of so many lanes, as Arc and Max have; 0: they have none. */
uint32_t sim_xmx(void);

ze_result_t sim_result(vendor_status status);
uint64_t sim_nanoseconds(void);

/* The first thing in each function: faults, and the device's state.  device NULL: none. */
#define ENTER(device)                                                                                                                      \
    do {                                                                                                                                   \
        vendor_status enter_status_ = vendor_call("xpu", device, __func__);                                                                \
        if (enter_status_ != VENDOR_OK) return sim_result(enter_status_);                                                                  \
    } while (0)

/* ---- kernels: module.c, spirv.c, pocl.c -------------------------------------------------------------------------- */

/* One entry point of a SPIR-V module. */
typedef struct spirv_kernel {
    char name[96];
    uint32_t argument_count;
    struct {
        uint8_t is_pointer, size;
    } arguments[ARGUMENTS_MAX];
    uint32_t group[3], sub_group; /* the sizes that it demands; 0: any */
} spirv_kernel;
/* The module's kernels; NULL with a sentence in *wrong where it is no module that a driver would take.  The caller frees. */
spirv_kernel *spirv_read(const void *bytes, size_t size, uint32_t *count, const char **wrong);

/* A launch with its arguments as they were when it was appended. */
typedef struct sim_launch {
    const spirv_kernel *kernel;
    struct pocl_program *program;
    uint64_t values[ARGUMENTS_MAX];
    uint32_t teams;
} sim_launch;
ze_result_t sim_take_launch(ze_kernel_handle_t kernel, vendor_device *device, uint32_t teams, sim_launch *launch);
vendor_status sim_submit_launch(vendor_stream *stream, const sim_launch *launch);

/* The module for PoCL, built once per process; NULL with a sentence in *wrong.  sub_group: what its kernels demand; they are given the
 * matrix units of xmx_shim.c; 0: nothing. */
VENDOR_API struct pocl_program *pocl_build(const void *bytes, size_t size, uint32_t sub_group, const char **wrong);
/* Runs it to its end; addresses are the host's.  NULL, or what went wrong. */
VENDOR_API const char *pocl_run(struct pocl_program *program, const sim_launch *launch, const uint64_t *values);

#endif

/* hardware.h: from the devices that a user selected to what a run uses: accelerator, devices, strategy, precision.
 *
 * The rules are those of AI Studio's page on multi-GPU training:
 *
 *   selection      accelerator  devices  strategy
 *   one GPU        "gpu"        [0]      "auto"
 *   several GPUs   "gpu"        [0, 1]   "ddp"
 *   CPU only       "cpu"        "auto"   "auto"
 *   GPUs and CPU   as the GPUs alone, with a note and a warning; with keep_cpu the CPU stays
 *   nothing        an error: "No device selected"
 *
 * Beyond it: devices of several vendors (a CPU beside a GPU is another one), and several devices on Windows, resolve to
 * "parallel_independent" unless a strategy is asked for.  Inference uses at most eight of the devices, and one on Windows.
 * Training reads its option devices by these same rules.
 *
 * A device is named by a word: "cpu", "gpu:1" or "1" (the id of device.h's list), "cuda:1", "xpu:0", "hip:0", a PCI address
 * ("0000:3b:00.0") or a UUID.  A resolution is immutable: any thread may read it. */
#ifndef AIOS_HARDWARE_H
#define AIOS_HARDWARE_H

#include <aios/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_hardware aios_hardware;

typedef struct aios_hardware_options {
    uint32_t struct_size;
    int32_t batch_size;    /* samples per device; 0: not known, so nothing is said of the effective batch */
    int32_t num_workers;   /* data loading threads per device; 0: not known */
    int32_t fallback;      /* 0: an empty selection and a missing device are errors; 1: go on with what is there, and warn */
    const char *precision; /* "32", "16-mixed", "bf16-mixed"; NULL: what a JSON selection says, else "32" */
    const char *strategy;  /* "ddp", "parallel_independent" where one is asked for; NULL, "auto": by the rules */
    const char *os;        /* "linux", "windows", "macos": whose rules hold; NULL: this system's */
    int32_t keep_cpu;      /* 0: beside GPUs a selected CPU is ignored; 1: it trains with them */
} aios_hardware_options;
#define AIOS_HARDWARE_OPTIONS_INIT                                                                                                         \
    {                                                                                                                                      \
        sizeof(aios_hardware_options), 0, 0, 0, NULL, NULL, NULL, 0                                                                        \
    }
AIOS_API void aios_hardware_options_init(aios_hardware_options *options);

/* Resolves a selection: words with commas or blanks between them, or JSON: {"hardware": {"selected_devices": ["gpu:0"],
 * "precision": "32"}}, its inner object, or the list alone.  NULL, "auto" and JSON without selected_devices select the default:
 * the first GPU, else the CPU; where the environment has AIOS_CUDA_IDS ("0,1": cuda:0 and cuda:1), what that says.
 * list NULL: the devices of this machine; it need not outlive the call.  options may be NULL.
 *
 * Each warning goes to the context's log too.  Each attempt, failed ones included, is one event "hardware_resolve":
 * {"platform": "linux", "requested": ["gpu:0"], "effective": ["cuda:0"], "warnings": [], "strategy", "precision", "error"}; the last
 * three are null where there is none.
 *
 * Errors: INVALID_ARGUMENT ("No device selected"; a word, precision, strategy or system that is none), CORRUPT (broken JSON),
 * NOT_FOUND and UNAVAILABLE (a device that is not there or can't be used; the message lists what is), ALREADY_EXISTS (a device
 * selected twice), UNSUPPORTED (a precision that a device lacks; the message lists what it has), OUT_OF_RANGE, OUT_OF_MEMORY. */
AIOS_API aios_status aios_hardware_resolve(aios_context *context, const aios_device_list *list, const char *selection,
                                           const aios_hardware_options *options, aios_hardware **hardware);
AIOS_API void aios_hardware_destroy(aios_hardware *hardware);

/* ---- what a run uses --------------------------------------------------------------------------------------------- */

AIOS_API const char *aios_hardware_accelerator(const aios_hardware *hardware); /* "gpu", "cpu" */
AIOS_API const char *aios_hardware_strategy(const aios_hardware *hardware);    /* "auto", "ddp", "parallel_independent" */
AIOS_API const char *aios_hardware_precision(const aios_hardware *hardware);   /* "32", "16-mixed", "bf16-mixed" */
AIOS_API const char *aios_hardware_platform(const aios_hardware *hardware);    /* "linux", "windows", "macos" */
/* The devices to train on, in the order of the selection; NULL past the end. */
AIOS_API uint32_t aios_hardware_device_count(const aios_hardware *hardware);
AIOS_API const aios_device_entry *aios_hardware_device(const aios_hardware *hardware, uint32_t index);
/* The devices for inference and for lists: some of those above. */
AIOS_API uint32_t aios_hardware_inference_count(const aios_hardware *hardware);
AIOS_API const aios_device_entry *aios_hardware_inference_device(const aios_hardware *hardware, uint32_t index);
/* Samples of one optimizer step over all devices that step together: of all with ddp, of each one with parallel_independent.
 * 0 where options had no batch_size. */
AIOS_API int64_t aios_hardware_effective_batch_size(const aios_hardware *hardware);
/* How many times the batch grew, by which the linear scaling rule multiplies the learning rate. */
AIOS_API int32_t aios_hardware_learning_rate_scale(const aios_hardware *hardware);
/* Data loading threads of all devices; 0 where options had no num_workers. */
AIOS_API int64_t aios_hardware_loader_workers(const aios_hardware *hardware);

/* ---- what is said of it ------------------------------------------------------------------------------------------ */

/* The words of the selection, the unusable ones too. */
AIOS_API uint32_t aios_hardware_requested_count(const aios_hardware *hardware);
AIOS_API const char *aios_hardware_requested(const aios_hardware *hardware, uint32_t index);
/* Sentences for the user: "Effective batch size: 64 (32 × 2 GPUs)". */
AIOS_API uint32_t aios_hardware_note_count(const aios_hardware *hardware);
AIOS_API const char *aios_hardware_note(const aios_hardware *hardware, uint32_t index);
/* What is other than when the selection was saved: "gpu:1 (NVIDIA H200) is gone: it stays selected and is left out". */
AIOS_API uint32_t aios_hardware_change_count(const aios_hardware *hardware);
AIOS_API const char *aios_hardware_change(const aios_hardware *hardware, uint32_t index);
/* Tokens: "mixed_device_selection". */
AIOS_API uint32_t aios_hardware_warning_count(const aios_hardware *hardware);
AIOS_API const char *aios_hardware_warning(const aios_hardware *hardware, uint32_t index);
/* All of the above as a JSON object: {"accelerator": "gpu", "devices": [0, 1], "strategy": "ddp", "precision": "32",
 * "effective_batch_size": 64, "notes": […], "warnings": […], "specs": ["cuda:0", "cuda:1"], …}; devices is "auto" for the CPU, and
 * [0, "cpu:0"] where it stays beside a GPU. */
AIOS_API const char *aios_hardware_json(const aios_hardware *hardware);

/* Every token there is, and the one sentence that goes with it; NULL past the end and for an unknown token.  Static. */
AIOS_API uint32_t aios_warning_count(void);
AIOS_API const char *aios_warning_token(uint32_t index);
AIOS_API const char *aios_warning_message(const char *token);

/* ---- a selection that is kept ------------------------------------------------------------------------------------ */

/* Writes the selection to a file (JSON of under a kilobyte per device, replaced atomically): the words as they were selected, what each
 * device was, the precision and the operating system.  Errors: IO, NOT_FOUND, OUT_OF_MEMORY. */
AIOS_API aios_status aios_hardware_save(const aios_hardware *hardware, const char *path);
/* Resolves the selection that a file keeps, with fallback, against what is here now.  A device is recognised by its UUID, else its
 * PCI address and name, whatever its number is now; one that is gone stays in the selection and not in the effect; another
 * operating system than the saved one is a warning.  options: its precision goes before the file's.
 * Errors: as aios_hardware_resolve, and NOT_FOUND, IO and CORRUPT of the file; UNSUPPORTED where a newer libaios wrote it. */
AIOS_API aios_status aios_hardware_load(aios_context *context, const aios_device_list *list, const char *path,
                                        const aios_hardware_options *options, aios_hardware **hardware);

#ifdef __cplusplus
}
#endif
#endif

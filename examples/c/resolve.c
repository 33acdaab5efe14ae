/* resolve.c: from the devices that a user ticked to what a run will use, as a settings window would show it.
 *
 *     cc resolve.c $(pkg-config --cflags --libs libaios) -o resolve && ./resolve "gpu:0, gpu:1, cpu" bf16-mixed */
#include <aios/aios.h>

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_context *context = NULL;
    aios_hardware *hardware = NULL;
    options.batch_size = 8;
    options.fallback = 1; /* what is not there is left out with a warning; 0: it is an error */
    options.precision = argc > 2 ? argv[2] : NULL;

    /* Without a selection: the first GPU, else the CPU. */
    aios_status status = aios_context_create(NULL, &context);
    if (status == AIOS_OK) status = aios_hardware_resolve(context, NULL, argc > 1 ? argv[1] : NULL, &options, &hardware);
    if (status != AIOS_OK) {
        fprintf(stderr, "resolve: %s\n", aios_error_message());
        aios_context_destroy(context);
        return 1;
    }
    printf("accelerator %s, strategy %s, precision %s\n", aios_hardware_accelerator(hardware), aios_hardware_strategy(hardware),
           aios_hardware_precision(hardware));
    for (uint32_t i = 0; i < aios_hardware_device_count(hardware); i++)
        printf("trains on %s (%s)\n", aios_hardware_device(hardware, i)->spec, aios_hardware_device(hardware, i)->info.name);
    printf("samples per step: %" PRId64 "\n", aios_hardware_effective_batch_size(hardware));
    for (uint32_t i = 0; i < aios_hardware_note_count(hardware); i++) printf("note: %s\n", aios_hardware_note(hardware, i));
    for (uint32_t i = 0; i < aios_hardware_warning_count(hardware); i++)
        printf("warning: %s\n", aios_warning_message(aios_hardware_warning(hardware, i)));

    aios_hardware_destroy(hardware);
    aios_context_destroy(context);
    return 0;
}

/* devices.c: what can train here, and why what can't, can't.
 *
 *     cc devices.c $(pkg-config --cflags --libs libaios) -o devices && ./devices */
#include <aios/aios.h>

#include <inttypes.h>
#include <stdio.h>

static void print_device(const aios_device_entry *entry)
{
    printf("%-8s %-40s %6.1f GiB, %6.1f free\n", entry->spec, entry->info.name, (double)entry->info.memory_total / (1 << 30),
           (double)entry->memory_free / (1 << 30));
}

/* A driver that is missing, or too old, is no error of the list: it is listed with its reason. */
static void print_backend(const aios_backend_entry *entry)
{
    if (entry->status == AIOS_OK)
        printf("%s: %" PRId32 " devices\n", entry->name, entry->device_count);
    else
        printf("%s: %s\n", entry->name, entry->reason);
}

int main(void)
{
    aios_context *context = NULL;
    aios_device_list *list = NULL;
    aios_status status = aios_context_create(NULL, &context);
    if (status == AIOS_OK) status = aios_device_list_create(context, &list);
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) print_device(aios_device_list_get(list, i));
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++) print_backend(aios_device_list_get_backend(list, i));
    if (status != AIOS_OK) fprintf(stderr, "devices: %s\n", aios_error_message());
    aios_device_list_destroy(list);
    aios_context_destroy(context);
    return status == AIOS_OK ? 0 : 1;
}

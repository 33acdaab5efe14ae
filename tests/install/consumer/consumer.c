/* A program of somebody else, in C11.  Lists the devices and backends; 0 where the library is the version that was asked for. */
#include <aios/aios.h>

#include <stdio.h>
#include <string.h>

/* A name that libaios has inside: a static library must keep it there. */
int json_parse(void);
int json_parse(void)
{
    return 1;
}

int main(int argc, char **argv)
{
    aios_context *context = NULL;
    aios_device_list *list = NULL;
    uint32_t i, count = 0;

    if (argc != 2 || strcmp(aios_version(), argv[1]) != 0 || strcmp(AIOS_VERSION_STRING, argv[1]) != 0) {
        (void)fprintf(stderr, "library %s, headers %s, wanted %s\n", aios_version(), AIOS_VERSION_STRING, argc == 2 ? argv[1] : "?");
        return 1;
    }
    if (aios_context_create(NULL, &context) == AIOS_OK && aios_device_list_create(context, &list) == AIOS_OK)
        count = aios_device_list_count(list);
    else
        (void)fprintf(stderr, "%s\n", aios_error_message());
    for (i = 0; i < count; i++) (void)printf("%s: %s\n", aios_device_list_get(list, i)->spec, aios_device_list_get(list, i)->info.name);
    for (i = 0; i < aios_device_list_backend_count(list); i++)
        (void)printf("backend %s %s: %s\n", aios_device_list_get_backend(list, i)->name, aios_device_list_get_backend(list, i)->path,
                     aios_device_list_get_backend(list, i)->reason);
    aios_device_list_destroy(list);
    aios_context_destroy(context);
    return count > 0 && json_parse() == 1 ? 0 : 1;
}

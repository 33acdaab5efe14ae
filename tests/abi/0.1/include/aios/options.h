/* options.h: settings that grow, as one table (options.def).
 *
 * From the table come these setters and getters, the JSON configuration, the command's flags, the Python keywords and
 * docs/options.md.  An unknown name or a value out of range is an error that names the nearest valid one.  A handle belongs
 * to one thread at a time. */
#ifndef AIOS_OPTIONS_H
#define AIOS_OPTIONS_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_options aios_options;

/* What an option is for; a handle accepts the options of its scopes. */
enum { AIOS_SCOPE_TRAIN = 1, AIOS_SCOPE_EVAL = 2, AIOS_SCOPE_GENERATE = 4, AIOS_SCOPE_DATA = 8, AIOS_SCOPE_HRM = 16 };
enum { AIOS_OPTION_INT = 0, AIOS_OPTION_FLOAT = 1, AIOS_OPTION_BOOL = 2, AIOS_OPTION_STRING = 3, AIOS_OPTION_CHOICE = 4 };

typedef struct aios_option_info {
    uint32_t struct_size;
    int32_t type;    /* AIOS_OPTION_… */
    uint32_t scopes; /* bits of AIOS_SCOPE_… */
    uint32_t reserved;
    double minimum, maximum;  /* of INT and FLOAT */
    const char *name;         /* "batch-size" */
    const char *default_text; /* "8"; "" for none */
    const char *choices;      /* of CHOICE: "32|16-mixed|bf16-mixed" */
    const char *help;         /* one sentence */
    const char *section;      /* "Optimizer": how the help groups them */
    const char *alias;        /* another name that is accepted; "" for none */
} aios_option_info;
#define AIOS_OPTION_INFO_INIT                                                                                                              \
    {                                                                                                                                      \
        sizeof(aios_option_info), 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL                                                        \
    }

/* The table; aliases are not counted.  All strings are static.  Errors: OUT_OF_RANGE, ABI_MISMATCH (struct_size unset). */
AIOS_API uint32_t aios_option_count(void);
AIOS_API aios_status aios_option_get_info(uint32_t index, aios_option_info *info);

AIOS_API aios_status aios_options_create(aios_context *context, uint32_t scopes, aios_options **options);
AIOS_API void aios_options_destroy(aios_options *options);
/* By text, as a flag would give it: "on", "off", "true", "1" … for BOOL; "1e-3"; "4096".  '_' and '-' are the same in names.
 * Errors: NOT_FOUND (with the nearest name), OUT_OF_RANGE (with the range), INVALID_ARGUMENT. */
AIOS_API aios_status aios_options_set(aios_options *options, const char *name, const char *value);
AIOS_API aios_status aios_options_set_int(aios_options *options, const char *name, int64_t value);
AIOS_API aios_status aios_options_set_float(aios_options *options, const char *name, double value);
AIOS_API aios_status aios_options_get_int(const aios_options *options, const char *name, int64_t *value); /* BOOL too: 0, 1 */
AIOS_API aios_status aios_options_get_float(const aios_options *options, const char *name, double *value);
AIOS_API aios_status aios_options_get_string(const aios_options *options, const char *name,
                                             const char **value);                    /* STRING, CHOICE; borrowed until set */
AIOS_API int32_t aios_options_is_set(const aios_options *options, const char *name); /* 1: was set, whatever to */
/* An object of names and values, as aios_options_write_json makes it; a value may also be the text that a flag would have.
 * All or nothing: a bad entry, or one that is there twice, changes no option.  Errors: those of set, CORRUPT (no JSON). */
AIOS_API aios_status aios_options_read_json(aios_options *options, const char *json);
/* The options that were set, in the order of the table; read back they give the same values, bit by bit.  Borrowed until the
 * next call on the handle; NULL where there is no memory. */
AIOS_API const char *aios_options_write_json(aios_options *options);

#ifdef __cplusplus
}
#endif
#endif

#include "options.h"

#include "float_scope.h"
#include "names.h"
#include "text.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define T            AIOS_SCOPE_TRAIN
#define E            AIOS_SCOPE_EVAL
#define G            AIOS_SCOPE_GENERATE
#define D            AIOS_SCOPE_DATA
#define H            AIOS_SCOPE_HRM
#define ALL_SCOPES   (T | E | G | D | H)
#define NAME_MOST    64
#define SHOWN_MOST   160 /* characters of a wrong value that an error repeats */
#define SEGMENT_MOST 128

struct row {
    uint32_t scopes;
    int32_t type;
    const char *section, *name, *default_text;
    double minimum, maximum;
    const char *choices, *help;
};

static const struct row table[] = {
#define OPTION(scopes, section, name, type, preset, minimum, maximum, choices, help)                                                       \
    {scopes, AIOS_OPTION_##type, section, name, preset, minimum, maximum, choices, help},
#define ALIAS(alias, name)
#include "options.def"
#undef OPTION
#undef ALIAS
};
#define COUNT COUNT_OF(table)

static const struct {
    const char *alias, *name;
} aliases[] = {
#define OPTION(scopes, section, name, type, preset, minimum, maximum, choices, help)
#define ALIAS(alias, name) {alias, name},
#include "options.def"
#undef OPTION
#undef ALIAS
};

struct value {
    int32_t set;
    int64_t integer; /* INT, BOOL */
    double number;   /* FLOAT */
    char *string;    /* STRING, CHOICE; NULL: the default */
};

struct aios_options {
    aios_context *context;
    uint32_t scopes;
    text_buffer json; /* what write_json gave */
    struct value values[COUNT];
};

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define SCOPE_TEXT 64

/* "train, eval and generate" */
static const char *scope_text(uint32_t scopes, char text[SCOPE_TEXT])
{
    static const char *const names[] = {"train", "eval", "generate", "data", "hrm"}; /* in the order of their bits */
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < COUNT_OF(names) && used < SCOPE_TEXT; i++) {
        uint32_t later = scopes & ALL_SCOPES & ~((2u << i) - 1);
        if (!(scopes >> i & 1)) continue;
        const char *join = !later ? "" : later & (later - 1) ? ", " : " and ";
        used += (size_t)snprintf(text + used, SCOPE_TEXT - used, "%s%s", names[i], join);
    }
    return text;
}

uint32_t aios_option_count(void)
{
    return (uint32_t)COUNT;
}

static const char *alias_of(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strcmp(aliases[i].name, name) == 0) return aliases[i].alias;
    return "";
}

aios_status aios_option_get_info(uint32_t index, aios_option_info *info)
{
    if (!info) return FAIL(AIOS_INVALID_ARGUMENT, "aios_option_get_info: info must not be NULL");
    if (index >= COUNT) return FAIL(AIOS_OUT_OF_RANGE, "option %u: there are %zu, counted from 0", index, COUNT);
    const struct row *row = &table[index];
    aios_option_info filled = {sizeof filled, row->type,         row->scopes,  0,         row->minimum, row->maximum,
                               row->name,     row->default_text, row->choices, row->help, row->section, alias_of(row->name)};
    return aios_struct_write("aios_option_info", info, &filled, sizeof filled);
}

/* The name as the table writes it: '-' for '_'.  0 where it is longer than any name. */
static int spell(const char *name, char to[NAME_MOST])
{
    size_t length = strlen(name);
    if (length >= NAME_MOST) return 0;
    for (size_t i = 0; i <= length; i++) to[i] = name[i] == '_' ? '-' : name[i];
    return 1;
}

static const struct row *find_row(const char *spelled)
{
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strcmp(aliases[i].alias, spelled) == 0) spelled = aliases[i].name;
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(table[i].name, spelled) == 0) return &table[i];
    return NULL;
}

static aios_status find(const aios_options *options, const char *name, size_t *index)
{
    char belongs[SCOPE_TEXT], has[SCOPE_TEXT];
    char spelled[NAME_MOST];
    const struct row *row = spell(name, spelled) ? find_row(spelled) : NULL;
    if (row && row->scopes & options->scopes) {
        *index = (size_t)(row - table);
        return AIOS_OK;
    }
    if (row)
        return FAIL(AIOS_NOT_FOUND, "option \"%s\" belongs to %s, not to %s", row->name, scope_text(row->scopes, belongs),
                    scope_text(options->scopes, has));
    name_search search;
    name_search_init(&search, spell(name, spelled) ? spelled : name);
    for (size_t i = 0; i < COUNT; i++)
        if (table[i].scopes & options->scopes) name_search_offer(&search, table[i].name);
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (find_row(aliases[i].alias)->scopes & options->scopes) name_search_offer(&search, aliases[i].alias);
    if (!search.best) return FAIL(AIOS_NOT_FOUND, "there is no option \"%.*s\", nor one of a similar name", SHOWN_MOST, name);
    return FAIL(AIOS_NOT_FOUND, "there is no option \"%.*s\": the nearest is \"%s\"", SHOWN_MOST, name, search.best);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void clear_value(const aios_options *options, struct value *value)
{
    aios_memory_free(options->context, value->string);
    value->string = NULL;
}

static aios_status check_range(const struct row *row, double number, const char *shown)
{
    char low[TEXT_DOUBLE_MAX], high[TEXT_DOUBLE_MAX];
    if (number >= row->minimum && number <= row->maximum) return AIOS_OK;
    if (row->type == AIOS_OPTION_INT) {
        (void)snprintf(low, sizeof low, "%.0f", row->minimum);
        (void)snprintf(high, sizeof high, "%.0f", row->maximum);
    } else {
        text_from_double(row->minimum, low);
        text_from_double(row->maximum, high);
    }
    return FAIL(AIOS_OUT_OF_RANGE, "%s is %.*s: it must be from %s to %s", row->name, SHOWN_MOST, shown, low, high);
}

static aios_status store_int(const struct row *row, struct value *value, int64_t integer, const char *shown)
{
    TRY_QUIET(check_range(row, (double)integer, shown));
    value->integer = integer;
    value->set = 1;
    return AIOS_OK;
}

static aios_status store_float(const struct row *row, struct value *value, double number, const char *shown)
{
    if (!isfinite(number)) return FAIL(AIOS_OUT_OF_RANGE, "%s is %.*s: it must be a finite number", row->name, SHOWN_MOST, shown);
    TRY_QUIET(check_range(row, number, shown));
    value->number = number == 0 ? 0 : number; /* no -0 */
    value->set = 1;
    return AIOS_OK;
}

static aios_status store_bool(const struct row *row, struct value *value, const char *text)
{
    static const char *const yes[] = {"on", "true", "yes", "1"}, *const no[] = {"off", "false", "no", "0"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        int is = strcasecmp(text, yes[i]) == 0;
        if (!is && strcasecmp(text, no[i]) != 0) continue;
        value->integer = is;
        value->set = 1;
        return AIOS_OK;
    }
    return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.*s\": it must be on or off (or true, false, yes, no, 1, 0)", row->name, SHOWN_MOST, text);
}

static int is_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *at = choices; *at;) {
        size_t part = strcspn(at, "|");
        if (part == length && memcmp(at, text, length) == 0) return 1;
        at += part + (at[part] == '|');
    }
    return 0;
}

static aios_status store_string(const aios_options *options, const struct row *row, struct value *value, const char *text)
{
    if (row->type == AIOS_OPTION_CHOICE && !is_choice(row->choices, text)) {
        char list[SEGMENT_MOST * 2];
        size_t used = 0;
        for (const char *at = row->choices; *at && used + 3 < sizeof list; at++) {
            if (*at == '|') list[used++] = ',';
            list[used++] = *at == '|' ? ' ' : *at;
        }
        list[used] = 0;
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.*s\": it must be one of %s", row->name, SHOWN_MOST, text, list);
    }
    if (!text_is_utf8(text, strlen(text))) return FAIL(AIOS_INVALID_ARGUMENT, "%s holds bytes that are not UTF-8", row->name);
    char *copy = aios_memory_strdup(options->context, text);
    if (!copy) return AIOS_OUT_OF_MEMORY;
    clear_value(options, value);
    value->string = copy;
    value->set = 1;
    return AIOS_OK;
}

static aios_status store_text(const aios_options *options, const struct row *row, struct value *value, const char *text)
{
    int64_t integer;
    double number;
    switch (row->type) {
    case AIOS_OPTION_INT:
        if (text_to_int(text, &integer)) return store_int(row, value, integer, text);
        if (text_to_double(text, &number) && (number < row->minimum || number > row->maximum)) return check_range(row, number, text);
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.*s\": it must be a whole number, such as %s", row->name, SHOWN_MOST, text,
                    row->default_text);
    case AIOS_OPTION_FLOAT:
        if (text_to_double(text, &number)) return store_float(row, value, number, text);
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.*s\": it must be a finite number, such as %s", row->name, SHOWN_MOST, text,
                    row->default_text);
    case AIOS_OPTION_BOOL: return store_bool(row, value, text);
    default: return store_string(options, row, value, text);
    }
}

static aios_status store_integer(const aios_options *options, const struct row *row, struct value *value, int64_t integer)
{
    char shown[32];
    (void)snprintf(shown, sizeof shown, "%lld", (long long)integer);
    switch (row->type) {
    case AIOS_OPTION_INT: return store_int(row, value, integer, shown);
    case AIOS_OPTION_FLOAT: return store_float(row, value, (double)integer, shown);
    case AIOS_OPTION_BOOL:
    case AIOS_OPTION_CHOICE: return store_text(options, row, value, shown);
    default: return FAIL(AIOS_INVALID_ARGUMENT, "%s is the number %s: it must be a text", row->name, shown);
    }
}

static aios_status store_number(const struct row *row, struct value *value, double number)
{
    char shown[TEXT_DOUBLE_MAX];
    text_from_double(number, shown);
    if (row->type == AIOS_OPTION_FLOAT) return store_float(row, value, number, shown);
    if (row->type != AIOS_OPTION_INT)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is the number %s: it must be %s", row->name, shown,
                    row->type == AIOS_OPTION_BOOL ? "on or off" : "a text");
    if (isnan(number) || number != trunc(number))
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %s: it must be a whole number", row->name, shown);
    TRY_QUIET(check_range(row, number, shown));
    return store_int(row, value, (int64_t)number, shown);
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

static void take_defaults(aios_options *options)
{
    for (size_t i = 0; i < COUNT; i++) {
        const struct row *row = &table[i];
        if (row->type == AIOS_OPTION_STRING || row->type == AIOS_OPTION_CHOICE) continue;
        (void)store_text(options, row, &options->values[i], row->default_text); /* the tests hold the table to this */
        options->values[i].set = 0;
    }
}

aios_status aios_options_create(aios_context *context, uint32_t scopes, aios_options **options)
{
    if (!context || !options) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_create: context and options must not be NULL");
    *options = NULL;
    if (!scopes || scopes & ~(uint32_t)ALL_SCOPES)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "scopes are 0x%x: they must be one or more of AIOS_SCOPE_TRAIN, _EVAL, _GENERATE, _DATA and _HRM", scopes);
    aios_options *made = aios_new(context, aios_options);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->scopes = scopes;
    text_init(&made->json, context);
    take_defaults(made);
    *options = made;
    return AIOS_OK;
}

void aios_options_destroy(aios_options *options)
{
    if (!options) return;
    aios_context *context = options->context;
    for (size_t i = 0; i < COUNT; i++) clear_value(options, &options->values[i]);
    text_free(&options->json);
    aios_memory_free(context, options);
    aios_context_release(context);
}

static aios_status copy_values(aios_options *to, const aios_options *from)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (!(table[i].scopes & to->scopes) || !from->values[i].set) continue;
        struct value copy = from->values[i];
        if (copy.string && !(copy.string = aios_memory_strdup(to->context, copy.string))) return AIOS_OUT_OF_MEMORY;
        clear_value(to, &to->values[i]);
        to->values[i] = copy;
    }
    return AIOS_OK;
}

aios_status aios_options_copy(aios_context *context, const aios_options *options, uint32_t scopes, aios_options **copy)
{
    char has[SCOPE_TEXT], needed[SCOPE_TEXT];
    if (!context || !options || !copy) return FAIL(AIOS_INVALID_ARGUMENT, "options must not be NULL");
    *copy = NULL;
    if (scopes & ~options->scopes)
        return FAIL(AIOS_INVALID_ARGUMENT, "these options are for %s: options for %s are needed", scope_text(options->scopes, has),
                    scope_text(scopes, needed));
    aios_status status = aios_options_create(context, scopes, copy);
    if (*copy) status = copy_values(*copy, options);
    if (status == AIOS_OK) return AIOS_OK;
    aios_options_destroy(*copy);
    *copy = NULL;
    return status;
}

/* ---- set and get ------------------------------------------------------------------------------------------------- */

aios_status aios_options_set(aios_options *options, const char *name, const char *value)
{
    FLOAT_SCOPE;
    size_t i;
    if (!options || !name || !value) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_set: options, name and value must not be NULL");
    TRY_QUIET(find(options, name, &i));
    return store_text(options, &table[i], &options->values[i], value);
}

aios_status aios_options_set_int(aios_options *options, const char *name, int64_t value)
{
    size_t i;
    if (!options || !name) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_set_int: options and name must not be NULL");
    TRY_QUIET(find(options, name, &i));
    return store_integer(options, &table[i], &options->values[i], value);
}

aios_status aios_options_set_float(aios_options *options, const char *name, double value)
{
    size_t i;
    if (!options || !name) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_set_float: options and name must not be NULL");
    TRY_QUIET(find(options, name, &i));
    return store_number(&table[i], &options->values[i], value);
}

static aios_status wrong_type(const struct row *row, const char *right)
{
    static const char *const types[] = {"whole number", "number", "switch", "text", "choice"};
    return FAIL(AIOS_INVALID_ARGUMENT, "%s is a %s: read it with aios_options_get_%s", row->name, types[row->type], right);
}

static const char *right_getter(const struct row *row)
{
    return row->type == AIOS_OPTION_FLOAT ? "float" : row->type == AIOS_OPTION_INT || row->type == AIOS_OPTION_BOOL ? "int" : "string";
}

aios_status aios_options_get_int(const aios_options *options, const char *name, int64_t *value)
{
    size_t i;
    if (!options || !name || !value) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_get_int: options, name and value must not be NULL");
    *value = 0;
    TRY_QUIET(find(options, name, &i));
    if (table[i].type != AIOS_OPTION_INT && table[i].type != AIOS_OPTION_BOOL) return wrong_type(&table[i], right_getter(&table[i]));
    *value = options->values[i].integer;
    return AIOS_OK;
}

aios_status aios_options_get_float(const aios_options *options, const char *name, double *value)
{
    size_t i;
    if (!options || !name || !value) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_get_float: options, name and value must not be NULL");
    *value = 0;
    TRY_QUIET(find(options, name, &i));
    if (table[i].type != AIOS_OPTION_INT && table[i].type != AIOS_OPTION_FLOAT) return wrong_type(&table[i], right_getter(&table[i]));
    *value = table[i].type == AIOS_OPTION_INT ? (double)options->values[i].integer : options->values[i].number;
    return AIOS_OK;
}

static const char *string_of(const aios_options *options, size_t i)
{
    return options->values[i].string ? options->values[i].string : table[i].default_text;
}

aios_status aios_options_get_string(const aios_options *options, const char *name, const char **value)
{
    size_t i;
    if (!options || !name || !value)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_get_string: options, name and value must not be NULL");
    *value = NULL;
    TRY_QUIET(find(options, name, &i));
    if (table[i].type != AIOS_OPTION_STRING && table[i].type != AIOS_OPTION_CHOICE) return wrong_type(&table[i], right_getter(&table[i]));
    *value = string_of(options, i);
    return AIOS_OK;
}

int32_t aios_options_is_set(const aios_options *options, const char *name)
{
    char spelled[NAME_MOST];
    if (!options || !name || !spell(name, spelled)) return 0;
    const struct row *row = find_row(spelled);
    return row && row->scopes & options->scopes ? options->values[row - table].set : 0;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static aios_status store_json(const aios_options *options, const struct row *row, struct value *value, const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_STRING: return store_text(options, row, value, json_string_value(json));
    case JSON_INTEGER: return store_integer(options, row, value, json_integer_value(json));
    case JSON_REAL: return store_number(row, value, json_real_value(json));
    case JSON_TRUE:
    case JSON_FALSE:
        if (row->type == AIOS_OPTION_BOOL) return store_text(options, row, value, json_is_true(json) ? "on" : "off");
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %s: it must be a %s", row->name, json_is_true(json) ? "true" : "false",
                    row->type == AIOS_OPTION_INT || row->type == AIOS_OPTION_FLOAT ? "number" : "text");
    default:
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %s: it must be a number, a text, true or false", row->name,
                    json_is_null(json)    ? "null"
                    : json_is_array(json) ? "an array"
                                          : "an object");
    }
}

static aios_status take_entries(aios_options *options, json_t *object)
{
    const char *key;
    json_t *entry;
    unsigned char seen[COUNT] = {0};
    json_object_foreach (object, key, entry) {
        size_t i = 0;
        TRY_QUIET(find(options, key, &i));
        if (seen[i]++) return FAIL(AIOS_INVALID_ARGUMENT, "option \"%s\" is there twice: once as \"%.*s\"", table[i].name, SHOWN_MOST, key);
        TRY_QUIET(store_json(options, &table[i], &options->values[i], entry));
    }
    return AIOS_OK;
}

aios_status aios_options_read_json(aios_options *options, const char *json)
{
    FLOAT_SCOPE;
    aios_options *trial = NULL;
    json_error_t error;
    if (!options || !json) return FAIL(AIOS_INVALID_ARGUMENT, "aios_options_read_json: options and json must not be NULL");
    json_t *object = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (!object) return FAIL(AIOS_CORRUPT, "options are no JSON: line %d, column %d: %s", error.line, error.column, error.text);
    aios_status status = AIOS_OK;
    if (!json_is_object(object)) status = FAIL(AIOS_CORRUPT, "options as JSON must be an object of names and values");
    if (status == AIOS_OK) status = aios_options_copy(options->context, options, options->scopes, &trial);
    if (trial) status = take_entries(trial, object);
    for (size_t i = 0; trial && status == AIOS_OK && i < COUNT; i++) {
        struct value old = options->values[i];
        options->values[i] = trial->values[i];
        trial->values[i] = old;
    }
    aios_options_destroy(trial);
    json_decref(object);
    return status;
}

static void write_value(const aios_options *options, size_t i, text_buffer *to)
{
    const struct value *value = &options->values[i];
    switch (table[i].type) {
    case AIOS_OPTION_INT: (void)text_format(to, "%lld", (long long)value->integer); break;
    case AIOS_OPTION_FLOAT: (void)text_add_double(to, value->number); break;
    case AIOS_OPTION_BOOL: (void)text_add(to, value->integer ? "true" : "false"); break;
    default: (void)text_add_json(to, string_of(options, i));
    }
}

static const char *write_json(aios_options *options, int all)
{
    text_buffer *to = &options->json;
    to->status = AIOS_OK;
    text_clear(to);
    (void)text_add(to, "{");
    for (size_t i = 0; i < COUNT; i++) {
        if (!(table[i].scopes & options->scopes) || !(all || options->values[i].set)) continue;
        if (to->size > 1) (void)text_add(to, ", ");
        (void)text_add_json(to, table[i].name);
        (void)text_add(to, ": ");
        write_value(options, i, to);
    }
    return text_add(to, "}") == AIOS_OK ? to->bytes : NULL;
}

const char *aios_options_write_json(aios_options *options)
{
    FLOAT_SCOPE;
    return options ? write_json(options, 0) : NULL;
}

uint32_t options_scopes(const aios_options *options)
{
    return options->scopes;
}

const char *options_write_all(aios_options *options)
{
    return write_json(options, 1);
}

/* Reads of a SPIR-V module what a launch must agree with: its kernels, the kinds and sizes of their arguments, their group size.
 * https://registry.khronos.org/SPIR-V/specs/unified1/SPIRV.html */
#include "ze_sim.h"

#include <stdlib.h>
#include <string.h>

enum { OP_ENTRY_POINT = 15, OP_EXECUTION_MODE = 16, OP_CAPABILITY = 17, OP_TYPE_INT = 21, OP_TYPE_FLOAT = 22, OP_TYPE_POINTER = 32 };
enum { OP_TYPE_FUNCTION = 33, OP_FUNCTION = 54 };
enum { HEADER_WORDS = 5, KERNEL_MODEL = 6, LOCAL_SIZE = 17, SUB_GROUP_SIZE = 35, CROSS_WORKGROUP = 5 };

/* What is known of an id: a type's size, or the words that define it. */
struct id {
    uint8_t size, is_pointer;
    const uint32_t *function_type; /* parameters' types follow the result's */
    uint32_t parameters;
    uint32_t type; /* of a function */
    uint32_t group[3], sub_group;
};

struct module {
    const uint32_t *words;
    size_t count;
    struct id *ids;
    uint32_t bound;
    spirv_kernel *kernels;
    uint32_t kernel_count, kernel_room;
    uint32_t *entries; /* the function of each kernel */
};

static int add_kernel(struct module *m, const uint32_t *words, uint32_t length)
{
    const char *name = (const char *)(words + 3);
    size_t room = (length - 3) * sizeof *words;
    if (words[1] != KERNEL_MODEL || words[2] >= m->bound || !memchr(name, 0, room) || strlen(name) >= sizeof m->kernels->name) return 0;
    for (uint32_t i = 0; i < m->kernel_count; i++)
        if (strcmp(m->kernels[i].name, name) == 0) return 1;
    if (m->kernel_count == m->kernel_room) {
        m->kernel_room = m->kernel_room ? m->kernel_room * 2 : 64;
        m->kernels = realloc(m->kernels, m->kernel_room * sizeof *m->kernels);
        m->entries = realloc(m->entries, m->kernel_room * sizeof *m->entries);
    }
    spirv_kernel *kernel = &m->kernels[m->kernel_count];
    memset(kernel, 0, sizeof *kernel);
    strcpy(kernel->name, name);
    m->entries[m->kernel_count++] = words[2];
    return 1;
}

/* 0 where the instruction is broken. */
static int read_instruction(struct module *m, const uint32_t *words, uint32_t length)
{
    uint32_t code = words[0] & 0xffff, id = length > 1 ? words[1] : 0;
    if (code == OP_ENTRY_POINT) return length > 3 && add_kernel(m, words, length);
    if (code == OP_FUNCTION) id = length > 4 ? words[2] : m->bound;
    if (code < OP_EXECUTION_MODE || code == OP_CAPABILITY || (code > OP_TYPE_FUNCTION && code != OP_FUNCTION)) return 1;
    if (id >= m->bound) return 0;
    switch (code) {
    case OP_EXECUTION_MODE:
        if (length == 4 && words[2] == SUB_GROUP_SIZE) m->ids[id].sub_group = words[3];
        if (length == 6 && words[2] == LOCAL_SIZE) memcpy(m->ids[id].group, words + 3, sizeof m->ids[id].group);
        break;
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT: m->ids[id].size = (uint8_t)(words[2] / 8); break;
    case OP_TYPE_POINTER:
        m->ids[id].size = 8;
        m->ids[id].is_pointer = words[2] == CROSS_WORKGROUP;
        break;
    case OP_TYPE_FUNCTION:
        m->ids[id].function_type = words + 3;
        m->ids[id].parameters = length - 3;
        break;
    case OP_FUNCTION: m->ids[id].type = words[4]; break;
    default: break;
    }
    return 1;
}

static const char *fill_kernel(const struct module *m, spirv_kernel *kernel, uint32_t entry)
{
    const struct id *function = &m->ids[entry], *type = function->type < m->bound ? &m->ids[function->type] : NULL;
    if (!type || !type->function_type || type->parameters > ARGUMENTS_MAX) return "a kernel is no function, or has too many arguments";
    kernel->argument_count = type->parameters;
    memcpy(kernel->group, function->group, sizeof kernel->group);
    kernel->sub_group = function->sub_group;
    for (uint32_t i = 0; i < type->parameters; i++) {
        uint32_t parameter = type->function_type[i];
        if (parameter >= m->bound || m->ids[parameter].size == 0) return "a kernel has an argument that is no number and no pointer";
        kernel->arguments[i].size = m->ids[parameter].size;
        kernel->arguments[i].is_pointer = m->ids[parameter].is_pointer;
    }
    return NULL;
}

static const char *read_all(struct module *m)
{
    if (m->count < HEADER_WORDS || m->words[0] != 0x07230203) return "this is no SPIR-V";
    if (m->words[1] > 0x00010200) return "the SPIR-V is newer than 1.2";
    if (m->words[3] > 10000000) return "the SPIR-V has too many ids";
    m->bound = m->words[3];
    m->ids = calloc(m->bound, sizeof *m->ids);
    for (size_t at = HEADER_WORDS; at < m->count;) {
        uint32_t length = m->words[at] >> 16;
        if (length == 0 || length > m->count - at || !read_instruction(m, m->words + at, length)) return "the SPIR-V is broken";
        at += length;
    }
    for (uint32_t i = 0; i < m->kernel_count; i++) {
        const char *wrong = fill_kernel(m, &m->kernels[i], m->entries[i]);
        if (wrong) return wrong;
    }
    return m->kernel_count ? NULL : "the SPIR-V has no kernel";
}

spirv_kernel *spirv_read(const void *bytes, size_t size, uint32_t *count, const char **wrong)
{
    struct module m = {.words = bytes, .count = size / 4};
    *wrong = size % 4 || (uintptr_t)bytes % 4 ? "SPIR-V is words of 4 bytes" : read_all(&m);
    free(m.ids);
    free(m.entries);
    if (*wrong) {
        free(m.kernels);
        return NULL;
    }
    *count = m.kernel_count;
    return m.kernels;
}

#include "code_object.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* ---- ELF --------------------------------------------------------------------------------------------------------- */

enum { AMDGPU_MACHINE = 224, OSABI_AMDGPU_HSA = 64, NOTE_METADATA = 32, MACH_MASK = 0xff, ABI_VERSION_OF_4 = 2 };

uint32_t code_architecture(const char *name)
{
    static const struct {
        const char *name;
        uint32_t mach;
    } list[] = {{"gfx803", 0x2a},  {"gfx906", 0x2f},  {"gfx908", 0x30},  {"gfx90a", 0x3f},  {"gfx942", 0x4c},
                {"gfx1030", 0x36}, {"gfx1031", 0x37}, {"gfx1032", 0x38}, {"gfx1100", 0x41}, {"gfx1101", 0x46},
                {"gfx1102", 0x47}, {"gfx1151", 0x4a}, {"gfx1200", 0x48}, {"gfx1201", 0x4e}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (strcmp(list[i].name, name) == 0) return list[i].mach;
    return 0;
}

static const char *check_header(const Elf64_Ehdr *header)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return "it is no ELF file";
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB)
        return "it is not a 64-bit little-endian ELF file";
    if (header->e_machine != AMDGPU_MACHINE) return "its machine is not AMDGPU";
    if (header->e_ident[EI_OSABI] != OSABI_AMDGPU_HSA) return "its ABI is not AMD's HSA";
    if (header->e_type != ET_DYN) return "it is not linked";
    return NULL;
}

size_t code_object_size(const void *bytes)
{
    Elf64_Ehdr header;
    memcpy(&header, bytes, sizeof header);
    return check_header(&header) ? 0 : (size_t)header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
}

/* ---- MessagePack ------------------------------------------------------------------------------------------------- */

enum kind { BROKEN, NUMBER, TEXT, ARRAY, MAP, OTHER };

struct value {
    enum kind kind;
    uint64_t number; /* of an array or map: how many elements or pairs follow */
    const char *text;
    size_t length;
};

struct reader {
    const unsigned char *at, *end;
};

static uint64_t read_big_endian(struct reader *reader, size_t bytes)
{
    uint64_t value = 0;
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->at = reader->end;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) value = value << 8 | *reader->at++;
    return value;
}

static struct value read_text(struct reader *reader, uint64_t length)
{
    struct value value = {.kind = BROKEN};
    if ((uint64_t)(reader->end - reader->at) < length) return value;
    value = (struct value){.kind = TEXT, .text = (const char *)reader->at, .length = (size_t)length};
    reader->at += length;
    return value;
}

/* The forms that LLVM writes. */
static struct value read_value(struct reader *reader)
{
    struct value value = {.kind = BROKEN};
    if (reader->at == reader->end) return value;
    unsigned byte = *reader->at++;
    if (byte < 0x80) return (struct value){.kind = NUMBER, .number = byte};
    if (byte < 0x90) return (struct value){.kind = MAP, .number = byte & 0xf};
    if (byte < 0xa0) return (struct value){.kind = ARRAY, .number = byte & 0xf};
    if (byte < 0xc0) return read_text(reader, byte & 0x1f);
    switch (byte) {
    case 0xc0:
    case 0xc2:
    case 0xc3: return (struct value){.kind = OTHER};
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf: value.number = read_big_endian(reader, (size_t)1 << (byte - 0xcc)); break;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: value.number = read_big_endian(reader, (size_t)1 << (byte - 0xd0)); break;
    case 0xd9:
    case 0xda:
    case 0xdb: return read_text(reader, read_big_endian(reader, (size_t)1 << (byte - 0xd9)));
    case 0xdc:
    case 0xdd: return (struct value){.kind = ARRAY, .number = read_big_endian(reader, byte == 0xdc ? 2 : 4)};
    case 0xde:
    case 0xdf: return (struct value){.kind = MAP, .number = read_big_endian(reader, byte == 0xde ? 2 : 4)};
    default: return value;
    }
    value.kind = NUMBER;
    return value;
}

static int is(const struct value *value, const char *text)
{
    return value->kind == TEXT && value->length == strlen(text) && memcmp(value->text, text, value->length) == 0;
}

/* Steps over a value with all that it holds.  Nothing in it nests deeper than a few levels. */
static void skip(struct reader *reader, int depth)
{
    struct value value = read_value(reader);
    uint64_t inside = value.kind == ARRAY ? value.number : value.kind == MAP ? 2 * value.number : 0;
    if (value.kind == BROKEN || depth > 8) reader->at = reader->end;
    for (uint64_t i = 0; i < inside && reader->at < reader->end; i++) skip(reader, depth + 1);
}

static uint32_t read_number(struct reader *reader)
{
    struct value value = read_value(reader);
    return value.kind == NUMBER && value.number <= UINT32_MAX ? (uint32_t)value.number : UINT32_MAX;
}

static void read_argument(struct reader *reader, code_argument *argument)
{
    struct value map = read_value(reader);
    for (uint64_t i = 0; map.kind == MAP && i < map.number && reader->at < reader->end; i++) {
        struct value key = read_value(reader);
        if (is(&key, ".offset")) {
            argument->offset = read_number(reader);
        } else if (is(&key, ".size")) {
            argument->size = read_number(reader);
        } else if (is(&key, ".value_kind")) {
            struct value kind = read_value(reader);
            argument->pointer = is(&kind, "global_buffer");
            argument->hidden = kind.kind == TEXT && kind.length > 7 && memcmp(kind.text, "hidden_", 7) == 0;
        } else {
            skip(reader, 0);
        }
    }
}

static void read_arguments(struct reader *reader, code_kernel *kernel)
{
    struct value list = read_value(reader);
    for (uint64_t i = 0; list.kind == ARRAY && i < list.number && reader->at < reader->end; i++) {
        code_argument argument = {0};
        read_argument(reader, &argument);
        if (kernel->argument_count < CODE_ARGUMENTS && !argument.hidden) kernel->arguments[kernel->argument_count++] = argument;
    }
}

static void read_kernel(struct reader *reader, code_kernel *kernel)
{
    const struct {
        const char *key;
        uint32_t *to;
    } numbers[] = {{".kernarg_segment_size", &kernel->arguments_size},
                   {".group_segment_fixed_size", &kernel->local_bytes},
                   {".private_segment_fixed_size", &kernel->private_bytes},
                   {".vgpr_count", &kernel->vector_registers},
                   {".vgpr_spill_count", &kernel->vector_spills},
                   {".max_flat_workgroup_size", &kernel->team_size},
                   {".wavefront_size", &kernel->wavefront_size}};
    struct value map = read_value(reader);
    for (uint64_t i = 0; map.kind == MAP && i < map.number && reader->at < reader->end; i++) {
        struct value key = read_value(reader);
        size_t n = 0;
        while (n < sizeof numbers / sizeof numbers[0] && !is(&key, numbers[n].key)) n++;
        if (n < sizeof numbers / sizeof numbers[0]) {
            *numbers[n].to = read_number(reader);
        } else if (is(&key, ".name")) {
            struct value name = read_value(reader);
            size_t length = name.kind == TEXT && name.length < sizeof kernel->name ? name.length : 0;
            if (length) memcpy(kernel->name, name.text, length);
            kernel->name[length] = 0;
        } else if (is(&key, ".args")) {
            read_arguments(reader, kernel);
        } else {
            skip(reader, 0);
        }
    }
}

static const char *read_metadata(struct reader *reader, code_object *object)
{
    struct value map = read_value(reader);
    for (uint64_t i = 0; map.kind == MAP && i < map.number && reader->at < reader->end; i++) {
        struct value key = read_value(reader);
        if (!is(&key, "amdhsa.kernels")) {
            skip(reader, 0);
            continue;
        }
        struct value list = read_value(reader);
        if (list.kind != ARRAY || list.number > (uint64_t)(reader->end - reader->at)) return "its list of kernels is broken";
        object->kernels = calloc((size_t)list.number + 1, sizeof *object->kernels);
        object->kernel_count = (uint32_t)list.number;
        for (uint64_t k = 0; k < list.number; k++) read_kernel(reader, &object->kernels[k]);
        return NULL;
    }
    return "its metadata has no kernels";
}

/* ---- the object -------------------------------------------------------------------------------------------------- */

static const char *read_notes(const unsigned char *bytes, const Elf64_Shdr *section, code_object *object)
{
    for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= section->sh_size;) {
        Elf64_Nhdr note;
        memcpy(&note, bytes + section->sh_offset + at, sizeof note);
        uint64_t name = at + sizeof note, description = name + (note.n_namesz + 3ull) / 4 * 4;
        if (description + note.n_descsz > section->sh_size) return "a note is longer than its section";
        if (note.n_type == NOTE_METADATA && note.n_namesz == sizeof "AMDGPU" &&
            memcmp(bytes + section->sh_offset + name, "AMDGPU", sizeof "AMDGPU") == 0) {
            const unsigned char *from = bytes + section->sh_offset + description;
            struct reader reader = {from, from + note.n_descsz};
            return read_metadata(&reader, object);
        }
        at = description + (note.n_descsz + 3ull) / 4 * 4;
    }
    return "it has no metadata";
}

const char *code_object_read(const void *bytes, size_t size, code_object *object)
{
    Elf64_Ehdr header;
    memset(object, 0, sizeof *object);
    if (size < sizeof header) return "it is shorter than an ELF header";
    memcpy(&header, bytes, sizeof header);
    const char *wrong = check_header(&header);
    if (wrong) return wrong;
    object->architecture = header.e_flags & MACH_MASK;
    object->version = header.e_ident[EI_ABIVERSION] + 4u - ABI_VERSION_OF_4;
    for (uint32_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        uint64_t at = header.e_shoff + (uint64_t)i * sizeof section;
        if (at + sizeof section > size) return "its section headers lie behind its end";
        memcpy(&section, (const char *)bytes + at, sizeof section);
        if (section.sh_type != SHT_NOTE) continue;
        if (section.sh_offset > size || section.sh_size > size - section.sh_offset) return "a section lies behind its end";
        return read_notes(bytes, &section, object);
    }
    return "it has no notes";
}

void code_object_free(code_object *object)
{
    free(object->kernels);
    object->kernels = NULL;
}

const code_kernel *code_object_find(const code_object *object, const char *name)
{
    for (uint32_t i = 0; i < object->kernel_count; i++)
        if (strcmp(object->kernels[i].name, name) == 0) return &object->kernels[i];
    return NULL;
}

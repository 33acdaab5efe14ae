#include "fatbin.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The container as it is found in nvcc's output: a header, then entries of machine code (an ELF file) or PTX, packed by Zstandard. */
struct header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size;
};

struct entry {
    uint16_t kind, reserved;
    uint32_t header_size;
    uint64_t size;
    uint32_t packed_size, reserved2;
    uint16_t minor, major;
    uint32_t capability;
    uint64_t name, flags, reserved3, unpacked_size;
};

enum { KIND_ELF = 2 };
#define MAGIC      0xba55ed50u
#define MAGIC_ZSTD 0xfd2fb528u

typedef size_t (*unpack_fn)(void *, size_t, const void *, size_t);

/* Zstandard's library is on every Debian, for dpkg needs it. */
static const char *unpack_zstd(const unsigned char *from, size_t packed_size, unsigned char *to, size_t size)
{
    uint32_t magic;
    unpack_fn decompress = NULL;
    memcpy(&magic, from, sizeof magic);
    if (magic != MAGIC_ZSTD) return "the code is packed, but not by Zstandard";
    void *library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "ZSTD_decompress") : NULL;
    memcpy(&decompress, &symbol, sizeof decompress);
    const char *error = !decompress                                       ? "libzstd.so.1 is needed to unpack the code"
                        : decompress(to, size, from, packed_size) != size ? "the packed code is damaged"
                                                                          : NULL;
    if (library) (void)dlclose(library);
    return error;
}

static const char *unpack(const unsigned char *from, const struct entry *entry, fatbin *code)
{
    code->size = entry->unpacked_size ? entry->unpacked_size : entry->size;
    code->elf = malloc(code->size);
    const char *error = NULL;
    if (entry->unpacked_size)
        error = unpack_zstd(from, entry->packed_size, code->elf, code->size);
    else
        memcpy(code->elf, from, code->size);
    if (!error && (code->size < sizeof(Elf64_Ehdr) || memcmp(code->elf, ELFMAG, SELFMAG) != 0)) error = "the machine code is no ELF file";
    if (error) fatbin_close(code);
    return error;
}

/* A device runs code of its own generation whose minor number is not above its own. */
static int fits(const struct entry *entry, int capability)
{
    return entry->kind == KIND_ELF && (int)entry->capability / 10 == capability / 10 && (int)entry->capability <= capability;
}

const char *fatbin_open(const void *image, int capability, fatbin *code)
{
    struct header header;
    const unsigned char *at = image;
    memset(code, 0, sizeof *code);
    memcpy(&header, at, sizeof header);
    if (header.magic != MAGIC || header.version != 1) return "the image is no fatbin";
    at += header.header_size;
    for (const unsigned char *end = at + header.size; at < end;) {
        struct entry entry;
        memcpy(&entry, at, sizeof entry);
        if (fits(&entry, capability)) {
            code->found = 1;
            return unpack(at + entry.header_size, &entry, code);
        }
        at += entry.header_size + entry.size;
    }
    return "the fatbin has no code for this device";
}

void fatbin_close(fatbin *code)
{
    free(code->elf);
    code->elf = NULL;
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

static Elf64_Shdr section_of(const fatbin *code, unsigned index)
{
    Elf64_Ehdr head;
    Elf64_Shdr section;
    memcpy(&head, code->elf, sizeof head);
    memcpy(&section, code->elf + head.e_shoff + (size_t)index * head.e_shentsize, sizeof section);
    return section;
}

static int find_section(const fatbin *code, const char *name, Elf64_Shdr *section)
{
    Elf64_Ehdr head;
    memcpy(&head, code->elf, sizeof head);
    const char *names = (const char *)code->elf + section_of(code, head.e_shstrndx).sh_offset;
    for (unsigned i = 0; i < head.e_shnum; i++) {
        *section = section_of(code, i);
        if (strcmp(names + section->sh_name, name) == 0) return 1;
    }
    return 0;
}

/* One attribute of ".nv.info.KERNEL": how it is written, which it is, its value or the size of what follows. */
struct attribute {
    uint8_t format, name;
    uint16_t value;
};
enum {
    FORMAT_BYTES = 4,
    ATTRIBUTE_MAX_THREADS = 0x05,
    ATTRIBUTE_FRAME_SIZE = 0x11,
    ATTRIBUTE_PARAMETER = 0x17,
    ATTRIBUTE_REGISTERS = 0x2f
};

/* A parameter: an index, its number, its offset, its size in bits 18 and up. */
static void read_parameter(const unsigned char *from, fatbin_kernel *kernel)
{
    uint16_t number;
    uint32_t word;
    memcpy(&number, from + 4, sizeof number);
    memcpy(&word, from + 8, sizeof word);
    if (number >= FATBIN_ARGUMENTS) return;
    kernel->sizes[number] = word >> 18;
    if (number >= kernel->argument_count) kernel->argument_count = number + 1u;
}

/* ".nv.info" has frame and registers of every function, by the number of its symbol. */
static uint32_t attribute_of(const fatbin *code, const char *name, int wanted)
{
    Elf64_Shdr info, symbols, names;
    if (!find_section(code, ".nv.info", &info) || !find_section(code, ".symtab", &symbols) || !find_section(code, ".strtab", &names))
        return 0;
    const unsigned char *at = code->elf + info.sh_offset, *end = at + info.sh_size;
    while (at + sizeof(struct attribute) <= end) {
        struct attribute attribute;
        uint32_t value[2];
        memcpy(&attribute, at, sizeof attribute);
        at += sizeof attribute;
        if (attribute.format != FORMAT_BYTES) continue;
        if (attribute.name == wanted && attribute.value == sizeof value) {
            Elf64_Sym symbol;
            memcpy(value, at, sizeof value);
            memcpy(&symbol, code->elf + symbols.sh_offset + value[0] * sizeof symbol, sizeof symbol);
            if (strcmp((const char *)code->elf + names.sh_offset + symbol.st_name, name) == 0) return value[1];
        }
        at += attribute.value;
    }
    return 0;
}

int fatbin_find(const fatbin *code, const char *name, fatbin_kernel *kernel)
{
    char wanted[160];
    Elf64_Shdr section;
    memset(kernel, 0, sizeof *kernel);
    (void)snprintf(wanted, sizeof wanted, ".nv.info.%s", name);
    if (!find_section(code, wanted, &section)) return 0;
    const unsigned char *at = code->elf + section.sh_offset, *end = at + section.sh_size;
    while (at + sizeof(struct attribute) <= end) {
        struct attribute attribute;
        memcpy(&attribute, at, sizeof attribute);
        at += sizeof attribute;
        if (attribute.format != FORMAT_BYTES) continue;
        if (attribute.name == ATTRIBUTE_PARAMETER) read_parameter(at, kernel);
        if (attribute.name == ATTRIBUTE_MAX_THREADS) memcpy(&kernel->threads, at, sizeof kernel->threads);
        at += attribute.value;
    }
    kernel->registers = attribute_of(code, name, ATTRIBUTE_REGISTERS);
    kernel->stack = attribute_of(code, name, ATTRIBUTE_FRAME_SIZE);
    return 1;
}

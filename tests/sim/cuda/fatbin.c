#include "fatbin.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
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

#define MAGIC  0xba55ed50u
#define IS_ELF 2
#define ZSTD   0xfd2fb528u

typedef size_t (*unpack_fn)(void *, size_t, const void *, size_t);

static const char *unpack(const unsigned char *from, const struct entry *entry, unsigned char **bytes, size_t *size)
{
    uint32_t magic;
    unpack_fn decompress = NULL;
    memcpy(&magic, from, sizeof magic);
    *size = entry->unpacked_size ? entry->unpacked_size : entry->size;
    *bytes = malloc(*size);
    if (!entry->unpacked_size) {
        memcpy(*bytes, from, *size);
        return NULL;
    }
    void *library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "ZSTD_decompress") : NULL;
    memcpy(&decompress, &symbol, sizeof decompress);
    const char *error = magic != ZSTD ? "the code is packed, but not by Zstandard"
                        : !decompress ? "libzstd.so.1 is needed to unpack the code"
                        : decompress(*bytes, *size, from, entry->packed_size) != entry->unpacked_size ? "the packed code is damaged"
                                                                                                      : NULL;
    if (library) (void)dlclose(library);
    return error;
}

/* Copies the table of the symbols' names out of an ELF file. */
static const char *read_names(const unsigned char *elf, size_t size, struct fatbin *fatbin)
{
    Elf64_Ehdr head;
    Elf64_Shdr table, strings;
    memcpy(&head, elf, sizeof head);
    if (size < sizeof head || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return "the machine code is no ELF file";
    for (unsigned i = 0; i < head.e_shnum; i++) {
        memcpy(&table, elf + head.e_shoff + (size_t)i * head.e_shentsize, sizeof table);
        if (table.sh_type != SHT_SYMTAB) continue;
        memcpy(&strings, elf + head.e_shoff + (size_t)table.sh_link * head.e_shentsize, sizeof strings);
        fatbin->size = strings.sh_size;
        fatbin->names = malloc(strings.sh_size);
        memcpy(fatbin->names, elf + strings.sh_offset, strings.sh_size);
        return NULL;
    }
    return "the machine code has no symbols";
}

/* A device runs code of its own generation whose minor number is not above its own. */
static int fits(const struct entry *entry, int capability)
{
    return entry->kind == IS_ELF && (int)entry->capability / 10 == capability / 10 && (int)entry->capability <= capability;
}

const char *fatbin_open(const void *image, int capability, struct fatbin *fatbin)
{
    struct header header;
    const unsigned char *at = image;
    memset(fatbin, 0, sizeof *fatbin);
    memcpy(&header, at, sizeof header);
    if (header.magic != MAGIC || header.version != 1) return "the image is no fatbin";
    at += header.header_size;
    for (const unsigned char *end = at + header.size; at < end;) {
        struct entry entry;
        memcpy(&entry, at, sizeof entry);
        if (fits(&entry, capability)) {
            unsigned char *bytes;
            size_t size;
            fatbin->found = 1;
            const char *error = unpack(at + entry.header_size, &entry, &bytes, &size);
            if (!error) error = read_names(bytes, size, fatbin);
            free(bytes);
            return error;
        }
        at += entry.header_size + entry.size;
    }
    return "the fatbin has no code for this device";
}

int fatbin_has(const struct fatbin *fatbin, const char *kernel)
{
    size_t length = strlen(kernel) + 1;
    const char *found = fatbin->names, *end = fatbin->names + fatbin->size;
    while ((found = memmem(found, (size_t)(end - found), kernel, length)) != NULL) {
        if (found > fatbin->names && found[-1] == 0) return 1;
        found++;
    }
    return 0;
}

void fatbin_close(struct fatbin *fatbin)
{
    free(fatbin->names);
    fatbin->names = NULL;
}

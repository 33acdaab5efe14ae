/* code_object.h: reads AMD's code objects: ELF for the architecture, and the note of metadata (MessagePack) for the kernels.
 * After "User Guide for AMDGPU Backend" of LLVM, sections "ELF Code Object" and "Code Object V3 Metadata". */
#ifndef CODE_OBJECT_H
#define CODE_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#define CODE_ARGUMENTS 32

typedef struct code_argument {
    uint32_t offset, size;
    int pointer; /* to global memory */
    int hidden;  /* added by the compiler */
} code_argument;

typedef struct code_kernel {
    char name[64];
    uint32_t argument_count;
    code_argument arguments[CODE_ARGUMENTS];
    uint32_t arguments_size;
    uint32_t local_bytes, private_bytes;
    uint32_t vector_registers, vector_spills;
    uint32_t team_size;      /* the largest block it may be launched with */
    uint32_t wavefront_size; /* lanes of a wave */
} code_kernel;

typedef struct code_object {
    uint32_t architecture; /* EF_AMDGPU_MACH of the flags */
    uint32_t version;      /* of the format: 4, 5 */
    uint32_t kernel_count;
    code_kernel *kernels;
} code_object;

/* The whole size of an object whose length nobody gives, by its headers; 0: it is none. */
size_t code_object_size(const void *bytes);
/* Returns NULL, or what is wrong.  `size` bytes at `bytes` are looked at and no others. */
const char *code_object_read(const void *bytes, size_t size, code_object *object);
void code_object_free(code_object *object);
const code_kernel *code_object_find(const code_object *object, const char *name);
/* EF_AMDGPU_MACH of "gfx942"; 0 where it is not known here. */
uint32_t code_architecture(const char *name);

#endif

/* embed.h (internal): a file as bytes of the program.  EMBED(name, "path") defines `const unsigned char name[]`, aligned to a page as
 * the vendors' own compilers do it, and `const unsigned char name_end[]` one behind it. */
#ifndef AIOS_EMBED_H
#define AIOS_EMBED_H

#define EMBED(name, path)                                                                                                                  \
    __asm__(".pushsection .rodata\n"                                                                                                       \
            ".balign 4096\n"                                                                                                               \
            ".globl " #name "\n.hidden " #name "\n.type " #name ", @object\n" #name ":\n"                                                  \
            ".incbin \"" path "\"\n"                                                                                                       \
            ".globl " #name "_end\n.hidden " #name "_end\n" #name "_end:\n.byte 0\n"                                                       \
            ".size " #name ", . - " #name "\n"                                                                                             \
            ".popsection\n");                                                                                                              \
    extern const unsigned char name[], name##_end[]

#endif

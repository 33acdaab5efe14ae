/* digest.h: SHA-256 (FIPS 180-4), which tells whether tokenizers, corpora and caches are the ones of before. */
#ifndef AIOS_DATA_DIGEST_H
#define AIOS_DATA_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_TEXT 65 /* 64 hexadecimal digits and a 0 */

typedef struct digest {
    uint32_t state[8];
    uint64_t size;
    unsigned char block[64];
} digest;

void digest_init(digest *d);
void digest_add(digest *d, const void *bytes, size_t size);
/* A string or number with its length, so that ("ab", "c") and ("a", "bc") differ. */
void digest_add_text(digest *d, const char *text);
void digest_add_u64(digest *d, uint64_t value);
void digest_end(digest *d, char text[DIGEST_TEXT]);

#endif

/* digest.h: SHA-256 (FIPS 180-4), which tells whether tokenizers, corpora and caches are the ones of before; and SHA-1, by which git
 * names what it holds: that tells damage, against malice it is too weak. */
#ifndef AIOS_DATA_DIGEST_H
#define AIOS_DATA_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_TEXT 65 /* 64 hexadecimal digits, of SHA-1 40, and a 0 */

typedef struct digest {
    uint32_t state[8];
    uint64_t size;
    unsigned char block[64];
    void (*mix)(uint32_t *state, const unsigned char block[64]);
    int words; /* of the state that are told */
} digest;

void digest_init(digest *d);
void digest_init_sha1(digest *d);
void digest_add(digest *d, const void *bytes, size_t size);
/* A string or number with its length, so that ("ab", "c") and ("a", "bc") differ. */
void digest_add_text(digest *d, const char *text);
void digest_add_u64(digest *d, uint64_t value);
void digest_end(digest *d, char text[DIGEST_TEXT]);

#endif

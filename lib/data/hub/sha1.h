/* sha1.h: SHA-1 (FIPS 180-4), by which git names what it holds.  It tells damage; against malice it is too weak. */
#ifndef AIOS_DATA_HUB_SHA1_H
#define AIOS_DATA_HUB_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define SHA1_TEXT 41 /* 40 hexadecimal digits and a 0 */

typedef struct sha1 {
    uint32_t state[5];
    uint64_t size;
    unsigned char block[64];
} sha1;

void sha1_init(sha1 *s);
void sha1_add(sha1 *s, const void *bytes, size_t size);
void sha1_end(sha1 *s, char text[SHA1_TEXT]);

#endif

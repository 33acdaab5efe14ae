#include "sha1.h"

#include <string.h>

static uint32_t rotate(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

static void mix(uint32_t state[5], const unsigned char block[64])
{
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i >= 40 && i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        uint32_t next = rotate(a, 5) + f + e + k[i / 20] + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void sha1_init(sha1 *s)
{
    *s = (sha1){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
}

void sha1_add(sha1 *s, const void *bytes, size_t size)
{
    const unsigned char *from = bytes;
    while (size) {
        size_t used = s->size % 64, part = 64 - used < size ? 64 - used : size;
        memcpy(s->block + used, from, part);
        s->size += part;
        from += part;
        size -= part;
        if (s->size % 64 == 0) mix(s->state, s->block);
    }
}

void sha1_end(sha1 *s, char text[SHA1_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = s->size * 8;
    unsigned char length[8];
    sha1_add(s, "\x80", 1);
    while (s->size % 64 != 56) sha1_add(s, "", 1);
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha1_add(s, length, sizeof length);
    for (int i = 0; i < 40; i++) text[i] = digits[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    text[40] = 0;
}

/* Normal numbers by Box and Muller, LANES blocks of Philox side by side, in loops that the compiler vectorises.  No library function and no
 * fused operation is used (-ffp-contract=off for this file), so the bits are the same on every machine. */
#include "rng.h"

#include <math.h>
#include <string.h>

#define LANES 16

/* out[w][l]: word w of block counter + l. */
static void blocks(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4][LANES])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int l = 0; l < LANES; l++) {
        out[0][l] = (uint32_t)(counter + (uint64_t)l);
        out[1][l] = (uint32_t)((counter + (uint64_t)l) >> 32);
        out[2][l] = (uint32_t)stream;
        out[3][l] = (uint32_t)(stream >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int l = 0; l < LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * out[0][l], p1 = (uint64_t)0xCD9E8D57u * out[2][l];
            out[0][l] = (uint32_t)(p1 >> 32) ^ out[1][l] ^ k0;
            out[2][l] = (uint32_t)(p0 >> 32) ^ out[3][l] ^ k1;
            out[1][l] = (uint32_t)p1;
            out[3][l] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static float as_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t as_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ln(x), x in (0, 1]: x = 2^e m, m in [sqrt(1/2), sqrt(2)), ln(m) = 2 atanh((m-1)/(m+1)) as a series; 2 units in the last place. */
static float natural_log(float x)
{
    uint32_t bits = as_bits(x) - 0x3f3504f3u; /* sqrt(1/2) */
    float e = (float)((int32_t)bits >> 23), m = as_float((bits & 0x7fffffu) + 0x3f3504f3u);
    float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    float series = 2.0f + z * (0.66666667f + z * (0.4f + z * (0.28571429f + z * 0.22222222f)));
    return e * 0.693147181f + s * series;
}

/* Sine of t turns, t in [-1/8, 1/8]; and cosine: Taylor's series, within 1 unit in the last place. */
static float sine(float t)
{
    float z = t * t;
    return t * (6.28318531f + z * (-41.3417023f + z * (81.6052493f + z * (-76.7058598f + z * 42.0586940f))));
}

static float cosine(float t)
{
    float z = t * t;
    return 1.0f + z * (-19.7392088f + z * (64.9393940f + z * (-85.4568172f + z * (60.2446414f + z * -26.4262568f))));
}

/* Two normals from two words. */
static void pair(uint32_t a, uint32_t b, float deviation, float *first, float *second)
{
    float u = ((float)(int32_t)(a >> 8) + 1.0f) * 0x1p-24f, v = (float)(int32_t)(b >> 8) * 0x1p-24f;
    float radius = sqrtf(-2.0f * natural_log(u)) * deviation;
    int32_t quarter = (int32_t)(v * 4.0f + 0.5f); /* 0 to 4: the angle from the nearest quarter turn on */
    float t = v - (float)quarter * 0.25f, s = sine(t), c = cosine(t);
    float x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    *first = radius * ((quarter + 1) & 2 ? -x : x);
    *second = radius * (quarter & 2 ? -y : y);
}

void rng_normals(uint64_t seed, uint64_t stream, uint64_t counter, float *to, uint64_t count, float deviation)
{
    for (uint64_t i = 0; i < count; i += 4 * LANES, counter += LANES) {
        uint32_t words[4][LANES];
        float made[4][LANES];
        blocks(seed, stream, counter, words);
        for (int l = 0; l < LANES; l++) pair(words[0][l], words[1][l], deviation, &made[0][l], &made[1][l]);
        for (int l = 0; l < LANES; l++) pair(words[2][l], words[3][l], deviation, &made[2][l], &made[3][l]);
        uint64_t left = count - i < 4 * LANES ? count - i : 4 * LANES;
        for (uint64_t k = 0; k < left; k++) to[i + k] = made[k % 4][k / 4];
    }
}

#include "device_word.h"

#include "base/error.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS     "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"

/* ---- PCI addresses ----------------------------------------------------------------------------------------------- */

/* Up to `most` hexadecimal digits and the character behind them (0: the end).  NULL where something else stands there. */
static const char *take_hex(const char *text, size_t most, char behind, uint32_t *number)
{
    size_t length = strspn(text, HEX_DIGITS);
    if (length == 0 || length > most || text[length] != behind) return NULL;
    *number = (uint32_t)strtoul(text, NULL, 16);
    return text + length + (behind != 0);
}

int pci_address_read(const char *text, pci_address *address)
{
    *address = (pci_address){0, 0, 0, 0};
    const char *first = strchr(text, ':');
    if (!first) return 0;
    if (strchr(first + 1, ':') && !(text = take_hex(text, 8, ':', &address->domain))) return 0;
    if (!(text = take_hex(text, 2, ':', &address->bus))) return 0;
    if (!(text = take_hex(text, 2, '.', &address->device))) return 0;
    return take_hex(text, 1, 0, &address->function) != NULL;
}

int pci_address_equal(const char *a, const char *b)
{
    pci_address x, y;
    return pci_address_read(a, &x) && pci_address_read(b, &y) && x.domain == y.domain && x.bus == y.bus && x.device == y.device &&
           x.function == y.function;
}

/* ---- UUIDs ------------------------------------------------------------------------------------------------------- */

/* "GPU-5FD4-b0" -> "5fd4b0".  0 where it is no UUID: AMD's have 16 digits, the others 32. */
static int read_uuid(const char *text, char digits[64])
{
    size_t used = 0;
    if ((toupper((unsigned char)text[0]) == 'G' && toupper((unsigned char)text[1]) == 'P' && toupper((unsigned char)text[2]) == 'U') ||
        (toupper((unsigned char)text[0]) == 'M' && toupper((unsigned char)text[1]) == 'I' && toupper((unsigned char)text[2]) == 'G'))
        text += 3 + (text[3] == '-');
    for (; *text; text++) {
        if (*text == '-') continue;
        if (!isxdigit((unsigned char)*text) || used >= 63) return 0;
        digits[used++] = (char)tolower((unsigned char)*text);
    }
    digits[used] = 0;
    return used >= 16;
}

int device_uuid_equal(const char *a, const char *b)
{
    char x[64], y[64];
    return read_uuid(a, x) && read_uuid(b, y) && strcmp(x, y) == 0;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static aios_status refuse(const char *text)
{
    return FAIL(AIOS_INVALID_ARGUMENT,
                "device \"%.*s\": a device is \"cpu\", \"gpu:0\", \"cuda:0\", \"xpu:0\", \"hip:0\", a GPU's number as in \"0\", a PCI "
                "address as in "
                "\"0000:3b:00.0\" or a UUID",
                DEVICE_WORD_SIZE, text);
}

static int read_index(const char *digits, int32_t *index)
{
    size_t count = strlen(digits);
    if (count == 0 || count > 6 || strspn(digits, DIGITS) != count) return 0;
    *index = (int32_t)strtol(digits, NULL, 10);
    return 1;
}

aios_status device_word_read(const char *text, device_word *word)
{
    memset(word, 0, sizeof *word);
    word->kind = WORD_GPU;
    if (read_index(text, &word->index)) return AIOS_OK;
    word->kind = WORD_UUID;
    if (read_uuid(text, word->uuid)) return AIOS_OK;
    word->kind = WORD_PCI;
    if (pci_address_read(text, &word->pci)) return AIOS_OK;
    size_t length = strcspn(text, ":");
    if (length == 0 || length >= sizeof word->backend) return refuse(text);
    for (size_t i = 0; i < length; i++) /* as registry_check wants the names of backends */
        if (!(text[i] >= 'a' && text[i] <= 'z') && !(i && text[i] >= '0' && text[i] <= '9')) return refuse(text);
    if (text[length] && !read_index(text + length + 1, &word->index)) return refuse(text);
    memcpy(word->backend, text, length);
    word->backend[length] = 0;
    word->kind = strcmp(word->backend, "gpu") == 0 ? WORD_GPU : WORD_BACKEND;
    return AIOS_OK;
}

int device_word_matches(const device_word *word, const aios_device_entry *entry)
{
    pci_address pci;
    char uuid[64];
    switch (word->kind) {
    case WORD_GPU: return entry->id == word->index;
    case WORD_BACKEND: return entry->info.index == word->index && strcmp(entry->info.backend, word->backend) == 0;
    case WORD_PCI:
        return pci_address_read(entry->info.pci_address, &pci) && pci.domain == word->pci.domain && pci.bus == word->pci.bus &&
               pci.device == word->pci.device && pci.function == word->pci.function;
    default: return read_uuid(entry->info.uuid, uuid) && strcmp(uuid, word->uuid) == 0;
    }
}

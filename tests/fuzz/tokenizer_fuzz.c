/* Any bytes as tokenizer.json: refused with an error, or a tokenizer whose ids come back as the text; and any bytes as text, which
 * comes back from two tokenizers whatever the pieces in which it came.  The first byte chooses, the second the pieces. */
#include "base/context.h"
#include "base/os.h"
#include "data/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int right)
{
    if (!right) abort();
}

typedef struct id_list {
    int32_t ids[16384];
    size_t count;
} id_list;

static aios_status collect(void *user, const int32_t *ids, size_t count)
{
    id_list *list = user;
    check(list->count + count <= COUNT_OF(list->ids));
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return AIOS_OK;
}

static void check_text(const aios_tokenizer *t, const char *text, size_t size, size_t piece, int lossless)
{
    static id_list whole, pieces;
    static char back[16384];
    size_t length;
    encoder *e;
    pieces.count = 0;
    check(aios_tokenizer_encode(t, text, size, whole.ids, COUNT_OF(whole.ids), &whole.count) == AIOS_OK);
    check(encoder_create(t, 1, collect, &pieces, &e) == AIOS_OK);
    for (size_t at = 0; at < size; at += piece) check(encoder_add(e, text + at, piece < size - at ? piece : size - at) == AIOS_OK);
    check(encoder_end(e) == AIOS_OK);
    encoder_destroy(e);
    check(pieces.count == whole.count && memcmp(pieces.ids, whole.ids, whole.count * sizeof *whole.ids) == 0);
    check(aios_tokenizer_decode(t, whole.ids, whole.count, back, sizeof back, &length) == AIOS_OK);
    if (lossless) check(length == size && memcmp(back, text, size) == 0);
}

static void check_file(aios_context *context, const char *bytes, size_t size)
{
    char path[96];
    os_file file;
    aios_tokenizer *t;
    (void)snprintf(path, sizeof path, "%s/aios-fuzz-%d.json", os_path_kind("/dev/shm") == OS_FOLDER ? "/dev/shm" : "/tmp", os_process_id());
    check(os_file_create(path, &file) == AIOS_OK && os_file_write(file, bytes, size) == AIOS_OK);
    os_file_close(&file);
    aios_status status = aios_tokenizer_open(context, path, &t);
    check(os_remove(path) == AIOS_OK);
    if (status != AIOS_OK)
        check(!t && strlen(aios_error_message()) > 5);
    else
        check_text(t, "It's 12 texts,  \n <|x|>", 23, 5, 0);
    aios_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static aios_context *context;
    static aios_tokenizer *tokenizers[2];
    if (!context) {
        check(aios_context_create(NULL, &context) == AIOS_OK);
        check(aios_tokenizer_open(context, FUZZ_DATA "/bpe", &tokenizers[0]) == AIOS_OK);
        check(aios_tokenizer_open(context, FUZZ_DATA "/bpe_split", &tokenizers[1]) == AIOS_OK);
    }
    if (size < 2) return 0;
    if (bytes[0] == '{')
        check_file(context, (const char *)bytes, size);
    else
        check_text(tokenizers[bytes[0] % 2], (const char *)bytes + 2, size - 2, 1 + bytes[1] % 64, 1);
    return 0;
}

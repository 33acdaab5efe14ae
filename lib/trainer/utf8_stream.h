/* utf8_stream.h (internal): bytes that come token by token, passed on in whole UTF-8 characters.
 *
 * The first bytes of a character that may still become one are held back; bytes that can't are passed on as they are. */
#ifndef AIOS_TRAINER_UTF8_STREAM_H
#define AIOS_TRAINER_UTF8_STREAM_H

#include <aios/trainer.h>

struct utf8_stream {
    aios_text_fn text;
    void *user;
    char held[4];
    size_t held_size;
};

/* What text returned: non-zero to stop. */
int32_t utf8_stream_add(struct utf8_stream *stream, const char *bytes, size_t size);
int32_t utf8_stream_end(struct utf8_stream *stream); /* passes on what is held back */
/* How many of the last bytes begin a character that is not whole. */
size_t utf8_open_tail(const char *bytes, size_t size);

#endif

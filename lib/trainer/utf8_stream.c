#include "utf8_stream.h"

#include <string.h>

/* Bytes of the character that begins with `lead`; 0 where none does. */
static size_t character_size(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/* 1 where `second` can follow `lead`: no overlong forms, no surrogates, at most U+10FFFF. */
static int can_follow(unsigned char lead, unsigned char second)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

size_t utf8_open_tail(const char *bytes, size_t size)
{
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        unsigned char lead = b[size - back];
        if ((lead & 0xc0) == 0x80) continue;
        return character_size(lead) > back && (back < 2 || can_follow(lead, b[size - back + 1])) ? back : 0;
    }
    return 0;
}

int32_t utf8_stream_add(struct utf8_stream *stream, const char *bytes, size_t size)
{
    int32_t stop = 0;
    while (stream->held_size && size && !stop) { /* one by one until the character is whole or is none */
        stream->held[stream->held_size++] = *bytes++;
        size--;
        if (utf8_open_tail(stream->held, stream->held_size) == stream->held_size) continue;
        size_t keep = utf8_open_tail(stream->held, stream->held_size), whole = stream->held_size - keep;
        stop = stream->text(stream->user, stream->held, whole);
        memmove(stream->held, stream->held + whole, keep);
        stream->held_size = keep;
    }
    if (stop || !size) return stop;
    size_t tail = utf8_open_tail(bytes, size);
    if (size > tail) stop = stream->text(stream->user, bytes, size - tail);
    memcpy(stream->held, bytes + size - tail, tail);
    stream->held_size = tail;
    return stop;
}

int32_t utf8_stream_end(struct utf8_stream *stream)
{
    size_t size = stream->held_size;
    stream->held_size = 0;
    return size ? stream->text(stream->user, stream->held, size) : 0;
}

#include "stream.h"

#include <stdlib.h>
#include <string.h>

/* Slices start within the first 64 KiB, so that with a 100 KiB message they stay in a core's second-level cache: the
 * comparison must not read main memory. */
enum { STARTS = 1 << 16 };

static void fill(uint8_t *bytes, size_t length)
{
    uint64_t state = 0x9E3779B97F4A7C15u; /* fixed seed: a run can be repeated byte for byte */
    for (size_t at = 0; at < length; at++) { /* xorshift64 (Marsaglia, 2003) */
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[at] = (uint8_t)(state >> 32);
    }
}

int stream_make(struct stream *stream, size_t size)
{
    stream->size = size;
    stream->random = malloc(STARTS + size);
    if (!stream->random)
        return -1;
    fill(stream->random, STARTS + size);
    return 0;
}

static size_t slice_start(uint32_t serial, uint32_t message)
{
    uint64_t mixed = ((uint64_t)serial << 32 | message) * 0x9E3779B97F4A7C15u;
    return (size_t)(mixed >> 48);
}

struct piece stream_piece(const struct stream *stream, uint32_t serial, uint64_t position, uint8_t header[STREAM_HEADER])
{
    uint32_t message = (uint32_t)(position / stream->size);
    size_t offset = (size_t)(position % stream->size);
    if (offset < STREAM_HEADER) {
        size_t header_length = stream->size < STREAM_HEADER ? stream->size : STREAM_HEADER;
        memcpy(header, &message, sizeof message);
        memcpy(header + sizeof message, &serial, sizeof serial);
        return (struct piece){header + offset, header_length - offset};
    }
    return (struct piece){stream->random + slice_start(serial, message) + offset, stream->size - offset};
}

static size_t first_difference(const uint8_t *left, const uint8_t *right, size_t count)
{
    size_t at = 0;
    while (at < count && left[at] == right[at])
        at++;
    return at;
}

size_t stream_check(const struct stream *stream, uint32_t serial, uint64_t position, const uint8_t *data, size_t count)
{
    uint8_t header[STREAM_HEADER];
    size_t checked = 0;
    while (checked < count) {
        struct piece piece = stream_piece(stream, serial, position + checked, header);
        size_t length = piece.length < count - checked ? piece.length : count - checked;
        if (memcmp(piece.bytes, data + checked, length) != 0)
            return checked + first_difference(piece.bytes, data + checked, length);
        checked += length;
    }
    return count;
}

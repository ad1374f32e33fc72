/* The byte stream of each connection. It can be computed at any position, so that the driver compares every byte of the
 * echo without a copy of the bytes that it has sent.
 *
 * A stream is a row of messages of one size. A message begins with its number and the connection's serial number (8
 * bytes, as far as they fit); the rest is a slice of a random buffer whose start depends on both. Two messages, of one
 * connection or of two, therefore differ, and a server that mixes up, repeats, drops or moves bytes is detected. */
#ifndef STREAM_H
#define STREAM_H

#include <stddef.h>
#include <stdint.h>

enum { STREAM_HEADER = 8 };

struct stream {
    uint8_t *random;
    size_t size; /* bytes of one message */
};

struct piece {
    const uint8_t *bytes;
    size_t length;
};

/* Returns -1 with errno when there is no memory. */
int stream_make(struct stream *stream, size_t size);

/* The longest contiguous run of bytes of stream `serial` from `position` on: the rest of a message's header, which is
 * written to `header`, or the rest of its slice. */
struct piece stream_piece(const struct stream *stream, uint32_t serial, uint64_t position, uint8_t header[STREAM_HEADER]);

/* The number of right bytes before the first wrong one, of `count` bytes received at `position`. */
size_t stream_check(const struct stream *stream, uint32_t serial, uint64_t position, const uint8_t *data, size_t count);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Streams: a snapshot, or what changed between two, as a sequence of bytes.
 *
 * A stream carries a snapshot into another database, through a pipe or a
 * file.  It is read from beginning to end, never trusted, and applied only
 * when all of it has arrived.
 *
 *   preamble | BEGIN | PROPERTY ... | FEATURE ... | ZEROES or DATA ... | END
 *                                                        and nothing behind
 *
 * All numbers are little-endian.  The preamble has 24 bytes: the text
 * "sqlblock-stream\n", the version as 32 bits, and 32 bits that are zero.
 * Version 1 has no PROPERTY and no FEATURE, and is written where there are
 * none, so that programs which know no more can read it.
 * Each record has a head of 48 bytes, and then its payload:
 *
 *    0  32 bits  kind: 1 BEGIN, 2 ZEROES, 3 DATA, 4 END, 5 PROPERTY, 6 FEATURE
 *    4   8 bits  codec of the payload: 0 none, 1 as it is; others will be
 *                as in block.codec (schema.sql)
 *    5  24 bits  zero
 *    8  64 bits  offset in the disk, in bytes
 *   16  64 bits  count of bytes of the disk
 *   24  64 bits  length of the payload in the stream, in bytes
 *   32  64 bits  checksum of the payload
 *   40  64 bits  checksum of the previous head's checksum (of the preamble
 *                for the first record) and of the bytes 0 to 39
 *
 * Checksums are XXH3 of 64 bits.  Since each covers the one before, the
 * last one covers the stream: no record can be lost, added, repeated or
 * moved.
 *
 * BEGIN   the payload is what the stream is about:
 *            0  size of the disk in bytes        32  guid of the base, or 0
 *            8  block size in bytes              40  length of four texts,
 *           16  guid of the snapshot                 16 bits each
 *           24  when it was made (since 1970)    48  the texts, without NUL:
 *         disk, its description, the snapshot, the base.  All but the
 *         lengths are 64 bits.  Without a base the disk is zeroes where the
 *         stream does not say otherwise; with one it is what the base was.
 *         In version 2 the head's count is how many PROPERTY and FEATURE
 *         follow.
 * PROPERTY  what is optional about the disk, or with a base of the snapshot
 *         only (the table property, schema.sql):
 *            0  32 bits  kind: 1 of the disk, 2 of the snapshot
 *            4  16 bits  type of the value: 1 integer, 3 text, 4 bytes
 *            6  16 bits  length of the key
 *            8  the key, and the value behind it; an integer has 64 bits
 *         Their kinds and keys go upwards, compared byte by byte.  None has a
 *         key that stays where it is (optional_stays).
 * FEATURE what a program must know to use the disk (the table feature): the
 *         class as 64 bits, and the name.  The names go upwards.
 * ZEROES  the range is zeroes; no payload.
 * DATA    the range is these bytes, at most STREAM_DATA_MAX of them.
 * END     the payload has three numbers of 64 bits: how many records came
 *         before, and how many bytes of the disk were DATA and ZEROES.
 *
 * Ranges are not empty, go upwards without an overlap, begin at a multiple
 * of the block size, and end at one or at the end of the disk.
 */

#ifndef SQLBLOCK_STREAM_H
#define SQLBLOCK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/optional.h"
#include "base/types.h"
#include "status.h"

#define STREAM_VERSION 2

/* The most bytes of the disk that one DATA record has. */
#define STREAM_DATA_MAX 1048576

/* What a stream is about. */
struct stream_header {
  char disk[DISK_NAME_MAX + 1];
  char description[DISK_DESCRIPTION_MAX + 1];
  char snapshot[SNAPSHOT_NAME_MAX + 1];
  char base[SNAPSHOT_NAME_MAX + 1]; /* "" without a base */
  uint64_t size;                    /* bytes */
  uint32_t block_size;              /* bytes */
  int64_t guid;                     /* of the snapshot */
  int64_t created;                  /* when it was made */
  int64_t base_guid;                /* 0 without a base */
};

/* A range of the disk. */
struct stream_range {
  uint64_t offset, count; /* bytes */
  const void *data;       /* NULL: zeroes */
};

/* What was written or read so far. */
struct stream_counts {
  uint64_t records; /* before END, BEGIN included */
  uint64_t data;    /* bytes of the disk in DATA records */
  uint64_t zeroes;  /* bytes of the disk in ZEROES records */
};

/* Both ends.  Thread rules: one thread at a time. */
struct stream {
  int fd;
  /* Where not NULL: asked when a signal interrupts waiting for the other
   * end; non-zero ends it with ECANCELED.
   */
  int (*interrupted) (void);

  uint32_t version;
  struct stream_header header;
  struct optional optional; /* that was read */
  struct stream_counts counts;
  uint64_t bytes;   /* of the stream itself */
  uint64_t next;    /* the first byte of the disk that may come next */
  uint64_t chained; /* the checksum of the last head */
  bool ended;
  unsigned char *payload;

  /* Of what is no stream: the FOREIGN_COUNT bytes at its beginning. */
  char foreign[16];
  size_t foreign_count;
};

/* Write the beginning of a stream to FD, which is not closed here.  HEADER
 * has values that a disk and a snapshot can have, and OPTIONAL, which may be
 * NULL, what is optional about them, as carried_read gives it.  Returns 0, or
 * -1: EPIPE where nobody reads (SIGPIPE is ignored by the caller), EIO, ENOSPC.
 */
int stream_begin (struct stream *stream, int fd, int (*interrupted) (void),
                  const struct stream_header *header,
                  const struct optional *optional, struct status *status);

/* Write a range; data is split as needed. */
int stream_write (struct stream *stream, const struct stream_range *range,
                  struct status *status);

/* Write the end. */
int stream_end (struct stream *stream, struct status *status);

/* Read the beginning of a stream from FD into stream->header and
 * stream->optional.  Returns 0, or -1: EINVAL for what is no stream or is
 * damaged, ENOTSUP for a version or a codec that this program does not know.
 */
int stream_open (struct stream *stream, int fd, int (*interrupted) (void),
                 struct status *status);

/* Read the next range, whose data is valid until the next call.  Returns 1,
 * 0 when all was read, the end was right and nothing follows it, -1.
 */
int stream_read (struct stream *stream, struct stream_range *range,
                 struct status *status);

/* Free what STREAM holds, after stream_begin or stream_open, whatever they
 * returned.
 */
void stream_close (struct stream *stream);

#endif /* SQLBLOCK_STREAM_H */

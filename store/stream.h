/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Streams: a snapshot, or what changed between two, as a sequence of bytes.
 *
 * A stream carries a snapshot into another database, through a pipe or a
 * file.  It is read from beginning to end, never trusted, and applied only
 * when all of it has arrived.
 *
 *   preamble | BEGIN | PROPERTY ... | FEATURE ...
 *            | ZEROES or DATA or BLOCKS ... | END
 *
 * Behind its end there is nothing, or another stream: each is complete by
 * itself, has its own checksums, and is applied as soon as it has arrived.
 * Streams that were sent together are a sequence, whose parts are numbered, so
 * that who reads them knows when one is missing.
 *
 * All numbers are little-endian.  The preamble has 24 bytes: the text
 * "sqlblock-stream\n", the version as 32 bits, and 32 bits that are zero.
 * Version 1 has no PROPERTY and no FEATURE; version 2 no BLOCKS, no sequences
 * and no clones.  The lowest that does is written, so that programs which know
 * no more can read it.
 * Each record has a head of 48 bytes, and then its payload:
 *
 *    0  32 bits  kind: 1 BEGIN, 2 ZEROES, 3 DATA, 4 END, 5 PROPERTY, 6 FEATURE,
 *                7 BLOCKS
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
 *         From version 2 on the head's count is how many PROPERTY and
 *         FEATURE follow.  From version 3 on there stand before the texts:
 *           48  number of the stream in its sequence, from 1
 *           52  how many the sequence has; both are 0 where there is none
 *           56  how many disks these are of
 *           60  flags: 1 the base is of another disk, and the disk a clone;
 *               2 the stream goes on where an earlier one of the same snapshot
 *               and base was cut off: the head's offset says where, and
 *               nothing before that is in it
 *           64  codec of new blocks (schema.sql), or 0: not said
 *           68  its level
 *           72  are equal blocks stored once: 0 not said, 1 no, 2 yes
 *           76  length of a fifth text, the disk of the base of a clone
 *         These are 32 bits each.
 * PROPERTY  what is optional about the disk, or with a base that is no other
 *         disk's of the snapshot only, and "encryption" of the disk, which
 *         tells its key (the table property, schema.sql):
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
 * BLOCKS  the range is these blocks, as they are stored: so they need not be
 *         compressed anew (base/packed.h).  Its bytes are at most as many.
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

#define STREAM_VERSION 3

/* The most bytes of the disk that one DATA or BLOCKS record has. */
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

  /* What only version 3 says; all zeroes where nothing of it is said. */
  bool clone; /* the disk begins as the base, which is of another disk, */
  char base_disk[DISK_NAME_MAX + 1]; /* of that name */
  uint32_t number, count;            /* which stream of how many that were
                                        sent together, or 0 */
  uint32_t disks;                    /* of so many disks */
  struct storing storing; /* of the disk; its blocks come as they are stored */
  uint64_t resumed; /* not 0: the stream begins at this byte of the disk, a
                       multiple of the block or the end */
};

/* Where a reception was interrupted, and of what: as a text, the token, it goes
 * from who receives to who sends.
 */
struct stream_token {
  int64_t guid;        /* of the snapshot */
  int64_t base_guid;   /* 0 without a base */
  uint64_t size;       /* bytes */
  uint64_t position;   /* as stream_header.resumed */
  uint32_t block_size; /* bytes */
};

/* Room for the text. */
#define STREAM_TOKEN_MAX 100

void stream_token_print (const struct stream_token *token,
                         char text[STREAM_TOKEN_MAX]);

/* Read it again.  Returns 0, or -1 and EINVAL where it is none, or damaged.
 * Thread rules, here and above: any thread.
 */
int stream_token_read (const char *text, struct stream_token *token,
                       struct status *status);

/* A range of the disk. */
struct stream_range {
  uint64_t offset, count; /* bytes */
  const void *data;       /* NULL: zeroes */
  size_t packed; /* bytes of data, where that is blocks as they are stored
                    (base/packed.h); 0: the bytes of the disk */
};

/* What was written or read so far. */
struct stream_counts {
  uint64_t records; /* before END, BEGIN included */
  uint64_t data;    /* bytes of the disk in DATA and BLOCKS records */
  uint64_t zeroes;  /* bytes of the disk in ZEROES records */
};

/* Both ends.  Thread rules: one thread at a time. */
struct stream {
  int fd;
  /* Where not NULL: asked when a signal interrupts waiting for the other
   * end; non-zero ends it with ECANCELED.
   */
  int (*interrupted) (void);
  /* Where not NULL: called with the other when nothing to be read has come for
   * a second, and after each further one.
   */
  void (*stalled) (void *opaque);
  void *opaque;

  uint32_t version;
  struct stream_header header;
  struct optional optional; /* that was read */
  struct stream_counts counts;
  uint64_t bytes;   /* of the stream itself, and those before it */
  uint64_t begins;  /* how many of these are before it */
  uint64_t next;    /* the first byte of the disk that may come next */
  uint64_t chained; /* the checksum of the last head */
  bool ended;
  unsigned char *payload;

  /* Of what is no stream: the FOREIGN_COUNT bytes at its beginning. */
  char foreign[16];
  size_t foreign_count;
};

/* As FD of a stream that is written: it goes nowhere.  Then its bytes are
 * counted, and data is not looked at.
 */
#define STREAM_NOWHERE (-1)

/* Write the beginning of a stream to FD, which is not closed here.  HEADER
 * has values that a disk and a snapshot can have, and OPTIONAL, which may be
 * NULL, what is optional about them, as carried_read gives it.  Returns 0, or
 * -1: EPIPE where nobody reads (SIGPIPE is ignored by the caller), EIO, ENOSPC.
 */
int stream_begin (struct stream *stream, int fd, int (*interrupted) (void),
                  const struct stream_header *header,
                  const struct optional *optional, struct status *status);

/* Write a range; data is split as needed, but not what is packed: that has at
 * most STREAM_DATA_MAX bytes of the disk, and its header says how it is stored.
 */
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
 * 0 when all was read and the end was right, -1.
 */
int stream_read (struct stream *stream, struct stream_range *range,
                 struct status *status);

/* After that: read the beginning of the stream that follows, as stream_open.
 * Returns 1, 0 where nothing follows and nothing is missing, -1: EINVAL where
 * something else follows than a stream, or the sequence is not complete.
 */
int stream_next (struct stream *stream, struct status *status);

/* Free what STREAM holds, after stream_begin or stream_open, whatever they
 * returned.
 */
void stream_close (struct stream *stream);

#endif /* SQLBLOCK_STREAM_H */

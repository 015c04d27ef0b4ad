/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How a block's bytes become a row's data and come back.
 *
 * The codec of a row says how its data holds the block, so the rows of one
 * disk may have different ones: a disk's compression is what its new blocks
 * get.  Blocks are encoded by the thread of the request that writes them,
 * before it waits for the writer, and decoded by the one that reads them.
 *
 *   block ---> all zeroes? ---> no data
 *         \--> does it look as if it shrinks? ---> compress ---> by 1/8?
 *               \ no                                    \ no       \ yes
 *                as it is                                as it is   compressed
 *
 * Compression never fails: what cannot be compressed, for whatever reason,
 * is stored as it is.  Where the disk has a key, what is to be stored is then
 * encrypted (cipher.h), and such a disk has no other rows but of zeroes.
 */

#ifndef SQLBLOCK_CODEC_H
#define SQLBLOCK_CODEC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "base/types.h"
#include "block/cipher.h"

/* Room for so many codecs. */
#define CODECS_MAX 8

/* What a thread needs to compress and decompress; all zeroes is a valid
 * empty one, which grows when it is used.
 */
struct codec_workspace {
  void *contexts[CODECS_MAX]; /* one for each codec, if it needs any */
  char *block;                /* room for a block of block_size bytes */
  char *plain;                /* and for one that was decrypted */
  uint32_t block_size;
  struct codec_workspace *next;
};

/* Workspaces that are not in use. */
struct codec_pool {
  pthread_mutex_t lock; /* a leaf */
  struct codec_workspace *idle;
};

/* What encrypts a block. */
struct block_key {
  const struct cipher_key *key; /* NULL: nothing */
  uint64_t number;              /* of the block */
  bool shared; /* others may come to refer to it, see cipher.h */
};

/* A block ready to be stored. */
struct encoded {
  enum codec codec;
  const void *data; /* NULL for CODEC_ZERO; may point into the block */
  size_t length;    /* of data, in bytes */
  uint64_t hash;    /* checksum_bytes of data */
  bool shared;      /* other blocks may refer to it, as block_key says */

  /* The block itself, and a hash of that if it was asked for.  NULL: what it
   * holds is not known here.
   */
  const void *block;
  uint64_t block_hash;
  bool hashed;
};

/* How a disk is stored where nobody says it: with lz4, or as it is where this
 * program was built without.
 */
struct compression compression_default (void);

/* Read TEXT, the name of a codec, or of one that has levels NAME:LEVEL.
 * Returns 0, or -1: EINVAL for anything else, ENOTSUP where this program was
 * built without the codec.
 */
int compression_parse (const char *text, struct compression *compression,
                       struct status *status);

/* Write a compression as compression_parse reads it. */
void compression_print (const struct compression *compression,
                        char text[COMPRESSION_TEXT]);

/* Are these the columns of a compression, and can this program write it?
 * Returns 0, or -1: EIO, ENOTSUP.
 */
int compression_check (int64_t codec, int64_t level, struct status *status);

/* The name of the NUMBERth codec of those that this program was built with, or
 * NULL behind the last.
 */
const char *codec_built (unsigned number);

/* All codecs that a disk can have, one after the other: CODEC_ZERO becomes the
 * first.  Returns false after the last one.
 */
bool codec_next (enum codec *codec);

/* Is CODEC, of a row of a block or of a content, one of those that there are,
 * also if this program was built without it?
 */
bool codec_is_known (int64_t codec);

/* Say that a row has CODEC, which is none of those, with ERROR; returns -1. */
int codec_fail_unknown (int64_t codec, int error, struct status *status);

/* SQL, of a row of TABLE: is its codec known?  Where not, the statement fails
 * with ENOTSUP (connection.h).  For whatever changes, moves or deletes rows:
 * one that is not understood stays as it is.
 */
#define CODEC_UNDERSTOOD(table)                                                \
  "(" table ".codec BETWEEN 0 AND 4 OR understood (" table ".codec))"

/* The feature that a database has which uses this codec, or NULL. */
const char *codec_feature (enum codec codec);

/* Does this program have the codec of a feature? */
bool codec_has_feature (const char *feature);

/* Free what a workspace holds. */
void codec_workspace_free (struct codec_workspace *workspace);

void codec_pool_init (struct codec_pool *pool);
void codec_pool_destroy (struct codec_pool *pool);

/* Take a workspace, or NULL where there is no memory, and give it back.
 * Thread rules: any thread; the workspace is the caller's meanwhile.
 */
struct codec_workspace *codec_take (struct codec_pool *pool);
void codec_return (struct codec_pool *pool, struct codec_workspace *workspace);

/* Room for what is stored of a block of BLOCK_SIZE bytes. */
#define CODEC_ROOM(block_size) ((size_t)(block_size) + CIPHER_ADDED)

/* Encode BLOCK of BLOCK_SIZE bytes.  ROOM has CODEC_ROOM, or is NULL
 * where COMPRESSION is CODEC_RAW, and there is no key.  ENCODED may refer to
 * BLOCK, and to the first bytes of ROOM, which must stay as they are until it
 * is no longer used.  WORKSPACE may be NULL: then nothing is compressed. Thread
 * rules: any thread, with a workspace of its own.
 */
void codec_encode (struct codec_workspace *workspace,
                   const struct compression *compression,
                   const struct block_key *key, const void *block,
                   uint32_t block_size, void *room, struct encoded *encoded);

/* Find ENCODED->block_hash, of a block of BLOCK_SIZE bytes, which is known. */
void codec_hash_block (struct encoded *encoded, const struct cipher_key *key,
                       uint32_t block_size);

/* Check that LENGTH bytes of data can be a block of BLOCK_SIZE bytes under
 * CODEC.  Returns 0, or -1: EIO, also for a codec that is not known, and
 * ENOTSUP for one that this program was built without.  Thread rules: any
 * thread.
 */
int codec_check (int64_t codec, size_t length, uint32_t block_size,
                 struct status *status);

/* Is a row with CODEC encrypted? */
bool codec_is_encrypted (int64_t codec);

/* Copy COUNT bytes from byte OFFSET of a block of BLOCK_SIZE bytes into
 * BUFFER.  CODEC and the LENGTH bytes of DATA have passed codec_check.
 * Never writes more than these bytes, whatever DATA says.  Returns 0, or -1:
 * EIO where DATA is not such a block, or not encrypted with KEY, or is
 * where that is none; ENOMEM.  Thread rules: any thread, with a workspace of
 * its own.
 */
int codec_copy (struct codec_workspace *workspace, int64_t codec,
                const struct block_key *key, const void *data, size_t length,
                uint32_t block_size, uint32_t offset, uint32_t count,
                void *buffer, struct status *status);

/* Take LENGTH bytes of DATA under CODEC, from elsewhere, for a block that is
 * ready to be stored: ENCODED refers to them.  They are decoded into BLOCK, of
 * BLOCK_SIZE bytes, and what then is all zeroes is CODEC_ZERO; what is
 * encrypted stays as it is, and is not known.  Otherwise as codec_check and
 * codec_copy.
 */
int codec_adopt (struct codec_workspace *workspace, int64_t codec,
                 const void *data, size_t length, uint32_t block_size,
                 void *block, struct encoded *encoded, struct status *status);

/* Does DATA hold the bytes of BLOCK?  Otherwise as codec_copy.  Returns 1, 0,
 * -1.
 */
int codec_compare (struct codec_workspace *workspace, int64_t codec,
                   const struct block_key *key, const void *data, size_t length,
                   const void *block, uint32_t block_size,
                   struct status *status);

#endif /* SQLBLOCK_CODEC_H */

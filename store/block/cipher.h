/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Encrypting what a row holds, and noticing that it was changed: with
 * XChaCha20-Poly1305 of libsodium, whose nonces are so long that random ones
 * never meet.
 *
 *   block ---> compressed, or as it is ---> number | nonce | tag | encrypted
 *                                            of the key
 *                                           4        24     16   bytes
 *
 * The tag covers, beside these bytes, the number of the block, its length and
 * the codec, so a row in the place of another one is noticed, too.  It does not
 * cover the layer and the generation: rows move between layers, and clones
 * share a key; so an older row of the same block is not noticed.
 *
 * A block that others may share (content.h) has no number of its own: it is
 * SHARED, and stands for block 2^64-1.  The lowest bit of the first byte of the
 * nonce says so, which cannot be changed without the tag noticing it.
 *
 * From the one key of a disk two are derived: one that encrypts, and one for
 * the hash by which equal blocks are found.  Both are in memory that is locked,
 * is in no core dump, and is wiped.
 */

#ifndef SQLBLOCK_CIPHER_H
#define SQLBLOCK_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* The key of a disk, and what a stored block has beside its data, in bytes. */
#define CIPHER_KEY   32
#define CIPHER_ADDED (4 + 24 + 16)

/* By what to tell whether a key is that of a disk, without a block. */
#define CIPHER_CHECK 16

/* What is derived from a disk's key. */
struct cipher_key;

/* What a block is to its tag. */
struct cipher_place {
  uint64_t number;     /* of the block */
  uint32_t block_size; /* bytes */
  uint32_t codec;      /* of the data before it was encrypted */
};

/* Was this program built with encryption?  If not, all that can fail here does,
 * with ENOTSUP.
 */
bool cipher_is_built (void);

/* Memory of LENGTH bytes that is locked, in no core dump, and wiped when
 * sodium_free frees it.  NULL on failure.
 */
void *cipher_memory (size_t length, struct status *status);

/* Lock it again in a process that was forked. */
int cipher_lock (void *memory, size_t length, struct status *status);

/* Derive from the CIPHER_KEY bytes at MASTER what encrypts a disk whose key has
 * NUMBER.  Returns NULL on failure: ENOTSUP, ENOMEM.  Thread rules: any thread.
 */
struct cipher_key *cipher_key_new (const void *master, uint32_t number,
                                   struct status *status);

/* Wipe and free it; NULL is none. */
void cipher_key_free (struct cipher_key *key);

/* What tells KEY from others. */
void cipher_key_check (const struct cipher_key *key,
                       unsigned char check[CIPHER_CHECK]);

/* A hash of LENGTH bytes that says nothing of them to who has not the KEY.
 * Thread rules, here and below: any thread.
 */
uint64_t cipher_hash (const struct cipher_key *key, const void *bytes,
                      size_t length);

/* Encrypt LENGTH bytes of DATA, of the block PLACE, into ROOM, which has
 * CIPHER_ADDED bytes more, and may hold DATA behind those.
 */
void cipher_encrypt (const struct cipher_key *key,
                     const struct cipher_place *place, bool shared,
                     const void *data, size_t length, void *room);

/* Decrypt what that has made: LENGTH bytes at STORED, of which CIPHER_ADDED are
 * not data, into BUFFER.  Returns 0, or -1: EIO where it was changed, or is of
 * another block or key.
 */
int cipher_decrypt (const struct cipher_key *key,
                    const struct cipher_place *place, const void *stored,
                    size_t length, void *buffer, struct status *status);

#endif /* SQLBLOCK_CIPHER_H */

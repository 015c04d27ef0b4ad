/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Contents: the bytes of blocks, each stored once however many blocks have
 * them.
 *
 *   block (layer 7, number 1) ──┐
 *   block (layer 9, number 4) ──┼──► content 12:  hash, size, codec, data
 *   block (layer 9, number 8) ──┘                   ▲
 *                                    content_by_hash: found again by this
 *
 * The hash only says where to look: what is equal is decided by comparing
 * the bytes, so two blocks with one hash are two contents.  Nothing counts
 * the references but the index block_content, which cannot be wrong.  A
 * content goes in the transaction that removes the last reference: triggers
 * of the connection that writes see to that (follow.h).
 *
 * - Few contents with one hash are compared (CONTENT_COMPARED): hashes are
 *   easy to make collide, and nobody shall make writes slow by that.
 * - Older rows of a block go before its content is looked for: the other way
 *   round the last reference to the one just found could go with them.
 * - The checksum of a block covers the id of its content, and ids are never
 *   used again: so rows with one checksum have the same bytes, also after a
 *   content was stored in another way (recompress.c).
 *
 * All functions run inside a transaction of the caller.
 */

#ifndef SQLBLOCK_CONTENT_H
#define SQLBLOCK_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#include "block/codec.h"
#include "sqlite/connection.h"
#include "status.h"

/* The feature of a database in which disks were deduplicated. */
#define CONTENT_FEATURE "dedup"

/* Contents with one hash that a block is compared with; if there are more,
 * which takes somebody who makes them, blocks of that hash are stored by
 * themselves.
 */
#define CONTENT_COMPARED 16

/* A row of content. */
struct content {
  int64_t id, hash, size, codec, checksum;
  const void *data;
  size_t length; /* of data, in bytes */
};

/* Find content ID, of a block of BLOCK_SIZE bytes, check it, and fill CONTENT,
 * whose data is valid until statement_done (ROW).  Returns 0, or -1: EIO where
 * it is missing or damaged, or has a codec that is not known.
 */
int content_find (struct connection *connection, int64_t id,
                  uint32_t block_size, struct content *content,
                  sqlite3_stmt **row, struct status *status);

/* The same for one of any size, also of a codec that is not known. */
int content_find_as_is (struct connection *connection, int64_t id,
                        struct content *content, sqlite3_stmt **row,
                        struct status *status);

/* Copy COUNT bytes from byte OFFSET of content ID, of a block of BLOCK_SIZE
 * bytes, into BUFFER.  Returns 0, or -1: EIO where it is missing or damaged;
 * as codec_copy.
 */
int content_read (struct connection *connection, int64_t id,
                  const struct block_key *key, uint32_t block_size,
                  uint32_t offset, uint32_t count, void *buffer,
                  struct status *status);

/* Find the content that is equal to a block of BLOCK_SIZE bytes, which is not
 * all zeroes, or store it as one, among those of its KEY (cipher.h) or of none.
 * *NEXT_ID is the id of the next new row, or 0: find it.  *ID becomes the
 * content's, or 0: store the block by itself. The caller makes a reference to
 * it before anything else is deleted.  Inside a write transaction.  Returns 0,
 * or -1.
 */
int content_put (struct connection *connection, const struct encoded *encoded,
                 const struct cipher_key *key, uint32_t block_size,
                 int64_t *next_id, int64_t *id, struct status *status);

#endif /* SQLBLOCK_CONTENT_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The checksums of the format, as the end of schema.sql describes them. */

#ifndef SQLBLOCK_CHECKSUM_H
#define SQLBLOCK_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

/* The hash of LENGTH bytes.  Thread rules: any thread. */
uint64_t checksum_bytes (const void *data, size_t length);

/* The same for what stands on page NUMBER of the file. */
uint64_t checksum_page (const void *data, size_t length, uint32_t number);

/* block.checksum of a row whose data has LENGTH bytes and the hash
 * DATA_HASH (checksum_bytes of it).  Thread rules: any thread.
 */
int64_t checksum_block (int64_t layer, int64_t number, int64_t generation,
                        int64_t codec, size_t length, uint64_t data_hash);

/* block.checksum of a row of codec 4, which refers to row CONTENT of the
 * contents.  Thread rules: any thread.
 */
int64_t checksum_reference (int64_t layer, int64_t number, int64_t generation,
                            int64_t content);

/* A row of block. */
struct block_row {
  int64_t id, layer, number, generation, codec, checksum;
  int64_t content; /* of codec 4 */
  const void *data;
  size_t length; /* of data, in bytes */
};

/* Is the row's checksum that of its key and data?  Thread rules: any thread.
 */
bool checksum_fits (const struct block_row *row);

/* content.checksum of a row whose data has the hash DATA_HASH.  Thread rules:
 * any thread.
 */
int64_t checksum_content (int64_t id, int64_t hash, int64_t size, int64_t codec,
                          uint64_t data_hash);

/* Make row_checksum() and moved_checksum() known to DB.  Returns an SQLite
 * result code. */
int checksum_register (sqlite3 *db);

#endif /* SQLBLOCK_CHECKSUM_H */

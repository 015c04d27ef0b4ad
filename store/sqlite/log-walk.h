/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A log that is read as a file, without SQLite; log.h says what stands in it.
 *
 * Thread rules: any thread.
 */

#ifndef SQLBLOCK_LOG_WALK_H
#define SQLBLOCK_LOG_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sqlite/log-format.h"
#include "sqlite/raw.h"

/* Add COUNT bytes, a multiple of 8, to the two sums of a checksum; the log's
 * header says in which order of bytes.
 */
void log_checksum (uint32_t sums[2], const unsigned char *bytes, size_t count,
                   bool is_big_endian);

/* A log that is read as a file, frame by frame, as SQLite's recovery does. */
struct log_walk {
  const struct raw *file;
  uint32_t page_size;
  bool is_big_endian;
  unsigned char salts[LOG_SALTS_SIZE];
  uint32_t sums[2];
  uint64_t next; /* where the next frame stands, in bytes */
  bool is_torn;  /* one of this log stands there, but it is damaged */

  /* The last frame. */
  uint32_t page;   /* its number */
  uint32_t commit; /* pages of the database, if it ends a transaction, or 0 */
  uint64_t offset; /* where the page stands */
};

/* Begin with the log that is open as FILE, which is used until the end. Returns
 * false where its header is not valid.
 */
bool log_walk_begin (struct log_walk *walk, const struct raw *file);

/* Go on to the next frame and read its page, of walk->page_size bytes, into
 * PAGE.  Returns false where there is none that is valid.
 */
bool log_walk_next (struct log_walk *walk, unsigned char *page);

#endif /* SQLBLOCK_LOG_WALK_H */

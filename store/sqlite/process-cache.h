/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What was read of a file, and what was written to it, in memory: for a file
 * whose every request costs much, as on a cluster.
 *
 * A chunk is PROCESS_CHUNK bytes at a multiple of that.  Of each that is here
 * one range is valid, since the file may end in it, and since only a part of it
 * may have been written:
 *
 *   |..........##################........|
 *            low                high
 *
 * Invariant: a valid byte is the one that a read of the file would find.  So a
 * write is always told; it makes a chunk, or replaces or extends the range, or
 * becomes the range where the two do not touch.  What was read without a lock
 * comes in only if nothing was written there meanwhile: process-file.c.
 *
 * The chunks used last stay.
 *
 * Thread rules: one call at a time.
 */

#ifndef SQLBLOCK_PROCESS_CACHE_H
#define SQLBLOCK_PROCESS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESS_CHUNK 65536

struct process_cache;

/* A cache for that many BYTES, at least one chunk.  Returns NULL where there is
 * no memory.
 */
struct process_cache *process_cache_new (uint64_t bytes);

void process_cache_free (struct process_cache *cache);

/* Copy COUNT bytes from OFFSET on into DATA, if all are here and in one chunk.
 * Returns whether they are.
 */
bool process_cache_read (struct process_cache *cache, void *data, size_t count,
                         int64_t offset);

/* Are COUNT bytes from OFFSET on, of one chunk, here? */
bool process_cache_has (const struct process_cache *cache, size_t count,
                        int64_t offset);

/* These bytes are in the file now.  Where there is no memory for them, nothing
 * is known of them.
 */
void process_cache_put (struct process_cache *cache, const void *data,
                        size_t count, int64_t offset);

/* Nothing is known of the file from OFFSET on. */
void process_cache_forget (struct process_cache *cache, int64_t offset);

#endif /* SQLBLOCK_PROCESS_CACHE_H */

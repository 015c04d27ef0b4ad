/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The engine, for the floors above it: what they do in a store besides what a
 * server or a command asks of it (store.h).
 *
 * Whatever they read or write goes through one of these:
 *
 *   STORE_READ     reads, in a transaction of a reader
 *   store_change   writes, with the requests of clients, and is durable
 *   store_step     writes one step of many, which may be lost
 *   store_apart    has a connection of its own
 *
 * Thread rules: any thread, with the store open.
 */

#ifndef SQLBLOCK_ENGINE_H
#define SQLBLOCK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/writer.h"
#include "sqlite/connection.h"
#include "sqlite/place.h"
#include "store.h"

struct remote;
struct statistics;

/* Read in a transaction: evaluate CALL with a new variable NAME, the
 * connection. CALL returns -1 for a failure, with STATUS filled.
 *
 *   r = STORE_READ (store, status, connection,
 *                   disks_find (connection, name, &info, status));
 *
 * What is read without the log may have changed meanwhile (watch.h), and then
 * whatever CALL has returned is wrong: this gives -1, with EIO.  It is an
 * expression, so that there is no way past that look, and none out of the
 * transaction.  In all other cases it gives what CALL has returned, or -1 where
 * the transaction could not be begun.
 */
#define STORE_READ(store, status, name, call)                                  \
  __extension__({                                                              \
    struct connection *const name = store_begin_read (store, status);          \
                                                                               \
    name ? store_end_read (store, name, call, status) : -1;                    \
  })

/* The two ends of that. */
struct connection *store_begin_read (struct store *store,
                                     struct status *status);
int store_end_read (struct store *store, struct connection *connection,
                    int result, struct status *status);

/* The pages that a tolerant store has read although they do not fit their
 * checksums, by number: copies at most as many as DAMAGED_PAGES_MAX to
 * NUMBERS and returns how many.
 */
size_t store_damaged (struct store *store, uint32_t *numbers);

/* Was a page without a checksum read since this was asked last?  See
 * sealing.h.
 */
bool store_take_unsealed (struct store *store);

/* May Litestream replicate it (litestream.h)? */
bool store_is_replicated (struct store *store);

/* Open a connection that writes, for who does not need the write side; what is
 * in the database is checked.  Its caller closes it.  Returns 0, or -1.
 */
int store_connect (struct store *store, struct connection *connection,
                   struct status *status);

/* Have CHANGE called in a write transaction, as writer_run, and make what it
 * did durable.
 */
int store_change (struct store *store, writer_change change, void *opaque,
                  struct status *status);

/* The same for one step of many: it is not made durable.  The caller ends
 * with a store_change, or steps that are lost do no harm.
 */
int store_step (struct store *store, writer_change step, void *opaque,
                struct status *status);

/* Give a disk another size, as writer_resize, and make it durable. */
int store_resize (struct store *store, const struct disk_info *info,
                  uint64_t size, struct status *status);

/* Clear what lies behind the end of disk ID, which an interrupted change of
 * its size may have left.
 */
int store_clear_end (struct store *store, int64_t id, struct status *status);

/* Move the log into the database, as far as others let it, so that its file
 * takes only the space that it needs.
 */
int store_checkpoint (struct store *store, struct status *status);

/* Call WORK with a connection of its own, which is closed afterwards; it makes
 * its own transactions, as another program would.  They are not made durable.
 */
int store_apart (struct store *store, writer_change work, void *opaque,
                 struct status *status);

/* Forget who was told of the database, since it has lost something: whoever has
 * a disk attached does not go on (lineage.h).  By a connection of its own,
 * without the write side.
 */
int store_forget_told (struct store *store, struct status *status);

/* Is the database served: by this store, or where this is a command's, by
 * another program when it began to write?  Returns 1, 0, -1.
 */
int store_is_served (struct store *store, struct status *status);

/* How many transactions this store has committed, and opened disks for
 * writing; 0: no disk was opened for writing yet.
 */
uint64_t store_commits (struct store *store);

/* How many bytes a transaction should take at most, so that the log keeps its
 * bound: for who works in steps, before the first one.  Opens the write side;
 * where that fails, so will the first step.
 */
uint64_t store_transaction_bytes (struct store *store);

/* The same for a transaction that makes the file shorter, of which there may be
 * larger ones.
 */
uint64_t store_log_share (struct store *store);

/* Have the log moved into the database soon, while others write, so that the
 * file gets shorter.  Only after a disk was opened for writing.
 */
void store_ask_checkpoint (struct store *store);

/* Is the database read without its log (watch.h)?  Then it cannot be changed
 * here.
 */
bool store_is_immutable (const struct store *store);

/* The server that has the database open instead, see remote.h; NULL: it is open
 * here.
 */
struct remote *store_remote (const struct store *store);

/* Which database it is, see place.h. */
void store_identity (const struct store *store, char identity[PLACE_IDENTITY]);

/* Were others told that the server ends (store_interrupt)? */
bool store_is_interrupted (const struct store *store);

/* The path of the database. */
const char *store_path (const struct store *store);

/* What a server has done; NULL for a command, or where that is not counted. */
struct statistics *store_statistics (const struct store *store);

/* Fail with EACCES, and say who is to give it, where the disk INFO, which was
 * unlocked, is encrypted, and its key is missing.
 */
int store_check_key (const struct store *store, const struct disk_info *info,
                     struct status *status);

/* Have INFO->key be the key of that disk, as keyring_unlock says. */
int store_unlock (struct store *store, struct disk_info *info,
                  struct status *status);

/* The same for a disk that was found, whatever its name. */
struct disk *disk_open_found (struct store *store, const struct disk_info *info,
                              bool readonly, struct status *status);

/* The same for one that a server has open under NUMBER, in a store of which
 * that is true (remote.h).  disk_remote returns the number; disk_forget frees
 * what is here, where the server has closed it.
 */
struct disk *disk_open_remote (struct store *store, uint32_t number,
                               const struct disk_info *info, bool readonly,
                               struct status *status);
uint32_t disk_remote (const struct disk *disk);
void disk_forget (struct disk *disk);

/* Count a request for extents of DISK, COUNT bytes, that began at BEGAN and was
 * answered without disk_extents; returns RESULT.
 */
int disk_count_extents (struct disk *disk, uint64_t began, uint64_t count,
                        int result);

/* Have the guard of disk ID as one more who writes it, until store_end_writing:
 * for who opens it later.  EBUSY where another process or store has it.
 */
int store_begin_writing (struct store *store, int64_t id,
                         struct status *status);
void store_end_writing (struct store *store, int64_t id);

/* Have a guard released when DISK is closed (guard.h). */
void disk_keep_guard (struct disk *disk, int guard);
bool disk_has_guard (const struct disk *disk);

#endif /* SQLBLOCK_ENGINE_H */

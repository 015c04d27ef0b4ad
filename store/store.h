/* The store: disks in an SQLite database, for a server.
 *
 * This is the face of the engine.  A store is an open database; a disk is
 * one client's handle on one disk of it.
 *
 *   plugin ──► store ─┬─► reader ──────────────┬─► disks ─► layers
 *                     ├─► writer (one leader) ─┘
 *                     ├─► flusher      (FLUSH, FUA)
 *                     └─► checkpointer (a thread)
 *
 * Reading never waits for writing, nor the other way round.  The write
 * side is opened with the first disk that is opened for writing.
 *
 * Every function that can fail returns -1 and fills the status with words
 * that begin with the name of the disk, and an errno that NBD can carry.
 */

#ifndef SQLBLOCK_STORE_H
#define SQLBLOCK_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint.h"
#include "disks.h"
#include "layers.h"
#include "snapshots.h"
#include "status.h"
#include "writer.h"

struct store;
struct disk;
struct statistics;

/*--------------------------------------------------------------------
 * Before a server runs.  Thread rules: only while this process has no
 * store open on the file (see database_examine).
 */

/* Check whether store_provide would succeed, and change nothing: the file
 * PATH is a database of ours, or can be made; the disk OPTIONS asks for is
 * in it as it should be, or can be made.  Where OPTIONS names no disk, the
 * default disk is meant.  Returns 1 when all is there, 0 when something is
 * to be made, -1 on failure.
 */
int store_check (const char *path, const struct disk_options *options,
                 struct status *status);

/* Make what is missing of the file and the disk that OPTIONS asks for;
 * this needs OPTIONS->size.  Returns 0, or -1 with nothing changed.
 */
int store_provide (const char *path, const struct disk_options *options,
                   struct status *status);

/*--------------------------------------------------------------------
 * A running server.  Thread rules: open and close are called once, by one
 * thread, with nothing else running; all others by any thread.
 */

struct store_options {
  /* Other servers may write the same disks. */
  bool shared;
  /* This is no server but a command, perhaps beside one. */
  bool command;
  /* Read pages that do not fit their checksums; see store_damaged. */
  bool tolerant;
  /* Open a file whose log is missing; see store_accept. */
  bool without_log;
  /* When to checkpoint. */
  struct checkpoint_limits limits;
  /* Takes lines for the server's log; called from other threads. */
  void (*warn) (const char *message);
};

/* Open the database PATH.  Returns NULL on failure. */
struct store *store_open (const char *path, const struct store_options *options,
                          struct status *status);

/* Close the store; all disks are closed. */
void store_close (struct store *store);

/* The server is ending: waiting for other programs' locks ends at once, in
 * failure.
 */
void store_interrupt (struct store *store);

/* Sleep until a request waits for another program's lock: only then must
 * the server watch for its own end.  Returns false once the store was
 * interrupted.
 */
bool store_await_wait (struct store *store);

/* Call FOUND for each disk, as disks_list. */
int store_list (struct store *store,
                int (*found) (const struct disk_info *info, void *opaque),
                void *opaque, struct status *status);

/* Call FOUND for each snapshot of all disks, as snapshots_list. */
int store_list_snapshots (struct store *store,
                          int (*found) (const struct snapshot_info *info,
                                        void *opaque),
                          void *opaque, struct status *status);

/* Find a disk by name, or for NULL or "" the default disk, or DISK@SNAPSHOT;
 * a missing one is a failure that names those there are.
 */
int store_find (struct store *store, const char *name, struct disk_info *info,
                struct status *status);

/* Call LOOK with a connection and OPAQUE, in a read transaction. */
int store_look (struct store *store,
                int (*look) (struct connection *connection, void *opaque,
                             struct status *status),
                void *opaque, struct status *status);

/* The pages that a tolerant store has read although they do not fit their
 * checksums, by number: copies at most as many as DAMAGED_PAGES_MAX to
 * NUMBERS and returns how many.
 */
size_t store_damaged (struct store *store, uint32_t *numbers);

/* Was a page without a checksum read since this was asked last?  See
 * sealing.h.
 */
bool store_take_unsealed (struct store *store);

/* What the connections of STORE share, for who opens one more. */
struct patience *store_patience (struct store *store);

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

/* Take the file as it is, without the log that it had: it is closed, and no log
 * of it fits any more.  Only for a store that was opened so, when all in it was
 * found to be right.  Returns 0, or -1: EBUSY where others have it open.
 */
int store_accept (struct store *store, struct status *status);

/* Did another program serve the database when this one, a command, began to
 * write?  Returns 1, 0, -1.
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

/* Have the log moved into the database soon, while others write, so that the
 * file gets shorter.  Only after a disk was opened for writing.
 */
void store_ask_checkpoint (struct store *store);

/* Is the database read without its log (watch.h)?  Then it cannot be changed
 * here.
 */
bool store_is_immutable (const struct store *store);

/* The path of the database. */
const char *store_path (const struct store *store);

/* What a server has done; NULL for a command, or where that is not counted. */
struct statistics *store_statistics (const struct store *store);

/* Open the disk NAME ("": the default disk), or DISK@SNAPSHOT, which is read
 * only.  Without READONLY a disk can be written, unless the database cannot
 * (see disk_is_readonly).  A snapshot is not deleted while it is open, by a
 * lock that ends with the process.  Returns NULL on failure: EBUSY where
 * another server has it open for writing, or the snapshot is just being
 * deleted.
 */
struct disk *disk_open (struct store *store, const char *name, bool readonly,
                        struct status *status);

/* The same for a disk that was found, whatever its name. */
struct disk *disk_open_found (struct store *store, const struct disk_info *info,
                              bool readonly, struct status *status);

/* Have a guard released when DISK is closed (guard.h). */
void disk_keep_guard (struct disk *disk, int guard);
bool disk_has_guard (const struct disk *disk);

void disk_close (struct disk *disk);

/* What the disk was when it was opened. */
const struct disk_info *disk_get_info (const struct disk *disk);
bool disk_is_readonly (const struct disk *disk);

/* The requests.  OFFSET and COUNT are bytes, inside the size of the disk;
 * COUNT is not 0.  With FUA what was written is durable when the
 * call returns (NBD_CMD_FLAG_FUA in the NBD protocol).
 */
int disk_read (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
               struct status *status);
int disk_write (struct disk *disk, const void *data, uint64_t offset,
                uint64_t count, bool fua, struct status *status);

/* As disk_write without FUA, but where the log is to be short, in several
 * transactions: where it fails, a part may be written.
 */
int disk_fill (struct disk *disk, const void *data, uint64_t offset,
               uint64_t count, struct status *status);

/* Make whole blocks zeroes and free them; the parts of blocks at the edges
 * keep their bytes (NBD_CMD_TRIM).
 */
int disk_trim (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
               struct status *status);

/* Make all bytes zeroes (NBD_CMD_WRITE_ZEROES); whole blocks are freed. */
int disk_zero (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
               struct status *status);

/* Read, and throw away what was read: it is in the caches then
 * (NBD_CMD_CACHE).
 */
int disk_cache (struct disk *disk, uint64_t offset, uint64_t count,
                struct status *status);

/* Make durable what was written before, by any client (NBD_CMD_FLUSH). */
int disk_flush (struct disk *disk, struct status *status);

/* What is data and what is a hole, as view_extents. */
int disk_extents (struct disk *disk, uint64_t offset, uint64_t count, bool one,
                  extent_found found, void *opaque, struct status *status);

#endif /* SQLBLOCK_STORE_H */

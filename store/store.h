/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* READ FIRST.  The store: disks in an SQLite database.
 *
 * A store is an open database; a disk is one client's handle on one disk of
 * it.
 *
 *   plugin ──► store ─┬─► reader ──────────────┬─► disks ─► layers
 *                     ├─► writer (one leader) ─┘
 *                     ├─► flusher      (FLUSH, FUA)
 *                     └─► checkpointer (a thread)
 *
 * What lies directly in this folder is all that others call; the folders are
 * private.  This header has the disks and their requests; beside it are
 *
 *   manage.h       disks and snapshots by the names that people give
 *   check.h        is the database right, and what can be done if not
 *   stream.h       the format of what is sent and received
 *   settings.h     what can be set of a disk, or of the database for its disks
 *   server.h       what a server does beside requests
 *   statistics.h   what servers have done
 *   status.h       what went wrong
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

#include "base/lineage.h"
#include "base/types.h"
#include "settings.h"
#include "status.h"

struct store;
struct disk;
struct secret;

/*--------------------------------------------------------------------
 * Without a store (face.c).  Thread rules: any thread, where nothing else is
 * said.
 */

/* Read TEXT, such as "none" or "zstd:3".  Returns 0, or -1: EINVAL for what is
 * no compression, ENOTSUP where this program was built without the codec.
 */
int store_parse_compression (const char *text, struct compression *compression,
                             struct status *status);

/* Write a compression as that reads it. */
void store_print_compression (const struct compression *compression,
                              char text[COMPRESSION_TEXT]);

/* Make of DISK, a disk's own info, that of its SNAPSHOT. */
void store_show_snapshot (const struct snapshot_info *snapshot,
                          struct disk_info *disk);

/* Say that no other machine has the databases open that this process uses:
 * all file systems then count as this machine's own.  Thread rules: called
 * before anything is opened.
 */
void store_set_one_machine (bool one_machine);

/* Is PATH a location of a database on a cluster, rados:POOL[:NAMESPACE]/NAME,
 * and not the name of a file?
 */
bool store_is_on_cluster (const char *path);

/* Of databases on clusters: have so many BYTES of each in memory, and wait for
 * a cluster at most so many SECONDS when one is opened; 0 is what is meant
 * where nobody says it.  Thread rules: called before anything is opened.
 */
void store_set_cluster (uint64_t bytes, unsigned seconds);

/* Where another server has a database on a cluster open, store_check is to wait
 * until it has let go, however long, which SAY is told; NULL: it fails with
 * EBUSY, as what comes after it does.  Thread rules: the same.
 */
void store_set_takeover (void (*say) (const char *message));

/* Is the file, or the open file FD, the database PATH or one of those beside
 * it, by whatever name, or would it become one?  Whoever writes there destroys
 * the database.  No file is opened.
 */
bool store_has_file (const char *path, const char *file);
bool store_has_descriptor (const char *path, int fd);

/* Check that the file PATH, which need not be there, has not the name of one
 * that another database has beside it, and would overwrite or remove.  Returns
 * 0, or -1 and EINVAL.
 */
int store_check_name (const char *path, struct status *status);

/* Rename the file FROM to TO if there is no TO, else fail with EEXIST.
 * Where the file system cannot do that at once, FROM may stay, too.
 * Returns 0, or -1 and errno.
 */
int store_rename_new (const char *from, const char *to);

/* The name of the NUMBERth codec, as a compression, of those that this program
 * was built with, or NULL behind the last.
 */
const char *store_codec (unsigned number);

/* The version of SQLite with which the store was compiled, and of the one that
 * it uses now: a distribution may replace the library.
 */
const char *store_sqlite_compiled (void);
const char *store_sqlite_used (void);

/* Does the SQLite that is used never lose commits when its log starts over
 * ("The WAL-Reset Bug" in its wal.html), by its version?  Distributions mend
 * older ones without a new number.
 */
bool store_sqlite_is_fixed (void);

/*--------------------------------------------------------------------
 * Before a store is opened.  Thread rules: only while this process has no
 * store open on the file, since closing the file drops the locks of all
 * (sqlite.org/howtocorrupt, section 2.2).
 */

/* Look at the file PATH.  Returns 1 when it is a database of ours, 0 when
 * there is no file, -1 for anything else: EINVAL for a file that is not
 * ours, ENOTSUP for a newer format.
 */
int store_examine (const char *path, struct status *status);

/* Make the database PATH without a disk, for disks whose blocks have
 * BLOCK_SIZE bytes, or for 0 the default.  A file that is there is left as it
 * is.  Returns 0, or -1 with nothing changed.
 */
int store_make (const char *path, uint32_t block_size, struct status *status);

/* Check whether store_provide would succeed, and change nothing (on a cluster
 * in a child process, so that this one does not connect): the file
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

/* When the log is moved into the database, where nobody says it. */
extern const struct checkpoint_limits checkpoint_limits_default;

/* Set the bound to BYTES, and the start to a quarter of it.  Returns 0, or
 * -1 and EINVAL where that is too small.
 */
int checkpoint_set_bound (struct checkpoint_limits *limits, uint64_t bytes,
                          struct status *status);

struct store_options {
  /* Other servers may write the same disks. */
  bool shared;
  /* What is acknowledged is durable: each write is synced before. */
  bool durable;
  /* This is no server but a command, perhaps beside one. */
  bool command;
  /* Read pages that do not fit their checksums; see engine.h. */
  bool tolerant;
  /* Open a file whose log is missing; see store_accept. */
  bool without_log;
  /* The control socket of the server that has it open, through which all is
   * done, or NULL: open it here.  Of the rest nothing counts then.
   */
  const char *control;
  /* What opens encrypted disks (encryption.h), or NULL; it stays the caller's,
   * until the store is closed.
   */
  const struct secret *secrets;
  /* When to checkpoint. */
  struct checkpoint_limits limits;
  /* Takes lines for the server's log; called from other threads. */
  void (*warn) (const char *message);
  /* Of a server with a database on a cluster: called once, from another thread,
   * when it has lost its lock.  All requests fail from then on with ESHUTDOWN,
   * and it is to end.  NULL: that is not watched.
   */
  void (*fenced) (const char *message);
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

/* Call FOUND for each disk, the oldest first, until it returns non-zero.
 * Damaged rows are passed over.  Returns 0, or -1.
 */
int store_list (struct store *store,
                int (*found) (const struct disk_info *info, void *opaque),
                void *opaque, struct status *status);

/* The same for each snapshot of all disks, by disk and then the oldest first.
 */
int store_list_snapshots (struct store *store,
                          int (*found) (const struct snapshot_info *info,
                                        void *opaque),
                          void *opaque, struct status *status);

/* Find a disk by name, or for NULL or "" the default disk, or DISK@SNAPSHOT;
 * a missing one is a failure that names those there are.
 */
int store_find (struct store *store, const char *name, struct disk_info *info,
                struct status *status);

/* What SETTING, which is not copied (settings.h), is for the disk ID.  Returns
 * 0, or -1: EIO where what says so is damaged, or nothing that this program
 * understands.  Not through a control socket.
 */
int store_setting (struct store *store, const struct setting *setting,
                   int64_t id, struct setting_value *value,
                   struct status *status);

/* What this server has now under NAME, DISK or DISK@SNAPSHOT, for a client to
 * know after a break whether to go on (lineage.h).  Of a server's store only.
 */
int store_lineage (struct store *store, const char *name,
                   struct lineage *lineage, struct status *status);

/* Take the file as it is, without the log that it had: it is closed, and no log
 * of it fits any more.  Only for a store that was opened so, when all in it was
 * found to be right.  Returns 0, or -1: EBUSY where others have it open.
 */
int store_accept (struct store *store, struct status *status);

/* Open the disk NAME ("": the default disk), or DISK@SNAPSHOT, which is read
 * only.  Without READONLY a disk can be written, unless the database cannot
 * (see disk_is_readonly).  A snapshot is not deleted while it is open, by a
 * lock that ends with the process.  Returns NULL on failure: EBUSY where
 * another server has it open for writing, or the snapshot is just being
 * deleted.
 */
struct disk *disk_open (struct store *store, const char *name, bool readonly,
                        struct status *status);

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

/* Read COUNT bytes, at most PACKED_MAX of whole blocks, or up to the end of the
 * disk, as they are stored (base/packed.h).  BUFFER has PACKED_ROOM; *LENGTH
 * tells how many bytes of it are used, where BUFFER is NULL would be.
 */
int disk_read_packed (struct disk *disk, void *buffer, uint64_t offset,
                      uint64_t count, size_t *length, struct status *status);

int disk_write (struct disk *disk, const void *data, uint64_t offset,
                uint64_t count, bool fua, struct status *status);

/* As disk_write without FUA, but where the log is to be short, in several
 * transactions: where it fails, a part may be written.
 */
int disk_fill (struct disk *disk, const void *data, uint64_t offset,
               uint64_t count, struct status *status);

/* The same for COUNT bytes that are packed, in LENGTH bytes, from elsewhere: as
 * disk_read_packed gives them; of the last block a part may be written.  They
 * stay as they are stored, or ANEW are
 * stored as others that are written to this disk.  EINVAL where they are no
 * such blocks, ENOTSUP where this program was built without their codec.
 */
int disk_fill_packed (struct disk *disk, const void *packed, size_t length,
                      uint64_t offset, uint64_t count, bool anew,
                      struct status *status);

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

/* Call FOUND for each extent of data or of a hole, in order, until it fails or
 * enough was said: with ONE after the first extent, else after a bounded
 * amount of work, but never before the first.  Neighbouring extents differ in
 * kind.  Cost: the rows of the extents told of, not those of the range.
 */
int disk_extents (struct disk *disk, uint64_t offset, uint64_t count, bool one,
                  extent_found found, void *opaque, struct status *status);

#endif /* SQLBLOCK_STORE_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One server per disk: a lock that ends with the process.
 *
 * Next to the database FILE stands FILE-lock.  Whoever opens a disk for
 * writing locks one byte of it, and writes there who he is:
 *
 *   byte   0        256 x id               256 x (id + 1)
 *          |  ...   |*process 1234 on host |  ...          * the byte locked
 *
 * Who copies a disk that it must not change has that byte shared, and the next
 * one as well, so that copies do not keep each other out; who writes one that
 * he shares has the one behind that.
 *
 * The second half of the 256 bytes belongs to the snapshot of that id, which
 * has nothing to do with the disk:
 *
 *   byte   256 x id + 128   + 129   + 130   + 131   + 132
 *          *                *       *       *       process 1234 on host ...
 *
 * Who reads a snapshot by its name locks the first of these, shared.  Who
 * deletes it locks that one alone, until the deletion is committed.  The next
 * three are for the names of three readers: who gets one for himself writes in
 * one of the three places behind them who he is.  So a name means something
 * as long as its byte is locked.
 *
 * It is an open-file-description lock (F_OFD_SETLK in fcntl(2)): closing
 * some other descriptor does not drop it, the end of the process does, so
 * nothing is left to clean up after a crash.  The file itself stays, since
 * removing it would race with others; what is written in it means nothing
 * while the byte is not locked.
 *
 * No disk has the id 0.  Its byte is locked, shared, by all who serve the
 * database; the one after it by those who need rows to stay, shared, or who
 * reclaim rows; the next one, shared, by those whose sync of the log has
 * failed, until the log is on the disk all the same.
 *
 * The eight bytes from 128 on say how long the log is to be at most, as long as
 * byte 3 is locked, shared, by those who have said it.
 *
 * A database on a cluster is locked as a whole by one process (process.h): its
 * FILE-lock is in the memory of that, and keeps its clients apart.
 *
 * Those who write the log also have a byte each, between 64 and 127:
 *
 *   locked   1   a process that writes
 *   free     0   it has ended, and left the log as it should be
 *   free     1   it has died, or its last sync failed; nobody else is told
 *                by the system what became of its syncs
 *
 * Who finds the last of these writes the log again (log.h), and then a 0.
 */

#ifndef SQLBLOCK_GUARD_H
#define SQLBLOCK_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Take the guard of disk ID of the database PATH; with SHARED others may
 * have it as well, if they share it, too.  Returns a descriptor, to be
 * closed by guard_release, or -1: EBUSY, with the holder's name, where
 * somebody has it.  Thread rules: any thread; two guards of one process
 * exclude each other too.
 */
int guard_take (const char *path, int64_t id, bool shared,
                struct status *status);

/* The guard of a disk may be about to go: its client has just left, or a
 * command ends.  Between two tries to take it, with *TRIES 0 before the first,
 * sleep a moment.  Returns false when it was waited for long enough, about a
 * second.  Thread rules: any thread, without locks.
 */
bool guard_wait (unsigned *tries);

/* Keep others from writing disk ID of the database PATH, as long as a copy is
 * made of what it is: for who must not change the disk.  Any number of
 * processes can do this.  EBUSY where somebody has it open for writing, shared
 * or not.  Returns and thread rules as guard_take.
 */
int guard_copy (const char *path, int64_t id, struct status *status);

/* The same as guard_take, not shared, with such tries. */
int guard_await (const char *path, int64_t id, struct status *status);

/* The same as guard_copy, with such tries. */
int guard_await_copy (const char *path, int64_t id, struct status *status);

/* Say that this process reads the snapshot ID of the database PATH, so that
 * nobody deletes it; any number of readers can.  It waits a moment for somebody
 * who deletes it just now, then it is EBUSY.  Look for the snapshot afterwards:
 * it may be gone.  Returns and thread rules as guard_take.
 */
int guard_read_snapshot (const char *path, int64_t id, struct status *status);

/* Keep others from beginning to read the snapshot ID, to delete it.  *GUARD is
 * -1, or what an earlier call has put there: one guard keeps any number of
 * snapshots.  Returns 0, or -1: EBUSY, with the reader's name, where somebody
 * reads it.  *GUARD is to be released in either case, if it is not -1.
 * Thread rules: one thread for a guard.
 */
int guard_delete_snapshot (const char *path, int64_t id, int *guard,
                           struct status *status);

/* Who has the guard of disk ID, to look at only: nobody; one whose name FOUND
 * is told, which anybody who may write the lock file can have written; or who
 * makes a copy.  A lock file that cannot be looked at shows nobody.  Thread
 * rules, here and below: any thread.
 */
enum guard_holder { GUARD_FREE, GUARD_WRITER, GUARD_COPY };
enum guard_holder
guard_find_holder (const char *path, int64_t id,
                   void (*found) (const char *who, void *opaque), void *opaque);

/* The same for who reads the snapshot ID: FOUND is told the names of some of
 * them, or at least of one that is not known.
 */
void guard_find_readers (const char *path, int64_t id,
                         void (*found) (const char *who, void *opaque),
                         void *opaque);

/* Say that this process writes the database PATH, and takes care of its log.
 * Returns and thread rules as guard_take; any number of processes can have
 * it.
 */
int guard_serve (const char *path, struct status *status);

/* Does a process have guard_serve of the database PATH?  Makes no file.
 * Returns 1, 0, -1.
 */
int guard_is_served (const char *path, struct status *status);

/* A server that has the database PATH open says how many bytes the log is to
 * have at most, whether it writes already or not.  The least that those have
 * said who are there holds.  Returns a descriptor, to be closed by
 * guard_release, or -1 where it cannot be told: then others keep to their own.
 * Who comes later looks it up; 0 where nobody is there who has said it.
 */
int guard_tell_bound (const char *path, uint64_t bound);
uint64_t guard_told_bound (const char *path);

/* The inodes of the log and its index, -wal and -shm, that those who serve the
 * database use.  The first of them tells, as SERVING; it holds while anybody
 * serves it.  Returns whether that was told.
 */
struct guard_log {
  uint64_t log, index;
};
void guard_tell_log (int serving, const struct guard_log *log);
bool guard_told_log (const char *path, struct guard_log *log);

/* Keep others from reclaiming rows of the database PATH, as long as a copy
 * is made of what it was; any number of processes can do this.  Or reclaim
 * some, for a short time, alone.  Both wait a while for each other; then
 * they fail with EBUSY.  Returns and thread rules as guard_take.
 */
int guard_keep_rows (const char *path, struct status *status);
int guard_reclaim (const char *path, struct status *status);

/* Flatten disk ID of the database PATH alone: who finds no space takes back
 * rows, which another one would count on.  Fails with EBUSY where somebody does
 * that.  Returns and thread rules as guard_take.
 */
int guard_flatten (const char *path, int64_t id, struct status *status);

/*--------------------------------------------------------------------
 * Those who write the log, and tell each other of syncs that have failed.
 *
 * The kernel tells each descriptor that was open at that moment of a failed
 * sync, once; one that is opened later is told nothing if somebody else was.
 * So what a process has learnt must not be lost with it.  Its byte is 1 from
 * before its first sync until it ends, and for longer if a sync of it has
 * failed.  While it lives and knows of one, it has the byte of those besides.
 *
 * A command, or a server with shared=true, looks at these bytes when all its
 * descriptors are open, and after each of its syncs; where there is doubt it
 * writes the log again before it goes on.  An ordinary server looks when it
 * begins: it has settled the log then, and has its descriptors since.  That is
 * enough:
 *
 * - A sync that fails after the descriptors were opened is reported to them.
 * - One that failed before was reported to a process that lives and says so,
 *   or that is dead and has left its byte, or that has written the log again
 *   since.
 * - A byte is 1 for longer than any sync of its process can be under way, so
 *   it does not matter when that is killed.
 * - SQLite's own checkpoint, when the last connection is closed, syncs as well
 *   and reports nothing.  Before that the process lets go of byte 0.  Whoever
 *   opens the file later sees nobody there and settles the log; whoever had it
 *   open already keeps that checkpoint from being made.
 *
 * These bytes need not survive a power cut, after which SQLite recovers what is
 * on the medium.  What is left is a server that is stopped between the two
 * instructions at which its sync returns and it says so, for as long as a
 * command needs to start, commit and sync.
 */

/* One of them; more than there ever will be at a time. */
#define GUARD_ENTRIES 64
struct guard_entry {
  int fd;
  int number;
};

/* Enter those who write the log of the database PATH: before the first sync,
 * and after what is synced was opened, since from then on the system tells
 * of each sync that fails.  Returns 0, or -1: EBUSY where there are too many.
 * Thread rules: any thread, as for all that takes an entry.
 */
int guard_enter (struct guard_entry *entry, const char *path,
                 struct status *status);

/* Leave them.  WELL says that no sync has failed, or that it was made good.
 */
void guard_leave (struct guard_entry *entry, bool well);

/* Say that a sync has failed, or that this was made good. */
void guard_set_doubt (const struct guard_entry *entry, bool in_doubt);

/* Does another process say so, or did one die or leave that may have known?
 */
bool guard_has_doubt (const struct guard_entry *entry);

/* Find those who died, a bit for each, and after the log was written again
 * forget them.  Between the two the caller holds SQLite's lock of writers,
 * so that nobody else forgets any.
 */
uint64_t guard_find_dead (const struct guard_entry *entry);
void guard_forget_dead (const struct guard_entry *entry, uint64_t dead);

/* Let go of a guard.  Thread rules: any thread. */
void guard_release (int guard);

#endif /* SQLBLOCK_GUARD_H */

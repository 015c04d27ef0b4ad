/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Is the database that is served still the file of its name?
 *
 * A file that was renamed, deleted or replaced while it is open stays what
 * it is for those who have it open, but SQLite finds its log by name, and
 * the next connection would open whatever has that name now:
 *
 *   disk.sqlite      another database, or none
 *   disk.sqlite-wal  the log of ours
 *
 * It would put our log into that one, and even truncate the shared memory under
 * us: the locks that say that this is in use are those of our own process.
 *
 * A file that gets a second name, a hard link, has a second log by that, which
 * programs may use that know nothing of claim.h; nor could it be written by us
 * if it were opened now.
 *
 * So while the file is not in its place, or not only there, reading goes on,
 * through the connections that there are, and nothing is opened, written,
 * flushed or checkpointed.  All goes on when it is back, or has one name again.
 * Who only reads without the log (watch.h) may come by one name of several.
 *
 * The same is true of the files beside it, once they are in use:
 *
 *   disk.sqlite-wal  was deleted or replaced: what is written goes into a file
 *                    that ends with the last descriptor, and each new
 *                    connection opens another log
 *   disk.sqlite-shm  was deleted or replaced: another process makes one of its
 *                    own, so that none sees the locks of the other
 *   disk.sqlite-lock was deleted or replaced: another server does not see
 *                    which disks are written here
 *
 * Nothing is written from then on, and what is only in a log that has no name
 * any more is moved into the database (rescue.h).  Where there is another
 * -shm, somebody may already be changing the database, so nothing is read
 * either, and nothing can be moved.  A log that was only moved aside may come
 * back.  On a cluster all of that cannot be: what this process has open is
 * locked, and once it is not any more nothing is read or written.  Other
 * processes of ours do not even open such a database: who serves it has told
 * which files are in use (guard_tell_log).
 */

#ifndef SQLBLOCK_PLACE_H
#define SQLBLOCK_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sqlite3.h>

#include "status.h"

enum place_state {
  PLACE_RIGHT,
  PLACE_GONE,
  PLACE_LINKED,
  PLACE_LOG_GONE,
  PLACE_INDEX_GONE,     /* the log's index, -shm, and there is no other */
  PLACE_INDEX_REPLACED, /* there is */
  PLACE_GUARD_GONE,     /* -lock */
};

struct lease;

struct place {
  char *path; /* without symbolic links, as SQLite uses it */
  bool on_cluster;
  sqlite3_file *held;  /* there, the database: so long it is locked */
  struct lease *lease; /* and whether it still is, where that is watched */
  dev_t device;
  ino_t inode;
  char *log, *index, *guard; /* the names of -wal, -shm and -lock */
  ino_t log_inode, index_inode, guard_inode;
  atomic_bool has_log, has_guard; /* these of them are watched */
  atomic_bool saved;    /* nothing is in the log that the database lacks */
  atomic_bool replaced; /* an index of others was seen */
  void (*warn) (const char *message);
  bool links_allowed;
  atomic_int state;            /* enum place_state, as last seen */
  atomic_uint_fast64_t looked; /* when */

  /* The directory, and when it was changed before that look; 0: then what comes
   * now may have the same time.
   */
  int directory;
  atomic_int_fast64_t changed;
};

/* Find the file PATH.  WARN is called, by any thread, when it is no longer
 * there, and when it is back.  Returns 0, or -1.
 */
int place_find (struct place *place, const char *path,
                void (*warn) (const char *message), struct status *status);
void place_free (struct place *place);

/* Which database PATH is, a file or a location, or PLACE was when it was found,
 * whatever names it has and from where it is seen: for a command and a server
 * to know that they mean the same.  Returns 0, or -1.
 */
#define PLACE_IDENTITY 1024
int place_identify (const char *path, char identity[PLACE_IDENTITY],
                    struct status *status);
void place_write_identity (const struct place *place,
                           char identity[PLACE_IDENTITY]);

/* Have several names count as right.  Thread rules: before others use PLACE. */
void place_allow_links (struct place *place);

/* From now on watch the log and its index, too, as they are now; no more than
 * once, and nothing where they are not there.  Thread rules: one thread at a
 * time, when the files are open.
 */
void place_watch_log (struct place *place);

/* The same for the file of the guards. */
void place_watch_guard (struct place *place);

/* On a cluster, see from now on whether this process still has the database
 * locked (lease.h); FENCED is called once, by a thread, when it has not.
 * Of a file nothing is to be seen.  Returns 0, or -1.  Thread rules: before
 * others use PLACE.
 */
int place_watch_lock (struct place *place, void (*fenced) (const char *message),
                      struct status *status);

/* Tell others which log and index there are, as SERVING (guard_serve). */
void place_tell_log (const struct place *place, int serving);

/* Fail with EBUSY if the files beside the database PATH are not those that
 * other processes have in use: to be called before SQLite opens it, which
 * would make new ones.  Returns 0 or -1.  Thread rules: any thread.
 */
int place_check_served (const char *path, struct status *status);

/* Is all as it should be, but that the log has no name any more? */
bool place_has_lost_log (struct place *place);

/* What is in that log is in the database now. */
void place_note_saved (struct place *place);

/* Check that the file is in its place.  To open it, check before and
 * afterwards. Returns 0, or -1 and EIO.  Thread rules of this and the next: any
 * thread.
 */
int place_check (struct place *place, struct status *status);

/* The same, but do not look more often than ten times a second. */
int place_check_at_times (struct place *place, struct status *status);

/* The same for a flush, which must not go to a log that has just been deleted:
 * look whenever the directory has changed.
 */
int place_check_flush (struct place *place, struct status *status);

/* The same at the time NOW of clock_now, for who reads: may the file be changed
 * by somebody who does not see our locks?
 */
int place_check_reading (struct place *place, uint64_t now,
                         struct status *status);

#endif /* SQLBLOCK_PLACE_H */

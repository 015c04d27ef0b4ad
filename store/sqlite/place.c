/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Is the database still the file of its name: see place.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/lease.h"
#include "cluster/location.h"
#include "cluster/turn.h"
#include "sqlite/clustered.h"
#include "sqlite/filesystem.h"
#include "sqlite/place.h"
#include "sqlite/claim.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"

/* How long an answer holds, in milliseconds: a look costs 1 us, or a lot
 * more on a network file system.
 */
#define HOLDS 100

/* How often, and how long in nanoseconds, to wait for who serves the database
 * to have its files.
 */
#define SERVED_TRIES 100
#define SERVED_WAIT  10000000

/* The system's clock of files stands still for so long, in nanoseconds. */
#define COARSE (INT64_C (50) * 1000000)

/* A descriptor of the directory of PATH; -1 where there is none. */
static int
open_directory (const char *path)
{
  char *directory = files_directory (path);
  const int fd =
      directory ? open (directory, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

  free (directory);
  return fd;
}

/* The same on a cluster: that this process has it open keeps it in its place,
 * and others from it.
 */
static int
find_on_cluster (struct place *place, const char *path,
                 void (*warn) (const char *message), struct status *status)
{
  int r;

  *place = (struct place){
    .path = strdup (path),
    .warn = warn,
    .directory = -1,
    .on_cluster = true,
  };
  r = place->path ? clustered_open (path, "", false, &place->held, status)
                  : status_no_memory (status);
  if (r == 0)
    r = status_fail (status, ENOENT, "%s: %s", path, strerror (ENOENT));
  if (r == -1)
    free (place->path);
  return r == -1 ? -1 : 0;
}

int
place_find (struct place *place, const char *path,
            void (*warn) (const char *message), struct status *status)
{
  struct stat st;

  if (location_is_cluster (path))
    return find_on_cluster (place, path, warn, status);
  *place = (struct place){
    .path = realpath (path, NULL),
    .warn = warn,
    .directory = -1,
  };
  if (place->path == NULL || stat (place->path, &st) == -1) {
    status_fail (status, errno, "%s: %s", path, strerror (errno));
    free (place->path);
    return -1;
  }
  place->device = st.st_dev;
  place->inode = st.st_ino;
  place->log = files_side (path, "-wal");
  place->index = files_side (path, "-shm");
  place->guard = files_side (path, "-lock");
  place->directory = open_directory (place->path);
  if (place->log == NULL || place->index == NULL || place->guard == NULL) {
    place_free (place);
    return status_no_memory (status);
  }
  return 0;
}

void
place_free (struct place *place)
{
  if (place->lease)
    lease_stop (place->lease);
  if (place->directory != -1)
    close (place->directory);
  clustered_close (place->held);
  free (place->path);
  free (place->log);
  free (place->index);
  free (place->guard);
}

int
place_watch_lock (struct place *place, void (*fenced) (const char *message),
                  struct status *status)
{
  if (!place->on_cluster)
    return 0;
  /* A server has it open for good now. */
  turn_end ();
  place->lease = lease_start (place->path, clustered_client (), fenced, status);
  return place->lease ? 0 : -1;
}

/* All of what is asked of a place on a cluster. */
static int
check_lock (struct place *place, struct status *status)
{
  return place->lease ? lease_check (place->lease, status) : 0;
}

/* A file, by whatever name, or a location, of which there is one. */
static int
write_identity (const char *path, dev_t device, ino_t inode,
                char identity[PLACE_IDENTITY], struct status *status)
{
  struct location location;
  char name[LOCATION_URI_PATH];

  if (!location_is_cluster (path)) {
    snprintf (identity, PLACE_IDENTITY, "file %ju:%ju", (uintmax_t)device,
              (uintmax_t)inode);
    return 0;
  }
  if (location_parse (path, &location, status) == -1)
    return -1;
  location_uri_path (&location, name);
  snprintf (identity, PLACE_IDENTITY, "cluster %s", name);
  return 0;
}

int
place_identify (const char *path, char identity[PLACE_IDENTITY],
                struct status *status)
{
  struct stat st = { .st_dev = 0 };

  if (!location_is_cluster (path) && stat (path, &st) == -1)
    return status_fail (status, errno,
                        errno == ENOENT ? "there is no file %s"
                                        : "%s cannot be looked at",
                        path);
  return write_identity (path, st.st_dev, st.st_ino, identity, status);
}

void
place_write_identity (const struct place *place, char identity[PLACE_IDENTITY])
{
  struct status ignored;

  /* The location was parsed when it was opened. */
  write_identity (place->path, place->device, place->inode, identity, &ignored);
}

void
place_allow_links (struct place *place)
{
  place->links_allowed = true;
}

/* The inode of the file NAME; 0 where there is none. */
static ino_t
inode_of (const char *name)
{
  struct stat st;

  return stat (name, &st) == 0 ? st.st_ino : 0;
}

void
place_watch_log (struct place *place)
{
  if (place->on_cluster || atomic_load (&place->has_log))
    return;
  place->log_inode = inode_of (place->log);
  place->index_inode = inode_of (place->index);
  if (place->log_inode != 0 && place->index_inode != 0)
    atomic_store (&place->has_log, true);
}

void
place_watch_guard (struct place *place)
{
  if (place->on_cluster)
    return;
  place->guard_inode = inode_of (place->guard);
  if (place->guard_inode != 0)
    atomic_store (&place->has_guard, true);
}

/* Is the file NAME another one than that of INODE?  Other errors than that
 * there is no such file say nothing.
 */
enum seen { SEEN_RIGHT, SEEN_NONE, SEEN_OTHER };

static enum seen
look_at (const char *name, dev_t device, ino_t inode)
{
  struct stat st;

  if (stat (name, &st) == -1)
    return errno == ENOENT || errno == ENOTDIR ? SEEN_NONE : SEEN_RIGHT;
  return st.st_dev == device && st.st_ino == inode ? SEEN_RIGHT : SEEN_OTHER;
}

static enum place_state
find_log_state (const struct place *place)
{
  const enum seen log = look_at (place->log, place->device, place->log_inode);
  const enum seen index =
      look_at (place->index, place->device, place->index_inode);

  if (index == SEEN_OTHER)
    return PLACE_INDEX_REPLACED;
  if (log != SEEN_RIGHT)
    return PLACE_LOG_GONE;
  return index == SEEN_RIGHT ? PLACE_RIGHT : PLACE_INDEX_GONE;
}

static enum place_state
find_state (struct place *place)
{
  enum place_state state = PLACE_RIGHT;
  struct stat st;

  if (stat (place->path, &st) == -1)
    return errno == ENOENT || errno == ENOTDIR ? PLACE_GONE : PLACE_RIGHT;
  if (st.st_dev != place->device || st.st_ino != place->inode)
    return PLACE_GONE;
  if (st.st_nlink > 1 && !place->links_allowed &&
      filesystem_has_links (place->path))
    return PLACE_LINKED;
  if (atomic_load (&place->has_log))
    state = find_log_state (place);
  return state == PLACE_RIGHT && atomic_load (&place->has_guard) &&
                 look_at (place->guard, place->device, place->guard_inode) !=
                     SEEN_RIGHT
             ? PLACE_GUARD_GONE
             : state;
}

/* The log's index is another one. */
static int
fail_replaced (const struct place *place, struct status *status)
{
  const char *rest =
      atomic_load (&place->saved) ? "all that was written is in the database"
      : look_at (place->log, place->device, place->log_inode) == SEEN_RIGHT
          ? "all that was written is in the database and its log"
          : "what was written since the last checkpoint was only in the log "
            "that was deleted, and is lost";

  return status_fail (status, EIO,
                      "%s was replaced under the server, so that another "
                      "program may be changing the database: nothing is read "
                      "or written until the server is started again, with no "
                      "other program; %s",
                      place->index, rest);
}

/* The log has no name any more, or it is another's. */
static int
fail_log_gone (const struct place *place, struct status *status)
{
  if (atomic_load (&place->saved))
    return status_fail (status, EIO,
                        "%s was deleted or replaced under the server: all that "
                        "was written is in the database now, but nothing more "
                        "can be written: end the server, remove %s if there "
                        "is one, and start the server again; reading goes on",
                        place->log, place->log);
  return status_fail (status, EIO,
                      "%s was deleted or replaced under the server: nothing "
                      "more is written; what was only in it is being moved "
                      "into the database, and until a message says that this "
                      "is done it would be lost with the server; reading goes "
                      "on",
                      place->log);
}

/* The file NAME, in which there are locks, is gone. */
static int
fail_lock_gone (const char *name, struct status *status)
{
  return status_fail (status, EIO,
                      "%s was deleted or replaced under the server, and other "
                      "programs would not see its locks: nothing more is "
                      "written; end the server and start it again: all that "
                      "was written is in the database and its log; reading "
                      "goes on",
                      name);
}

/* Fail unless STATE is right. */
static int
check_state (const struct place *place, enum place_state state,
             struct status *status)
{
  switch (state) {
  case PLACE_GONE:
    return status_fail (status, EIO,
                        "the database was renamed, deleted or replaced under "
                        "the server: nothing is written until it is back in "
                        "its place, with its log; reading goes on");
  case PLACE_LINKED:
    return status_fail (status, EIO,
                        "the database has got a second name (a hard link), "
                        "by which it would have another write-ahead log: "
                        "nothing is written until that name is removed; "
                        "reading goes on; for a backup use \"sqlblock "
                        "backup\"");
  case PLACE_LOG_GONE:
    return fail_log_gone (place, status);
  case PLACE_INDEX_GONE:
    return fail_lock_gone (place->index, status);
  case PLACE_GUARD_GONE:
    return fail_lock_gone (place->guard, status);
  case PLACE_INDEX_REPLACED:
    return fail_replaced (place, status);
  default:
    return 0;
  }
}

void
place_tell_log (const struct place *place, int serving)
{
  const struct guard_log log = { place->log_inode, place->index_inode };

  guard_tell_log (serving, &log);
}

/* Are LOG and INDEX of the database PATH not those that are in use?  Who writes
 * has both; the guards, which would tell, may be gone, too.
 */
static bool
are_others (const char *path, const char *log, const char *index)
{
  const struct guard_log now = { inode_of (log), inode_of (index) };
  struct guard_log told;
  struct status ignored;

  if (guard_is_served (path, &ignored) == 1 && guard_told_log (path, &told))
    return now.log != told.log || now.index != told.index;
  return (now.log == 0 || now.index == 0) &&
         claim_ask (path, claim_is_written, &ignored) == 1;
}

int
place_check_served (const char *path, struct status *status)
{
  char *log = files_side (path, "-wal");
  char *index = files_side (path, "-shm");
  bool others = !location_is_cluster (path);
  int r = 0;

  if (log == NULL || index == NULL)
    r = status_no_memory (status);
  /* Who begins or ends to serve it may be about to make or remove them. */
  for (int i = 0; r == 0 && others && i < SERVED_TRIES; i++) {
    if (i > 0)
      nanosleep (&(struct timespec){ .tv_nsec = SERVED_WAIT }, NULL);
    others = are_others (path, log, index);
  }
  if (r == 0 && others)
    r = status_fail (status, EBUSY,
                     "%s or %s was deleted or replaced while another process "
                     "has the database open: end that one first; it saves what "
                     "can be saved, and says so",
                     log, index);
  free (log);
  free (index);
  return r;
}

bool
place_has_lost_log (struct place *place)
{
  return !place->on_cluster && find_state (place) == PLACE_LOG_GONE &&
         !atomic_load (&place->replaced);
}

/* When the directory has changed last, in nanoseconds; 0: that cannot be
 * found.
 */
static int64_t
directory_changed (const struct place *place)
{
  struct stat st;

  return fstat (place->directory, &st) == 0
             ? st.st_mtim.tv_sec * INT64_C (1000000000) + st.st_mtim.tv_nsec
             : 0;
}

/* The same, or 0 where that was so lately that another change may get the same
 * time.
 */
static int64_t
directory_rests (const struct place *place)
{
  const int64_t changed = directory_changed (place);
  struct timespec now;

  clock_gettime (CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec * INT64_C (1000000000) + now.tv_nsec - changed > COARSE
             ? changed
             : 0;
}

int
place_check (struct place *place, struct status *status)
{
  enum place_state state;
  int r;

  if (place->on_cluster)
    return check_lock (place, status);
  atomic_store (&place->changed, directory_rests (place));
  state = find_state (place);
  if (state == PLACE_INDEX_REPLACED)
    atomic_store (&place->replaced, true);
  if (state == PLACE_RIGHT) /* writes go on */
    atomic_store (&place->saved, false);
  atomic_store (&place->looked, clock_now ());
  r = check_state (place, state, status);
  if (atomic_exchange (&place->state, state) != (int)state)
    place->warn (r == -1 ? status->message
                         : "the database is back in its place, and only there");
  return r;
}

int
place_check_at_times (struct place *place, struct status *status)
{
  if (place->on_cluster)
    return check_lock (place, status);
  if (clock_now () - atomic_load (&place->looked) >= HOLDS * CLOCK_MILLISECOND)
    return place_check (place, status);
  return check_state (place, atomic_load (&place->state), status);
}

int
place_check_flush (struct place *place, struct status *status)
{
  const int64_t changed = atomic_load (&place->changed);

  if (place->on_cluster)
    return check_lock (place, status);
  return changed != 0 && changed == directory_changed (place)
             ? place_check_at_times (place, status)
             : place_check (place, status);
}

int
place_check_reading (struct place *place, uint64_t now, struct status *status)
{
  const uint64_t looked = atomic_load (&place->looked);

  if (place->on_cluster)
    return check_lock (place, status);
  if (now > looked && now - looked >= HOLDS * CLOCK_MILLISECOND)
    place_check (place, status);
  return atomic_load (&place->state) == PLACE_INDEX_REPLACED
             ? fail_replaced (place, status)
             : 0;
}

void
place_note_saved (struct place *place)
{
  struct status status;

  atomic_store (&place->saved, true);
  fail_log_gone (place, &status);
  place->warn (status.message);
}

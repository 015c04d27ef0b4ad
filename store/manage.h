/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Managing disks and snapshots: what the command sqlblock and a server's
 * history do.
 *
 * These functions change a store by the names that people give: DISK, or
 * DISK@SNAPSHOT, where SNAPSHOT may be a time (base/times.h).  Each is
 * one short transaction, or several of which the last one makes the change
 * visible; it is durable when the call returns.  They go through the
 * store's own queue of writers, so they can run in a server, and beside
 * one in another process; where the store is a server's (the option control
 * of struct store_options), the server runs them.
 *
 * Thread rules: any thread, with the store open.  All return 0, or -1 with
 * nothing changed unless they say otherwise.  Common errors: ENOENT for
 * unknown names, EEXIST for taken ones, EINVAL for impossible ones, EBUSY
 * where a server has the disk open for writing, for longer than a moment, or
 * where others have just renamed it, EROFS, ENOSPC, EIO; EROFS and ENOTSUP also
 * for a disk with a feature that this program lacks (rows/features.h).
 */

#ifndef SQLBLOCK_MANAGE_H
#define SQLBLOCK_MANAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/optional.h"
#include "encryption.h"
#include "base/progress.h"
#include "base/types.h"
#include "settings.h"
#include "status.h"
#include "store.h"

/* Make the database PATH one of the newest format, which leaves all disks and
 * snapshots as they are; with DRY_RUN only say whether that can be done now.
 * *FORMAT becomes the one that it had.  No store has it open.  Interrupted, it
 * is a database of the old or of the new format, and this can be called again.
 * EBUSY where a server or another program has it open, ENOENT, EIO where it is
 * damaged.  Thread rules: any thread.
 */
int manage_upgrade (const char *path, bool dry_run, int *format,
                    struct status *status);

/* See who has the database PATH, on a cluster, open.  Returns 1, 0 where nobody
 * has, or -1: EINVAL for a file, ENOENT where there is no such database or
 * pool, EACCES, ETIMEDOUT.  Thread rules, here and for the next: any thread.
 */
int manage_find_holder (const char *path, struct lock_holder *holder,
                        struct status *status);

/* Have the cluster refuse HOLDER, which was found by that, whatever it still
 * asks for, and then break its lock: from then on another can open PATH.
 * Returns 0, or -1: EBUSY where another has it open by now.
 */
int manage_fence (const char *path, const struct lock_holder *holder,
                  struct status *status);

/* Make a disk. */
int manage_create (struct store *store, const struct disk_options *options,
                   struct status *status);

/* Rename DISK to NAME, or DISK@SNAPSHOT to DISK@NAME (NAME is given without
 * the disk).
 */
int manage_rename (struct store *store, const char *target, const char *name,
                   struct status *status);

/* Describe DISK or DISK@SNAPSHOT; "": not at all. */
int manage_describe (struct store *store, const char *target,
                     const char *description, struct status *status);

/* Change what OPTIONS says of DISK: how new blocks are compressed, its quota,
 * description, settings (settings.h; one whose text is "" is inherited from
 * then on) and notes, user:...; or of DISK@SNAPSHOT, which can have only a
 * description and notes (EINVAL); or of TARGET_DATABASE, settings and notes.  A
 * quota holds at once for what is written from then on; what was there is to be
 * counted, by manage_count.
 */
int manage_set (struct store *store, const char *target,
                const struct disk_options *options, struct status *status);

/* Give the disk SIZE bytes.  Growing: the new bytes are zeroes, clients see
 * them when they connect again.  Shrinking needs SHRINK, and that no server
 * has the disk open for writing.
 */
int manage_resize (struct store *store, const char *disk, uint64_t size,
                   bool shrink, struct status *status);

/* The same for a disk that was looked at as DISK; EBUSY where its size has
 * changed since, EIO where it was rolled back or deleted.
 */
int manage_resize_found (struct store *store, const struct disk_info *disk,
                         uint64_t size, bool shrink, struct status *status);

/* Count, in steps, what disks with a quota store, where that is not done.
 * When it fails it may be called again, and goes on.  Where a layer cannot be
 * read, the others are counted before it fails.
 */
int manage_count (struct store *store, progress_made progress, void *opaque,
                  struct status *status);

/* Delete a disk.  One that has snapshots is deleted only with SNAPSHOTS,
 * which deletes them too (ENOTEMPTY otherwise, or EBUSY where one of them is
 * open, see disk_open, or held, also with FORCE); clones of it live on.  With
 * FORCE also while a server has it or them open, whose requests then fail.  The
 * space is freed by manage_reclaim.
 */
int manage_delete (struct store *store, const char *disk, bool snapshots,
                   bool force, struct status *status);

/* The same; but where the setting trash= of the disk, or else of the database,
 * says so, the disk goes to the trash (rows/trash.h) with its snapshots: then
 * TO_TRASH tells of it, else its disk.id is 0.  With FORCE, clients that read
 * one of its snapshots go on until they leave.  EIO where the setting is
 * damaged.
 */
int manage_discard (struct store *store, const char *disk, bool snapshots,
                    bool force, struct trashed_disk *to_trash,
                    struct status *status);

/* Call FOUND for each disk in the trash, in the order of their ids, or for each
 * of their snapshots, until it returns non-zero.  A transaction is open: FOUND
 * calls nothing of the store.
 */
int manage_list_trash (struct store *store,
                       int (*found) (const struct trashed_disk *disk,
                                     void *opaque),
                       void *opaque, struct status *status);
int manage_list_trash_snapshots (struct store *store,
                                 int (*found) (const struct snapshot_info *info,
                                               void *opaque),
                                 void *opaque, struct status *status);

/* Have disk ID back from the trash, as NAME or, for NULL, as what it was
 * called: EEXIST where that is taken, EINVAL where it is not known.
 */
int manage_undelete (struct store *store, int64_t id, const char *name,
                     struct status *status);

/* Delete DISK, which is in the trash, with its snapshots, as manage_delete
 * would: ENOENT where it is not there any more as it was listed, since somebody
 * had it back, though he may have deleted it again.
 */
int manage_purge (struct store *store, const struct trashed_disk *disk,
                  struct status *status);

/* Take a snapshot NAME of each of COUNT DISKS, at the same instant. */
int manage_snapshot (struct store *store, const char *const *disks,
                     size_t count, const char *name, struct status *status);

/* Delete COUNT snapshots DISK@SNAPSHOT, all or none, by name only; EBUSY where
 * one is open (see disk_open) or held.  The space is freed by manage_reclaim.
 */
int manage_delete_snapshots (struct store *store, const char *const *targets,
                             size_t count, struct status *status);

/* Hold DISK@SNAPSHOT, or release it: while it has a hold, of whatever TAG,
 * nothing deletes it.  EEXIST or ENOENT where it has that one already, or has
 * it not.
 */
int manage_hold (struct store *store, const char *target, const char *tag,
                 struct status *status);
int manage_release (struct store *store, const char *target, const char *tag,
                    struct status *status);

/* Make DISK what it was at DISK@SNAPSHOT, its size included.  What was
 * written since is lost, unless a snapshot has it; newer snapshots stay.
 * With FORCE also while a server has the disk open, whose connections then
 * fail.
 */
int manage_rollback (struct store *store, const char *target, bool force,
                     struct status *status);

/* Fail as these would fail now, and change nothing: the change is made and
 * taken back, in one transaction.
 */
int manage_try_delete (struct store *store, const char *disk, bool snapshots,
                       bool force, struct status *status);
int manage_try_discard (struct store *store, const char *disk, bool snapshots,
                        bool force, struct trashed_disk *to_trash,
                        struct status *status);
int manage_try_undelete (struct store *store, int64_t id, const char *name,
                         struct status *status);
int manage_try_purge (struct store *store, const struct trashed_disk *disk,
                      struct status *status);
int manage_try_delete_snapshots (struct store *store,
                                 const char *const *targets, size_t count,
                                 struct status *status);
int manage_try_rollback (struct store *store, const char *target, bool force,
                         struct status *status);

/* Several changes of one kind at once, in one transaction: all or none, and of
 * what is copied or made the same instant.
 */
enum manage_group_kind {
  GROUP_DELETE,   /* manage_delete of TARGET */
  GROUP_SNAPSHOT, /* manage_snapshot of TARGET, called NAME */
  GROUP_HOLD,     /* manage_hold of TARGET, NAME is the tag */
  GROUP_RELEASE,
  GROUP_ROLLBACK, /* manage_rollback to TARGET */
  GROUP_CLONE,    /* manage_clone of TARGET as NAME */
};
struct manage_step {
  const char *target, *name;
};

/* What is asked of all of them; several may be added up. */
enum {
  GROUP_SNAPSHOTS = 1, /* delete the snapshots of disks, too */
  GROUP_FORCE = 2,     /* also while a server has the disks open */
  GROUP_TRY = 4,       /* change nothing, but fail as this would fail now */
  GROUP_DISCARD = 8,   /* delete as manage_discard */
};

/* Make the changes that COUNT STEPS say, in their order; E2BIG where they are
 * too many, EINVAL where one disk is to be rolled back or deleted twice.
 */
int manage_group (struct store *store, enum manage_group_kind kind,
                  const struct manage_step *steps, size_t count, unsigned flags,
                  struct status *status);

/* Make the disk NAME, which begins as DISK or DISK@SNAPSHOT is now and is
 * independent from then on.  DESCRIPTION may be NULL: none.  Of a disk that
 * must not be changed only a snapshot can be cloned.
 */
int manage_clone (struct store *store, const char *source, const char *name,
                  const char *description, struct status *status);

/* Copy what a clone shares with its origin, so that it does not depend on
 * it any more.  When it fails it may be called again, and goes on; where there
 * is no space, what it has copied is given back.  EBUSY while another one
 * flattens the disk, or what has changed in it is received, or a part of that
 * kept.  PROGRESS is told how many bytes were copied.
 */
int manage_flatten (struct store *store, const char *disk,
                    progress_made progress, void *opaque,
                    struct status *status);

/* Free what nobody sees, until nothing is left of it, in steps that let
 * others write in between.  When it fails it may be called again.  FREED
 * (may be NULL) is told how many bytes of blocks went.  Where there is
 * nothing to free it only reads.  Where a layer cannot be read, the others are
 * freed before it fails.
 */
int manage_reclaim (struct store *store, progress_made progress, void *opaque,
                    uint64_t *freed, struct status *status);

/* Have the next manage_reclaim also free what a clone has overwritten of its
 * origin since that was deleted.  It does so by itself only when something
 * of the clone is deleted.
 */
int manage_reclaim_hidden (struct store *store, struct status *status);

/* Delete what copies that were interrupted left behind; the first step of
 * manage_reclaim.
 */
int manage_forget_copies (struct store *store, struct status *status);

/* Give the file's free pages back, in steps, but for KEEP bytes of them. */
int manage_shrink_file (struct store *store, uint64_t keep,
                        progress_made progress, void *opaque,
                        struct status *status);

/*--------------------------------------------------------------------
 * Looking.
 */

/* Find DISK@SNAPSHOT; where there is none and SNAPSHOT is a time, the newest
 * that was made not after it, by the order in which they were made.
 */
int manage_find_snapshot (struct store *store, const char *target,
                          struct snapshot_info *info, struct status *status);

/* Call FOUND for each snapshot of DISK, or for NULL of all disks, as
 * store_list_snapshots.
 */
int manage_list_snapshots (struct store *store, const char *disk,
                           int (*found) (const struct snapshot_info *info,
                                         void *opaque),
                           void *opaque, struct status *status);

/* The same for each snapshot of another disk on which SNAPSHOT stands, since
 * its disk, or what that was made from, is a clone: those that show most of the
 * same blocks first.
 */
int manage_list_origins (struct store *store,
                         const struct snapshot_info *snapshot,
                         int (*found) (const struct snapshot_info *info,
                                       void *opaque),
                         void *opaque, struct status *status);

/* More about a disk or a snapshot. */
struct manage_details {
  uint64_t snapshots; /* for a disk: how many it has */
  /* What it was cloned from, or rolled back to, as DISK@SNAPSHOT or DISK;
   * "" where it has no parent, "?" where that is gone.
   */
  char origin[DISK_TARGET_MAX + 1];
  /* For a disk with a quota, what counts for that, in bytes: at least so
   * much while not all is counted.
   */
  uint64_t quota_used;
  bool quota_counted;
};
int manage_details (struct store *store, const char *target,
                    struct manage_details *details, struct status *status);

/*--------------------------------------------------------------------
 * Bookmarks: what a snapshot was, as the base of a later increment when it is
 * gone (rows/bookmarks.h).  They go with their disk; clones get none.
 */

/* Can a new bookmark be called NAME?  Returns 0, or -1 and EINVAL.  Thread
 * rules: any thread.
 */
int manage_check_bookmark (const char *name, struct status *status);

/* Make the bookmark NAME of DISK@SNAPSHOT, which is no time. */
int manage_bookmark (struct store *store, const char *target, const char *name,
                     struct status *status);

/* Find DISK#BOOKMARK. */
int manage_find_bookmark (struct store *store, const char *target,
                          struct bookmark_info *info, struct status *status);

/* Was SNAPSHOT, of its disk, made after what BOOKMARK is of?  Thread rules: any
 * thread.
 */
bool manage_is_later (const struct snapshot_info *snapshot,
                      const struct bookmark_info *bookmark);

/* Call FOUND for each bookmark of DISK, or for NULL of all disks, until it
 * returns non-zero.
 */
int manage_list_bookmarks (struct store *store, const char *disk,
                           int (*found) (const struct bookmark_info *info,
                                         void *opaque),
                           void *opaque, struct status *status);

/* Delete bookmarks, DISK#BOOKMARK: all or none. */
int manage_delete_bookmarks (struct store *store, const char *const *targets,
                             size_t count, struct status *status);

/*--------------------------------------------------------------------
 * Looking (look.c, diff.c).
 */

/* Add the properties of DISK, DISK@SNAPSHOT or TARGET_DATABASE to LIST, see
 * properties_read, and the features that stand for settings; it is freed by
 * optional_free, whatever this returns.
 */
int manage_properties (struct store *store, const char *target,
                       struct optional *list, struct status *status);

/* Count what each of COUNT ITEMS, which are of GROUPS groups, shows, and in
 * FREED[group] the bytes of blocks that deleting a group would free.  An item
 * that is not there counts nothing.  What is damaged does not keep the others
 * from being counted: it fails with EIO at its end, and what it then does not
 * know is USAGE_UNKNOWN; after another failure that is everything.  It reads
 * the index of all that they store, in one read transaction.
 */
int manage_usage (struct store *store, struct usage_item *items, size_t count,
                  uint64_t *freed, size_t groups, progress_made progress,
                  void *opaque, struct status *status);

/* The database file. */
struct manage_file {
  uint64_t size;        /* bytes */
  uint64_t free;        /* bytes in free pages */
  uint64_t log;         /* bytes of the write-ahead log */
  uint64_t page_size;   /* bytes */
  uint64_t reclaimable; /* layers that wait to be reclaimed */
  uint64_t trash;       /* disks in the trash */
  uint64_t room;        /* bytes that its file system has for us; 0 on a
                           cluster */
  int format;
};
int manage_file (struct store *store, struct manage_file *file,
                 struct status *status);

/* Who has something open, as far as locks and rows tell, in any process: */
enum manage_use_kind {
  MANAGE_WRITTEN, /* a disk is open for writing */
  MANAGE_READ,    /* a snapshot is open by its name */
  MANAGE_COPIED,  /* a disk is copied that cannot be pinned */
  MANAGE_PINNED,  /* a copy holds what a disk showed, or has been interrupted */
  MANAGE_RECEIVED, /* DISK/receiving comes in */
  MANAGE_USE_KINDS,
};
struct manage_use {
  enum manage_use_kind kind;
  char target[DISK_TARGET_MAX + 1];
  char who[130]; /* "process 1234 on host", as it says itself; "": not known */
  int64_t since; /* of one that is pinned: seconds since 1970, UTC; or 0 */
};
int manage_list_uses (struct store *store,
                      int (*found) (const struct manage_use *use, void *opaque),
                      void *opaque, struct status *status);

/* Count what the whole database takes, see rows/totals.h; progress and damage
 * as in manage_usage.
 */
int manage_totals (struct store *store, struct totals *totals,
                   progress_made progress, void *opaque, struct status *status);

/* Call FOUND for each range of bytes, in order, that differs between FROM
 * and TO (each DISK or DISK@SNAPSHOT, or for FROM NULL: nothing but
 * zeroes), until it returns non-zero (-1 and ECANCELED).  HOLE says that TO
 * has zeroes there.  Ranges are whole blocks, clipped to the size of TO;
 * blocks that were written with what they had before count as different.
 * Both must have the same block size (EINVAL).
 */
typedef int (*difference_found) (uint64_t offset, uint64_t count, bool hole,
                                 void *opaque);
int manage_diff (struct store *store, const char *from, const char *to,
                 difference_found found, void *opaque, struct status *status);

/* The same for what was found already, whatever its name is now. */
int manage_diff_found (struct store *store, const struct disk_info *from,
                       const struct disk_info *to, difference_found found,
                       void *opaque, struct status *status);

/* The same for what changed since a bookmark: blocks that are zeroes count as
 * different, and those that are data where they were written since.  Fails with
 * EINVAL where TO does not come from it.
 */
int manage_diff_bookmark (struct store *store,
                          const struct bookmark_info *bookmark,
                          const struct disk_info *to, difference_found found,
                          void *opaque, struct status *status);

/* Open DISK as it is now, or DISK@SNAPSHOT, for reading only, for a copy
 * that takes long: it does not change meanwhile, whatever others write, and
 * it stays when the snapshot is deleted.  Closed by manage_unpin.  NULL on
 * failure; EBUSY where the disk must not be changed here, and somebody has it
 * open for writing.
 */
struct disk *manage_pin (struct store *store, const char *target,
                         struct status *status);
void manage_unpin (struct store *store, struct disk *disk);

/*--------------------------------------------------------------------
 * Increments: what changed between two snapshots, for a client that copies it
 * (increment.c).
 */

struct increment;

/* Open the increment NAME, DISK@[FROM]..[TO], each a snapshot or a time:
 * without FROM what changed since there was nothing, without TO up to now, and
 * then it is frozen: what is written from then on is not in it.  Its snapshots
 * are not deleted while it is open.  *INCREMENT is NULL where NAME is none, but
 * perhaps what disk_open takes.  Returns 0, or -1: EINVAL where FROM is the
 * newer one, EROFS where the disk would have to be frozen and cannot be.
 */
int manage_increment (struct store *store, const char *name,
                      struct increment **increment, struct status *status);
void increment_close (struct increment *increment);

/* What it ends with: all bytes of that can be read, changed or not. */
struct disk *increment_disk (const struct increment *increment);

/* Does another increment of this name, opened later, have something else? */
bool increment_is_frozen (const struct increment *increment);

/* What a range is: as it was before, whatever that is; other bytes; zeroes
 * where there was something else; or zeroes where the disk did not reach.
 */
enum increment_kind {
  INCREMENT_SAME = 0,
  INCREMENT_DATA,
  INCREMENT_ZEROES,
  INCREMENT_NEW,
};

/* As disk_extents.  Ranges begin and end with blocks, and what was written with
 * what it had before is data.
 */
typedef int (*increment_found) (uint64_t offset, uint64_t count,
                                enum increment_kind kind, void *opaque);
int increment_extents (struct increment *increment, uint64_t offset,
                       uint64_t count, bool one, increment_found found,
                       void *opaque, struct status *status);

/* What an increment is between, as a client is told:
 *
 *   changes of DISK@FROM/GUID..TO/GUID/CREATED
 *
 * The guids are those of the snapshots, in 16 hexadecimal digits, and CREATED
 * is when TO was made, in seconds since 1970.  Where there is no snapshot the
 * name is empty and the guid 0.
 */
struct increment_ends {
  char disk[DISK_NAME_MAX + 1];
  char from[SNAPSHOT_NAME_MAX + 1];
  int64_t from_guid;
  char to[SNAPSHOT_NAME_MAX + 1];
  int64_t to_guid;
  int64_t created;
};

/* Room for it. */
#define INCREMENT_TEXT_MAX (DISK_TARGET_MAX + 2 * SNAPSHOT_NAME_MAX + 100)

const char *increment_text (const struct increment *increment);

/* Read that, from elsewhere.  Returns false where it is something else. */
bool increment_parse (const char *text, struct increment_ends *ends);

/*--------------------------------------------------------------------
 * Receiving: a copy from elsewhere that appears complete or not at all; and
 * what a stream takes along.
 */

/* Add to LIST what goes with SNAPSHOT into another database: its properties,
 * the features of its disk, and if the WHOLE disk goes, the properties of that.
 * It is freed by optional_free, whatever this returns.
 */
int manage_outgoing (struct store *store, const struct snapshot_info *snapshot,
                     bool whole, struct optional *list, struct status *status);

/* What is to be received. */
struct manage_incoming {
  const char *disk;        /* name of the disk */
  const char *description; /* of a new disk; may be NULL: none */
  uint64_t size;           /* bytes; may become less until the end */
  uint32_t block_size;     /* bytes */
  struct storing storing;  /* of a new disk */

  /* Have an existing disk get other contents. */
  bool replace;

  /* A snapshot that is received with the disk; NULL: none. */
  const char *snapshot;
  int64_t guid;      /* its guid, */
  int64_t created;   /* and when it was made */
  int64_t base_guid; /* 0: everything is received; else what changed since
                        the snapshot with this guid */
  const char *base;  /* and its name where it comes from */
  /* DISK is new, and becomes a clone of whichever disk has the base; that is
   * called so where it comes from.  NULL: the base is one of DISK itself.
   */
  const char *origin;
  bool rollback;                   /* give up what was written since the base */
  const struct optional *optional; /* what comes with both; NULL: nothing */
  uint64_t resumed; /* not 0: what was kept of an earlier reception is gone on
                       with, from this byte on */
  const char *encryption, *slot; /* of a new disk, as in disk_options */
};

/* Begin.  DISK must not exist.  With REPLACE or a base of its own it must, and
 * no server may have it open for writing (EBUSY).  Such a base must be its
 * newest snapshot, with nothing written since (EINVAL), unless ROLLBACK.  With
 * an ORIGIN some disk must have the base (ENOENT).
 *
 * Returns a disk for writing, which begins as the base or as zeroes, and is
 * seen by nobody else; NULL on failure.  What an earlier reception of DISK
 * has left behind is removed; but where that was kept it is EEXIST, unless what
 * comes now goes on exactly there (RESUMED), else EINVAL.
 */
struct disk *manage_receive (struct store *store,
                             const struct manage_incoming *incoming,
                             struct status *status);

/* Fail as that would fail now, and change nothing. */
int manage_try_receive (struct store *store,
                        const struct manage_incoming *incoming,
                        struct status *status);

/* Make what was written to INCOMING_DISK the disk and the snapshot, in one
 * transaction, and close it.  On failure it is removed, as by
 * manage_receive_cancel.
 */
int manage_receive_end (struct store *store, struct disk *incoming_disk,
                        const struct manage_incoming *incoming,
                        struct status *status);

/* Keep what has come in so far, which is all up to the byte POSITION, a
 * multiple of the block or the end: from then on it stays when the reception
 * fails or dies, and can be gone on with, until manage_receive_abort, or until
 * nothing more came for a week.  The disk stays open, and this may be called
 * again and again.
 */
int manage_receive_keep (struct store *store, struct disk *incoming_disk,
                         const struct manage_incoming *incoming,
                         uint64_t position, struct status *status);

/* Call FOUND for all that is kept, until it returns non-zero; it may be coming
 * in just now.
 */
int manage_list_partial (struct store *store,
                         int (*found) (const struct partial_info *info,
                                       void *opaque),
                         void *opaque, struct status *status);

/* Remove what is kept for DISK.  ENOENT where that is nothing, EBUSY where it
 * is just coming in.  The space is freed by manage_reclaim.
 */
int manage_receive_abort (struct store *store, const char *disk,
                          struct status *status);

/* Give up: remove what was received, unless it is kept, and close
 * INCOMING_DISK.  The space is freed by manage_reclaim.
 */
void manage_receive_cancel (struct store *store, struct disk *incoming_disk);

/* Remove what receptions have left whose process died, and what was kept too
 * long; how many goes to *REMOVED.  Where one cannot be removed, the others are
 * before it fails.
 */
int manage_receive_clean (struct store *store, unsigned *removed,
                          struct status *status);

/*--------------------------------------------------------------------
 * The keys of encrypted disks (keys.c).
 */

/* How the disk NAME is encrypted.  Returns 0, or -1: EINVAL where it is not,
 * EIO.
 */
int manage_encryption (struct store *store, const char *name,
                       struct encryption *encryption, struct status *status);

/* Slot NUMBER of the disk NAME gets TEXT, or for "" is removed, if it has
 * BEFORE ("": none).  Returns 0, or -1: EBUSY where it has not; EPERM where no
 * slot would be left.
 */
int manage_set_slot (struct store *store, const char *name, unsigned number,
                     const char *before, const char *text,
                     struct status *status);

/*--------------------------------------------------------------------
 * A new database that is made with one disk (build.c).
 */

struct build;

/* Begin to make the database PATH, where there is no file, with the disk that
 * INCOMING says: a new one.  It is written beside PATH, and nobody sees it.
 * PATH must stay.  SECRETS open the disk where that is encrypted.  Returns NULL
 * on failure: EEXIST where there is a file, EROFS where the file system may be
 * another machine's.  Thread rules: one thread.
 */
struct build *manage_build (const char *path,
                            const struct manage_incoming *incoming,
                            const struct secret *secrets,
                            struct status *status);

/* Fail as that would fail now, and make nothing.  Returns 0 or -1. */
int manage_try_build (const char *path, const struct manage_incoming *incoming,
                      struct status *status);

/* Room for data that is to be written, which then need not be copied: for the
 * next call of manage_build_write, or up to the end.  It stays where somebody
 * may still put something there, after a failure.
 */
#define MANAGE_BUILD_ROOM 4194304
void *manage_build_room (struct build *build);

/* Write COUNT bytes of DATA at byte OFFSET of the disk, inside its size; it
 * begins as zeroes.  Returns 0, or -1, after which it is to be given up.
 */
int manage_build_write (struct build *build, const void *data, uint64_t offset,
                        uint64_t count, struct status *status);

/* Have the disk SIZE bytes, no less than were written, make all of it durable
 * and give the database its name.  BUILD is gone, whatever this returns.
 * Returns 0, or -1 with nothing made.
 */
int manage_build_end (struct build *build, uint64_t size,
                      struct status *status);

/* Give up: nothing is left. */
void manage_build_cancel (struct build *build);

/*--------------------------------------------------------------------
 * Storing what a disk has anew, under its present compression (recompress.c).
 */

/* What was done, in blocks and in bytes of their data. */
struct recompressed {
  uint64_t blocks;  /* stored anew */
  uint64_t before;  /* what all took before */
  uint64_t after;   /* what all take now */
  uint64_t damaged; /* blocks that could not be read, and are as they were */
};

/* Encode all blocks of DISK and of its snapshots again as new ones would be,
 * and store those that change.  Their bytes stay the same, so it can be done
 * while clients read and write, and be stopped at any time.  What the disk
 * shares with one that it was cloned from is that one's.  Returns and thread
 * rules as manage.h says.
 */
int recompress_disk (struct store *store, const char *disk,
                     progress_made progress, void *opaque,
                     struct recompressed *done, struct status *status);

/*--------------------------------------------------------------------
 * A copy of the whole database while servers write to it (backup.c).
 */

/* What a backup has copied. */
struct backup_counts {
  uint64_t blocks;
  uint64_t bytes; /* of their data */
};

/* Copy the database of STORE into the new file PATH, which appears complete
 * or not at all.  The checksum of every block is verified.  COUNTS may be
 * NULL.  Thread rules: any thread.  Returns 0, or -1: EEXIST where there is
 * a file, EIO for a damaged block.
 */
int manage_backup (struct store *store, const char *path,
                   progress_made progress, void *opaque,
                   struct backup_counts *counts, struct status *status);

#endif /* SQLBLOCK_MANAGE_H */

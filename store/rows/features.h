/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a program must know to use a file, or one disk of it: the table feature,
 * see schema.sql.
 *
 *   class           a program that does not know the name
 *   1  ignorable    goes on
 *   2  read-only    changes nothing: of the file; or of the disk, of its
 *                   snapshots, and of the layers that these read
 *   3  refuse, and  leaves it alone: the file; or the disk and its snapshots,
 *      any other    which are shown in lists, and are not read
 *
 * What this program knows are contents, which blocks share, the codecs that it
 * was built with, and settings that older programs would not keep to.  A row of
 * a name that it does not know, and whose checksum is wrong, counts as one of
 * class 3; so does who has more than FEATURES_MAX, which bounds how long it
 * takes to ask.
 *
 * Whoever reads or changes a disk asks here, in the transaction in which he
 * does: the row may have come from another program a moment ago.
 *
 *   reads     disks_view, view_snapshot; who finds a disk to open, pin, copy
 *   changes   a row of a disk or a snapshot: where disks.c, snapshots.c and
 *             quota.c change it; blocks: the writer, when it looks at the disk
 *   layers    who changes rows of one that other disks may read as well, or
 *             that none does: reclaim, flatten, recompress, repair
 *
 * test-floors.sh fails on a function that changes such a row and does not ask.
 *
 * Decided:
 *   - A layer belongs to what reads it.  So where a disk that is kept off reads
 *     the layer that another one writes (it is a clone of that), new rows may
 *     come into it, which it does not see; none of those that are there change,
 *     nothing is reclaimed, recompressed, or flattened into it.
 *   - A disk of class 2 is cloned from its snapshots only: a clone of what it
 *     shows now would raise the generation of its layer, which is a change.  A
 *     copy of that has its guard instead of a pin, so none of its writers runs.
 *   - A row of a block whose codec this program does not know (codec.h) is
 *     never changed, moved or deleted, whatever features there are: what meets
 *     one fails with ENOTSUP, and work that goes by layers passes that one by.
 *     Deleting a disk looks at no row.  So it goes ahead unless a feature
 *     forbids it, and such rows stay, in a layer that nobody sees, for a
 *     program that knows them.
 *   - Snapshots that pin rows for a copy are of this program, and go.
 */

#ifndef SQLBLOCK_FEATURES_H
#define SQLBLOCK_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/optional.h"
#include "base/types.h"
#include "sqlite/connection.h"
#include "status.h"

/* The classes of this format. */
enum feature_class {
  FEATURE_IGNORABLE = 1,
  FEATURE_READ_ONLY = 2,
  FEATURE_REFUSE = 3
};

/* What somebody is about to do with a disk, its snapshots and what they show,
 * or with the file.
 */
enum feature_use { FEATURE_READ, FEATURE_CHANGE };

/* Those of settings (settings.h): of a disk, or the file, that says who may use
 * a disk (class 3), and that one client at a time may write it (class 2).
 */
#define FEATURE_ALLOW      "allow"
#define FEATURE_EXCLUSIVE  "exclusive"
#define FEATURE_LITESTREAM "litestream"

/* Does this program know the feature NAME?  NULL is none. */
bool features_know (const char *name);

/* Is it one of a setting that stays where it is, and so does not go with its
 * disk into another file?
 */
bool features_stay (const char *name);

/* May it USE disk ID, or for 0 the file?  What the file forbids holds for each
 * disk.  Returns 0, or -1: EROFS where it may only be read, ENOTSUP, EIO for a
 * row that is damaged.  Inside the transaction of the use.  Thread rules, here
 * and below: those of the connection.
 */
int features_allow (struct connection *connection, int64_t disk,
                    enum feature_use use, struct status *status);

/* The same as a question.  Returns 1 where it may not, and STATUS says why; 0;
 * or -1.
 */
int features_forbid (struct connection *connection, int64_t disk,
                     enum feature_use use, struct status *status);

/* Does a feature of a disk that reads LAYER, or of which a snapshot does,
 * directly or through other layers, forbid this USE of its rows?  Returns as
 * features_forbid.  Cheap where no disk has a feature.
 */
int features_forbid_layer (struct connection *connection, int64_t layer,
                           enum feature_use use, struct status *status);

/* Fail where the rows of LAYER may not be changed. */
int features_allow_layer (struct connection *connection, int64_t layer,
                          struct status *status);

/* Does one of any disk forbid to change it?  Returns as features_forbid. */
int features_forbid_any (struct connection *connection, struct status *status);

/* What may be done with disk ID, and whether it is ENCRYPTED, which may be
 * NULL. Returns 0, or -1.
 */
int features_access (struct connection *connection, int64_t disk,
                     enum disk_access *access, bool *encrypted,
                     struct status *status);

/* Whoever does not know the feature NAME is to refuse the file from now on;
 * NULL is none.  In a transaction.  Returns 0 or -1.
 */
int features_add (struct connection *connection, const char *name,
                  struct status *status);

/* Disk DISK, or for 0 the file, has the feature NAME of this class from now on,
 * if it has none of that name; or it has it no more.  In a transaction.  They
 * return 0 or -1.
 */
int features_put (struct connection *connection, int64_t disk, const char *name,
                  int64_t class, struct status *status);
int features_remove (struct connection *connection, int64_t disk,
                     const char *name, struct status *status);

/* The disk goes; so do its rows.  In a transaction.  Returns 0 or -1. */
int features_drop (struct connection *connection, int64_t disk,
                   struct status *status);

/* Add to LIST those of disk ID, or for 0 of the file, that stand for settings.
 * Returns 0 or -1.
 */
int features_of_settings (struct connection *connection, int64_t id,
                          struct optional *list, struct status *status);

/* Disk TO is a clone of FROM, and gets its rows.  In a transaction.  Returns 0
 * or -1.
 */
int features_clone (struct connection *connection, int64_t from, int64_t to,
                    struct status *status);

#endif /* SQLBLOCK_FEATURES_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The database file: making it, and making sure that it is one of ours.
 *
 * A new file appears under its name complete or not at all.  A file that
 * is not ours, or is from a newer version, is told apart by its header
 * before SQLite may do anything to it (SQLite changes files when it opens
 * them: it replays journals).
 */

#ifndef SQLBLOCK_DATABASE_H
#define SQLBLOCK_DATABASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "rows/disks.h"
#include "status.h"

/* Look at the file PATH.  Returns 1 when it is a database of ours, 0 when
 * there is no file, -1 for anything else: EINVAL for a file that is not
 * ours, ENOTSUP for a newer format.
 *
 * Thread rules: only while this process has no connection to the file,
 * since closing the file drops the locks of all (sqlite.org/howtocorrupt,
 * section 2.2).
 */
int database_examine (const char *path, struct status *status);

/* Check that a file PATH, which need not be there, would not be taken for a
 * part of another database (files.h), as disks.sqlite-wal beside disks.sqlite:
 * whoever uses that one writes there, or removes it.  Returns 0, or -1 and
 * EINVAL.  Thread rules: any thread.
 */
int database_check_name (const char *path, struct status *status);

/* Make the file PATH, readable and writable by its owner only, with the
 * first disk.  Returns 0, or -1 with nothing changed: EEXIST where there is
 * a file, EROFS where the file system may be another machine's (filesystem.h).
 * Thread rules: any thread.
 */
int database_create (const char *path, const struct disk_options *disk,
                     struct status *status);

/* The same without a disk, for disks whose blocks have BLOCK_SIZE bytes, or
 * for 0 the default.  A file that is there is left as it is.
 */
int database_create_empty (const char *path, uint32_t block_size,
                           struct status *status);

/* Make the file PATH with pages of PAGE_SIZE bytes.  FILL is called once, in
 * the one transaction that makes it, when it has its tables.  Returns and
 * thread rules as database_create; but it can be made on any file system, as
 * a backup: until it is complete nobody else knows its name.
 */
typedef int (*database_fill) (struct connection *connection, void *opaque,
                              struct status *status);
int database_make (const char *path, uint32_t page_size, database_fill fill,
                   void *opaque, struct status *status);

/* The same in parts, for who fills it through CONNECTION, which this opens, in
 * the transaction that has begun.  PATH must outlive NEW.  After a failure of
 * database_begin nothing is left; else one of the other two ends it, also after
 * a failure, and closes the connection.
 */
struct new_database {
  const char *path;
  char *temporary; /* the name it has until it is complete */
  struct connection *connection;
};
int database_begin (struct new_database *new, struct connection *connection,
                    const char *path, uint32_t page_size,
                    struct status *status);
int database_publish (struct new_database *new, struct status *status);
void database_abandon (struct new_database *new);

/* Fail as database_begin would fail now, and make nothing. */
int database_check_new (const char *path, struct status *status);

/* Open the file PATH, which database_examine has found to be ours, for
 * MODE, if its log belongs to it (mark.h), and check that it holds exactly the
 * schema of this format and no feature that this version does not know.
 * CONNECTION_READ falls back to CONNECTION_IMMUTABLE where the log cannot be
 * used, or must not be by this name (claim_check_name).  Returns 0, or -1 with
 * nothing left open.
 */
int database_open (struct connection *connection, const char *path,
                   enum connection_mode mode, struct patience *patience,
                   struct status *status);

/* Make the database of CONNECTION, which is a copy by SQLite's backup API
 * (mark.h), one of its own: before anything else is committed, its file says
 * so.  Returns 0 or -1.
 */
int database_adopt (struct connection *connection, struct status *status);

#endif /* SQLBLOCK_DATABASE_H */

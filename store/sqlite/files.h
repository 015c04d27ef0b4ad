/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The files of a database: their names and sizes, what may be done beside them,
 * and making them.
 *
 *   web.sqlite           the database
 *   web.sqlite-wal       its log, and ...
 *   web.sqlite-shm       ... the memory that all who use it share
 *   web.sqlite-journal   where it was switched to another journal
 *   web.sqlite-lock      the guards (guard.h)
 *
 * A new file is made under another name beside these, and gets its own when it
 * is complete.
 *
 * On a cluster (location.h) there are the first two only, without owners or
 * modes, and the directory is the pool; a new file is made on this machine, and
 * copied when it is complete.  Thread rules: any thread.
 */

#ifndef SQLBLOCK_FILES_H
#define SQLBLOCK_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* A new string: the name of the file that SQLite, or we, keep beside the
 * database PATH, with SUFFIX.  Symbolic links are followed, as SQLite does:
 * however a database is called, its files are the same.  NULL when there is
 * no memory.
 */
char *files_side (const char *path, const char *suffix);

/* The size of that file in bytes; for "" of the database.  Returns -1 where
 * there is none, or it cannot be looked at.
 */
int64_t files_size (const char *path, const char *suffix);

/* The same, but 0 where that returns -1. */
uint64_t files_bytes (const char *path, const char *suffix);

/* How many bytes the file system of PATH has for this user; 0 where that is not
 * known, as on a cluster.
 */
uint64_t files_room (const char *path);

/* Is there something called PATH, be it a symbolic link to nothing? */
bool files_exist (const char *path);

/* Look for the file PATH.  Returns 1 where it is there, 0 where there is
 * nothing, or -1: EINVAL where it is not a regular file.
 */
int files_look (const char *path, struct status *status);

/* Is FILE the database PATH or one of the files beside it (its log, their
 * shared memory, its journal, the guards), by whatever name, or would it become
 * one?  Whoever writes there destroys the database.  No file is opened.
 */
bool files_has (const char *path, const char *file);

/* The same for the open file FD. */
bool files_has_descriptor (const char *path, int fd);

/* A new string: the database that would have FILE beside it, by its name, as
 * disks.sqlite for disks.sqlite-wal; NULL where FILE has no such name.  Whether
 * it is there, and what it is, nobody has looked at.
 */
char *files_owner (const char *file);

/* A new string: the directory of PATH, or NULL. */
char *files_directory (const char *path);

/* The name of the file PATH, which need not be there, for a program that runs
 * in another directory: a new string, or NULL where its own is not there.
 */
char *files_absolute (const char *path, struct status *status);

/* Check that PATH, which is made to be used, lies on a file system of this
 * machine.  Returns 0, or -1 and EROFS (filesystem.h).
 */
int files_check_system (const char *path, struct status *status);

/* Check that a new file could be made at PATH: its directory is there, can be
 * written to, and lies on a file system of this machine.
 */
int files_check_directory (const char *path, struct status *status);

/* Check that nothing has the name PATH, and that no log or journal lies where
 * that of a new file would be: that belongs to another database, and SQLite
 * would write its pages into the new one.  Returns 0, or -1 and EEXIST.
 */
int files_check_new (const char *path, struct status *status);

/* Make an empty file beside PATH, readable and writable by its owner only, for
 * what is to be there when it is complete.  Returns its name, or NULL.
 */
char *files_begin (const char *path, struct status *status);

/* Remove what is left under the name TEMPORARY that files_begin gave, which is
 * freed.
 */
void files_discard (char *temporary);

/* Rename the file FROM to TO if there is no TO, else fail with EEXIST.
 * Where the file system cannot do that at once, FROM may stay, too.
 * Returns 0, or -1 and errno.
 */
int files_rename_new (const char *from, const char *to);

/* Give the complete file TEMPORARY the name PATH if that is free, durably.
 * Where the file system cannot do that at once, TEMPORARY may stay, too.
 * Returns 0, or -1: EEXIST where there is a file.
 */
int files_publish (const char *temporary, const char *path,
                   struct status *status);

/* Is this user kept from writing the database PATH, or the directory where its
 * log would be?
 */
bool files_are_read_only (const char *path);

/* Would SQLite make a file of this user's beside the database PATH, which he
 * may only read?  The owner could not write it.
 */
bool files_would_be_in_the_way (const char *path);

/* The database PATH could only be read, as STATUS says: where that is since a
 * file beside it is another user's, which he should not have made, say that
 * instead, with EIO.
 */
void files_explain (const char *path, struct status *status);

#endif /* SQLBLOCK_FILES_H */

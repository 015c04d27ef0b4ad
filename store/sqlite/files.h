/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The files of a database: their names, and what may be done beside them.
 *
 *   web.sqlite           the database
 *   web.sqlite-wal       its log, and ...
 *   web.sqlite-shm       ... the memory that all who use it share
 *   web.sqlite-journal   where it was switched to another journal
 *   web.sqlite-lock      the guards (guard.h)
 *
 * A new file is made under another name beside these, and gets its own when it
 * is complete.  Thread rules: any thread.
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

/* Is FILE the database PATH or one of the files beside it (its log, their
 * shared memory, its journal, the guards), by whatever name, or would it become
 * one?  Whoever writes there destroys the database.  No file is opened.
 */
bool files_has (const char *path, const char *file);

/* The same for the open file FD. */
bool files_has_descriptor (const char *path, int fd);

/* A new string: the directory of PATH, or NULL. */
char *files_directory (const char *path);

/* Check that PATH, which is made to be used, lies on a file system of this
 * machine.  Returns 0, or -1 and EROFS (filesystem.h).
 */
int files_check_system (const char *path, struct status *status);

/* Check that a new file could be made at PATH: its directory is there, can be
 * written to, and lies on a file system of this machine.
 */
int files_check_directory (const char *path, struct status *status);

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

#endif /* SQLBLOCK_FILES_H */

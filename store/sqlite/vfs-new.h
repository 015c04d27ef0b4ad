/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that gathers the pages of a database which is
 * being made.
 *
 * Such a file has no log (rows/database.h): what does not fit into the page
 * cache is written to it page by page, almost in order.  A leaf comes after the
 * overflow pages of its rows, which stand behind it, and a page of an index
 * when it is full:
 *
 *   database   page 1 ........ | 91 | 92 |    | 94 | 95 | 96 |    |    |
 *                              |-------------- window ------------------|
 *              written before    ... of which runs are written, each by one
 * call
 *
 * A page in the window is kept there; one behind it moves the window there,
 * after what is in it was written; all else is written at once.  Reads of pages
 * that are in it, syncs, truncations and sizes write it first.  So does the end
 * of a transaction, of which SQLite tells even where it does not sync: a COMMIT
 * fails with the write that failed.
 *
 * Nobody else knows the file, and what was rolled back is written over or cut
 * off by SQLite: nothing has to be forgotten.
 */

#ifndef SQLBLOCK_VFS_NEW_H
#define SQLBLOCK_VFS_NEW_H

#include <stdint.h>

#include <sqlite3.h>

struct vfs_file;

/* A parameter of the URI of a database says that it is being made. */
#define VFS_NEW_PARAMETER "new"

/* FILE, a database, is to be opened as NAME: have a window, if it is being
 * made.  Returns an SQLite result code, as all below.
 */
int vfs_new_open (struct vfs_file *file, const char *name);

/* SQLite writes to it. */
int vfs_new_on_write (struct vfs_file *file, const void *data, int count,
                      int64_t offset);

/* Write what is in the window: before SQLite reads COUNT bytes from OFFSET on,
 * if some of them are there; and before all else that looks at the file.
 */
int vfs_new_before_read (struct vfs_file *file, int count, int64_t offset);
int vfs_new_write_out (struct vfs_file *file);

void vfs_new_close (struct vfs_file *file);

#endif /* SQLBLOCK_VFS_NEW_H */

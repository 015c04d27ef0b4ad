/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the VFSs of vfs-ahead.h, vfs-checksum.h, vfs-gather.h, vfs-restart.h
 * and vfs-room.h do not change.
 *
 *   SQLite ──► our handle ──► the file of the VFS below
 *
 * A file of ours begins with a struct pass_file.  These methods call the one
 * of the file below.
 */

#ifndef SQLBLOCK_VFS_PASS_H
#define SQLBLOCK_VFS_PASS_H

#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

struct pass_file {
  sqlite3_file base;
  sqlite3_file *below;
};

/* The methods of a file of which nothing is changed.  Version 2: a page in
 * mapped memory would pass by those who change something.
 */
extern const sqlite3_io_methods pass_methods;

/* Those that others call in theirs. */
int pass_close (sqlite3_file *file);
int pass_write (sqlite3_file *file, const void *data, int count,
                sqlite3_int64 offset);
int pass_truncate (sqlite3_file *file, sqlite3_int64 size);
int pass_sync (sqlite3_file *file, int flags);
int pass_file_size (sqlite3_file *file, sqlite3_int64 *size);
int pass_file_control (sqlite3_file *file, int operation, void *argument);
int pass_device_characteristics (sqlite3_file *file);
int pass_lock (sqlite3_file *file, int level);
int pass_unlock (sqlite3_file *file, int level);
int pass_shm_map (sqlite3_file *file, int region, int size, int extend,
                  void volatile **memory);
int pass_shm_unmap (sqlite3_file *file, int remove);
int pass_shm_lock (sqlite3_file *file, int offset, int count, int flags);

/* Learn the page size from the header of FILE, a log that others began. */
int pass_log_page_size (struct pass_file *file, int64_t *page_size);

/* Open NAME by BELOW, behind the SIZE bytes of FILE, which is all zeroes but
 * for what is its own, and give it METHODS, unless there is no file then.
 * Returns an SQLite result code.
 */
int pass_open (sqlite3_vfs *below, const char *name, struct pass_file *file,
               size_t size, const sqlite3_io_methods *methods, int flags,
               int *out_flags);

/* Make VFS one that is called NAME and lies above BELOW, with handles of
 * SIZE bytes and then those of BELOW, and make it known to SQLite.  Returns
 * an SQLite result code.
 */
int pass_register (sqlite3_vfs *vfs, sqlite3_vfs *below, const char *name,
                   int size,
                   int (*open) (sqlite3_vfs *vfs, const char *name,
                                sqlite3_file *file, int flags, int *out_flags));

#endif /* SQLBLOCK_VFS_PASS_H */

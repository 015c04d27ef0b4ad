/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Our VFS: what stands between SQLite and the files of a database.
 *
 *                           SQLite
 *              a database       │       its log
 *            ┌──────────────────┴──────────────────┐
 *     vfs-checksum.h                        vfs-gather.h
 *       a checksum for each page              writes appends at once
 *     vfs-ahead.h                           vfs-room.h
 *       reads several pages at once           makes that room, and its own
 *     vfs-restart.h                                │
 *       guards when the log starts over            │
 *     vfs-room.h                                   │
 *       has room for what is in the log            │
 *     vfs-new.h                                    │
 *       writes pages of a new one together         │
 *            └──────────────────┬──────────────────┘
 *                               ▼
 *             the VFS below: what was the default one; for a database
 *             on a cluster, another VFS of ours (process.h)
 *
 * There is one VFS for each of these two, and one struct vfs_file (vfs-file.h)
 * for each open file, of which each part has some.  Other files are those of
 * the VFS below.  Reading ahead is for connections that never write, and
 * gathering, of pages or of what goes to the log, for those whose URI asks for
 * it; a part that has nothing to do changes nothing.
 *
 * Who acts on a call, in this order, where "file" is the one below.  Who calls
 * others has them in brackets.
 *
 *                a database                          its log
 *   xOpen        room, new, file, room, ahead        gather, room, file
 *   xRead        new, checksum (ahead (file))        gather, file
 *   xWrite       checksum, restart, new (file)       gather (room (file))
 *   xTruncate    new, room (file)                    gather, room (file)
 *   xSync        new, file, restart (file)           gather, file
 *   xFileSize    new, file                           gather, file
 *   xLock        file, restart
 *   xShmMap      room (file)
 *   xShmLock     restart, file, room, restart, ahead
 *   xShmUnmap    restart, file
 *   xClose       restart, checksum, ahead, new,      gather, room, file
 *                file, room
 *
 * - The checksum is the first to see a page: what is read ahead, and what is
 *   written later (restart), are bytes as they are in the file.
 * - Before all others, a page of either file may be shown to SQLite that does
 *   not stand there (freelist.h).
 * - Room is made when bytes reach the log's file, not when they are gathered.
 * - The room of a checkpoint is filled under SQLite's lock of checkpoints, and
 *   before restart looks for a read mark, which may take a while.
 *
 * - On a cluster room does nothing: there is nothing to allocate.
 *
 * What lies below is chosen here, and nowhere else.  Besides what SQLite asks
 * of it, it must have shared memory for the log's index (restart), and files
 * that can be opened by their names (room).
 */

#ifndef SQLBLOCK_VFS_H
#define SQLBLOCK_VFS_H

#define VFS_NAME         "sqlblock"
#define VFS_CLUSTER_NAME "sqlblock-cluster"

/* Make the VFS known to SQLite, above the VFS that is the default now.
 * Returns an SQLite result code.  Thread rules: called once.
 */
int vfs_register (void);

/* The same for databases on clusters, above the VFS of process.h, which is
 * known.
 */
int vfs_register_cluster (void);

#endif /* SQLBLOCK_VFS_H */

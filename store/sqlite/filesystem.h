/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* On what kind of file system does a file lie?
 *
 * SQLite's log needs memory that all who use the database share, and locks
 * that all of them see ("Limitations" in SQLite's wal.html).  One kernel
 * gives that to its own programs; it cannot give it to another machine that
 * has the same files.  Nothing tells for sure whether one has: so the file
 * systems are known here that lie on this machine's own storage or in its
 * memory, by the number that statfs(2) gives.  All others, and all that
 * nobody has heard of yet, count as shared.
 *
 *   ext4, xfs, btrfs, tmpfs ...   this machine's own
 *   overlay                       counts as its own: the layers below must
 *                                 not be changed by others ("Changes to
 *                                 underlying filesystems" in the kernel's
 *                                 overlayfs.rst), wherever they lie
 *   fuse, 9p, nfs, cifs, ceph,    may be shared: sshfs, virtiofs and the
 *   gfs2, ocfs2, lustre ...       folders of virtual machines are such
 */

#ifndef SQLBLOCK_FILESYSTEM_H
#define SQLBLOCK_FILESYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Say that no other machine has the databases open that this process uses:
 * all file systems then count as this machine's own.  Thread rules: called
 * before anything is opened.
 */
void filesystem_set_one_machine (bool one_machine);

/* Is the file or directory PATH, or one of that kind, used by this machine
 * only, as far as that is known or was said?  What cannot be looked at is
 * not.  Thread rules, of this and of all others: any thread.
 */
bool filesystem_is_own (const char *path);

/* Fail with EROFS for a file or directory PATH for which filesystem_is_own is
 * false, and say which file system that is, and what can be done.
 */
int filesystem_fail_shared (const char *path, struct status *status);

/* Has the file PATH several names (hard links)?  What a file system of others
 * keeps in mind of that may be old, so it is asked before it counts.
 */
bool filesystem_has_links (const char *path);

/* Is the file PATH itself a mount point, so that its name is one of several
 * and the directory around it not the one that it lies in?  Before Linux 5.8
 * nothing tells.
 */
bool filesystem_is_mount_point (const char *path);

/* Does the file system of DESCRIPTOR tell the truth about holes
 * (lseek(2), SEEK_HOLE), also about data that it has only in memory?  Those for
 * which that is known do; in zfs it was wrong for years.
 */
bool filesystem_knows_holes (int descriptor);

/* How many bytes are free for this user in the file system of PATH; UINT64_MAX
 * where that cannot be found out.
 */
uint64_t filesystem_free (const char *path);

/* Does ERROR say that there is no space, or that a quota is used up? */
bool filesystem_is_full (int error);

/* Allocate blocks for what FD has from FROM to END, bytes, where it has none;
 * MODE is that of fallocate(2).  xfs wants as much free space as if there
 * were none at all, and refuses else: then only what is missing is asked for.
 * Returns 0, or an errno.
 */
int filesystem_allocate (int fd, int mode, int64_t from, int64_t end);

/* Can nobody change the file PATH, as it is now: is its file system mounted
 * read-only everywhere, which a read-only bind mount is not, or is the file
 * immutable (chattr(1))?
 */
bool filesystem_is_unchangeable (const char *path);

#endif /* SQLBLOCK_FILESYSTEM_H */

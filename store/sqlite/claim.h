/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One name per database: whoever uses the log claims the file itself.
 *
 * SQLite finds the log by the name of the database.  A file with two names, by
 * a hard link or since it is mounted alone at another place, has two logs,
 * whose pages end up in one file.  Neither SQLite nor guard.h sees that: what
 * they lock lies beside the name.  So the file itself is locked, in bytes that
 * SQLite does not know, and which byte it is depends on the name:
 *
 *   the database         2^62                2^62 + 2^40          2^62 + 2^41
 *   | pages | ... SQLite's |  R .............. | .. W ............. |
 *                             a byte for each    a byte for each
 *                             name: who reads    name: who writes
 *
 * The byte of a name is the hash of the directory's device and inode and of the
 * name in it, once symbolic links have been followed: so all who share a log,
 * and only they, have the same.  Each locks its own byte, shared, and *then*
 * looks whether anybody has another one.  Of two that begin at the same time
 * the later one therefore sees the other; perhaps both do.
 *
 *   who reads with the log   locks R        fails where another name has W
 *   who writes               locks R and W  fails where another name has R, W
 *   who reads without (watch.h)             looks again and again for W
 *
 * A file that has been renamed under those who have it open has another name
 * as well, and a new log: who comes by the new one is refused until they end.
 *
 * These are open-file-description locks (F_OFD_SETLK in fcntl(2)), which end
 * with the process.  But closing *any* descriptor of the database drops all
 * locks of SQLite in this process (sqlite.org/howtocorrupt, section 2.2).  So
 * there is one descriptor for each file (device and inode) in the process,
 * opened before SQLite's first one and closed after its last: connection.c
 * takes a claim before it opens a connection and releases it afterwards.  To
 * find out which file a name means, it is opened with O_PATH, which has no
 * locks that could be dropped.
 *
 * On a cluster a file has one name, and one process has it open: nothing is
 * claimed, and there is no descriptor.
 *
 * Other programs know nothing of this.  Therefore a file with several names is
 * not even begun to be written, and not read with a log, whoever has it open:
 * see claim_check_name.
 */

#ifndef SQLBLOCK_CLAIM_H
#define SQLBLOCK_CLAIM_H

#include <stdbool.h>
#include <sys/types.h>

#include "status.h"

struct claimed_file;

enum claim_kind {
  CLAIM_NONE,  /* only have the descriptor */
  CLAIM_READ,  /* read, with the log */
  CLAIM_WRITE, /* write, and so read */
};

struct claim {
  struct claimed_file *file; /* NULL: nothing is claimed */
  enum claim_kind kind;
  off_t name; /* what stands for the name */
};

/* Claim the database PATH.  Returns 0, or -1: EROFS where claim_check_name
 * fails, EBUSY where it is in use under another name, EIO where it cannot be
 * opened.  Thread rules, of this and all others: any thread.
 */
int claim_take (struct claim *claim, const char *path, enum claim_kind kind,
                struct status *status);
void claim_release (struct claim *claim);

/* A descriptor of the file, to be looked at and read, and not to be closed. */
int claim_descriptor (const struct claim *claim);

/* Does somebody write the file under another name? */
bool claim_is_written_elsewhere (const struct claim *claim);

/* Does another process write the file of which FD is a descriptor, under any
 * name?
 */
bool claim_is_written (int fd);

/* Has anybody the file of which FD is a descriptor open, with its log, or has a
 * lock of SQLite on it?  Means something only while this process has not.
 */
bool claim_is_used (int fd);

/* Ask one of these two of the file PATH.  Returns 1, 0, or -1 where it cannot
 * be opened.
 */
int claim_ask (const char *path, bool (*ask) (int fd), struct status *status);

/* May the database PATH be used with a log?  Not if it has several names, or is
 * a mount point by itself, or may be another machine's as well (filesystem.h).
 * Returns 0, or -1 with EROFS and what can be done.
 */
int claim_check_name (const char *path, struct status *status);

#endif /* SQLBLOCK_CLAIM_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What went wrong, in words for a person and as an errno for a client.
 *
 * Functions of the store that can fail return -1 and fill a status that
 * their caller gave.  The innermost function says what happened; those
 * around it put in front what was being done to which disk:
 *
 *   disk 'web': writing 4096 bytes at offset 8192: the file system is full
 *   (SQLite: database or disk is full, code 13)
 *
 * This is the only place that knows what an SQLite result means.  Messages
 * go to logs and terminals: control characters, which names from hostile
 * files and clients may have, become '?'.
 */

#ifndef SQLBLOCK_STATUS_H
#define SQLBLOCK_STATUS_H

#include <stdbool.h>

struct sqlite3;

struct status {
  int error;    /* an errno */
  int sqlite;   /* the result of SQLite behind it, or SQLITE_OK */
  bool known;   /* the same was told before; it need not fill the log */
  bool changed; /* what the client has open has: it is to connect again */
  char message[1000];
};

/* Record a failure; always returns -1.  ERROR is an errno.  Thread rules:
 * none, a status belongs to its caller (this holds for all of this file).
 */
int status_fail (struct status *status, int error, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));

/* The same where what the client has open is not there any more as it was, so
 * that it sees what is there now only when it connects again.
 */
int status_fail_changed (struct status *status, int error, const char *text);

/* Record that there is no memory; always returns -1. */
int status_no_memory (struct status *status);

/* Record the failure RC of a call on DB, with SQLite's own message and
 * extended code behind the words of FORMAT; always returns -1.  DB may be
 * NULL when there is none.  The errno follows status_errno.
 */
int status_fail_sqlite (struct status *status, struct sqlite3 *db, int rc,
                        const char *format, ...)
    __attribute__ ((format (printf, 4, 5)));

/* Put words and ": " in front of the message; always returns -1. */
int status_prefix (struct status *status, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

/* Append NAME to the list with which the message ends.  Returns true when it
 * was long before: no more names are to follow.
 */
bool status_list_name (struct status *status, const char *name);

/* The errno for an SQLite result code (simple or extended): one of those
 * that the NBD protocol can carry ("Error values" in its doc/proto.md), or
 * EROFS, which nbdkit sends as EPERM.
 */
int status_errno (int rc);

/* Is STATUS a failure of SQLite that damage of the file or its medium causes?
 */
bool status_is_damage (const struct status *status);

#endif /* SQLBLOCK_STATUS_H */

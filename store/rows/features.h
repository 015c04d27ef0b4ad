/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a program must know to use a file, or one disk of it: the table feature,
 * see schema.sql.
 *
 *   class           a program that does not know the name
 *   1  ignorable    goes on
 *   2  read-only    changes nothing
 *   3  refuse, and  leaves it alone
 *      any other
 *
 * What this program knows are contents, which blocks share, and the codecs that
 * it was built with.  It cannot keep off one disk alone yet, so what another
 * program has said of a disk counts for the file.
 */

#ifndef SQLBLOCK_FEATURES_H
#define SQLBLOCK_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* The classes of this format. */
enum feature_class {
  FEATURE_IGNORABLE = 1,
  FEATURE_READ_ONLY = 2,
  FEATURE_REFUSE = 3
};

/* Does this program know the feature NAME?  NULL is none. */
bool features_know (const char *name);

/* Fail where the file has a feature that keeps this program off, or keeps it
 * from writing, if WRITE: ENOTSUP or EROFS.  Returns 0 or -1.  Thread rules,
 * here and below: those of the connection.
 */
int features_check (struct connection *connection, bool write,
                    struct status *status);

/* Whoever does not know the feature NAME is to refuse the file from now on;
 * NULL is none.  In a transaction.  Returns 0 or -1.
 */
int features_add (struct connection *connection, const char *name,
                  struct status *status);

/* The disk goes; so do its rows.  In a transaction.  Returns 0 or -1. */
int features_drop (struct connection *connection, int64_t disk,
                   struct status *status);

/* Disk TO is a clone of FROM, and gets its rows.  In a transaction.  Returns 0
 * or -1.
 */
int features_clone (struct connection *connection, int64_t from, int64_t to,
                    struct status *status);

#endif /* SQLBLOCK_FEATURES_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional about a disk and a snapshot, on its way to another file or
 * from one: their properties, but for those that stay where they are, and the
 * features of the disk.  This program need not know any of them.
 *
 * A feature that is not known goes along too, so that who gets the disk keeps
 * off, if he does not know it, as far as he would have here.  He does not
 * take a disk that he could not even read (class 3, or a class that is not
 * known); nor, into a disk that he has, what changed of one that he could not
 * write (class 2): from then on he could not even delete it.
 */

#ifndef SQLBLOCK_CARRIED_H
#define SQLBLOCK_CARRIED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/optional.h"
#include "sqlite/connection.h"
#include "status.h"

/* Add to LIST what goes with SNAPSHOT of DISK (ids), in the order that a stream
 * wants, and without WHOLE of the properties of the disk only the one that
 * tells the key of an encrypted one.  Those whose rows are damaged stay.
 * Returns 0, or -1: EIO where a feature is damaged, or what is about
 * encryption, or there are more than one owner can have.  Thread rules, here
 * and below: those of the connection.
 */
int carried_read (struct connection *connection, int64_t disk, int64_t snapshot,
                  bool whole, struct optional *list, struct status *status);

/* Fail with ENOTSUP where this program cannot take a disk with the features of
 * LIST; with CHANGES it is there already, and is to be changed.
 */
int carried_check (const struct optional *list, bool changes,
                   struct status *status);

/* Give DISK and SNAPSHOT what LIST has.  In a transaction, and at its end: a
 * feature may then keep this program off.  Returns 0 or -1.
 */
int carried_put (struct connection *connection, int64_t disk, int64_t snapshot,
                 const struct optional *list, struct status *status);

#endif /* SQLBLOCK_CARRIED_H */

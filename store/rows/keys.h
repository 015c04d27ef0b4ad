/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How a disk is encrypted (encryption.h): its properties, and its feature, so
 * that who does not know them keeps off.
 */

#ifndef SQLBLOCK_KEYS_H
#define SQLBLOCK_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/optional.h"
#include "base/types.h"
#include "base/optional.h"
#include "encryption.h"
#include "sqlite/connection.h"
#include "status.h"

/* Read what disk ID has.  Slots that are damaged are ENCRYPTION_DAMAGED.
 * Returns 0, or -1: EIO where the rest is damaged or lost.  Thread rules, here
 * and below: those of the connection.
 */
int keys_read (struct connection *connection, int64_t id,
               struct encryption *encryption, struct status *status);

/* The same for who opens the disk INFO, with a SECRET or without any.  Where
 * the properties cannot be read, without one a disk whose features do not say
 * that it is encrypted counts as one that is not.
 */
int keys_read_to_open (struct connection *connection,
                       const struct disk_info *info, bool secret,
                       struct encryption *encryption, struct status *status);

/* Say that a disk is encrypted, and does not say how; returns -1. */
int keys_fail_lost (struct status *status);

/* Take from LIST, the properties of a disk, what is about its encryption; the
 * same.  Thread rules: any thread.
 */
int keys_gather (const struct optional *list, struct encryption *encryption,
                 struct status *status);

/* Disk ID, which is new, is encrypted as HEADER says, with SLOT as the first.
 * In a transaction.  Returns 0 or -1.
 */
int keys_put (struct connection *connection, int64_t id, const char *header,
              const char *slot, struct status *status);

/* Disk ID, which is new, is encrypted as FROM is, if that is.  The same; EIO
 * where a slot is damaged, which the copy would not have.
 */
int keys_copy (struct connection *connection, int64_t from, int64_t id,
               struct status *status);

/* Does a property say how disk ID is encrypted, also where the feature that it
 * has then is lost?  Where properties cannot be read it does not; nor in a
 * transaction that writes, which SQLite would roll back for that.  Returns 1,
 * 0, -1.
 */
int keys_has_header (struct connection *connection, int64_t id,
                     struct status *status);

/* Is all about the encryption of disk ID whole?  Returns 0, or -1 and EIO. */
int keys_check (struct connection *connection, int64_t id,
                struct status *status);

/* Disk ID, which is new, is encrypted as LIST says, which came with it, if that
 * says so: the slots that it has go.  As keys_put; EINVAL where LIST does not
 * say how.
 */
int keys_take (struct connection *connection, int64_t id,
               const struct optional *list, struct status *status);

/* Fail with EINVAL unless disk ID is encrypted as LIST, which comes with
 * changes for it, says: with the same key, or both not.
 */
int keys_match (struct connection *connection, int64_t id,
                const struct optional *list, struct status *status);

/* Slot NUMBER of disk ID gets TEXT, or for "" is removed, if it has BEFORE.  In
 * a transaction.  Returns 0, or -1: EBUSY where it has not; EPERM where no slot
 * would be left.
 */
int keys_set_slot (struct connection *connection, int64_t id, unsigned number,
                   const char *before, const char *text, struct status *status);

#endif /* SQLBLOCK_KEYS_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How a disk is encrypted (encryption.h): its properties, and its feature, so
 * that who does not know them keeps off.
 */

#ifndef SQLBLOCK_KEYS_H
#define SQLBLOCK_KEYS_H

#include <stdint.h>

#include "base/optional.h"
#include "encryption.h"
#include "sqlite/connection.h"
#include "status.h"

/* Read what disk ID has.  Slots that are damaged are left out.  Returns 0, or
 * -1: EIO where the rest is damaged or lost.  Thread rules, here and below:
 * those of the connection.
 */
int keys_read (struct connection *connection, int64_t id,
               struct encryption *encryption, struct status *status);

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

/* Disk ID, which is new, is encrypted as FROM is, if that is.  The same. */
int keys_copy (struct connection *connection, int64_t from, int64_t id,
               struct status *status);

/* Slot NUMBER of disk ID gets TEXT, or for "" is removed, if it has BEFORE.  In
 * a transaction.  Returns 0, or -1: EBUSY where it has not; EPERM where no slot
 * would be left.
 */
int keys_set_slot (struct connection *connection, int64_t id, unsigned number,
                   const char *before, const char *text, struct status *status);

#endif /* SQLBLOCK_KEYS_H */

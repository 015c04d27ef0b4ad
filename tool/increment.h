/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* import --increment: what changed between two snapshots, from an export
 * DISK@A..B or from a file in which an NBD client has kept it.
 */

#ifndef SQLBLOCK_INCREMENT_H
#define SQLBLOCK_INCREMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "manage.h"
#include "status.h"
#include "store.h"

struct increment_source;

/* Open NAME: the URI of an export, or a file with NAME.map beside it.  PATIENCE
 * is in seconds, for a server that does not answer (nbd-export.h).  Returns
 * NULL on failure: EINVAL for what is no increment.
 */
struct increment_source *increment_source_open (const char *name,
                                                unsigned patience,
                                                struct status *status);
void increment_source_close (struct increment_source *source);

/* What it is between. */
const struct increment_ends *
increment_source_ends (const struct increment_source *source);

/* Is it a file of the database PATH? */
bool increment_source_is_of (const struct increment_source *source,
                             const char *path);

/* Apply it to INCOMING->disk, which must be at its beginning, or make that disk
 * where it begins with nothing.  INCOMING says what a new disk is to be like,
 * and the rest is filled in.  Returns 0, or -1 with nothing changed: EINVAL
 * where the disk is not at its beginning, EEXIST where it is at its end.
 */
int increment_apply (struct store *store, struct increment_source *source,
                     struct manage_incoming *incoming, struct status *status);

#endif /* SQLBLOCK_INCREMENT_H */

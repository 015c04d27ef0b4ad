/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a name, a text, a size and a block size may be, whether a user says them
 * or a row that may be damaged.  Thread rules: any thread.
 */

#ifndef SQLBLOCK_SANE_H
#define SQLBLOCK_SANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/types.h"
#include "status.h"

/* Is TEXT valid UTF-8 without control characters? */
bool sane_text (const char *text);

/* Check that TEXT can be WHAT, "the name of a disk": not empty, at most MOST
 * bytes, UTF-8 without '@', '/' and control characters.  Returns 0, or -1
 * and EINVAL.
 */
int sane_check (const char *what, const char *text, size_t most,
                struct status *status);

/* Can NAME, from a row, be that of a disk or a snapshot of at most MOST bytes,
 * or of one that belongs to a copy and has a '/'?  NULL cannot.
 */
bool sane_name (const char *name, size_t most);

/* Are these a size and a block size to calculate with? */
bool sane_geometry (int64_t size, int64_t block_size);

/* Is this a power of two from DISK_BLOCK_SIZE_MIN to DISK_BLOCK_SIZE_MAX? */
bool sane_block_size (int64_t bytes);

/* Can TEXT be the description of a disk? */
bool sane_description (const char *text);

/* Can KEY, from a row or a stream, be that of a property or the name of a
 * feature: a text of 1 to 200 bytes?  NULL cannot.
 */
bool sane_key (const char *key);

/* Check that KEY can be that of a new property: a text of at most 200 bytes
 * with something behind its colon, if it has one.  Returns 0, or -1 and EINVAL.
 */
int sane_check_key (const char *key, struct status *status);

/* Check what the user asks: name, description, size, block size and properties
 * have permitted values.  Returns 0, or -1 and EINVAL.
 */
int sane_check_options (const struct disk_options *options,
                        struct status *status);

/* Check that NAME can be the name of a new snapshot.  Returns 0, or -1 and
 * EINVAL.
 */
int sane_check_snapshot (const char *name, struct status *status);

#endif /* SQLBLOCK_SANE_H */

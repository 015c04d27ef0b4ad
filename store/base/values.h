/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Sizes and choices as people write them, to the plugin and to the command.
 *
 * nbdkit has such functions, too, but what they take differs between its
 * versions: 010M is 10 MiB for one and 8 MiB for another.  Here numbers are
 * decimal, whatever they begin with.  Spans of time are read by times.h.
 */

#ifndef SQLBLOCK_VALUES_H
#define SQLBLOCK_VALUES_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* Read a size: 512, 4k, 1.5G, 10G; k M G T P E are powers of 1024, s is 512
 * bytes, b a byte.  Returns false where it is none or has more than 63 bits.
 * Thread rules: any thread (this holds for all of this file).
 */
bool values_parse_size (const char *text, uint64_t *bytes);

/* The same for WHAT, "a size of a disk", which is not 0.  Returns 0, or -1 and
 * EINVAL.
 */
int values_size (const char *what, const char *text, uint64_t *bytes,
                 struct status *status);

/* The size of a disk, and that of its blocks, which sane_check_options looks
 * at.  They return 0, or -1 and EINVAL.
 */
int values_disk_size (const char *text, uint64_t *bytes, struct status *status);
int values_block_size (const char *text, uint32_t *bytes,
                       struct status *status);

/* A quota: a size, or "none" (QUOTA_NONE).  Returns 0, or -1 and EINVAL. */
int values_quota (const char *text, uint64_t *bytes, struct status *status);

/* A limit for each second: a number more than 0, written as a size, or "none"
 * (0).  Returns 0, or -1 and EINVAL.
 */
int values_limit (const char *text, uint64_t *number, struct status *status);

/* Read on, true, t, yes, y, 1 or off, false, f, no, n, 0.  Returns 0, or -1 and
 * EINVAL.
 */
int values_choice (const char *text, bool *on, struct status *status);

#endif /* SQLBLOCK_VALUES_H */

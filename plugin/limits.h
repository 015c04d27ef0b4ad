/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How much a disk may be used: limit-requests= and limit-bytes=, a second each.
 *
 * All clients of a disk, its snapshots and increments share two buckets of
 * tokens, which hold what one second brings.  A request waits, in nbdkit's own
 * thread, until neither is in debt, and then takes what it needs, which may be
 * more than there is:
 *
 *   limit-bytes=1M   |read 512k|read 512k|read 2M|....2 s....|read 4k|
 *
 * Reads, writes, prefetching, trims, zeroes and maps are requests; the first
 * three also move bytes.  Prefetching that would have to wait is left out.  A
 * flush does not wait here and costs nothing: a guest that waits for one longer
 * than it is used to takes its disk for broken, and what was written for it has
 * been paid.  But who waits has one of nbdkit's threads of the connection, 16
 * unless --threads says otherwise.  When they all wait, what is behind them,
 * a flush, too, has not begun; of other connections it has.
 *
 * The settings are looked at once a second, also by those who wait.
 */

#ifndef SQLBLOCK_LIMITS_H
#define SQLBLOCK_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "store.h"

struct limits;

/* The limits of disk ID, for one more client.  Returns NULL on failure, also
 * where they cannot be understood.  Thread rules, here and below: any thread of
 * a client.
 */
struct limits *limits_open (struct store *store, int64_t id,
                            struct status *status);
void limits_close (struct limits *limits);

/* Forget all of them.  Thread rules: when there are no clients. */
void limits_end (void);

/* Wait until a request of so many BYTES may begin.  Returns 0, or -1 where the
 * client has left meanwhile, or is OVER, or the server ends.
 */
int limits_wait (struct limits *limits, uint64_t bytes,
                 const atomic_bool *over);

/* Do not wait: may it begin now?  For what need not be done, and comes from
 * threads of filters, which wait for no client.
 */
bool limits_try (struct limits *limits, uint64_t bytes);

#endif /* SQLBLOCK_LIMITS_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the randomized checks share as clients: time, and several
 * connections with requests in flight.  See client.c.
 */

#ifndef SQLBLOCK_TESTS_CLIENT_H
#define SQLBLOCK_TESTS_CLIENT_H

#include <libnbd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CONNECTIONS 64

void sleep_microseconds (uint64_t);
uint64_t now_microseconds (void);

/* Connections to the one server; each request's completion callback runs
 * within connections_wait.
 */
struct connections {
  unsigned count;
  uint64_t idle; /* microseconds without a reply */
  struct nbd_handle *nbd[MAX_CONNECTIONS];
};
void connections_open (struct connections *, unsigned count);
void connections_wait (struct connections *, uint64_t microseconds);
void connections_drain (struct connections *);
void connections_close (struct connections *);

/* The index of the first byte in which A and B differ, or LENGTH. */
uint64_t first_difference (const char *a, const char *b, uint64_t length);

/* The whole disk, read on the first connection; the caller frees it. */
char *read_disk (struct connections *);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Asks what the store asks of a cluster before SQLite opens a database:
 *
 *   cluster find LOCATION [TIMEOUT]   prints "none" or "there", then "free", or
 *                                     "held" and the holder
 *   cluster await LOCATION            until nobody holds it
 *   cluster lease LOCATION CLIENT     is it CLIENT that holds it
 *   cluster memory LOCATION           prepares SQLite to open it, and prints
 * how much memory SQLite says that it has: 0, since it is not to count that
 *   cluster fence LOCATION CLIENT COOKIE ADDRESS
 *
 * What fails prints its errno and message and ends with 1.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/lease.h"
#include "cluster/rados.h"
#include "cluster/turn.h"
#include "sqlite/clustered.h"

static int
find (const char *path, unsigned timeout, struct status *status)
{
  struct rados_found found;

  if (rados_find (path, timeout, &found, status) == -1)
    return -1;
  printf ("%s", found.exists ? "there" : "none");
  if (found.held)
    printf (" held %s %s %s\n", found.holder.client, found.holder.cookie,
            found.holder.address);
  else
    printf (" free\n");
  return 0;
}

static void
ignore (const char *message)
{
  (void)message;
}

static int
await (const char *path, struct status *status)
{
  int r;

  clustered_set_takeover (ignore);
  r = clustered_await (path, status);
  if (r == 0)
    turn_end ();
  return r;
}

static int
lease (const char *path, const char *client, struct status *status)
{
  struct lease *lease = lease_start (path, client, ignore, status);

  if (lease == NULL)
    return -1;
  lease_stop (lease);
  return 0;
}

static int
memory (const char *path, struct status *status)
{
  if (clustered_look (path, status) == -1)
    return -1;
  printf ("%lld\n", (long long)sqlite3_memory_used ());
  return 0;
}

static int
fence (char **argv, struct status *status)
{
  struct lock_holder holder;

  snprintf (holder.client, sizeof holder.client, "%s", argv[3]);
  snprintf (holder.cookie, sizeof holder.cookie, "%s", argv[4]);
  snprintf (holder.address, sizeof holder.address, "%s", argv[5]);
  return rados_fence (argv[2], 10, &holder, status);
}

int
main (int argc, char **argv)
{
  struct status status;
  int r = 2;

  if (argc >= 3 && strcmp (argv[1], "find") == 0)
    r = find (argv[2], argc > 3 ? atoi (argv[3]) : 10, &status);
  else if (argc == 3 && strcmp (argv[1], "await") == 0)
    r = await (argv[2], &status);
  else if (argc == 4 && strcmp (argv[1], "lease") == 0)
    r = lease (argv[2], argv[3], &status);
  else if (argc == 3 && strcmp (argv[1], "memory") == 0)
    r = memory (argv[2], &status);
  else if (argc == 6 && strcmp (argv[1], "fence") == 0)
    r = fence (argv, &status);
  if (r == -1)
    printf ("%s: %s\n", strerrorname_np (status.error), status.message);
  return r == 0 ? 0 : r == -1 ? 1 : r;
}

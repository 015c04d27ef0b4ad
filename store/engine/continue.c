/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server tells of itself and of a disk, so that whoever has the disk
 * attached knows after a break whether to go on: see base/lineage.h.
 *
 * The boot is that of the kernel, since what was acknowledged is in its page
 * cache: it survives this process, and whatever container that runs in.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "base/optional.h"
#include "engine/engine.h"
#include "engine/store-parts.h"
#include "rows/properties.h"
#include "store.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Without one nothing is known to continue. */
static int
read_boot (struct lineage *lineage, struct status *status)
{
  FILE *file = fopen (BOOT_ID, "re");
  bool is_read = file && fgets (lineage->boot, sizeof lineage->boot, file);

  if (file)
    fclose (file);
  if (!is_read)
    return status_fail (status, EIO,
                        "cannot read " BOOT_ID
                        ", which tells when this machine was started");
  lineage->boot[strcspn (lineage->boot, "\n")] = '\0';
  return 0;
}

/* The same number for as long as this process lives. */
static char run[33];
static pthread_once_t run_is_made = PTHREAD_ONCE_INIT;

static void
make_run (void)
{
  unsigned char bytes[16];

  sqlite3_randomness (sizeof bytes, bytes);
  for (size_t at = 0; at < sizeof bytes; at++)
    snprintf (run + 2 * at, 3, "%02x", bytes[at]);
}

static int
read_id (struct connection *connection, struct lineage *lineage,
         struct status *status)
{
  struct optional list = { 0 };
  int r = properties_read (connection, PROPERTY_FILE, 0, &list, status);

  lineage->database[0] = '\0';
  for (size_t i = 0; r == 0 && i < list.property_count; i++) {
    const struct property *property = &list.properties[i];

    if (strcmp (property->key, "id") != 0 || property->type != PROPERTY_BYTES ||
        property->length != 16)
      continue;
    for (size_t at = 0; at < property->length; at++)
      snprintf (lineage->database + 2 * at, 3, "%02x",
                (unsigned char)property->bytes[at]);
  }
  optional_free (&list);
  return r;
}

int
store_lineage (struct store *store, const char *name, struct lineage *lineage,
               struct status *status)
{
  const struct place *place = &store->connections.place;
  struct disk_info info;

  if (store_find (store, name, &info, status) == -1 ||
      read_boot (lineage, status) == -1 ||
      STORE_READ (store, status, connection,
                  read_id (connection, lineage, status)) == -1)
    return -1;
  /* On a cluster a commit is there before it is acknowledged. */
  lineage->durable = store->options.durable || place->on_cluster;
  lineage->file[0] = '\0';
  if (!place->on_cluster)
    snprintf (lineage->file, sizeof lineage->file, "%ju:%ju",
              (uintmax_t)place->device, (uintmax_t)place->inode);
  pthread_once (&run_is_made, make_run);
  strcpy (lineage->run, run);
  lineage->disk = info.id;
  lineage->snapshot = info.snapshot;
  lineage->epoch = info.epoch;
  lineage->size = info.size;
  return 0;
}

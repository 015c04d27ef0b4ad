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
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "base/optional.h"
#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "engine/store-parts.h"
#include "rows/formats.h"
#include "rows/properties.h"
#include "rows/snapshots.h"
#include "sqlite/marking.h"
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

/* When was the file made, by the file system?  Another one that gets the same
 * inode was made at another time.
 */
static void
read_born (const struct place *place, struct lineage *lineage)
{
  struct statx file;

  lineage->born[0] = '\0';
  if (!place->on_cluster &&
      statx (AT_FDCWD, place->path, 0, STATX_INO | STATX_BTIME, &file) == 0 &&
      (file.stx_mask & STATX_BTIME) && file.stx_ino == place->inode)
    snprintf (lineage->born, sizeof lineage->born, "%ju:%jd.%09u",
              (uintmax_t)file.stx_ino, (intmax_t)file.stx_btime.tv_sec,
              (unsigned)file.stx_btime.tv_nsec);
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

/* Read what the file says: its id, and who told of it. */
static int
read_file (struct connection *connection, struct lineage *lineage,
           struct status *status)
{
  struct optional list = { 0 };
  const int r = properties_read (connection, PROPERTY_FILE, 0, &list, status);
  const struct property *id = optional_find_whole (&list, "id", PROPERTY_BYTES);
  const struct property *told =
      optional_find_whole (&list, PROPERTY_TOLD, PROPERTY_TEXT);

  lineage->database[0] = '\0';
  for (size_t at = 0; id && id->length == 16 && at < id->length; at++)
    snprintf (lineage->database + 2 * at, 3, "%02x",
              (unsigned char)id->bytes[at]);
  tellers_parse (told ? told->bytes : "", &lineage->told);
  optional_free (&list);
  return r;
}

/* Read what the database says of the disk or snapshot NAME. */
static int
read_disk (struct connection *connection, const char *name,
           struct lineage *lineage, struct status *status)
{
  struct optional list = { 0 };
  struct snapshot_info snapshot;
  struct disk_info disk;
  const struct property *shrunk;

  if (snapshots_find_target (connection, name, &disk, &snapshot, status) ==
          -1 ||
      properties_read (connection, PROPERTY_DISK, disk.id, &list, status) ==
          -1) {
    optional_free (&list);
    return -1;
  }
  shrunk = optional_find_whole (&list, PROPERTY_SHRUNK, PROPERTY_INTEGER);
  lineage->disk = disk.id;
  lineage->epoch = snapshot.id ? 0 : disk.epoch;
  lineage->snapshot = snapshot.id ? snapshot.guid : 0;
  lineage->size = snapshot.id ? snapshot.size : disk.size;
  lineage->shrunk = shrunk && snapshot.id == 0 ? shrunk->integer : 0;
  optional_free (&list);
  return read_file (connection, lineage, status);
}

/* Count that STORE tells of the database. */
static int
count (struct connection *connection, void *opaque, struct status *status)
{
  struct store *store = opaque;
  struct lineage lineage;
  char text[TELLERS_TEXT];
  uint64_t newcomer;

  if (read_file (connection, &lineage, status) == -1)
    return -1;
  sqlite3_randomness (sizeof newcomer, &newcomer);
  tellers_count (&lineage.told, &store->teller, newcomer);
  tellers_print (&lineage.told, text);
  return properties_set_text (connection, PROPERTY_FILE, 0, PROPERTY_TOLD, text,
                              status);
}

/* The same, if something was committed since.  Where it fails, what is told is
 * what was told before, which is right as well.
 */
static void
count_if_new (struct store *store)
{
  const uint64_t commits = store_commits (store);
  struct status ignored;
  int r;

  if (commits == atomic_load (&store->told_commits))
    return;
  r = store->options.durable ? store_change (store, count, store, &ignored)
                             : store_step (store, count, store, &ignored);
  if (r == 0)
    atomic_store (&store->told_commits, commits + 1);
}

int
store_forget_told (struct store *store, struct status *status)
{
  struct connection connection;
  int64_t format;
  int r;

  if (STORE_READ (store, status, reading,
                  formats_number (reading, &format, status)) == -1)
    return -1;
  /* Those before have told nobody anything. */
  if (formats_is_older (format))
    return 0;
  if (store_connect (store, &connection, status) == -1)
    return -1;
  r = marking_begin (&connection, status);
  if (r == 0 && (properties_set_text (&connection, PROPERTY_FILE, 0,
                                      PROPERTY_TOLD, "", status) == -1 ||
                 connection_commit (&connection, status) == -1)) {
    connection_rollback (&connection);
    r = -1;
  }
  /* Nobody else may close the file. */
  if (r == 0 && checkpoint_complete (&connection, status) == -1)
    r = -1;
  connection_close (&connection);
  return r;
}

int
store_lineage (struct store *store, const char *name, struct lineage *lineage,
               struct status *status)
{
  const struct place *place = &store->connections.place;

  count_if_new (store);
  if (read_boot (lineage, status) == -1 ||
      STORE_READ (store, status, connection,
                  read_disk (connection, name, lineage, status)) == -1)
    return -1;
  /* On a cluster a commit is there before it is acknowledged. */
  lineage->durable = store->options.durable || place->on_cluster;
  lineage->file[0] = '\0';
  if (!place->on_cluster)
    snprintf (lineage->file, sizeof lineage->file, "%ju:%ju",
              (uintmax_t)place->device, (uintmax_t)place->inode);
  read_born (place, lineage);
  pthread_once (&run_is_made, make_run);
  strcpy (lineage->run, run);
  return 0;
}

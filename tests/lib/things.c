/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Disks and snapshots with all that they contain: see things.h. */

#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "block/checksum.h"
#include "rows/disks.h"
#include "rows/snapshots.h"
#include "things.h"

struct thing *
things_find (struct things *things, const char *name)
{
  for (size_t i = 0; i < things->count; i++)
    if (strcmp (things->all[i].name, name) == 0)
      return &things->all[i];
  return NULL;
}

static uint64_t
hash_of (const struct thing *thing)
{
  const uint64_t parts[] = {
    checksum_bytes (thing->name, strlen (thing->name)),
    thing->size,
    checksum_bytes (thing->bytes, thing->size),
  };

  return checksum_bytes (parts, sizeof parts);
}

/* A thing of SIZE bytes, which are to be filled in. */
static struct thing *
make (struct things *things, const char *name, uint64_t size)
{
  struct thing *thing = things_find (things, name);

  if (thing == NULL) {
    assert_true (things->count < THINGS_MOST);
    thing = &things->all[things->count++];
    *thing = (struct thing){ .size = 0 };
    assert_uint_in_range (
        snprintf (thing->name, sizeof thing->name, "%s", name), 1,
        sizeof thing->name - 1);
  }
  thing->bytes = realloc (thing->bytes, size);
  assert_non_null (thing->bytes);
  thing->size = size;
  return thing;
}

void
things_put (struct things *things, const char *name, const char *bytes,
            uint64_t size)
{
  struct thing *thing = make (things, name, size);

  memcpy (thing->bytes, bytes, size);
  thing->hash = hash_of (thing);
}

void
things_remove (struct things *things, const char *name)
{
  const size_t length = strlen (name);
  size_t kept = 0;

  for (size_t i = 0; i < things->count; i++) {
    const char *own = things->all[i].name;

    if (strncmp (own, name, length) == 0 &&
        (own[length] == '\0' || own[length] == '@'))
      free (things->all[i].bytes);
    else
      things->all[kept++] = things->all[i];
  }
  things->count = kept;
}

uint64_t
things_hash (const struct things *things)
{
  uint64_t sum = 0;

  for (size_t i = 0; i < things->count; i++)
    sum += things->all[i].hash;
  return sum;
}

void
things_free (struct things *things)
{
  for (size_t i = 0; i < things->count; i++)
    free (things->all[i].bytes);
  things->count = 0;
}

/*--------------------------------------------------------------------
 * Reading a store.
 */

/* Names that a list has told. */
struct names {
  const char *except;
  char all[THINGS_MOST][THING_NAME];
  size_t count;
};

static void
add_name (struct names *names, const char *disk, const char *snapshot)
{
  if (names->count == THINGS_MOST)
    fail_msg ("there are too many disks and snapshots");
  assert_uint_in_range (snprintf (names->all[names->count++], THING_NAME,
                                  "%s%s%s", disk, snapshot ? "@" : "",
                                  snapshot ? snapshot : ""),
                        1, THING_NAME - 1);
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  struct names *names = opaque;

  if (strcmp (info->name, names->except) != 0)
    add_name (names, info->name, NULL);
  return 0;
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  add_name (opaque, info->disk_name, info->name);
  return 0;
}

static void
read_thing (struct connection *connection, struct things *things,
            const char *name)
{
  struct snapshot_info snapshot;
  struct view view = { 0 };
  struct status status;
  struct disk_info disk;
  struct thing *thing;

  assert_ok (
      snapshots_find_target (connection, name, &disk, &snapshot, &status),
      &status);
  if (snapshot.id != 0)
    snapshots_as_disk (&snapshot, &disk);
  assert_ok (snapshots_view (connection, &disk, &view, &status), &status);
  view.key = unit_key;
  thing = make (things, name, disk.size);
  assert_ok (
      view_read (connection, &view, thing->bytes, 0, thing->size, &status),
      &status);
  thing->hash = hash_of (thing);
  view_free (&view);
}

void
things_read (struct connection *connection, const char *except,
             struct things *things)
{
  struct names names = { .except = except };
  struct status status;

  assert_ok (disks_list (connection, add_disk, &names, &status), &status);
  assert_ok (snapshots_list (connection, 0, add_snapshot, &names, &status),
             &status);
  things->count = 0;
  for (size_t i = 0; i < names.count; i++)
    read_thing (connection, things, names.all[i]);
}

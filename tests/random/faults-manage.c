/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Faults while disks are managed: a part of the session of faults.c.
 *
 * The operations are those of the manager of power cuts.  What fails has
 * done all or nothing of it; it may be done where only the sync has failed.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "faults.h"
#include "manage.h"
#include "manager.h"
#include "things.h"
#include "engine/engine.h"

/* What there must be, and what the operation at hand makes of it. */
static struct things present, future;

/* The operation that is tried, and whether it is done. */
static const struct operation *operation;
static bool done;

/*--------------------------------------------------------------------
 * The model.
 */

static void
copy (struct things *things, const char *name, const char *from)
{
  const struct thing *thing = things_find (things, from);

  assert_non_null (thing);
  things_put (things, name, thing->bytes, thing->size);
}

static void
resize (struct things *things, const char *name, uint64_t size)
{
  const struct thing *thing = things_find (things, name);
  char *bytes = calloc (1, size);

  assert_non_null (thing);
  assert_non_null (bytes);
  memcpy (bytes, thing->bytes, size < thing->size ? size : thing->size);
  things_put (things, name, bytes, size);
  free (bytes);
}

/* What the operation makes of the target NAME. */
static void
apply (struct things *things, const char *name)
{
  char other[2 * THING_NAME];

  snprintf (other, sizeof other, "%s@%s", name, operation->name);
  switch (operation->kind) {
  case OPERATION_SNAPSHOT:
    copy (things, other, name);
    break;
  case OPERATION_CLONE:
    copy (things, operation->name, name);
    break;
  case OPERATION_ROLLBACK:
    *strchr (other, '@') = '\0';
    copy (things, other, name);
    break;
  case OPERATION_RESIZE:
    resize (things, name, operation->effects[0].size);
    break;
  case OPERATION_DELETE:
  case OPERATION_DELETE_SNAPSHOTS:
    things_remove (things, name);
    break;
  default:
    break;
  }
}

static void
copy_all (struct things *to, const struct things *from)
{
  things_free (to);
  for (size_t i = 0; i < from->count; i++)
    things_put (to, from->all[i].name, from->all[i].bytes, from->all[i].size);
}

/*--------------------------------------------------------------------
 * Doing and looking.
 */

static int
look (struct connection *connection, void *opaque, struct status *status)
{
  (void)status;
  things_read (connection, "", opaque);
  return 0;
}

/* What there is, as things_hash. */
static uint64_t
find (void)
{
  const bool counted = counting;
  struct things found = { .count = 0 };
  struct status status;
  uint64_t hash;

  counting = false;
  assert_ok (store_look (store, look, &found, &status), &status);
  counting = counted;
  hash = things_hash (&found);
  things_free (&found);
  return hash;
}

/* All or nothing is done. */
static void
operation_failed (void)
{
  const uint64_t found = find ();

  done = found == things_hash (&future);
  if (!done && found != things_hash (&present))
    fail_msg ("operation %d on %s is done in part", operation->kind,
              operation->targets[0]);
}

/* What is done cannot always be done once more. */
static int
run (struct status *status)
{
  return done ? 0 : operation_run (operation, store, status);
}

static void
manage (const struct operation *chosen)
{
  operation = chosen;
  done = false;
  copy_all (&future, &present);
  for (size_t i = 0; i < operation->targets_count; i++)
    apply (&future, operation->targets[i]);
  try ("an operation", run, operation_failed);
  copy_all (&present, &future);
  assert_int_equal (find (), things_hash (&present));
  if (done)
    flush_disk ();
}

static int
reclaim_all (struct status *status)
{
  return manage_reclaim (store, NULL, NULL, NULL, status);
}

static void
check_unchanged (void)
{
  assert_int_equal (find (), things_hash (&present));
}

static void
reclaim (void)
{
  try ("reclaiming", reclaim_all, check_unchanged);
  check_unchanged ();
}

static int
shrink_once (struct status *status)
{
  const struct operation shrink = { .kind = OPERATION_SHRINK };

  return operation_run (&shrink, store, status);
}

static void
shrink (void)
{
  try ("giving pages back", shrink_once, check_unchanged);
  check_unchanged ();
}

static void
write_blocks (uint64_t first, uint64_t count)
{
  write_disk (first * BLOCK, count * BLOCK, false);
  things_put (&present, "d", model, SIZE);
}

/*--------------------------------------------------------------------
 * The parts of the session.
 */

#define ONE(what, target, ...)                                                 \
  manage (&(const struct operation){ .kind = OPERATION_##what,                 \
                                     .targets = { target },                    \
                                     .targets_count = 1,                       \
                                     __VA_ARGS__ })
#define TWO(what, target, other, ...)                                          \
  manage (&(const struct operation){ .kind = OPERATION_##what,                 \
                                     .targets = { target, other },             \
                                     .targets_count = 2,                       \
                                     __VA_ARGS__ })

void
manage_in_server (void)
{
  things_put (&present, "d", model, SIZE);
  ONE (SNAPSHOT, "d", .name = "one");
  write_blocks (0, 12);
  ONE (SET, "d", .options = { .deduplicate = DISK_ON }, .recompress = true);
  ONE (CLONE, "d@one", .name = "clone");
  TWO (SNAPSHOT, "d", "clone", .name = "two");
  write_blocks (10, 4);
  ONE (RESIZE, "clone", .effects = { { .size = 60 * BLOCK + 5 } });
  ONE (RESIZE, "clone", .effects = { { .size = 90 * BLOCK } });
  ONE (ROLLBACK, "d@one");
  memcpy (model, things_find (&present, "d")->bytes, SIZE);
  reopen_disk ();
  write_blocks (30, 3);
  ONE (DELETE_SNAPSHOTS, "d@two");
  reclaim ();
  shrink ();
  ONE (SET, "d", .options = { .deduplicate = DISK_OFF }, .recompress = true);
  ONE (SET, "clone", .options = { .deduplicate = DISK_ON });
}

void
manage_in_command (void)
{
  ONE (CLONE, "d", .name = "other");
  write_blocks (31, 3);
  ONE (FLATTEN, "other");
  ONE (ROLLBACK, "clone@two");
  ONE (FLATTEN, "clone");
  TWO (DELETE_SNAPSHOTS, "d@one", "clone@two");
  reclaim ();
  shrink ();
  ONE (SNAPSHOT, "clone", .name = "three");
  ONE (DELETE, "clone");
  reclaim ();
}

void
check_managed (void)
{
  check_unchanged ();
  reclaim ();
  shrink ();
}

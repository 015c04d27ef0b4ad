/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The manager of a load: see manager.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "engine/engine.h"
#include "manage/manage-parts.h"
#include "manager.h"
#include "rows/properties.h"

/* How often each operation is chosen. */
static const int weights[OPERATIONS] = {
  [OPERATION_SNAPSHOT] = 8, [OPERATION_DELETE_SNAPSHOTS] = 4,
  [OPERATION_ROLLBACK] = 4, [OPERATION_CLONE] = 4,
  [OPERATION_WRITE] = 8,    [OPERATION_ZERO] = 2,
  [OPERATION_FLATTEN] = 3,  [OPERATION_RESIZE] = 3,
  [OPERATION_DELETE] = 2,   [OPERATION_RECLAIM] = 10,
  [OPERATION_SET] = 4,      [OPERATION_SHRINK] = 4,
  [OPERATION_DISCARD] = 3,  [OPERATION_UNDELETE] = 4,
};

/* Of names: none comes twice. */
static uint64_t counter;

/* What went to the trash since manager_begin, with what it had; one that is
 * there again has come back.
 */
static struct things trash;

void
manager_begin (void)
{
  things_free (&trash);
}

static enum operation_kind
random_kind (uint64_t *random)
{
  int sum = 0, kind = 0;
  int64_t left;

  for (int i = 0; i < OPERATIONS; i++)
    sum += weights[i];
  left = random_below (random, sum);
  while ((left -= weights[kind]) >= 0)
    kind++;
  return kind;
}

/* A random thing: a disk or a snapshot, or NULL where there is none. */
static struct thing *
random_thing (struct things *things, bool snapshot, uint64_t *random)
{
  const size_t start = random_below (random, THINGS_MOST);

  for (size_t i = 0; i < things->count; i++) {
    struct thing *thing = &things->all[(start + i) % things->count];

    if ((strchr (thing->name, '@') != NULL) == snapshot)
      return thing;
  }
  return NULL;
}

/* A random disk, which may be that of the clients. */
static struct thing *
random_disk (struct things *things, struct thing *disk, uint64_t *random)
{
  struct thing *other = random_thing (things, false, random);

  return other == NULL || random_below (random, 3) == 0 ? disk : other;
}

static void
set_name (char *name, const char *first, const char *second)
{
  assert_uint_in_range (snprintf (name, THING_NAME, "%s%s", first, second), 1,
                        THING_NAME - 1);
}

static void
add_target (struct operation *operation, const struct thing *thing)
{
  set_name (operation->targets[operation->targets_count++], thing->name, "");
}

static struct effect *
add_effect (struct operation *operation, const char *first, const char *second)
{
  struct effect *effect = &operation->effects[operation->effects_count++];

  set_name (effect->name, first, second);
  return effect;
}

/* A thing is made, or made another, which begins as FROM. */
static void
add_copy (struct operation *operation, const char *first, const char *second,
          const struct thing *from, const struct thing *disk)
{
  struct effect *effect = add_effect (operation, first, second);

  effect->bytes = from->bytes;
  effect->size = from->size;
  effect->taken = from == disk;
}

/*--------------------------------------------------------------------
 * Choosing.  Each returns false where it cannot be done.
 */

static bool
choose_snapshot (struct operation *operation, struct things *things,
                 struct thing *disk, uint64_t *random)
{
  struct thing *first = random_disk (things, disk, random);
  struct thing *other = random_thing (things, false, random);
  char end[THING_NAME];

  snprintf (operation->name, THING_NAME, "s%" PRIu64, ++counter);
  set_name (end, "@", operation->name);
  add_target (operation, first);
  add_copy (operation, first->name, end, first, disk);
  if (other && other != first && random_below (random, 2)) {
    add_target (operation, other);
    add_copy (operation, other->name, end, other, disk);
  }
  return true;
}

static bool
choose_delete_snapshots (struct operation *operation, struct things *things,
                         uint64_t *random)
{
  struct thing *first = random_thing (things, true, random);
  struct thing *other = random_thing (things, true, random);

  if (first == NULL)
    return false;
  add_target (operation, first);
  add_effect (operation, first->name, "");
  if (other != first) {
    add_target (operation, other);
    add_effect (operation, other->name, "");
  }
  return true;
}

/* Roll back to SNAPSHOT, too, unless its disk is among the effects. */
static void
add_rollback (struct operation *operation, const struct thing *snapshot)
{
  char name[THING_NAME];

  set_name (name, snapshot->name, "");
  *strchr (name, '@') = '\0';
  for (size_t i = 0; i < operation->effects_count; i++)
    if (strcmp (operation->effects[i].name, name) == 0)
      return;
  add_target (operation, snapshot);
  add_copy (operation, name, "", snapshot, NULL);
}

/* One disk, or two at once; the clients' is the first (operation_changes). */
static bool
choose_rollback (struct operation *operation, struct things *things,
                 const struct thing *disk, uint64_t *random)
{
  struct thing *snapshot = random_thing (things, true, random);
  struct thing *other = random_thing (things, true, random);
  const size_t length = strlen (disk->name);

  if (snapshot == NULL)
    return false;
  add_rollback (operation, snapshot);
  if (random_below (random, 2) &&
      (strncmp (other->name, disk->name, length) != 0 ||
       other->name[length] != '@'))
    add_rollback (operation, other);
  return true;
}

static bool
choose_clone (struct operation *operation, struct things *things,
              struct thing *disk, uint64_t *random)
{
  struct thing *source = random_thing (things, true, random);

  if (source == NULL || random_below (random, 2))
    source = random_disk (things, disk, random);
  snprintf (operation->name, THING_NAME, "c%" PRIu64, ++counter);
  add_target (operation, source);
  add_copy (operation, operation->name, "", source, disk);
  if (random_below (random, 2)) {
    source = random_disk (things, disk, random);
    snprintf (operation->second_name, THING_NAME, "c%" PRIu64, ++counter);
    add_target (operation, source);
    add_copy (operation, operation->second_name, "", source, disk);
  }
  return true;
}

/* A clone changes into what stands in the buffer, of SIZE bytes. */
static void
add_change (struct operation *operation, const struct thing *clone,
            uint64_t size)
{
  struct effect *effect = add_effect (operation, clone->name, "");

  add_target (operation, clone);
  operation->buffer = calloc (1, size);
  assert_non_null (operation->buffer);
  memcpy (operation->buffer, clone->bytes,
          size < clone->size ? size : clone->size);
  effect->bytes = operation->buffer;
  effect->size = size;
}

static bool
choose_write (struct operation *operation, struct things *things,
              uint64_t *random)
{
  struct thing *clone = random_thing (things, false, random);
  uint64_t left;

  if (clone == NULL)
    return false;
  add_change (operation, clone, clone->size);
  operation->offset = random_below (random, clone->size);
  left = clone->size - operation->offset;
  operation->count = 1 + random_below (random, left);
  operation->fua = random_below (random, 4) == 0;
  if (operation->kind == OPERATION_WRITE)
    random_fill (random, operation->buffer + operation->offset,
                 operation->count);
  else
    memset (operation->buffer + operation->offset, 0, operation->count);
  return true;
}

static bool
choose_resize (struct operation *operation, struct things *things,
               const struct thing *disk, uint64_t *random)
{
  struct thing *clone = random_thing (things, false, random);

  if (clone)
    add_change (operation, clone, 1 + random_below (random, disk->size));
  return clone != NULL;
}

static bool
choose_delete (struct operation *operation, struct things *things,
               uint64_t *random)
{
  struct thing *clone = random_thing (things, false, random);

  if (clone) {
    things_remove (&trash, clone->name);
    add_target (operation, clone);
    add_effect (operation, clone->name, "");
  }
  return clone != NULL;
}

/* The only snapshot of the disk NAME, or NULL; *COUNT says how many it has. */
static struct thing *
only_snapshot (struct things *things, const char *name, size_t *count)
{
  const size_t length = strlen (name);
  struct thing *found = NULL;

  *count = 0;
  for (size_t i = 0; i < things->count; i++) {
    struct thing *thing = &things->all[i];

    if (strncmp (thing->name, name, length) == 0 &&
        thing->name[length] == '@') {
      found = thing;
      ++*count;
    }
  }
  return found;
}

/* Into the trash goes what can come back as the effects of one operation. */
static bool
choose_discard (struct operation *operation, struct things *things,
                uint64_t *random)
{
  struct thing *clone = random_thing (things, false, random), *snapshot;
  size_t count;

  if (!clone)
    return false;
  snapshot = only_snapshot (things, clone->name, &count);
  things_remove (&trash, clone->name);
  if (count >= EFFECTS_MOST || trash.count + EFFECTS_MOST > THINGS_MOST)
    return false;
  things_put (&trash, clone->name, clone->bytes, clone->size);
  if (snapshot)
    things_put (&trash, snapshot->name, snapshot->bytes, snapshot->size);
  add_target (operation, clone);
  add_effect (operation, clone->name, "");
  return true;
}

static bool
choose_undelete (struct operation *operation, struct things *things,
                 uint64_t *random)
{
  struct thing *disk = random_thing (&trash, false, random), *snapshot;
  size_t count;

  if (!disk || things_find (things, disk->name) ||
      things->count + EFFECTS_MOST > THINGS_MOST)
    return false;
  add_target (operation, disk);
  add_copy (operation, disk->name, "", disk, NULL);
  snapshot = only_snapshot (&trash, disk->name, &count);
  if (snapshot)
    add_copy (operation, snapshot->name, "", snapshot, NULL);
  return true;
}

static bool
choose_set (struct operation *operation, struct things *things,
            struct thing *disk, uint64_t *random)
{
  static const char *const names[] = { "none", "lz4", "zstd" };
  struct disk_options *options = &operation->options;
  struct status status;

  add_target (operation, random_disk (things, disk, random));
  options->storing.deduplicate = random_below (random, 3) ? DISK_ON : DISK_OFF;
  if (compression_parse (names[random_below (random, 3)],
                         &options->storing.compression, &status) == -1)
    assert_int_equal (status.error, ENOTSUP);
  operation->recompress = random_below (random, 2);
  return true;
}

static bool
choose (struct operation *operation, struct things *things, struct thing *disk,
        uint64_t *random)
{
  switch (operation->kind) {
  case OPERATION_SNAPSHOT:
    return choose_snapshot (operation, things, disk, random);
  case OPERATION_DELETE_SNAPSHOTS:
    return choose_delete_snapshots (operation, things, random);
  case OPERATION_ROLLBACK:
    return choose_rollback (operation, things, disk, random);
  case OPERATION_CLONE:
    return choose_clone (operation, things, disk, random);
  case OPERATION_WRITE:
  case OPERATION_ZERO:
    return choose_write (operation, things, random);
  case OPERATION_FLATTEN:
    add_target (operation, random_disk (things, disk, random));
    return true;
  case OPERATION_RESIZE:
    return choose_resize (operation, things, disk, random);
  case OPERATION_DELETE:
    return choose_delete (operation, things, random);
  case OPERATION_DISCARD:
    return choose_discard (operation, things, random);
  case OPERATION_UNDELETE:
    return choose_undelete (operation, things, random);
  case OPERATION_SET:
    return choose_set (operation, things, disk, random);
  default:
    return true;
  }
}

void
operation_choose (struct operation *operation, struct things *things,
                  struct thing *disk, uint64_t *random)
{
  enum operation_kind kind = random_kind (random);

  if (things->count + EFFECTS_MOST > THINGS_MOST &&
      (kind == OPERATION_SNAPSHOT || kind == OPERATION_CLONE))
    kind = random_below (random, 2) ? OPERATION_DELETE
                                    : OPERATION_DELETE_SNAPSHOTS;
  *operation = (struct operation){ .kind = kind };
  if (!choose (operation, things, disk, random))
    operation->kind = OPERATION_RECLAIM;
}

void
operation_free (struct operation *operation)
{
  free (operation->buffer);
  *operation = (struct operation){ .active = false };
}

bool
operation_changes (const struct operation *operation, const char *disk)
{
  return operation->effects_count > 0 &&
         strcmp (operation->effects[0].name, disk) == 0;
}

bool
operation_is_durable (const struct operation *operation)
{
  return operation->fua || (operation->kind != OPERATION_WRITE &&
                            operation->kind != OPERATION_ZERO);
}

/*--------------------------------------------------------------------
 * Doing.
 */

static int
write_clone (const struct operation *operation, struct store *store,
             struct status *status)
{
  struct disk *disk = disk_open (store, operation->targets[0], false, status);
  int r;

  if (disk == NULL)
    return -1;
  if (operation->kind == OPERATION_WRITE)
    r = disk_write (disk, operation->buffer + operation->offset,
                    operation->offset, operation->count, operation->fua,
                    status);
  else
    r = disk_zero (disk, operation->offset, operation->count, operation->fua,
                   status);
  disk_close (disk);
  return r;
}

static int
set (const struct operation *operation, struct store *store,
     struct status *status)
{
  const char *disk = operation->targets[0];
  struct recompressed done;

  if (manage_set (store, disk, &operation->options, status) == -1)
    return -1;
  return operation->recompress
             ? recompress_disk (store, disk, NULL, NULL, &done, status)
             : 0;
}

/* Some pages at once, or all one by one, where few have to move or many. */
static int
shrink (struct store *store, struct status *status)
{
  static const uint64_t moves[] = { 0, 8, UINT64_MAX };
  struct shrinking shrinking = {
    .many = 2,
    .moves = moves[counter++ % 3],
  };

  if (manage_free_pages (store, &shrinking.pages, status) == -1)
    return -1;
  while (shrinking.pages.free > 0)
    if (manage_shrink_step (store, &shrinking, status) == -1)
      return -1;
  return 0;
}

static int
set_trash (struct connection *connection, void *opaque, struct status *status)
{
  (void)opaque;
  return properties_set_text (connection, PROPERTY_FILE, 0, "local:trash", "1h",
                              status);
}

static int
discard (struct store *store, const char *disk, struct status *status)
{
  struct trashed_disk trashed;

  if (store_change (store, set_trash, NULL, status) == -1 ||
      manage_discard (store, disk, true, false, &trashed, status) == -1)
    return -1;
  assert_true (trashed.disk.id != 0);
  return 0;
}

/* A disk in the trash that was called so; names come once. */
struct wanted {
  const char *name;
  int64_t id;
};

static int
find_wanted (const struct trashed_disk *disk, void *opaque)
{
  struct wanted *wanted = opaque;

  if (strcmp (disk->name, wanted->name) == 0)
    wanted->id = disk->disk.id;
  return wanted->id != 0;
}

static int
undelete (struct store *store, const char *disk, struct status *status)
{
  struct wanted wanted = { disk, 0 };

  if (manage_list_trash (store, find_wanted, &wanted, status) == -1)
    return -1;
  return manage_undelete (store, wanted.id, NULL, status);
}

int
operation_run (const struct operation *operation, struct store *store,
               struct status *status)
{
  const char *const targets[EFFECTS_MOST] = { operation->targets[0],
                                              operation->targets[1] };
  const struct manage_step steps[EFFECTS_MOST] = {
    { targets[0], operation->name },
    { targets[1], operation->second_name },
  };
  uint64_t freed;
  bool done;

  switch (operation->kind) {
  case OPERATION_SNAPSHOT:
    return manage_snapshot (store, targets, operation->targets_count,
                            operation->name, status);
  case OPERATION_DELETE_SNAPSHOTS:
    return manage_delete_snapshots (store, targets, operation->targets_count,
                                    status);
  case OPERATION_ROLLBACK:
    return operation->targets_count == 1
               ? manage_rollback (store, targets[0], true, status)
               : manage_group (store, GROUP_ROLLBACK, steps,
                               operation->targets_count, GROUP_FORCE, status);
  case OPERATION_CLONE:
    return operation->targets_count == 1
               ? manage_clone (store, targets[0], operation->name, NULL, status)
               : manage_group (store, GROUP_CLONE, steps,
                               operation->targets_count, 0, status);
  case OPERATION_FLATTEN:
    return manage_flatten (store, targets[0], NULL, NULL, status);
  case OPERATION_RESIZE:
    return manage_resize (store, targets[0], operation->effects[0].size, true,
                          status);
  case OPERATION_DELETE:
    return manage_delete (store, targets[0], true, false, status);
  case OPERATION_DISCARD:
    return discard (store, targets[0], status);
  case OPERATION_UNDELETE:
    return undelete (store, targets[0], status);
  case OPERATION_RECLAIM:
    return manage_reclaim_step (store, &done, &freed, status);
  case OPERATION_SET:
    return set (operation, store, status);
  case OPERATION_SHRINK:
    return shrink (store, status);
  default:
    return write_clone (operation, store, status);
  }
}

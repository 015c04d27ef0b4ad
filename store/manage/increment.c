/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Increments, for manage.h: what changed between two snapshots, as extents.
 *
 *   FROM    a a a a . . .|              .  zeroes, not stored
 *   TO      a b . a . c . . d .         |  the end of FROM
 *           s d z s s d s n d n         s  same, d  data, z  zeroes, n  new
 *
 * An increment is two open disks: the reader of TO, and one of FROM that only
 * keeps it from being deleted.  Both are snapshots, or pinned, so what differs
 * between them stays the same: what was found out is kept for the next request,
 * a part of DIFF_BLOCKS at a time.
 *
 * Past the end of FROM nothing is the same.  Who lays an increment over a copy
 * of FROM that is larger has to be told of zeroes there, although manage_diff
 * tells of no difference.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/count.h"
#include "engine/engine.h"
#include "manage.h"
#include "manage/diff.h"
#include "rows/snapshots.h"

/* The most blocks with rows that one request looks at. */
#define BLOCKS_MOST 1048576

struct increment {
  struct store *store;
  struct disk *from; /* NULL: nothing */
  struct disk *to;
  bool frozen; /* `to` is pinned */
  char text[INCREMENT_TEXT_MAX];

  pthread_mutex_t lock; /* of what follows; held while it is compared */
  uint64_t known;       /* block: from this one to the end of `part` */
  bool compared;
  struct diff_part part;
};

/*--------------------------------------------------------------------
 * Opening.
 */

/* What the name of an increment was found to mean. */
struct range {
  struct disk_info disk;
  struct snapshot_info from, to;
};

static void
write_text (struct increment *increment, const struct range *range)
{
  const bool now = range->to.id == 0;

  snprintf (increment->text, sizeof increment->text,
            "changes of %s@%s/%016" PRIx64 "..%s/%016" PRIx64 "/%" PRId64,
            range->disk.name, range->from.id == 0 ? "" : range->from.name,
            range->from.id == 0 ? 0 : range->from.guid,
            now ? "" : range->to.name, now ? 0 : range->to.guid,
            now ? (int64_t)time (NULL) : range->to.created);
}

/* Open a snapshot that was found, by its own name. */
static struct disk *
open_snapshot (struct store *store, const struct snapshot_info *snapshot,
               struct status *status)
{
  char name[DISK_TARGET_MAX + 1];
  struct disk *disk;

  snprintf (name, sizeof name, "%s@%s", snapshot->disk_name, snapshot->name);
  disk = disk_open (store, name, true, status);
  if (disk == NULL || disk_get_info (disk)->snapshot == snapshot->id)
    return disk;
  disk_close (disk);
  status_fail (status, EBUSY, "'%s' was replaced meanwhile", name);
  return NULL;
}

/* Open the disk as it is now.  Where the database is read without its log, a
 * server goes on with what others have made of it, which is no moment.
 */
static struct disk *
open_now (struct store *store, const struct disk_info *info,
          struct status *status)
{
  struct disk *disk = NULL;

  if (store_is_immutable (store))
    status_fail (status, EROFS,
                 "the database can only be read here; give a snapshot behind "
                 "'..'");
  else
    disk = manage_pin (store, info->name, status);
  if (disk == NULL) {
    status_prefix (status, "freezing disk '%s'", info->name);
    return NULL;
  }
  if (disk_get_info (disk)->id == info->id)
    return disk;
  manage_unpin (store, disk);
  status_fail (status, EBUSY, "disk '%s' was replaced meanwhile", info->name);
  return NULL;
}

static int
open_both (struct increment *increment, const struct range *range,
           struct status *status)
{
  if (range->from.id != 0) {
    increment->from = open_snapshot (increment->store, &range->from, status);
    if (increment->from == NULL)
      return -1;
  }
  increment->frozen = range->to.id == 0;
  increment->to = increment->frozen
                      ? open_now (increment->store, &range->disk, status)
                      : open_snapshot (increment->store, &range->to, status);
  return increment->to ? 0 : -1;
}

int
manage_increment (struct store *store, const char *name,
                  struct increment **increment, struct status *status)
{
  struct range range;
  int r;

  *increment = NULL;
  /* Most clients open a disk: nothing is read for those. */
  if (strstr (name, "..") == NULL)
    return 0;
  r = STORE_READ (store, status, connection,
                  snapshots_find_range (connection, name, &range.disk,
                                        &range.from, &range.to, status));
  if (r != 1)
    return r;
  *increment = calloc (1, sizeof **increment);
  if (*increment == NULL)
    return status_no_memory (status);
  (*increment)->store = store;
  pthread_mutex_init (&(*increment)->lock, NULL);
  write_text (*increment, &range);
  if (open_both (*increment, &range, status) == 0)
    return 0;
  increment_close (*increment);
  *increment = NULL;
  return -1;
}

void
increment_close (struct increment *increment)
{
  if (increment->to && increment->frozen)
    manage_unpin (increment->store, increment->to);
  else if (increment->to)
    disk_close (increment->to);
  if (increment->from)
    disk_close (increment->from);
  pthread_mutex_destroy (&increment->lock);
  free (increment);
}

struct disk *
increment_disk (const struct increment *increment)
{
  return increment->to;
}

bool
increment_is_frozen (const struct increment *increment)
{
  return increment->frozen;
}

const char *
increment_text (const struct increment *increment)
{
  return increment->text;
}

/*--------------------------------------------------------------------
 * Extents.
 */

/* Gathers neighbours of one kind into extents of bytes. */
struct gathering {
  uint64_t at, end; /* blocks: the next one, and the end of the request */
  uint64_t offset;  /* of what was not told yet, in bytes */
  uint64_t last;    /* byte behind the request */
  enum increment_kind kind;
  bool begun, one, done;
  increment_found found;
  void *opaque;
};

/* The first block past the end of what the increment begins with. */
static uint64_t
from_end (const struct increment *increment)
{
  const struct disk_info *info;

  if (increment->from == NULL)
    return 0;
  info = disk_get_info (increment->from);
  return (info->size - 1) / info->block_size + 1;
}

/* Tell of the extent that ends at byte END. */
static int
tell (struct gathering *gathering, uint64_t end, struct status *status)
{
  if (end > gathering->last)
    end = gathering->last;
  if (end > gathering->offset &&
      gathering->found (gathering->offset, end - gathering->offset,
                        gathering->kind, gathering->opaque) == -1)
    return status_no_memory (status);
  gathering->offset = end;
  return 0;
}

/* The blocks from gathering->at to before END are of that KIND. */
static int
gather (struct gathering *gathering, uint64_t end, enum increment_kind kind,
        uint32_t block_size, struct status *status)
{
  if (gathering->begun && kind != gathering->kind) {
    if (tell (gathering, gathering->at * block_size, status) == -1)
      return -1;
    gathering->done = gathering->one;
  }
  gathering->begun = true;
  if (gathering->done)
    return 0;
  gathering->kind = kind;
  gathering->at = end < gathering->end ? end : gathering->end;
  return 0;
}

/* What is known of block AT, and of those behind it up to before *END. */
static enum increment_kind
look (const struct increment *increment, uint64_t at, uint64_t *end)
{
  static const enum increment_kind kinds[] = {
    [DIFF_SAME] = INCREMENT_SAME,
    [DIFF_DATA] = INCREMENT_DATA,
    [DIFF_ZEROES] = INCREMENT_ZEROES,
  };
  const struct diff_part *part = &increment->part;
  const uint64_t limit = from_end (increment);
  enum increment_kind kind = INCREMENT_SAME;

  if (at >= part->first && part->count > 0) {
    *end = at + 1;
    kind = kinds[part->blocks[at - part->first]];
  }
  else
    *end = part->count > 0 ? part->first : UINT64_MAX;
  if (kind != INCREMENT_SAME)
    return kind;
  if (at >= limit)
    return INCREMENT_NEW;
  if (*end > limit)
    *end = limit;
  return INCREMENT_SAME;
}

/* Have the part in which block AT is compared. */
static int
compare (struct increment *increment, uint64_t at, struct status *status)
{
  static const struct disk_info nothing;
  const struct diff_part *part = &increment->part;
  int r;

  if (increment->compared && at >= increment->known &&
      (part->count == 0 || at < part->first + part->count))
    return 0;
  increment->compared = false;
  r = diff_compare (
      increment->store,
      increment->from ? disk_get_info (increment->from) : &nothing,
      disk_get_info (increment->to), at, &increment->part, status);
  increment->known = at;
  increment->compared = r == 0;
  return r;
}

/* Gather extents until enough was said. */
static int
gather_all (struct increment *increment, struct gathering *gathering,
            struct status *status)
{
  const uint32_t block_size = disk_get_info (increment->to)->block_size;
  uint32_t looked = 0;
  int r = 0;

  while (r == 0 && !gathering->done && gathering->at < gathering->end &&
         looked++ < BLOCKS_MOST) {
    enum increment_kind kind;
    uint64_t end;

    r = compare (increment, gathering->at, status);
    if (r == 0) {
      kind = look (increment, gathering->at, &end);
      r = gather (gathering, end, kind, block_size, status);
    }
  }
  if (r == 0 && !gathering->done)
    r = tell (gathering, gathering->at * block_size, status);
  return r;
}

int
increment_extents (struct increment *increment, uint64_t offset, uint64_t count,
                   bool one, increment_found found, void *opaque,
                   struct status *status)
{
  const uint64_t began = clock_now ();
  const struct disk_info *info = disk_get_info (increment->to);
  struct gathering gathering = {
    .at = offset / info->block_size,
    .end = (offset + count - 1) / info->block_size + 1,
    .offset = offset,
    .last = offset + count,
    .one = one,
    .found = found,
    .opaque = opaque,
  };
  int r;

  pthread_mutex_lock (&increment->lock);
  r = gather_all (increment, &gathering, status);
  pthread_mutex_unlock (&increment->lock);
  if (r == -1)
    status_prefix (status, "disk '%s': mapping changes, %s at offset %" PRIu64,
                   info->name, COUNT (count, "byte"), offset);
  return disk_count_extents (increment->to, began, count, r);
}

/*--------------------------------------------------------------------
 * What it is between, in words.
 */

/* Take what is before the character END, of at most MOST bytes. */
static bool
take_name (const char **text, char end, char *name, size_t most)
{
  const char *stop = strchr (*text, end);
  const size_t length = stop ? (size_t)(stop - *text) : 0;

  if (stop == NULL || length > most)
    return false;
  memcpy (name, *text, length);
  name[length] = '\0';
  *text = stop + 1;
  return strpbrk (name, "@/") == NULL;
}

/* Take a number that has DIGITS digits in that BASE, or for 0 any. */
static bool
take_number (const char **text, int base, int digits, int64_t *number)
{
  char *end;

  if (!isalnum ((unsigned char)**text))
    return false;
  errno = 0;
  *number = strtoull (*text, &end, base);
  if (errno != 0 || (digits && end - *text != digits))
    return false;
  *text = end;
  return true;
}

static bool
skip (const char **text, const char *expected)
{
  const size_t length = strlen (expected);
  const bool there = strncmp (*text, expected, length) == 0;

  *text += there ? length : 0;
  return there;
}

bool
increment_parse (const char *text, struct increment_ends *ends)
{
  return skip (&text, "changes of ") &&
         take_name (&text, '@', ends->disk, DISK_NAME_MAX) &&
         take_name (&text, '/', ends->from, SNAPSHOT_NAME_MAX) &&
         take_number (&text, 16, 16, &ends->from_guid) && skip (&text, "..") &&
         take_name (&text, '/', ends->to, SNAPSHOT_NAME_MAX) &&
         take_number (&text, 16, 16, &ends->to_guid) && skip (&text, "/") &&
         take_number (&text, 10, 0, &ends->created) && *text == '\0' &&
         (ends->from[0] == '\0') == (ends->from_guid == 0) &&
         (ends->to[0] == '\0') == (ends->to_guid == 0);
}

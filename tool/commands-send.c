/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* send: snapshots on their way to another database, as streams (stream.h).
 *
 * What is sent is planned first: a list of parts, of which each becomes one
 * stream.  One snapshot is one part; a chain is one for each snapshot of each
 * disk, in the order in which they were made, so that what a part begins with
 * comes before it, and a clone after its origin.
 *
 *   web@1   web@2 from web@1   test@1 from web@2, a clone   web@3 from web@2
 *
 * Where a token says how much of a part has arrived, that is left out, and so
 * are the parts before it.
 *
 * Parts are sent one after the other, or with --estimate only measured, which
 * does the same but for reading the data.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/packed.h"
#include "copy.h"
#include "tool.h"

static const char *send_from, *send_resume;
static bool send_all, send_estimate;

/* What one stream has. */
struct part {
  struct snapshot_info snapshot, base; /* base.id 0: there is none */
  struct bookmark_info bookmark;       /* or this is the base; disk 0: no */
  bool clone;                          /* the base is of another disk */
  uint64_t position;                   /* byte: all before it has arrived */
  const char *time, *base_time;        /* that stood for their names, or NULL */
  uint64_t bytes;                      /* of the stream, when it was measured */
};

/* Parts are sent one by one. */
struct sending {
  struct store *store;
  struct part *parts;
  size_t count;
  uint32_t disks;
  uint32_t planned;            /* disks of which there are parts */
  bool from_bookmark;          /* --from names a bookmark of one of the disks */
  bool found_from;             /* one of them has what it names */
  struct snapshot_info *there; /* that, or the newest one before a bookmark */
  size_t there_count;

  /* What is sent now. */
  struct part *part;
  struct snapshot_info now;      /* the part's snapshot, under present names */
  struct disk *disk, *base_disk; /* open: nobody deletes them */
  struct stream stream;
  struct status status; /* what went wrong, error 0: nothing */
};

/*--------------------------------------------------------------------
 * Sending a part.
 */

/* Is only sent what changed since something? */
static bool
has_base (const struct part *part)
{
  return part->base.id != 0 || part->bookmark.disk != 0;
}

/* Are blocks sent as they are stored? */
static bool
is_packed (const struct sending *sending)
{
  return sending->stream.header.storing.compression.codec != 0;
}

/* Send COUNT bytes of data at OFFSET, at most PACKED_MAX. */
static int
send_piece (struct sending *sending, uint64_t offset, uint64_t count,
            struct status *status)
{
  static char *buffer;
  struct stream_range piece = { .offset = offset, .count = count };
  int r = 0;

  if (buffer == NULL)
    buffer = tool_alloc (PACKED_ROOM (PACKED_MAX, DISK_BLOCK_SIZE_MIN));
  if (is_packed (sending))
    r = disk_read_packed (sending->disk, send_estimate ? NULL : buffer, offset,
                          count, &piece.packed, status);
  else if (!send_estimate)
    r = disk_read (sending->disk, buffer, offset, count, status);
  piece.data = buffer;
  if (r == -1 ||
      progress_report (tool_progress, offset, sending->part->snapshot.size,
                       NULL, status) == -1)
    return -1;
  return stream_write (&sending->stream, &piece, status);
}

/* Send a range that differs from the base. */
static int
send_difference (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct sending *sending = opaque;
  const uint64_t end = offset + count, position = sending->part->position;
  struct stream_range zeroes;
  uint64_t piece;

  if (end <= position)
    return 0;
  if (offset < position)
    offset = position;
  count = end - offset;
  zeroes = (struct stream_range){ .offset = offset, .count = count };
  if (hole)
    return stream_write (&sending->stream, &zeroes, &sending->status);
  for (; count > 0; offset += piece, count -= piece) {
    piece = count < PACKED_MAX ? count : PACKED_MAX;
    if (send_piece (sending, offset, piece, &sending->status) == -1)
      return -1;
  }
  return 0;
}

/* Send what differs from the base, or from nothing. */
static int
send_differences (struct sending *sending, struct status *status)
{
  const struct part *part = sending->part;
  const struct disk_info *to = disk_get_info (sending->disk);
  int r;

  sending->status.error = 0;
  if (part->bookmark.disk != 0)
    r = manage_diff_bookmark (sending->store, &part->bookmark, to,
                              send_difference, sending, status);
  else
    r = manage_diff_found (
        sending->store,
        sending->base_disk ? disk_get_info (sending->base_disk) : NULL, to,
        send_difference, sending, status);
  if (r == 0)
    return 0;
  if (sending->status.error != 0)
    *status = sending->status;
  return -1;
}

/* Say what is sent; OPTIONAL goes along. */
static int
make_header (const struct sending *sending, const struct optional *optional,
             struct stream_header *header, struct status *status)
{
  const struct part *part = sending->part;
  const struct snapshot_info *snapshot = &part->snapshot;
  struct disk_info disk;

  if (store_find (sending->store, sending->now.disk_name, &disk, status) == -1)
    return -1;
  *header = (struct stream_header){
    .size = snapshot->size,
    .block_size = snapshot->block_size,
    .guid = snapshot->guid,
    .created = snapshot->created,
    .clone = part->clone,
    .resumed = part->position,
  };
  strcpy (header->disk, snapshot->disk_name);
  strcpy (header->description, disk.description);
  strcpy (header->snapshot, snapshot->name);
  if (part->base.id != 0) {
    strcpy (header->base, part->base.name);
    header->base_guid = part->base.guid;
  }
  else if (part->bookmark.disk != 0) {
    strcpy (header->base, part->bookmark.snapshot);
    header->base_guid = part->bookmark.guid;
  }
  if (part->clone)
    strcpy (header->base_disk, part->base.disk_name);
  if (send_all) {
    header->number = part - sending->parts + 1;
    header->count = sending->count;
    header->disks = sending->disks;
  }
  /* What is encrypted goes as it is, without the key. */
  if (send_all || disk.encrypted || optional_is_encrypted (optional))
    header->storing = disk.storing;
  return 0;
}

/* Write the stream; OPTIONAL goes along. */
static int
write_stream (struct sending *sending, const struct stream_header *header,
              const struct optional *optional, struct status *status)
{
  const int fd = send_estimate ? STREAM_NOWHERE : STDOUT_FILENO;
  int r = stream_begin (&sending->stream, fd, tool_interrupted, header,
                        optional, status);

  if (r == 0)
    r = send_differences (sending, status);
  if (r == 0)
    r = stream_end (&sending->stream, status);
  sending->part->bytes = sending->stream.bytes;
  stream_close (&sending->stream);
  return r;
}

static int
send_stream (struct sending *sending, struct status *status)
{
  const struct part *part = sending->part;
  struct optional optional = { 0 };
  struct stream_header header;
  int r = manage_outgoing (sending->store, &part->snapshot,
                           !has_base (part) || part->clone, &optional, status);

  if (r == 0)
    r = make_header (sending, &optional, &header, status);
  if (r == 0)
    r = write_stream (sending, &header, &optional, status);
  optional_free (&optional);
  return r;
}

/* What people call it. */
static char *
name_of (const struct snapshot_info *snapshot)
{
  return tool_format ("%s@%s", snapshot->disk_name, snapshot->name);
}

/* Find the snapshot of that id, whatever it and its disk are called by now. */
static int
compare_id (const struct snapshot_info *info, void *opaque)
{
  struct snapshot_info *now = opaque;

  if (info->id != now->id)
    return 0;
  *now = *info;
  return 1;
}

/* Open the snapshot by its name. */
static struct disk *
open_named (struct store *store, const struct snapshot_info *snapshot,
            struct status *status)
{
  char *name = name_of (snapshot);
  struct disk *disk = disk_open (store, name, true, status);

  if (disk && disk_get_info (disk)->snapshot != snapshot->id) {
    disk_close (disk);
    disk = NULL;
    status_fail (status, EBUSY, "'%s' was replaced meanwhile", name);
  }
  free (name);
  return disk;
}

/* Open the snapshot, which nobody can delete from then on.  NOW becomes what it
 * is called.
 */
static struct disk *
open_snapshot (struct store *store, const struct snapshot_info *snapshot,
               struct snapshot_info *now, struct status *status)
{
  struct disk *disk;

  *now = *snapshot;
  disk = open_named (store, now, status);
  if (disk || (status->error != ENOENT && status->error != EBUSY))
    return disk;
  if (manage_list_snapshots (store, NULL, compare_id, now, status) == -1)
    return NULL;
  return open_named (store, now, status);
}

static int
open_snapshots (struct sending *sending, struct status *status)
{
  const struct part *part = sending->part;
  struct snapshot_info base;

  sending->base_disk = NULL;
  sending->disk =
      open_snapshot (sending->store, &part->snapshot, &sending->now, status);
  if (sending->disk == NULL)
    return -1;
  if (part->base.id == 0)
    return 0;
  sending->base_disk =
      open_snapshot (sending->store, &part->base, &base, status);
  if (sending->base_disk)
    return 0;
  disk_close (sending->disk);
  return -1;
}

static void
close_snapshots (struct sending *sending)
{
  disk_close (sending->disk);
  if (sending->base_disk)
    disk_close (sending->base_disk);
}

/* The first difference is enough. */
static int
note_difference (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  (void)offset;
  (void)count;
  (void)hole;
  *(bool *)opaque = true;
  return 1;
}

/* Check, before anything is written, that the bookmark with which a part begins
 * can be used.
 */
static int
check_bookmarks (struct sending *sending, struct status *status)
{
  int r = 0;

  for (size_t i = 0; r == 0 && i < sending->count; i++) {
    bool differs = false;

    sending->part = &sending->parts[i];
    if (sending->part->bookmark.disk == 0)
      continue;
    if (open_snapshots (sending, status) == -1)
      return -1;
    r = manage_diff_bookmark (sending->store, &sending->part->bookmark,
                              disk_get_info (sending->disk), note_difference,
                              &differs, status);
    if (differs)
      r = 0;
    close_snapshots (sending);
  }
  return r;
}

/* Send PART. */
static int
send_part (struct sending *sending, struct part *part, struct status *status)
{
  int r;

  sending->part = part;
  if (open_snapshots (sending, status) == -1)
    return -1;
  tool_progress_begin (
      tool_format ("%s %s@%s", send_estimate ? "measuring" : "sending",
                   part->snapshot.disk_name, part->snapshot.name));
  r = send_stream (sending, status);
  tool_progress_end (r);
  close_snapshots (sending);
  return r;
}

/*--------------------------------------------------------------------
 * Planning.
 */

static struct part *
add_part (struct sending *sending, const struct snapshot_info *snapshot)
{
  const size_t size = (sending->count + 1) * sizeof *sending->parts;
  struct part *part;

  sending->parts = tool_realloc (sending->parts, size);
  part = &sending->parts[sending->count++];
  *part = (struct part){ .snapshot = *snapshot };
  return part;
}

/* The snapshot that --from means of DISK. */
static char *
from_of (const char *disk)
{
  const char *at = strchr (send_from, '@');

  return at && at > send_from
             ? tool_strdup (send_from)
             : tool_format ("%s@%s", disk, at ? at + 1 : send_from);
}

/* Does --from name another disk than DISK? */
static bool
is_other_disk (const char *disk)
{
  const char *at = send_from ? strchr (send_from, '@') : NULL;

  return at && at > send_from &&
         (strlen (disk) != (size_t)(at - send_from) ||
          strncmp (disk, send_from, at - send_from) != 0);
}

/* Does --from name a bookmark of DISK, #BOOKMARK or DISK#BOOKMARK? */
static bool
is_from_bookmark (const char *disk)
{
  const size_t length = strlen (disk);

  return strchr (send_from, '@') == NULL &&
         (send_from[0] == '#' ||
          (strncmp (send_from, disk, length) == 0 && send_from[length] == '#'));
}

/* What people call it. */
static char *
name_of_bookmark (const struct bookmark_info *bookmark)
{
  return tool_format ("%s#%s", bookmark->disk_name, bookmark->name);
}

/* Find the bookmark of DISK that --from names. */
static int
find_bookmark (const struct sending *sending, const char *disk,
               struct bookmark_info *bookmark, struct status *status)
{
  char *name = tool_format ("%s#%s", disk, strrchr (send_from, '#') + 1);
  const int r = manage_find_bookmark (sending->store, name, bookmark, status);

  free (name);
  return r;
}

/* Have PART begin with it. */
static int
plan_bookmark (struct sending *sending, struct part *part, const char *disk,
               struct resolved *base_named, struct status *status)
{
  if (find_bookmark (sending, disk, &part->bookmark, status) == -1)
    return -1;
  base_named->text =
      tool_format ("bookmark '%s'", name_of_bookmark (&part->bookmark));
  if (part->bookmark.guid != part->snapshot.guid)
    return 0;
  return status_fail (status, EINVAL,
                      "%s is of '%s' itself: only what came later can be sent",
                      base_named->text, name_of (&part->snapshot));
}

/* A snapshot that is looked for among those that a clone stands on. */
struct search {
  const struct snapshot_info *base; /* that it must be; or */
  const struct sending *sending;    /* what goes along, */
  const struct part *part;          /* and for which part */
  struct snapshot_info found;       /* of id 0: there is none */
};

static int
compare_origin (const struct snapshot_info *info, void *opaque)
{
  struct search *search = opaque;

  if (info->id != search->base->id)
    return 0;
  search->found = *info;
  return 1;
}

/* Check that PART, whose base is of another disk, is of a clone of that. */
static int
check_clone (struct sending *sending, struct part *part, struct status *status)
{
  struct search search = { .base = &part->base };

  part->clone = true;
  if (manage_list_origins (sending->store, &part->snapshot, compare_origin,
                           &search, status) == -1)
    return -1;
  if (search.found.id != 0)
    return 0;
  return status_fail (status, EINVAL,
                      "'%s' was not cloned from '%s', so only what came after "
                      "a snapshot of the same disk can be sent",
                      name_of (&part->snapshot), name_of (&part->base));
}

/* Plan to send the snapshot TARGET of DISK alone. */
static int
plan_one (struct sending *sending, const char *disk, const char *target,
          struct resolved *named, struct resolved *base_named,
          struct status *status)
{
  struct snapshot_info snapshot;
  struct part *part;
  char *from;

  if (manage_find_snapshot (sending->store, target, &snapshot, status) == -1 ||
      tool_resolve (sending->store, target, named, status) == -1)
    return -1;
  part = add_part (sending, &snapshot);
  part->time = named->time;
  if (send_from == NULL)
    return 0;
  if (is_from_bookmark (disk))
    return plan_bookmark (sending, part, disk, base_named, status);
  from = from_of (disk);
  if (manage_find_snapshot (sending->store, from, &part->base, status) == -1 ||
      tool_resolve (sending->store, from, base_named, status) == -1)
    return -1;
  part->base_time = base_named->time;
  if (part->base.disk != snapshot.disk)
    return check_clone (sending, part, status);
  if (part->base.id >= snapshot.id)
    return status_fail (status, EINVAL,
                        "'%s' is not older than '%s': only what came later "
                        "can be sent",
                        name_of (&part->base), name_of (&snapshot));
  return 0;
}

/* A disk whose snapshots are planned. */
struct chain {
  struct sending *sending;
  int64_t last;                  /* the id of the last one to be sent */
  struct snapshot_info before;   /* the last that was planned, or is there */
  const char *base_time;         /* that stood for what is there, or NULL */
  struct bookmark_info bookmark; /* what the first begins with; disk 0: no */
  struct snapshot_info older;    /* the last one before that; id 0: none */
};

static int
plan_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct chain *chain = opaque;
  struct part *part;

  if (info->id <= chain->before.id || info->id > chain->last)
    return 0;
  if (chain->bookmark.disk != 0 && !manage_is_later (info, &chain->bookmark)) {
    chain->older = *info;
    return 0;
  }
  part = add_part (chain->sending, info);
  if (chain->before.id == 0)
    part->bookmark = chain->bookmark;
  part->base = chain->before;
  part->base_time = chain->base_time;
  chain->before = *info;
  chain->base_time = NULL;
  return 0;
}

/* The other database has SNAPSHOT, and older ones of its disk. */
static void
add_there (struct sending *sending, const struct snapshot_info *snapshot)
{
  const size_t size = (sending->there_count + 1) * sizeof *sending->there;

  sending->there = tool_realloc (sending->there, size);
  sending->there[sending->there_count++] = *snapshot;
}

/* Find the snapshot that --from means for DISK. */
static int
find_from_snapshot (struct chain *chain, const char *disk,
                    struct status *status)
{
  struct store *store = chain->sending->store;
  struct resolved resolved;
  char *from = from_of (disk);
  int r = tool_resolve (store, from, &resolved, status);

  if (r == 0)
    r = manage_find_snapshot (store, from, &chain->before, status);
  if (r == -1)
    return -1;
  chain->base_time = resolved.time;
  add_there (chain->sending, &chain->before);
  return 0;
}

/* Find what --from means for DISK, if it has that. */
static int
find_from (struct chain *chain, const char *disk, struct status *status)
{
  struct sending *sending = chain->sending;
  const bool bookmark = send_from && is_from_bookmark (disk);
  const char *name;
  int r;

  if (send_from == NULL ||
      (!bookmark && (sending->from_bookmark || is_other_disk (disk))))
    return 0;
  r = bookmark ? find_bookmark (sending, disk, &chain->bookmark, status)
               : find_from_snapshot (chain, disk, status);
  sending->found_from = sending->found_from || r == 0;
  if (r == 0)
    return 0;
  chain->before.id = chain->bookmark.disk = 0;
  /* One that was made later is sent from its beginning. */
  if (status->error != ENOENT || sending->disks == 1)
    return -1;
  name = strrchr (send_from, bookmark ? '#' : '@');
  tool_say ("disk '%s' has no %s '%s': it is sent from its beginning", disk,
            bookmark ? "bookmark" : "snapshot", name ? name + 1 : send_from);
  return 0;
}

/* Plan all snapshots of TARGET, a disk, or those up to DISK@SNAPSHOT. */
static int
plan_chain (struct sending *sending, const char *target, struct status *status)
{
  const struct target named = tool_target (target);
  struct chain chain = { .sending = sending, .last = INT64_MAX };
  const size_t before = sending->count;
  struct snapshot_info snapshot;
  struct resolved resolved = { 0 };

  if (named.snapshot) {
    if (tool_resolve (sending->store, target, &resolved, status) == -1 ||
        manage_find_snapshot (sending->store, target, &snapshot, status) == -1)
      return -1;
    chain.last = snapshot.id;
  }
  if (find_from (&chain, named.disk, status) == -1 ||
      manage_list_snapshots (sending->store, named.disk, plan_snapshot, &chain,
                             status) == -1)
    return -1;
  if (chain.older.id != 0)
    add_there (sending, &chain.older);
  sending->planned += sending->count > before;
  if (sending->count > before)
    sending->parts[sending->count - 1].time = resolved.time;
  if (sending->count > before || chain.before.id != 0 ||
      chain.bookmark.disk != 0)
    return 0;
  return status_fail (status, ENOENT,
                      "disk '%s' has no snapshot to be sent; \"sqlblock "
                      "snapshot create\" makes one",
                      named.disk);
}

static int
compare_parts (const void *a, const void *b)
{
  const struct part *first = a, *second = b;

  return first->snapshot.id < second->snapshot.id   ? -1
         : first->snapshot.id > second->snapshot.id ? 1
                                                    : 0;
}

/* Take the nearest snapshot that the other database will have when the part
 * comes there: it is in a part before that, or not newer than what --from
 * names of its disk.
 */
static int
compare_there (const struct snapshot_info *info, void *opaque)
{
  struct search *search = opaque;
  const struct sending *sending = search->sending;
  bool there = false;

  for (const struct part *part = sending->parts; part < search->part; part++)
    there = there || part->snapshot.id == info->id;
  for (size_t i = 0; i < sending->there_count; i++)
    there = there || (sending->there[i].disk == info->disk &&
                      sending->there[i].id >= info->id);
  if (there)
    search->found = *info;
  return there;
}

/* Have what PART begins with be that of which its disk is a clone. */
static int
plan_clone (struct sending *sending, struct part *part, struct status *status)
{
  struct search search = { .sending = sending, .part = part };

  if (manage_list_origins (sending->store, &part->snapshot, compare_there,
                           &search, status) == -1)
    return -1;
  part->clone = search.found.id != 0;
  part->base = search.found;
  return 0;
}

/* Plan to send all snapshots of the COUNT TARGETS. */
static int
plan_all (struct sending *sending, int count, char *targets[],
          struct status *status)
{
  const char *at = send_from ? strchr (send_from, '@') : NULL;
  struct snapshot_info origin;

  sending->disks = count;
  for (int i = 0; send_from && i < count; i++)
    if (is_from_bookmark (tool_target (targets[i]).disk))
      sending->from_bookmark = true;
  if (at && at > send_from) {
    if (manage_find_snapshot (sending->store, send_from, &origin, status) == -1)
      return -1;
    add_there (sending, &origin);
    sending->found_from = true;
  }
  for (int i = 0; i < count; i++)
    if (plan_chain (sending, targets[i], status) == -1)
      return -1;
  if (send_from && !sending->found_from)
    return status_fail (status, ENOENT, "no disk of these has a %s '%s'",
                        sending->from_bookmark ? "bookmark" : "snapshot",
                        sending->from_bookmark ? strrchr (send_from, '#') + 1
                        : at                   ? at + 1
                                               : send_from);
  if (sending->count == 0)
    return status_fail (status, EINVAL,
                        "there is nothing to be sent: no snapshot is newer "
                        "than '%s'",
                        send_from);
  qsort (sending->parts, sending->count, sizeof *sending->parts, compare_parts);
  sending->disks = sending->planned;
  for (struct part *part = sending->parts;
       part < sending->parts + sending->count; part++)
    if (!has_base (part) && plan_clone (sending, part, status) == -1)
      return -1;
  return 0;
}

/*--------------------------------------------------------------------
 * Going on.
 */

/* What has a guid. */
struct guid_search {
  int64_t guid;
  int64_t disk;                  /* that of this disk is the best one */
  struct snapshot_info snapshot; /* id 0: not found */
  struct bookmark_info bookmark; /* disk 0: not found */
};

static int
compare_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct guid_search *search = opaque;
  const bool own = info->disk == search->disk;

  if (info->guid != search->guid || (search->snapshot.id != 0 && !own))
    return 0;
  search->snapshot = *info;
  return own;
}

static int
compare_bookmark (const struct bookmark_info *info, void *opaque)
{
  struct guid_search *search = opaque;

  if (info->guid != search->guid)
    return 0;
  search->bookmark = *info;
  return 1;
}

/* Find what PART was sent from when it was cut off: a snapshot of its disk, a
 * bookmark of that, or a snapshot of the disk that it was cloned from.
 */
static int
find_token_base (struct sending *sending, struct part *part, int64_t guid,
                 struct status *status)
{
  struct guid_search search = { .guid = guid, .disk = part->snapshot.disk };

  if (manage_list_snapshots (sending->store, NULL, compare_snapshot, &search,
                             status) == -1)
    return -1;
  if (search.snapshot.disk != search.disk &&
      manage_list_bookmarks (sending->store, part->snapshot.disk_name,
                             compare_bookmark, &search, status) == -1)
    return -1;
  part->bookmark = search.bookmark;
  if (part->bookmark.disk != 0)
    return 0;
  part->base = search.snapshot;
  part->clone = part->base.id != 0 && part->base.disk != search.disk;
  if (part->base.id != 0)
    return part->clone ? check_clone (sending, part, status) : 0;
  return status_fail (status, ENOENT,
                      "'%s' was sent from a snapshot with the guid %016" PRIx64
                      ", which is not here any more, nor a bookmark of it; "
                      "send it from another one, after \"sqlblock receive "
                      "--abort\" there",
                      name_of (&part->snapshot), (uint64_t)guid);
}

/* The snapshot that the token is about is not here. */
static int
fail_foreign (const struct stream_token *token, struct status *status)
{
  return status_fail (status, ENOENT,
                      "the token is about a snapshot with the guid %016" PRIx64
                      ", which is not %s: it was deleted, or the token is for "
                      "another database; send something else, after \"sqlblock "
                      "receive --abort\" there",
                      (uint64_t)token->guid,
                      send_all ? "one of those to be sent"
                               : "in this database");
}

/* Is PART what the token is about? */
static int
check_token (const struct part *part, const struct stream_token *token,
             struct status *status)
{
  const int64_t base =
      part->bookmark.disk != 0 ? part->bookmark.guid : part->base.guid;

  if (token->size == part->snapshot.size &&
      token->block_size == part->snapshot.block_size &&
      token->base_guid == (has_base (part) ? base : 0))
    return 0;
  return status_fail (status, EINVAL,
                      "the token does not fit '%s', whose guid it has: that "
                      "was sent from something else",
                      name_of (&part->snapshot));
}

/* Plan to send the rest of what TOKEN is about, as DISK@SNAPSHOT, TARGET, or
 * where that is NULL whatever disk has it.
 */
static int
plan_rest (struct sending *sending, const char *target,
           const struct stream_token *token, struct resolved *named,
           struct status *status)
{
  struct guid_search search = { .guid = token->guid };
  struct part *part;

  if (target) {
    if (manage_find_snapshot (sending->store, target, &search.snapshot,
                              status) == -1)
      return -1;
    if (search.snapshot.guid != token->guid)
      return status_fail (status, EINVAL,
                          "the token is about another snapshot than '%s'; "
                          "leave that out, and it is looked for",
                          target);
  }
  else if (manage_list_snapshots (sending->store, NULL, compare_snapshot,
                                  &search, status) == -1)
    return -1;
  if (search.snapshot.id == 0)
    return fail_foreign (token, status);
  part = add_part (sending, &search.snapshot);
  if (token->base_guid != 0 &&
      find_token_base (sending, part, token->base_guid, status) == -1)
    return -1;
  part->position = token->position;
  named->text = tool_format ("the rest of '%s'", name_of (&part->snapshot));
  return check_token (part, token, status);
}

/* How many disks the parts are of. */
static uint32_t
count_disks (const struct sending *sending)
{
  uint32_t disks = 0;

  for (size_t i = 0; i < sending->count; i++) {
    size_t j = 0;

    while (sending->parts[j].snapshot.disk != sending->parts[i].snapshot.disk)
      j++;
    disks += j == i;
  }
  return disks;
}

/* Is one of the COUNT parts from PARTS on of DISK? */
static bool
has_disk (const struct part *parts, size_t count, int64_t disk)
{
  for (size_t i = 0; i < count; i++)
    if (parts[i].snapshot.disk == disk)
      return true;
  return false;
}

/* Say that the first COUNT parts are left out, and of which disks that is all:
 * only who has sent these before knows that it has arrived.
 */
static void
say_skipped (const struct sending *sending, size_t count)
{
  const struct part *parts = sending->parts;

  if (count == 1)
    tool_say ("left out '%s', which came before the rest",
              name_of (&parts[0].snapshot));
  if (count > 1)
    tool_say ("left out %s, which came before the rest: '%s' to '%s'",
              tool_count (count, "snapshot"), name_of (&parts[0].snapshot),
              name_of (&parts[count - 1].snapshot));
  for (size_t i = 0; i < count; i++)
    if (!has_disk (parts, i, parts[i].snapshot.disk) &&
        !has_disk (parts + count, sending->count - count,
                   parts[i].snapshot.disk))
      tool_say ("nothing is sent of disk '%s', whose snapshots are all among "
                "these; if they have not arrived, send it by itself",
                parts[i].snapshot.disk_name);
}

/* Of a chain that is planned, leave out what has arrived by TOKEN. */
static int
skip_arrived (struct sending *sending, const struct stream_token *token,
              struct status *status)
{
  size_t i = 0;

  while (i < sending->count && sending->parts[i].snapshot.guid != token->guid)
    i++;
  if (i == sending->count)
    return fail_foreign (token, status);
  say_skipped (sending, i);
  sending->parts += i;
  sending->count -= i;
  sending->parts[0].position = token->position;
  sending->disks = count_disks (sending);
  return check_token (&sending->parts[0], token, status);
}

/*--------------------------------------------------------------------
 * The command.
 */

/* Plan what the COUNT TARGETS and the options ask for. */
static int
plan (struct sending *sending, int count, char *targets[],
      struct resolved *named, struct resolved *base_named,
      struct status *status)
{
  struct stream_token token;

  if (send_resume && stream_token_read (send_resume, &token, status) == -1)
    return -1;
  if (!send_all)
    return send_resume ? plan_rest (sending, targets[0], &token, named, status)
                       : plan_one (sending, tool_target (targets[0]).disk,
                                   targets[0], named, base_named, status);
  if (plan_all (sending, count, targets, status) == -1)
    return -1;
  return send_resume ? skip_arrived (sending, &token, status) : 0;
}

/* Can these COUNT arguments be TARGETS?  Returns an exit code. */
static int
check_targets (int count, char *targets[])
{
  for (int i = 0; i < count; i++) {
    const struct target target = tool_target (targets[i]);

    if (!send_all && target.snapshot == NULL)
      return tool_usage ("a snapshot is sent, DISK@SNAPSHOT; \"sqlblock "
                         "snapshot create\" makes one, and "
                         "--all-snapshots sends all of a disk");
    for (int j = 0; j < i; j++)
      if (strcmp (tool_target (targets[j]).disk, target.disk) == 0)
        return tool_usage ("disk '%s' is named twice", target.disk);
  }
  if (count == 0 && (send_all || send_resume == NULL))
    return tool_usage ("the arguments are missing that say what is sent");
  if (send_resume && send_from && !send_all)
    return tool_usage ("the token says from what is sent; leave out --from");
  if (!send_all && count > 1)
    return tool_usage ("'%s' is an argument too many: only --all-snapshots "
                       "sends more than one",
                       targets[1]);
  if (common.json && !send_estimate)
    return tool_usage ("JSON is printed by --estimate only");
  if (common.exact && !send_estimate)
    return tool_usage ("--exact belongs to --estimate");
  return TOOL_DONE;
}

/* What PART begins with: a new string, or NULL for nothing. */
static char *
name_of_base (const struct part *part)
{
  return part->bookmark.disk != 0 ? name_of_bookmark (&part->bookmark)
         : part->base.id != 0     ? name_of (&part->base)
                                  : NULL;
}

/* Say how many bytes the streams will have. */
static void
print_estimate (const struct sending *sending)
{
  static const char *const titles[] = { "SNAPSHOT", "FROM", ">BYTES", NULL };
  struct tool_table *table = tool_table (titles);
  uint64_t total = 0;

  for (size_t i = 0; i < sending->count; i++) {
    const struct part *part = &sending->parts[i];
    char *base = name_of_base (part);

    tool_cell (table, "%s@%s", part->snapshot.disk_name, part->snapshot.name);
    tool_cell (table, "%s", base ? base : "");
    free (base);
    tool_cell_size (table, part->bytes);
    total += part->bytes;
  }
  tool_cell (table, "%s", "total");
  tool_cell (table, "%s", "");
  tool_cell_size (table, total);
  tool_table_print (table);
}

static json_t *
text_or_null (const char *text)
{
  return text ? tool_json_string (text) : json_null ();
}

static void
print_estimate_json (const struct sending *sending)
{
  json_t *streams = json_array ();
  uint64_t total = 0;

  for (size_t i = 0; i < sending->count; i++) {
    const struct part *part = &sending->parts[i];
    char *base = name_of_base (part);

    json_array_append_new (
        streams,
        json_pack ("{s:o, s:o, s:o, s:o, s:b, s:o}", "snapshot",
                   tool_json_string (name_of (&part->snapshot)),
                   "snapshot_time", text_or_null (part->time), "from",
                   text_or_null (base), "from_time",
                   text_or_null (part->base_time), "clone", part->clone,
                   "bytes", tool_json_size (part->bytes)));
    total += part->bytes;
  }
  tool_json_print (json_pack ("{s:o, s:o}", "bytes", tool_json_size (total),
                              "streams", streams));
}

/* Say what was done. */
static void
say_sent (const struct sending *sending, const struct resolved *named,
          const struct resolved *base_named)
{
  if (send_estimate && common.json)
    print_estimate_json (sending);
  else if (send_estimate)
    print_estimate (sending);
  else if (send_all)
    tool_say ("sent %s of %s", tool_count (sending->count, "snapshot"),
              tool_count (sending->disks, "disk"));
  else if (base_named->text)
    tool_say ("sent what changed from %s to %s", base_named->text, named->text);
  else
    tool_say ("sent %s", named->text);
}

static int
run_send (int argc, char *argv[])
{
  struct resolved named = { 0 }, base_named = { 0 };
  struct sending sending = { 0 };
  struct status status;
  int r = check_targets (argc - 1, argv + 1);

  if (r != TOOL_DONE)
    return r;
  if (!send_estimate && isatty (STDOUT_FILENO))
    return tool_error (EINVAL, "a stream is not written to a terminal; send it "
                               "to a file or through a pipe");
  signal (SIGPIPE, SIG_IGN);
  sending.store = tool_open (argv[0], false);
  r = plan (&sending, argc - 1, argv + 1, &named, &base_named, &status);
  if (r == 0)
    r = check_bookmarks (&sending, &status);
  for (size_t i = 0; r == 0 && i < sending.count; i++)
    r = send_part (&sending, &sending.parts[i], &status);
  if (r == -1)
    return tool_fail (&status);
  say_sent (&sending, &named, &base_named);
  return TOOL_DONE;
}

static const struct tool_option send_options[] = {
  { "all-snapshots", 'R', NULL, &send_all,
    "send all snapshots of these disks, one after the\n"
    "other, as they are stored" },
  { "from", 0, "SNAPSHOT", &send_from,
    "send only what changed since this older snapshot\n"
    "of the disk, or of the disk that it was cloned\n"
    "from, or its bookmark #NAME; the other database\n"
    "must have what that was" },
  { "resume", 0, "TOKEN", &send_resume,
    "send the rest of what was cut off; \"receive\" and\n"
    "\"list\" of the other database say the token" },
  { "estimate", 0, NULL, &send_estimate,
    "send nothing, print how many bytes it would be" },
  { "exact", 'p', NULL, &common.exact, "print them without rounding" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_send = {
  .name = "send",
  .arguments = "DATABASE [DISK[@SNAPSHOT]]...",
  .summary = "Write a snapshot, or what changed, to standard output",
  .help =
      "Writes a stream from which \"sqlblock receive\" makes the snapshot in\n"
      "another database.  Everything in it has checksums.  SNAPSHOT may be a\n"
      "time.\n"
      "\n"
      "  sqlblock send here.sqlite web@monday | "
      "sqlblock receive there.sqlite\n"
      "  sqlblock send here.sqlite web@tuesday --from=monday |\n"
      "    ssh host sqlblock receive there.sqlite\n"
      "\n"
      "With --all-snapshots it writes one for each snapshot of all these\n"
      "disks, or of each up to SNAPSHOT.  What was cloned becomes a clone\n"
      "there, too.\n"
      "\n"
      "  sqlblock send here.sqlite -R web test | "
      "sqlblock receive there.sqlite\n"
      "\n"
      "With --resume it writes the rest of what was cut off.  The arguments\n"
      "may be left out, but with --all-snapshots, where the rest of the chain\n"
      "follows.\n",
  .options = send_options,
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 1,
  .most = -1,
  .run = run_send,
};

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* send: snapshots on their way to another database, as streams (stream.h). */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "tool.h"

static const char *send_from, *send_resume;

/* A snapshot that is being sent. */
struct sending {
  struct store *store;
  struct snapshot_info snapshot, base; /* base.id 0: there is none */
  struct bookmark_info bookmark;       /* or this is the base; disk 0: no */
  char *target, *base_target;          /* their names, DISK@SNAPSHOT */
  struct resolved named, base_named;   /* and what the user called them */
  struct disk *disk, *base_disk;       /* open: nobody deletes them */
  uint64_t position; /* byte: what is before it has arrived */
  struct stream stream;
  struct status status; /* what went wrong, error 0: nothing */
};

static int
send_piece (const struct stream_range *piece, void *opaque,
            struct status *status)
{
  struct sending *sending = opaque;

  if (progress_report (tool_progress, piece->offset, sending->snapshot.size,
                       NULL, status) == -1)
    return -1;
  return stream_write (&sending->stream, piece, status);
}

/* Of a whole disk only the data is sent: it begins as zeroes. */
static int
send_data_piece (const struct stream_range *piece, void *opaque,
                 struct status *status)
{
  return piece->data ? send_piece (piece, opaque, status) : 0;
}

static int
send_difference (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct sending *sending = opaque;
  const uint64_t end = offset + count;
  struct stream_range zeroes;

  if (end <= sending->position)
    return 0;
  if (offset < sending->position)
    offset = sending->position;
  count = end - offset;
  zeroes = (struct stream_range){ .offset = offset, .count = count };
  if (hole)
    return send_piece (&zeroes, sending, &sending->status);
  return copy_data (sending->disk, offset, count, send_piece, sending,
                    &sending->status);
}

/* Is only sent what changed since something? */
static bool
has_base (const struct sending *sending)
{
  return sending->base.id != 0 || sending->bookmark.disk != 0;
}

/* Send what changed since the base. */
static int
send_differences (struct sending *sending, struct status *status)
{
  const struct disk_info *to = disk_get_info (sending->disk);
  int r;

  sending->status.error = 0;
  if (sending->bookmark.disk != 0)
    r = manage_diff_bookmark (sending->store, &sending->bookmark, to,
                              send_difference, sending, status);
  else
    r = manage_diff_found (sending->store, disk_get_info (sending->base_disk),
                           to, send_difference, sending, status);
  if (r == 0)
    return 0;
  if (sending->status.error != 0)
    *status = sending->status;
  return -1;
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

/* Check, before anything is written, that the bookmark can be used. */
static int
check_bookmark (const struct sending *sending, struct status *status)
{
  bool differs = false;

  if (sending->bookmark.disk == 0 ||
      manage_diff_bookmark (sending->store, &sending->bookmark,
                            disk_get_info (sending->disk), note_difference,
                            &differs, status) == 0)
    return 0;
  return differs ? 0 : -1;
}

/* Say what is sent. */
static int
make_header (const struct sending *sending, struct stream_header *header,
             struct status *status)
{
  const struct snapshot_info *snapshot = &sending->snapshot;
  struct disk_info disk;

  if (store_find (sending->store, snapshot->disk_name, &disk, status) == -1)
    return -1;
  *header = (struct stream_header){
    .size = snapshot->size,
    .block_size = snapshot->block_size,
    .guid = snapshot->guid,
    .created = snapshot->created,
    .resumed = sending->position,
  };
  strcpy (header->disk, snapshot->disk_name);
  strcpy (header->description, disk.description);
  strcpy (header->snapshot, snapshot->name);
  if (sending->base.id != 0) {
    strcpy (header->base, sending->base.name);
    header->base_guid = sending->base.guid;
    header->clone = sending->base.disk != snapshot->disk;
    if (header->clone)
      strcpy (header->base_disk, sending->base.disk_name);
  }
  else if (sending->bookmark.disk != 0) {
    strcpy (header->base, sending->bookmark.snapshot);
    header->base_guid = sending->bookmark.guid;
  }
  return 0;
}

/* Write the stream; OPTIONAL goes along. */
static int
write_stream (struct sending *sending, const struct stream_header *header,
              const struct optional *optional, struct status *status)
{
  int r = stream_begin (&sending->stream, STDOUT_FILENO, tool_interrupted,
                        header, optional, status);

  if (r == 0)
    r = has_base (sending)
            ? send_differences (sending, status)
            : copy_rest (sending->disk, sending->position, send_data_piece,
                         sending, status);
  if (r == 0)
    r = stream_end (&sending->stream, status);
  stream_close (&sending->stream);
  return r;
}

static int
send_stream (struct sending *sending, struct status *status)
{
  struct optional optional = { 0 };
  struct stream_header header;
  int r = check_bookmark (sending, status);

  if (r == 0)
    r = make_header (sending, &header, status);
  if (r == 0)
    r = manage_outgoing (sending->store, &sending->snapshot,
                         !has_base (sending), &optional, status);
  if (r == 0)
    r = write_stream (sending, &header, &optional, status);
  optional_free (&optional);
  return r;
}

/* Does --from name a bookmark, #BOOKMARK or DISK#BOOKMARK? */
static bool
is_from_bookmark (const char *disk)
{
  const size_t length = strlen (disk);

  return send_from &&
         (send_from[0] == '#' ||
          (strncmp (send_from, disk, length) == 0 && send_from[length] == '#'));
}

/* Find the bookmark that is the base. */
static int
find_bookmark (struct sending *sending, const char *disk, struct status *status)
{
  const char *name = strrchr (send_from, '#') + 1;

  sending->base_target = tool_format ("%s#%s", disk, name);
  if (manage_find_bookmark (sending->store, sending->base_target,
                            &sending->bookmark, status) == -1)
    return -1;
  sending->base_named.text = tool_format ("bookmark '%s'",
                                          sending->base_target);
  if (sending->bookmark.guid != sending->snapshot.guid)
    return 0;
  return status_fail (status, EINVAL,
                      "bookmark '%s' is of '%s' itself: only what came later "
                      "can be sent",
                      sending->base_target, sending->target);
}

/* Find the snapshots by what the user wrote; a time may mean another one a
 * moment later, so from then on they are called by their names.
 */
static int
find_snapshots (struct sending *sending, const char *disk, const char *target,
                struct status *status)
{
  const char *at = send_from ? strchr (send_from, '@') : NULL;
  struct snapshot_info *base = &sending->base;

  if (manage_find_snapshot (sending->store, target, &sending->snapshot,
                            status) == -1 ||
      tool_resolve (sending->store, target, &sending->named, status) == -1)
    return -1;
  sending->target = tool_format ("%s@%s", disk, sending->snapshot.name);
  base->id = 0;
  sending->bookmark.disk = 0;
  if (send_from == NULL)
    return 0;
  if (is_from_bookmark (disk))
    return find_bookmark (sending, disk, status);
  sending->base_target = tool_format ("%s@%s", disk, at ? at + 1 : send_from);
  if (manage_find_snapshot (sending->store, sending->base_target, base,
                            status) == -1 ||
      tool_resolve (sending->store, sending->base_target, &sending->base_named,
                    status) == -1)
    return -1;
  sending->base_target = tool_format ("%s@%s", disk, base->name);
  if (base->id >= sending->snapshot.id)
    return status_fail (status, EINVAL,
                        "'%s' is not older than '%s': only what came later "
                        "can be sent",
                        sending->base_target, sending->target);
  return 0;
}

/*--------------------------------------------------------------------
 * Going on: what the token says is looked for.
 */

/* What has a guid: the first one of the disk `disk`, or else of any, but not of
 * the others where `only` says so.
 */
struct search {
  int64_t guid, disk;
  bool only;
  struct snapshot_info snapshot; /* id 0: not found */
  struct bookmark_info bookmark; /* disk 0: not found */
};

static int
compare_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct search *search = opaque;
  const bool own = info->disk == search->disk;

  if (info->guid != search->guid || (search->only && !own) ||
      (search->snapshot.id != 0 && !own))
    return 0;
  search->snapshot = *info;
  return own;
}

static int
compare_bookmark (const struct bookmark_info *info, void *opaque)
{
  struct search *search = opaque;

  if (info->guid != search->guid)
    return 0;
  search->bookmark = *info;
  return 1;
}

/* Find what SNAPSHOT was sent from: an older snapshot of its disk, a bookmark
 * of that, or a snapshot of which it is a clone.  Returns 1, 0, or -1.
 */
static int
find_token_base (struct sending *sending, int64_t guid, struct status *status)
{
  struct search search = {
    .guid = guid,
    .disk = sending->snapshot.disk,
  };

  sending->base.id = sending->bookmark.disk = 0;
  if (guid == 0)
    return 1;
  if (manage_list_snapshots (sending->store, NULL, compare_snapshot, &search,
                             status) == -1)
    return -1;
  if (search.snapshot.id == 0 || search.snapshot.disk != search.disk) {
    if (manage_list_bookmarks (sending->store, sending->snapshot.disk_name,
                               compare_bookmark, &search, status) == -1)
      return -1;
    if (search.bookmark.disk != 0) {
      sending->bookmark = search.bookmark;
      sending->base_target = tool_format ("%s#%s", search.bookmark.disk_name,
                                          search.bookmark.name);
      sending->base_named.text =
          tool_format ("bookmark '%s'", sending->base_target);
      return 1;
    }
  }
  if (search.snapshot.id == 0)
    return 0;
  sending->base = search.snapshot;
  sending->base_target = tool_format ("%s@%s", search.snapshot.disk_name,
                                      search.snapshot.name);
  sending->base_named.text = tool_format ("'%s'", sending->base_target);
  return 1;
}

/* Find what the token is about.  TARGET, DISK@SNAPSHOT, may be NULL: then it is
 * the first snapshot that fits.
 */
static int
find_by_token (struct sending *sending, const char *target,
               struct status *status)
{
  struct search search = { .disk = 0 };
  struct stream_token token;
  int r;

  if (stream_token_read (send_resume, &token, status) == -1)
    return -1;
  search.guid = token.guid;
  if (target) {
    if (manage_find_snapshot (sending->store, target, &sending->snapshot,
                              status) == -1)
      return -1;
    search.disk = sending->snapshot.disk;
    search.only = true;
  }
  if (manage_list_snapshots (sending->store, NULL, compare_snapshot, &search,
                             status) == -1)
    return -1;
  if (search.snapshot.id == 0)
    return status_fail (status, ENOENT,
                        "the token is about a snapshot with the guid "
                        "%016" PRIx64 ", which %s does not have: it was "
                        "deleted, or comes from another database; send another "
                        "one, after \"sqlblock receive --abort\" there",
                        (uint64_t)token.guid,
                        target ? "this disk" : "this database");
  sending->snapshot = search.snapshot;
  if (token.size != sending->snapshot.size ||
      token.block_size != sending->snapshot.block_size)
    return status_fail (status, EINVAL,
                        "the token does not fit '%s@%s', whose guid it has",
                        sending->snapshot.disk_name, sending->snapshot.name);
  r = find_token_base (sending, token.base_guid, status);
  if (r == 0)
    return status_fail (status, ENOENT,
                        "'%s@%s' was sent from a snapshot with the guid "
                        "%016" PRIx64 ", which is not here any more, nor a "
                        "bookmark of it; send from another one, after "
                        "\"sqlblock receive --abort\" there",
                        sending->snapshot.disk_name, sending->snapshot.name,
                        (uint64_t)token.base_guid);
  if (r == -1)
    return -1;
  sending->position = token.position;
  sending->target = tool_format ("%s@%s", sending->snapshot.disk_name,
                                 sending->snapshot.name);
  sending->named.text = tool_format ("the rest of '%s'", sending->target);
  return 0;
}

/* Open the snapshot of that id, TARGET, which nobody can delete from then on.
 */
static struct disk *
open_snapshot (struct store *store, const char *target, int64_t id,
               struct status *status)
{
  struct disk *disk = disk_open (store, target, true, status);

  if (disk == NULL || disk_get_info (disk)->snapshot == id)
    return disk;
  disk_close (disk);
  status_fail (status, EBUSY, "'%s' was replaced meanwhile", target);
  return NULL;
}

static int
open_snapshots (struct sending *sending, struct status *status)
{
  sending->base_disk = NULL;
  sending->disk = open_snapshot (sending->store, sending->target,
                                 sending->snapshot.id, status);
  if (sending->disk == NULL)
    return -1;
  if (sending->base.id == 0)
    return 0;
  sending->base_disk = open_snapshot (sending->store, sending->base_target,
                                      sending->base.id, status);
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

/* Does --from name another disk than DISK? */
static bool
is_other_disk (const char *disk)
{
  const char *at = send_from ? strchr (send_from, '@') : NULL;

  return at && at > send_from &&
         (strlen (disk) != (size_t)(at - send_from) ||
          strncmp (disk, send_from, at - send_from) != 0);
}

static int
run_send (int argc, char *argv[])
{
  const struct target target =
      argc > 1 ? tool_target (argv[1]) : (struct target){ .disk = NULL };
  struct sending sending = { .position = 0 };
  struct status status;
  int r;

  if (send_resume && send_from)
    return tool_usage ("the token says from what is sent; leave out --from");
  if (argc == 1 && send_resume == NULL)
    return tool_usage ("give DISK@SNAPSHOT, or --resume=TOKEN");
  if (argc > 1 && target.snapshot == NULL)
    return tool_usage ("a snapshot is sent, DISK@SNAPSHOT; \"sqlblock "
                       "snapshot create\" makes one");
  if (send_from && is_other_disk (target.disk))
    return tool_usage ("--from names a snapshot of the same disk");
  if (isatty (STDOUT_FILENO))
    return tool_error (EINVAL, "a stream is not written to a terminal; send it "
                               "to a file or through a pipe");
  signal (SIGPIPE, SIG_IGN);
  sending.store = tool_open (argv[0], false);
  r = send_resume
          ? find_by_token (&sending, argv[1], &status)
          : find_snapshots (&sending, target.disk, argv[1], &status);
  if (r == -1 || open_snapshots (&sending, &status) == -1)
    return tool_fail (&status);
  tool_progress_begin (tool_format ("sending %s", sending.target));
  r = send_stream (&sending, &status);
  tool_progress_end (r);
  close_snapshots (&sending);
  if (r == -1)
    return tool_fail (&status);
  if (has_base (&sending))
    tool_say ("sent what changed from %s to %s", sending.base_named.text,
              sending.named.text);
  else
    tool_say ("sent %s", sending.named.text);
  return TOOL_DONE;
}

static const struct tool_option send_options[] = {
  { "from", 0, "SNAPSHOT", &send_from,
    "send only what changed since this older snapshot\n"
    "of the disk, or since its bookmark #NAME; the\n"
    "other database must have what that was" },
  { "resume", 0, "TOKEN", &send_resume,
    "send the rest of what was cut off; \"receive\" and\n"
    "\"list\" of the other database say the token" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_send = {
  .name = "send",
  .arguments = "DATABASE [DISK@SNAPSHOT]",
  .summary = "Write a snapshot, or what changed, to standard output",
  .help =
      "Writes a stream from which \"sqlblock receive\" makes the snapshot in\n"
      "another database.  Everything in it has checksums.  SNAPSHOT may be a\n"
      "time.\n"
      "\n"
      "  sqlblock send here.sqlite web@monday | "
      "sqlblock receive there.sqlite\n"
      "  sqlblock send here.sqlite web@tuesday --from=monday |\n"
      "    ssh host sqlblock receive there.sqlite\n",
  .options = send_options,
  .common = COMMON_PROGRESS,
  .least = 1,
  .most = 2,
  .run = run_send,
};

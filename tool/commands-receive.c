/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* receive: what "send" has written becomes disks and snapshots.
 *
 * The streams are described in stream.h.  Each is complete by itself: what it
 * brings is written to a disk that nobody sees, and becomes the disk and the
 * snapshot in one transaction, when its end was read and is right.  What comes
 * behind it changes nothing of that.  So a reception that was cut off is gone
 * on with by sending all again, or the rest: a snapshot that is there already,
 * by its guid, is passed by.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "copy.h"
#include "image.h"
#include "tool.h"

static bool receive_rollback, receive_dedup, receive_resumable, receive_abort;
static const char *receive_compression;

/* A snapshot that would be there by now, if this were no dry run. */
struct would {
  char disk[DISK_NAME_MAX + 1];
  int64_t guid;
};

/* What comes in. */
struct receiving {
  struct store *store;
  struct stream stream;
  const char *name; /* of the disk, here; NULL: as it is called there */
  struct compression compression;
  json_t *kept;      /* what is kept of what was cut off, or NULL */
  uint64_t received; /* streams that were applied */
  char *last;        /* the name of the last of them */
  uint64_t passed;   /* those whose snapshots were there already */

  struct would *would;
  size_t would_count;
};

/* Are blocks that come as they are stored there to be stored anew, since the
 * disk here is to be stored in another way?
 */
static bool
is_stored_anew (const struct stream *stream, const struct disk *disk)
{
  const struct compression *there = &stream->header.storing.compression;
  const struct compression *here = &disk_get_info (disk)->storing.compression;

  return receive_compression || there->codec != here->codec ||
         there->level != here->level;
}

/* How often it is noted how far something has come that is to be kept: if the
 * process is killed, what came since then comes again.
 */
#define NOTE_EVERY CLOCK_SECOND

/* Something that is to be kept if the rest does not come. */
struct keeping {
  struct store *store;
  struct disk *disk;
  const struct manage_incoming *incoming;
  bool keep;
  uint64_t position; /* byte: what is before it has been written */
  uint64_t noted;    /* what of that was noted */
  uint64_t looked;   /* when that was last done */
};

/* Note how far it has come.  Where that fails, what was noted before holds. */
static int
note_position (struct keeping *keeping, struct status *status)
{
  keeping->looked = clock_now ();
  if (!keeping->keep || keeping->position <= keeping->noted)
    return 0;
  if (manage_receive_keep (keeping->store, keeping->disk, keeping->incoming,
                           keeping->position, status) == -1)
    return -1;
  keeping->noted = keeping->position;
  return 0;
}

/* The same where nothing comes. */
static void
note_stalled (void *opaque)
{
  struct status ignored;

  note_position (opaque, &ignored);
}

/* Make a RANGE zeroes.  What a smaller disk has in its last block goes with it;
 * it is cut off at the end, and of an encrypted one no part can be changed
 * here.
 */
static int
receive_zeroes (const struct stream *stream, struct disk *disk,
                const struct stream_range *range, struct status *status)
{
  const struct disk_info *info = disk_get_info (disk);
  uint64_t end = range->offset + range->count;
  const uint64_t rest = end % info->block_size;

  if (end == stream->header.size && rest > 0)
    end = info->size - end < info->block_size - rest
              ? info->size
              : end + info->block_size - rest;
  return disk_zero (disk, range->offset, end - range->offset, false, status);
}

/* Write what the stream says. */
static int
receive_ranges (struct stream *stream, struct keeping *keeping,
                struct status *status)
{
  struct disk *disk = keeping->disk;
  struct stream_range range;
  int r;

  while ((r = stream_read (stream, &range, status)) == 1) {
    /* What does not come is as it was. */
    if (progress_report (tool_progress, range.offset, stream->header.size, NULL,
                         status) == -1)
      return -1;
    r = range.packed ? disk_fill_packed (disk, range.data, range.packed,
                                         range.offset, range.count,
                                         is_stored_anew (stream, disk), status)
        : range.data
            ? disk_fill (disk, range.data, range.offset, range.count, status)
            : receive_zeroes (stream, disk, &range, status);
    if (r == -1)
      return -1;
    keeping->position = range.offset + range.count;
    if (clock_now () - keeping->looked >= NOTE_EVERY &&
        note_position (keeping, status) == -1)
      return -1;
  }
  if (r == 0)
    keeping->position = stream->header.size;
  return r;
}

/* What the stream that was opened brings, as a snapshot of the disk NAME. */
static struct manage_incoming
incoming_of (const struct receiving *receiving, const char *name)
{
  const struct stream_header *header = &receiving->stream.header;

  return (struct manage_incoming){
    .disk = name,
    .description = header->description,
    .size = header->size,
    .block_size = header->block_size,
    .storing.compression = receive_compression ? receiving->compression
                                               : header->storing.compression,
    .storing.deduplicate =
        receive_dedup ? DISK_ON : header->storing.deduplicate,
    .snapshot = header->snapshot,
    .guid = header->guid,
    .created = header->created,
    .base_guid = header->base_guid,
    .base = header->base_guid != 0 ? header->base : NULL,
    .origin = header->clone ? header->base_disk : NULL,
    .rollback = receive_rollback,
    .optional = &receiving->stream.optional,
    .resumed = header->resumed,
  };
}

/* Receive it. */
static int
receive_stream (struct receiving *receiving, const char *name,
                struct status *status)
{
  const struct manage_incoming incoming = incoming_of (receiving, name);
  struct keeping keeping = {
    .store = receiving->store,
    .disk = manage_receive (receiving->store, &incoming, status),
    .incoming = &incoming,
    .keep = receive_resumable || incoming.resumed > 0,
    .noted = incoming.resumed,
    .looked = clock_now (),
  };
  struct status ignored;
  int r;

  if (keeping.disk == NULL)
    return -1;
  receiving->stream.stalled = note_stalled;
  receiving->stream.opaque = &keeping;
  r = receive_ranges (&receiving->stream, &keeping, status);
  receiving->stream.stalled = NULL;
  if (r == -1) {
    note_position (&keeping, &ignored);
    manage_receive_cancel (receiving->store, keeping.disk);
    return -1;
  }
  if (note_position (&keeping, status) == -1) {
    manage_receive_cancel (receiving->store, keeping.disk);
    return -1;
  }
  return manage_receive_end (receiving->store, keeping.disk, &incoming, status);
}

/* A snapshot that is looked for. */
struct search {
  int64_t guid;
  char name[SNAPSHOT_NAME_MAX + 1]; /* "": not found */
};

static int
compare_guid (const struct snapshot_info *info, void *opaque)
{
  struct search *search = opaque;

  if (info->guid != search->guid)
    return 0;
  strcpy (search->name, info->name);
  return 1;
}

/* Is the snapshot that comes one of the disk NAME already?  Then that one's
 * name goes to SEARCH.  Returns 0, or -1.
 */
static int
look_for_snapshot (struct receiving *receiving, const char *name,
                   struct search *search, struct status *status)
{
  *search = (struct search){ .guid = receiving->stream.header.guid };
  if (receiving->store == NULL)
    return 0;
  if (manage_list_snapshots (receiving->store, name, compare_guid, search,
                             status) == 0)
    return 0;
  return status->error == ENOENT ? 0 : -1;
}

/* The only stream was passed by: fail, as it would have if it were received. */
static int
fail_there (struct receiving *receiving, const char *name,
            struct status *status)
{
  const struct manage_incoming incoming = incoming_of (receiving, name);
  struct disk *disk = manage_receive (receiving->store, &incoming, status);

  if (disk == NULL)
    return -1;
  manage_receive_cancel (receiving->store, disk);
  return status_fail (status, EBUSY,
                      "snapshot '%s@%s' was there, and has just been deleted",
                      name, incoming.snapshot);
}

/* Say what has come, and what cannot be done with it. */
static void
say_received (struct store *store, const char *name, const char *snapshot)
{
  struct disk_info info;
  struct status ignored;

  tool_say ("received '%s@%s'", name, snapshot);
  if (store_find (store, name, &info, &ignored) == 0 &&
      info.access == DISK_READ_ONLY)
    tool_say ("disk '%s' can only be read here: it uses a feature that this "
              "program does not have",
              name);
}

/*--------------------------------------------------------------------
 * What would be received.
 */

/* The newest snapshot that the disk NAME would have, or for NULL that of this
 * GUID of any disk; NULL where there is none.
 */
static const struct would *
find_would (const struct receiving *receiving, const char *name, int64_t guid)
{
  for (size_t i = receiving->would_count; i-- > 0;) {
    const struct would *would = &receiving->would[i];

    if (name ? strcmp (would->disk, name) == 0 : would->guid == guid)
      return would;
  }
  return NULL;
}

/* Fail as receiving the stream as disk NAME would fail, when what came before
 * it is there.
 */
static int
try_stream (struct receiving *receiving, const char *name,
            struct status *status)
{
  const struct manage_incoming incoming = incoming_of (receiving, name);
  const struct would *newest = find_would (receiving, name, 0);
  const bool is_new = incoming.base_guid == 0 || incoming.origin;
  struct disk_info info;

  if (newest && is_new)
    return status_fail (status, EEXIST,
                        "receiving disk '%s': there would be a disk '%s' "
                        "already; give another name",
                        name, name);
  if (newest && newest->guid != incoming.base_guid)
    return status_fail (status, EINVAL,
                        "receiving disk '%s': its newest snapshot would not be "
                        "'%s', with which this begins",
                        name, incoming.base);
  if (newest)
    return 0;
  /* What it is a clone of need not be there yet. */
  if (incoming.origin && find_would (receiving, NULL, incoming.base_guid))
    return receiving->store &&
                   store_find (receiving->store, name, &info, status) == 0
               ? status_fail (status, EEXIST,
                              "receiving disk '%s': there is a disk '%s' "
                              "already; give another name",
                              name, name)
               : 0;
  if (receiving->store)
    return manage_try_receive (receiving->store, &incoming, status);
  return incoming.base_guid == 0
             ? 0
             : status_fail (status, ENOENT,
                            "receiving disk '%s': there would be no snapshot "
                            "'%s', with which this begins; receive that first",
                            name, incoming.base);
}

/* Read the stream that was opened to its end, without a use for it. */
static int
read_to_end (struct receiving *receiving, struct status *status)
{
  struct stream_range range;
  int r;

  while ((r = stream_read (&receiving->stream, &range, status)) == 1)
    if (progress_report (tool_progress, range.offset,
                         receiving->stream.header.size, NULL, status) == -1)
      return -1;
  return r;
}

/* Say what the stream would become. */
static int
would_receive (struct receiving *receiving, const char *name,
               struct status *status)
{
  const struct stream_header *header = &receiving->stream.header;
  const size_t size = (receiving->would_count + 1) * sizeof (struct would);
  struct would *would;

  if (try_stream (receiving, name, status) == -1 ||
      read_to_end (receiving, status) == -1)
    return -1;
  receiving->would = tool_realloc (receiving->would, size);
  would = &receiving->would[receiving->would_count++];
  strcpy (would->disk, name);
  would->guid = header->guid;
  if (header->clone)
    tool_print ("would receive '%s@%s', of a new disk, a clone of '%s@%s'",
                name, header->snapshot, header->base_disk, header->base);
  else if (header->base_guid == 0)
    tool_print ("would receive '%s@%s', of a new disk", name, header->snapshot);
  else
    tool_print ("would receive '%s@%s', what changed since '%s'", name,
                header->snapshot, header->base);
  return 0;
}

/*--------------------------------------------------------------------
 * One stream after the other.
 */

/* The disk here to which the stream goes. */
static const char *
target_of (const struct receiving *receiving)
{
  return receiving->name ? receiving->name : receiving->stream.header.disk;
}

/* What is kept for a disk; `info.id` is 0 where that is nothing. */
struct kept {
  const char *disk;
  struct partial_info info;
};

static int
compare_kept (const struct partial_info *info, void *opaque)
{
  struct kept *kept = opaque;

  if (strcmp (info->disk_name, kept->disk) != 0)
    return 0;
  kept->info = *info;
  return 1;
}

/* Say what of the stream that has failed is kept, and how it goes on. */
static void
say_kept (struct receiving *receiving)
{
  struct kept kept = { .disk = target_of (receiving) };
  char token[STREAM_TOKEN_MAX], arrived[TOOL_SIZE_MAX], all[TOOL_SIZE_MAX];
  struct status ignored;

  if (manage_list_partial (receiving->store, compare_kept, &kept, &ignored) ==
          0 &&
      kept.info.id != 0) {
    tool_token (&kept.info, token);
    tool_say ("%s of %s of '%s@%s' are kept; to go on, send the rest: "
              "\"sqlblock send DATABASE --resume=%s\"",
              tool_size (kept.info.position, arrived),
              tool_size (kept.info.size, all), kept.disk, kept.info.snapshot,
              token);
    receiving->kept = tool_json_partial (&kept.info);
  }
}

/* Receive the stream that was opened, or pass it by. */
static int
take_stream (struct receiving *receiving, struct status *status)
{
  const struct stream_header *header = &receiving->stream.header;
  const char *name = target_of (receiving);
  struct search search;
  int r;

  if (receiving->name && header->disks > 1)
    return status_fail (status, EINVAL,
                        "%" PRIu32 " disks come together, and keep their "
                        "names; leave out '%s'",
                        header->disks, receiving->name);
  if (look_for_snapshot (receiving, name, &search, status) == -1)
    return -1;
  tool_progress_begin (tool_format ("receiving %s@%s", name, header->snapshot));
  /* What is there need not be there twice, but must be right. */
  r = search.name[0]   ? read_to_end (receiving, status)
      : common.dry_run ? would_receive (receiving, name, status)
                       : receive_stream (receiving, name, status);
  tool_progress_end (r);
  /* What is busy may be what comes in by somebody else. */
  if (r == -1 && receiving->store && status->error != EBUSY)
    say_kept (receiving);
  if (r == 0 && search.name[0])
    receiving->passed++;
  else if (r == 0) {
    receiving->received++;
    free (receiving->last);
    receiving->last = tool_format ("%s@%s", name, header->snapshot);
    if (!common.dry_run)
      say_received (receiving->store, name, header->snapshot);
  }
  return r;
}

/* Receive the stream that was opened, and those that follow it. */
static int
take_streams (struct receiving *receiving, struct status *status)
{
  const bool sequence = receiving->stream.header.count > 0;
  int r;

  do {
    r = take_stream (receiving, status);
    if (r == 0)
      r = stream_next (&receiving->stream, status);
  } while (r == 1);
  if (r == 0 && receiving->passed == 1 && receiving->received == 0 && !sequence)
    return fail_there (receiving, target_of (receiving), status);
  if (receiving->passed > 0 && common.dry_run)
    tool_print ("would do nothing about %s, there already",
                tool_count (receiving->passed, "snapshot"));
  else if (receiving->passed > 0 && (r == 0 || receiving->received > 0))
    tool_say ("%s there already", tool_count (receiving->passed, "snapshot"));
  if (r == -1 && receiving->received > 0 && !common.dry_run)
    tool_say ("what was received before it failed stays, the last is '%s'; to "
              "go on, send all again, or what came later with --from",
              receiving->last);
  return r;
}

/* Make the database PATH if it is not there, for a whole disk. */
static int
make_database (const char *path, const struct stream_header *header,
               struct status *status)
{
  if (header->base_guid != 0 || header->resumed != 0) {
    const char *disk = header->clone ? header->base_disk : header->disk;
    const int r = tool_examine (path, status);

    return r != 0 ? (r == 1 ? 0 : -1)
           : header->base_guid == 0
               ? status_fail (status, ENOENT,
                              "there is no file %s; the stream has only the "
                              "rest of snapshot '%s@%s', receive the beginning "
                              "first",
                              path, header->disk, header->snapshot)
               : status_fail (status, ENOENT,
                              "there is no file %s; the stream has only "
                              "what changed since snapshot '%s@%s', receive "
                              "that first",
                              path, disk, header->base);
  }
  return tool_make (path, header->block_size, status);
}

/* Open the stream; a file of another kind is named, with what can be done. */
static int
open_stream (struct stream *stream, int argc, char *argv[],
             struct status *status)
{
  const struct image_format *format;

  if (stream_open (stream, STDIN_FILENO, tool_interrupted, status) == 0)
    return 0;
  format = image_of_head (stream->foreign, stream->foreign_count);
  if (format == NULL)
    return -1;
  if (format->remedy == IMAGE_UNPACK)
    return status_fail (status, EINVAL,
                        "this is %s, not a stream of sqlblock send; if the "
                        "stream is in it, unpack it: \"%s FILE | sqlblock "
                        "receive %s%s%s\"",
                        format->name, format->program, argv[0],
                        argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
  return status_fail (status, EINVAL,
                      "this is %s, not a stream of sqlblock send",
                      format->name);
}

/* Give up what is kept for the disk NAME. */
static int
abort_reception (const char *database, const char *name)
{
  struct store *store;
  struct status status;

  if (name == NULL)
    return tool_usage ("--abort needs the name of the disk; \"sqlblock list\" "
                       "shows for which ones something is kept");
  if (receive_rollback || receive_dedup || receive_resumable ||
      receive_compression)
    return tool_usage ("with --abort nothing is received; leave out the other "
                       "options");
  store = tool_open (database, !common.dry_run);
  if (common.dry_run) {
    struct kept kept = { .disk = name };

    if (manage_list_partial (store, compare_kept, &kept, &status) == -1)
      return tool_fail (&status);
    if (kept.info.id == 0)
      return tool_error (ENOENT,
                         "nothing that was received for disk '%s' is "
                         "kept",
                         name);
    tool_print ("would give up what is kept of '%s@%s'", name,
                kept.info.snapshot);
    return TOOL_DONE;
  }
  if (manage_receive_abort (store, name, &status) == -1)
    return tool_fail (&status);
  tool_say ("gave up what was kept for disk '%s'", name);
  return tool_reclaim (store);
}

/* Open the database PATH, and make it if it is to be made; there is none where
 * it would be.
 */
static int
open_database (struct receiving *receiving, const char *path,
               struct status *status)
{
  const struct stream_header *header = &receiving->stream.header;

  if (common.dry_run && header->base_guid == 0) {
    const int found = tool_examine (path, status);

    if (found != 1)
      return found;
  }
  else if (make_database (path, header, status) == -1)
    return -1;
  receiving->store = tool_open (path, true);
  return 0;
}

static int
run_receive (int argc, char *argv[])
{
  struct receiving receiving = { .name = argc > 1 ? argv[1] : NULL };
  struct status status;
  uint64_t before;
  int r = tool_parse_compression (receive_compression, &receiving.compression);

  if (r != TOOL_DONE)
    return r;
  if (common.json && (common.dry_run || receive_abort))
    return tool_usage ("JSON says what is kept of a stream that is received; "
                       "leave out --json");
  if (receive_abort)
    return abort_reception (argv[0], receiving.name);
  if (isatty (STDIN_FILENO))
    return tool_error (EINVAL, "a stream is not read from a terminal; give a "
                               "file or a pipe from \"sqlblock send\"");
  if (open_stream (&receiving.stream, argc, argv, &status) == -1 ||
      open_database (&receiving, argv[0], &status) == -1) {
    stream_close (&receiving.stream);
    return tool_fail (&status);
  }
  if (common.dry_run) {
    r = take_streams (&receiving, &status);
    stream_close (&receiving.stream);
    return r == 0 ? TOOL_DONE : tool_fail (&status);
  }
  before = copy_free_pages (receiving.store);
  r = take_streams (&receiving, &status);
  stream_close (&receiving.stream);
  if (common.json)
    tool_json_print (json_pack (
        "{s:o}", "kept", receiving.kept ? receiving.kept : json_null ()));
  return copy_end (receiving.store, before, r, &status);
}

static const struct tool_option receive_options[] = {
  { "compression", 'c', "HOW", &receive_compression,
    "of a new disk:\n" COMPRESSION_HELP ";\n"
    "default: lz4" },
  { "dedup", 0, NULL, &receive_dedup,
    "a new disk stores blocks that are equal only once" },
  { "rollback", 'F', NULL, &receive_rollback,
    "give up what was written to the disk since the\n"
    "older snapshot; newer snapshots stay" },
  { "resumable", 's', NULL, &receive_resumable,
    "if the stream is cut off, keep what has arrived, for\n"
    "\"send --resume\"" },
  { "abort", 'A', NULL, &receive_abort,
    "give up what is kept for DISK; nothing is read" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_receive = {
  .name = "receive",
  .arguments = "DATABASE [DISK]",
  .summary = "Make a snapshot from a stream on standard input",
  .help =
      "Reads what \"sqlblock send\" has written. A whole snapshot becomes a\n"
      "new disk, under its own name or as DISK; the database is made if it is\n"
      "not there. What changed between two snapshots goes to the disk that\n"
      "has the older one, and must not have been written since.\n"
      "The disk and the snapshot appear when all has arrived and its\n"
      "checksums are right; else nothing is changed.\n"
      "Several streams may follow each other.  Snapshots that are there\n"
      "already are passed by, so a chain that was cut off can be sent again.\n"
      "\n"
      "The JSON is {\"kept\": ...}: null, or what is kept of a stream that "
      "was\n"
      "cut off, as \"sqlblock list\" has it under \"receiving\".\n",
  .options = receive_options,
  .common = COMMON_DRY_RUN | COMMON_JSON | COMMON_PROGRESS,
  .least = 1,
  .most = 2,
  .run = run_receive,
};

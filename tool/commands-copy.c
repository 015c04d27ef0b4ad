/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* export and import: between disks and files, images and NBD servers
 * (destination.h, source.h); and what changed, from an increment (increment.h).
 *
 * A disk that is imported appears complete or not at all (manage_receive), and
 * so does a database that is made for it (manage_build).  Holes stay holes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/count.h"
#include "base/sane.h"
#include "base/values.h"
#include "copy.h"
#include "destination.h"
#include "increment.h"
#include "nbd-export.h"
#include "secrets.h"
#include "source.h"
#include "tool.h"

/* The most seconds that --timeout may say. */
#define PATIENCE_MOST 86400

static const char *timeout_text;

#define TIMEOUT_OPTION                                                         \
  {                                                                            \
    "timeout", 0, "SECONDS", &timeout_text,                                    \
        "fail when an NBD server does not answer for so long\n"                \
        "(default 60)"                                                         \
  }

/* Has WORDS, as in a usage, the word TEXT? */
static bool
has_word (const char *words, const char *text)
{
  const size_t length = strlen (text);

  for (; words; words = strchr (words, '|'), words = words ? words + 1 : NULL)
    if (strcspn (words, "|") == length && strncmp (words, text, length) == 0)
      return true;
  return false;
}

/* Check the value of --format, and read that of --timeout.  Returns an exit
 * code.
 */
static int
read_format (const char *format, const char *words, unsigned *patience)
{
  char *end;
  unsigned long seconds;

  if (format && !has_word (words, format))
    return tool_usage ("'%s' is no format: one of %s", format, words);
  *patience = NBD_EXPORT_PATIENCE;
  if (timeout_text == NULL)
    return TOOL_DONE;
  seconds = strtoul (timeout_text, &end, 10);
  if (timeout_text[0] < '0' || timeout_text[0] > '9' || *end || seconds == 0 ||
      seconds > PATIENCE_MOST)
    return tool_usage ("--timeout is a number of seconds, up to a day, not "
                       "'%s'",
                       timeout_text);
  *patience = seconds;
  return TOOL_DONE;
}

/*--------------------------------------------------------------------
 * export
 */

static bool export_force, export_overwrite, export_compress;
static const char *export_format;

/* What both commands say in JSON; each of them adds what it knows. */
static json_t *
json_of_copy (const char *name, uint64_t size, const char *format,
              const char *file)
{
  return json_pack ("{s:o, s:o, s:o, s:o, s:b}", "name",
                    tool_json_string (name), "size", tool_json_size (size),
                    "format", tool_json_string (format ? format : "raw"),
                    "file", tool_json_string (file), "dry_run", common.dry_run);
}

/* Copy DISK to where it goes, unless it is only to be tried. */
static int
export_disk (struct disk *disk, struct destination *destination,
             struct status *status)
{
  if (common.dry_run)
    return 0;
  return copy_disk (disk, destination_take, destination, status) == 0
             ? destination_finish (destination, status)
             : -1;
}

/* Read the options.  Returns an exit code. */
static int
read_export_options (struct destination_wish *wish)
{
  const int code =
      read_format (export_format, destination_formats, &wish->patience);

  if (code != TOOL_DONE)
    return code;
  wish->format = export_format;
  wish->compress = export_compress;
  wish->overwrite = export_overwrite || export_force;
  wish->dry_run = common.dry_run;
  if (common.json && strcmp (wish->path, "-") == 0)
    return tool_usage ("the disk goes to standard output, where JSON would be "
                       "among it; leave out --json, or give a file");
  if (export_compress &&
      (export_format == NULL || strcmp (export_format, "qcow2") != 0))
    return tool_usage ("--compress goes with --format=qcow2 only");
  return TOOL_DONE;
}

/* Images are of whole sectors. */
static void
warn_of_size (const char *disk, uint64_t size)
{
  if (export_format && strcmp (export_format, "qcow2") == 0 && size % 512 != 0)
    tool_error (0,
                "warning: '%s' has %" PRIu64 " bytes; the image has more, to "
                "the next multiple of 512, and these are zeroes",
                disk, size);
}

/* Say what was done, or what would be. */
static void
say_exported (const struct resolved *source, const struct destination *to)
{
  char text[TOOL_SIZE_MAX];
  json_t *object;

  warn_of_size (source->name, source->size);
  if (common.json) {
    object = json_of_copy (source->name, source->size, export_format,
                           destination_name (to));
    json_object_set_new (object, "name_time",
                         source->time ? tool_json_string (source->time)
                                      : json_null ());
    tool_json_print (object);
  }
  else if (common.dry_run)
    tool_print ("would export %s, %s, to %s", source->text,
                tool_amount (source->size, text), destination_name (to));
  else
    tool_say ("exported %s, %s, to %s", source->text,
              tool_amount (source->size, text), destination_name (to));
}

static int
run_export (int argc, char *argv[])
{
  struct destination_wish wish = { .path = argv[2] };
  struct destination *destination;
  struct resolved source;
  struct status status;
  struct store *store;
  struct disk *disk;
  int r;

  (void)argc;
  r = read_export_options (&wish);
  if (r != TOOL_DONE)
    return r;
  signal (SIGPIPE, SIG_IGN);
  store = tool_open (argv[0], false);
  if (tool_check_output (argv[0], argv[2], &status) == -1 ||
      tool_resolve (store, argv[1], &source, &status) == -1 ||
      secrets_check (store, source.name, &status) == -1)
    return tool_fail (&status);
  disk = manage_pin (store, source.name, &status);
  if (disk == NULL)
    return tool_fail (&status);
  source.size = disk_get_info (disk)->size;
  tool_progress_begin (tool_format ("exporting %s", source.name));
  destination = destination_open (&wish, source.size, &status);
  r = destination ? export_disk (disk, destination, &status) : -1;
  tool_progress_end (r);
  manage_unpin (store, disk);
  if (r == 0)
    say_exported (&source, destination);
  if (destination)
    destination_close (destination);
  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

static const struct tool_option export_options[] = {
  { "overwrite", 0, NULL, &export_overwrite,
    "replace FILE if it is there, or write to it if it is\n"
    "a block device" },
  { "force", 'f', NULL, &export_force, "the same, by its old name" },
  { "format", 0, "FORMAT", &export_format,
    "what FILE becomes: raw (default) or qcow2" },
  { "compress", 0, NULL, &export_compress,
    "compress the blocks of the qcow2 image" },
  TIMEOUT_OPTION,
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_export = {
  .name = "export",
  .arguments = "DATABASE DISK[@SNAPSHOT] FILE|-",
  .summary = "Copy a disk into a file, or to standard output or a server",
  .help = "Copies the disk, as it is at this moment, or a snapshot of it.  A\n"
          "server may go on writing meanwhile.  What is not stored becomes a\n"
          "hole in FILE.  FILE appears when it is complete; one that is there\n"
          "already is replaced only with --overwrite (exit code 4), and a\n"
          "database never.  SNAPSHOT may be a time.\n",
  .options = export_options,
  .common = COMMON_PROGRESS | COMMON_DRY_RUN | COMMON_JSON | COMMON_KEY,
  .least = 3,
  .most = 3,
  .run = run_export,
};

/*--------------------------------------------------------------------
 * import
 */

static const char *import_size, *import_block_size, *import_description;
static const char *import_compression, *import_format;
static bool import_overwrite, import_create, import_dedup, import_raw;
static bool import_encrypt;
static bool import_increment, import_rollback;

static const char *import_database;

static bool
all_zero (const char *bytes, size_t length)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0;
}

/* Where a disk is written that comes in: one of both. */
struct target_disk {
  struct disk *disk;   /* in a database that is there */
  char *buffer;        /* for that */
  struct build *build; /* in one that is being made */
  uint64_t size;       /* bytes */
};

_Static_assert(COPY_PIECE <= MANAGE_BUILD_ROOM, "a piece needs more room");

/* Where the next piece is read to. */
static char *
room_for_piece (const struct target_disk *target)
{
  return target->build ? manage_build_room (target->build) : target->buffer;
}

/* Store LENGTH bytes; the disk begins as zeroes. */
static int
store_piece (struct target_disk *target, const char *buffer, uint64_t offset,
             size_t length, struct status *status)
{
  if (all_zero (buffer, length))
    return 0;
  return target->build
             ? manage_build_write (target->build, buffer, offset, length,
                                   status)
             : disk_fill (target->disk, buffer, offset, length, status);
}

/* Copy what has a size from its beginning to its end. */
static int
import_sized (struct source *source, struct target_disk *target,
              struct status *status)
{
  const uint64_t size = source_size (source);
  uint64_t offset = 0, end = 0, piece;
  bool zero = false;
  char *buffer;
  ssize_t got;

  while (offset < size) {
    if (progress_report (tool_progress, offset, size, NULL, status) == -1)
      return -1;
    if (offset == end &&
        source_extent (source, offset, &end, &zero, status) == -1)
      return -1;
    if (zero) {
      offset = end;
      continue;
    }
    buffer = room_for_piece (target);
    piece = COPY_PIECE - offset % COPY_PIECE;
    got = source_read (source, buffer, offset,
                       end - offset < piece ? end - offset : piece, status);
    if (got == -1 || store_piece (target, buffer, offset, got, status) == -1)
      return -1;
    offset += got;
  }
  return source_check_end (source, status);
}

/* The size of a disk while nobody knows how much will come; no disk can be
 * larger.
 */
#define UNKNOWN_SIZE INT64_MAX

/* A pipe has ended.  It is to have had WANTED bytes, or for 0 any number: one
 * that breaks looks like one that ends.
 */
static int
check_end (struct source *source, uint64_t wanted, struct status *status)
{
  const uint64_t size = source_size (source);

  if (source_check_end (source, status) == -1)
    return -1;
  if (wanted == 0 || size >= wanted)
    return 0;
  return status_fail (
      status, EINVAL, "%s ended after %" PRIu64 " of %s; if that was all, %s",
      source_name (source), size, COUNT (wanted, "byte"),
      import_overwrite ? "give it as a file, not through a pipe"
                       : "leave out --size, and use \"sqlblock resize\" "
                         "afterwards");
}

/* Copy a pipe to its end, which says how long it was, unless that is WANTED. */
static int
import_pipe (struct source *source, struct target_disk *target, uint64_t wanted,
             struct status *status)
{
  const uint64_t most = target->size;
  const uint64_t total = most == UNKNOWN_SIZE ? 0 : most;
  uint64_t offset = 0;
  char *buffer;
  ssize_t got;

  while (buffer = room_for_piece (target),
         (got = source_read (source, buffer, 0, COPY_PIECE, status)) > 0) {
    if (progress_report (tool_progress, offset, total, NULL, status) == -1)
      return -1;
    if ((uint64_t)got > most - offset)
      return status_fail (status, EINVAL,
                          "%s has more than the disk, which has %s",
                          source_name (source), COUNT (most, "byte"));
    if (store_piece (target, buffer, offset, got, status) == -1)
      return -1;
    offset += got;
  }
  return got == -1 ? -1 : check_end (source, wanted, status);
}

/* Copy SOURCE into TARGET; ANY_SIZE says that its size is that of the disk. */
static int
import_source (struct source *source, struct target_disk *target, bool any_size,
               struct status *status)
{
  int r;

  if (target->build == NULL)
    target->buffer = tool_alloc (COPY_PIECE);
  r = source_is_sized (source)
          ? import_sized (source, target, status)
          : import_pipe (source, target, any_size ? 0 : target->size, status);
  /* After a failure a server may still have it. */
  if (r == 0)
    free (target->buffer);
  return r;
}

/* Fill a new disk of STORE, or for NULL a new database, and have it appear.
 * incoming->size is 0 where the size is that of the source.
 */
static int
import_disk (struct store *store, struct source *source,
             struct manage_incoming *incoming, struct status *status)
{
  const bool any_size = incoming->size == 0;
  struct target_disk target = { .disk = NULL };
  int r;

  if (any_size)
    incoming->size =
        source_is_sized (source) ? source_size (source) : UNKNOWN_SIZE;
  if (source_size (source) > incoming->size)
    return status_fail (status, EINVAL, "%s has %s, but the disk %" PRIu64,
                        source_name (source),
                        COUNT (source_size (source), "byte"), incoming->size);
  target.size = incoming->size;
  if (store)
    target.disk = manage_receive (store, incoming, status);
  else
    target.build =
        manage_build (import_database, incoming, secrets_given (false), status);
  if (target.disk == NULL && target.build == NULL)
    return -1;
  r = import_source (source, &target, any_size, status);
  if (r == 0 && any_size)
    incoming->size = source_size (source);
  if (r == 0 && target.build)
    return manage_build_end (target.build, incoming->size, status);
  if (r == 0)
    return manage_receive_end (store, target.disk, incoming, status);
  if (target.build)
    manage_build_cancel (target.build);
  else
    manage_receive_cancel (store, target.disk);
  return -1;
}

/* Read the options.  Returns an exit code. */
static int
read_options (struct manage_incoming *incoming, unsigned *patience)
{
  struct disk_options options;
  struct status status;
  const int code = read_format (import_format, source_formats, patience);

  if (code != TOOL_DONE)
    return code;
  if (import_raw && import_format && strcmp (import_format, "raw") != 0)
    return tool_usage ("--raw is --format=raw, not --format=%s", import_format);
  if (import_raw)
    import_format = "raw";
  if (import_increment && (import_size || import_overwrite || import_format))
    return tool_usage ("--increment says itself what the disk becomes; leave "
                       "out --size, --overwrite and --format");
  if (import_increment && common.dry_run)
    return tool_usage ("an increment cannot be tried; leave out --dry-run");
  if (!import_encrypt && !import_overwrite && !import_increment &&
      (common.key_file || common.passphrase))
    return tool_usage ("a new disk gets a key with --encrypt");
  if (import_rollback && !import_increment)
    return tool_usage ("--rollback goes with --increment only");
  if (import_overwrite &&
      (import_size || import_block_size || import_description ||
       import_compression || import_dedup))
    return tool_usage ("--overwrite leaves size, block size, compression, "
                       "dedup and description of the disk as they are");
  if (import_overwrite && import_create)
    return tool_usage ("--overwrite needs a disk that is there, so --create "
                       "makes nothing; leave one of them out");
  if ((import_size &&
       values_disk_size (import_size, &incoming->size, &status) == -1) ||
      (import_block_size &&
       values_block_size (import_block_size, &incoming->block_size, &status) ==
           -1))
    return tool_wrong_value (&status);
  incoming->description = import_description;
  incoming->replace = import_overwrite;
  incoming->rollback = import_rollback;
  incoming->storing.deduplicate = import_dedup ? DISK_ON : DISK_UNSAID;
  options = (struct disk_options){ .block_size = incoming->block_size,
                                   .description = incoming->description };
  if (sane_check_options (&options, &status) == -1 ||
      (import_encrypt && secrets_make_key (&incoming->encryption,
                                           &incoming->slot, &status) == -1))
    return tool_fail (&status);
  return tool_parse_compression (import_compression,
                                 &incoming->storing.compression);
}

/* Take over what the disk that is to be overwritten is. */
static int
find_old_disk (struct store *store, struct manage_incoming *incoming,
               struct status *status)
{
  struct disk_info info;

  if (store_find (store, incoming->disk, &info, status) == -1)
    return -1;
  incoming->size = info.size;
  incoming->block_size = info.block_size;
  return secrets_check (store, incoming->disk, status);
}

/* Say what has come to a disk that has SIZE bytes. */
static void
say_applied (const char *disk, uint64_t size, const char *file,
             const struct increment_ends *ends)
{
  json_t *object;

  if (common.json) {
    object = json_of_copy (disk, size, "increment", file);
    json_object_set_new (object, "snapshot",
                         ends->to_guid ? tool_json_string (ends->to)
                                       : json_null ());
    tool_json_print (object);
  }
  else if (ends->from_guid && ends->to_guid)
    tool_say ("imported what changed: '%s@%s'", disk, ends->to);
  else if (ends->to_guid)
    tool_say ("imported '%s@%s', a new disk", disk, ends->to);
  else
    tool_say ("imported what changed: '%s' has no snapshot of that, so no "
              "increment can go on from there",
              disk);
}

/* The command with --increment. */
static int
import_changes (struct increment_source *source, const char *file,
                struct manage_incoming *incoming)
{
  struct store *store = tool_open (import_database, true);
  const uint64_t before = copy_free_pages (store);
  struct status status;
  int r;

  tool_progress_begin (tool_format ("importing %s", incoming->disk));
  r = secrets_check (store, incoming->disk, &status);
  if (r == 0)
    r = increment_apply (store, source, incoming, &status);
  tool_progress_end (r);
  if (r == 0)
    say_applied (incoming->disk, incoming->size, file,
                 increment_source_ends (source));
  return copy_end (store, before, r, &status);
}

static int
fail_no_database (const char *database)
{
  return tool_error (ENOENT, "there is no file %s; with --create it is made",
                     database);
}

static int
run_import_increment (const char *name, struct manage_incoming *incoming,
                      unsigned patience)
{
  const char *database = import_database;
  struct increment_source *source;
  struct status status;
  int r;

  if (!import_create && tool_examine (database, &status) == 0)
    return fail_no_database (database);
  source = increment_source_open (name, patience, &status);
  if (source == NULL)
    return tool_fail (&status);
  if (increment_source_is_of (source, database))
    r = tool_error (EINVAL, "%s is the database %s, or belongs to it", name,
                    database);
  else if (import_create &&
           tool_make (database, incoming->block_size, &status) == -1)
    r = tool_fail (&status);
  else
    r = import_changes (source, name, incoming);
  increment_source_close (source);
  return r;
}

/* Is the database not there yet, and is to be made?  On a cluster nothing can
 * be renamed, and a server has its own.  Returns 1, 0, or -1.
 */
static int
makes_database (struct status *status)
{
  const int found = import_create ? tool_examine (import_database, status) : 1;

  if (found != 0)
    return found == -1 ? -1 : 0;
  return !store_is_on_cluster (import_database);
}

/* Say what was done, or what would be. */
static void
say_imported (const struct source *source,
              const struct manage_incoming *incoming)
{
  char text[TOOL_SIZE_MAX];
  json_t *object;

  if (common.json) {
    object = json_of_copy (incoming->disk, incoming->size, import_format,
                           source_name (source));
    json_object_set_new (object, "snapshot", json_null ());
    if (incoming->size == 0)
      json_object_set_new (object, "size", json_null ());
    tool_json_print (object);
  }
  else if (common.dry_run)
    tool_print ("would import %s as disk '%s', of %s", source_name (source),
                incoming->disk,
                incoming->size ? tool_amount (incoming->size, text)
                               : "as many bytes as come");
  else
    tool_say ("imported %s as disk '%s', of %s", source_name (source),
              incoming->disk, tool_amount (incoming->size, text));
}

/* Import into a database that is made for it.  Returns an exit code. */
static int
import_new (struct source *source, struct manage_incoming *incoming)
{
  struct status status;
  int r;

  tool_progress_begin (tool_format ("importing %s", incoming->disk));
  r = import_disk (NULL, source, incoming, &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_fail (&status);
  say_imported (source, incoming);
  return TOOL_DONE;
}

/* The same into one that is there. */
static int
import_there (struct source *source, struct manage_incoming *incoming)
{
  struct store *store = tool_open (import_database, true);
  struct status status;
  uint64_t before;
  int r;

  if (import_overwrite && find_old_disk (store, incoming, &status) == -1)
    return tool_fail (&status);
  before = copy_free_pages (store);
  tool_progress_begin (tool_format ("importing %s", incoming->disk));
  r = import_disk (store, source, incoming, &status);
  tool_progress_end (r);
  if (r == 0)
    say_imported (source, incoming);
  r = r == -1 ? tool_fail (&status) : TOOL_DONE;
  if (r != TOOL_DONE && status.error == ENOSPC)
    copy_give_back (store, before);
  else if (r != TOOL_DONE || import_overwrite)
    copy_free_space (store);
  return r;
}

/* Would it be done?  In a database that is there, or for NULL in a new one. */
static int
try_target (struct store *store, const struct manage_incoming *incoming,
            struct status *status)
{
  struct manage_incoming wanted = *incoming;

  if (wanted.size == 0)
    wanted.size = UNKNOWN_SIZE;
  return store ? manage_try_receive (store, &wanted, status)
               : manage_try_build (import_database, &wanted, status);
}

/* What would be done, or why it would fail.  Returns an exit code. */
static int
try_import (struct source *source, struct manage_incoming *incoming, bool new)
{
  struct store *store = new ? NULL : tool_open (import_database, false);
  struct status status;

  if (import_overwrite && find_old_disk (store, incoming, &status) == -1)
    return tool_fail (&status);
  if (incoming->size == 0)
    incoming->size = source_size (source);
  if (source_size (source) > incoming->size)
    return tool_error (EINVAL, "%s has %s, but the disk %" PRIu64,
                       source_name (source),
                       COUNT (source_size (source), "byte"), incoming->size);
  if (try_target (store, incoming, &status) == -1)
    return tool_fail (&status);
  say_imported (source, incoming);
  return TOOL_DONE;
}

static int
import_from (struct source *source, struct manage_incoming *incoming)
{
  struct status status;
  const int new = makes_database (&status);

  if (new == -1)
    return tool_fail (&status);
  if (!import_create && tool_examine (import_database, &status) == 0)
    return fail_no_database (import_database);
  if (common.dry_run)
    return try_import (source, incoming, new);
  if (new)
    return import_new (source, incoming);
  if (import_create &&
      tool_make (import_database, incoming->block_size, &status) == -1)
    return tool_fail (&status);
  return import_there (source, incoming);
}

static int
run_import (int argc, char *argv[])
{
  struct manage_incoming incoming = { .disk = argv[1] };
  struct source_wish wish = {
    .name = argv[2],
    .database = argv[0],
    .disk = argv[1],
  };
  struct source *source;
  struct status status;
  int r;

  (void)argc;
  r = read_options (&incoming, &wish.patience);
  if (r != TOOL_DONE)
    return r;
  wish.format = import_format;
  import_database = argv[0];
  if (import_increment)
    return run_import_increment (argv[2], &incoming, wish.patience);
  source = source_open (&wish, &status);
  if (source == NULL)
    return tool_fail (&status);
  r = import_from (source, &incoming);
  source_close (source);
  return r;
}

static const struct tool_option import_options[] = {
  { "size", 's', "SIZE", &import_size,
    "the size of the disk; default: that of FILE" },
  { "block-size", 'b', "SIZE", &import_block_size,
    "the size of its blocks; default: 4k" },
  { "compression", 'c', "HOW", &import_compression,
    COMPRESSION_HELP ";\ndefault: lz4" },
  { "dedup", 0, NULL, &import_dedup, "store blocks that are equal only once" },
  { "encrypt", 0, NULL, &import_encrypt,
    "encrypt a new disk; give --key-file or --passphrase" },
  { "description", 'd', "TEXT", &import_description, "what it is for" },
  { "overwrite", 0, NULL, &import_overwrite,
    "replace the contents of a disk that exists; its\n"
    "snapshots stay as they are, and FILE must fit" },
  { "format", 0, "FORMAT", &import_format,
    "what FILE is: raw (default, if it looks like nothing\n"
    "else), qcow2, vmdk, vdi, vhdx, or a raw disk that is\n"
    "compressed: gzip, xz, zstd" },
  { "raw", 0, NULL, &import_raw,
    "the same as --format=raw: take FILE as it is,\n"
    "whatever it looks like" },
  { "create", 0, NULL, &import_create, "make DATABASE if it is not there" },
  { "increment", 0, NULL, &import_increment,
    "FILE is what changed between two snapshots: the\n"
    "URI of an export DISK@A..B, or a file with FILE.map" },
  { "rollback", 'F', NULL, &import_rollback,
    "with --increment: give up what was written to the\n"
    "disk since the older snapshot; newer snapshots stay" },
  TIMEOUT_OPTION,
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_import = {
  .name = "import",
  .arguments = "DATABASE DISK FILE|-",
  .summary = "Make a disk from a raw file, or from standard input",
  .help =
      "Makes the disk, which must not be there yet. It appears when all of it\n"
      "has arrived. Holes and zeroes take no space. Images of other formats "
      "and\n"
      "compressed files are refused, with what to do. A pipe must bring as "
      "much\n"
      "as --size says.\n"
      "\n"
      "With --increment FILE goes to a disk that is at the older of two "
      "snapshots,\n"
      "which then gets the newer one:\n"
      "\n"
      "  sqlblock import --increment copy.sqlite web "
      "nbd://host/web@..monday\n"
      "  sqlblock import --increment copy.sqlite web "
      "nbd://host/web@monday..tuesday\n",
  .options = import_options,
  .common = COMMON_PROGRESS | COMMON_DRY_RUN | COMMON_JSON | COMMON_KEY,
  .least = 3,
  .most = 3,
  .run = run_import,
};

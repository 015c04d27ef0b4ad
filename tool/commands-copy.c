/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* export and import: between disks and raw files; and what changed, from an
 * increment (increment.h).
 *
 * A file appears under its name complete or not at all, like everything
 * that this program makes: it has no name while it is written.  A disk that
 * is imported does as well (manage_receive).  Holes stay holes.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sane.h"
#include "base/values.h"
#include "copy.h"
#include "base/count.h"
#include "image.h"
#include "increment.h"
#include "tool.h"

/*--------------------------------------------------------------------
 * export
 */

enum output_kind { REGULAR, DEVICE, PIPE };

static bool export_force, export_overwrite;

/* Where a disk is written to. */
struct output {
  const char *path;
  enum output_kind kind;
  int fd;
  char *final;     /* REGULAR: the name it gets */
  struct stat old; /* REGULAR: the file that it replaces */
  char *temporary; /* REGULAR: the name it has, NULL: none */
  uint64_t total;  /* bytes that are to come */
  char *zeroes;    /* COPY_PIECE of them, made when needed */
};

static int
fail_errno (struct status *status, const char *doing, const char *path)
{
  if (errno == EINTR)
    return status_fail (status, ECANCELED, "%s %s: interrupted", doing, path);
  return status_fail (status, errno, "%s %s: %s", doing, path,
                      strerror (errno));
}

/* Write all of LENGTH bytes, at OFFSET where the output has places. */
static int
write_all (struct output *output, const char *data, uint64_t length,
           uint64_t offset, struct status *status)
{
  ssize_t n;

  while (length > 0) {
    n = output->kind == PIPE ? write (output->fd, data, length)
                             : pwrite (output->fd, data, length, offset);
    if (n == -1 && errno == EINTR && !tool_interrupted ())
      continue;
    if (n == -1)
      return fail_errno (status, "writing", output->path);
    data += n;
    offset += n;
    length -= n;
  }
  return 0;
}

/* Make a range zeroes.  In a new file it is so already. */
static int
write_zeroes (struct output *output, uint64_t offset, uint64_t count,
              struct status *status)
{
  uint64_t piece;

  if (output->kind == REGULAR ||
      (output->kind == DEVICE &&
       fallocate (output->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  offset, count) == 0))
    return 0;
  if (output->zeroes == NULL)
    output->zeroes = tool_alloc (COPY_PIECE);
  for (; count > 0; offset += piece, count -= piece) {
    piece = count < COPY_PIECE ? count : COPY_PIECE;
    if (progress_report (tool_progress, offset, output->total, NULL, status) ==
        -1)
      return -1;
    if (write_all (output, output->zeroes, piece, offset, status) == -1)
      return -1;
  }
  return 0;
}

static int
export_piece (const struct stream_range *piece, void *opaque,
              struct status *status)
{
  struct output *output = opaque;

  if (progress_report (tool_progress, piece->offset, output->total, NULL,
                       status) == -1)
    return -1;
  if (piece->data == NULL)
    return write_zeroes (output, piece->offset, piece->count, status);
  return write_all (output, piece->data, piece->count, piece->offset, status);
}

/* Make a file in the directory of output->final, without a name where the
 * file system can do that: then nothing is left of it after a crash.
 */
static int
open_new_file (struct output *output, struct status *status)
{
  char *copy = tool_strdup (output->final);

  output->kind = REGULAR;
  output->fd = open (dirname (copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  free (copy);
  if (output->fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    const mode_t mask = umask (0);

    umask (mask);
    output->temporary = tool_format ("%s.new-XXXXXX", output->final);
    output->fd = mkostemp (output->temporary, O_CLOEXEC);
    if (output->fd >= 0 && fchmod (output->fd, 0666 & ~mask) == -1)
      return fail_errno (status, "creating", output->path);
  }
  if (output->fd == -1 || ftruncate (output->fd, output->total) == -1)
    return fail_errno (status, "creating", output->path);
  return 0;
}

/* Give the new file the owner and the mode of the one that it replaces. */
static int
keep_owner (const struct output *output, struct status *status)
{
  struct stat st;

  if (fstat (output->fd, &st) == -1)
    return fail_errno (status, "creating", output->path);
  if ((st.st_uid != output->old.st_uid || st.st_gid != output->old.st_gid) &&
      fchown (output->fd, output->old.st_uid, output->old.st_gid) == -1)
    return status_fail (status, errno,
                        "%s belongs to another user or group, and a new one "
                        "that does cannot be made: %s; remove it first, then "
                        "the new one is yours",
                        output->path, strerror (errno));
  /* After fchown, which takes some bits away. */
  if (fchmod (output->fd, output->old.st_mode & 07777) == -1)
    return fail_errno (status, "creating", output->path);
  return 0;
}

static int
open_device (struct output *output, struct status *status)
{
  off_t size;

  output->kind = DEVICE;
  output->fd = open (output->path, O_RDWR | O_EXCL | O_CLOEXEC);
  size = output->fd >= 0 ? lseek (output->fd, 0, SEEK_END) : -1;
  if (size == -1)
    return fail_errno (status, "opening", output->path);
  if ((uint64_t)size < output->total)
    return status_fail (status, ENOSPC, "%s has %s, but the disk has %" PRIu64,
                        output->path, COUNT (size, "byte"), output->total);
  return 0;
}

static int
open_pipe (struct output *output, struct status *status)
{
  output->kind = PIPE;
  if (strcmp (output->path, "-") == 0) {
    output->fd = STDOUT_FILENO;
    output->path = "standard output";
  }
  else
    output->fd = open (output->path, O_WRONLY | O_CLOEXEC);
  if (output->fd == -1)
    return fail_errno (status, "opening", output->path);
  if (isatty (output->fd))
    return status_fail (status, EINVAL,
                        "a disk is not written to a terminal; give a file, "
                        "or a pipe to another program");
  return 0;
}

/* A database is no image of a disk: with it would go all that it has, also
 * snapshots that are held, and under a server that has it open.
 */
static int
check_no_database (const struct output *output, struct status *status)
{
  struct status other;
  const int r = store_examine (output->path, &other);

  if (r == 0 || (r == -1 && other.error != ENOTSUP))
    return 0;
  return status_fail (status, EEXIST,
                      "%s is a database of sqlblock, which is not replaced; "
                      "give another file, or remove it first",
                      output->path);
}

/* Open what output->path names, for output->total bytes. */
static int
open_output (struct output *output, struct status *status)
{
  struct stat st;

  if (strcmp (output->path, "-") == 0)
    return open_pipe (output, status);
  if (stat (output->path, &st) == -1) {
    if (errno != ENOENT)
      return fail_errno (status, "opening", output->path);
    if (lstat (output->path, &st) == 0)
      return status_fail (status, EEXIST,
                          "%s is a symbolic link to what is not there; give "
                          "the file itself, or remove the link",
                          output->path);
    output->final = tool_strdup (output->path);
    return open_new_file (output, status);
  }
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode))
    return open_pipe (output, status);
  if (!export_overwrite)
    return status_fail (status, EEXIST,
                        "%s is there already; --overwrite (or --force) "
                        "replaces what it has",
                        output->path);
  if (S_ISBLK (st.st_mode))
    return open_device (output, status);
  if (check_no_database (output, status) == -1)
    return -1;
  output->final = realpath (output->path, NULL);
  if (output->final == NULL)
    return fail_errno (status, "opening", output->path);
  output->old = st;
  if (open_new_file (output, status) == -1)
    return -1;
  return keep_owner (output, status);
}

/* Give a file without a name a temporary one. */
static int
name_file (struct output *output)
{
  char *descriptor;

  if (output->temporary)
    return 0;
  descriptor = tool_format ("/proc/self/fd/%d", output->fd);
  output->temporary =
      tool_format ("%s.new-%ld", output->final, (long)getpid ());
  unlink (output->temporary);
  return linkat (AT_FDCWD, descriptor, AT_FDCWD, output->temporary,
                 AT_SYMLINK_FOLLOW);
}

/* Give the complete file its name. */
static int
publish (struct output *output, struct status *status)
{
  char *copy = tool_strdup (output->final);
  int directory, r;

  if (name_file (output) == -1)
    return fail_errno (status, "creating", output->path);
  r = export_overwrite ? rename (output->temporary, output->final)
                       : store_rename_new (output->temporary, output->final);
  if (r == -1)
    return fail_errno (status, "creating", output->path);
  directory = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (copy);
  if (directory == -1 || fsync (directory) == -1)
    return fail_errno (status, "creating", output->path);
  close (directory);
  return 0;
}

/* Make what was written durable. */
static int
finish_output (struct output *output, struct status *status)
{
  if (fsync (output->fd) == -1 &&
      (output->kind != PIPE || (errno != EINVAL && errno != EROFS)))
    return fail_errno (status, "syncing", output->path);
  return output->kind == REGULAR ? publish (output, status) : 0;
}

static int
export_disk (struct disk *disk, struct output *output, struct status *status)
{
  int r;

  output->total = disk_get_info (disk)->size;
  r = open_output (output, status);
  if (r == 0)
    r = copy_disk (disk, export_piece, output, status);
  if (r == 0)
    r = finish_output (output, status);
  if (output->temporary)
    unlink (output->temporary);
  return r;
}

static int
run_export (int argc, char *argv[])
{
  struct output output = { .path = argv[2], .fd = -1 };
  char text[TOOL_SIZE_MAX];
  struct resolved source;
  struct status status;
  struct store *store;
  struct disk *disk;
  int r;

  (void)argc;
  export_overwrite |= export_force;
  signal (SIGPIPE, SIG_IGN);
  store = tool_open (argv[0], false);
  if (tool_check_output (argv[0], argv[2], &status) == -1 ||
      tool_resolve (store, argv[1], &source, &status) == -1)
    return tool_fail (&status);
  disk = manage_pin (store, source.name, &status);
  if (disk == NULL)
    return tool_fail (&status);
  tool_progress_begin (tool_format ("exporting %s", source.name));
  r = export_disk (disk, &output, &status);
  tool_progress_end (r);
  manage_unpin (store, disk);
  if (r == -1)
    return tool_fail (&status);
  tool_say ("exported %s, %s, to %s", source.text,
            tool_amount (output.total, text), output.path);
  return TOOL_DONE;
}

static const struct tool_option export_options[] = {
  { "overwrite", 0, NULL, &export_overwrite,
    "replace FILE if it is there, or write to it if it is\n"
    "a block device" },
  { "force", 'f', NULL, &export_force, "the same, by its old name" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_export = {
  .name = "export",
  .arguments = "DATABASE DISK[@SNAPSHOT] FILE|-",
  .summary = "Copy a disk into a raw file, or to standard output",
  .help = "Copies the disk, as it is at this moment, or a snapshot of it.  A\n"
          "server may go on writing meanwhile.  What is not stored becomes a\n"
          "hole in FILE.  FILE appears when it is complete; one that is there\n"
          "already is replaced only with --overwrite (exit code 4), and a\n"
          "database never.  SNAPSHOT may be a time.\n",
  .options = export_options,
  .common = COMMON_PROGRESS,
  .least = 3,
  .most = 3,
  .run = run_export,
};

/*--------------------------------------------------------------------
 * import
 */

static const char *import_size, *import_block_size, *import_description;
static const char *import_compression;
static bool import_overwrite, import_create, import_dedup, import_raw;
static bool import_increment, import_rollback;

/* For advice: what the user wrote. */
static const char *import_database, *import_disk_name;

/* What a disk is read from. */
struct input {
  const char *path;
  int fd;
  bool seekable;
  uint64_t size; /* bytes; of a pipe what has come so far */
  char *buffer;  /* COPY_PIECE */

  /* The beginning of a pipe, and how much of it was used; its last bytes. */
  char head[IMAGE_HEAD], tail[IMAGE_TAIL];
  size_t head_count, head_used, tail_count;
};

static int
open_input (struct input *input, struct status *status)
{
  if (strcmp (input->path, "-") == 0) {
    input->fd = STDIN_FILENO;
    input->path = "standard input";
  }
  else
    input->fd = open (input->path, O_RDONLY | O_CLOEXEC);
  return input->fd == -1 ? fail_errno (status, "opening", input->path) : 0;
}

/* Find out how large the input is, if it has a size. */
static int
measure_input (struct input *input, struct status *status)
{
  struct stat st;
  off_t end;

  if (fstat (input->fd, &st) == -1)
    return fail_errno (status, "opening", input->path);
  if (isatty (input->fd))
    return status_fail (status, EINVAL,
                        "a disk is not read from a terminal; give a file, or "
                        "a pipe from another program");
  if (S_ISDIR (st.st_mode))
    return status_fail (status, EISDIR, "%s is a directory", input->path);
  /* Standard input of which something was read already is like a pipe. */
  if ((!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)) ||
      lseek (input->fd, 0, SEEK_CUR) != 0)
    return 0;
  end = lseek (input->fd, 0, SEEK_END);
  if (end == -1)
    return fail_errno (status, "opening", input->path);
  if (end == 0)
    return status_fail (status, EINVAL, "%s is empty", input->path);
  input->seekable = true;
  input->size = end;
  return 0;
}

/* What is read must not be what is written to meanwhile. */
static int
check_input (const char *database, const struct input *input,
             struct status *status)
{
  if (!store_has_descriptor (database, input->fd))
    return 0;
  return status_fail (status, EINVAL,
                      "%s is the database %s, or belongs to it; a disk is "
                      "copied by \"sqlblock clone\"",
                      input->path, database);
}

/* Fill BUFFER.  Returns how many bytes came, fewer only at the end, or -1. */
static ssize_t
read_bytes (const struct input *input, char *buffer, uint64_t offset,
            size_t length, struct status *status)
{
  size_t got = 0;
  ssize_t n;

  while (got < length) {
    n = input->seekable
            ? pread (input->fd, buffer + got, length - got, offset + got)
            : read (input->fd, buffer + got, length - got);
    if (n == 0)
      break;
    if (n == -1 && errno == EINTR && !tool_interrupted ())
      continue;
    if (n == -1)
      return fail_errno (status, "reading", input->path);
    got += n;
  }
  return got;
}

/* Fill the buffer in the same way. */
static ssize_t
read_input (struct input *input, uint64_t offset, size_t length,
            struct status *status)
{
  size_t before = 0;
  ssize_t n;

  if (!input->seekable) {
    before = input->head_count - input->head_used;
    memcpy (input->buffer, input->head + input->head_used, before);
    input->head_used = input->head_count;
  }
  n = read_bytes (input, input->buffer + before, offset + before,
                  length - before, status);
  return n == -1 ? -1 : (ssize_t)before + n;
}

/* Refuse a file that has its disk inside, and say how to get at it. */
static int
refuse_format (const struct input *input, const struct image_format *format,
               struct status *status)
{
  const char *path = input->fd == STDIN_FILENO ? "FILE" : input->path;
  char *advice = NULL;

  switch (format->remedy) {
  case IMAGE_CONVERT:
    advice = tool_format ("make one of it with \"qemu-img convert -O raw %s "
                          "NEW\" and import that",
                          path);
    break;
  case IMAGE_UNPACK:
    advice =
        tool_format ("unpack it: \"%s %s | sqlblock import %s %s -\"",
                     format->program, path, import_database, import_disk_name);
    break;
  case IMAGE_RECEIVE:
    advice = tool_format ("\"sqlblock receive\" takes it");
    break;
  case IMAGE_EXPORT:
    advice = tool_format ("take a disk out of it: \"sqlblock export %s DISK - "
                          "| sqlblock import %s %s -\"",
                          path, import_database, import_disk_name);
    break;
  }
  status_fail (status, EINVAL,
               "%s is %s, not a raw disk; %s; or give --raw to have the file "
               "itself as the disk",
               input->path, format->name, advice);
  free (advice);
  return -1;
}

/* See from its beginning, and where that can be read from its end, what the
 * input is.
 */
static int
check_format (struct input *input, struct status *status)
{
  const struct image_format *format;
  const uint64_t end = input->size > IMAGE_TAIL ? input->size - IMAGE_TAIL : 0;
  ssize_t n;

  n = read_bytes (input, input->head, 0, IMAGE_HEAD, status);
  if (n == -1)
    return -1;
  input->head_count = n;
  format = image_of_head (input->head, n);
  if (format == NULL && input->seekable) {
    n = read_bytes (input, input->tail, end, IMAGE_TAIL, status);
    if (n == -1)
      return -1;
    format = image_of_tail (input->tail, n);
  }
  return format && !import_raw ? refuse_format (input, format, status) : 0;
}

/* Remember the last bytes of a pipe. */
static void
note_tail (struct input *input, size_t length)
{
  const size_t take = length < IMAGE_TAIL ? length : IMAGE_TAIL;
  const size_t keep = input->tail_count < IMAGE_TAIL - take ? input->tail_count
                                                            : IMAGE_TAIL - take;

  memmove (input->tail, input->tail + input->tail_count - keep, keep);
  memcpy (input->tail + keep, input->buffer + length - take, take);
  input->tail_count = keep + take;
}

/* The end of the data and of the hole around byte OFFSET of a file; where
 * they cannot be told apart, all is data.
 */
static void
find_extent (const struct input *input, uint64_t offset, uint64_t *end,
             bool *hole)
{
  off_t next = lseek (input->fd, offset, SEEK_DATA);

  *hole = next == -1 ? errno == ENXIO : (uint64_t)next > offset;
  if (!*hole)
    next = lseek (input->fd, offset, SEEK_HOLE);
  *end =
      next == -1 || (uint64_t)next > input->size ? input->size : (uint64_t)next;
}

static bool
all_zero (const char *bytes, size_t length)
{
  return bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0;
}

/* Store the LENGTH bytes in the buffer; the disk begins as zeroes. */
static int
store_piece (struct input *input, struct disk *disk, uint64_t offset,
             size_t length, struct status *status)
{
  if (all_zero (input->buffer, length))
    return 0;
  return disk_fill (disk, input->buffer, offset, length, status);
}

/* Copy a file from its beginning to its end. */
static int
import_file (struct input *input, struct disk *disk, struct status *status)
{
  uint64_t offset = 0, end = 0;
  bool hole = false;
  ssize_t got;

  while (offset < input->size) {
    if (progress_report (tool_progress, offset, input->size, NULL, status) ==
        -1)
      return -1;
    if (offset == end)
      find_extent (input, offset, &end, &hole);
    if (hole) {
      offset = end;
      continue;
    }
    got = read_input (input, offset,
                      end - offset < COPY_PIECE ? end - offset : COPY_PIECE,
                      status);
    if (got == 0)
      return status_fail (status, EIO, "%s became shorter while it was read",
                          input->path);
    if (got == -1 || store_piece (input, disk, offset, got, status) == -1)
      return -1;
    offset += got;
  }
  return 0;
}

/* The size of a disk while nobody knows how much will come; no disk can be
 * larger.
 */
#define UNKNOWN_SIZE INT64_MAX

/* A pipe has ended.  It is to have had WANTED bytes, or for 0 any number: one
 * that breaks looks like one that ends.
 */
static int
check_end (const struct input *input, uint64_t wanted, struct status *status)
{
  const struct image_format *format;

  if (input->size == 0)
    return status_fail (status, EINVAL, "%s is empty", input->path);
  if (wanted != 0 && input->size < wanted)
    return status_fail (
        status, EINVAL, "%s ended after %" PRIu64 " of %s; if that was all, %s",
        input->path, input->size, COUNT (wanted, "byte"),
        import_overwrite ? "give it as a file, not through a pipe"
                         : "leave out --size, and use \"sqlblock resize\" "
                           "afterwards");
  format = image_of_tail (input->tail, input->tail_count);
  return format && !import_raw ? refuse_format (input, format, status) : 0;
}

/* Copy a pipe to its end, which says how long it was, unless that is WANTED. */
static int
import_pipe (struct input *input, struct disk *disk, uint64_t wanted,
             struct status *status)
{
  const uint64_t most = disk_get_info (disk)->size;
  const uint64_t total = most == UNKNOWN_SIZE ? 0 : most;
  ssize_t got;

  while ((got = read_input (input, 0, COPY_PIECE, status)) > 0) {
    if (progress_report (tool_progress, input->size, total, NULL, status) == -1)
      return -1;
    if ((uint64_t)got > most - input->size)
      return status_fail (status, EINVAL,
                          "%s has more than the disk, which has %s",
                          input->path, COUNT (most, "byte"));
    if (store_piece (input, disk, input->size, got, status) == -1)
      return -1;
    note_tail (input, got);
    input->size += got;
  }
  return got == -1 ? -1 : check_end (input, wanted, status);
}

/* Fill a new disk and have it appear.  incoming->size is 0 where the size
 * is that of the input.
 */
static int
import_disk (struct store *store, struct input *input,
             struct manage_incoming *incoming, struct status *status)
{
  const bool any_size = incoming->size == 0;
  struct disk *disk;
  int r;

  if (any_size)
    incoming->size = input->seekable ? input->size : UNKNOWN_SIZE;
  if (input->size > incoming->size)
    return status_fail (status, EINVAL, "%s has %s, but the disk %" PRIu64,
                        input->path, COUNT (input->size, "byte"),
                        incoming->size);
  disk = manage_receive (store, incoming, status);
  if (disk == NULL)
    return -1;
  input->buffer = tool_alloc (COPY_PIECE);
  r = input->seekable
          ? import_file (input, disk, status)
          : import_pipe (input, disk, any_size ? 0 : incoming->size, status);
  free (input->buffer);
  if (r == -1) {
    manage_receive_cancel (store, disk);
    return -1;
  }
  if (any_size)
    incoming->size = input->size;
  return manage_receive_end (store, disk, incoming, status);
}

/* Read the options.  Returns an exit code. */
static int
read_options (struct manage_incoming *incoming)
{
  struct disk_options options;
  struct status status;

  if (import_increment && (import_size || import_overwrite || import_raw))
    return tool_usage ("--increment says itself what the disk becomes; leave "
                       "out --size, --overwrite and --raw");
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
  if (sane_check_options (&options, &status) == -1)
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
  return 0;
}

/* Say what has come. */
static void
say_applied (const char *disk, const struct increment_ends *ends)
{
  if (ends->from_guid && ends->to_guid)
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
import_changes (struct increment_source *source,
                struct manage_incoming *incoming)
{
  struct store *store = tool_open (import_database, true);
  const uint64_t before = copy_free_pages (store);
  struct status status;
  int r;

  tool_progress_begin (tool_format ("importing %s", incoming->disk));
  r = increment_apply (store, source, incoming, &status);
  tool_progress_end (r);
  if (r == 0)
    say_applied (incoming->disk, increment_source_ends (source));
  return copy_end (store, before, r, &status);
}

static int
fail_no_database (const char *database)
{
  return tool_error (ENOENT, "there is no file %s; with --create it is made",
                     database);
}

static int
run_import_increment (const char *name, struct manage_incoming *incoming)
{
  const char *database = import_database;
  struct increment_source *source;
  struct status status;
  int r;

  if (!import_create && tool_examine (database, &status) == 0)
    return fail_no_database (database);
  source = increment_source_open (name, &status);
  if (source == NULL)
    return tool_fail (&status);
  if (increment_source_is_of (source, database))
    r = tool_error (EINVAL, "%s is the database %s, or belongs to it", name,
                    database);
  else if (import_create &&
           tool_make (database, incoming->block_size, &status) == -1)
    r = tool_fail (&status);
  else
    r = import_changes (source, incoming);
  increment_source_close (source);
  return r;
}

static int
run_import (int argc, char *argv[])
{
  struct manage_incoming incoming = { .disk = argv[1] };
  struct input input = { .path = argv[2] };
  char text[TOOL_SIZE_MAX];
  struct store *store;
  struct status status;
  uint64_t before;
  int r;

  (void)argc;
  r = read_options (&incoming);
  if (r != TOOL_DONE)
    return r;
  import_database = argv[0];
  if (import_increment)
    return run_import_increment (argv[2], &incoming);
  import_disk_name = argv[1];
  if (open_input (&input, &status) == -1 ||
      check_input (argv[0], &input, &status) == -1 ||
      measure_input (&input, &status) == -1 ||
      check_format (&input, &status) == -1 ||
      (import_create &&
       tool_make (argv[0], incoming.block_size, &status) == -1))
    return tool_fail (&status);
  if (!import_create && tool_examine (argv[0], &status) == 0)
    return fail_no_database (argv[0]);
  store = tool_open (argv[0], true);
  if (import_overwrite && find_old_disk (store, &incoming, &status) == -1)
    return tool_fail (&status);
  before = copy_free_pages (store);
  tool_progress_begin (tool_format ("importing %s", argv[1]));
  r = import_disk (store, &input, &incoming, &status);
  tool_progress_end (r);
  if (r == 0)
    tool_say ("imported %s as disk '%s', of %s", input.path, argv[1],
              tool_amount (incoming.size, text));
  r = r == -1 ? tool_fail (&status) : TOOL_DONE;
  if (r != TOOL_DONE && status.error == ENOSPC)
    copy_give_back (store, before);
  else if (r != TOOL_DONE || import_overwrite)
    copy_free_space (store);
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
  { "description", 'd', "TEXT", &import_description, "what it is for" },
  { "overwrite", 0, NULL, &import_overwrite,
    "replace the contents of a disk that exists; its\n"
    "snapshots stay as they are, and FILE must fit" },
  { "raw", 0, NULL, &import_raw,
    "take FILE as it is, also an image of another format\n"
    "or something compressed" },
  { "create", 0, NULL, &import_create, "make DATABASE if it is not there" },
  { "increment", 0, NULL, &import_increment,
    "FILE is what changed between two snapshots: the\n"
    "URI of an export DISK@A..B, or a file with FILE.map" },
  { "rollback", 'F', NULL, &import_rollback,
    "with --increment: give up what was written to the\n"
    "disk since the older snapshot; newer snapshots stay" },
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
  .common = COMMON_PROGRESS,
  .least = 3,
  .most = 3,
  .run = run_import,
};

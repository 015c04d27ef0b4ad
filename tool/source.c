/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a disk is imported from: see source.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/count.h"
#include "disk-image.h"
#include "image.h"
#include "nbd-export.h"
#include "program.h"
#include "source.h"
#include "store.h"
#include "tool.h"

/* How long a program may take to end when it has written all, in seconds. */
#define UNPACK_END 60

/* How many bytes a pipe is to hold. */
#define PIPE_SIZE (1 << 20)

/* A format that can be named. */
struct format {
  const char *word;
  bool image;          /* qemu-nbd reads it */
  const char *package; /* compressed: of the program */
  const char *argv[5]; /* which decompresses it */
};

const char source_formats[] = "raw|qcow2|vmdk|vdi|vhdx|gzip|xz|zstd";

static const struct format formats[] = {
  { "raw", false, NULL, { NULL } },
  { "qcow2", true, NULL, { NULL } },
  { "vmdk", true, NULL, { NULL } },
  { "vdi", true, NULL, { NULL } },
  { "vhdx", true, NULL, { NULL } },
  { "gzip", false, "gzip", { "gzip", "-dc" } },
  /* What xz -9 needs, and more; a stranger's file may ask for all there is. */
  { "xz",
    false,
    "xz-utils",
    { "xz", "-dc", "--format=xz", "--memlimit-decompress=512MiB" } },
  { "zstd", false, "zstd", { "zstd", "-dcq" } },
};

/* An extent that a server has told of. */
struct told {
  uint64_t end; /* bytes */
  bool zero;
};

struct source {
  struct source_wish wish;
  const char *name;
  const struct format *format;
  int fd;           /* or -1 */
  struct stat file; /* what that was when it was opened */
  bool sized;
  uint64_t size; /* bytes; of a pipe what has come so far */

  struct program unpacker;   /* writes to fd */
  struct disk_image image;   /* or one of zeroes */
  struct nbd_export *remote; /* that of the image, or another one, or NULL */

  /* What the server has told last, and how much of it was used. */
  struct told *told;
  size_t count, room, used;

  /* The beginning of a pipe, and how much of it was used; its last bytes. */
  char head[IMAGE_HEAD], tail[IMAGE_TAIL];
  size_t head_count, head_used, tail_count;
};

static int
fail_errno (const char *doing, const char *name, struct status *status)
{
  if (errno == EINTR)
    return status_fail (status, ECANCELED, "%s %s: interrupted", doing, name);
  return status_fail (status, errno, "%s %s: %s", doing, name,
                      strerror (errno));
}

/*--------------------------------------------------------------------
 * What it looks like.
 */

/* Fill BUFFER from a file or a pipe, as source_read. */
static ssize_t
read_bytes (const struct source *source, char *buffer, uint64_t offset,
            size_t length, struct status *status)
{
  size_t got = 0;
  ssize_t n;

  while (got < length) {
    n = source->sized
            ? pread (source->fd, buffer + got, length - got, offset + got)
            : read (source->fd, buffer + got, length - got);
    if (n == 0)
      break;
    if (n == -1 && errno == EINTR && !tool_interrupted ())
      continue;
    if (n == -1)
      return fail_errno ("reading", source->name, status);
    got += n;
  }
  return got;
}

/* What to do with a file that has its disk inside, a new string. */
static char *
advice_for (const struct source *source, const struct image_format *format)
{
  const char *path = source->fd == STDIN_FILENO ? "FILE" : source->wish.name;
  const char *database = source->wish.database, *disk = source->wish.disk;

  if (format->word)
    return tool_format ("give --format=%s to have the disk that is in it",
                        format->word);
  switch (format->remedy) {
  case IMAGE_CONVERT:
    return tool_format ("make one of it with \"qemu-img convert -f %s -O raw "
                        "%s NEW\" and import that",
                        format->program, path);
  case IMAGE_UNPACK:
    return tool_format ("unpack it: \"%s %s | sqlblock import %s %s -\"",
                        format->program, path, database, disk);
  case IMAGE_RECEIVE:
    return tool_strdup ("\"sqlblock receive\" takes it");
  case IMAGE_EXPORT:
    return tool_format ("take a disk out of it: \"sqlblock export %s DISK - | "
                        "sqlblock import %s %s -\"",
                        path, database, disk);
  }
  return NULL;
}

/* Refuse what looks like FORMAT, and say how to get at the disk. */
static int
refuse_format (const struct source *source, const struct image_format *format,
               struct status *status)
{
  char *advice;

  if (source->format->package)
    return status_fail (status, EINVAL,
                        "what is compressed in %s is %s, not a raw disk; "
                        "unpack it into a file, and import that",
                        source->name, format->name);
  advice = advice_for (source, format);
  status_fail (status, EINVAL,
               "%s is %s, not a raw disk; %s, or --format=raw to have the "
               "file itself as the disk",
               source->name, format->name, advice);
  free (advice);
  return -1;
}

/* The same from a server. */
static ssize_t
read_any (struct source *source, char *buffer, uint64_t offset, size_t length,
          struct status *status)
{
  if (source->remote == NULL)
    return read_bytes (source, buffer, offset, length, status);
  if (nbd_export_read (source->remote, buffer, offset, length, status) == 0)
    return length;
  disk_image_fail (&source->image, status);
  return status_prefix (status, "%s", source->name);
}

/* What the source looks like by its first bytes, which go to source->head, and
 * where that can be read by its last, goes to *FORMAT, or NULL.
 */
static int
look (struct source *source, const struct image_format **format,
      struct status *status)
{
  const uint64_t end =
      source->size > IMAGE_TAIL ? source->size - IMAGE_TAIL : 0;
  const size_t most =
      source->sized && source->size < IMAGE_HEAD ? source->size : IMAGE_HEAD;
  ssize_t n = read_any (source, source->head, 0, most, status);

  if (n == -1)
    return -1;
  source->head_count = n;
  *format = image_of_head (source->head, n);
  if (*format || !source->sized)
    return 0;
  n = read_any (source, source->tail, end, source->size - end, status);
  if (n == -1)
    return -1;
  *format = image_of_tail (source->tail, n);
  return 0;
}

/* A raw disk must not look like something else, unless the user insists. */
static int
check_raw (struct source *source, struct status *status)
{
  const bool insists = source->wish.format && source->format->package == NULL;
  const struct image_format *format;

  if (look (source, &format, status) == -1)
    return -1;
  return format && !insists ? refuse_format (source, format, status) : 0;
}

/* A file must look like the format that was named. */
static int
check_named (struct source *source, struct status *status)
{
  const char *word = source->format->word;
  const struct image_format *format;

  if (look (source, &format, status) == -1)
    return -1;
  if (format && format->word && strcmp (format->word, word) == 0)
    return 0;
  return status_fail (status, EINVAL, "%s is not of the format %s, %s%s",
                      source->name, word, format ? "but " : "",
                      format ? format->name : "by its first bytes");
}

/*--------------------------------------------------------------------
 * Opening.
 */

static const struct format *
find_format (const char *word)
{
  for (size_t i = 0; word && i < sizeof formats / sizeof formats[0]; i++)
    if (strcmp (formats[i].word, word) == 0)
      return &formats[i];
  return &formats[0];
}

static int
open_file (struct source *source, struct status *status)
{
  if (strcmp (source->name, "-") == 0) {
    source->fd = STDIN_FILENO;
    source->name = "standard input";
  }
  else
    source->fd = open (source->name, O_RDONLY | O_CLOEXEC);
  return source->fd == -1 ? fail_errno ("opening", source->name, status) : 0;
}

/* Is the file what it was when it was opened?  A raw one may be written, but an
 * image is looked at first, and then opened by qemu-nbd: what is written
 * meanwhile nobody has looked at.
 */
static int
check_unchanged (const struct source *source, struct status *status)
{
  const struct stat *old = &source->file;
  struct stat new;

  if (fstat (source->fd, &new) == -1)
    return fail_errno ("reading", source->name, status);
  if (new.st_size < old->st_size)
    return status_fail (status, EIO, "%s became shorter while it was read",
                        source->name);
  if (source->format->image && S_ISREG (old->st_mode) &&
      (new.st_size != old->st_size ||
       memcmp (&new.st_mtim, &old->st_mtim, sizeof new.st_mtim) != 0 ||
       memcmp (&new.st_ctim, &old->st_ctim, sizeof new.st_ctim) != 0))
    return status_fail (status, EIO,
                        "%s was changed while it was read; import it when "
                        "nobody writes it, or a copy of it",
                        source->name);
  return 0;
}

/* Find out how large the file is, if it has a size. */
static int
measure_file (struct source *source, struct status *status)
{
  struct stat st;
  off_t end;

  if (fstat (source->fd, &st) == -1)
    return fail_errno ("opening", source->name, status);
  source->file = st;
  if (isatty (source->fd))
    return status_fail (status, EINVAL,
                        "a disk is not read from a terminal; give a file, or "
                        "a pipe from another program");
  if (S_ISDIR (st.st_mode))
    return status_fail (status, EISDIR, "%s is a directory", source->name);
  /* Standard input of which something was read already is like a pipe. */
  if ((!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode)) ||
      lseek (source->fd, 0, SEEK_CUR) != 0)
    return 0;
  end = lseek (source->fd, 0, SEEK_END);
  if (end == -1 || lseek (source->fd, 0, SEEK_SET) == -1)
    return fail_errno ("opening", source->name, status);
  if (end == 0)
    return status_fail (status, EINVAL, "%s is empty", source->name);
  source->sized = true;
  source->size = end;
  return 0;
}

/* Have qemu-nbd read the image. */
static int
open_image (struct source *source, struct status *status)
{
  if (!source->sized)
    return status_fail (status, EINVAL,
                        "%s is no file: an image of the format %s cannot be "
                        "read from a pipe",
                        source->name, source->format->word);
  if (check_named (source, status) == -1 ||
      disk_image_open (&source->image, source->format->word, source->fd,
                       source->name, source->wish.patience, status) == -1 ||
      check_unchanged (source, status) == -1)
    return -1;
  source->remote = source->image.remote;
  source->size = source->remote->size;
  return source->size > 0
             ? 0
             : status_fail (status, EINVAL, "the disk in %s has no bytes",
                            source->name);
}

/* Read what a program decompresses instead. */
static int
open_packed (struct source *source, struct status *status)
{
  struct program_files files = { .input = source->fd,
                                 .third = -1,
                                 .fourth = -1 };
  int ends[2], r;

  /* Of a pipe the program sees the beginning itself. */
  if (source->sized && check_named (source, status) == -1)
    return -1;
  if (pipe2 (ends, O_CLOEXEC) == -1)
    return fail_errno ("making a pipe for", source->name, status);
  fcntl (ends[1], F_SETPIPE_SZ, PIPE_SIZE);
  files.output = ends[1];
  r = program_start (&source->unpacker, source->format->argv,
                     source->format->package, &files, status);
  close (ends[1]);
  if (source->fd != STDIN_FILENO)
    close (source->fd);
  source->fd = ends[0];
  source->sized = false;
  source->size = source->head_count = 0;
  return r == -1 ? -1 : check_raw (source, status);
}

static int
open_remote (struct source *source, struct status *status)
{
  if (strcmp (source->format->word, "raw") != 0)
    return status_fail (status, EINVAL,
                        "%s: what a server exports is read as a raw disk; "
                        "leave out --format, or have the server read the "
                        "image (qemu-nbd -f %s)",
                        source->name, source->format->word);
  source->remote =
      nbd_export_open (source->name, source->wish.patience, status);
  if (source->remote == NULL)
    return -1;
  source->sized = true;
  source->size = source->remote->size;
  if (source->size == 0)
    return status_fail (status, EINVAL, "%s is empty", source->name);
  return check_raw (source, status);
}

static int
open_any (struct source *source, struct status *status)
{
  if (nbd_export_is_uri (source->name))
    return open_remote (source, status);
  if (open_file (source, status) == -1)
    return -1;
  /* What is read must not be what is written to meanwhile. */
  if (source_is_of (source, source->wish.database))
    return status_fail (status, EINVAL,
                        "%s is the database %s, or belongs to it; a disk is "
                        "copied by \"sqlblock clone\"",
                        source->name, source->wish.database);
  if (measure_file (source, status) == -1)
    return -1;
  if (source->format->image)
    return open_image (source, status);
  return source->format->package ? open_packed (source, status)
                                 : check_raw (source, status);
}

struct source *
source_open (const struct source_wish *wish, struct status *status)
{
  struct source *source = tool_alloc (sizeof *source);

  source->wish = *wish;
  source->name = wish->name;
  source->format = find_format (wish->format);
  source->fd = -1;
  if (open_any (source, status) == 0)
    return source;
  source_close (source);
  return NULL;
}

void
source_close (struct source *source)
{
  if (source->remote && source->remote != source->image.remote)
    nbd_export_close (source->remote);
  disk_image_close (&source->image);
  program_kill (&source->unpacker);
  if (source->fd > STDIN_FILENO)
    close (source->fd);
  free (source->told);
  free (source);
}

const char *
source_name (const struct source *source)
{
  return source->name;
}

bool
source_is_sized (const struct source *source)
{
  return source->sized;
}

uint64_t
source_size (const struct source *source)
{
  return source->size;
}

bool
source_is_of (const struct source *source, const char *path)
{
  return source->fd != -1 && store_has_descriptor (path, source->fd);
}

/*--------------------------------------------------------------------
 * Reading.
 */

static int
remember (uint64_t offset, uint64_t count, uint32_t flags, void *opaque)
{
  struct source *source = opaque;

  if (source->count == source->room) {
    source->room = source->room ? 2 * source->room : 1024;
    source->told =
        tool_realloc (source->told, source->room * sizeof *source->told);
  }
  source->told[source->count++] = (struct told){
    .end = offset + count,
    .zero = flags & NBD_EXPORT_ZERO,
  };
  return 0;
}

static int
extent_of_remote (struct source *source, uint64_t offset, uint64_t *end,
                  bool *zero, struct status *status)
{
  if (!source->remote->tells_extents) {
    *end = source->size;
    *zero = false;
    return 0;
  }
  while (source->used < source->count &&
         source->told[source->used].end <= offset)
    source->used++;
  if (source->used == source->count) {
    source->used = source->count = 0;
    if (nbd_export_extents (source->remote, offset, source->size - offset,
                            remember, source, status) == -1) {
      disk_image_fail (&source->image, status);
      return status_prefix (status, "%s", source->name);
    }
  }
  *end = source->told[source->used].end;
  *zero = source->told[source->used].zero;
  return 0;
}

/* Where data and holes of a file cannot be told apart, all is data. */
int
source_extent (struct source *source, uint64_t offset, uint64_t *end,
               bool *zero, struct status *status)
{
  off_t next;

  if (source->remote)
    return extent_of_remote (source, offset, end, zero, status);
  next = lseek (source->fd, offset, SEEK_DATA);
  *zero = next == -1 ? errno == ENXIO : (uint64_t)next > offset;
  if (!*zero)
    next = lseek (source->fd, offset, SEEK_HOLE);
  *end = next == -1 || (uint64_t)next > source->size ? source->size
                                                     : (uint64_t)next;
  return 0;
}

/* Remember the last bytes of a pipe. */
static void
note_tail (struct source *source, const char *buffer, size_t length)
{
  const size_t take = length < IMAGE_TAIL ? length : IMAGE_TAIL;
  const size_t room = IMAGE_TAIL - take;
  const size_t keep = source->tail_count < room ? source->tail_count : room;

  memmove (source->tail, source->tail + source->tail_count - keep, keep);
  memcpy (source->tail + keep, buffer + length - take, take);
  source->tail_count = keep + take;
}

/* The next bytes of a pipe, of which the first were read before. */
static ssize_t
read_pipe (struct source *source, char *buffer, size_t length,
           struct status *status)
{
  const size_t before = source->head_count - source->head_used;
  ssize_t n;

  memcpy (buffer, source->head + source->head_used, before);
  source->head_used = source->head_count;
  n = read_bytes (source, buffer + before, 0, length - before, status);
  if (n == -1)
    return -1;
  note_tail (source, buffer, before + n);
  source->size += before + n;
  return before + n;
}

ssize_t
source_read (struct source *source, char *buffer, uint64_t offset,
             size_t length, struct status *status)
{
  ssize_t n;

  if (!source->sized)
    return read_pipe (source, buffer, length, status);
  n = read_any (source, buffer, offset, length, status);
  if (n == 0 && length > 0)
    return status_fail (status, EIO, "%s became shorter while it was read",
                        source->name);
  return n;
}

int
source_check_end (struct source *source, struct status *status)
{
  const struct image_format *format =
      image_of_tail (source->tail, source->tail_count);
  const bool insists = source->wish.format && source->format->package == NULL;

  if (source->sized)
    return source->fd == -1 ? 0 : check_unchanged (source, status);
  if (source->unpacker.pid != 0 &&
      program_end (&source->unpacker, UNPACK_END, status) == -1)
    return status_prefix (status, "unpacking %s", source->name);
  if (source->size == 0)
    return status_fail (status, EINVAL, "%s is empty", source->name);
  return format && !insists ? refuse_format (source, format, status) : 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a disk is exported to: see destination.h.
 *
 * A file appears under its name complete or not at all, like everything that
 * this program makes: it has no name while it is written, also while qemu-nbd
 * writes it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/count.h"
#include "copy.h"
#include "destination.h"
#include "disk-image.h"
#include "nbd-export.h"
#include "tool.h"

const char destination_formats[] = "raw|qcow2";

enum destination_kind { REGULAR, DEVICE, PIPE, REMOTE, IMAGE };

struct destination {
  struct destination_wish wish;
  const char *path;
  enum destination_kind kind;
  int fd;
  char *final;     /* REGULAR, IMAGE: the name it gets */
  struct stat old; /* and the file that it replaces */
  char *temporary; /* and the name it has, NULL: none */
  uint64_t total;  /* bytes that are to come */
  char *zeroes;    /* COPY_PIECE of them, made when needed */

  struct nbd_export *remote; /* REMOTE, and that of the image */
  struct disk_image image;   /* IMAGE: in fd */
  uint32_t unit;             /* what these are written in, in bytes */
  char *cluster;             /* one of these, of which more may come */
  uint64_t cluster_offset;   /* in bytes */
  bool gathers;              /* it has something */
};

static int
fail_errno (struct status *status, const char *doing, const char *path)
{
  if (errno == EINTR)
    return status_fail (status, ECANCELED, "%s %s: interrupted", doing, path);
  return status_fail (status, errno, "%s %s: %s", doing, path,
                      strerror (errno));
}

/*--------------------------------------------------------------------
 * Writing.
 */

/* Write to the server; what it cannot do qemu-nbd has a word for. */
static int
write_remote (struct destination *destination, const char *data,
              uint64_t offset, uint64_t length, struct status *status)
{
  if (nbd_export_write (destination->remote, data, offset, length, status) == 0)
    return 0;
  disk_image_fail (&destination->image, status);
  return status_prefix (status, "%s", destination->path);
}

/* Write all of LENGTH bytes, at OFFSET where the destination has places. */
static int
write_all (struct destination *destination, const char *data, uint64_t length,
           uint64_t offset, struct status *status)
{
  ssize_t n;

  if (destination->kind == REMOTE)
    return write_remote (destination, data, offset, length, status);
  while (length > 0) {
    n = destination->kind == PIPE
            ? write (destination->fd, data, length)
            : pwrite (destination->fd, data, length, offset);
    if (n == -1 && errno == EINTR && !tool_interrupted ())
      continue;
    if (n == -1)
      return fail_errno (status, "writing", destination->path);
    data += n;
    offset += n;
    length -= n;
  }
  return 0;
}

/* Write zeroes, as bytes. */
static int
write_zero_bytes (struct destination *destination, uint64_t offset,
                  uint64_t count, struct status *status)
{
  uint64_t piece;

  if (destination->zeroes == NULL)
    destination->zeroes = tool_alloc (COPY_PIECE);
  for (; count > 0; offset += piece, count -= piece) {
    piece = count < COPY_PIECE ? count : COPY_PIECE;
    if (progress_report (tool_progress, offset, destination->total, NULL,
                         status) == -1 ||
        write_all (destination, destination->zeroes, piece, offset, status) ==
            -1)
      return -1;
  }
  return 0;
}

/* Make a range zeroes.  In a new file it is so already. */
static int
write_zeroes (struct destination *destination, uint64_t offset, uint64_t count,
              struct status *status)
{
  switch (destination->kind) {
  case REGULAR:
  case IMAGE:
    return 0;
  case DEVICE:
    if (fallocate (destination->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   offset, count) == 0)
      return 0;
    break;
  case REMOTE:
    if (!destination->remote->can_zero)
      break;
    return nbd_export_zero (destination->remote, offset, count, status) == 0
               ? 0
               : status_prefix (status, "%s", destination->path);
  case PIPE:
    break;
  }
  return write_zero_bytes (destination, offset, count, status);
}

/* Write the block that was gathered.  The last of an image may be shorter. */
static int
write_gathered (struct destination *destination, struct status *status)
{
  const uint64_t left = destination->remote->size - destination->cluster_offset;

  if (!destination->gathers)
    return 0;
  destination->gathers = false;
  return write_remote (
      destination, destination->cluster, destination->cluster_offset,
      left < destination->unit ? left : destination->unit, status);
}

/* Keep a part of the block at byte START, DATA or for NULL zeroes; the rest may
 * come, or is zeroes.
 */
static int
gather (struct destination *destination, const char *data, uint64_t start,
        uint64_t offset, uint64_t count, struct status *status)
{
  if (destination->gathers && destination->cluster_offset != start &&
      write_gathered (destination, status) == -1)
    return -1;
  if (!destination->gathers) {
    memset (destination->cluster, 0, destination->unit);
    destination->cluster_offset = start;
    destination->gathers = true;
  }
  if (data)
    memcpy (destination->cluster + (offset - start), data, count);
  return 0;
}

/* Write DATA, or for NULL zeroes, in whole blocks, each once.  A server may
 * take no others, and a compressed one of an image that is written again leaves
 * its first form behind.
 */
static int
write_blocks (struct destination *destination, const char *data,
              uint64_t offset, uint64_t count, struct status *status)
{
  const uint32_t unit = destination->unit;
  uint64_t inside, part;
  int r;

  for (; count > 0; offset += part, count -= part) {
    inside = offset % unit;
    part = inside ? unit - inside : count / unit * unit;
    if (part == 0 || part > count)
      part = count;
    if (inside || part % unit)
      r = gather (destination, data, offset - inside, offset, part, status);
    else if (data)
      r = write_remote (destination, data, offset, part, status);
    else
      r = write_zeroes (destination, offset, part, status);
    if (r == -1)
      return -1;
    data = data ? data + part : NULL;
  }
  return 0;
}

int
destination_take (const struct stream_range *piece, void *opaque,
                  struct status *status)
{
  struct destination *destination = opaque;

  if (progress_report (tool_progress, piece->offset, destination->total, NULL,
                       status) == -1)
    return -1;
  if (destination->kind == REMOTE ||
      (destination->kind == IMAGE && piece->data))
    return write_blocks (destination, piece->data, piece->offset, piece->count,
                         status);
  if (piece->data == NULL)
    return write_zeroes (destination, piece->offset, piece->count, status);
  return write_all (destination, piece->data, piece->count, piece->offset,
                    status);
}

/*--------------------------------------------------------------------
 * Opening.
 */

/* Have qemu-nbd write an image into the new file. */
static int
make_image (struct destination *destination, struct status *status)
{
  if (disk_image_create (&destination->image, destination->fd,
                         destination->total, destination->wish.compress,
                         destination->wish.patience, status) == -1)
    return status_prefix (status, "creating %s", destination->path);
  destination->remote = destination->image.remote;
  destination->unit = DISK_IMAGE_CLUSTER;
  destination->cluster = tool_alloc (destination->unit);
  return 0;
}

/* Make a file in the directory of destination->final, without a name where the
 * file system can do that: then nothing is left of it after a crash.
 */
static int
open_new_file (struct destination *destination, struct status *status)
{
  char *copy = tool_strdup (destination->final);
  const char *directory = dirname (copy);
  const bool dry_run = destination->wish.dry_run;
  const int r = dry_run ? access (directory, W_OK | X_OK) : 0;

  if (!dry_run)
    destination->fd = open (directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  free (copy);
  if (r == -1)
    return fail_errno (status, "creating", destination->path);
  if (dry_run)
    return 0;
  if (destination->fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    const mode_t mask = umask (0);

    umask (mask);
    destination->temporary = tool_format ("%s.new-XXXXXX", destination->final);
    destination->fd = mkostemp (destination->temporary, O_CLOEXEC);
    if (destination->fd >= 0 && fchmod (destination->fd, 0666 & ~mask) == -1)
      return fail_errno (status, "creating", destination->path);
  }
  if (destination->fd == -1)
    return fail_errno (status, "creating", destination->path);
  if (destination->kind == IMAGE)
    return make_image (destination, status);
  if (ftruncate (destination->fd, destination->total) == -1)
    return fail_errno (status, "creating", destination->path);
  return 0;
}

/* Give the new file the owner and the mode of the one that it replaces. */
static int
keep_owner (const struct destination *destination, struct status *status)
{
  struct stat st;

  if (fstat (destination->fd, &st) == -1)
    return fail_errno (status, "creating", destination->path);
  if ((st.st_uid != destination->old.st_uid ||
       st.st_gid != destination->old.st_gid) &&
      fchown (destination->fd, destination->old.st_uid,
              destination->old.st_gid) == -1)
    return status_fail (status, errno,
                        "%s belongs to another user or group, and a new one "
                        "that does cannot be made: %s; remove it first, then "
                        "the new one is yours",
                        destination->path, strerror (errno));
  /* After fchown, which takes some bits away. */
  if (fchmod (destination->fd, destination->old.st_mode & 07777) == -1)
    return fail_errno (status, "creating", destination->path);
  return 0;
}

/* The disk must fit where SIZE bytes are. */
static int
check_size (const struct destination *destination, uint64_t size,
            struct status *status)
{
  if (size >= destination->total)
    return 0;
  return status_fail (status, ENOSPC, "%s has %s, but the disk has %" PRIu64,
                      destination->path, COUNT (size, "byte"),
                      destination->total);
}

static int
fail_there (const struct destination *destination, struct status *status)
{
  return status_fail (status, EEXIST,
                      "%s is there already; --overwrite (or --force) replaces "
                      "what it has",
                      destination->path);
}

static int
open_device (struct destination *destination, struct status *status)
{
  off_t size;

  destination->kind = DEVICE;
  destination->fd = open (destination->path, destination->wish.dry_run
                                                 ? O_RDONLY | O_CLOEXEC
                                                 : O_RDWR | O_EXCL | O_CLOEXEC);
  size = destination->fd >= 0 ? lseek (destination->fd, 0, SEEK_END) : -1;
  if (size == -1)
    return fail_errno (status, "opening", destination->path);
  return check_size (destination, size, status);
}

static int
open_pipe (struct destination *destination, struct status *status)
{
  destination->kind = PIPE;
  if (strcmp (destination->path, "-") == 0) {
    destination->fd = STDOUT_FILENO;
    destination->path = "standard output";
  }
  else if (destination->wish.dry_run) /* to open it would start its reader */
    return access (destination->path, W_OK) == 0
               ? 0
               : fail_errno (status, "opening", destination->path);
  else
    destination->fd = open (destination->path, O_WRONLY | O_CLOEXEC);
  if (destination->fd == -1)
    return fail_errno (status, "opening", destination->path);
  if (isatty (destination->fd))
    return status_fail (status, EINVAL,
                        "a disk is not written to a terminal; give a file, "
                        "or a pipe to another program");
  return 0;
}

/* A database is no image of a disk: with it would go all that it has, also
 * snapshots that are held, and under a server that has it open.  So would it
 * with a file that is beside it.
 */
static int
check_no_database (const struct destination *destination, struct status *status)
{
  struct status other;
  const int r = store_examine (destination->final, &other);

  if (r == 0 || (r == -1 && other.error != ENOTSUP))
    return store_check_name (destination->final, status);
  return status_fail (status, EEXIST,
                      "%s is a database of sqlblock, which is not replaced; "
                      "give another file, or remove it first",
                      destination->path);
}

/* How far a server has told what it has, and whether that is anything. */
struct looking {
  uint64_t next; /* bytes */
  bool data;
};

static int
look_at_extent (uint64_t offset, uint64_t count, uint32_t flags, void *opaque)
{
  struct looking *looking = opaque;

  looking->next = offset + count;
  looking->data = looking->data || !(flags & NBD_EXPORT_ZERO);
  return 0;
}

/* Is there nothing yet where the disk would go? */
static int
check_empty (struct destination *destination, struct status *status)
{
  struct looking looking = { .data = !destination->remote->tells_extents };

  while (!looking.data && looking.next < destination->total)
    if (nbd_export_extents (destination->remote, looking.next,
                            destination->total - looking.next, look_at_extent,
                            &looking, status) == -1)
      return status_prefix (status, "%s", destination->path);
  if (!looking.data)
    return 0;
  return status_fail (status, EEXIST,
                      "%s has data already, or does not tell; --overwrite (or "
                      "--force) replaces it",
                      destination->path);
}

static int
open_remote (struct destination *destination, struct status *status)
{
  struct nbd_export *remote;

  if (destination->kind == IMAGE)
    return status_fail (status, EINVAL,
                        "%s: a server is given a raw disk; leave out "
                        "--format, and have it write the image (qemu-nbd -f "
                        "qcow2)",
                        destination->path);
  destination->kind = REMOTE;
  remote =
      nbd_export_open (destination->path, destination->wish.patience, status);
  if (remote == NULL)
    return -1;
  destination->remote = remote;
  if (remote->readonly)
    return status_fail (status, EROFS, "%s is read-only", destination->path);
  if (check_size (destination, remote->size, status) == -1)
    return -1;
  if (destination->total % remote->minimum != 0)
    return status_fail (status, EINVAL,
                        "%s has blocks of %" PRIu32 " bytes, and the disk ends "
                        "inside one; \"sqlblock resize\" makes it larger",
                        destination->path, remote->minimum);
  destination->unit = remote->minimum;
  destination->cluster = tool_alloc (destination->unit);
  return destination->wish.overwrite ? 0 : check_empty (destination, status);
}

/* Open what is there as ST says, and is no file. */
static int
open_special (struct destination *destination, const struct stat *st,
              struct status *status)
{
  if (destination->kind == IMAGE)
    return status_fail (status, EINVAL,
                        "%s is no file: an image of the format qcow2 is "
                        "written to a file only",
                        destination->path);
  if (st && S_ISDIR (st->st_mode)) {
    errno = EISDIR;
    return fail_errno (status, "opening", destination->path);
  }
  if (st == NULL || !S_ISBLK (st->st_mode))
    return open_pipe (destination, status);
  return destination->wish.overwrite ? open_device (destination, status)
                                     : fail_there (destination, status);
}

/* Open what destination->path names, for destination->total bytes. */
static int
open_any (struct destination *destination, struct status *status)
{
  struct stat st;

  if (nbd_export_is_uri (destination->path))
    return open_remote (destination, status);
  if (strcmp (destination->path, "-") == 0)
    return open_special (destination, NULL, status);
  if (stat (destination->path, &st) == -1) {
    if (errno != ENOENT)
      return fail_errno (status, "opening", destination->path);
    if (lstat (destination->path, &st) == 0)
      return status_fail (status, EEXIST,
                          "%s is a symbolic link to what is not there; give "
                          "the file itself, or remove the link",
                          destination->path);
    destination->final = tool_strdup (destination->path);
    return check_no_database (destination, status) == -1
               ? -1
               : open_new_file (destination, status);
  }
  if (!S_ISREG (st.st_mode))
    return open_special (destination, &st, status);
  if (!destination->wish.overwrite)
    return fail_there (destination, status);
  destination->final = realpath (destination->path, NULL);
  if (destination->final == NULL)
    return fail_errno (status, "opening", destination->path);
  if (check_no_database (destination, status) == -1)
    return -1;
  destination->old = st;
  if (open_new_file (destination, status) == -1)
    return -1;
  return destination->wish.dry_run ? 0 : keep_owner (destination, status);
}

struct destination *
destination_open (const struct destination_wish *wish, uint64_t total,
                  struct status *status)
{
  struct destination *destination = tool_alloc (sizeof *destination);

  destination->wish = *wish;
  destination->path = wish->path;
  destination->total = total;
  destination->fd = -1;
  destination->kind =
      wish->format && strcmp (wish->format, "qcow2") == 0 ? IMAGE : REGULAR;
  if (open_any (destination, status) == 0)
    return destination;
  destination_close (destination);
  return NULL;
}

/*--------------------------------------------------------------------
 * The end.
 */

/* Give a file without a name a temporary one. */
static int
name_file (struct destination *destination)
{
  char *descriptor;

  if (destination->temporary)
    return 0;
  descriptor = tool_format ("/proc/self/fd/%d", destination->fd);
  destination->temporary =
      tool_format ("%s.new-%ld", destination->final, (long)getpid ());
  unlink (destination->temporary);
  return linkat (AT_FDCWD, descriptor, AT_FDCWD, destination->temporary,
                 AT_SYMLINK_FOLLOW);
}

/* The file that is to be replaced must be the one that was found at first, or
 * gone.
 */
static int
check_old (const struct destination *destination, struct status *status)
{
  struct stat st;

  if (stat (destination->final, &st) == -1)
    return errno == ENOENT ? 0
                           : fail_errno (status, "creating", destination->path);
  if (st.st_dev != destination->old.st_dev ||
      st.st_ino != destination->old.st_ino)
    return status_fail (status, EEXIST,
                        "%s has become another file meanwhile, which is not "
                        "replaced",
                        destination->path);
  return 0;
}

/* Give the complete file its name. */
static int
publish (struct destination *destination, struct status *status)
{
  const bool replaces = destination->old.st_nlink > 0;
  char *copy;
  int directory, r;

  if (check_no_database (destination, status) == -1 ||
      (replaces && check_old (destination, status) == -1))
    return -1;
  if (name_file (destination) == -1)
    return fail_errno (status, "creating", destination->path);
  r = replaces ? rename (destination->temporary, destination->final)
               : store_rename_new (destination->temporary, destination->final);
  if (r == -1)
    return fail_errno (status, "creating", destination->path);
  copy = tool_strdup (destination->final);
  directory = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (copy);
  if (directory == -1 || fsync (directory) == -1)
    return fail_errno (status, "creating", destination->path);
  close (directory);
  return 0;
}

/* All that an image gets was written. */
static int
finish_image (struct destination *destination, struct status *status)
{
  int r = write_gathered (destination, status);

  if (r == 0)
    r = nbd_export_flush (destination->remote, status);
  destination->remote = NULL;
  if (r == 0)
    r = disk_image_finish (&destination->image, status);
  return r == 0 ? 0 : status_prefix (status, "writing %s", destination->path);
}

int
destination_finish (struct destination *destination, struct status *status)
{
  if (destination->kind == REMOTE)
    return write_gathered (destination, status) == 0 &&
                   nbd_export_flush (destination->remote, status) == 0
               ? 0
               : status_prefix (status, "%s", destination->path);
  if (destination->kind == IMAGE && finish_image (destination, status) == -1)
    return -1;
  if (fsync (destination->fd) == -1 &&
      (destination->kind != PIPE || (errno != EINVAL && errno != EROFS)))
    return fail_errno (status, "syncing", destination->path);
  return destination->final ? publish (destination, status) : 0;
}

const char *
destination_name (const struct destination *destination)
{
  return destination->path;
}

void
destination_close (struct destination *destination)
{
  disk_image_close (&destination->image);
  if (destination->kind == REMOTE && destination->remote)
    nbd_export_close (destination->remote);
  if (destination->temporary)
    unlink (destination->temporary);
  if (destination->fd > STDERR_FILENO)
    close (destination->fd);
  free (destination->temporary);
  free (destination->final);
  free (destination->zeroes);
  free (destination->cluster);
  free (destination);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Mounting by the kernel: see mount-way.h.
 *
 * The device is that of "attach", which may have been there before: several
 * partitions of a disk have one, and the last that is unmounted gives it back.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "mount-way.h"
#include "program.h"
#include "tool.h"

/* How long mount may take, in seconds: a journal may be long. */
#define MOUNT_SECONDS 3600

/* How long the file of a partition may take to appear, in tenths of a second.
 */
#define APPEAR_MOST 50

#define SECTOR 512

static int
begin (struct mounting *mounting, struct mount_wish *wish)
{
  struct attachment attachment = {
    .number = -1,
    .connections = 1,
    .since = mounting->since,
    .readonly = wish->readonly,
  };
  struct status status;
  bool is_new = false;
  int code = attach_name (&attachment,
                          mounting->uri ? mounting->uri : mounting->database,
                          mounting->disk);
  const bool wants_to_write = !attachment.readonly && !common.dry_run;

  /* A plan changes nothing, and a server that only reads does not either. */
  attachment.readonly |= common.dry_run;
  if (code == TOOL_DONE)
    code = attach_begin (&attachment, &is_new);
  if (code == TOOL_DONE) {
    mounting->device = attachment.number;
    mounting->attached = is_new ? attachment.since : 0;
    mounting->source = tool_format ("/dev/nbd%d", attachment.number);
    if (!common.dry_run)
      wish->readonly |= attachment.readonly;
    if (mounting_save (mounting, &status) == -1)
      code = tool_fail (&status);
  }
  if (code == TOOL_DONE && wants_to_write && attachment.readonly && !is_new)
    code = tool_error (EBUSY,
                       "/dev/nbd%d has it already, and only for reading: use "
                       "--read-only, or have that device detached first",
                       attachment.number);
  attachment_free (&attachment);
  return code;
}

static int
plan (struct mounting *mounting, const struct volume *volume,
      const struct mount_wish *wish)
{
  const struct file_system *file_system = volume->file_system;

  if (volume->partition) {
    free (mounting->source);
    mounting->source =
        tool_format ("/dev/nbd%dp%d", mounting->device, volume->partition);
  }
  mounting->type = tool_strdup (file_system->driver);
  mounting->options =
      mount_join ("nosuid", "nodev", file_system->options, wish->options,
                  wish->readonly ? "ro" : NULL,
                  wish->readonly ? file_system->read_only : NULL, "");
  return TOOL_DONE;
}

/* The number in the file WHAT of partition NUMBER, or -1. */
static int64_t
read_geometry (int device, int number, const char *what)
{
  char *name = tool_format ("/sys/block/nbd%d/nbd%dp%d/%s", device, device,
                            number, what);
  FILE *file = fopen (name, "re");
  int64_t value;

  free (name);
  if (file == NULL)
    return -1;
  if (fscanf (file, "%" SCNd64, &value) != 1)
    value = -1;
  fclose (file);
  return value;
}

/* Has the kernel this partition? */
static bool
has_partition (int device, const struct volume *volume)
{
  const uint64_t start = volume->offset / SECTOR, size = volume->size / SECTOR;

  return read_geometry (device, volume->partition, "start") == (int64_t)start &&
         read_geometry (device, volume->partition, "size") == (int64_t)size;
}

/* Have the device file of a partition, which the kernel finds by itself, unless
 * it was told not to.
 */
static int
need_partition (const struct mounting *mounting, const struct volume *volume)
{
  struct blkpg_partition partition = {
    .start = volume->offset,
    .length = volume->size,
    .pno = volume->partition,
  };
  struct blkpg_ioctl_arg argument = {
    .op = BLKPG_ADD_PARTITION,
    .datalen = sizeof partition,
    .data = &partition,
  };
  char *device = tool_format ("/dev/nbd%d", mounting->device);
  int fd = -1, error = 0;

  if (!has_partition (mounting->device, volume)) {
    fd = open (device, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || ioctl (fd, BLKPG, &argument) == -1)
      error = errno;
  }
  if (fd != -1)
    close (fd);
  free (device);
  if (!has_partition (mounting->device, volume))
    return tool_error (error, "the kernel has no device for partition %d: %s",
                       volume->partition, strerror (error));
  for (int i = 0; i < APPEAR_MOST && access (mounting->source, F_OK) == -1; i++)
    nanosleep (&(struct timespec){ .tv_nsec = 100000000 }, NULL);
  return TOOL_DONE;
}

/* The number of the file system that is seen there. */
static dev_t
device_of (const char *directory)
{
  struct stat file;

  return stat (directory, &file) == 0 ? file.st_dev : 0;
}

static int
do_mount (struct mounting *mounting, const struct volume *volume,
          const struct mount_wish *wish)
{
  const char *const argv[] = { "mount",
                               "-i", /* no program of the file system's */
                               "-t",
                               mounting->type,
                               "-o",
                               mounting->options,
                               mounting->source,
                               mounting->directory,
                               NULL };
  const struct program_files files = { -1, -1, -1, -1, false, false };
  const dev_t before = device_of (mounting->directory);
  struct status status;
  int code = volume->partition ? need_partition (mounting, volume) : TOOL_DONE;

  (void)wish;
  if (code == TOOL_DONE &&
      program_run (argv, "mount", &files, MOUNT_SECONDS, NULL, &status) == -1)
    code = tool_fail (&status);
  if (code == TOOL_DONE &&
      !mounting_is_on (mounting->directory, mounting->source)) {
    /* mount may have taken another device, or done nothing. */
    if (device_of (mounting->directory) != before)
      umount2 (mounting->directory, UMOUNT_NOFOLLOW);
    code = tool_error (EIO,
                       "mount has not mounted %s itself on %s; leave out the "
                       "options that have it do otherwise",
                       mounting->source, mounting->directory);
  }
  return code;
}

static int
do_unmount (const struct mounting *mounting, bool force)
{
  if (mounting->source == NULL ||
      !mounting_is_on (mounting->directory, mounting->source))
    return TOOL_DONE;
  return mount_release (mounting->directory, force);
}

/* Another mount of the same device is to detach it. */
struct heir {
  const struct mounting *of;
  bool is_found;
};

static int
hand_over (struct mounting *other, void *opaque)
{
  struct heir *heir = opaque;
  struct status ignored;

  if (other->number == heir->of->number || other->device != heir->of->device ||
      !mounting_is_on (other->directory, other->source) ||
      mounting_lock (other, &ignored) == -1)
    return 0;
  other->attached = heir->of->attached;
  heir->is_found = mounting_save (other, &ignored) == 0;
  if (heir->is_found)
    mounting_free (other);
  return heir->is_found;
}

/* The device that a mount has attached. */
struct attached {
  const struct mounting *of;
  int64_t since;
  int device;
};

static int
find_attached (int number, void *opaque)
{
  struct attached *attached = opaque;
  const struct mounting *of = attached->of;
  const struct attachment ours = {
    .database = of->database,
    .disk = of->disk,
    .uri = of->uri,
  };
  struct attachment attachment;
  struct status ignored;
  char *wanted, *has;
  bool is_same;

  /* Somebody may have detached it, and attached another disk there. */
  if ((of->device != -1 && of->device != number) ||
      attachment_load (number, &attachment, &ignored) != 1)
    return 0;
  wanted = attachment_backend (&ours);
  has = attachment_backend (&attachment);
  is_same = strcmp (wanted, has) == 0 && attachment.since == attached->since;
  free (wanted);
  free (has);
  attachment_free (&attachment);
  if (is_same)
    attached->device = number;
  return is_same;
}

static int
end (struct mounting *mounting, bool force)
{
  struct heir heir = { .of = mounting };
  struct attached attached = { .of = mounting, .device = -1 };

  /* Killed before it knew the device, it has attached it all the same, under
   * its own time.
   */
  attached.since =
      mounting->device == -1 ? mounting->since : mounting->attached;
  if (attached.since != 0)
    attachment_each (find_attached, &attached);
  if (attached.device == -1)
    return TOOL_DONE;
  mounting->device = attached.device;
  mounting->attached = attached.since;
  mounting_each (hand_over, &heir);
  return heir.is_found ? TOOL_DONE : attach_end (attached.device, force);
}

const struct mount_way mount_by_kernel = { begin,      plan, do_mount,
                                           do_unmount, end,  NULL };

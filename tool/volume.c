/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The file system of a disk that is to be mounted: see volume.h. */

#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"
#include "volume.h"

/* At most so many partitions are looked at. */
#define PARTITIONS_MOST 256

/* libblkid counts in these, whatever the disk has. */
#define SECTOR 512

/* A list of them that is longer than so many bytes is not gone on with. */
#define LIST_MOST 300

/* How the whole disk is called where it has partitions, too. */
#define WHOLE "0"

/* A file system may ask for a panic where it is damaged. */
#define NO_PANIC "errors=remount-ro"

static const struct file_system file_systems[] = {
  { "ext2", "ext2", NO_PANIC, NULL },
  { "ext3", "ext3", NO_PANIC, "noload" },
  { "ext4", "ext4", NO_PANIC, "noload" },
  { "xfs", "xfs", NULL, "norecovery,nouuid" },
  { "btrfs", "btrfs", NULL, "rescue=nologreplay" },
  { "vfat", "vfat", NULL, NULL },
  { "exfat", "exfat", NULL, NULL },
  { "ntfs", "ntfs3", NULL, NULL },
  { "iso9660", "iso9660", NULL, NULL },
};

/* A part of the disk that may be mounted. */
struct part {
  struct volume volume;
  char *name, *label, *type; /* or NULL */
};

struct parts {
  struct part *list;
  size_t count;
};

/* The row of TYPE, or NULL. */
static const struct file_system *
find_file_system (const char *type)
{
  for (size_t i = 0; type && i < sizeof file_systems / sizeof file_systems[0];
       i++)
    if (strcmp (type, file_systems[i].type) == 0)
      return &file_systems[i];
  return NULL;
}

/* A copy of what PROBE has found as NAME, or NULL. */
static char *
found_value (blkid_probe probe, const char *name)
{
  const char *value;

  return blkid_probe_lookup_value (probe, name, &value, NULL) == 0
             ? tool_strdup (value)
             : NULL;
}

/* Look what is in PART, of the disk that FD has open. */
static int
look_into (int fd, struct part *part, struct status *status)
{
  blkid_probe probe = blkid_new_probe ();
  int r;

  if (probe == NULL || blkid_probe_set_device (probe, fd, part->volume.offset,
                                               part->volume.size) == -1) {
    blkid_free_probe (probe);
    return status_fail (status, EIO, "the disk cannot be read");
  }
  blkid_probe_enable_superblocks (probe, 1);
  blkid_probe_set_superblocks_flags (probe,
                                     BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
  r = blkid_do_safeprobe (probe);
  if (r == 0) {
    part->type = found_value (probe, "TYPE");
    part->label = found_value (probe, "LABEL");
  }
  else if (r == -2)
    part->type = tool_strdup ("ambiguous");
  part->volume.file_system = find_file_system (part->type);
  blkid_free_probe (probe);
  return r == -1 ? status_fail (status, EIO, "the disk cannot be read") : 0;
}

static void
add_part (struct parts *parts, const struct part *part)
{
  parts->list =
      tool_realloc (parts->list, (parts->count + 1) * sizeof *parts->list);
  parts->list[parts->count++] = *part;
}

/* Look into each partition that has data of its own, of those that PROBE
 * found.
 */
static int
look_into_each (int fd, blkid_probe probe, struct parts *parts,
                struct status *status)
{
  blkid_partlist list = blkid_probe_get_partitions (probe);
  const int count = list ? blkid_partlist_numof_partitions (list) : 0;
  const uint64_t size = blkid_probe_get_size (probe);
  int r = 0;

  for (int i = 0; r == 0 && i < count && i < PARTITIONS_MOST; i++) {
    blkid_partition partition = blkid_partlist_get_partition (list, i);
    const uint64_t start = blkid_partition_get_start (partition);
    const uint64_t sectors = blkid_partition_get_size (partition);
    const char *name = blkid_partition_get_name (partition);
    struct part part = {
      .volume.partition = blkid_partition_get_partno (partition),
      .volume.offset = start * SECTOR,
      .volume.size = sectors * SECTOR,
    };

    if (blkid_partition_is_extended (partition) || sectors == 0 ||
        start >= size / SECTOR || sectors > size / SECTOR - start)
      continue;
    r = look_into (fd, &part, status);
    if (r == 0) {
      part.name = name ? tool_strdup (name) : NULL;
      add_part (parts, &part);
    }
  }
  return r;
}

/* Find the partitions of the disk. */
static int
find_parts (int fd, struct parts *parts, struct status *status)
{
  blkid_probe probe = blkid_new_probe ();
  int r = -1;

  if (probe && blkid_probe_set_device (probe, fd, 0, 0) == 0) {
    blkid_probe_enable_superblocks (probe, 0);
    blkid_probe_enable_partitions (probe, 1);
    r = blkid_do_safeprobe (probe);
  }
  if (r == 0)
    r = look_into_each (fd, probe, parts, status);
  else if (r == 1)
    r = 0;
  else
    r = status_fail (status, EIO, "the partitions of the disk cannot be read");
  blkid_free_probe (probe);
  return r;
}

static void
free_part (struct part *part)
{
  free (part->name);
  free (part->label);
  free (part->type);
}

/* "1 (vfat, EFI), 2 (ext4, root)", as much of it as a message has room for; a
 * new string.
 */
static char *
describe (const struct parts *parts)
{
  char *text = tool_strdup ("");

  for (size_t i = 0; i < parts->count; i++) {
    const struct part *part = &parts->list[i];
    const char *name = part->name && part->name[0] ? part->name : part->label;
    const bool is_long = strlen (text) > LIST_MOST;
    char *longer = is_long
                       ? tool_format ("%s, ...", text)
                       : tool_format ("%s%s%d (%s%s%s)", text, i ? ", " : "",
                                      part->volume.partition,
                                      part->type ? part->type : "nothing known",
                                      name ? ", " : "", name ? name : "");

    free (text);
    text = longer;
    if (is_long)
      break;
  }
  return text;
}

static bool
is_called (const struct part *part, const char *wanted)
{
  char *end;
  const unsigned long number = strtoul (wanted, &end, 10);

  if (*end == '\0')
    return (unsigned long)part->volume.partition == number;
  return (part->name && strcmp (part->name, wanted) == 0) ||
         (part->label && strcmp (part->label, wanted) == 0);
}

/* Fail: these are the partitions, and WHY none can be taken. */
static int
fail_choice (const struct parts *parts, int error, const char *why,
             struct status *status)
{
  char *text = describe (parts);

  status_fail (status, error, "%s: %s%s", why,
               parts->count ? "it has the partitions " : "it has no partitions",
               text);
  free (text);
  return -1;
}

/* The one of PARTS that is WANTED, or the only one that can be mounted. */
static const struct part *
choose (const struct parts *parts, const char *wanted, struct status *status)
{
  const struct part *chosen = NULL;

  for (size_t i = 0; i < parts->count; i++) {
    const struct part *part = &parts->list[i];

    if (wanted ? !is_called (part, wanted) : !part->volume.file_system)
      continue;
    if (chosen) {
      fail_choice (parts, EINVAL,
                   wanted
                       ? "several partitions are called so; give a number with "
                         "--partition="
                       : "choose one with --partition=",
                   status);
      return NULL;
    }
    chosen = part;
  }
  if (chosen == NULL)
    fail_choice (parts, ENOENT,
                 wanted ? "it has no such partition"
                        : "no file system is found that can be mounted",
                 status);
  return chosen;
}

/* Was it not unmounted?  That is bit 2 of s_feature_incompat, which is 96 bytes
 * behind the start of the superblock.
 */
static bool
has_journal_to_replay (int fd, const struct volume *volume)
{
  uint8_t flags;

  return strncmp (volume->file_system->type, "ext", 3) == 0 &&
         pread (fd, &flags, 1, volume->offset + 1024 + 96) == 1 && flags & 4;
}

/* Is that what can be mounted? */
static int
check (const struct part *part, struct status *status)
{
  if (part->volume.file_system)
    return 0;
  if (part->type == NULL)
    return status_fail (status, ENOTSUP, "no file system is found there");
  if (strcmp (part->type, "ambiguous") == 0)
    return status_fail (status, ENOTSUP,
                        "there are the marks of several file systems, so it is "
                        "not mounted; \"wipefs\" shows them on a device that "
                        "is attached");
  return status_fail (status, ENOTSUP,
                      "%s is no file system that is mounted here; attach the "
                      "disk, and use the device",
                      part->type);
}

/* Which of both: the WHOLE disk, which may have something, or one of PARTS?
 * What is older than the other is not known, and writing into one destroys the
 * other.
 */
static const struct part *
choose_any (const struct part *whole, const struct parts *parts,
            struct status *status)
{
  bool is_mountable = false;
  char *text;

  for (size_t i = 0; i < parts->count; i++)
    is_mountable |= parts->list[i].volume.file_system != NULL;
  /* An image of a CD may have partitions for those who start from it. */
  if (whole->type && (parts->count == 0 ||
                      (!is_mountable && strcmp (whole->type, "iso9660") == 0)))
    return whole;
  if (whole->type == NULL)
    return choose (parts, NULL, status);
  text = describe (parts);
  status_fail (status, EINVAL,
               "there are a partition table and the marks of %s on the whole "
               "disk, and only one of them can be right; choose one with "
               "--partition=, where " WHOLE " is the whole disk: it has the "
               "partitions %s",
               strcmp (whole->type, "ambiguous") == 0 ? "file systems"
                                                      : whole->type,
               text);
  free (text);
  return NULL;
}

int
volume_find (int fd, const char *wanted, struct volume *volume,
             struct status *status)
{
  struct parts parts = { 0 };
  struct part whole = { 0 };
  const bool is_whole = wanted && strcmp (wanted, WHOLE) == 0;
  const struct part *chosen = NULL;
  int r = wanted && !is_whole ? 0 : look_into (fd, &whole, status);

  if (r == 0 && !is_whole)
    r = find_parts (fd, &parts, status);
  if (r == 0)
    chosen = is_whole ? &whole
             : wanted ? choose (&parts, wanted, status)
                      : choose_any (&whole, &parts, status);
  if (r == 0)
    r = chosen ? check (chosen, status) : -1;
  if (r == 0) {
    *volume = chosen->volume;
    volume->has_journal_to_replay = has_journal_to_replay (fd, volume);
  }
  for (size_t i = 0; i < parts.count; i++)
    free_part (&parts.list[i]);
  free (parts.list);
  free_part (&whole);
  return r;
}

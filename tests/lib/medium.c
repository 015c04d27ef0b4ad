/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The disk under the file system: see medium.h. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "medium.h"

#define SECTOR 512

const struct cut cut_nothing = { .keep = { 100, 100, 100 } };

/* The contents of a file.  Past its size there are zeroes, or what comes to
 * light when the file grows.
 */
struct image {
  char *bytes;
  uint64_t size, capacity;
};

/* What an event does to a file, in parts that a cut may tell apart. */
enum change_kind { SET_SECTOR, GROW, SHRINK };

struct change {
  enum change_kind kind;
  size_t event;
  bool doubtful;   /* the sync that was to cover it failed */
  uint64_t number; /* of the sector; or the new size */
  char bytes[SECTOR];
};

struct file {
  struct image cache; /* what programs see */
  struct image disk;  /* what is on the disk for sure */

  /* Changes on the way from the one to the other, in their order. */
  struct change *changes;
  size_t count, capacity;

  /* For each sector, 1 + the last event that is on the disk for sure. */
  size_t *settled;
  size_t settled_count;

  struct file *next;
};

/* What the log's name stands for after an event: a file, or none. */
struct entry {
  size_t event;
  struct file *file;
};

struct medium {
  struct file *files; /* all of them */
  struct file *database;

  struct file *log_on_disk;  /* what the log's name stands for for sure */
  struct entry *log_entries; /* what it may stand for after a cut */
  size_t log_entries_count;
};

/*--------------------------------------------------------------------
 * Images.
 */

/* Have room for CAPACITY bytes. */
static void
image_reserve (struct image *image, uint64_t capacity)
{
  if (capacity <= image->capacity)
    return;
  /* Of a file of some GiB there are several. */
  if (image->capacity > 0)
    capacity += capacity / 8 + SECTOR;
  image->bytes = realloc (image->bytes, capacity);
  assert_non_null (image->bytes);
  memset (image->bytes + image->capacity, 0, capacity - image->capacity);
  image->capacity = capacity;
}

static void
image_copy (struct image *to, const struct image *from)
{
  *to = (struct image){ .size = from->size };
  image_reserve (to, from->capacity);
  if (from->capacity > 0)
    memcpy (to->bytes, from->bytes, from->capacity);
}

static void
image_shrink (struct image *image, uint64_t size)
{
  image_reserve (image, size);
  if (size < image->capacity)
    memset (image->bytes + size, 0, image->capacity - size);
  image->size = size;
}

static void
image_apply (struct image *image, const struct change *change)
{
  switch (change->kind) {
  case SET_SECTOR:
    image_reserve (image, (change->number + 1) * SECTOR);
    memcpy (image->bytes + change->number * SECTOR, change->bytes, SECTOR);
    break;
  case GROW:
    image_reserve (image, change->number);
    if (image->size < change->number)
      image->size = change->number;
    break;
  case SHRINK:
    image_shrink (image, change->number);
    break;
  }
}

static bool
image_read (struct image *image, const char *path)
{
  FILE *f = fopen (path, "r");
  struct stat st;

  if (f == NULL)
    return false;
  assert_int_equal (fstat (fileno (f), &st), 0);
  *image = (struct image){ .size = st.st_size };
  image_reserve (image, st.st_size);
  if (image->size > 0)
    assert_int_equal (fread (image->bytes, 1, image->size, f), image->size);
  fclose (f);
  return true;
}

static void
image_write (const struct image *image, const char *path)
{
  FILE *f = fopen (path, "w");

  assert_non_null (f);
  if (image->size > 0)
    assert_int_equal (fwrite (image->bytes, 1, image->size, f), image->size);
  assert_int_equal (fclose (f), 0);
}

/*--------------------------------------------------------------------
 * Files.
 */

static struct file *
new_file (struct medium *medium)
{
  struct file *file = calloc (1, sizeof *file);

  assert_non_null (file);
  file->next = medium->files;
  medium->files = file;
  return file;
}

static struct change *
add_change (struct file *file, enum change_kind kind, size_t event,
            uint64_t number)
{
  struct change *change;

  if (file->count == file->capacity) {
    file->capacity = file->capacity ? 2 * file->capacity : 64;
    file->changes =
        realloc (file->changes, file->capacity * sizeof *file->changes);
    assert_non_null (file->changes);
  }
  change = &file->changes[file->count++];
  change->kind = kind;
  change->event = event;
  change->doubtful = false;
  change->number = number;
  return change;
}

static void
file_write (struct file *file, const struct event *event, size_t number)
{
  const uint64_t end = event->offset + event->count;
  struct change *change;

  if (end > file->cache.size)
    image_apply (&file->cache, add_change (file, GROW, number, end));
  image_reserve (&file->cache, (end / SECTOR + 1) * SECTOR);
  memcpy (file->cache.bytes + event->offset, event->data, event->count);
  for (uint64_t i = event->offset / SECTOR; i * SECTOR < end; i++) {
    change = add_change (file, SET_SECTOR, number, i);
    memcpy (change->bytes, file->cache.bytes + i * SECTOR, SECTOR);
  }
}

/* The last change of a sector that is sure to be there is that of EVENT. */
static void
settle_sector (struct file *file, uint64_t sector, size_t event)
{
  const size_t count = 2 * (sector + 1);

  if (sector >= file->settled_count) {
    file->settled = realloc (file->settled, count * sizeof *file->settled);
    assert_non_null (file->settled);
    memset (file->settled + file->settled_count, 0,
            (count - file->settled_count) * sizeof *file->settled);
    file->settled_count = count;
  }
  file->settled[sector] = event + 1;
}

/* A change is on the disk for sure. */
static void
settle (struct file *file, const struct change *change)
{
  image_apply (&file->disk, change);
  if (change->kind == SET_SECTOR)
    settle_sector (file, change->number, change->event);
  else if (change->kind == SHRINK)
    for (size_t i = change->number / SECTOR; i < file->settled_count; i++)
      settle_sector (file, i, change->event);
}

/* Does a later change that is sure to be there leave nothing of it? */
static bool
is_settled_over (const struct file *file, const struct change *change)
{
  return change->number < file->settled_count &&
         file->settled[change->number] > change->event;
}

/* A sync that began before event BEGIN. */
static void
file_sync (struct file *file, size_t begin)
{
  size_t kept = 0;

  for (size_t i = 0; i < file->count; i++)
    if (file->changes[i].event < begin && !file->changes[i].doubtful)
      settle (file, &file->changes[i]);
  for (size_t i = 0; i < file->count; i++) {
    const struct change *change = &file->changes[i];

    if (change->event >= begin ||
        (change->doubtful && !is_settled_over (file, change)))
      file->changes[kept++] = *change;
  }
  file->count = kept;
}

/* The contents are in doubt; the size goes with the next sync. */
static void
file_fail_sync (struct file *file, size_t begin)
{
  for (size_t i = 0; i < file->count; i++)
    if (file->changes[i].event < begin && file->changes[i].kind == SET_SECTOR)
      file->changes[i].doubtful = true;
}

/* Write what a cut leaves of a file to PATH. */
static void
file_cut (const struct file *file, int keep, bool torn, uint64_t *random,
          const char *path)
{
  struct image image;
  size_t event = SIZE_MAX;
  bool there = true;

  if (keep == 100) {
    image_write (&file->cache, path);
    return;
  }
  image_copy (&image, &file->disk);
  for (size_t i = 0; i < file->count; i++) {
    const struct change *change = &file->changes[i];

    if (torn || change->event != event) {
      there = (int)random_below (random, 100) < keep;
      event = change->event;
    }
    if (there)
      image_apply (&image, change);
  }
  image_write (&image, path);
  free (image.bytes);
}

static void
free_file (struct file *file)
{
  free (file->cache.bytes);
  free (file->disk.bytes);
  free (file->changes);
  free (file->settled);
  free (file);
}

/*--------------------------------------------------------------------
 * The name of the log.
 */

/* What programs find under the log's name, or NULL. */
static struct file *
present_log (const struct medium *medium)
{
  return medium->log_entries_count
             ? medium->log_entries[medium->log_entries_count - 1].file
             : medium->log_on_disk;
}

static void
set_log (struct medium *medium, size_t event, struct file *file)
{
  const size_t count = ++medium->log_entries_count;

  medium->log_entries =
      realloc (medium->log_entries, count * sizeof *medium->log_entries);
  assert_non_null (medium->log_entries);
  medium->log_entries[count - 1] =
      (struct entry){ .event = event, .file = file };
}

static void
sync_directory (struct medium *medium, size_t begin)
{
  size_t done = 0;

  while (done < medium->log_entries_count &&
         medium->log_entries[done].event < begin)
    medium->log_on_disk = medium->log_entries[done++].file;
  if (done == 0)
    return;
  medium->log_entries_count -= done;
  memmove (medium->log_entries, medium->log_entries + done,
           medium->log_entries_count * sizeof *medium->log_entries);
}

/*--------------------------------------------------------------------
 * The public side.
 */

static char *
log_name (const char *path)
{
  char *name;

  assert_true (asprintf (&name, "%s-wal", path) > 0);
  return name;
}

struct medium *
medium_new (const char *path)
{
  struct medium *medium = calloc (1, sizeof *medium);
  char *log = log_name (path);
  struct image image;

  assert_non_null (medium);
  medium->database = new_file (medium);
  assert_true (image_read (&medium->database->disk, path));
  image_copy (&medium->database->cache, &medium->database->disk);
  if (image_read (&image, log)) {
    medium->log_on_disk = new_file (medium);
    medium->log_on_disk->disk = image;
    image_copy (&medium->log_on_disk->cache, &image);
  }
  free (log);
  return medium;
}

void
medium_free (struct medium *medium)
{
  struct file *file;

  while ((file = medium->files) != NULL) {
    medium->files = file->next;
    free_file (file);
  }
  free (medium->log_entries);
  free (medium);
}

void
medium_replay (struct medium *medium, const struct event *event, size_t number)
{
  struct file *file =
      event->file == SHIM_LOG ? present_log (medium) : medium->database;
  struct change *change;

  assert_true (file || event->kind == EVENT_CREATE ||
               event->kind == EVENT_DIRECTORY_SYNC);
  switch (event->kind) {
  case EVENT_WRITE:
    file_write (file, event, number);
    break;
  case EVENT_TRUNCATE:
    change = add_change (file, SHRINK, number, event->offset);
    image_apply (&file->cache, change);
    break;
  case EVENT_SYNC:
    file_sync (file, event->begin);
    break;
  case EVENT_FAILED_SYNC:
    file_fail_sync (file, event->begin);
    break;
  case EVENT_CREATE:
    set_log (medium, number, new_file (medium));
    break;
  case EVENT_DELETE:
    set_log (medium, number, NULL);
    break;
  case EVENT_DIRECTORY_SYNC:
    sync_directory (medium, event->begin);
    break;
  }
}

/* What the log's name stands for after a cut. */
static const struct file *
cut_log (const struct medium *medium, int keep, uint64_t *random)
{
  const struct file *file = medium->log_on_disk;

  for (size_t i = 0; i < medium->log_entries_count; i++)
    if ((int)random_below (random, 100) < keep)
      file = medium->log_entries[i].file;
  return file;
}

void
medium_cut (const struct medium *medium, const struct cut *cut,
            uint64_t *random, const char *path)
{
  const struct file *file = cut_log (medium, cut->keep[SHIM_LOG], random);
  char *log = log_name (path);

  file_cut (medium->database, cut->keep[SHIM_DATABASE], cut->torn, random,
            path);
  if (file)
    file_cut (file, cut->keep[SHIM_LOG], cut->torn, random, log);
  else
    unlink (log);
  free (log);
}

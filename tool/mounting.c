/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is mounted: see mounting.h. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounting.h"
#include "tool.h"

/* How BASE is called, or begins. */
#define NAME "sqlblock-mounted"

/* Another BASE, for tests. */
#define BASE_VARIABLE "SQLBLOCK_MOUNTED"

/* At most so many at once. */
#define NUMBER_MOST 4095

/* A line of /proc/mounts has two names of 4096 bytes, of which each may have
 * become four, and options.
 */
#define LINE_MOST 65536

/* A new string. */
static char *
base_name (void)
{
  const char *other = getenv (BASE_VARIABLE);
  const char *runtime = getenv ("XDG_RUNTIME_DIR");

  if (other && other[0])
    return tool_strdup (other);
  if (geteuid () == 0)
    return tool_strdup ("/run/" NAME);
  if (runtime && runtime[0] == '/')
    return tool_format ("%s/" NAME, runtime);
  return tool_format ("/tmp/" NAME "-%ld", (long)geteuid ());
}

/* Is it there, and nobody else's?  Anybody may make one in /tmp. */
static int
check_base (const char *base, struct status *status)
{
  struct stat file;

  if (lstat (base, &file) == -1)
    return status_fail (status, errno, "%s: %s", base, strerror (errno));
  if (!S_ISDIR (file.st_mode) || file.st_uid != geteuid () ||
      file.st_mode & (S_IWGRP | S_IWOTH))
    return status_fail (status, EACCES,
                        "%s is not a directory that only you can write", base);
  return 0;
}

char *
mounting_file (const struct mounting *mounting, const char *name)
{
  char *base = base_name ();
  char *file = tool_format ("%s/%d/%s", base, mounting->number, name);

  free (base);
  return file;
}

/*--------------------------------------------------------------------
 * What the kernel says.
 */

/* Call FOUND for each mount, the oldest first. */
static void
each_mount (void (*found) (const struct mntent *entry, void *opaque),
            void *opaque)
{
  static char line[LINE_MOST];
  FILE *mounts = setmntent ("/proc/self/mounts", "re");
  struct mntent entry;

  while (mounts && getmntent_r (mounts, &entry, line, sizeof line) != NULL)
    found (&entry, opaque);
  if (mounts)
    endmntent (mounts);
}

/* Is NAME below DIRECTORY? */
static bool
is_below (const char *name, const char *directory)
{
  const size_t length = strcmp (directory, "/") == 0 ? 0 : strlen (directory);

  return strncmp (name, directory, length) == 0 && name[length] == '/' &&
         name[length + 1];
}

/* What is looked for in the mounts, and was found. */
struct look {
  const char *directory, *source;
  bool is_on, is_there;
  char *text;
  void (*found) (const char *directory, void *opaque);
  void *opaque;
};

static void
look_on (const struct mntent *entry, void *opaque)
{
  struct look *look = opaque;

  /* The last is on top. */
  if (strcmp (entry->mnt_dir, look->directory) == 0)
    look->is_on =
        look->source == NULL || strcmp (entry->mnt_fsname, look->source) == 0;
}

bool
mounting_is_on (const char *directory, const char *source)
{
  struct look look = { .directory = directory, .source = source };

  each_mount (look_on, &look);
  return look.is_on;
}

static void
look_in_the_way (const struct mntent *entry, void *opaque)
{
  struct look *look = opaque;
  const bool is_same = strcmp (entry->mnt_dir, look->directory) == 0;

  if (is_same && strcmp (entry->mnt_fsname, look->source) == 0)
    look->is_there = true;
  else if (look->is_there && look->text == NULL &&
           (is_same || is_below (entry->mnt_dir, look->directory) ||
            is_below (look->directory, entry->mnt_dir)))
    look->text = tool_format ("%s on %s", entry->mnt_fsname, entry->mnt_dir);
}

char *
mounting_in_the_way (const char *directory, const char *source)
{
  struct look look = { .directory = directory, .source = source };

  each_mount (look_in_the_way, &look);
  return look.text;
}

static void
look_elsewhere (const struct mntent *entry, void *opaque)
{
  struct look *look = opaque;
  int number, end = 0;
  const char *file = strstr (entry->mnt_fsname, "/" NAME);

  if (strcmp (entry->mnt_dir, look->directory) != 0)
    return;
  free (look->text);
  look->text = NULL;
  if (entry->mnt_fsname[0] != '/' || file == NULL)
    return;
  file += 1 + strcspn (file + 1, "/");
  if (sscanf (file, "/%d/disk/disk%n", &number, &end) == 1 && end &&
      file[end] == '\0')
    look->text = tool_format ("%.*s", (int)(file - entry->mnt_fsname),
                              entry->mnt_fsname);
}

char *
mounting_find_elsewhere (const char *directory)
{
  struct look look = { .directory = directory };

  each_mount (look_elsewhere, &look);
  return look.text;
}

static void
look_for_source (const struct mntent *entry, void *opaque)
{
  const struct look *look = opaque;
  const size_t length = strlen (look->source);
  const char *rest = entry->mnt_fsname + length;

  if (strncmp (entry->mnt_fsname, look->source, length) == 0 &&
      (!*rest || (*rest == 'p' && strspn (rest + 1, "0123456789") > 0)))
    look->found (entry->mnt_dir, look->opaque);
}

void
mounting_each_directory (const char *source,
                         void (*found) (const char *directory, void *opaque),
                         void *opaque)
{
  struct look look = { .source = source, .found = found, .opaque = opaque };

  each_mount (look_for_source, &look);
}

/*--------------------------------------------------------------------
 * Written and read.
 */

/* TEXT, which need not be UTF-8. */
static json_t *
encode (const char *text)
{
  char *encoded = text ? tool_encode (text) : NULL;
  json_t *value = text ? json_string (encoded) : json_null ();

  free (encoded);
  return value;
}

int
mounting_save (const struct mounting *mounting, struct status *status)
{
  char *name = mounting_file (mounting, "json");
  char *new_name = mounting_file (mounting, "new");
  json_t *value = json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:I, s:I}",
      "directory", encode (mounting->directory), "database",
      encode (mounting->database), "disk", encode (mounting->disk), "uri",
      encode (mounting->uri), "source", encode (mounting->source), "by",
      encode (mounting->by), "type", encode (mounting->type), "options",
      encode (mounting->options), "partition", mounting->partition, "device",
      mounting->device, "attached", (json_int_t)mounting->attached, "since",
      (json_int_t)mounting->since);
  const int r = tool_json_save (value, name, new_name, status);

  free (new_name);
  free (name);
  return r;
}

/* The text KEY of VALUE, a new string, or NULL. */
static char *
get_text (const json_t *value, const char *key)
{
  const char *from = json_string_value (json_object_get (value, key));
  char *text = from ? tool_strdup (from) : NULL, *to = text;
  unsigned byte;

  for (; from && *from; from++)
    if (sscanf (from, "%%%2X", &byte) == 1) {
      *to++ = byte;
      from += 2;
    }
    else
      *to++ = *from;
  if (to)
    *to = '\0';
  return text;
}

/* Read number NUMBER.  Returns false where it does not say where it is. */
static bool
load (int number, struct mounting *mounting)
{
  const json_t *device;
  json_t *value;
  char *name;

  *mounting = (struct mounting){ .number = number, .lock = -1 };
  name = mounting_file (mounting, "json");
  value = json_load_file (name, 0, NULL);
  free (name);
  device = json_object_get (value, "device");
  mounting->directory = get_text (value, "directory");
  mounting->database = get_text (value, "database");
  mounting->disk = get_text (value, "disk");
  mounting->uri = get_text (value, "uri");
  mounting->source = get_text (value, "source");
  mounting->by = get_text (value, "by");
  mounting->type = get_text (value, "type");
  mounting->options = get_text (value, "options");
  mounting->partition =
      json_integer_value (json_object_get (value, "partition"));
  mounting->device =
      json_is_integer (device) ? (int)json_integer_value (device) : -1;
  mounting->attached = json_integer_value (json_object_get (value, "attached"));
  mounting->since = json_integer_value (json_object_get (value, "since"));
  json_decref (value);
  if (mounting->directory)
    return true;
  mounting_free (mounting);
  return false;
}

/* Lock its directory. */
static int
lock (struct mounting *mounting, struct status *status)
{
  char *name = mounting_file (mounting, "");
  struct stat locked, there;
  int r = 0;

  mounting->lock = open (name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (mounting->lock == -1)
    r = status_fail (status, errno, "%s: %s", name, strerror (errno));
  else if (flock (mounting->lock, LOCK_EX | LOCK_NB) == -1)
    r = status_fail (status, EBUSY,
                     "another command is mounting or unmounting it just now");
  else if (fstat (mounting->lock, &locked) == -1 || stat (name, &there) == -1 ||
           locked.st_dev != there.st_dev || locked.st_ino != there.st_ino)
    r = status_fail (status, ENOENT, "another command has unmounted it");
  if (r == -1 && mounting->lock != -1) {
    close (mounting->lock);
    mounting->lock = -1;
  }
  free (name);
  return r;
}

int
mounting_lock (struct mounting *mounting, struct status *status)
{
  struct mounting now;
  int r = lock (mounting, status);

  if (r == -1)
    return -1;
  if (!load (mounting->number, &now) ||
      strcmp (now.directory, mounting->directory) != 0 ||
      now.since != mounting->since)
    r = status_fail (status, ENOENT, "another command has unmounted it");
  else {
    now.lock = mounting->lock;
    mounting->lock = -1;
    mounting_free (mounting);
    *mounting = now;
    return 0;
  }
  mounting_free (&now);
  close (mounting->lock);
  mounting->lock = -1;
  return r;
}

/* Is directory NAME empty, since a command was killed?  Then it is made anew.
 * Keeps errno where it is not.
 */
static bool
reclaim (struct mounting *mounting, const char *name)
{
  const int error = errno;
  struct status ignored;
  bool is_empty;

  if (error != EEXIST || lock (mounting, &ignored) == -1) {
    errno = error;
    return false;
  }
  is_empty = rmdir (name) == 0 && mkdir (name, 0700) == 0;
  close (mounting->lock);
  mounting->lock = -1;
  errno = error;
  return is_empty;
}

int
mounting_make (struct mounting *mounting, struct status *status)
{
  char *base = base_name (), *name = NULL;
  struct status ignored;
  int r = 0;

  if (mkdir (base, 0700) == -1 && errno != EEXIST)
    r = status_fail (status, errno, "%s: %s", base, strerror (errno));
  else
    r = check_base (base, status);
  for (mounting->number = 0; r == 0; mounting->number++) {
    if (mounting->number > NUMBER_MOST) {
      r = status_fail (status, EMFILE, "%s has too many already", base);
      break;
    }
    free (name);
    name = tool_format ("%s/%d", base, mounting->number);
    if (mkdir (name, 0700) == -1 && !reclaim (mounting, name)) {
      if (errno == EEXIST)
        continue;
      r = status_fail (status, errno, "%s: %s", name, strerror (errno));
    }
    /* Another command may have had it for an empty one. */
    else if (lock (mounting, &ignored) == 0)
      break;
  }
  free (name);
  free (base);
  return r;
}

bool
mounting_has_option (const struct mounting *mounting, const char *name)
{
  const char *at = mounting->options;
  const size_t length = strlen (name);

  while (at && *at) {
    const size_t next = strcspn (at, ",");

    if (next == length && strncmp (at, name, length) == 0)
      return true;
    at += next + (at[next] == ',');
  }
  return false;
}

char *
mounting_keep_log (const struct mounting *mounting)
{
  char *base = base_name ();
  char *log = mounting_file (mounting, "log");
  char *kept = tool_format ("%s/%d-%" PRId64 ".log", base, mounting->number,
                            mounting->since);

  if (rename (log, kept) == -1)
    tool_say ("warning: %s cannot be kept: %s", log, strerror (errno));
  free (log);
  free (base);
  return kept;
}

void
mounting_remove (struct mounting *mounting)
{
  /* What is still mounted on "disk" keeps that, and the whole. */
  static const char *const names[] = { "disk", "log", "new", "json", "" };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *name = mounting_file (mounting, names[i]);

    if (remove (name) == -1 && errno != ENOENT) {
      free (name);
      break;
    }
    free (name);
  }
}

void
mounting_free (struct mounting *mounting)
{
  if (mounting->lock != -1)
    close (mounting->lock);
  free (mounting->directory);
  free (mounting->database);
  free (mounting->disk);
  free (mounting->uri);
  free (mounting->key);
  free (mounting->source);
  free (mounting->by);
  free (mounting->type);
  free (mounting->options);
  *mounting = (struct mounting){ .number = -1, .lock = -1, .device = -1 };
}

void
mounting_each (int (*found) (struct mounting *mounting, void *opaque),
               void *opaque)
{
  char *base = base_name ();
  struct status ignored;
  struct mounting mounting;
  bool goes_on = check_base (base, &ignored) == 0;

  for (int number = 0; goes_on && number <= NUMBER_MOST; number++) {
    char *name = tool_format ("%s/%d", base, number);
    const bool is_there = access (name, F_OK) == 0;

    free (name);
    if (!is_there || !load (number, &mounting))
      continue;
    goes_on = found (&mounting, opaque) == 0;
    if (goes_on)
      mounting_free (&mounting);
  }
  free (base);
}

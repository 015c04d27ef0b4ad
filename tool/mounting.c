/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is mounted: see mounting.h. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounting.h"
#include "tool.h"

/* Another BASE, for tests. */
#define BASE_VARIABLE "SQLBLOCK_MOUNTED"

/* At most so many at once. */
#define NUMBER_MOST 4095

/* A new string. */
static char *
base_name (void)
{
  const char *other = getenv (BASE_VARIABLE);
  const char *runtime = getenv ("XDG_RUNTIME_DIR");

  if (other && other[0])
    return tool_strdup (other);
  if (geteuid () == 0)
    return tool_strdup ("/run/sqlblock-mounted");
  if (runtime && runtime[0] == '/')
    return tool_format ("%s/sqlblock-mounted", runtime);
  return tool_format ("/tmp/sqlblock-mounted-%ld", (long)geteuid ());
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

bool
mounting_is_on (const char *directory, const char *source)
{
  FILE *mounts = setmntent ("/proc/self/mounts", "re");
  const struct mntent *entry;
  bool is_on = false;

  /* The last is on top. */
  while (mounts && (entry = getmntent (mounts)) != NULL)
    if (strcmp (entry->mnt_dir, directory) == 0)
      is_on = source == NULL || strcmp (entry->mnt_fsname, source) == 0;
  if (mounts)
    endmntent (mounts);
  return is_on;
}

void
mounting_each_directory (const char *source,
                         void (*found) (const char *directory, void *opaque),
                         void *opaque)
{
  const size_t length = strlen (source);
  FILE *mounts = setmntent ("/proc/self/mounts", "re");
  const struct mntent *entry;

  while (mounts && (entry = getmntent (mounts)) != NULL) {
    const char *rest = entry->mnt_fsname + length;

    if (strncmp (entry->mnt_fsname, source, length) == 0 &&
        (!*rest || (*rest == 'p' && strspn (rest + 1, "0123456789") > 0)))
      found (entry->mnt_dir, opaque);
  }
  if (mounts)
    endmntent (mounts);
}

/*--------------------------------------------------------------------
 * Written and read.
 */

int
mounting_make (struct mounting *mounting, struct status *status)
{
  char *base = base_name (), *name = NULL;
  int r;

  if (mkdir (base, 0700) == -1 && errno != EEXIST)
    r = status_fail (status, errno, "%s: %s", base, strerror (errno));
  else
    r = check_base (base, status);
  if (r == -1) {
    free (base);
    return -1;
  }
  r = -1;
  status_fail (status, EMFILE, "%s has too many already", base);
  for (mounting->number = 0; r == -1 && mounting->number <= NUMBER_MOST;) {
    free (name);
    name = tool_format ("%s/%d", base, mounting->number);
    r = mkdir (name, 0700);
    if (r == -1 && errno != EEXIST) {
      status_fail (status, errno, "%s: %s", name, strerror (errno));
      break;
    }
    mounting->number += r == -1;
  }
  free (name);
  free (base);
  return r == 0 ? mounting_lock (mounting, status) : -1;
}

static json_t *
text_or_null (const char *text)
{
  return text ? tool_json_string (text) : json_null ();
}

int
mounting_save (const struct mounting *mounting, struct status *status)
{
  char *name = mounting_file (mounting, "json");
  char *new_name = mounting_file (mounting, "new");
  json_t *value = json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:I, s:I}",
      "directory", text_or_null (mounting->directory), "database",
      text_or_null (mounting->database), "disk", text_or_null (mounting->disk),
      "uri", text_or_null (mounting->uri), "source",
      text_or_null (mounting->source), "by", text_or_null (mounting->by),
      "type", text_or_null (mounting->type), "options",
      text_or_null (mounting->options), "partition", mounting->partition,
      "device", mounting->device, "attached", (json_int_t)mounting->attached,
      "since", (json_int_t)mounting->since);
  int r = 0;

  if (json_dump_file (value, new_name, JSON_INDENT (2)) == -1 ||
      rename (new_name, name) == -1)
    r = status_fail (status, errno ? errno : EIO, "%s cannot be written", name);
  json_decref (value);
  free (new_name);
  free (name);
  return r;
}

/* A copy of the text KEY of VALUE, or NULL. */
static char *
get_text (const json_t *value, const char *key)
{
  const char *text = json_string_value (json_object_get (value, key));

  return text ? tool_strdup (text) : NULL;
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

int
mounting_lock (struct mounting *mounting, struct status *status)
{
  char *name = mounting_file (mounting, "");
  int r = 0;

  mounting->lock = open (name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (mounting->lock == -1)
    r = status_fail (status, errno, "%s: %s", name, strerror (errno));
  else if (flock (mounting->lock, LOCK_EX | LOCK_NB) == -1) {
    r = status_fail (status, EBUSY,
                     "another command is mounting or unmounting it just now");
    close (mounting->lock);
    mounting->lock = -1;
  }
  free (name);
  return r;
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

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* mount, umount: the files of a disk or of a snapshot in a directory.
 *
 *   mount   a place for what is known of it (mounting.h) ──► begin: the disk as
 *           a device or a file (mount-way.h) ──► what is in it (volume.h) ──►
 *           mount
 *   umount  the same backwards, as far as it is still there
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

static const char *wanted_partition, *wanted_options;
static bool readonly;

#ifdef HAVE_MOUNT

#include "attach.h"
#include "kernel.h"
#include "mount-way.h"
#include "nbd-export.h"

char *
mount_join (const char *option, ...)
{
  char *list = tool_strdup (option);
  va_list more;

  va_start (more, option);
  while ((option = va_arg (more, const char *)) == NULL || option[0])
    if (option) {
      char *longer = tool_format ("%s,%s", list, option);

      free (list);
      list = longer;
    }
  va_end (more);
  return list;
}

int
mount_fail_busy (const char *directory)
{
  return tool_error (EBUSY,
                     "%s is in use: a process has a file in it open, or works "
                     "in it (\"fuser -vm\" shows which), or something is "
                     "mounted in it",
                     directory);
}

/* The absolute name of DIRECTORY, a new string, or NULL.  A file system whose
 * server is gone does not answer, but what it is mounted in does.
 */
static char *
find_directory (const char *directory)
{
  char *name = realpath (directory, NULL), *copy, *slash, *parent;

  if (name)
    return name;
  copy = tool_strdup (directory);
  while ((slash = strrchr (copy, '/')) != NULL && slash > copy && !slash[1])
    *slash = '\0';
  if (slash)
    *slash = '\0';
  parent = realpath (slash ? (slash == copy ? "/" : copy) : ".", NULL);
  if (parent)
    name = tool_format ("%s/%s", strcmp (parent, "/") == 0 ? "" : parent,
                        slash ? slash + 1 : copy);
  free (parent);
  free (copy);
  return name;
}

/* What is known of a directory. */
struct search {
  const char *directory;
  int but; /* not this number */
  struct mounting found;
  bool is_found;
};

static int
find (struct mounting *mounting, void *opaque)
{
  struct search *search = opaque;

  search->is_found = mounting->number != search->but &&
                     strcmp (mounting->directory, search->directory) == 0;
  if (search->is_found)
    search->found = *mounting;
  return search->is_found;
}

static const struct mount_way *
way_of (const struct mounting *mounting)
{
  return mounting->device == -1 ? &mount_by_fuse : &mount_by_kernel;
}

/* Undo all of it, and forget it. */
static int
undo (struct mounting *mounting, bool force)
{
  const struct mount_way *way = way_of (mounting);
  int code = way->unmount (mounting, force);

  if (code == TOOL_DONE)
    code = way->end (mounting, force);
  if (code == TOOL_DONE)
    mounting_remove (mounting);
  return code;
}

/*--------------------------------------------------------------------
 * mount
 */

/* Read the arguments.  Returns an exit code. */
static int
parse (int argc, char *argv[], struct mounting *mounting)
{
  const bool is_uri = nbd_export_is_uri (argv[0]);
  struct attachment attachment = { .number = -1 };
  int code;

  if (!is_uri && argc < 3)
    return tool_usage ("which disk of %s, and on which directory?", argv[0]);
  if (is_uri && argc > 2)
    return tool_usage ("the disk is in the URI: give no more than a directory "
                       "behind it");
  code = attach_name (&attachment, argv[0], is_uri ? NULL : argv[1]);
  mounting->database = attachment.database;
  mounting->disk = attachment.disk;
  mounting->uri = attachment.uri;
  mounting->key = attachment.key;
  mounting->since = time (NULL);
  mounting->directory = realpath (argv[argc - 1], NULL);
  if (code == TOOL_DONE && mounting->directory == NULL)
    code = tool_error (errno, "%s: %s", argv[argc - 1], strerror (errno));
  return code;
}

/* Who writes a disk. */
struct writer {
  const char *disk;
  char who[sizeof ((struct manage_use *)NULL)->who + 1];
  bool is_found;
};

static int
find_writer (const struct manage_use *use, void *opaque)
{
  struct writer *writer = opaque;

  if (use->kind == MANAGE_WRITTEN && strcmp (use->target, writer->disk) == 0) {
    writer->is_found = true;
    snprintf (writer->who, sizeof writer->who, "%s",
              use->who[0] ? use->who : "somebody");
  }
  return 0;
}

/* Somebody has the disk open for writing. */
static int
check_writer (const struct mounting *mounting, const struct writer *writer)
{
  const struct attachment ours = {
    .database = mounting->database,
    .disk = mounting->disk,
  };

  if (!writer->is_found || attach_is_there (&ours))
    return TOOL_DONE;
  if (!readonly)
    return tool_error (EBUSY,
                       "%s has %s open for writing, and a file system that two "
                       "have mounted is destroyed; mount a snapshot of it",
                       writer->who, mounting->disk);
  tool_say ("warning: %s has %s open for writing: what is seen of it may not "
            "fit together; a snapshot does",
            writer->who, mounting->disk);
  return TOOL_DONE;
}

/* Is there such a disk, and nobody who writes it?  A server would not say it in
 * a word.  A time becomes the snapshot that it means now.
 */
static int
check_disk (struct mounting *mounting)
{
  struct writer writer = { .disk = mounting->disk };
  struct resolved resolved;
  struct store *store;
  struct status status;
  int r;

  if (mounting->uri || store_is_on_cluster (mounting->database))
    return TOOL_DONE;
  store = tool_open (mounting->database, false);
  r = tool_resolve (store, mounting->disk, &resolved, &status);
  if (r == 0)
    r = manage_list_uses (store, find_writer, &writer, &status);
  if (r == 0) {
    char *name = tool_strdup (resolved.name);

    free (mounting->disk);
    mounting->disk = name;
  }
  tool_close ();
  return r == 0 ? check_writer (mounting, &writer) : tool_fail (&status);
}

/* Is DIRECTORY one in which nothing is that would be hidden? */
static int
check_directory (const char *directory)
{
  DIR *entries = opendir (directory);
  const struct dirent *entry;
  int count = 0;

  if (entries == NULL)
    return tool_error (errno, "%s: %s", directory, strerror (errno));
  while ((entry = readdir (entries)) != NULL)
    count++;
  closedir (entries);
  if (count > 2)
    return tool_error (ENOTEMPTY,
                       "%s is not empty: what is in it would be hidden; take "
                       "another directory",
                       directory);
  return TOOL_DONE;
}

/* What an earlier mount on the same directory has left. */
static int
clear_directory (const struct mounting *mounting)
{
  struct search search = { .directory = mounting->directory, .but = -1 };
  struct mounting *found = &search.found;
  struct status status;
  int code = TOOL_DONE;

  mounting_each (find, &search);
  if (!search.is_found)
    return TOOL_DONE;
  if (mounting_lock (found, &status) == -1)
    code = tool_fail (&status);
  else if (found->source && mounting_is_on (found->directory, found->source))
    code = tool_error (EEXIST, "%s is mounted there already",
                       found->uri ? found->uri : found->disk);
  else
    code = undo (found, false);
  mounting_free (found);
  return code;
}

/* Give it a place, and see that nobody else mounts there at the same time. */
static int
claim (struct mounting *mounting)
{
  struct search search = { .directory = mounting->directory };
  struct status status;

  if (mounting_make (mounting, &status) == -1)
    return tool_fail (&status);
  search.but = mounting->number;
  if (mounting_save (mounting, &status) == -1) {
    mounting_remove (mounting);
    return tool_fail (&status);
  }
  mounting_each (find, &search);
  if (!search.is_found)
    return TOOL_DONE;
  mounting_free (&search.found);
  mounting_remove (mounting);
  return tool_error (EBUSY, "another command is mounting something on %s",
                     mounting->directory);
}

static const struct mount_way *
choose_way (void)
{
  struct status status = { .message = "only root can have the kernel do it" };
  struct kernel *kernel = geteuid () == 0 ? kernel_open (&status) : NULL;

  if (kernel) {
    kernel_close (kernel);
    return &mount_by_kernel;
  }
  tool_say ("FUSE is used: %s", status.message);
  return &mount_by_fuse;
}

static json_t *
text_or_null (const char *text)
{
  return text ? tool_json_string (text) : json_null ();
}

/* Say what was or would be done. */
static void
print (const struct mounting *mounting)
{
  json_t *value;

  if (!common.json && common.dry_run)
    tool_print ("%s is to be mounted on %s by %s: -t %s -o %s",
                mounting->source, mounting->directory, mounting->by,
                mounting->type, mounting->options);
  else if (!common.json)
    tool_say ("%s is mounted on %s by %s: -t %s -o %s", mounting->source,
              mounting->directory, mounting->by, mounting->type,
              mounting->options);
  if (!common.json)
    return;
  value = json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "directory",
      tool_json_string (mounting->directory), "database",
      text_or_null (mounting->database), "disk", text_or_null (mounting->disk),
      "uri", text_or_null (mounting->uri), "source",
      tool_json_string (mounting->source), "by",
      tool_json_string (mounting->by), "type",
      tool_json_string (mounting->type), "options",
      tool_json_string (mounting->options), "partition",
      mounting->partition ? json_integer (mounting->partition) : json_null ());
  tool_json_print (value);
}

/* Find what is in the disk that is at `source`, and mount it. */
static int
mount_found (const struct mount_way *way, struct mounting *mounting,
             const struct mount_wish *wish)
{
  struct volume volume;
  struct status status;
  const int fd = open (mounting->source, O_RDONLY | O_CLOEXEC);
  int code = TOOL_DONE;

  if (fd == -1)
    return tool_error (errno, "%s: %s", mounting->source, strerror (errno));
  if (volume_find (fd, wanted_partition, &volume, &status) == -1)
    code = tool_error (status.error, "%s: %s",
                       mounting->uri ? mounting->uri : mounting->disk,
                       status.message);
  close (fd);
  if (code == TOOL_DONE) {
    mounting->partition = volume.partition;
    code = way->plan (mounting, &volume, wish);
  }
  if (code == TOOL_DONE && mounting_save (mounting, &status) == -1)
    code = tool_fail (&status);
  if (code == TOOL_DONE && !common.dry_run)
    code = way->mount (mounting, &volume, wish);
  return code;
}

static int
run_mount (int argc, char *argv[])
{
  struct mounting mounting = { .number = -1, .lock = -1, .device = -1 };
  struct mount_wish wish = { .readonly = readonly, .options = wanted_options };
  const struct mount_way *way;
  int code = parse (argc, argv, &mounting);

  tool_catch_signals ();
  if (code == TOOL_DONE)
    code = check_disk (&mounting);
  if (code == TOOL_DONE)
    code = clear_directory (&mounting);
  if (code == TOOL_DONE)
    code = check_directory (mounting.directory);
  if (code == TOOL_DONE)
    code = claim (&mounting);
  if (code == TOOL_DONE) {
    way = choose_way ();
    code = way->begin (&mounting, &wish);
    if (code == TOOL_DONE)
      code = mount_found (way, &mounting, &wish);
    if (code == TOOL_DONE)
      print (&mounting);
    if (code != TOOL_DONE || common.dry_run)
      undo (&mounting, false);
  }
  mounting_free (&mounting);
  return code;
}

/*--------------------------------------------------------------------
 * umount
 */

static int
run_umount (int argc, char *argv[])
{
  char *directory = find_directory (argv[0]);
  struct search search = { .directory = directory, .but = -1 };
  struct status status;
  int code;

  (void)argc;
  if (directory)
    mounting_each (find, &search);
  if (!search.is_found)
    code = tool_error (ENOENT, "nothing was mounted on %s by sqlblock",
                       directory ? directory : argv[0]);
  else if (mounting_lock (&search.found, &status) == -1)
    code = tool_fail (&status);
  else
    code = undo (&search.found, common.force);
  if (search.is_found)
    mounting_free (&search.found);
  free (directory);
  return code;
}

#else /* !HAVE_MOUNT */

static int
run_mount (int argc, char *argv[])
{
  (void)argc, (void)argv;
  return tool_error (ENOTSUP, "this program was built without libnbd, libnl or "
                              "libblkid, which mounting needs");
}

#define run_umount run_mount

#endif /* !HAVE_MOUNT */

static const struct tool_option mount_options[] = {
  { "read-only", 'r', NULL, &readonly,
    "change nothing, as with a snapshot; a journal is\n"
    "not replayed" },
  { "partition", 0, "PARTITION", &wanted_partition,
    "mount this one: its number, its name in a GPT, or\n"
    "the label of its file system" },
  { "options", 'o', "OPTIONS", &wanted_options,
    "more options of mount, as \"discard,noatime\"" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_mount = {
  .name = "mount",
  .arguments = "DATABASE|URI [DISK[@SNAPSHOT]] DIRECTORY",
  .summary = "Show the files of a disk or snapshot in a directory",
  .help =
      "Mounts the file system of a disk, or of a snapshot, which is only read, "
      "on a\n"
      "directory that is empty. With root and the kernel's nbd driver the disk "
      "is\n"
      "attached for it, else nbdfuse and fuse2fs or guestmount are used. The "
      "file\n"
      "system gets the options nosuid and nodev, and where nothing may be "
      "written\n"
      "those with which it leaves its journal alone. \"sqlblock umount\" "
      "undoes "
      "all of\n"
      "it. Instead of a database there may be the URI of an export. For an "
      "encrypted\n"
      "disk of a database give --key-file=FILE or --passphrase=+FILE.\n",
  .options = mount_options,
  .common = COMMON_JSON | COMMON_DRY_RUN | COMMON_KEY,
  .alone = true,
  .least = 2,
  .most = 3,
  .run = run_mount,
};

const struct command command_umount = {
  .name = "umount",
  .arguments = "DIRECTORY",
  .summary = "End what mount began",
  .help = "Unmounts the file system, detaches its disk, and ends the server "
          "that was\n"
          "started for it. Fails where it is in use; with --force it is taken "
          "away from\n"
          "whoever uses it. What was unmounted by other means is cleaned up.\n",
  .common = COMMON_FORCE,
  .alone = true,
  .least = 1,
  .most = 1,
  .run = run_umount,
};

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands that change snapshots: snapshot create, delete, hold, release. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "base/times.h"
#include "tool.h"

/* A list of snapshots. */
struct snapshots {
  struct snapshot_info *info;
  size_t count, capacity;
};

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct snapshots *list = opaque;

  if (list->count == list->capacity) {
    list->capacity = 2 * list->capacity + 16;
    list->info = tool_realloc (list->info, list->capacity * sizeof *list->info);
  }
  list->info[list->count++] = *info;
  return 0;
}

/* "web@monday", a new string. */
static char *
full_name (const struct snapshot_info *info)
{
  return tool_format ("%s@%s", info->disk_name, info->name);
}

/*--------------------------------------------------------------------
 * create
 */

static bool create_all;

static const struct tool_option create_options[] = {
  { "all", 'a', NULL, &create_all,
    "of all disks; then the argument is only @SNAPSHOT" },
  { NULL, 0, NULL, NULL, NULL },
};

/* The disks of which a snapshot is wanted. */
struct disks {
  const char **names;
  size_t count, capacity;
};

static void
add_disk_name (struct disks *disks, char *name)
{
  if (disks->count == disks->capacity) {
    disks->capacity = 2 * disks->capacity + 16;
    disks->names =
        tool_realloc (disks->names, disks->capacity * sizeof *disks->names);
  }
  disks->names[disks->count++] = name;
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  add_disk_name (opaque, tool_strdup (info->name));
  return 0;
}

/* Read the arguments DISK@NAME, where all have the same name. */
static int
read_disks (int argc, char *argv[], struct disks *disks, const char **name)
{
  for (int i = 0; i < argc; i++) {
    const struct target target = tool_target (argv[i]);

    if (target.snapshot == NULL && create_all)
      return tool_usage ("with --all give @%s", argv[i]);
    if (target.snapshot == NULL)
      return tool_usage ("what is the snapshot to be called?  Give %s@NAME",
                         argv[i]);
    if (*name && strcmp (*name, target.snapshot) != 0)
      return tool_usage ("snapshots that are made at once have one name, "
                         "but here are '%s' and '%s'",
                         *name, target.snapshot);
    if (target.disk[0] == '\0' && !create_all)
      return tool_usage ("a snapshot of what?  Give DISK%s, or --all", argv[i]);
    if (target.disk[0] && create_all)
      return tool_usage ("with --all give just @%s", target.snapshot);
    *name = target.snapshot;
    if (!create_all)
      add_disk_name (disks, target.disk);
  }
  return TOOL_DONE;
}

static int
run_create (int argc, char *argv[])
{
  struct disks disks = { 0 };
  const char *name = NULL;
  const int code = read_disks (argc - 1, argv + 1, &disks, &name);
  struct status status;
  struct store *store;

  if (code != TOOL_DONE)
    return code;
  if (arguments_check_new_snapshot (name) != TOOL_DONE)
    return TOOL_USAGE;
  store = tool_open (argv[0], true);
  if (create_all && store_list (store, add_disk, &disks, &status) == -1)
    return tool_fail (&status);
  if (disks.count == 0)
    return tool_error (ENOENT, "there is no disk in %s", argv[0]);
  if (manage_snapshot (store, disks.names, disks.count, name, &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < disks.count; i++)
    tool_say ("made snapshot '%s@%s'", disks.names[i], name);
  return TOOL_DONE;
}

const struct command command_snapshot_create = {
  .name = "snapshot create",
  .arguments = "DATABASE DISK@SNAPSHOT...",
  .summary = "Take a snapshot of one or several disks at an instant",
  .help =
      "It takes no time and no space, and may be done while the disk is\n"
      "written.  Every write that was acknowledged before is in it.  With\n"
      "several disks the snapshots have one name, and show the same instant;\n"
      "if one cannot be made, none is.  Names are UTF-8 of at most 200 bytes\n"
      "without '@' and '/'; 2026-11-22 and 2026-11-22T10:42 are times, and\n"
      "cannot be names, but 2026-11-22-update can.\n"
      "\n"
      "Examples: sqlblock snapshot create disks.sqlite web@monday\n"
      "          sqlblock snapshot create disks.sqlite {web,mail}@monday\n"
      "          sqlblock snapshot create disks.sqlite --all @monday\n",
  .options = create_options,
  .least = 2,
  .most = -1,
  .any_disk = true,
  .run = run_create,
};

/*--------------------------------------------------------------------
 * delete
 */

static bool no_reclaim, delete_all;

static const struct tool_option delete_options[] = {
  { "all", 'a', NULL, &delete_all,
    "all snapshots of a disk; then the argument is only\n"
    "DISK" },
  { "no-reclaim", 0, NULL, &no_reclaim,
    "do not free the space now; \"sqlblock compact\" does\n"
    "it later" },
  { NULL, 0, NULL, NULL, NULL },
};

/* The place in LIST of the snapshot whose name is the LENGTH bytes at NAME;
 * of no name, OTHERWISE; -1 where there is none.
 */
static ssize_t
find_end (const struct snapshots *list, const char *name, size_t length,
          ssize_t otherwise)
{
  if (length == 0)
    return otherwise;
  for (size_t i = 0; i < list->count; i++)
    if (strlen (list->info[i].name) == length &&
        memcmp (list->info[i].name, name, length) == 0)
      return i;
  return -1;
}

/* Names that were given, and snapshots that are to go. */
struct doomed {
  const char **targets;
  size_t count, capacity;
};

/* Add a snapshot, unless it is there already. */
static void
doom (struct doomed *doomed, char *target)
{
  for (size_t i = 0; i < doomed->count; i++)
    if (strcmp (doomed->targets[i], target) == 0) {
      free (target);
      return;
    }
  if (doomed->count == doomed->capacity) {
    doomed->capacity = 2 * doomed->capacity + 16;
    doomed->targets = tool_realloc (doomed->targets,
                                    doomed->capacity * sizeof *doomed->targets);
  }
  doomed->targets[doomed->count++] = target;
}

/* How many ranges A..B of LIST can NAME be?  Names may have dots: any ".." with
 * snapshots, or nothing, on both sides counts.
 */
static int
find_ranges (const struct snapshots *list, const char *name, ssize_t *first,
             ssize_t *last)
{
  int count = 0;

  for (const char *dots = strstr (name, ".."); dots;
       dots = strstr (dots + 1, "..")) {
    const ssize_t begin = find_end (list, name, dots - name, 0);
    const ssize_t end =
        find_end (list, dots + 2, strlen (dots + 2), list->count - 1);

    if (list->count > 0 && begin != -1 && end != -1) {
      *first = begin;
      *last = end;
      count++;
    }
  }
  return count;
}

/* Fail where the range TEXT has an end that is not there; a time is none. */
static int
check_ends (struct store *store, const char *text)
{
  const struct target target = tool_target (text);
  const char *const dots = strstr (target.snapshot, "..");
  const char *const ends[] = {
    tool_format ("%.*s", (int)(dots - target.snapshot), target.snapshot),
    dots + 2,
  };
  struct snapshot_info info;
  struct status status;

  for (int i = 0; i < 2; i++) {
    const char *name = tool_format ("%s@%s", target.disk, ends[i]);
    int64_t seconds;

    if (times_parse (ends[i], &seconds))
      return tool_usage ("'%s' is a time; a range goes from one name to "
                         "another",
                         ends[i]);
    if (ends[i][0] && manage_find_snapshot (store, name, &info, &status) == -1)
      return tool_fail (&status);
  }
  return TOOL_DONE;
}

/* Add the snapshots that TEXT means, a range or just one, of those in LIST.
 */
static int
doom_range (struct store *store, struct doomed *doomed,
            const struct snapshots *list, const char *text)
{
  const char *name = strchr (text, '@') + 1;
  const bool single = find_end (list, name, strlen (name), -1) != -1;
  ssize_t first = 0, last = 0;
  int code = TOOL_DONE;
  const int ranges = find_ranges (list, name, &first, &last);

  if (ranges + single > 1)
    return tool_error (EINVAL,
                       "'%s' can mean several things, since snapshots have "
                       "'..' in their names; name them one by one, or rename "
                       "such a snapshot first",
                       text);
  if (ranges == 0) {
    if (!single && strstr (name, ".."))
      code = check_ends (store, text);
    doom (doomed, tool_strdup (text));
    return code;
  }
  if (first > last)
    return tool_error (EINVAL,
                       "'%s' is older than '%s': a range begins with "
                       "the older one",
                       list->info[last].name, list->info[first].name);
  for (ssize_t i = first; i <= last; i++)
    doom (doomed, full_name (&list->info[i]));
  return TOOL_DONE;
}

/* What is deleted is called by its name.  One that is missing is found out
 * with the others.
 */
static int
check_no_time (struct store *store, const char *text)
{
  struct snapshot_info info;
  struct status status;

  if (manage_find_snapshot (store, text, &info, &status) == -1 ||
      strcmp (strchr (text, '@') + 1, info.name) == 0)
    return TOOL_DONE;
  return tool_usage ("'%s' is a time; give the name of the snapshot, '%s'",
                     text, full_name (&info));
}

/* Add all snapshots of DISK. */
static int
doom_all (struct store *store, const char *disk, struct doomed *doomed)
{
  struct snapshots list = { 0 };
  struct disk_info info;
  struct status status;

  if (store_find (store, disk, &info, &status) == -1 ||
      manage_list_snapshots (store, disk, add_snapshot, &list, &status) == -1)
    return tool_fail (&status);
  if (list.count == 0)
    return tool_error (ENOENT, "disk '%s' has no snapshots", disk);
  for (size_t i = 0; i < list.count; i++)
    doom (doomed, full_name (&list.info[i]));
  free (list.info);
  return TOOL_DONE;
}

/* Add what the argument TEXT means. */
static int
doom_argument (struct store *store, const char *text, struct doomed *doomed)
{
  const struct target target = tool_target (text);
  struct snapshots list = { 0 };
  struct disk_info disk;
  struct status status;
  int code;

  if (delete_all)
    return doom_all (store, text, doomed);
  if (strstr (target.snapshot, "..") &&
      (store_find (store, target.disk, &disk, &status) == -1 ||
       manage_list_snapshots (store, target.disk, add_snapshot, &list,
                              &status) == -1))
    return tool_fail (&status);
  code = check_no_time (store, text);
  if (code == TOOL_DONE)
    code = doom_range (store, doomed, &list, text);
  free (list.info);
  return code;
}

/* Say what would be deleted, if it would. */
static int
show_doomed (struct store *store, const struct doomed *doomed)
{
  struct usage_item *items = tool_alloc (doomed->count * sizeof *items);
  struct snapshot_info info;
  char text[TOOL_SIZE_MAX];
  struct status status;
  uint64_t freed;
  int r;

  if (manage_try_delete_snapshots (store, doomed->targets, doomed->count,
                                   &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed->count; i++) {
    if (manage_find_snapshot (store, doomed->targets[i], &info, &status) == -1)
      return tool_fail (&status);
    items[i] = (struct usage_item){ info.disk, info.id, 0, 0 };
  }
  tool_progress_begin ("counting");
  r = manage_usage (store, items, doomed->count, &freed, 1, tool_progress, NULL,
                    &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed->count; i++)
    tool_print ("would delete snapshot '%s'", doomed->targets[i]);
  tool_print ("which frees %s", tool_amount (freed, text));
  return TOOL_DONE;
}

/* Can TEXT be what is to be deleted?  A range with both ends empty cannot: it
 * would be all, and may be two variables that are not set.
 */
static int
check_doomed (const char *text)
{
  const struct target target = tool_target (text);

  if (delete_all && target.snapshot)
    return tool_usage ("with --all give just %s", target.disk);
  if (!delete_all && target.snapshot == NULL)
    return tool_usage ("'%s' is no snapshot: give %s@SNAPSHOT, or --all for "
                       "all that it has, or use \"sqlblock delete\" for the "
                       "disk",
                       text, text);
  if (!delete_all && strcmp (target.snapshot, "..") == 0)
    return tool_usage ("'%s' is a range without ends; if all snapshots are "
                       "meant, give %s --all",
                       text, target.disk);
  return TOOL_DONE;
}

static int
run_delete (int argc, char *argv[])
{
  struct doomed doomed = { 0 };
  struct status status;
  struct store *store;

  for (int i = 1; i < argc; i++)
    if (check_doomed (argv[i]) != TOOL_DONE)
      return TOOL_USAGE;
  store = tool_open (argv[0], true);
  for (int i = 1; i < argc; i++) {
    const int code = doom_argument (store, argv[i], &doomed);

    if (code != TOOL_DONE)
      return code;
  }
  if (common.dry_run)
    return show_doomed (store, &doomed);
  if (manage_delete_snapshots (store, doomed.targets, doomed.count, &status) ==
      -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed.count; i++)
    tool_say ("deleted snapshot '%s'", doomed.targets[i]);
  return no_reclaim ? TOOL_DONE : tool_reclaim (store);
}

const struct command command_snapshot_delete = {
  .name = "snapshot delete",
  .arguments = "DATABASE DISK@SNAPSHOT...",
  .summary = "Delete snapshots",
  .help =
      "DISK@A..B are the snapshots from A to B, both included, in the order\n"
      "in which they were made; DISK@A.. goes on to the newest, DISK@..B\n"
      "begins with the oldest.  With --all it is DISK, and means all that it\n"
      "has.  If one cannot be deleted, since somebody holds or reads it or it\n"
      "is not there, none is.  The disk and what was cloned\n"
      "from the snapshots stay as they are.\n"
      "\n"
      "Examples: sqlblock snapshot delete disks.sqlite web@monday\n"
      "          sqlblock snapshot delete disks.sqlite web@..friday -n\n"
      "          sqlblock snapshot delete disks.sqlite web --all\n",
  .options = delete_options,
  .common = COMMON_DRY_RUN | COMMON_PROGRESS,
  .least = 2,
  .most = -1,
  .run = run_delete,
};

/*--------------------------------------------------------------------
 * hold, release
 */

/* Check that ARGV[1] can be a snapshot, and ARGV[2] the tag of a hold on it,
 * which where one is to END can be anything.  Returns an exit code.
 */
static int
check_hold (char *argv[], bool end)
{
  const struct target target = tool_target (argv[1]);
  char *key = tool_format (PROPERTY_HOLD "%s", argv[2]);
  struct status status;
  const int r = sane_check_key (key, &status);

  free (key);
  if (target.snapshot == NULL)
    return tool_usage ("'%s' is no snapshot: give %s@SNAPSHOT", argv[1],
                       argv[1]);
  if (r == -1 && !end)
    return tool_usage ("%s", status.message);
  return TOOL_DONE;
}

/* Make the CHANGE to the hold, after which the snapshot is HELD by the tag. */
static int
change_hold (char *argv[],
             int (*change) (struct store *store, const char *target,
                            const char *tag, struct status *status),
             const char *held)
{
  struct status status;
  struct store *store;
  int code = check_hold (argv, change == manage_release);

  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], true);
  code = tool_check_no_time (store, argv[1]);
  if (code != TOOL_DONE)
    return code;
  if (change (store, argv[1], argv[2], &status) == -1) {
    code = status.error == ENOENT ? check_hold (argv, false) : TOOL_DONE;
    return code == TOOL_DONE ? tool_fail (&status) : code;
  }
  tool_say ("snapshot '%s' is %s by '%s'", argv[1], held, argv[2]);
  return TOOL_DONE;
}

static int
run_hold (int argc, char *argv[])
{
  (void)argc;
  return change_hold (argv, manage_hold, "held");
}

const struct command command_snapshot_hold = {
  .name = "snapshot hold",
  .arguments = "DATABASE DISK@SNAPSHOT TAG",
  .summary = "Keep a snapshot from being deleted",
  .help =
      "While a snapshot has a hold, of whatever tag, nothing deletes it: no\n"
      "command, with --force or not, and no server's history.  TAG says who\n"
      "needs it; several can, each by another tag (exit code 4 for one that\n"
      "it has already).  \"info\" shows them.\n"
      "\n"
      "Example: sqlblock snapshot hold disks.sqlite web@monday backup\n",
  .least = 3,
  .most = 3,
  .run = run_hold,
};

static int
run_release (int argc, char *argv[])
{
  (void)argc;
  return change_hold (argv, manage_release, "no longer held");
}

const struct command command_snapshot_release = {
  .name = "snapshot release",
  .arguments = "DATABASE DISK@SNAPSHOT TAG",
  .summary = "End a hold on a snapshot",
  .help = "Ends what \"sqlblock snapshot hold\" has begun with that tag (exit\n"
          "code 3 where there is none).  The snapshot can be deleted when no\n"
          "hold is left; nothing deletes it now.\n"
          "\n"
          "Example: sqlblock snapshot release disks.sqlite web@monday backup\n",
  .least = 3,
  .most = 3,
  .run = run_release,
};

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
#include "pattern.h"
#include "tool.h"

/* "web@monday", a new string. */
static char *
full_name (const struct snapshot_info *info)
{
  return tool_format ("%s@%s", info->disk_name, info->name);
}

/* The changes of a kind to each of TARGETS, which all have NAME. */
static struct manage_step *
steps_of (const struct names *targets, const char *name)
{
  struct manage_step *steps = tool_alloc (targets->count * sizeof *steps);

  for (size_t i = 0; i < targets->count; i++)
    steps[i] = (struct manage_step){ targets->names[i], name };
  return steps;
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

static int
add_disk (const struct disk_info *info, void *opaque)
{
  names_add (opaque, tool_strdup (info->name));
  return 0;
}

/* Read the arguments DISK@NAME, where all have the same name. */
static int
read_disks (int argc, char *argv[], char *disks[], const char **name)
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
    disks[i] = target.disk;
  }
  return TOOL_DONE;
}

static int
run_create (int argc, char *argv[])
{
  char **texts = tool_alloc (argc * sizeof *texts);
  struct names disks = { 0 };
  const char *name = NULL;
  int code = read_disks (argc - 1, argv + 1, texts, &name);
  struct manage_step *steps;
  struct status status;
  struct store *store;

  if (code != TOOL_DONE)
    return code;
  if (arguments_check_new_snapshot (name) != TOOL_DONE)
    return TOOL_USAGE;
  store = tool_open (argv[0], true);
  if (create_all && store_list (store, add_disk, &disks, &status) == -1)
    return tool_fail (&status);
  if (!create_all)
    code = pattern_disks (store, argc - 1, texts, &disks);
  if (code != TOOL_DONE)
    return code;
  if (disks.count == 0)
    return tool_error (ENOENT, "there is no disk in %s", argv[0]);
  steps = steps_of (&disks, name);
  if (manage_group (store, GROUP_SNAPSHOT, steps, disks.count,
                    common.dry_run ? GROUP_TRY : 0, &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < disks.count; i++)
    if (common.dry_run)
      tool_print ("would make snapshot '%s@%s'", disks.names[i], name);
    else
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
      "DISK may be a pattern, 'web*': all disks that fit it.  A disk that is\n"
      "called just so is that disk.\n"
      "\n"
      "Examples: sqlblock snapshot create disks.sqlite web@monday\n"
      "          sqlblock snapshot create disks.sqlite {web,mail}@monday\n"
      "          sqlblock snapshot create disks.sqlite 'vm-*@monday' -n\n"
      "          sqlblock snapshot create disks.sqlite --all @monday\n",
  .options = create_options,
  .common = COMMON_DRY_RUN,
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

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  names_add (opaque, full_name (info));
  return 0;
}

/* Add all snapshots of the disks that TEXT means; each has to have some. */
static int
doom_all (struct store *store, char *text, struct names *doomed)
{
  struct names disks = { 0 };
  const int code = pattern_disks (store, 1, &text, &disks);
  struct status status;

  for (size_t i = 0; code == TOOL_DONE && i < disks.count; i++) {
    const size_t before = doomed->count;
    struct disk_info info;

    if (store_find (store, disks.names[i], &info, &status) == -1 ||
        manage_list_snapshots (store, disks.names[i], add_snapshot, doomed,
                               &status) == -1)
      return tool_fail (&status);
    if (doomed->count == before && disks.count == 1)
      return tool_error (ENOENT, "disk '%s' has no snapshots", disks.names[i]);
  }
  if (code == TOOL_DONE && doomed->count == 0)
    return tool_error (ENOENT, "the disks that fit '%s' have no snapshots",
                       text);
  return code;
}

/* Add what the COUNT arguments TEXTS mean, each once. */
static int
doom_arguments (struct store *store, int count, char *texts[],
                struct names *doomed)
{
  int code = TOOL_DONE;

  for (int i = 0; code == TOOL_DONE && i < count; i++)
    code = delete_all                  ? doom_all (store, texts[i], doomed)
           : pattern_is_one (texts[i]) ? TOOL_DONE
                                       : check_no_time (store, texts[i]);
  if (code == TOOL_DONE && !delete_all)
    code = pattern_snapshots (store, count, texts, false, doomed);
  names_once (doomed);
  return code;
}

/* Say what would be deleted, if it would. */
static int
show_doomed (struct store *store, const struct names *doomed)
{
  struct usage_item *items = tool_alloc (doomed->count * sizeof *items);
  struct snapshot_info info;
  char text[TOOL_SIZE_MAX];
  struct status status;
  uint64_t freed;
  int r;

  if (manage_try_delete_snapshots (store, doomed->names, doomed->count,
                                   &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed->count; i++) {
    if (manage_find_snapshot (store, doomed->names[i], &info, &status) == -1)
      return tool_fail (&status);
    items[i] = (struct usage_item){ .disk = info.disk, .snapshot = info.id };
  }
  tool_progress_begin ("counting");
  r = manage_usage (store, items, doomed->count, &freed, 1, tool_progress, NULL,
                    &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed->count; i++)
    tool_print ("would delete snapshot '%s'", doomed->names[i]);
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
  if (!delete_all && (strcmp (target.snapshot, "..") == 0 ||
                      strcmp (target.snapshot, "%") == 0))
    return tool_usage ("'%s' is a range without ends; if all snapshots are "
                       "meant, give %s --all",
                       text, target.disk);
  return TOOL_DONE;
}

static int
run_delete (int argc, char *argv[])
{
  struct names doomed = { 0 };
  struct status status;
  struct store *store;
  int code;

  for (int i = 1; i < argc; i++)
    if (check_doomed (argv[i]) != TOOL_DONE)
      return TOOL_USAGE;
  store = tool_open (argv[0], true);
  code = doom_arguments (store, argc - 1, argv + 1, &doomed);
  if (code != TOOL_DONE)
    return code;
  if (common.dry_run)
    return show_doomed (store, &doomed);
  if (manage_delete_snapshots (store, doomed.names, doomed.count, &status) ==
      -1)
    return tool_fail (&status);
  for (size_t i = 0; i < doomed.count; i++)
    tool_say ("deleted snapshot '%s'", doomed.names[i]);
  return no_reclaim ? TOOL_DONE : tool_reclaim (store);
}

const struct command command_snapshot_delete = {
  .name = "snapshot delete",
  .arguments = "DATABASE DISK@SNAPSHOT...",
  .summary = "Delete snapshots",
  .help =
      "DISK@A..B are the snapshots from A to B, both included, in the order\n"
      "in which they were made; DISK@A.. goes on to the newest, DISK@..B\n"
      "begins with the oldest; A%B is the same.  DISK and SNAPSHOT may be\n"
      "patterns, with * ? and [a-z]: then it is all that fits, if something\n"
      "does; what is called just so is that.  With --all it is DISK, and\n"
      "means all that it has.  If one cannot be deleted, since somebody holds\n"
      "or reads it or it is not there, none is.  The disk and what was cloned\n"
      "from the snapshots stay as they are.\n"
      "\n"
      "Examples: sqlblock snapshot delete disks.sqlite web@monday\n"
      "          sqlblock snapshot delete disks.sqlite web@..friday -n\n"
      "          sqlblock snapshot delete disks.sqlite 'web*@auto-*' -n\n"
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

/* Check that the COUNT TARGETS can be snapshots, and TAG that of a hold on
 * them, which where one is to END can be anything.  Returns an exit code.
 */
static int
check_hold (int count, char *targets[], const char *tag, bool end)
{
  char *key = tool_format (PROPERTY_HOLD "%s", tag);
  struct status status;
  const int r = sane_check_key (key, &status);

  free (key);
  for (int i = 0; i < count; i++)
    if (strchr (targets[i], '@') == NULL)
      return tool_usage ("'%s' is no snapshot: give %s@SNAPSHOT", targets[i],
                         targets[i]);
  if (r == -1 && !end)
    return tool_usage ("%s", status.message);
  return TOOL_DONE;
}

/* The snapshots that the COUNT TEXTS mean; none is a time. */
static int
find_held (struct store *store, int count, char *texts[], struct names *found)
{
  int code = TOOL_DONE;

  for (int i = 0; code == TOOL_DONE && i < count; i++)
    if (!pattern_is_one (texts[i]))
      code = check_no_time (store, texts[i]);
  return code == TOOL_DONE
             ? pattern_snapshots (store, count, texts, false, found)
             : code;
}

/* Make the changes of KIND to the holds on ARGV[1] and so on, of the tag that
 * is the last; after that they are HELD by it.
 */
static int
change_holds (int argc, char *argv[], enum manage_group_kind kind,
              const char *held)
{
  const char *tag = argv[argc - 1];
  const bool end = kind == GROUP_RELEASE;
  struct names found = { 0 };
  struct status status;
  struct store *store;
  int code = check_hold (argc - 2, argv + 1, tag, end);

  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], true);
  code = find_held (store, argc - 2, argv + 1, &found);
  if (code != TOOL_DONE)
    return code;
  if (manage_group (store, kind, steps_of (&found, tag), found.count,
                    common.dry_run ? GROUP_TRY : 0, &status) == -1) {
    code =
        status.error == ENOENT ? check_hold (0, NULL, tag, false) : TOOL_DONE;
    return code == TOOL_DONE ? tool_fail (&status) : code;
  }
  for (size_t i = 0; i < found.count; i++)
    if (common.dry_run)
      tool_print ("snapshot '%s' would be %s by '%s'", found.names[i], held,
                  tag);
    else
      tool_say ("snapshot '%s' is %s by '%s'", found.names[i], held, tag);
  return TOOL_DONE;
}

static int
run_hold (int argc, char *argv[])
{
  return change_holds (argc, argv, GROUP_HOLD, "held");
}

const struct command command_snapshot_hold = {
  .name = "snapshot hold",
  .arguments = "DATABASE DISK@SNAPSHOT... TAG",
  .summary = "Keep snapshots from being deleted",
  .help =
      "While a snapshot has a hold, of whatever tag, nothing deletes it: no\n"
      "command, with --force or not, and no server's history.  TAG says who\n"
      "needs it; several can, each by another tag (exit code 4 for one that\n"
      "it has already).  \"info\" shows them.  Of several snapshots, also\n"
      "ranges and patterns as of \"snapshot delete\", all are held or none.\n"
      "\n"
      "Example: sqlblock snapshot hold disks.sqlite web@monday backup\n",
  .common = COMMON_DRY_RUN,
  .least = 3,
  .most = -1,
  .run = run_hold,
};

static int
run_release (int argc, char *argv[])
{
  return change_holds (argc, argv, GROUP_RELEASE, "no longer held");
}

const struct command command_snapshot_release = {
  .name = "snapshot release",
  .arguments = "DATABASE DISK@SNAPSHOT... TAG",
  .summary = "End a hold on snapshots",
  .help = "Ends what \"sqlblock snapshot hold\" has begun with that tag (exit\n"
          "code 3 where one does not have it; then none is ended).  The\n"
          "snapshot can be deleted when no hold is left; nothing deletes it\n"
          "now.\n"
          "\n"
          "Example: sqlblock snapshot release disks.sqlite 'web@*' backup\n",
  .common = COMMON_DRY_RUN,
  .least = 3,
  .most = -1,
  .run = run_release,
};

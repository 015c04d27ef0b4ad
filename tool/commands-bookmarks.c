/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* bookmark create, list, delete. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static int
run_create (int argc, char *argv[])
{
  const struct target target = tool_target (argv[1]);
  const char *hash = strrchr (argv[2], '#');
  const char *name = hash ? hash + 1 : argv[2];
  struct status status;
  struct store *store;
  int code;

  (void)argc;
  if (target.snapshot == NULL)
    return tool_usage ("a bookmark is made of a snapshot: give "
                       "%s@SNAPSHOT; \"sqlblock snapshot create\" makes one",
                       argv[1]);
  if (hash && hash > argv[2] &&
      (strlen (target.disk) != (size_t)(hash - argv[2]) ||
       strncmp (target.disk, argv[2], hash - argv[2]) != 0))
    return tool_usage ("the bookmark is one of the snapshot's disk: give "
                       "%s#%s, or just %s",
                       target.disk, name, name);
  if (manage_check_bookmark (name, &status) == -1)
    return tool_usage ("%s", status.message);
  store = tool_open (argv[0], true);
  code = tool_check_no_time (store, argv[1]);
  if (code != TOOL_DONE)
    return code;
  if (manage_bookmark (store, argv[1], name, &status) == -1)
    return tool_fail (&status);
  tool_say ("made bookmark '%s#%s'", target.disk, name);
  return TOOL_DONE;
}

const struct command command_bookmark_create = {
  .name = "bookmark create",
  .arguments = "DATABASE DISK@SNAPSHOT NAME",
  .summary = "Remember a snapshot as the base of a later send",
  .help =
      "A bookmark takes no space, and keeps nothing from being overwritten\n"
      "or deleted.  When the snapshot is gone, \"sqlblock send\n"
      "--from=#NAME\" still knows what has changed since.  NAME may also be\n"
      "written as #NAME or DISK#NAME.\n"
      "\n"
      "Example: sqlblock bookmark create disks.sqlite web@monday sent\n",
  .least = 3,
  .most = 3,
  .run = run_create,
};

/*--------------------------------------------------------------------
 * list
 */

/* A list in the making. */
struct list {
  struct tool_table *table;
  json_t *json;
};

static int
add_bookmark (const struct bookmark_info *info, void *opaque)
{
  struct list *list = opaque;
  char *name = tool_format ("%s#%s", info->disk_name, info->name);
  char guid[17];

  snprintf (guid, sizeof guid, "%016" PRIx64, (uint64_t)info->guid);
  tool_cell (list->table, "%s", name);
  tool_cell (list->table, "%s", info->snapshot);
  tool_cell_size (list->table, info->size);
  tool_cell_time (list->table, info->created);
  tool_cell (list->table, "%s", info->usable ? "yes" : "no");
  tool_cell (list->table, "%s", guid);
  json_array_append_new (
      list->json, json_pack ("{s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "disk",
                             tool_json_string (info->disk_name), "bookmark",
                             tool_json_string (info->name), "snapshot",
                             tool_json_string (info->snapshot), "size",
                             tool_json_size (info->size), "created",
                             tool_json_time (info->created), "usable",
                             info->usable, "guid", guid));
  free (name);
  return 0;
}

static int
run_list (int argc, char *argv[])
{
  static const char *const titles[] = {
    "NAME", "SNAPSHOT", ">SIZE", "CREATED", "USABLE", "GUID", NULL,
  };
  struct list list = { .table = tool_table (titles), .json = json_array () };
  const int code =
      tool_table_choose (list.table, "NAME,SNAPSHOT,SIZE,CREATED,USABLE");
  struct status status;
  struct store *store;

  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  if (manage_list_bookmarks (store, argc > 1 ? argv[1] : NULL, add_bookmark,
                             &list, &status) == -1)
    return tool_fail (&status);
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "bookmarks", list.json));
  else
    tool_table_print (list.table);
  return TOOL_DONE;
}

const struct command command_bookmark_list = {
  .name = "bookmark list",
  .arguments = "DATABASE [DISK]",
  .summary = "Show the bookmarks of all disks, or of one",
  .help = "SNAPSHOT is what the snapshot was called, and CREATED when it was\n"
          "made.  USABLE says whether the disk as it is now comes from it.\n"
          "\n"
          "Columns: NAME SNAPSHOT SIZE CREATED USABLE GUID.\n"
          "\n"
          "The JSON is {\"bookmarks\": [...]}, each with disk, bookmark, "
          "snapshot,\n"
          "size, created, usable and guid.\n"
          "\n"
          "Example: sqlblock bookmark list disks.sqlite web\n",
  .common = COMMON_JSON | COMMON_TABLE,
  .least = 1,
  .most = 2,
  .run = run_list,
};

/*--------------------------------------------------------------------
 * delete
 */

static int
run_delete (int argc, char *argv[])
{
  const char *const *targets = (const char *const *)argv + 1;
  struct bookmark_info info;
  struct status status;
  struct store *store;

  for (int i = 1; i < argc; i++)
    if (strchr (argv[i], '#') == NULL)
      return tool_usage ("'%s' is no bookmark: give DISK#BOOKMARK", argv[i]);
  store = tool_open (argv[0], !common.dry_run);
  for (int i = 1; common.dry_run && i < argc; i++) {
    if (manage_find_bookmark (store, argv[i], &info, &status) == -1)
      return tool_fail (&status);
    tool_print ("would delete bookmark '%s'", argv[i]);
  }
  if (common.dry_run)
    return TOOL_DONE;
  if (manage_delete_bookmarks (store, targets, argc - 1, &status) == -1)
    return tool_fail (&status);
  for (int i = 1; i < argc; i++)
    tool_say ("deleted bookmark '%s'", argv[i]);
  return TOOL_DONE;
}

const struct command command_bookmark_delete = {
  .name = "bookmark delete",
  .arguments = "DATABASE DISK#BOOKMARK...",
  .summary = "Delete bookmarks",
  .help = "If one is not there, none is deleted.  Disks and snapshots stay as\n"
          "they are.\n"
          "\n"
          "Example: sqlblock bookmark delete disks.sqlite 'web#sent'\n",
  .common = COMMON_DRY_RUN,
  .least = 2,
  .most = -1,
  .run = run_delete,
};

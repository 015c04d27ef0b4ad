/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* usage: what disks and snapshots take, each by itself, and what deleting them
 * together would free, which is more than the sum of what each one would.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/failed.h"
#include "pattern.h"
#include "tool.h"

/* What is asked about. */
struct subjects {
  struct names names;
  struct usage_item *items; /* of each name */
  uint64_t *frees;          /* what deleting each alone would free */
  uint64_t together;        /* and all */
};

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  names_add (opaque, tool_format ("%s@%s", info->disk_name, info->name));
  return 0;
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  names_add (opaque, tool_strdup (info->name));
  return 0;
}

/* Find the disks that TEXT means, or for NULL all. */
static int
find_disks (struct store *store, char *text, struct names *disks)
{
  struct status status;

  if (text)
    return pattern_disks (store, 1, &text, disks);
  return store_list (store, add_disk, disks, &status) == -1
             ? tool_fail (&status)
             : TOOL_DONE;
}

/* Add the disks that TEXT means, or for NULL all, each with its snapshots. */
static int
add_disks (struct store *store, char *text, struct names *names)
{
  struct names disks = { 0 };
  struct status status;
  int code = find_disks (store, text, &disks);

  for (size_t i = 0; code == TOOL_DONE && i < disks.count; i++) {
    names_add (names, tool_strdup (disks.names[i]));
    if (manage_list_snapshots (store, disks.names[i], add_snapshot, names,
                               &status) == -1)
      code = tool_fail (&status);
  }
  free (disks.names);
  return code;
}

/* Add what the COUNT arguments TEXTS mean. */
static int
add_arguments (struct store *store, int count, char *texts[],
               struct names *names)
{
  int code = TOOL_DONE;

  for (int i = 0; code == TOOL_DONE && i < count; i++)
    code = strchr (texts[i], '@')
               ? pattern_snapshots (store, 1, &texts[i], false, names)
               : add_disks (store, texts[i], names);
  return code;
}

/* Replace times by names, and leave each name only once. */
static int
resolve_names (struct store *store, struct names *names, struct status *status)
{
  struct resolved resolved;

  for (size_t i = 0; i < names->count; i++) {
    if (tool_resolve (store, names->names[i], &resolved, status) == -1)
      return -1;
    names->names[i] = resolved.name;
  }
  names_once (names);
  return 0;
}

/* Find what is called NAME. */
static int
find_item (struct store *store, const char *name, struct usage_item *item,
           struct status *status)
{
  struct snapshot_info snapshot;
  struct disk_info disk;

  if (strchr (name, '@')) {
    if (manage_find_snapshot (store, name, &snapshot, status) == -1)
      return -1;
    *item =
        (struct usage_item){ .disk = snapshot.disk, .snapshot = snapshot.id };
    return 0;
  }
  if (store_find (store, name, &disk, status) == -1)
    return -1;
  *item = (struct usage_item){ .disk = disk.id };
  return 0;
}

/* Count all together, and then each.  Damage keeps neither from counting the
 * rest.
 */
static int
count_subjects (struct store *store, struct subjects *subjects,
                struct status *status)
{
  const size_t count = subjects->names.count;
  struct status again;
  int r = manage_usage (store, subjects->items, count, &subjects->together, 1,
                        tool_progress, NULL, status);

  if (r == -1 && !failed_is_local (status))
    return -1;
  for (size_t i = 0; i < count; i++) {
    subjects->items[i].group = i;
    subjects->items[i].shown = true;
  }
  return manage_usage (store, subjects->items, count, subjects->frees, count,
                       tool_progress, NULL, r == 0 ? status : &again) == -1
             ? -1
             : r;
}

static void
show_table (struct tool_table *table, const struct subjects *subjects)
{
  const struct usage_item *item = subjects->items;

  for (size_t i = 0; i < subjects->names.count; i++, item++) {
    tool_cell (table, "%s", subjects->names.names[i]);
    tool_cell_usage (table, item->logical);
    tool_cell_usage (table, item->stored);
    tool_cell_ratio (table, item->logical, item->stored);
    tool_cell_usage (table, item->shared);
    tool_cell_usage (table, subjects->frees[i]);
  }
  /* No disk has a name with a "/". */
  tool_cell (table, "/together");
  for (int i = 0; i < 4; i++)
    tool_cell (table, "%s", "");
  tool_cell_usage (table, subjects->together);
  tool_table_print (table);
}

static void
show_json (const struct subjects *subjects)
{
  const struct usage_item *item = subjects->items;
  json_t *list = json_array ();

  for (size_t i = 0; i < subjects->names.count; i++, item++)
    json_array_append_new (
        list, json_pack ("{s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                         tool_json_string (subjects->names.names[i]), "logical",
                         tool_json_usage (item->logical), "stored",
                         tool_json_usage (item->stored), "ratio",
                         tool_json_ratio (item->logical, item->stored),
                         "shared", tool_json_usage (item->shared), "frees",
                         tool_json_usage (subjects->frees[i])));
  tool_json_print (json_pack ("{s:o, s:o}", "usage", list, "together",
                              tool_json_usage (subjects->together)));
}

static int
run_usage (int argc, char *argv[])
{
  static const char *const titles[] = { "NAME",   ">LOGICAL", ">STORED",
                                        ">RATIO", ">SHARED",  ">FREES",
                                        NULL };
  struct tool_table *table = tool_table (titles);
  int code =
      tool_table_choose (table, "NAME,LOGICAL,STORED,RATIO,SHARED,FREES");
  struct subjects subjects = { .together = 0 };
  struct status status;
  struct store *store;
  int r = 0;

  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  code = argc == 1 ? add_disks (store, NULL, &subjects.names)
                   : add_arguments (store, argc - 1, argv + 1, &subjects.names);
  if (code != TOOL_DONE)
    return code;
  if (resolve_names (store, &subjects.names, &status) == -1)
    return tool_fail (&status);
  subjects.items = tool_alloc (subjects.names.count * sizeof *subjects.items);
  subjects.frees = tool_alloc (subjects.names.count * sizeof *subjects.frees);
  for (size_t i = 0; i < subjects.names.count; i++)
    if (find_item (store, subjects.names.names[i], &subjects.items[i],
                   &status) == -1)
      return tool_fail (&status);
  tool_progress_begin ("counting");
  r = count_subjects (store, &subjects, &status);
  tool_progress_end (r);
  if (r == -1) {
    code = tool_fail (&status);
    if (!failed_is_local (&status))
      return code;
  }
  if (common.json)
    show_json (&subjects);
  else
    show_table (table, &subjects);
  free (subjects.items);
  free (subjects.frees);
  return code;
}

const struct command command_usage = {
  .name = "usage",
  .arguments = "DATABASE [DISK[@SNAPSHOT]]...",
  .summary = "Show what disks and snapshots take, and free together",
  .help =
      "DISK is it and its snapshots; DISK@A..B, or A%B, are the snapshots "
      "from\n"
      "A to B, and what has * ? or [a-z] is a pattern, as for \"sqlblock\n"
      "snapshot delete\".  SNAPSHOT may be a time.  Without any it is all.\n"
      "\n"
      "FREES is what deleting it alone would free, a disk without its\n"
      "snapshots, and in the last line, /together, what deleting all of these\n"
      "would: that is more than the sum, since what several of them have is\n"
      "freed with the last one.  A trash or a hold makes no difference.\n"
      "\n"
      "Columns: NAME LOGICAL STORED RATIO SHARED FREES.\n"
      "\n"
      "LOGICAL is what it shows that is not zeroes, STORED what this takes in\n"
      "the file, compressed and what is equal once, RATIO the first by the\n"
      "second, and SHARED what of STORED deleting it leaves.  All is "
      "counted,\n"
      "which takes long where that is much.\n"
      "\n"
      "The JSON is {\"usage\": [...], \"together\": BYTES}, each with name,\n"
      "logical, stored, ratio, shared and frees; null is not known.\n"
      "\n"
      "Examples: sqlblock usage disks.sqlite web\n"
      "          sqlblock usage disks.sqlite 'web@auto-*' mail@a..c\n",
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = -1,
  .run = run_usage,
};

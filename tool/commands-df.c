/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* df: what takes the space of the file, in parts that add up. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/failed.h"
#include "tool.h"

/* A part of the file. */
struct part {
  const char *name, *meaning;
  uint64_t bytes;
};

static void
show_table (struct tool_table *table, const struct part *parts, size_t count,
            const struct totals *totals)
{
  for (size_t i = 0; i < count; i++) {
    tool_cell (table, "%s", parts[i].name);
    tool_cell_usage (table, parts[i].bytes);
    tool_cell (table, "%s", parts[i].meaning);
  }
  tool_cell (table, "ratio");
  tool_cell_ratio (table, totals->logical, totals->data);
  tool_cell (table, "logical to stored");
  tool_table_print (table);
}

static void
show_json (const struct part *parts, size_t count, const struct totals *totals)
{
  json_t *json = json_object ();

  for (size_t i = 0; i < count; i++)
    json_object_set_new (json, parts[i].name, tool_json_usage (parts[i].bytes));
  json_object_set_new (json, "ratio",
                       tool_json_ratio (totals->logical, totals->data));
  tool_json_print (json);
}

/* Show what was counted. */
static void
show (struct tool_table *table, const struct totals *totals,
      const struct manage_file *file)
{
  const struct part parts[] = {
    { "disks", "what nothing shows but disks", totals->disks },
    { "snapshots", "... but snapshots", totals->snapshots },
    { "trash", "... but what is in the trash", totals->trash },
    { "hidden", "... but what comes in, and copies being made",
      totals->hidden },
    { "shared", "what several show, or clones stand on", totals->shared },
    { "deleted", "not freed yet, see \"compact\"", totals->deleted },
    { "tables", "all else: indexes, names, checksums, gaps",
      totals->pages - totals->free - totals->data },
    { "free", "inside the file, for what is written next", totals->free },
    { "total", "the sum of these, the pages of the file", totals->pages },
    { "file", "as long as it is now", file->size },
    { "log", "beside it", file->log },
    { "room", "that its file system still has", file->room },
    { "stored", "data of blocks: disks to deleted", totals->data },
    { "logical", "what these blocks hold", totals->logical },
  };
  const size_t count = sizeof parts / sizeof parts[0];

  if (common.json)
    show_json (parts, count, totals);
  else
    show_table (table, parts, count, totals);
}

static int
run_df (int argc, char *argv[])
{
  static const char *const titles[] = { "WHAT", ">SIZE", "MEANING", NULL };
  struct tool_table *table = tool_table (titles);
  int code = tool_table_choose (table, "WHAT,SIZE,MEANING");
  struct manage_file file;
  struct totals totals;
  struct status status;
  struct store *store;
  int r;

  (void)argc;
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  tool_progress_begin ("counting");
  r = manage_totals (store, &totals, tool_progress, NULL, &status);
  tool_progress_end (r);
  if (r == -1)
    code = tool_fail (&status);
  if (r == -1 && !failed_is_local (&status))
    return code;
  if (manage_file (store, &file, &status) == -1)
    return tool_fail (&status);
  show (table, &totals, &file);
  return code;
}

const struct command command_df = {
  .name = "df",
  .arguments = "DATABASE",
  .summary = "Show what takes the space of the file",
  .help =
      "All that is stored is counted, which takes long where that is much.\n"
      "The lines from disks to free add up to the total: data that nothing\n"
      "shows but disks as they are now, or only snapshots, or only what is in\n"
      "the trash, is freed when all of these are deleted; of what is shared\n"
      "something else is left.  What is left of the total is tables, so what\n"
      "SQLite and checksums take.  ratio is that of logical to stored, which\n"
      "compression and --dedup make.\n"
      "\n"
      "Columns: WHAT SIZE MEANING.\n"
      "\n"
      "The JSON has the same lines by their names: disks, snapshots, trash,\n"
      "hidden, shared, deleted, tables, free, total, file, log, room, stored,\n"
      "logical and ratio; null where it cannot be counted.\n"
      "\n"
      "Example: sqlblock df disks.sqlite\n",
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = 1,
  .run = run_df,
};

/* Commands that look at what is there: list, info, diff.  What they print
 * as JSON is stable: keys are added, never renamed or removed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "times.h"
#include "tool.h"

/* Everything about a disk, or a snapshot of it. */
static json_t *
disk_json (const struct disk_info *info, const struct manage_details *details)
{
  return json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
      tool_json_string (info->name), "description",
      tool_json_string (info->description), "size", tool_json_size (info->size),
      "block_size", tool_json_size (info->block_size), "stored",
      tool_json_size (details->stored), "exclusive",
      tool_json_size (details->exclusive), "history",
      tool_json_size (details->history), "snapshots",
      tool_json_size (details->snapshots), "created",
      tool_json_time (info->created), "origin",
      details->origin[0] ? tool_json_string (details->origin) : json_null ());
}

static json_t *
snapshot_json (const struct snapshot_info *info,
               const struct manage_details *details)
{
  char guid[17];

  /* A string: many programs read numbers as floating point. */
  snprintf (guid, sizeof guid, "%016" PRIx64, (uint64_t)info->guid);
  return json_pack ("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "disk",
                    tool_json_string (info->disk_name), "snapshot",
                    tool_json_string (info->name), "size",
                    tool_json_size (info->size), "block_size",
                    tool_json_size (info->block_size), "stored",
                    tool_json_size (details->stored), "exclusive",
                    tool_json_size (details->exclusive), "created",
                    tool_json_time (info->created), "automatic",
                    info->automatic, "guid", guid);
}

/* Who made a snapshot. */
static const char *
maker (const struct snapshot_info *info)
{
  return info->automatic ? "server" : "user";
}

/* Get the details of TARGET for a list.  Returns 1; 0 where it has been
 * deleted meanwhile; -1 with CODE set where it cannot be read, which does
 * not keep the list from showing the rest.
 */
static int
list_details (struct store *store, const char *target,
              struct manage_details *details, int *code)
{
  struct status status;

  if (manage_details (store, target, details, &status) == 0)
    return 1;
  if (status.error == ENOENT)
    return 0;
  *code = tool_fail (&status);
  return -1;
}

int
tool_show_snapshots (struct store *store, const struct snapshot_info *info,
                     size_t count)
{
  static const char *const titles[] = { "NAME",    ">SIZE", ">STORED", ">FREES",
                                        "CREATED", "BY",    NULL };
  struct tool_table *table = tool_table (titles);
  json_t *array = json_array ();
  struct manage_details details;
  int code = TOOL_DONE;

  for (size_t i = 0; i < count; i++) {
    char *name = tool_format ("%s@%s", info[i].disk_name, info[i].name);

    if (list_details (store, name, &details, &code) == 1) {
      json_array_append_new (array, snapshot_json (&info[i], &details));
      tool_cell (table, "%s", name);
      tool_cell_size (table, info[i].size);
      tool_cell_size (table, details.stored);
      tool_cell_size (table, details.exclusive);
      tool_cell_time (table, info[i].created);
      tool_cell (table, "%s", maker (&info[i]));
    }
    free (name);
  }
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "snapshots", array));
  else
    tool_table_print (table);
  return code;
}

/*--------------------------------------------------------------------
 * list
 */

static bool list_all, list_names;

static const struct tool_option list_options[] = {
  { "all", 'a', NULL, &list_all, "show snapshots too" },
  { "names", 0, NULL, &list_names, "print just the names, one a line" },
  { NULL, 0, NULL, NULL, NULL },
};

/* What is in the database.  Gathered before it is shown: the functions that
 * call back hold a read transaction.
 */
struct contents {
  struct disk_info *disks;
  struct snapshot_info *snapshots;
  size_t disk_count, snapshot_count;
};

/* Room for one more of COUNT elements; grows by doubling. */
static void *
grow (void *array, size_t count, size_t size)
{
  return count & (count - 1)
             ? array
             : tool_realloc (array, (count ? 2 * count : 1) * size);
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  struct contents *contents = opaque;

  contents->disks = grow (contents->disks, contents->disk_count, sizeof *info);
  contents->disks[contents->disk_count++] = *info;
  return 0;
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct contents *contents = opaque;

  contents->snapshots =
      grow (contents->snapshots, contents->snapshot_count, sizeof *info);
  contents->snapshots[contents->snapshot_count++] = *info;
  return 0;
}

/* Read what there is; snapshots too, where WITH_SNAPSHOTS says so. */
static int
read_contents (struct store *store, bool with_snapshots,
               struct contents *contents)
{
  struct status status;

  if (store_list (store, add_disk, contents, &status) == -1)
    return tool_fail (&status);
  if (with_snapshots && manage_list_snapshots (store, NULL, add_snapshot,
                                               contents, &status) == -1)
    return tool_fail (&status);
  return TOOL_DONE;
}

/* Go on with the snapshots of DISK in CONTENTS, which are in the order of
 * the disks' ids, as the disks are.
 */
static const struct snapshot_info *
next_snapshot (const struct contents *contents, const struct disk_info *disk,
               size_t *next)
{
  while (*next < contents->snapshot_count) {
    const struct snapshot_info *info = &contents->snapshots[*next];

    if (info->disk > disk->id)
      return NULL;
    ++*next;
    if (info->disk == disk->id)
      return info;
  }
  return NULL;
}

static void
print_names (const struct contents *contents)
{
  size_t next = 0;

  for (size_t i = 0; i < contents->disk_count; i++) {
    const struct disk_info *disk = &contents->disks[i];
    const struct snapshot_info *info;

    printf ("%s\n", disk->name);
    while ((info = next_snapshot (contents, disk, &next)))
      printf ("%s@%s\n", disk->name, info->name);
  }
}

/* A row of the list; INFO is NULL for the disk itself. */
static void
add_row (struct tool_table *table, const struct disk_info *disk,
         const struct snapshot_info *info, const struct manage_details *details)
{
  if (info)
    tool_cell (table, "%s@%s", disk->name, info->name);
  else
    tool_cell (table, "%s", disk->name);
  tool_cell_size (table, info ? info->size : disk->size);
  tool_cell_size (table, details->stored);
  tool_cell_size (table, info ? details->exclusive : details->history);
  tool_cell (table, info ? "%.0s" : "%s",
             info ? "" : tool_format ("%" PRIu64, details->snapshots));
  tool_cell_time (table, info ? info->created : disk->created);
  tool_cell (table, "%s", info ? "" : details->origin);
}

/* Show the disks and snapshots in a table, or as JSON. */
static int
show_contents (struct store *store, const struct contents *contents)
{
  static const char *const titles[] = { "NAME",   ">SIZE",      ">STORED",
                                        ">FREES", ">SNAPSHOTS", "CREATED",
                                        "ORIGIN", NULL };
  struct tool_table *table = tool_table (titles);
  json_t *disks = json_array (), *snapshots = json_array ();
  int code = TOOL_DONE;
  size_t next = 0;

  for (size_t i = 0; i < contents->disk_count; i++) {
    const struct disk_info *disk = &contents->disks[i];
    const struct snapshot_info *info;
    struct manage_details details;

    if (list_details (store, disk->name, &details, &code) == 1) {
      json_array_append_new (disks, disk_json (disk, &details));
      add_row (table, disk, NULL, &details);
    }
    while ((info = next_snapshot (contents, disk, &next))) {
      char *name = tool_format ("%s@%s", disk->name, info->name);

      if (list_details (store, name, &details, &code) == 1) {
        json_array_append_new (snapshots, snapshot_json (info, &details));
        add_row (table, disk, info, &details);
      }
      free (name);
    }
  }
  if (!common.json)
    tool_table_print (table);
  else if (list_all)
    tool_json_print (
        json_pack ("{s:o, s:o}", "disks", disks, "snapshots", snapshots));
  else
    tool_json_print (json_pack ("{s:o}", "disks", disks));
  return code;
}

static int
run_list (int argc, char *argv[])
{
  struct contents contents = { 0 };
  struct store *store = tool_open (argv[0], false);
  const int code = read_contents (store, list_all, &contents);

  (void)argc;
  if (code != TOOL_DONE)
    return code;
  if (!list_names)
    return show_contents (store, &contents);
  print_names (&contents);
  return TOOL_DONE;
}

const struct command command_list = {
  .name = "list",
  .arguments = "DATABASE",
  .summary = "Show the disks, the oldest first",
  .help =
      "STORED is what the disk shows that is not zeroes; FREES what deleting\n"
      "it and its snapshots would free, or for a snapshot, deleting it\n"
      "alone; ORIGIN what it was cloned from or rolled back to, \"?\" if that\n"
      "is gone.\n"
      "\n"
      "The JSON is {\"disks\": [...]}, each with name, description, size,\n"
      "block_size, stored, exclusive (what deleting the disk alone frees),\n"
      "history (what deleting it and its snapshots frees), snapshots (how\n"
      "many), created and origin (or null); with --all also \"snapshots\", as\n"
      "of \"sqlblock snapshot list\".\n"
      "\n"
      "Example: sqlblock list disks.sqlite --all\n",
  .options = list_options,
  .common = COMMON_JSON,
  .least = 1,
  .most = 1,
  .run = run_list,
};

/*--------------------------------------------------------------------
 * info
 */

static int
show_file (struct store *store, const char *path)
{
  struct contents contents = { 0 };
  struct manage_file file;
  struct status status;
  int code;

  if (manage_file (store, &file, &status) == -1)
    return tool_fail (&status);
  code = read_contents (store, true, &contents);
  if (code != TOOL_DONE)
    return code;
  if (common.json) {
    tool_json_print (json_pack (
        "{s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file",
        tool_json_string (path), "format", file.format, "size",
        tool_json_size (file.size), "free", tool_json_size (file.free), "log",
        tool_json_size (file.log), "page_size", tool_json_size (file.page_size),
        "disks", tool_json_size (contents.disk_count), "snapshots",
        tool_json_size (contents.snapshot_count), "reclaimable",
        tool_json_size (file.reclaimable)));
    return TOOL_DONE;
  }
  tool_property ("file", "%s", path);
  tool_property ("format", "%d", file.format);
  tool_property_size ("size", file.size);
  tool_property_size ("free inside", file.free);
  tool_property_size ("log", file.log);
  tool_property_size ("page size", file.page_size);
  tool_property ("disks", "%zu", contents.disk_count);
  tool_property ("snapshots", "%zu", contents.snapshot_count);
  if (file.reclaimable)
    tool_property ("deleted", "not all freed yet: \"sqlblock compact %s\"",
                   path);
  return TOOL_DONE;
}

static int
show_disk (struct store *store, const char *name)
{
  struct manage_details details;
  struct disk_info info;
  struct status status;
  char text[TIMES_TEXT_MAX];

  if (store_find (store, name, &info, &status) == -1 ||
      manage_details (store, name, &details, &status) == -1)
    return tool_fail (&status);
  if (common.json) {
    tool_json_print (disk_json (&info, &details));
    return TOOL_DONE;
  }
  tool_property ("disk", "%s", info.name);
  tool_property ("description", "%s", info.description);
  tool_property_size ("size", info.size);
  tool_property_size ("block size", info.block_size);
  tool_property_size ("stored", details.stored);
  tool_property_size ("only here", details.exclusive);
  tool_property_size ("with its snapshots", details.history);
  tool_property ("snapshots", "%" PRIu64, details.snapshots);
  tool_property ("created", "%s", times_local (info.created, text));
  tool_property ("origin", "%s", details.origin);
  return TOOL_DONE;
}

static int
show_snapshot (struct store *store, const char *target)
{
  struct manage_details details;
  struct snapshot_info info;
  struct status status;
  char text[TIMES_TEXT_MAX], *name;

  if (manage_find_snapshot (store, target, &info, &status) == -1)
    return tool_fail (&status);
  /* By its name from now on: TARGET may be a time. */
  name = tool_format ("%s@%s", info.disk_name, info.name);
  if (manage_details (store, name, &details, &status) == -1)
    return tool_fail (&status);
  if (common.json)
    tool_json_print (snapshot_json (&info, &details));
  else {
    tool_property ("snapshot", "%s", name);
    tool_property_size ("size", info.size);
    tool_property_size ("block size", info.block_size);
    tool_property_size ("stored", details.stored);
    tool_property_size ("only here", details.exclusive);
    tool_property ("created", "%s", times_local (info.created, text));
    tool_property ("made by", "%s", maker (&info));
    tool_property ("guid", "%016" PRIx64, (uint64_t)info.guid);
  }
  free (name);
  return TOOL_DONE;
}

static int
run_info (int argc, char *argv[])
{
  struct store *store = tool_open (argv[0], false);

  if (argc == 1)
    return show_file (store, argv[0]);
  return strchr (argv[1], '@') ? show_snapshot (store, argv[1])
                               : show_disk (store, argv[1]);
}

const struct command command_info = {
  .name = "info",
  .arguments = "DATABASE [DISK[@SNAPSHOT]]",
  .summary = "Show all about the file, a disk or a snapshot",
  .help = "\"stored\" is what it shows that is not zeroes, \"only here\" what\n"
          "deleting it alone would free.  SNAPSHOT may be a time, such as\n"
          "2026-11-22T10:42: the newest snapshot that is not newer than that.\n"
          "\n"
          "The JSON of a disk or snapshot is what the lists have; that of the\n"
          "file has file, format, size, free, log, page_size, disks and\n"
          "snapshots (how many), and reclaimable (parts of what was deleted\n"
          "that are not freed yet).\n"
          "\n"
          "Example: sqlblock info disks.sqlite web@monday --json\n",
  .common = COMMON_JSON,
  .least = 1,
  .most = 2,
  .run = run_info,
};

/*--------------------------------------------------------------------
 * diff
 */

static bool diff_summary;

static const struct tool_option diff_options[] = {
  { "summary", 's', NULL, &diff_summary, "only how much, not where" },
  { NULL, 0, NULL, NULL, NULL },
};

/* How much differs; ranges are printed as they are found, since there may
 * be many.
 */
struct difference {
  uint64_t ranges, data, zeroes;
};

static int
print_range (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct difference *difference = opaque;
  const char *type = hole ? "zero" : "data";
  const bool first = difference->ranges++ == 0;

  *(hole ? &difference->zeroes : &difference->data) += count;
  if (diff_summary)
    return 0;
  if (common.json) {
    printf ("%s\n    { \"offset\": %" PRIu64 ", \"length\": %" PRIu64
            ", \"type\": \"%s\" }",
            first ? "" : ",", offset, count, type);
    return 0;
  }
  if (first)
    printf ("%20s  %20s  %s\n", "OFFSET", "LENGTH", "TYPE");
  printf ("%20" PRIu64 "  %20" PRIu64 "  %s\n", offset, count, type);
  return 0;
}

/* One of the names of the two, as a member of the JSON. */
static void
print_member (const char *key, const char *name)
{
  json_t *value = tool_json_string (name);

  printf ("  \"%s\": ", key);
  json_dumpf (value, stdout, JSON_ENCODE_ANY);
  printf (",\n");
  json_decref (value);
}

static void
print_summary (const struct difference *difference)
{
  char data[TOOL_SIZE_MAX], zeroes[TOOL_SIZE_MAX];

  if (common.json)
    printf ("%s  \"data\": %" PRIu64 ",\n  \"zero\": %" PRIu64 "\n}\n",
            diff_summary         ? ""
            : difference->ranges ? "\n  ],\n"
                                 : "],\n",
            difference->data, difference->zeroes);
  else if (diff_summary)
    printf ("%s of data, %s of zeroes\n", tool_size (difference->data, data),
            tool_size (difference->zeroes, zeroes));
}

/* Does TEXT name a disk or snapshot that is there? */
static int
check_target (struct store *store, const char *text)
{
  struct snapshot_info snapshot;
  struct disk_info disk;
  struct status status;
  const int r = strchr (text, '@')
                    ? manage_find_snapshot (store, text, &snapshot, &status)
                    : store_find (store, text, &disk, &status);

  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

static int
run_diff (int argc, char *argv[])
{
  const struct target from = tool_target (argv[1]);
  struct difference difference = { 0 };
  const char *to = argc > 2 ? argv[2] : from.disk;
  struct status status;
  struct store *store;
  int code;

  if (argc == 2 && from.snapshot == NULL)
    return tool_usage ("compare '%s' with what?  Give a snapshot of it "
                       "first, or two disks",
                       argv[1]);
  if (to[0] == '@')
    to = tool_format ("%s%s", from.disk, to);
  store = tool_open (argv[0], false);
  /* Before anything is printed. */
  code = check_target (store, argv[1]);
  if (code == TOOL_DONE)
    code = check_target (store, to);
  if (code != TOOL_DONE)
    return code;
  if (common.json) {
    puts ("{");
    print_member ("from", argv[1]);
    print_member ("to", to);
    if (!diff_summary)
      printf ("  \"ranges\": [");
  }
  if (manage_diff (store, argv[1], to, print_range, &difference, &status) == -1)
    return tool_fail (&status);
  print_summary (&difference);
  return TOOL_DONE;
}

const struct command command_diff = {
  .name = "diff",
  .arguments = "DATABASE DISK@SNAPSHOT [DISK][@SNAPSHOT]",
  .summary = "Show where a disk differs from a snapshot, or two snapshots",
  .help =
      "Lists the ranges of bytes in which the second differs from the first.\n"
      "Without a second it is the disk as it is now; @SNAPSHOT is another\n"
      "snapshot of the same disk.  TYPE says what the second has there:\n"
      "data or zero.  Ranges are whole blocks; one that was written with\n"
      "what it had before counts as well.  SNAPSHOT may be a time.\n"
      "\n"
      "The exit code is 0 whether they differ or not.  The JSON has from,\n"
      "to, ranges (each with offset, length, type), and how many bytes of\n"
      "data and zero they are.\n"
      "\n"
      "Examples: sqlblock diff disks.sqlite web@monday\n"
      "          sqlblock diff disks.sqlite web@monday @tuesday --summary\n",
  .options = diff_options,
  .common = COMMON_JSON,
  .least = 2,
  .most = 3,
  .run = run_diff,
};

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands that say what there is: list, snapshot list, info.  What they
 * print as JSON is stable: keys are added, never renamed or removed.
 *
 * The lists must be instant, whatever is stored: what has to be counted
 * block by block is in them only with --usage.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failed.h"
#include "base/sane.h"
#include "base/times.h"
#include "tool.h"

/* What can be done with a disk, as JSON says it. */
static const char *
access_name (enum disk_access access)
{
  return access == DISK_OPEN        ? "full"
         : access == DISK_READ_ONLY ? "read-only"
                                    : "none";
}

/* The same for people, in a list. */
static const char *
access_word (enum disk_access access)
{
  return access == DISK_OPEN        ? ""
         : access == DISK_READ_ONLY ? "read-only"
                                    : "unusable";
}

/* And alone: "" where it can be used in every way. */
static const char *
access_text (enum disk_access access)
{
  return access == DISK_OPEN        ? ""
         : access == DISK_READ_ONLY ? "read-only: it needs a newer program"
                                    : "unusable: it needs a newer program";
}

/* Everything about a disk, without what must be counted. */
static json_t *
disk_json (const struct disk_info *info, const struct manage_details *details)
{
  char compression[COMPRESSION_TEXT];

  store_print_compression (&info->storing.compression, compression);
  return json_pack (
      "{s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:s}",
      "name", tool_json_string (info->name), "description",
      tool_json_string (info->description), "size", tool_json_size (info->size),
      "block_size", tool_json_size (info->block_size), "compression",
      tool_json_string (compression), "dedup",
      info->storing.deduplicate == DISK_ON, "encrypted", info->encrypted,
      "quota", info->quota ? tool_json_size (info->quota) : json_null (),
      "quota_used",
      info->quota ? tool_json_size (details->quota_used) : json_null (),
      "snapshots", tool_json_size (details->snapshots), "created",
      tool_json_time (info->created), "origin",
      details->origin[0] ? tool_json_string (details->origin) : json_null (),
      "access", access_name (info->access));
}

/* The same about a snapshot. */
static json_t *
snapshot_json (const struct snapshot_info *info)
{
  char guid[17];

  /* A string: many programs read numbers as floating point. */
  snprintf (guid, sizeof guid, "%016" PRIx64, (uint64_t)info->guid);
  return json_pack ("{s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "disk",
                    tool_json_string (info->disk_name), "snapshot",
                    tool_json_string (info->name), "size",
                    tool_json_size (info->size), "block_size",
                    tool_json_size (info->block_size), "created",
                    tool_json_time (info->created), "automatic",
                    info->automatic, "guid", guid);
}

static json_t *
property_json (const struct property *property)
{
  char *text;
  json_t *json;

  if (property->damaged)
    return json_null ();
  if (property->type == PROPERTY_INTEGER)
    return json_integer (property->integer);
  text = tool_property_text (property);
  json = tool_json_string (text);
  free (text);
  return json;
}

/* The description that the snapshot has as a property: a new string. */
static char *
description_of (const struct optional *list)
{
  const struct property *property = optional_find (list, PROPERTY_DESCRIPTION);

  return property ? tool_property_text (property) : tool_strdup ("");
}

/* Since when there is a hold, a time; null where that is damaged. */
static json_t *
hold_json (const struct property *property)
{
  return property->damaged || property->type != PROPERTY_INTEGER
             ? json_null ()
             : tool_json_time (property->integer);
}

/* Add the properties of a disk, or of a SNAPSHOT, to its JSON. */
static void
add_properties (json_t *json, const struct optional *list, bool snapshot)
{
  json_t *user = json_object (), *holds = json_object ();
  char *description = description_of (list);

  for (size_t i = 0; i < list->property_count; i++) {
    const struct property *property = &list->properties[i];
    const char *key = optional_key_behind (property->key, PROPERTY_USER);
    const char *tag = optional_key_behind (property->key, PROPERTY_HOLD);

    if (key)
      json_object_set_new (user, key, property_json (property));
    else if (tag)
      json_object_set_new (holds, tag, hold_json (property));
  }
  json_object_set_new (json, "user", user);
  if (snapshot) {
    json_object_set_new (json, "description", tool_json_string (description));
    json_object_set (json, "holds", holds);
  }
  json_decref (holds);
  free (description);
}

/* The tags of the holds, with a "," between them: a new string. */
static char *
hold_tags (const struct optional *list)
{
  char *tags = tool_strdup (""), *more;

  for (size_t i = 0; i < list->property_count; i++) {
    const char *tag =
        optional_key_behind (list->properties[i].key, PROPERTY_HOLD);

    if (tag) {
      more = tool_format ("%s%s%s", tags, tags[0] ? "," : "", tag);
      free (tags);
      tags = more;
    }
  }
  return tags;
}

/* Show the holds, each in a line. */
static void
show_holds (const struct optional *list)
{
  char text[TIMES_TEXT_MAX];

  for (size_t i = 0; i < list->property_count; i++) {
    const struct property *property = &list->properties[i];
    const char *tag = optional_key_behind (property->key, PROPERTY_HOLD);

    if (tag)
      tool_property ("held by", "%s, since %s", tag,
                     property->damaged || property->type != PROPERTY_INTEGER
                         ? "?"
                         : times_local (property->integer, text));
  }
}

/* Show those of people, each in a line. */
static void
show_user (const struct optional *list)
{
  for (size_t i = 0; i < list->property_count; i++) {
    const struct property *property = &list->properties[i];
    char *text = tool_property_text (property);

    if (optional_key_behind (property->key, PROPERTY_USER))
      tool_property (property->key, "%s", text);
    free (text);
  }
}

/* Who made a snapshot. */
static const char *
maker (const struct snapshot_info *info)
{
  return info->automatic ? "server" : "user";
}

/*--------------------------------------------------------------------
 * What is in the database.
 */

/* Gathered before it is shown: the functions that call back hold a read
 * transaction.
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

/*--------------------------------------------------------------------
 * What it takes.
 */

/* The usage of all in a struct contents, disks first.  Without items it was
 * not asked for.
 */
struct usage {
  struct usage_item *items;
  uint64_t *exclusive; /* bytes that deleting an item alone would free */
  uint64_t *history;   /* and a disk with all its snapshots */
};

/* Fill the items of CONTENTS; a group is one item, or BY_DISK all of a disk.
 */
static void
fill_items (const struct contents *contents, bool by_disk,
            struct usage_item *items)
{
  const size_t disks = contents->disk_count;
  size_t disk = 0;

  for (size_t i = 0; i < disks; i++)
    items[i] = (struct usage_item){ .disk = contents->disks[i].id,
                                    .group = i,
                                    .shown = !by_disk };
  for (size_t i = 0; i < contents->snapshot_count; i++) {
    const struct snapshot_info *info = &contents->snapshots[i];

    /* Both are in the order of the disks' ids. */
    while (disk + 1 < disks && contents->disks[disk].id < info->disk)
      disk++;
    items[disks + i] = (struct usage_item){
      .disk = info->disk,
      .snapshot = info->id,
      .group = by_disk ? disk : disks + i,
      .shown = !by_disk,
    };
    /* The row of its disk may be damaged: then it counts nowhere. */
    if (by_disk && contents->disks[disk].id != info->disk)
      items[disks + i].disk = 0;
  }
}

/* Count the usage of CONTENTS.  Where something could not be counted it is
 * told, and *CODE becomes an exit code.  Returns whether the rest was counted.
 */
static bool
count_usage (struct store *store, const struct contents *contents,
             struct usage *usage, int *code)
{
  const size_t count = contents->disk_count + contents->snapshot_count;
  struct status status;
  int r = 0;

  *code = TOOL_DONE;
  usage->items = tool_alloc (count * sizeof *usage->items);
  usage->exclusive = tool_alloc (count * sizeof *usage->exclusive);
  usage->history = tool_alloc (count * sizeof *usage->history);
  tool_progress_begin ("counting");
  if (contents->disk_count > 0) {
    fill_items (contents, true, usage->items);
    r = manage_usage (store, usage->items, count, usage->history,
                      contents->disk_count, tool_progress, NULL, &status);
  }
  fill_items (contents, false, usage->items);
  /* Damage keeps neither from counting the rest. */
  if (r == 0 || failed_is_local (&status))
    r = manage_usage (store, usage->items, count, usage->exclusive, count,
                      tool_progress, NULL, &status);
  tool_progress_end (r);
  if (r == -1)
    *code = tool_fail (&status);
  return r == 0 || failed_is_local (&status);
}

static void
no_cells (struct tool_table *table, int count)
{
  while (count-- > 0)
    tool_cell (table, "%s", "");
}

static void
usage_property (const char *name, uint64_t bytes)
{
  if (bytes == USAGE_UNKNOWN)
    tool_property (name, "?");
  else
    tool_property_size (name, bytes);
}

/* Add the usage of item I to its JSON. */
static void
add_usage (json_t *json, const struct usage *usage, size_t i)
{
  const struct usage_item *item = &usage->items[i];
  const bool disk = item->snapshot == 0;

  json_object_set_new (json, "logical", tool_json_usage (item->logical));
  json_object_set_new (json, "stored", tool_json_usage (item->stored));
  json_object_set_new (json, "ratio",
                       tool_json_ratio (item->logical, item->stored));
  json_object_set_new (json, "shared", tool_json_usage (item->shared));
  json_object_set_new (json, "exclusive",
                       tool_json_usage (usage->exclusive[i]));
  if (disk)
    json_object_set_new (json, "history", tool_json_usage (usage->history[i]));
}

/*--------------------------------------------------------------------
 * What is kept of receptions.
 */

/* What is gathered: of the disk NAME, or for NULL of all. */
struct receptions {
  const char *name;
  struct partial_info *list;
  size_t count;
};

static int
add_reception (const struct partial_info *info, void *opaque)
{
  struct receptions *receptions = opaque;

  if (receptions->name && strcmp (info->disk_name, receptions->name) != 0)
    return 0;
  receptions->list = grow (receptions->list, receptions->count, sizeof *info);
  receptions->list[receptions->count++] = *info;
  return 0;
}

/* Gather them; what cannot be read is told.  Returns an exit code, with which
 * the rest goes on.
 */
static int
try_receptions (struct store *store, struct receptions *receptions)
{
  struct status status;

  return manage_list_partial (store, add_reception, receptions, &status) == -1
             ? tool_fail (&status)
             : TOOL_DONE;
}

static json_t *
receptions_json (const struct receptions *receptions)
{
  json_t *json = json_array ();

  for (size_t i = 0; i < receptions->count; i++)
    json_array_append_new (json, tool_json_partial (&receptions->list[i]));
  return json;
}

/* How much of it is there: a new string. */
static char *
reception_text (const struct partial_info *info)
{
  char arrived[TOOL_SIZE_MAX], all[TOOL_SIZE_MAX], updated[TIMES_TEXT_MAX];
  char token[STREAM_TOKEN_MAX];

  tool_token (info, token);
  return tool_format ("%s of %s of '%s@%s', the last at %s; --resume=%s",
                      tool_size (info->position, arrived),
                      tool_size (info->size, all), info->disk_name,
                      info->snapshot, times_local (info->updated, updated),
                      token);
}

static void
show_receptions (const struct receptions *receptions)
{
  for (size_t i = 0; i < receptions->count; i++) {
    char *text = reception_text (&receptions->list[i]);

    tool_property ("received", "%s", text);
    free (text);
  }
}

/* Below a list of disks they are told of, and are no part of it. */
static void
say_receptions (const struct receptions *receptions)
{
  for (size_t i = 0; i < receptions->count; i++) {
    char *text = reception_text (&receptions->list[i]);

    tool_say ("received and kept: %s", text);
    free (text);
  }
}

/*--------------------------------------------------------------------
 * Lists.
 */

static bool with_usage;

#define USAGE_OPTION                                                           \
  {                                                                            \
    "usage", 'u', NULL, &with_usage,                                           \
        "count what is stored, which takes long where that is\n"               \
        "much"                                                                 \
  }

/* A list in the making. */
struct list {
  struct store *store;
  const struct contents *contents;
  struct usage usage;
  struct tool_table *table;
  json_t *disks, *snapshots;
  bool of_snapshots; /* and not of disks, perhaps with snapshots */
  bool unknown;      /* properties cannot be read */
  int code;          /* what could not be read, as an exit code */
};

/* Read the properties of TARGET.  What has been deleted meanwhile has none;
 * where they cannot be read that is said once, and the others are not tried.
 */
static void
read_properties (struct list *list, const char *target,
                 struct optional *optional)
{
  struct status status;

  if (list->unknown ||
      manage_properties (list->store, target, optional, &status) == 0 ||
      status.error == ENOENT)
    return;
  list->code = tool_fail (&status);
  list->unknown = true;
}

/* The columns that are counted. */
static const char *const usage_titles[] = { "LOGICAL", "STORED", "RATIO",
                                            "SHARED",  "FREES",  "EXCLUSIVE" };
#define USAGE_TITLES                                                           \
  ">LOGICAL", ">STORED", ">RATIO", ">SHARED", ">FREES", ">EXCLUSIVE"

static void
add_usage_cells (struct list *list, size_t i)
{
  const struct usage *usage = &list->usage;
  struct tool_table *table = list->table;
  const struct usage_item *item;

  if (!with_usage) {
    no_cells (table, sizeof usage_titles / sizeof usage_titles[0]);
    return;
  }
  item = &usage->items[i];
  tool_cell_usage (table, item->logical);
  tool_cell_usage (table, item->stored);
  tool_cell_ratio (table, item->logical, item->stored);
  tool_cell_usage (table, item->shared);
  tool_cell_usage (table,
                   item->snapshot ? usage->exclusive[i] : usage->history[i]);
  tool_cell_usage (table, usage->exclusive[i]);
}

/* The columns of a disk, which are those of list. */
static void
add_disk_cells (struct list *list, size_t i,
                const struct manage_details *details)
{
  const struct disk_info *info = &list->contents->disks[i];
  struct tool_table *table = list->table;
  char compression[COMPRESSION_TEXT];

  tool_cell (table, "%s", info->name);
  tool_cell_size (table, info->size);
  if (info->quota)
    tool_cell_size (table, info->quota);
  else
    no_cells (table, 1);
  add_usage_cells (list, i);
  tool_cell_count (table, details->snapshots);
  tool_cell_time (table, info->created);
  tool_cell (table, "%s", details->origin);
  tool_cell_size (table, info->block_size);
  store_print_compression (&info->storing.compression, compression);
  tool_cell (table, "%s", compression);
  tool_cell (table, "%s", info->storing.deduplicate == DISK_ON ? "on" : "off");
  tool_cell (table, "%s", info->encrypted ? "yes" : "no");
  tool_cell (table, "%s", access_word (info->access));
  tool_cell (table, "%s", info->description);
}

/* Those of a snapshot, in the same table or, of snapshots, in one of theirs. */
static void
add_snapshot_cells (struct list *list, size_t i, const char *name,
                    const struct optional *optional)
{
  const struct snapshot_info *info = &list->contents->snapshots[i];
  char *description = description_of (optional), *tags = hold_tags (optional);
  struct tool_table *table = list->table;

  tool_cell (table, "%s", name);
  tool_cell_size (table, info->size);
  if (!list->of_snapshots)
    no_cells (table, 1);
  add_usage_cells (list, list->contents->disk_count + i);
  if (!list->of_snapshots)
    no_cells (table, 1);
  tool_cell_time (table, info->created);
  if (list->of_snapshots) {
    tool_cell (table, "%s", maker (info));
    tool_cell (table, "%s", list->unknown ? "?" : tags);
    tool_cell (table, "%016" PRIx64, (uint64_t)info->guid);
  }
  else {
    no_cells (table, 1);
    tool_cell_size (table, info->block_size);
    no_cells (table, 3);
    tool_cell (table, "%s", access_word (info->access));
  }
  tool_cell (table, "%s", list->unknown ? "?" : description);
  free (description);
  free (tags);
}

/* Add disk I, of DETAILS. */
static void
list_disk (struct list *list, size_t i, const struct manage_details *details)
{
  const struct disk_info *info = &list->contents->disks[i];
  json_t *json = disk_json (info, details);
  struct optional optional = { 0 };

  if (common.json)
    read_properties (list, info->name, &optional);
  add_properties (json, &optional, false);
  optional_free (&optional);
  if (with_usage)
    add_usage (json, &list->usage, i);
  json_array_append_new (list->disks, json);
  add_disk_cells (list, i, details);
}

/* Add snapshot I. */
static void
list_snapshot (struct list *list, size_t i)
{
  const struct snapshot_info *info = &list->contents->snapshots[i];
  const size_t item = list->contents->disk_count + i;
  json_t *json = snapshot_json (info);
  char *name = tool_format ("%s@%s", info->disk_name, info->name);
  struct optional optional = { 0 };

  if (common.json || list->of_snapshots ||
      tool_table_needs (list->table, "DESCRIPTION"))
    read_properties (list, name, &optional);
  add_properties (json, &optional, true);
  if (with_usage)
    add_usage (json, &list->usage, item);
  json_array_append_new (list->snapshots, json);
  add_snapshot_cells (list, i, name, &optional);
  free (name);
  optional_free (&optional);
}

/* Add the disks, and with SNAPSHOTS each one's snapshots.  One that has been
 * deleted meanwhile is left out; so is one that cannot be read, with a
 * message.
 */
static void
list_disks (struct list *list, bool snapshots)
{
  const struct contents *contents = list->contents;
  struct manage_details details;
  struct status status;
  size_t next = 0;

  for (size_t i = 0; i < contents->disk_count; i++) {
    const struct disk_info *disk = &contents->disks[i];

    if (manage_details (list->store, disk->name, &details, &status) == 0)
      list_disk (list, i, &details);
    else if (status.error != ENOENT)
      list->code = tool_fail (&status);
    for (; next < contents->snapshot_count &&
           contents->snapshots[next].disk <= disk->id;
         next++)
      if (snapshots && contents->snapshots[next].disk == disk->id)
        list_snapshot (list, next);
  }
}

/* Choose the columns of a list, or with usage other ones; those that must be
 * counted are then.  Returns an exit code.
 */
static int
choose_columns (struct tool_table *table, const char *usual, const char *usage)
{
  const int code = tool_table_choose (table, with_usage ? usage : usual);

  for (size_t i = 0; i < sizeof usage_titles / sizeof usage_titles[0]; i++)
    with_usage = with_usage || (code == TOOL_DONE &&
                                tool_table_needs (table, usage_titles[i]));
  return code;
}

/* Show CONTENTS as a list, in TABLE. */
static int
show_list (struct store *store, const struct contents *contents,
           bool of_snapshots, bool snapshots, struct tool_table *table)
{
  struct list list = {
    .store = store,
    .contents = contents,
    .table = table,
    .disks = json_array (),
    .snapshots = json_array (),
    .of_snapshots = of_snapshots,
  };
  struct receptions receptions = { .name = NULL };
  int usage_code = TOOL_DONE;

  if (with_usage && !count_usage (store, contents, &list.usage, &usage_code))
    return usage_code;
  list_disks (&list, snapshots);
  if (of_snapshots)
    for (size_t i = 0; i < contents->snapshot_count; i++)
      list_snapshot (&list, i);
  else if (!list.unknown && try_receptions (store, &receptions) != TOOL_DONE)
    list.code = TOOL_FAILED;
  if (!common.json) {
    tool_table_print (list.table);
    say_receptions (&receptions);
  }
  else if (of_snapshots)
    tool_json_print (json_pack ("{s:o}", "snapshots", list.snapshots));
  else if (snapshots)
    tool_json_print (json_pack ("{s:o, s:o, s:o}", "disks", list.disks,
                                "snapshots", list.snapshots, "receiving",
                                receptions_json (&receptions)));
  else
    tool_json_print (json_pack ("{s:o, s:o}", "disks", list.disks, "receiving",
                                receptions_json (&receptions)));
  free (receptions.list);
  return list.code == TOOL_DONE ? usage_code : list.code;
}

/*--------------------------------------------------------------------
 * list
 */

static bool list_all, list_names;

static const struct tool_option list_options[] = {
  { "all", 'a', NULL, &list_all, "show snapshots too" },
  USAGE_OPTION,
  { "names", 0, NULL, &list_names, "print just the names, one a line" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Print a name, or with --json add it to NAMES. */
static void
put_name (json_t *names, char *name)
{
  if (common.json)
    json_array_append_new (names, tool_json_string (name));
  else
    tool_print ("%s", name);
  free (name);
}

/* "--names prints names only", if that is not all that is asked for. */
static int
check_names (void)
{
  if (list_names && (with_usage || common.columns || common.sort ||
                     common.sort_down || common.exact || common.bare))
    return tool_usage ("--names prints names only; leave out --usage and what "
                       "is about columns");
  return TOOL_DONE;
}

/* Print NAMES, if they are to be JSON. */
static void
end_names (json_t *names)
{
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "names", names));
  else
    json_decref (names);
}

/* Each disk, and behind it its snapshots if they were read. */
static void
print_names (const struct contents *contents)
{
  json_t *names = json_array ();
  size_t next = 0;

  for (size_t i = 0; i < contents->disk_count; i++) {
    const struct disk_info *disk = &contents->disks[i];

    put_name (names, tool_strdup (disk->name));
    for (; next < contents->snapshot_count &&
           contents->snapshots[next].disk <= disk->id;
         next++)
      if (contents->snapshots[next].disk == disk->id)
        put_name (names, tool_format ("%s@%s", disk->name,
                                      contents->snapshots[next].name));
  }
  end_names (names);
}

/* Each snapshot. */
static void
print_snapshot_names (const struct contents *contents)
{
  json_t *names = json_array ();

  for (size_t i = 0; i < contents->snapshot_count; i++)
    put_name (names, tool_format ("%s@%s", contents->snapshots[i].disk_name,
                                  contents->snapshots[i].name));
  end_names (names);
}

/* The usual columns. */
#define COLUMNS       "NAME,SIZE,QUOTA,SNAPSHOTS,CREATED,ORIGIN"
#define USAGE_COLUMNS "NAME,SIZE,QUOTA,STORED,FREES,SNAPSHOTS,CREATED,ORIGIN"

/* People must see of a disk that it cannot be used in every way; programs have
 * the same columns always.
 */
static int
show_access (struct tool_table *table, const struct contents *contents)
{
  if (common.columns || common.bare)
    return TOOL_DONE;
  for (size_t i = 0; i < contents->disk_count; i++)
    if (contents->disks[i].access != DISK_OPEN)
      return tool_table_choose (table, with_usage ? USAGE_COLUMNS ",ACCESS"
                                                  : COLUMNS ",ACCESS");
  return TOOL_DONE;
}

/* What is deleted, but takes space, is no disk of the list. */
static void
tell_of_trash (struct store *store)
{
  struct manage_file file;
  struct status ignored;

  if (!common.json && !common.bare &&
      manage_file (store, &file, &ignored) == 0 && file.trash > 0)
    tool_say ("in the trash: %s (\"sqlblock trash list\")",
              tool_count (file.trash, "disk"));
}

static int
run_list (int argc, char *argv[])
{
  static const char *const titles[] = {
    "NAME",      ">SIZE",  ">QUOTA",      USAGE_TITLES,  ">SNAPSHOTS",
    "CREATED",   "ORIGIN", ">BLOCK",      "COMPRESSION", "DEDUP",
    "ENCRYPTED", "ACCESS", "DESCRIPTION", NULL,
  };
  struct tool_table *table = tool_table (titles);
  struct contents contents = { 0 };
  struct store *store;
  int code;

  (void)argc;
  code = choose_columns (table, COLUMNS, USAGE_COLUMNS);
  if (code != TOOL_DONE)
    return code;
  code = check_names ();
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  /* A disk's usage is that of its snapshots, too. */
  code = read_contents (store, list_all || with_usage, &contents);
  if (code != TOOL_DONE)
    return code;
  if (!list_names) {
    code = show_access (table, &contents);
    if (code == TOOL_DONE)
      code = show_list (store, &contents, false, list_all, table);
    tell_of_trash (store);
    return code;
  }
  print_names (&contents);
  return TOOL_DONE;
}

const struct command command_list = {
  .name = "list",
  .arguments = "DATABASE",
  .summary = "Show the disks, the oldest first",
  .help =
      "ORIGIN is what a disk was cloned from or rolled back to, \"?\" if that\n"
      "is gone.  With --usage, STORED is what the data of a disk takes, and\n"
      "FREES what deleting it and its snapshots would free, or for a\n"
      "snapshot, deleting it alone.  \"sqlblock usage\" says what deleting\n"
      "several together frees.\n"
      "\n"
      "Columns: NAME SIZE QUOTA LOGICAL STORED RATIO SHARED FREES EXCLUSIVE\n"
      "SNAPSHOTS CREATED ORIGIN BLOCK COMPRESSION DEDUP ENCRYPTED ACCESS\n"
      "DESCRIPTION.\n"
      "LOGICAL is what a disk shows that is not zeroes, STORED what this "
      "takes\n"
      "in the file, compressed and what is equal once, RATIO the first by the\n"
      "second; SHARED is what of STORED deleting it leaves, EXCLUSIVE what\n"
      "deleting the disk without its snapshots would free.  These six are\n"
      "counted, as with --usage.\n"
      "\n"
      "The JSON is {\"disks\": [...]}, each with name, description, size,\n"
      "block_size, compression, dedup, encrypted, quota and quota_used (or\n"
      "null),\n"
      "snapshots (how many), created, origin (or null) and user (what was\n"
      "set as user:KEY, by KEY); with --usage also logical, stored, ratio,\n"
      "shared, exclusive (what deleting the disk alone frees) and history\n"
      "(what deleting it and its snapshots frees); with --all beside it\n"
      "\"snapshots\", as of \"sqlblock snapshot list\"; always \"receiving\",\n"
      "what is kept of receptions that were cut off, each with disk, "
      "snapshot,\n"
      "size, position (bytes that are there), updated (when something came\n"
      "last) and token (for \"sqlblock send --resume\").  With --names it is\n"
      "{\"names\": [...]}.\n"
      "\n"
      "Examples: sqlblock list disks.sqlite --all --usage\n"
      "          sqlblock list disks.sqlite -o name,logical,stored,ratio\n"
      "          sqlblock list disks.sqlite -Hp -o name,stored -S stored\n",
  .options = list_options,
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = 1,
  .run = run_list,
};

/*--------------------------------------------------------------------
 * snapshot list
 */

static const struct tool_option snapshot_options[] = {
  USAGE_OPTION,
  { "names", 0, NULL, &list_names, "print just the names, one a line" },
  { NULL, 0, NULL, NULL, NULL },
};

static int
run_snapshot_list (int argc, char *argv[])
{
  static const char *const titles[] = {
    "NAME",  ">SIZE", USAGE_TITLES,  "CREATED", "BY",
    "HOLDS", "GUID",  "DESCRIPTION", NULL,
  };
  struct tool_table *table = tool_table (titles);
  struct contents contents = { 0 };
  struct disk_info disk;
  struct status status;
  struct store *store;
  int code = choose_columns (table, "NAME,SIZE,CREATED,BY,HOLDS",
                             "NAME,SIZE,STORED,FREES,CREATED,BY,HOLDS");

  if (code != TOOL_DONE)
    return code;
  code = check_names ();
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  if (argc > 1 && store_find (store, argv[1], &disk, &status) == -1)
    return tool_fail (&status);
  if (manage_list_snapshots (store, argv[1], add_snapshot, &contents,
                             &status) == -1)
    return tool_fail (&status);
  if (list_names) {
    print_snapshot_names (&contents);
    return TOOL_DONE;
  }
  return show_list (store, &contents, true, false, table);
}

const struct command command_snapshot_list = {
  .name = "snapshot list",
  .arguments = "DATABASE [DISK]",
  .summary = "Show the snapshots of all disks, or of one",
  .help =
      "They stand by disk, and those of a disk in the order in which they\n"
      "were taken.  BY is whose it is: \"user\", or \"server\" for those of\n"
      "a server's history that nobody has renamed.  HOLDS are the tags of\n"
      "\"sqlblock snapshot hold\".  With --usage, STORED is what its data\n"
      "takes, and FREES what deleting it alone would free; \"sqlblock usage\"\n"
      "says what deleting several together frees.\n"
      "\n"
      "Columns: NAME SIZE LOGICAL STORED RATIO SHARED FREES EXCLUSIVE CREATED\n"
      "BY HOLDS GUID DESCRIPTION.  Those from LOGICAL to EXCLUSIVE are as of\n"
      "\"sqlblock list\", and are counted.\n"
      "\n"
      "The JSON is {\"snapshots\": [...]}, each with disk, snapshot, size,\n"
      "block_size, created, automatic (made by a server), guid,\n"
      "description, user (what was set as user:KEY, by KEY) and holds (when\n"
      "they began, by their tags); with --usage also logical, stored, ratio,\n"
      "shared and exclusive (what deleting it frees).  With --names it is\n"
      "{\"names\": [...]}.\n"
      "\n"
      "Example: sqlblock snapshot list disks.sqlite web\n",
  .options = snapshot_options,
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = 2,
  .snapshots = "info",
  .run = run_snapshot_list,
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
        "{s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file",
        tool_json_string (path), "format", file.format, "size",
        tool_json_size (file.size), "free", tool_json_size (file.free), "log",
        tool_json_size (file.log), "page_size", tool_json_size (file.page_size),
        "disks", tool_json_size (contents.disk_count), "snapshots",
        tool_json_size (contents.snapshot_count), "trash",
        tool_json_size (file.trash), "reclaimable",
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
  if (file.trash)
    tool_property ("in trash", "%s", tool_count (file.trash, "disk"));
  if (file.reclaimable)
    tool_property ("deleted", "not all freed yet: \"sqlblock compact %s\"",
                   path);
  return TOOL_DONE;
}

/* The lines about the usage of either. */
static void
show_usage_lines (const struct usage *usage)
{
  const struct usage_item *item = &usage->items[0];
  const double ratio = tool_ratio (item->logical, item->stored);

  usage_property ("logical", item->logical);
  usage_property ("stored", item->stored);
  if (ratio < 0)
    tool_property ("ratio", "?");
  else
    tool_property ("ratio", "%.2f", ratio);
  usage_property ("shared", item->shared);
  usage_property ("only here", usage->exclusive[0]);
}

/* The lines about a disk. */
static void
show_disk_lines (const struct disk_info *info,
                 const struct manage_details *details,
                 const struct usage *usage, const struct optional *optional)
{
  char text[TIMES_TEXT_MAX], compression[COMPRESSION_TEXT];
  char quota[TOOL_SIZE_MAX], used[TOOL_SIZE_MAX];

  tool_property ("disk", "%s", info->name);
  tool_property ("description", "%s", info->description);
  tool_property_size ("size", info->size);
  tool_property_size ("block size", info->block_size);
  store_print_compression (&info->storing.compression, compression);
  tool_property ("compression", "%s", compression);
  tool_property ("dedup", "%s",
                 info->storing.deduplicate == DISK_ON ? "on" : "off");
  tool_property ("encrypted", "%s", info->encrypted ? "yes" : "no");
  show_usage_lines (usage);
  usage_property ("with its snapshots", usage->history[0]);
  if (info->quota)
    tool_property ("quota", "%s, %s%s used", tool_size (info->quota, quota),
                   details->quota_counted ? "" : "at least ",
                   tool_size (details->quota_used, used));
  tool_property ("snapshots", "%" PRIu64, details->snapshots);
  tool_property ("created", "%s", times_local (info->created, text));
  tool_property ("origin", "%s", details->origin);
  if (info->access != DISK_OPEN)
    tool_property ("access", "%s", access_text (info->access));
  show_user (optional);
}

/* Read the properties of TARGET.  Returns an exit code, with which the rest
 * goes on.
 */
static int
try_properties (struct store *store, const char *target,
                struct optional *optional)
{
  struct status status;

  return manage_properties (store, target, optional, &status) == -1
             ? tool_fail (&status)
             : TOOL_DONE;
}

static int
show_disk (struct store *store, const char *name)
{
  struct receptions receptions = { .name = name };
  struct contents contents = { .disk_count = 1 };
  struct optional optional = { 0 };
  struct manage_details details;
  struct usage usage;
  struct disk_info info;
  struct status status;
  int code, properties_code;
  json_t *json;

  if (store_find (store, name, &info, &status) == -1 ||
      manage_details (store, name, &details, &status) == -1 ||
      manage_list_snapshots (store, name, add_snapshot, &contents, &status) ==
          -1)
    return tool_fail (&status);
  contents.disks = &info;
  if (!count_usage (store, &contents, &usage, &code))
    return code;
  properties_code = try_properties (store, name, &optional);
  if (properties_code == TOOL_DONE && !common.json)
    properties_code = try_receptions (store, &receptions);
  if (common.json) {
    json = disk_json (&info, &details);
    add_properties (json, &optional, false);
    add_usage (json, &usage, 0);
    tool_json_print (json);
  }
  else {
    show_disk_lines (&info, &details, &usage, &optional);
    show_receptions (&receptions);
  }
  free (receptions.list);
  optional_free (&optional);
  return code == TOOL_DONE ? properties_code : code;
}

/* The lines about a snapshot. */
static void
show_snapshot_lines (const struct snapshot_info *info,
                     const struct usage *usage, const struct optional *optional)
{
  char *description = description_of (optional);
  char text[TIMES_TEXT_MAX];

  tool_property ("snapshot", "%s@%s", info->disk_name, info->name);
  tool_property ("description", "%s", description);
  free (description);
  tool_property_size ("size", info->size);
  tool_property_size ("block size", info->block_size);
  show_usage_lines (usage);
  tool_property ("created", "%s", times_local (info->created, text));
  tool_property ("made by", "%s", maker (info));
  tool_property ("guid", "%016" PRIx64, (uint64_t)info->guid);
  show_holds (optional);
  show_user (optional);
}

static int
show_snapshot (struct store *store, const char *target)
{
  struct snapshot_info info;
  const struct contents contents = { .snapshots = &info, .snapshot_count = 1 };
  struct optional optional = { 0 };
  struct usage usage;
  struct status status;
  int code, properties_code;
  json_t *json;

  if (manage_find_snapshot (store, target, &info, &status) == -1)
    return tool_fail (&status);
  if (!count_usage (store, &contents, &usage, &code))
    return code;
  properties_code = try_properties (store, target, &optional);
  if (common.json) {
    json = snapshot_json (&info);
    add_properties (json, &optional, true);
    add_usage (json, &usage, 0);
    tool_json_print (json);
  }
  else
    show_snapshot_lines (&info, &usage, &optional);
  optional_free (&optional);
  return code == TOOL_DONE ? properties_code : code;
}

static int
run_info (int argc, char *argv[])
{
  struct store *store = tool_open (argv[0], false);
  struct resolved resolved;
  struct status status;

  if (argc == 1)
    return show_file (store, argv[0]);
  if (tool_resolve (store, argv[1], &resolved, &status) == -1)
    return tool_fail (&status);
  return strchr (argv[1], '@') ? show_snapshot (store, resolved.name)
                               : show_disk (store, argv[1]);
}

const struct command command_info = {
  .name = "info",
  .arguments = "DATABASE [DISK[@SNAPSHOT]]",
  .summary = "Show all about the file, a disk or a snapshot",
  .help =
      "\"logical\" is what it shows that is not zeroes, \"stored\" what this\n"
      "takes, \"ratio\" the first by the second; \"shared\" is what of stored\n"
      "deleting it leaves, \"only here\" what deleting it alone would free.\n"
      "SNAPSHOT may be a time, such as\n"
      "2026-11-22T10:42: the newest snapshot that is not newer than that.\n"
      "\n"
      "The JSON of a disk or snapshot is what the lists have with --usage;\n"
      "that of the file has file, format, size, free, log, page_size, disks "
      "and\n"
      "snapshots (how many), and reclaimable (parts of what was deleted\n"
      "that are not freed yet).\n"
      "\n"
      "Example: sqlblock info disks.sqlite web@monday --json\n",
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 1,
  .most = 2,
  .run = run_info,
};

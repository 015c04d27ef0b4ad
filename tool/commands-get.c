/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The command get: every property of the database, a disk or a snapshot, what
 * it is and who says so.  What can only be read stands in the table below, what
 * can be set in that of settings.h; both have an order, and then come notes.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failed.h"
#include "base/sane.h"
#include "base/times.h"
#include "tool.h"

/* What there can be properties of; several may be added up. */
enum kind { KIND_DATABASE = 1, KIND_DISK = 2, KIND_SNAPSHOT = 4 };
#define KIND_ITEM (KIND_DISK | KIND_SNAPSHOT)
#define KIND_ANY  (KIND_DATABASE | KIND_ITEM)

/* What is asked about. */
struct subject {
  enum kind kind;
  const char *name;
  struct disk_info disk;
  struct snapshot_info snapshot;
  struct manage_details details; /* of both */
  struct manage_file file;       /* of the database */
  struct optional own, of_file;

  /* What is counted, in bytes. */
  struct usage_item item;
  uint64_t exclusive, history;

  /* What is shown. */
  struct tool_table *table;
  json_t *list;
  char **wanted; /* names of properties; without, all */
  size_t wanted_count;
};

/* A row of the output. */
struct row {
  const char *property, *source;
  char *text;
  json_t *json;
};

/*--------------------------------------------------------------------
 * Values.
 */

static void
put_text (struct row *row, const char *text)
{
  row->text = tool_strdup (text);
  row->json = text[0] ? tool_json_string (text) : json_null ();
}

static void
put_number (struct row *row, uint64_t number)
{
  row->text = tool_format ("%" PRIu64, number);
  row->json = tool_json_size (number);
}

static void
put_size (struct row *row, uint64_t bytes)
{
  char text[TOOL_SIZE_MAX];

  if (bytes == USAGE_UNKNOWN) {
    row->text = tool_strdup ("?");
    row->json = json_null ();
    return;
  }
  put_number (row, bytes);
  if (!common.exact) {
    free (row->text);
    row->text = tool_strdup (tool_size (bytes, text));
  }
}

static void
put_time (struct row *row, int64_t seconds)
{
  char text[TIMES_TEXT_MAX];

  row->text = common.exact ? tool_format ("%" PRId64, seconds)
                           : tool_strdup (times_local (seconds, text));
  row->json = tool_json_time (seconds);
}

/*--------------------------------------------------------------------
 * What can only be read.
 */

static void
show_type (const struct subject *subject, struct row *row)
{
  put_text (row, subject->kind == KIND_DATABASE ? "database"
                 : subject->kind == KIND_DISK   ? "disk"
                                                : "snapshot");
}

static void
show_format (const struct subject *subject, struct row *row)
{
  put_number (row, subject->file.format);
}

static void
show_size (const struct subject *subject, struct row *row)
{
  put_size (row, subject->kind == KIND_DATABASE ? subject->file.size
                 : subject->kind == KIND_DISK   ? subject->disk.size
                                                : subject->snapshot.size);
}

static void
show_free (const struct subject *subject, struct row *row)
{
  put_size (row, subject->file.free);
}

static void
show_log (const struct subject *subject, struct row *row)
{
  put_size (row, subject->file.log);
}

static void
show_page_size (const struct subject *subject, struct row *row)
{
  put_size (row, subject->file.page_size);
}

static void
show_block_size (const struct subject *subject, struct row *row)
{
  put_size (row, subject->disk.block_size);
}

static void
show_encrypted (const struct subject *subject, struct row *row)
{
  put_text (row, subject->disk.encrypted ? "on" : "off");
}

static void
show_created (const struct subject *subject, struct row *row)
{
  put_time (row, subject->kind == KIND_DISK ? subject->disk.created
                                            : subject->snapshot.created);
}

static void
show_origin (const struct subject *subject, struct row *row)
{
  put_text (row, subject->details.origin);
}

static void
show_snapshots (const struct subject *subject, struct row *row)
{
  put_number (row, subject->details.snapshots);
}

static void
show_used (const struct subject *subject, struct row *row)
{
  put_size (row,
            subject->kind == KIND_DISK ? subject->history : subject->exclusive);
}

static void
show_logical (const struct subject *subject, struct row *row)
{
  put_size (row, subject->item.logical);
}

static void
show_stored (const struct subject *subject, struct row *row)
{
  put_size (row, subject->item.stored);
}

static void
show_ratio (const struct subject *subject, struct row *row)
{
  const struct usage_item *item = &subject->item;
  const double ratio = tool_ratio (item->logical, item->stored);

  row->text = ratio < 0 ? tool_strdup ("?") : tool_format ("%.2f", ratio);
  row->json = tool_json_ratio (item->logical, item->stored);
}

static void
show_shared (const struct subject *subject, struct row *row)
{
  put_size (row, subject->item.shared);
}

static void
show_exclusive (const struct subject *subject, struct row *row)
{
  put_size (row, subject->exclusive);
}

static void
show_quota_used (const struct subject *subject, struct row *row)
{
  if (subject->disk.quota)
    put_size (row, subject->details.quota_used);
  else
    put_text (row, "");
}

static void
show_guid (const struct subject *subject, struct row *row)
{
  char guid[17];

  snprintf (guid, sizeof guid, "%016" PRIx64, (uint64_t)subject->snapshot.guid);
  put_text (row, guid);
}

static void
show_maker (const struct subject *subject, struct row *row)
{
  put_text (row, subject->snapshot.automatic ? "server" : "user");
}

static void
show_holds (const struct subject *subject, struct row *row)
{
  const struct optional *own = &subject->own;
  uint64_t holds = 0;

  for (size_t i = 0; i < own->property_count; i++)
    holds += optional_key_behind (own->properties[i].key, PROPERTY_HOLD) != 0;
  put_number (row, holds);
}

static void
show_access (const struct subject *subject, struct row *row)
{
  const enum disk_access access = subject->kind == KIND_DISK
                                      ? subject->disk.access
                                      : subject->snapshot.access;

  put_text (row, access == DISK_OPEN        ? "full"
                 : access == DISK_READ_ONLY ? "read-only"
                                            : "none");
}

/* Their order is that of the output. */
static const struct readable {
  const char *name;
  unsigned kinds;
  bool counted;
  void (*show) (const struct subject *subject, struct row *row);
  const char *why; /* it cannot be set, and what can be done */
} readables[] = {
  { "type", KIND_ANY, false, show_type, "it is what it is" },
  { "format", KIND_DATABASE, false, show_format,
    "\"sqlblock upgrade\" changes it" },
  { "size", KIND_ANY, false, show_size, "\"sqlblock resize\" changes it" },
  { "free", KIND_DATABASE, false, show_free,
    "\"sqlblock compact\" gives it back" },
  { "log", KIND_DATABASE, false, show_log, "a server's log-size= bounds it" },
  { "page-size", KIND_DATABASE, false, show_page_size,
    "it is fixed when the database is made" },
  { "block-size", KIND_DISK, false, show_block_size,
    "it is fixed when the disk is made" },
  { "encrypted", KIND_DISK, false, show_encrypted,
    "it is fixed when the disk is made; \"sqlblock import --encrypt\" makes "
    "another one" },
  { "created", KIND_ITEM, false, show_created, "it is when it was made" },
  { "origin", KIND_DISK, false, show_origin,
    "\"sqlblock flatten\" cuts the tie" },
  { "snapshots", KIND_DISK, false, show_snapshots,
    "\"sqlblock snapshot create\" makes more" },
  { "used", KIND_ITEM, true, show_used, "it is counted" },
  { "logical", KIND_ITEM, true, show_logical, "it is counted" },
  { "stored", KIND_ITEM, true, show_stored, "it is counted" },
  { "ratio", KIND_ITEM, true, show_ratio, "it is counted" },
  { "shared", KIND_ITEM, true, show_shared, "it is counted" },
  { "only-here", KIND_DISK, true, show_exclusive, "it is counted" },
  { "quota-used", KIND_DISK, false, show_quota_used, "it is counted" },
  { "guid", KIND_SNAPSHOT, false, show_guid, "it is what copies share" },
  { "made-by", KIND_SNAPSHOT, false, show_maker, "renaming makes it yours" },
  { "holds", KIND_SNAPSHOT, false, show_holds,
    "\"sqlblock snapshot hold\" makes one" },
  { "access", KIND_ITEM, false, show_access,
    "it is what this program can do with it" },
};

#define READABLES (sizeof readables / sizeof readables[0])

static const struct readable *
find_readable (const char *name, size_t length)
{
  for (size_t i = 0; i < READABLES; i++)
    if (strlen (readables[i].name) == length &&
        memcmp (readables[i].name, name, length) == 0)
      return &readables[i];
  return NULL;
}

const char *
tool_why_read_only (const char *name, size_t length)
{
  const struct readable *readable = find_readable (name, length);

  return readable ? readable->why : NULL;
}

const char *
tool_read_only (unsigned number)
{
  return number < READABLES ? readables[number].name : NULL;
}

/*--------------------------------------------------------------------
 * Rows.
 */

static bool
is_wanted (const struct subject *subject, const char *property)
{
  for (size_t i = 0; i < subject->wanted_count; i++)
    if (strcmp (subject->wanted[i], property) == 0)
      return true;
  return subject->wanted_count == 0;
}

/* Show ROW, whose value goes. */
static void
show (struct subject *subject, struct row *row)
{
  tool_cell (subject->table, "%s", subject->name);
  tool_cell (subject->table, "%s", row->property);
  tool_cell (subject->table, "%s", row->text);
  tool_cell (subject->table, "%s", row->source);
  json_array_append_new (
      subject->list,
      json_pack ("{s:o, s:o, s:o, s:o}", "name",
                 tool_json_string (subject->name), "property",
                 tool_json_string (row->property), "value", row->json, "source",
                 row->source[0] ? tool_json_string (row->source)
                                : json_null ()));
  free (row->text);
}

static void
show_readable (struct subject *subject, const struct readable *readable)
{
  struct row row = { .property = readable->name, .source = "" };

  if ((readable->kinds & subject->kind) == 0)
    return;
  readable->show (subject, &row);
  show (subject, &row);
}

/* The row of a disk has what it says. */
static void
show_copied (struct subject *subject, const struct setting *setting)
{
  const struct disk_info *disk = &subject->disk;
  struct row row = { .property = setting->name, .source = "local" };
  char compression[COMPRESSION_TEXT];

  if (strcmp (setting->name, "compression") == 0) {
    store_print_compression (&disk->storing.compression, compression);
    put_text (&row, compression);
  }
  else if (strcmp (setting->name, "dedup") == 0)
    put_text (&row, disk->storing.deduplicate == DISK_ON ? "on" : "off");
  else if (disk->quota)
    put_size (&row, disk->quota);
  else
    put_text (&row, "none");
  show (subject, &row);
}

/* Returns an exit code. */
static int
show_setting (struct subject *subject, const struct setting *setting)
{
  static const char *const sources[] = {
    [SETTING_USUAL] = "default",
    [SETTING_INHERITED] = "inherited",
    [SETTING_OWN] = "local",
  };
  const bool is_disk = subject->kind == KIND_DISK;
  struct row row = { .property = setting->name };
  struct setting_value value;
  struct status status;
  int code = TOOL_DONE;

  if (subject->kind == KIND_SNAPSHOT || (is_disk && setting->of_file))
    return TOOL_DONE;
  if (is_disk && setting->copy) {
    show_copied (subject, setting);
    return TOOL_DONE;
  }
  if (setting_among (setting, is_disk ? &subject->own : NULL, &subject->of_file,
                     &value, &status) == -1) {
    code = tool_fail (&status);
    strcpy (value.text, "?");
  }
  row.source = sources[value.source];
  put_text (&row, value.text);
  show (subject, &row);
  return code;
}

static void
show_description (struct subject *subject)
{
  const struct optional *own = &subject->own;
  const struct property *property;
  struct row row = { .property = PROPERTY_DESCRIPTION, .source = "" };
  char *text = NULL;

  if (subject->kind == KIND_DATABASE)
    return;
  if (subject->kind == KIND_DISK)
    text = tool_strdup (subject->disk.description);
  else if ((property = optional_find (own, PROPERTY_DESCRIPTION)) != NULL)
    text = tool_property_text (property);
  put_text (&row, text ? text : "");
  if (row.text[0])
    row.source = "local";
  show (subject, &row);
  free (text);
}

/* Show the notes, all or the one that is called KEY. */
static void
show_notes (struct subject *subject, const char *key)
{
  const struct optional *own =
      subject->kind == KIND_DATABASE ? &subject->of_file : &subject->own;
  bool shown = false;

  for (size_t i = 0; i < own->property_count; i++) {
    const struct property *property = &own->properties[i];
    struct row row = { .property = property->key, .source = "local" };
    char *text;

    if (key ? strcmp (property->key, key) != 0
            : optional_key_behind (property->key, PROPERTY_USER) == NULL)
      continue;
    text = tool_property_text (property);
    put_text (&row, text);
    show (subject, &row);
    free (text);
    shown = true;
  }
  if (key && !shown) {
    struct row row = { .property = key, .source = "" };

    put_text (&row, "");
    show (subject, &row);
  }
}

/* Show all there is.  Returns an exit code. */
static int
show_all (struct subject *subject)
{
  const struct setting *setting;
  int code = TOOL_DONE, failed;

  for (size_t i = 0; i < READABLES; i++)
    show_readable (subject, &readables[i]);
  for (unsigned i = 0; (setting = setting_number (i)) != NULL; i++) {
    failed = show_setting (subject, setting);
    code = failed ? failed : code;
  }
  show_description (subject);
  show_notes (subject, NULL);
  return code;
}

/* Show what was asked for, in that order. */
static int
show_wanted (struct subject *subject)
{
  int code = TOOL_DONE, failed;

  for (size_t i = 0; i < subject->wanted_count; i++) {
    const char *name = subject->wanted[i];
    const struct readable *readable = find_readable (name, strlen (name));
    const struct setting *setting = setting_find (name);

    if (readable)
      show_readable (subject, readable);
    else if (setting) {
      failed = show_setting (subject, setting);
      code = failed ? failed : code;
    }
    else if (strcmp (name, PROPERTY_DESCRIPTION) == 0)
      show_description (subject);
    else
      show_notes (subject, name);
  }
  return code;
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* Items of one disk and its snapshots, which are counted. */
struct items {
  struct usage_item *list;
  size_t count;
};

static void
add_item (struct items *items, int64_t disk, int64_t snapshot)
{
  items->list =
      tool_realloc (items->list, (items->count + 1) * sizeof *items->list);
  items->list[items->count++] =
      (struct usage_item){ .disk = disk, .snapshot = snapshot };
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  add_item (opaque, info->disk, info->id);
  return 0;
}

/* Count ITEMS as one group, which frees *FREED.  *CODE becomes an exit code
 * where that fails, and the values are then not known.
 */
static void
count_items (struct store *store, struct items *items, uint64_t *freed,
             int *code)
{
  struct status status;
  int r;

  tool_progress_begin ("counting");
  r = manage_usage (store, items->list, items->count, freed, 1, tool_progress,
                    NULL, &status);
  tool_progress_end (r);
  if (r == -1)
    *code = tool_fail (&status);
}

/* Count what is counted, if it is wanted.  Returns an exit code. */
static int
read_counted (struct store *store, struct subject *subject)
{
  struct items items = { 0 };
  struct status status;
  bool needed = false;
  int code = TOOL_DONE;

  for (size_t i = 0; i < READABLES; i++)
    needed = needed ||
             (readables[i].counted && (readables[i].kinds & subject->kind) &&
              is_wanted (subject, readables[i].name));
  if (!needed)
    return TOOL_DONE;
  if (subject->kind == KIND_DISK)
    add_item (&items, subject->disk.id, 0);
  else
    add_item (&items, subject->snapshot.disk, subject->snapshot.id);
  items.list[0].shown = true;
  count_items (store, &items, &subject->exclusive, &code);
  subject->item = items.list[0];
  items.list[0].shown = false;
  if (code == TOOL_DONE && subject->kind == KIND_DISK) {
    if (manage_list_snapshots (store, subject->name, add_snapshot, &items,
                               &status) == -1)
      return tool_fail (&status);
    count_items (store, &items, &subject->history, &code);
  }
  free (items.list);
  return code;
}

/* Read all of the disk or snapshot TARGET. */
static int
read_item (struct store *store, const char *target, struct subject *subject)
{
  struct resolved resolved;
  struct status status;

  if (tool_resolve (store, target, &resolved, &status) == -1)
    return tool_fail (&status);
  subject->name = resolved.name;
  subject->kind = strchr (resolved.name, '@') ? KIND_SNAPSHOT : KIND_DISK;
  if ((subject->kind == KIND_SNAPSHOT
           ? manage_find_snapshot (store, resolved.name, &subject->snapshot,
                                   &status)
           : store_find (store, resolved.name, &subject->disk, &status)) ==
          -1 ||
      manage_details (store, resolved.name, &subject->details, &status) == -1 ||
      manage_properties (store, resolved.name, &subject->own, &status) == -1)
    return tool_fail (&status);
  return TOOL_DONE;
}

/* Read what there is to know of TARGET in the database PATH. */
static int
read_subject (struct store *store, const char *path, const char *target,
              struct subject *subject)
{
  struct status status;

  if (strcmp (target, TARGET_DATABASE) != 0) {
    const int code = read_item (store, target, subject);

    if (code != TOOL_DONE)
      return code;
  }
  else {
    subject->kind = KIND_DATABASE;
    subject->name = path;
    if (manage_file (store, &subject->file, &status) == -1)
      return tool_fail (&status);
  }
  if (manage_properties (store, TARGET_DATABASE, &subject->of_file, &status) ==
      -1)
    return tool_fail (&status);
  return TOOL_DONE;
}

/*--------------------------------------------------------------------
 * The command.
 */

/* Fail where NAME is no property at all. */
static int
check_property (const char *name)
{
  struct status status;

  if (find_readable (name, strlen (name)) || setting_find (name) ||
      strcmp (name, PROPERTY_DESCRIPTION) == 0)
    return TOOL_DONE;
  if (optional_key_behind (name, PROPERTY_USER))
    return sane_check_key (name, &status) == 0
               ? TOOL_DONE
               : tool_usage ("%s", status.message);
  return tool_usage ("there is no property '%s'; without a name \"get\" shows "
                     "all",
                     name);
}

/* Read the names of properties in TEXT, with commas between them; what begins
 * with "user:" is one up to the end.
 */
static int
want_properties (struct subject *subject, const char *text)
{
  for (;;) {
    const bool note = optional_key_behind (text, PROPERTY_USER) != NULL;
    const size_t length = note ? strlen (text) : strcspn (text, ",");
    char *name = tool_format ("%.*s", (int)length, text);
    const int code =
        strcmp (name, "all") == 0 ? TOOL_DONE : check_property (name);

    if (code != TOOL_DONE)
      return code;
    subject->wanted = tool_realloc (
        subject->wanted, (subject->wanted_count + 1) * sizeof *subject->wanted);
    subject->wanted[subject->wanted_count++] = name;
    if (text[length] == '\0')
      return TOOL_DONE;
    text += length + 1;
  }
}

/* Read the COUNT arguments behind the target.  Among them "all" means all. */
static int
read_names (int count, char *argv[], struct subject *subject)
{
  int code = TOOL_DONE;

  for (int i = 0; i < count && code == TOOL_DONE; i++)
    code = want_properties (subject, argv[i]);
  for (size_t i = 0; i < subject->wanted_count; i++)
    if (strcmp (subject->wanted[i], "all") == 0)
      subject->wanted_count = 0;
  return code;
}

static int
run_get (int argc, char *argv[])
{
  static const char *const titles[] = { "NAME", "PROPERTY", "VALUE", "SOURCE",
                                        NULL };
  struct subject subject = { .table = tool_table (titles),
                             .list = json_array () };
  int code = tool_table_choose (subject.table, "NAME,PROPERTY,VALUE,SOURCE");
  struct store *store;
  int failed;

  if (code == TOOL_DONE && argc > 2)
    code = read_names (argc - 2, argv + 2, &subject);
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], false);
  code = read_subject (store, argv[0], argc > 1 ? argv[1] : TARGET_DATABASE,
                       &subject);
  if (code != TOOL_DONE)
    return code;
  code = subject.kind == KIND_DATABASE ? TOOL_DONE
                                       : read_counted (store, &subject);
  if (code != TOOL_DONE && tool_interrupted ())
    return code;
  failed = subject.wanted_count ? show_wanted (&subject) : show_all (&subject);
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "properties", subject.list));
  else
    tool_table_print (subject.table);
  optional_free (&subject.own);
  optional_free (&subject.of_file);
  return failed ? failed : code;
}

const struct command command_get = {
  .name = "get",
  .arguments = "DATABASE [DISK[@SNAPSHOT]|/] [NAME...]",
  .summary = "Show properties, and where they come from",
  .help =
      "Without NAME it shows all; NAMEs may also have commas between them.\n"
      "\"/\", or nothing, is the database itself.  SNAPSHOT may be a time.\n"
      "\n"
      "SOURCE is \"local\" for what was set of it, \"inherited\" for what it\n"
      "has from the database, \"default\" for what nobody has set, and \"-\"\n"
      "for what can only be read.  Of the database, compression, dedup and\n"
      "quota are what new disks get.\n"
      "\n"
      "used is what deleting it, a disk with its snapshots, would free;\n"
      "logical what it shows that is not zeroes, stored what this takes,\n"
      "ratio the first by the second, shared what of stored others show as\n"
      "well; only-here what deleting the disk without its snapshots would\n"
      "free.  They are counted, which takes long where that is much; name\n"
      "others if you do not need them.\n"
      "\n"
      "Columns: NAME PROPERTY VALUE SOURCE.\n"
      "\n"
      "The JSON is {\"properties\": [...]}, each with name, property, value\n"
      "(sizes are numbers, null is none) and source (or null).\n"
      "\n"
      "Examples: sqlblock get disks.sqlite web\n"
      "          sqlblock get disks.sqlite web -Hp -o value used,quota\n",
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = -1,
  .run = run_get,
};

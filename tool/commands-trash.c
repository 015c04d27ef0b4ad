/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands for what lies in the trash: undelete, trash list, trash empty.
 *
 * Several disks there can have had the same name, so each has a number, ID, and
 * a time at which it was deleted.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/times.h"
#include "tool.h"

/* What a disk is called whose name is not known. */
#define UNKNOWN_NAME "?"

static const char *
name_of (const struct trashed_disk *disk)
{
  return disk->name[0] ? disk->name : UNKNOWN_NAME;
}

/* "disk 'web' (number 7, deleted 2026-11-29 10:00)", a new string. */
static char *
describe (const struct trashed_disk *disk)
{
  char text[TIMES_TEXT_MAX];

  return tool_format ("disk '%s' (number %" PRId64 ", deleted %s)",
                      name_of (disk), disk->disk.id,
                      disk->deleted ? times_local (disk->deleted, text)
                                    : "at an unknown time");
}

/*--------------------------------------------------------------------
 * What there is.
 */

/* Gathered before something is done: a transaction is open meanwhile. */
struct trash {
  struct trashed_disk *disks;
  struct usage_item *items; /* the disks, and then their snapshots */
  size_t count, item_count;
};

static int
add_disk (const struct trashed_disk *disk, void *opaque)
{
  struct trash *trash = opaque;

  trash->disks =
      tool_realloc (trash->disks, (trash->count + 1) * sizeof *trash->disks);
  trash->disks[trash->count++] = *disk;
  return 0;
}

static struct trash
read_trash (struct store *store)
{
  struct trash trash = { 0 };
  struct status status;

  if (manage_list_trash (store, add_disk, &trash, &status) == -1)
    exit (tool_fail (&status));
  return trash;
}

static void
trash_free (struct trash *trash)
{
  free (trash->disks);
  free (trash->items);
}

static void
add_item (struct trash *trash, int64_t disk, int64_t snapshot, size_t group)
{
  trash->items = tool_realloc (trash->items,
                               (trash->item_count + 1) * sizeof *trash->items);
  trash->items[trash->item_count++] =
      (struct usage_item){ .disk = disk, .snapshot = snapshot, .group = group };
}

/* A snapshot is in the group of its disk, if that is one of those listed. */
static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  struct trash *trash = opaque;

  for (size_t i = 0; i < trash->count; i++)
    if (trash->disks[i].disk.id == info->disk)
      add_item (trash, info->disk, info->id, trash->items[i].group);
  return 0;
}

/* Count what deleting each of TRASH, or with TOGETHER all of it, frees. Returns
 * the bytes of each in a new array, and *CODE is an exit code.
 */
static uint64_t *
count_freed (struct store *store, struct trash *trash, bool together, int *code)
{
  uint64_t *freed = tool_alloc ((trash->count + 1) * sizeof *freed);
  struct status status;
  int r;

  *code = TOOL_DONE;
  if (trash->count == 0)
    return freed;
  for (size_t i = 0; i < trash->count; i++)
    add_item (trash, trash->disks[i].disk.id, 0, together ? 0 : i);
  tool_progress_begin ("counting");
  r = manage_list_trash_snapshots (store, add_snapshot, trash, &status);
  if (r == 0)
    r = manage_usage (store, trash->items, trash->item_count, freed,
                      together ? 1 : trash->count, tool_progress, NULL,
                      &status);
  else
    for (size_t i = 0; i < trash->count; i++)
      freed[i] = USAGE_UNKNOWN;
  tool_progress_end (r);
  if (r == -1)
    *code = tool_fail (&status);
  return freed;
}

/*--------------------------------------------------------------------
 * Choosing.
 */

static const char *wanted_id, *wanted_time, *wanted_span;
static bool wanted_expired;

#define ID_OPTION                                                              \
  {                                                                            \
    "id", 0, "ID", &wanted_id,                                                 \
        "the one of this number, as \"sqlblock trash list\"\n"                 \
        "shows it"                                                             \
  }

/* Which disks of the trash are meant. */
struct choice {
  const char *name;   /* NULL: any */
  int64_t id;         /* 0: any */
  int64_t deleted_by; /* deleted not after this */
  int64_t over_by;    /* to go by then; 0: whenever */
};

/* Read the options.  Returns an exit code. */
static int
read_choice (const char *name, struct choice *choice)
{
  const int64_t now = time (NULL);
  const bool is_number = wanted_id &&
                         wanted_id[strspn (wanted_id, "0123456789")] == '\0' &&
                         strlen (wanted_id) < 19;
  int64_t span;

  *choice = (struct choice){ .name = name, .deleted_by = INT64_MAX };
  if (wanted_id)
    choice->id = is_number ? strtoll (wanted_id, NULL, 10) : 0;
  if (wanted_id && choice->id == 0)
    return tool_usage ("'%s' is no number of a disk", wanted_id);
  if (wanted_time && !times_parse (wanted_time, &choice->deleted_by))
    return tool_usage ("'%s' is no time, such as 2026-11-22T10:42",
                       wanted_time);
  if (wanted_span) {
    if (!times_parse_span (wanted_span, &span))
      return tool_usage ("'%s' is no span of time, such as 12h or 7d",
                         wanted_span);
    choice->deleted_by = now - span;
  }
  if (wanted_expired)
    choice->over_by = now;
  return TOOL_DONE;
}

/* What is not known fits no limit. */
static bool
is_chosen (const struct choice *choice, const struct trashed_disk *disk)
{
  return (choice->name == NULL || strcmp (choice->name, name_of (disk)) == 0) &&
         (choice->id == 0 || choice->id == disk->disk.id) &&
         (choice->deleted_by == INT64_MAX ||
          (disk->deleted && disk->deleted <= choice->deleted_by)) &&
         (choice->over_by == 0 ||
          (disk->until && disk->until <= choice->over_by));
}

/* Leave in TRASH only what is meant. */
static void
choose (struct trash *trash, const struct choice *choice)
{
  size_t left = 0;

  for (size_t i = 0; i < trash->count; i++)
    if (is_chosen (choice, &trash->disks[i]))
      trash->disks[left++] = trash->disks[i];
  trash->count = left;
}

/* There is no such disk; say which there are. */
static int
fail_unknown (const struct trash *trash, const char *name)
{
  struct status status;

  status_fail (&status, ENOENT, "the trash has no such disk '%s'; %s", name,
               trash->count ? "there are:" : "it is empty");
  for (size_t i = 0; i < trash->count; i++)
    if (status_list_name (&status, name_of (&trash->disks[i])))
      break;
  return tool_fail (&status);
}

/* Fail where there is nothing of that name or number, deleted whenever. */
static int
check_known (const struct trash *trash, const struct choice *choice)
{
  const struct choice ever = {
    .name = choice->name,
    .id = choice->id,
    .deleted_by = INT64_MAX,
  };

  for (size_t i = 0; i < trash->count; i++)
    if (is_chosen (&ever, &trash->disks[i]))
      return TOOL_DONE;
  return fail_unknown (trash, choice->name ? choice->name : wanted_id);
}

/*--------------------------------------------------------------------
 * undelete
 */

static const struct tool_option undelete_options[] = {
  ID_OPTION,
  { "deleted", 0, "TIME", &wanted_time,
    "the newest that was deleted not after that" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Of several that had the name one must be meant. */
static int
fail_several (const struct trash *trash)
{
  char *all = tool_strdup (""), *more, *one;
  int code;

  for (size_t i = 0; i < trash->count; i++) {
    one = describe (&trash->disks[i]);
    more = tool_format ("%s%s%s", all, i ? ", " : "", one);
    free (one);
    free (all);
    all = more;
  }
  code = tool_error (EINVAL,
                     "which one?  There are several; choose by --id or "
                     "--deleted: %s",
                     all);
  free (all);
  return code;
}

/* Of those before a time the newest is meant. */
static void
keep_newest (struct trash *trash)
{
  for (size_t i = 1; i < trash->count; i++)
    if (trash->disks[i].deleted >= trash->disks[0].deleted)
      trash->disks[0] = trash->disks[i];
  if (trash->count > 1)
    trash->count = 1;
}

/* Have DISK back as NAME, or for NULL as what it was called. */
static int
have_back (struct store *store, const struct trashed_disk *disk,
           const char *name)
{
  const int64_t id = disk->disk.id;
  const char *as = name ? name : name_of (disk);
  char *what = describe (disk);
  struct status status;
  int r;

  r = common.dry_run ? manage_try_undelete (store, id, name, &status)
                     : manage_undelete (store, id, name, &status);
  if (r == -1 && status.error == EEXIST && name == NULL)
    status_fail (&status, EEXIST,
                 "there is a disk '%s' again; say behind it what the one in "
                 "the trash is to be called now",
                 as);
  if (r == -1)
    return tool_fail (&status);
  if (common.dry_run)
    tool_print ("would take %s out of the trash, as '%s'", what, as);
  else
    tool_say ("took %s out of the trash, as '%s'", what, as);
  free (what);
  return TOOL_DONE;
}

static int
run_undelete (int argc, char *argv[])
{
  struct choice choice;
  struct trash trash;
  struct store *store;
  int code = arguments_check_disk (argv[1]);

  if (code == TOOL_DONE && argc > 2)
    code = arguments_check_disk (argv[2]);
  if (code == TOOL_DONE)
    code = read_choice (argv[1], &choice);
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], true);
  trash = read_trash (store);
  code = check_known (&trash, &choice);
  choose (&trash, &choice);
  if (wanted_time)
    keep_newest (&trash);
  if (code == TOOL_DONE && trash.count == 0)
    code =
        tool_error (ENOENT, "'%s' was not deleted by %s", argv[1], wanted_time);
  else if (code == TOOL_DONE)
    code = trash.count == 1 ? have_back (store, &trash.disks[0], argv[2])
                            : fail_several (&trash);
  trash_free (&trash);
  return code;
}

const struct command command_undelete = {
  .name = "undelete",
  .arguments = "DATABASE NAME [NEWNAME]",
  .summary = "Have a disk back that was deleted into the trash",
  .help =
      "NAME is what it was called.  It comes back with its snapshots, and all\n"
      "else that it had, under that name or as NEWNAME; the name must not be\n"
      "taken (exit code 4).  \"sqlblock trash list\" shows what there is.  Of\n"
      "several that had the name, --id or --deleted says which is meant.\n"
      "\n"
      "Examples: sqlblock undelete disks.sqlite web\n"
      "          sqlblock undelete disks.sqlite web old-web --id=7\n",
  .options = undelete_options,
  .common = COMMON_DRY_RUN,
  .least = 2,
  .most = 3,
  .run = run_undelete,
};

/*--------------------------------------------------------------------
 * trash list
 */

static bool with_usage;

static const struct tool_option list_options[] = {
  { "usage", 'u', NULL, &with_usage,
    "count what deleting them would free, which takes\n"
    "long where that is much" },
  { NULL, 0, NULL, NULL, NULL },
};

static void
add_time_cell (struct tool_table *table, int64_t seconds)
{
  if (seconds)
    tool_cell_time (table, seconds);
  else
    tool_cell (table, "?");
}

static void
add_cells (struct tool_table *table, const struct trashed_disk *disk,
           uint64_t freed)
{
  tool_cell (table, "%s", name_of (disk));
  tool_cell_count (table, disk->disk.id);
  tool_cell_size (table, disk->disk.size);
  tool_cell_count (table, disk->snapshots);
  if (!with_usage)
    tool_cell (table, "%s", "");
  else if (freed == USAGE_UNKNOWN)
    tool_cell (table, "?");
  else
    tool_cell_size (table, freed);
  add_time_cell (table, disk->deleted);
  add_time_cell (table, disk->until);
  tool_cell (table, "%s", disk->disk.description);
}

static json_t *
time_json (int64_t seconds)
{
  return seconds ? tool_json_time (seconds) : json_null ();
}

static json_t *
disk_json (const struct trashed_disk *disk, uint64_t freed)
{
  json_t *json = json_pack (
      "{s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
      disk->name[0] ? tool_json_string (disk->name) : json_null (), "id",
      (json_int_t)disk->disk.id, "size", tool_json_size (disk->disk.size),
      "block_size", tool_json_size (disk->disk.block_size), "snapshots",
      tool_json_size (disk->snapshots), "deleted", time_json (disk->deleted),
      "until", time_json (disk->until), "description",
      tool_json_string (disk->disk.description));

  if (with_usage)
    json_object_set_new (json, "frees",
                         freed == USAGE_UNKNOWN ? json_null ()
                                                : tool_json_size (freed));
  return json;
}

static int
run_list (int argc, char *argv[])
{
  static const char *const titles[] = { "NAME",       ">ID",         ">SIZE",
                                        ">SNAPSHOTS", ">FREES",      "DELETED",
                                        "UNTIL",      "DESCRIPTION", NULL };
  struct tool_table *table = tool_table (titles);
  json_t *list = json_array ();
  struct store *store;
  struct trash trash;
  uint64_t *freed = NULL;
  int code = tool_table_choose (
      table, with_usage ? "NAME,ID,SIZE,SNAPSHOTS,FREES,DELETED,UNTIL"
                        : "NAME,ID,SIZE,SNAPSHOTS,DELETED,UNTIL");

  (void)argc;
  if (code != TOOL_DONE)
    return code;
  with_usage = with_usage || tool_table_needs (table, "FREES");
  store = tool_open (argv[0], false);
  trash = read_trash (store);
  if (with_usage)
    freed = count_freed (store, &trash, false, &code);
  for (size_t i = 0; i < trash.count; i++) {
    add_cells (table, &trash.disks[i], freed ? freed[i] : 0);
    json_array_append_new (list,
                           disk_json (&trash.disks[i], freed ? freed[i] : 0));
  }
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "trash", list));
  else {
    tool_table_print (table);
    json_decref (list);
  }
  free (freed);
  trash_free (&trash);
  return code;
}

const struct command command_trash_list = {
  .name = "trash list",
  .arguments = "DATABASE",
  .summary = "Show the disks that were deleted and can be had back",
  .help =
      "\"sqlblock delete\" moves disks to the trash where \"sqlblock set\" "
      "has\n"
      "said trash=TIME for them or for the database.  NAME is what a disk was\n"
      "called, \"?\" if that cannot be read, and ID its number.  After UNTIL "
      "a\n"
      "server deletes it, or \"sqlblock trash empty --expired\".\n"
      "\n"
      "Columns: NAME ID SIZE SNAPSHOTS FREES DELETED UNTIL DESCRIPTION.  "
      "FREES\n"
      "is what deleting it alone, with its snapshots, would free; it is\n"
      "counted, as with --usage.\n"
      "\n"
      "The JSON is {\"trash\": [...]}, each with name (or null), id, size,\n"
      "block_size, snapshots (how many), deleted, until (or null) and\n"
      "description; with --usage also frees.\n"
      "\n"
      "Example: sqlblock trash list disks.sqlite --usage\n",
  .options = list_options,
  .common = COMMON_JSON | COMMON_PROGRESS | COMMON_TABLE,
  .least = 1,
  .most = 1,
  .run = run_list,
};

/*--------------------------------------------------------------------
 * trash empty
 */

static bool no_reclaim;

static const struct tool_option empty_options[] = {
  ID_OPTION,
  { "older", 0, "SPAN", &wanted_span,
    "only what was deleted so long ago: 12h, 7d" },
  { "expired", 0, NULL, &wanted_expired, "only what is to go by now" },
  { "no-reclaim", 0, NULL, &no_reclaim,
    "do not free the space now; \"sqlblock compact\" does\n"
    "it later" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Say what would be deleted, if it would. */
static int
show_emptying (struct store *store, struct trash *trash)
{
  char text[TOOL_SIZE_MAX];
  struct status status;
  uint64_t *freed;
  size_t left = 0;
  int code = TOOL_DONE, counted;

  for (size_t i = 0; i < trash->count; i++)
    if (manage_try_purge (store, &trash->disks[i], &status) == 0)
      trash->disks[left++] = trash->disks[i];
    else
      code = tool_fail (&status);
  trash->count = left;
  for (size_t i = 0; i < trash->count; i++) {
    char *what = describe (&trash->disks[i]);

    tool_print ("would delete %s", what);
    free (what);
  }
  freed = count_freed (store, trash, true, &counted);
  if (counted == TOOL_DONE)
    tool_print ("that would free %s", tool_amount (freed[0], text));
  free (freed);
  return code == TOOL_DONE ? counted : code;
}

/* Delete what is in TRASH; what cannot be does not keep the others. */
static int
empty (struct store *store, const struct trash *trash)
{
  struct status status;
  int code = TOOL_DONE, freed;
  bool any = false;

  for (size_t i = 0; i < trash->count && !tool_interrupted (); i++) {
    char *what = describe (&trash->disks[i]);

    if (manage_purge (store, &trash->disks[i], &status) == 0) {
      tool_say ("deleted %s", what);
      any = true;
    }
    else {
      status_prefix (&status, "%s", what);
      code = tool_fail (&status);
    }
    free (what);
  }
  freed = any && !no_reclaim ? tool_reclaim (store) : TOOL_DONE;
  return code == TOOL_DONE ? freed : code;
}

static int
run_empty (int argc, char *argv[])
{
  struct choice choice;
  struct trash trash;
  struct store *store;
  int code = argc > 1 ? arguments_check_disk (argv[1]) : TOOL_DONE;

  if (code == TOOL_DONE)
    code = read_choice (argv[1], &choice);
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], true);
  tool_catch_signals ();
  trash = read_trash (store);
  if (choice.name || choice.id)
    code = check_known (&trash, &choice);
  choose (&trash, &choice);
  if (code != TOOL_DONE) {
    /* That was said. */
  }
  else if (trash.count == 0)
    tool_say ("there is nothing to delete in the trash");
  else
    code =
        common.dry_run ? show_emptying (store, &trash) : empty (store, &trash);
  trash_free (&trash);
  return code;
}

const struct command command_trash_empty = {
  .name = "trash empty",
  .arguments = "DATABASE [NAME]",
  .summary = "Delete for good what is in the trash, or a part of it",
  .help =
      "All that is there is deleted, with its snapshots, whatever time it has\n"
      "left; or those that were called NAME, and that the options choose.  "
      "One\n"
      "that has a snapshot which is held, or that somebody still has open,\n"
      "stays (exit code 5), and the others are deleted.  Clones live on.\n"
      "\n"
      "Examples: sqlblock trash empty disks.sqlite --older=2d --dry-run\n"
      "          sqlblock trash empty disks.sqlite web\n",
  .options = empty_options,
  .common = COMMON_DRY_RUN | COMMON_PROGRESS,
  .least = 1,
  .most = 2,
  .run = run_empty,
};

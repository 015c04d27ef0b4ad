/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* backup, upgrade and compact: the database as a whole. */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failed.h"
#include "tool.h"

/*--------------------------------------------------------------------
 * backup
 */

static int
run_backup (int argc, char *argv[])
{
  char text[TOOL_SIZE_MAX];
  struct backup_counts counts;
  struct stat st;
  struct store *store = tool_open (argv[0], false);
  struct status status;
  int r;

  (void)argc;
  if (tool_check_output (argv[0], argv[1], &status) == -1)
    return tool_fail (&status);
  if (lstat (argv[1], &st) == 0)
    return tool_error (EEXIST, "%s exists already; nothing is overwritten",
                       argv[1]);
  tool_progress_begin (tool_format ("backing up %s", argv[0]));
  r = manage_backup (store, argv[1], tool_progress, NULL, &counts, &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_fail (&status);
  tool_say ("copied %s to %s", tool_amount (counts.bytes, text), argv[1]);
  return TOOL_DONE;
}

const struct command command_backup = {
  .name = "backup",
  .arguments = "DATABASE FILE",
  .summary = "Copy the whole database, also while servers write to it",
  .help =
      "Copies all disks and snapshots, as they are at one moment, into the\n"
      "new database FILE, and verifies the checksum of every block. FILE\n"
      "appears when it is complete. It alone is everything; of the database\n"
      "itself that is true only while nothing has it open.\n",
  .common = COMMON_PROGRESS,
  .least = 2,
  .most = 2,
  .run = run_backup,
};

/*--------------------------------------------------------------------
 * upgrade
 */

static int
run_upgrade (int argc, char *argv[])
{
  struct status status;
  int format;

  (void)argc;
  if (manage_upgrade (argv[0], common.dry_run, &format, &status) == -1)
    return tool_fail (&status);
  if (common.dry_run && format == DATABASE_FORMAT)
    tool_print ("would do nothing: %s has format %d already", argv[0], format);
  else if (common.dry_run)
    tool_print ("would make %s, of format %d, one of format %d", argv[0],
                format, DATABASE_FORMAT);
  else if (format == DATABASE_FORMAT)
    tool_say ("%s has format %d already", argv[0], format);
  else
    tool_say ("made %s, of format %d, one of format %d", argv[0], format,
              DATABASE_FORMAT);
  return TOOL_DONE;
}

const struct command command_upgrade = {
  .name = "upgrade",
  .arguments = "DATABASE",
  .summary = "Make a database of an older format one of the newest",
  .help =
      "All disks and snapshots stay as they are. It takes a moment, whatever\n"
      "the size of the file, and 2 MiB of space. Nobody else may have the\n"
      "database open. If it is interrupted, run it again. A program that only\n"
      "knows the older format cannot read the file afterwards, so make a copy\n"
      "first if you may want to go back.\n",
  .common = COMMON_DRY_RUN,
  .least = 1,
  .most = 1,
  .alone = true,
  .run = run_upgrade,
};

/*--------------------------------------------------------------------
 * compact
 */

/* What a compact did. */
struct compacted {
  unsigned receptions; /* that were interrupted and are removed */
  uint64_t freed;      /* bytes of blocks */
  uint64_t before;     /* size of the file in bytes */
  uint64_t after;
};

static int
remove_receptions (struct store *store, struct compacted *compacted,
                   struct status *status)
{
  return manage_receive_clean (store, &compacted->receptions, status);
}

static int
free_blocks (struct store *store, struct compacted *compacted,
             struct status *status)
{
  if (manage_reclaim_hidden (store, status) == -1)
    return -1;
  return manage_reclaim (store, tool_progress, NULL, &compacted->freed, status);
}

static int
count (struct store *store, struct compacted *compacted, struct status *status)
{
  (void)compacted;
  return manage_count (store, tool_progress, NULL, status);
}

static int
shrink (struct store *store, struct compacted *compacted, struct status *status)
{
  (void)compacted;
  return manage_shrink_file (store, 0, tool_progress, NULL, status);
}

/* Where one part meets damage, the others are done all the same.  Returns an
 * exit code.
 */
static int
compact (struct store *store, struct compacted *compacted)
{
  static int (*const parts[]) (struct store * store,
                               struct compacted * compacted,
                               struct status * status) = {
    remove_receptions,
    free_blocks,
    count,
    shrink,
  };
  struct manage_file file;
  struct status status;
  int code = TOOL_DONE;

  /* What is not to be done while others copy is found out first. */
  if (manage_file (store, &file, &status) == -1 ||
      (manage_forget_copies (store, &status) == -1 &&
       !failed_is_local (&status)))
    return tool_fail (&status);
  compacted->before = file.size;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (parts[i](store, compacted, &status) == -1) {
      code = tool_fail (&status);
      if (!failed_is_local (&status))
        return code;
    }
  if (manage_file (store, &file, &status) == -1)
    return tool_fail (&status);
  compacted->after = file.size;
  return code;
}

static void
print_json (const struct compacted *compacted)
{
  json_t *object = json_object ();

  json_object_set_new (object, "receptions",
                       json_integer (compacted->receptions));
  json_object_set_new (object, "freed", tool_json_size (compacted->freed));
  json_object_set_new (object, "before", tool_json_size (compacted->before));
  json_object_set_new (object, "after", tool_json_size (compacted->after));
  tool_json_print (object);
}

static void
print_text (const struct compacted *compacted)
{
  char before[TOOL_SIZE_MAX], after[TOOL_SIZE_MAX];

  if (compacted->receptions > 0)
    tool_property ("receptions removed", "%u", compacted->receptions);
  tool_property_size ("blocks freed", compacted->freed);
  tool_property ("file", "%s before, %s now",
                 tool_amount (compacted->before, before),
                 tool_amount (compacted->after, after));
}

static int
run_compact (int argc, char *argv[])
{
  struct store *store = tool_open (argv[0], true);
  struct compacted compacted = { 0 };
  int code;

  (void)argc;
  tool_progress_begin (tool_format ("compacting %s", argv[0]));
  code = compact (store, &compacted);
  tool_progress_end (code == TOOL_DONE ? 0 : -1);
  /* Not where it was given up. */
  if (compacted.after == 0)
    return code;
  if (common.json)
    print_json (&compacted);
  else if (!common.quiet)
    print_text (&compacted);
  return code;
}

const struct command command_compact = {
  .name = "compact",
  .arguments = "DATABASE",
  .summary = "Free what nobody sees and give the space back",
  .help =
      "Frees the blocks that no disk and no snapshot shows any more, removes\n"
      "what interrupted receptions and imports have left, and makes the file\n"
      "smaller by what is free in it. A server may run meanwhile.\n",
  .common = COMMON_JSON | COMMON_PROGRESS,
  .least = 1,
  .most = 1,
  .run = run_compact,
};

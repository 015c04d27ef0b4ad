/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands that change a disk as a whole: create, rename, describe, resize,
 * delete, rollback, clone, flatten.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "base/times.h"
#include "base/values.h"
#include "copy.h"
#include "pattern.h"
#include "secrets.h"
#include "tool.h"

/* Freeing what was deleted can be left to "compact". */
static bool no_reclaim;

#define NO_RECLAIM_OPTION                                                      \
  {                                                                            \
    "no-reclaim", 0, NULL, &no_reclaim,                                        \
        "do not free the space now; \"sqlblock compact\" does\n"               \
        "it later"                                                             \
  }

/*--------------------------------------------------------------------
 * create
 */

static const char *create_size, *create_block_size, *create_description;
static const char *create_compression, *create_quota;
static bool create_dedup, create_encrypt;

static const struct tool_option create_options[] = {
  { "size", 's', "SIZE", &create_size,
    "bytes, or with a letter: 10G; k M G T P E are powers\n"
    "of 1024" },
  { "block-size", 'b', "SIZE", &create_block_size,
    "size of the rows that hold the disk: a power of two\n"
    "from 512 to 1M, fixed for life (default 4k)" },
  { "compression", 'c', "HOW", &create_compression,
    COMPRESSION_HELP ";\ndefault: lz4" },
  { "dedup", 0, NULL, &create_dedup, "store blocks that are equal only once" },
  { "encrypt", 0, NULL, &create_encrypt,
    "encrypt it; give --key-file or --passphrase" },
  { "quota", 0, "SIZE", &create_quota,
    "the most that the disk and its snapshots may take\n"
    "(default none)" },
  { "description", 'd', "TEXT", &create_description,
    "a line for people; clients see it too" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Make the file PATH with its first disk; or in a file that is there, make
 * another one.
 */
static int
create_disk (const char *path, const struct disk_options *options)
{
  struct status status;
  const int found = tool_examine (path, &status);
  int r;

  if (found == -1)
    return tool_fail (&status);
  r = found == 0 ? store_provide (path, options, &status)
                 : manage_create (tool_open (path, true), options, &status);
  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

static int
run_create (int argc, char *argv[])
{
  struct disk_options options = {
    .name = argv[1],
    .description = create_description,
    .storing.deduplicate = create_dedup ? DISK_ON : DISK_UNSAID,
  };
  uint64_t ignored;
  char text[TOOL_SIZE_MAX];
  struct status status;
  int code;

  if (argc > 2 && values_parse_size (argv[2], &ignored))
    return tool_usage ("the size is an option: give --size=%s", argv[2]);
  if (argc > 2)
    return tool_usage ("'%s' is an argument too many", argv[2]);
  if (create_size == NULL)
    return tool_usage ("how large?  Give --size=SIZE, such as --size=10G");
  if (values_disk_size (create_size, &options.size, &status) == -1 ||
      (create_block_size &&
       values_block_size (create_block_size, &options.block_size, &status) ==
           -1) ||
      (create_quota &&
       values_quota (create_quota, &options.quota, &status) == -1))
    return tool_wrong_value (&status);
  if (!create_encrypt && (common.key_file || common.passphrase))
    return tool_usage ("a key is given; the disk gets one with --encrypt");
  code =
      tool_parse_compression (create_compression, &options.storing.compression);
  if (code != TOOL_DONE)
    return code;
  if (sane_check_options (&options, &status) == -1 ||
      (create_encrypt &&
       secrets_make_key (&options.encryption, &options.slot, &status) == -1))
    return tool_fail (&status);
  code = create_disk (argv[0], &options);
  if (code == TOOL_DONE)
    tool_say ("made disk '%s' of %s in %s", argv[1],
              tool_amount (options.size, text), argv[0]);
  return code;
}

const struct command command_create = {
  .name = "create",
  .arguments = "DATABASE DISK --size=SIZE",
  .summary = "Make a disk, and the file if it is missing",
  .help = "The disk is all zeroes, and takes no space until it is written.\n"
          "Its name is UTF-8 of at most 200 bytes without '@' and '/'.  A\n"
          "disk of that name must not exist (exit code 4).\n"
          "\n"
          "Example: sqlblock create disks.sqlite web --size=20G\n",
  .options = create_options,
  .common = COMMON_KEY,
  .least = 2,
  .most = 3,
  .run = run_create,
};

/*--------------------------------------------------------------------
 * rename
 */

/* The name of a snapshot of the disk in FROM that TEXT means, which may
 * repeat the disk; NULL where it is another one.
 */
static const char *
snapshot_name (struct target from, const char *text)
{
  const struct target to = tool_target (text);

  if (to.snapshot == NULL)
    return text;
  if (to.disk[0] == '\0' || strcmp (to.disk, from.disk) == 0)
    return to.snapshot;
  return NULL;
}

/* Check that what FROM names can be called NAME. */
static int
check_new_name (struct target from, const char *name)
{
  if (from.snapshot == NULL)
    return arguments_check_disk (name);
  if (name == NULL)
    return tool_usage ("a snapshot cannot move to another disk");
  return arguments_check_new_snapshot (name);
}

static int
run_rename (int argc, char *argv[])
{
  const struct target from = tool_target (argv[1]);
  const char *name = from.snapshot ? snapshot_name (from, argv[2]) : argv[2];
  struct status status;
  struct store *store;
  int code;

  (void)argc;
  code = check_new_name (from, name);
  if (code != TOOL_DONE)
    return code;
  store = tool_open (argv[0], true);
  code = tool_check_no_time (store, argv[1]);
  if (code != TOOL_DONE)
    return code;
  if (manage_rename (store, argv[1], name, &status) == -1)
    return tool_fail (&status);
  if (strcmp (from.snapshot ? from.snapshot : from.disk, name) == 0) {
    tool_say ("'%s' is called that already", argv[1]);
    return TOOL_DONE;
  }
  if (from.snapshot)
    tool_say ("renamed '%s' to '%s@%s'", argv[1], from.disk, name);
  else
    tool_say ("renamed '%s' to '%s'", argv[1], name);
  return TOOL_DONE;
}

const struct command command_rename = {
  .name = "rename",
  .arguments = "DATABASE DISK[@SNAPSHOT] NAME",
  .summary = "Give a disk or a snapshot another name",
  .help = "The name must not be taken (exit code 4).  Clients that have the\n"
          "disk open go on; new ones find it by its new name.\n"
          "\n"
          "Examples: sqlblock rename disks.sqlite web shop\n"
          "          sqlblock rename disks.sqlite web@monday before-update\n",
  .least = 3,
  .most = 3,
  .run = run_rename,
};

/*--------------------------------------------------------------------
 * describe
 */

static int
run_describe (int argc, char *argv[])
{
  const struct disk_options options = { .description = argv[2] };
  const char *what = strchr (argv[1], '@') ? "snapshot" : "disk";
  struct status status;
  struct store *store;
  int code;

  (void)argc;
  if (sane_check_options (&options, &status) == -1)
    return tool_fail (&status);
  store = tool_open (argv[0], true);
  code = tool_check_no_time (store, argv[1]);
  if (code != TOOL_DONE)
    return code;
  if (manage_describe (store, argv[1], argv[2], &status) == -1)
    return tool_fail (&status);
  if (argv[2][0])
    tool_say ("described %s '%s' as '%s'", what, argv[1], argv[2]);
  else
    tool_say ("%s '%s' has no description now", what, argv[1]);
  return TOOL_DONE;
}

const struct command command_describe = {
  .name = "describe",
  .arguments = "DATABASE DISK[@SNAPSHOT] TEXT",
  .summary = "Say in a line for people what a disk or a snapshot is",
  .help = "The description is UTF-8 of at most 4000 bytes without control\n"
          "characters, and may be empty.  \"info\" shows it, and clients see\n"
          "that of a disk, too.\n"
          "\n"
          "Examples:\n"
          "  sqlblock describe disks.sqlite web \"the shop's server\"\n"
          "  sqlblock describe disks.sqlite web@monday \"before the update\"\n",
  .least = 3,
  .most = 3,
  .run = run_describe,
};

/*--------------------------------------------------------------------
 * resize
 */

static bool resize_shrink;

static const struct tool_option resize_options[] = {
  { "shrink", 0, NULL, &resize_shrink,
    "allow that the disk gets smaller; what lies behind\n"
    "its new end is lost" },
  NO_RECLAIM_OPTION,
  { NULL, 0, NULL, NULL, NULL },
};

/* The size of a disk of OLD bytes after a change by AMOUNT, with SIGN '+' or
 * '-', or to AMOUNT; returns -1 where no disk can have it.
 */
static int
new_size (char sign, uint64_t amount, uint64_t old, uint64_t *size)
{
  *size = sign == '+' ? old + amount : sign == '-' ? old - amount : amount;
  return *size == 0 || *size > INT64_MAX ? -1 : 0;
}

static int
run_resize (int argc, char *argv[])
{
  char old_text[TOOL_SIZE_MAX], text[TOOL_SIZE_MAX];
  struct disk_info info;
  struct status status;
  struct store *store;
  const char sign = argv[2][0];
  uint64_t amount, size;

  (void)argc;
  if (values_size ("SIZE, +SIZE or -SIZE",
                   argv[2] + (sign == '+' || sign == '-'), &amount,
                   &status) == -1)
    return tool_wrong_value (&status);
  store = tool_open (argv[0], true);
  if (store_find (store, argv[1], &info, &status) == -1)
    return tool_fail (&status);
  if (new_size (sign, amount, info.size, &size) == -1)
    return tool_error (EINVAL, "disk '%s' has %s, so %s is too much", argv[1],
                       tool_amount (info.size, old_text), argv[2]);
  if (size < info.size && !resize_shrink)
    return tool_error (EINVAL,
                       "disk '%s' has %s; making it smaller cuts off its end, "
                       "ask for that with --shrink",
                       argv[1], tool_amount (info.size, old_text));
  if (size == info.size) {
    tool_say ("disk '%s' has %s already", argv[1], tool_amount (size, text));
    return TOOL_DONE;
  }
  if (manage_resize_found (store, &info, size, resize_shrink, &status) == -1)
    return tool_fail (&status);
  tool_say ("disk '%s' has %s now, before it had %s; clients see it when "
            "they connect again",
            argv[1], tool_amount (size, text),
            tool_amount (info.size, old_text));
  return size < info.size && !no_reclaim ? tool_reclaim (store) : TOOL_DONE;
}

const struct command command_resize = {
  .name = "resize",
  .arguments = "DATABASE DISK SIZE|+SIZE|-SIZE",
  .summary = "Make a disk larger or smaller",
  .help =
      "SIZE is in bytes, or with a letter: 10G; k M G T P E are powers of\n"
      "1024.  With + or - it is how much the disk grows or shrinks.\n"
      "\n"
      "A disk may grow while it is served; clients see it when they connect\n"
      "again.  It shrinks only with --shrink, and not while a server has it\n"
      "open for writing (exit code 5).  Make the file system in it smaller\n"
      "first.  Snapshots keep their size.  Where the new end is in the middle\n"
      "of a block, an encrypted disk needs its key.\n"
      "\n"
      "Example: sqlblock resize disks.sqlite web +5G\n",
  .options = resize_options,
  .common = COMMON_PROGRESS | COMMON_KEY,
  .least = 3,
  .most = 3,
  .run = run_resize,
};

/*--------------------------------------------------------------------
 * delete
 */

static bool delete_snapshots, delete_now;

static const struct tool_option delete_options[] = {
  { "snapshots", 0, NULL, &delete_snapshots, "delete its snapshots too" },
  { "now", 0, NULL, &delete_now, "for good, also where there is a trash" },
  NO_RECLAIM_OPTION,
  { NULL, 0, NULL, NULL, NULL },
};

/* A disk and its snapshots. */
struct family {
  struct usage_item *items;
  size_t count;
};

static void
add_member (struct family *family, int64_t disk, int64_t snapshot)
{
  family->items =
      tool_realloc (family->items, (family->count + 1) * sizeof *family->items);
  family->items[family->count++] =
      (struct usage_item){ .disk = disk, .snapshot = snapshot };
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  add_member (opaque, info->disk, info->id);
  return 0;
}

/* The changes of a kind to each of TARGETS. */
static struct manage_step *
steps_of (const struct names *targets)
{
  struct manage_step *steps = tool_alloc (targets->count * sizeof *steps);

  for (size_t i = 0; i < targets->count; i++)
    steps[i].target = targets->names[i];
  return steps;
}

/* Would the disk NAME go to the trash?  Then *TRASHED tells of it. */
static int
try_deletion (struct store *store, const char *name,
              struct trashed_disk *trashed, struct status *status)
{
  trashed->disk.id = 0;
  return delete_now ? manage_try_delete (store, name, delete_snapshots,
                                         common.force, status)
                    : manage_try_discard (store, name, delete_snapshots,
                                          common.force, trashed, status);
}

/* Say in a new string, *SAID, what would become of the disk NAME; if it would
 * be deleted, it and its snapshots are put into FAMILY.
 */
static int
show_deletion (struct store *store, const char *name, struct family *family,
               char **said, struct status *status)
{
  const size_t before = family->count;
  struct trashed_disk trashed;
  char text[TIMES_TEXT_MAX];
  struct disk_info info;

  if (try_deletion (store, name, &trashed, status) == -1)
    return -1;
  if (trashed.disk.id) {
    *said = tool_format ("would move disk '%s'%s to the trash until %s", name,
                         trashed.snapshots ? " and its snapshots" : "",
                         times_local (trashed.until, text));
    return 0;
  }
  if (store_find (store, name, &info, status) == -1)
    return -1;
  add_member (family, info.id, 0);
  if (manage_list_snapshots (store, name, add_snapshot, family, status) == -1)
    return -1;
  if (family->count - before > 1)
    *said = tool_format ("would delete disk '%s' and its %s", name,
                         tool_count (family->count - before - 1, "snapshot"));
  else
    *said = tool_format ("would delete disk '%s'", name);
  return 0;
}

/* Say what deleting DISKS would do. */
static int
show_deletions (struct store *store, const struct names *disks)
{
  struct family family = { 0 };
  char text[TOOL_SIZE_MAX];
  struct status status;
  uint64_t freed = 0;
  char *said = NULL;
  int r = 0;

  /* The last one stands in a line with what is freed. */
  for (size_t i = 0; r == 0 && i < disks->count; i++) {
    if (said)
      tool_print ("%s", said);
    free (said);
    said = NULL;
    r = show_deletion (store, disks->names[i], &family, &said, &status);
  }
  if (r == 0 && family.count > 0) {
    tool_progress_begin ("counting");
    r = manage_usage (store, family.items, family.count, &freed, 1,
                      tool_progress, NULL, &status);
    tool_progress_end (r);
  }
  free (family.items);
  if (r == 0)
    tool_print ("%s, which frees %s%s", said, tool_amount (freed, text),
                disks->count > 1 ? " in all" : "");
  free (said);
  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

/* Say what has become of a disk. */
static void
tell_deletion (const char *name, const struct trashed_disk *trashed)
{
  char text[TIMES_TEXT_MAX];

  if (trashed->disk.id)
    tool_say ("moved disk '%s'%s to the trash until %s; \"sqlblock undelete\" "
              "has it back, \"sqlblock trash empty\" frees its space",
              name, trashed->snapshots ? " and its snapshots" : "",
              times_local (trashed->until, text));
  else
    tool_say ("deleted disk '%s'%s", name,
              delete_snapshots ? " and its snapshots" : "");
}

/* A disk that is looked for in the trash, by its number. */
static int
find_trashed (const struct trashed_disk *disk, void *opaque)
{
  struct trashed_disk *wanted = opaque;

  if (disk->disk.id != wanted->disk.id)
    return 0;
  *wanted = *disk;
  return 1;
}

/* Delete several DISKS at once. */
static int
delete_several (struct store *store, const struct names *disks)
{
  const unsigned flags = (delete_snapshots ? GROUP_SNAPSHOTS : 0) |
                         (common.force ? GROUP_FORCE : 0) |
                         (delete_now ? 0 : GROUP_DISCARD) |
                         (common.dry_run ? GROUP_TRY : 0);
  struct disk_info *infos = tool_alloc (disks->count * sizeof *infos);
  struct trashed_disk trashed;
  struct status status;

  for (size_t i = 0; i < disks->count; i++)
    if (store_find (store, disks->names[i], &infos[i], &status) == -1)
      return tool_fail (&status);
  if (manage_group (store, GROUP_DELETE, steps_of (disks), disks->count, flags,
                    &status) == -1)
    return tool_fail (&status);
  if (common.dry_run)
    return show_deletions (store, disks);
  for (size_t i = 0; i < disks->count; i++) {
    trashed = (struct trashed_disk){ .disk.id = infos[i].id };
    if (manage_list_trash (store, find_trashed, &trashed, &status) == -1 ||
        trashed.until == 0)
      trashed.disk.id = 0;
    tell_deletion (disks->names[i], &trashed);
  }
  free (infos);
  return no_reclaim ? TOOL_DONE : tool_reclaim (store);
}

/* Delete the disk of DISKS. */
static int
delete_one (struct store *store, const struct names *disks)
{
  const char *name = disks->names[0];
  struct trashed_disk trashed = { 0 };
  struct status status;
  int r;

  if (common.dry_run)
    return show_deletions (store, disks);
  r = delete_now
          ? manage_delete (store, name, delete_snapshots, common.force, &status)
          : manage_discard (store, name, delete_snapshots, common.force,
                            &trashed, &status);
  if (r == -1)
    return tool_fail (&status);
  tell_deletion (name, &trashed);
  return no_reclaim || trashed.disk.id ? TOOL_DONE : tool_reclaim (store);
}

static int
run_delete (int argc, char *argv[])
{
  struct store *store = tool_open (argv[0], true);
  struct names disks = { 0 };
  const int code = pattern_disks (store, argc - 1, argv + 1, &disks);

  if (code != TOOL_DONE)
    return code;
  return disks.count == 1 ? delete_one (store, &disks)
                          : delete_several (store, &disks);
}

const struct command command_delete = {
  .name = "delete",
  .arguments = "DATABASE DISK...",
  .summary = "Delete disks",
  .help =
      "DISK may be a pattern, with * ? and [a-z]: all disks that fit it, if\n"
      "one does; a disk that is called just so is that disk.  All are deleted\n"
      "or none.\n"
      "\n"
      "A disk that has snapshots is deleted only with --snapshots (exit code\n"
      "4), one that a server has open for writing only with --force (exit\n"
      "code 5).  Clones of it live on.  The space that becomes free is used\n"
      "for what is written next; \"sqlblock compact\" gives it back to the\n"
      "file system.\n"
      "\n"
      "Where \"sqlblock set\" has said trash=TIME for the disk or the\n"
      "database, it goes to the trash for so long, with its snapshots, unless\n"
      "--now is given; \"sqlblock undelete\" has it back.\n"
      "\n"
      "Example: sqlblock delete disks.sqlite web --snapshots --dry-run\n",
  .options = delete_options,
  .common = COMMON_DRY_RUN | COMMON_FORCE | COMMON_PROGRESS,
  .least = 2,
  .most = -1,
  .snapshots = "snapshot delete",
  .run = run_delete,
};

/*--------------------------------------------------------------------
 * rollback
 */

static const struct tool_option rollback_options[] = {
  NO_RECLAIM_OPTION,
  { NULL, 0, NULL, NULL, NULL },
};

/* Adds up what differs. */
static int
add_difference (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  (void)offset;
  (void)hole;
  *(uint64_t *)opaque += count;
  return 0;
}

/* Say what rolling back to each of the COUNT in TO would lose. */
static int
show_rollbacks (struct store *store, const struct resolved *to, size_t count)
{
  char text[TOOL_SIZE_MAX];
  struct status status;

  for (size_t i = 0; i < count; i++) {
    const char *disk = tool_target (to[i].name).disk;
    uint64_t changed = 0;

    if (manage_diff (store, to[i].name, disk, add_difference, &changed,
                     &status) == -1)
      return tool_fail (&status);
    tool_print ("would roll back disk '%s' to %s, which loses changes in %s",
                disk, to[i].text, tool_amount (changed, text));
  }
  return TOOL_DONE;
}

/* Find what the arguments TEXTS mean: *TO, and its names TARGETS. */
static int
find_rollbacks (struct store *store, int count, char *texts[],
                struct names *targets, struct resolved **to)
{
  struct status status;
  const int code = pattern_snapshots (store, count, texts, true, targets);

  if (code != TOOL_DONE)
    return code;
  *to = tool_alloc (targets->count * sizeof **to);
  for (size_t i = 0; i < targets->count; i++) {
    if (tool_resolve (store, targets->names[i], &(*to)[i], &status) == -1)
      return tool_fail (&status);
    targets->names[i] = (*to)[i].name;
  }
  return TOOL_DONE;
}

static int
run_rollback (int argc, char *argv[])
{
  const unsigned flags =
      (common.force ? GROUP_FORCE : 0) | (common.dry_run ? GROUP_TRY : 0);
  struct names targets = { 0 };
  struct resolved *to = NULL;
  struct status status;
  struct store *store;
  int code;

  for (int i = 1; i < argc; i++)
    if (strchr (argv[i], '@') == NULL)
      return tool_usage ("roll back to what?  Give %s@SNAPSHOT", argv[i]);
  store = tool_open (argv[0], true);
  code = find_rollbacks (store, argc - 1, argv + 1, &targets, &to);
  if (code != TOOL_DONE)
    return code;
  if (manage_group (store, GROUP_ROLLBACK, steps_of (&targets), targets.count,
                    flags, &status) == -1)
    return tool_fail (&status);
  if (common.dry_run)
    return show_rollbacks (store, to, targets.count);
  for (size_t i = 0; i < targets.count; i++)
    tool_say ("rolled back disk '%s' to %s", tool_target (to[i].name).disk,
              to[i].text);
  return no_reclaim ? TOOL_DONE : tool_reclaim (store);
}

const struct command command_rollback = {
  .name = "rollback",
  .arguments = "DATABASE DISK@SNAPSHOT...",
  .summary = "Make disks what they were at a snapshot",
  .help =
      "What was written since is lost, unless another snapshot has it; take\n"
      "one first if you are not sure.  The disk's size goes back too.  All\n"
      "snapshots stay, newer ones as well.  SNAPSHOT may be a time, such as\n"
      "2026-11-22T10:42: the newest snapshot that is not newer than that.\n"
      "\n"
      "Several disks go back at the same instant, all or none.  DISK may be a\n"
      "pattern, 'vm-*': each disk that fits it must have such a snapshot.\n"
      "\n"
      "It is refused while a server has the disk open for writing (exit code\n"
      "5): disconnect its clients, or use --force.\n"
      "\n"
      "Examples: sqlblock rollback disks.sqlite web@before-update\n"
      "          sqlblock rollback disks.sqlite {web,db}@before-update\n",
  .options = rollback_options,
  .common = COMMON_DRY_RUN | COMMON_FORCE | COMMON_PROGRESS,
  .least = 2,
  .most = -1,
  .run = run_rollback,
};

/*--------------------------------------------------------------------
 * clone
 */

static const char *clone_description;

static const struct tool_option clone_options[] = {
  { "description", 'd', "TEXT", &clone_description,
    "a line for people; clients see it too" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Check ARGV: what is to be cloned, and as what, by turns.  Returns an exit
 * code.
 */
static int
check_clones (int count, char *argv[])
{
  if (count % 2 != 0)
    return tool_usage ("'%s' has no name behind it that the clone is to have",
                       argv[count - 1]);
  if (count > 2 && clone_description)
    return tool_usage ("a description is for one clone; give it to several by "
                       "\"sqlblock describe\"");
  for (int i = 1; i < count; i += 2) {
    if (arguments_check_target (argv[i - 1], false) != TOOL_DONE ||
        arguments_check_disk (argv[i]) != TOOL_DONE)
      return TOOL_USAGE;
    for (int j = 1; j < i; j += 2)
      if (strcmp (argv[i], argv[j]) == 0)
        return tool_usage ("two clones are to be called '%s'", argv[i]);
  }
  return TOOL_DONE;
}

/* Make the clones of STEPS. */
static int
make_clones (struct store *store, const struct manage_step *steps, size_t count,
             struct status *status)
{
  return clone_description && !common.dry_run
             ? manage_clone (store, steps[0].target, steps[0].name,
                             clone_description, status)
             : manage_group (store, GROUP_CLONE, steps, count,
                             common.dry_run ? GROUP_TRY : 0, status);
}

static int
run_clone (int argc, char *argv[])
{
  const struct disk_options options = { .description = clone_description };
  const size_t count = (argc - 1) / 2;
  struct manage_step *steps = tool_alloc (count * sizeof *steps);
  struct resolved *sources = tool_alloc (count * sizeof *sources);
  struct status status;
  struct store *store;
  const int code = check_clones (argc - 1, argv + 1);

  if (code != TOOL_DONE)
    return code;
  if (sane_check_options (&options, &status) == -1)
    return tool_fail (&status);
  store = tool_open (argv[0], true);
  for (size_t i = 0; i < count; i++) {
    if (tool_resolve (store, argv[1 + 2 * i], &sources[i], &status) == -1)
      return tool_fail (&status);
    steps[i] = (struct manage_step){ sources[i].name, argv[2 + 2 * i] };
  }
  if (make_clones (store, steps, count, &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < count; i++)
    if (common.dry_run)
      tool_print ("would make disk '%s' as a clone of %s", steps[i].name,
                  sources[i].text);
    else
      tool_say ("made disk '%s' as a clone of %s", steps[i].name,
                sources[i].text);
  return TOOL_DONE;
}

const struct command command_clone = {
  .name = "clone",
  .arguments = "DATABASE DISK[@SNAPSHOT] NAME...",
  .summary = "Make a disk that begins as a snapshot or another disk",
  .help =
      "The clone is writable and independent from then on.  Nothing is\n"
      "copied: it takes as long for a large disk as for a small one, and the\n"
      "blocks that both have are stored once.  Without a snapshot it begins\n"
      "as the disk is now.  Disk and snapshot may be deleted later.\n"
      "SNAPSHOT may be a time, such as 2026-11-22T10:42.\n"
      "\n"
      "More pairs of these may follow: then all clones are made at the same\n"
      "instant, or none is.\n"
      "\n"
      "Examples: sqlblock clone disks.sqlite web@monday web-test\n"
      "          sqlblock clone disks.sqlite web web-test db db-test\n",
  .options = clone_options,
  .common = COMMON_DRY_RUN,
  .least = 3,
  .most = -1,
  .run = run_clone,
};

/*--------------------------------------------------------------------
 * flatten
 */

/* What was copied, while it is. */
static int
count_copied (uint64_t done, uint64_t total, void *opaque)
{
  *(uint64_t *)opaque = done;
  return tool_progress (done, total, NULL);
}

static int
run_flatten (int argc, char *argv[])
{
  struct manage_details details;
  char text[TOOL_SIZE_MAX];
  struct status status;
  struct store *store;
  uint64_t copied = 0, before;
  int r;

  (void)argc;
  store = tool_open (argv[0], true);
  if (manage_details (store, argv[1], &details, &status) == -1)
    return tool_fail (&status);
  before = copy_free_pages (store);
  tool_progress_begin ("flattening");
  r = manage_flatten (store, argv[1], count_copied, &copied, &status);
  tool_progress_end (r);
  if (r == -1 && status.error == ENOSPC)
    copy_give_back (store, before);
  if (r == -1)
    return tool_fail (&status);
  if (details.origin[0])
    tool_say ("copied %s; disk '%s' depends on no other disk now",
              tool_amount (copied, text), argv[1]);
  else
    tool_say ("disk '%s' depends on no other disk; there was nothing to do",
              argv[1]);
  return TOOL_DONE;
}

const struct command command_flatten = {
  .name = "flatten",
  .arguments = "DATABASE DISK",
  .summary = "Cut the tie between a clone and its origin",
  .help =
      "Copies the blocks that the disk shares with what it was cloned from or\n"
      "rolled back to.  It then takes more space, but reads need not look in\n"
      "several places, and deleting the origin frees all its space.  It may\n"
      "be interrupted; the next time it goes on where it was.  If the file\n"
      "system becomes full, what it has copied is given back.\n"
      "\n"
      "Example: sqlblock flatten disks.sqlite web-test\n",
  .common = COMMON_PROGRESS,
  .least = 2,
  .most = 2,
  .run = run_flatten,
};

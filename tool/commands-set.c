/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands about how a disk is stored, and what is said of it: set, recompress.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy.h"
#include "base/count.h"
#include "base/sane.h"
#include "base/values.h"
#include "manage.h"
#include "tool.h"

/*--------------------------------------------------------------------
 * set
 */

static bool
begins (const char *text, const char *with)
{
  return strncmp (text, with, strlen (with)) == 0;
}

static const char *set_unset;

static const struct tool_option set_options[] = {
  { "unset", 0, "KEY", &set_unset,
    "remove the property KEY, which is user:..." },
  { NULL, 0, NULL, NULL, NULL },
};

/* Read user:KEY=TEXT into SETTINGS, which has room for it. */
static int
parse_setting (const char *text, struct property_setting *settings,
               size_t *count)
{
  const char *value = strchr (text, '=');
  char *key = tool_format ("%.*s", (int)(value - text), text);
  struct status status;

  if (value[1] && sane_check_key (key, &status) == -1)
    return tool_usage ("%s", status.message);
  for (size_t i = 0; i < *count; i++)
    if (strcmp (settings[i].key, key) == 0)
      return tool_usage ("'%s' was given twice", key);
  settings[(*count)++] = (struct property_setting){ key, value + 1 };
  return TOOL_DONE;
}

/* Read "on" or "off".  Returns an exit code. */
static int
read_choice (const char *text, enum disk_choice *choice)
{
  struct status status;
  bool on;

  if (values_choice (text, &on, &status) == -1)
    return tool_wrong_value (&status);
  *choice = on ? DISK_ON : DISK_OFF;
  return TOOL_DONE;
}

/* The same for a quota. */
static int
read_quota (const char *text, uint64_t *bytes)
{
  struct status status;

  if (values_quota (text, bytes, &status) == -1)
    return tool_wrong_value (&status);
  return TOOL_DONE;
}

/* Read another PROPERTY=VALUE.  Returns an exit code. */
static int
parse_property (const char *text, struct disk_options *options)
{
  const char *value = strchr (text, '=');
  bool twice;

  value = value ? value + 1 : "";
  if (begins (text, "compression="))
    twice = options->storing.compression.codec;
  else if (begins (text, "dedup="))
    twice = options->storing.deduplicate;
  else if (begins (text, "quota="))
    twice = options->quota;
  else if (begins (text, "description="))
    twice = options->description;
  else
    return tool_usage ("'%s' is no property that can be set; give "
                       "compression=HOW, dedup=on, dedup=off, quota=SIZE, "
                       "description=TEXT or user:KEY=TEXT",
                       text);
  if (twice)
    return tool_usage ("'%.*s' was given twice", (int)(value - text - 1), text);
  if (begins (text, "compression="))
    return tool_parse_compression (value, &options->storing.compression);
  if (begins (text, "dedup="))
    return read_choice (value, &options->storing.deduplicate);
  if (begins (text, "quota="))
    return read_quota (value, &options->quota);
  options->description = value;
  return TOOL_DONE;
}

/* Read all of them. */
static int
parse_properties (int count, char *argv[], struct disk_options *options)
{
  struct property_setting *settings =
      tool_alloc ((count + 1) * sizeof *settings);
  int code = TOOL_DONE;

  options->settings = settings;
  if (set_unset && !begins (set_unset, PROPERTY_USER))
    return tool_usage ("'%s' cannot be removed; give --unset=user:KEY",
                       set_unset);
  if (set_unset)
    settings[options->settings_count++] =
        (struct property_setting){ set_unset, "" };
  else if (count == 0)
    return tool_usage ("give a PROPERTY=VALUE, or --unset=user:KEY");
  for (int i = 0; i < count && code == TOOL_DONE; i++)
    code = begins (argv[i], PROPERTY_USER) && strchr (argv[i], '=')
               ? parse_setting (argv[i], settings, &options->settings_count)
               : parse_property (argv[i], options);
  return code;
}

/* The quota holds; count what the disk has. */
static int
count (struct store *store)
{
  struct status status;
  int r;

  tool_progress_begin ("counting");
  r = manage_count (store, tool_progress, NULL, &status);
  tool_progress_end (r);
  return r == -1 ? tool_leave_rest ("the quota holds, but what is there is not "
                                    "counted",
                                    &status)
                 : TOOL_DONE;
}

/* Say what has become of the properties ARGV of the disk or snapshot NAME. */
static void
say_set (const char *name, int count, char *argv[])
{
  const char *what = strchr (name, '@') ? "snapshot" : "disk";

  for (int i = 0; i < count; i++) {
    const int key = strcspn (argv[i], "=");

    if (argv[i][key + 1])
      tool_say ("set %s of %s '%s'", argv[i], what, name);
    else
      tool_say ("%s '%s' has no %.*s now", what, name, key, argv[i]);
  }
}

static int
run_set (int argc, char *argv[])
{
  struct disk_options options = { 0 };
  struct status status;
  struct store *store;
  int code = parse_properties (argc - 2, argv + 2, &options);

  if (code != TOOL_DONE)
    return code;
  if (strchr (argv[1], '@') && (options.storing.compression.codec ||
                                options.storing.deduplicate || options.quota))
    return tool_usage ("'%s' is a snapshot, which can have only a description "
                       "and user:KEY=TEXT",
                       argv[1]);
  store = tool_open (argv[0], true);
  code = tool_check_no_time (store, argv[1]);
  if (code != TOOL_DONE)
    return code;
  if (manage_set (store, argv[1], &options, &status) == -1)
    return tool_fail (&status);
  say_set (argv[1], argc - 2, argv + 2);
  if (set_unset)
    tool_say ("%s '%s' has no %s now",
              strchr (argv[1], '@') ? "snapshot" : "disk", argv[1], set_unset);
  return options.quota ? count (store) : TOOL_DONE;
}

const struct command command_set = {
  .name = "set",
  .arguments = "DATABASE DISK[@SNAPSHOT] [PROPERTY=VALUE...]",
  .summary = "Change how a disk is stored, or what is said of it",
  .help =
      "The properties are:\n"
      "\n"
      "  compression=HOW    how new blocks are compressed:\n"
      "                     " COMPRESSION_HELP ".\n"
      "                     Blocks that are there stay as they are, see\n"
      "                     recompress.\n"
      "  dedup=on|off       whether new blocks that are equal to others of\n"
      "                     the database are stored only once.\n"
      "  quota=SIZE|none    the most that the data of the disk and its\n"
      "                     snapshots may take.  Writes that would exceed\n"
      "                     it fail for lack of space; reading, trimming and\n"
      "                     deleting go on.  What is there is counted first.\n"
      "  description=TEXT   a line for people, as by describe\n"
      "  user:KEY=TEXT      whatever you want to note, by any name.  KEY is\n"
      "                     UTF-8 without '='; user:KEY has at most 200\n"
      "                     bytes.  Clones and copies get it, too.\n"
      "\n"
      "A TEXT is UTF-8 of at most 4000 bytes without control characters; an\n"
      "empty one removes the property.  A snapshot can have these two.\n"
      "\n"
      "A server that has the disk open goes by it from its next request\n"
      "on.\n"
      "\n"
      "Example: sqlblock set disks.sqlite web compression=zstd:3\n"
      "         sqlblock set disks.sqlite web quota=50G\n"
      "         sqlblock set disks.sqlite web@monday user:ticket=4711\n",
  .options = set_options,
  .common = COMMON_PROGRESS,
  .least = 2,
  .most = -1,
  .run = run_set,
};

/*--------------------------------------------------------------------
 * recompress
 */

static int
run_recompress (int argc, char *argv[])
{
  char before[TOOL_SIZE_MAX], after[TOOL_SIZE_MAX];
  struct recompressed done;
  struct store *store;
  struct status status;
  uint64_t pages;
  int r;

  (void)argc;
  store = tool_open (argv[0], true);
  pages = copy_free_pages (store);
  tool_progress_begin (tool_format ("recompressing %s", argv[1]));
  r = recompress_disk (store, argv[1], tool_progress, NULL, &done, &status);
  tool_progress_end (r);
  if (r == 0 && done.blocks + done.damaged == 0)
    tool_say ("disk '%s' is stored so already; there was nothing to do",
              argv[1]);
  else
    tool_say ("%s stored anew: %s became %s", tool_count (done.blocks, "block"),
              tool_amount (done.before, before),
              tool_amount (done.after, after));
  if (r == -1) {
    r = tool_fail (&status);
    if (status.error == ENOSPC)
      copy_give_back (store, pages);
    return r;
  }
  if (done.damaged > 0)
    return tool_error (EIO,
                       "left as it was, since it is damaged: %s; \"sqlblock "
                       "check %s\" says which",
                       COUNT (done.damaged, "block"), argv[0]);
  return TOOL_DONE;
}

const struct command command_recompress = {
  .name = "recompress",
  .arguments = "DATABASE DISK",
  .summary = "Store a disk's blocks anew, as new ones are",
  .help =
      "Stores what the disk and its snapshots have as \"sqlblock set\" says:\n"
      "compressed, and with dedup=on each block only once.  What is read does\n"
      "not change, so clients may go on.  It may be interrupted; the next "
      "time\n"
      "it begins from the start.  The space that becomes free is used for new\n"
      "blocks; \"sqlblock compact\" makes the file smaller.\n"
      "\n"
      "Example: sqlblock recompress disks.sqlite web\n",
  .common = COMMON_PROGRESS,
  .least = 2,
  .most = 2,
  .run = run_recompress,
};

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands about how a disk is stored: set, recompress. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy.h"
#include "base/count.h"
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

/* Read PROPERTY=VALUE.  Returns an exit code. */
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
  else
    return tool_usage ("'%s' is no property that can be set; give "
                       "compression=HOW, dedup=on, dedup=off or quota=SIZE",
                       text);
  if (twice)
    return tool_usage ("'%.*s' was given twice", (int)(value - text - 1), text);
  return text[0] == 'c'
             ? tool_parse_compression (value, &options->storing.compression)
         : text[0] == 'd'
             ? tool_parse_choice (value, &options->storing.deduplicate)
             : tool_parse_quota (value, &options->quota);
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

static int
run_set (int argc, char *argv[])
{
  struct disk_options options = { 0 };
  struct status status;
  struct store *store;
  int code;

  for (int i = 2; i < argc; i++) {
    code = parse_property (argv[i], &options);
    if (code != TOOL_DONE)
      return code;
  }
  store = tool_open (argv[0], true);
  if (manage_set (store, argv[1], &options, &status) == -1)
    return tool_fail (&status);
  for (int i = 2; i < argc; i++)
    tool_say ("set %s of disk '%s'", argv[i], argv[1]);
  return options.quota ? count (store) : TOOL_DONE;
}

const struct command command_set = {
  .name = "set",
  .arguments = "DATABASE DISK PROPERTY=VALUE...",
  .summary = "Change how a disk is stored",
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
      "\n"
      "A server that has the disk open goes by it from its next request\n"
      "on.\n"
      "\n"
      "Example: sqlblock set disks.sqlite web compression=zstd:3\n"
      "         sqlblock set disks.sqlite web quota=50G\n",
  .common = COMMON_PROGRESS,
  .least = 3,
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

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Commands about how a disk is stored, and what is said of it: set, inherit,
 * recompress.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "base/count.h"
#include "base/sane.h"
#include "base/schedule.h"
#include "manage.h"
#include "secrets.h"
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

/* What is to be set, and of what. */
struct wanted {
  const char *target; /* as manage.h calls it */
  struct disk_options options;
  struct property_setting *settings; /* those of the options */
};

static bool
is_database (const struct wanted *wanted)
{
  return strcmp (wanted->target, TARGET_DATABASE) == 0;
}

/* What it is set of, for people: a new string. */
static char *
subject (const struct wanted *wanted)
{
  if (is_database (wanted))
    return tool_strdup ("the database");
  return tool_format ("%s '%s'",
                      strchr (wanted->target, '@') ? "snapshot" : "disk",
                      wanted->target);
}

/* Have KEY become VALUE; "" takes it away. */
static int
want (struct wanted *wanted, const char *key, const char *value)
{
  struct disk_options *options = &wanted->options;

  if (strcmp (key, PROPERTY_DESCRIPTION) == 0) {
    if (options->description)
      return tool_usage ("'%s' was given twice", key);
    options->description = value;
    return TOOL_DONE;
  }
  for (size_t i = 0; i < options->settings_count; i++)
    if (strcmp (wanted->settings[i].key, key) == 0)
      return tool_usage ("'%s' was given twice", key);
  wanted->settings[options->settings_count++] =
      (struct property_setting){ key, value };
  return TOOL_DONE;
}

/* The names of all settings with BEHIND behind each: a new string. */
static char *
setting_names (const char *behind)
{
  const struct setting *setting;
  char *names = tool_strdup (""), *more;

  for (unsigned i = 0; (setting = setting_number (i)) != NULL; i++) {
    more = tool_format ("%s%s%s, ", names, setting->name, behind);
    free (names);
    names = more;
  }
  return names;
}

/* TEXT, whose first LENGTH bytes are the name, cannot be set. */
static int
refuse_name (const char *text, size_t length)
{
  const char *why = tool_why_read_only (text, length);

  if (why)
    return tool_usage ("'%.*s' can only be read: %s", (int)length, text, why);
  return tool_usage ("'%s' is no property that can be set; give %s"
                     "description=TEXT or user:KEY=TEXT",
                     text, setting_names ("=..."));
}

/* Check VALUE of the property KEY; TEXT is both.  Returns an exit code. */
static int
check_value (const char *text, const char *key, const char *value)
{
  const struct setting *setting = setting_find (key);
  struct status status;

  if (begins (key, PROPERTY_USER))
    return value[0] && sane_check_key (key, &status) == -1
               ? tool_usage ("%s", status.message)
               : TOOL_DONE;
  if (strcmp (key, PROPERTY_DESCRIPTION) == 0)
    return TOOL_DONE;
  if (setting == NULL)
    return refuse_name (text, strlen (key));
  return setting_check (setting, value, &status) == -1
             ? tool_wrong_value (&status)
             : TOOL_DONE;
}

/* Read TEXT, a PROPERTY=VALUE.  Returns an exit code. */
static int
parse_property (const char *text, struct wanted *wanted)
{
  const char *equals = strchr (text, '=');
  const char *key;
  int code;

  if (equals == NULL)
    return refuse_name (text, strlen (text));
  key = tool_format ("%.*s", (int)(equals - text), text);
  code = check_value (text, key, equals + 1);
  return code == TOOL_DONE ? want (wanted, key, equals + 1) : code;
}

/* Read all of them. */
static int
parse_properties (int count, char *argv[], struct wanted *wanted)
{
  int code = TOOL_DONE;

  wanted->settings = tool_alloc ((count + 1) * sizeof *wanted->settings);
  wanted->options.settings = wanted->settings;
  if (set_unset && !begins (set_unset, PROPERTY_USER))
    return tool_usage ("'%s' cannot be removed; give --unset=user:KEY",
                       set_unset);
  if (set_unset)
    code = want (wanted, set_unset, "");
  else if (count == 0)
    return tool_usage ("give a PROPERTY=VALUE, or --unset=user:KEY");
  for (int i = 0; i < count && code == TOOL_DONE; i++)
    code = parse_property (argv[i], wanted);
  return code;
}

/* A snapshot cannot have what a disk can, nor a disk all that the database can.
 */
static int
check_fits (const struct wanted *wanted)
{
  const struct setting *setting;

  for (size_t i = 0; i < wanted->options.settings_count; i++) {
    setting = setting_find (wanted->settings[i].key);
    if (strchr (wanted->target, '@') &&
        !begins (wanted->settings[i].key, PROPERTY_USER))
      return tool_usage ("'%s' is a snapshot, which can have only a "
                         "description and user:KEY=TEXT",
                         wanted->target);
    if (setting && setting->of_file && !is_database (wanted))
      return tool_usage ("%s is of the database only, for which / stands",
                         setting->name);
  }
  if (is_database (wanted) && wanted->options.description)
    return tool_usage ("the database has no description; give user:KEY=TEXT");
  return TOOL_DONE;
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

/* Does it set what is counted for, of a disk? */
static bool
sets_quota (const struct wanted *wanted)
{
  for (size_t i = 0; i < wanted->options.settings_count; i++)
    if (strcmp (wanted->settings[i].key, "quota") == 0)
      return !is_database (wanted);
  return false;
}

/* Make the change, and count what there is where there is a quota now. */
static int
make_change (struct store *store, const struct wanted *wanted, int *counted)
{
  struct status status;

  if (!is_database (wanted)) {
    const int code = tool_check_no_time (store, wanted->target);

    if (code != TOOL_DONE)
      return code;
  }
  if (manage_set (store, wanted->target, &wanted->options, &status) == -1)
    return tool_fail (&status);
  *counted = sets_quota (wanted) ? count (store) : TOOL_DONE;
  return TOOL_DONE;
}

/* Say what has become of the COUNT properties ARGV. */
static void
say_set (const struct wanted *wanted, int count, char *argv[])
{
  char *what = subject (wanted);

  for (int i = 0; i < count; i++) {
    const int key = strcspn (argv[i], "=");

    if (argv[i][key + 1])
      tool_say ("set %s of %s", argv[i], what);
    else
      tool_say ("%s has no %.*s now", what, key, argv[i]);
  }
  if (set_unset)
    tool_say ("%s has no %s now", what, set_unset);
  free (what);
}

/* Is the TEXT behind the database, which has a '=', the first of what is to be
 * set of that?  Not where a disk is called so, and something is behind it.
 */
static bool
is_first_property (struct store *store, const char *text, bool more)
{
  struct disk_info info;
  struct status status;

  return !more || store_find (store, text, &info, &status) == -1;
}

static int
run_set (int argc, char *argv[])
{
  struct wanted wanted = { .target = argv[1] };
  int first = 2, counted;
  struct store *store = NULL;
  int code;

  if (strchr (argv[1], '=')) {
    store = tool_open (argv[0], true);
    if (is_first_property (store, argv[1], argc > 2 || set_unset)) {
      wanted.target = TARGET_DATABASE;
      first = 1;
    }
  }
  code = parse_properties (argc - first, argv + first, &wanted);
  if (code == TOOL_DONE)
    code = check_fits (&wanted);
  if (code != TOOL_DONE)
    return code;
  if (store == NULL)
    store = tool_open (argv[0], true);
  code = make_change (store, &wanted, &counted);
  if (code != TOOL_DONE)
    return code;
  say_set (&wanted, argc - first, argv + first);
  return counted;
}

const struct command command_set = {
  .name = "set",
  .arguments = "DATABASE DISK[@SNAPSHOT]|/ [PROPERTY=VALUE...]",
  .summary = "Set properties of a disk, a snapshot or the database",
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
      "  auto-snapshot=TIME|off  how often a server takes a snapshot by\n"
      "                     itself if the disk has changed, such as 10m.\n"
      "  keep=RULES         which of those it keeps: EVERY:FOR,...; without,\n"
      "                     " SCHEDULE_RULES_DEFAULT ".\n"
      "  allow=WHO,...      who sees and opens the disk, its snapshots and\n"
      "                     increments over NBD: all, none, unix, uid:USER,\n"
      "                     gid:GROUP, 10.0.0.0/8, fe80::/10, vsock[:CID],\n"
      "                     tls:NAME, tls-issuer:NAME.\n"
      "  exclusive=on|off   whether one client at a time may write it.\n"
      "  limit-requests=NUMBER|none  how many requests a second all its\n"
      "                     clients have together.\n"
      "  limit-bytes=SIZE|none  how many bytes a second these read and write.\n"
      "  litestream=on|off  of the database: whether Litestream replicates "
      "it.\n"
      "  trash=TIME|off     how long a disk that is deleted can be had back,\n"
      "                     see undelete, such as 7d.\n"
      "  description=TEXT   a line for people, as by describe\n"
      "  user:KEY=TEXT      whatever you want to note, by any name.  KEY is\n"
      "                     UTF-8 without '='; user:KEY has at most 200\n"
      "                     bytes.  Clones and copies get it, too.\n"
      "\n"
      "A TEXT is UTF-8 of at most 4000 bytes without control characters; an\n"
      "empty one removes the description or user:KEY.  A snapshot can have\n"
      "these two.  To have another property no more, see inherit.\n"
      "\n"
      "\"/\" is the database itself, and may be left out, unless a disk has\n"
      "the name of a PROPERTY=VALUE.  A new disk takes compression, dedup and\n"
      "quota from it, unless it is said how it is to be; of all else its\n"
      "disks inherit what they do not have of their own (see inherit).\n"
      "\n"
      "A server that has the disk open goes by it from its next request on,\n"
      "by a schedule within 10 seconds, by limits within one; allow and\n"
      "exclusive are for clients that connect from then on.\n"
      "\n"
      "Example: sqlblock set disks.sqlite web compression=zstd:3\n"
      "         sqlblock set disks.sqlite web quota=50G auto-snapshot=10m\n"
      "         sqlblock set disks.sqlite web allow=uid:1000,gid:kvm\n"
      "         sqlblock set disks.sqlite web@monday user:ticket=4711\n"
      "         sqlblock set disks.sqlite / auto-snapshot=1h keep=all:7d\n",
  .options = set_options,
  .common = COMMON_PROGRESS,
  .least = 2,
  .most = -1,
  .run = run_set,
};

/*--------------------------------------------------------------------
 * inherit
 */

/* Have NAME be inherited. */
static int
want_inherited (struct wanted *wanted, const char *name)
{
  if (strcmp (name, PROPERTY_DESCRIPTION) == 0)
    return tool_usage ("a description is not inherited; to remove it, set "
                       "description=");
  if (!begins (name, PROPERTY_USER) && setting_find (name) == NULL)
    return tool_usage ("'%s' is nothing that can be inherited; give %sor "
                       "user:KEY",
                       name, setting_names (""));
  return want (wanted, name, "");
}

/* Say what has become of it. */
static void
say_inherited (const struct wanted *wanted)
{
  char *what = subject (wanted);

  for (size_t i = 0; i < wanted->options.settings_count; i++) {
    const struct setting *setting = setting_find (wanted->settings[i].key);

    if (setting && setting->copy && !is_database (wanted))
      tool_say ("%s has the %s of new disks now", what, setting->name);
    else
      tool_say ("%s has no %s of its own now", what, wanted->settings[i].key);
  }
  free (what);
}

static int
run_inherit (int argc, char *argv[])
{
  struct wanted wanted = {
    .target = argv[1],
    .settings = tool_alloc (argc * sizeof *wanted.settings),
  };
  int code = TOOL_DONE, counted;

  wanted.options.settings = wanted.settings;
  for (int i = 2; i < argc && code == TOOL_DONE; i++)
    code = want_inherited (&wanted, argv[i]);
  if (code == TOOL_DONE)
    code = check_fits (&wanted);
  if (code == TOOL_DONE)
    code = make_change (tool_open (argv[0], true), &wanted, &counted);
  if (code != TOOL_DONE)
    return code;
  say_inherited (&wanted);
  return counted;
}

const struct command command_inherit = {
  .name = "inherit",
  .arguments = "DATABASE DISK[@SNAPSHOT]|/ PROPERTY...",
  .summary = "Undo what was set, so that the database's setting holds",
  .help =
      "What the disk has of its own is removed: from then on it has what the\n"
      "database has, or where that says nothing what is usual; \"get\" shows\n"
      "it.  compression, dedup and quota, which a disk always has of its own,\n"
      "become what a new disk would get.  user:KEY is just removed.  \"/\" is\n"
      "the database itself.\n"
      "\n"
      "Example: sqlblock inherit disks.sqlite web auto-snapshot keep\n",
  .common = COMMON_PROGRESS,
  .least = 3,
  .most = -1,
  .run = run_inherit,
};

/*--------------------------------------------------------------------
 * recompress
 */

static int
run_recompress (int argc, char *argv[])
{
  char before[TOOL_SIZE_MAX], after[TOOL_SIZE_MAX];
  struct recompressed done = { 0 };
  struct store *store;
  struct status status;
  uint64_t pages;
  int r;

  (void)argc;
  store = tool_open (argv[0], true);
  pages = copy_free_pages (store);
  tool_progress_begin (tool_format ("recompressing %s", argv[1]));
  r = secrets_check (store, argv[1], &status);
  if (r == 0)
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
  .common = COMMON_PROGRESS | COMMON_KEY,
  .least = 2,
  .most = 2,
  .run = run_recompress,
};

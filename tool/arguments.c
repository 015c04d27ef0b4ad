/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the arguments of commands can be.
 *
 * The usage of a command tells the kind of each argument, by the same words
 * from which completion knows what to offer:
 *
 *   DATABASE FILE       a file, FILE|- also a pipe
 *   DISK                a disk's name
 *   DISK@SNAPSHOT ...   names of a disk and of a snapshot of it
 *   DISK[@SNAPSHOT]|/   the same, or the database itself, or what is to be set
 *                       of that
 *   TEXT TAG            anything
 *   NAME SIZE ...       the command looks at it
 *
 * So no command can forget that a name is never empty: for NBD that is the
 * oldest disk, but here it is a variable that was not set.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "nbd-export.h"
#include "tool.h"

/* A snapshot's name may also be a range of them, A..B. */
#define SNAPSHOT_TEXT_MAX (2 * SNAPSHOT_NAME_MAX + 2)

/* Say that NAME cannot be WHAT, "the name of a disk". */
static int
check_name (const char *what, const char *name, size_t most)
{
  struct status status;

  if (sane_check (what, name, most, &status) == 0)
    return TOOL_DONE;
  return tool_usage ("%s", status.message);
}

int
arguments_check_disk (const char *name)
{
  return check_name ("the name of a disk", name, DISK_NAME_MAX);
}

int
arguments_check_new_snapshot (const char *name)
{
  struct status status;

  if (sane_check_snapshot (name, &status) == 0)
    return TOOL_DONE;
  return tool_usage ("%s", status.message);
}

static int
check_snapshot (const char *name)
{
  return check_name ("the name of a snapshot", name,
                     strstr (name, "..") || strchr (name, '%')
                         ? SNAPSHOT_TEXT_MAX
                         : SNAPSHOT_NAME_MAX);
}

int
arguments_check_target (const char *text, bool any_disk)
{
  const struct target target = tool_target (text);
  int code = TOOL_DONE;

  if (target.disk[0] || target.snapshot == NULL || !any_disk)
    code = arguments_check_disk (target.disk);
  if (code == TOOL_DONE && target.snapshot)
    code = check_snapshot (target.snapshot);
  free (target.disk);
  return code;
}

static int
check_disk (const struct command *command, const char *text)
{
  if (strchr (text, '@') == NULL)
    return arguments_check_disk (text);
  if (command->snapshots)
    return tool_usage ("'%s' is a snapshot; use \"sqlblock %s\"", text,
                       command->snapshots);
  return tool_usage ("'%s' is a snapshot, and cannot be used here: a disk is "
                     "needed, whose name has no snapshot behind it",
                     text);
}

/* Where only a file can be, "-" would be one of that name. */
static int
check_file (const char *name)
{
  if (strcmp (name, "-") != 0)
    return TOOL_DONE;
  return tool_usage ("a database cannot be read from or written to a pipe: "
                     "give a file, or use \"sqlblock send\"; a file of that "
                     "name is ./-");
}

/* Check TEXT, which is what the LENGTH bytes at WORD, of the usage, mean. */
static int
check_argument (const struct command *command, const char *word, size_t length,
                const char *text)
{
  char *name = tool_format ("%.*s", (int)length, word);
  char *several = strstr (name, "...");
  int code = TOOL_DONE;

  if (several)
    *several = '\0';

  /* A hold of another program may have any tag. */
  if (strcmp (name, "TEXT") == 0 || strcmp (name, "TAG") == 0)
    code = TOOL_DONE;
  else if (text[0] == '\0')
    code = tool_usage ("the argument %s is empty", name);
  else if (strcmp (name, "DATABASE") == 0 || strcmp (name, "FILE") == 0 ||
           strcmp (name, "DATABASE|URI") == 0)
    code = check_file (text);
  else if (strcmp (name, "DISK") == 0 || strcmp (name, "[DISK]") == 0)
    code = check_disk (command, text);
  else if (strstr (name, "|/") &&
           (strcmp (text, TARGET_DATABASE) == 0 || strchr (text, '=')))
    code = TOOL_DONE;
  else if (strstr (name, "@SNAPSHOT"))
    code = arguments_check_target (text, command->any_disk ||
                                             strncmp (name, "[DISK]", 6) == 0);
  free (name);
  return code;
}

/* Is the word of LENGTH bytes, behind which there are others, also that of the
 * next of LEFT arguments?
 */
static bool
stays (const char *word, size_t length, int left)
{
  int behind = 0;

  for (const char *space = strchr (word, ' '); space;
       space = strchr (space + 1, ' '))
    behind++;
  return left > behind && length > 3 &&
         memcmp (word + length - 3, "...", 3) == 0;
}

int
arguments_check (const struct command *command, int count, char *argv[])
{
  const char *word = command->arguments;

  for (int i = 0; i < count; i++) {
    const size_t length = strcspn (word, " ");
    const int code = check_argument (command, word, length, argv[i]);

    if (code != TOOL_DONE)
      return code;
    /* The last one stands for all that follow it; one with "..." for all but
     * those for which words follow.
     */
    if (word[length] && !stays (word, length, count - i - 1))
      word += length + 1;
    /* A URI has the disk in it. */
    if (i == 0 && strncmp (command->arguments, "DATABASE|URI ", 13) == 0 &&
        nbd_export_is_uri (argv[0]))
      word += strcspn (word, " ") + 1;
  }
  return TOOL_DONE;
}

int
arguments_check_value (const struct tool_option *option, const char *value)
{
  const char *at = strchr (value, '@');

  if (strcmp (option->argument, "TEXT") == 0)
    return TOOL_DONE;
  if (value[0] == '\0')
    return tool_usage ("the %s of option '--%s' is empty", option->argument,
                       option->name);
  if (strcmp (option->argument, "FILE") == 0)
    return check_file (value);
  /* It may be called by its own name, or in full. */
  if (strcmp (option->argument, "SNAPSHOT") == 0)
    return at ? arguments_check_target (value, true) : check_snapshot (value);
  return TOOL_DONE;
}

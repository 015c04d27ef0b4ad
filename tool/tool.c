/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the commands of sqlblock do before and after their work: open the
 * store, understand names and sizes, free what was deleted.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/times.h"
#include "secrets.h"
#include "tool.h"

/*--------------------------------------------------------------------
 * The store.
 */

static const char *database_path;
static struct store *open_store;

static void
warn (const char *message)
{
  tool_error (0, "warning: %s: %s", database_path, message);
}

void
tool_check_redirection (const char *database)
{
  if (store_has_descriptor (database, STDERR_FILENO))
    exit (TOOL_FAILED);
  if (store_has_descriptor (database, STDOUT_FILENO))
    exit (tool_error (EINVAL,
                      "standard output is the database %s, or belongs to it; "
                      "redirect it to another file",
                      database));
}

int
tool_check_output (const char *database, const char *path,
                   struct status *status)
{
  if (!store_has_file (database, path))
    return 0;
  return status_fail (status, access (path, F_OK) == 0 ? EEXIST : EINVAL,
                      "%s is the database %s, or belongs to it; give another "
                      "file",
                      path, database);
}

int
tool_examine (const char *path, struct status *status)
{
  return common.control ? 1 : store_examine (path, status);
}

int
tool_make (const char *path, uint32_t block_size, struct status *status)
{
  return common.control ? 0 : store_make (path, block_size, status);
}

struct store *
tool_try_open (const char *path, bool write, bool tolerant, bool without_log,
               struct status *status)
{
  const struct store_options options = {
    .command = true,
    .tolerant = tolerant,
    .without_log = without_log,
    .control = common.control,
    .secrets = secrets_given (false),
    .limits = checkpoint_limits_default,
    .warn = warn,
  };
  const int found = tool_examine (path, status);

  if (found == -1)
    return NULL;
  if (found == 0)
    exit (tool_error (
        ENOENT, "there is no file %s; \"sqlblock create\" makes one", path));
  if (write && common.control == NULL && !store_is_on_cluster (path) &&
      access (path, W_OK) == -1)
    exit (tool_error (EACCES, "%s cannot be changed: %s", path,
                      strerror (errno)));
  database_path = path;
  open_store = store_open (path, &options, status);
  return open_store;
}

struct store *
tool_open (const char *path, bool write)
{
  struct status status;
  struct store *store = tool_try_open (path, write, false, false, &status);

  if (store == NULL)
    exit (tool_fail (&status));
  return store;
}

void
tool_close (void)
{
  if (open_store)
    store_close (open_store);
  open_store = NULL;
}

void
tool_end (int code)
{
  tool_close ();
  if (code != TOOL_DONE && tool_interrupted ())
    raise (tool_interrupted ());
}

int
tool_leave_rest (const char *what, const struct status *status)
{
  tool_error (0, "warning: %s yet (%s): \"sqlblock compact %s\" finishes that",
              what, status->message, database_path);
  return tool_interrupted () ? TOOL_FAILED : TOOL_DONE;
}

int
tool_reclaim (struct store *store)
{
  char text[TOOL_SIZE_MAX];
  struct status status;
  uint64_t freed = 0;
  int r;

  tool_progress_begin ("freeing space");
  r = manage_reclaim (store, tool_progress, NULL, &freed, &status);
  tool_progress_end (r);
  if (r == -1)
    return tool_leave_rest ("it is done, but not all of its space is free",
                            &status);
  if (freed > 0)
    tool_say ("freed %s", tool_amount (freed, text));
  return TOOL_DONE;
}

/*--------------------------------------------------------------------
 * Names and sizes.
 */

struct target
tool_target (const char *text)
{
  struct target target = { .disk = tool_strdup (text) };
  char *at = strchr (target.disk, '@');

  if (at) {
    *at = '\0';
    target.snapshot = at + 1;
  }
  return target;
}

/* Fill RESOLVED from a snapshot that was asked for as TARGET. */
static void
resolve_snapshot (const struct target *target, const struct snapshot_info *info,
                  struct resolved *resolved)
{
  const char *asked = target->snapshot;
  int64_t seconds;

  resolved->name = tool_format ("%s@%s", target->disk, info->name);
  resolved->size = info->size;
  resolved->block_size = info->block_size;
  if (strcmp (asked, info->name) == 0)
    resolved->text = tool_format ("'%s'", resolved->name);
  else {
    resolved->time = asked;
    resolved->text =
        tool_format ("'%s' (the newest by %s)", resolved->name, asked);
    if (times_parse (asked, &seconds) && seconds > time (NULL))
      tool_error (0, "warning: %s is in the future: '%s' is the newest now",
                  asked, resolved->name);
  }
}

int
tool_resolve (struct store *store, const char *text, struct resolved *resolved,
              struct status *status)
{
  const struct target target = tool_target (text);
  struct snapshot_info snapshot;
  struct disk_info disk;

  *resolved = (struct resolved){ .name = text };
  if (target.snapshot) {
    if (manage_find_snapshot (store, text, &snapshot, status) == -1)
      return -1;
    resolve_snapshot (&target, &snapshot, resolved);
    return 0;
  }
  if (store_find (store, text, &disk, status) == -1)
    return -1;
  resolved->text = tool_format ("'%s'", text);
  resolved->size = disk.size;
  resolved->block_size = disk.block_size;
  return 0;
}

int
tool_check_no_time (struct store *store, const char *text)
{
  struct resolved resolved;
  struct status status;

  if (tool_resolve (store, text, &resolved, &status) == -1)
    return tool_fail (&status);
  if (resolved.time == NULL)
    return TOOL_DONE;
  return tool_usage ("'%s' is a time; give the name of the snapshot, '%s'",
                     text, resolved.name);
}

int
tool_wrong_value (const struct status *status)
{
  return status->error == EINVAL ? tool_usage ("%s", status->message)
                                 : tool_fail (status);
}

int
tool_parse_compression (const char *text, struct compression *compression)
{
  struct status status;

  if (text == NULL || store_parse_compression (text, compression, &status) == 0)
    return TOOL_DONE;
  return tool_wrong_value (&status);
}

/*--------------------------------------------------------------------
 * Memory.
 */

void *
tool_realloc (void *block, size_t size)
{
  void *larger = realloc (block, size);

  if (larger == NULL) {
    fputs ("sqlblock: out of memory\n", stderr);
    exit (TOOL_FAILED);
  }
  return larger;
}

void *
tool_alloc (size_t size)
{
  return memset (tool_realloc (NULL, size ? size : 1), 0, size);
}

char *
tool_strdup (const char *text)
{
  return strcpy (tool_alloc (strlen (text) + 1), text);
}

char *
tool_encode (const char *text)
{
  char *encoded = tool_alloc (3 * strlen (text) + 1), *to = encoded;

  for (; *text; text++)
    if (isascii (*text) && (isalnum (*text) || strchr ("-._~", *text)))
      *to++ = *text;
    else
      to += sprintf (to, "%%%02X", (unsigned char)*text);
  return encoded;
}

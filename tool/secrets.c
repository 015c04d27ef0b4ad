/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading keys and passphrases: see secrets.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secrets.h"
#include "tool.h"

static void
add_read (struct secret **list, enum secret_kind kind, const char *name, int fd)
{
  struct status status;

  if (secret_read (list, kind, name, fd, &status) == -1)
    exit (tool_fail (&status));
}

/* Ask at the terminal, and for a new one again.  getpass has one buffer. */
static void
add_asked (struct secret **list, bool new)
{
  char *first = getpass ("Passphrase of the disk: ");
  struct status status;
  bool equal = true;
  char *kept, *again;
  int r;

  if (first == NULL)
    exit (tool_error (errno, "there is no terminal to ask for a passphrase: "
                             "give it as --passphrase=+FILE"));
  kept = tool_strdup (first);
  secret_wipe (first, strlen (first));
  if (new) {
    again = getpass ("The same again: ");
    equal = again && strcmp (again, kept) == 0;
    if (again)
      secret_wipe (again, strlen (again));
  }
  r = equal ? secret_add (list, SECRET_PASSPHRASE, kept, strlen (kept), &status)
            : 0;
  secret_wipe (kept, strlen (kept));
  free (kept);
  if (!equal)
    exit (tool_error (EINVAL, "the two passphrases differ; nothing was done"));
  if (r == -1)
    exit (tool_fail (&status));
}

static void
add_passphrase (struct secret **list, const char *text, bool new)
{
  char *end;
  const long fd = strtol (text[0] ? text + 1 : text, &end, 10);

  if (strcmp (text, "-") == 0)
    add_asked (list, new);
  else if (text[0] == '+')
    add_read (list, SECRET_PASSPHRASE, text + 1, -1);
  else if (text[0] == '-' && text[1] >= '0' && text[1] <= '9' && *end == '\0' &&
           fd <= 65535)
    add_read (list, SECRET_PASSPHRASE, NULL, fd);
  else
    exit (tool_usage ("a passphrase in an argument can be seen by all users: "
                      "give it as +FILE, as -FD, or as - to be asked for it"));
}

struct secret *
secrets_read (const char *key_file, const char *passphrase, bool new)
{
  struct secret *list = NULL;

  if (passphrase)
    add_passphrase (&list, passphrase, new);
  if (key_file)
    add_read (&list, SECRET_KEY_FILE, key_file, -1);
  return list;
}

const struct secret *
secrets_given (bool new)
{
  static struct secret *list;

  if (list == NULL)
    list = secrets_read (common.key_file, common.passphrase, new);
  return list;
}

int
secrets_parameter (char **parameter)
{
  const char *passphrase = common.passphrase;
  const char *file = common.key_file ? common.key_file : passphrase;
  char *path;

  *parameter = NULL;
  if (file == NULL)
    return TOOL_DONE;
  if (passphrase && (common.key_file || passphrase[0] != '+'))
    return tool_usage ("the server that is started here may have to be started "
                       "again: give one file, as --key-file=FILE or "
                       "--passphrase=+FILE");
  file += passphrase != NULL;
  path = realpath (file, NULL);
  if (path == NULL)
    return tool_error (errno, "%s: %s", file, strerror (errno));
  *parameter =
      tool_format (passphrase ? "passphrase=+%s" : "key-file=%s", path);
  free (path);
  return TOOL_DONE;
}

int
secrets_make_key (const char **header, const char **slot, struct status *status)
{
  static struct encryption encryption;

  if (secrets_given (true) == NULL)
    return status_fail (status, EINVAL,
                        "what is to open the disk?  Give --key-file=FILE or "
                        "--passphrase=-");
  *header = encryption.header;
  *slot = encryption.slots[0];
  return encryption_make (secrets_given (true), &encryption, status);
}

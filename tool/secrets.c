/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Reading keys and passphrases: see secrets.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
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

/* Ask at the terminal TTY for NAME, which it does not show.  Signals wait until
 * it shows again what is typed.
 */
static void
ask_once (struct secret **list, int tty, const char *name)
{
  char *question = tool_format ("%s: ", name);
  struct termios before, silent;
  struct status status;
  int r;

  if (tcgetattr (tty, &before) == -1)
    exit (tool_error (errno, "the terminal cannot be asked: %s",
                      strerror (errno)));
  silent = before;
  silent.c_lflag = (silent.c_lflag & ~(ECHO | ISIG)) | ICANON;
  if (tcsetattr (tty, TCSAFLUSH, &silent) == -1 ||
      write (tty, question, strlen (question)) == -1)
    exit (tool_error (errno, "the terminal cannot be asked: %s",
                      strerror (errno)));
  free (question);
  r = secret_read (list, SECRET_PASSPHRASE, NULL, tty, &status);
  tcsetattr (tty, TCSAFLUSH, &before);
  if (write (tty, "\n", 1) == -1 || r == -1)
    exit (r == -1 ? tool_fail (&status)
                  : tool_error (errno, "the terminal: %s", strerror (errno)));
}

/* Ask at the terminal, never elsewhere, and for a new one again. */
static void
add_asked (struct secret **list, const char *name, bool new)
{
  const int tty = open ("/dev/tty", O_RDWR | O_CLOEXEC);
  struct secret *again = NULL;

  if (tty == -1)
    exit (tool_error (errno, "there is no terminal to ask for a passphrase: "
                             "give it as +FILE or -FD"));
  ask_once (list, tty, name);
  if (new) {
    ask_once (&again, tty, "The same again");
    if (!secret_is_equal (*list, again))
      exit (tool_error (EINVAL, "the two passphrases differ; nothing was "
                                "done"));
  }
  secret_free (again);
  close (tty);
}

static void
add_passphrase (struct secret **list, const char *text, const char *name,
                bool new)
{
  char *end;
  const long fd = strtol (text[0] ? text + 1 : text, &end, 10);

  if (strcmp (text, "-") == 0)
    add_asked (list, name, new);
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
secrets_read (const char *key_file, const char *passphrase, const char *name,
              bool new)
{
  struct secret *list = NULL;

  if (passphrase)
    add_passphrase (&list, passphrase, name, new);
  if (key_file)
    add_read (&list, SECRET_KEY_FILE, key_file, -1);
  return list;
}

const struct secret *
secrets_given (bool new)
{
  static struct secret *list;

  if (list == NULL)
    list = secrets_read (
        common.key_file, common.passphrase,
        new ? "New passphrase of the disk" : "Passphrase of the disk", new);
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
  if (common.key_file && common.passphrase)
    return status_fail (status, EINVAL,
                        "a new disk has one slot; give either --key-file or "
                        "--passphrase, and then the other with \"sqlblock key "
                        "add\"");
  *header = encryption.header;
  *slot = encryption.slots[0];
  return encryption_make (secrets_given (true), &encryption, status);
}

int
secrets_check (struct store *store, const char *target, struct status *status)
{
  char *disk = tool_format ("%.*s", (int)strcspn (target, "@"), target);
  struct encryption encryption;
  int r = 0;

  if (common.control && secrets_given (false)) {
    r = manage_encryption (store, disk, &encryption, status);
    if (r == 0) {
      r = encryption_try (&encryption, secrets_given (false), status);
      if (r == -1)
        status_prefix (status, "disk '%s'", disk);
    }
    /* It is to be made, or that is said. */
    else if (status->error == ENOENT)
      r = 0;
  }
  free (disk);
  return r;
}

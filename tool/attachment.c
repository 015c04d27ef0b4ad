/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is attached: see attachment.h. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attachment.h"
#include "tool.h"

/* The words of the states in the file, and for people. */
static const char *const states[] = {
  [ATTACHMENT_CONNECTED] = "connected",
  [ATTACHMENT_AWAY] = "away",
  [ATTACHMENT_FAILED] = "failed",
};

const char *
attachment_state (const struct attachment *attachment)
{
  return states[attachment->state];
}

char *
attachment_backend (const struct attachment *attachment)
{
  if (attachment->database)
    return tool_format ("sqlblock %s\t%s", attachment->database,
                        attachment->disk);
  return tool_format ("sqlblock %s", attachment->uri);
}

static const char *
directory (void)
{
  const char *other = getenv (ATTACHMENT_DIRECTORY_VARIABLE);

  return other && other[0] ? other : ATTACHMENT_DIRECTORY;
}

char *
attachment_file (int number, const char *suffix)
{
  return tool_format ("%s/nbd%d.%s", directory (), number, suffix);
}

static int
make_directory (struct status *status)
{
  if (mkdir (directory (), 0755) == 0 || errno == EEXIST)
    return 0;
  return status_fail (status, errno, "%s: %s", directory (), strerror (errno));
}

int
attachment_turn (struct status *status)
{
  char *name;
  int fd;

  if (make_directory (status) == -1)
    return -1;
  /* Not the directory, which everybody may lock. */
  name = tool_format ("%s/turn", directory ());
  fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  free (name);
  if (fd != -1 && flock (fd, LOCK_EX) == 0)
    return fd;
  status_fail (status, errno, "waiting for others that attach: %s/turn: %s",
               directory (), strerror (errno));
  if (fd != -1)
    close (fd);
  return -1;
}

int
attachment_lock (int number, struct status *status)
{
  char *name;
  int fd;

  if (make_directory (status) == -1)
    return -1;
  name = attachment_file (number, "lock");
  fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd == -1)
    status_fail (status, errno, "%s: %s", name, strerror (errno));
  else if (flock (fd, LOCK_EX | LOCK_NB) == -1) {
    if (errno == EWOULDBLOCK)
      status_fail (status, EBUSY, "/dev/nbd%d is attached already", number);
    else
      status_fail (status, errno, "%s: %s", name, strerror (errno));
    close (fd);
    fd = -1;
  }
  else if (ftruncate (fd, 0) == 0)
    dprintf (fd, "%d\n", getpid ());
  free (name);
  return fd;
}

/* The number that stands in the file of device NUMBER that ends with SUFFIX, 0
 * where there is none.
 */
static pid_t
read_process (int number, const char *suffix)
{
  char *name = attachment_file (number, suffix);
  FILE *file = fopen (name, "re");
  int pid = 0;

  if (file && (fscanf (file, "%d", &pid) != 1 || pid < 0))
    pid = 0;
  if (file)
    fclose (file);
  free (name);
  return pid;
}

/* Has process PID the file of ST open? */
static bool
holds (pid_t pid, const struct stat *st)
{
  char *pattern = tool_format ("/proc/%d/fd/*", pid);
  glob_t links = { 0 };
  bool found = false;

  if (glob (pattern, GLOB_NOSORT, NULL, &links) == 0)
    for (size_t i = 0; !found && i < links.gl_pathc; i++) {
      struct stat file;

      found = stat (links.gl_pathv[i], &file) == 0 &&
              file.st_dev == st->st_dev && file.st_ino == st->st_ino;
    }
  globfree (&links);
  free (pattern);
  return found;
}

/* Asking for the lock would keep it from who wants it. */
pid_t
attachment_supervisor (int number)
{
  char *name = attachment_file (number, "lock");
  const pid_t pid = read_process (number, "lock");
  struct stat lock;
  const bool lives = pid > 0 && stat (name, &lock) == 0 && holds (pid, &lock);

  free (name);
  return lives ? pid : 0;
}

static json_t *
text_or_null (const char *text)
{
  return text ? tool_json_string (text) : json_null ();
}

static json_t *
to_json (const struct attachment *attachment)
{
  char lineage[LINEAGE_TEXT];
  json_t *value = json_object (), *sockets = json_array ();

  for (unsigned i = 0; i < attachment->connections; i++)
    json_array_append_new (sockets, json_integer (attachment->sockets[i]));
  lineage_print (&attachment->lineage, lineage);
  json_object_set_new (value, "database", text_or_null (attachment->database));
  json_object_set_new (value, "disk", text_or_null (attachment->disk));
  json_object_set_new (value, "uri", text_or_null (attachment->uri));
  json_object_set_new (value, "key", text_or_null (attachment->key));
  json_object_set_new (value, "connections",
                       json_integer (attachment->connections));
  json_object_set_new (value, "token", json_string (attachment->token));
  json_object_set_new (value, "generation",
                       json_integer (attachment->generation));
  json_object_set_new (value, "sockets", sockets);
  json_object_set_new (value, "timeout", json_integer (attachment->timeout));
  json_object_set_new (value, "since", json_integer (attachment->since));
  json_object_set_new (value, "reconnects",
                       json_integer (attachment->reconnects));
  json_object_set_new (value, "state", json_string (states[attachment->state]));
  json_object_set_new (value, "reason", text_or_null (attachment->reason));
  json_object_set_new (value, "size", json_integer (attachment->size));
  json_object_set_new (value, "flags", json_integer (attachment->flags));
  json_object_set_new (value, "block-size",
                       json_integer (attachment->block_size));
  json_object_set_new (value, "readonly", json_boolean (attachment->readonly));
  json_object_set_new (value, "durable", json_boolean (attachment->durable));
  json_object_set_new (value, "trusts", json_boolean (attachment->trusts));
  json_object_set_new (value, "lineage",
                       attachment->tells ? json_string (lineage)
                                         : json_null ());
  return value;
}

int
attachment_save (const struct attachment *attachment, struct status *status)
{
  char *name = attachment_file (attachment->number, "json");
  char *new_name = attachment_file (attachment->number, "new");
  /* Who knows the token can fence off the device. */
  const int r = tool_json_save (to_json (attachment), name, new_name, status);

  free (new_name);
  free (name);
  return r;
}

/* A copy of the text KEY of VALUE, or NULL. */
static char *
get_text (const json_t *value, const char *key)
{
  const char *text = json_string_value (json_object_get (value, key));

  return text ? tool_strdup (text) : NULL;
}

static int64_t
get_number (const json_t *value, const char *key)
{
  return json_integer_value (json_object_get (value, key));
}

static void
from_json (const json_t *value, struct attachment *attachment)
{
  const char *state = json_string_value (json_object_get (value, "state"));
  const char *token = json_string_value (json_object_get (value, "token"));
  const json_t *sockets = json_object_get (value, "sockets");
  const char *lineage = json_string_value (json_object_get (value, "lineage"));

  attachment->database = get_text (value, "database");
  attachment->disk = get_text (value, "disk");
  attachment->uri = get_text (value, "uri");
  attachment->key = get_text (value, "key");
  attachment->reason = get_text (value, "reason");
  attachment->connections = get_number (value, "connections");
  if (token && strlen (token) == ATTACHMENT_TOKEN)
    strcpy (attachment->token, token);
  attachment->generation = get_number (value, "generation");
  for (size_t i = 0; i < ATTACHMENT_CONNECTIONS_MAX; i++)
    attachment->sockets[i] = json_integer_value (json_array_get (sockets, i));
  attachment->timeout = get_number (value, "timeout");
  attachment->since = get_number (value, "since");
  attachment->reconnects = get_number (value, "reconnects");
  attachment->size = get_number (value, "size");
  attachment->flags = get_number (value, "flags");
  attachment->block_size = get_number (value, "block-size");
  attachment->readonly = json_is_true (json_object_get (value, "readonly"));
  attachment->durable = json_is_true (json_object_get (value, "durable"));
  attachment->trusts = json_is_true (json_object_get (value, "trusts"));
  attachment->tells = lineage && lineage_parse (lineage, &attachment->lineage);
  for (size_t i = 0; state && i < sizeof states / sizeof states[0]; i++)
    if (strcmp (state, states[i]) == 0)
      attachment->state = i;
}

int
attachment_load (int number, struct attachment *attachment,
                 struct status *status)
{
  char *name = attachment_file (number, "json");
  json_error_t error;
  json_t *value;
  int r = 1;

  *attachment = (struct attachment){ .number = number };
  if (access (name, F_OK) == -1 && errno == ENOENT) {
    free (name);
    return 0;
  }
  value = json_load_file (name, 0, &error);
  if (value == NULL)
    r = status_fail (status, access (name, R_OK) == -1 ? errno : EIO, "%s: %s",
                     name, error.text);
  else
    from_json (value, attachment);
  if (r == 1 && attachment->uri == NULL &&
      (attachment->database == NULL || attachment->disk == NULL)) {
    attachment_free (attachment);
    r = status_fail (status, EIO, "%s does not say what is attached", name);
  }
  json_decref (value);
  free (name);
  return r;
}

void
attachment_remove (int number)
{
  static const char *const suffixes[] = { "json", "sock", "pid", "log" };

  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    char *name = attachment_file (number, suffixes[i]);

    unlink (name);
    free (name);
  }
}

void
attachment_free (struct attachment *attachment)
{
  free (attachment->database);
  free (attachment->disk);
  free (attachment->uri);
  free (attachment->key);
  free (attachment->reason);
  *attachment = (struct attachment){ .number = attachment->number };
}

static int
compare_numbers (const void *a, const void *b)
{
  const int *left = a, *right = b;

  return (*left > *right) - (*left < *right);
}

void
attachment_each (int (*found) (int number, void *opaque), void *opaque)
{
  DIR *entries = opendir (directory ());
  struct dirent *entry;
  int *numbers = NULL;
  size_t count = 0;

  if (entries == NULL)
    return;
  while ((entry = readdir (entries)) != NULL) {
    int number, end = 0;

    if (sscanf (entry->d_name, "nbd%d.json%n", &number, &end) != 1 ||
        end == 0 || entry->d_name[end] || number < 0)
      continue;
    numbers = tool_realloc (numbers, (count + 1) * sizeof *numbers);
    numbers[count++] = number;
  }
  closedir (entries);
  if (count > 0)
    qsort (numbers, count, sizeof *numbers, compare_numbers);
  for (size_t i = 0; i < count && found (numbers[i], opaque) == 0; i++)
    ;
  free (numbers);
}

/* The words of a process's command line, each with its NUL. */
struct words {
  size_t length;
  char text[4 * PATH_MAX];
};

/* Read those of process PID; none where there is no such process. */
static void
read_words (pid_t pid, struct words *words)
{
  char *command = tool_format ("/proc/%d/cmdline", pid);
  FILE *file = pid > 0 ? fopen (command, "re") : NULL;

  words->length =
      file ? fread (words->text, 1, sizeof words->text - 1, file) : 0;
  words->text[words->length] = '\0';
  if (file)
    fclose (file);
  free (command);
}

/* Is WORD one of WORDS? */
static bool
has_word (const struct words *words, const char *word)
{
  const char *end = words->text + words->length;

  for (const char *at = words->text; at < end; at += strlen (at) + 1)
    if (strcmp (at, word) == 0)
      return true;
  return false;
}

pid_t
attachment_server (int number)
{
  const pid_t pid = read_process (number, "pid");
  char *socket = attachment_file (number, "sock");
  struct words words;
  bool is_ours;

  /* The number may be another process's by now; ours serves this socket. */
  read_words (pid, &words);
  is_ours = has_word (&words, socket);
  free (socket);
  return is_ours ? pid : 0;
}

bool
attachment_server_has (int number, const char *const arguments[])
{
  struct words words;
  size_t length = 0;
  const char *at;

  read_words (attachment_server (number), &words);
  for (size_t i = 0; arguments[i]; i++)
    length += strlen (arguments[i]) + 1;
  if (length >= words.length)
    return false;
  at = words.text + words.length - length;
  if (at[-1] != '\0')
    return false;
  for (size_t i = 0; arguments[i]; at += strlen (at) + 1, i++)
    if (strcmp (at, arguments[i]) != 0)
      return false;
  return true;
}

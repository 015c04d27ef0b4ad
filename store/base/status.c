/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Errors, as text and as errno: see status.h. */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "status.h"

/* Replace control characters: C0, DEL, and C1 in UTF-8. */
static void
make_printable (struct status *status)
{
  unsigned char *p = (unsigned char *)status->message;

  for (; *p; p++)
    if (*p < 0x20 || *p == 0x7f ||
        (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
      *p = '?';
}

int
status_fail (struct status *status, int error, const char *format, ...)
{
  va_list args;

  status->error = error;
  status->sqlite = SQLITE_OK;
  status->known = status->changed = false;
  va_start (args, format);
  vsnprintf (status->message, sizeof status->message, format, args);
  va_end (args);
  make_printable (status);
  return -1;
}

int
status_fail_changed (struct status *status, int error, const char *text)
{
  status_fail (status, error, "%s", text);
  status->changed = true;
  return -1;
}

int
status_no_memory (struct status *status)
{
  return status_fail (status, ENOMEM, "out of memory");
}

int
status_errno (int rc)
{
  /* The file that holds the shared memory cannot grow. */
  if (rc == SQLITE_IOERR_SHMSIZE)
    return ENOSPC;
  switch (rc & 0xff) {
  case SQLITE_FULL:
    return ENOSPC;
  case SQLITE_NOMEM:
    return ENOMEM;
  case SQLITE_READONLY:
    return EROFS;
  case SQLITE_PERM:
  case SQLITE_AUTH:
    return EPERM;
  default:
    return EIO;
  }
}

bool
status_is_damage (const struct status *status)
{
  switch (status->sqlite & 0xff) {
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB:
    return true;
  case SQLITE_IOERR:
    return status->sqlite == SQLITE_IOERR_DATA ||
           status->sqlite == SQLITE_IOERR_READ ||
           status->sqlite == SQLITE_IOERR_SHORT_READ ||
           status->sqlite == SQLITE_IOERR_CORRUPTFS;
  default:
    return false;
  }
}

/* What the user can know or do about a result, or NULL. */
static const char *
advice (int rc)
{
  if (status_errno (rc) == ENOSPC)
    return "the file system is full; free some space and try again";
  if (rc == SQLITE_IOERR_DATA)
    return "a page of the file does not fit its checksum: it is damaged, or "
           "another program has changed it; see 'sqlblock check', and its "
           "--repair and --salvage";
  if (rc == SQLITE_IOERR_SHMMAP || rc == SQLITE_IOERR_SHMOPEN ||
      rc == SQLITE_IOERR_SHMLOCK)
    return "programs must share memory through a file for the write-ahead "
           "log, which failed: the file system cannot do that (use a local "
           "one such as ext4), or vm.max_map_count is reached";
  if (rc == SQLITE_READONLY_ROLLBACK)
    return "another program was stopped while it changed the database, and has "
           "left a journal beside it, which takes that change back; open the "
           "file once with that program or with 'sqlite3 FILE .schema', which "
           "does so, and try again";
  switch (rc & 0xff) {
  case SQLITE_BUSY:
    return "another program holds the database locked; end it and try again";
  case SQLITE_CORRUPT:
    return "the database is damaged or truncated; restore it from a backup, or "
           "save what can be read with 'sqlblock check --salvage'";
  case SQLITE_NOTADB:
    return "the file is not an SQLite database";
  case SQLITE_READONLY:
    return "the database or its directory is read-only";
  case SQLITE_CANTOPEN:
    return "the file cannot be opened; check that it exists and that this "
           "user may read and write it and its directory";
  case SQLITE_IOERR:
    return "the storage below the database failed; see the kernel's log";
  default:
    return NULL;
  }
}

/* A message of this many bytes has no room for many more names. */
#define LIST_LONG 600

/* Append to the message of a status. */
static void __attribute__ ((format (printf, 2, 3)))
append (struct status *status, const char *format, ...)
{
  size_t length = strlen (status->message);
  va_list args;

  va_start (args, format);
  vsnprintf (status->message + length, sizeof status->message - length, format,
             args);
  va_end (args);
}

bool
status_list_name (struct status *status, const char *name)
{
  const bool is_long = strlen (status->message) > LIST_LONG;

  append (status, " '%s'", name);
  return is_long;
}

int
status_fail_sqlite (struct status *status, sqlite3 *db, int rc,
                    const char *format, ...)
{
  const char *text = sqlite3_errstr (rc);
  int code = rc;
  va_list args;

  /* The connection knows more, if its last failure is the one meant. */
  if (db && (sqlite3_errcode (db) & 0xff) == (rc & 0xff)) {
    text = sqlite3_errmsg (db);
    code = sqlite3_extended_errcode (db);
  }

  status->error = status_errno (code);
  status->sqlite = code;
  status->known = status->changed = false;
  va_start (args, format);
  vsnprintf (status->message, sizeof status->message, format, args);
  va_end (args);
  if (advice (code))
    append (status, ": %s", advice (code));
  append (status, " (SQLite: %s, code %d)", text, code);
  make_printable (status);
  return -1;
}

int
status_prefix (struct status *status, const char *format, ...)
{
  char message[sizeof status->message];
  va_list args;

  memcpy (message, status->message, sizeof message);
  va_start (args, format);
  vsnprintf (status->message, sizeof status->message, format, args);
  va_end (args);
  append (status, ": %s", message);
  make_printable (status);
  return -1;
}

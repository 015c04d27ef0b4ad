/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A VFS under SQLite through which a test sees all that reaches the files
 * of a database, and stands in the way of it.
 *
 * Every call of a method goes to the test's hook `before`, then, if that
 * returns SQLITE_OK, to the system's VFS, then to the hook `after`:
 *
 *   SQLite ──► before ──► system's VFS ──► after ──► SQLite
 *                 └──── error or done ───────┘
 *
 * What to do with a call, such as counting, recording or failing it, is
 * the test's business.  The files are told apart by how SQLite opens them:
 * the database, and its write-ahead log.
 */

#ifndef SQLBLOCK_TESTS_SHIM_H
#define SQLBLOCK_TESTS_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

enum shim_file { SHIM_DATABASE, SHIM_LOG, SHIM_OTHER, SHIM_FILES };

/* The methods, with what a call of each carries (see sqlite3_io_methods
 * and sqlite3_vfs in sqlite3.h):
 *                           number      count  flags        memory
 */
enum shim_method {
  SHIM_OPEN,                /*                  flags        out flags */
  SHIM_DELETE,              /*                  sync         */
  SHIM_ACCESS,              /*                  flags        result */
  SHIM_FULL_PATHNAME,       /*             size              name */
  SHIM_CLOSE,               /*                               */
  SHIM_READ,                /* offset      bytes             bytes */
  SHIM_WRITE,               /* offset      bytes             bytes */
  SHIM_TRUNCATE,            /* size                          */
  SHIM_SYNC,                /*                  flags        */
  SHIM_FILE_SIZE,           /*                               size */
  SHIM_LOCK,                /*                  level        */
  SHIM_UNLOCK,              /*                  level        */
  SHIM_CHECK_RESERVED_LOCK, /*                               result */
  SHIM_FILE_CONTROL,        /*                  operation    argument */
  SHIM_SHM_MAP,             /* region      size  extend      memory */
  SHIM_SHM_LOCK,            /* first lock  locks flags       */
  SHIM_SHM_UNMAP,           /*                  delete       */
  SHIM_METHODS
};

/* The method's name in SQLite. */
extern const char *const shim_method_names[SHIM_METHODS];

struct shim_call {
  enum shim_method method;
  enum shim_file file;  /* SHIM_OTHER for methods of the VFS, but SHIM_OPEN */
  const char *path;     /* NULL for a temporary file */
  sqlite3_file *handle; /* the system's */
  int64_t number;
  int count;
  int flags;
  void *memory;
  bool directory_synced; /* for `after`: the call has synced the directory */
};

/* A result of `before`: the call counts as successful, and is not made. */
#define SHIM_DONE (-1)

/* Each may be NULL.  Thread rules: they are called by any thread, and may
 * use SQLite themselves.
 */
struct shim_hooks {
  /* Returns SQLITE_OK, SHIM_DONE, or the error with which the call fails.
   */
  int (*before) (struct shim_call *call);

  /* The call was made, with RESULT. */
  void (*after) (const struct shim_call *call, int result);

  /* xShmBarrier, which cannot fail, of the system's HANDLE. */
  void (*barrier) (sqlite3_file *handle);
};

/* Make the shim SQLite's default VFS.  Once, before any connection. */
void shim_install (const struct shim_hooks *hooks);

/* Make a call to the system's VFS, without hooks: for a hook that makes a
 * part of one, or makes it later.
 */
int shim_pass (struct shim_call *call);

/* The same for a read or a write of any length, of which the system's VFS takes
 * no more than 128 KiB at once.  Returns SHIM_DONE or an error.
 */
int shim_pass_in_pieces (const struct shim_call *call);

/* Of a write CALL, of which PART bytes were to be made: how many that are,
 * since of the database, and of the header of the log, each sector is written
 * as a whole or not at all.  store/sqlite/mark.h relies on that.
 */
int shim_whole_sectors (const struct shim_call *call, int part);

#endif /* SQLBLOCK_TESTS_SHIM_H */

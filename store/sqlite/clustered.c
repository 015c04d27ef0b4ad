/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The files of a database on a cluster: see clustered.h. */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/location.h"
#include "cluster/rados.h"
#include "cluster/turn.h"
#include "sqlite/clustered.h"
#include "sqlite/process.h"
#include "sqlite/process-file.h"

#define EXTENSION "libcephsqlite.so"

/* The longest name of a client. */
#define CLIENT sizeof ((struct lock_holder *)NULL)->client

/*--------------------------------------------------------------------
 * Ceph's VFS, and ours over it.
 */

static uint64_t cache = CLUSTERED_CACHE;

void
clustered_set_cache (uint64_t bytes)
{
  cache = bytes;
}

static unsigned timeout = CLUSTERED_TIMEOUT;

void
clustered_set_timeout (unsigned seconds)
{
  timeout = seconds;
}

unsigned
clustered_timeout (void)
{
  return timeout;
}

static void (*takeover) (const char *message);

void
clustered_set_takeover (void (*say) (const char *message))
{
  takeover = say;
}

bool
clustered_takes_over (void)
{
  return takeover != NULL;
}

/* What loading it has come to; an errno of 0 is success. */
static struct status loaded;

static int
load_extension (sqlite3 *db)
{
  char *error = NULL;
  int r = 0;

  sqlite3_db_config (db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, NULL);
  if (sqlite3_load_extension (db, EXTENSION, NULL, &error) != SQLITE_OK)
    r = status_fail (&loaded, EIO,
                     "databases on a cluster need Ceph's library for SQLite, "
                     "%s (Debian: libsqlite3-mod-ceph), and it cannot be "
                     "loaded: %s",
                     EXTENSION, error ? error : "no memory");
  sqlite3_free (error);
  return r;
}

/* What libcephsqlite says of its connection.  It begins with its number. */
static const char ask_client[] = "SELECT ceph_status ()";

/* Who libcephsqlite is to the cluster now, as lock_holder has it; it connects
 * if it has not.  Returns 0, or -1 where it does not say.
 */
static int
ask_for_client (char client[CLIENT])
{
  sqlite3_stmt *statement = NULL;
  sqlite3 *db = NULL;
  uint64_t number;
  int r = -1;

  if (sqlite3_open (":memory:", &db) == SQLITE_OK &&
      sqlite3_prepare_v2 (db, ask_client, -1, &statement, NULL) == SQLITE_OK &&
      sqlite3_step (statement) == SQLITE_ROW) {
    const char *text = (const char *)sqlite3_column_text (statement, 0);

    if (text && sscanf (text, "{\"id\":%" SCNu64, &number) == 1) {
      snprintf (client, CLIENT, "client.%" PRIu64, number);
      r = 0;
    }
  }
  sqlite3_finalize (statement);
  sqlite3_close (db);
  return r;
}

/* Who it was when a database was opened first; "": that was not yet. */
static char first_client[CLIENT];

const char *
clustered_client (void)
{
  return first_client;
}

/* Is it still that one?  Libcephsqlite 18 connects anew when the cluster has
 * refused it, and what it opens then is not refused, though others have the
 * database by now.
 */
static bool
is_first_client (void)
{
  char client[CLIENT];

  if (ask_for_client (client) == -1)
    return false;
  if (first_client[0] == '\0')
    memcpy (first_client, client, sizeof first_client);
  return strcmp (first_client, client) == 0;
}

/* libcephsqlite 18 looks for its VFS in SQLite's list when the process exits.
 * By then nbdkit has unloaded its plugin: so that, which is in the list, and
 * SQLite stay.
 */
static void
stay_loaded (void)
{
  Dl_info here;

  if (dladdr (&loaded, &here) != 0)
    dlopen (here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

/* The first use of SQLite may be here: so this is what connection.c says, too.
 */
static void
load (void)
{
  sqlite3 *db = NULL;
  int rc;

  sqlite3_config (SQLITE_CONFIG_MEMSTATUS, 0);
  rc = sqlite3_open_v2 (":memory:", &db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
  if (rc != SQLITE_OK)
    status_no_memory (&loaded);
  else if (load_extension (db) == 0) {
    stay_loaded ();
    /* libcephsqlite does not tell of all failures. */
    rc = process_register (sqlite3_vfs_find ("ceph"), cache, PROCESS_VERIFY,
                           is_first_client);
    if (rc != SQLITE_OK)
      status_fail_sqlite (&loaded, NULL, rc, "preparing %s", EXTENSION);
  }
  sqlite3_close (db);
}

/* The names of the files of the database NAME, as SQLite makes them for a VFS
 * (sqlite3_create_filename); NULL where there is no memory.
 */
static char *
name_files (const char *name)
{
  char *journal = NULL, *log = NULL, *names = NULL;

  if (asprintf (&journal, "%s-journal", name) == -1)
    journal = NULL;
  if (asprintf (&log, "%s-wal", name) == -1)
    log = NULL;
  if (journal && log)
    names = (char *)sqlite3_create_filename (name, journal, log, 0, NULL);
  free (journal);
  free (log);
  return names;
}

/* The name of the database PATH, as the VFS calls it, which has those of the
 * files beside it; it is freed by sqlite3_free_filename.  NULL on failure.
 */
static char *
full_name (sqlite3_vfs *vfs, const char *path, struct status *status)
{
  char *name = calloc (1, vfs->mxPathname + 1);
  char *uri = clustered_uri (path);
  char *names = NULL;

  if (name == NULL || uri == NULL)
    status_no_memory (status);
  else if (vfs->xFullPathname (vfs, uri, vfs->mxPathname, name) != SQLITE_OK)
    status_fail (status, EINVAL, "%s: Ceph's SQLite does not take this name",
                 path);
  else if ((names = name_files (name)) == NULL)
    status_no_memory (status);
  free (name);
  free (uri);
  return names;
}

/* The one of NAME, of full_name, that ends with SUFFIX. */
static const char *
file_of (const char *name, const char *suffix)
{
  if (suffix[0] == '\0')
    return name;
  return strcmp (suffix, "-wal") == 0 ? sqlite3_filename_wal (name)
                                      : sqlite3_filename_journal (name);
}

/* A cluster was there when it was asked for.  Before that no method of Ceph's
 * VFS is called, since each of them connects, and aborts where it cannot.
 */
static atomic_bool reached;

/* Has this process the file of the database PATH open? */
static bool
is_ours (const char *path)
{
  struct status ignored;
  bool ours;
  char *name;

  if (!atomic_load (&reached))
    return false;
  name = full_name (sqlite3_vfs_find (PROCESS_NAME), path, &ignored);
  ours = name && process_has (name);
  sqlite3_free_filename (name);
  return ours;
}

int
clustered_await (const char *path, struct status *status)
{
  struct rados_found found;
  const int r = turn_take (path, timeout, takeover, &found, status);

  turn_pass ();
  return r;
}

/* Have SQLite know the VFS. */
static int
prepare_library (const char *path, struct status *status)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, load);
  if (loaded.error == 0)
    return 0;
  *status = loaded;
  return status_prefix (status, "%s", path);
}

int
clustered_enter (const char *path, struct status *status)
{
  struct rados_found found;
  struct location location;

  if (location_parse (path, &location, status) == -1 ||
      prepare_library (path, status) == -1)
    return -1;
  if (is_ours (path))
    return 1;
  if (turn_take (path, timeout, takeover, &found, status) == -1)
    return -1;
  atomic_store (&reached, true);
  return found.exists;
}

int
clustered_look (const char *path, struct status *status)
{
  const int r = clustered_enter (path, status);

  turn_leave ();
  return r;
}

int
clustered_explain (const char *path, struct status *status)
{
  struct rados_found found;
  struct status ignored;

  /* When it has failed in this libcephsqlite keeps the lock. */
  if (rados_find (path, timeout, &found, &ignored) == 0 && found.left &&
      (!found.held || strcmp (found.holder.client, first_client) == 0))
    status_prefix (status,
                   "who had the database open last has not closed it, so the "
                   "cluster has to refuse that client first; does the user of "
                   "Ceph have the capability mon 'profile "
                   "simple-rados-client-with-blocklist'?");
  return -1;
}

char *
clustered_uri (const char *path)
{
  struct location location;
  struct status ignored;
  char *uri;

  if (location_parse (path, &location, &ignored) == -1)
    return NULL;
  uri = malloc (LOCATION_URI_PATH);
  if (uri)
    location_uri_path (&location, uri);
  return uri;
}

/*--------------------------------------------------------------------
 * Past SQLite.
 */

/* As clustered_open, when the turn to do so is ours. */
static int
open_file (const char *path, const char *suffix, bool create,
           sqlite3_file **file, struct status *status)
{
  const int flags = (suffix[0] ? SQLITE_OPEN_WAL : SQLITE_OPEN_MAIN_DB) |
                    SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
  sqlite3_vfs *vfs;
  char *name;
  int rc;

  vfs = sqlite3_vfs_find (PROCESS_NAME);
  name = full_name (vfs, path, status);
  if (name == NULL)
    return -1;
  *file = calloc (1, vfs->szOsFile);
  rc = *file ? vfs->xOpen (vfs, file_of (name, suffix), *file, flags, NULL)
             : SQLITE_NOMEM;
  sqlite3_free_filename (name);
  if (rc == SQLITE_OK)
    return 1;
  free (*file);
  *file = NULL;
  if (rc == SQLITE_CANTOPEN)
    return 0;
  status_fail_sqlite (status, NULL, rc, "opening %s%s", path, suffix);
  return clustered_explain (path, status);
}

int
clustered_open (const char *path, const char *suffix, bool create,
                sqlite3_file **file, struct status *status)
{
  int r = clustered_enter (path, status);

  *file = NULL;
  if (r == 1 || (r == 0 && (create || suffix[0])))
    r = open_file (path, suffix, create, file, status);
  turn_leave ();
  return r;
}

void
clustered_close (sqlite3_file *file)
{
  if (file)
    file->pMethods->xClose (file);
  free (file);
}

int64_t
clustered_size (const char *path, const char *suffix, struct status *status)
{
  sqlite3_int64 size = -1;
  sqlite3_file *file;
  int r = clustered_open (path, suffix, false, &file, status);

  if (r == 1)
    file->pMethods->xFileSize (file, &size);
  else if (r == 0)
    status_fail (status, ENOENT, "%s%s is not there", path, suffix);
  clustered_close (file);
  return size;
}

/* Write all that FD has into FILE.  Returns a result of SQLite, or -1 and
 * errno.
 */
static int
copy_bytes (int fd, sqlite3_file *file)
{
  char *bytes = malloc (PROCESS_OBJECT);
  int rc = bytes ? SQLITE_OK : SQLITE_NOMEM;
  int64_t at = 0;
  ssize_t count = 1;

  while (rc == SQLITE_OK && count > 0) {
    count = pread (fd, bytes, PROCESS_OBJECT, at);
    if (count > 0)
      rc = file->pMethods->xWrite (file, bytes, count, at);
    at += count;
  }
  free (bytes);
  if (rc == SQLITE_OK && count == 0)
    rc = file->pMethods->xSync (file, SQLITE_SYNC_NORMAL);
  return count == -1 ? -1 : rc;
}

int
clustered_publish (int fd, const char *path, struct status *status)
{
  sqlite3_int64 size = 0;
  sqlite3_file *file;
  int rc, error;

  if (clustered_open (path, "", true, &file, status) == -1)
    return -1;
  file->pMethods->xFileSize (file, &size);
  rc = size == 0 ? copy_bytes (fd, file) : SQLITE_OK;
  error = errno;
  /* Closing writes what is there: nothing is, of a part. */
  if (rc != SQLITE_OK)
    file->pMethods->xTruncate (file, 0);
  clustered_close (file);
  if (rc == -1)
    return status_fail (status, error, "%s", strerror (error));
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, NULL, rc, "writing %s", path);
  return size == 0 ? 0 : status_fail (status, EEXIST, "%s", strerror (EEXIST));
}

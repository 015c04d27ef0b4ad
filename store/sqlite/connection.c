/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One SQLite connection with the store's settings: see connection.h. */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "base/clock.h"
#include "cluster/location.h"
#include "cluster/turn.h"
#include "sqlite/clustered.h"
#include "sqlite/connection.h"
#include "sqlite/vfs.h"
#include "sqlite/vfs-checksum.h"
#include "sqlite/vfs-gather.h"
#include "sqlite/vfs-new.h"
#include "sqlite/vfs-restart.h"
#include "sqlite/vfs-room.h"

/* The settings of every connection that looks at tables.
 *
 * trusted_schema, cell_size_check: the file may come from anywhere.
 * foreign_keys: layers, disks and snapshots refer to each other.
 * secure_delete: Debian's SQLite overwrites what is deleted, which costs
 *   up to a third of the speed.
 * synchronous NORMAL: a commit does not sync; flusher.c does.
 * wal_autocheckpoint: checkpointer.c does it.
 * temp_store: no other files.
 * max_page_count: the default would end at 4 TiB.
 *
 * No mmap_size: an error of the medium would be a SIGBUS, and a page would
 * pass by the checksums.  What stands in the file, journal_mode and
 * auto_vacuum, is chosen when it is made (rows/database.c).
 */
static const char settings_sql[] = "PRAGMA trusted_schema = OFF;"
                                   "PRAGMA cell_size_check = ON;"
                                   "PRAGMA foreign_keys = ON;"
                                   "PRAGMA secure_delete = OFF;"
                                   "PRAGMA synchronous = NORMAL;"
                                   "PRAGMA wal_autocheckpoint = 0;"
                                   "PRAGMA temp_store = MEMORY;"
                                   "PRAGMA max_page_count = 4294967294;";

/* The page cache, in KiB, of each of up to 19 connections of a server.  Who
 * reads finds pages in that of the kernel as well; one larger than the
 * processor's own only makes copying slower.
 */
#define WRITE_CACHE 2000
#define READ_CACHE  500

/* That of who writes to a cluster.  What of a transaction does not fit is
 * written to the log, and changed there afterwards, with a request for each
 * page.
 */
#define WRITE_CACHE_CLUSTER 32000

/* SQLite counts every allocation under one process-wide mutex unless it is
 * told not to before its first use.
 */
static void
configure_library (void)
{
  sqlite3_config (SQLITE_CONFIG_MEMSTATUS, 0);
  /* If this fails there is no such VFS for whoever opens one. */
  vfs_register ();
}

/* The same for databases on a cluster. */
static void
configure_cluster (void)
{
  vfs_register_cluster ();
}

/* The settings of a connection to one there: a commit that is not synced stands
 * in the memory of this process alone, and would end with it.
 */
static const char cluster_sql[] = "PRAGMA synchronous = FULL";

/* PATH as a URI, with everything but plain characters escaped. */
static char *
make_uri (const char *path, enum connection_mode mode)
{
  static const char *const parameters[] = {
    [CONNECTION_WRITE] = "&mode=rw",
    [CONNECTION_GATHER] = "&mode=rw&" VFS_GATHER_PARAMETER "=1",
    [CONNECTION_LOG] = "&mode=rw",
    [CONNECTION_READ] = "&mode=ro",
    [CONNECTION_IMMUTABLE] = "&mode=ro&immutable=1",
    [CONNECTION_CREATE] = "&mode=rw&" VFS_NEW_PARAMETER "=1",
  };
  char *uri = malloc (strlen (path) * 3 + 80);
  char *end = uri, *there;

  if (uri == NULL)
    return NULL;
  if (location_is_cluster (path)) {
    there = clustered_uri (path);
    sprintf (uri, "file://%s?vfs=" VFS_CLUSTER_NAME "%s", there ? there : "",
             parameters[mode]);
    free (there);
    return uri;
  }
  /* "./" keeps ":memory:" a file's name. */
  end += sprintf (end, path[0] == '/' ? "file://" : "file:./");
  for (; *path; path++)
    end += sprintf (end,
                    isalnum ((unsigned char)*path) || strchr ("/-_.", *path)
                        ? "%c"
                        : "%%%02X",
                    (unsigned char)*path);
  sprintf (end, "?vfs=" VFS_NAME "%s", parameters[mode]);
  return uri;
}

void
patience_init (struct patience *patience)
{
  *patience = (struct patience){ .waiting = false };
  pthread_mutex_init (&patience->lock, NULL);
  pthread_cond_init (&patience->changed, NULL);
}

void
patience_destroy (struct patience *patience)
{
  pthread_mutex_destroy (&patience->lock);
  pthread_cond_destroy (&patience->changed);
}

bool
patience_await_wait (struct patience *patience)
{
  bool interrupted;

  pthread_mutex_lock (&patience->lock);
  while (!patience->waiting && !atomic_load (&patience->interrupted))
    pthread_cond_wait (&patience->changed, &patience->lock);
  patience->waiting = false;
  interrupted = atomic_load (&patience->interrupted);
  pthread_mutex_unlock (&patience->lock);
  return !interrupted;
}

void
patience_interrupt (struct patience *patience)
{
  pthread_mutex_lock (&patience->lock);
  atomic_store (&patience->interrupted, true);
  pthread_cond_broadcast (&patience->changed);
  pthread_mutex_unlock (&patience->lock);
}

bool
patience_is_interrupted (const struct patience *patience)
{
  return atomic_load (&patience->interrupted);
}

/* Somebody waits, and goes on waiting unless this returns false. */
static bool
patience_wait (struct patience *patience)
{
  pthread_mutex_lock (&patience->lock);
  patience->waiting = true;
  pthread_cond_broadcast (&patience->changed);
  pthread_mutex_unlock (&patience->lock);
  return !atomic_load (&patience->interrupted);
}

/* It must not wait in nbdkit, which would wake it when one client leaves:
 * the thread may be working for the others.
 */
bool
connection_wait (struct connection *connection, int attempts)
{
  const bool short_wait = attempts < 10;

  if (!short_wait && connection->patience &&
      !patience_wait (connection->patience))
    return false;
  if (attempts == 0)
    connection->waiting_since =
        connection->asked ? connection->asked : clock_now ();
  if (clock_now () - connection->waiting_since >=
      connection->longest_wait * CLOCK_MILLISECOND)
    return false;
  nanosleep (&(struct timespec){ .tv_nsec = short_wait ? 1000000 : 10000000 },
             NULL);
  return true;
}

/* SQLite's busy handler: returns 0 to give up. */
static int
wait_for_lock (void *opaque, int attempts)
{
  return connection_wait (opaque, attempts);
}

/* The type of the pointer that visit () takes. */
static const char visitor_type[] = "sqlblock visitor";

/* visit (visitor, integer, integer) */
static void
visit (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  struct visitor *visitor = sqlite3_value_pointer (argv[0], visitor_type);

  (void)argc;
  sqlite3_result_int (
      context,
      visitor && visitor->visit (visitor, sqlite3_value_int64 (argv[1]),
                                 sqlite3_value_int64 (argv[2])));
}

/* understood (codec): 1, or it stops the statement, see CODEC_UNDERSTOOD. */
static void
understood (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  struct connection *connection = sqlite3_user_data (context);
  const int64_t codec = sqlite3_value_int64 (argv[0]);

  (void)argc;
  if (codec_is_known (codec)) {
    sqlite3_result_int (context, 1);
    return;
  }
  connection->stopped = true;
  connection->unknown_codec = codec;
  sqlite3_result_error (context, "unknown codec", -1);
}

/* Nothing that stands in the file may run: no triggers, no views.  Settings
 * make SQLite read the schema, which may be in the log, and takes a large
 * part of the time to open a connection; so they are only made where they
 * matter.  A checkpoint syncs in the same way without them: synchronous is
 * FULL then.
 */
static int
set_up (struct connection *connection)
{
  sqlite3 *db = connection->db;
  struct status ignored;
  int rc;

  sqlite3_extended_result_codes (db, 1);
  sqlite3_busy_handler (db, wait_for_lock, connection);
  if (connection->mode != CONNECTION_CREATE) {
    vfs_restart_guard (db);
    sqlite3_db_config (db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  }
  if (connection->mode == CONNECTION_LOG)
    return SQLITE_OK;
  sqlite3_db_config (db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config (db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
  sqlite3_db_config (db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
  rc = sqlite3_exec (db, settings_sql, NULL, NULL, NULL);
  if (rc == SQLITE_OK && connection->on_cluster)
    rc = sqlite3_exec (db, cluster_sql, NULL, NULL, NULL);
  if (rc == SQLITE_OK &&
      connection_set_cache (connection,
                            sqlite3_db_readonly (db, "main") ? READ_CACHE
                            : connection->on_cluster ? WRITE_CACHE_CLUSTER
                                                     : WRITE_CACHE,
                            &ignored) == -1)
    rc = sqlite3_errcode (db);
  if (rc == SQLITE_OK)
    rc = sqlite3_create_function_v2 (db, "visit", 3,
                                     SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                                     visit, NULL, NULL, NULL);
  if (rc == SQLITE_OK)
    rc = sqlite3_create_function_v2 (db, "understood", 1,
                                     SQLITE_UTF8 | SQLITE_INNOCUOUS, connection,
                                     understood, NULL, NULL, NULL);
  if (rc == SQLITE_OK)
    rc = checksum_register (db);
  return rc;
}

/* Claim the file before SQLite opens it, and watch it where it will be read
 * without its log.  Nobody else knows a file that is being made.
 */
static int
prepare_file (struct connection *connection, const char *path,
              struct status *status)
{
  static const enum claim_kind kinds[] = {
    [CONNECTION_WRITE] = CLAIM_WRITE,    [CONNECTION_GATHER] = CLAIM_WRITE,
    [CONNECTION_LOG] = CLAIM_WRITE,      [CONNECTION_READ] = CLAIM_READ,
    [CONNECTION_IMMUTABLE] = CLAIM_NONE,
  };
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  const enum connection_mode mode = connection->mode;

  if (connection->on_cluster) {
    if (clustered_enter (path, status) == -1)
      return -1;
    pthread_once (&once, configure_cluster);
    return 0;
  }
  if (mode == CONNECTION_CREATE)
    return 0;
  if (claim_take (&connection->claim, path, kinds[mode], status) == -1)
    return -1;
  if (mode != CONNECTION_IMMUTABLE)
    return 0;
  connection->watch = watch_begin (path, &connection->claim, status);
  return connection->watch ? 0 : -1;
}

/* Have SQLite open it.  Returns its result code. */
static int
open_database (struct connection *connection, const char *path, bool write)
{
  char *uri = make_uri (path, connection->mode);
  const int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
                    (write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
  const int rc =
      uri ? sqlite3_open_v2 (uri, &connection->db, flags, NULL) : SQLITE_NOMEM;

  free (uri);
  return rc;
}

int
connection_open_asked (struct connection *connection, const char *path,
                       enum connection_mode mode, struct patience *patience,
                       uint64_t asked, struct status *status)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  const bool write = mode == CONNECTION_WRITE || mode == CONNECTION_GATHER ||
                     mode == CONNECTION_LOG || mode == CONNECTION_CREATE;
  int rc;

  pthread_once (&once, configure_library);
  *connection = (struct connection){
    .mode = mode,
    .on_cluster = location_is_cluster (path),
    .patience = patience,
    .longest_wait = CONNECTION_LONGEST_WAIT,
    .asked = asked,
  };
  if (prepare_file (connection, path, status) == -1) {
    connection_close (connection);
    return -1;
  }
  rc = open_database (connection, path, write);
  if (connection->on_cluster)
    turn_leave ();
  if (rc == SQLITE_OK && mode == CONNECTION_CREATE)
    rc = vfs_checksum_reserve (connection->db);
  if (rc == SQLITE_OK && patience && patience->damaged)
    rc = vfs_checksum_tolerate (connection->db, patience->damaged);
  if (rc == SQLITE_OK && patience)
    rc = vfs_checksum_watch (connection->db, &patience->unsealed,
                             &patience->litestream);
  if (rc == SQLITE_OK && write && sqlite3_db_readonly (connection->db, "main"))
    rc = SQLITE_READONLY;
  if (rc == SQLITE_OK)
    rc = set_up (connection);
  if (rc != SQLITE_OK) {
    status_fail_sqlite (status, connection->db, rc, "opening %s", path);
    if (connection->on_cluster)
      clustered_explain (path, status);
    connection_close (connection);
    return -1;
  }
  return 0;
}

int
connection_open (struct connection *connection, const char *path,
                 enum connection_mode mode, struct patience *patience,
                 struct status *status)
{
  return connection_open_asked (connection, path, mode, patience, 0, status);
}

int
connection_check (const struct connection *connection, struct status *status)
{
  return connection->watch ? watch_check (connection->watch, status) : 0;
}

void
connection_close (struct connection *connection)
{
  for (size_t i = 0; i < CONNECTION_STATEMENTS; i++)
    sqlite3_finalize (connection->statements[i].statement);
  sqlite3_close (connection->db);
  watch_end (connection->watch);
  claim_release (&connection->claim);
  codec_workspace_free (&connection->workspace);
  *connection = (struct connection){ 0 };
}

sqlite3_stmt *
connection_statement (struct connection *connection, const char *sql,
                      struct status *status)
{
  size_t i = 0;
  int rc;

  while (connection->statements[i].sql != NULL) {
    if (connection->statements[i].sql == sql)
      return connection->statements[i].statement;
    if (++i == CONNECTION_STATEMENTS) {
      status_fail (status, EIO, "too many statements on one connection");
      return NULL;
    }
  }
  rc = sqlite3_prepare_v3 (connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                           &connection->statements[i].statement, NULL);
  if (rc != SQLITE_OK) {
    status_fail_sqlite (status, connection->db, rc, "preparing a statement");
    return NULL;
  }
  connection->statements[i].sql = sql;
  return connection->statements[i].statement;
}

void
statement_done (sqlite3_stmt **statement)
{
  if (*statement) {
    sqlite3_reset (*statement);
    sqlite3_clear_bindings (*statement);
  }
}

int
connection_step (struct connection *connection, sqlite3_stmt *statement,
                 struct status *status)
{
  int rc;

  /* After some errors SQLite undoes the transaction by itself; what follows
   * would be committed statement by statement.
   */
  if (connection->writing && sqlite3_get_autocommit (connection->db))
    return status_fail (status, EIO,
                        "the transaction was undone after an error");
  rc = sqlite3_step (statement);
  switch (rc) {
  case SQLITE_ROW:
    return 1;
  case SQLITE_DONE:
    return 0;
  default:
    if (connection->stopped) {
      connection->stopped = false;
      return codec_fail_unknown (connection->unknown_codec, ENOTSUP, status);
    }
    return status_fail_sqlite (status, connection->db, rc,
                               "using the database");
  }
}

void
statement_visit (sqlite3_stmt *statement, int parameter,
                 struct visitor *visitor)
{
  sqlite3_bind_pointer (statement, parameter, visitor, visitor_type, NULL);
}

static int
run_to_end (struct connection *connection, sqlite3_stmt *statement,
            struct status *status)
{
  int r;

  while ((r = connection_step (connection, statement, status)) > 0)
    ;
  return r;
}

int
connection_run (struct connection *connection, const char *sql,
                struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  return statement ? run_to_end (connection, statement, status) : -1;
}

int
connection_run_for (struct connection *connection, const char *sql, int64_t id,
                    struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  if (statement == NULL)
    return -1;
  sqlite3_bind_int64 (statement, 1, id);
  return run_to_end (connection, statement, status);
}

int
connection_run_for_text (struct connection *connection, const char *sql,
                         int64_t id, const char *text, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  if (statement == NULL)
    return -1;
  sqlite3_bind_int64 (statement, 1, id);
  sqlite3_bind_text (statement, 2, text, -1, SQLITE_STATIC);
  return run_to_end (connection, statement, status);
}

int
connection_run_for_integer (struct connection *connection, const char *sql,
                            int64_t id, int64_t value, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  if (statement == NULL)
    return -1;
  sqlite3_bind_int64 (statement, 1, id);
  sqlite3_bind_int64 (statement, 2, value);
  return run_to_end (connection, statement, status);
}

/* Take the integer that STATEMENT, or NULL after a failure, returns. */
static int
take_integer (struct connection *connection, sqlite3_stmt *statement,
              int64_t *value, struct status *status)
{
  if (statement == NULL ||
      connection_step (connection, statement, status) == -1)
    return -1;
  *value = sqlite3_column_int64 (statement, 0);
  return 0;
}

int
connection_integer (struct connection *connection, const char *sql,
                    int64_t *value, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  return take_integer (connection, statement, value, status);
}

int
connection_integer_for (struct connection *connection, const char *sql,
                        int64_t id, int64_t *value, struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *statement =
      connection_statement (connection, sql, status);

  if (statement)
    sqlite3_bind_int64 (statement, 1, id);
  return take_integer (connection, statement, value, status);
}

int
connection_page_size (struct connection *connection, int64_t *size,
                      struct status *status)
{
  static const char page_size_sql[] = "PRAGMA page_size";

  return connection_integer (connection, page_size_sql, size, status);
}

int
connection_files (struct connection *connection, sqlite3_file **database,
                  sqlite3_file **log)
{
  const int rc = sqlite3_file_control (connection->db, "main",
                                       SQLITE_FCNTL_FILE_POINTER, database);

  return rc == SQLITE_OK
             ? sqlite3_file_control (connection->db, "main",
                                     SQLITE_FCNTL_JOURNAL_POINTER, log)
             : rc;
}

int
connection_touch (struct connection *connection, struct status *status)
{
  static const char read_sql[] = "PRAGMA user_version";

  return connection_run (connection, read_sql, status);
}

int
connection_begin_read (struct connection *connection, struct status *status)
{
  static const char begin_sql[] = "BEGIN";

  return connection_run (connection, begin_sql, status);
}

/* Some settings act when they are prepared, and never again. */
static int
set_by_preparing (struct connection *connection, const char *sql,
                  struct status *status)
{
  sqlite3_stmt *statement;
  const int rc = sqlite3_prepare_v2 (connection->db, sql, -1, &statement, NULL);

  sqlite3_finalize (statement);
  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "changing a setting");
}

int
connection_set_cache (struct connection *connection, int kibibytes,
                      struct status *status)
{
  char sql[64];

  snprintf (sql, sizeof sql, "PRAGMA cache_size = -%d", kibibytes);
  return set_by_preparing (connection, sql, status);
}

/* SQLite commits as the setting in memory says, which changes when it is
 * prepared.  The one in the file changes when it is run, which is never done:
 * so whatever happens, it says INCREMENTAL there.
 */
int
connection_vacuum_at_commit (struct connection *connection,
                             struct status *status)
{
  return set_by_preparing (connection, "PRAGMA auto_vacuum = FULL", status);
}

void
connection_frees_space (struct connection *connection)
{
  if (!connection->shared)
    vfs_room_allow_reserve (connection->db, true);
}

unsigned
connection_state_version (struct connection *connection)
{
  unsigned version = 0;

  sqlite3_file_control (connection->db, "main", SQLITE_FCNTL_DATA_VERSION,
                        &version);
  return version;
}

int
connection_begin_hold (struct connection *connection, struct status *status)
{
  static const char begin_immediate_sql[] = "BEGIN IMMEDIATE";

  vfs_room_allow_reserve (connection->db, false);
  if (connection_run (connection, begin_immediate_sql, status) == -1)
    return -1;
  connection->writing = true;
  return 0;
}

/* A transaction has ended: what is known of the mark holds, or not. */
static void
note_end (struct connection *connection, bool committed)
{
  struct marking *marking = &connection->marking;

  if (committed)
    marking->version = connection_state_version (connection);
  else if (marking->changed)
    marking->known = false;
  marking->changed = false;
}

int
connection_commit (struct connection *connection, struct status *status)
{
  static const char commit_sql[] = "COMMIT";

  if (connection_run (connection, commit_sql, status) == -1)
    return -1;
  connection->writing = false;
  note_end (connection, true);
  return 0;
}

void
connection_rollback (struct connection *connection)
{
  static const char rollback_sql[] = "ROLLBACK";
  struct status ignored;

  connection->writing = false;
  note_end (connection, false);
  if (!sqlite3_get_autocommit (connection->db))
    connection_run (connection, rollback_sql, &ignored);
  if (connection->mode == CONNECTION_GATHER)
    vfs_gather_forget (connection->db);
}

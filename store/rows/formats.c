/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What files of each format have in their schema: see formats.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rows/columns.h"
#include "rows/formats.h"
#include "rows/schema.h"
#include "sqlite/litestream.h"

/*--------------------------------------------------------------------
 * Comparing.
 */

/* What may differ from the schema: statistics, views and the tables of
 * Litestream (litestream.h), and the bookkeeping of AUTOINCREMENT.
 */
/* clang-format off */
#define OBJECTS(more) \
  "SELECT type, name, tbl_name, ifnull (sql, '')" more " FROM sqlite_schema" \
  " WHERE NOT (type = 'view' AND sql LIKE 'CREATE VIEW %'" \
  " AND name NOT LIKE 'sqlite_%')" \
  " AND NOT (type = 'table' AND sql IN" \
  " ('CREATE TABLE sqlite_stat1(tbl,idx,stat)'," \
  " 'CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)'," \
  " '" LITESTREAM_SEQ "', '" LITESTREAM_LOCK "'))" \
  " ORDER BY type, name"

static const char objects_sql[] = OBJECTS ("");

/* The same, and whether it is of a feature of the file or a disk: its table is
 * named after that, and nothing of ours depends on what is in it.  The names
 * are sorted once, since a file from elsewhere may have many of both; and not
 * at all where there are only tables of ours.
 */
static const char objects_of_features_sql[] = OBJECTS (
  ", CASE WHEN type IN ('index', 'table') AND instr (tbl_name, '_') > 1"
  "   AND tbl_name NOT LIKE 'sqlite^_%' ESCAPE '^' THEN"
  "   substr (tbl_name, 1, instr (tbl_name, '_') - 1) IN"
  "    (SELECT name FROM feature)"
  "   AND (type = 'index' OR (sql LIKE 'CREATE TABLE %'"
  "    AND sql NOT LIKE '%REFERENCES%'))"
  "  END");
/* clang-format on */

#define OBJECT_COLUMNS 4

/* Column I of a row as text, never NULL. */
static const char *
text_of (sqlite3_stmt *row, int i)
{
  const char *text = (const char *)sqlite3_column_text (row, i);

  return text ? text : "";
}

/* Compare two rows of objects_sql, of which either may be missing, by the
 * order of the rows.
 */
static int
compare_rows (sqlite3_stmt *a, bool has_a, sqlite3_stmt *b, bool has_b)
{
  int order = has_b - has_a;

  for (int i = 0; order == 0 && has_a && i < OBJECT_COLUMNS; i++)
    order = strcmp (text_of (a, i), text_of (b, i));
  return order;
}

/* Say how the row at which both statements stand differs. */
static int
fail_schema (sqlite3_stmt *actual, bool has_actual, sqlite3_stmt *expected,
             bool has_expected, int64_t format, struct status *status)
{
  const bool both = has_actual && has_expected;
  const bool same_object =
      both && strcmp (text_of (actual, 0), text_of (expected, 0)) == 0 &&
      strcmp (text_of (actual, 1), text_of (expected, 1)) == 0;
  const bool missing =
      compare_rows (actual, has_actual, expected, has_expected) > 0;
  sqlite3_stmt *object = missing ? expected : actual;

  return status_fail (status, EINVAL,
                      "the database does not have the tables of format "
                      "%" PRId64 ": the %s '%.100s' %s; it was left as it is",
                      format, text_of (object, 0), text_of (object, 1),
                      same_object ? "was changed"
                      : missing   ? "is missing"
                                  : "is foreign");
}

/* Is the table of features that of the reference, so that it can be asked?
 * Returns 1, 0 or -1.
 */
static int
has_features (struct connection *connection, struct connection *reference,
              struct status *status)
{
  static const char text_sql[] =
      "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'feature'";
  CLEANUP_STATEMENT sqlite3_stmt *actual =
      connection_statement (connection, text_sql, status);
  CLEANUP_STATEMENT sqlite3_stmt *expected =
      connection_statement (reference, text_sql, status);
  int r;

  if (actual == NULL || expected == NULL ||
      connection_step (reference, expected, status) == -1)
    return -1;
  r = connection_step (connection, actual, status);
  return r == 1 ? strcmp (text_of (actual, 0), text_of (expected, 0)) == 0 : r;
}

/* Compare the objects of a database with those of the reference. */
static int
compare_objects (struct connection *connection, struct connection *reference,
                 int64_t format, struct status *status)
{
  /* No older format has tables of features. */
  const int features = formats_is_older (format)
                           ? 0
                           : has_features (connection, reference, status);
  CLEANUP_STATEMENT sqlite3_stmt *actual = connection_statement (
      connection, features == 1 ? objects_of_features_sql : objects_sql,
      status);
  CLEANUP_STATEMENT sqlite3_stmt *expected =
      connection_statement (reference, objects_sql, status);
  int got, wanted, order;
  bool extra;

  if (features == -1 || actual == NULL || expected == NULL)
    return -1;
  got = connection_step (connection, actual, status);
  wanted = connection_step (reference, expected, status);
  while (got != -1 && wanted != -1 && (got || wanted)) {
    order = compare_rows (actual, got, expected, wanted);
    extra = order < 0 && features == 1 &&
            sqlite3_column_int (actual, OBJECT_COLUMNS) == 1;
    if (order != 0 && !extra)
      return fail_schema (actual, got, expected, wanted, format, status);
    got = connection_step (connection, actual, status);
    if (order == 0)
      wanted = connection_step (reference, expected, status);
  }
  return got == -1 || wanted == -1 ? -1 : 0;
}

/*--------------------------------------------------------------------
 * What a file is compared with.
 */

/* Databases in memory with the tables and indexes of each format.  To make one
 * takes a quarter of the time of a short command, so it is made once in a
 * process.
 */
enum shape { SHAPE_4, SHAPE_5, SHAPE_NEWEST, SHAPES };

static pthread_mutex_t reference_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection references[SHAPES];

/* When the process ends, or unloads this. */
static void __attribute__ ((destructor)) close_references (void)
{
  for (int i = 0; i < SHAPES; i++)
    connection_close (&references[i]);
}

/* Make the tables and indexes of the newest format; the views come last in its
 * text, and nobody compares them.
 */
static int
make_newest (sqlite3 *db)
{
  const char *views = strstr (schema_sql, "\nCREATE VIEW ");
  char *tables = strndup (schema_sql, views - schema_sql);
  const int rc =
      tables ? sqlite3_exec (db, tables, NULL, NULL, NULL) : SQLITE_NOMEM;

  free (tables);
  return rc;
}

static int
make_shape (sqlite3 *db, enum shape shape)
{
  int rc = shape == SHAPE_NEWEST
               ? make_newest (db)
               : sqlite3_exec (db, schema_5_sql, NULL, NULL, NULL);

  if (rc == SQLITE_OK && shape == SHAPE_4)
    rc = sqlite3_exec (db, "DROP TABLE mark", NULL, NULL, NULL);
  return rc;
}

/* The reference for SHAPE, made where there is none yet; NULL on failure.
 * Called with the lock held.
 */
static struct connection *
need_reference (enum shape shape, struct status *status)
{
  struct connection *reference = &references[shape];
  int rc;

  if (reference->db)
    return reference;
  rc = sqlite3_open_v2 (":memory:", &reference->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK)
    rc = make_shape (reference->db, shape);
  if (rc == SQLITE_OK)
    return reference;
  status_fail_sqlite (status, reference->db, rc, "making the schema in memory");
  connection_close (reference);
  return NULL;
}

static enum shape
shape_of (int64_t format, bool has_mark)
{
  if (!formats_is_older (format))
    return SHAPE_NEWEST;
  return has_mark || format >= FORMAT_WITH_MARK ? SHAPE_5 : SHAPE_4;
}

int
formats_check_schema (struct connection *connection, int64_t format,
                      bool *has_mark, struct status *status)
{
  static const char mark_sql[] = "SELECT count (*) FROM sqlite_schema"
                                 " WHERE type = 'table' AND name = 'mark'";
  struct connection *reference;
  int64_t marks;
  int r = -1;

  if (connection_integer (connection, mark_sql, &marks, status) == -1)
    return -1;
  *has_mark = marks > 0;
  pthread_mutex_lock (&reference_lock);
  reference = need_reference (shape_of (format, *has_mark), status);
  if (reference)
    r = compare_objects (connection, reference, format, status);
  pthread_mutex_unlock (&reference_lock);
  return r;
}

int
formats_each (struct connection *connection, int64_t format,
              formats_found found, struct status *status)
{
  /* Tables before indexes, and each as it was made. */
  static const char each_sql[] =
      "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
      " AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', rowid";
  struct connection *reference;
  sqlite3_stmt *each = NULL;
  int r = -1;

  pthread_mutex_lock (&reference_lock);
  reference = need_reference (shape_of (format, true), status);
  if (reference)
    each = connection_statement (reference, each_sql, status);
  while (each && (r = connection_step (reference, each, status)) == 1)
    if (found (connection, text_of (each, 0), text_of (each, 1), status) ==
        -1) {
      r = -1;
      break;
    }
  if (each)
    statement_done (&each);
  pthread_mutex_unlock (&reference_lock);
  return r;
}

/*--------------------------------------------------------------------
 * Numbers, and older ones.
 */

int
formats_make (sqlite3 *db)
{
  return sqlite3_exec (db, schema_sql, NULL, NULL, NULL);
}

int
formats_check_number (int64_t format, struct status *status)
{
  if (format > DATABASE_FORMAT)
    return status_fail (status, ENOTSUP,
                        "it has format %" PRId64 ", this version knows up to "
                        "%d; use a newer version",
                        format, DATABASE_FORMAT);
  if (format < DATABASE_FORMAT_OLDEST)
    return status_fail (status, ENOTSUP,
                        "it has format %" PRId64 ", which no release used",
                        format);
  return 0;
}

int
formats_fail_older (const char *path, int64_t format, struct status *status)
{
  status_fail (status, EROFS,
               "it has format %" PRId64 ", which can only be read; "
               "\"sqlblock upgrade %s\" makes it one of format %d",
               format, path, DATABASE_FORMAT);
  /* As of a file that is read-only: it is not about one disk (failed.h). */
  status->sqlite = SQLITE_READONLY;
  return -1;
}

int
formats_number (struct connection *connection, int64_t *format,
                struct status *status)
{
  static const char format_sql[] = "PRAGMA user_version";

  return connection_integer (connection, format_sql, format, status);
}

/* Of the kinds that formats 4 and 5 had only one was ever used, for what now
 * refuses.
 */
static const char feature_sql[] =
    "CREATE TEMP VIEW feature (id, name, disk, class, checksum) AS"
    " WITH feature (id, name, disk, class) AS"
    "  (SELECT rowid, name, 0, CASE kind WHEN 'compatible' THEN 1"
    "    WHEN 'read-only' THEN 2 ELSE 3 END FROM main.feature)"
    " SELECT *, " FEATURE_CHECKSUM " FROM feature";
static const char property_sql[] =
    "CREATE TEMP VIEW property (id, kind, owner, key, value, checksum) AS"
    " SELECT 0, 0, 0, '', '', 0 WHERE false";

int
formats_show_older (struct connection *connection, struct status *status)
{
  int64_t format;

  if (formats_number (connection, &format, status) == -1)
    return -1;
  if (!formats_is_older (format))
    return 0;
  return connection_run (connection, feature_sql, status) == -1
             ? -1
             : connection_run (connection, property_sql, status);
}

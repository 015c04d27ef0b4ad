/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Following rows: see follow.h. */

#include <config.h>

#include "block/codec.h"
#include "rows/content.h"
#include "rows/follow.h"

/* Counting.  It comes before a row goes, since then the content that it may
 * refer to is still there.  A row that is rewritten in place with as many
 * bytes as before changes nothing, and no page.
 */
/* clang-format off */
#define SEEN(row) " WHERE layer = " row ".layer AND number > " row ".number;"
#define ADD(row) \
  " UPDATE counted SET bytes = bytes + " FOLLOW_BYTES (row) SEEN (row)
#define SUBTRACT(row) \
  " UPDATE counted SET bytes = bytes - " FOLLOW_BYTES (row) SEEN (row)
#define MOVED "(old.layer, old.number) <> (new.layer, new.number)"
#define RESIZED FOLLOW_BYTES ("new") " <> " FOLLOW_BYTES ("old")

static const char *const counting_sql[] = {
  "CREATE TEMP TRIGGER follow_insert AFTER INSERT ON main.block"
  "  WHEN new.codec <> 0"
  "  BEGIN" ADD ("new") " END",

  "CREATE TEMP TRIGGER follow_delete BEFORE DELETE ON main.block"
  "  WHEN old.codec <> 0"
  "  BEGIN" SUBTRACT ("old") " END",

  "CREATE TEMP TRIGGER follow_move BEFORE UPDATE ON main.block"
  "  WHEN " MOVED
  "  BEGIN" SUBTRACT ("old") ADD ("new") " END",

  "CREATE TEMP TRIGGER follow_change BEFORE UPDATE ON main.block"
  "  WHEN NOT (" MOVED ") AND " RESIZED
  "  BEGIN" SUBTRACT ("old") ADD ("new") " END",

  /* A content that is compressed otherwise: all rows that refer to it. */
  "CREATE TEMP TRIGGER follow_content AFTER UPDATE OF data ON main.content"
  "  WHEN length (new.data) <> length (old.data)"
  "  BEGIN"
  "   UPDATE counted"
  "    SET bytes = bytes"
  "     + (length (new.data) - length (old.data)) * rows.count"
  "    FROM (SELECT block.layer AS layer, count (*) AS count"
  "      FROM block JOIN counted AS seen ON seen.layer = block.layer"
  "      WHERE block.codec = 4 AND block.content = new.id"
  "       AND block.number < seen.number GROUP BY block.layer) AS rows"
  "    WHERE counted.layer = rows.layer;"
  "  END",
  NULL,
};

static const char *const not_counting_sql[] = {
  "DROP TRIGGER temp.follow_insert",
  "DROP TRIGGER temp.follow_delete",
  "DROP TRIGGER temp.follow_move",
  "DROP TRIGGER temp.follow_change",
  "DROP TRIGGER temp.follow_content",
  NULL,
};

/* Sharing.  It comes after a row has gone. */
#define RELEASE \
  "  BEGIN" \
  "   DELETE FROM content WHERE id = old.content AND CASE WHEN EXISTS" \
  "    (SELECT 1 FROM block WHERE codec = 4 AND content = old.content)" \
  "    THEN false ELSE " CODEC_UNDERSTOOD ("content") " END;" \
  "  END"

static const char *const sharing_sql[] = {
  "CREATE TEMP TRIGGER follow_deleted AFTER DELETE ON main.block"
  "  WHEN old.codec = 4"
  RELEASE,

  "CREATE TEMP TRIGGER follow_changed"
  "  AFTER UPDATE OF codec, content ON main.block"
  "  WHEN old.codec = 4 AND new.content IS NOT old.content"
  RELEASE,

  "CREATE TEMP TRIGGER follow_freed AFTER DELETE ON main.content"
  "  BEGIN SELECT content_freed (length (old.data)); END",
  NULL,
};

static const char *const not_sharing_sql[] = {
  "DROP TRIGGER temp.follow_deleted",
  "DROP TRIGGER temp.follow_changed",
  "DROP TRIGGER temp.follow_freed",
  NULL,
};
/* clang-format on */

/* What SQLite counts up whenever the connection may see another state of
 * the database, its own commits included.
 */
static unsigned
state_version (struct connection *connection)
{
  unsigned version = 0;

  sqlite3_file_control (connection->db, "main", SQLITE_FCNTL_DATA_VERSION,
                        &version);
  return version;
}

/* content_freed (bytes): a content has gone. */
static void
content_freed (sqlite3_context *context, int argc, sqlite3_value **argv)
{
  struct connection *connection = sqlite3_user_data (context);

  (void)argc;
  connection->content_freed += sqlite3_value_int64 (argv[0]);
}

/* Run STATEMENTS, which end with NULL. */
static int
run_all (struct connection *connection, const char *const *statements,
         struct status *status)
{
  int rc = sqlite3_create_function_v2 (connection->db, "content_freed", 1,
                                       SQLITE_UTF8, connection, content_freed,
                                       NULL, NULL, NULL);

  for (; rc == SQLITE_OK && *statements; statements++)
    rc = sqlite3_exec (connection->db, *statements, NULL, NULL, NULL);
  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "following changes of blocks");
}

/* Make the triggers of a need, or drop them. */
static int
follow_need (struct connection *connection, const char *needed_sql,
             const char *there_sql, const char *const *make_sql,
             const char *const *drop_sql, bool *needed, struct status *status)
{
  int64_t need, there;

  if (connection_integer (connection, needed_sql, &need, status) == -1 ||
      connection_integer (connection, there_sql, &there, status) == -1)
    return -1;
  *needed = need;
  return need == there
             ? 0
             : run_all (connection, need ? make_sql : drop_sql, status);
}

int
follow_again (struct follow *follow, struct connection *connection,
              struct status *status)
{
  static const char count_sql[] = "SELECT EXISTS (SELECT 1 FROM counted)";
  static const char counting_there_sql[] =
      "SELECT EXISTS (SELECT 1 FROM sqlite_temp_schema"
      " WHERE name = 'follow_insert')";
  /* Few databases have the feature; others need not look at their disks. */
  static const char share_sql[] =
      "SELECT EXISTS (SELECT 1 FROM content) OR (EXISTS (SELECT 1 FROM feature"
      " WHERE name = '" CONTENT_FEATURE "')"
      " AND EXISTS (SELECT 1 FROM disk WHERE deduplicate = 1))";
  static const char sharing_there_sql[] =
      "SELECT EXISTS (SELECT 1 FROM sqlite_temp_schema"
      " WHERE name = 'follow_deleted')";
  bool sharing;

  follow->known = false;
  if (follow_need (connection, count_sql, counting_there_sql, counting_sql,
                   not_counting_sql, &follow->counting, status) == -1 ||
      follow_need (connection, share_sql, sharing_there_sql, sharing_sql,
                   not_sharing_sql, &sharing, status) == -1)
    return -1;
  follow->known = true;
  return 0;
}

int
follow_begin (struct follow *follow, struct connection *connection,
              bool *changed, struct status *status)
{
  *changed = !follow->known || follow->version != state_version (connection);
  return *changed ? follow_again (follow, connection, status) : 0;
}

void
follow_end (struct follow *follow, struct connection *connection,
            bool committed)
{
  /* A roll-back takes back what follow_again did. */
  if (!committed)
    follow->known = false;
  follow->version = state_version (connection);
}

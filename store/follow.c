/* Following rows: see follow.h. */

#include <config.h>

#include "follow.h"

/* Counting.  It comes before a row goes, since then the content that it may
 * refer to is still there.  A row that is rewritten in place with as many
 * bytes as before changes nothing, and no page.
 */
#define ADD(row)                                                               \
  "UPDATE counted SET bytes = bytes + " FOLLOW_BYTES (row) SEEN (row)
#define SUBTRACT(row)                                                          \
  "UPDATE counted SET bytes = bytes - " FOLLOW_BYTES (row) SEEN (row)
#define SEEN(row) " WHERE layer = " row ".layer AND number > " row ".number;"
#define MOVED     "(old.layer, old.number) <> (new.layer, new.number)"

static const char *const create_sql[] = {
  "CREATE TEMP TRIGGER follow_insert AFTER INSERT ON main.block"
  " WHEN new.codec <> 0 BEGIN " ADD ("new") " END",

  "CREATE TEMP TRIGGER follow_delete BEFORE DELETE ON main.block"
  " WHEN old.codec <> 0 BEGIN " SUBTRACT ("old") " END",

  "CREATE TEMP TRIGGER follow_move BEFORE UPDATE ON main.block"
  " WHEN " MOVED " BEGIN " SUBTRACT ("old") ADD ("new") " END",

  "CREATE TEMP TRIGGER follow_change BEFORE UPDATE ON main.block"
  " WHEN NOT (" MOVED ")"
  " AND (" FOLLOW_BYTES ("new") ") <> (" FOLLOW_BYTES (
      "old") ")"
             " BEGIN " SUBTRACT ("old") ADD ("new") " END",
};

static const char *const drop_sql[] = {
  "DROP TRIGGER temp.follow_insert",
  "DROP TRIGGER temp.follow_delete",
  "DROP TRIGGER temp.follow_move",
  "DROP TRIGGER temp.follow_change",
};

#define TRIGGERS (sizeof create_sql / sizeof create_sql[0])

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

/* Run each of the TRIGGERS statements. */
static int
run_all (struct connection *connection, const char *const *statements,
         struct status *status)
{
  int rc;

  for (size_t i = 0; i < TRIGGERS; i++) {
    rc = sqlite3_exec (connection->db, statements[i], NULL, NULL, NULL);
    if (rc != SQLITE_OK)
      return status_fail_sqlite (status, connection->db, rc,
                                 "following changes of blocks");
  }
  return 0;
}

int
follow_again (struct follow *follow, struct connection *connection,
              struct status *status)
{
  static const char needed_sql[] = "SELECT EXISTS (SELECT 1 FROM counted)";
  static const char there_sql[] =
      "SELECT EXISTS (SELECT 1 FROM sqlite_temp_schema"
      " WHERE name = 'follow_insert')";
  int64_t needed, there;

  follow->known = false;
  if (connection_integer (connection, needed_sql, &needed, status) == -1 ||
      connection_integer (connection, there_sql, &there, status) == -1)
    return -1;
  if (needed != there &&
      run_all (connection, needed ? create_sql : drop_sql, status) == -1)
    return -1;
  follow->counting = needed;
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

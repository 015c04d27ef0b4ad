/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Power cuts in an upgrade: what is found is the old database or the new one.
 *
 * A round upgrades a copy of a database of an earlier format, and then goes
 * through what reached the files (medium.c).  What a cut leaves must open, and
 * be of the new format, or be refused for writing with what to do: "sqlblock
 * upgrade".  Then it is upgraded, which must work, and give the same rows,
 * letter by letter, of all tables but those that an upgrade makes.  Once the
 * upgrade has returned, only the new one may be found.
 *
 * The next round begins with what a cut has left, and so on until that is of
 * the new format: a power cut may come while the upgrade goes on.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "check.h"
#include "manage.h"
#include "powercut.h"
#include "block/checksum.h"

/* At one place: nothing lost, and lost at random. */
#define UPGRADE_CUTS 6

/* What user_version says of the new format. */
static int new_format;

/* The rows of the database, before all. */
static uint64_t wanted;

static struct {
  uint64_t events, places, files, old, new, rounds_again;
} total;

static int
upgrade (const char *path, struct status *status)
{
  int format;

  return manage_upgrade (path, false, &format, status);
}

/*--------------------------------------------------------------------
 * What stands in a file.
 */

/* Piece by piece: it may have some GiB. */
static void
copy_file (const char *from, const char *to, const char *suffix)
{
  static char piece[1 << 20];
  char *source, *target;
  FILE *in, *out;
  size_t count;

  assert_true (asprintf (&source, "%s%s", from, suffix) > 0);
  assert_true (asprintf (&target, "%s%s", to, suffix) > 0);
  in = fopen (source, "r");
  if (in) {
    out = fopen (target, "w");
    assert_non_null (out);
    while ((count = fread (piece, 1, sizeof piece, in)) > 0)
      assert_int_equal (fwrite (piece, 1, count, out), count);
    assert_int_equal (fclose (out), 0);
    fclose (in);
  }
  free (source);
  free (target);
}

/* A database with its log. */
static void
copy_database (const char *from, const char *to)
{
  remove_database (to);
  copy_file (from, to, "");
  copy_file (from, to, "-wal");
}

static uint64_t
mix (uint64_t hash, uint64_t value)
{
  const uint64_t both[2] = { hash, value };

  return checksum_bytes (both, sizeof both);
}

/* HASH, and all that SQL finds: types and values. */
static uint64_t
hash_rows (sqlite3 *db, const char *sql, uint64_t hash)
{
  sqlite3_stmt *statement;
  int rc;

  assert_int_equal (sqlite3_prepare_v2 (db, sql, -1, &statement, NULL),
                    SQLITE_OK);
  while ((rc = sqlite3_step (statement)) == SQLITE_ROW)
    for (int i = 0; i < sqlite3_column_count (statement); i++) {
      const void *bytes = sqlite3_column_blob (statement, i);
      const int count = sqlite3_column_bytes (statement, i);

      hash = mix (hash, sqlite3_column_type (statement, i));
      hash = mix (hash, checksum_bytes (bytes ? bytes : "", count));
    }
  assert_int_equal (rc, SQLITE_DONE);
  sqlite3_finalize (statement);
  return hash;
}

/* The rows that an upgrade leaves as they are, read with nothing of ours from
 * a copy.  What is hidden of them in a log is seen, too.
 */
static uint64_t
hash_database (const char *path, int *format)
{
  static const char *const tables[] = { "layer",  "disk",    "snapshot",
                                        "block",  "content", "counted",
                                        "reclaim" };
  char *copy = path_of ("next"), *sql;
  uint64_t hash = 0;
  sqlite3 *db;

  copy_database (path, copy);
  assert_int_equal (sqlite3_open (copy, &db), SQLITE_OK);
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    assert_true (asprintf (&sql, "SELECT * FROM %s ORDER BY rowid", tables[i]) >
                 0);
    hash = hash_rows (db, sql, hash);
    free (sql);
  }
  hash = hash_rows (db, "SELECT name, seq FROM sqlite_sequence ORDER BY name",
                    hash);
  *format = unit_integer (db, "PRAGMA user_version");
  assert_int_equal (sqlite3_close (db), SQLITE_OK);
  remove_database (copy);
  free (copy);
  return hash;
}

/*--------------------------------------------------------------------
 * What a cut leaves.
 */

/* Does a store open PATH, and is it the new format?  The old one can be read,
 * and who wants to write is told what to do.
 */
static bool
is_new (const char *path)
{
  const struct store_options store_options = {
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  struct status status;
  struct store *store = store_open (path, &store_options, &status);
  int r;

  if (store == NULL)
    fail_msg ("%s", status.message);
  r = manage_set (store, "no such disk", &(struct disk_options){ 0 }, &status);
  assert_int_equal (r, -1);
  store_close (store);
  if (strstr (status.message, "sqlblock upgrade"))
    return false;
  assert_int_equal (status.error, ENOENT);
  return true;
}

static void
assert_no_problems (const char *path)
{
  const struct store_options store_options = {
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
  };
  struct check_counts counts;
  struct status status;
  struct store *store = store_open (path, &store_options, &status);

  if (store == NULL)
    fail_msg ("%s", status.message);
  assert_ok (
      check_database (store, &(struct check_options){ 0 }, &counts, &status),
      &status);
  assert_int_equal (counts.problems, 0);
  store_close (store);
}

/* Look at what stands at PATH, and upgrade it.  Returns whether it was new. */
static bool
check_upgrade (const char *path)
{
  const bool found_new = is_new (path);
  struct status status;
  int format;

  assert_ok (upgrade (path, &status), &status);
  assert_true (hash_database (path, &format) == wanted);
  assert_int_equal (format, new_format);
  assert_true (is_new (path));
  unit_assert_sound (path);
  assert_no_problems (path);
  total.files++;
  *(found_new ? &total.new : &total.old) += 1;
  return found_new;
}

static void
cut_upgrade (const struct medium *medium, size_t place, bool must_be_new)
{
  char *path = path_of ("cut");

  for (int i = 0; i < UPGRADE_CUTS; i++) {
    const struct cut cut = i == 0 ? cut_nothing : random_cut ();

    unit_alarm (LONGEST);
    make_cut (medium, place, &cut, path);
    if (!check_upgrade (path) && must_be_new)
      fail_msg ("the upgrade had returned, but the old file is found");
  }
  remove_database (path);
  free (path);
  total.places++;
}

/*--------------------------------------------------------------------
 * Rounds.
 */

/* Go through all events, and leave at NEXT what a cut at LAST leaves.  DONE:
 * the upgrade has succeeded.
 */
static void
go_through (struct medium *medium, bool done, size_t last, const char *next)
{
  bool *chosen = choose_places (0, history.events_count);
  const struct cut cut = random_cut ();

  chosen[0] = chosen[history.events_count] = true;
  for (size_t i = 0; i <= history.events_count; i++) {
    if (chosen[i])
      cut_upgrade (medium, i, done && i == history.events_count);
    if (i == last)
      medium_cut (medium, &cut, &randoms, next);
    if (i < history.events_count) {
      medium_replay (medium, &history.events[i], i);
      free (history.events[i].data);
      history.events[i].data = NULL;
    }
  }
  total.events += history.events_count;
  history.events_count = 0;
  free (chosen);
}

/* Upgrade what is at PATH.  Returns whether what is at NEXT then is to be
 * upgraded.
 */
static bool
upgrade_round (const char *path, const char *next)
{
  struct medium *medium = medium_new (path);
  struct status status;
  size_t last;
  bool again;
  int r;

  r = load_record (&history, path, &options, &randoms, upgrade, &status);
  if (options.failing_syncs == 0 && options.failing_writes == 0)
    assert_ok (r, &status);
  last = random_below (&randoms, history.events_count + 1);
  remove_database (next);
  go_through (medium, r == 0, last, next);
  medium_free (medium);
  copy_database (next, path);
  again = !is_new (path);
  copy_database (next, path);
  return again;
}

void
upgrade_rounds (const char *file, uint64_t rounds)
{
  char *path = path_of ("load"), *next = path_of ("begin");
  struct status status;
  bool again = false;
  int format;

  wanted = hash_database (file, &format);
  copy_database (file, path);
  assert_ok (upgrade (path, &status), &status);
  assert_true (hash_database (path, &new_format) == wanted);
  assert_true (new_format > format);
  for (uint64_t i = 0; i < rounds; i++) {
    if (!again)
      copy_database (file, path);
    total.rounds_again += again;
    again = upgrade_round (path, next);
  }
  remove_database (path);
  remove_database (next);
  free (path);
  free (next);
  /* Each round begins with one. */
  assert_true (total.old > 0);
  printf ("%" PRIu64 " events in %" PRIu64 " rounds, %" PRIu64
          " of them after a cut\n"
          "%" PRIu64 " cut points: %" PRIu64 " databases checked, %" PRIu64
          " old, %" PRIu64 " new, 0 losses\n",
          total.events, rounds, total.rounds_again, total.places, total.files,
          total.old, total.new);
}

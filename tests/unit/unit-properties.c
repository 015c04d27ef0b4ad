/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Properties: what people set, its limits, and what becomes of it. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "base/optional.h"
#include "engine/engine.h"
#include "manage.h"
#include "rows/carried.h"
#include "rows/properties.h"

static char *path;
static struct store *store;

/* A database with the disk "web" and its snapshot "monday". */
static void
begin (void)
{
  const struct disk_options options = { .name = "web", .size = 1 << 20 };
  const char *const disks[] = { "web" };
  struct status status;

  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  assert_ok (manage_snapshot (store, disks, 1, "monday", &status), &status);
}

/* Close it; all rows have the checksums that they should. */
static void
end (void)
{
  store_close (store);
  assert_int_equal (
      unit_integer_on (path, "SELECT count (*) FROM property WHERE checksum <>"
                             " row_checksum ('property', id, kind, owner, key,"
                             " value)"),
      0);
}

/* 1000 properties of other programs leave room for 1000 holds, and no more; all
 * of them are read.
 */
static void
fill_with_others (void)
{
  struct optional list = { 0 };
  struct status status;
  char tag[20];

  unit_sql_on (path,
               "DELETE FROM property WHERE kind = 2;"
               " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1"
               "  FROM n WHERE i < 1000)"
               " INSERT INTO property SELECT 6000 + i, 2, 1, 'other' || i, 1,"
               "  row_checksum ('property', 6000 + i, 2, 1, 'other' || i, 1)"
               "  FROM n");
  for (int i = 0; i < 1000; i++) {
    snprintf (tag, sizeof tag, "%d", i);
    assert_ok (manage_hold (store, "web@monday", tag, &status), &status);
  }
  assert_fails (manage_hold (store, "web@monday", "more", &status), &status,
                EDQUOT, "it has 1000 holds, and cannot have more; release one");
  assert_ok (STORE_READ (store, &status, connection,
                         properties_read (connection, PROPERTY_SNAPSHOT, 1,
                                          &list, &status)),
             &status);
  assert_int_equal (list.property_count, 2000);
  optional_free (&list);
  assert_ok (
      STORE_READ (store, &status, connection,
                  carried_read (connection, 1, 1, false, &list, &status)),
      &status);
  assert_int_equal (list.property_count, 1000);
  optional_free (&list);
  assert_ok (manage_release (store, "web@monday", "5", &status), &status);
  assert_ok (manage_hold (store, "web@monday", "more", &status), &status);
}

/* Set KEY of TARGET. */
static int
set (const char *target, const char *key, const char *text,
     struct status *status)
{
  const struct property_setting setting = { key, text };
  const struct disk_options options = {
    .settings = &setting,
    .settings_count = 1,
  };

  return manage_set (store, target, &options, status);
}

static void
must_set (const char *target, const char *key, const char *text)
{
  struct status status;

  assert_ok (set (target, key, text, &status), &status);
}

/* TARGET has this text as KEY; NULL: it has none. */
static void
assert_property (const char *target, const char *key, const char *text)
{
  struct optional list = { 0 };
  struct status status;
  const char *found = NULL;

  assert_ok (manage_properties (store, target, &list, &status), &status);
  for (size_t i = 0; i < list.property_count; i++)
    if (strcmp (list.properties[i].key, key) == 0) {
      assert_null (found);
      assert_int_equal (list.properties[i].type, PROPERTY_TEXT);
      assert_false (list.properties[i].damaged);
      found = list.properties[i].bytes;
    }
  if (text)
    assert_string_equal (found ? found : "(none)", text);
  else
    assert_null (found);
  optional_free (&list);
}

/* How many TARGET has. */
static size_t
count (const char *target)
{
  struct optional list = { 0 };
  struct status status;
  size_t properties;

  assert_ok (manage_properties (store, target, &list, &status), &status);
  properties = list.property_count;
  optional_free (&list);
  return properties;
}

static void
test_set (void **state)
{
  static const char *const targets[] = { "web", "web@monday" };

  (void)state;
  begin ();
  for (int i = 0; i < 2; i++) {
    assert_property (targets[i], "user:a", NULL);
    must_set (targets[i], "user:a", i ? "one" : "eins");
    must_set (targets[i], "user:b", "two");
    must_set (targets[i], "user:a:b/c d", "'; DROP TABLE disk; --");
  }
  assert_property ("web", "user:a", "eins");
  for (int i = 0; i < 2; i++) {
    must_set (targets[i], "user:a", "another");
    must_set (targets[i], "user:b", "");
    must_set (targets[i], "user:never", "");
    assert_property (targets[i], "user:a", "another");
    assert_property (targets[i], "user:b", NULL);
    assert_property (targets[i], "user:a:b/c d", "'; DROP TABLE disk; --");
    assert_int_equal (count (targets[i]), 2);
  }
  end ();
}

static void
test_description (void **state)
{
  struct status status;
  struct disk_info disk;

  (void)state;
  begin ();
  assert_ok (manage_describe (store, "web", "a disk", &status), &status);
  assert_ok (manage_describe (store, "web@monday", "a day", &status), &status);
  assert_ok (store_find (store, "web", &disk, &status), &status);
  assert_string_equal (disk.description, "a disk");
  assert_int_equal (count ("web"), 0);
  assert_property ("web@monday", "description", "a day");
  assert_ok (manage_describe (store, "web@monday", "", &status), &status);
  assert_int_equal (count ("web@monday"), 0);
  end ();
}

/* TEXT is LENGTH times "x", behind BEGINNING. */
static char *
long_text (const char *beginning, size_t length)
{
  const size_t begins = strlen (beginning);
  char *text = malloc (begins + length + 1);

  assert_non_null (text);
  memcpy (text, beginning, begins);
  memset (text + begins, 'x', length);
  text[begins + length] = '\0';
  return text;
}

static void
test_texts (void **state)
{
  static const char *const bad[] = { "a\nb", "\x7f", "\xff", "\xc2\x80",
                                     "\xc0\xaf" };
  char *key = long_text ("user:", 195), *longer = long_text ("user:", 196);
  char *value = long_text ("", 4000), *more = long_text ("", 4001);
  char bad_key[20];
  struct status status;

  (void)state;
  begin ();
  must_set ("web", key, value);
  assert_property ("web", key, value);
  assert_fails (set ("web", longer, "x", &status), &status, EINVAL,
                "longer than the 200 bytes");
  assert_fails (set ("web", "user:a", more, &status), &status, EINVAL,
                "the value of user:a must be");
  assert_fails (set ("web", "user:", "x", &status), &status, EINVAL,
                "is missing behind 'user:'");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    snprintf (bad_key, sizeof bad_key, "user:%s", bad[i]);
    assert_fails (set ("web", bad_key, "x", &status), &status, EINVAL,
                  "cannot be the name of a property");
    assert_fails (set ("web@monday", "user:a", bad[i], &status), &status,
                  EINVAL, "the value of user:a must be");
  }
  assert_int_equal (count ("web"), 1);
  assert_int_equal (count ("web@monday"), 0);
  free (key);
  free (longer);
  free (value);
  free (more);
  end ();
}

/* As many as there can be; one more changes nothing of what else is asked. */
static void
test_most (void **state)
{
  static const struct property_setting two[] = { { "user:0", "changed" },
                                                 { "user:new", "x" } };
  static const struct disk_options options = {
    .settings = two,
    .settings_count = 2,
    .quota = 1 << 20,
  };
  struct disk_info disk;
  struct status status;
  char key[20];

  (void)state;
  begin ();
  for (int i = 0; i < 999; i++) {
    snprintf (key, sizeof key, "user:%d", i);
    must_set ("web", key, "x");
  }
  unit_sql_on (path, "INSERT INTO property VALUES (5000, 1, 1, 'other', 1,"
                     " row_checksum ('property', 5000, 1, 1, 'other', 1))");
  assert_int_equal (count ("web"), 1000);
  assert_fails (set ("web", "user:new", "x", &status), &status, EDQUOT,
                "disk 'web': it has 1000 properties");
  assert_fails (manage_set (store, "web", &options, &status), &status, EDQUOT,
                "1000 properties");
  assert_ok (store_find (store, "web", &disk, &status), &status);
  assert_int_equal (disk.quota, 0);
  assert_property ("web", "user:0", "x");
  must_set ("web", "user:5", "changed");
  must_set ("web@monday", "user:new", "x");
  fill_with_others ();
  must_set ("web", "user:7", "");
  must_set ("web", "user:new", "x");
  end ();
}

static void
test_snapshot_options (void **state)
{
  const struct disk_options options[] = {
    { .quota = 1 << 20 },
    { .storing.deduplicate = DISK_ON },
    { .storing.compression = { .codec = CODEC_RAW } },
  };
  struct status status;

  (void)state;
  begin ();
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
    assert_fails (manage_set (store, "web@monday", &options[i], &status),
                  &status, EINVAL, "is a snapshot");
  assert_fails (set ("web@tuesday", "user:a", "x", &status), &status, ENOENT,
                "no snapshot 'tuesday'");
  assert_fails (set ("web@2999-01-01", "user:a", "x", &status), &status, EINVAL,
                "is a time");
  assert_fails (set ("mail", "user:a", "x", &status), &status, ENOENT, "mail");
  end ();
}

/* A row that is damaged is told of, and can be set anew. */
static void
test_damaged (void **state)
{
  struct optional list = { 0 };
  struct status status;

  (void)state;
  begin ();
  must_set ("web", "user:a", "x");
  must_set ("web", "user:b", "x");
  unit_sql_on (path, "UPDATE property SET value = 'y' WHERE key = 'user:a'");
  assert_ok (manage_properties (store, "web", &list, &status), &status);
  assert_int_equal (list.property_count, 2);
  assert_true (list.properties[0].damaged);
  assert_false (list.properties[1].damaged);
  optional_free (&list);
  must_set ("web", "user:a", "z");
  assert_property ("web", "user:a", "z");
  end ();
}

/* What stays with its owner, and what goes along with it. */
static void
test_life (void **state)
{
  static const char *const targets[] = { "web@tuesday" };
  static const char *const disks[] = { "web" };
  struct status status;

  (void)state;
  begin ();
  must_set ("web", "user:a", "of the disk");
  must_set ("web@monday", "user:b", "of the snapshot");
  unit_sql_on (path,
               "INSERT INTO property SELECT column1, 1, 1, column2, 7,"
               " row_checksum ('property', column1, 1, 1, column2, 7)"
               " FROM (VALUES (60, 'Local:x'), (61, 'local:x'), (62, 'hold:x'),"
               " (63, 'HOLD:x'), (64, 'id'), (65, 'other'))");
  assert_ok (manage_clone (store, "web@monday", "copy", NULL, &status),
             &status);
  assert_property ("copy", "user:a", "of the disk");
  assert_int_equal (count ("copy"), 4);
  assert_int_equal (count ("web"), 7);
  assert_ok (manage_snapshot (store, disks, 1, "tuesday", &status), &status);
  assert_int_equal (count ("web@tuesday"), 0);
  must_set ("web@tuesday", "user:c", "x");
  assert_ok (manage_rollback (store, "web@monday", false, &status), &status);
  assert_property ("web", "user:a", "of the disk");
  assert_ok (manage_rename (store, "web@monday", "sunday", &status), &status);
  assert_property ("web@sunday", "user:b", "of the snapshot");
  assert_ok (manage_delete_snapshots (store, targets, 1, &status), &status);
  assert_ok (manage_rename (store, "web", "shop", &status), &status);
  assert_property ("shop", "user:a", "of the disk");
  assert_ok (manage_delete (store, "copy", false, false, &status), &status);
  assert_int_equal (count ("shop"), 7);
  assert_int_equal (count ("shop@sunday"), 1);
  assert_int_equal (
      unit_integer_on (path, "SELECT count (*) FROM property WHERE kind <> 0"),
      8);
  assert_ok (manage_delete (store, "shop", true, false, &status), &status);
  assert_int_equal (
      unit_integer_on (path, "SELECT count (*) FROM property WHERE kind <> 0"),
      0);
  end ();
}

/* Receive "there@monday" with LIST. */
static int
receive (const struct optional *list, struct status *status)
{
  const struct manage_incoming incoming = {
    .disk = "there",
    .size = 1 << 20,
    .snapshot = "monday",
    .guid = 5,
    .created = 1,
    .optional = list,
  };
  struct disk *disk = manage_receive (store, &incoming, status);

  return disk ? manage_receive_end (store, disk, &incoming, status) : -1;
}

/* Features that come in: those that only ask to be known about are taken. */
static void
test_features (void **state)
{
  struct disk_feature features[] = { { "sound", 3 }, { "x", 1 } };
  struct property property = {
    PROPERTY_SNAPSHOT, "k", PROPERTY_INTEGER, 7, NULL, 0, false
  };
  const struct optional list = { &property, 1, features, 2 };
  struct status status;

  (void)state;
  begin ();
  assert_fails (receive (&list, &status), &status, ENOTSUP,
                "the disk uses the feature 'sound'");
  features[0].class = 7;
  assert_fails (receive (&list, &status), &status, ENOTSUP, "'sound'");
  assert_int_equal (
      unit_integer_on (path, "SELECT count (*) FROM disk, feature"), 1);
  features[0].class = 2;
  assert_ok (receive (&list, &status), &status);
  end ();
  assert_int_equal (
      unit_integer_on (path,
                       "SELECT sum (class) FROM feature JOIN disk"
                       " ON feature.disk = disk.id WHERE disk.name = 'there'"
                       " AND feature.checksum = row_checksum ('feature',"
                       " feature.id, feature.name, feature.disk, class)"),
      3);
  assert_int_equal (
      unit_integer_on (path, "SELECT value FROM property WHERE kind = 2"), 7);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_set),
    unit_test (test_description),
    unit_test (test_texts),
    unit_test (test_most),
    unit_test (test_snapshot_options),
    unit_test (test_damaged),
    unit_test (test_life),
    unit_test (test_features),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

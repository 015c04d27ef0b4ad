/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The trash: who goes there and comes back, and that nobody else finds it. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit.h"

#include "base/optional.h"
#include "base/clock.h"
#include "check.h"
#include "engine/engine.h"
#include "manage.h"
#include "rows/properties.h"
#include "rows/trash.h"
#include "server/emptying.h"
#include "server/history.h"

#define SETTING "local:trash"

static char *path;
static struct store *store;

/* A setting that is to be. */
struct wanted {
  enum property_kind kind;
  int64_t owner;
  const char *text;
};

static int
change_setting (struct connection *connection, void *opaque,
                struct status *status)
{
  const struct wanted *setting = opaque;

  return properties_set_text (connection, setting->kind, setting->owner,
                              SETTING, setting->text, status);
}

/* Set trash= of disk ID, or for 0 of the database. */
static void
set (int64_t id, const char *text)
{
  struct wanted setting = { id ? PROPERTY_DISK : PROPERTY_FILE, id, text };
  struct status status;

  assert_ok (store_change (store, change_setting, &setting, &status), &status);
}

static void
create (const char *name)
{
  const struct disk_options options = { .name = name, .size = 1 << 20 };
  struct status status;

  assert_ok (manage_create (store, &options, &status), &status);
}

static void
snapshot (const char *disk, const char *name)
{
  struct status status;

  assert_ok (manage_snapshot (store, &disk, 1, name, &status), &status);
}

/* The disks are web, of id 1, with a block and the snapshot monday, and mail.
 */
static void
begin (void)
{
  const struct disk_options options = { .name = "web", .size = 1 << 20 };
  char block[4096];
  struct disk *disk;
  struct status status;

  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
  disk = disk_open (store, "web", false, &status);
  assert_ok (disk ? 0 : -1, &status);
  memset (block, 7, sizeof block);
  assert_ok (disk_write (disk, block, 0, sizeof block, true, &status), &status);
  disk_close (disk);
  snapshot ("web", "monday");
  create ("mail");
}

/* Everything in the file is as it must be. */
static void
end (void)
{
  struct status status;

  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  store_close (store);
  unit_assert_sound (path);
  unit_assert_reclaimed (path);
}

/* DISK shows its block. */
static void
assert_block (const char *name)
{
  struct status status;
  struct disk *disk = disk_open (store, name, true, &status);
  char block[4096];

  assert_ok (disk ? 0 : -1, &status);
  assert_ok (disk_read (disk, block, 0, sizeof block, &status), &status);
  assert_int_equal (block[0], 7);
  assert_int_equal (block[4095], 7);
  disk_close (disk);
}

/* Delete a disk that must go to the trash. */
static struct trashed_disk
must_discard (const char *name, bool force)
{
  struct trashed_disk trashed;
  struct status status;

  assert_ok (manage_discard (store, name, true, force, &trashed, &status),
             &status);
  assert_true (trashed.disk.id != 0);
  assert_string_equal (trashed.name, name);
  return trashed;
}

static int
count_disk (const struct trashed_disk *disk, void *opaque)
{
  (void)disk;
  ++*(int *)opaque;
  return 0;
}

static int
count_snapshot (const struct snapshot_info *info, void *opaque)
{
  (void)info;
  ++*(int *)opaque;
  return 0;
}

static int
count_live (const struct disk_info *info, void *opaque)
{
  assert_null (strchr (info->name, '/'));
  ++*(int *)opaque;
  return 0;
}

/* So many disks are there, and in the trash, and snapshots of these. */
static void
assert_counts (int live, int trashed, int snapshots)
{
  struct manage_file file;
  struct status status;
  int count = 0;

  assert_ok (store_list (store, count_live, &count, &status), &status);
  assert_int_equal (count, live);
  count = 0;
  assert_ok (manage_list_trash (store, count_disk, &count, &status), &status);
  assert_int_equal (count, trashed);
  count = 0;
  assert_ok (
      manage_list_trash_snapshots (store, count_snapshot, &count, &status),
      &status);
  assert_int_equal (count, snapshots);
  assert_ok (manage_file (store, &file, &status), &status);
  assert_int_equal (file.trash, trashed);
}

/* What the setting says, and where: the disk's goes before the database's. */
static void
test_setting (void **state)
{
  struct trashed_disk trashed;
  struct status status;

  (void)state;
  begin ();
  assert_ok (manage_discard (store, "mail", false, false, &trashed, &status),
             &status);
  assert_int_equal (trashed.disk.id, 0);
  assert_counts (1, 0, 0);

  create ("one");
  set (3, "1h");
  trashed = must_discard ("one", false);
  assert_int_equal (trashed.until - trashed.deleted, 3600);

  set (0, "7d");
  create ("two");
  trashed = must_discard ("two", false);
  assert_int_equal (trashed.until - trashed.deleted, 7 * 86400);

  create ("three");
  set (5, "off");
  assert_ok (manage_discard (store, "three", false, false, &trashed, &status),
             &status);
  assert_int_equal (trashed.disk.id, 0);
  assert_counts (1, 2, 0);

  /* What is damaged does not delete anything. */
  set (1, "soon");
  assert_fails (manage_discard (store, "web", true, false, &trashed, &status),
                &status, EIO, "the setting trash of the disk is damaged");
  assert_ok (manage_delete (store, "web", true, false, &status), &status);
  end ();
}

/* Nobody finds what is there, by whatever name. */
static void
test_hidden (void **state)
{
  static const struct history_options history = {
    .interval = 60,
    .keep = { .rules = { { 0, 1 } }, .count = 1 },
  };
  const struct manage_step nameless[] = { { "", NULL }, { "@monday", NULL } };
  const char *const hidden = "trash/1";
  struct trashed_disk trashed;
  struct disk_info info;
  struct status status;
  int count = 0;

  (void)state;
  begin ();
  set (0, "7d");
  /* Snapshots must still be asked for, and held ones stay where they are. */
  assert_fails (manage_discard (store, "web", false, false, &trashed, &status),
                &status, ENOTEMPTY, "ask for all with --snapshots");
  assert_ok (manage_hold (store, "web@monday", "backup", &status), &status);
  assert_fails (manage_discard (store, "web", true, false, &trashed, &status),
                &status, EBUSY, "is held by 'backup'");
  assert_ok (manage_release (store, "web@monday", "backup", &status), &status);
  assert_ok (manage_try_discard (store, "web", true, false, &trashed, &status),
             &status);
  assert_int_equal (trashed.snapshots, 1);
  assert_counts (2, 0, 0);

  must_discard ("web", false);
  assert_counts (1, 1, 1);
  assert_fails (store_find (store, "web", &info, &status), &status, ENOENT,
                "there is no disk 'web'; the disks are: 'mail'");
  assert_fails (store_find (store, hidden, &info, &status), &status, ENOENT,
                "");
  assert_null (disk_open (store, hidden, true, &status));
  assert_null (disk_open (store, "trash/1@monday", true, &status));
  assert_null (manage_pin (store, "trash/1@monday", &status));
  assert_fails (manage_delete (store, hidden, true, true, &status), &status,
                ENOENT, "");
  assert_fails (manage_clone (store, "trash/1@monday", "copy", NULL, &status),
                &status, ENOENT, "");
  assert_fails (manage_snapshot (store, &hidden, 1, "tuesday", &status),
                &status, ENOENT, "");
  assert_ok (
      manage_list_snapshots (store, NULL, count_snapshot, &count, &status),
      &status);
  assert_int_equal (count, 0);
  assert_ok (history_run (store, &history, time (NULL), &status), &status);
  assert_counts (1, 1, 1);
  /* The empty name is the oldest disk that is there, but not in a group. */
  for (int i = 0; i < 2; i++)
    assert_fails (manage_group (store, i ? GROUP_ROLLBACK : GROUP_DELETE,
                                &nameless[i], 1, GROUP_FORCE, &status),
                  &status, EINVAL, "the name of a disk is missing");
  assert_ok (store_find (store, "", &info, &status), &status);
  assert_string_equal (info.name, "mail");
  end ();
}

/* It comes back with all that it had. */
static void
test_undelete (void **state)
{
  const struct property_setting setting = { "user:owner", "ann" };
  const struct disk_options options = { .settings = &setting,
                                        .settings_count = 1,
                                        .quota = 1 << 30 };
  struct optional list = { 0 };
  struct disk_info info;
  struct status status;

  (void)state;
  begin ();
  set (0, "7d");
  assert_ok (manage_set (store, "web", &options, &status), &status);
  assert_ok (manage_clone (store, "web@monday", "copy", NULL, &status),
             &status);
  must_discard ("web", false);
  assert_block ("copy");
  create ("web");
  assert_fails (manage_undelete (store, 1, NULL, &status), &status, EEXIST,
                "there is a disk 'web' already");
  assert_fails (manage_undelete (store, 1, "mail", &status), &status, EEXIST,
                "");
  assert_fails (manage_undelete (store, 1, "a/b", &status), &status, EINVAL,
                "");
  assert_fails (manage_undelete (store, 2, NULL, &status), &status, ENOENT,
                "there is no disk number 2 in the trash");
  assert_fails (manage_undelete (store, 0, NULL, &status), &status, ENOENT, "");
  assert_ok (manage_try_undelete (store, 1, "old", &status), &status);
  assert_counts (3, 1, 1);
  assert_ok (manage_undelete (store, 1, "old", &status), &status);
  assert_counts (4, 0, 0);
  assert_block ("old");
  assert_block ("old@monday");
  assert_ok (store_find (store, "old", &info, &status), &status);
  assert_int_equal (info.quota, 1 << 30);
  assert_ok (manage_properties (store, "old", &list, &status), &status);
  assert_int_equal (list.property_count, 1);
  optional_free (&list);

  /* Again and again, and two of one name. */
  must_discard ("old", false);
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  must_discard ("web", false);
  assert_ok (manage_rename (store, "old", "web", &status), &status);
  must_discard ("web", false);
  assert_counts (2, 2, 1);
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  assert_block ("web");
  end ();
}

/* What a server would delete for good: how many when it is NOW and it has run
 * for so many SECONDS.
 */
static struct emptying emptying;
static int told;

static void
count_told (const char *message)
{
  assert_non_null (strstr (message, "for good"));
  told++;
}

static int
empty_at (int64_t now, uint64_t seconds)
{
  struct status status;
  unsigned purged;

  told = 0;
  assert_ok (emptying_run (&emptying, store, now, (1 + seconds) * CLOCK_SECOND,
                           count_told, &purged, &status),
             &status);
  assert_int_equal (told, purged);
  return purged;
}

/* A disk that has as many properties as it can. */
static void
test_many_properties (void **state)
{
  struct status status;

  (void)state;
  begin ();
  set (0, "7d");
  unit_sql_on (path,
               "WITH RECURSIVE many (i) AS"
               " (SELECT 1 UNION ALL SELECT i + 1 FROM many WHERE i < %d)"
               " INSERT INTO property"
               " SELECT 1000 + i, 1, 1, 'user:' || i, 'x', 0 FROM many; %s",
               PROPERTIES_MAX, unit_property_checksums);
  must_discard ("web", false);
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  assert_int_equal (unit_integer_on (path, "SELECT count (*) FROM property"
                                           " WHERE owner = 1"),
                    PROPERTIES_MAX);
  end ();
}

/* What is deleted for good, and what is not. */
static void
test_purge (void **state)
{
  struct trashed_disk web, mail, wrong;
  struct status status;
  int64_t until;

  (void)state;
  begin ();
  set (0, "7d");
  web = must_discard ("web", false);
  until = web.until;
  mail = must_discard ("mail", false);
  create ("live");
  /* Nothing that is not there, above all not the oldest disk. */
  wrong = web;
  for (wrong.disk.id = -1; wrong.disk.id <= 4; wrong.disk.id++)
    if (wrong.disk.id != 1 && wrong.disk.id != 2)
      assert_fails (manage_purge (store, &wrong, &status), &status, ENOENT, "");
  assert_ok (manage_try_purge (store, &web, &status), &status);

  /* Somebody had it back since it was listed, and has deleted it again. */
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  wrong = web;
  web = must_discard ("web", false);
  assert_fails (manage_try_purge (store, &wrong, &status), &status, ENOENT, "");
  assert_fails (manage_purge (store, &wrong, &status), &status, ENOENT,
                "there is no disk number 1 in the trash");
  assert_counts (1, 2, 1);
  until = web.until;
  assert_int_equal (empty_at (until - 1, 0), 0);
  assert_int_equal (empty_at (until - 1, 5000), 0);
  assert_counts (1, 2, 1);
  assert_ok (manage_purge (store, &mail, &status), &status);

  /* A hold that another program has made. */
  unit_sql_on (path, "INSERT INTO property SELECT 70, 2, 1, 'hold:x', 1,"
                     " row_checksum ('property', 70, 2, 1, 'hold:x', 1)");
  assert_fails (manage_purge (store, &web, &status), &status, EBUSY,
                "is held by 'x'");
  assert_int_equal (empty_at (until + 1, 6000), 0);
  assert_int_equal (empty_at (until + 1, 9600), 0);
  assert_counts (1, 1, 1);
  unit_sql_on (path, "DELETE FROM property WHERE id = 70");
  assert_int_equal (empty_at (until, 9601), 1);
  assert_counts (1, 0, 0);
  emptying_end (&emptying);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  assert_int_equal (unit_integer_on (path, "SELECT count (*) FROM block"), 0);
  end ();
}

/* A clock that is wrong for a while deletes nothing, nor a long pause at once.
 */
static void
test_patience (void **state)
{
  struct trashed_disk web, mail;
  struct status status;

  (void)state;
  emptying = (struct emptying){ 0 };
  begin ();
  set (0, "7d");
  set (2, "5s");
  web = must_discard ("web", false);
  mail = must_discard ("mail", false);
  assert_int_equal (empty_at (web.until, 0), 0);
  assert_int_equal (empty_at (web.until, 4), 0);
  /* It was set back, and ahead again. */
  assert_int_equal (empty_at (web.deleted, 4), 0);
  assert_int_equal (empty_at (web.until, 8), 0);
  assert_int_equal (empty_at (web.until, 12), 0);
  assert_counts (0, 2, 1);
  assert_int_equal (empty_at (web.until, 13), 1);
  assert_counts (0, 1, 1);
  assert_fails (manage_purge (store, &mail, &status), &status, ENOENT, "");
  assert_int_equal (empty_at (web.until, 3607), 0);
  /* Had back, and deleted again. */
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  web = must_discard ("web", false);
  assert_int_equal (empty_at (web.until, 3608), 0);
  assert_int_equal (empty_at (web.until, 7207), 0);
  assert_int_equal (empty_at (web.until, 7208), 1);
  emptying_end (&emptying);
  end ();
}

/* Who has it open when it goes there against its will. */
static void
test_open (void **state)
{
  struct trashed_disk trashed, web;
  struct status status;
  char block[4096] = { 0 };
  struct disk *disk;

  (void)state;
  begin ();
  set (0, "7d");
  disk = disk_open (store, "web", false, &status);
  assert_ok (disk ? 0 : -1, &status);
  assert_fails (manage_discard (store, "web", true, false, &trashed, &status),
                &status, EBUSY, "");
  web = must_discard ("web", true);
  assert_fails (disk_write (disk, block, 0, sizeof block, false, &status),
                &status, EIO, "connect again");
  assert_fails (disk_read (disk, block, 0, sizeof block, &status), &status, EIO,
                "connect again");
  assert_fails (manage_purge (store, &web, &status), &status, EBUSY, "");
  assert_ok (manage_undelete (store, 1, NULL, &status), &status);
  assert_fails (disk_write (disk, block, 0, sizeof block, false, &status),
                &status, EIO, "connect again");
  disk_close (disk);
  assert_block ("web");
  end ();
}

/* What a file from elsewhere claims. */
static void
test_hostile (void **state)
{
  static const char *const names[] = { "'a/b'", "'a@b'", "''",
                                       "x'00'", "5",     "'a' || char (10)" };
  struct trashed_disk trashed;
  struct status status;

  (void)state;
  begin ();
  set (0, "7d");
  must_discard ("web", false);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    unit_sql_on (path,
                 "UPDATE property SET value = %s"
                 " WHERE key = 'local:trash-name'",
                 names[i]);
    unit_sql_on (path, "%s", unit_property_checksums);
    assert_ok (STORE_READ (store, &status, connection,
                           trash_find (connection, 1, &trashed, &status)),
               &status);
    assert_string_equal (trashed.name, "");
    assert_fails (manage_undelete (store, 1, NULL, &status), &status, EINVAL,
                  "what the disk was called cannot be read");
  }
  /* What does not say when it is to go, stays. */
  unit_sql_on (path, "UPDATE property SET value = 'x' WHERE key LIKE"
                     " 'local:trash-_n%%'");
  emptying = (struct emptying){ 0 };
  assert_int_equal (empty_at (INT64_MAX, 0), 0);
  assert_int_equal (empty_at (INT64_MAX, 9999), 0);
  assert_counts (1, 1, 1);
  assert_ok (manage_undelete (store, 1, "back", &status), &status);
  assert_block ("back");

  /* The name in the trash is taken. */
  unit_sql_on (path, "UPDATE disk SET name = 'trash/1' WHERE id = 2; %s",
               unit_disk_checksums);
  assert_fails (manage_discard (store, "back", true, false, &trashed, &status),
                &status, EEXIST, "");
  assert_block ("back");
  assert_counts (1, 0, 0);
  end ();
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_setting),  unit_test (test_hidden),
    unit_test (test_undelete), unit_test (test_purge),
    unit_test (test_patience), unit_test (test_open),
    unit_test (test_hostile),  unit_test (test_many_properties),
  };

  unit_alarm (120);
  return cmocka_run_group_tests (tests, NULL, NULL);
}

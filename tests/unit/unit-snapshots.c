/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Snapshots by time and by schedule, hidden ones, and roll-backs by force.
 *
 * The random steps of unit-history.c take snapshots and read them; here are
 * the rules that they do not touch.  A disk is written as a whole with one
 * number, so that what is read tells at once of when it is.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "server/history.h"
#include "sqlite/guard.h"
#include "manage.h"
#include "engine/engine.h"
#include "base/times.h"
#include "rows/snapshots.h"

#define BLOCK  512
#define BLOCKS 64
#define WORDS  (BLOCKS * BLOCK / sizeof (uint32_t))

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static char *path;
static struct store *store;

/* A database with the disk "web". */
static void
begin (void)
{
  const struct disk_options options = {
    .name = "web",
    .size = BLOCKS * BLOCK,
    .block_size = BLOCK,
  };
  struct status status;

  path = unit_database ();
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
}

static struct disk *
open_disk (const char *target, bool readonly)
{
  struct status status;
  struct disk *disk = disk_open (store, target, readonly, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  return disk;
}

/* Make all of the disk NUMBER. */
static int
fill (struct disk *disk, uint32_t number, struct status *status)
{
  uint32_t words[WORDS];

  for (size_t i = 0; i < WORDS; i++)
    words[i] = number;
  return disk_write (disk, words, 0, sizeof words, false, status);
}

static void
fill_web (uint32_t number)
{
  struct disk *disk = open_disk ("web", false);
  struct status status;

  assert_ok (fill (disk, number, &status), &status);
  disk_close (disk);
}

/* The number that all of an open disk has. */
static uint32_t
number_in (struct disk *disk)
{
  uint32_t words[WORDS];
  struct status status;

  assert_ok (disk_read (disk, words, 0, sizeof words, &status), &status);
  for (size_t i = 1; i < WORDS; i++)
    assert_int_equal (words[i], words[0]);
  return words[0];
}

static uint32_t
number_of (const char *target)
{
  struct disk *disk = open_disk (target, true);
  const uint32_t number = number_in (disk);

  disk_close (disk);
  return number;
}

static int
snapshot (const char *name, struct status *status)
{
  const char *names[] = { "web" };

  return manage_snapshot (store, names, 1, name, status);
}

static void
take_snapshot (const char *name)
{
  struct status status;

  assert_ok (snapshot (name, &status), &status);
}

static int64_t
ask (const char *sql)
{
  return unit_integer_on (path, "%s", sql);
}

/*--------------------------------------------------------------------
 * Times.
 */

static const struct {
  const char *text;
  int64_t seconds; /* -1: not a time */
} times[] = {
  { "1970-01-01T00:00:00Z", 0 },
  { "2026-11-22T10:42:00Z", 1795344120 },
  { "2026-11-22T10:42Z", 1795344120 },
  { "2026-11-22 10:42:00z", 1795344120 },
  { "2026-11-22t10:42:00.999Z", 1795344120 },
  { "2026-11-22T10:42:00,5Z", 1795344120 },
  { "2026-11-22T11:42+01:00", 1795344120 },
  { "2026-11-22T11:42+0100", 1795344120 },
  { "2026-11-22T11:42+01", 1795344120 },
  { "2026-11-22T05:12-05:30", 1795344120 },
  { "2026-11-23T00:42+14:00", 1795344120 },
  { "2026-11-22Z", 1795305600 },
  /* Local time, in winter and in summer. */
  { "2026-11-22T11:42", 1795344120 },
  { "2026-11-22", 1795302000 },
  { "2026-07-01T12:00", 1782900000 },
  { "2026-07-01", 1782856800 },
  /* Leap days. */
  { "2024-02-29T00:00Z", 1709164800 },
  { "2000-02-29T00:00Z", 951782400 },
  { "2023-02-29T00:00Z", -1 },
  { "2100-02-29", -1 },
  { "2026-04-31", -1 },
  { "9999-12-31T23:59:59Z", 253402300799 },
  /* Nonsense. */
  { "", -1 },
  { "monday", -1 },
  { "2026", -1 },
  { "2026-11", -1 },
  { "2026-1-2", -1 },
  { "26-11-22", -1 },
  { "1969-12-31T23:59Z", -1 },
  { "0000-01-01", -1 },
  { "2026-00-01", -1 },
  { "2026-13-01", -1 },
  { "2026-01-00", -1 },
  { "2026-01-32", -1 },
  { "2026-11-22T", -1 },
  { "2026-11-22T10", -1 },
  { "2026-11-22T10:", -1 },
  { "2026-11-22T1:42", -1 },
  { "2026-11-22T24:00", -1 },
  { "2026-11-22T10:60", -1 },
  { "2026-11-22T10:42:61", -1 },
  { "2026-11-22T10:42:", -1 },
  { "2026-11-22T10:42x", -1 },
  { "2026-11-22T10:42+", -1 },
  { "2026-11-22T10:42+1", -1 },
  { "2026-11-22T10:42+15:00", -1 },
  { "2026-11-22T10:42+01:60", -1 },
  { "2026-11-22T10:42+01:00x", -1 },
  { "2026-11-22T10:42ZZ", -1 },
  { "2026-11-22T-1:42", -1 },
  { " 2026-11-22", -1 },
  { "2026-11-22 ", -1 },
  { "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa6-11-22", -1 },
};

static void
test_times (void **state)
{
  char text[TIMES_TEXT_MAX];
  int64_t seconds;

  (void)state;
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    if (!times_parse (times[i].text, &seconds))
      seconds = -1;
    if (seconds != times[i].seconds)
      fail_msg ("«%s» is read as %" PRId64 ", not %" PRId64, times[i].text,
                seconds, times[i].seconds);
  }
  assert_string_equal (times_utc (1795344120, text), "2026-11-22T10:42:00Z");
  assert_string_equal (times_local (1795344120, text),
                       "2026-11-22T11:42:00+01:00");
  assert_string_equal (times_local (1782900000, text),
                       "2026-07-01T12:00:00+02:00");
}

static void
test_spans (void **state)
{
  static const struct {
    const char *text;
    int64_t seconds; /* -1: not a span */
  } spans[] = {
    { "90s", 90 },         { "10m", 600 }, { "2h", 7200 }, { "7d", 604800 },
    { "4w", 2419200 },     { "", -1 },     { "10", -1 },   { "m", -1 },
    { "0s", -1 },          { "-1h", -1 },  { "1y", -1 },   { "1hh", -1 },
    { "9999999999w", -1 }, { " 1h", -1 },  { "1.5h", -1 },
  };
  static const char *const wrong[] = {
    "",        "all",           "1h",           "all:",
    ":1h",     "1h:all",        "ever:1h",      "all:1h,",
    ",all:1h", "all:1h,,1h:1d", "all:1h;1h:1d", "1h:1d:1w",
  };
  struct schedule_rules rules;
  struct status status;
  int64_t seconds;

  (void)state;
  for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
    if (!times_parse_span (spans[i].text, &seconds))
      seconds = -1;
    assert_int_equal (seconds, spans[i].seconds);
  }
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_fails (schedule_parse_rules (wrong[i], &rules, &status), &status,
                  EINVAL, "is not a list of rules");
  assert_ok (schedule_parse_rules ("all:1h,1d:ever", &rules, &status), &status);
  assert_int_equal (rules.count, 2);
  assert_int_equal (rules.rules[0].every, 0);
  assert_int_equal (rules.rules[0].span, HOUR);
  assert_int_equal (rules.rules[1].every, DAY);
  assert_int_equal (rules.rules[1].span, INT64_MAX);
}

/* Whatever can be read as a time cannot be a name. */
static void
test_names_of_times (void **state)
{
  static const char *const refused[] = {
    "2026-11-22",       "2026-11-22T10:42",
    "2026-11-22 10:42", "2026-11-22T10:42:00+01:00",
    "2026-11-22Z",      "2026-11-22+01:00",
    "2026-11-22-05",    "2026-11-22Tuesday",
  };
  static const char *const allowed[] = {
    "v2026-11-22", "2026-11",    "2026-11-22-before-update",
    "20261122",    "2026-13-22",
  };
  struct status status;

  (void)state;
  begin ();
  take_snapshot ("monday");
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    assert_fails (snapshot (refused[i], &status), &status, EINVAL,
                  "cannot be the name of a snapshot");
    assert_fails (manage_rename (store, "web@monday", refused[i], &status),
                  &status, EINVAL, "cannot be the name of a snapshot");
  }
  for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
    take_snapshot (allowed[i]);
  store_close (store);
}

/* A snapshot NAME of the disk with NUMBER, as if it were taken at CREATED. */
static void
snapshot_at (const char *name, uint32_t number, int64_t created)
{
  fill_web (number);
  take_snapshot (name);
  unit_sql_on (path, "UPDATE snapshot SET created = %lld WHERE name = %Q; %s",
               (long long)created, name, unit_snapshot_checksums);
}

/* The clock was set back: which one is newer goes by the order in which
 * they were taken.
 */
static void
test_clock_steps_back (void **state)
{
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  snapshot_at ("one", 1, 1000 * MINUTE);
  snapshot_at ("two", 2, 2000 * MINUTE);
  snapshot_at ("three", 3, 1500 * MINUTE);
  fill_web (4);
  assert_int_equal (number_of ("web@1970-01-01T16:40Z"), 1);
  assert_int_equal (number_of ("web@1970-01-02T00:59:59Z"), 1);
  assert_int_equal (number_of ("web@1970-01-02T01:00Z"), 3);
  assert_int_equal (number_of ("web@1970-01-02T09:19Z"), 3);
  assert_int_equal (number_of ("web@1970-01-02T09:20Z"), 3);
  assert_int_equal (number_of ("web@2026-11-22"), 3);
  disk = disk_open (store, "web@1970-01-01T16:39:59Z", true, &status);
  assert_null (disk);
  assert_int_equal (status.error, ENOENT);
  /* Hidden ones are not found. */
  disk = manage_pin (store, "web", &status);
  assert_non_null (disk);
  assert_int_equal (number_of ("web@9999-01-01"), 3);
  manage_unpin (store, disk);
  store_close (store);
}

/* Of several disks all snapshots are taken, or none. */
static void
test_several_disks (void **state)
{
  const struct disk_options options = { .name = "mail", .size = BLOCK };
  const char *both[] = { "web", "mail" };
  const char *wrong[] = { "web", "mail", "nobody" };
  const char *twice[] = { "web", "mail", "web" };
  struct snapshot_info web, mail;
  struct status status;

  (void)state;
  begin ();
  assert_ok (manage_create (store, &options, &status), &status);
  assert_fails (manage_snapshot (store, wrong, 3, "a", &status), &status,
                ENOENT, "nobody");
  assert_fails (manage_snapshot (store, twice, 3, "a", &status), &status,
                EEXIST, "web");
  assert_int_equal (ask ("SELECT count (*) FROM snapshot"), 0);
  assert_ok (manage_snapshot (store, both, 2, "a", &status), &status);
  assert_ok (manage_find_snapshot (store, "web@a", &web, &status), &status);
  assert_ok (manage_find_snapshot (store, "mail@a", &mail, &status), &status);
  assert_true (web.guid != mail.guid);
  assert_fails (manage_snapshot (store, both, 2, "a", &status), &status, EEXIST,
                "a snapshot 'a'");
  store_close (store);
}

/*--------------------------------------------------------------------
 * History.
 */

static struct history_options schedule;

static void
set_schedule (int64_t interval, const char *rules)
{
  struct status status;

  schedule = (struct history_options){
    .interval = interval,
    .warn = unit_ignore_warning,
  };
  assert_ok (schedule_parse_rules (rules, &schedule.keep, &status), &status);
}

/* Let the schedule look at the disk at NOW; returns how many snapshots there
 * are then.
 */
static int64_t
look_at (int64_t now)
{
  struct status status;

  assert_ok (history_run (store, &schedule, now, &status), &status);
  return ask ("SELECT count (*) FROM snapshot");
}

/* One snapshot in each slot, if there is something new. */
static void
test_slots (void **state)
{
  const int64_t start = INT64_C (1795344000) / HOUR * HOUR;
  const int64_t ten = 10 * MINUTE;
  struct status status;

  (void)state;
  begin ();
  set_schedule (ten, "all:ever");
  fill_web (1);
  assert_int_equal (look_at (start), 1);
  fill_web (2);
  assert_int_equal (look_at (start + 1), 1);
  assert_int_equal (look_at (start + ten - 1), 1);
  assert_int_equal (look_at (start + ten), 2);
  assert_int_equal (ask ("SELECT max (created) FROM snapshot"), start + ten);
  assert_int_equal (ask ("SELECT min (automatic) FROM snapshot"), 1);
  /* Nothing was written, or nothing new. */
  assert_int_equal (look_at (start + 2 * ten), 2);
  fill_web (2);
  assert_int_equal (look_at (start + 3 * ten), 2);
  /* It is still due. */
  fill_web (3);
  assert_int_equal (look_at (start + 3 * ten + 5), 3);
  /* A snapshot that somebody took has what is new. */
  fill_web (4);
  take_snapshot ("mine");
  assert_int_equal (look_at (start + 5 * ten), 4);
  /* Rolled back to the newest, then to another one. */
  assert_ok (manage_rollback (store, "web@mine", false, &status), &status);
  assert_int_equal (look_at (start + 6 * ten), 4);
  assert_ok (manage_rollback (store, "web@2026-11-22T10:40Z", false, &status),
             &status);
  assert_int_equal (look_at (start + 7 * ten), 5);
  /* Another size. */
  assert_ok (manage_resize (store, "web", 2 * BLOCKS * BLOCK, false, &status),
             &status);
  assert_int_equal (look_at (start + 8 * ten), 6);
  store_close (store);
}

/* Set NAME of TARGET; "" has it inherited. */
static void
set_setting (const char *target, const char *name, const char *text)
{
  const struct property_setting setting = { name, text };
  const struct disk_options options = {
    .settings = &setting,
    .settings_count = 1,
  };
  struct status status;

  assert_ok (manage_set (store, target, &options, &status), &status);
}

/* What the server is told goes before what the disk says, and that before what
 * the database says; each look sees what was set meanwhile.
 */
static void
test_settings (void **state)
{
  const int64_t start = INT64_C (1795344000) / HOUR * HOUR;
  struct status status;

  (void)state;
  begin ();
  schedule = (struct history_options){ .warn = unit_ignore_warning };
  fill_web (1);
  assert_int_equal (look_at (start), 0);
  set_setting (TARGET_DATABASE, "auto-snapshot", "1h");
  assert_int_equal (look_at (start + 1), 1);
  fill_web (2);
  assert_int_equal (look_at (start + 10 * MINUTE), 1);
  set_setting ("web", "auto-snapshot", "10m");
  assert_int_equal (look_at (start + 10 * MINUTE), 2);
  fill_web (3);
  schedule.interval = 2 * HOUR;
  assert_int_equal (look_at (start + 20 * MINUTE), 2);
  schedule.interval = 0;
  set_setting ("web", "auto-snapshot", "off");
  assert_int_equal (look_at (start + HOUR), 2);
  set_setting ("web", "auto-snapshot", "");
  assert_int_equal (look_at (start + HOUR), 3);
  /* The newest stays; of the others one goes at a time. */
  set_setting (TARGET_DATABASE, "keep", "all:1m");
  assert_int_equal (look_at (start + HOUR + 2 * MINUTE), 2);
  set_setting ("web", "keep", "all:ever");
  assert_int_equal (look_at (start + HOUR + 3 * MINUTE), 2);
  set_setting ("web", "keep", "");
  assert_int_equal (look_at (start + HOUR + 4 * MINUTE), 1);
  /* What nobody understands stops the history of the disk. */
  unit_sql_on (path, "UPDATE property SET value = 'often',"
                     " checksum = row_checksum ('property', id, kind, owner,"
                     " key, 'often') WHERE key = 'local:auto-snapshot'");
  fill_web (4);
  assert_fails (history_run (store, &schedule, start + 2 * HOUR, &status),
                &status, EIO, "the setting auto-snapshot of the database");
  store_close (store);
}

/* What a person has renamed is not thinned out. */
static void
test_renamed (void **state)
{
  static const char target[] = "web@auto-2026-11-22T11:40:00Z";
  const int64_t start = INT64_C (1795344000);
  struct status status;

  (void)state;
  begin ();
  set_schedule (HOUR, "all:1h");
  fill_web (1);
  look_at (start + HOUR);
  assert_ok (manage_rename (store, target, "keep me", &status), &status);
  for (uint32_t i = 2; i <= 10; i++) {
    fill_web (i);
    look_at (start + i * HOUR);
  }
  assert_int_equal (number_of ("web@keep me"), 1);
  assert_int_equal (ask ("SELECT automatic FROM snapshot ORDER BY id LIMIT 1"),
                    0);
  assert_true (ask ("SELECT count (*) FROM snapshot") < 5);
  store_close (store);
}

/* What is held is not thinned out, and all else goes as without it; when it is
 * released it goes, too.
 */
static void
test_held (void **state)
{
  static const char target[] = "web@auto-2026-11-22T11:40:00Z";
  static const char *const targets[] = { target };
  const int64_t start = INT64_C (1795344000);
  struct status status;
  int64_t without = 0, with = 0;

  (void)state;
  for (int hold = 0; hold < 2; hold++) {
    begin ();
    set_schedule (HOUR, "all:1h");
    fill_web (1);
    look_at (start + HOUR);
    if (hold)
      assert_ok (manage_hold (store, target, "me", &status), &status);
    for (uint32_t i = 2; i <= 10; i++) {
      fill_web (i);
      look_at (start + i * HOUR);
    }
    *(hold ? &with : &without) = ask ("SELECT count (*) FROM snapshot");
    if (hold == 0) {
      store_close (store);
      unlink (path);
    }
  }
  assert_int_equal (with, without + 1);
  assert_int_equal (number_of (target), 1);
  assert_fails (manage_delete_snapshots (store, targets, 1, &status), &status,
                EBUSY, "is held by 'me'");
  /* Also where the row of the hold is damaged. */
  unit_sql_on (path, "UPDATE property SET checksum = 1");
  fill_web (11);
  look_at (start + 11 * HOUR);
  assert_int_equal (number_of (target), 1);
  assert_ok (manage_release (store, target, "me", &status), &status);
  fill_web (12);
  look_at (start + 12 * HOUR);
  assert_int_equal (
      ask ("SELECT count (*) FROM snapshot WHERE created < 1795347601"), 0);
  store_close (store);
}

/* The clock was set back, to a time of which there is a snapshot. */
static void
test_slots_again (void **state)
{
  const int64_t start = INT64_C (1795344000);

  (void)state;
  begin ();
  set_schedule (HOUR, "all:1d");
  for (uint32_t i = 1; i <= 3; i++) {
    fill_web (i);
    assert_int_equal (look_at (start + i * HOUR), i);
  }
  fill_web (4);
  assert_int_equal (look_at (start + HOUR), 4);
  fill_web (5);
  assert_int_equal (look_at (start + 2 * HOUR), 5);
  assert_int_equal (number_of ("web@2026-11-22T12:40Z"), 5);
  store_close (store);
}

/* Does a rule of the schedule in test_thinning keep what was taken at
 * CREATED, with another one taken every half hour since?
 */
static bool
is_wanted (int64_t created, int64_t now)
{
  const int64_t next = created + HOUR / 2, age = now - created;

  return created == now || age <= 2 * HOUR ||
         (age <= DAY && next / (2 * HOUR) != created / (2 * HOUR)) ||
         (age <= 10 * (int64_t)DAY && next / DAY != created / DAY);
}

static void
test_thinning (void **state)
{
  enum { STEPS = 12 * 48 };
  const int64_t start = INT64_C (1795344000) / DAY * DAY;
  char sql[200];

  (void)state;
  begin ();
  set_schedule (HOUR / 2, "all:2h,2h:1d,1d:10d");
  fill_web (1);
  snapshot_at ("mine", 2, start);
  for (int step = 0; step < STEPS; step++) {
    const int64_t now = start + step * (HOUR / 2);
    int64_t wanted = 0;

    fill_web (step + 10);
    look_at (now);
    for (int64_t created = start; created <= now; created += HOUR / 2)
      wanted += is_wanted (created, now);
    assert_int_equal (
        ask ("SELECT count (*) FROM snapshot WHERE automatic = 1"), wanted);
  }
  /* And they are those. */
  for (int step = 0; step < STEPS; step++) {
    const int64_t created = start + step * (HOUR / 2);

    snprintf (sql, sizeof sql,
              "SELECT count (*) FROM snapshot WHERE automatic = 1"
              " AND created = %" PRId64,
              created);
    assert_int_equal (ask (sql),
                      is_wanted (created, start + (STEPS - 1) * (HOUR / 2)));
  }
  assert_int_equal (number_of ("web@mine"), 2);
  store_close (store);
}

/* Let the schedule look at all disks at NOW, as its thread does, which
 * remembers things in MEMORY.
 */
static void
look_on (struct history_memory *memory, int64_t now)
{
  struct status status;

  assert_ok (history_run_on (store, &schedule, memory, now, &status), &status);
}

static int64_t
count_automatic (void)
{
  return ask ("SELECT count (*) FROM snapshot WHERE automatic = 1");
}

/* A clock that is ahead for a while neither deletes the history nor leaves
 * something of its own for ever.
 */
static void
test_clock_ahead (void **state)
{
  const int64_t ten = 10 * MINUTE, ahead = 400 * (int64_t)DAY;
  struct history_memory *memory = history_remember ();
  int64_t now = INT64_C (1795344000) / DAY * DAY, old, before, until;
  uint32_t number = 1;

  (void)state;
  assert_non_null (memory);
  begin ();
  set_schedule (ten, SCHEDULE_RULES_DEFAULT);
  for (int i = 0; i < 2 * 144; i++, now += ten) {
    fill_web (number++);
    look_on (memory, now);
  }
  old = count_automatic ();
  assert_true (old > 24);
  /* However often it looks in one interval. */
  for (int i = 0; i < 20; i++)
    look_on (memory, now + ahead + i);
  assert_int_equal (count_automatic (), old - 1);
  fill_web (number++);
  for (int i = 20; i < 40; i++)
    look_on (memory, now + ahead + i);
  assert_int_equal (count_automatic (), old - 1);
  fill_web (number++);
  look_on (memory, now + ahead + ten);
  assert_int_equal (count_automatic (), old - 2);
  /* It is set right: new ones are taken, the old ones stay. */
  until = now;
  before = ask ("SELECT count (*) FROM snapshot WHERE created < 1796000000");
  for (int i = 0; i < 6; i++, now += ten) {
    fill_web (number++);
    look_on (memory, now);
    assert_int_equal (ask ("SELECT max (id) = (SELECT max (id) FROM snapshot"
                           " WHERE created < 1796000000) FROM snapshot"),
                      1);
  }
  assert_true (ask ("SELECT count (*) FROM snapshot"
                    " WHERE created < 1796000000") >= before);
  for (; now < until + DAY; now += ten) {
    fill_web (number++);
    look_on (memory, now);
  }
  assert_int_equal (
      ask ("SELECT count (*) FROM snapshot WHERE created > 1796000000"), 0);
  history_forget (memory);
  store_close (store);
}

/* A month was off: what is too old goes, slowly, also while nothing is
 * written.
 */
static void
test_backlog (void **state)
{
  struct history_memory *memory = history_remember ();
  int64_t now = INT64_C (1795344000), count;

  (void)state;
  assert_non_null (memory);
  begin ();
  set_schedule (HOUR, "all:1d");
  for (uint32_t i = 1; i <= 10; i++, now += HOUR) {
    fill_web (i);
    look_on (memory, now);
  }
  now += 40 * (int64_t)DAY;
  for (count = 9; count > 0; count--, now += HOUR) {
    look_on (memory, now);
    assert_int_equal (count_automatic (), count);
    look_on (memory, now + 1);
    assert_int_equal (count_automatic (), count);
  }
  look_on (memory, now);
  assert_int_equal (count_automatic (), 1);
  history_forget (memory);
  store_close (store);
}

/* Have the newest row of a disk's block 0 not fit its checksum. */
static void
damage (const char *disk)
{
  unit_sql_on (path,
               "UPDATE block SET checksum = checksum + 1 WHERE id ="
               " (SELECT max (block.id) FROM block JOIN disk USING (layer)"
               "  WHERE disk.name = %Q AND number = 0)",
               disk);
}

static atomic_int warnings;

static void
count_warning (const char *message)
{
  assert_non_null (strstr (message, "web"));
  atomic_fetch_add (&warnings, 1);
}

/* What is wrong with one disk does not keep the others from their history,
 * nor space from being freed; and it is not said again and again.
 */
static void
test_damaged_disk (void **state)
{
  const struct disk_options options = { .name = "mail", .size = BLOCK };
  const char *target = "mail@mine", *mail[] = { "mail" };
  struct history *history;
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  assert_ok (manage_create (store, &options, &status), &status);
  set_schedule (1, "all:ever");
  fill_web (1);
  look_at (1000);
  fill_web (2);
  damage ("web");
  assert_fails (history_run (store, &schedule, 2000, &status), &status, EIO,
                "history of disk 'web'");
  assert_int_equal (ask ("SELECT count (*) FROM snapshot JOIN disk"
                         " ON disk.id = disk WHERE disk.name = 'mail'"),
                    1);
  assert_ok (manage_snapshot (store, mail, 1, "mine", &status), &status);
  disk = open_disk ("mail", false);
  assert_ok (disk_write (disk, "x", 0, 1, false, &status), &status);
  assert_ok (manage_delete_snapshots (store, &target, 1, &status), &status);
  assert_true (ask ("SELECT count (*) FROM reclaim") > 0);
  schedule.warn = count_warning;
  atomic_store (&warnings, 0);
  history = history_start (store, &schedule, &status);
  assert_non_null (history);
  for (int i = 0; i < 200 && ask ("SELECT count (*) FROM snapshot") < 5; i++) {
    assert_ok (disk_write (disk, &i, 1, sizeof i, false, &status), &status);
    nanosleep (&(struct timespec){ .tv_nsec = 50000000 }, NULL);
  }
  history_stop (history);
  assert_true (ask ("SELECT count (*) FROM snapshot") >= 5);
  assert_int_equal (ask ("SELECT count (*) FROM reclaim"), 0);
  assert_int_equal (atomic_load (&warnings), 1);
  disk_close (disk);
  store_close (store);
}

/* How many bytes this process has read. */
static int64_t
bytes_read (void)
{
  FILE *file = fopen ("/proc/self/io", "r");
  long long bytes = -1;

  assert_non_null (file);
  assert_int_equal (fscanf (file, "rchar: %lld", &bytes), 1);
  fclose (file);
  return bytes;
}

/* Give a disk ROWS blocks of zeroes, by way of SQL, from block 1000 on. */
static void
add_rows (const char *disk, int rows)
{
  unit_sql_on (path,
               "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1"
               "  FROM n WHERE i < %d)"
               " INSERT INTO block (id, layer, number, generation, codec,"
               "  checksum) SELECT i + max (ifnull ((SELECT max (id) FROM"
               "  block), 0), ifnull ((SELECT max (last_block) FROM snapshot),"
               "  0)), layer, 1000 + i, generation, 0, 0 FROM n,"
               "  (SELECT disk.layer, generation FROM disk JOIN layer"
               "   ON layer.id = disk.layer WHERE name = %Q)",
               rows, disk);
}

static void
create_mail (void)
{
  const struct disk_options options = {
    .name = "mail",
    .size = 1 << 30,
    .block_size = BLOCK,
  };
  struct status status;

  assert_ok (manage_create (store, &options, &status), &status);
}

static void
snapshot_mail (const char *name)
{
  const char *mail[] = { "mail" };
  struct status status;

  assert_ok (manage_snapshot (store, mail, 1, name, &status), &status);
}

/* A look at an idle disk does not read its index, nor again and again what was
 * written to others.
 */
static void
test_idle_disk (void **state)
{
  struct history_memory *memory = history_remember ();
  int64_t before;

  (void)state;
  assert_non_null (memory);
  begin ();
  create_mail ();
  set_schedule (HOUR, "all:ever");
  add_rows ("web", 200000);
  schedule.disk = "web";
  look_on (memory, HOUR);
  before = bytes_read ();
  look_on (memory, 2 * HOUR);
  assert_true (bytes_read () - before < 500000);
  add_rows ("mail", 50000);
  snapshot_mail ("a");
  /* A look may end in the index before it has seen all. */
  for (int i = 0; i < 5; i++)
    look_on (memory, 2 * HOUR);
  before = bytes_read ();
  look_on (memory, 2 * HOUR);
  assert_true (bytes_read () - before < 500000);
  assert_int_equal (count_automatic (), 1);
  history_forget (memory);
  store_close (store);
}

/* Have block 1,000,000 of the disk "web" be full of BYTE, which is where its
 * index ends.
 */
static void
write_far (char byte)
{
  struct disk *disk = open_disk ("web", false);
  struct status status;
  char block[BLOCK];

  memset (block, byte, BLOCK);
  assert_ok (disk_write (disk, block, INT64_C (1000000) * BLOCK, BLOCK, false,
                         &status),
             &status);
  disk_close (disk);
}

/* But it misses nothing: a row that is written again keeps its id, and ids are
 * given again where the highest rows and their snapshots are gone.
 */
static void
test_looked_at_before (void **state)
{
  struct history_memory *memory = history_remember ();
  struct status status;

  (void)state;
  assert_non_null (memory);
  begin ();
  set_schedule (HOUR, "all:ever");
  schedule.disk = "web";
  assert_ok (manage_resize (store, "web", 1 << 30, false, &status), &status);
  add_rows ("web", 500000);
  write_far (1);
  look_on (memory, HOUR);
  write_far (1);
  create_mail ();
  add_rows ("mail", 10000);
  snapshot_mail ("a");
  look_on (memory, 2 * HOUR);
  look_on (memory, 3 * HOUR);
  assert_int_equal (count_automatic (), 1);
  write_far (2);
  look_on (memory, 4 * HOUR);
  assert_int_equal (count_automatic (), 2);
  add_rows ("mail", 10000);
  snapshot_mail ("b");
  look_on (memory, 5 * HOUR);
  assert_ok (manage_delete (store, "mail", true, false, &status), &status);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  write_far (3);
  create_mail ();
  add_rows ("mail", 12000);
  snapshot_mail ("c");
  look_on (memory, 6 * HOUR);
  assert_int_equal (count_automatic (), 3);
  history_forget (memory);
  store_close (store);
}

/*--------------------------------------------------------------------
 * What is looked at before the transaction, or before the guard is had.
 */

static struct disk_info
look_at_web (void)
{
  struct disk_info info;
  struct status status;

  assert_ok (store_find (store, "web", &info, &status), &status);
  return info;
}

static int
create_snapshot (struct connection *connection, void *opaque,
                 struct status *status)
{
  int64_t id;

  return snapshots_create (connection, opaque, "late", true, 0, 0, &id, status);
}

/* A snapshot has the size that the disk has in its transaction. */
static void
test_size_of_snapshot (void **state)
{
  struct disk_info before;
  struct status status;

  (void)state;
  begin ();
  before = look_at_web ();
  assert_ok (manage_resize (store, "web", 2 * BLOCKS * BLOCK, false, &status),
             &status);
  assert_ok (store_change (store, create_snapshot, &before, &status), &status);
  assert_int_equal (ask ("SELECT size FROM snapshot"), 2 * BLOCKS * BLOCK);
  assert_ok (manage_rollback (store, "web@late", false, &status), &status);
  assert_int_equal (look_at_web ().size, 2 * BLOCKS * BLOCK);
  assert_ok (manage_delete (store, "web", true, false, &status), &status);
  assert_fails (store_change (store, create_snapshot, &before, &status),
                &status, ENOENT, "gone");
  store_close (store);
}

/* Who changes a size must have seen the one that the disk has. */
static void
test_resize_of_another_size (void **state)
{
  const uint64_t size = BLOCKS * BLOCK;
  struct disk_info before;
  struct status status;

  (void)state;
  begin ();
  before = look_at_web ();
  assert_ok (manage_resize (store, "web", 4 * size, false, &status), &status);
  /* It would have grown, and now is cut. */
  assert_fails (manage_resize_found (store, &before, 2 * size, false, &status),
                &status, EBUSY, "just been changed");
  assert_fails (manage_resize_found (store, &before, size / 2, true, &status),
                &status, EBUSY, "just been changed");
  assert_int_equal (look_at_web ().size, 4 * size);
  before = look_at_web ();
  assert_ok (manage_resize_found (store, &before, size, true, &status),
             &status);
  assert_int_equal (look_at_web ().size, size);
  store_close (store);
}

/* A client that connects while the disk is rolled back or resized. */
static void
test_open_of_another_epoch (void **state)
{
  struct disk_info before;
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("one");
  fill_web (2);
  before = look_at_web ();
  assert_ok (manage_rollback (store, "web@one", false, &status), &status);
  disk = disk_open_found (store, &before, false, &status);
  assert_non_null (disk);
  assert_int_equal (number_in (disk), 1);
  assert_ok (fill (disk, 3, &status), &status);
  disk_close (disk);
  before = look_at_web ();
  assert_ok (manage_resize (store, "web", BLOCK, true, &status), &status);
  disk = disk_open_found (store, &before, false, &status);
  assert_non_null (disk);
  assert_int_equal (disk_get_info (disk)->size, BLOCK);
  disk_close (disk);
  before = look_at_web ();
  assert_ok (manage_delete (store, "web", true, false, &status), &status);
  assert_null (disk_open_found (store, &before, false, &status));
  assert_int_equal (status.error, ENOENT);
  store_close (store);
}

/* What somebody else does after some milliseconds, as long as he has the
 * guard.
 */
struct holder {
  pthread_t thread;
  struct disk *disk;       /* that has the guard, or NULL */
  int guard;               /* the guard, if it is not a disk's */
  bool rename;             /* have the name mean another disk */
  const char *rolled_back; /* roll back to this, or NULL */
};

static void *
let_go_later (void *opaque)
{
  const struct disk_options options = { .name = "web", .size = BLOCK };
  struct holder *holder = opaque;
  struct store *other = unit_open_store (path);
  struct status status;

  nanosleep (&(struct timespec){ .tv_nsec = 200000000 }, NULL);
  if (holder->rename) {
    assert_ok (manage_rename (other, "web", "old", &status), &status);
    assert_ok (manage_create (other, &options, &status), &status);
  }
  if (holder->rolled_back)
    assert_ok (manage_rollback (other, holder->rolled_back, true, &status),
               &status);
  if (holder->disk)
    disk_close (holder->disk);
  else
    guard_release (holder->guard);
  store_close (other);
  return NULL;
}

static void
hold_web (struct holder *holder)
{
  holder->disk = open_disk ("web", false);
  assert_int_equal (
      pthread_create (&holder->thread, NULL, let_go_later, holder), 0);
}

static void
join (struct holder *holder)
{
  assert_int_equal (pthread_join (holder->thread, NULL), 0);
}

/* Take the guard of the disk 'web'; EXPECTED is what is said of it, or NULL. */
static int
take_guard (int how, const char *expected)
{
  const int64_t id = look_at_web ().id;
  struct status status;
  const int guard = how == 2 ? guard_copy (path, id, &status)
                             : guard_take (path, id, how == 1, &status);

  if (expected) {
    assert_int_equal (guard, -1);
    assert_int_equal (status.error, EBUSY);
    assert_non_null (strstr (status.message, expected));
  }
  else
    assert_int_not_equal (guard, -1);
  return guard;
}

/* Alone, shared, for a copy: who keeps whom out. */
static void
test_guards (void **state)
{
  static const char writing[] = "has the disk open for writing";
  static const char copying[] = "a copy of the disk is being made";
  static const char *const expected[3][3] = {
    { writing, writing, writing },
    { writing, NULL, writing },
    { copying, copying, NULL },
  };

  (void)state;
  begin ();
  for (int first = 0; first < 3; first++)
    for (int second = 0; second < 3; second++) {
      const int guard = take_guard (first, NULL);
      const int other = take_guard (second, expected[first][second]);

      guard_release (guard);
      /* The second, where there is one, goes on to keep others out. */
      if (other != -1) {
        for (int third = 0; third < 3; third++)
          if (third != second)
            take_guard (third, expected[second][third]);
        guard_release (other);
      }
    }
  guard_release (take_guard (0, NULL));
  store_close (store);
}

/* A client that has just left keeps nobody from his work. */
static void
test_guard_goes (void **state)
{
  struct holder holder = { .rename = false };
  struct status status;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("one");
  fill_web (2);
  hold_web (&holder);
  assert_ok (manage_rollback (store, "web@one", false, &status), &status);
  join (&holder);
  assert_int_equal (number_of ("web"), 1);
  hold_web (&holder);
  assert_ok (manage_resize (store, "web", BLOCK, true, &status), &status);
  join (&holder);
  hold_web (&holder);
  assert_ok (manage_delete (store, "web", true, false, &status), &status);
  join (&holder);
  store_close (store);
}

/* One that stays does, and is named. */
static void
test_guard_stays (void **state)
{
  char process[40];
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  take_snapshot ("one");
  snprintf (process, sizeof process, "process %ld on ", (long)getpid ());
  disk = open_disk ("web", false);
  assert_fails (manage_rollback (store, "web@one", false, &status), &status,
                EBUSY, process);
  assert_fails (manage_resize (store, "web", BLOCK, true, &status), &status,
                EBUSY, process);
  assert_fails (manage_delete (store, "web", true, false, &status), &status,
                EBUSY, process);
  disk_close (disk);
  store_close (store);
}

/* While it was waited for, the name came to mean another disk. */
static void
test_guard_of_another_disk (void **state)
{
  struct holder holder = { .rename = true };
  struct status status;

  (void)state;
  begin ();
  take_snapshot ("one");
  hold_web (&holder);
  assert_fails (manage_delete (store, "web", true, false, &status), &status,
                EBUSY, "try again");
  join (&holder);
  assert_int_equal (ask ("SELECT count (*) FROM disk"), 2);
  store_close (store);
}

/* A client that connects during a roll-back waits for it, and is then
 * connected to what the disk is after it.
 */
static void
test_open_during_rollback (void **state)
{
  struct holder holder = { .rolled_back = "web@one" };
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("one");
  fill_web (2);
  holder.guard = guard_take (path, look_at_web ().id, false, &status);
  assert_int_not_equal (holder.guard, -1);
  assert_int_equal (
      pthread_create (&holder.thread, NULL, let_go_later, &holder), 0);
  disk = disk_open (store, "web", false, &status);
  if (disk == NULL)
    fail_msg ("%s", status.message);
  join (&holder);
  assert_int_equal (number_in (disk), 1);
  assert_ok (fill (disk, 3, &status), &status);
  disk_close (disk);
  store_close (store);
}

/* And not to another disk that has the name by then. */
static void
test_open_during_rename (void **state)
{
  struct holder holder = { .rename = true };
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  holder.guard = guard_take (path, look_at_web ().id, false, &status);
  assert_int_not_equal (holder.guard, -1);
  assert_int_equal (
      pthread_create (&holder.thread, NULL, let_go_later, &holder), 0);
  disk = open_disk ("web", false);
  join (&holder);
  assert_int_equal (disk_get_info (disk)->id, look_at_web ().id);
  assert_int_equal (disk_get_info (disk)->size, BLOCK);
  disk_close (disk);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Hidden snapshots.
 */

static const char hidden_sql[] =
    "SELECT count (*) FROM snapshot WHERE name LIKE '%/%'";

static int
count_snapshot (const struct snapshot_info *info, void *opaque)
{
  int *count = opaque;

  (void)info;
  ++*count;
  return 0;
}

/* A pinned disk stays, whatever others do, and leaves nothing. */
static void
test_pin (void **state)
{
  struct disk *pinned, *of_snapshot;
  struct status status;
  const char *target = "web@monday";
  int count = 0;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("monday");
  fill_web (2);
  pinned = manage_pin (store, "web", &status);
  assert_non_null (pinned);
  of_snapshot = manage_pin (store, "web@monday", &status);
  assert_non_null (of_snapshot);
  assert_int_equal (ask (hidden_sql), 2);
  assert_ok (
      manage_list_snapshots (store, NULL, count_snapshot, &count, &status),
      &status);
  assert_int_equal (count, 1);
  for (uint32_t i = 3; i < 10; i++) {
    fill_web (i);
    assert_int_equal (number_in (pinned), 2);
  }
  assert_ok (manage_delete_snapshots (store, &target, 1, &status), &status);
  assert_int_equal (number_in (of_snapshot), 1);
  assert_ok (manage_rename (store, "web", "net", &status), &status);
  assert_int_equal (number_in (pinned), 2);
  assert_ok (manage_delete (store, "net", true, false, &status), &status);
  manage_unpin (store, pinned);
  manage_unpin (store, of_snapshot);
  assert_int_equal (ask (hidden_sql), 0);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  unit_assert_reclaimed (path);
  store_close (store);
}

/* What a copy that was killed has left is deleted, but not that of one that
 * goes on.
 */
static void
test_forget_copies (void **state)
{
  struct status status;
  struct disk *pinned;
  int result;
  pid_t pid;

  (void)state;
  begin ();
  fill_web (1);
  store_close (store);
  pid = fork ();
  assert_int_not_equal (pid, -1);
  if (pid == 0) {
    store = unit_open_store (path);
    _exit (manage_pin (store, "web", &status) == NULL);
  }
  assert_int_equal (waitpid (pid, &result, 0), pid);
  assert_int_equal (result, 0);
  store = unit_open_store (path);
  assert_int_equal (ask (hidden_sql), 1);
  pinned = manage_pin (store, "web", &status);
  assert_non_null (pinned);
  assert_fails (manage_forget_copies (store, &status), &status, EBUSY, "copy");
  fill_web (2);
  assert_int_equal (number_in (pinned), 1);
  manage_unpin (store, pinned);
  assert_int_equal (ask (hidden_sql), 1);
  assert_ok (manage_forget_copies (store, &status), &status);
  assert_int_equal (ask (hidden_sql), 0);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  unit_assert_reclaimed (path);
  assert_int_equal (number_of ("web"), 2);
  store_close (store);
}

/* Where there is nothing to free, nothing is locked and nothing written. */
static void
test_nothing_to_reclaim (void **state)
{
  const char *target = "web@monday";
  uint64_t freed = 1;
  struct status status;
  int guard;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("monday");
  fill_web (2);
  guard = guard_keep_rows (path, &status);
  assert_int_not_equal (guard, -1);
  assert_ok (manage_reclaim (store, NULL, NULL, &freed, &status), &status);
  assert_int_equal (freed, 0);
  assert_ok (manage_delete_snapshots (store, &target, 1, &status), &status);
  assert_fails (manage_reclaim (store, NULL, NULL, &freed, &status), &status,
                EBUSY, "copy");
  guard_release (guard);
  assert_ok (manage_reclaim (store, NULL, NULL, &freed, &status), &status);
  assert_int_not_equal (freed, 0);
  unit_assert_reclaimed (path);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Roll-backs by force.
 */

#define READERS 4

/* A connection that reads all of the disk again and again. */
struct connected {
  pthread_t thread;
  struct disk *disk;
  uint32_t number;   /* that the disk has when it is opened */
  atomic_uint reads; /* that succeeded */
  const char *wrong; /* what should not be */
  struct status status;
};

/* Read until it fails. */
static void *
read_on (void *opaque)
{
  struct connected *connected = opaque;
  uint32_t words[WORDS];

  while (disk_read (connected->disk, words, 0, sizeof words,
                    &connected->status) == 0) {
    for (size_t i = 0; i < WORDS; i++)
      if (words[i] != connected->number)
        connected->wrong = "it reads what it was not when it was opened";
    atomic_fetch_add (&connected->reads, 1);
  }
  if (connected->status.error != EIO)
    connected->wrong = connected->status.message;
  return NULL;
}

/* Wait until each connection has read once more, or has failed. */
static void
await_reads (struct connected *connected)
{
  for (int i = 0; i < READERS; i++)
    for (int tries = 0; tries < 10000 && connected[i].reads < 3; tries++)
      nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void
test_force (void **state)
{
  struct connected connected[READERS];
  struct status status;
  struct disk *writer;

  (void)state;
  begin ();
  fill_web (1);
  take_snapshot ("one");
  for (uint32_t round = 2; round < 30; round++) {
    fill_web (round);
    writer = open_disk ("web", false);
    /* This waits a while for the writer to go. */
    if (round == 2)
      assert_fails (manage_rollback (store, "web@one", false, &status), &status,
                    EBUSY, "open for writing");
    memset (connected, 0, sizeof connected);
    for (int i = 0; i < READERS; i++) {
      connected[i].disk = open_disk ("web", true);
      connected[i].number = round;
      assert_int_equal (
          pthread_create (&connected[i].thread, NULL, read_on, &connected[i]),
          0);
    }
    await_reads (connected);
    assert_ok (manage_rollback (store, "web@one", true, &status), &status);
    assert_fails (fill (writer, 99, &status), &status, EIO, "web");
    assert_fails (disk_trim (writer, 0, BLOCK, false, &status), &status, EIO,
                  "web");
    for (int i = 0; i < READERS; i++) {
      assert_int_equal (pthread_join (connected[i].thread, NULL), 0);
      if (connected[i].wrong)
        fail_msg ("%s", connected[i].wrong);
      assert_true (connected[i].reads > 0);
      disk_close (connected[i].disk);
    }
    disk_close (writer);
    assert_int_equal (number_of ("web"), 1);
  }
  store_close (store);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_times),
    unit_test (test_spans),
    unit_test (test_names_of_times),
    unit_test (test_clock_steps_back),
    unit_test (test_several_disks),
    unit_test (test_slots),
    unit_test (test_renamed),
    unit_test (test_slots_again),
    unit_test (test_thinning),
    unit_test (test_held),
    unit_test (test_settings),
    unit_test (test_clock_ahead),
    unit_test (test_backlog),
    unit_test (test_damaged_disk),
    unit_test (test_idle_disk),
    unit_test (test_looked_at_before),
    unit_test (test_size_of_snapshot),
    unit_test (test_resize_of_another_size),
    unit_test (test_open_of_another_epoch),
    unit_test (test_guards),
    unit_test (test_guard_goes),
    unit_test (test_guard_stays),
    unit_test (test_guard_of_another_disk),
    unit_test (test_open_during_rollback),
    unit_test (test_open_during_rename),
    unit_test (test_pin),
    unit_test (test_forget_copies),
    unit_test (test_nothing_to_reclaim),
    unit_test (test_force),
  };

  /* Central Europe, without a need for files of zones. */
  setenv ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  tzset ();
  return cmocka_run_group_tests (tests, NULL, NULL);
}

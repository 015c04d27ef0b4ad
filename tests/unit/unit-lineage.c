/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* May a client that was cut off go on: what is told, read, and compared. */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "unit.h"

#include "base/lineage.h"

static const struct lineage usual = {
  .run = "ffeeddccbbaa99887766554433221100",
  .boot = "0c7a1b6e-5c1d-4a4e-9d5c-0a1b2c3d4e5f",
  .file = "65024:1234",
  .born = "1234:1764460800.000000001",
  .database = "000102030405060708090a0b0c0d0e0f",
  .disk = 7,
  .epoch = 2,
  .size = UINT64_C (1) << 40,
};

/* What is printed is read as it was. */
static void
test_text (void **state)
{
  struct lineage lineage = usual, read;
  char text[LINEAGE_TEXT];

  (void)state;
  lineage.durable = true;
  lineage.size = INT64_MAX;
  lineage.snapshot = UINT64_MAX;
  lineage.shrunk = 5;
  lineage_print (&lineage, text);
  memset (&read, 0, sizeof read);
  assert_true (lineage_parse (text, &read));
  assert_string_equal (read.run, lineage.run);
  assert_string_equal (read.boot, lineage.boot);
  assert_string_equal (read.file, lineage.file);
  assert_string_equal (read.born, lineage.born);
  assert_string_equal (read.database, lineage.database);
  assert_int_equal (read.disk, 7);
  assert_true (read.snapshot == UINT64_MAX && read.shrunk == 5);
  assert_int_equal (read.epoch, 2);
  assert_int_equal (read.size, INT64_MAX);
  assert_true (read.durable);
  /* A file on a cluster has no device. */
  lineage.file[0] = '\0';
  lineage_print (&lineage, text);
  assert_true (lineage_parse (text, &read));
  assert_string_equal (read.file, "");
}

/* Whatever else is read is refused, or has other values, but never more than
 * there is room for.
 */
static void
test_other_text (void **state)
{
  struct lineage read;
  char text[LINEAGE_TEXT], changed[LINEAGE_TEXT + 1];

  (void)state;
  lineage_print (&usual, text);
  assert_false (lineage_parse ("", &read));
  assert_false (lineage_parse ("sqlblock-lineage 2\n", &read));
  for (size_t length = 0; length + 1 < strlen (text); length++) {
    snprintf (changed, sizeof changed, "%.*s", (int)length, text);
    assert_false (lineage_parse (changed, &read));
  }
  for (size_t at = 0; at < strlen (text); at++)
    for (int byte = 1; byte < 256; byte++) {
      strcpy (changed, text);
      changed[at] = (char)byte;
      if (lineage_parse (changed, &read)) {
        assert_true (strlen (read.run) < sizeof read.run);
        assert_true (strlen (read.boot) < sizeof read.boot);
        assert_true (strlen (read.file) < sizeof read.file);
        assert_true (strlen (read.database) < sizeof read.database);
      }
    }
}

/* What may differ, and what may not. */
static void
test_broken (void **state)
{
  struct lineage before = usual, now = usual;

  (void)state;
  assert_null (lineage_broken (&before, &now));
  now.run[0]++;
  assert_null (lineage_broken (&before, &now));
  now.size *= 2;
  assert_null (lineage_broken (&before, &now));
  assert_string_equal (lineage_broken (&now, &before), "the disk has shrunk");
  now = usual;
  now.shrunk++;
  assert_string_equal (lineage_broken (&before, &now), "the disk has shrunk");
  now = usual;
  now.epoch++;
  assert_string_equal (lineage_broken (&before, &now),
                       "the disk was rolled back");
  now = usual;
  now.disk++;
  assert_non_null (lineage_broken (&before, &now));
  now = usual;
  now.database[0]++;
  assert_non_null (lineage_broken (&before, &now));
  now = usual;
  now.boot[0]++;
  assert_non_null (lineage_broken (&before, &now));
  now.durable = true;
  assert_non_null (lineage_broken (&before, &now));
  now = usual;
  now.file[0]++;
  assert_non_null (lineage_broken (&before, &now));
}

/* What was synced, or cannot change, is there after another boot, too; but not
 * on another disk.
 */
static void
test_durable (void **state)
{
  struct lineage before = usual, now = usual;

  (void)state;
  now.boot[0]++;
  now.file[0]++;
  before.durable = true;
  assert_null (lineage_broken (&before, &now));
  now.epoch++;
  assert_non_null (lineage_broken (&before, &now));
  /* Another file may lack what was acknowledged since it was told last. */
  now.epoch = before.epoch;
  now.born[5]++;
  assert_non_null (lineage_broken (&before, &now));
  now.born[0] = '\0';
  assert_non_null (lineage_broken (&before, &now));
  strcpy (now.file, before.file);
  assert_null (lineage_broken (&before, &now));
  before = now = usual;
  before.snapshot = now.snapshot = 3;
  now.boot[0]++;
  assert_null (lineage_broken (&before, &now));
  now.snapshot++;
  assert_non_null (lineage_broken (&before, &now));
}

/* NOW has what was told under BEFORE, or lacks it. */
static void
assert_has (const struct lineage *before, const struct lineage *now, bool has)
{
  const char *why = lineage_broken (before, now);

  assert_true (has ? why == NULL
                   : why && strstr (why, "lacks what it had") != NULL);
}

/* Whoever was told of a database goes on with a later state of it, not with an
 * earlier one, and not with what an earlier one has become.
 */
static void
test_told (void **state)
{
  struct lineage before = usual, now = usual, older, read;
  uint64_t one = 0, two = 0;
  char text[LINEAGE_TEXT];

  (void)state;
  tellers_count (&now.told, &one, UINT64_MAX);
  assert_true (one == UINT64_MAX);
  assert_has (&before, &now, true);
  assert_has (&now, &before, false);
  older = before = now;
  tellers_count (&now.told, &one, 5);
  assert_true (one == UINT64_MAX && now.told.count == 1);
  assert_has (&before, &now, true);
  before = now;
  assert_has (&before, &older, false);
  /* What was put back counts on, by another server. */
  for (uint64_t i = 0; i < 10; i++)
    tellers_count (&older.told, &two, 7);
  assert_true (two == 7 && older.told.count == 2);
  assert_has (&before, &older, false);
  /* The same, where all is synced, and may be on another machine. */
  before.durable = true;
  older.boot[0]++;
  assert_has (&before, &older, false);
  older.told = now.told;
  assert_has (&before, &older, true);
  /* It is forgotten while the server goes on, which so gets another number. */
  now.told.count = 0;
  tellers_count (&now.told, &one, 9);
  assert_true (one == 9);
  assert_has (&before, &now, false);
  /* It is read as it was printed. */
  tellers_count (&now.told, &two, 7);
  now.told.entries[1].times = UINT64_MAX;
  lineage_print (&now, text);
  assert_true (lineage_parse (text, &read));
  assert_int_equal (read.told.count, 2);
  assert_memory_equal (read.told.entries, now.told.entries,
                       2 * sizeof now.told.entries[0]);
}

/* So many servers are remembered, each time the one that told last, and the
 * longest text has room.
 */
static void
test_many (void **state)
{
  struct lineage before = usual, now = usual, read;
  char text[LINEAGE_TEXT];
  uint64_t one = 0;

  (void)state;
  tellers_count (&before.told, &one, UINT64_MAX);
  now.told = before.told;
  memset (now.run, 'f', sizeof now.run - 1);
  memset (now.boot, 'f', sizeof now.boot - 1);
  memset (now.file, 'f', sizeof now.file - 1);
  memset (now.database, 'f', sizeof now.database - 1);
  now.disk = now.epoch = INT64_MAX;
  now.snapshot = now.shrunk = now.size = UINT64_MAX;
  for (uint64_t i = 1; i < TELLERS_MAX; i++) {
    uint64_t other = 0;

    tellers_count (&now.told, &other, UINT64_MAX - i);
    now.told.entries[0].times = UINT64_MAX;
    lineage_print (&now, text);
    assert_true (lineage_parse (text, &read));
    assert_int_equal (read.told.count, i + 1);
    read = usual;
    read.told = now.told;
    assert_has (&before, &read, true);
  }
  tellers_count (&now.told, &(uint64_t){ 0 }, 3);
  assert_int_equal (now.told.count, TELLERS_MAX);
  read.told = now.told;
  assert_has (&before, &read, false);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_text),   cmocka_unit_test (test_other_text),
    cmocka_unit_test (test_broken), cmocka_unit_test (test_durable),
    cmocka_unit_test (test_told),   cmocka_unit_test (test_many),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

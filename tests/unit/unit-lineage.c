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
  lineage.snapshot = INT64_MAX;
  lineage_print (&lineage, text);
  memset (&read, 0, sizeof read);
  assert_true (lineage_parse (text, &read));
  assert_string_equal (read.run, lineage.run);
  assert_string_equal (read.boot, lineage.boot);
  assert_string_equal (read.file, lineage.file);
  assert_string_equal (read.database, lineage.database);
  assert_int_equal (read.disk, 7);
  assert_int_equal (read.snapshot, INT64_MAX);
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
  before = now = usual;
  before.snapshot = now.snapshot = 3;
  now.boot[0]++;
  assert_null (lineage_broken (&before, &now));
  now.snapshot++;
  assert_non_null (lineage_broken (&before, &now));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_text),
    cmocka_unit_test (test_other_text),
    cmocka_unit_test (test_broken),
    cmocka_unit_test (test_durable),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

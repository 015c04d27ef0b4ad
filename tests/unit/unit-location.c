/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Locations on a cluster: what is one, and what its parts may be. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "cluster/location.h"

static void
test_right (void **state)
{
  static const struct {
    const char *path, *uri;
  } right[] = {
    { "rados:sql/disk.sqlite", "/sql:/disk.sqlite" },
    { "rados:sql:web/a", "/sql:web/a" },
    { "rados:.p-1_X:n.s/...", "/.p-1_X:n.s/..." },
    { "rados:a/-wal", "/a:/-wal" },
    { "rados:a/x-wal.sqlite", "/a:/x-wal.sqlite" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
    struct location location;
    struct status status;
    char uri[LOCATION_URI_PATH];

    assert_true (location_is_cluster (right[i].path));
    assert_ok (location_parse (right[i].path, &location, &status), &status);
    location_uri_path (&location, uri);
    assert_string_equal (uri, right[i].uri);
  }
}

static void
test_files (void **state)
{
  static const char *const files[] = {
    "./rados:sql/a", "/rados:sql/a", "rados", "rados/a",
    "Rados:sql/a",   "xrados:a/b",   "",
  };

  (void)state;
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
    assert_false (location_is_cluster (files[i]));
}

static void
test_wrong (void **state)
{
  static const char *const wrong[] = {
    "rados:",          "rados:sql",          "rados:/a",
    "rados:sql/",      "rados:sql:/a",       "rados::n/a",
    "rados:sql:n:m/a", "rados:sql/a/b",      "rados:sql//a",
    "rados:sql/..",    "rados:../a",         "rados:sql:../a",
    "rados:sql/.",     "rados:sql/a?b",      "rados:sql/a%2f",
    "rados:sql/a b",   "rados:sql/a#",       "rados:sql/a&vfs=unix",
    "rados:sql/a\n",   "rados:sql/\303\244", "rados:*1/a",
    "rados:sql/a:b",   "rados:sql/a-wal",    "rados:sql/a-journal",
    "rados:sql/a-shm", "rados:sql/a-lock",
  };

  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct location location;
    struct status status;

    assert_true (location_is_cluster (wrong[i]));
    if (location_parse (wrong[i], &location, &status) != -1)
      fail_msg ("%s was taken", wrong[i]);
    assert_int_equal (status.error, EINVAL);
    assert_non_null (strstr (status.message, "rados:POOL/NAME"));
  }
}

/* Each part may have 200 bytes, and no more. */
static void
test_long (void **state)
{
  char part[202];

  (void)state;
  memset (part, 'x', sizeof part);
  for (int length = 200; length <= 201; length++)
    for (int i = 0; i < 3; i++) {
      struct location location;
      struct status status;
      char path[700];
      int r;

      snprintf (path, sizeof path, "rados:%.*s:%.*s/%.*s", i == 0 ? length : 1,
                part, i == 1 ? length : 1, part, i == 2 ? length : 1, part);
      r = location_parse (path, &location, &status);
      assert_int_equal (r, length == 200 ? 0 : -1);
    }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_right),
    cmocka_unit_test (test_files),
    cmocka_unit_test (test_wrong),
    cmocka_unit_test (test_long),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

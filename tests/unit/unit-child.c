/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Work in a child process: what it says comes back, also where it never says
 * anything.
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "base/child.h"
#include "base/clock.h"
#include "server/hook.h"

static int
succeed (void *opaque, struct status *status)
{
  (void)status;
  (*(int *)opaque)++; /* in the memory of the child */
  return *(int *)opaque;
}

static int
refuse (void *opaque, struct status *status)
{
  (void)opaque;
  return status_fail (status, EROFS, "nothing of %s", "that");
}

static int
hang (void *opaque, struct status *status)
{
  (void)status;
  while (opaque)
    pause ();
  return 0;
}

static int
die (void *opaque, struct status *status)
{
  (void)opaque;
  (void)status;
  abort ();
}

static void
test_results (void **state)
{
  struct status status;
  int number = 6;

  (void)state;
  assert_int_equal (child_run (succeed, &number, "it", 60, &status), 7);
  assert_int_equal (number, 6);
  assert_int_equal (child_run (refuse, NULL, "it", 60, &status), -1);
  assert_int_equal (status.error, EROFS);
  assert_string_equal (status.message, "nothing of that");
}

static void
test_no_answer (void **state)
{
  const uint64_t began = clock_now ();
  struct status status;

  assert_int_equal (child_run (hang, state, "it", 1, &status), -1);
  assert_int_equal (status.error, ETIMEDOUT);
  assert_string_equal (status.message, "it: there was no answer in 1 s");
  assert_true (clock_now () - began >= CLOCK_SECOND);
  assert_int_equal (child_run (die, NULL, "it", 60, &status), -1);
  assert_int_equal (status.error, EIO);
  assert_non_null (strstr (status.message, "it: "));
  assert_non_null (strstr (status.message, strsignal (SIGABRT)));
}

/* Whose children are gone as they end knows that, and kills nobody else. */
static void
test_ignored (void **state)
{
  const struct hook_options options = { .program = "/bin/true", .timeout = 60 };
  const struct hook_event event = { "before", "db", "web", "auto", "" };
  const uint64_t began = clock_now ();
  struct status status;
  int number = 6;

  (void)state;
  signal (SIGCHLD, SIG_IGN);
  assert_int_equal (child_run (succeed, &number, "it", 60, &status), 7);
  assert_int_equal (child_run (die, NULL, "it", 60, &status), -1);
  assert_int_equal (status.error, EIO);
  assert_int_equal (hook_call (&options, &event, NULL, &status), -1);
  assert_non_null (strstr (status.message, "is not known"));
  child_begin ();
  assert_int_equal (hook_call (&options, &event, NULL, &status), 0);
  assert_true (clock_now () - began < 30 * CLOCK_SECOND);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_results),
    cmocka_unit_test (test_no_answer),
    cmocka_unit_test (test_ignored),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

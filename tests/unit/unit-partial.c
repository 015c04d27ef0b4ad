/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is kept of receptions: how long, and what becomes of it; and tokens.
 * What users see of it, test-resume.sh has.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "manage.h"
#include "rows/partial.h"
#include "stream.h"

#define BLOCK  4096
#define BLOCKS 64

static char *path;
static struct store *store;
static char data[BLOCKS * BLOCK];

/* A whole snapshot that comes in. */
static const struct manage_incoming whole = {
  .disk = "web",
  .size = sizeof data,
  .block_size = BLOCK,
  .snapshot = "one",
  .guid = 7,
  .created = 1,
};

static void
begin (void)
{
  const struct disk_options options = { .name = "other", .size = BLOCK };
  struct status status;

  path = unit_database ();
  memset (data, 'x', sizeof data);
  assert_ok (store_provide (path, &options, &status), &status);
  store = unit_open_store (path);
}

/* Receive COUNT blocks, which are kept, and then end as if it was cut off. */
static void
receive_part (const struct manage_incoming *incoming, uint64_t count)
{
  struct status status;
  struct disk *disk = manage_receive (store, incoming, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  assert_ok (disk_fill (disk, data, incoming->resumed, count * BLOCK, &status),
             &status);
  assert_ok (manage_receive_keep (store, disk, incoming,
                                  incoming->resumed + count * BLOCK, &status),
             &status);
  manage_receive_cancel (store, disk);
}

static int
take_partial (const struct partial_info *info, void *opaque)
{
  *(struct partial_info *)opaque = *info;
  return 0;
}

/* How much is kept, in blocks. */
static uint64_t
kept (void)
{
  struct partial_info info = { .position = 0 };
  struct status status;

  assert_ok (manage_list_partial (store, take_partial, &info, &status),
             &status);
  return info.position / BLOCK;
}

static unsigned
clean (void)
{
  struct status status;
  unsigned removed;

  assert_ok (manage_receive_clean (store, &removed, &status), &status);
  return removed;
}

/* As if nothing more had come for SECONDS. */
static void
age (int64_t seconds)
{
  store_close (store);
  unit_sql_on (path,
               "UPDATE property SET value = printf ('%%011d',"
               "  CAST (value AS INTEGER) - %lld) || substr (value, 12)"
               " WHERE key = 'local:resume'; %s",
               (long long)seconds, unit_property_checksums);
  store = unit_open_store (path);
}

static void
test_kept_for_a_week (void **state)
{
  (void)state;
  begin ();
  receive_part (&whole, 5);
  assert_int_equal (kept (), 5);
  age (604800 - 100);
  assert_int_equal (kept (), 5);
  assert_int_equal (clean (), 0);
  age (200);
  assert_int_equal (kept (), 0);
  assert_int_equal (clean (), 1);
  assert_int_equal (unit_integer_on (path, "SELECT count (*) FROM disk"), 1);
  /* Or by the next reception. */
  receive_part (&whole, 5);
  age (604801);
  receive_part (&whole, 2);
  assert_int_equal (kept (), 2);
  store_close (store);
}

static void
test_goes_on (void **state)
{
  struct manage_incoming rest = whole;
  struct status status;
  struct disk *disk;
  char *read = malloc (sizeof data);

  (void)state;
  begin ();
  receive_part (&whole, 5);
  assert_null (manage_receive (store, &whole, &status));
  assert_fails (-1, &status, EEXIST, "is kept");
  rest.resumed = (uint64_t)4 * BLOCK;
  assert_null (manage_receive (store, &rest, &status));
  assert_fails (-1, &status, EINVAL, "its token is an old one");
  rest.resumed = (uint64_t)5 * BLOCK;
  rest.guid = 8;
  assert_null (manage_receive (store, &rest, &status));
  assert_fails (-1, &status, EINVAL, "with another one");
  rest.guid = whole.guid;
  rest.size += BLOCK;
  assert_null (manage_receive (store, &rest, &status));
  assert_fails (-1, &status, EINVAL, "with another one");
  rest.size = whole.size;
  receive_part (&rest, 10);
  assert_int_equal (kept (), 15);
  rest.resumed = (uint64_t)15 * BLOCK;
  disk = manage_receive (store, &rest, &status);
  assert_non_null (disk);
  assert_ok (manage_receive_abort (store, "web", &status) == -1 ? 0 : -1,
             &status);
  assert_fails (-1, &status, EBUSY, "just being received");
  assert_ok (
      disk_fill (disk, data, rest.resumed, sizeof data - rest.resumed, &status),
      &status);
  assert_ok (manage_receive_end (store, disk, &rest, &status), &status);
  assert_int_equal (kept (), 0);
  disk = disk_open (store, "web@one", true, &status);
  assert_non_null (disk);
  assert_ok (disk_read (disk, read, 0, sizeof data, &status), &status);
  assert_memory_equal (read, data, sizeof data);
  disk_close (disk);
  assert_fails (manage_receive_abort (store, "web", &status), &status, ENOENT,
                "nothing that was received");
  assert_int_equal (
      unit_integer_on (path, "SELECT count (*) FROM property WHERE kind = 1"),
      0);
  free (read);
  store_close (store);
}

/* What cannot be kept, and a row that is damaged. */
static void
test_odd (void **state)
{
  struct status status;
  struct disk *disk;

  (void)state;
  begin ();
  disk = manage_receive (store, &whole, &status);
  assert_non_null (disk);
  assert_fails (manage_receive_keep (store, disk, &whole, 0, &status), &status,
                EINVAL, "cannot be kept");
  assert_fails (manage_receive_keep (store, disk, &whole, 100, &status),
                &status, EINVAL, "cannot be kept");
  assert_fails (
      manage_receive_keep (store, disk, &whole, sizeof data + BLOCK, &status),
      &status, EINVAL, "cannot be kept");
  manage_receive_cancel (store, disk);
  assert_int_equal (unit_integer_on (path, "SELECT count (*) FROM disk"), 1);
  receive_part (&whole, 5);
  store_close (store);
  unit_sql_on (path, "UPDATE property SET value = value || 'x'"
                     " WHERE key = 'local:resume'");
  store = unit_open_store (path);
  assert_int_equal (kept (), 0);
  store_close (store);
}

static atomic_bool ending;

/* Remove what was left behind, again and again, as another process would. */
static void *
run_cleaning (void *opaque)
{
  struct store *other = unit_open_store (path);
  struct status status;
  unsigned removed;

  (void)opaque;
  while (!ending)
    assert_ok (manage_receive_clean (other, &removed, &status), &status);
  store_close (other);
  return NULL;
}

/* What begins to come in was not left behind. */
static void
test_beside_cleaning (void **state)
{
  struct manage_incoming rest = whole;
  struct status status;
  struct disk *disk;
  pthread_t thread;

  (void)state;
  begin ();
  ending = false;
  assert_int_equal (pthread_create (&thread, NULL, run_cleaning, NULL), 0);
  for (int i = 0; i < 100; i++) {
    disk = manage_receive (store, &whole, &status);
    if (disk == NULL)
      fail_msg ("reception %d: %s", i, status.message);
    manage_receive_cancel (store, disk);
  }
  receive_part (&whole, 5);
  rest.resumed = (uint64_t)5 * BLOCK;
  receive_part (&rest, 5);
  assert_int_equal (kept (), 10);
  ending = true;
  pthread_join (thread, NULL);
  store_close (store);
}

static void
test_tokens (void **state)
{
  const struct stream_token token = {
    .guid = -5,
    .base_guid = 9,
    .size = (uint64_t)10 * BLOCK,
    .position = BLOCK,
    .block_size = BLOCK,
  };
  char text[STREAM_TOKEN_MAX], changed[STREAM_TOKEN_MAX];
  struct stream_token read;
  struct status status;

  (void)state;
  stream_token_print (&token, text);
  assert_ok (stream_token_read (text, &read, &status), &status);
  assert_true (read.guid == token.guid && read.base_guid == token.base_guid &&
               read.size == token.size && read.position == token.position &&
               read.block_size == token.block_size);
  for (size_t i = 0; text[i]; i++) {
    strcpy (changed, text);
    changed[i] = text[i] == 'a' ? 'b' : 'a';
    assert_int_equal (stream_token_read (changed, &read, &status), -1);
    assert_int_equal (status.error, EINVAL);
    strcpy (changed, text);
    changed[i] = '\0';
    assert_int_equal (stream_token_read (changed, &read, &status), -1);
  }
  strcat (text, "0");
  assert_fails (stream_token_read (text, &read, &status), &status, EINVAL,
                "damaged");
  stream_token_print (&(struct stream_token){ .guid = 1 }, text);
  assert_fails (stream_token_read (text, &read, &status), &status, EINVAL,
                "makes no sense");
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_kept_for_a_week),
    unit_test (test_goes_on),
    unit_test (test_odd),
    unit_test (test_beside_cleaning),
    unit_test (test_tokens),
  };

  unit_alarm (60);
  return cmocka_run_group_tests (tests, NULL, NULL);
}

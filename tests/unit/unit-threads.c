/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Many threads on a few disks, with everything going on at once: writes,
 * reads, trims, flushes, extents, clients that come and go, a log so short
 * that it starts over all the time, and another program that holds locks.
 *
 * Each disk has a block for each thread, whose contents that thread knows,
 * and a range that all of them write whole: whoever reads it must see one
 * write, not parts of two.  This is also what ThreadSanitizer looks at.
 */

#include <config.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "unit.h"

#include "store.h"

#define BLOCK      4096
#define DISKS      3
#define THREADS    9
#define OPERATIONS 2000

/* The range that all threads of a disk write. */
#define SHARED_START (100 * BLOCK)
#define SHARED_COUNT (4 * BLOCK)

static const struct checkpoint_limits short_log = {
  .start = 256 << 10,
  .bound = 1 << 20,
  .idle = 10,
};

static char *path;
static struct store *store;
static atomic_bool stop;

/* What went wrong in a thread; cmocka works in the main one only. */
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;
static char failure[1100];

static void
failed (const char *what, const struct status *status)
{
  pthread_mutex_lock (&failure_lock);
  if (failure[0] == '\0')
    snprintf (failure, sizeof failure, "%s: %s", what,
              status ? status->message : "");
  pthread_mutex_unlock (&failure_lock);
  atomic_store (&stop, true);
}

/* One client. */
struct client {
  int number;
  pthread_t thread;
  uint64_t seed;
  struct disk *disk;
  uint64_t place; /* of its own block */
  char own[BLOCK];
};

static const char *
disk_name (int number)
{
  static const char *const names[DISKS] = { "a", "b", "c" };

  return names[number % DISKS];
}

static void
open_disk (struct client *client)
{
  struct status status;

  client->disk = disk_open (store, disk_name (client->number), false, &status);
  if (client->disk == NULL)
    failed ("open", &status);
}

static void
write_own (struct client *client)
{
  const uint64_t offset = random_below (&client->seed, BLOCK);
  const uint64_t count = 1 + random_below (&client->seed, BLOCK - offset);
  struct status status;

  random_fill (&client->seed, client->own + offset, count);
  if (disk_write (client->disk, client->own + offset, client->place + offset,
                  count, random_below (&client->seed, 8) == 0, &status) == -1)
    failed ("write", &status);
}

static void
clear_own (struct client *client, bool trim)
{
  struct status status;

  memset (client->own, 0, BLOCK);
  if ((trim ? disk_trim : disk_zero) (client->disk, client->place, BLOCK, false,
                                      &status) == -1)
    failed ("clear", &status);
}

static void
read_own (struct client *client)
{
  struct status status;
  char got[BLOCK];

  if (disk_read (client->disk, got, client->place, BLOCK, &status) == -1)
    failed ("read", &status);
  else if (memcmp (got, client->own, BLOCK) != 0)
    failed ("a client's own block is not what it wrote", NULL);
}

static void
write_shared (struct client *client)
{
  char data[SHARED_COUNT];
  struct status status;

  memset (data, random_below (&client->seed, 256), sizeof data);
  if (disk_write (client->disk, data, SHARED_START, SHARED_COUNT, false,
                  &status) == -1)
    failed ("write of the shared range", &status);
}

static void
read_shared (struct client *client)
{
  char got[SHARED_COUNT];
  struct status status;

  if (disk_read (client->disk, got, SHARED_START, SHARED_COUNT, &status) == -1)
    failed ("read of the shared range", &status);
  else if (memcmp (got, got + 1, sizeof got - 1) != 0)
    failed ("a read shows parts of two writes", NULL);
}

/* The shared range is data as a whole, or none of it is. */
static int
check_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  (void)hole;
  (void)opaque;
  return offset == SHARED_START && count == SHARED_COUNT ? 0 : -1;
}

static void
map_shared (struct client *client)
{
  struct status status;

  if (disk_extents (client->disk, SHARED_START, SHARED_COUNT, false,
                    check_extent, NULL, &status) == -1)
    failed ("the map shows a part of a write", &status);
}

static void
do_something (struct client *client)
{
  struct status status;

  switch (random_below (&client->seed, 16)) {
  case 0:
    clear_own (client, true);
    break;
  case 1:
    clear_own (client, false);
    break;
  case 2:
    if (disk_flush (client->disk, &status) == -1)
      failed ("flush", &status);
    break;
  case 3:
    disk_close (client->disk);
    open_disk (client);
    break;
  case 4:
    if (store_list (store, unit_ignore_disk, NULL, &status) == -1)
      failed ("list", &status);
    break;
  case 5:
    map_shared (client);
    break;
  case 6:
  case 7:
    write_shared (client);
    break;
  case 8:
  case 9:
    read_shared (client);
    break;
  case 10:
  case 11:
  case 12:
    read_own (client);
    break;
  default:
    write_own (client);
  }
}

static void *
run_client (void *opaque)
{
  struct client *client = opaque;

  open_disk (client);
  for (int i = 0; i < OPERATIONS && !atomic_load (&stop); i++)
    do_something (client);
  if (client->disk)
    disk_close (client->disk);
  return NULL;
}

/* Another program: it reads for a while, or holds the write lock. */
static void *
run_other (void *opaque)
{
  static const char *const transactions[] = {
    "BEGIN; SELECT count (*) FROM block",
    "BEGIN IMMEDIATE",
  };
  sqlite3 *db = opaque;

  sqlite3_busy_timeout (db, 10000);
  for (int i = 0; !atomic_load (&stop); i++) {
    if (sqlite3_exec (db, transactions[i % 2], NULL, NULL, NULL) != SQLITE_OK)
      failed ("another program", NULL);
    nanosleep (&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    sqlite3_exec (db, "COMMIT", NULL, NULL, NULL);
    nanosleep (&(struct timespec){ .tv_nsec = 5000000 }, NULL);
  }
  return NULL;
}

/* Who waits for others to wait, as the plugin does. */
static void *
run_watcher (void *opaque)
{
  (void)opaque;
  while (store_await_wait (store))
    ;
  return NULL;
}

static void
make_disks (void)
{
  struct disk_options options = { .size = 1 << 20, .block_size = BLOCK };
  struct status status;

  path = unit_database ();
  for (int i = 0; i < DISKS; i++) {
    options.name = disk_name (i);
    assert_ok (store_provide (path, &options, &status), &status);
  }
}

static void
start (pthread_t *thread, void *(*run) (void *), void *opaque)
{
  assert_int_equal (pthread_create (thread, NULL, run, opaque), 0);
}

static void
test_threads (void **state)
{
  static struct client clients[THREADS];
  const struct store_options options = { .limits = short_log,
                                         .warn = unit_ignore_warning };
  const uint64_t seed = unit_seed ();
  pthread_t other, watcher;
  struct status status;
  sqlite3 *db;

  (void)state;
  make_disks ();
  store = store_open (path, &options, &status);
  assert_non_null (store);
  db = unit_open_raw (path);
  start (&watcher, run_watcher, NULL);
  for (int i = 0; i < THREADS; i++) {
    clients[i] =
        (struct client){ .number = i, .seed = seed + i, .place = i * BLOCK };
    start (&clients[i].thread, run_client, &clients[i]);
  }
  start (&other, run_other, db);
  for (int i = 0; i < THREADS; i++)
    pthread_join (clients[i].thread, NULL);
  atomic_store (&stop, true);
  pthread_join (other, NULL);
  store_interrupt (store);
  pthread_join (watcher, NULL);
  sqlite3_close (db);
  store_close (store);
  if (failure[0])
    fail_msg ("%s", failure);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_threads),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

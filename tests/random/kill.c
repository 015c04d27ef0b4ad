/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Rounds of kill -9 under load, without any flush.
 *
 * In each round several connections write as much as the server takes,
 * with many requests in flight, until the server is killed at a random
 * moment and started again.  Then the whole disk is read.  Every write that
 * was acknowledged must be there; each of those in flight must be there as
 * a whole or not at all.
 *
 * The disk is an array of sectors.  Each sector carries a stamp: the round,
 * the number of the write, and the sector's own offset; the rest of it
 * follows from the stamp.  So what is found in a wrong state also tells
 * when and for which place it was written.  A sector has no more than one
 * write in flight, but several in flight may share a block of the disk.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "random.h"
#include "serving.h"

#define SECTOR 4096

/* Writes in flight for each connection. */
#define DEPTH 16

/* A round takes at most this long. */
#define ROUND_MICROSECONDS 600000

struct stamp {
  uint64_t round;
  uint64_t number; /* of the write, from 1; 0: the sector is zeroes */
  uint64_t offset; /* of the sector */
};

struct write {
  uint64_t number; /* 0: this one is not in flight */
  uint64_t first;  /* sector */
  uint64_t count;  /* of sectors */
  char *data;
};

static uint64_t rounds = 10;

static struct connections connections;
static struct write writes[DEPTH * MAX_CONNECTIONS];
static unsigned write_count;
static struct stamp *stamps; /* of what was acknowledged */
static bool *busy;           /* sectors with a write in flight */
static uint64_t sectors, round_number, write_number;
static uint64_t randoms;
static bool crashed; /* the server was killed */

static struct {
  uint64_t acknowledged, whole, absent;
} counts;

static void
fill_sector (char *sector, const struct stamp *stamp)
{
  uint64_t rest = stamp->number ^ stamp->offset;

  memset (sector, 0, SECTOR);
  if (stamp->number == 0)
    return;
  memcpy (sector, stamp, sizeof *stamp);
  random_fill (&rest, sector + sizeof *stamp, SECTOR - sizeof *stamp);
}

static struct stamp
stamp_of (const struct write *write, uint64_t sector)
{
  return (struct stamp){ .round = round_number,
                         .number = write->number,
                         .offset = sector * SECTOR };
}

/* Is the sector what this stamp says? */
static bool
has_stamp (const char *disk, uint64_t sector, struct stamp stamp)
{
  char expected[SECTOR];

  fill_sector (expected, &stamp);
  return memcmp (disk + sector * SECTOR, expected, SECTOR) == 0;
}

static void __attribute__ ((noreturn))
fail_sector (const char *disk, uint64_t sector, const char *what)
{
  const struct stamp *expected = &stamps[sector];
  struct stamp found;

  memcpy (&found, disk + sector * SECTOR, sizeof found);
  fail ("round %" PRIu64 ", offset %" PRIu64
        ": %s: acknowledged was round %" PRIu64 " write %" PRIu64
        ", found is round %" PRIu64 " write %" PRIu64 " offset %" PRIu64,
        round_number, sector * SECTOR, what, expected->round, expected->number,
        found.round, found.number, found.offset);
}

/* The write is over; its sectors may be written again. */
static void
forget (struct write *write)
{
  memset (busy + write->first, 0, write->count * sizeof *busy);
  free (write->data);
  write->data = NULL;
  write->number = 0;
}

/* Sectors of the write now have its stamp. */
static void
apply (const struct write *write)
{
  uint64_t sector;

  for (sector = write->first; sector < write->first + write->count; sector++)
    stamps[sector] = stamp_of (write, sector);
}

static int
on_written (void *user_data, int *error)
{
  struct write *write = user_data;

  if (*error != 0 && crashed)
    return 1;
  if (*error != 0)
    fail ("round %" PRIu64 ": write %" PRIu64 " failed: %s", round_number,
          write->number, strerror (*error));
  counts.acknowledged++;
  apply (write);
  forget (write);
  return 1;
}

/* Choose sectors for a write; false when one of them is busy. */
static bool
choose_sectors (struct write *write)
{
  uint64_t i;

  write->count = 1;
  if (random_below (&randoms, 4) == 0)
    write->count += random_below (&randoms, 32);
  if (random_below (&randoms, 100) == 0)
    write->count += random_below (&randoms, 512);
  if (write->count > sectors)
    write->count = sectors;
  write->first = random_below (&randoms, sectors - write->count + 1);
  for (i = write->first; i < write->first + write->count; i++) {
    if (busy[i])
      return false;
  }
  return true;
}

static void
send_write (struct write *write, struct nbd_handle *nbd)
{
  nbd_completion_callback done = { .callback = on_written, .user_data = write };
  struct stamp stamp;
  uint64_t i;

  write->number = ++write_number;
  write->data = malloc (write->count * SECTOR);
  if (write->data == NULL)
    fail ("no memory");
  for (i = 0; i < write->count; i++) {
    stamp = stamp_of (write, write->first + i);
    fill_sector (write->data + i * SECTOR, &stamp);
    busy[write->first + i] = true;
  }
  if (nbd_aio_pwrite (nbd, write->data, write->count * SECTOR,
                      write->first * SECTOR, done, 0) == -1)
    fail ("write: %s", nbd_get_error ());
}

/* Write for some time, then kill the server. */
static void
write_until_kill (void)
{
  uint64_t end =
      now_microseconds () + random_below (&randoms, ROUND_MICROSECONDS);
  unsigned i;

  while (now_microseconds () < end) {
    for (i = 0; i < write_count; i++) {
      if (writes[i].number == 0 && choose_sectors (&writes[i]))
        send_write (&writes[i], connections.nbd[i % connections.count]);
    }
    connections_wait (&connections, 1000);
  }
  crashed = true;
  server_kill ();
  connections_drain (&connections);
  connections_close (&connections);
}

/* Is the write, which was in flight at the kill, there or not? */
static void
settle (struct write *write, const char *disk)
{
  uint64_t i, end = write->first + write->count;
  bool whole = has_stamp (disk, write->first, stamp_of (write, write->first));

  for (i = write->first; i < end; i++) {
    if (!has_stamp (disk, i, whole ? stamp_of (write, i) : stamps[i]))
      fail_sector (disk, i, "a write in flight is there in part");
  }
  if (whole) {
    counts.whole++;
    apply (write);
  }
  else
    counts.absent++;
  forget (write);
}

static void
check_disk (void)
{
  char *disk = read_disk (&connections);
  uint64_t i;

  for (i = 0; i < write_count; i++) {
    if (writes[i].number != 0)
      settle (&writes[i], disk);
  }
  for (i = 0; i < sectors; i++) {
    if (!has_stamp (disk, i, stamps[i]))
      fail_sector (disk, i, "an acknowledged write is lost");
  }
  free (disk);
}

static void
prepare (void)
{
  sectors = settings.size / SECTOR;
  write_count = DEPTH * settings.connections;
  stamps = calloc (sectors, sizeof *stamps);
  busy = calloc (sectors, sizeof *busy);
  if (sectors == 0 || stamps == NULL || busy == NULL)
    fail ("a disk of this size cannot be tested");
  randoms = settings.seed;
  server_create ();
}

int
main (int argc, char *argv[])
{
  const struct number_option own[] = {
    { "rounds", &rounds, "how often the server is killed (10)" },
  };

  settings.size = 64 << 20;
  parse_options (argc, argv, own, 1);
  prepare ();
  server_start ();
  connections_open (&connections, settings.connections);
  for (round_number = 1; round_number <= rounds; round_number++) {
    crashed = false;
    write_until_kill ();
    server_start ();
    connections_open (&connections, settings.connections);
    check_disk ();
  }
  connections_close (&connections);
  server_remove ();
  printf ("kill-rounds: %" PRIu64 " rounds, %" PRIu64
          " acknowledged writes, lost 0; in flight at the kills: %" PRIu64
          " whole, %" PRIu64 " absent\n"
          "kill-rounds: seed %" PRIu64 "\n",
          rounds, counts.acknowledged, counts.whole, counts.absent,
          settings.seed);
  free (stamps);
  free (busy);
  return 0;
}

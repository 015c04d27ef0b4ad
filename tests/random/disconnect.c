/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Clients that vanish in the middle of their requests change nothing for
 * the others.
 *
 * The server commits the writes of several clients together.  So a client
 * that goes away may take part in a commit that others wait for, or even be
 * the one that does it for all.  Here some clients, the victims, are
 * processes that do nothing but write; they are killed again and again with
 * requests in flight and half sent, or disconnect by themselves without
 * waiting for the replies.  The others, the survivors, write and read all
 * the time: each of their requests must succeed, and no byte of theirs may
 * be lost.
 *
 * The disk is cut into regions of odd lengths, which belong in turns to the
 * survivors and to the victims.  So nearly every block is shared between
 * them.  A victim always writes a whole region with the same byte: a region
 * in which two bytes differ was written in part.
 *
 * That a request which fails leaves the others of its commit alone is
 * tested in the store's unit tests: nbdkit lets no request through that
 * could fail, such as one past the disk's end.
 */

#include <config.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "random.h"
#include "serving.h"

/* Requests in flight for each connection. */
#define DEPTH 16

#define MAX_VICTIMS 16

/* A victim lives at most this long, times the number of victims. */
#define LIFE_MICROSECONDS 20000

#define MAX_REGIONS 65536

struct region {
  uint64_t offset, length;
  uint64_t version; /* 0: zeroes; acknowledged last */
  bool busy;        /* a request is in flight */
};

/* Of a survivor, or of a victim, which uses data and in_flight only. */
struct request {
  bool in_flight;
  struct region *region;
  uint64_t version; /* to write; 0: read */
  char *data;
};

static uint64_t kills = 100, victim_count = 3;

static struct region regions[MAX_REGIONS];
static unsigned region_count; /* even: of the survivors, odd: the victims' */
static struct connections survivors;
static struct request requests[DEPTH * MAX_CONNECTIONS];
static pid_t victims[MAX_VICTIMS];
static uint64_t randoms;

static struct {
  uint64_t writes, reads, killed, disconnected;
} counts;

/* Cut the disk into regions.  Every tenth or so is of a MiB or more, which
 * a client cannot send at once.
 */
static void
cut_regions (void)
{
  struct region *region;
  uint64_t offset = 0;

  while (offset < settings.size && region_count < MAX_REGIONS) {
    region = &regions[region_count++];
    region->offset = offset;
    region->length = 1 + random_below (&randoms, 4 * settings.block_size);
    if (random_below (&randoms, 100) == 0)
      region->length += 1 << 20;
    if (region->length > settings.size - offset)
      region->length = settings.size - offset;
    offset += region->length;
  }
  if (region_count < 2)
    fail ("the disk is too small");
}

static struct region *
choose_region (unsigned odd)
{
  return &regions[random_below (&randoms, region_count / 2) * 2 + odd];
}

static void
fill_version (const struct region *region, uint64_t version, char *data)
{
  uint64_t content = region->offset ^ version << 40;

  if (version == 0)
    memset (data, 0, region->length);
  else
    random_fill (&content, data, region->length);
}

/* The survivors' region must be as it was written last. */
static void
check_region (const struct region *region, const char *shown)
{
  char *expected = malloc (region->length);
  uint64_t i;

  if (expected == NULL)
    fail ("no memory");
  fill_version (region, region->version, expected);
  i = first_difference (shown, expected, region->length);
  if (i < region->length)
    fail ("byte %" PRIu64 " is 0x%02x, must be 0x%02x (version %" PRIu64
          " of the region at %" PRIu64 ")",
          region->offset + i, (unsigned char)shown[i],
          (unsigned char)expected[i], region->version, region->offset);
  free (expected);
}

static int
on_reply (void *user_data, int *error)
{
  struct request *request = user_data;
  struct region *region = request->region;

  if (*error != 0)
    fail ("a survivor's %s at %" PRIu64 " failed: %s",
          request->version ? "write" : "read", region->offset,
          strerror (*error));
  if (request->version != 0) {
    counts.writes++;
    region->version = request->version;
  }
  else {
    counts.reads++;
    check_region (region, request->data);
  }
  region->busy = false;
  request->in_flight = false;
  free (request->data);
  return 1;
}

/* Send a survivor's next request, unless its region is in use. */
static void
send_request (struct request *request, struct nbd_handle *nbd)
{
  nbd_completion_callback done = { .callback = on_reply, .user_data = request };
  struct region *region = choose_region (0);
  uint32_t fua = random_below (&randoms, 20) ? 0 : LIBNBD_CMD_FLAG_FUA;
  int64_t cookie;

  if (region->busy)
    return;
  region->busy = true;
  request->in_flight = true;
  request->region = region;
  request->data = malloc (region->length);
  if (request->data == NULL)
    fail ("no memory");
  request->version = random_below (&randoms, 4) ? region->version + 1 : 0;
  if (request->version != 0) {
    fill_version (region, request->version, request->data);
    cookie = nbd_aio_pwrite (nbd, request->data, region->length, region->offset,
                             done, fua);
  }
  else
    cookie = nbd_aio_pread (nbd, request->data, region->length, region->offset,
                            done, 0);
  if (cookie == -1)
    fail ("a survivor's request: %s", nbd_get_error ());
}

/* All the survivors' requests that are free go out again. */
static void
send_requests (void)
{
  unsigned i;

  for (i = 0; i < DEPTH * survivors.count; i++) {
    if (!requests[i].in_flight)
      send_request (&requests[i], survivors.nbd[i % survivors.count]);
  }
}

static int
on_victim_reply (void *user_data, int *error)
{
  struct request *request = user_data;

  if (*error != 0)
    fail ("a victim's write failed: %s", strerror (*error));
  free (request->data);
  request->in_flight = false;
  return 1;
}

static void
send_victim_request (struct request *request, struct nbd_handle *nbd)
{
  nbd_completion_callback done = { .callback = on_victim_reply,
                                   .user_data = request };
  const struct region *region = choose_region (1);

  request->in_flight = true;
  request->data = malloc (region->length);
  if (request->data == NULL)
    fail ("no memory");
  memset (request->data, 1 + random_below (&randoms, 255), region->length);
  if (nbd_aio_pwrite (nbd, request->data, region->length, region->offset, done,
                      0) == -1)
    fail ("a victim's request: %s", nbd_get_error ());
}

/* A victim's life: it writes until it is killed, or disconnects early. */
static void __attribute__ ((noreturn)) be_victim (void)
{
  struct connections own;
  struct request writes[DEPTH] = { 0 };
  bool disconnects = random_below (&randoms, 3) == 0;
  uint64_t end;
  unsigned i;

  write_to_log ();
  connections_open (&own, 1);
  end = now_microseconds () + random_below (&randoms, LIFE_MICROSECONDS);
  while (!disconnects || now_microseconds () < end) {
    for (i = 0; i < DEPTH; i++) {
      if (!writes[i].in_flight)
        send_victim_request (&writes[i], own.nbd[0]);
    }
    connections_wait (&own, 1000);
  }
  nbd_aio_disconnect (own.nbd[0], 0);
  _exit (0);
}

static void
start_victim (unsigned i)
{
  uint64_t seed = random_next (&randoms);

  victims[i] = fork ();
  if (victims[i] == -1)
    fail ("fork failed");
  if (victims[i] == 0) {
    randoms = seed;
    be_victim ();
  }
}

static void
kill_victim (unsigned i)
{
  int status;

  kill (victims[i], SIGKILL);
  if (waitpid (victims[i], &status, 0) != victims[i])
    fail ("waitpid failed");
  if (WIFSIGNALED (status))
    counts.killed++;
  else if (WEXITSTATUS (status) == 0)
    counts.disconnected++;
  else
    fail ("a victim had an error");
}

/* The survivors work while one victim after the other goes. */
static void
run (void)
{
  uint64_t next = 0, gone = 0;
  unsigned i;

  for (i = 0; i < victim_count; i++)
    start_victim (i);
  while (gone < kills) {
    send_requests ();
    connections_wait (&survivors, 1000);
    if (now_microseconds () >= next) {
      i = random_below (&randoms, victim_count);
      kill_victim (i);
      start_victim (i);
      gone++;
      next = now_microseconds () + random_below (&randoms, LIFE_MICROSECONDS);
    }
  }
  for (i = 0; i < victim_count; i++)
    kill_victim (i);
  for (i = 0; i < DEPTH * survivors.count; i++) {
    while (requests[i].in_flight)
      connections_wait (&survivors, 1000000);
  }
}

static void
check_disk (void)
{
  char *disk = read_disk (&survivors);
  const struct region *region;
  const char *shown;
  unsigned i;

  for (i = 0; i < region_count; i++) {
    region = &regions[i];
    shown = disk + region->offset;
    if (i % 2 == 0)
      check_region (region, shown);
    else if (memcmp (shown, shown + 1, region->length - 1) != 0)
      fail ("a victim's write at %" PRIu64 " of %" PRIu64
            " bytes is there in part",
            region->offset, region->length);
  }
  free (disk);
}

int
main (int argc, char *argv[])
{
  const struct number_option own[] = {
    { "kills", &kills, "of victims (100)" },
    { "victims", &victim_count, "how many at once (3)" },
  };

  settings.size = 32 << 20;
  parse_options (argc, argv, own, 2);
  if (victim_count == 0 || victim_count > MAX_VICTIMS)
    fail ("1 to %d victims", MAX_VICTIMS);
  randoms = settings.seed;
  cut_regions ();
  server_create ();
  server_start ();
  connections_open (&survivors, settings.connections);
  run ();
  check_disk ();
  if (!server_runs ())
    fail ("the server has ended");
  connections_close (&survivors);
  server_remove ();
  printf ("disconnect: %" PRIu64 " clients killed, %" PRIu64
          " disconnected; the others made %" PRIu64 " writes and %" PRIu64
          " reads, failed 0, different 0\n"
          "disconnect: seed %" PRIu64 "\n",
          counts.killed, counts.disconnected, counts.writes, counts.reads,
          settings.seed);
  return 0;
}

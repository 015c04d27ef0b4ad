/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A randomized check of the disk against a model.
 *
 * Random requests go to the server over several connections, many in
 * flight at once, and a copy of the disk in memory, the shadow, takes the
 * same changes.  What the server answers must always agree with it.
 *
 * The order of requests that are in flight together is undefined.  So a
 * request that changes bytes locks them until its reply is here, and one
 * that would touch locked bytes has to wait.  The locks are on bytes, not
 * on blocks: two requests that share a block and no byte do run together,
 * on purpose.  A server that reads, modifies and writes a block without
 * care loses one of the two.
 *
 * The seed and the options decide the sequence of the requests, whatever
 * the timing: a request that has to wait holds up all those after it.
 *
 * At random moments the server is killed with SIGKILL.  After the restart
 * every acknowledged change must be there, and each of the others must be
 * there as a whole or not at all; the shadow takes what the server shows.
 *
 * A trim makes whole blocks read as zeroes, and leaves the partial ones at
 * its edges as they are.  A zero always zeroes all its bytes.
 *
 * On SIGUSR1 there are no more requests, and all is checked as at the end:
 * for a test that does something else at the same time.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "random.h"
#include "serving.h"

/* Requests in flight for each connection, on average. */
#define DEPTH 8

/* The last BURST requests before a kill are long changes, up to LONG bytes,
 * so that it hits some of them halfway.
 */
#define BURST 8
#define LONG  (256 << 10)

/* A trim or zero of more stored blocks than this may be done in steps, in
 * the order of the blocks, of which a crash can leave the first ones.
 */
#define ATOMIC_BLOCKS 65536

enum kind { READ, WRITE, ZERO, TRIM, STATUS, CACHE, FLUSH, KINDS };

static const struct {
  const char *name;
  unsigned weight;
} kinds[KINDS] = {
  [READ] = { "reads", 26 },   [WRITE] = { "writes", 34 },
  [ZERO] = { "zeroes", 12 },  [TRIM] = { "trims", 12 },
  [STATUS] = { "maps", 9 },   [CACHE] = { "caches", 4 },
  [FLUSH] = { "flushes", 3 },
};

struct request {
  bool in_flight;
  enum kind kind;
  uint64_t number; /* in the sequence, from 1 */
  unsigned connection;
  uint32_t flags;
  uint64_t offset, length;
  uint64_t start, end; /* the bytes that it reads or changes: its lock */
  char *data;          /* to write, or read */
  uint64_t described;  /* bytes of which the map has told */
};

static uint64_t operations = 20000, kills = 5;

static struct connections connections;
static struct request requests[DEPTH * MAX_CONNECTIONS];
static unsigned request_count;
static char *shadow;
static uint64_t sequence;        /* of requests */
static uint64_t sequence_number; /* of the latest request */
static uint64_t moments;         /* of kills */
static uint64_t kill_after;      /* the number of a request */
static bool crashed;             /* the server was killed */
static volatile sig_atomic_t told_to_end;

static struct {
  uint64_t kind[KINDS], fua, not_fast, shared_block;
  uint64_t kills, whole, absent, partial;
} counts;

static void
note_signal (int signal)
{
  (void)signal;
  told_to_end = 1;
}

static bool
changes (const struct request *request)
{
  return request->kind == WRITE || request->kind == ZERO ||
         request->kind == TRIM;
}

static bool
is_zero (const char *data, uint64_t length)
{
  return length == 0 ||
         (data[0] == 0 && memcmp (data, data + 1, length - 1) == 0);
}

/* REQUEST is NULL when the whole disk is compared. */
static void __attribute__ ((noreturn, format (printf, 2, 3)))
fail_request (const struct request *request, const char *format, ...)
{
  char text[200];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  if (request == NULL)
    fail ("the disk after operation %" PRIu64 ": %s", sequence_number, text);
  fail ("operation %" PRIu64 " (%s, offset %" PRIu64 ", length %" PRIu64
        ", flags %#x, connection %u): %s",
        request->number, kinds[request->kind].name, request->offset,
        request->length, request->flags, request->connection, text);
}

/* What the server shows from OFFSET on must be what the shadow has. */
static void
compare (const struct request *request, const char *shown, uint64_t offset,
         uint64_t length)
{
  const char *expected = shadow + offset;
  uint64_t i = first_difference (shown, expected, length);

  if (i == length)
    return;
  fail_request (request,
                "byte %" PRIu64 " (byte %" PRIu64 " of block %" PRIu64
                ") is 0x%02x, must be 0x%02x",
                offset + i, (offset + i) % settings.block_size,
                (offset + i) / settings.block_size, (unsigned char)shown[i],
                (unsigned char)expected[i]);
}

/* A reply to a map request tells of extents, in order and without gaps,
 * from the request's offset on and not past its end.  What is called a
 * hole or zeroes must be zeroes.
 */
static int
on_extents (void *user_data, const char *context, uint64_t offset,
            uint32_t *entries, size_t count, int *error)
{
  struct request *request = user_data;
  size_t i;

  (void)context;
  if (*error != 0 || offset != request->offset || request->described != 0)
    fail_request (request, "a wrong reply: offset %" PRIu64 ", error %d",
                  offset, *error);
  if ((request->flags & LIBNBD_CMD_FLAG_REQ_ONE) != 0 && count != 2)
    fail_request (request, "not one extent but %zu", count / 2);
  for (i = 0; i + 1 < count; i += 2) {
    if (entries[i] == 0 || entries[i] > request->length - request->described)
      fail_request (request, "extent of %" PRIu32 " bytes at %" PRIu64,
                    entries[i], offset);
    if (entries[i + 1] != 0 && !is_zero (shadow + offset, entries[i]))
      fail_request (request, "%" PRIu32 " bytes at %" PRIu64 " are not zeroes",
                    entries[i], offset);
    request->described += entries[i];
    offset += entries[i];
  }
  return 0;
}

/* The change is acknowledged: the shadow takes it too. */
static void
apply (const struct request *request)
{
  uint64_t length = request->end - request->start;

  if (request->kind == WRITE)
    memcpy (shadow + request->start, request->data, length);
  else
    memset (shadow + request->start, 0, length);
}

static void
forget (struct request *request)
{
  free (request->data);
  request->data = NULL;
  request->in_flight = false;
}

/* Every request ends here, unless the server was killed first. */
static int
on_reply (void *user_data, int *error)
{
  struct request *request = user_data;

  if (*error != 0 && crashed)
    return 1;
  if ((request->flags & LIBNBD_CMD_FLAG_FAST_ZERO) != 0 &&
      (*error == ENOTSUP || *error == EOPNOTSUPP))
    counts.not_fast++;
  else if (*error != 0)
    fail_request (request, "%s", strerror (*error));
  else if (changes (request))
    apply (request);
  else if (request->kind == READ)
    compare (request, request->data, request->offset, request->length);
  else if (request->kind == STATUS && request->described == 0)
    fail_request (request, "the reply has no extents");
  forget (request);
  return 1;
}

/* Mostly around a block, sometimes long, and rarely MiBs. */
static uint64_t
choose_length (bool is_long)
{
  uint64_t block = settings.block_size, length;
  uint64_t choice = random_below (&sequence, 200);

  if (is_long)
    length = 1 + random_below (&sequence, LONG);
  else if (choice < 100)
    length = 1 + random_below (&sequence, block);
  else if (choice < 150)
    length = 1 + random_below (&sequence, 4 * block);
  else if (choice < 188)
    length = block * (1 + random_below (&sequence, 4));
  else if (choice < 198)
    length = 1 + random_below (&sequence, LONG);
  else
    length = 1 + random_below (&sequence, 6 << 20);
  return length < settings.size ? length : settings.size;
}

/* Often right after the request before, so that two share a block; often
 * in the few blocks at the disk's start or at its end.
 */
static uint64_t
choose_offset (uint64_t after, uint64_t length)
{
  uint64_t bound = settings.size - length + 1;
  uint64_t near = 64 * settings.block_size;
  uint64_t choice = random_below (&sequence, 8);
  uint64_t offset;

  if (near > bound)
    near = bound;
  if (choice < 3)
    offset = after < bound ? after : bound - 1;
  else if (choice < 5)
    offset = random_below (&sequence, near);
  else if (choice < 6)
    offset = bound - 1 - random_below (&sequence, near);
  else
    offset = random_below (&sequence, bound);
  if (random_below (&sequence, 4) == 0)
    offset -= offset % settings.block_size;
  return offset;
}

static enum kind
choose_kind (void)
{
  unsigned i, n, sum = 0;

  for (i = 0; i < KINDS; i++)
    sum += kinds[i].weight;
  n = random_below (&sequence, sum);
  for (i = 0; n >= kinds[i].weight; i++)
    n -= kinds[i].weight;
  return i;
}

static enum kind
choose_change (void)
{
  static const enum kind choices[] = { WRITE, WRITE, ZERO, TRIM };

  return choices[random_below (&sequence, 4)];
}

/* Random bytes; sometimes some or all of them are zeroes. */
static void
choose_data (struct request *request)
{
  uint64_t from;

  random_fill (&sequence, request->data, request->length);
  switch (random_below (&sequence, 8)) {
  case 0:
    memset (request->data, 0, request->length);
    break;
  case 1:
    from = random_below (&sequence, request->length);
    memset (request->data + from, 0,
            1 + random_below (&sequence, request->length - from));
    break;
  default:
    break;
  }
}

static uint32_t
choose_flags (enum kind kind)
{
  uint32_t flags = 0;

  if (kind == WRITE || kind == ZERO || kind == TRIM) {
    if (random_below (&sequence, 10) == 0)
      flags |= LIBNBD_CMD_FLAG_FUA;
  }
  if (kind == ZERO) {
    if (random_below (&sequence, 2) == 0)
      flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    if (random_below (&sequence, 3) == 0)
      flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  }
  if (kind == STATUS && random_below (&sequence, 4) == 0)
    flags |= LIBNBD_CMD_FLAG_REQ_ONE;
  return flags;
}

/* Find the bytes that the request reads or changes.  The disk's last
 * block counts as whole even when the disk ends within it.
 */
static void
set_range (struct request *request)
{
  uint64_t block = settings.block_size;

  request->start = request->offset;
  request->end = request->offset + request->length;
  if (request->kind == TRIM) {
    request->start = (request->start + block - 1) / block * block;
    if (request->end != settings.size)
      request->end -= request->end % block;
  }
  if (request->kind == FLUSH || request->kind == CACHE ||
      request->end < request->start)
    request->start = request->end = request->offset;
}

/* The next request of the sequence. */
static void
choose_request (struct request *request)
{
  static uint64_t after;
  bool kill_is_near;

  memset (request, 0, sizeof *request);
  request->number = ++sequence_number;
  kill_is_near = kill_after - request->number < BURST;
  request->kind = kill_is_near ? choose_change () : choose_kind ();
  request->connection = random_below (&sequence, settings.connections);
  request->flags = choose_flags (request->kind);
  request->length = choose_length (kill_is_near);
  request->offset = choose_offset (after, request->length);
  after = request->offset + request->length;
  set_range (request);
  if (request->kind == READ || request->kind == WRITE) {
    request->data = malloc (request->length);
    if (request->data == NULL)
      fail ("no memory");
  }
  if (request->kind == WRITE)
    choose_data (request);
}

static bool
overlap (uint64_t a_start, uint64_t a_end, uint64_t b_start, uint64_t b_end)
{
  return a_start < b_end && b_start < a_end;
}

/* True when NEXT has to wait for a request in flight. */
static bool
is_locked (const struct request *next)
{
  const struct request *request;

  for (request = requests; request < requests + request_count; request++) {
    if (request->in_flight && (changes (request) || changes (next)) &&
        overlap (request->start, request->end, next->start, next->end))
      return true;
  }
  return false;
}

static struct request *
find_free (void)
{
  struct request *request;

  for (request = requests; request < requests + request_count; request++) {
    if (!request->in_flight)
      return request;
  }
  return NULL;
}

static bool
any_in_flight (void)
{
  const struct request *request;

  for (request = requests; request < requests + request_count; request++) {
    if (request->in_flight)
      return true;
  }
  return false;
}

/* Does NEXT change a block that another change in flight is about? */
static bool
shares_block (const struct request *next)
{
  const struct request *request;
  uint64_t block = settings.block_size;

  for (request = requests; request < requests + request_count; request++) {
    if (request->in_flight && changes (request) && changes (next) &&
        request->start < request->end && next->start < next->end &&
        overlap (request->start / block, (request->end - 1) / block + 1,
                 next->start / block, (next->end - 1) / block + 1))
      return true;
  }
  return false;
}

static int64_t
send_request (struct request *request)
{
  struct nbd_handle *nbd = connections.nbd[request->connection];
  nbd_completion_callback done = { .callback = on_reply, .user_data = request };
  nbd_extent_callback extents = { .callback = on_extents,
                                  .user_data = request };
  uint64_t length = request->length, offset = request->offset;

  switch (request->kind) {
  case READ:
    return nbd_aio_pread (nbd, request->data, length, offset, done, 0);
  case WRITE:
    return nbd_aio_pwrite (nbd, request->data, length, offset, done,
                           request->flags);
  case ZERO:
    return nbd_aio_zero (nbd, length, offset, done, request->flags);
  case TRIM:
    return nbd_aio_trim (nbd, length, offset, done, request->flags);
  case STATUS:
    return nbd_aio_block_status (nbd, length, offset, extents, done,
                                 request->flags);
  case CACHE:
    return nbd_aio_cache (nbd, length, offset, done, 0);
  default:
    return nbd_aio_flush (nbd, done, 0);
  }
}

/* Choose the next request and send it as soon as it may run. */
static void
do_operation (void)
{
  struct request next, *request;

  choose_request (&next);
  while (is_locked (&next) || find_free () == NULL)
    connections_wait (&connections, 1000000);
  if (shares_block (&next))
    counts.shared_block++;
  if ((next.flags & LIBNBD_CMD_FLAG_FUA) != 0)
    counts.fua++;
  counts.kind[next.kind]++;
  request = find_free ();
  *request = next;
  request->in_flight = true;
  if (send_request (request) == -1)
    fail_request (request, "%s", nbd_get_error ());
}

/* A trim or zero that may be done in steps: were the first ones done?
 * The blocks before some block must be zeroes, and the others as before.
 */
static bool
is_first_part (const struct request *request, const char *shown)
{
  uint64_t block = settings.block_size, at = request->start;

  if (request->kind == WRITE ||
      (request->end - request->start) / block <= ATOMIC_BLOCKS)
    return false;
  while (at < request->end && shown[at] == 0)
    at++;
  at -= at % block;
  if (at < request->start)
    at = request->start;
  return memcmp (shown + at, shadow + at, request->end - at) == 0;
}

/* A change was in flight when the server was killed.  It must be there as
 * a whole or not at all, and the shadow takes what is there.
 */
static void
settle (const struct request *request, const char *shown)
{
  uint64_t start = request->start, length = request->end - request->start;

  if (memcmp (shown + start, shadow + start, length) == 0)
    counts.absent++;
  else if (request->kind == WRITE
               ? memcmp (shown + start, request->data, length) == 0
               : is_zero (shown + start, length))
    counts.whole++;
  else if (is_first_part (request, shown))
    counts.partial++;
  else
    fail_request (request, "in flight at the kill, and a part of it is there");
  memcpy (shadow + start, shown + start, length);
}

/* The whole disk must be what the shadow is, but for the requests that
 * were in flight at a kill.
 */
static void
check_disk (void)
{
  struct request *request;
  char *shown = read_disk (&connections);

  for (request = requests; request < requests + request_count; request++) {
    if (request->in_flight && changes (request) &&
        request->start < request->end)
      settle (request, shown);
    forget (request);
  }
  compare (NULL, shown, 0, settings.size);
  free (shown);
}

/* Kill the server at once or within a few milliseconds, while the requests
 * in flight go on.
 */
static void
crash (void)
{
  uint64_t most = UINT64_C (1) << random_below (&moments, 14);
  uint64_t end = now_microseconds () + random_below (&moments, most);
  uint64_t now;

  while ((now = now_microseconds ()) < end)
    connections_wait (&connections, end - now);
  crashed = true;
  server_kill ();
  counts.kills++;
  connections_drain (&connections);
  connections_close (&connections);
}

/* Start the server again.  Sometimes it is killed once more while it
 * starts: that must not harm either.
 */
static void
recover (void)
{
  server_start ();
  if (random_below (&moments, 3) == 0) {
    sleep_microseconds (random_below (&moments, 30000));
    server_kill ();
    server_start ();
  }
  connections_open (&connections, settings.connections);
  crashed = false;
  check_disk ();
}

static void
check_capabilities (void)
{
  struct nbd_handle *nbd = connections.nbd[0];

  if (nbd_get_size (nbd) != (int64_t)settings.size)
    fail ("the size is %" PRId64, nbd_get_size (nbd));
  if (nbd_can_flush (nbd) != 1 || nbd_can_fua (nbd) != 1 ||
      nbd_can_trim (nbd) != 1 || nbd_can_zero (nbd) != 1 ||
      nbd_can_fast_zero (nbd) != 1 || nbd_can_cache (nbd) != 1 ||
      nbd_can_multi_conn (nbd) != 1 ||
      nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    fail ("the server does not offer every kind of request");
}

static void
run (void)
{
  uint64_t part = operations / (kills + 1);

  while (sequence_number < operations && !told_to_end) {
    if (sequence_number % part == 0 && sequence_number / part < kills)
      kill_after = sequence_number + 1 + random_below (&moments, part);
    do_operation ();
    if (sequence_number == kill_after) {
      crash ();
      recover ();
    }
  }
  while (any_in_flight ())
    connections_wait (&connections, 1000000);
  check_disk ();
}

static void
print_counts (void)
{
  unsigned i;

  printf ("model-check: %" PRIu64 " operations over %" PRIu64
          " connections on %" PRIu64 " bytes in blocks of %" PRIu64 ":\n ",
          sequence_number, settings.connections, settings.size,
          settings.block_size);
  for (i = 0; i < KINDS; i++)
    printf (" %" PRIu64 " %s%s", counts.kind[i], kinds[i].name,
            i + 1 < KINDS ? "," : "\n");
  printf ("  %" PRIu64 " with FUA, %" PRIu64 " zeroes not fast, %" PRIu64
          " changes beside another in one block\n",
          counts.fua, counts.not_fast, counts.shared_block);
  printf ("  %" PRIu64 " kills: of the changes in flight %" PRIu64
          " were whole, %" PRIu64 " absent, %" PRIu64 " done in part\n",
          counts.kills, counts.whole, counts.absent, counts.partial);
  printf ("model-check: seed %" PRIu64 ", differences 0\n", settings.seed);
}

int
main (int argc, char *argv[])
{
  const struct number_option own[] = {
    { "operations", &operations, "how many requests (20000)" },
    { "kills", &kills, "of the server (5)" },
  };

  settings.size += 12345;
  parse_options (argc, argv, own, 2);
  sequence = settings.seed;
  moments = ~settings.seed;
  sigaction (
      SIGUSR1,
      &(struct sigaction){ .sa_handler = note_signal, .sa_flags = SA_RESTART },
      NULL);
  request_count = DEPTH * settings.connections;
  shadow = calloc (1, settings.size);
  if (shadow == NULL || operations <= kills)
    fail ("too large a size, or fewer operations than kills");
  server_create ();
  server_start ();
  connections_open (&connections, settings.connections);
  check_capabilities ();
  run ();
  crash ();
  recover ();
  print_counts ();
  connections_close (&connections);
  server_remove ();
  free (shadow);
  return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Group commit: see writer.h. */

#include <config.h>

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "block/checksum.h"
#include "base/clock.h"
#include "block/codec.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "base/counters.h"
#include "engine/writer-parts.h"

/* One transaction takes at most this many operations, and at most this many
 * bytes unless one operation alone has more.
 */
#define BATCH_OPERATIONS 256
#define BATCH_BYTES      (8 * 1024 * 1024)

/* How much shorter a step gets where there is no room for it. */
#define SHORTER 16

/* The longest that a leader gives way, in nanoseconds. */
#define LONGEST_DELAY 50000000

/* What an operation that is no request counts as in a batch, in bytes. */
#define CHANGE_BYTES (1024 * 1024)

/*--------------------------------------------------------------------
 * Leading.
 */

/* SQLite tells the size of the log after each commit. */
static int
note_log_size (void *opaque, sqlite3 *db, const char *name, int pages)
{
  struct writer *writer = opaque;

  (void)db;
  (void)name;
  writer->log_bytes = pages * writer->page_size;
  return SQLITE_OK;
}

/* Since when an operation has waited for the lock of another program, and
 * not for those that stood before it.
 */
static uint64_t
waiting_since (const struct writer *writer, const struct operation *operation)
{
  return operation->asked > writer->locked_since ? operation->asked
                                                 : writer->locked_since;
}

/* A sync of the mark has failed (marking.h): it is not forgotten, and the
 * checkpointer is to make it good.
 */
static void
note_failed_sync (struct writer *writer)
{
  if (!flusher_failure (writer->flusher))
    flusher_fail (writer->flusher);
  if (writer->committed)
    writer->committed (writer->log_bytes, writer->opaque);
}

/* Begin a transaction, and wait for its lock as long as the first operation
 * of LIST may.
 */
static int
begin (struct writer *writer, const struct operation *list,
       struct status *status)
{
  if (writer->locked_since == 0)
    writer->locked_since = clock_now ();
  writer->connection.asked = waiting_since (writer, list);
  if (flusher_settle (writer->flusher, status) == -1)
    return -1;
  if (marking_begin (&writer->connection, status) == -1) {
    if (status->sqlite == SQLITE_IOERR_FSYNC)
      note_failed_sync (writer);
    return -1;
  }
  writer->locked_since = 0;
  return 0;
}

/* Run the first of *COUNT operations of a list, and more of them until it is
 * enough for one transaction.  Returns 0 and in *COUNT how many it ran, or -1
 * with nothing changed; *BEGUN says whether the transaction could begin.
 */
static int
run_transaction (struct writer *writer, struct operation *list, size_t *count,
                 bool *begun, struct status *status)
{
  struct connection *connection = &writer->connection;
  const int changes = sqlite3_total_changes (connection->db);
  const uint64_t began = clock_now ();
  size_t run = 0;
  bool others;
  int r;

  writer->changed = false;
  connection->shared = *count > 1;
  *begun = false;
  if (flusher_gave_up (writer->flusher))
    return log_fail_damaged (status);
  if (place_check_at_times (&writer->connections->place, status) == -1)
    return -1;
  if (begin (writer, list, status) == -1)
    return -1;
  *begun = true;
  r = follow_begin (&writer->follow, connection, &others, status);
  if (others)
    writer_forget (writer);
  for (; r == 0 && run < *count &&
         sqlite3_total_changes (connection->db) - changes < WRITER_STEP_ROWS;
       run++, list = list->next)
    r = writer_run_operation (writer, list, status);
  if (r == 0)
    r = connection_commit (connection, status);
  if (r == -1) {
    connection_rollback (connection);
    writer_forget (writer);
  }
  follow_end (&writer->follow, connection, r == 0);
  if (r == 0)
    *count = run;
  if (r == 0 &&
      (writer->changed || sqlite3_total_changes (connection->db) != changes)) {
    flusher_committed (writer->flusher);
    statistics_commit (writer->statistics, began, run, connection->db,
                       writer->page_size);
    if (writer->committed)
      writer->committed (writer->log_bytes, writer->opaque);
  }
  return r;
}

/* After waiting for a lock in vain: how many of COUNT operations, the oldest
 * first, have waited as long as they may?  Where not even the first has,
 * the server ends, and none is to wait any longer.
 */
static size_t
count_expired (const struct writer *writer, const struct operation *list,
               size_t count)
{
  const uint64_t longest = writer->connection.longest_wait * CLOCK_MILLISECOND;
  const uint64_t now = clock_now ();
  size_t expired = 0;

  for (; expired < count && now - waiting_since (writer, list) >= longest;
       list = list->next)
    expired++;
  return expired > 0 ? expired : count;
}

/* Have the log give back its space, while no transaction runs. */
static bool
make_room (struct writer *writer)
{
  bool made;

  if (writer->make_room == NULL)
    return false;
  pthread_mutex_lock (&writer->lock);
  writer->running = false;
  if (writer->paused)
    pthread_cond_signal (&writer->rested);
  pthread_mutex_unlock (&writer->lock);
  made = writer->make_room (writer->opaque);
  pthread_mutex_lock (&writer->lock);
  while (writer->paused)
    pthread_cond_wait (&writer->resumed, &writer->lock);
  writer->running = true;
  pthread_mutex_unlock (&writer->lock);
  return made;
}

/* Was there no space on the file system?  A quota is something else. */
static bool
lacks_space (const struct status *status)
{
  return status->error == ENOSPC && status->sqlite != SQLITE_OK;
}

/* As run_transaction; where there is no space, again with what the log gives
 * back, and a trim or a zero that is alone also in shorter steps.  A change of
 * size is not: it would hold although it fails.
 */
static int
run_in_room (struct writer *writer, struct operation *list, size_t *count,
             bool *begun, struct status *status)
{
  const bool clears = *count == 1 && (list->kind == TRIM || list->kind == ZERO);
  int r;

  writer->step_rows = WRITER_STEP_ROWS;
  r = run_transaction (writer, list, count, begun, status);
  for (bool again = true; r == -1 && lacks_space (status) && again;) {
    if (!make_room (writer))
      break;
    r = run_transaction (writer, list, count, begun, status);
    again = clears && writer->step_rows > WRITER_STEP_LEAST;
    if (again)
      writer->step_rows /= SHORTER;
  }
  return r;
}

/* Run COUNT operations together, or else each alone.  Returns how many, from
 * the first on, have a result; the others wait for their turn, or a lock.
 */
static size_t
run_batch (struct writer *writer, struct operation *list, size_t count)
{
  struct status status;
  bool begun, alone, ignored;
  const int r = run_in_room (writer, list, &count, &begun, &status);

  if (r == -1 && !begun && (status.sqlite & 0xff) == SQLITE_BUSY)
    count = count_expired (writer, list, count);
  alone = r == -1 && begun && count > 1;
  for (size_t left = count; left > 0; left--, list = list->next) {
    if (alone)
      list->result =
          run_in_room (writer, list, &(size_t){ 1 }, &ignored, list->status);
    else {
      list->result = r;
      if (r == -1)
        *list->status = status;
    }
  }
  return count;
}

/* How much an operation adds to a batch, in bytes. */
static uint64_t
weight (const struct operation *operation)
{
  switch (operation->kind) {
  case CHANGE:
    return CHANGE_BYTES;
  case RESIZE: /* its steps are as long as those of a trim of a whole disk */
    return UINT64_MAX;
  default:
    return operation->count;
  }
}

/* Take a batch off QUEUE.  Called with the lock held. */
static struct operation *
take_batch (struct writer *writer, struct queue *queue, size_t *count)
{
  struct operation *list = queue->head, *last = list;
  uint64_t bytes = weight (list);

  *count = 1;
  while (queue == &writer->small && last->next && *count < BATCH_OPERATIONS &&
         bytes + weight (last->next) <= writer->batch_bytes) {
    last = last->next;
    bytes += weight (last);
    ++*count;
  }
  queue->head = last->next;
  if (queue->head == NULL)
    queue->tail = NULL;
  writer->queued -= *count;
  writer->large_turn = queue == &writer->small;
  return list;
}

/* The queue of OPERATION. */
static struct queue *
queue_of (struct writer *writer, const struct operation *operation)
{
  return operation->large ? &writer->large : &writer->small;
}

/* The first of those who wait to lead.  Called with the lock held. */
static struct operation *
next_leader (const struct writer *writer)
{
  const bool large =
      writer->large.head && (writer->large_turn || !writer->small.head);

  return large ? writer->large.head : writer->small.head;
}

/* Set an operation's state and wake its thread, after which the operation
 * may be gone: the futex call touches only its address.
 */
static void
set_state (struct operation *operation, enum operation_state state)
{
  atomic_store (&operation->state, state);
  syscall (SYS_futex, &operation->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static enum operation_state
wait_for_state (struct operation *operation)
{
  while (atomic_load (&operation->state) == WAITING)
    syscall (SYS_futex, &operation->state, FUTEX_WAIT_PRIVATE, WAITING, NULL,
             NULL, 0);
  return atomic_load (&operation->state);
}

/* Give way to a checkpoint. */
static void
give_way (struct writer *writer)
{
  uint64_t delay = atomic_load (&writer->slowness) * writer->duration;

  if (delay > LONGEST_DELAY)
    delay = LONGEST_DELAY;
  if (delay > 0)
    nanosleep (&(struct timespec){ .tv_nsec = delay }, NULL);
  if (atomic_load (&writer->past_bound))
    writer->await_room (writer->opaque);
}

/* Give way, then take a batch off QUEUE. */
static struct operation *
begin_leading (struct writer *writer, struct queue *queue, size_t *count)
{
  struct operation *list;

  give_way (writer);
  pthread_mutex_lock (&writer->lock);
  while (writer->paused)
    pthread_cond_wait (&writer->resumed, &writer->lock);
  writer->running = true;
  list = take_batch (writer, queue, count);
  pthread_mutex_unlock (&writer->lock);
  return list;
}

/* Put COUNT operations of a list back in front of QUEUE.  Called with the lock
 * held.
 */
static void
put_back (struct writer *writer, struct queue *queue, struct operation *list,
          size_t count)
{
  struct operation *last = list;

  writer->queued += count;
  for (; count > 1; count--)
    last = last->next;
  last->next = queue->head;
  if (queue->head == NULL)
    queue->tail = last;
  queue->head = list;
}

/* Hand on the lead: before the finished are woken, so that the next
 * transaction starts at once.  Of the batch, COUNT operations of LIST are
 * left, which stood in QUEUE.
 */
static void
end_leading (struct writer *writer, struct queue *queue, struct operation *list,
             size_t count)
{
  struct operation *next;

  pthread_mutex_lock (&writer->lock);
  if (count > 0)
    put_back (writer, queue, list, count);
  writer->running = false;
  if (writer->paused)
    pthread_cond_signal (&writer->rested);
  next = next_leader (writer);
  writer->led = next != NULL;
  pthread_mutex_unlock (&writer->lock);
  if (next)
    set_state (next, LEADING);
}

/* Lead one batch, of which OWN, the caller's operation, is the first. */
static void
lead (struct writer *writer, struct operation *own)
{
  struct queue *queue = queue_of (writer, own);
  struct operation *list, *rest, *next;
  uint64_t start;
  size_t count, done;
  long before;

  list = rest = begin_leading (writer, queue, &count);
  before = prefetch_so_far ();
  start = clock_now ();
  done = run_batch (writer, list, count);
  writer->duration = clock_now () - start;
  prefetch_note (&writer->prefetch, before);
  for (size_t i = 0; i < done; i++)
    rest = rest->next;
  end_leading (writer, queue, rest, count - done);
  for (; done > 0; done--, list = next) {
    next = list->next;
    if (list != own)
      set_state (list, DONE);
  }
}

/* Put an operation on the queue and return when it is done. */
static int
submit (struct writer *writer, struct operation *operation)
{
  struct queue *queue;
  bool leading;

  atomic_init (&operation->state, WAITING);
  operation->next = NULL;
  operation->asked = clock_now ();
  operation->large = weight (operation) > writer->batch_bytes;
  queue = queue_of (writer, operation);
  pthread_mutex_lock (&writer->lock);
  if (queue->tail)
    queue->tail->next = operation;
  else
    queue->head = operation;
  queue->tail = operation;
  writer->queued++;
  leading = !writer->led;
  writer->led = true;
  pthread_mutex_unlock (&writer->lock);
  if (leading || wait_for_state (operation) == LEADING)
    lead (writer, operation);
  return operation->result;
}

/*--------------------------------------------------------------------
 * The public side.
 */

/* A write with its blocks encoded. */
struct encoding {
  const struct write_request *request;
  uint32_t block_size;
  struct codec_workspace *workspace;
  struct encoded *whole; /* its whole blocks */
  struct merged merged[2];
  char *room; /* what is compressed; NULL where nothing is to be */
  size_t used;
};

/* Find the hash that is needed where equal blocks are stored once. */
static void
hash_block (const struct encoding *encoding, struct encoded *encoded)
{
  if (encoding->request->storing.deduplicate == DISK_ON &&
      encoded->codec != CODEC_ZERO)
    codec_hash_block (encoded, encoding->block_size);
}

/* Encode BLOCK. */
static void
encode (struct encoding *encoding, const void *block, struct encoded *encoded)
{
  char *room = encoding->room ? encoding->room + encoding->used : NULL;

  codec_encode (encoding->workspace, &encoding->request->storing.compression,
                block, encoding->block_size, room, encoded);
  hash_block (encoding, encoded);
  if (encoded->data == room)
    encoding->used += encoded->length;
}

/* Merge COUNT bytes of DATA, which go to byte OFFSET, with the rest of their
 * block if that is known.
 */
static void
merge (struct encoding *encoding, const char *data, uint64_t offset,
       uint64_t count, size_t i)
{
  const struct block_before *before = &encoding->request->before[i];
  struct merged *merged = &encoding->merged[i];

  if (before->bytes == NULL)
    return;
  memcpy (before->bytes + offset % encoding->block_size, data, count);
  encode (encoding, before->bytes, &merged->encoded);
  merged->version = before->version;
  merged->known = true;
}

/* Encode all blocks of a write.  What this allocates is freed by
 * encoding_free.  Returns 0, or -1.
 */
static int
encode_blocks (struct encoding *encoding, struct writer *writer,
               struct status *status)
{
  const struct write_request *request = encoding->request;
  const bool compresses = request->storing.compression.codec != CODEC_RAW;
  const uint32_t block_size = encoding->block_size;
  const uint64_t blocks = request->count / block_size;
  const char *data = request->data;
  uint64_t offset = request->offset, left = request->count, count;
  size_t i = 0;

  encoding->whole = malloc ((blocks + 1) * sizeof *encoding->whole);
  if (encoding->whole && compresses) {
    encoding->workspace = codec_take (&writer->workspaces);
    encoding->room = malloc ((blocks + 2) * block_size);
  }
  if (encoding->whole == NULL || (compresses && encoding->room == NULL))
    return status_no_memory (status);
  for (; left > 0; offset += count, data += count, left -= count) {
    count = block_size - offset % block_size;
    if (count > left)
      count = left;
    if (count == block_size && request->encoded) {
      encoding->whole[i] = request->encoded[i];
      hash_block (encoding, &encoding->whole[i++]);
    }
    else if (count == block_size)
      encode (encoding, data, &encoding->whole[i++]);
    else
      merge (encoding, data, offset, count, offset != request->offset);
  }
  return 0;
}

static void
encoding_free (struct encoding *encoding, struct writer *writer)
{
  free (encoding->whole);
  free (encoding->room);
  codec_return (&writer->workspaces, encoding->workspace);
}

struct prepared {
  struct write_request request;
  struct encoding encoding;
};

struct prepared *
writer_prepare_alone (struct writer *writer, const struct disk_info *disk,
                      const struct write_request *request,
                      struct status *status)
{
  struct prepared *prepared = calloc (1, sizeof *prepared);

  if (prepared == NULL) {
    status_no_memory (status);
    return NULL;
  }
  prepared->request = *request;
  prepared->encoding = (struct encoding){
    .request = &prepared->request,
    .block_size = disk->block_size,
  };
  if (encode_blocks (&prepared->encoding, writer, status) == 0)
    return prepared;
  encoding_free (&prepared->encoding, writer);
  free (prepared);
  return NULL;
}

int
writer_put_alone (struct writer *writer, const struct disk_info *disk,
                  struct prepared *prepared, struct status *status)
{
  struct operation operation = {
    .kind = WRITE,
    .disk = disk,
    .offset = prepared->request.offset,
    .count = prepared->request.count,
    .data = prepared->request.data,
    .encoded = prepared->encoding.whole,
    .merged = prepared->encoding.merged,
    .status = status,
  };
  bool others; /* there are none */
  int r = follow_begin (&writer->follow, &writer->connection, &others, status);

  if (r == 0)
    r = writer_run_operation (writer, &operation, status);
  follow_end (&writer->follow, &writer->connection, r == 0);
  encoding_free (&prepared->encoding, writer);
  free (prepared);
  return r;
}

int
writer_write (struct writer *writer, const struct disk_info *disk,
              struct write_request *request, struct status *status)
{
  struct encoding encoding = {
    .request = request,
    .block_size = disk->block_size,
  };
  struct operation operation = {
    .kind = WRITE,
    .disk = disk,
    .offset = request->offset,
    .count = request->count,
    .data = request->data,
    .merged = encoding.merged,
    .storing = request->storing,
    .status = status,
  };
  int r = encode_blocks (&encoding, writer, status);

  if (r == 0) {
    operation.encoded = encoding.whole;
    r = submit (writer, &operation);
    request->storing = operation.storing;
  }
  encoding_free (&encoding, writer);
  return r;
}

int
writer_clear (struct writer *writer, const struct disk_info *disk,
              uint64_t offset, uint64_t count, bool edges,
              struct status *status)
{
  while (count > 0) {
    struct operation operation = {
      .kind = edges ? ZERO : TRIM,
      .disk = disk,
      .offset = offset,
      .count = count,
      .status = status,
    };

    if (submit (writer, &operation) == -1)
      return -1;
    offset += operation.cleared;
    count -= operation.cleared;
  }
  return 0;
}

int
writer_resize (struct writer *writer, const struct disk_info *disk,
               uint64_t size, struct status *status)
{
  struct operation operation = {
    .kind = RESIZE,
    .disk = disk,
    .size = size,
    .limit = size == 0           ? INT64_MAX
             : size > disk->size ? size
                                 : disk->size,
    .status = status,
  };

  while (!operation.done) {
    if (submit (writer, &operation) == -1)
      return -1;
    operation.begun = true;
    operation.reached = operation.cleared;
  }
  return 0;
}

int
writer_run (struct writer *writer, writer_change change, void *opaque,
            struct status *status)
{
  struct operation operation = {
    .kind = CHANGE,
    .change = change,
    .opaque = opaque,
    .status = status,
  };

  return submit (writer, &operation);
}

bool
writer_is_busy (struct writer *writer)
{
  bool busy;

  pthread_mutex_lock (&writer->lock);
  busy = writer->led;
  pthread_mutex_unlock (&writer->lock);
  return busy;
}

void
writer_pause (struct writer *writer)
{
  pthread_mutex_lock (&writer->lock);
  writer->paused = true;
  writer->paused_since = clock_now ();
  while (writer->running)
    pthread_cond_wait (&writer->rested, &writer->lock);
  pthread_mutex_unlock (&writer->lock);
}

bool
writer_try_pause (struct writer *writer, int milliseconds)
{
  const struct timespec until =
      clock_timespec (clock_now () + milliseconds * CLOCK_MILLISECOND);
  int r = 0;

  pthread_mutex_lock (&writer->lock);
  writer->paused = true;
  writer->paused_since = clock_now ();
  while (writer->running && r == 0)
    r = pthread_cond_timedwait (&writer->rested, &writer->lock, &until);
  if (writer->running) {
    writer->paused = false;
    pthread_cond_signal (&writer->resumed);
  }
  r = writer->paused;
  pthread_mutex_unlock (&writer->lock);
  return r;
}

void
writer_resume (struct writer *writer)
{
  pthread_mutex_lock (&writer->lock);
  writer->paused = false;
  pthread_cond_signal (&writer->resumed);
  pthread_mutex_unlock (&writer->lock);
  statistics_pause (writer->statistics, writer->paused_since);
}

int
writer_end_log (struct writer *writer, enum mark_state state, int patience,
                struct marking_end *end, struct status *status)
{
  struct connection *connection = &writer->connection;
  const int longest_wait = connection->longest_wait;
  int r;

  connection->longest_wait = patience;
  connection->asked = 0;
  r = marking_end_log (connection, state, end, status);
  connection->longest_wait = longest_wait;
  return r;
}

/* What blocks need beside the connection. */
static int
open_blocks (struct writer *writer, struct status *status)
{
  writer->block = malloc (2 * DISK_BLOCK_SIZE_MAX);
  if (writer->block == NULL)
    return status_no_memory (status);
  writer->room = writer->block + DISK_BLOCK_SIZE_MAX;
  codec_pool_init (&writer->workspaces);
  return 0;
}

static void
close_blocks (struct writer *writer)
{
  view_free (&writer->view);
  view_free (&writer->below);
  free (writer->block);
  codec_pool_destroy (&writer->workspaces);
}

int
writer_open_alone (struct writer *writer, struct status *status)
{
  return open_blocks (writer, status);
}

void
writer_close_alone (struct writer *writer)
{
  close_blocks (writer);
}

int
writer_open (struct writer *writer, struct connections *connections,
             struct flusher *flusher, struct status *status)
{
  *writer = (struct writer){
    .connections = connections,
    .flusher = flusher,
    .batch_bytes = BATCH_BYTES,
  };
  if (connections_open (connections, &writer->connection, CONNECTION_GATHER,
                        status) == -1)
    return -1;
  if (connection_page_size (&writer->connection, &writer->page_size, status) ==
          -1 ||
      open_blocks (writer, status) == -1) {
    connection_close (&writer->connection);
    return -1;
  }
  sqlite3_wal_hook (writer->connection.db, note_log_size, writer);
  pthread_mutex_init (&writer->lock, NULL);
  pthread_cond_init (&writer->resumed, NULL);
  clock_init_condition (&writer->rested);
  return 0;
}

void
writer_close (struct writer *writer)
{
  connection_close (&writer->connection);
  close_blocks (writer);
  pthread_mutex_destroy (&writer->lock);
  pthread_cond_destroy (&writer->resumed);
  pthread_cond_destroy (&writer->rested);
}

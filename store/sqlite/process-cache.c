/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Parts of a file in memory: see process-cache.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "sqlite/process-cache.h"

struct chunk {
  struct chunk *next;          /* of those with the same place in the table */
  struct chunk *older, *newer; /* by when they were used */
  int64_t number;
  size_t low, high;
  unsigned char data[PROCESS_CHUNK];
};

struct process_cache {
  size_t count, most;
  struct chunk *oldest, *newest;
  size_t mask; /* the table has one place more */
  struct chunk *table[];
};

struct process_cache *
process_cache_new (uint64_t bytes)
{
  const size_t most = bytes < PROCESS_CHUNK ? 1 : bytes / PROCESS_CHUNK;
  struct process_cache *cache;
  size_t places = 1;

  while (places < most)
    places *= 2;
  cache = calloc (1, sizeof *cache + places * sizeof (struct chunk *));
  if (cache) {
    cache->most = most;
    cache->mask = places - 1;
  }
  return cache;
}

void
process_cache_free (struct process_cache *cache)
{
  process_cache_forget (cache, 0);
  free (cache);
}

static struct chunk **
place_of (struct process_cache *cache, int64_t number)
{
  return &cache->table[(uint64_t)number & cache->mask];
}

static struct chunk *
find (const struct process_cache *cache, int64_t number)
{
  struct chunk *chunk = cache->table[(uint64_t)number & cache->mask];

  while (chunk && chunk->number != number)
    chunk = chunk->next;
  return chunk;
}

/* Take CHUNK out of the order of use. */
static void
take_out (struct process_cache *cache, struct chunk *chunk)
{
  *(chunk->older ? &chunk->older->newer : &cache->oldest) = chunk->newer;
  *(chunk->newer ? &chunk->newer->older : &cache->newest) = chunk->older;
}

/* Make it the one that was used last. */
static void
put_newest (struct process_cache *cache, struct chunk *chunk)
{
  chunk->newer = NULL;
  chunk->older = cache->newest;
  *(cache->newest ? &cache->newest->newer : &cache->oldest) = chunk;
  cache->newest = chunk;
}

/* Take CHUNK out of the cache. */
static void
unlink_chunk (struct process_cache *cache, struct chunk *chunk)
{
  struct chunk **link = place_of (cache, chunk->number);

  while (*link != chunk)
    link = &(*link)->next;
  *link = chunk->next;
  take_out (cache, chunk);
  cache->count--;
}

/* A chunk that is not here yet, in the memory of the oldest one where there are
 * enough.  Returns NULL where there is no memory.
 */
static struct chunk *
add (struct process_cache *cache, int64_t number)
{
  struct chunk *chunk = cache->oldest, **link = place_of (cache, number);

  if (cache->count == cache->most)
    unlink_chunk (cache, chunk);
  else
    chunk = malloc (sizeof *chunk);
  if (chunk == NULL)
    return NULL;
  chunk->number = number;
  chunk->low = chunk->high = 0;
  chunk->next = *link;
  *link = chunk;
  put_newest (cache, chunk);
  cache->count++;
  return chunk;
}

static bool
has (const struct chunk *chunk, size_t from, size_t count)
{
  return chunk && from >= chunk->low && from + count <= chunk->high;
}

bool
process_cache_has (const struct process_cache *cache, size_t count,
                   int64_t offset)
{
  return has (find (cache, offset / PROCESS_CHUNK), offset % PROCESS_CHUNK,
              count);
}

bool
process_cache_read (struct process_cache *cache, void *data, size_t count,
                    int64_t offset)
{
  struct chunk *chunk = find (cache, offset / PROCESS_CHUNK);
  const size_t from = offset % PROCESS_CHUNK;

  if (!has (chunk, from, count))
    return false;
  memcpy (data, chunk->data + from, count);
  take_out (cache, chunk);
  put_newest (cache, chunk);
  return true;
}

/* The valid range of CHUNK with another one, which it becomes where they do not
 * touch.
 */
static void
extend (struct chunk *chunk, size_t from, size_t to)
{
  if (from > chunk->high || to < chunk->low) {
    chunk->low = from;
    chunk->high = to;
    return;
  }
  if (from < chunk->low)
    chunk->low = from;
  if (to > chunk->high)
    chunk->high = to;
}

void
process_cache_put (struct process_cache *cache, const void *data, size_t count,
                   int64_t offset)
{
  const unsigned char *bytes = data;

  while (count > 0) {
    const int64_t number = offset / PROCESS_CHUNK;
    const size_t from = offset % PROCESS_CHUNK;
    const size_t part =
        count < PROCESS_CHUNK - from ? count : PROCESS_CHUNK - from;
    struct chunk *chunk = find (cache, number);

    if (chunk == NULL)
      chunk = add (cache, number);
    if (chunk) {
      memcpy (chunk->data + from, bytes, part);
      extend (chunk, from, from + part);
    }
    bytes += part;
    offset += part;
    count -= part;
  }
}

void
process_cache_forget (struct process_cache *cache, int64_t offset)
{
  struct chunk *chunk = cache->oldest, *newer;

  for (; chunk; chunk = newer) {
    const int64_t start = chunk->number * PROCESS_CHUNK;

    newer = chunk->newer;
    if (start + (int64_t)chunk->high > offset)
      chunk->high = offset > start ? offset - start : 0;
    if (chunk->low < chunk->high)
      continue;
    unlink_chunk (cache, chunk);
    free (chunk);
  }
}

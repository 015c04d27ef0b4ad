/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Fencing off the old connections of an attachment: see fence.h.
 *
 * A request first counts itself as inside and then looks whether it is over,
 * who fences off does it the other way round: one of them sees the other.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/clock.h"
#include "fence.h"

#define MARK "/attach/"

/* How often to look whether older requests have ended, in nanoseconds. */
#define LOOK (5 * CLOCK_MILLISECOND)

/* All connections of attachments; the lock is a leaf. */
static struct attached *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

size_t
fence_parse (const char *name, struct attached *attached)
{
  static const char digits[] = "0123456789abcdef";
  const size_t length = strlen (name);
  const char *mark = strstr (name, MARK);
  const char *token = mark ? mark + strlen (MARK) : "", *generation;
  char after;

  if (strspn (token, digits) != FENCE_TOKEN || token[FENCE_TOKEN] != '/')
    return length;
  generation = token + FENCE_TOKEN + 1;
  if (generation[0] < '1' || generation[0] > '9' || strlen (generation) > 19 ||
      sscanf (generation, "%" SCNu64 "%c", &attached->generation, &after) != 1)
    return length;
  memcpy (attached->token, token, FENCE_TOKEN);
  return mark - name;
}

bool
fence_is_same (const struct attached *a, const struct attached *b)
{
  return a->token[0] && strcmp (a->token, b->token) == 0 &&
         a->disk == b->disk && a->snapshot == b->snapshot &&
         peer_is_same_user (a->peer, b->peer);
}

/* Fence off those that are older, and be one of all; false where this is older
 * itself.
 */
static bool
try_to_enter (struct attached *attached)
{
  bool older = false;

  pthread_mutex_lock (&all_lock);
  for (struct attached *other = all; other; other = other->next)
    older |=
        fence_is_same (attached, other) && other->newest > attached->generation;
  for (struct attached *other = all; !older && other; other = other->next)
    if (fence_is_same (attached, other)) {
      other->newest = attached->generation;
      if (other->generation != attached->generation)
        atomic_store (&other->over, true);
    }
  attached->newest = attached->generation;
  if (!older) {
    attached->next = all;
    all = attached;
  }
  pthread_mutex_unlock (&all_lock);
  return !older;
}

/* Is a request of an older connection inside? */
static bool
is_awaited (const struct attached *attached)
{
  bool found = false;

  pthread_mutex_lock (&all_lock);
  for (struct attached *other = all; !found && other; other = other->next)
    found = fence_is_same (attached, other) && atomic_load (&other->over) &&
            atomic_load (&other->inside) > 0;
  pthread_mutex_unlock (&all_lock);
  return found;
}

int
fence_enter (struct attached *attached, struct status *status)
{
  if (attached->token[0] == '\0')
    return 0;
  if (!try_to_enter (attached))
    return status_fail (status, ESHUTDOWN,
                        "this connection of an attached disk is older than "
                        "others that it has");
  while (is_awaited (attached))
    if (nbdkit_nanosleep (0, LOOK) == -1)
      return status_fail (status, ESHUTDOWN,
                          "the client left before older requests of the "
                          "attached disk had ended");
  return 0;
}

void
fence_leave (struct attached *attached)
{
  struct attached **link = &all;

  pthread_mutex_lock (&all_lock);
  while (*link && *link != attached)
    link = &(*link)->next;
  if (*link)
    *link = attached->next;
  pthread_mutex_unlock (&all_lock);
}

bool
fence_begin (struct attached *attached)
{
  if (attached->token[0] == '\0')
    return true;
  atomic_fetch_add (&attached->inside, 1);
  if (!atomic_load (&attached->over))
    return true;
  fence_end (attached);
  return false;
}

void
fence_end (struct attached *attached)
{
  if (attached->token[0])
    atomic_fetch_sub (&attached->inside, 1);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who may use a disk: see access.h. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "access.h"
#include "base/clock.h"
#include "base/values.h"
#include "settings.h"

/* Clients often connect again the moment that they have disconnected, which
 * nbdkit notices a little later: how long to wait for that, and how often to
 * look, in nanoseconds.
 */
#define PATIENCE CLOCK_SECOND
#define LOOK     (20 * CLOCK_MILLISECOND)

/* All places; the lock is a leaf. */
static struct place *places;
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;

/* Ask for a setting of disk ID.  Returns 0, or -1. */
static int
look (struct store *store, const char *name, int64_t id,
      struct setting_value *value, struct status *status)
{
  return store_setting (store, setting_find (name), id, value, status);
}

/* PEER is not let in to NAME by ALLOW; returns -1. */
static int
refuse (const char *name, const char *allow, const struct peer *peer,
        struct status *status)
{
  const bool lacks = allow_asks_for_tls (allow) && !peer_has_certificates ();
  char who[PEER_TEXT], missing[200] = "";

  peer_describe (peer, who);
  if (status->message[0])
    snprintf (missing, sizeof missing, "; %.190s", status->message);
  return status_fail (status, ENOENT,
                      "'%.100s': %s is not let in by "
                      "allow=%.200s%s%s",
                      name, who, allow, missing,
                      lacks ? "; this nbdkit does not tell what a certificate "
                              "says, which 1.42 and newer do, so nobody is let "
                              "in for one"
                            : "");
}

int
access_check (struct store *store, int64_t id, const char *name,
              const struct peer *peer, struct status *status)
{
  struct setting_value allow;
  int r = look (store, "allow", id, &allow, status);

  if (r == 0 && allow.source == SETTING_USUAL)
    return 0;
  if (r == 0)
    r = allow_admits (allow.text, peer, status);
  if (r == 1)
    return 0;
  if (r == 0)
    return refuse (name, allow.text, peer, status);
  status->error = ENOENT;
  return status_prefix (status, "'%.100s': nobody is let in", name);
}

int
access_exclusive (struct store *store, int64_t id, bool *exclusive,
                  struct status *status)
{
  struct setting_value value;

  if (look (store, "exclusive", id, &value, status) == -1)
    return -1;
  return values_choice (value.text, exclusive, status);
}

/* Who keeps PLACE from being taken; NULL: nobody.  With the lock. */
static const struct place *
find_other (const struct place *place)
{
  for (const struct place *other = places; other; other = other->next)
    if (other->disk == place->disk &&
        !peer_is_same (other->peer, place->peer) &&
        !fence_is_same (other->attached, place->attached) &&
        !atomic_load (&other->attached->over))
      return other;
  return NULL;
}

/* Returns true, or false where somebody else is there, who goes to WHO. */
static bool
try_to_enter (struct place *place, bool exclusive, char who[PEER_TEXT])
{
  const struct place *other;

  pthread_mutex_lock (&places_lock);
  other = exclusive ? find_other (place) : NULL;
  if (other)
    peer_describe (other->peer, who);
  else {
    place->next = places;
    places = place;
  }
  pthread_mutex_unlock (&places_lock);
  return other == NULL;
}

int
access_enter (struct place *place, const struct disk_info *disk,
              const struct peer *peer, const struct attached *attached,
              bool exclusive, struct status *status)
{
  const uint64_t until = clock_now () + PATIENCE;
  char us[PEER_TEXT], who[PEER_TEXT];

  place->disk = disk->id;
  place->peer = peer;
  place->attached = attached;
  while (!try_to_enter (place, exclusive, who))
    if (clock_now () >= until || nbdkit_nanosleep (0, LOOK) == -1) {
      place->disk = 0;
      peer_describe (peer, us);
      return status_fail (status, EBUSY,
                          "disk '%s': %s is refused, since exclusive=on, and "
                          "%s has it open",
                          disk->name, us, who);
    }
  return 0;
}

void
access_leave (struct place *place)
{
  struct place **link = &places;

  if (place->disk == 0)
    return;
  pthread_mutex_lock (&places_lock);
  while (*link != place)
    link = &(*link)->next;
  *link = place->next;
  pthread_mutex_unlock (&places_lock);
}

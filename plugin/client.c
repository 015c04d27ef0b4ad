/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Clients, and what there is for them: see client.h. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/clock.h"
#include "base/grow.h"
#include "client.h"

/*--------------------------------------------------------------------
 * Lists.
 */

/* The disks that a client may see, by id. */
struct listing {
  const struct served *served;
  struct nbdkit_exports *exports;
  int64_t *ids;
  size_t count;
  bool no_memory;
};

/* Remember a disk, unless it cannot be served. */
static int
collect (const struct disk_info *info, void *opaque)
{
  struct listing *listing = opaque;
  int64_t *ids;

  if (info->access == DISK_REFUSED)
    return 0;
  ids = grow (listing->ids, listing->count, sizeof *ids);
  listing->no_memory = ids == NULL;
  if (ids == NULL)
    return 1;
  listing->ids = ids;
  ids[listing->count++] = info->id;
  return 0;
}

/* Keep only those that allow= lets PEER see. */
static void
keep_allowed (struct listing *listing, const struct peer *peer)
{
  struct store *store = listing->served->store;
  size_t kept = 0;
  struct status refused;

  for (size_t i = 0; i < listing->count; i++)
    if (access_check (store, listing->ids[i], "", peer, &refused) == 0)
      listing->ids[kept++] = listing->ids[i];
  listing->count = kept;
}

static int
compare_ids (const void *a, const void *b)
{
  const int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;

  return (first > second) - (first < second);
}

static bool
is_listed (const struct listing *listing, int64_t id)
{
  return listing->count > 0 && bsearch (&id, listing->ids, listing->count,
                                        sizeof id, compare_ids) != NULL;
}

/* Add a disk to nbdkit's list of exports; stop where that is full. */
static int
add_disk (const struct disk_info *info, void *opaque)
{
  const struct listing *listing = opaque;

  return is_listed (listing, info->id)
             ? nbdkit_add_export (listing->exports, info->name,
                                  info->description)
             : 0;
}

/* The same for a snapshot, if its disk is one of ours. */
static int
add_snapshot (const struct snapshot_info *snapshot, void *opaque)
{
  const struct listing *listing = opaque;
  const char *only = listing->served->only;
  struct disk_info info;

  if (snapshot->access == DISK_REFUSED ||
      !is_listed (listing, snapshot->disk) ||
      (only && strcmp (snapshot->disk_name, only) != 0))
    return 0;
  store_show_snapshot (snapshot, &info);
  return nbdkit_add_export (listing->exports, info.name, info.description);
}

/* List the disks of the database, or the one that is served, and then their
 * snapshots.
 */
static int
list (struct listing *listing, const struct peer *peer, struct status *status)
{
  const struct served *served = listing->served;
  struct disk_info info;
  int r = served->only ? store_find (served->store, served->only, &info, status)
                       : store_list (served->store, collect, listing, status);

  if (r == 0 && served->only)
    collect (&info, listing);
  if (r == -1)
    return -1;
  if (listing->no_memory)
    return status_no_memory (status);
  keep_allowed (listing, peer);
  qsort (listing->ids, listing->count, sizeof *listing->ids, compare_ids);
  if (served->only)
    add_disk (&info, listing);
  else
    r = store_list (served->store, add_disk, listing, status);
  if (r == 0 && served->snapshots)
    r = store_list_snapshots (served->store, add_snapshot, listing, status);
  return r;
}

int
client_list (const struct served *served, struct nbdkit_exports *exports,
             struct status *status)
{
  struct listing listing = { .served = served, .exports = exports };
  struct peer peer;
  int r;

  peer_ask (&peer);
  r = list (&listing, &peer, status);
  peer_forget (&peer);
  free (listing.ids);
  return r;
}

int
client_find_default (const struct served *served, struct disk_info *info,
                     struct status *status)
{
  struct peer peer;
  int r;

  if (store_find (served->store, "", info, status) == -1)
    return -1;
  peer_ask (&peer);
  r = access_check (served->store, info->id, info->name, &peer, status);
  peer_forget (&peer);
  return r;
}

/*--------------------------------------------------------------------
 * Leaving.
 */

/* The sockets on which this process listens, of those that have names. */
static struct sockaddr_un names[8];
static size_t names_count;

/* Those descriptors on which it listens that it was started with, a bit each:
 * their names are a service manager's, which goes on to listen there.
 */
#define DESCRIPTORS 64
static uint64_t inherited;

/* The signals on which nbdkit ends, and what it does then. */
static const int endings[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };
static struct sigaction usual[sizeof endings / sizeof endings[0]];

/* How many clients have a disk attached, or are told of one. */
static atomic_uint attached_count;

static bool
is_listening (int fd)
{
  int listens = 0;
  socklen_t size = sizeof listens;

  return getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
         listens;
}

void
client_begin (void)
{
  for (int fd = 3; fd < DESCRIPTORS; fd++)
    if (is_listening (fd))
      inherited |= UINT64_C (1) << fd;
}

static void
leave_at_once (int number)
{
  size_t i = 0;

  while (endings[i] != number)
    i++;
  if (atomic_load (&attached_count) == 0) {
    usual[i].sa_handler (number);
    return;
  }
  for (i = 0; i < names_count; i++)
    unlink (names[i].sun_path);
  _exit (EXIT_SUCCESS);
}

/* From such a signal on nbdkit would answer all requests with ESHUTDOWN, which
 * a kernel takes for an error of the disk, and wait for its clients to go.  One
 * that has a disk attached does not: it is to find that the connection is gone,
 * and wait for the next server.  Nothing that was acknowledged is lost by that.
 */
static void
leave_soon (void)
{
  struct sigaction action = { .sa_handler = leave_at_once };

  for (int fd = 3; fd < DESCRIPTORS; fd++) {
    struct sockaddr_un *name = &names[names_count];
    socklen_t length = sizeof *name;

    if (names_count < sizeof names / sizeof names[0] &&
        !(inherited & UINT64_C (1) << fd) && is_listening (fd) &&
        getsockname (fd, (struct sockaddr *)name, &length) == 0 &&
        name->sun_family == AF_UNIX && name->sun_path[0] == '/')
      names_count++;
  }
  /* Where nbdkit has no function for it, it stays as it is. */
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (sigaction (endings[i], NULL, &usual[i]) == 0 &&
        usual[i].sa_handler != SIG_DFL && usual[i].sa_handler != SIG_IGN) {
      action.sa_flags = usual[i].sa_flags & SA_RESTART;
      sigaction (endings[i], &action, NULL);
    }
}

/* CLIENT is there, and may be a kernel's. */
static void
count_attached (struct client *client)
{
  static pthread_once_t leaving = PTHREAD_ONCE_INIT;

  client->counted = client->told || client->attached.token[0];
  if (!client->counted)
    return;
  atomic_fetch_add (&attached_count, 1);
  pthread_once (&leaving, leave_soon);
}

/*--------------------------------------------------------------------
 * Opening.
 */

/* Is NAME what is served: all, one disk, or a snapshot of that? */
static bool
is_served (const struct served *served, const char *name)
{
  const char *only = served->only;
  const size_t length = only ? strlen (only) : 0;

  return only == NULL || (strncmp (name, only, length) == 0 &&
                          (name[length] == '\0' || name[length] == '@'));
}

/* Is the client let in to the disk of the export NAME?  What there is not, or
 * cannot be found, says so itself when it is opened.
 */
static int
check_name (const struct served *served, const struct client *client,
            const char *name, struct status *status)
{
  const size_t length = strcspn (name, "@");
  struct disk_info info;
  struct status missing;
  char disk[DISK_NAME_MAX + 1];

  if (length >= sizeof disk)
    return 0;
  memcpy (disk, name, length);
  disk[length] = '\0';
  if (store_find (served->store, disk, &info, &missing) == -1)
    return 0;
  return access_check (served->store, info.id, name, &client->peer, status);
}

/* What tells of the export NAME is the export NAME/lineage. */
#define TOLD_SUFFIX "/lineage"

/* Of which export does NAME want to be told?  A new string, or NULL where it is
 * one itself.
 */
static char *
told_of (const struct served *served, const char *name)
{
  const size_t length = strlen (name), suffix = strlen (TOLD_SUFFIX);

  if (length < suffix || strcmp (name + length - suffix, TOLD_SUFFIX) != 0)
    return NULL;
  return length == suffix && served->only ? strdup (served->only)
                                          : strndup (name, length - suffix);
}

/* How often a client is told at most, in nanoseconds. */
#define TELL_EVERY (10 * CLOCK_MILLISECOND)

/* Wait until CLIENT may be told; each caller takes the next turn. */
static void
wait_to_tell (struct client *client)
{
  const uint64_t now = clock_now ();
  uint_fast64_t due = atomic_load (&client->next_turn);
  struct timespec pause;
  uint64_t turn;

  do
    turn = due > now ? due : now;
  while (!atomic_compare_exchange_weak (&client->next_turn, &due,
                                        turn + TELL_EVERY));
  pause = clock_timespec (turn - now);
  nanosleep (&pause, NULL);
}

/* Looking for what a client was told of first. */
struct hunt {
  const struct lineage *first;
  bool found;
};

static int
meet_disk (const struct disk_info *info, void *opaque)
{
  struct hunt *hunt = opaque;

  hunt->found = info->id == hunt->first->disk;
  return hunt->found;
}

static int
meet_snapshot (const struct snapshot_info *snapshot, void *opaque)
{
  struct hunt *hunt = opaque;

  hunt->found = (uint64_t)snapshot->guid == hunt->first->snapshot;
  return hunt->found;
}

/* Is that gone, under whatever name? */
static bool
is_gone (const struct served *served, const struct client *client)
{
  struct hunt hunt = { .first = &client->first };
  struct status ignored;
  int r;

  if (hunt.first->disk == 0)
    return false;
  if (hunt.first->snapshot)
    r = store_list_snapshots (served->store, meet_snapshot, &hunt, &ignored);
  else
    r = store_list (served->store, meet_disk, &hunt, &ignored);
  return r != -1 && !hunt.found;
}

int
client_tell (const struct served *served, struct client *client,
             char text[LINEAGE_TEXT], struct status *status)
{
  struct lineage lineage;

  wait_to_tell (client);
  /* Another disk can have got the name in between. */
  if (check_name (served, client, client->told, status) == -1 ||
      store_lineage (served->store, client->told, &lineage, status) == -1 ||
      access_check (served->store, lineage.disk, client->told, &client->peer,
                    status) == -1) {
    if (status->error != ENOENT || !is_gone (served, client))
      return -1;
    lineage = client->first;
    lineage.disk = 0;
  }
  memset (text, 0, LINEAGE_TEXT);
  lineage_print (&lineage, text);
  return 0;
}

/* Open the export NAME, unless another one only is served. */
static int
open_export (const struct served *served, struct client *client,
             const char *name, bool readonly, struct status *status)
{
  char text[LINEAGE_TEXT];

  if (name[0] == '\0' && served->only)
    name = served->only;
  client->told = told_of (served, name);
  if (!is_served (served, client->told ? client->told : name))
    return status_fail (status, ENOENT, "this server has only the export '%s'",
                        served->only);
  if (client->told && client_tell (served, client, text, status) == -1)
    return -1;
  if (client->told) {
    lineage_parse (text, &client->first);
    return 0;
  }
  if (check_name (served, client, name, status) == -1 ||
      manage_increment (served->store, name, &client->increment, status) == -1)
    return -1;
  client->disk = client->increment
                     ? increment_disk (client->increment)
                     : disk_open (served->store, name, readonly, status);
  return client->disk ? 0 : -1;
}

/* Take a place among those that may write, if this one may. */
static int
enter (const struct served *served, struct client *client,
       struct status *status)
{
  const struct disk_info *disk = disk_get_info (client->disk);
  bool exclusive;

  if (disk_is_readonly (client->disk))
    return 0;
  if (access_exclusive (served->store, disk->id, &exclusive, status) == -1)
    return status_prefix (status, "disk '%s'", disk->name);
  if (exclusive && served->shared)
    return status_fail (status, EPERM,
                        "disk '%s' has exclusive=on, which servers with "
                        "shared=true do not keep to: it can only be read here",
                        disk->name);
  client->alone = exclusive && !client->attached.token[0] &&
                  !peer_is_same (&client->peer, &client->peer);
  return access_enter (&client->place, disk, &client->peer, &client->attached,
                       exclusive, status);
}

/* Only what is encrypted is served with a key, and only with the key what is.
 */
static int
check_key (const struct served *served, const struct disk_info *disk,
           struct status *status)
{
  if (disk->encrypted && disk->key == NULL)
    return status_fail (status, EACCES,
                        "disk '%s' is encrypted, and %s; give key-file= or "
                        "passphrase=",
                        disk->name,
                        served->has_key
                            ? "the key that was given fits none of its slots"
                            : "no key was given");
  if (!disk->encrypted && served->has_key)
    return status_fail (status, EACCES,
                        "disk '%s' is not encrypted, but a key was given: "
                        "whoever can change the database may have put it in "
                        "the place of one that is; serve it without a key",
                        disk->name);
  return 0;
}

/* The disk is open: is it the client's, and what goes for it there? */
static int
admit (const struct served *served, struct client *client,
       struct status *status)
{
  const struct disk_info *disk = disk_get_info (client->disk);

  if (access_check (served->store, disk->id, disk->name, &client->peer,
                    status) == -1 ||
      check_key (served, disk, status) == -1)
    return -1;
  client->attached.disk = disk->id;
  client->attached.snapshot = disk->snapshot;
  client->attached.peer = &client->peer;
  /* It has its place before the older ones count for none. */
  if (enter (served, client, status) == -1 ||
      fence_enter (&client->attached, status) == -1)
    return -1;
  client->limits = limits_open (served->store, disk->id, status);
  return client->limits ? 0 : status_prefix (status, "disk '%s'", disk->name);
}

struct client *
client_open (const struct served *served, const char *name, bool readonly,
             struct status *status)
{
  struct client *client = calloc (1, sizeof *client);
  char *disk;
  int r;

  if (client == NULL) {
    status_no_memory (status);
    return NULL;
  }
  if (name)
    peer_ask (&client->peer);
  disk = strndup (name ? name : "",
                  name ? fence_parse (name, &client->attached) : 0);
  if (disk == NULL)
    r = status_no_memory (status);
  else
    r = open_export (served, client, disk, readonly, status);
  free (disk);
  if (r == 0 && (client->told || admit (served, client, status) == 0)) {
    count_attached (client);
    return client;
  }
  client_close (client);
  return NULL;
}

bool
client_may_grow (const struct client *client)
{
  return client->attached.token[0] && client->disk && !client->increment &&
         disk_get_info (client->disk)->snapshot == 0;
}

void
client_close (struct client *client)
{
  if (client->counted)
    atomic_fetch_sub (&attached_count, 1);
  access_leave (&client->place);
  fence_leave (&client->attached);
  if (client->limits)
    limits_close (client->limits);
  if (client->increment)
    increment_close (client->increment);
  else if (client->disk)
    disk_close (client->disk);
  peer_forget (&client->peer);
  free (client->told);
  free (client);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A database on a cluster, past SQLite: see rados.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "cluster/rados.h"

#ifdef HAVE_RADOS

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rados/librados.h>

#include "cluster/location.h"

/* The functions of librados, as its header declares them. */
#define EACH_FUNCTION(FUNCTION)                                                \
  FUNCTION (blocklist_add)                                                     \
  FUNCTION (break_lock)                                                        \
  FUNCTION (conf_get)                                                          \
  FUNCTION (conf_parse_env)                                                    \
  FUNCTION (conf_read_file)                                                    \
  FUNCTION (conf_set)                                                          \
  FUNCTION (connect)                                                           \
  FUNCTION (create2)                                                           \
  FUNCTION (getxattr)                                                          \
  FUNCTION (ioctx_create)                                                      \
  FUNCTION (ioctx_destroy)                                                     \
  FUNCTION (ioctx_set_namespace)                                               \
  FUNCTION (list_lockers)                                                      \
  FUNCTION (lock_shared)                                                       \
  FUNCTION (shutdown)                                                          \
  FUNCTION (stat)                                                              \
  FUNCTION (wait_for_latest_osdmap)

#define DECLARE(name) __typeof__ (rados_##name) *name;

static struct {
  EACH_FUNCTION (DECLARE)
  char failure[300]; /* why they are not there */
} rados;

/* The lock of libcephsqlite, and what it keeps of a file; it aborts where these
 * are not what it wrote.
 */
static const char lock_name[] = "striper.lock";
static const char size_attribute[] = "striper.size";
static const char holder_attribute[] = "striper.excl";
static const char *const attributes[] = {
  size_attribute,
  holder_attribute,
  "striper.allocated",
  "striper.version",
};

/* The lock of whose turn it is, and its object, which is none of a file: their
 * names end with a number.
 */
static const char turn_name[] = "sqlblock.turn";
static const char turn_ending[] = "-turn";

struct rados_session {
  const char *path;
  char user[100];
  struct location location;
  rados_t cluster;
  rados_ioctx_t pool;
};

/* The name of the first object of a file. */
#define OBJECT_NAME (LOCATION_NAME + 32)

static void
load (void)
{
  void *library = dlopen ("librados.so.2", RTLD_NOW | RTLD_LOCAL);
  const char *missing = library ? NULL : dlerror ();

#define FIND(name)                                                             \
  if (missing == NULL) {                                                       \
    rados.name = (__typeof__ (rados.name))dlsym (library, "rados_" #name);     \
    if (rados.name == NULL)                                                    \
      missing = "it is too old: it has no rados_" #name;                       \
  }
  EACH_FUNCTION (FIND)
  if (missing)
    snprintf (rados.failure, sizeof rados.failure, "%s", missing);
}

static int
need_library (const char *path, struct status *status)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, load);
  return rados.failure[0] == '\0'
             ? 0
             : status_fail (status, ENOTSUP,
                            "%s: Ceph's library is missing (package librados2 "
                            "or librados): %s",
                            path, rados.failure);
}

/* The connection was made, but a question about WHAT failed. */
static int
fail (const struct rados_session *session, int result, const char *what,
      struct status *status)
{
  const char *path = session->path;

  if (result == -EACCES || result == -EPERM)
    return status_fail (status, EACCES, "%s: the user %s may not %s", path,
                        session->user, what);
  if (result == -ETIMEDOUT)
    return status_fail (status, ETIMEDOUT,
                        "%s: the cluster did not answer in time when it was "
                        "asked to %s: are its OSDs running, and may the user "
                        "%s use them?",
                        path, what, session->user);
  return status_fail (status, -result, "%s: the cluster cannot %s: %s", path,
                      what, strerror (-result));
}

static int
fail_to_connect (const struct rados_session *session, int result,
                 unsigned timeout, struct status *status)
{
  const char *file = getenv ("CEPH_CONF");
  char monitors[300] = "", why[500];

  rados.conf_get (session->cluster, "mon_host", monitors, sizeof monitors);
  if (monitors[0] == '\0')
    snprintf (why, sizeof why, "no monitor is named (mon_host)");
  else if (result == -ETIMEDOUT)
    snprintf (why, sizeof why,
              "the monitors %s did not answer within %u seconds", monitors,
              timeout);
  else if (result == -EACCES || result == -EPERM || result == -ENOENT)
    snprintf (why, sizeof why,
              "it does not let this user in: is there a keyring, and the "
              "right one?");
  else
    snprintf (why, sizeof why, "%s", strerror (-result));
  return status_fail (status, -result,
                      "%s: cannot connect to the cluster (configuration %s, "
                      "user %s): %s",
                      session->path, file ? file : "/etc/ceph/ceph.conf",
                      session->user, why);
}

/* If WORD is OPTION, with its value or before it, which is NEXT then, have the
 * user be PREFIX and that value.
 */
static void
take_user (struct rados_session *session, const char *option,
           const char *prefix, const char *word, const char *next)
{
  const size_t length = strlen (option);
  const char *value = NULL;

  if (strcmp (word, option) == 0)
    value = next;
  else if (strncmp (word, option, length) == 0 && word[length] == '=')
    value = word + length + 1;
  if (value)
    snprintf (session->user, sizeof session->user, "%s%s", prefix, value);
}

/* The next word of what REST says; blanks may be several. */
static char *
next_word (char **rest)
{
  char *word;

  do
    word = strsep (rest, " ");
  while (word && word[0] == '\0');
  return word;
}

/* Who the user is.  librados leaves that to the program, so this reads
 * CEPH_ARGS as libcephsqlite does, which takes all else from there itself.
 */
static int
find_user (struct rados_session *session, struct status *status)
{
  const char *arguments = getenv ("CEPH_ARGS");
  char *words = strdup (arguments ? arguments : "");
  char *rest = words, *word = words ? next_word (&rest) : NULL;

  if (words == NULL)
    return status_no_memory (status);
  strcpy (session->user, "client.admin");
  while (word) {
    char *next = next_word (&rest);

    take_user (session, "--id", "client.", word, next);
    take_user (session, "--user", "client.", word, next);
    take_user (session, "--name", "", word, next);
    take_user (session, "-n", "", word, next);
    word = next;
  }
  free (words);
  return 0;
}

/* Read the configuration as libcephsqlite does, but have a limit. */
static int
configure (struct rados_session *session, unsigned timeout,
           struct status *status)
{
  static const char *const limits[] = {
    "client_mount_timeout",
    "rados_mon_op_timeout",
    "rados_osd_op_timeout",
  };
  const char *file = getenv ("CEPH_CONF");
  char seconds[16];
  int r = rados.conf_read_file (session->cluster, NULL);

  /* There may be all that is needed in CEPH_ARGS. */
  if (r < 0 && (file || r != -ENOENT))
    return status_fail (
        status, -r, "%s: cannot read the configuration of Ceph, %s: %s",
        session->path, file ? file : "ceph.conf", strerror (-r));
  r = rados.conf_parse_env (session->cluster, NULL);
  snprintf (seconds, sizeof seconds, "%u", timeout);
  for (size_t i = 0; r >= 0 && i < sizeof limits / sizeof limits[0]; i++)
    r = rados.conf_set (session->cluster, limits[i], seconds);
  return r < 0 ? status_fail (status, -r, "%s: CEPH_ARGS: %s", session->path,
                              strerror (-r))
               : 0;
}

static int
open_pool (struct rados_session *session, struct status *status)
{
  const struct location *location = &session->location;
  const int r =
      rados.ioctx_create (session->cluster, location->pool, &session->pool);

  if (r == -ENOENT)
    return status_fail (status, ENOENT,
                        "%s: the cluster has no pool '%s': make one with "
                        "\"ceph osd pool create\"",
                        session->path, location->pool);
  if (r < 0)
    return fail (session, r, "open the pool", status);
  if (location->name_space[0] != '\0')
    rados.ioctx_set_namespace (session->pool, location->name_space);
  return 0;
}

static void
end (struct rados_session *session)
{
  if (session->pool)
    rados.ioctx_destroy (session->pool);
  if (session->cluster)
    rados.shutdown (session->cluster);
}

static int
begin (struct rados_session *session, const char *path, unsigned timeout,
       struct status *status)
{
  int r;

  *session = (struct rados_session){ .path = path };
  if (need_library (path, status) == -1 ||
      location_parse (path, &session->location, status) == -1 ||
      find_user (session, status) == -1)
    return -1;
  r = rados.create2 (&session->cluster, "ceph", session->user, 0);
  if (r < 0) {
    session->cluster = NULL;
    return status_fail (status, -r, "%s: the user '%s' of Ceph (CEPH_ARGS): %s",
                        path, session->user, strerror (-r));
  }
  if (configure (session, timeout, status) == 0) {
    r = rados.connect (session->cluster);
    if (r < 0)
      fail_to_connect (session, r, timeout, status);
    else if (open_pool (session, status) == 0)
      return 0;
  }
  end (session);
  return -1;
}

/* The name of the first object of the file that has ENDING behind its name. */
static void
first_object (const struct rados_session *session, const char *ending,
              char object[OBJECT_NAME])
{
  snprintf (object, OBJECT_NAME, "%s%s.%016x", session->location.name, ending,
            0);
}

/* Read an attribute of a file, which is a number; of who has the file open its
 * length is.
 */
static int
read_attribute (const struct rados_session *session, const char *object,
                const char *attribute, uint64_t *number, struct status *status)
{
  char text[300] = "";
  const int length =
      rados.getxattr (session->pool, object, attribute, text, sizeof text - 1);
  const bool right = attribute == holder_attribute
                         ? length >= 0
                         : length > 0 && length <= 18 &&
                               strspn (text, "0123456789") == (size_t)length;

  if (length < 0 && length != -ENODATA && length != -ERANGE)
    return fail (session, length, "read the attributes of the database",
                 status);
  if (!right)
    return status_fail (status, EIO,
                        "%s: the object '%s' in the pool '%s' is no file of "
                        "Ceph's SQLite (%s)",
                        session->path, object, session->location.pool,
                        attribute);
  *number = attribute == holder_attribute ? (uint64_t)length
                                          : strtoull (text, NULL, 10);
  return 0;
}

/* Check that the file with ENDING is one of libcephsqlite, or none, and note
 * what is known of it.
 */
static int
check_file (const struct rados_session *session, const char *ending,
            struct rados_found *found, struct status *status)
{
  char object[OBJECT_NAME];
  uint64_t number;
  time_t changed;
  int r;

  *found = (struct rados_found){ .exists = false };
  first_object (session, ending, object);
  r = rados.stat (session->pool, object, &number, &changed);
  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return fail (session, r, "read the pool", status);
  for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
    if (read_attribute (session, object, attributes[i], &number, status) == -1)
      return -1;
    if (attributes[i] == size_attribute)
      found->exists = number > 0;
    if (attributes[i] == holder_attribute)
      found->left = number > 0;
  }
  return 0;
}

/* Copy a text with its end.  Returns false where there is no room for it. */
static bool
copy (char *to, size_t size, const char *from)
{
  return memccpy (to, from, '\0', size) != NULL;
}

/* An address as "ceph osd blocklist ls" has it, without its type. */
static const char *
without_type (const char *address)
{
  const bool typed =
      strncmp (address, "v1:", 3) == 0 || strncmp (address, "v2:", 3) == 0;

  return typed ? address + 3 : address;
}

/* Who has a lock: COUNT names, one behind the other, in each. */
struct lockers {
  int count;
  char tag[64], clients[1024], cookies[1024], addresses[2048];
};

/* List who has the lock NAME of OBJECT. */
static int
list (const struct rados_session *session, const char *object, const char *name,
      struct lockers *lockers, struct status *status)
{
  size_t tag_size = sizeof lockers->tag, clients_size = sizeof lockers->clients;
  size_t cookies_size = sizeof lockers->cookies;
  size_t addresses_size = sizeof lockers->addresses;
  int exclusive;
  const ssize_t r = rados.list_lockers (
      session->pool, object, name, &exclusive, lockers->tag, &tag_size,
      lockers->clients, &clients_size, lockers->cookies, &cookies_size,
      lockers->addresses, &addresses_size);

  lockers->count = r > 0 ? r : 0;
  return r < 0 && r != -ENOENT
             ? fail (session, r, "list who has the database open", status)
             : 0;
}

/* The first of them, of one at least. */
static int
take_first (const struct rados_session *session, const struct lockers *lockers,
            struct lock_holder *holder, struct status *status)
{
  return copy (holder->client, sizeof holder->client, lockers->clients) &&
                 copy (holder->cookie, sizeof holder->cookie,
                       lockers->cookies) &&
                 copy (holder->address, sizeof holder->address,
                       without_type (lockers->addresses))
             ? 0
             : fail (session, -ERANGE, "list who has the database open",
                     status);
}

/* See who holds the database; where several do, as a newer libcephsqlite may
 * allow, one of them.
 */
static int
find_holder (const struct rados_session *session, struct rados_found *found,
             struct status *status)
{
  char object[OBJECT_NAME];
  struct lockers lockers;

  first_object (session, "", object);
  if (list (session, object, lock_name, &lockers, status) == -1)
    return -1;
  found->held = lockers.count > 0;
  return found->held ? take_first (session, &lockers, &found->holder, status)
                     : 0;
}

int
rados_examine (const struct rados_session *session, struct rados_found *found,
               struct status *status)
{
  struct rados_found beside;

  if (check_file (session, "-wal", &beside, status) == -1 ||
      check_file (session, "-journal", &beside, status) == -1 ||
      check_file (session, "", found, status) == -1)
    return -1;
  return find_holder (session, found, status);
}

int
rados_find (const char *path, unsigned timeout, struct rados_found *found,
            struct status *status)
{
  struct rados_session session;
  int r;

  *found = (struct rados_found){ .exists = false };
  if (begin (&session, path, timeout, status) == -1)
    return -1;
  r = rados_examine (&session, found, status);
  end (&session);
  return r;
}

static void
turn_object (const struct rados_session *session, char object[OBJECT_NAME])
{
  snprintf (object, OBJECT_NAME, "%s%s", session->location.name, turn_ending);
}

int
rados_take_turn (const struct rados_session *session, const char *token,
                 unsigned seconds, struct lock_holder *holder,
                 struct status *status)
{
  struct timeval duration = { .tv_sec = seconds };
  char object[OBJECT_NAME];
  struct lockers lockers;
  int r;

  turn_object (session, object);
  /* Shared by those who give the same tag. */
  r = rados.lock_shared (session->pool, object, turn_name, token, token,
                         "opening", &duration, LIBRADOS_LOCK_FLAG_MAY_RENEW);
  if (r == 0)
    return 1;
  if (r != -EBUSY)
    return fail (session, r, "lock the database", status);
  *holder = (struct lock_holder){ .address = "another client" };
  if (list (session, object, turn_name, &lockers, status) == -1 ||
      (lockers.count > 0 &&
       take_first (session, &lockers, holder, status) == -1))
    return -1;
  return 0;
}

/* Break the lock NAME of OBJECT, where CLIENT has it with COOKIE; it may have
 * ended meanwhile.
 */
static int
break_lock (const struct rados_session *session, const char *object,
            const char *name, const char *client, const char *cookie,
            struct status *status)
{
  const int r = rados.break_lock (session->pool, object, name, client, cookie);

  return r < 0 && r != -ENOENT
             ? fail (session, r, "break the lock of the database", status)
             : 0;
}

int
rados_end_turn (const struct rados_session *session, const char *token,
                struct status *status)
{
  char object[OBJECT_NAME];
  struct lockers lockers;
  const char *client = lockers.clients, *cookie = lockers.cookies;
  int r;

  turn_object (session, object);
  r = list (session, object, turn_name, &lockers, status);
  if (r == 0 && strcmp (lockers.tag, token) != 0)
    return 0;
  for (int i = 0; r == 0 && i < lockers.count; i++) {
    r = break_lock (session, object, turn_name, client, cookie, status);
    client += strlen (client) + 1;
    cookie += strlen (cookie) + 1;
  }
  return r;
}

static int
fail_to_refuse (const struct rados_session *session, struct status *status)
{
  const char *profile = "profile simple-rados-client-with-blocklist";

  return status_fail (
      status, EACCES,
      "%s: the user %s may not have the cluster refuse another client, which "
      "needs the capability mon '%s': an administrator gives it by \"ceph auth "
      "caps %s mon '%s' osd 'allow rwx pool=%s'\", which has to name all that "
      "this user is to have",
      session->path, session->user, profile, session->user, profile,
      session->location.pool);
}

/* Have the cluster refuse ADDRESS, and see that all that comes after it does.
 */
static int
refuse (const struct rados_session *session, const char *address,
        struct status *status)
{
  char copy[sizeof ((struct lock_holder *)NULL)->address];
  int r;

  snprintf (copy, sizeof copy, "%s", address);
  r = rados.blocklist_add (session->cluster, copy, 0);
  if (r == -EACCES || r == -EPERM)
    return fail_to_refuse (session, status);
  if (r < 0)
    return fail (session, r, "have the cluster refuse another client", status);
  /* An OSD that sees the next request of ours, with this map, has it, too. */
  r = rados.wait_for_latest_osdmap (session->cluster);
  return r < 0 ? fail (session, r, "tell its map", status) : 0;
}

int
rados_fence (const char *path, unsigned timeout,
             const struct lock_holder *holder, struct status *status)
{
  char object[OBJECT_NAME];
  struct rados_found found;
  struct rados_session session;
  int r;

  if (begin (&session, path, timeout, status) == -1)
    return -1;
  r = find_holder (&session, &found, status);
  if (r == 0 && found.held &&
      (strcmp (found.holder.client, holder->client) != 0 ||
       strcmp (found.holder.cookie, holder->cookie) != 0))
    r = status_fail (status, EBUSY, "%s: %s has it open now, and not %s", path,
                     found.holder.address, holder->address);
  if (r == 0)
    r = refuse (&session, holder->address, status);
  if (r == 0) {
    first_object (&session, "", object);
    r = break_lock (&session, object, lock_name, holder->client, holder->cookie,
                    status);
  }
  end (&session);
  return r;
}

struct rados_session *
rados_open (const char *path, unsigned timeout, struct status *status)
{
  struct rados_session *session = malloc (sizeof *session);
  char *own = strdup (path);

  if (session == NULL || own == NULL)
    status_no_memory (status);
  else if (begin (session, own, timeout, status) == 0)
    return session;
  free (own);
  free (session);
  return NULL;
}

int
rados_look (const struct rados_session *session, struct rados_found *found,
            struct status *status)
{
  return find_holder (session, found, status);
}

void
rados_close (struct rados_session *session)
{
  end (session);
  free ((char *)session->path);
  free (session);
}

#else /* HAVE_RADOS */

static int
fail (const char *path, struct status *status)
{
  return status_fail (status, ENOTSUP,
                      "%s: this program was built without databases on Ceph "
                      "clusters (librados)",
                      path);
}

int
rados_find (const char *path, unsigned timeout, struct rados_found *found,
            struct status *status)
{
  (void)timeout;
  (void)found;
  return fail (path, status);
}

int
rados_fence (const char *path, unsigned timeout,
             const struct lock_holder *holder, struct status *status)
{
  (void)timeout;
  (void)holder;
  return fail (path, status);
}

struct rados_session *
rados_open (const char *path, unsigned timeout, struct status *status)
{
  (void)timeout;
  fail (path, status);
  return NULL;
}

/* What wants a session, of which there is none. */
static int
fail_session (struct status *status)
{
  return status_fail (status, ENOTSUP, "%s", strerror (ENOTSUP));
}

int
rados_look (const struct rados_session *session, struct rados_found *found,
            struct status *status)
{
  (void)session;
  (void)found;
  return fail_session (status);
}

int
rados_examine (const struct rados_session *session, struct rados_found *found,
               struct status *status)
{
  (void)session;
  (void)found;
  return fail_session (status);
}

int
rados_take_turn (const struct rados_session *session, const char *token,
                 unsigned seconds, struct lock_holder *holder,
                 struct status *status)
{
  (void)session;
  (void)token;
  (void)seconds;
  (void)holder;
  return fail_session (status);
}

int
rados_end_turn (const struct rados_session *session, const char *token,
                struct status *status)
{
  (void)session;
  (void)token;
  return fail_session (status);
}

void
rados_close (struct rados_session *session)
{
  (void)session;
}

#endif /* HAVE_RADOS */

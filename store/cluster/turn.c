/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Whose turn it is to open a database on a cluster: see turn.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/turn.h"

/* How long a turn lasts, if it is not given back, in seconds: where a server
 * begins, its processes pass it on.
 */
#define TURN 30

/* The same for one that the next of these processes is to have. */
#define PASSED 10

/* How often to look whether another has let go. */
static const struct timespec look_again = { .tv_nsec = 200000000 };

/* By what this process is known, and its children when they share its turn. */
static char token[48];

/* Who has the turn, if it is this process's; it is kept when a file is open. */
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rados_session *turn;
static bool keeps_turn;

static void
make_token (void)
{
  uint64_t random;

  /* Without it the process and the time are enough. */
  if (getrandom (&random, sizeof random, 0) != sizeof random)
    random = clock_now ();
  snprintf (token, sizeof token, "%ld-%016" PRIx64, (long)getpid (), random);
}

void
turn_share (void)
{
  static pthread_once_t token_once = PTHREAD_ONCE_INIT;

  pthread_once (&token_once, make_token);
}

/* Looks until the database can be opened. */
struct waiting {
  const char *path;
  void (*takeover) (const char *message); /* NULL: it does not wait */
  struct rados_session *session;
  bool turn;      /* it is ours */
  bool looked;    /* the cluster has answered */
  uint64_t until; /* to wait for another's turn, by clock_now */
  char said[400]; /* what the user was told last */
};

static int
fail_held (const char *path, const struct lock_holder *holder,
           struct status *status)
{
  return status_fail (status, EBUSY,
                      "%s is open elsewhere, by %s (%s): end that server or "
                      "command first; when it has died, its lock ends within "
                      "30 s, or \"sqlblock break-lock\" breaks it",
                      path, holder->address, holder->client);
}

/* Tell the user once for what this waits: for HOLDER, who does WHAT; NULL: for
 * the cluster.
 */
static void
say (struct waiting *waiting, const struct lock_holder *holder,
     const char *what)
{
  char message[sizeof waiting->said];

  if (holder)
    snprintf (message, sizeof message, "%s (%s) %s", holder->address,
              holder->client, what);
  else
    snprintf (message, sizeof message, "%s", what);
  if (strcmp (message, waiting->said) != 0)
    waiting->takeover (message);
  memcpy (waiting->said, message, sizeof message);
}

static void
give_back (const struct rados_session *session)
{
  struct status ignored;

  rados_end_turn (session, token, &ignored);
}

/* HOLDER has the database open.  Returns 0 to look again, or -1. */
static int
await_holder (struct waiting *waiting, const struct lock_holder *holder,
              struct status *status)
{
  if (waiting->turn)
    give_back (waiting->session);
  waiting->turn = false;
  if (waiting->takeover == NULL)
    return fail_held (waiting->path, holder, status);
  say (waiting, holder, "has it open: waiting until it lets go");
  return 0;
}

/* It is HOLDER's turn, who will soon have it open.  As await_holder. */
static int
await_turn (struct waiting *waiting, const struct lock_holder *holder,
            struct status *status)
{
  if (waiting->takeover)
    say (waiting, holder, "is opening it: waiting until it lets go");
  else if (clock_now () > waiting->until)
    return status_fail (status, EBUSY,
                        "%s is being opened elsewhere, by %s (%s): try again "
                        "later",
                        waiting->path, holder->address, holder->client);
  return 0;
}

/* The cluster has not answered, as STATUS says.  Who stands by goes on. */
static int
await_answer (struct waiting *waiting, const struct status *status)
{
  if (waiting->takeover == NULL || !waiting->looked ||
      status->error != ETIMEDOUT)
    return -1;
  say (waiting, NULL, "the cluster does not answer: waiting until it does");
  return 0;
}

/* Take the turn, if it is not ours yet.  Returns 1 when it is, 0 to try again,
 * or -1.
 */
static int
get_turn (struct waiting *waiting, struct status *status)
{
  struct lock_holder holder;
  int r;

  if (waiting->turn)
    return 1;
  r = rados_take_turn (waiting->session, token, TURN, &holder, status);
  if (r == -1)
    return await_answer (waiting, status);
  waiting->turn = r == 1;
  return r == 1 ? 1 : await_turn (waiting, &holder, status);
}

/* Look once whether nobody has the database open.  Who does not wait for that
 * first has the turn, so that whom he is told of is no server that only looks,
 * before it begins.  Returns 1 when it is ours, 0 to look again, or -1.
 */
static int
look (struct waiting *waiting, struct rados_found *found, struct status *status)
{
  const int r = waiting->takeover ? 1 : get_turn (waiting, status);

  if (r != 1)
    return r;
  if (rados_examine (waiting->session, found, status) == -1)
    return await_answer (waiting, status);
  waiting->looked = true;
  if (found->held)
    return await_holder (waiting, &found->holder, status);
  if (waiting->turn)
    return 1;
  return get_turn (waiting, status) == -1 ? -1 : 0;
}

/* Be who has the turn, with SESSION.  Where another thread has it already they
 * share it; if it has that of another database, this one ends by itself.
 */
static void
keep_session (struct rados_session *session)
{
  pthread_mutex_lock (&turn_lock);
  if (turn)
    rados_close (session);
  else
    turn = session;
  pthread_mutex_unlock (&turn_lock);
}

int
turn_take (const char *path, unsigned timeout,
           void (*takeover) (const char *message), struct rados_found *found,
           struct status *status)
{
  struct waiting waiting = {
    .path = path,
    .takeover = takeover,
    .session = rados_open (path, timeout, status),
    .until = clock_now () + timeout * CLOCK_SECOND,
  };
  int r;

  if (waiting.session == NULL)
    return -1;
  turn_share ();
  while ((r = look (&waiting, found, status)) == 0)
    nanosleep (&look_again, NULL);
  if (r == 1) {
    keep_session (waiting.session);
    return 0;
  }
  if (waiting.turn)
    give_back (waiting.session);
  rados_close (waiting.session);
  return -1;
}

void
turn_keep (void)
{
  keeps_turn = true;
}

void
turn_end (void)
{
  keeps_turn = false;
  turn_leave ();
}

void
turn_pass (void)
{
  struct lock_holder holder;
  struct status ignored;

  if (turn)
    rados_take_turn (turn, token, PASSED, &holder, &ignored);
}

void
turn_leave (void)
{
  pthread_mutex_lock (&turn_lock);
  if (turn && !keeps_turn) {
    give_back (turn);
    rados_close (turn);
    turn = NULL;
  }
  pthread_mutex_unlock (&turn_lock);
}

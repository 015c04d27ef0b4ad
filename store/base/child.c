/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Work in a child process: see child.h. */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"

/* What comes through the pipe. */
struct answer {
  int result;
  struct status status;
};

static void
be_child (int to, child_work work, void *opaque)
{
  struct answer answer;
  ssize_t written;

  prctl (PR_SET_PDEATHSIG, SIGKILL);
  memset (&answer, 0, sizeof answer);
  answer.result = work (opaque, &answer.status);
  written = write (to, &answer, sizeof answer);
  _exit (written == sizeof answer ? 0 : 1);
}

/* Read the answer, for so many SECONDS (0: however long).  Returns 1, 0 where
 * there was none in time, -1 where there will be none.
 */
static int
read_answer (int from, unsigned seconds, struct answer *answer)
{
  const uint64_t until = clock_now () + seconds * 1000 * CLOCK_MILLISECOND;
  char *to = (char *)answer;
  size_t done = 0;
  ssize_t r = 1;

  while (done < sizeof *answer && r > 0) {
    struct pollfd wait = { .fd = from, .events = POLLIN };
    const uint64_t now = clock_now ();
    const int ready =
        seconds == 0  ? poll (&wait, 1, -1)
        : now < until ? poll (&wait, 1, (until - now) / CLOCK_MILLISECOND + 1)
                      : 0;

    if (ready == 0)
      return 0;
    if (ready == -1 && errno == EINTR)
      continue;
    r = read (from, to + done, sizeof *answer - done);
    if (r > 0)
      done += r;
  }
  return done == sizeof *answer ? 1 : -1;
}

/* End the child, and say why it gave no answer, of which READ tells. */
static int
end_child (pid_t child, int read, unsigned seconds, struct status *status)
{
  int how = 0;

  /* Where nobody has to wait for it, its id may be another's by now. */
  if (read != 1 && waitpid (child, &how, WNOHANG) == 0)
    kill (child, SIGKILL);
  while (waitpid (child, &how, 0) == -1 && errno == EINTR)
    ;
  if (read == 0)
    return status_fail (status, ETIMEDOUT, "there was no answer in %u s",
                        seconds);
  if (read == -1)
    return status_fail (
        status, EIO, "the process that was to look at it has failed (%s)",
        WIFSIGNALED (how) ? strsignal (WTERMSIG (how)) : "it ended");
  return 0;
}

void
child_begin (void)
{
  struct sigaction action;

  if (sigaction (SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
    signal (SIGCHLD, SIG_DFL);
}

int
child_run (child_work work, void *opaque, const char *what, unsigned seconds,
           struct status *status)
{
  struct answer answer = { .result = -1 };
  int ends[2], r;
  pid_t child;

  if (pipe (ends) == -1)
    return status_fail (status, errno, "making a pipe: %s", strerror (errno));
  child = fork ();
  if (child == 0) {
    close (ends[0]);
    be_child (ends[1], work, opaque);
  }
  close (ends[1]);
  if (child == -1)
    r = status_fail (status, errno, "starting a process: %s", strerror (errno));
  else
    r = end_child (child, read_answer (ends[0], seconds, &answer), seconds,
                   status);
  close (ends[0]);
  if (r == -1)
    return status_prefix (status, "%s", what);
  *status = answer.status;
  return answer.result;
}

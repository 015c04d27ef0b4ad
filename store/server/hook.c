/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A program around snapshots: see hook.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"
#include "server/hook.h"

/* How often to look whether it has ended, in nanoseconds. */
#define LOOK (10 * CLOCK_MILLISECOND)

/* How long it has when the server ends, and to be gone when it was killed, in
 * nanoseconds.
 */
#define LAST (5 * CLOCK_SECOND)

extern char **environ;

int
server_check_hook (const char *program, struct status *status)
{
  struct stat file;

  if (stat (program, &file) == -1 || access (program, X_OK) == -1)
    return status_fail (status, errno, "%s: %s", program, strerror (errno));
  if (!S_ISREG (file.st_mode))
    return status_fail (status, EINVAL, "%s is no program", program);
  return 0;
}

/*--------------------------------------------------------------------
 * The environment.
 */

/* What each event has. */
static const char *const names[] = { "SQLBLOCK_EVENT", "SQLBLOCK_DATABASE",
                                     "SQLBLOCK_DISK", "SQLBLOCK_SNAPSHOT",
                                     "SQLBLOCK_RESULT" };

#define EVENT_VARIABLES (sizeof names / sizeof names[0])

/* Room for one. */
#define VARIABLE_MAX 4200

struct environment {
  char texts[EVENT_VARIABLES][VARIABLE_MAX];
  char **all; /* these, then ours */
};

/* Is TEXT, of our environment, a variable of an event?  Of two of one name
 * shells take the last.
 */
static bool
is_of_event (const char *text)
{
  for (size_t i = 0; i < EVENT_VARIABLES; i++) {
    const size_t length = strlen (names[i]);

    if (strncmp (text, names[i], length) == 0 && text[length] == '=')
      return true;
  }
  return false;
}

static int
make_environment (struct environment *environment,
                  const struct hook_event *event)
{
  const char *const values[EVENT_VARIABLES] = { event->when, event->database,
                                                event->disk, event->snapshot,
                                                event->result };
  size_t count = 0;

  while (environ[count])
    count++;
  environment->all =
      calloc (EVENT_VARIABLES + count + 1, sizeof *environment->all);
  if (environment->all == NULL)
    return -1;
  for (size_t i = 0; i < EVENT_VARIABLES; i++) {
    snprintf (environment->texts[i], VARIABLE_MAX, "%s=%s", names[i],
              values[i]);
    environment->all[i] = environment->texts[i];
  }
  count = EVENT_VARIABLES;
  for (char **each = environ; *each; each++)
    if (!is_of_event (*each))
      environment->all[count++] = *each;
  return 0;
}

/*--------------------------------------------------------------------
 * The process.
 */

/* In the child, of a process with threads: only what a signal handler may
 * call, too.  Descriptors of the database are closed, but no lock is lost by
 * that, which are the parent's.
 */
static void
be_program (const char *program, char *const arguments[], char **variables)
{
  static const int caught[] = { SIGPIPE, SIGINT, SIGQUIT,
                                SIGTERM, SIGHUP, SIGCHLD };
  const int nothing = open ("/dev/null", O_RDONLY);
  sigset_t none;

  setpgid (0, 0);
  for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
    signal (caught[i], SIG_DFL);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  if (dup2 (nothing, STDIN_FILENO) != -1 &&
      dup2 (STDERR_FILENO, STDOUT_FILENO) != -1 &&
      close_range (STDERR_FILENO + 1, ~0U, 0) == 0)
    execve (program, arguments, variables);
  _exit (127);
}

static bool
is_ending (struct background *background)
{
  return background && background_is_stopping (background);
}

/* Wait for CHILD, at most for so many NANOSECONDS.  Returns 1 when it has
 * ended, HOW; 0 where it has not; -1 where it is gone, and nobody knows how:
 * its id may be another's by now.
 */
static int
await (pid_t child, uint64_t nanoseconds, struct background *background,
       int *how)
{
  const struct timespec pause = clock_timespec (LOOK);
  uint64_t until = clock_now () + nanoseconds, last = 0;
  pid_t r;

  while (clock_now () < until) {
    r = waitpid (child, how, WNOHANG);
    if (r == child)
      return 1;
    if (r == -1 && errno == ECHILD)
      return -1;
    if (last == 0 && is_ending (background)) {
      last = clock_now () + LAST;
      if (last < until)
        until = last;
    }
    nanosleep (&pause, NULL);
  }
  return 0;
}

/* Say what has become of it. */
static int
judge (int ended, int how, int64_t seconds, struct status *status)
{
  if (ended == 0)
    return status_fail (status, ETIMEDOUT,
                        "it had not ended after %lld s, or when the server "
                        "did, and was killed",
                        (long long)seconds);
  if (ended == -1)
    return status_fail (status, EIO,
                        "it has ended, and whether it succeeded is not known");
  if (WIFSIGNALED (how))
    return status_fail (status, EIO, "it was ended by a signal: %s",
                        strsignal (WTERMSIG (how)));
  if (WEXITSTATUS (how) != 0)
    return status_fail (status, EIO, "its exit status is %d",
                        WEXITSTATUS (how));
  return 0;
}

/* Run it to its end. */
static int
run (const struct hook_options *options, const struct hook_event *event,
     char **variables, struct background *background, struct status *status)
{
  char *const arguments[] = { (char *)options->program, (char *)event->when,
                              (char *)event->disk, (char *)event->snapshot,
                              NULL };
  pid_t child = fork ();
  int how = 0, ended;

  if (child == 0)
    be_program (options->program, arguments, variables);
  if (child == -1)
    return status_fail (status, errno, "starting a process: %s",
                        strerror (errno));
  /* Both do it, so that it is done when either goes on. */
  setpgid (child, child);
  ended = await (child, options->timeout * CLOCK_SECOND, background, &how);
  if (ended == 0) {
    kill (-child, SIGKILL);
    await (child, LAST, NULL, &how);
  }
  return judge (ended, how, options->timeout, status);
}

int
hook_call (const struct hook_options *options, const struct hook_event *event,
           struct background *background, struct status *status)
{
  struct environment *environment = calloc (1, sizeof *environment);
  int r;

  if (environment == NULL || make_environment (environment, event) == -1)
    r = status_no_memory (status);
  else
    r = run (options, event, environment->all, background, status);
  if (environment)
    free (environment->all);
  free (environment);
  return r == -1
             ? status_prefix (status, "'%s %s'", options->program, event->when)
             : 0;
}

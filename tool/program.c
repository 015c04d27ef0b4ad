/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Another program that does a part of the work: see program.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "confine.h"
#include "program.h"
#include "tool.h"

/* Where programs are. */
static const char *const directories[] = { "/usr/bin", "/bin", "/usr/sbin",
                                           "/sbin", "/usr/local/bin" };

#define PATH_VARIABLE "PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"

/* How often to look whether it has ended, in nanoseconds. */
#define LOOK_EVERY 10000000

/* How long to wait for the last words of one that has just failed. */
#define LAST_WORDS 2

/* How much of what it says is kept, in bytes: it may say a line for each entry
 * of a stranger's table.
 */
#define WORDS_MOST (1 << 16)

/* The file of the program NAME: a new string, or NULL. */
static char *
find_program (const char *name)
{
  for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++) {
    char *path = tool_format ("%s/%s", directories[i], name);

    if (access (path, X_OK) == 0)
      return path;
    free (path);
  }
  return NULL;
}

/*--------------------------------------------------------------------
 * In the child.
 */

/* Have descriptor TO be what FROM was, and stay open; ends the child where that
 * fails.
 */
static void
place (int from, int to)
{
  if (dup2 (from, to) == -1)
    _exit (126);
}

/* Move descriptors up, where the places of others do not overwrite them. */
static int
lift (int fd)
{
  const int lifted = fcntl (fd, F_DUPFD_CLOEXEC, 10);

  if (lifted == -1)
    _exit (126);
  return lifted;
}

static void
place_files (const struct program_files *files, int errors)
{
  const int nothing = lift (open ("/dev/null", O_RDWR | O_CLOEXEC));
  const int input = files->input == -1 ? nothing : lift (files->input);
  const int output = files->output == -1 ? nothing : lift (files->output);
  const int third = files->third == -1 ? -1 : lift (files->third);
  const int fourth = files->fourth == -1 ? -1 : lift (files->fourth);
  const int words = lift (errors);

  place (input, STDIN_FILENO);
  place (output, STDOUT_FILENO);
  place (words, STDERR_FILENO);
  if (third != -1)
    place (third, 3);
  if (fourth != -1)
    place (fourth, 4);
  close_range (fourth != -1 ? 5 : third != -1 ? 4 : 3, ~0U, 0);
}

static void __attribute__ ((noreturn))
be_child (const char *path, const char *const argv[],
          const struct program_files *files, int errors, pid_t parent)
{
  static const int signals[] = { SIGPIPE, SIGINT, SIGTERM };
  static char path_variable[] = PATH_VARIABLE, language[] = "LC_ALL=C";
  static char one_socket[] = "LISTEN_FDS=1", for_us[40];
  char *environment[] = { path_variable, language,
                          files->listens ? one_socket : NULL, for_us, NULL };

  prctl (PR_SET_PDEATHSIG, SIGKILL);
  prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  /* Ctrl-C is for us, who end it. */
  setpgid (0, 0);
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    signal (signals[i], SIG_DFL);
  if (getppid () != parent)
    _exit (126);
  place_files (files, errors);
  if (files->confined)
    confine_to (4);
  snprintf (for_us, sizeof for_us, "LISTEN_PID=%ld", (long)getpid ());
  execve (path, (char **)argv, environment);
  dprintf (STDERR_FILENO, "%s\n", strerror (errno));
  _exit (126);
}

/*--------------------------------------------------------------------
 * In the parent.
 */

/* Make the file for what it says, which cannot grow: what comes when that is
 * full is lost.  Returns the descriptor, or -1.
 */
static int
make_words (void)
{
  const int fd = memfd_create ("errors", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  if (fd != -1 && ftruncate (fd, WORDS_MOST) == 0 &&
      fcntl (fd, F_ADD_SEALS, F_SEAL_GROW) == 0)
    return fd;
  if (fd != -1)
    close (fd);
  return -1;
}

int
program_start (struct program *program, const char *const argv[],
               const char *package, const struct program_files *files,
               struct status *status)
{
  const pid_t parent = getpid ();
  char *path = find_program (argv[0]);

  *program = (struct program){ .name = argv[0] };
  if (path == NULL)
    return status_fail (status, ENOTSUP,
                        "%s is needed for that, and is not installed; "
                        "install the package %s",
                        argv[0], package);
  /* Ignored, which is inherited, a child's end could not be asked for. */
  signal (SIGCHLD, SIG_DFL);
  program->errors = make_words ();
  program->pid = program->errors == -1 ? -1 : fork ();
  if (program->pid == 0)
    be_child (path, argv, files, program->errors, parent);
  free (path);
  if (program->pid != -1)
    return 0;
  status_fail (status, errno, "starting %s: %s", argv[0], strerror (errno));
  if (program->errors != -1)
    close (program->errors);
  program->pid = 0;
  return -1;
}

/* The last line that it has said, a new string. */
static char *
last_words (const struct program *program)
{
  char text[1000], *line, *end;
  const off_t size = lseek (program->errors, 0, SEEK_CUR);
  const off_t start =
      size > (off_t)sizeof text - 1 ? size - sizeof text + 1 : 0;
  const ssize_t n = pread (program->errors, text, size - start, start);

  if (n <= 0)
    return tool_strdup ("it does not say why");
  text[n] = '\0';
  for (end = text + n; end > text && end[-1] == '\n'; end--)
    end[-1] = '\0';
  line = strrchr (text, '\n');
  return tool_strdup (line ? line + 1 : text);
}

/* It is not there any more. */
static void
forget (struct program *program)
{
  close (program->errors);
  *program = (struct program){ .name = program->name };
}

/* Wait for its end, at most so many SECONDS.  Returns 1 and how it ended, or
 * 0.
 */
static int
await_end (struct program *program, unsigned seconds, int *how)
{
  const uint64_t until =
      clock_now () + UINT64_C (1000) * seconds * CLOCK_MILLISECOND;
  pid_t ended;

  while ((ended = waitpid (program->pid, how, WNOHANG)) != program->pid) {
    if (ended == -1 && errno != EINTR) {
      *how = W_EXITCODE (1, 0); /* nobody can say that it went well */
      return 1;
    }
    if (clock_now () >= until || tool_interrupted ())
      return 0;
    nanosleep (&(struct timespec){ .tv_nsec = LOOK_EVERY }, NULL);
  }
  return 1;
}

/* Say that it has failed. */
static int
fail_ended (struct program *program, int how, struct status *status)
{
  char *words = last_words (program);

  if (WIFSIGNALED (how))
    status_fail (status, EIO, "%s was ended by a signal (%s)", program->name,
                 strsignal (WTERMSIG (how)));
  else
    status_fail (status, EIO, "%s has failed: %s", program->name, words);
  free (words);
  return -1;
}

/* As program_end and program_run. */
static int
end_program (struct program *program, unsigned seconds, int *code,
             struct status *status)
{
  const char *name = program->name;
  int how, r = 0;

  if (!await_end (program, seconds, &how)) {
    program_kill (program);
    return tool_interrupted ()
               ? status_fail (status, ECANCELED, "%s: interrupted", name)
               : status_fail (status, ETIMEDOUT,
                              "%s has not ended in %u s, and was killed", name,
                              seconds);
  }
  if (code && WIFEXITED (how) && WEXITSTATUS (how) != 1)
    *code = WEXITSTATUS (how);
  else if (!WIFEXITED (how) || WEXITSTATUS (how) != 0)
    r = fail_ended (program, how, status);
  forget (program);
  return r;
}

int
program_end (struct program *program, unsigned seconds, struct status *status)
{
  return end_program (program, seconds, NULL, status);
}

int
program_explain (struct program *program, struct status *status)
{
  int how;

  if (program->pid == 0 || status->error == ECANCELED ||
      status->error == ETIMEDOUT || !await_end (program, LAST_WORDS, &how))
    return -1;
  if (!WIFEXITED (how) || WEXITSTATUS (how) != 0)
    fail_ended (program, how, status);
  forget (program);
  return -1;
}

void
program_kill (struct program *program)
{
  int how;

  if (program->pid == 0)
    return;
  kill (program->pid, SIGKILL);
  while (waitpid (program->pid, &how, 0) == -1 && errno == EINTR)
    ;
  forget (program);
}

int
program_run (const char *const argv[], const char *package,
             const struct program_files *files, unsigned seconds, int *code,
             struct status *status)
{
  struct program program;

  if (program_start (&program, argv, package, files, status) == -1)
    return -1;
  return end_program (&program, seconds, code, status);
}

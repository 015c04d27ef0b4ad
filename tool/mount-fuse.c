/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Mounting without the kernel's nbd: see mount-way.h.
 *
 * nbdfuse has the server as its child, and talks to it by a pipe; both end when
 * the file is unmounted, after who has it open.  They are this user's, and are
 * found by the name of the file, which stands on their command lines.
 *
 * These programs are found by $PATH, as nbdkit is: they run as the user who
 * asks, and fusermount gets its privileges by itself.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount-way.h"
#include "supervise.h"
#include "tool.h"

/* How long the server may take to start, a virtual machine too, and all to
 * write what they have and end, in tenths of a second.
 */
#define START_MOST 600
#define MOUNT_MOST 6000
#define END_MOST   600

/* A line of the log. */
#define NOT_WRITTEN "sqlblock: not all was written: "

/* What is given to guestmount of options, in words. */
#define OPTIONS_MOST 100

static void
sleep_a_tenth (void)
{
  nanosleep (&(struct timespec){ .tv_nsec = 100000000 }, NULL);
}

/*--------------------------------------------------------------------
 * Programs.
 */

/* Is PROGRAM in $PATH? */
static bool
is_installed (const char *program)
{
  const char *path = getenv ("PATH");
  bool is_there = false;

  while (path && *path && !is_there) {
    const size_t length = strcspn (path, ":");
    char *name = tool_format ("%.*s/%s", (int)length, path, program);

    is_there = access (name, X_OK) == 0;
    free (name);
    path += length + (path[length] == ':');
  }
  return is_there;
}

/* Start a program that outlives this one; what it says is added to the log of
 * MOUNTING.  Returns its process, or -1.
 */
static pid_t
start (const struct mounting *mounting, const char *const argv[])
{
  char *log = mounting_file (mounting, "log");
  const pid_t pid = fork ();

  if (pid == 0) {
    const int nothing = open ("/dev/null", O_RDWR);
    const int said = open (log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    setsid ();
    if (nothing == -1 || said == -1 || dup2 (nothing, 0) == -1 ||
        dup2 (said, 1) == -1 || dup2 (said, 2) == -1 || chdir ("/") == -1)
      _exit (TOOL_FAILED);
    close_range (3, ~0U, 0);
    execvp (argv[0], (char **)argv);
    dprintf (2, "error: %s cannot be started: %s\n", argv[0], strerror (errno));
    _exit (TOOL_FAILED);
  }
  free (log);
  return pid;
}

/* How long the log is. */
static long
log_length (const struct mounting *mounting)
{
  char *log = mounting_file (mounting, "log");
  struct stat file;
  const bool is_there = stat (log, &file) == 0;

  free (log);
  return is_there ? file.st_size : 0;
}

/* What a program has said is so long at most. */
#define SAID_MOST 1000

/* What the programs have said since the log was FROM bytes long: the first that
 * is called an error, or all.
 */
static void
read_log (const struct mounting *mounting, long from, char said[SAID_MOST])
{
  char *log = mounting_file (mounting, "log");
  FILE *file = fopen (log, "re");
  char line[SAID_MOST];
  size_t length = 0;
  bool is_error = false;

  free (log);
  said[0] = '\0';
  if (file)
    fseek (file, from, SEEK_SET);
  while (!is_error && file && fgets (line, sizeof line, file) != NULL) {
    is_error = strstr (line, "error: ") != NULL;
    if (is_error)
      length = 0;
    line[strcspn (line, "\n")] = '\0';
    if (line[0] && length < SAID_MOST)
      length += snprintf (said + length, SAID_MOST - length, "%s%s",
                          length ? "; " : "", line);
  }
  if (file)
    fclose (file);
}

/* Print WHAT, and what the programs have said.  Returns an exit code. */
static int
fail_by_log (const struct mounting *mounting, const char *what)
{
  char said[SAID_MOST];

  read_log (mounting, 0, said);
  return tool_error (EIO, "%s: %s", what,
                     said[0] ? said : "it does not say why");
}

/* Run a program and wait for its end; where it CLEANS up, also after a signal
 * that ends all else.  Returns 0 where it says that all went well, or -1.
 */
static int
run (const struct mounting *mounting, const char *const argv[], bool cleans)
{
  const pid_t pid = start (mounting, argv);
  int how = -1;

  for (int i = 0; pid != -1 && i < MOUNT_MOST; i++) {
    if (waitpid (pid, &how, WNOHANG) != 0)
      return how == 0 ? 0 : -1;
    if (tool_interrupted () && !cleans)
      break;
    sleep_a_tenth ();
  }
  if (pid != -1 && kill (pid, SIGKILL) == 0)
    waitpid (pid, NULL, 0);
  return -1;
}

/* Is process PID this user's?  A command line may say anything, also that of
 * one with other privileges which somebody else has started.
 */
static bool
is_own (int pid)
{
  char *name = tool_format ("/proc/%d/status", pid);
  FILE *file = fopen (name, "re");
  char line[200];
  unsigned real, effective;
  bool is_found = false;

  while (!is_found && file && fgets (line, sizeof line, file) != NULL)
    is_found = sscanf (line, "Uid: %u %u", &real, &effective) == 2 &&
               real == getuid () && effective == geteuid ();
  if (file)
    fclose (file);
  free (name);
  return is_found;
}

/* Is the process whose command line is the file NAME of PROGRAM, with the
 * argument WORD?
 */
static bool
is_running (const char *name, const char *program, const char *word)
{
  FILE *file = fopen (name, "re");
  char *words = NULL;
  size_t size = 0;
  const char *base;
  bool is_found = false;

  if (file && getdelim (&words, &size, '\0', file) > 0) {
    base = strrchr (words, '/');
    if (strcmp (base ? base + 1 : words, program) == 0)
      while (!is_found && getdelim (&words, &size, '\0', file) > 0)
        is_found = strcmp (words, word) == 0;
  }
  if (file)
    fclose (file);
  free (words);
  return is_found;
}

/* The process of PROGRAM, which has the file of MOUNTING, or 0. */
static pid_t
find_process (const struct mounting *mounting, const char *program)
{
  char *file = mounting_file (mounting, "disk/disk");
  glob_t lines = { 0 };
  int pid, found = 0;

  if (glob ("/proc/[0-9]*/cmdline", GLOB_NOSORT, NULL, &lines) == 0)
    for (size_t i = 0; found == 0 && i < lines.gl_pathc; i++)
      if (sscanf (lines.gl_pathv[i], "/proc/%d/", &pid) == 1 &&
          is_running (lines.gl_pathv[i], program, file) && is_own (pid))
        found = pid;
  globfree (&lines);
  free (file);
  return found;
}

/* Wait until it has ended; with FORCE it is asked to. */
static int
await_end (const struct mounting *mounting, const char *program, bool force)
{
  pid_t pid, asked = 0;

  for (int i = 0; (pid = find_process (mounting, program)) != 0; i++) {
    if (i == END_MOST)
      return tool_error (EBUSY,
                         "%s is still writing; unmount it again when it has "
                         "ended",
                         program);
    if (force && pid != asked)
      kill (pid, SIGTERM);
    asked = pid;
    sleep_a_tenth ();
  }
  return TOOL_DONE;
}

/* Unmount DIRECTORY by fusermount, as who is not root has to. */
static int
release_by_program (const struct mounting *mounting, const char *directory,
                    bool force)
{
  const char *program =
      is_installed ("fusermount3") ? "fusermount3" : "fusermount";
  const char *const argv[] = { program, force ? "-uz" : "-u", "--", directory,
                               NULL };
  const long length = log_length (mounting);
  char said[SAID_MOST];

  if (!is_installed (program))
    return tool_error (ENOTSUP, "fusermount3 is needed to unmount it; install "
                                "the package fuse3");
  if (run (mounting, argv, true) == 0 || !mounting_is_on (directory, NULL))
    return TOOL_DONE;
  read_log (mounting, length, said);
  if (strstr (said, strerror (EBUSY)))
    return mount_fail_busy (directory);
  return tool_error (EIO, "%s: %s", directory,
                     said[0] ? said : "fusermount does not unmount it");
}

/* Unmount DIRECTORY. */
static int
release (const struct mounting *mounting, const char *directory, bool force)
{
  return geteuid () == 0 ? mount_release (directory, force)
                         : release_by_program (mounting, directory, force);
}

/*--------------------------------------------------------------------
 * The disk as a file.
 */

/* The arguments of nbdfuse; the strings live as long as the process. */
static void
fill_arguments (const struct mounting *mounting, bool readonly,
                const char *argv[20])
{
  size_t i = 0;

  argv[i++] = "nbdfuse";
  if (readonly)
    argv[i++] = "-r";
  argv[i++] = mounting->source;
  if (mounting->uri)
    argv[i++] = mounting->uri;
  else {
    argv[i++] = "--command";
    argv[i++] = "nbdkit";
    argv[i++] = "-s";
    argv[i++] = "--exit-with-parent";
    argv[i++] = "--log=stderr";
    if (readonly)
      argv[i++] = "-r";
    argv[i++] = supervise_plugin ();
    argv[i++] = mounting->database;
    argv[i++] = tool_format ("export=%s", mounting->disk);
    if (mounting->key)
      argv[i++] = mounting->key;
  }
  argv[i] = NULL;
}

/* Wait until nbdfuse, which is the process PID, has mounted its DIRECTORY. */
static int
await_start (const struct mounting *mounting, pid_t pid, const char *directory)
{
  for (int i = 0; i < START_MOST; i++) {
    if (mounting_is_on (directory, NULL))
      return TOOL_DONE;
    if (waitpid (pid, NULL, WNOHANG) != 0)
      return fail_by_log (mounting, "the server does not start");
    if (tool_interrupted ())
      break;
    sleep_a_tenth ();
  }
  kill (pid, SIGTERM);
  return tool_error (ETIMEDOUT, "the server does not start");
}

static int
begin (struct mounting *mounting, struct mount_wish *wish)
{
  char *directory = mounting_file (mounting, "disk");
  const char *argv[20];
  struct stat file;
  pid_t pid;
  int code = TOOL_DONE;

  if (!is_installed ("nbdfuse"))
    code = tool_error (ENOTSUP,
                       "without root and the kernel's nbd driver nbdfuse is "
                       "needed; install the package libnbd-bin (nbdfuse in "
                       "Fedora)");
  else if (mkdir (directory, 0700) == -1)
    code = tool_error (errno, "%s: %s", directory, strerror (errno));
  if (code == TOOL_DONE) {
    mounting->source = mounting_file (mounting, "disk/disk");
    fill_arguments (mounting, wish->readonly, argv);
    pid = start (mounting, argv);
    code = pid == -1 ? tool_error (errno, "no process can be started: %s",
                                   strerror (errno))
                     : await_start (mounting, pid, directory);
  }
  if (code == TOOL_DONE && stat (mounting->source, &file) == -1)
    code = tool_error (errno, "%s: %s", mounting->source, strerror (errno));
  if (code == TOOL_DONE)
    wish->readonly |= (file.st_mode & 0222) == 0;
  free (directory);
  return code;
}

/*--------------------------------------------------------------------
 * What is in it.
 */

static int
plan (struct mounting *mounting, const struct volume *volume,
      const struct mount_wish *wish)
{
  const char *type = volume->file_system->type;
  const bool is_ext = strncmp (type, "ext", 3) == 0;
  /* fuse2fs 1.47 crashes after it has replayed a journal. */
  const bool replays = volume->has_journal_to_replay && !wish->readonly;
  const bool ext = is_ext && !replays && is_installed ("fuse2fs");
  char *extra;

  if (replays && !is_installed ("guestmount"))
    return tool_error (ENOTSUP,
                       "the file system was not unmounted, and fuse2fs cannot "
                       "replay its journal; install the package guestmount, "
                       "or use --read-only");
  if (!ext && !is_installed ("guestmount"))
    return tool_error (ENOTSUP,
                       is_ext ? "fuse2fs or guestmount is needed for %s; "
                                "install one of the packages of these names"
                              : "guestmount is needed for %s; install the "
                                "package of that name",
                       type);
  /* Who may read the database may read the disk: the owners of files in it are
   * no users here.
   */
  extra = ext ? tool_format ("offset=%" PRIu64 "%s", volume->offset,
                             geteuid () == 0 ? "" : ",fakeroot")
              : tool_format ("fsname=%s", mounting->source);
  mounting->by = tool_strdup (ext ? "fuse2fs" : "guestmount");
  mounting->type = tool_strdup (type);
  mounting->options = mount_join (
      "nosuid", "nodev", extra, wish->options, wish->readonly ? "ro" : NULL,
      wish->readonly && ext ? "norecovery" : NULL, "");
  free (extra);
  return TOOL_DONE;
}

/* Add each of the OPTIONS, which have commas between them, to ARGV, since
 * guestmount takes one at a time.  The strings live as long as the process.
 */
static void
add_options (const char *options, const char **argv, size_t most)
{
  size_t i = 0;

  while (*options && i + 2 < most) {
    const size_t length = strcspn (options, ",");

    argv[i++] = "-o";
    argv[i++] = tool_format ("%.*s", (int)length, options);
    options += length + (options[length] == ',');
  }
  argv[i] = NULL;
}

static int
run_guestmount (struct mounting *mounting, const struct volume *volume,
                const struct mount_wish *wish)
{
  char *partition = volume->partition ? tool_format ("%d", volume->partition)
                                      : tool_strdup ("");
  char *what = tool_format ("/dev/sda%s:/:%s:%s", partition,
                            wish->readonly ? "ro" : "rw", mounting->type);
  const char *argv[8 + OPTIONS_MOST] = { "guestmount",
                                         mounting->directory,
                                         "--format=raw",
                                         "-a",
                                         mounting->source,
                                         "-m",
                                         what,
                                         wish->readonly ? "--ro" : "--rw" };
  int r;

  add_options (mounting->options, argv + 8, OPTIONS_MOST);
  r = run (mounting, argv, false);
  free (partition);
  free (what);
  return r;
}

static int
do_mount (struct mounting *mounting, const struct volume *volume,
          const struct mount_wish *wish)
{
  const char *const fuse2fs[] = { "fuse2fs",           "-o",
                                  mounting->options,   mounting->source,
                                  mounting->directory, NULL };
  const bool is_guest = strcmp (mounting->by, "guestmount") == 0;
  const int r = is_guest ? run_guestmount (mounting, volume, wish)
                         : run (mounting, fuse2fs, false);

  if (r == 0 && mounting_is_on (mounting->directory, mounting->source))
    return TOOL_DONE;
  return fail_by_log (mounting, is_guest ? "guestmount does not mount it"
                                         : "fuse2fs does not mount it");
}

/* Have it in the log that not all was written, and WHY. */
static void
note_loss (const struct mounting *mounting, const char *why)
{
  char *log = mounting_file (mounting, "log");
  const int fd = open (log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

  if (fd != -1) {
    dprintf (fd, "%s%s\n", NOT_WRITTEN, why);
    close (fd);
  }
  free (log);
}

static int
do_unmount (const struct mounting *mounting, bool force)
{
  if (mounting->source == NULL ||
      !mounting_is_on (mounting->directory, mounting->source))
    return TOOL_DONE;
  if (!mounting_has_option (mounting, "ro") &&
      find_process (mounting, mounting->by) == 0)
    note_loss (mounting, "the file system's program was killed");
  return release (mounting, mounting->directory, force);
}

/* Have the server write what it has. */
static void
flush (const struct mounting *mounting)
{
  const int fd = open (mounting->source, O_RDONLY | O_CLOEXEC);

  if (fd == -1 || fsync (fd) == -1)
    note_loss (mounting, strerror (errno));
  if (fd != -1)
    close (fd);
}

/* What has the file open goes before the file, that before the server. */
static int
end (struct mounting *mounting, bool force)
{
  char *directory = mounting_file (mounting, "disk");
  int code =
      mounting->by ? await_end (mounting, mounting->by, force) : TOOL_DONE;

  if (code == TOOL_DONE && mounting_is_on (directory, NULL)) {
    if (mounting->by && !mounting_has_option (mounting, "ro"))
      flush (mounting);
    code = release (mounting, directory, force);
  }
  if (code == TOOL_DONE)
    code = await_end (mounting, "nbdfuse", force);
  free (directory);
  return code;
}

/* Does this LINE of the log tell of something that was not written?  nbdfuse
 * gives the words of libnbd.
 */
static bool
tells_of_loss (const char *line)
{
  return strncmp (line, NOT_WRITTEN, strlen (NOT_WRITTEN)) == 0 ||
         (strstr (line, "nbd_") && strstr (line, " failed: ") &&
          strstr (line, ": read: ") == NULL);
}

static int
report (const struct mounting *mounting)
{
  char *log = mounting_file (mounting, "log"), *kept;
  FILE *file = fopen (log, "re");
  char line[1000] = "";
  bool is_lost = false;
  int code = TOOL_DONE;

  while (!is_lost && file && fgets (line, sizeof line, file) != NULL)
    is_lost = tells_of_loss (line);
  if (file)
    fclose (file);
  if (is_lost) {
    line[strcspn (line, "\n")] = '\0';
    kept = mounting_keep_log (mounting);
    code = tool_error (EIO,
                       "%s is unmounted, but not all was written that was "
                       "written there: %s; %s has all that failed, and e2fsck "
                       "or its like finds what is damaged",
                       mounting->directory, line, kept);
    free (kept);
  }
  free (log);
  return code;
}

const struct mount_way mount_by_fuse = { begin,      plan, do_mount,
                                         do_unmount, end,  report };

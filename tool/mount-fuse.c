/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Mounting without the kernel's nbd: see mount-way.h.
 *
 * nbdfuse has the server as its child, and talks to it by a pipe; both end when
 * the file is unmounted, after who has it open.  They belong to nobody else,
 * and are found by the name of the file, which stands on their command lines.
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

/* Print WHAT, and what the programs have said: the first that is called an
 * error, or all.  Returns an exit code.
 */
static int
fail_by_log (const struct mounting *mounting, const char *what)
{
  char *log = mounting_file (mounting, "log");
  FILE *file = fopen (log, "re");
  char line[1000], said[1000] = "";
  size_t length = 0;
  bool is_error = false;

  free (log);
  while (!is_error && file && fgets (line, sizeof line, file) != NULL) {
    is_error = strstr (line, "error: ") != NULL;
    if (is_error)
      length = 0;
    line[strcspn (line, "\n")] = '\0';
    if (line[0] && length < sizeof said)
      length += snprintf (said + length, sizeof said - length, "%s%s",
                          length ? "; " : "", line);
  }
  if (file)
    fclose (file);
  return tool_error (EIO, "%s: %s", what,
                     length ? said : "it does not say why");
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

/* Is the process whose command line is the file NAME of PROGRAM, with the
 * argument WORD?
 */
static bool
is_running (const char *name, const char *program, const char *word)
{
  FILE *file = fopen (name, "re");
  char words[8192];
  const char *base;
  size_t length;
  bool is_found = false;

  if (file == NULL)
    return false;
  length = fread (words, 1, sizeof words - 1, file);
  fclose (file);
  words[length] = '\0';
  base = strrchr (words, '/');
  if (strcmp (base ? base + 1 : words, program) != 0)
    return false;
  for (size_t at = 0; at < length && !is_found; at += strlen (words + at) + 1)
    is_found = strcmp (words + at, word) == 0;
  return is_found;
}

/* The process of PROGRAM, which has the file of MOUNTING, or 0. */
static pid_t
find_process (const struct mounting *mounting, const char *program)
{
  char *file = mounting_file (mounting, "disk/disk");
  glob_t lines = { 0 };
  int pid = 0;

  if (glob ("/proc/[0-9]*/cmdline", GLOB_NOSORT, NULL, &lines) == 0)
    for (size_t i = 0; pid == 0 && i < lines.gl_pathc; i++)
      if (is_running (lines.gl_pathv[i], program, file) &&
          sscanf (lines.gl_pathv[i], "/proc/%d/", &pid) != 1)
        pid = 0;
  globfree (&lines);
  free (file);
  return pid;
}

/* Wait until it has ended; with FORCE it is asked to. */
static int
await_end (const struct mounting *mounting, const char *program, bool force)
{
  pid_t pid;

  for (int i = 0; (pid = find_process (mounting, program)) != 0; i++) {
    if (i == END_MOST)
      return tool_error (EBUSY,
                         "%s is still writing; unmount it again when it has "
                         "ended",
                         program);
    if (force && i == 0)
      kill (pid, SIGTERM);
    sleep_a_tenth ();
  }
  return TOOL_DONE;
}

/* Unmount DIRECTORY. */
static int
release (const struct mounting *mounting, const char *directory, bool force)
{
  static const char *const programs[] = { "fusermount3", "fusermount" };

  if (geteuid () == 0) {
    if (umount2 (directory, UMOUNT_NOFOLLOW | (force ? MNT_DETACH : 0)) == 0)
      return TOOL_DONE;
  }
  else
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
      const char *const argv[] = { programs[i], force ? "-uz" : "-u", "--",
                                   directory, NULL };

      if (run (mounting, argv, true) == 0)
        return TOOL_DONE;
    }
  return mount_fail_busy (directory);
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

static int
do_unmount (const struct mounting *mounting, bool force)
{
  if (mounting->source == NULL ||
      !mounting_is_on (mounting->directory, mounting->source))
    return TOOL_DONE;
  return release (mounting, mounting->directory, force);
}

/* What has the file open goes before the file, that before the server. */
static int
end (struct mounting *mounting, bool force)
{
  char *directory = mounting_file (mounting, "disk");
  int code =
      mounting->by ? await_end (mounting, mounting->by, force) : TOOL_DONE;

  if (code == TOOL_DONE && mounting_is_on (directory, NULL))
    code = release (mounting, directory, force);
  if (code == TOOL_DONE)
    code = await_end (mounting, "nbdfuse", force);
  free (directory);
  return code;
}

const struct mount_way mount_by_fuse = { begin, plan, do_mount, do_unmount,
                                         end };

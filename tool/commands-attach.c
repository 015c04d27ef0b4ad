/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* attach, detach, attached: disks as block devices of this machine, which live
 * longer than their servers.
 *
 *   attach ── fork ──► supervisor (supervise.h), a daemon
 *      ◄── pipe ── "/dev/nbd0" ──┘
 *   detach ── SIGTERM ──► supervisor; then the kernel's device is disconnected
 *
 * A supervisor that is killed leaves the device as it is; the same attach again
 * starts another one for it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "base/sane.h"
#include "base/times.h"
#include "base/values.h"
#include "handshake.h"
#include "kernel.h"
#include "listening.h"
#include "mounting.h"
#include "nbd-export.h"
#include "secrets.h"
#include "statistics.h"
#include "supervise.h"
#include "tool.h"

#ifdef HAVE_ATTACH

/* Devices above this number are not looked for. */
#define NUMBER_MOST 4095

/* How long a supervisor may take to end, and a device to be gone, in tenths of
 * a second.
 */
#define END_MOST 300

/* How long somebody may have looked at a device that is to go. */
#define LOOK_MOST 20

/* How the kernel has what was attached (attachment_backend). */
static const char ours[] = "sqlblock ";

static const char *wanted_connections, *wanted_timeout;
static bool stays, readonly, durable, trusts;

/* "/dev/nbd3" or "nbd3"; -1 for anything else. */
static int
parse_device (const char *text)
{
  int number, end = 0;

  if (strncmp (text, "/dev/", 5) == 0)
    text += 5;
  if (sscanf (text, "nbd%d%n", &number, &end) != 1 || text[end] ||
      text[3] < '0' || text[3] > '9' || number > NUMBER_MOST)
    return -1;
  return number;
}

static void
sleep_a_tenth (void)
{
  const struct timespec tenth = { 0, 100000000 };

  nanosleep (&tenth, NULL);
}

/*--------------------------------------------------------------------
 * attach
 */

int
attach_name (struct attachment *attachment, const char *where, const char *disk)
{
  /* The kernel shows it in one line. */
  if (!sane_text (where))
    return tool_usage ("'%s' has control characters, and cannot be attached",
                       where);
  if (disk == NULL && (common.key_file || common.passphrase))
    return tool_usage ("a key is for a server that is started here; that of "
                       "the URI has its own");
  if (disk == NULL) {
    attachment->uri = tool_strdup (where);
    return TOOL_DONE;
  }
  if (store_is_on_cluster (where))
    attachment->database = tool_strdup (where);
  else
    attachment->database = realpath (where, NULL);
  if (attachment->database == NULL)
    return tool_error (errno, "%s: %s", where, strerror (errno));
  attachment->disk = tool_strdup (disk);
  attachment->readonly |= strchr (disk, '@') != NULL;
  return secrets_parameter (&attachment->key);
}

/* Read the arguments and options.  Returns an exit code. */
static int
parse_attach (int argc, char *argv[], struct attachment *attachment)
{
  const bool is_uri = nbd_export_is_uri (argv[0]);
  const char *device = argv[is_uri ? 1 : argc < 2 ? 1 : 2];

  *attachment = (struct attachment){
    .number = -1,
    .connections = 1,
    .since = time (NULL),
    .readonly = readonly,
    .durable = durable,
    .trusts = trusts,
  };
  if (!is_uri && argc < 2)
    return tool_usage ("which disk of %s?", argv[0]);
  if (is_uri && argc > 2)
    return tool_usage ("the disk is in the URI: give no more than a device "
                       "behind it");
  if (is_uri && durable)
    return tool_usage ("--durable is for a server that is started here; that "
                       "of the URI has the parameter durable=always");
  if (device && (attachment->number = parse_device (device)) == -1)
    return tool_usage ("'%s' is not a device such as /dev/nbd0", device);
  if (wanted_timeout &&
      !times_parse_span (wanted_timeout, &attachment->timeout))
    return tool_usage ("--timeout=%s is not a span of time such as 10m",
                       wanted_timeout);
  if (wanted_connections) {
    char *end;
    const unsigned long connections = strtoul (wanted_connections, &end, 10);

    if (*end || connections < 1 || connections > ATTACHMENT_CONNECTIONS_MAX)
      return tool_usage ("--connections=%s is not a number from 1 to %d",
                         wanted_connections, ATTACHMENT_CONNECTIONS_MAX);
    attachment->connections = connections;
  }
  return attach_name (attachment, argv[0], is_uri ? NULL : argv[1]);
}

/* A device that was attached before to the same. */
struct search {
  const struct attachment *wanted;
  struct attachment found;
  bool is_found;
};

static int
find_same (int number, void *opaque)
{
  struct search *search = opaque;
  struct attachment *found = &search->found;
  char *wanted, *has;
  struct status ignored;

  if (attachment_load (number, found, &ignored) != 1)
    return 0;
  wanted = attachment_backend (search->wanted);
  has = attachment_backend (found);
  search->is_found =
      strcmp (wanted, has) == 0 && kernel_is_connected (number, has);
  free (wanted);
  free (has);
  if (!search->is_found)
    attachment_free (found);
  return search->is_found;
}

/* Two devices of one disk would each have their own memory of it: go on with
 * one that nobody looks after, and refuse another one.  Returns a lock, or -1.
 */
static int
lock_same (struct attachment *attachment, struct attachment *found,
           struct status *status)
{
  const int number = found->number;

  if (attachment->number != -1 && attachment->number != number)
    status_fail (status, EBUSY, "it is attached already, as /dev/nbd%d",
                 number);
  else if (found->state == ATTACHMENT_FAILED)
    status_fail (status, EIO,
                 "/dev/nbd%d has it, and has failed: %s; detach that first",
                 number, found->reason ? found->reason : "nobody knows why");
  else {
    const int lock = attachment_lock (number, status);

    if (lock != -1) {
      char *key = attachment->key ? attachment->key : found->key;

      if (key == attachment->key)
        free (found->key);
      attachment->key = NULL;
      found->key = key;
      attachment_free (attachment);
      *attachment = *found;
      return lock;
    }
  }
  attachment_free (found);
  return -1;
}

/* Lock a device that is free, the one that is wanted or any. */
static int
lock_free (struct attachment *attachment, struct status *status)
{
  const int first = attachment->number == -1 ? 0 : attachment->number;
  const int last = attachment->number == -1 ? NUMBER_MOST : attachment->number;

  for (int number = first; number <= last; number++) {
    char *pid = tool_format ("/sys/block/nbd%d/pid", number);
    const bool is_used = access (pid, F_OK) == 0;
    const int lock =
        is_used ? status_fail (status, EBUSY, "/dev/nbd%d is in use", number)
                : attachment_lock (number, status);

    free (pid);
    if (lock != -1) {
      attachment->number = number;
      return lock;
    }
    if (status->error != EBUSY)
      return -1;
  }
  return -1;
}

/* The server of the database that runs, if one does. */
struct running {
  struct stat file;
  char *uri;
  bool durable;
};

/* Does a server tell at URI of a disk in this file?  Not one that ends with
 * another device.
 */
static bool
is_running (const char *uri, void *opaque)
{
  struct running *running = opaque;
  char *own = attachment_file (0, "sock");
  char *where = tool_encode (own);
  struct lineage lineage;
  struct status ignored;
  struct teller *teller;
  char file[sizeof lineage.file];
  bool is = false;

  /* All but the number, and what is behind it. */
  where[strlen (where) - strlen ("0.sock")] = '\0';
  teller = strstr (uri, where) ? NULL : teller_open (uri, &ignored);
  snprintf (file, sizeof file, "%ju:%ju", (uintmax_t)running->file.st_dev,
            (uintmax_t)running->file.st_ino);
  if (teller && teller_read (teller, &lineage, &ignored) == 0 &&
      strcmp (lineage.file, file) == 0) {
    running->uri = tool_strdup (uri);
    running->durable = lineage.durable;
    is = true;
  }
  if (teller)
    teller_close (teller);
  free (where);
  free (own);
  return is;
}

/* How many clients of SERVER have the disk NAME open? */
static uint64_t
count_clients (const struct observed *server, const char *name)
{
  for (size_t i = 0; i < server->count; i++)
    if (strcmp (server->disks[i].name, name) == 0)
      return counter_read (&server->disks[i].clients);
  return 0;
}

/* Attach what SERVER has, unless somebody else has it there already. */
static int
take_from (struct attachment *attachment, const struct observed *server,
           struct running *running, struct status *status)
{
  if (count_clients (server, attachment->disk) > 0)
    return status_fail (status, EBUSY,
                        "%s: process %d serves disk '%s', and a client of it "
                        "has that open: attach %s if both may write to it",
                        attachment->database, (int)server->process,
                        attachment->disk, running->uri);
  if (attachment->durable && !running->durable)
    return status_fail (status, EBUSY,
                        "%s: process %d serves it without durable=always",
                        attachment->database, (int)server->process);
  attachment->uri = running->uri;
  return 0;
}

/* Where a server of the database runs, attach from that.  One that only reads
 * can be beside it.  Returns 0, or -1.
 */
static int
find_server (struct attachment *attachment, struct status *status)
{
  struct running running = { .uri = NULL };
  struct observation observation;
  struct status ignored;
  int r = 0;

  if (attachment->uri || attachment->readonly ||
      stat (attachment->database, &running.file) == -1 ||
      observe (attachment->database, &observation, &ignored) == -1)
    return 0;
  for (size_t i = 0; i < observation.count && running.uri == NULL; i++) {
    const struct observed *server = observation.servers[i];

    if (listening_find (server->process, attachment->disk, is_running,
                        &running))
      r = take_from (attachment, server, &running, status);
  }
  if (r == -1)
    free (running.uri);
  observation_free (&observation);
  return r;
}

/* Tell a service manager that the device is there (sd_notify(3)). */
static void
tell_manager (void)
{
  static const char ready[] = "READY=1";
  const char *name = getenv ("NOTIFY_SOCKET");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd;

  if (name == NULL || (name[0] != '/' && name[0] != '@') ||
      strlen (name) >= sizeof address.sun_path)
    return;
  memcpy (address.sun_path, name, strlen (name));
  if (name[0] == '@')
    address.sun_path[0] = '\0';
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return;
  sendto (fd, ready, strlen (ready), MSG_NOSIGNAL,
          (const struct sockaddr *)&address,
          offsetof (struct sockaddr_un, sun_path) + strlen (name));
  close (fd);
}

/* Has the kernel a device of the same of which no file tells any more, so that
 * nobody can go on with it?  Returns its number, or -1.
 */
static int
find_lost (const struct attachment *attachment)
{
  static const char pattern[] = "/sys/block/nbd*/backend";
  char *backend = attachment_backend (attachment);
  glob_t devices = { 0 };
  int number = -1;

  if (glob (pattern, GLOB_NOSORT, NULL, &devices) == 0)
    for (size_t i = 0; number == -1 && i < devices.gl_pathc; i++)
      if (sscanf (devices.gl_pathv[i], "/sys/block/nbd%d/", &number) == 1 &&
          !kernel_is_connected (number, backend))
        number = -1;
  globfree (&devices);
  free (backend);
  return number;
}

/* Find out what ATTACHMENT is to be, and begin with it, while nobody else does
 * the same.  NULL on failure.
 */
static struct supervisor *
begin (struct attachment *attachment, struct status *status)
{
  struct search search = { .wanted = attachment };
  const int turn = attachment_turn (status);
  struct supervisor *supervisor = NULL;
  int lock = -1, lost;

  if (turn == -1)
    return NULL;
  attachment_each (find_same, &search);
  lost = search.is_found ? -1 : find_lost (attachment);
  if (search.is_found)
    lock = lock_same (attachment, &search.found, status);
  else if (lost != -1)
    status_fail (status, EBUSY,
                 "/dev/nbd%d has it, and what tells of that is lost or cannot "
                 "be read; detach it first",
                 lost);
  else if (find_server (attachment, status) == 0)
    lock = lock_free (attachment, status);
  if (lock != -1)
    supervisor = supervise_begin (attachment, status);
  close (turn);
  return supervisor;
}

/* Attach, and say so on the descriptor TO; then look after it.  Returns an exit
 * code, which after what was said nobody hears but a service manager.
 */
static int
be_supervisor (struct attachment *attachment, int to)
{
  struct supervisor *supervisor;
  struct status status;
  int r;

  tool_catch_signals ();
  signal (SIGPIPE, SIG_IGN);
  umask (022);
  supervisor = begin (attachment, &status);
  if (supervisor == NULL)
    return tool_fail (&status);
  prctl (PR_SET_PDEATHSIG, 0);
  dprintf (to, "/dev/nbd%d\n", attachment->number);
  if (!stays) {
    const int nothing = open ("/dev/null", O_RDWR | O_CLOEXEC);

    dup2 (nothing, STDIN_FILENO);
    dup2 (nothing, STDOUT_FILENO);
    dup2 (nothing, STDERR_FILENO);
    close (to);
  }
  tell_manager ();
  r = supervise (supervisor, &status);
  supervise_end (supervisor);
  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

/* Have a daemon do that.  What it says goes to stderr, as long as it is heard.
 * The name of the device goes to LINE.
 */
static int
start_supervisor (struct attachment *attachment, char line[64])
{
  const pid_t parent = getpid ();
  int ends[2], code = TOOL_FAILED;
  ssize_t n;
  pid_t child;

  if (pipe2 (ends, O_CLOEXEC) == -1 || (child = fork ()) == -1)
    return tool_error (errno, "no process can be started: %s",
                       strerror (errno));
  if (child == 0) {
    /* No file of this process's stays open as long as the device. */
    close (ends[0]);
    /* Until the device is there it ends with who asked for it. */
    if (prctl (PR_SET_PDEATHSIG, SIGTERM) == -1 || getppid () != parent)
      _exit (TOOL_FAILED);
    if ((ends[1] > 3 && close_range (3, ends[1] - 1, 0) == -1) ||
        close_range (ends[1] + 1, ~0U, 0) == -1 || chdir ("/") == -1)
      _exit (TOOL_FAILED);
    setsid ();
    code = be_supervisor (attachment, ends[1]);
    dprintf (ends[1], "%d\n", code);
    _exit (code);
  }
  close (ends[1]);
  /* After a signal, too: what it does is undone when it is known. */
  do
    n = read (ends[0], line, 63);
  while (n == -1 && errno == EINTR);
  close (ends[0]);
  if (n <= 0)
    return code;
  line[n] = '\0';
  if (line[0] != '/')
    return atoi (line);
  line[strcspn (line, "\n")] = '\0';
  return TOOL_DONE;
}

bool
attach_is_there (const struct attachment *attachment)
{
  struct search search = { .wanted = attachment };

  attachment_each (find_same, &search);
  if (search.is_found)
    attachment_free (&search.found);
  return search.is_found;
}

int
attach_begin (struct attachment *attachment, bool *is_new)
{
  struct search search = { .wanted = attachment };
  struct status status;
  char line[64];
  int code = TOOL_DONE;

  attachment_each (find_same, &search);
  *is_new = !search.is_found;
  /* One that fails, or that nobody looks after, is for the supervisor. */
  if (search.is_found && search.found.state != ATTACHMENT_FAILED &&
      attachment_supervisor (search.found.number) != 0) {
    attachment_free (attachment);
    *attachment = search.found;
    return TOOL_DONE;
  }
  if (search.is_found)
    attachment_free (&search.found);
  code = start_supervisor (attachment, line);
  if (code != TOOL_DONE)
    return code;
  attachment_free (attachment);
  return attachment_load (parse_device (line), attachment, &status) == 1
             ? TOOL_DONE
             : tool_error (EIO, "%s is not attached any more", line);
}

static int
run_attach (int argc, char *argv[])
{
  struct attachment attachment;
  char line[64];
  int code = parse_attach (argc, argv, &attachment);

  if (code == TOOL_DONE && stays)
    code = be_supervisor (&attachment, STDOUT_FILENO);
  else if (code == TOOL_DONE) {
    code = start_supervisor (&attachment, line);
    if (code == TOOL_DONE)
      tool_print ("%s", line);
  }
  attachment_free (&attachment);
  return code;
}

/*--------------------------------------------------------------------
 * detach
 */

/* Which process has the device open whose number is DEVICE?  0: no other one,
 * as far as that can be seen.
 */
static int
find_user (dev_t device)
{
  glob_t links = { 0 };
  int user = 0;

  if (glob ("/proc/[0-9]*/fd/*", GLOB_NOSORT, NULL, &links) != 0)
    return 0;
  for (size_t i = 0; user == 0 && i < links.gl_pathc; i++) {
    struct stat file;
    int pid;

    if (sscanf (links.gl_pathv[i], "/proc/%d/", &pid) == 1 &&
        pid != getpid () && stat (links.gl_pathv[i], &file) == 0 &&
        S_ISBLK (file.st_mode) && file.st_rdev == device)
      user = pid;
  }
  globfree (&links);
  return user;
}

/* Which device of the kernel's own is made of DEVICE, or of a part of it?  Its
 * name, a new string, or NULL.  No process has it open, nor has it alone.
 */
static char *
find_loop (const char *device)
{
  const size_t length = strlen (device);
  glob_t files = { 0 };
  char *found = NULL;

  if (glob ("/sys/block/loop*/loop/backing_file", 0, NULL, &files) != 0)
    return NULL;
  for (size_t i = 0; found == NULL && i < files.gl_pathc; i++) {
    FILE *file = fopen (files.gl_pathv[i], "re");
    char of[64], name[16];

    if (file && fscanf (file, "%63s", of) == 1 &&
        strncmp (of, device, length) == 0 &&
        (of[length] == '\0' || of[length] == 'p') &&
        sscanf (files.gl_pathv[i], "/sys/block/%15[^/]", name) == 1)
      found = tool_format ("/dev/%s", name);
    if (file)
      fclose (file);
  }
  globfree (&files);
  return found;
}

/* Write what is only in this machine's memory. */
static int
write_back (int fd, const char *device)
{
  if (fsync (fd) == 0)
    return TOOL_DONE;
  return tool_error (errno,
                     "%s: what is in this machine's memory cannot be written: "
                     "%s; --force detaches it without",
                     device, strerror (errno));
}

/* Open the device for this process alone, and write what is only in memory.
 * Returns an exit code; *FD is closed by the caller.
 */
static int
take_device (const struct attachment *attachment, const char *device, int *fd)
{
  struct stat file;
  char *loop;
  int user;

  if (attachment->state == ATTACHMENT_AWAY)
    return tool_error (EBUSY,
                       "the server of %s does not answer, and what was not "
                       "written yet would be lost; detach it with --force, or "
                       "start the server first",
                       device);
  *fd = open (device, O_RDONLY | O_EXCL | O_CLOEXEC);
  if (*fd == -1 && errno == EBUSY)
    return tool_error (EBUSY, "%s is in use: is it mounted?", device);
  if (*fd == -1 || fstat (*fd, &file) == -1)
    return tool_error (errno, "%s: %s", device, strerror (errno));
  /* udev looks at a device whenever that was closed. */
  for (int i = 0; (user = find_user (file.st_rdev)) != 0 && i < LOOK_MOST; i++)
    sleep_a_tenth ();
  if (user != 0)
    return tool_error (EBUSY, "process %d has %s open", user, device);
  loop = find_loop (device);
  if (loop) {
    const int code =
        tool_error (EBUSY, "%s is in use: %s is made of it", device, loop);

    free (loop);
    return code;
  }
  return attachment->readonly || attachment->state == ATTACHMENT_FAILED
             ? TOOL_DONE
             : write_back (*fd, device);
}

/* Have the supervisor of device NUMBER end, and be it. */
static int
take_over (int number, struct status *status)
{
  int lock = attachment_lock (number, status);

  for (int i = 0; lock == -1 && status->error == EBUSY && i < END_MOST; i++) {
    const pid_t supervisor = attachment_supervisor (number);

    if (i % 10 == 0 && supervisor > 0)
      kill (supervisor, SIGTERM);
    sleep_a_tenth ();
    lock = attachment_lock (number, status);
  }
  return lock;
}

/* Disconnect the device.  FD, which may be -1, holds it until then. */
static int
disconnect (const struct attachment *attachment, int *fd, struct status *status)
{
  struct kernel *kernel = kernel_open (status);
  char *backend = attachment_backend (attachment);
  int r = kernel ? 0 : -1;

  if (r == 0 && kernel_is_connected (attachment->number, backend))
    r = kernel_disconnect (kernel, attachment->number, status);
  /* The kernel keeps it until nobody has it open. */
  if (*fd != -1)
    close (*fd);
  *fd = -1;
  for (int i = 0; r == 0 && i < END_MOST &&
                  kernel_is_connected (attachment->number, backend);
       i++)
    sleep_a_tenth ();
  if (r == 0 && kernel_is_connected (attachment->number, backend))
    r = status_fail (status, EBUSY,
                     "/dev/nbd%d is disconnected, but somebody still has it "
                     "open; detach it again when he has let go",
                     attachment->number);
  if (kernel)
    kernel_close (kernel);
  free (backend);
  return r;
}

static int
detach (const struct attachment *attachment, const char *device, bool force)
{
  struct status status;
  int lock, r, fd = -1;
  int code = force ? TOOL_DONE : take_device (attachment, device, &fd);

  lock = code == TOOL_DONE ? take_over (attachment->number, &status) : -1;
  if (code == TOOL_DONE && lock == -1)
    code = tool_fail (&status);
  /* What somebody wrote since. */
  if (code == TOOL_DONE && fd != -1 && !attachment->readonly &&
      attachment->state != ATTACHMENT_FAILED)
    code = write_back (fd, device);
  if (code == TOOL_DONE) {
    r = disconnect (attachment, &fd, &status);
    if (r == 0) {
      supervise_end_server (attachment->number);
      attachment_remove (attachment->number);
    }
    code = r == -1 ? tool_fail (&status) : TOOL_DONE;
  }
  if (fd != -1)
    close (fd);
  if (lock != -1)
    close (lock);
  return code;
}

/* The file that tells of device NUMBER is gone, but the kernel has it. */
static bool
find_in_kernel (int number, struct attachment *attachment)
{
  char *backend = kernel_backend (number);
  const bool is_ours = backend && strncmp (backend, ours, strlen (ours)) == 0;

  if (is_ours)
    attachment->uri = tool_strdup (backend + strlen (ours));
  free (backend);
  return is_ours;
}

int
attach_end (int number, bool force)
{
  struct attachment attachment;
  struct status status;
  char *device;
  int r, code;

  r = attachment_load (number, &attachment, &status);
  if (r != 1 && find_in_kernel (number, &attachment))
    r = 1;
  if (r == -1)
    return tool_fail (&status);
  device = tool_format ("/dev/nbd%d", number);
  code = r == 1
             ? detach (&attachment, device, force)
             : tool_error (ENOENT, "%s was not attached by sqlblock", device);
  free (device);
  if (r == 1)
    attachment_free (&attachment);
  return code;
}

static int
run_detach (int argc, char *argv[])
{
  const int number = parse_device (argv[0]);

  (void)argc;
  if (number == -1)
    return tool_usage ("'%s' is not a device such as /dev/nbd0; \"sqlblock "
                       "attached\" shows those that are attached",
                       argv[0]);
  return attach_end (number, common.force);
}

/*--------------------------------------------------------------------
 * attached
 */

/* Add a DIRECTORY to a list. */
static void
add_directory (const char *directory, void *opaque)
{
  json_array_append_new (opaque, tool_json_string (directory));
}

/* Where what has SOURCE, a device, or parts of it are mounted. */
static json_t *
list_directories (const char *source)
{
  json_t *list = json_array ();

  mounting_each_directory (source, add_directory, list);
  return list;
}

static json_t *
list_directories_of (int number)
{
  char *device = tool_format ("/dev/nbd%d", number);
  json_t *list = list_directories (device);

  free (device);
  return list;
}

/* They in a cell; frees LIST. */
static void
cell_directories (struct tool_table *table, json_t *list)
{
  char *text = tool_strdup ("");
  const json_t *directory;
  size_t i;

  json_array_foreach (list, i, directory)
  {
    char *longer = tool_format ("%s%s%s", text, i ? ", " : "",
                                json_string_value (directory));

    free (text);
    text = longer;
  }
  tool_cell (table, "%s", text);
  free (text);
  json_decref (list);
}

/* What an attachment is of. */
static char *
source_text (const struct attachment *attachment)
{
  return attachment->database
             ? tool_format ("%s %s", attachment->database, attachment->disk)
             : tool_strdup (attachment->uri);
}

/* Its state for people: is somebody looking after it? */
static const char *
state_text (const struct attachment *attachment)
{
  char *backend = attachment_backend (attachment);
  const bool there = kernel_is_connected (attachment->number, backend);

  free (backend);
  if (attachment->state == ATTACHMENT_FAILED)
    return attachment_state (attachment);
  if (!there)
    return "gone";
  return attachment_supervisor (attachment->number) == 0
             ? "unattended"
             : attachment_state (attachment);
}

/* What the kernel has of device NUMBER, of which the file cannot be read, as
 * only root can; a new string, or NULL where it is none of ours.
 */
static char *
unknown_source (int number)
{
  char *backend = kernel_backend (number), *tab;
  char *source = backend && strncmp (backend, ours, strlen (ours)) == 0
                     ? tool_strdup (backend + strlen (ours))
                     : NULL;

  if (source && (tab = strchr (source, '\t')) != NULL)
    *tab = ' ';
  free (backend);
  return source;
}

/* A row for that. */
static void
add_unknown_row (int number, struct tool_table *table)
{
  char *source = unknown_source (number);

  if (source == NULL)
    return;
  tool_cell (table, "/dev/nbd%d", number);
  tool_cell (table, "%s", "");
  tool_cell (table, "%s", "unknown");
  tool_cell (table, "%s", "");
  tool_cell (table, "%s", "");
  tool_cell (table, "%s", source);
  tool_cell (table, "%s", "");
  cell_directories (table, list_directories_of (number));
  free (source);
}

static int
add_row (int number, void *opaque)
{
  struct tool_table *table = opaque;
  struct attachment attachment;
  struct status ignored;
  char *source;
  const int r = attachment_load (number, &attachment, &ignored);

  if (r == -1)
    add_unknown_row (number, table);
  if (r != 1)
    return 0;
  source = source_text (&attachment);
  tool_cell (table, "/dev/nbd%d", number);
  tool_cell_size (table, attachment.size);
  tool_cell (table, "%s", state_text (&attachment));
  tool_cell_time (table, attachment.since);
  tool_cell_count (table, attachment.reconnects);
  tool_cell (table, "%s", source);
  tool_cell (table, "%s", attachment.reason ? attachment.reason : "");
  cell_directories (table, list_directories_of (number));
  free (source);
  attachment_free (&attachment);
  return 0;
}

/* One that is mounted without a device. */
static int
add_mounted_row (struct mounting *mounting, void *opaque)
{
  struct tool_table *table = opaque;
  json_t *list;

  if (mounting->device != -1 || mounting->source == NULL)
    return 0;
  list = list_directories (mounting->source);
  tool_cell (table, "%s", "");
  tool_cell (table, "%s", "");
  tool_cell (table, "%s", json_array_size (list) ? "mounted" : "gone");
  tool_cell_time (table, mounting->since);
  tool_cell (table, "%s", "");
  if (mounting->uri)
    tool_cell (table, "%s", mounting->uri);
  else
    tool_cell (table, "%s %s", mounting->database, mounting->disk);
  tool_cell (table, "%s", "");
  cell_directories (table, list);
  return 0;
}

static void
add_unknown_json (int number, json_t *list)
{
  char *source = unknown_source (number);
  json_t *value;

  if (source == NULL)
    return;
  value = json_object ();
  json_object_set_new (value, "device", json_sprintf ("/dev/nbd%d", number));
  json_object_set_new (value, "state", json_string ("unknown"));
  json_object_set_new (value, "mounted", list_directories_of (number));
  json_array_append_new (list, value);
  free (source);
}

static int
add_json (int number, void *opaque)
{
  struct attachment attachment;
  struct status ignored;
  json_t *value;
  const int r = attachment_load (number, &attachment, &ignored);

  if (r == -1)
    add_unknown_json (number, opaque);
  if (r != 1)
    return 0;
  value = json_object ();
  json_object_set_new (value, "device", json_sprintf ("/dev/nbd%d", number));
  if (attachment.uri)
    json_object_set_new (value, "uri", tool_json_string (attachment.uri));
  if (attachment.database) {
    json_object_set_new (value, "database",
                         tool_json_string (attachment.database));
    json_object_set_new (value, "disk", tool_json_string (attachment.disk));
  }
  json_object_set_new (value, "size", tool_json_size (attachment.size));
  json_object_set_new (value, "state",
                       tool_json_string (state_text (&attachment)));
  json_object_set_new (value, "since", tool_json_time (attachment.since));
  json_object_set_new (value, "reconnects",
                       json_integer (attachment.reconnects));
  json_object_set_new (value, "connections",
                       json_integer (attachment.connections));
  json_object_set_new (value, "reason",
                       attachment.reason ? tool_json_string (attachment.reason)
                                         : json_null ());
  json_object_set_new (value, "mounted", list_directories_of (number));
  json_array_append_new (opaque, value);
  attachment_free (&attachment);
  return 0;
}

static int
add_mounted_json (struct mounting *mounting, void *opaque)
{
  json_t *value, *list;

  if (mounting->device != -1 || mounting->source == NULL)
    return 0;
  list = list_directories (mounting->source);
  value = json_object ();
  json_object_set_new (value, "device", json_null ());
  if (mounting->uri)
    json_object_set_new (value, "uri", tool_json_string (mounting->uri));
  else {
    json_object_set_new (value, "database",
                         tool_json_string (mounting->database));
    json_object_set_new (value, "disk", tool_json_string (mounting->disk));
  }
  json_object_set_new (
      value, "state",
      json_string (json_array_size (list) ? "mounted" : "gone"));
  json_object_set_new (value, "since", tool_json_time (mounting->since));
  json_object_set_new (value, "mounted", list);
  json_array_append_new (opaque, value);
  return 0;
}

static int
run_attached (int argc, char *argv[])
{
  static const char *const titles[] = { "DEVICE", ">SIZE",       "STATE",
                                        "SINCE",  ">RECONNECTS", "WHAT",
                                        "REASON", "MOUNTED",     NULL };
  struct tool_table *table;
  json_t *list, *all;
  int code;

  (void)argc;
  (void)argv;
  if (common.json) {
    list = json_array ();
    attachment_each (add_json, list);
    mounting_each (add_mounted_json, list);
    all = json_object ();
    json_object_set_new (all, "attached", list);
    tool_json_print (all);
    return TOOL_DONE;
  }
  table = tool_table (titles);
  code = tool_table_choose (table, "DEVICE,SIZE,STATE,SINCE,RECONNECTS,WHAT,"
                                   "MOUNTED");
  if (code != TOOL_DONE)
    return code;
  attachment_each (add_row, table);
  mounting_each (add_mounted_row, table);
  tool_table_print (table);
  return TOOL_DONE;
}

#else /* !HAVE_ATTACH */

static const char *wanted_connections, *wanted_timeout;
static bool stays, readonly, durable, trusts;

static int
run_attach (int argc, char *argv[])
{
  (void)argc, (void)argv;
  return tool_error (ENOTSUP, "this program was built without libnbd or "
                              "libnl, which attaching needs");
}

#define run_detach   run_attach
#define run_attached run_attach

#endif /* !HAVE_ATTACH */

static const struct tool_option attach_options[] = {
  { "timeout", 't', "SPAN", &wanted_timeout,
    "how long requests wait for a server that is\n"
    "away, such as 10m (default: for ever)" },
  { "connections", 0, "NUMBER", &wanted_connections,
    "how many connections to have (default: 1); the\n"
    "manual says when several are right" },
  { "read-only", 'r', NULL, &readonly, "have a device that is only read" },
  { "durable", 0, NULL, &durable,
    "have the server that is started here sync each\n"
    "write before it is acknowledged" },
  { "always-reconnect", 0, NULL, &trusts,
    "go on with whatever the server has after a\n"
    "break, even where it may have lost something" },
  { "foreground", 0, NULL, &stays, "do not go into the background" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_attach = {
  .name = "attach",
  .arguments = "DATABASE|URI [DISK[@SNAPSHOT]] [DEVICE]",
  .summary = "Make a disk a block device that outlives its server",
  .help =
      "Makes a disk, or a snapshot, a block device of this machine, and "
      "prints\n"
      "its name. Of a database a server is started for it, which ends when it "
      "is\n"
      "detached; or it is the export of a server that runs, as nbd://HOST/DISK "
      "or\n"
      "nbd+unix:///DISK?socket=FILE. When the server is killed, stopped or\n"
      "started anew, requests wait, and then go on. Where something that was\n"
      "acknowledged may have been lost, the device fails instead. The same\n"
      "command goes on with a device that was attached before and that nobody\n"
      "looks after any more. For the server of an encrypted disk give "
      "--key-file=FILE\n"
      "or --passphrase=+FILE; the file must stay. Only root can do this.\n",
  .options = attach_options,
  .common = COMMON_KEY,
  .alone = true,
  .least = 1,
  .most = 3,
  .run = run_attach,
};

const struct command command_detach = {
  .name = "detach",
  .arguments = "DEVICE",
  .summary = "End what attach began",
  .help = "Writes what this machine still has in memory, and gives the device "
          "back.\n"
          "Fails where it is in use, as by a file system that is mounted. "
          "With\n"
          "--force it is taken away from whoever uses it, and what was not "
          "written is\n"
          "lost.\n",
  .common = COMMON_FORCE,
  .alone = true,
  .least = 1,
  .most = 1,
  .run = run_detach,
};

const struct command command_attached = {
  .name = "attached",
  .arguments = "",
  .summary = "Show what is attached or mounted",
  .help =
      "Shows the devices, and whether they have their server: connected, "
      "away\n"
      "(requests wait), failed (the reason is in JSON), unattended (the "
      "process\n"
      "that looks after it was killed), gone, or unknown (to all but root); "
      "where\n"
      "they are mounted; and what is mounted without a device: mounted, or "
      "gone.\n"
      "\n"
      "Columns: DEVICE, SIZE, STATE, SINCE, RECONNECTS, WHAT, REASON, "
      "MOUNTED\n",
  .common = COMMON_JSON | COMMON_TABLE,
  .least = 0,
  .most = 0,
  .run = run_attached,
};

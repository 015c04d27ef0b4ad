/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Looking after a device that is attached: see supervise.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "handshake.h"
#include "kernel.h"
#include "links.h"
#include "listening.h"
#include "supervise.h"
#include "tool.h"

/* How often to look at the server, and how long to wait between two attempts
 * to come back to it, in milliseconds.
 */
#define LOOK_EVERY  2000
#define WAIT_FIRST  100
#define WAIT_LONGER 5000

/* How long a server of its own may take to start, and to end, in tenths of a
 * second.
 */
#define START_MOST 600
#define END_MOST   100

/* What the kernel is told of "for ever", in seconds. */
#define FOR_EVER (10 * 365 * 86400)

/* With several connections the kernel sends a request again, over another one,
 * when it has had no answer for so many seconds.  Over one it does so only when
 * that was replaced.
 */
#define ANSWER_SECONDS 30

/* The plugin that a server of its own has; the variable is for builds that are
 * not installed.
 */
#define PLUGIN          "sqlblock"
#define PLUGIN_VARIABLE "SQLBLOCK_PLUGIN"

/* How the kernel's connections are. */
enum link {
  LINK_UNKNOWN, /* what broke before this process listened is not told again */
  LINK_HOLDS,
  LINK_BROKEN,
};

struct supervisor {
  struct attachment *attachment;
  bool goes_on; /* the device was there already */
  struct kernel *kernel;
  enum link link;
  struct links links;
  struct teller *teller; /* or NULL */
  char *backend, *uri;
};

static void
sleep_milliseconds (unsigned milliseconds)
{
  const struct timespec time = { milliseconds / 1000,
                                 milliseconds % 1000 * 1000000 };

  nanosleep (&time, NULL);
}

/*--------------------------------------------------------------------
 * A server of its own.
 */

static char *
own_uri (const struct attachment *attachment)
{
  char *socket = attachment_file (attachment->number, "sock");
  char *disk = tool_encode (attachment->disk);
  char *where = tool_encode (socket);
  char *uri = tool_format ("nbd+unix:///%s?socket=%s", disk, where);

  free (socket);
  free (disk);
  free (where);
  return uri;
}

const char *
supervise_plugin (void)
{
  const char *plugin = getenv (PLUGIN_VARIABLE);

  return plugin && plugin[0] ? plugin : PLUGIN;
}

/* So many there are, with NULL. */
#define SERVED_MOST 5

/* What it serves, and how: the last ARGUMENTS of its own server. */
static void
list_served (const struct attachment *attachment,
             const char *arguments[SERVED_MOST])
{
  size_t count = 0;

  arguments[count++] = attachment->database;
  if (attachment->readonly)
    arguments[count++] = "-r";
  if (attachment->durable)
    arguments[count++] = "durable=always";
  if (attachment->key)
    arguments[count++] = attachment->key;
  arguments[count] = NULL;
}

/* Become the server. */
static void
execute_server (const struct attachment *attachment)
{
  char *socket = attachment_file (attachment->number, "sock");
  char *pid = attachment_file (attachment->number, "pid");
  char *log = attachment_file (attachment->number, "log");
  const int nothing = open ("/dev/null", O_RDWR);
  const int said = open (log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const char *arguments[7 + SERVED_MOST] = {
    "nbdkit", "-f", "-U", socket, "-P", pid, supervise_plugin (),
  };

  list_served (attachment, arguments + 7);
  unlink (socket);
  unlink (pid);
  setsid ();
  if (nothing == -1 || said == -1 || dup2 (nothing, 0) == -1 ||
      dup2 (nothing, 1) == -1 || dup2 (said, 2) == -1)
    _exit (TOOL_FAILED);
  execvp (arguments[0], (char **)arguments);
  dprintf (2, "nbdkit cannot be started: %s; is it installed?\n",
           strerror (errno));
  _exit (TOOL_FAILED);
}

/* Fail with the first error of the server of device NUMBER, or what it has said
 * last; BEFORE that stands what has failed.
 */
static int
fail_server (int number, const char *before, struct status *status)
{
  char *log = attachment_file (number, "log");
  FILE *file = fopen (log, "re");
  char line[1000] = "nothing was said";

  free (log);
  if (file) {
    while (fgets (line, sizeof line, file) != NULL && !strstr (line, "error:"))
      ;
    fclose (file);
  }
  line[strcspn (line, "\n")] = '\0';
  return status_fail (status, EIO, "%s: %s", before, line);
}

/* Has the server of device NUMBER said that it is ready? */
static bool
is_ready (int number)
{
  return attachment_server (number) != 0;
}

/* Have the server started by a process in between, which ends: nbdkit may end
 * with its parent (prctl), and this is to outlive the supervisor.  Returns a
 * descriptor whose other end the server has for as long as it lives, or -1.
 */
static int
start_server (const struct attachment *attachment, struct status *status)
{
  int ends[2];
  pid_t between;

  if (pipe2 (ends, O_CLOEXEC | O_NONBLOCK) == -1 || (between = fork ()) == -1)
    return status_fail (status, errno, "no process can be started: %s",
                        strerror (errno));
  if (between == 0) {
    if (fork () == 0 && fcntl (ends[1], F_SETFD, 0) == 0)
      execute_server (attachment);
    _exit (0);
  }
  close (ends[1]);
  waitpid (between, NULL, 0);
  return ends[0];
}

/* Does its own server run?  One that serves something else is ended. */
static bool
has_server (const struct attachment *attachment)
{
  const char *served[SERVED_MOST];

  list_served (attachment, served);
  if (attachment_server_has (attachment->number, served))
    return true;
  supervise_end_server (attachment->number);
  return false;
}

/* Start a server of its own, unless it runs. */
static int
need_server (const struct attachment *attachment, struct status *status)
{
  int alive, r = -1;
  char byte;

  if (attachment->uri || has_server (attachment))
    return 0;
  alive = start_server (attachment, status);
  if (alive == -1)
    return -1;
  status_fail (status, ETIMEDOUT, "the server does not start");
  for (int i = 0; r == -1 && i < START_MOST && !tool_interrupted (); i++) {
    if (is_ready (attachment->number))
      r = 0;
    else if (read (alive, &byte, 1) == 0) {
      fail_server (attachment->number, "the server does not start", status);
      break;
    }
    else
      sleep_milliseconds (100);
  }
  close (alive);
  return r;
}

void
supervise_end_server (int number)
{
  const pid_t pid = attachment_server (number);

  if (pid == 0 || kill (pid, SIGTERM) == -1)
    return;
  for (int i = 0; i < END_MOST; i++) {
    if (attachment_server (number) != pid)
      return;
    sleep_milliseconds (100);
  }
  /* Nothing that was acknowledged is lost by that. */
  kill (pid, SIGKILL);
  for (int i = 0; i < END_MOST && attachment_server (number) == pid; i++)
    sleep_milliseconds (100);
}

/*--------------------------------------------------------------------
 * Attaching.
 */

/* Ask what the server has.  Returns 1, 0 where it is none that tells, or -1. */
static int
ask_teller (struct supervisor *supervisor, struct lineage *lineage,
            struct status *status)
{
  if (supervisor->teller == NULL)
    supervisor->teller = teller_open (supervisor->uri, status);
  if (supervisor->teller == NULL)
    return -1;
  if (teller_read (supervisor->teller, lineage, status) == 0)
    return 1;
  teller_close (supervisor->teller);
  supervisor->teller = NULL;
  return -1;
}

/* Make the device of the connections, one of which HANDSHAKE tells of. */
static int
connect_device (struct supervisor *supervisor,
                const struct handshake *handshake, struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  const unsigned count = attachment->connections;
  int number;
  /* Whose connections may grow is told the size elsewhere. */
  struct kernel_device device = {
    .number = attachment->number,
    .size = attachment->token[0] ? attachment->lineage.size : handshake->size,
    .block_size = handshake->block_size,
    .flags = handshake->flags | (attachment->readonly ? NBD_FLAG_READ_ONLY : 0),
    .answer = count > 1 ? ANSWER_SECONDS : 0,
    .dead = attachment->timeout ? (uint64_t)attachment->timeout : FOR_EVER,
    .backend = supervisor->backend,
    .sockets = supervisor->links.sockets,
    .sockets_count = count,
  };

  if (device.size < 512)
    return status_fail (status, EINVAL,
                        "%s: the export is smaller than a sector",
                        supervisor->uri);
  while (device.block_size > 512 && device.size % device.block_size != 0)
    device.block_size /= 2;
  if (kernel_connect (supervisor->kernel, &device, &number, status) == -1)
    return -1;
  attachment->size = device.size;
  attachment->flags = device.flags;
  attachment->block_size = device.block_size;
  attachment->readonly = device.flags & NBD_FLAG_READ_ONLY;
  supervisor->link = LINK_HOLDS;
  return 0;
}

/* Attach for the first time. */
static int
attach (struct supervisor *supervisor, struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  struct links *links = &supervisor->links;
  const char *uri = supervisor->uri;
  struct handshake handshake;
  int r;

  /* One may be left of a device that had this number, and failed. */
  supervise_end_server (attachment->number);
  if (need_server (attachment, status) == -1)
    return -1;
  /* What is told before the disk is opened is at most too old. */
  r = ask_teller (supervisor, &attachment->lineage, status);
  if (r == -1 && status->error == ETIMEDOUT)
    return -1;
  attachment->tells = r == 1;
  if (attachment->tells && links_make_token (attachment, status) == -1)
    return -1;
  r = links_open (links, attachment, uri, true, &handshake, status);
  if (r == -1 && attachment->uri == NULL)
    return fail_server (attachment->number, "the server does not serve it",
                        status);
  if (r == -1 && attachment->token[0])
    return status_prefix (status,
                          "the disk cannot be opened so that late requests "
                          "are fenced off");
  if (r == 0 && tool_interrupted ())
    return status_fail (status, EINTR, "it was to end");
  /* A device that nothing tells of could not be detached. */
  return r == 0 && attachment_save (attachment, status) == 0
             ? connect_device (supervisor, &handshake, status)
             : -1;
}

/*--------------------------------------------------------------------
 * Coming back.
 */

/* Where that cannot be saved, it is tried again with the next change. */
static void
note_state (struct supervisor *supervisor, enum attachment_state state,
            const char *reason)
{
  struct attachment *attachment = supervisor->attachment;
  struct status ignored;

  attachment->state = state;
  free (attachment->reason);
  attachment->reason = reason ? tool_strdup (reason) : NULL;
  attachment_save (attachment, &ignored);
}

/* The device must not go on. */
static int
give_up (struct supervisor *supervisor, const char *why, struct status *status)
{
  const int number = supervisor->attachment->number;
  struct status ignored;

  kernel_disconnect (supervisor->kernel, number, &ignored);
  note_state (supervisor, ATTACHMENT_FAILED, why);
  return status_fail (status, EIO,
                      "/dev/nbd%d fails all requests from now on: %s", number,
                      why);
}

/* May the device go on with what the server has now?  Returns NULL, or why not.
 */
static const char *
judge (const struct attachment *attachment, const struct lineage *now)
{
  if (attachment->trusts)
    return NULL;
  if (!attachment->tells)
    return "the connection broke, and the server does not tell whether it has "
           "lost something";
  return lineage_broken (&attachment->lineage, now);
}

/* Ask over a new connection: an old one may lead to a server that is not the
 * one to which others lead by now.  Only the old one tells that the disk is
 * gone; to others it may be renamed, or not for them.  Returns 0, or -1.
 */
static int
ask_anew (struct supervisor *supervisor, struct lineage *lineage,
          struct status *status)
{
  struct teller *before = supervisor->teller;
  struct status ignored;
  int r;

  supervisor->teller = NULL;
  r = ask_teller (supervisor, lineage, status) == 1 ? 0 : -1;
  if (r == -1 && status->error == ENOENT && before &&
      teller_read (before, lineage, &ignored) == 0 && lineage->disk == 0)
    r = 0;
  if (before)
    teller_close (before);
  return r;
}

/* Give the kernel the sockets, in place of those that are dead: it does not say
 * whether any is.
 */
static int
give_sockets (struct supervisor *supervisor, struct status *status)
{
  const struct attachment *attachment = supervisor->attachment;
  struct links *links = &supervisor->links;

  for (unsigned i = 0; i < links->count; i++)
    if (kernel_replace_socket (supervisor->kernel, attachment->number,
                               supervisor->backend, links->sockets[i],
                               status) == -1)
      return -1;
  /* Where it was not known whether any is dead, they may be left over. */
  if (supervisor->link == LINK_UNKNOWN && attachment->token[0] == '\0')
    links_close (links);
  supervisor->link = LINK_HOLDS;
  return 0;
}

/* Can the kernel go on over connections such as HANDSHAKE tells of?  It uses
 * what it knows of the first ones for as long as it has the device.
 */
static int
check_handshake (const struct attachment *attachment,
                 const struct handshake *handshake, struct status *status)
{
  const uint64_t lacks = attachment->flags & ~(uint64_t)handshake->flags;
  const char *what = NULL;

  if (!attachment->readonly && handshake->flags & NBD_FLAG_READ_ONLY)
    what = "can only be read";
  else if (lacks & (NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA))
    what = "does not flush what it writes (FLUSH, FUA)";
  else if (lacks & (NBD_FLAG_SEND_TRIM | HANDSHAKE_WRITE_ZEROES))
    what = "does not discard, or write zeroes";
  else if (attachment->connections > 1 && lacks & NBD_FLAG_CAN_MULTI_CONN)
    what = "may have one connection";
  else if (attachment->block_size &&
           handshake->block_size > attachment->block_size)
    what = "has larger blocks";
  return what ? status_fail (status, EINVAL,
                             "the server is back, but the disk %s there, "
                             "unlike when it was attached: start the server "
                             "as before",
                             what)
              : 0;
}

/* Connect to what NOW tells of, and give that to the kernel, unless it is a
 * server that was started in between: then it is tried again.  What was told is
 * remembered before, so that whoever comes after this process knows it.
 */
static int
replace_sockets (struct supervisor *supervisor, const struct lineage *now,
                 struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  struct handshake handshake;
  struct lineage then;
  int r = links_open (&supervisor->links, attachment, supervisor->uri, false,
                      &handshake, status);

  if (r == 0) {
    r = check_handshake (attachment, &handshake, status);
    if (r == -1)
      links_close (&supervisor->links);
  }
  if (r == 0 && now) {
    r = ask_anew (supervisor, &then, status);
    if (r == 0 && (strcmp (then.run, now->run) != 0 ||
                   lineage_broken (now, &then) != NULL))
      r = status_fail (status, EAGAIN, "the server was started just now");
  }
  if (r == 0 && now) {
    attachment->tells = true;
    attachment->lineage = *now;
  }
  if (r == 0)
    r = attachment_save (attachment, status);
  if (r == -1 || give_sockets (supervisor, status) == -1)
    return -1;
  attachment->reconnects++;
  return 0;
}

/* The connections know of a disk that has grown since: tell the kernel. */
static void
follow_size (struct supervisor *supervisor, uint64_t size)
{
  struct attachment *attachment = supervisor->attachment;
  struct status ignored;

  if (size <= attachment->size ||
      kernel_resize (supervisor->kernel, attachment->number,
                     supervisor->backend, size, &ignored) == -1)
    return;
  attachment->size = attachment->lineage.size = size;
  attachment_save (attachment, &ignored);
}

/* Wait for the kernel to say that a connection is dead.  Then none is to be
 * left; those that an earlier process gave it cannot be ended.
 */
static bool
await_break (struct supervisor *supervisor, unsigned milliseconds)
{
  const struct attachment *attachment = supervisor->attachment;
  struct links *links = &supervisor->links;
  struct status ignored;

  if (kernel_await_dead (supervisor->kernel, attachment->number, milliseconds,
                         &ignored) != 1)
    return false;
  links_end (links, supervisor->kernel, attachment->number);
  supervisor->link = attachment->connections > 1 && links->count == 0
                         ? LINK_UNKNOWN
                         : LINK_BROKEN;
  return true;
}

/* Must there be new connections, to a server that tells NOW, or nothing?  They
 * would fence off what the kernel still has.
 */
static bool
is_broken (struct supervisor *supervisor, const struct lineage *now)
{
  const struct attachment *attachment = supervisor->attachment;
  const bool is_same =
      now == NULL || strcmp (now->run, attachment->lineage.run) == 0;

  if (supervisor->link == LINK_UNKNOWN && attachment->token[0] && is_same &&
      links_live (attachment, supervisor->kernel))
    supervisor->link = LINK_HOLDS;
  return supervisor->link != LINK_HOLDS;
}

/* One attempt.  Returns 1, 0 to try again, or -1 where the device has failed.
 */
static int
come_back (struct supervisor *supervisor, struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  const char *why;
  struct lineage now;
  bool broken;
  int told;

  if (need_server (attachment, status) == -1)
    return 0;
  told = ask_anew (supervisor, &now, status);
  if (told == -1 && attachment->tells && !attachment->trusts)
    return 0;
  /* Of who tells nothing it is enough that the connection has not broken. */
  if (!attachment->tells && supervisor->link == LINK_UNKNOWN &&
      links_live (attachment, supervisor->kernel)) {
    supervisor->link = LINK_HOLDS;
    return 1;
  }
  why = judge (attachment, &now);
  if (why)
    return give_up (supervisor, why, status);
  broken = is_broken (supervisor, told == 0 ? &now : NULL);
  if (broken &&
      replace_sockets (supervisor, told == 0 ? &now : NULL, status) == -1)
    return 0;
  if (told == 0 && (broken || attachment->token[0]))
    follow_size (supervisor, now.size);
  return 1;
}

/* Come back to the server, however long that takes, unless there is a limit. */
static int
return_to_server (struct supervisor *supervisor, struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  const uint64_t end =
      clock_now () + UINT64_C (1000000000) * attachment->timeout;
  unsigned wait = WAIT_FIRST;
  int r;

  while ((r = come_back (supervisor, status)) == 0) {
    if (attachment->state != ATTACHMENT_AWAY || attachment->reason == NULL ||
        strcmp (attachment->reason, status->message) != 0)
      note_state (supervisor, ATTACHMENT_AWAY, status->message);
    if (tool_interrupted () ||
        !kernel_is_connected (attachment->number, supervisor->backend))
      return 0;
    if (attachment->timeout && clock_now () >= end)
      return give_up (supervisor, "the server was away for too long", status);
    await_break (supervisor, wait);
    wait = 2 * wait > WAIT_LONGER ? WAIT_LONGER : 2 * wait;
  }
  if (r == 1)
    note_state (supervisor, ATTACHMENT_CONNECTED, NULL);
  return r;
}

/*--------------------------------------------------------------------
 * Looking.
 */

/* Remember what was told last, for when the server comes back. */
static void
remember (struct supervisor *supervisor, const struct tellers *told)
{
  struct attachment *attachment = supervisor->attachment;
  struct tellers *before = &attachment->lineage.told;
  struct status ignored;

  if (told->count == 0 ||
      (before->count > 0 && memcmp (&before->entries[0], &told->entries[0],
                                    sizeof told->entries[0]) == 0))
    return;
  *before = *told;
  attachment_save (attachment, &ignored);
}

/* See whether the server is there, and the disk is what it was.  Returns 1, 0
 * where the server does not answer, or -1 where the device has failed.
 */
static int
look (struct supervisor *supervisor, struct status *status)
{
  struct attachment *attachment = supervisor->attachment;
  struct lineage now;
  const char *why;

  if (!attachment->tells)
    return 1;
  if (ask_teller (supervisor, &now, status) != 1)
    return 0;
  why = judge (attachment, &now);
  if (why)
    return give_up (supervisor, why, status);
  remember (supervisor, &now.told);
  /* Others know the size that the disk had when they were opened. */
  if (attachment->token[0])
    follow_size (supervisor, now.size);
  return 1;
}

/* What writes back goes through this process, and through the server that it
 * starts: when memory is short, neither is to wait for that, or be killed for
 * it.  The second and the third are inherited.  What is not allowed is done
 * without.
 */
static void
stand_pressure (void)
{
  const int fd = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

  /* Where that has a limit, what is to be locked later could not be had. */
  setrlimit (RLIMIT_MEMLOCK, &limit);
  if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 &&
      limit.rlim_cur == RLIM_INFINITY)
    mlockall (MCL_CURRENT | MCL_FUTURE);
#ifdef PR_SET_IO_FLUSHER
  prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#endif
  if (fd != -1) {
    dprintf (fd, "-1000\n");
    close (fd);
  }
}

struct supervisor *
supervise_begin (struct attachment *attachment, struct status *status)
{
  struct supervisor *supervisor = tool_alloc (sizeof *supervisor);
  int r = -1;

  stand_pressure ();
  supervisor->attachment = attachment;
  supervisor->backend = attachment_backend (attachment);
  supervisor->uri =
      attachment->uri ? tool_strdup (attachment->uri) : own_uri (attachment);
  supervisor->kernel = kernel_open (status);
  supervisor->goes_on =
      kernel_is_connected (attachment->number, supervisor->backend);
  if (supervisor->kernel)
    r = supervisor->goes_on ? 0 : attach (supervisor, status);
  if (r == 0) {
    attachment_save (attachment, status);
    return supervisor;
  }
  if (!supervisor->goes_on) {
    supervise_end_server (attachment->number);
    attachment_remove (attachment->number);
  }
  supervise_end (supervisor);
  return NULL;
}

int
supervise (struct supervisor *supervisor, struct status *status)
{
  const struct attachment *attachment = supervisor->attachment;
  int r = supervisor->link == LINK_HOLDS ? 1 : 0;

  for (;;) {
    if (!kernel_is_connected (attachment->number, supervisor->backend))
      return 1;
    if (r == 0)
      r = return_to_server (supervisor, status);
    if (r == -1)
      return -1;
    if (tool_interrupted ())
      return 0;
    r = await_break (supervisor, LOOK_EVERY) ? 0 : look (supervisor, status);
  }
}

void
supervise_end (struct supervisor *supervisor)
{
  links_close (&supervisor->links);
  if (supervisor->kernel)
    kernel_close (supervisor->kernel);
  if (supervisor->teller)
    teller_close (supervisor->teller);
  free (supervisor->backend);
  free (supervisor->uri);
  free (supervisor);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The connections that the kernel has for a device: see links.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nbd.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "links.h"
#include "tool.h"

/* How long the kernel may take to notice that a socket has ended, in
 * milliseconds.
 */
#define NOTICE_MOST 5000

/* How long a device may take to answer, in seconds: where it does so after all,
 * what it has is fenced off, and it gets errors.
 */
#define ANSWER_MOST 300

/* What is read to see whether a device answers: aligned, for O_DIRECT. */
#define ASKED_BYTES 4096

int
links_make_token (struct attachment *attachment, struct status *status)
{
  unsigned char bytes[ATTACHMENT_TOKEN / 2];

  if (getrandom (bytes, sizeof bytes, 0) != sizeof bytes)
    return status_fail (status, errno, "a random number cannot be had: %s",
                        strerror (errno));
  for (size_t at = 0; at < sizeof bytes; at++)
    snprintf (attachment->token + 2 * at, 3, "%02x", bytes[at]);
  return 0;
}

/* What is opened of URI is the export of that with this behind it; a new
 * string.  The generation is remembered before, so that whoever comes after
 * this process has a higher one.
 */
static char *
next_suffix (struct attachment *attachment, struct status *status)
{
  if (attachment->token[0] == '\0')
    return tool_strdup ("");
  attachment->generation++;
  return attachment_save (attachment, status) == -1
             ? NULL
             : tool_format ("/attach/%s/%" PRIu64, attachment->token,
                            attachment->generation);
}

/* The inode of a socket of TCP, or 0. */
static uint64_t
inode_of (int fd)
{
  struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
  socklen_t length = sizeof address;
  struct stat file;

  return getsockname (fd, (struct sockaddr *)&address, &length) == 0 &&
                 (address.ss_family == AF_INET ||
                  address.ss_family == AF_INET6) &&
                 fstat (fd, &file) == 0
             ? file.st_ino
             : 0;
}

int
links_open (struct links *links, struct attachment *attachment, const char *uri,
            bool first, struct handshake *handshake, struct status *status)
{
  char *suffix = next_suffix (attachment, status);
  int r = suffix ? 0 : -1;

  links_close (links);
  while (r == 0 && links->count < attachment->connections) {
    r = handshake_make (uri, suffix, handshake, status);
    if (r == 0) {
      attachment->sockets[links->count] = inode_of (handshake->socket);
      links->sockets[links->count++] = handshake->socket;
    }
    if (r == 0 && first &&
        (suffix[0] == '\0' || !(handshake->flags & NBD_FLAG_CAN_MULTI_CONN)))
      attachment->connections = 1;
  }
  free (suffix);
  if (r == -1)
    links_close (links);
  return r;
}

void
links_end (const struct links *links, struct kernel *kernel, int number)
{
  struct status ignored;

  for (unsigned i = 0; i < links->count; i++)
    shutdown (links->sockets[i], SHUT_RDWR);
  /* It tells each once, and has told one. */
  for (unsigned i = 1; i < links->count; i++)
    if (kernel_await_dead (kernel, number, NOTICE_MOST, &ignored) != 1)
      return;
}

void
links_close (struct links *links)
{
  for (unsigned i = 0; i < links->count; i++)
    close (links->sockets[i]);
  links->count = 0;
}

/* Read from device NUMBER; an error is an answer, too. */
static void
read_device (int number)
{
  static _Alignas(ASKED_BYTES) char buffer[ASKED_BYTES];
  char *name = tool_format ("/dev/nbd%d", number);
  const int fd = open (name, O_RDONLY | O_DIRECT | O_CLOEXEC);

  if (fd != -1 && pread (fd, buffer, ASKED_BYTES, 0) == -1)
    _exit (TOOL_FAILED);
}

/* The process that reads cannot be ended before it is answered, and nobody is
 * to wait for its end, which closes the pipe.
 */
static bool
answers (struct kernel *kernel, int number)
{
  const uint64_t end = clock_now () + CLOCK_SECOND * ANSWER_MOST;
  struct pollfd answer = { .events = POLLIN };
  struct status ignored;
  bool may_answer = true;
  int ends[2];
  pid_t between;

  if (pipe2 (ends, O_CLOEXEC) == -1)
    return true;
  between = fork ();
  if (between == 0) {
    /* It has nothing that this process has open, least of all its lock. */
    if (fork () == 0 && dup2 (ends[1], 3) != -1 && close_range (4, ~0U, 0) == 0)
      read_device (number);
    _exit (0);
  }
  close (ends[1]);
  if (between != -1)
    waitpid (between, NULL, 0);
  answer.fd = ends[0];
  while (may_answer && !tool_interrupted () && poll (&answer, 1, 0) == 0)
    may_answer = clock_now () < end &&
                 kernel_await_dead (kernel, number, 100, &ignored) != 1;
  close (ends[0]);
  return may_answer;
}

/* Does the file NAME of /proc/net have the socket INODE as one that is
 * established?  The kernel shuts down those that are dead.
 */
static bool
is_established (const char *name, uint64_t inode)
{
  FILE *file = fopen (name, "re");
  char line[512];
  bool found = false;
  unsigned state;
  uint64_t number;

  while (file && !found && fgets (line, sizeof line, file))
    found = sscanf (line, "%*s %*s %*s %x %*s %*s %*s %*s %*s %" SCNu64, &state,
                    &number) == 2 &&
            state == TCP_ESTABLISHED && number == inode;
  if (file)
    fclose (file);
  return found;
}

bool
links_live (const struct attachment *attachment, struct kernel *kernel)
{
  if (attachment->sockets[0] == 0)
    return answers (kernel, attachment->number);
  for (unsigned i = 0; i < attachment->connections; i++)
    if (is_established ("/proc/net/tcp", attachment->sockets[i]) ||
        is_established ("/proc/net/tcp6", attachment->sockets[i]))
      return true;
  return false;
}

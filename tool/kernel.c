/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The kernel's NBD client: see kernel.h.
 *
 * One socket is for what is asked of the kernel, and another one for what it
 * tells by itself, so that an answer is never taken for the other.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"
#include "tool.h"

#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

struct kernel {
  struct nl_sock *asks, *hears;
  int family;
};

/* How a request went: the kernel answers with an error, or the device's number
 * and an acknowledgement.
 */
struct answer {
  bool complete;
  int error; /* an errno, negative, or 0 */
  int number;
};

static int
take_number (struct nl_msg *message, void *opaque)
{
  struct nlattr *attributes[NBD_ATTR_MAX + 1];
  int *number = opaque;

  if (genlmsg_parse (nlmsg_hdr (message), 0, attributes, NBD_ATTR_MAX, NULL) ==
          0 &&
      attributes[NBD_ATTR_INDEX])
    *number = nla_get_u32 (attributes[NBD_ATTR_INDEX]);
  return NL_OK;
}

static int
take_answer (struct nl_msg *message, void *opaque)
{
  struct answer *answer = opaque;

  return take_number (message, &answer->number);
}

static int
take_acknowledgement (struct nl_msg *message, void *opaque)
{
  struct answer *answer = opaque;

  (void)message;
  answer->complete = true;
  return NL_STOP;
}

static int
take_error (struct sockaddr_nl *from, struct nlmsgerr *error, void *opaque)
{
  struct answer *answer = opaque;

  (void)from;
  answer->complete = true;
  answer->error = error->error;
  return NL_STOP;
}

/* Send MESSAGE, which is freed, and wait for the answer: a negative errno or 0,
 * and -EIO where netlink itself fails.
 */
static int
ask (struct kernel *kernel, struct nl_msg *message, struct answer *answer)
{
  struct nl_cb *callbacks = nl_cb_alloc (NL_CB_DEFAULT);
  int r = callbacks ? nl_send_auto (kernel->asks, message) : -NLE_NOMEM;

  nlmsg_free (message);
  if (callbacks) {
    nl_cb_set (callbacks, NL_CB_VALID, NL_CB_CUSTOM, take_answer, answer);
    nl_cb_set (callbacks, NL_CB_ACK, NL_CB_CUSTOM, take_acknowledgement,
               answer);
    nl_cb_err (callbacks, NL_CB_CUSTOM, take_error, answer);
  }
  while (r >= 0 && !answer->complete)
    r = nl_recvmsgs (kernel->asks, callbacks);
  if (callbacks)
    nl_cb_put (callbacks);
  return answer->complete ? answer->error : -EIO;
}

/* A message with the COMMAND, for device NUMBER and, where it is not NULL,
 * BACKEND.
 */
static struct nl_msg *
begin (struct kernel *kernel, int command, int number, const char *backend)
{
  struct nl_msg *message = nlmsg_alloc ();

  if (message == NULL ||
      genlmsg_put (message, NL_AUTO_PORT, NL_AUTO_SEQ, kernel->family, 0, 0,
                   command, 0) == NULL ||
      (number >= 0 && nla_put_u32 (message, NBD_ATTR_INDEX, number) != 0) ||
      (backend &&
       nla_put_string (message, NBD_ATTR_BACKEND_IDENTIFIER, backend) != 0)) {
    fputs ("sqlblock: out of memory\n", stderr);
    exit (TOOL_FAILED);
  }
  return message;
}

/* These do not fail: there is room for them. */
static void
add_number (struct nl_msg *message, int attribute, uint64_t number)
{
  nla_put_u64 (message, attribute, number);
}

static void
add_sockets (struct nl_msg *message, const int *sockets, size_t count)
{
  struct nlattr *list = nla_nest_start (message, NBD_ATTR_SOCKETS);

  for (size_t i = 0; i < count; i++) {
    struct nlattr *item = nla_nest_start (message, NBD_SOCK_ITEM);

    nla_put_u32 (message, NBD_SOCK_FD, sockets[i]);
    nla_nest_end (message, item);
  }
  nla_nest_end (message, list);
}

/* Read what the kernel has to say, as far as it is there. */
static int
listen_to (struct kernel *kernel, int group)
{
  nl_socket_disable_seq_check (kernel->hears);
  return nl_connect (kernel->hears, NETLINK_GENERIC) < 0 ||
                 nl_socket_add_membership (kernel->hears, group) < 0 ||
                 nl_socket_set_nonblocking (kernel->hears) < 0
             ? -1
             : 0;
}

/* Load the driver; what goes wrong shows when it is not there. */
static void
load_module (void)
{
  const pid_t child = fork ();

  if (child == 0) {
    execlp ("modprobe", "modprobe", "-q", "nbd", NULL);
    _exit (1);
  }
  if (child != -1)
    waitpid (child, NULL, 0);
}

/* Find the driver's family and group, by which it is called and tells. */
static int
find_driver (struct kernel *kernel)
{
  kernel->family = genl_ctrl_resolve (kernel->asks, NBD_GENL_FAMILY_NAME);
  if (kernel->family < 0)
    return -1;
  return genl_ctrl_resolve_grp (kernel->asks, NBD_GENL_FAMILY_NAME,
                                NBD_GENL_MCAST_GROUP_NAME);
}

struct kernel *
kernel_open (struct status *status)
{
  struct kernel *kernel = tool_alloc (sizeof *kernel);
  int group;

  kernel->asks = nl_socket_alloc ();
  kernel->hears = nl_socket_alloc ();
  if (kernel->asks == NULL || kernel->hears == NULL ||
      genl_connect (kernel->asks) < 0) {
    status_fail (status, EIO, "the kernel cannot be asked (netlink)");
    goto failed;
  }
  group = find_driver (kernel);
  if (group < 0) {
    load_module ();
    group = find_driver (kernel);
  }
  if (group < 0) {
    status_fail (status, ENODEV,
                 "this kernel has no NBD client, whose module is nbd");
    goto failed;
  }
  if (listen_to (kernel, group) == -1) {
    status_fail (status, EIO, "the kernel does not tell about its devices");
    goto failed;
  }
  return kernel;

failed:
  kernel_close (kernel);
  return NULL;
}

void
kernel_close (struct kernel *kernel)
{
  nl_socket_free (kernel->asks);
  nl_socket_free (kernel->hears);
  free (kernel);
}

/* What the kernel says of a request, in words; returns -1. */
static int
refused (int error, const char *doing, int number, struct status *status)
{
  if (error == -EPERM)
    return status_fail (status, EPERM, "only root can attach and detach");
  if (error == -EBUSY)
    return status_fail (status, EBUSY, "/dev/nbd%d is in use", number);
  return status_fail (status, -error, "%s: %s", doing, strerror (-error));
}

/* Without an end to waiting for answers the kernel looks at requests that have
 * none after so many milliseconds, and sends again those whose socket was
 * replaced since.  Where that cannot be set it takes half a minute.
 */
#define LOOK_MILLISECONDS "2000"

static void
look_often (int number)
{
  char *name = tool_format ("/sys/block/nbd%d/queue/io_timeout", number);
  FILE *file = fopen (name, "we");

  free (name);
  if (file == NULL)
    return;
  fputs (LOOK_MILLISECONDS, file);
  fclose (file);
}

int
kernel_connect (struct kernel *kernel, const struct kernel_device *device,
                int *number, struct status *status)
{
  struct answer answer = { .number = device->number };
  struct nl_msg *message =
      begin (kernel, NBD_CMD_CONNECT, device->number, device->backend);
  int error;

  add_number (message, NBD_ATTR_SIZE_BYTES, device->size);
  add_number (message, NBD_ATTR_BLOCK_SIZE_BYTES, device->block_size);
  add_number (message, NBD_ATTR_SERVER_FLAGS, device->flags);
  add_number (message, NBD_ATTR_TIMEOUT, device->answer);
  add_number (message, NBD_ATTR_DEAD_CONN_TIMEOUT, device->dead);
  add_sockets (message, device->sockets, device->sockets_count);
  error = ask (kernel, message, &answer);
  if (error != 0)
    return refused (error, "connecting the device", device->number, status);
  *number = answer.number;
  if (device->answer == 0)
    look_often (answer.number);
  return 0;
}

int
kernel_replace_socket (struct kernel *kernel, int number, const char *backend,
                       int socket, struct status *status)
{
  struct answer answer = { .number = number };
  struct nl_msg *message = begin (kernel, NBD_CMD_RECONFIGURE, number, backend);
  int error;

  add_sockets (message, &socket, 1);
  error = ask (kernel, message, &answer);
  return error == 0
             ? 0
             : refused (error, "connecting the device again", number, status);
}

/* The bytes of a block of device NUMBER, or 1. */
static uint64_t
read_block_size (int number)
{
  char *name =
      tool_format ("/sys/block/nbd%d/queue/logical_block_size", number);
  FILE *file = fopen (name, "re");
  uint64_t size = 1;

  free (name);
  if (file && (fscanf (file, "%" SCNu64, &size) != 1 || size == 0))
    size = 1;
  if (file)
    fclose (file);
  return size;
}

int
kernel_resize (struct kernel *kernel, int number, const char *backend,
               uint64_t size, struct status *status)
{
  struct answer answer = { .number = number };
  struct nl_msg *message = begin (kernel, NBD_CMD_RECONFIGURE, number, backend);
  int error;

  add_number (message, NBD_ATTR_SIZE_BYTES,
              size - size % read_block_size (number));
  error = ask (kernel, message, &answer);
  return error == 0 ? 0
                    : refused (error, "giving the device another size", number,
                               status);
}

int
kernel_disconnect (struct kernel *kernel, int number, struct status *status)
{
  struct answer answer = { .number = number };
  const int error =
      ask (kernel, begin (kernel, NBD_CMD_DISCONNECT, number, NULL), &answer);

  return error == 0
             ? 0
             : refused (error, "disconnecting the device", number, status);
}

int
kernel_await_dead (struct kernel *kernel, int number, int milliseconds,
                   struct status *status)
{
  struct pollfd descriptor = { .fd = nl_socket_get_fd (kernel->hears),
                               .events = POLLIN };
  int heard = -1;

  if (poll (&descriptor, 1, milliseconds) == -1 && errno != EINTR)
    return status_fail (status, errno, "listening to the kernel: %s",
                        strerror (errno));
  nl_socket_modify_cb (kernel->hears, NL_CB_VALID, NL_CB_CUSTOM, take_number,
                       &heard);
  /* One message at a time: where some were lost, which the kernel says, it is
   * the same as if this device had been meant.
   */
  for (;;) {
    const int r = nl_recvmsgs_default (kernel->hears);

    if (heard == number || r == -NLE_NOMEM)
      return 1;
    if (r < 0)
      return 0;
  }
}

char *
kernel_backend (int number)
{
  char *name = tool_format ("/sys/block/nbd%d/backend", number);
  char *line = NULL;
  size_t room = 0;
  FILE *file = fopen (name, "re");

  free (name);
  if (file && getline (&line, &room, file) == -1) {
    free (line);
    line = NULL;
  }
  if (file)
    fclose (file);
  if (line)
    line[strcspn (line, "\n")] = '\0';
  return line;
}

bool
kernel_is_connected (int number, const char *backend)
{
  char *connected = kernel_backend (number);
  const bool is_same = connected && strcmp (connected, backend) == 0;

  free (connected);
  return is_same;
}

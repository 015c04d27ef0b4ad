/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* break-lock: have a server that is gone let go of a database on a cluster. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tool.h"

static bool dont_ask;

static const struct tool_option break_lock_options[] = {
  { "force", 'f', NULL, &dont_ask, "do not ask" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Does the user say yes? */
static bool
ask (const char *database, const struct lock_holder *holder)
{
  char answer[8] = "";

  fprintf (stderr,
           "%s has %s open. If it still runs, all that its clients\n"
           "do from now on fails. Break its lock? [y/N] ",
           holder->address, database);
  return fgets (answer, sizeof answer, stdin) != NULL &&
         (answer[0] == 'y' || answer[0] == 'Y');
}

static int
run_break_lock (int argc, char *argv[])
{
  struct lock_holder holder;
  struct status status;
  int r = manage_find_holder (argv[0], &holder, &status);

  (void)argc;
  if (r == -1)
    return status.error == EINVAL ? tool_wrong_value (&status)
                                  : tool_fail (&status);
  if (common.dry_run) {
    if (r == 0)
      tool_print ("would do nothing: nobody has %s open", argv[0]);
    else
      tool_print ("would break the lock of %s (%s)", holder.address,
                  holder.client);
    return TOOL_DONE;
  }
  if (r == 0) {
    tool_say ("nobody has %s open", argv[0]);
    return TOOL_DONE;
  }
  if (!dont_ask && !isatty (STDIN_FILENO))
    return tool_error (EBUSY,
                       "%s has %s open; only on a terminal you are asked "
                       "whether to break its lock: give --force",
                       holder.address, argv[0]);
  if (!dont_ask && !ask (argv[0], &holder))
    return tool_error (EBUSY, "%s still has %s open", holder.address, argv[0]);
  if (manage_fence (argv[0], &holder, &status) == -1)
    return tool_fail (&status);
  tool_say ("the cluster refuses %s now, and its lock of %s is broken",
            holder.address, argv[0]);
  return TOOL_DONE;
}

const struct command command_break_lock = {
  .name = "break-lock",
  .arguments = "DATABASE",
  .summary = "Have a server that is gone let go of a database on Ceph",
  .help =
      "Where a server has ended without closing its database on a cluster,\n"
      "rados:POOL/NAME, its lock stays for 30 seconds. This shows who has it,\n"
      "asks on a terminal, has the cluster refuse that client, and then "
      "breaks\n"
      "the lock, so that another server can begin at once. A server that only\n"
      "seemed to be gone can write nothing more, and ends.\n",
  .options = break_lock_options,
  .common = COMMON_DRY_RUN,
  .least = 1,
  .most = 1,
  .run = run_break_lock,
};

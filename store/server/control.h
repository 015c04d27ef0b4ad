/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The control socket of a server: the command sqlblock manages disks through
 * it, where the database cannot or need not be opened by another process.
 *
 *   acceptor ──► session, a thread of its own ──► call ──► manage_... (store)
 *                    ▲  │ one line asks, one answers            │
 *                    │  └── {"progress": ...}, {"found": ...} ◄─┘
 *                  client
 *
 * A request is one line of JSON, and so is its reply:
 *
 *   {"call": "manage_snapshot",
 *    "arguments": {"targets": ["web"], "name": "monday"}}
 *   {"result": {}}
 *   {"error": {"errno": "EBUSY", "message": "...", ...}}
 *
 * What a call takes and gives stands in engine/remote.h, manage/calls.h and
 * check/check-call.h.  "bytes" in a line says how many follow it: contents of a
 * disk.  Before the reply of a call that takes long come lines with "progress",
 * bytes done and bytes in all, and with what it has found; {"cancel": true}
 * stops it.  Where a line says "waiting", the call goes on after
 * {"continue": true}, and until then other calls can be made; so a client that
 * is slow with what it is told of is waited for, and has no call between whose
 * line and its end.
 *
 * The session has what its client has opened, and closes it when the client
 * goes; an incomplete reception is removed.
 *
 * Nobody waits for a client but its own session.  No transaction is open and no
 * lock is held where it does that: what a call finds inside a transaction is
 * gathered, progress is told only as far as the socket takes it at once, and
 * the reply goes when the call has returned.  Calls run beside requests of NBD
 * clients, in the writer's queue, as those of a command would.
 *
 * Whoever may connect could as well stop the server and open the file: the
 * socket has mode 0600 and is in a directory where nobody else can replace it,
 * and only the server's own user and root are answered.  Even so, nothing that
 * they send is trusted.
 */

#ifndef SQLBLOCK_CONTROL_H
#define SQLBLOCK_CONTROL_H

#include "status.h"
#include "store.h"

struct clients;
struct control;

/* At most so many clients at once; others wait for a place. */
#define CONTROL_CLIENTS 64

/* Check that the socket PATH could be made, and that there is no server there
 * already.  Changes nothing.  Returns 0, or -1: EADDRINUSE, ENAMETOOLONG ...
 */
int control_check (const char *path, struct status *status);

/* Make the socket PATH, instead of one that a server has left which died, and
 * serve it; who comes is put among CLIENTS.  Returns NULL on failure, with
 * nothing left.
 */
struct control *control_start (struct store *store, struct clients *clients,
                               const char *path, struct status *status);

/* End all sessions, and what they do, and remove the socket.  The store was
 * interrupted.
 */
void control_stop (struct control *control);

#endif /* SQLBLOCK_CONTROL_H */

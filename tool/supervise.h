/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Looking after a device that is attached, so that it lives longer than its
 * server:
 *
 *          ┌──────────────────────────── the kernel: a socket is dead, or
 *          ▼                             the server does not answer
 *   away: try again, ever more slowly; a server of its own is started anew
 *          │
 *          ├─ it has all that was acknowledged ──► the kernel gets new sockets,
 *          │  (base/lineage.h)                     and sends again what was not
 *          │                                       answered
 *          └─ it has not, or took too long ──────► the device fails
 *
 * Every two seconds it looks whether the disk is still what it was: one that
 * was rolled back is not.  A disk that has grown grows here, too; of a server
 * that knows no tokens (plugin/fence.h) with the next connection, since such a
 * one lets nobody behind the end that the disk had when he came.
 *
 * Thread rules: one thread, in a process of its own.
 */

#ifndef SQLBLOCK_SUPERVISE_H
#define SQLBLOCK_SUPERVISE_H

#include "attachment.h"
#include "status.h"

struct supervisor;

/* Attach what ATTACHMENT says, as its device, which
 * is free and was locked by this process; or where the kernel has that device
 * already, since it was attached before, go on with it.  NULL on failure, with
 * nothing left.
 */
struct supervisor *supervise_begin (struct attachment *attachment,
                                    struct status *status);

/* Look after it until this process gets a signal, which leaves the device as it
 * is (returns 0), or the device is detached (1) or has failed (-1).
 */
int supervise (struct supervisor *supervisor, struct status *status);

void supervise_end (struct supervisor *supervisor);

/* End the server of its own of device NUMBER, where there is one. */
void supervise_end_server (int number);

/* The plugin of such servers, for nbdkit. */
const char *supervise_plugin (void);

#endif /* SQLBLOCK_SUPERVISE_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who is at a server: clients of NBD, which the plugin tells of, and commands
 * at the control socket.  "sqlblock status" asks for the list (server.h).
 */

#ifndef SQLBLOCK_CLIENTS_H
#define SQLBLOCK_CLIENTS_H

#include <stddef.h>

#include "engine/remote.h"
#include "server.h"
#include "status.h"

struct clients;
struct server_place;

/* An empty list; NULL where there is no memory. */
struct clients *clients_new (void);

/* With all that are still in it. */
void clients_free (struct clients *clients);

/* Add CLIENT; NULL where there is no memory, which is told nobody: it is only
 * not seen.  clients_remove takes that, too.  Thread rules, here and below: any
 * thread.
 */
struct server_place *clients_add (struct clients *clients,
                                  const struct server_client *client);
void clients_remove (struct server_place *place);

/* What a command does now, a text that stays; NULL: nothing. */
void clients_tell (struct server_place *place, const char *doing);

/* A copy of all, to be freed; NULL where there is no memory. */
struct server_client *clients_copy (struct clients *clients, size_t *count);

/* The call for server_ask. */
struct server_call {
  struct server_report report;
};
extern const struct call_type call_server_ask;

#endif /* SQLBLOCK_CLIENTS_H */

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The threads of a server: see server.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check/sealing.h"
#include "engine/engine.h"
#include "server.h"
#include "server/clients.h"
#include "server/control.h"
#include "server/history.h"
#include "server/prometheus.h"
#include "server/scrub.h"
#include "server/tidy.h"
#include "sqlite/files.h"

struct server {
  struct store *store;
  struct clients *clients;
  struct server_options options;

  /* NULL: does not run. */
  struct tidy *tidy;
  struct sealer *sealer;
  struct history *history;
  struct prometheus *prometheus;
  struct scrub *scrub;
  struct control *control;
};

int
server_check_statistics (const char *file, const char *path,
                         struct status *status)
{
  if (files_has (path, file))
    return status_fail (status, EINVAL,
                        "%s is the database, or belongs to it; give another "
                        "file",
                        file);
  return prometheus_check (file, status);
}

int
server_check_control (const char *control, const char *path,
                      const char *statistics, struct status *status)
{
  if (files_has (path, control))
    return status_fail (status, EINVAL,
                        "%s is the database, or belongs to it; give another "
                        "name",
                        control);
  if (statistics && strcmp (statistics, control) == 0)
    return status_fail (status, EINVAL,
                        "%s is the file of stats=; give another name", control);
  return control_check (control, status);
}

/* Last of all: from then on there are clients. */
static int
start_control (struct server *server, struct status *status)
{
  server->control = control_start (server->store, server->clients,
                                   server->options.control, status);
  return server->control ? 0 : status_prefix (status, "control=");
}

static int
start_statistics (struct server *server, struct status *status)
{
  const struct prometheus_options options = {
    .file = server->options.statistics,
    .database = store_path (server->store),
    .name = server->options.name,
    .interval = PROMETHEUS_INTERVAL,
    .warn = server->options.store.warn,
  };

  server->prometheus =
      prometheus_start (store_statistics (server->store), &options, status);
  return server->prometheus ? 0 : status_prefix (status, "stats=");
}

static int
start_scrub (struct server *server, struct status *status)
{
  const struct scrub_options options = {
    .period = server->options.scrub_period,
    .warn = server->options.store.warn,
  };

  server->scrub = scrub_start (server->store, &options, status);
  return server->scrub ? 0 : -1;
}

/* Start what always runs, and what the options ask for. */
static int
start_threads (struct server *server, struct status *status)
{
  const struct server_options *options = &server->options;
  struct store *store = server->store;

  server->tidy = tidy_start (store, &options->tidy, status);
  if (server->tidy == NULL)
    return -1;
  server->sealer = sealer_start (store, options->store.warn, status);
  if (server->sealer == NULL)
    return -1;
  if (!options->history.off) {
    server->history = history_start (store, &options->history, status);
    if (server->history == NULL)
      return -1;
  }
  if (options->statistics && start_statistics (server, status) == -1)
    return -1;
  if (options->scrub_period > 0 && start_scrub (server, status) == -1)
    return -1;
  return options->control ? start_control (server, status) : 0;
}

struct server *
server_start (const char *path, const struct server_options *options,
              struct status *status)
{
  struct server *server = calloc (1, sizeof *server);

  if (server == NULL) {
    status_no_memory (status);
    return NULL;
  }
  server->clients = clients_new ();
  if (server->clients == NULL) {
    free (server);
    status_no_memory (status);
    return NULL;
  }
  server->options = *options;
  server->options.history.warn = options->store.warn;
  server->options.tidy.warn = options->store.warn;
  server->store = store_open (path, &server->options.store, status);
  if (server->store && start_threads (server, status) == 0)
    return server;
  server_stop (server);
  return NULL;
}

void
server_stop (struct server *server)
{
  if (server->store)
    store_interrupt (server->store);
  if (server->control)
    control_stop (server->control);
  if (server->history)
    history_stop (server->history);
  if (server->prometheus)
    prometheus_stop (server->prometheus);
  if (server->scrub)
    scrub_stop (server->scrub);
  if (server->sealer)
    sealer_stop (server->sealer);
  if (server->tidy)
    tidy_stop (server->tidy);
  if (server->store)
    store_close (server->store);
  clients_free (server->clients);
  free (server);
}

struct server_place *
server_enter (struct server *server, const struct server_client *client)
{
  return clients_add (server->clients, client);
}

void
server_leave (struct server_place *place)
{
  clients_remove (place);
}

struct store *
server_store (const struct server *server)
{
  return server->store;
}

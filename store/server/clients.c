/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who is at a server: see clients.h, and for who asks server.h. */

#include <config.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "server/clients.h"

struct server_place {
  struct clients *clients;
  struct server_place *next;
  struct server_client client;
};

struct clients {
  pthread_mutex_t lock;
  struct server_place *first;
  size_t count;
};

struct clients *
clients_new (void)
{
  struct clients *clients = calloc (1, sizeof *clients);

  if (clients)
    pthread_mutex_init (&clients->lock, NULL);
  return clients;
}

void
clients_free (struct clients *clients)
{
  struct server_place *place = clients->first, *next;

  for (; place; place = next) {
    next = place->next;
    free (place);
  }
  pthread_mutex_destroy (&clients->lock);
  free (clients);
}

struct server_place *
clients_add (struct clients *clients, const struct server_client *client)
{
  struct server_place *place = malloc (sizeof *place);

  if (place == NULL)
    return NULL;
  *place = (struct server_place){ .clients = clients, .client = *client };
  pthread_mutex_lock (&clients->lock);
  place->next = clients->first;
  clients->first = place;
  clients->count++;
  pthread_mutex_unlock (&clients->lock);
  return place;
}

void
clients_remove (struct server_place *place)
{
  struct clients *clients = place ? place->clients : NULL;
  struct server_place **link;

  if (place == NULL)
    return;
  pthread_mutex_lock (&clients->lock);
  for (link = &clients->first; *link != place;)
    link = &(*link)->next;
  *link = place->next;
  clients->count--;
  pthread_mutex_unlock (&clients->lock);
  free (place);
}

void
clients_tell (struct server_place *place, const char *doing)
{
  if (place == NULL)
    return;
  pthread_mutex_lock (&place->clients->lock);
  snprintf (place->client.doing, sizeof place->client.doing, "%s",
            doing ? doing : "");
  pthread_mutex_unlock (&place->clients->lock);
}

struct server_client *
clients_copy (struct clients *clients, size_t *count)
{
  struct server_client *copy;
  size_t i;

  pthread_mutex_lock (&clients->lock);
  *count = i = clients->count;
  copy = calloc (i + 1, sizeof *copy);
  /* The newest is the first in the list. */
  for (struct server_place *place = clients->first; copy && place;
       place = place->next)
    copy[--i] = place->client;
  pthread_mutex_unlock (&clients->lock);
  return copy;
}

/*--------------------------------------------------------------------
 * Asking a server.
 */

static const struct field client_fields[] = {
  FIELD (struct server_client, command, "command", BOOL),
  FIELD (struct server_client, target, "target", CHARS),
  FIELD (struct server_client, write, "write", BOOL),
  FIELD (struct server_client, since, "since", SIGNED),
  FIELD (struct server_client, process, "process", SIGNED),
  FIELD (struct server_client, user, "user", SIGNED),
  FIELD (struct server_client, address, "address", CHARS),
  FIELD (struct server_client, doing, "doing", CHARS),
  FIELD_END,
};

static const struct field report_fields[] = {
  FIELD (struct server_report, process, "process", SIGNED),
  FIELD (struct server_report, user, "user", SIGNED),
  FIELD (struct server_report, host, "host", CHARS),
  FIELD (struct server_report, version, "version", CHARS),
  FIELD (struct server_report, since, "since", SIGNED),
  FIELD_LIST_OF (struct server_report, clients, count, "clients",
                 client_fields),
  FIELD_END,
};

static const struct field call_fields[] = {
  FIELD_OF (struct server_call, report, "report", report_fields),
  FIELD_END,
};

const struct call_type call_server_ask = { "server_ask", "", "report",
                                           call_fields,
                                           sizeof (struct server_call) };

int
server_ask (struct store *store, struct server_report *report,
            struct status *status)
{
  struct server_call call = { .report.count = 0 };
  struct server_client *clients;

  if (remote_call (store_remote (store), &call_server_ask, &call, NULL,
                   status) == -1)
    return -1;
  *report = call.report;
  /* What a call has given stays until the next one. */
  clients = calloc (report->count + 1, sizeof *clients);
  if (clients == NULL)
    return status_no_memory (status);
  memcpy (clients, report->clients, report->count * sizeof *clients);
  report->clients = clients;
  return 0;
}

void
server_report_free (struct server_report *report)
{
  free ((void *)report->clients);
  *report = (struct server_report){ .count = 0 };
}

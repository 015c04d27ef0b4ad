/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* status: who has what open.
 *
 *   what processes count of themselves   servers of this machine and how many
 *   (statistics.h), as for "top"         clients each disk has
 *   locks and rows (manage_list_uses)    who writes a disk, reads a snapshot or
 *                                        makes a copy, on any machine
 *   a server's control socket            each of its clients, and each command
 *
 * Who has something open may write what he likes about himself: it is only
 * shown.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "server.h"
#include "statistics.h"
#include "tool.h"

/* A line of the report. */
struct line {
  const char *use;    /* what it is */
  const char *target; /* of which disk or snapshot; "": of all */
  char *who;          /* a new string */
  uint64_t clients;   /* how many: of a server, or of a disk at one */
  bool has_clients;
  int64_t since; /* seconds since 1970, UTC; 0: not known */
};

/* The report in the making. */
struct report {
  struct tool_table *table;
  json_t *lines;
};

static json_t *
text_json (const char *text)
{
  return text[0] ? tool_json_string (text) : json_null ();
}

static void
add_line (struct report *report, const struct line *line)
{
  struct tool_table *table = report->table;

  tool_cell (table, "%s", line->use);
  tool_cell (table, "%s", line->target);
  if (line->has_clients)
    tool_cell_count (table, line->clients);
  else
    tool_cell (table, "%s", "");
  tool_cell (table, "%s", line->who);
  if (line->since)
    tool_cell_time (table, line->since);
  else
    tool_cell (table, "%s", "");
  json_array_append_new (
      report->lines,
      json_pack ("{s:s, s:o, s:o, s:o, s:o}", "use", line->use, "target",
                 text_json (line->target), "clients",
                 line->has_clients ? tool_json_size (line->clients)
                                   : json_null (),
                 "who", text_json (line->who), "since",
                 line->since ? tool_json_time (line->since) : json_null ()));
  free (line->who);
}

/*--------------------------------------------------------------------
 * What locks and rows tell.
 */

static int
add_use (const struct manage_use *use, void *opaque)
{
  static const char *const uses[MANAGE_USE_KINDS] = {
    [MANAGE_WRITTEN] = "written",   [MANAGE_READ] = "read",
    [MANAGE_COPIED] = "copied",     [MANAGE_PINNED] = "pinned",
    [MANAGE_RECEIVED] = "received",
  };

  add_line (opaque, &(struct line){
                        .use = use->kind < MANAGE_USE_KINDS ? uses[use->kind]
                                                            : "unknown",
                        .target = use->target,
                        .who = tool_strdup (use->who),
                        .since = use->since,
                    });
  return 0;
}

/* A use that a server made, whose texts do not last. */
struct uses {
  struct manage_use *uses;
  size_t count;
};

static int
keep_use (const struct manage_use *use, void *opaque)
{
  struct uses *uses = opaque;

  uses->uses =
      tool_realloc (uses->uses, (uses->count + 1) * sizeof *uses->uses);
  uses->uses[uses->count++] = *use;
  return 0;
}

static int
add_uses (struct report *report, struct store *store)
{
  struct uses uses = { 0 };
  struct status status;
  int code = TOOL_DONE;

  if (manage_list_uses (store, keep_use, &uses, &status) == -1)
    code = tool_fail (&status);
  for (size_t i = 0; i < uses.count; i++)
    add_use (&uses.uses[i], report);
  free (uses.uses);
  return code;
}

/*--------------------------------------------------------------------
 * What a server tells.
 */

/* "process 1234 of user 0 at 192.0.2.7:4711", a new string. */
static char *
describe_client (const struct server_client *client)
{
  char *process = client->process > 0
                      ? tool_format ("process %" PRId64, client->process)
                      : tool_strdup ("");
  char *user = client->user >= 0
                   ? tool_format (" of user %" PRId64, client->user)
                   : tool_strdup ("");
  char *who = tool_format ("%s%s%s%s%s", process, user, client->address,
                           client->doing[0] ? ": " : "", client->doing);

  free (process);
  free (user);
  return who;
}

static void
add_client (struct report *report, const struct server_client *client)
{
  add_line (report, &(struct line){
                        .use = client->command ? "command"
                               : client->write ? "client"
                                               : "reader",
                        .target = client->target,
                        .who = describe_client (client),
                        .since = client->since,
                    });
}

static int
add_asked (struct report *report, struct store *store)
{
  struct server_report server;
  struct status status;
  size_t clients = 0;

  if (server_ask (store, &server, &status) == -1)
    return tool_fail (&status);
  for (size_t i = 0; i < server.count; i++)
    clients += !server.clients[i].command;
  add_line (report,
            &(struct line){
                .use = "server",
                .target = "",
                .who = tool_format (
                    "process %" PRId64 " of user %" PRId64 " on %s, version %s",
                    server.process, server.user, server.host, server.version),
                .clients = clients,
                .has_clients = true,
                .since = server.since,
            });
  for (size_t i = 0; i < server.count; i++)
    add_client (report, &server.clients[i]);
  server_report_free (&server);
  return TOOL_DONE;
}

/*--------------------------------------------------------------------
 * What servers of this machine count.
 */

static void
add_observed (struct report *report, const struct observed *server,
              const char *host)
{
  uint64_t clients = 0;

  for (size_t i = 0; i < server->count; i++)
    clients += counter_read (&server->disks[i].clients);
  add_line (report, &(struct line){
                        .use = "server",
                        .target = "",
                        .who = tool_format (
                            "process %ld of user %lu on %s, version %.32s",
                            (long)server->process, (unsigned long)server->user,
                            host, server->server.version),
                        .clients = clients,
                        .has_clients = true,
                        .since = server->server.started_time,
                    });
  for (size_t i = 0; i < server->count; i++)
    if (counter_read (&server->disks[i].clients) > 0)
      add_line (report, &(struct line){
                            .use = "served",
                            .target = server->disks[i].name,
                            .who = tool_format ("process %ld on %s",
                                                (long)server->process, host),
                            .clients = counter_read (&server->disks[i].clients),
                            .has_clients = true,
                        });
}

static int
add_observation (struct report *report, const char *path)
{
  struct observation observation = { 0 };
  struct status status;
  struct utsname host;

  if (observe (path, &observation, &status) == -1)
    return tool_fail (&status);
  uname (&host);
  for (size_t i = 0; i < observation.count; i++)
    add_observed (report, observation.servers[i], host.nodename);
  if (observation.hidden > 0 && observation.count == 0)
    tool_say ("servers of other users are not seen; root sees all, and a "
              "server tells of itself with --control");
  observation_free (&observation);
  return TOOL_DONE;
}

/* A database on a cluster has one who has it, and only he can open it.  Returns
 * -1 for one in a file.
 */
static int
add_holder (struct report *report, const char *path)
{
  struct lock_holder holder;
  struct status status;
  const int r = manage_find_holder (path, &holder, &status);

  if (r == -1)
    return status.error == EINVAL ? -1 : tool_fail (&status);
  if (r == 1)
    add_line (report, &(struct line){
                          .use = "server",
                          .target = "",
                          .who = tool_format ("%s at %s", holder.client,
                                              holder.address),
                      });
  return TOOL_DONE;
}

static int
add_all (struct report *report, const char *path)
{
  struct store *store;
  int code, uses;

  if (common.control) {
    store = tool_open (path, false);
    code = add_asked (report, store);
  }
  else {
    code = add_holder (report, path);
    if (code != -1)
      return code;
    code = add_observation (report, path);
    if (code != TOOL_DONE)
      return code;
    store = tool_open (path, false);
  }
  uses = add_uses (report, store);
  return code == TOOL_DONE ? uses : code;
}

static int
run_status (int argc, char *argv[])
{
  static const char *const titles[] = { "USE", "TARGET", ">CLIENTS",
                                        "WHO", "SINCE",  NULL };
  struct report report = { tool_table (titles), json_array () };
  int code = tool_table_choose (report.table, "USE,TARGET,CLIENTS,WHO,SINCE");

  (void)argc;
  if (code != TOOL_DONE)
    return code;
  code = add_all (&report, argv[0]);
  if (common.json)
    tool_json_print (json_pack ("{s:o}", "status", report.lines));
  else {
    tool_table_print (report.table);
    json_decref (report.lines);
  }
  return code;
}

const struct command command_status = {
  .name = "status",
  .arguments = "DATABASE",
  .summary = "Show who has what open",
  .help =
      "USE is\n"
      "  server    a server, with how many clients it has\n"
      "  served    a disk that a server has open, for so many clients\n"
      "  written   a disk that somebody has open for writing\n"
      "  read      a snapshot that somebody has open\n"
      "  copied    a disk that is copied, and cannot be written meanwhile\n"
      "  pinned    a disk of which a copy is made, since then; or one that "
      "was\n"
      "            interrupted has left it\n"
      "  received  a disk that comes in\n"
      "and with --control also\n"
      "  client    a client that may write\n"
      "  reader    one that only reads\n"
      "  command   a command at the control socket, and what it asks for\n"
      "\n"
      "WHO is what that process says of itself.  Without --control servers of\n"
      "this machine are found, your own or as root all.  Of a database on a\n"
      "cluster it is who has its lock.\n"
      "\n"
      "Columns: USE TARGET CLIENTS WHO SINCE.\n"
      "\n"
      "The JSON is {\"status\": [...]}, each with use, target, clients, who "
      "and\n"
      "since, or null.\n"
      "\n"
      "Example: sqlblock status disks.sqlite --control=/run/sqlblock/control\n",
  .common = COMMON_JSON | COMMON_TABLE,
  .least = 1,
  .most = 1,
  .run = run_status,
};

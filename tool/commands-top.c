/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* top: what the servers of a database do.
 *
 * It never opens the database: all it shows is what the servers count
 * (store/statistics.h).  A report is the difference between two looks, and
 * the first one, or with --once the only one, what was counted since each
 * server started.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "statistics.h"
#include "base/times.h"
#include "base/count.h"
#include "tool.h"

static bool once;
static const char *interval_text, *count_text;

/* Two looks at the servers; the first may have seen none. */
struct report {
  const char *path;
  struct observation before, now;
};

/*--------------------------------------------------------------------
 * What was counted between two looks.
 */

/* A server at both; BEFORE is NULL where it has just started. */
struct server_report {
  const struct server_counters *before, *now;
  const struct observed *observed_before, *observed;
  double seconds; /* between them, or since it started */
};

/* A disk at both; BEFORE is NULL where it was not there. */
struct disk_report {
  const struct disk_counters *before, *now;
  struct distribution times[REQUEST_KINDS];
  uint64_t bytes[REQUEST_KINDS], errors[REQUEST_KINDS];
  uint64_t requests; /* all of them */
};

/* What a counter got; BEFORE may be NULL. */
static uint64_t
gained (const atomic_uint_fast64_t *before, const atomic_uint_fast64_t *now)
{
  const uint64_t from = before ? counter_read (before) : 0;
  const uint64_t to = counter_read (now);

  return to > from ? to - from : 0;
}

/* The same for a member of two structures. */
#define GAINED(report, member)                                                 \
  gained ((report)->before ? &(report)->before->member : NULL,                 \
          &(report)->now->member)

/* And for a histogram. */
static struct distribution
spread (const struct histogram *before, const struct histogram *now)
{
  struct distribution from, distribution;

  distribution_read (&distribution, now);
  if (before) {
    distribution_read (&from, before);
    distribution_subtract (&distribution, &from);
  }
  return distribution;
}

#define SPREAD(report, member)                                                 \
  spread ((report)->before ? &(report)->before->member : NULL,                 \
          &(report)->now->member)

/* Server I of REPORT. */
static struct server_report
find_server (const struct report *report, size_t i)
{
  const struct observed *now = report->now.servers[i];
  struct server_report server = { .now = &now->server, .observed = now };
  uint64_t since = now->server.started;

  for (size_t j = 0; j < report->before.count; j++) {
    const struct observed *before = report->before.servers[j];

    if (before->process == now->process && before->server.started == since) {
      server.before = &before->server;
      server.observed_before = before;
    }
  }
  if (server.before)
    since = server.observed_before->looked;
  /* What the server says may be in the future. */
  server.seconds = now->looked > since ? (now->looked - since) / 1e9 : 1e-9;
  return server;
}

/* Disk I of SERVER; its place never changes. */
static void
find_disk (const struct server_report *server, size_t i,
           struct disk_report *disk)
{
  const struct observed *before = server->observed_before;

  disk->now = &server->observed->disks[i];
  disk->before = before && i < before->count ? &before->disks[i] : NULL;
  disk->requests = 0;
  for (int kind = 0; kind < REQUEST_KINDS; kind++) {
    disk->times[kind] = SPREAD (disk, requests[kind].times);
    disk->bytes[kind] = GAINED (disk, requests[kind].bytes);
    disk->errors[kind] = GAINED (disk, requests[kind].errors);
    disk->requests += disk->times[kind].total;
  }
}

static uint64_t
count_errors (const struct disk_report *disk)
{
  uint64_t errors = 0;

  for (int kind = 0; kind < REQUEST_KINDS; kind++)
    errors += disk->errors[kind];
  return errors;
}

/*--------------------------------------------------------------------
 * JSON.
 */

/* Times are in seconds. */
static json_t *
distribution_json (const struct distribution *values, bool times)
{
  static const struct {
    const char *name;
    double fraction;
  } percentiles[] = { { "p50", 0.5 },
                      { "p90", 0.9 },
                      { "p99", 0.99 },
                      { "p999", 0.999 },
                      { "max", 1 } };
  json_t *json = json_object ();

  json_object_set_new (json, "count", tool_json_size (values->total));
  json_object_set_new (json, "sum",
                       times ? json_real (values->sum / 1e9)
                             : tool_json_size (values->sum));
  for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
    const double fraction = percentiles[i].fraction;

    json_object_set_new (
        json, percentiles[i].name,
        times
            ? json_real (distribution_percentile_time (values, fraction) / 1e9)
            : tool_json_size (distribution_percentile (values, fraction)));
  }
  return json;
}

static json_t *
disk_json (const struct server_report *server, size_t i)
{
  json_t *json = json_object ();
  struct disk_report disk;

  find_disk (server, i, &disk);
  json_object_set_new (json, "name", tool_json_string (disk.now->name));
  json_object_set_new (json, "clients",
                       tool_json_size (counter_read (&disk.now->clients)));
  json_object_set_new (json, "connections",
                       tool_json_size (GAINED (&disk, connections)));
  json_object_set_new (json, "cache_hits",
                       tool_json_size (GAINED (&disk, cache_hits)));
  json_object_set_new (json, "cache_misses",
                       tool_json_size (GAINED (&disk, cache_misses)));
  for (int kind = 0; kind < REQUEST_KINDS; kind++) {
    json_t *request = distribution_json (&disk.times[kind], true);

    json_object_set_new (request, "bytes", tool_json_size (disk.bytes[kind]));
    json_object_set_new (request, "errors", tool_json_size (disk.errors[kind]));
    json_object_set_new (json, request_names[kind], request);
  }
  return json;
}

/* Add what the server as a whole did. */
static void
add_server_json (json_t *json, const struct server_report *server)
{
  const struct {
    const char *name;
    struct distribution values;
    bool times;
  } spreads[] = {
    { "commits", SPREAD (server, commits), true },
    { "operations", SPREAD (server, operations), false },
    { "syncs", SPREAD (server, syncs), true },
    { "checkpoints", SPREAD (server, checkpoints), true },
    { "pauses", SPREAD (server, pauses), true },
  };
  const struct {
    const char *name;
    uint64_t value;
  } values[] = {
    { "log", counter_read (&server->now->log_bytes) },
    { "log_written", GAINED (server, log_written) },
    { "cache_hits", GAINED (server, cache_hits) },
    { "cache_misses", GAINED (server, cache_misses) },
    { "sync_errors", GAINED (server, sync_errors) },
    { "checkpoint_errors", GAINED (server, checkpoint_errors) },
  };

  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
    json_object_set_new (json, values[i].name,
                         tool_json_size (values[i].value));
  for (size_t i = 0; i < sizeof spreads / sizeof spreads[0]; i++)
    json_object_set_new (
        json, spreads[i].name,
        distribution_json (&spreads[i].values, spreads[i].times));
}

/* The name of USER, or its number; a new string. */
static char *
user_name (uid_t user)
{
  const struct passwd *entry = getpwuid (user);

  return entry ? tool_strdup (entry->pw_name) : tool_format ("%u", user);
}

static json_t *
server_json (const struct server_report *server)
{
  json_t *json = json_object (), *disks = json_array ();
  char *user = user_name (server->observed->user);

  json_object_set_new (json, "process",
                       tool_json_size (server->observed->process));
  json_object_set_new (json, "user", tool_json_string (user));
  json_object_set_new (json, "version",
                       tool_json_string (server->now->version));
  json_object_set_new (json, "started",
                       tool_json_time (server->now->started_time));
  json_object_set_new (json, "seconds", json_real (server->seconds));
  add_server_json (json, server);
  for (size_t i = 0; i < server->observed->count; i++)
    json_array_append_new (disks, disk_json (server, i));
  json_object_set_new (json, "disks", disks);
  free (user);
  return json;
}

static void
print_json (const struct report *report)
{
  json_t *servers = json_array ();
  struct server_report server;

  for (size_t i = 0; i < report->now.count; i++) {
    server = find_server (report, i);
    json_array_append_new (servers, server_json (&server));
  }
  tool_json_print (
      json_pack ("{s:o, s:o, s:o}", "file", tool_json_string (report->path),
                 "time", tool_json_time (time (NULL)), "servers", servers));
}

/*--------------------------------------------------------------------
 * Text.
 */

/* How wide the terminal is; 0: it is none. */
static int screen_width;

/* A time, such as 45us, 1.2ms. */
static void
cell_duration (struct tool_table *table, uint64_t nanoseconds)
{
  static const char *const units[] = { "us", "ms", "s" };
  double value = nanoseconds / 1e3;
  size_t unit = 0;

  for (; value >= 999.5 && unit < 2; unit++)
    value /= 1000;
  tool_cell (table, "%.*f%s", value < 9.95 ? 1 : 0, value, units[unit]);
}

/* A percentile; nothing where there are no values. */
static void
cell_percentile (struct tool_table *table, const struct distribution *values,
                 double fraction)
{
  if (values->total == 0)
    tool_cell (table, "%s", "");
  else
    cell_duration (table, distribution_percentile_time (values, fraction));
}

/* How many bytes a second, of a number that may be anything. */
static uint64_t
bytes_per_second (uint64_t bytes, double seconds)
{
  const double rate = bytes / seconds;

  return rate < 1e18 ? rate : 1e18;
}

/* How many a second. */
static void
cell_rate (struct tool_table *table, uint64_t count, double seconds)
{
  const double rate = count / seconds;

  tool_cell (table, "%.*f", rate > 0 && rate < 9.95 ? 1 : 0, rate);
}

/* HITS of all, in a new string. */
static char *
share_text (uint64_t hits, uint64_t misses)
{
  if (hits + misses == 0)
    return tool_strdup ("");
  return tool_format ("%.0f%%", 100.0 * hits / ((double)hits + misses));
}

/* Print LINE, and free it; what has no place on the screen is left out. */
static void
print_line (char *line)
{
  printf ("%.*s\n",
          screen_width ? tool_fitting (line, screen_width) : (int)strlen (line),
          line);
  free (line);
}

/* The lines about a server as a whole. */
static void
print_server_lines (const struct server_report *server)
{
  const struct distribution operations = SPREAD (server, operations);
  const uint64_t looked = server->observed->looked;
  const uint64_t started = server->now->started;
  const uint64_t up = looked > started ? (looked - started) / 1000000000 : 0;
  char log[TOOL_SIZE_MAX], written[TOOL_SIZE_MAX];
  char *user = user_name (server->observed->user);
  char *cache =
      share_text (GAINED (server, cache_hits), GAINED (server, cache_misses));
  char *commit = operations.total == 0
                     ? tool_strdup ("")
                     : tool_format (", %.1f writes a commit",
                                    (double)operations.sum / operations.total);

  print_line (tool_format ("process %d of %s, up %" PRIu64 "d %02d:%02d:%02d",
                           (int)server->observed->process, user, up / 86400,
                           (int)(up / 3600 % 24), (int)(up / 60 % 60),
                           (int)(up % 60)));
  print_line (
      tool_format ("log %s (+%s/s)%s%s%s",
                   tool_size (counter_read (&server->now->log_bytes), log),
                   tool_size (bytes_per_second (GAINED (server, log_written),
                                                server->seconds),
                              written),
                   commit, cache[0] ? ", cache " : "", cache));
  free (commit);
  free (user);
  free (cache);
}

/* What the server does for all disks. */
static void
print_server_table (const struct server_report *server)
{
  static const char *const titles[] = { "",        ">PER SECOND", ">MEAN",
                                        ">P50",    ">P99",        ">MAX",
                                        ">ERRORS", NULL };
  const struct {
    const char *name;
    struct distribution values;
    uint64_t errors;
  } rows[] = {
    { "commits", SPREAD (server, commits), 0 },
    { "syncs", SPREAD (server, syncs), GAINED (server, sync_errors) },
    { "checkpoints", SPREAD (server, checkpoints),
      GAINED (server, checkpoint_errors) },
    { "pauses", SPREAD (server, pauses), 0 },
  };
  struct tool_table *table = tool_table (titles);

  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const struct distribution *values = &rows[i].values;

    tool_cell (table, "%s", rows[i].name);
    cell_rate (table, values->total, server->seconds);
    if (values->total > 0)
      cell_duration (table, values->sum / values->total);
    else
      tool_cell (table, "%s", "");
    cell_percentile (table, values, 0.5);
    cell_percentile (table, values, 0.99);
    cell_percentile (table, values, 1);
    tool_cell (table, "%" PRIu64, rows[i].errors);
  }
  tool_table_fit (table, screen_width);
  tool_table_print (table);
}

/* The most important first: a terminal may be too narrow for all. */
static const char *const disk_titles[] = {
  "DISK",   ">READ/S", ">WRITE/S", ">FLUSH/S", ">R-B/S", ">W-B/S",
  ">R-P50", ">R-P99",  ">W-P50",   ">W-P99",   ">F-P99", ">ERRORS",
  ">CACHE", ">TRIM/S", ">ZERO/S",  ">CLIENTS", NULL
};

static void
add_disk (struct tool_table *table, const struct disk_report *disk,
          double seconds)
{
  const struct distribution *times = disk->times;
  char *cache =
      share_text (GAINED (disk, cache_hits), GAINED (disk, cache_misses));

  tool_cell (table, "%s", disk->now->name);
  cell_rate (table, times[REQUEST_READ].total, seconds);
  cell_rate (table, times[REQUEST_WRITE].total, seconds);
  cell_rate (table, times[REQUEST_FLUSH].total, seconds);
  tool_cell_size (table, bytes_per_second (disk->bytes[REQUEST_READ], seconds));
  tool_cell_size (table,
                  bytes_per_second (disk->bytes[REQUEST_WRITE], seconds));
  cell_percentile (table, &times[REQUEST_READ], 0.5);
  cell_percentile (table, &times[REQUEST_READ], 0.99);
  cell_percentile (table, &times[REQUEST_WRITE], 0.5);
  cell_percentile (table, &times[REQUEST_WRITE], 0.99);
  cell_percentile (table, &times[REQUEST_FLUSH], 0.99);
  tool_cell (table, "%" PRIu64, count_errors (disk));
  tool_cell (table, "%s", cache);
  cell_rate (table, times[REQUEST_TRIM].total, seconds);
  cell_rate (table, times[REQUEST_ZERO].total, seconds);
  tool_cell (table, "%" PRIu64, counter_read (&disk->now->clients));
  free (cache);
}

/* The busiest first, those with the same load by name. */
static int
compare_disks (const void *a, const void *b)
{
  const struct disk_report *one = a, *other = b;

  if (one->requests != other->requests)
    return one->requests < other->requests ? 1 : -1;
  return strcmp (one->now->name, other->now->name);
}

/* At most MOST disks of SERVER. */
static void
print_disks (const struct server_report *server, size_t most)
{
  const size_t count = server->observed->count;
  struct disk_report *disks = tool_alloc (count * sizeof *disks);
  struct tool_table *table = tool_table (disk_titles);

  for (size_t i = 0; i < count; i++)
    find_disk (server, i, &disks[i]);
  tool_table_fit (table, screen_width);
  qsort (disks, count, sizeof *disks, compare_disks);
  for (size_t i = 0; i < count && i < most; i++)
    add_disk (table, &disks[i], server->seconds);
  tool_table_print (table);
  if (count > most)
    printf ("and %s\n", COUNT (count - most, "more disk"));
  if (server->observed->more)
    printf ("and disks that are not looked at: only %d are\n",
            OBSERVE_DISKS_MAX);
  free (disks);
}

/* Lines of a server without its disks, at most. */
#define SERVER_LINES 12

/* LINES is how many there is room for. */
static void
print_text (const struct report *report, size_t lines)
{
  const size_t servers = report->now.count;
  size_t room = servers > 0 ? lines / servers : 0;

  room = room > SERVER_LINES ? room - SERVER_LINES : 1;
  for (size_t i = 0; i < servers; i++) {
    const struct server_report server = find_server (report, i);

    print_server_lines (&server);
    print_server_table (&server);
    putchar ('\n');
    print_disks (&server, room);
    putchar ('\n');
  }
  if (report->now.strange > 0)
    printf ("and %zu of another version, which cannot be read\n",
            report->now.strange);
}

/*--------------------------------------------------------------------
 * The terminal.
 */

/* How it is, and how it was; without the second it is left alone. */
static struct {
  bool screen, keyboard;
  struct termios before;
} terminal;

/* Ctrl-Z was pressed, or somebody else wants the process to stop. */
static volatile sig_atomic_t to_stop;

static void
note_stop (int number)
{
  to_stop = number;
}

/* Another screen, on which long lines are cut off; keys come one by one. */
static void
enter_screen (void)
{
  const struct sigaction action = { .sa_handler = note_stop };
  struct termios mode;

  tool_catch_signals ();
  sigaction (SIGTSTP, &action, NULL);
  terminal.screen = true;
  if (isatty (STDIN_FILENO) && tcgetattr (STDIN_FILENO, &mode) == 0) {
    terminal.keyboard = true;
    terminal.before = mode;
    mode.c_lflag &= ~(ICANON | ECHO);
    tcsetattr (STDIN_FILENO, TCSANOW, &mode);
  }
  fputs ("\033[?1049h\033[?7l", stdout);
}

static void
leave_screen (void)
{
  if (!terminal.screen)
    return;
  terminal.screen = false;
  fputs ("\033[?7h\033[?1049l", stdout);
  fflush (stdout);
  if (terminal.keyboard)
    tcsetattr (STDIN_FILENO, TCSANOW, &terminal.before);
}

/* Stop as a job, with the terminal as it was; go on when that is continued. */
static void
stop (void)
{
  leave_screen ();
  to_stop = 0;
  signal (SIGTSTP, SIG_DFL);
  raise (SIGTSTP);
  enter_screen ();
}

/* Draw REPORT on the screen. */
static void
draw (const struct report *report)
{
  char text[TIMES_TEXT_MAX];
  struct winsize window;

  if (ioctl (STDOUT_FILENO, TIOCGWINSZ, &window) == -1 || window.ws_row == 0)
    window = (struct winsize){ .ws_row = 24, .ws_col = 80 };
  screen_width = window.ws_col;
  fputs ("\033[H\033[J", stdout);
  print_line (tool_format ("%s  %s  q: quit\n", report->path,
                           times_local (time (NULL), text)));
  if (report->now.count == 0)
    printf ("no server runs\n");
  print_text (report, window.ws_row > 3 ? window.ws_row - 3 : 0);
}

/* Wait for this time, or until the report is to be drawn anew.  Returns
 * false to end.
 */
static bool
wait_for (double seconds)
{
  struct pollfd keyboard = { .fd = STDIN_FILENO, .events = POLLIN };
  const uint64_t until = clock_now () + seconds * 1e9;
  uint64_t now;
  char key;

  while (!tool_interrupted () && (now = clock_now ()) < until) {
    const int rest = (until - now) / CLOCK_MILLISECOND + 1;

    if (to_stop) {
      stop ();
      return !tool_interrupted ();
    }
    if (poll (&keyboard, terminal.keyboard, rest) != 1)
      continue;
    if (read (STDIN_FILENO, &key, 1) != 1)
      terminal.keyboard = false;
    else if (key == 'q' || key == 'Q')
      return false;
  }
  return !tool_interrupted ();
}

/*--------------------------------------------------------------------
 * The command.
 */

/* Say why no server is seen. */
static int
fail_none (const struct report *report)
{
  if (report->now.strange > 0)
    return tool_error (ENOENT,
                       "what the server of %s counts cannot be read: it is of "
                       "another version than this command",
                       report->path);
  if (report->now.hidden > 0)
    return tool_error (ENOENT,
                       "no server of %s is seen here; root also sees those of "
                       "other users",
                       report->path);
  return tool_error (ENOENT, "no server of %s runs here", report->path);
}

/* Look again: what was seen now becomes what was seen before. */
static int
look (struct report *report)
{
  struct status status;

  observation_free (&report->before);
  report->before = report->now;
  if (observe (report->path, &report->now, &status) == 0)
    return TOOL_DONE;
  leave_screen (); /* or the message goes with it */
  return tool_fail (&status);
}

static void
show (const struct report *report)
{
  if (common.json)
    print_json (report);
  else if (terminal.screen)
    draw (report);
  else
    print_text (report, SIZE_MAX);
  fflush (stdout);
}

/* Show a report every SECONDS, COUNT times; 0: without end. */
static int
watch (struct report *report, double seconds, uint64_t count)
{
  int code = TOOL_DONE;

  for (uint64_t done = 0; code == TOOL_DONE && (count == 0 || done < count);
       done++) {
    if (!wait_for (seconds))
      return tool_interrupted () ? TOOL_FAILED : TOOL_DONE;
    code = look (report);
    if (code == TOOL_DONE && report->now.count == 0 && !terminal.screen)
      code = fail_none (report);
    if (code == TOOL_DONE)
      show (report);
    if (ferror (stdout))
      return TOOL_FAILED;
  }
  return code;
}

/* Read --interval and --count. */
static int
read_options (double *seconds, uint64_t *count)
{
  char *end;

  *seconds = 1;
  *count = 0;
  if (interval_text) {
    *seconds = strtod (interval_text, &end);
    if (interval_text[strspn (interval_text, "0123456789.")] != '\0' ||
        end == interval_text || *end || !(*seconds >= 0.1 && *seconds <= 86400))
      return tool_usage ("--interval=%s: give seconds, from 0.1 to 86400",
                         interval_text);
  }
  if (count_text) {
    errno = 0;
    *count = strtoul (count_text, &end, 10);
    if (*count == 0 || errno || count_text[strspn (count_text, "0123456789")])
      return tool_usage ("--count=%s: give a number from 1 on", count_text);
  }
  if (once && (interval_text || count_text))
    return tool_usage ("--once goes without --interval and --count");
  return TOOL_DONE;
}

static int
run_top (int argc, char *argv[])
{
  struct report report = { .path = argv[0] };
  double seconds;
  uint64_t count;
  int code = read_options (&seconds, &count);

  (void)argc;
  if (code == TOOL_DONE)
    code = look (&report);
  if (code == TOOL_DONE && report.now.count == 0)
    code = fail_none (&report);
  if (code == TOOL_DONE && once)
    show (&report);
  else if (code == TOOL_DONE) {
    if (isatty (STDOUT_FILENO) && !common.json && !count_text) {
      enter_screen ();
      show (&report);
    }
    code = watch (&report, seconds, count);
    leave_screen ();
  }
  observation_free (&report.before);
  observation_free (&report.now);
  return code;
}

static const struct tool_option top_options[] = {
  { "once", '1', NULL, &once, "one report, of all since the server started" },
  { "interval", 'i', "SECONDS", &interval_text,
    "how often to report (default 1)" },
  { "count", 0, "NUMBER", &count_text, "how many reports" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_top = {
  .name = "top",
  .arguments = "DATABASE",
  .summary = "Show what the servers of a database do",
  .help =
      "Shows requests, bytes and times of each disk, and commits, syncs and\n"
      "checkpoints, as the servers on this machine count them. On a terminal\n"
      "that is redrawn each second until you press q. Elsewhere there is a\n"
      "report each second, without an end unless --count says one.\n",
  .options = top_options,
  .common = COMMON_JSON,
  .least = 1,
  .most = 1,
  .run = run_top,
};

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Statistics for Prometheus: see prometheus.h.
 *
 * The format is described in "Exposition formats" of Prometheus's manual,
 * its text-based format 0.0.4.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/sane.h"
#include "base/background.h"
#include "base/clock.h"
#include "base/complaint.h"
#include "server/prometheus.h"
#include "base/counters.h"

/* The first line of a file that may be replaced. */
static const char first_line[] = "# Statistics of sqlblock\n";

/* The buckets of times end before 2^13 ns (8 us) ... 2^36 ns (69 s), those
 * of numbers before 2, 4, 8 ... 512.
 */
#define TIME_POWER_FIRST   13
#define TIME_POWER_LAST    36
#define NUMBER_POWER_FIRST 1
#define NUMBER_POWER_LAST  9

struct prometheus {
  struct statistics *statistics;
  struct prometheus_options options;
  char *new_file;
  char *labels; /* of all series */
  struct background background;
};

/*--------------------------------------------------------------------
 * Text.
 */

/* A new string: the value of a label, as it stands between quotes.  What is
 * not UTF-8 cannot stand there at all.
 */
static char *
escape (const char *text)
{
  const bool plain = sane_text (text);
  char *escaped = malloc (2 * strlen (text) + 1), *end = escaped;

  for (; escaped && *text; text++) {
    if (*text == '\\' || *text == '"' || *text == '\n')
      *end++ = '\\';
    *end++ = *text == '\n' ? 'n' : plain || !(*text & 0x80) ? *text : '?';
  }
  if (escaped)
    *end = '\0';
  return escaped;
}

/* Begin a family of series. */
static void
begin_family (FILE *file, const char *name, const char *type, const char *help)
{
  fprintf (file, "# HELP sqlblock_%s %s\n# TYPE sqlblock_%s %s\n", name, help,
           name, type);
}

/* One value.  LABELS are those of a series, without braces. */
static void
put_value (FILE *file, const char *name, const char *labels, uint64_t value)
{
  fprintf (file, "sqlblock_%s{%s} %" PRIu64 "\n", name, labels, value);
}

/* NANOSECONDS in seconds. */
static void
put_seconds (FILE *file, uint64_t nanoseconds)
{
  fprintf (file, "%" PRIu64 ".%09" PRIu64, nanoseconds / 1000000000,
           nanoseconds % 1000000000);
}

/* A histogram of times, or else of numbers.  The limits are exact: the last
 * value that is in the bucket.
 */
static void
put_histogram (FILE *file, const char *name, const char *labels,
               const struct histogram *histogram, bool times)
{
  const unsigned first = times ? TIME_POWER_FIRST : NUMBER_POWER_FIRST;
  const unsigned last = times ? TIME_POWER_LAST : NUMBER_POWER_LAST;
  const unsigned shift = times ? HISTOGRAM_TIME_SHIFT : 0;
  struct distribution values;

  distribution_read (&values, histogram);
  for (unsigned power = first; power <= last; power++) {
    fprintf (file, "sqlblock_%s_bucket{%s,le=\"", name, labels);
    if (times)
      put_seconds (file, (UINT64_C (1) << power) - 1);
    else
      fprintf (file, "%" PRIu64, (UINT64_C (1) << power) - 1);
    fprintf (file, "\"} %" PRIu64 "\n",
             distribution_below (&values, power - shift));
  }
  fprintf (file, "sqlblock_%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name,
           labels, values.total);
  fprintf (file, "sqlblock_%s_sum{%s} ", name, labels);
  if (times)
    put_seconds (file, values.sum);
  else
    fprintf (file, "%" PRIu64, values.sum);
  fprintf (file, "\nsqlblock_%s_count{%s} %" PRIu64 "\n", name, labels,
           values.total);
}

/*--------------------------------------------------------------------
 * The server.
 */

/* What is a single number, and where. */
static const struct {
  const char *name, *type, *help;
  size_t offset;
} server_values[] = {
  { "log_bytes", "gauge", "Length of the write-ahead log.",
    offsetof (struct server_counters, log_bytes) },
  { "log_written_bytes_total", "counter",
    "Pages written to the write-ahead log by clients' requests.",
    offsetof (struct server_counters, log_written) },
  { "log_sync_errors_total", "counter",
    "Syncs of the write-ahead log that failed.",
    offsetof (struct server_counters, sync_errors) },
  { "checkpoint_errors_total", "counter",
    "Checkpoints that could not empty the write-ahead log.",
    offsetof (struct server_counters, checkpoint_errors) },
  { "writer_cache_hits_total", "counter",
    "Pages that a write found in the page cache.",
    offsetof (struct server_counters, cache_hits) },
  { "writer_cache_misses_total", "counter",
    "Pages that a write had to read from the file.",
    offsetof (struct server_counters, cache_misses) },
};

/* The same of histograms. */
static const struct {
  const char *name, *help;
  size_t offset;
  bool times;
} server_histograms[] = {
  { "commit_duration_seconds", "Transactions that were committed.",
    offsetof (struct server_counters, commits), true },
  { "commit_operations", "Requests that shared a transaction.",
    offsetof (struct server_counters, operations), false },
  { "log_sync_duration_seconds", "Syncs of the write-ahead log.",
    offsetof (struct server_counters, syncs), true },
  { "checkpoint_duration_seconds",
    "Checkpoints, which move the write-ahead log into the database.",
    offsetof (struct server_counters, checkpoints), true },
  { "writer_pause_duration_seconds",
    "Pauses in which writes waited for a checkpoint.",
    offsetof (struct server_counters, pauses), true },
};

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* What lies at OFFSET of COUNTERS. */
static const void *
at (const void *counters, size_t offset)
{
  return (const char *)counters + offset;
}

static void
put_server (FILE *file, const struct server_counters *server,
            const char *labels, const char *database)
{
  begin_family (file, "info", "gauge", "The server, its value is always 1.");
  fprintf (file, "sqlblock_info{%s,database=\"%s\",version=\"%s\"} 1\n", labels,
           database, server->version);
  begin_family (file, "start_time_seconds", "gauge",
                "When the server started, since 1970.");
  put_value (file, "start_time_seconds", labels, server->started_time);
  for (size_t i = 0; i < COUNT (server_values); i++) {
    begin_family (file, server_values[i].name, server_values[i].type,
                  server_values[i].help);
    put_value (file, server_values[i].name, labels,
               counter_read (at (server, server_values[i].offset)));
  }
  for (size_t i = 0; i < COUNT (server_histograms); i++) {
    begin_family (file, server_histograms[i].name, "histogram",
                  server_histograms[i].help);
    put_histogram (file, server_histograms[i].name, labels,
                   at (server, server_histograms[i].offset),
                   server_histograms[i].times);
  }
}

/*--------------------------------------------------------------------
 * The disks.
 */

/* A disk and its labels, with those of each kind of request. */
struct series {
  const struct disk_counters *disk;
  char *labels;
  char *kinds[REQUEST_KINDS];
};

static const struct {
  const char *name, *type, *help;
  size_t offset;
} disk_values[] = {
  { "clients", "gauge", "Clients that have the disk open.",
    offsetof (struct disk_counters, clients) },
  { "connections_total", "counter", "Clients that have opened the disk.",
    offsetof (struct disk_counters, connections) },
  { "cache_hits_total", "counter", "Pages that a read found in the page cache.",
    offsetof (struct disk_counters, cache_hits) },
  { "cache_misses_total", "counter",
    "Pages that a read had to read from the file.",
    offsetof (struct disk_counters, cache_misses) },
};

static const struct {
  const char *name, *help;
  size_t offset; /* in struct request_counters */
} request_values[] = {
  { "request_bytes_total", "Bytes of requests that succeeded.",
    offsetof (struct request_counters, bytes) },
  { "request_errors_total", "Requests that failed.",
    offsetof (struct request_counters, errors) },
};

static void
put_disks (FILE *file, const struct series *series, size_t count)
{
  for (size_t i = 0; i < COUNT (disk_values); i++) {
    begin_family (file, disk_values[i].name, disk_values[i].type,
                  disk_values[i].help);
    for (size_t j = 0; j < count; j++)
      put_value (file, disk_values[i].name, series[j].labels,
                 counter_read (at (series[j].disk, disk_values[i].offset)));
  }
  for (size_t i = 0; i < COUNT (request_values); i++) {
    begin_family (file, request_values[i].name, "counter",
                  request_values[i].help);
    for (size_t j = 0; j < count; j++)
      for (int kind = 0; kind < REQUEST_KINDS; kind++)
        put_value (file, request_values[i].name, series[j].kinds[kind],
                   counter_read (at (&series[j].disk->requests[kind],
                                     request_values[i].offset)));
  }
  begin_family (file, "request_duration_seconds", "histogram",
                "Requests of clients.");
  for (size_t j = 0; j < count; j++)
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
      put_histogram (file, "request_duration_seconds", series[j].kinds[kind],
                     &series[j].disk->requests[kind].times, true);
}

static void
free_series (struct series *series, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    free (series[i].labels);
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
      free (series[i].kinds[kind]);
  }
  free (series);
}

/* Make the labels of a disk.  Returns 0, or -1 when there is no memory. */
static int
make_labels (struct series *series, const char *server)
{
  char *name = escape (series->disk->name);
  int r =
      name ? asprintf (&series->labels, "%s,disk=\"%s\"", server, name) : -1;

  free (name);
  if (r == -1)
    series->labels = NULL;
  for (int kind = 0; r != -1 && kind < REQUEST_KINDS; kind++) {
    r = asprintf (&series->kinds[kind], "%s,request=\"%s\"", series->labels,
                  request_names[kind]);
    if (r == -1)
      series->kinds[kind] = NULL;
  }
  return r == -1 ? -1 : 0;
}

/* The disks with their labels, a new array; NULL when there is no memory. */
static struct series *
gather_series (struct statistics *statistics, const char *server, size_t *count)
{
  const size_t room = counter_read (&statistics->server->disks);
  struct series *series = calloc (room + 1, sizeof *series);

  for (*count = 0; series && *count < room; ++*count) {
    series[*count].disk = statistics_disk (statistics, *count);
    if (make_labels (&series[*count], server) == -1) {
      free_series (series, *count + 1);
      return NULL;
    }
  }
  return series;
}

/*--------------------------------------------------------------------
 * The file.
 */

/* Write all to FILE.  Returns 0, or -1 with errno. */
static int
put_all (struct prometheus *prometheus, FILE *file)
{
  struct statistics *statistics = prometheus->statistics;
  char *database = escape (prometheus->options.database);
  struct series *series = NULL;
  size_t count;
  int r = -1;

  statistics_begin_reading (statistics);
  if (database)
    series = gather_series (statistics, prometheus->labels, &count);
  if (series) {
    fputs (first_line, file);
    put_server (file, statistics->server, prometheus->labels, database);
    if (count > 0) /* a family has at least one series */
      put_disks (file, series, count);
    free_series (series, count);
    r = ferror (file) ? -1 : 0;
  }
  else
    errno = ENOMEM;
  statistics_end_reading (statistics);
  free (database);
  return r;
}

/* Make the new file, of which nobody else has a link.  Returns 0, or -1 with
 * errno.
 */
static int
make_new_file (struct prometheus *prometheus)
{
  FILE *file;
  int fd, error, r;

  unlink (prometheus->new_file);
  fd = open (prometheus->new_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
             0644);
  if (fd == -1)
    return -1;
  file = fdopen (fd, "w");
  if (file == NULL) {
    close (fd);
    return -1;
  }
  r = put_all (prometheus, file);
  error = errno;
  if (fclose (file) == EOF)
    return -1;
  errno = error;
  return r;
}

/* Write the file again.  Returns 0, or -1. */
static int
write_file (struct prometheus *prometheus, struct status *status)
{
  const char *name = prometheus->options.file;

  if (make_new_file (prometheus) == 0 &&
      rename (prometheus->new_file, name) == 0)
    return 0;
  status_fail (status, errno, "writing the statistics to %s: %s", name,
               strerror (errno));
  unlink (prometheus->new_file);
  return -1;
}

/* Is FILE, which is not there or empty, or has statistics, one that may be
 * replaced?
 */
static int
check_file (const char *name, struct status *status)
{
  char begin[sizeof first_line] = "";
  struct stat st;
  ssize_t length;
  int fd;

  if (lstat (name, &st) == -1) {
    if (errno == ENOENT)
      return 0;
    return status_fail (status, errno, "%s: %s", name, strerror (errno));
  }
  fd = S_ISREG (st.st_mode) ? open (name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                            : -1;
  length = fd == -1 ? -1 : read (fd, begin, sizeof begin - 1);
  if (fd != -1)
    close (fd);
  if (length == 0 || (length > 0 && strcmp (begin, first_line) == 0))
    return 0;
  return status_fail (status, EEXIST,
                      "%s is there already and has no statistics of a server; "
                      "give another name, or remove it",
                      name);
}

/* A new string: the name of the file that becomes FILE. */
static char *
new_name (const char *file)
{
  char *name;

  return asprintf (&name, "%s.new", file) == -1 ? NULL : name;
}

int
prometheus_check (const char *file, struct status *status)
{
  char *name = new_name (file), *directory = strdup (file);
  int r = name && directory ? 0 : status_no_memory (status);

  if (r == 0)
    r = check_file (file, status);
  if (r == 0)
    r = check_file (name, status);
  if (r == 0 && access (dirname (directory), W_OK | X_OK) == -1)
    r = status_fail (status, errno, "%s cannot be made: %s", file,
                     strerror (errno));
  free (name);
  free (directory);
  return r;
}

/*--------------------------------------------------------------------
 * The thread.
 */

static void *
keep_writing (void *opaque)
{
  struct prometheus *prometheus = opaque;
  const uint64_t interval = prometheus->options.interval * CLOCK_MILLISECOND;
  struct complaint complaint = { .message = NULL };
  struct status status;
  int r;

  while (background_sleep (&prometheus->background, interval)) {
    r = write_file (prometheus, &status);
    complaint_tell (&complaint, r, &status, prometheus->options.warn);
  }
  complaint_end (&complaint);
  return NULL;
}

static void
free_prometheus (struct prometheus *prometheus)
{
  free (prometheus->new_file);
  free (prometheus->labels);
  free (prometheus);
}

/* The value of the label "server": the name of FILE without directory and
 * ".prom".
 */
static char *
server_name (const char *file)
{
  const char *slash = strrchr (file, '/');
  char *name = escape (slash ? slash + 1 : file);
  char *end = name ? strrchr (name, '.') : NULL;

  if (end && end > name && strcmp (end, ".prom") == 0)
    *end = '\0';
  return name;
}

/* A new string: the labels of all series, without braces. */
static char *
make_server_labels (const struct prometheus_options *options)
{
  const bool named = options->name && options->name[0];
  char *server = server_name (options->file), *labels = NULL;
  char *name = escape (named ? options->name : "");

  if (server && name &&
      asprintf (&labels, "server=\"%s\"%s%s%s", server, named ? ",name=\"" : "",
                name, named ? "\"" : "") == -1)
    labels = NULL;
  free (server);
  free (name);
  return labels;
}

static struct prometheus *
make_prometheus (struct statistics *statistics,
                 const struct prometheus_options *options,
                 struct status *status)
{
  struct prometheus *prometheus = calloc (1, sizeof *prometheus);

  if (prometheus) {
    prometheus->statistics = statistics;
    prometheus->options = *options;
    prometheus->new_file = new_name (options->file);
    prometheus->labels = make_server_labels (options);
    if (prometheus->new_file && prometheus->labels)
      return prometheus;
    free_prometheus (prometheus);
  }
  status_no_memory (status);
  return NULL;
}

struct prometheus *
prometheus_start (struct statistics *statistics,
                  const struct prometheus_options *options,
                  struct status *status)
{
  struct prometheus *prometheus;

  if (statistics == NULL) {
    status_fail (status, ENOMEM, "nothing is counted");
    return NULL;
  }
  if (prometheus_check (options->file, status) == -1)
    return NULL;
  prometheus = make_prometheus (statistics, options, status);
  if (prometheus == NULL)
    return NULL;
  if (write_file (prometheus, status) == 0) {
    if (background_start (&prometheus->background, keep_writing, prometheus,
                          status) == 0)
      return prometheus;
    unlink (options->file);
  }
  free_prometheus (prometheus);
  return NULL;
}

void
prometheus_stop (struct prometheus *prometheus)
{
  background_stop (&prometheus->background);
  unlink (prometheus->options.file);
  free_prometheus (prometheus);
}

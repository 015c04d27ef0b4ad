/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server counts: histograms, the counters of requests, the file for
 * Prometheus, and looking at servers from outside, honest ones and others.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/clock.h"
#include "base/histogram.h"
#include "statistics.h"
#include "server/prometheus.h"
#include "engine/engine.h"
#include "base/counters.h"

#define BLOCK 4096
#define SIZE  (64 * BLOCK)

static const struct store_options server_options = {
  .limits = { .start = 64 << 20, .bound = 256 << 20, .idle = 3600000 },
  .warn = NULL,
};

/* Warnings, counted. */
static atomic_int warnings;

static void
count_warning (const char *message)
{
  print_message ("warning: %s\n", message);
  atomic_fetch_add (&warnings, 1);
}

static void
pause_milliseconds (int milliseconds)
{
  nanosleep (&(struct timespec){ .tv_nsec = milliseconds * 1000000L }, NULL);
}

/*--------------------------------------------------------------------
 * Histograms.
 */

static int
compare_numbers (const void *a, const void *b)
{
  const uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

  return (one > other) - (one < other);
}

/* The buckets follow each other without a gap, and each is as narrow as is
 * said.
 */
static void
test_buckets (void **state)
{
  unsigned bucket, last = 0;

  (void)state;
  for (uint64_t value = 0; value < 1 << 20; value++) {
    bucket = histogram_bucket (value);
    assert_true (bucket == last || bucket == last + 1);
    if (value < 32)
      assert_int_equal (bucket, value);
    last = bucket;
  }
  for (unsigned power = 1; power < 64; power++) {
    const uint64_t value = UINT64_C (1) << power;

    bucket = histogram_bucket (value);
    assert_true (bucket < HISTOGRAM_BUCKETS);
    if (power < 31)
      assert_true (histogram_bucket (value - 1) == bucket - 1);
  }
  assert_int_equal (histogram_bucket (UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

/* Percentiles are those of the sorted values, to 1/16. */
static void
test_percentiles (void **state)
{
  static const double fractions[] = { 0, 0.01, 0.5, 0.9, 0.99, 0.999, 1 };
  enum { COUNT = 10000 };
  uint64_t seed = unit_seed (), sum = 0;
  uint64_t *values = calloc (COUNT, sizeof *values);
  struct histogram *histogram = calloc (1, sizeof *histogram);
  struct distribution distribution;

  (void)state;
  assert_true (values && histogram);
  for (size_t i = 0; i < COUNT; i++) {
    values[i] = random_below (&seed, UINT64_C (1) << random_below (&seed, 31));
    sum += values[i];
    histogram_count (histogram, values[i]);
  }
  qsort (values, COUNT, sizeof *values, compare_numbers);
  distribution_read (&distribution, histogram);
  assert_int_equal (distribution.total, COUNT);
  assert_int_equal (distribution.sum, sum);
  for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
    const double rank = fractions[i] * COUNT;
    const uint64_t exact = values[rank >= 1 ? (size_t)rank - 1 : 0];
    const uint64_t got = distribution_percentile (&distribution, fractions[i]);

    assert_true (got >= exact && got - exact <= exact / 16);
  }
  for (unsigned power = 0; power < 31; power++) {
    uint64_t below = 0;

    while (below < COUNT && values[below] < UINT64_C (1) << power)
      below++;
    assert_int_equal (distribution_below (&distribution, power), below);
  }
  free (values);
  free (histogram);
}

/* A time is known to 1/16, or to 64 ns. */
static void
test_times (void **state)
{
  struct histogram *histogram = calloc (1, sizeof *histogram);
  struct distribution before, now;
  uint64_t got;

  (void)state;
  assert_non_null (histogram);
  distribution_read (&before, histogram);
  assert_int_equal (distribution_percentile_time (&before, 0.5), 0);
  for (uint64_t time = 1; time < UINT64_C (100000000000); time *= 7) {
    distribution_read (&before, histogram);
    histogram_count_time (histogram, time);
    distribution_read (&now, histogram);
    distribution_subtract (&now, &before);
    assert_int_equal (now.total, 1);
    assert_int_equal (now.sum, time);
    got = distribution_percentile_time (&now, 1);
    assert_true (got > time && got <= time + time / 16 + 64);
  }
  /* A server that says nonsense gives nothing, not a huge number. */
  distribution_read (&before, histogram);
  before.counts[7] += 10;
  before.sum = UINT64_MAX;
  distribution_read (&now, histogram);
  distribution_subtract (&now, &before);
  assert_int_equal (now.total, 0);
  assert_int_equal (now.sum, 0);
  free (histogram);
}

/*--------------------------------------------------------------------
 * A server.
 */

static char *path;
static struct store *store;

static void
start_server (void)
{
  const struct disk_options options = { .name = "web", .size = SIZE };
  struct store_options with_warnings = server_options;
  struct status status;

  with_warnings.warn = count_warning;
  path = unit_database ();
  unit_create (path, &options);
  store = store_open (path, &with_warnings, &status);
  assert_non_null (store);
}

/* Look at the servers; there must be WANTED, and STRANGE that are not known. */
static void
look (struct observation *observation, size_t wanted, size_t strange)
{
  struct status status;

  assert_ok (observe (path, observation, &status), &status);
  assert_int_equal (observation->count, wanted);
  assert_int_equal (observation->strange, strange);
}

/* One of each request, and some that fail. */
static void
send_requests (struct disk *disk)
{
  char buffer[3 * BLOCK];
  struct status status;

  memset (buffer, 1, sizeof buffer);
  assert_ok (disk_write (disk, buffer, 0, 3 * BLOCK, false, &status), &status);
  assert_ok (disk_write (disk, buffer, 10, 10, true, &status), &status);
  assert_ok (disk_read (disk, buffer, 5, 100, &status), &status);
  assert_ok (disk_flush (disk, &status), &status);
  assert_ok (disk_trim (disk, 0, 2 * BLOCK, false, &status), &status);
  assert_ok (disk_zero (disk, 1, 2, true, &status), &status);
  assert_ok (disk_cache (disk, 0, SIZE, &status), &status);
  assert_ok (
      disk_extents (disk, 0, SIZE, false, unit_ignore_extent, NULL, &status),
      &status);
  unit_sql_on (path, "UPDATE block SET checksum = 1");
  assert_fails (disk_read (disk, buffer, 0, 3 * BLOCK, &status), &status, EIO,
                "checksum");
}

static void
assert_request (const struct disk_counters *disk, enum request_kind kind,
                uint64_t requests, uint64_t bytes, uint64_t errors)
{
  const struct request_counters *counters = &disk->requests[kind];
  struct distribution times;

  distribution_read (&times, &counters->times);
  assert_int_equal (times.total, requests);
  assert_int_equal (counter_read (&counters->bytes), bytes);
  assert_int_equal (counter_read (&counters->errors), errors);
  if (requests > 0) {
    assert_true (times.sum > 0);
    /* No request takes a minute. */
    assert_true (distribution_percentile_time (&times, 1) < 60000000000);
  }
}

static uint64_t
total (const struct histogram *histogram)
{
  struct distribution values;

  distribution_read (&values, histogram);
  return values.total;
}

/* All that was counted is what was done, seen from outside. */
static void
test_counts (void **state)
{
  struct observation observation;
  const struct observed *server;
  const struct disk_counters *counters;
  struct status status;
  struct disk *disk;

  (void)state;
  start_server ();
  disk = disk_open (store, "web", false, &status);
  assert_non_null (disk);
  send_requests (disk);

  look (&observation, 1, 0);
  server = observation.servers[0];
  assert_int_equal (server->process, getpid ());
  assert_int_equal (server->user, getuid ());
  assert_string_equal (server->server.version, PACKAGE_VERSION);
  assert_int_equal (server->count, 1);
  assert_false (server->more);
  counters = &server->disks[0];
  assert_string_equal (counters->name, "web");
  assert_int_equal (counter_read (&counters->clients), 1);
  assert_int_equal (counter_read (&counters->connections), 1);
  assert_true (counter_read (&counters->cache_hits) > 0);
  assert_true (counter_read (&counters->cache_misses) > 0);
  assert_request (counters, REQUEST_READ, 2, 100, 1);
  assert_request (counters, REQUEST_WRITE, 2, 3 * BLOCK + 10, 0);
  assert_request (counters, REQUEST_FLUSH, 1, 0, 0);
  assert_request (counters, REQUEST_TRIM, 1, 2 * BLOCK, 0);
  assert_request (counters, REQUEST_ZERO, 1, 2, 0);
  assert_request (counters, REQUEST_CACHE, 1, SIZE, 0);
  assert_request (counters, REQUEST_EXTENTS, 1, SIZE, 0);
  /* The zero changed nothing, but has synced the trim; the flush had nothing
   * to sync.
   */
  assert_int_equal (total (&server->server.commits), 3);
  assert_int_equal (total (&server->server.operations), 3);
  assert_int_equal (total (&server->server.syncs), 2);
  assert_int_equal (counter_read (&server->server.sync_errors), 0);
  assert_true (counter_read (&server->server.log_bytes) > 3 * BLOCK);
  assert_true (counter_read (&server->server.log_written) > 3 * BLOCK);
  observation_free (&observation);

  disk_close (disk);
  look (&observation, 1, 0);
  counters = &observation.servers[0]->disks[0];
  assert_int_equal (counter_read (&counters->clients), 0);
  assert_int_equal (counter_read (&counters->connections), 1);
  observation_free (&observation);
  store_close (store);
  look (&observation, 0, 0);
  observation_free (&observation);
}

/* What several threads count at once, while somebody looks on. */
#define COUNTING_THREADS 4
#define COUNTING_ROUNDS  250000

static void *
count_requests (void *disk)
{
  for (int i = 0; i < COUNTING_ROUNDS; i++)
    statistics_request (disk, REQUEST_READ, clock_now (), 3, -(i % 10 == 0));
  return NULL;
}

static void
test_counts_of_threads (void **state)
{
  const uint64_t all = COUNTING_THREADS * COUNTING_ROUNDS;
  pthread_t threads[COUNTING_THREADS];
  struct observation observation;
  struct distribution times;
  struct disk_counters *disk;
  struct status status;
  uint64_t before = 0;

  (void)state;
  start_server ();
  disk = statistics_open_disk (store_statistics (store), "web", &status);
  assert_non_null (disk);
  for (int i = 0; i < COUNTING_THREADS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, count_requests, disk),
                      0);
  for (int i = 0; i < 100; i++) {
    look (&observation, 1, 0);
    distribution_read (&times,
                       &observation.servers[0]->disks[0].requests[0].times);
    assert_true (times.total >= before && times.total <= all);
    before = times.total;
    observation_free (&observation);
  }
  for (int i = 0; i < COUNTING_THREADS; i++)
    pthread_join (threads[i], NULL);
  assert_request (disk, REQUEST_READ, all, all / 10 * 9 * 3, all / 10);
  store_close (store);
}

/* A command is no server. */
static void
test_command_is_not_seen (void **state)
{
  struct store_options options = server_options;
  const struct disk_options disk_options = { .name = "web", .size = SIZE };
  struct observation observation;
  struct status status;
  struct disk *disk;

  (void)state;
  options.command = true;
  path = unit_database ();
  unit_create (path, &disk_options);
  store = store_open (path, &options, &status);
  assert_non_null (store);
  disk = disk_open (store, "web", false, &status);
  assert_non_null (disk);
  assert_ok (disk_zero (disk, 0, SIZE, true, &status), &status);
  look (&observation, 0, 0);
  observation_free (&observation);
  disk_close (disk);
  store_close (store);
}

/*--------------------------------------------------------------------
 * Many disks, and two servers.
 */

/* A snapshot counts with its disk; other disks by themselves. */
static void
test_names (void **state)
{
  struct observation observation;
  struct statistics *statistics;
  struct disk_counters *disk;
  struct status status;
  char name[40];

  (void)state;
  start_server ();
  statistics = store_statistics (store);
  for (int i = 0; i < OBSERVE_DISKS_MAX + 10; i++) {
    snprintf (name, sizeof name, "disk %d@monday", i);
    assert_non_null (statistics_open_disk (statistics, name, &status));
  }
  disk = statistics_open_disk (statistics, "disk 7", &status);
  assert_non_null (disk);
  assert_string_equal (disk->name, "disk 7");
  assert_int_equal (counter_read (&disk->clients), 2);
  disk = statistics_open_disk (statistics, "disk", &status);
  assert_int_equal (counter_read (&disk->clients), 1);

  look (&observation, 1, 0);
  assert_int_equal (observation.servers[0]->count, OBSERVE_DISKS_MAX);
  assert_true (observation.servers[0]->more);
  assert_string_equal (observation.servers[0]->disks[9].name, "disk 9");
  observation_free (&observation);
  store_close (store);
}

/* Names that are not open any more leave nothing; and where there are too many
 * clients for the counters, they are served without.
 */
static void
test_many_names (void **state)
{
  struct statistics *statistics;
  struct disk_counters *disk, *web;
  struct disk *opened;
  struct status status;
  char name[40];

  (void)state;
  start_server ();
  statistics = store_statistics (store);
  web = statistics_open_disk (statistics, "kept", &status);
  assert_non_null (web);
  for (int i = 0; i < 3 * STATISTICS_DISKS_KEPT; i++) {
    snprintf (name, sizeof name, "disk %d", i);
    disk = statistics_open_disk (statistics, name, &status);
    assert_non_null (disk);
    assert_string_equal (disk->name, name);
    assert_int_equal (counter_read (&disk->connections), 1);
    statistics_close_disk (disk);
  }
  assert_int_equal (counter_read (&statistics->server->disks),
                    STATISTICS_DISKS_KEPT);
  assert_string_equal (web->name, "kept");
  for (int i = 0; i < STATISTICS_DISKS_MAX; i++) {
    snprintf (name, sizeof name, "open %d", i);
    disk = statistics_open_disk (statistics, name, &status);
  }
  assert_null (disk);
  assert_int_equal (counter_read (&statistics->server->disks),
                    STATISTICS_DISKS_MAX);
  opened = disk_open (store, "web", false, &status);
  assert_non_null (opened);
  assert_ok (disk_write (opened, name, 0, strlen (name), false, &status),
             &status);
  disk_close (opened);
  store_close (store);
}

/* Two of one database are both seen, one of another database is not. */
static void
test_two_servers (void **state)
{
  struct observation observation;
  struct store *second, *foreign;
  const struct disk_options options = { .name = "web", .size = SIZE };
  char *other = unit_path ("other.sqlite");
  struct status status;

  (void)state;
  start_server ();
  unit_create (other, &options);
  second = store_open (path, &server_options, &status);
  foreign = store_open (other, &server_options, &status);
  assert_true (second && foreign);
  look (&observation, 2, 0);
  observation_free (&observation);
  store_close (store);
  look (&observation, 1, 0);
  observation_free (&observation);
  store_close (second);
  look (&observation, 0, 0);
  observation_free (&observation);
  store_close (foreign);
}

/*--------------------------------------------------------------------
 * Those that are no servers.
 */

/* A file in memory as that of a server, of SIZE bytes, with its header. */
static int
make_memory_file (off_t size, const struct server_counters *header)
{
  const int file = memfd_create (STATISTICS_FILE_NAME, MFD_CLOEXEC);

  assert_int_not_equal (file, -1);
  assert_int_equal (ftruncate (file, size), 0);
  if (header)
    assert_int_equal (pwrite (file, header, sizeof *header, 0), sizeof *header);
  return file;
}

/* A header that is right. */
static struct server_counters *
make_header (void)
{
  struct server_counters *header =
      aligned_alloc (_Alignof(struct server_counters), sizeof *header);
  struct stat st;

  assert_non_null (header);
  assert_int_equal (stat (path, &st), 0);
  memset (header, 0, sizeof *header);
  header->magic = STATISTICS_MAGIC;
  header->layout = STATISTICS_LAYOUT;
  header->device = st.st_dev;
  header->inode = st.st_ino;
  return header;
}

/* Look while a file of SIZE bytes is open that begins with HEADER. */
static void
look_at (off_t size, const struct server_counters *header, size_t wanted,
         size_t strange)
{
  struct observation observation;
  const int file = make_memory_file (size, header);

  look (&observation, wanted, strange);
  observation_free (&observation);
  close (file);
}

/* All bits set, texts without an end, more disks than it has. */
static void
look_at_garbage (struct server_counters *header)
{
  struct observation observation;
  int file;

  memset ((char *)header + offsetof (struct server_counters, version), 0xff,
          sizeof *header - offsetof (struct server_counters, version));
  file = make_memory_file ((off_t)1 << 40, header);
  memset (header, 0xff, sizeof *header);
  for (int i = 1; i < 8; i++)
    assert_int_equal (
        pwrite (file, header, sizeof *header, (off_t)i * STATISTICS_PART),
        sizeof *header);
  look (&observation, 1, 0);
  assert_int_equal (observation.servers[0]->count, OBSERVE_DISKS_MAX);
  assert_true (observation.servers[0]->more);
  assert_int_equal (strlen (observation.servers[0]->disks[0].name),
                    DISK_NAME_MAX);
  assert_int_equal (strlen (observation.servers[0]->server.version), 31);
  observation_free (&observation);
  assert_int_equal (ftruncate (file, 100), 0);
  look (&observation, 1, 0);
  observation_free (&observation);
  close (file);
}

/* Files that claim anything are refused, or shown as numbers. */
static void
test_hostile (void **state)
{
  const struct disk_options options = { .name = "web", .size = SIZE };
  struct server_counters *header;
  int database;

  (void)state;
  path = unit_database ();
  unit_create (path, &options);
  header = make_header ();

  /* Without the right to read the database it is none of its servers. */
  database = open (path, O_PATH);
  look_at (STATISTICS_PART, header, 0, 0);
  close (database);
  database = open (path, O_RDONLY);
  look_at (STATISTICS_PART, header, 1, 0);

  /* Empty: it is about to be one. */
  look_at (0, NULL, 0, 0);

  /* Another version, and another layout. */
  header->layout++;
  look_at (STATISTICS_PART, header, 0, 1);
  header->layout--;
  header->magic++;
  look_at (STATISTICS_PART, header, 0, 1);
  header->magic--;

  /* Another database. */
  header->inode++;
  look_at (STATISTICS_PART, header, 0, 0);
  header->inode--;

  look_at_garbage (header);
  close (database);
  free (header);
}

/*--------------------------------------------------------------------
 * The file for Prometheus.
 */

static atomic_bool reading;
static atomic_int complete;

/* Is TEXT a whole file?  It begins and ends with its first and last lines. */
static bool
is_complete (const char *text, size_t size)
{
  static const char first[] = "# Statistics of sqlblock\n";
  static const char end[] = "disk=\"disk 19\",request=\"cache\"} 0\n";

  return size > strlen (first) + strlen (end) &&
         memcmp (text, first, strlen (first)) == 0 &&
         memcmp (text + size - strlen (end), end, strlen (end)) == 0;
}

static void *
read_on (void *file)
{
  char *text;
  size_t size;

  while (atomic_load (&reading)) {
    text = unit_read_file (file, &size);
    if (text == NULL || !is_complete (text, size)) {
      print_error ("not complete: %zu bytes\n", text ? size : 0);
      free (text);
      return file;
    }
    free (text);
    atomic_fetch_add (&complete, 1);
  }
  return NULL;
}

static struct prometheus *
start_prometheus (const char *file, const char *name)
{
  const struct prometheus_options options = {
    .file = file,
    .database = path,
    .name = name,
    .interval = 1,
    .warn = count_warning,
  };
  struct prometheus *prometheus;
  struct status status;

  prometheus = prometheus_start (store_statistics (store), &options, &status);
  if (prometheus == NULL)
    fail_msg ("%s", status.message);
  return prometheus;
}

/* Whoever reads the file while it is written again and again always finds
 * all of it; in the end it is gone.
 */
static void
test_file_is_complete (void **state)
{
  char *file = unit_path ("stats.prom");
  struct prometheus *prometheus;
  struct status status;
  void *failed;
  pthread_t reader;
  struct stat st;

  (void)state;
  start_server ();
  for (int i = 0; i < 20; i++) {
    char name[20];

    snprintf (name, sizeof name, "disk %d", i);
    assert_non_null (
        statistics_open_disk (store_statistics (store), name, &status));
  }
  prometheus = start_prometheus (file, NULL);
  atomic_store (&reading, true);
  assert_int_equal (pthread_create (&reader, NULL, read_on, file), 0);
  for (int i = 0; i < 100; i++)
    pause_milliseconds (10);
  atomic_store (&reading, false);
  pthread_join (reader, &failed);
  assert_null (failed);
  print_message ("read %d times\n", atomic_load (&complete));
  assert_true (atomic_load (&complete) > 20);
  prometheus_stop (prometheus);
  assert_int_equal (stat (file, &st), -1);
  assert_int_equal (stat (unit_path ("stats.prom.new"), &st), -1);
  store_close (store);
}

/* How many lines of FILE begin as TEXT. */
static int
count_lines (const char *file, const char *text)
{
  FILE *lines = fopen (file, "r");
  char line[1000];
  int count = 0;

  assert_non_null (lines);
  while (fgets (line, sizeof line, lines))
    count += strncmp (line, text, strlen (text)) == 0;
  fclose (lines);
  return count;
}

/* The name of a server is a label of all series, if it has one. */
static void
test_name_is_label (void **state)
{
  static const char named[] =
      "sqlblock_info{server=\"stats\",name=\"\\\"a\\\"\",database=";
  static const char nameless[] = "sqlblock_info{server=\"stats\",database=";
  char *file = unit_path ("stats.prom");
  struct prometheus *prometheus;

  (void)state;
  start_server ();
  prometheus = start_prometheus (file, "\"a\"");
  assert_int_equal (count_lines (file, named), 1);
  assert_int_equal (count_lines (file, "sqlblock_log_bytes{server=\"stats\","
                                       "name=\"\\\"a\\\"\"}"),
                    1);
  prometheus_stop (prometheus);
  prometheus = start_prometheus (file, NULL);
  assert_int_equal (count_lines (file, nameless), 1);
  prometheus_stop (prometheus);
  prometheus = start_prometheus (file, "");
  assert_int_equal (count_lines (file, nameless), 1);
  prometheus_stop (prometheus);
  store_close (store);
}

/* When it cannot be written that is said once, and it goes on later. */
static void
test_file_fails (void **state)
{
  char *directory = unit_path ("metrics"), *away = unit_path ("away");
  char *file = unit_path ("metrics/stats.prom");
  struct prometheus *prometheus;
  struct stat st;
  int tries = 0;

  (void)state;
  start_server ();
  assert_int_equal (mkdir (directory, 0700), 0);
  atomic_store (&warnings, 0);
  prometheus = start_prometheus (file, NULL);
  assert_int_equal (rename (directory, away), 0);
  for (; atomic_load (&warnings) == 0 && tries < 1000; tries++)
    pause_milliseconds (10);
  pause_milliseconds (50);
  assert_int_equal (atomic_load (&warnings), 1);
  assert_int_equal (mkdir (directory, 0700), 0);
  for (tries = 0; stat (file, &st) == -1 && tries < 1000; tries++)
    pause_milliseconds (10);
  assert_int_equal (stat (file, &st), 0);
  prometheus_stop (prometheus);
  store_close (store);
}

/* Let files have at most BYTES bytes: writing more fails, as on a disk that
 * is full.
 */
static void
limit_files (rlim_t bytes)
{
  struct rlimit limit;

  assert_int_equal (getrlimit (RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  assert_int_equal (setrlimit (RLIMIT_FSIZE, &limit), 0);
}

/* Where there is no space for a new file the old one stays as it is. */
static void
test_file_has_no_space (void **state)
{
  char *file = unit_path ("stats.prom");
  struct prometheus *prometheus;
  struct stat before, now;
  int tries = 0;

  (void)state;
  start_server ();
  prometheus = start_prometheus (file, NULL);
  signal (SIGXFSZ, SIG_IGN);
  atomic_store (&warnings, 0);
  limit_files (1000);
  for (; atomic_load (&warnings) == 0 && tries < 1000; tries++)
    pause_milliseconds (10);
  assert_int_equal (stat (file, &before), 0);
  pause_milliseconds (50);
  assert_int_equal (atomic_load (&warnings), 1);
  assert_int_equal (stat (file, &now), 0);
  assert_true (now.st_ino == before.st_ino && now.st_size > 1000);
  limit_files (RLIM_INFINITY);
  for (tries = 0; now.st_mtim.tv_nsec == before.st_mtim.tv_nsec && tries < 1000;
       tries++) {
    pause_milliseconds (10);
    assert_int_equal (stat (file, &now), 0);
  }
  assert_true (tries < 1000);
  assert_true (now.st_size > 1000);
  prometheus_stop (prometheus);
  assert_int_equal (stat (file, &now), -1);
  assert_int_equal (stat (unit_path ("stats.prom.new"), &now), -1);
  store_close (store);
}

/* What is there already and is something else is not overwritten. */
static void
test_file_is_something_else (void **state)
{
  static const char text[] = "a letter\n";
  char *file = unit_path ("letter"), *linked = unit_path ("link");
  struct status status;
  size_t size;
  char *now;

  (void)state;
  unit_write_file (file, text, strlen (text));
  assert_fails (prometheus_check (file, &status), &status, EEXIST,
                "is there already");
  assert_int_equal (symlink (file, linked), 0);
  assert_fails (prometheus_check (linked, &status), &status, EEXIST,
                "is there already");
  assert_fails (prometheus_check (unit_directory (), &status), &status, EEXIST,
                "is there already");
  assert_fails (prometheus_check (unit_path ("no/such/file"), &status), &status,
                ENOENT, "cannot be made");
  /* The file that becomes it, too. */
  assert_int_equal (rename (file, unit_path ("stats.new")), 0);
  assert_fails (prometheus_check (unit_path ("stats"), &status), &status,
                EEXIST, "stats.new is there already");
  now = unit_read_file (unit_path ("stats.new"), &size);
  assert_int_equal (size, strlen (text));
  assert_memory_equal (now, text, size);
  free (now);
  unit_write_file (unit_path ("stats.new"), "", 0);
  assert_ok (prometheus_check (unit_path ("stats"), &status), &status);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_buckets),
    unit_test (test_percentiles),
    unit_test (test_times),
    unit_test (test_counts),
    unit_test (test_counts_of_threads),
    unit_test (test_command_is_not_seen),
    unit_test (test_names),
    unit_test (test_many_names),
    unit_test (test_two_servers),
    unit_test (test_hostile),
    unit_test (test_file_is_complete),
    unit_test (test_name_is_label),
    unit_test (test_file_fails),
    unit_test (test_file_has_no_space),
    unit_test (test_file_is_something_else),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Power cuts: what was flushed survives them, whole and in order.
 *
 * A round runs a random load (load.c) and then goes through what reached
 * the files (medium.c).  At the boundaries of syncs and in between, the
 * files are made as a power cut may leave them, and a store is started on
 * them: it must find one of the states that the disk had, at the earliest
 * the one that the last FLUSH or FUA promised, or any request where all is
 * durable.  Where nothing was lost, as
 * after kill -9, it must find all that was acknowledged.  So each request
 * is there as a whole or not at all, and what survives is a prefix of the
 * order of commits.  The same goes for a manager's snapshots, clones,
 * roll-backs and so on, which are promised when they are acknowledged; and
 * when all is reclaimed that nobody sees, the rest reads as before.
 *
 * The next round begins with the files of a cut, or with those that a
 * killed server left: then what was not synced may still be lost, until the
 * new server has synced it.
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "load.h"
#include "manage.h"
#include "powercut.h"
#include "engine/engine.h"

/* How small the page caches are where transactions are to spill. */
#define SMALL_CACHE 20

struct history history;
static struct medium *medium;
uint64_t randoms;
static char *directory, *old_file;
static bool passed;

struct load_options options = { .requests = 60 };
static bool small_cache;
static uint64_t block_size = 4096, rounds = 4, places = 60;
static bool encrypted;

/* The cut that is being checked. */
static size_t cut_place;
static struct cut cut_made;

static struct {
  uint64_t places, files, events, states, kills;
} total;

/*--------------------------------------------------------------------
 * Files.
 */

char *
path_of (const char *name)
{
  char *path;

  assert_true (asprintf (&path, "%s/%s", directory, name) > 0);
  return path;
}

static void
remove_file (const char *path, const char *suffix)
{
  char *name;

  assert_true (asprintf (&name, "%s%s", path, suffix) > 0);
  unlink (name);
  free (name);
}

void
remove_database (const char *path)
{
  remove_file (path, "");
  remove_file (path, "-wal");
  remove_file (path, "-shm");
  remove_file (path, "-lock");
}

/* At the end of the program: where a check failed, its files are kept if
 * somebody has said where.
 */
static void
clean_up (void)
{
  if (!passed && cut_place > 0)
    fprintf (stderr,
             "cut before event %zu, kept %d%% of the database and %d%% of the "
             "log, %s\n",
             cut_place, cut_made.keep[SHIM_DATABASE], cut_made.keep[SHIM_LOG],
             cut_made.torn ? "torn" : "not torn");
  static const char *const names[] = { "load", "next", "cut", "failed",
                                       "begin" };

  if (!passed && getenv ("TMPDIR")) {
    fprintf (stderr, "the files are kept in %s\n", directory);
    return;
  }
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *path = path_of (names[i]);

    remove_database (path);
    free (path);
  }
  rmdir (directory);
  free (directory);
}

static void
make_directory (void)
{
  const char *where = getenv ("TMPDIR");

  if (where == NULL)
    where = access ("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  assert_true (asprintf (&directory, "%s/sqlblock-cuts-XXXXXX", where) > 0);
  assert_non_null (mkdtemp (directory));
  atexit (clean_up);
}

/*--------------------------------------------------------------------
 * What a store finds after a cut.
 */

/* What a store contains. */
struct contents {
  char *disk;
  struct things others;
};

static void
make_contents (struct contents *contents)
{
  *contents = (struct contents){ .disk = malloc (history.size) };
  assert_non_null (contents->disk);
}

static void
free_contents (struct contents *contents)
{
  free (contents->disk);
  things_free (&contents->others);
}

/* Read the whole disk. */
static void
read_disk (struct store *store, bool readonly, char *contents)
{
  struct status status;
  struct disk *disk = disk_open (store, LOAD_DISK, readonly, &status);

  if (disk == NULL)
    fail_msg ("%s", status.message);
  assert_ok (disk_read (disk, contents, 0, history.size, &status), &status);
  if (!readonly)
    assert_ok (disk_write (disk, contents, 0, 1, true, &status), &status);
  disk_close (disk);
}

static int
look_at_others (struct connection *connection, struct things *others)
{
  things_read (connection, LOAD_DISK, others);
  return 0;
}

/* Read all that there is. */
static void
read_all (struct store *store, bool readonly, struct contents *contents)
{
  struct status status;

  read_disk (store, readonly, contents->disk);
  things_free (&contents->others);
  assert_ok (STORE_READ (store, &status, connection,
                         look_at_others (connection, &contents->others)),
             &status);
}

static void
assert_equal (const struct contents *one, const struct contents *other)
{
  assert_memory_equal (one->disk, other->disk, history.size);
  assert_int_equal (things_hash (&one->others), things_hash (&other->others));
}

/* Start a store and read it: before and after it has dealt with the log,
 * and after it has reclaimed all that nobody sees.  It must also take a
 * write.
 */
static void
find_contents (const char *path, struct contents *contents)
{
  const struct store_options store_options = {
    .limits = checkpoint_limits_default,
    .warn = unit_ignore_warning,
    .secrets = options.secrets,
  };
  struct contents again;
  struct status status;
  struct store *store = store_open (path, &store_options, &status);

  if (store == NULL)
    fail_msg ("%s", status.message);
  make_contents (&again);
  read_all (store, true, contents);
  read_all (store, false, &again);
  assert_equal (contents, &again);
  assert_ok (manage_reclaim (store, NULL, NULL, NULL, &status), &status);
  read_all (store, true, &again);
  assert_equal (contents, &again);
  free_contents (&again);
  store_close (store);
}

static void
check_integrity (const char *path)
{
  unit_assert_sound (path);
  unit_assert_reclaimed (path);
}

/* Say which state was nearest to what was found. */
static void
report_nearest (const struct state *found)
{
  size_t nearest = 0, most = 0;

  for (size_t i = 0; i < history.states_count; i++) {
    size_t same = 0;

    for (int block = 0; block < LOAD_BLOCKS; block++)
      same += history.states[i].blocks[block] == found->blocks[block];
    if (same >= most) {
      nearest = i;
      most = same;
    }
  }
  print_error ("found: %zu of %d blocks as in state %zu, the other disks and "
               "snapshots %s\n",
               most, LOAD_BLOCKS, nearest,
               history.states[nearest].others == found->others ? "too" : "not");
}

/* Start a store on the files at PATH.  It must find one of the states FIRST
 * to LAST; returns which, with the CONTENTS.
 */
static size_t
check_found (const char *path, size_t first, size_t last,
             struct contents *contents)
{
  struct state found;

  unit_alarm (LONGEST);
  find_contents (path, contents);
  check_integrity (path);
  state_of (&history, contents->disk, &contents->others, &found);
  total.files++;
  if (last >= history.states_count)
    last = history.states_count - 1;
  for (size_t i = last + 1; i-- > first;)
    if (history.states[i].hash == found.hash)
      return i;
  report_nearest (&found);
  fail_msg ("lost: one of the states %zu to %zu was to be found", first, last);
  return 0;
}

/*--------------------------------------------------------------------
 * Cuts.
 */

/* The last state that was seen before event PLACE. */
static size_t
seen_at (size_t place)
{
  size_t state = 0;

  while (state + 1 < history.states_count &&
         history.states[state + 1].event <= place)
    state++;
  return state;
}

/* The last state that was promised before event PLACE. */
static size_t
promised_at (size_t place)
{
  size_t state = 0;

  for (size_t i = 0; i < history.promises_count; i++)
    if (history.promises[i].event <= place && history.promises[i].state > state)
      state = history.promises[i].state;
  return state;
}

/* Percents that find different mistakes: all of one file and nothing of the
 * other, nearly all, a half.
 */
static int
random_percent (void)
{
  static const int percents[] = { 0, 0, 10, 50, 90, 98, 100, 100 };

  return percents[random_below (&randoms,
                                sizeof percents / sizeof percents[0])];
}

struct cut
random_cut (void)
{
  return (struct cut){
    .keep = { [SHIM_DATABASE] = random_percent (),
              [SHIM_LOG] = random_percent () },
    .torn = random_below (&randoms, 2),
  };
}

void
make_cut (const struct medium *of, size_t place, const struct cut *cut,
          const char *path)
{
  uint64_t again = randoms;
  char *copy = path_of ("failed");

  remove_database (path);
  cut_place = place;
  cut_made = *cut;
  medium_cut (of, cut, &randoms, path);
  medium_cut (of, cut, &again, copy);
  free (copy);
}

/* Cut at event PLACE, and see what is found.  Where nothing is lost, that
 * is at least what was seen.  Returns the state, with the CONTENTS.
 */
static size_t
cut_and_check (size_t place, const struct cut *cut, struct contents *contents)
{
  char *path = path_of ("cut");
  const bool whole = cut == &cut_nothing;
  size_t state;

  make_cut (medium, place, cut, path);
  /* A commit reaches the files a little before it is seen. */
  state = check_found (path, whole ? seen_at (place) : promised_at (place),
                       seen_at (place) + 1, contents);
  free (path);
  return state;
}

static void
cut_at (size_t place, struct contents *contents)
{
  for (int i = 0; i < CUTS; i++) {
    const struct cut cut = random_cut ();

    cut_and_check (place, i == 0 ? &cut_nothing : &cut, contents);
  }
  total.places++;
}

bool *
choose_places (size_t first, size_t end)
{
  bool *chosen = calloc (end + 1, sizeof *chosen);
  size_t *boundaries = calloc (2 * end + 1, sizeof *boundaries);
  size_t count = 0;

  assert_non_null (chosen);
  assert_non_null (boundaries);
  for (size_t i = first; i < end; i++)
    if (history.events[i].kind == EVENT_SYNC ||
        history.events[i].kind == EVENT_DIRECTORY_SYNC) {
      boundaries[count++] = i;
      boundaries[count++] = i + 1;
    }
  if (places == 0)
    for (size_t i = 0; i < count; i++)
      chosen[boundaries[i]] = true;
  for (size_t i = 0; places && count && i < places / 2; i++)
    chosen[boundaries[random_below (&randoms, count)]] = true;
  for (size_t i = 0; i < (places ? places / 2 : count); i++)
    chosen[first + random_below (&randoms, end - first + 1)] = true;
  free (boundaries);
  return chosen;
}

/*--------------------------------------------------------------------
 * Rounds.
 */

/* The next round begins with these CONTENTS. */
static void
begin_with (const struct contents *contents)
{
  free (history.model);
  things_free (&history.others);
  history.model = contents->disk;
  history.others = contents->others;
}

/* The next round begins after a power cut at event END: what was found is
 * the first state, and sure to be there.
 */
static void
begin_after_cut (size_t end, const char *next)
{
  struct cut cut = random_cut ();
  const uint64_t start = randoms;
  struct contents contents;
  size_t state;

  make_contents (&contents);
  state = cut_and_check (end, &cut, &contents);
  medium_cut (medium, &cut, &(uint64_t){ start }, next);
  medium_free (medium);
  medium = NULL;
  for (size_t i = 0; i < history.events_count; i++)
    free (history.events[i].data);
  history.events_count = 0;
  history.promises_count = 0;
  history.states[0] = history.states[state];
  history.states[0].event = 0;
  history.states_count = 1;
  begin_with (&contents);
}

/* The next round begins after the server was killed at event END: all is
 * there, but nothing more is sure to be.
 */
static void
begin_after_kill (size_t end, const char *next)
{
  struct contents contents;
  size_t promises = 0, state;

  make_contents (&contents);
  state = cut_and_check (end, &cut_nothing, &contents);
  medium_cut (medium, &cut_nothing, &randoms, next);
  for (size_t i = end; i < history.events_count; i++)
    free (history.events[i].data);
  history.events_count = end;
  while (promises < history.promises_count &&
         history.promises[promises].event <= end)
    promises++;
  history.promises_count = promises;
  history.states_count = state + 1;
  if (history.states[state].event > end)
    history.states[state].event = end;
  begin_with (&contents);
  total.kills++;
}

/* Go through the events FIRST to END. */
static void
go_through (size_t first, size_t end)
{
  bool *chosen = choose_places (first, end);
  struct contents contents;

  make_contents (&contents);
  for (size_t i = first; i <= end; i++) {
    if (chosen[i])
      cut_at (i, &contents);
    if (i < end) {
      medium_replay (medium, &history.events[i], i);
      free (history.events[i].data);
      history.events[i].data = NULL;
    }
  }
  free_contents (&contents);
  free (chosen);
}

/* Where a round ends: somewhere near the end, but while the store runs.
 * Where syncs fail, soon after one has.
 */
static size_t
choose_end (size_t first)
{
  size_t end = history.events_count;

  end -= random_below (&randoms, (end - first) / 10 + 1);
  if (options.failing_syncs > 0)
    while (end > first && history.events[end - 1].kind != EVENT_FAILED_SYNC)
      end--;
  return end > first ? end : history.events_count;
}

static void
run_round (char *path, char *next)
{
  const size_t first = history.events_count;
  const size_t first_state = history.states_count;
  size_t end;

  if (medium == NULL)
    medium = medium_new (path);
  unit_alarm (LONGEST);
  load_run (&history, path, &options, &randoms);
  total.events += history.events_count - first;
  total.states += history.states_count - first_state;
  end = choose_end (first);
  go_through (first, end);
  remove_database (next);
  if (random_below (&randoms, 2) == 0)
    begin_after_cut (end, next);
  else
    begin_after_kill (end, next);
}

static void
run_rounds (void)
{
  struct disk_options disk = {
    .name = LOAD_DISK,
    .size = history.size,
    .block_size = block_size,
    .storing.deduplicate = random_below (&randoms, 2) ? DISK_ON : DISK_OFF,
  };
  char *path = path_of ("load"), *next = path_of ("next"), *swap;
  struct status status;

  if (encrypted)
    options.secrets = unit_encrypt (&disk);
  assert_ok (store_provide (path, &disk, &status), &status);
  for (uint64_t i = 0; i < rounds; i++) {
    run_round (path, next);
    remove_database (path);
    swap = path;
    path = next;
    next = swap;
  }
  /* Where flushes always fail, nothing can be lost. */
  if (history.total.flushes < rounds)
    fail_msg ("only %" PRIu64 " flushes worked", history.total.flushes);
  if (medium)
    medium_free (medium);
  free (path);
  free (next);
}

/*--------------------------------------------------------------------
 * Starting.
 */

static void (*system_cachesize) (sqlite3_pcache *cache, int pages);

static void
limit_cachesize (sqlite3_pcache *cache, int pages)
{
  system_cachesize (cache, pages < SMALL_CACHE ? pages : SMALL_CACHE);
}

/* Make all page caches small, so that transactions spill into the log
 * before they commit.  Before SQLite is used.
 */
static void
make_caches_small (void)
{
  sqlite3_pcache_methods2 methods;

  sqlite3_config (SQLITE_CONFIG_GETPCACHE2, &methods);
  system_cachesize = methods.xCachesize;
  methods.xCachesize = limit_cachesize;
  sqlite3_config (SQLITE_CONFIG_PCACHE2, &methods);
}

static void __attribute__ ((noreturn)) usage (int status)
{
  fputs ("usage: power-cuts [OPTION]...\n"
         "  --manage            snapshots, clones, roll-backs ... meanwhile\n"
         "  --commands          the same, only by commands, and if syncs\n"
         "                      fail, only theirs\n"
         "  --small-caches      transactions spill\n"
         "  --durable           all that is acknowledged is promised\n"
         "  --pin               another program reads for long\n"
         "  --fail-syncs        some syncs fail\n"
         "  --fail-writes       some writes fail\n"
         "  --fail-reads        some reads fail when something is changed\n"
         "  --shared            two servers write the disk\n"
         "  --encrypted         the disk, with what the manager makes of it\n"
         "  --block-size BYTES\n"
         "  --rounds NUMBER     each runs a load and cuts it\n"
         "  --places NUMBER     to cut in a round; 0: at each sync\n"
         "  --upgrade DATABASE  of an earlier format, instead of a load\n"
         "  --break WHAT        flush, checkpoint, database, headers,\n"
         "                      commit, forget, and with --manage: change,\n"
         "                      reclaim, snapshot\n",
         status == 0 ? stdout : stderr);
  exit (status);
}

static enum broken
parse_broken (const char *what)
{
  static const char *const names[] = {
    [BROKEN_FLUSH] = "flush",       [BROKEN_CHECKPOINT] = "checkpoint",
    [BROKEN_DATABASE] = "database", [BROKEN_HEADERS] = "headers",
    [BROKEN_COMMIT] = "commit",     [BROKEN_FORGET] = "forget",
    [BROKEN_CHANGE] = "change",     [BROKEN_RECLAIM] = "reclaim",
    [BROKEN_SNAPSHOT] = "snapshot",
  };

  for (size_t i = 1; i < sizeof names / sizeof names[0]; i++)
    if (strcmp (what, names[i]) == 0)
      return i;
  usage (1);
}

static const struct option longs[] = {
  { "manage", no_argument, NULL, 'm' },
  { "commands", no_argument, NULL, 'c' },
  { "small-caches", no_argument, NULL, 's' },
  { "durable", no_argument, NULL, 'a' },
  { "pin", no_argument, NULL, 'p' },
  { "fail-syncs", no_argument, NULL, 'f' },
  { "fail-writes", no_argument, NULL, 'w' },
  { "fail-reads", no_argument, NULL, 'e' },
  { "shared", no_argument, NULL, 'd' },
  { "encrypted", no_argument, NULL, 'y' },
  { "block-size", required_argument, NULL, 'b' },
  { "rounds", required_argument, NULL, 'r' },
  { "places", required_argument, NULL, 'n' },
  { "upgrade", required_argument, NULL, 'u' },
  { "break", required_argument, NULL, 'x' },
  { "help", no_argument, NULL, 'h' },
  { NULL, 0, NULL, 0 },
};

static void
parse_options (int argc, char *argv[])
{
  int option;

  while ((option = getopt_long (argc, argv, "", longs, NULL)) != -1)
    switch (option) {
    case 'm':
      options.managed = true;
      break;
    case 'c':
      options.managed = options.commands = true;
      break;
    case 's':
      small_cache = true;
      break;
    case 'a':
      options.durable = true;
      break;
    case 'p':
      options.pinned = true;
      break;
    case 'f':
      options.failing_syncs = 5;
      break;
    case 'w':
      options.failing_writes = 4;
      break;
    case 'e':
      options.failing_reads = 2;
      break;
    case 'd':
      options.shared = true;
      break;
    case 'y':
      encrypted = true;
      break;
    case 'b':
      block_size = strtoull (optarg, NULL, 0);
      break;
    case 'r':
      rounds = strtoull (optarg, NULL, 0);
      break;
    case 'n':
      places = strtoull (optarg, NULL, 0);
      break;
    case 'u':
      old_file = optarg;
      break;
    case 'x':
      options.broken = parse_broken (optarg);
      break;
    default:
      usage (option != 'h');
    }
}

static void
run_loads (void)
{
  run_rounds ();
  printf ("%" PRIu64 " requests, %" PRIu64 " operations of a manager, %" PRIu64
          " flushes, %" PRIu64 " reads of the whole disk, %" PRIu64 " states\n"
          "%" PRIu64 " events: %" PRIu64 " syncs, %" PRIu64
          " of them failed; %" PRIu64 " headers written again\n"
          "%" PRIu64 " cut points in %" PRIu64 " rounds, %" PRIu64
          " kills: %" PRIu64 " databases checked, 0 losses\n",
          history.total.requests, history.total.operations,
          history.total.flushes, history.total.reads, total.states,
          total.events, history.total.syncs, history.total.failed_syncs,
          history.total.rewrites, total.places, rounds, total.kills,
          total.files);
}

int
main (int argc, char *argv[])
{
  parse_options (argc, argv);
  make_directory ();
  randoms = unit_seed ();
  if (small_cache)
    make_caches_small ();
  load_install ();
  history_init (&history, block_size);
  if (old_file)
    upgrade_rounds (old_file, rounds);
  else
    run_loads ();
  history_free (&history);
  passed = true;
  return 0;
}

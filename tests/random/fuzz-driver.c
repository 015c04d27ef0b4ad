/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where the cases of the fuzzer come from: see fuzz.h.
 *
 *   fuzz-database                  random cases for some seconds
 *   fuzz-database CASE...          these cases, each in a file
 *
 * The cases run in a child process, which first notes each one where its
 * parent can read it: when it crashes or hangs, the case becomes a file in
 * the present directory.  With libFuzzer, that does all of this.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "unit.h"

/* A case that takes this many seconds is a hang. */
#define LONGEST 60

static char directory[500];

static void
remove_directory (void)
{
  unit_remove_directory (directory);
}

static void
start (void)
{
  const char *parent = getenv ("TMPDIR");

  snprintf (directory, sizeof directory, "%s/sqlblock-fuzz-XXXXXX",
            parent ? parent : "/tmp");
  if (mkdtemp (directory) == NULL) {
    perror (directory);
    exit (1);
  }
  atexit (remove_directory);
  fuzz_make_seeds (directory);
}

#ifdef WITH_LIBFUZZER

int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length);

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  start ();
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length)
{
  fuzz_run (bytes, length);
  return 0;
}

#else

/* The case that runs, and the counts, shared with the parent. */
struct shared {
  struct fuzz_counts counts;
  size_t length;
  uint8_t bytes[80];
};

/* Make a random case: most have few changes, so that much still works. */
static void
make_case (struct shared *shared, uint64_t *seed)
{
  shared->length = 8 + random_below (seed, 8) *
                           random_below (seed, sizeof shared->bytes / 8);
  random_fill (seed, shared->bytes, shared->length);
}

static void
run_child (struct shared *shared, uint64_t seed, time_t seconds)
{
  const time_t end = time (NULL) + seconds;

  while (time (NULL) < end) {
    make_case (shared, &seed);
    unit_alarm (LONGEST);
    fuzz_run (shared->bytes, shared->length);
    shared->counts = fuzz_counts;
  }
}

static int
save_case (const struct shared *shared, uint64_t seed, int status)
{
  char name[100];

  snprintf (name, sizeof name, "case-%" PRIu64 "-%" PRIu64, seed,
            shared->counts.cases);
  unit_write_file (name, shared->bytes, shared->length);
  printf ("case %" PRIu64 " of seed %" PRIu64 ": %s; it is in the file %s\n",
          shared->counts.cases, seed,
          WIFSIGNALED (status) ? strsignal (WTERMSIG (status)) : "it ended",
          name);
  return 1;
}

static void
print_counts (const struct fuzz_counts *counts)
{
  printf ("%" PRIu64 " cases (%" PRIu64 " with rows that lie): %" PRIu64
          " databases and %" PRIu64 " disks opened,\n%" PRIu64
          " reads, %" PRIu64 " writes, %" PRIu64
          " deletions of snapshots done, %" PRIu64 " reads refused, %" PRIu64
          " sectors compared\n",
          counts->cases, counts->hostile, counts->stores, counts->disks,
          counts->reads, counts->writes, counts->managed, counts->damaged,
          counts->sectors);
}

static int
run_random (uint64_t seed, time_t seconds)
{
  struct shared *shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int status;
  pid_t pid;

  if (shared == MAP_FAILED) {
    perror ("mmap");
    return 1;
  }
  fflush (stdout);
  pid = fork ();
  if (pid == 0) {
    run_child (shared, seed, seconds);
    _exit (0);
  }
  if (pid == -1 || waitpid (pid, &status, 0) == -1) {
    perror ("fork");
    return 1;
  }
  print_counts (&shared->counts);
  return status == 0 ? 0 : save_case (shared, seed, status);
}

static void
run_file (const char *name)
{
  size_t length;
  char *bytes = unit_read_file (name, &length);

  if (bytes == NULL) {
    perror (name);
    exit (1);
  }
  printf ("%s\n", name);
  fflush (stdout);
  unit_alarm (LONGEST);
  fuzz_run ((uint8_t *)bytes, length);
  free (bytes);
}

int
main (int argc, char **argv)
{
  time_t seconds = 10;
  int option;

  while ((option = getopt (argc, argv, "t:")) != -1) {
    if (option != 't') {
      fprintf (stderr, "usage: fuzz-database [-t SECONDS] [CASE...]\n");
      return 2;
    }
    seconds = atoi (optarg);
  }
  start ();
  for (int i = optind; i < argc; i++)
    run_file (argv[i]);
  if (optind < argc) {
    print_counts (&fuzz_counts);
    return 0;
  }
  return run_random (unit_seed (), seconds);
}

#endif

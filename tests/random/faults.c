/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Faults: the n-th call of something fails once, for every n.
 *
 * A session makes a database, writes, trims, zeroes, flushes and reads,
 * lets checkpoints happen, closes the store and opens it again, and manages
 * disks and snapshots, in a server and in a command (faults-manage.c).  It
 * runs in a process of its own for each fault: in one the first read of a
 * file fails, in the next one the second, and so on; likewise for each
 * method of the VFS, for SQLite's allocations and for those of the store.
 *
 * Whatever fails: no crash, no hang; what fails gets an error that NBD can
 * carry, and has changed nothing; when it is tried again, it works, at the
 * latest after some seconds (a failed sync makes flushes fail until a
 * complete checkpoint has made it good); and all that succeeded is there in
 * the end.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "faults.h"
#include "shim.h"
#include "store.h"

/* Seconds that a session may take, and that a thing may go on failing. */
#define LONGEST  60
#define PATIENCE 10

/* Requests that run at the same time. */
#define THREADS 3

/*--------------------------------------------------------------------
 * Faults.
 */

/* How a call fails. */
enum manner {
  NOT_MADE,  /* instead of it comes the error */
  HALF_MADE, /* a write writes a half of the bytes */
  MADE,      /* it is made all the same: nobody undoes it */
};

static const struct fault {
  const char *name;
  enum shim_method method; /* SHIM_METHODS: none of the VFS */
  int error;
  enum manner manner;
} faults[] = {
  { "xOpen", SHIM_OPEN, SQLITE_CANTOPEN, NOT_MADE },
  { "xDelete", SHIM_DELETE, SQLITE_IOERR_DELETE, NOT_MADE },
  { "xAccess", SHIM_ACCESS, SQLITE_IOERR_ACCESS, NOT_MADE },
  { "xFullPathname", SHIM_FULL_PATHNAME, SQLITE_CANTOPEN, NOT_MADE },
  { "xClose", SHIM_CLOSE, SQLITE_IOERR_CLOSE, MADE },
  { "xRead", SHIM_READ, SQLITE_IOERR_READ, NOT_MADE },
  { "xWrite", SHIM_WRITE, SQLITE_IOERR_WRITE, NOT_MADE },
  { "xWrite-full", SHIM_WRITE, SQLITE_FULL, NOT_MADE },
  { "xWrite-short", SHIM_WRITE, SQLITE_FULL, HALF_MADE },
  { "xTruncate", SHIM_TRUNCATE, SQLITE_IOERR_TRUNCATE, NOT_MADE },
  { "xSync", SHIM_SYNC, SQLITE_IOERR_FSYNC, NOT_MADE },
  { "xFileSize", SHIM_FILE_SIZE, SQLITE_IOERR_FSTAT, NOT_MADE },
  { "xLock", SHIM_LOCK, SQLITE_IOERR_LOCK, NOT_MADE },
  { "xUnlock", SHIM_UNLOCK, SQLITE_IOERR_UNLOCK, MADE },
  { "xCheckReservedLock", SHIM_CHECK_RESERVED_LOCK,
    SQLITE_IOERR_CHECKRESERVEDLOCK, NOT_MADE },
  { "xFileControl", SHIM_FILE_CONTROL, SQLITE_IOERR, NOT_MADE },
  { "xShmMap", SHIM_SHM_MAP, SQLITE_IOERR_SHMMAP, NOT_MADE },
  { "xShmLock", SHIM_SHM_LOCK, SQLITE_IOERR_SHMLOCK, NOT_MADE },
  { "xShmUnmap", SHIM_SHM_UNMAP, SQLITE_IOERR_SHMLOCK, MADE },
  { "sqlite-malloc", SHIM_METHODS, SQLITE_NOMEM, NOT_MADE },
  { "malloc", SHIM_METHODS, SQLITE_NOMEM, NOT_MADE },
};
#define FAULTS        (sizeof faults / sizeof faults[0])
#define SQLITE_MALLOC (FAULTS - 2)
#define STORE_MALLOC  (FAULTS - 1)

/* The fault of this session: call NUMBER, from 1, of this one. */
static size_t chosen;
static uint64_t number;
atomic_bool counting = true;

/* What the processes share. */
static struct {
  atomic_uint_fast64_t calls[FAULTS];
  atomic_bool happened;
  atomic_uint_fast64_t failed; /* how many things failed, in all sessions */
} * shared;

/* Count a call; is it the one to fail? */
static bool
fails (size_t fault)
{
  if (!counting || atomic_fetch_add (&shared->calls[fault], 1) + 1 != number ||
      fault != chosen)
    return false;
  shared->happened = true;
  return true;
}

/* Letting go of a lock cannot fail: nobody would ever try again. */
static bool
lets_go (const struct shim_call *call)
{
  return call->method == SHIM_SHM_LOCK && call->flags & SQLITE_SHM_UNLOCK;
}

/* Does a call tell the VFS of a commit that is made already?  No VFS of
 * SQLite fails there, and nobody could undo the commit.
 */
static bool
tells_of_commit (const struct shim_call *call)
{
  return call->method == SHIM_FILE_CONTROL &&
         call->flags == SQLITE_FCNTL_COMMIT_PHASETWO;
}

static int
before (struct shim_call *call)
{
  const struct fault *fault = &faults[chosen];
  bool failing = false;

  for (size_t i = 0; i < FAULTS; i++)
    if (faults[i].method == call->method && !lets_go (call) &&
        !tells_of_commit (call) && fails (i))
      failing = true;
  if (!failing)
    return SQLITE_OK;
  if (fault->manner == HALF_MADE)
    call->count = shim_whole_sectors (call, call->count / 2);
  if (fault->manner != NOT_MADE)
    shim_pass (call);
  return fault->error;
}

/* SQLite's own allocations. */
static sqlite3_mem_methods system_memory;

static void *
sqlite_malloc (int size)
{
  return fails (SQLITE_MALLOC) ? NULL : system_memory.xMalloc (size);
}

static void *
sqlite_realloc (void *memory, int size)
{
  return fails (SQLITE_MALLOC) ? NULL : system_memory.xRealloc (memory, size);
}

/* Those of the store: the linker puts these in the place of the real ones,
 * for the store and for this file.
 */
void *__real_malloc (size_t size);
void *__real_calloc (size_t count, size_t size);
void *__real_realloc (void *memory, size_t size);
char *__real_strdup (const char *text);
int __real_vasprintf (char **text, const char *format, va_list args);
void *__wrap_malloc (size_t size);
void *__wrap_calloc (size_t count, size_t size);
void *__wrap_realloc (void *memory, size_t size);
char *__wrap_strdup (const char *text);
int __wrap_asprintf (char **text, const char *format, ...);

static _Thread_local bool in_store;

static bool
store_malloc_fails (void)
{
  if (!in_store || !fails (STORE_MALLOC))
    return false;
  errno = ENOMEM;
  return true;
}

void *
__wrap_malloc (size_t size)
{
  return store_malloc_fails () ? NULL : __real_malloc (size);
}

void *
__wrap_calloc (size_t count, size_t size)
{
  return store_malloc_fails () ? NULL : __real_calloc (count, size);
}

void *
__wrap_realloc (void *memory, size_t size)
{
  return store_malloc_fails () ? NULL : __real_realloc (memory, size);
}

char *
__wrap_strdup (const char *text)
{
  return store_malloc_fails () ? NULL : __real_strdup (text);
}

int
__wrap_asprintf (char **text, const char *format, ...)
{
  va_list args;
  int r;

  if (store_malloc_fails ())
    return -1;
  va_start (args, format);
  r = vasprintf (text, format, args);
  va_end (args);
  return r;
}

/* Before SQLite is used in this process. */
static void
install (void)
{
  sqlite3_mem_methods memory;

  sqlite3_config (SQLITE_CONFIG_GETMALLOC, &system_memory);
  memory = system_memory;
  memory.xMalloc = sqlite_malloc;
  memory.xRealloc = sqlite_realloc;
  sqlite3_config (SQLITE_CONFIG_MALLOC, &memory);
  /* SQLite starts here. */
  counting = false;
  shim_install (&(struct shim_hooks){ .before = before });
  counting = true;
}

/*--------------------------------------------------------------------
 * Trying.
 */

static char *directory, *path;
struct store *store;
struct disk *disk;
char model[SIZE];

static void
wait_a_little (void)
{
  nanosleep (&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

/* Something has failed: that was to be expected, and in this way. */
static void
check_failure (const char *what, const struct status *status)
{
  if (!shared->happened)
    fail_msg ("%s fails without a fault: %s", what, status->message);
  if (status->error != EIO && status->error != ENOSPC &&
      status->error != ENOMEM)
    fail_msg ("%s fails with %s: %s", what, strerror (status->error),
              status->message);
  atomic_fetch_add (&shared->failed, 1);
}

void
try (const char *what, int (*do_it) (struct status *status),
     void (*after_failure) (void))
{
  const time_t end = time (NULL) + PATIENCE;
  struct status status;
  int r;

  for (;;) {
    in_store = true;
    r = do_it (&status);
    in_store = false;
    if (r == 0)
      return;
    check_failure (what, &status);
    if (after_failure)
      after_failure ();
    if (time (NULL) > end)
      fail_msg ("%s goes on failing: %s", what, status.message);
    wait_a_little ();
  }
}

/*--------------------------------------------------------------------
 * Making, opening and closing.
 */

static int
provide (struct status *status)
{
  const struct disk_options options = {
    .name = "d",
    .size = SIZE,
    .block_size = BLOCK,
  };

  return store_provide (path, &options, status);
}

/* Nothing may be in the directory but the files of the database. */
static void
check_directory (bool database)
{
  DIR *d = opendir (directory);
  struct dirent *entry;

  assert_non_null (d);
  while ((entry = readdir (d)) != NULL)
    if (entry->d_name[0] != '.' &&
        !(database && strncmp (entry->d_name, "disk", 4) == 0 &&
          strchr (entry->d_name, '.') == NULL))
      fail_msg ("%s is left behind", entry->d_name);
  closedir (d);
}

static void
provide_failed (void)
{
  check_directory (false);
}

/* Is the store opened as a command does? */
static bool command;

static int
open_store (struct status *status)
{
  const struct store_options options = {
    .command = command,
    .limits = { .start = 200000, .bound = 1000000, .idle = 20 },
    .warn = unit_ignore_warning,
  };

  store = store_open (path, &options, status);
  return store ? 0 : -1;
}

static int
open_disk (struct status *status)
{
  disk = disk_open (store, "d", false, status);
  return disk ? 0 : -1;
}

static void
open_all (void)
{
  try ("opening the database", open_store, NULL);
  try ("opening the disk", open_disk, NULL);
  assert_false (disk_is_readonly (disk));
}

void
reopen_disk (void)
{
  in_store = true;
  disk_close (disk);
  in_store = false;
  try ("opening the disk", open_disk, NULL);
}

static void
close_all (void)
{
  in_store = true;
  disk_close (disk);
  store_close (store);
  in_store = false;
}

/*--------------------------------------------------------------------
 * Requests.
 */

enum kind { WRITE, TRIM, ZERO };

struct request {
  enum kind kind;
  uint64_t offset, count;
  bool fua;
  char *data;
};

/* The request that is tried. */
static struct request request;

static int
run_request (const struct request *r, struct status *status)
{
  switch (r->kind) {
  case WRITE:
    return disk_write (disk, r->data, r->offset, r->count, r->fua, status);
  case TRIM:
    return disk_trim (disk, r->offset, r->count, r->fua, status);
  default:
    return disk_zero (disk, r->offset, r->count, r->fua, status);
  }
}

static int
do_request (struct status *status)
{
  return run_request (&request, status);
}

/* What the request makes of the model. */
static void
apply (const struct request *r)
{
  const uint64_t end = r->offset + r->count;
  const uint64_t first = (r->offset + BLOCK - 1) / BLOCK * BLOCK;
  const uint64_t last = end / BLOCK * BLOCK;

  if (r->kind == WRITE)
    memcpy (model + r->offset, r->data, r->count);
  else if (r->kind == ZERO)
    memset (model + r->offset, 0, r->count);
  else if (first < last)
    memset (model + first, 0, last - first);
}

static char got[SIZE];

static int
read_disk (struct status *status)
{
  return disk_read (disk, got, 0, SIZE, status);
}

static void
check_contents (void)
{
  try ("reading", read_disk, NULL);
  for (size_t i = 0; i < SIZE; i++)
    if (got[i] != model[i])
      fail_msg ("byte %zu is not what it was", i);
}

/* A request that failed has changed nothing; one with FUA may be done, since
 * only its sync has failed.
 */
static void
request_failed (void)
{
  static char old[SIZE];

  memcpy (old, model, SIZE);
  try ("reading", read_disk, NULL);
  if (request.fua && memcmp (got, model, SIZE) != 0)
    apply (&request);
  check_contents ();
  memcpy (model, old, SIZE);
}

static void
change (enum kind kind, uint64_t offset, uint64_t count, bool fua)
{
  static char fill;

  request = (struct request){ kind, offset, count, fua, NULL };
  if (kind == WRITE) {
    request.data = __real_malloc (count);
    assert_non_null (request.data);
    for (uint64_t i = 0; i < count; i++)
      request.data[i] = fill + i % 251;
    fill++;
  }
  try ("a request", do_request, request_failed);
  apply (&request);
  free (request.data);
}

void
write_disk (uint64_t offset, uint64_t count, bool fua)
{
  change (WRITE, offset, count, fua);
}

static int
do_flush (struct status *status)
{
  return disk_flush (disk, status);
}

void
flush_disk (void)
{
  try ("a flush", do_flush, NULL);
}

static int
do_extents (struct status *status)
{
  return disk_extents (disk, 0, SIZE, false, unit_ignore_extent, NULL, status);
}

/* Requests that run at the same time fail each by itself. */
static void *
run_one (void *opaque)
{
  const struct request *r = opaque;
  const time_t end = time (NULL) + PATIENCE;
  struct status status;

  in_store = true;
  while (run_request (r, &status) == -1) {
    check_failure ("one of some requests", &status);
    assert_true (time (NULL) <= end);
  }
  return NULL;
}

static void
change_together (void)
{
  struct request requests[THREADS];
  pthread_t threads[THREADS];
  static char data[THREADS][BLOCK];

  for (int i = 0; i < THREADS; i++) {
    memset (data[i], 'a' + i, BLOCK);
    requests[i] =
        (struct request){ WRITE, (70 + i) * BLOCK, BLOCK, i == 0, data[i] };
    assert_int_equal (pthread_create (&threads[i], NULL, run_one, &requests[i]),
                      0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join (threads[i], NULL);
    apply (&requests[i]);
  }
}

/* Wait until the log is empty. */
static void
await_checkpoint (void)
{
  const time_t end = time (NULL) + PATIENCE;
  struct stat st;
  char *log;

  assert_true (asprintf (&log, "%s-wal", path) > 0);
  while (stat (log, &st) == 0 && st.st_size > 0) {
    if (time (NULL) > end)
      fail_msg ("the log does not become empty");
    wait_a_little ();
  }
  free (log);
}

/*--------------------------------------------------------------------
 * The session.
 */

static void
first_part (void)
{
  change (WRITE, 0, 4 * BLOCK, false);
  change (WRITE, 100, 50, false);
  change (WRITE, BLOCK - 10, 20, true);
  change (TRIM, BLOCK / 2, 3 * BLOCK, false);
  change (ZERO, 3 * BLOCK + 7, BLOCK, false);
  flush_disk ();
  change (WRITE, 99 * BLOCK + 1, BLOCK + 299, false);
  check_contents ();
  await_checkpoint ();
  /* More than the log may have: it starts over. */
  for (int i = 0; i < 3; i++)
    change (WRITE, (10 + i) * BLOCK, 40 * BLOCK, i == 1);
  change_together ();
  change (ZERO, 20 * BLOCK + 5, 10 * BLOCK, true);
  change (TRIM, 0, SIZE / 2, true);
  try ("the map", do_extents, NULL);
  check_contents ();
}

static void
second_part (void)
{
  check_contents ();
  change (WRITE, 5 * BLOCK, 2 * BLOCK, false);
  change (WRITE, 6 * BLOCK + 1, BLOCK, true);
  flush_disk ();
}

/* After all: once more, where nothing fails or is counted. */
static void
check_all (void)
{
  counting = false;
  command = false;
  open_all ();
  check_contents ();
  check_managed ();
  change (WRITE, 3, 1, true);
  check_contents ();
  close_all ();
  check_directory (true);
  unit_assert_sound (path);
  unit_assert_reclaimed (path);
}

static void
run_session (void)
{
  unit_alarm (LONGEST);
  install ();
  try ("making the database", provide, provide_failed);
  open_all ();
  first_part ();
  close_all ();
  open_all ();
  second_part ();
  manage_in_server ();
  close_all ();
  command = true;
  open_all ();
  manage_in_command ();
  close_all ();
  check_all ();
}

/*--------------------------------------------------------------------
 * All sessions.
 */

static uint64_t samples = 20;
static const char *only;
static uint64_t bad_sessions;

static void
make_directory (void)
{
  const char *where = getenv ("TMPDIR");

  assert_true (asprintf (&directory, "%s/sqlblock-faults-XXXXXX",
                         where ? where : "/tmp") > 0);
  assert_non_null (mkdtemp (directory));
  assert_true (asprintf (&path, "%s/disk", directory) > 0);
}

static void
remove_directory (void)
{
  static const char *const names[] = { "", "-wal", "-shm", "-lock" };
  char *name;

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    assert_true (asprintf (&name, "%s%s", path, names[i]) > 0);
    unlink (name);
    free (name);
  }
  rmdir (directory);
  free (directory);
  free (path);
}

/* Run a session in a process of its own. */
static void
run_process (size_t fault, uint64_t n)
{
  int status;
  pid_t pid;

  chosen = fault;
  number = n;
  shared->happened = false;
  memset (shared->calls, 0, sizeof shared->calls);
  make_directory ();
  fflush (stdout);
  pid = fork ();
  assert_true (pid != -1);
  if (pid == 0) {
    run_session ();
    exit (0);
  }
  assert_int_equal (waitpid (pid, &status, 0), pid);
  if (WIFSIGNALED (status))
    fprintf (stderr, "killed by signal %d (%s)\n", WTERMSIG (status),
             strsignal (WTERMSIG (status)));
  if (status != 0) {
    fprintf (stderr, "FAILED: --fault %s --number %" PRIu64 "\n",
             faults[fault].name, n);
    if (getenv ("TMPDIR"))
      fprintf (stderr, "the files are kept in %s\n", directory);
    bad_sessions++;
  }
  if (status == 0 || getenv ("TMPDIR") == NULL)
    remove_directory ();
}

/* Let every n-th call of something fail, or of many only some. */
static void
run_fault (size_t fault, uint64_t calls)
{
  const uint64_t step = samples && calls > samples ? calls / samples : 1;
  uint64_t happened = 0, sessions = 0;

  shared->failed = 0;
  /* Not always the same ones of each step. */
  for (uint64_t n = 1 + (step > 1 ? time (NULL) % step : 0); n <= calls;
       n += step) {
    run_process (fault, n);
    happened += shared->happened;
    sessions++;
  }
  printf ("%-18s %6" PRIu64 " calls, every %" PRIu64 ": %" PRIu64
          " sessions, %" PRIu64 " faults, %" PRIu64 " failures seen\n",
          faults[fault].name, calls, step, sessions, happened,
          (uint64_t)shared->failed);
}

static void __attribute__ ((noreturn)) usage (int status)
{
  fputs ("usage: faults [OPTION]...\n"
         "  --fault NAME      only this one\n"
         "  --number NUMBER   only this call of it\n"
         "  --samples NUMBER  NUMBER calls of each; 0: all\n",
         status == 0 ? stdout : stderr);
  exit (status);
}

static void
run_all (uint64_t only_number)
{
  uint64_t calls[FAULTS];

  run_process (0, 0);
  for (size_t i = 0; i < FAULTS; i++)
    calls[i] = shared->calls[i];
  for (size_t i = 0; i < FAULTS; i++) {
    if (only && strcmp (only, faults[i].name) != 0)
      continue;
    if (only_number)
      run_process (i, only_number);
    else
      run_fault (i, calls[i]);
  }
}

int
main (int argc, char *argv[])
{
  static const struct option longs[] = {
    { "fault", required_argument, NULL, 'f' },
    { "number", required_argument, NULL, 'n' },
    { "samples", required_argument, NULL, 's' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
  };
  uint64_t only_number = 0;
  int option;

  while ((option = getopt_long (argc, argv, "", longs, NULL)) != -1)
    switch (option) {
    case 'f':
      only = optarg;
      break;
    case 'n':
      only_number = strtoull (optarg, NULL, 0);
      break;
    case 's':
      samples = strtoull (optarg, NULL, 0);
      break;
    default:
      usage (option != 'h');
    }
  shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true (shared != MAP_FAILED);
  run_all (only_number);
  return bad_sessions > 0;
}

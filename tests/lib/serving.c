/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The server that a randomized check starts, kills and starts again.
 *
 * The server is a child process, "nbdkit -f", on a unix socket.  It is
 * killed with SIGKILL, as a crash would; nbdkit's --exit-with-parent lets
 * it end when the program does.  Only the first start names the disk's
 * size and block size: the later ones must find both in the database.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "serving.h"

/* A slow machine takes its time to recover a large write-ahead log. */
#define START_SECONDS 60

struct settings settings = {
  .size = 16 << 20,
  .block_size = 4096,
  .connections = 4,
  .threads = 16,
};

static const char *program = "check";
static char directory[PATH_MAX / 2];
static bool created;       /* the disk is in the database */
static unsigned starts;    /* each other one gives free pages back */
static pid_t pid;          /* of the server; 0: it does not run */
static pid_t main_process; /* the one that started it */

/* The path of one of the server's files, good until the next call. */
static const char *
path_of (const char *name)
{
  static char path[PATH_MAX];

  snprintf (path, sizeof path, "%s/%s", directory, name);
  return path;
}

/* What the server said last. */
static void
print_log (void)
{
  FILE *log = fopen (path_of ("log"), "r");
  char line[500];

  if (log == NULL)
    return;
  fprintf (stderr, "the server's log ends with:\n");
  if (fseek (log, -1000, SEEK_END) == 0)
    fgets (line, sizeof line, log);
  while (fgets (line, sizeof line, log) != NULL)
    fprintf (stderr, "  %s", line);
  fclose (log);
}

void
fail (const char *format, ...)
{
  va_list arguments;

  fflush (stdout);
  fprintf (stderr, "%s: FAILED: ", program);
  va_start (arguments, format);
  vfprintf (stderr, format, arguments);
  va_end (arguments);
  fprintf (stderr, "\n%s: seed %" PRIu64 "\n", program, settings.seed);
  if (getpid () == main_process) {
    print_log ();
    fprintf (stderr, "%s: the database is kept in %s\n", program, directory);
  }
  exit (1);
}

static void
usage (const struct number_option *own, unsigned own_count)
{
  unsigned i;

  printf ("usage: %s [OPTION VALUE]...\n"
          "  --plugin PATH      the plugin to test (needed)\n"
          "  --database PATH    where it is to be made (on a cluster)\n"
          "  --killed COMMAND   to run after each kill\n"
          "  --key-file FILE    the disk is encrypted with it\n"
          "  --size SIZE        of the disk\n"
          "  --block-size SIZE  of the disk\n"
          "  --connections N    how many at once, at most %d\n"
          "  --threads N        of the server for each connection\n"
          "  --seed N           where the random numbers start\n",
          program, MAX_CONNECTIONS);
  for (i = 0; i < own_count; i++)
    printf ("  --%-16s %s\n", own[i].name, own[i].help);
}

/* A number, which K, M or G may follow. */
static uint64_t
parse_number (const char *name, const char *text)
{
  static const char units[] = "KMG";
  const char *unit;
  char *end;
  uint64_t number;

  errno = 0;
  number = strtoull (text, &end, 10);
  if (errno == 0 && end != text && *end != '\0' && end[1] == '\0') {
    unit = strchr (units, *end);
    if (unit != NULL)
      return number << (10 * (unit - units + 1));
  }
  if (errno != 0 || end == text || *end != '\0') {
    fprintf (stderr, "%s: --%s: not a number: %s\n", program, name, text);
    exit (2);
  }
  return number;
}

static bool
set_option (const struct number_option *options, unsigned count,
            const char *name, const char *text)
{
  unsigned i;

  for (i = 0; i < count; i++) {
    if (strcmp (options[i].name, name) == 0) {
      *options[i].value = parse_number (name, text);
      return true;
    }
  }
  return false;
}

void
parse_options (int argc, char *argv[], const struct number_option *own,
               unsigned own_count)
{
  const struct number_option common[] = {
    { "size", &settings.size, NULL },
    { "block-size", &settings.block_size, NULL },
    { "connections", &settings.connections, NULL },
    { "seed", &settings.seed, NULL },
    { "threads", &settings.threads, NULL },
  };
  const unsigned common_count = sizeof common / sizeof common[0];
  int i;

  program = strrchr (argv[0], '/') ? strrchr (argv[0], '/') + 1 : argv[0];
  if (getrandom (&settings.seed, 4, 0) != 4)
    fail ("getrandom: %s", strerror (errno));
  for (i = 1; i + 1 < argc && strncmp (argv[i], "--", 2) == 0; i += 2) {
    if (strcmp (argv[i], "--plugin") == 0)
      settings.plugin = argv[i + 1];
    else if (strcmp (argv[i], "--database") == 0)
      settings.database = argv[i + 1];
    else if (strcmp (argv[i], "--killed") == 0)
      settings.killed = argv[i + 1];
    else if (strcmp (argv[i], "--key-file") == 0)
      settings.key_file = argv[i + 1];
    else if (!set_option (common, common_count, argv[i] + 2, argv[i + 1]) &&
             !set_option (own, own_count, argv[i] + 2, argv[i + 1]))
      break;
  }
  if (i < argc || settings.plugin == NULL || settings.connections == 0 ||
      settings.connections > MAX_CONNECTIONS) {
    usage (own, own_count);
    exit (2);
  }
  setvbuf (stdout, NULL, _IOLBF, 0);
  printf ("%s: seed %" PRIu64 "\n", program, settings.seed);
}

void
server_create (void)
{
  const char *parent = getenv ("TMPDIR");

  main_process = getpid ();
  signal (SIGPIPE, SIG_IGN);
  snprintf (directory, sizeof directory, "%s/sqlblock-%s.XXXXXX",
            parent ? parent : "/tmp", program);
  if (mkdtemp (directory) == NULL)
    fail ("mkdtemp: %s: %s", directory, strerror (errno));
}

/* Let what this process prints as errors go to the server's log. */
void
write_to_log (void)
{
  int log = open (path_of ("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);

  if (log == -1 || dup2 (log, STDERR_FILENO) == -1)
    _exit (126);
  close (log);
}

/* Become the server. */
static void __attribute__ ((noreturn)) run_server (void)
{
  char socket[PATH_MAX], db[PATH_MAX + 3];
  char size[32], block_size[32], threads[32], key_file[PATH_MAX + 9];
  char *arguments[] = { "nbdkit",
                        "-f",
                        "--exit-with-parent",
                        "-U",
                        socket,
                        "-t",
                        threads,
                        (char *)settings.plugin,
                        db,
                        starts % 2 ? "reclaim=64k" : "reclaim=false",
                        block_size,
                        NULL,
                        NULL,
                        NULL };
  char **more = arguments + sizeof arguments / sizeof arguments[0] - 3;
  int log;

  log = open (path_of ("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (log == -1 || dup2 (log, STDERR_FILENO) == -1)
    _exit (126);
  snprintf (socket, sizeof socket, "%s", path_of ("socket"));
  snprintf (db, sizeof db, "db=%s",
            settings.database ? settings.database : path_of ("disk.sqlite"));
  snprintf (size, sizeof size, "size=%" PRIu64, settings.size);
  snprintf (block_size, sizeof block_size, "block-size=%" PRIu64,
            settings.block_size);
  if (!created)
    *more++ = size;
  if (settings.key_file) {
    snprintf (key_file, sizeof key_file, "key-file=%s", settings.key_file);
    *more = key_file;
  }
  snprintf (threads, sizeof threads, "%" PRIu64, settings.threads);
  execvp (arguments[0], arguments);
  perror ("nbdkit");
  _exit (127);
}

void
server_start (void)
{
  starts++;
  unlink (path_of ("socket"));
  pid = fork ();
  if (pid == -1)
    fail ("fork: %s", strerror (errno));
  if (pid == 0)
    run_server ();
}

/* True until the server has ended by itself. */
bool
server_runs (void)
{
  return pid != 0 && waitpid (pid, NULL, WNOHANG) == 0;
}

void
server_kill (void)
{
  kill (pid, SIGKILL);
  if (waitpid (pid, NULL, 0) != pid)
    fail ("waitpid: %s", strerror (errno));
  pid = 0;
  if (settings.killed && system (settings.killed) != 0)
    fail ("%s has failed", settings.killed);
}

/* End the server and remove all that it had. */
void
server_remove (void)
{
  DIR *entries;
  const struct dirent *entry;

  server_kill ();
  entries = opendir (directory);
  if (entries == NULL)
    fail ("%s: %s", directory, strerror (errno));
  while ((entry = readdir (entries)) != NULL) {
    if (entry->d_name[0] != '.')
      unlink (path_of (entry->d_name));
  }
  closedir (entries);
  if (rmdir (directory) == -1)
    fail ("%s: %s", directory, strerror (errno));
}

struct nbd_handle *
server_connect (void)
{
  struct nbd_handle *nbd;
  unsigned tries;

  for (tries = 0; tries < START_SECONDS * 100; tries++) {
    nbd = nbd_create ();
    if (nbd == NULL || nbd_add_meta_context (nbd, "base:allocation") == -1)
      fail ("libnbd: %s", nbd_get_error ());
    if (nbd_connect_unix (nbd, path_of ("socket")) == 0) {
      created = true;
      return nbd;
    }
    nbd_close (nbd);
    if (!server_runs ())
      fail ("no connection to the server: %s", nbd_get_error ());
    sleep_microseconds (10000);
  }
  fail ("the server took more than %d seconds to start", START_SECONDS);
}

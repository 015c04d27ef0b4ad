/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* nbdkit-sqlblock-plugin: disks in an SQLite database, served over NBD.
 *
 * This file turns nbdkit's callbacks and parameters into calls of the store
 * (store/store.h, server.h), which does everything else.  Beside it are
 *
 *   client       an open export, and the list of them
 *   peer         who a client is
 *   access       what it may have: allow=, exclusive=
 *   limits       how much of it: limit-requests=, limit-bytes=
 *
 *   config, config_complete   gather the parameters, change nothing
 *   get_ready                 check them against the file, where the user
 *                             still sees errors; change nothing and leave
 *                             nothing open (SQLite must not cross a fork)
 *   after_fork                as the user that serves: make what is
 *                             missing, open the store
 *   open ... close            one client on one disk
 *   cleanup                   close the store
 *
 * nbdkit does not always call close, and never when it is killed: there is
 * nothing in memory that would have to be saved.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/child.h"
#include "base/sane.h"
#include "base/times.h"
#include "base/values.h"
#include "client.h"
#include "encryption.h"
#include "manage.h"
#include "newer.h"
#include "server.h"
#include "status.h"
#include "store.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What nbdkit takes of a read or a write, in bytes; it answers a larger one
 * with ENOMEM.  A multiple of each block size, as clients want it to be.
 */
#define MAXIMUM_REQUEST (64 * 1024 * 1024)

/* What is said of a disk that may grow under its client, since nbdkit asks for
 * the size once: all that there can be.  The store knows the end.
 */
#define SIZE_TO_GROW (INT64_MAX / DISK_BLOCK_SIZE_MAX * DISK_BLOCK_SIZE_MAX)

_Static_assert(MAXIMUM_REQUEST % DISK_BLOCK_SIZE_MAX == 0,
               "the largest request is not a multiple of the block");

/* The most that timeout= and snapshot-hook-timeout= may say, in seconds. */
#define TIMEOUT_MOST 86400

/* How long the clients of a server that was fenced have to go, in seconds. */
#define FENCED_GRACE 2

/* The parameters. */
static char *path;
static const char *export_name;
static const char *description;
static const char *size;
static const char *block_size;
static const char *compression;
static const char *dedup;
static const char *quota;
static const char *reclaim;
static const char *shared;
static const char *one_machine;
static const char *durable;
static const char *log_size;
static const char *cache;
static const char *timeout;
static const char *takeover;
static const char *list_snapshots;
static const char *auto_snapshot;
static const char *keep;
static const char *scrub_time;
static char *stats;
static char *control;
static char *hook;
static const char *hook_timeout;
static struct secret *secrets; /* for encrypted disks */
static struct server_options server_options = { .tidy.keep = UINT64_MAX };
static struct disk_options options;

static struct server *server;
static struct store *store;
static struct served served = { .snapshots = true };

/* Ends waiting when the server ends. */
static pthread_t watcher;

/* When a client that has no disk yet asks in vain, nbdkit 1.42 and newer send
 * it what was said last on its thread, be it about that or not.  The log has
 * names, paths and processes, which a client that is not let in is not to
 * learn: so a text without any comes after what was said.
 */
static _Thread_local bool said;

static void
say_to_client (const char *text)
{
  if (said)
    nbdkit_error ("%s", text);
  said = false;
}

/* The same after what a client asked for; FAILED is NULL if it got it. */
static void
answer_client (const struct status *failed)
{
  if (failed == NULL)
    say_to_client ("the server's log has a warning");
  else if (failed->error == ENOENT)
    say_to_client ("there is no such export; the server's log says more");
  else if (failed->error == EBUSY)
    say_to_client ("the export is in use; the server's log says by whom");
  else
    say_to_client ("the export cannot be served; the server's log says why");
}

/* Report a failure of the store; always returns -1.  A feature or a codec that
 * this program lacks is EIO to a client: NBD has ENOTSUP for what a request
 * asks in vain only, and nbdkit aborts where a zero fails with it.
 */
static int
report (const struct status *status)
{
  if (status->known)
    nbdkit_debug ("%s", status->message);
  else {
    nbdkit_error ("%s", status->message);
    said = true;
  }
  nbdkit_set_error (status->error == ENOTSUP ? EIO : status->error);
  return -1;
}

static void
sqlblock_unload (void)
{
  free (path);
  free (stats);
  free (control);
  free (hook);
  limits_end ();
}

/* Keep the value of a parameter that may be given once. */
static int
set_once (const char **parameter, const char *key, const char *value)
{
  if (*parameter) {
    nbdkit_error ("parameter '%s' was given twice", key);
    return -1;
  }
  *parameter = value;
  return 0;
}

/* The same for the name of a file. */
static int
set_path (char **parameter, const char *key, const char *value)
{
  if (*parameter) {
    nbdkit_error ("parameter '%s' was given twice", key);
    return -1;
  }
  if (value[0] == '\0') {
    nbdkit_error ("parameter '%s' is empty: give the name of a file", key);
    return -1;
  }
  /* A server in the background runs in another directory. */
  *parameter = parameter == &path && store_is_on_cluster (value)
                   ? strdup (value)
                   : nbdkit_absolute_path (value);
  return *parameter ? 0 : -1;
}

/* Read a key for encrypted disks: here it still can be asked for. */
static int
add_key_file (const char *name)
{
  struct status status;

  return secret_read (&secrets, SECRET_KEY_FILE, name, -1, &status) == -1
             ? report (&status)
             : 0;
}

/* The same, in nbdkit's ways, but for one that all users would see. */
static int
add_passphrase (const char *value)
{
  struct status status;
  char *text;
  int r;

  if (value[0] != '+' && value[0] != '-') {
    nbdkit_error ("passphrase=: what stands there can be seen by all users; "
                  "give +FILE, -FD, or - to be asked for it");
    return -1;
  }
  if (nbdkit_read_password (value, &text) == -1)
    return -1;
  r = secret_add (&secrets, SECRET_PASSPHRASE, text, strlen (text), &status);
  secret_wipe (text, strlen (text));
  free (text);
  return r == -1 ? report (&status) : 0;
}

/* Called for each key=value on the command line. */
static int
sqlblock_config (const char *key, const char *value)
{
  if (strcmp (key, "db") == 0)
    return set_path (&path, key, value);
  if (strcmp (key, "export") == 0)
    return set_once (&export_name, key, value);
  if (strcmp (key, "description") == 0)
    return set_once (&description, key, value);
  if (strcmp (key, "size") == 0)
    return set_once (&size, key, value);
  if (strcmp (key, "block-size") == 0)
    return set_once (&block_size, key, value);
  if (strcmp (key, "compression") == 0)
    return set_once (&compression, key, value);
  if (strcmp (key, "dedup") == 0)
    return set_once (&dedup, key, value);
  if (strcmp (key, "quota") == 0)
    return set_once (&quota, key, value);
  if (strcmp (key, "reclaim") == 0)
    return set_once (&reclaim, key, value);
  if (strcmp (key, "shared") == 0)
    return set_once (&shared, key, value);
  if (strcmp (key, "one-machine") == 0)
    return set_once (&one_machine, key, value);
  if (strcmp (key, "durable") == 0)
    return set_once (&durable, key, value);
  if (strcmp (key, "log-size") == 0)
    return set_once (&log_size, key, value);
  if (strcmp (key, "cache") == 0)
    return set_once (&cache, key, value);
  if (strcmp (key, "timeout") == 0)
    return set_once (&timeout, key, value);
  if (strcmp (key, "takeover") == 0)
    return set_once (&takeover, key, value);
  if (strcmp (key, "list-snapshots") == 0)
    return set_once (&list_snapshots, key, value);
  if (strcmp (key, "auto-snapshot") == 0)
    return set_once (&auto_snapshot, key, value);
  if (strcmp (key, "keep") == 0)
    return set_once (&keep, key, value);
  if (strcmp (key, "snapshot-hook") == 0)
    return set_path (&hook, key, value);
  if (strcmp (key, "snapshot-hook-timeout") == 0)
    return set_once (&hook_timeout, key, value);
  if (strcmp (key, "key-file") == 0)
    return add_key_file (value);
  if (strcmp (key, "passphrase") == 0)
    return add_passphrase (value);
  if (strcmp (key, "scrub") == 0)
    return set_once (&scrub_time, key, value);
  if (strcmp (key, "stats") == 0)
    return set_path (&stats, key, value);
  if (strcmp (key, "control") == 0)
    return set_path (&control, key, value);
  nbdkit_error ("unknown parameter '%s'", key);
  return -1;
}

/* Say what is wrong with the value of a parameter; always returns -1. */
static int
wrong_value (const char *key, struct status *status)
{
  status_prefix (status, "%s=", key);
  return report (status);
}

/* Read a boolean, if it was given. */
static int
parse_bool (const char *key, const char *value, bool *result)
{
  struct status status;

  if (value && values_choice (value, result, &status) == -1)
    return wrong_value (key, &status);
  return 0;
}

/* Read auto-snapshot= and keep=. */
static int
parse_history (void)
{
  struct history_options *history = &server_options.history;
  struct status status;

  history->disk = export_name;
  if (auto_snapshot && schedule_parse_interval (
                           auto_snapshot, &history->interval, &status) == -1)
    return wrong_value ("auto-snapshot", &status);
  history->off = auto_snapshot && history->interval == 0;
  if (keep && history->interval == 0) {
    nbdkit_error ("keep=%s says which automatic snapshots to keep: give "
                  "auto-snapshot=, too",
                  keep);
    return -1;
  }
  if (keep && schedule_parse_rules (keep, &history->keep, &status) == -1)
    return wrong_value ("keep", &status);
  return 0;
}

/* Read snapshot-hook= and snapshot-hook-timeout=. */
static int
parse_hook (void)
{
  struct hook_options *called = &server_options.history.hook;

  called->program = hook;
  called->timeout = HOOK_TIMEOUT_DEFAULT;
  if (hook_timeout == NULL)
    return 0;
  if (hook == NULL) {
    nbdkit_error ("snapshot-hook-timeout=%s: give snapshot-hook=, too",
                  hook_timeout);
    return -1;
  }
  if (times_parse_span (hook_timeout, &called->timeout) &&
      called->timeout <= TIMEOUT_MOST)
    return 0;
  nbdkit_error ("snapshot-hook-timeout=%s is not a span of time such as 30s",
                hook_timeout);
  return -1;
}

/* Read scrub=. */
static int
parse_scrub (void)
{
  if (scrub_time == NULL ||
      times_parse_span (scrub_time, &server_options.scrub_period))
    return 0;
  nbdkit_error ("scrub=%s is not a span of time such as 7d", scrub_time);
  return -1;
}

/* Read reclaim=: a boolean, or how much stays free. */
static int
parse_reclaim (void)
{
  struct status status;
  uint64_t bytes;

  server_options.tidy.shrink = true;
  if (reclaim == NULL)
    return 0;
  if (values_parse_size (reclaim, &bytes)) {
    server_options.tidy.keep = bytes;
    return 0;
  }
  if (values_choice (reclaim, &server_options.tidy.shrink, &status) == 0)
    return 0;
  status_fail (&status, EINVAL, "'%.100s' is neither a size nor on nor off",
               reclaim);
  return wrong_value ("reclaim", &status);
}

/* Read log-size=, shared=, one-machine= and durable=. */
static int
parse_store (void)
{
  struct status status;
  bool is_one_machine = false;
  uint64_t bytes;

  server_options.store.limits = checkpoint_limits_default;
  if (log_size &&
      (values_size ("a size of the log", log_size, &bytes, &status) == -1 ||
       checkpoint_set_bound (&server_options.store.limits, bytes, &status) ==
           -1))
    return wrong_value ("log-size", &status);
  if (parse_bool ("shared", shared, &server_options.store.shared) == -1 ||
      parse_bool ("one-machine", one_machine, &is_one_machine) == -1)
    return -1;
  store_set_one_machine (is_one_machine);
  server_options.store.durable = durable && strcmp (durable, "always") == 0;
  if (durable == NULL || server_options.store.durable ||
      strcmp (durable, "flushed") == 0)
    return 0;
  nbdkit_error ("durable=%s: it is 'always' or 'flushed'", durable);
  return -1;
}

static void
warn (const char *message)
{
  nbdkit_error ("warning: %s: %s", path, message);
  said = true;
}

/* Have the configuration of Ceph that is named from here be found by a server
 * in the background, too, which runs in another directory.  Returns 0 or -1.
 */
static int
keep_configuration (void)
{
  const char *file = getenv ("CEPH_CONF");
  char *absolute;
  int r;

  /* Ceph takes a list as well. */
  if (file == NULL || file[0] == '\0' || strpbrk (file, ",; ="))
    return 0;
  absolute = nbdkit_absolute_path (file);
  r = absolute ? setenv ("CEPH_CONF", absolute, 1) : -1;
  free (absolute);
  return r;
}

/* Read what only a cluster has, and refuse what it has not. */
static int
parse_cluster (void)
{
  struct status status;
  uint64_t bytes = 0;
  int64_t seconds = 0;

  if (store_is_on_cluster (path) && server_options.store.shared) {
    nbdkit_error ("shared=true: a database on a cluster has one server at a "
                  "time");
    return -1;
  }
  if (!store_is_on_cluster (path) && (cache || timeout || takeover)) {
    nbdkit_error ("%s= is for databases on a cluster, db=rados:POOL/NAME",
                  cache     ? "cache"
                  : timeout ? "timeout"
                            : "takeover");
    return -1;
  }
  if (cache &&
      values_size ("a size of the cache", cache, &bytes, &status) == -1)
    return wrong_value ("cache", &status);
  if (timeout &&
      (!times_parse_span (timeout, &seconds) || seconds > TIMEOUT_MOST)) {
    nbdkit_error ("timeout=%s is not a span of time such as 30s", timeout);
    return -1;
  }
  if (takeover && strcmp (takeover, "wait") != 0) {
    nbdkit_error ("takeover=%s: only takeover=wait is known", takeover);
    return -1;
  }
  if (store_is_on_cluster (path) && keep_configuration () == -1)
    return -1;
  store_set_cluster (bytes, seconds);
  if (takeover)
    store_set_takeover (warn);
  return 0;
}

/* Read what a disk is like that is to be made. */
static int
parse_disk (void)
{
  struct status status;
  bool deduplicate = false;

  options.name = export_name;
  options.description = description;
  if (size && values_disk_size (size, &options.size, &status) == -1)
    return wrong_value ("size", &status);
  if (block_size &&
      values_block_size (block_size, &options.block_size, &status) == -1)
    return wrong_value ("block-size", &status);
  if (quota && values_quota (quota, &options.quota, &status) == -1)
    return wrong_value ("quota", &status);
  if (compression &&
      store_parse_compression (compression, &options.storing.compression,
                               &status) == -1)
    return report (&status);
  if (parse_bool ("dedup", dedup, &deduplicate) == -1)
    return -1;
  if (dedup)
    options.storing.deduplicate = deduplicate ? DISK_ON : DISK_OFF;
  if (sane_check_options (&options, &status) == -1)
    return report (&status);
  return 0;
}

/* Called after the last parameter. */
static int
sqlblock_config_complete (void)
{
  if (path == NULL) {
    nbdkit_error ("the database is missing: give db=FILE");
    return -1;
  }
  if (parse_store () == -1 || parse_cluster () == -1 ||
      parse_bool ("list-snapshots", list_snapshots, &served.snapshots) == -1 ||
      parse_history () == -1 || parse_hook () == -1 || parse_scrub () == -1 ||
      parse_reclaim () == -1 || parse_disk () == -1)
    return -1;
  return 0;
}

#define sqlblock_config_help                                                   \
  "db=<FILE>              (required) The database; made if size= is given.\n"  \
  "size=<SIZE>            Size of a disk that is to be made.\n"                \
  "export=<NAME>          Serve or make this disk only.\n"                     \
  "key-file=<FILE>        The key of encrypted disks; one that is made is.\n"  \
  "passphrase=<SOURCE>    The same: +FILE, -FD, or - to be asked for it.\n"    \
  "block-size=<SIZE>      Block size of a disk that is to be made.\n"          \
  "compression=<HOW>      How to store a disk that is to be made:\n"           \
  "                       " COMPRESSION_HELP "\n"                              \
  "                       (default lz4).\n"                                    \
  "dedup=<BOOL>           Store blocks that are equal only once, of a disk\n"  \
  "                       that is to be made (default off).\n"                 \
  "quota=<SIZE>           The most that a disk that is to be made, and its\n"  \
  "                       snapshots, may take (default none).\n"               \
  "description=<TEXT>     Description of a disk that is to be made.\n"         \
  "reclaim=<SIZE>|<BOOL>  Keep SIZE of the file free for later writes, and\n"  \
  "                       give the rest back (default true: 16M, or an\n"      \
  "                       eighth of the file).\n"                              \
  "shared=<BOOL>          Other servers may write the same disks, too.\n"      \
  "one-machine=<BOOL>     No other machine has the database open, though "     \
  "its\n"                                                                      \
  "                       file system may be shared with others.\n"            \
  "durable=<WHEN>         What is durable: what was flushed, 'flushed' (the\n" \
  "                       default), or what was acknowledged, 'always'.\n"     \
  "log-size=<SIZE>        Keep the write-ahead log shorter than this.\n"       \
  "cache=<SIZE>           Of a database on a cluster: so much of it in "       \
  "memory\n"                                                                   \
  "                       (default 64M).\n"                                    \
  "timeout=<TIME>         Of a database on a cluster: how long to wait for "   \
  "it\n"                                                                       \
  "                       at the start (default 30s).\n"                       \
  "takeover=wait          Of a database on a cluster: wait while another "     \
  "server\n"                                                                   \
  "                       has it open, then go on.\n"                          \
  "list-snapshots=<BOOL>  List snapshots among the exports (default true).\n"  \
  "auto-snapshot=<TIME>   Take snapshots by itself, such as every 10m, or "    \
  "off\n"                                                                      \
  "                       (default: as set for the disk or the database).\n"   \
  "keep=<RULES>           Which of those to keep, EVERY:FOR,...\n"             \
  "                       (default: as set, or " SCHEDULE_RULES_DEFAULT ").\n" \
  "snapshot-hook=<PROGRAM>\n"                                                  \
  "                       Call it before and after each of those.\n"           \
  "snapshot-hook-timeout=<TIME>\n"                                             \
  "                       How long it may take each time (default 30s).\n"     \
  "scrub=<TIME>           Check everything once within this time, such as "    \
  "7d.\n"                                                                      \
  "stats=<FILE>           Write statistics for Prometheus to this file.\n"     \
  "control=<SOCKET>       Let sqlblock --control=SOCKET manage the disks."

/* Print what this plugin is made of. */
static void
sqlblock_dump_plugin (void)
{
  const char *codec;

  printf ("sqlblock_format=%d\n", DATABASE_FORMAT);
  printf ("sqlblock_encryption=%s\n", encryption_is_built () ? "yes" : "no");
  printf ("sqlblock_codecs=");
  for (unsigned i = 0; (codec = store_codec (i)) != NULL; i++)
    printf ("%s%s", i == 0 ? "" : " ", codec);
  printf ("\n");
  printf ("sqlblock_sqlite_compiled=%s\n", store_sqlite_compiled ());
  printf ("sqlblock_sqlite_version=%s\n", store_sqlite_used ());
  printf ("sqlblock_sqlite_wal_reset=%s\n",
          store_sqlite_is_fixed () ? "fixed" : "possible");
}

/* A disk that is to be made where a key is given is encrypted with that. */
static int
encrypt_new (struct status *status)
{
  static struct encryption encryption;

  options.encryption = encryption.header;
  options.slot = encryption.slots[0];
  return encryption_make (secrets, &encryption, status);
}

/* Check the file before nbdkit goes into the background. */
static int
sqlblock_get_ready (void)
{
  struct status status;
  int r;

  child_begin ();
  options.secrets = secrets;
  r = store_check (path, &options, &status);
  if (r == 0 && secrets)
    r = encrypt_new (&status);
  if (r == -1)
    return report (&status);
  if (stats && server_check_statistics (stats, path, &status) == -1)
    return wrong_value ("stats", &status);
  if (hook && server_check_hook (hook, &status) == -1)
    return wrong_value ("snapshot-hook", &status);
  if (control && server_check_control (control, path, stats, &status) == -1)
    return wrong_value ("control", &status);
  return 0;
}

/* While a request waits for another program's lock, see whether the server
 * is to end.  This thread has no client, so nbdkit_nanosleep fails only
 * then.
 */
static void *
watch (void *opaque)
{
  (void)opaque;
  while (store_await_wait (store))
    if (nbdkit_nanosleep (0, 100000000) == -1)
      store_interrupt (store);
  return NULL;
}

/* Another server has the database by now.  What clients still ask for fails;
 * those that do not go by themselves are left behind.  The exit code is not 0,
 * so that a service manager starts the server again, to wait or to be refused.
 */
static void
fenced (const char *message)
{
  nbdkit_error ("%s: all requests fail from now on, and this server ends; what "
                "it has acknowledged as flushed is there",
                message);
  nbdkit_shutdown ();
  sleep (FENCED_GRACE);
  _exit (EXIT_FAILURE);
}

/* Make what is missing, open the store and start what runs beside requests. */
static int
sqlblock_after_fork (void)
{
  struct status status;

  if (store_provide (path, &options, &status) == -1 ||
      secret_lock_again (secrets, &status) == -1)
    return report (&status);
  server_options.store.secrets = secrets;
  server_options.store.warn = warn;
  server_options.store.fenced = fenced;
  server_options.statistics = stats;
  server_options.control = control;
  server_options.name = nbdkit_name ? nbdkit_name () : NULL;
  server = server_start (path, &server_options, &status);
  if (server == NULL)
    return report (&status);
  store = server_store (server);
  served.store = store;
  served.only = export_name;
  served.shared = server_options.store.shared;
  served.has_key = secrets != NULL;
  if (pthread_create (&watcher, NULL, watch, NULL) == 0)
    return 0;
  nbdkit_error ("cannot start a thread");
  server_stop (server);
  server = NULL;
  return -1;
}

/* The server has stopped serving. */
static void
sqlblock_cleanup (void)
{
  if (server == NULL)
    return;
  store_interrupt (store);
  pthread_join (watcher, NULL);
  server_stop (server);
  secret_free (secrets);
  server = NULL;
}

/* A client has come.  With -s it has the thread on which the server started. */
static int
sqlblock_preconnect (int readonly)
{
  (void)readonly;
  answer_client (NULL);
  return 0;
}

/* The disks of the database, or the one that export= asks for, and then their
 * snapshots.
 */
static int
sqlblock_list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  struct status status;
  int r;

  (void)readonly;
  (void)is_tls;
  r = client_list (&served, exports, &status);
  if (r == -1)
    report (&status);
  answer_client (r == -1 ? &status : NULL);
  return r;
}

/* The export that the empty name means. */
static const char *
sqlblock_default_export (int readonly, int is_tls)
{
  struct disk_info info;
  struct status status;

  (void)readonly;
  (void)is_tls;
  /* Opening it says whether it is there, for this client. */
  if (export_name)
    return export_name;
  if (client_find_default (&served, &info, &status) == -1) {
    report (&status);
    answer_client (&status);
    return NULL;
  }
  answer_client (NULL);
  return nbdkit_strdup_intern (info.name);
}

/* Have the client, which has opened NAME, seen by "sqlblock status". */
static void
enter_client (struct client *client, const char *name, bool readonly)
{
  struct server_client who = {
    .since = time (NULL),
    .process = client->peer.pid,
    .user = client->peer.uid,
  };
  char text[PEER_TEXT];

  /* A filter opens disks for itself. */
  if (name == NULL || client->told)
    return;
  who.write =
      !readonly && !client->increment && !disk_is_readonly (client->disk);
  snprintf (who.target, sizeof who.target, "%.*s", DISK_TARGET_MAX,
            client->increment ? name : disk_get_info (client->disk)->name);
  if (client->peer.kind != PEER_UNIX && client->peer.kind != PEER_UNKNOWN) {
    peer_describe (&client->peer, text);
    snprintf (who.address, sizeof who.address, "%.*s",
              (int)sizeof who.address - 1, text);
  }
  client->seen = server_enter (server, &who);
}

static void
sqlblock_load (void)
{
  peer_begin ();
  client_begin ();
}

/* A client connects; or a filter opens a disk before there is any client, as
 * ext2 does since nbdkit 1.44: there is no name then, which means the same as
 * an empty one.
 */
static void *
sqlblock_open (int readonly)
{
  struct status status;
  struct client *client =
      client_open (&served, nbdkit_export_name (), readonly, &status);

  if (client == NULL)
    report (&status);
  else
    enter_client (client, nbdkit_export_name (), readonly);
  answer_client (client ? NULL : &status);
  return client;
}

/* A client has gone. */
static void
sqlblock_close (void *handle)
{
  struct client *client = handle;

  server_leave (client->seen);
  client_close (client);
}

/* The disk of a client. */
static struct disk *
disk_of (const void *handle)
{
  const struct client *client = handle;

  return client->disk;
}

/* A client that is fenced off (fence.h) gets no reply any more, where nbdkit
 * can do that: a kernel that still listens then waits for a new connection.
 */
static int
refuse_request (const struct client *client)
{
  if (atomic_load (&client->attached.over)) {
    nbdkit_error ("refused: whoever has attached the disk has newer "
                  "connections");
    if (nbdkit_disconnect)
      nbdkit_disconnect (true);
  }
  nbdkit_set_error (ESHUTDOWN);
  return -1;
}

/* A request begins, of those that never wait.  Returns 0, or -1. */
static int
begin_at_once (void *handle)
{
  struct client *client = handle;

  return fence_begin (&client->attached) ? 0 : refuse_request (client);
}

/* A request that moves so many BYTES may have to wait before.  Returns 0, or -1
 * where the client left meanwhile.
 */
static int
begin_request (void *handle, uint64_t bytes)
{
  struct client *client = handle;

  return limits_wait (client->limits, bytes, &client->attached.over) == 0
             ? begin_at_once (client)
             : refuse_request (client);
}

static int64_t
sqlblock_get_size (void *handle)
{
  const struct disk *disk = disk_of (handle);

  if (client_may_grow (handle))
    return SIZE_TO_GROW;
  return disk ? (int64_t)disk_get_info (disk)->size : LINEAGE_TEXT;
}

static const char *
sqlblock_export_description (void *handle)
{
  const struct client *client = handle;
  const char *text = client->increment ? increment_text (client->increment)
                     : client->disk ? disk_get_info (client->disk)->description
                                    : "";

  return text[0] ? nbdkit_strdup_intern (text) : NULL;
}

/* Any offset and length will do; whole blocks are fastest. */
static int
sqlblock_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                     uint32_t *maximum)
{
  *minimum = 1;
  *preferred = disk_of (handle) ? disk_get_info (disk_of (handle))->block_size
                                : LINEAGE_TEXT;
  *maximum = MAXIMUM_REQUEST;
  return 0;
}

static int
sqlblock_can_write (void *handle)
{
  return disk_of (handle) && !disk_is_readonly (disk_of (handle));
}

static int
can_always (void *handle)
{
  (void)handle;
  return 1;
}

/* What a disk can, and what is told of one cannot. */
static int
can_disk (void *handle)
{
  return disk_of (handle) != NULL;
}

static int
sqlblock_is_rotational (void *handle)
{
  (void)handle;
  return 0;
}

/* Emulating FUA would flush once per write; the store shares flushes. */
static int
sqlblock_can_fua (void *handle)
{
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

static int
sqlblock_can_cache (void *handle)
{
  return disk_of (handle) ? NBDKIT_CACHE_NATIVE : NBDKIT_CACHE_NONE;
}

/* Several connections see the same disk: every acknowledged write is in the
 * database, where all read; and a flush on any of them syncs the one log
 * that holds the commits of all.  But each that freezes the disk has its own
 * moment; and of a disk that one client at a time may write, one that cannot be
 * told from others has one connection.
 *
 * A kernel with several ends all of them when one breaks, with requests that
 * are not answered; which nbdkit before 1.34 may not survive.
 */
static int
sqlblock_can_multi_conn (void *handle)
{
  const struct client *client = handle;

  return !client->alone &&
         (client->attached.token[0] == '\0' || nbdkit_disconnect) &&
         (client->increment == NULL ||
          !increment_is_frozen (client->increment));
}

/* Report why a request failed; always returns -1.  A client whose disk is no
 * longer what it has opened, since that was deleted, rolled back or cut off,
 * would get errors from now on, until it connects again.  Where nbdkit can do
 * it:
 *
 * - One that only reads is disconnected: many connect again by themselves, and
 *   go on with what is there now.
 * - One that may write must not, since it would send what it has not written
 *   yet, and that belongs to what is gone.  So its requests are answered, and
 *   from then on nbdkit refuses them (ESHUTDOWN): whoever is behind it notices.
 *
 * A disk that has grown is no reason: NBD tells a client the size once, and all
 * that it knows of is there as before.
 */
static int
fail_request (const void *handle, const struct status *status)
{
  const bool reads =
      disk_of (handle) == NULL || disk_is_readonly (disk_of (handle));

  if (!status->changed || nbdkit_disconnect == NULL)
    return report (status);
  nbdkit_error ("%s (%s)", status->message,
                reads ? "disconnecting the client"
                      : "refusing its requests from now on");
  nbdkit_set_error (status->error);
  nbdkit_disconnect (reads);
  return -1;
}

/* A request that began has ended with R. */
static int
end_request (void *handle, int r, const struct status *status)
{
  struct client *client = handle;

  fence_end (&client->attached);
  return r == -1 ? fail_request (client, status) : 0;
}

/* Read what is told of a disk, as it is now. */
static int
read_told (struct client *client, void *buffer, uint32_t count, uint64_t offset)
{
  char text[LINEAGE_TEXT];
  struct status status;

  if (client_tell (&served, client, text, &status) == -1)
    return fail_request (client, &status);
  memcpy (buffer, text + offset, count);
  return 0;
}

/* Read. */
static int
sqlblock_pread (void *handle, void *buffer, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  struct status status;
  int r;

  (void)flags;
  if (disk_of (handle) == NULL)
    return read_told (handle, buffer, count, offset);
  if (begin_request (handle, count) == -1)
    return -1;
  r = disk_read (disk_of (handle), buffer, offset, count, &status);
  return end_request (handle, r, &status);
}

/* Write; with FUA also make it durable. */
static int
sqlblock_pwrite (void *handle, const void *buffer, uint32_t count,
                 uint64_t offset, uint32_t flags)
{
  const bool fua = flags & NBDKIT_FLAG_FUA;
  struct status status;
  int r;

  if (begin_request (handle, count) == -1)
    return -1;
  r = disk_write (disk_of (handle), buffer, offset, count, fua, &status);
  return end_request (handle, r, &status);
}

/* Make durable what was written, by any client. */
static int
sqlblock_flush (void *handle, uint32_t flags)
{
  struct status status;

  (void)flags;
  if (begin_at_once (handle) == -1)
    return -1;
  return end_request (handle, disk_flush (disk_of (handle), &status), &status);
}

/* Discard whole blocks. */
static int
sqlblock_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  const bool fua = flags & NBDKIT_FLAG_FUA;
  struct status status;
  int r;

  if (begin_request (handle, 0) == -1)
    return -1;
  r = disk_trim (disk_of (handle), offset, count, fua, &status);
  return end_request (handle, r, &status);
}

/* Zero a range.  Zeroes are never stored, so it is always fast, and it makes
 * no difference whether the client allows a hole.
 */
static int
sqlblock_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  const bool fua = flags & NBDKIT_FLAG_FUA;
  struct status status;
  int r;

  if (begin_request (handle, 0) == -1)
    return -1;
  r = disk_zero (disk_of (handle), offset, count, fua, &status);
  return end_request (handle, r, &status);
}

static int
add_extent (uint64_t offset, uint64_t count, bool hole, void *extents)
{
  return nbdkit_add_extent (extents, offset, count,
                            hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0);
}

/* Of an increment HOLE says that a range does not differ, and ZERO that it is
 * zeroes for whoever has only what there was before.  So who skips holes does
 * not pass by what was trimmed, and who zeroes what is zero leaves alone what
 * is the same.
 */
static int
add_change (uint64_t offset, uint64_t count, enum increment_kind kind,
            void *extents)
{
  static const uint32_t types[] = {
    [INCREMENT_SAME] = NBDKIT_EXTENT_HOLE,
    [INCREMENT_DATA] = 0,
    [INCREMENT_ZEROES] = NBDKIT_EXTENT_ZERO,
    [INCREMENT_NEW] = NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO,
  };

  return nbdkit_add_extent (extents, offset, count, types[kind]);
}

/* What is stored and what is a hole, or what has changed. */
static int
sqlblock_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                  struct nbdkit_extents *extents)
{
  const struct client *client = handle;
  const bool one = flags & NBDKIT_FLAG_REQ_ONE;
  struct status status;
  int r;

  if (begin_request (handle, 0) == -1)
    return -1;
  r = client->increment ? increment_extents (client->increment, offset, count,
                                             one, add_change, extents, &status)
                        : disk_extents (client->disk, offset, count, one,
                                        add_extent, extents, &status);
  return end_request (handle, r, &status);
}

/* Prefetch: reading brings the blocks into the page cache.  It always
 * succeeds, since a failure would stop the readahead filter.
 */
static int
sqlblock_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  const struct client *client = handle;
  struct status ignored;

  (void)flags;
  if (limits_try (client->limits, count))
    disk_cache (client->disk, offset, count, &ignored);
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "sqlblock",
  .version = PACKAGE_VERSION,
  .longname = "disks in an SQLite database",
  .description = "Disks kept as blocks in rows of an SQLite database.",
  .load = sqlblock_load,
  .unload = sqlblock_unload,
  .config = sqlblock_config,
  .config_complete = sqlblock_config_complete,
  .config_help = sqlblock_config_help,
  .magic_config_key = "db",
  .dump_plugin = sqlblock_dump_plugin,
  .get_ready = sqlblock_get_ready,
  .after_fork = sqlblock_after_fork,
  .cleanup = sqlblock_cleanup,
  .preconnect = sqlblock_preconnect,
  .list_exports = sqlblock_list_exports,
  .default_export = sqlblock_default_export,
  .open = sqlblock_open,
  .close = sqlblock_close,
  .get_size = sqlblock_get_size,
  .export_description = sqlblock_export_description,
  .block_size = sqlblock_block_size,
  .can_write = sqlblock_can_write,
  .can_flush = can_disk,
  .is_rotational = sqlblock_is_rotational,
  .can_trim = can_always,
  .can_zero = can_always,
  .can_fast_zero = can_always,
  .can_fua = sqlblock_can_fua,
  .can_multi_conn = sqlblock_can_multi_conn,
  .can_extents = can_disk,
  .can_cache = sqlblock_can_cache,
  .pread = sqlblock_pread,
  .pwrite = sqlblock_pwrite,
  .flush = sqlblock_flush,
  .trim = sqlblock_trim,
  .zero = sqlblock_zero,
  .extents = sqlblock_extents,
  .cache = sqlblock_cache,
  /* Errors are passed on by nbdkit_set_error. */
  .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN (plugin)

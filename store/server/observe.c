/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Looking at the servers of a database, from another process.
 *
 * Nothing says where they are but the kernel: a process is a server of a
 * database if it has that file open for reading, which takes the right to do
 * so, and beside it a file in memory with statistics (statistics.h).  Both are
 * seen in /proc/PID/fd, where root sees all processes, and others their own. So
 * there is nothing to configure and nothing that could be stale.
 *
 * What a process says about itself may be anything, as anybody can call a
 * file in memory so.  It is copied, never mapped; its size, layout and
 * database are checked, and counters are only numbers to show.
 *
 * A file beside the database would be left by a server that is killed, and
 * could not be made where nothing can be written.  A socket in the abstract
 * namespace goes with the server, too, but takes a thread, a protocol, time
 * limits and checks of who asks, and is not seen from another network
 * namespace, such as a container's.  What this way costs is a look at all open
 * files of all processes for each report, and that nbdkit's -u hides the server
 * from all but root: a process that has given up root cannot be traced by its
 * user.
 */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grow.h"
#include "cluster/location.h"
#include "statistics.h"

/* How the kernel calls the file in memory. */
static const char memory_file[] = "/memfd:" STATISTICS_FILE_NAME " (deleted)";

/* What is being looked for. */
struct search {
  struct stat database;
  struct observation *found;
  struct status *status;
};

/*--------------------------------------------------------------------
 * Reading one file in memory.
 */

/* Read SIZE bytes at OFFSET; what lies past the end are zeroes, as in a part
 * that is about to be made.  Returns 0, or -1.
 */
static int
read_part (int file, void *part, size_t size, off_t offset)
{
  char *to = part;
  ssize_t length = 1;

  memset (part, 0, size);
  for (; size > 0 && length > 0; size -= length, offset += length) {
    length = pread (file, to, size, offset);
    if (length == -1)
      return -1;
    to += length;
  }
  return 0;
}

/* Read the disks of OBSERVED, whose server was read, at most MOST of them.
 * Returns 0, or -1.
 */
static int
read_disks (int file, struct observed *observed, size_t most)
{
  uint64_t count = counter_read (&observed->server.disks);

  observed->more = count > most;
  if (observed->more)
    count = most;
  observed->disks = aligned_alloc (_Alignof(struct disk_counters),
                                   (count + 1) * sizeof *observed->disks);
  if (observed->disks == NULL)
    return -1;
  for (; observed->count < count; observed->count++) {
    struct disk_counters *disk = &observed->disks[observed->count];

    if (read_part (file, disk, sizeof *disk,
                   (off_t)(observed->count + 1) * STATISTICS_PART) == -1)
      return -1;
    disk->name[DISK_NAME_MAX] = '\0';
  }
  return 0;
}

static void
free_observed (struct observed *observed)
{
  if (observed)
    free (observed->disks);
  free (observed);
}

/* Read a server from FILE; NULL when there is no memory, or it cannot be
 * read.
 */
static struct observed *
read_server (int file)
{
  struct observed *observed =
      aligned_alloc (_Alignof(struct observed), sizeof *observed);

  if (observed == NULL)
    return NULL;
  memset (observed, 0, sizeof *observed);
  if (read_part (file, &observed->server, sizeof observed->server, 0) == -1) {
    free_observed (observed);
    return NULL;
  }
  observed->looked = clock_now ();
  observed->server.version[sizeof observed->server.version - 1] = '\0';
  return observed;
}

/* Open what FD of the process with the directory DESCRIPTORS is, if that is
 * a file in memory still.  Returns -1 where it is not.
 */
static int
open_memory_file (int descriptors, const char *fd)
{
  /* Opening something else could have an effect; O_PATH has none. */
  const int path = openat (descriptors, fd, O_PATH | O_CLOEXEC);
  char name[40];
  struct stat st;
  int file = -1;

  if (path == -1)
    return -1;
  if (fstat (path, &st) == 0 && S_ISREG (st.st_mode)) {
    snprintf (name, sizeof name, "/proc/self/fd/%d", path);
    file = open (name, O_RDONLY | O_CLOEXEC);
  }
  close (path);
  return file;
}

/*--------------------------------------------------------------------
 * Finding them.
 */

/* Add OBSERVED to what was found; takes it over. */
static int
add_server (struct search *search, struct observed *observed)
{
  struct observation *found = search->found;
  struct observed **servers =
      grow (found->servers, found->count, sizeof *servers);
  size_t i = found->count;

  if (servers == NULL) {
    free_observed (observed);
    return status_no_memory (search->status);
  }
  for (; i > 0 && servers[i - 1]->process > observed->process; i--)
    servers[i] = servers[i - 1];
  servers[i] = observed;
  found->servers = servers;
  found->count++;
  found->disks += observed->count;
  return 0;
}

/* Is it a server of the database?  A process may serve several.  Returns 1,
 * 0, or -1 where it is nonsense.
 */
static int
check_server (const struct search *search, const struct server_counters *server)
{
  if (server->magic == 0) /* it is about to be one */
    return 0;
  if (server->magic != STATISTICS_MAGIC || server->layout != STATISTICS_LAYOUT)
    return -1;
  return server->device == search->database.st_dev &&
         server->inode == search->database.st_ino;
}

/* Look at FILE, a file in memory, of a process of USER. */
static int
look_at_server (struct search *search, int file, pid_t process, uid_t user)
{
  struct observed *observed = read_server (file);
  const size_t most = OBSERVE_DISKS_MAX - search->found->disks;
  const int r = observed ? check_server (search, &observed->server) : -1;

  if (r == 1 && read_disks (file, observed, most) == 0) {
    observed->process = process;
    observed->user = user;
    return add_server (search, observed);
  }
  if (r != 0)
    search->found->strange++;
  free_observed (observed);
  return 0;
}

/* As whom the process with the directory DESCRIPTORS works.  The directory
 * belongs to root where the process has changed its user.
 */
static int
find_user (int descriptors, uid_t *user)
{
  const int fd = openat (descriptors, "../status", O_RDONLY | O_CLOEXEC);
  FILE *file = fd == -1 ? NULL : fdopen (fd, "r");
  char line[200];
  unsigned effective;
  int r = -1;

  if (file == NULL && fd != -1)
    close (fd);
  while (file && r == -1 && fgets (line, sizeof line, file))
    if (sscanf (line, "Uid: %*u %u", &effective) == 1) {
      *user = effective;
      r = 0;
    }
  if (file)
    fclose (file);
  return r;
}

/* Look at the file in memory FD of a process that has the database open. */
static int
look_at_memory_file (struct search *search, int descriptors, const char *fd,
                     pid_t process)
{
  const int file = open_memory_file (descriptors, fd);
  uid_t user = 0;
  int r = 0;

  if (file == -1)
    return 0;
  if (find_user (descriptors, &user) == 0)
    r = look_at_server (search, file, process, user);
  close (file);
  return r;
}

/* Is FD the database, open for reading?  Then the link has the right to. */
static bool
is_database (const struct search *search, int descriptors, const char *fd)
{
  struct stat link, st;

  return fstatat (descriptors, fd, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
         (link.st_mode & S_IRUSR) && fstatat (descriptors, fd, &st, 0) == 0 &&
         st.st_dev == search->database.st_dev &&
         st.st_ino == search->database.st_ino;
}

static bool
is_memory_file (int descriptors, const char *fd)
{
  char target[sizeof memory_file + 1];
  const ssize_t length =
      readlinkat (descriptors, fd, target, sizeof target - 1);

  if (length == -1)
    return false;
  target[length] = '\0';
  return strcmp (target, memory_file) == 0;
}

/* The files of a process that are named FD in LIST; only one that has
 * statistics is looked at more closely.
 */
static int
look_at_files (struct search *search, DIR *list, pid_t process)
{
  const int descriptors = dirfd (list);
  bool has_memory_file = false, has_database = false;
  struct dirent *entry;
  int r = 0;

  while (!has_memory_file && (entry = readdir (list)))
    has_memory_file = is_memory_file (descriptors, entry->d_name);
  if (!has_memory_file)
    return 0;
  rewinddir (list);
  while (!has_database && (entry = readdir (list)))
    has_database = isdigit ((unsigned char)entry->d_name[0]) &&
                   is_database (search, descriptors, entry->d_name);
  if (!has_database)
    return 0;
  rewinddir (list);
  while (r == 0 && (entry = readdir (list)))
    if (is_memory_file (descriptors, entry->d_name))
      r = look_at_memory_file (search, descriptors, entry->d_name, process);
  return r;
}

/* Look at the process whose number is NAME. */
static int
look_at_process (struct search *search, const char *name)
{
  char path[300];
  DIR *list;
  int r;

  snprintf (path, sizeof path, "/proc/%s/fd", name);
  list = opendir (path);
  if (list == NULL) {
    search->found->hidden += errno == EACCES;
    return 0;
  }
  r = look_at_files (search, list, atoi (name));
  closedir (list);
  return r;
}

int
observe (const char *path, struct observation *observation,
         struct status *status)
{
  struct search search = { .found = observation, .status = status };
  struct dirent *entry;
  DIR *list;
  int r = 0;

  *observation = (struct observation){ .count = 0 };
  if (location_is_cluster (path)) /* its server may be on another machine */
    return status_fail (status, ENOTSUP,
                        "%s: what the server of a database on a cluster does "
                        "is not seen from here; give it stats=FILE",
                        path);
  if (stat (path, &search.database) == -1)
    return status_fail (status, errno, "%s: %s", path, strerror (errno));
  list = opendir ("/proc");
  if (list == NULL)
    return status_fail (status, EIO, "/proc: %s", strerror (errno));
  while (r == 0 && (entry = readdir (list)))
    if (isdigit ((unsigned char)entry->d_name[0]))
      r = look_at_process (&search, entry->d_name);
  closedir (list);
  if (r == -1)
    observation_free (observation);
  return r;
}

void
observation_free (struct observation *observation)
{
  for (size_t i = 0; i < observation->count; i++)
    free_observed (observation->servers[i]);
  free (observation->servers);
  *observation = (struct observation){ .count = 0 };
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A disk in an image of QEMU's formats: see disk-image.h. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "disk-image.h"
#include "tool.h"

/* Debian's package of qemu-nbd and qemu-img. */
#define QEMU_PACKAGE "qemu-utils"

/* How much of an image's file QEMU gets another second for when it looks at the
 * tables, in bytes.  Tables may lead to themselves, and have no end.
 */
#define CHECKED_PER_SECOND (UINT64_C (10) << 20)

/* The longest line of qemu-img map. */
#define LINE_MOST 4096

/* How often to look whether the user wants an end, in milliseconds. */
#define LOOK_EVERY 200

/*--------------------------------------------------------------------
 * What an image says of other files.
 */

/* The most of a VMDK image's description that QEMU looks at, in bytes. */
#define DESCRIPTION_MOST (20 * 512)

static uint32_t
big_32 (const unsigned char *bytes)
{
  return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

static uint64_t
big_64 (const unsigned char *bytes)
{
  return (uint64_t)big_32 (bytes) << 32 | big_32 (bytes + 4);
}

static uint32_t
little_32 (const unsigned char *bytes)
{
  return (uint32_t)bytes[3] << 24 | bytes[2] << 16 | bytes[1] << 8 | bytes[0];
}

static uint64_t
little_64 (const unsigned char *bytes)
{
  return (uint64_t)little_32 (bytes + 4) << 32 | little_32 (bytes);
}

/* Read up to LENGTH bytes; what is not there is zeroes. */
static int
read_header (int fd, const char *name, void *buffer, size_t length,
             uint64_t offset, struct status *status)
{
  memset (buffer, 0, length);
  if (offset > INT64_MAX - length || pread (fd, buffer, length, offset) == -1)
    return status_fail (status, errno, "reading the header of %s: %s", name,
                        strerror (errno));
  return 0;
}

/* Why a VMDK image is refused of which others have a part. */
#define NOT_WHOLE                                                              \
  "is not all of a disk in one file (monolithicSparse, streamOptimized)"

static int
refuse_other_file (const char *name, const char *why, const char *format,
                   struct status *status)
{
  return status_fail (status, EINVAL,
                      "%s %s, and files that an image names are not opened; "
                      "if you trust it, make one without: \"qemu-img convert "
                      "-f %s -O qcow2 %s NEW\"",
                      name, why, format, name);
}

/* qcow2 ("docs/interop/qcow2.txt" of QEMU): bytes 4 version, 8 and 16 the name
 * of the backing file, 32 encryption, 72 features that a reader must know.
 */
static int
check_qcow2 (int fd, const char *name, struct status *status)
{
  enum { CORRUPT = 2, DATA_FILE = 4 };
  unsigned char header[80];
  uint32_t version;
  uint64_t features;

  if (read_header (fd, name, header, sizeof header, 0, status) == -1)
    return -1;
  version = big_32 (header + 4);
  features = version == 2 ? 0 : big_64 (header + 72);
  if (version != 2 && version != 3)
    return status_fail (status, EINVAL,
                        "%s has version %" PRIu32
                        " of the format, not 2 or 3; make one of it with "
                        "\"qemu-img convert -f qcow -O qcow2 %s NEW\"",
                        name, version, name);
  if (big_64 (header + 8) != 0 || big_32 (header + 16) != 0)
    return refuse_other_file (
        name, "is based on another image (a backing file)", "qcow2", status);
  if (features & DATA_FILE)
    return refuse_other_file (name, "has its data in another file", "qcow2",
                              status);
  if (big_32 (header + 32) != 0)
    return status_fail (status, EINVAL, "%s is encrypted", name);
  if (features & CORRUPT)
    return status_fail (status, EINVAL,
                        "%s is marked as damaged; see \"qemu-img check\"",
                        name);
  return 0;
}

/* Read the description in a VMDK image, at byte OFFSET, as a text. */
static int
read_description (int fd, const char *name, uint64_t offset,
                  char text[DESCRIPTION_MOST + 1], struct status *status)
{
  if (read_header (fd, name, text, DESCRIPTION_MOST, offset, status) == -1)
    return -1;
  text[DESCRIPTION_MOST] = '\0';
  return 0;
}

static bool
is_whole (const char *description)
{
  return strstr (description, "createType=\"monolithicSparse\"") ||
         strstr (description, "createType=\"streamOptimized\"");
}

/* VMDK, version 4: bytes 12 the size, 28 where the description is and 36 how
 * long, both in sectors.  QEMU takes an image of no size for a list of others,
 * and looks for a parent at byte 512, wherever the description is.
 */
static int
check_vmdk (int fd, const char *name, struct status *status)
{
  char first[DESCRIPTION_MOST + 1], text[DESCRIPTION_MOST + 1];
  unsigned char header[44];
  uint64_t sector;

  if (read_header (fd, name, header, sizeof header, 0, status) == -1)
    return -1;
  if (memcmp (header, "KDMV", 4) != 0)
    return refuse_other_file (name, NOT_WHOLE, "vmdk", status);
  sector = little_64 (header + 28);
  if (sector > INT64_MAX / 1024)
    return status_fail (status, EINVAL, "the header of %s makes no sense",
                        name);
  if (read_description (fd, name, 512, first, status) == -1 ||
      read_description (fd, name, sector * 512, text, status) == -1)
    return -1;
  if (strstr (first, "parentFileNameHint") ||
      strstr (text, "parentFileNameHint"))
    return refuse_other_file (name, "is based on another image (a parent)",
                              "vmdk", status);
  if (little_64 (header + 12) == 0 || sector == 0 || !is_whole (text))
    return refuse_other_file (name, NOT_WHOLE, "vmdk", status);
  return 0;
}

/* VDI: bytes 76 what kind it is, of which 1 and 2 are all of a disk, 344 where
 * its blocks begin, 376 how long one is, 388 how many there are.  QEMU does not
 * look whether all are there.
 */
static int
check_vdi (int fd, const char *name, struct status *status)
{
  unsigned char header[392];
  off_t end;

  if (read_header (fd, name, header, sizeof header, 0, status) == -1)
    return -1;
  if (little_32 (header + 76) != 1 && little_32 (header + 76) != 2)
    return refuse_other_file (name, "is based on another image (a parent)",
                              "vdi", status);
  end = lseek (fd, 0, SEEK_END);
  if (end != -1 && (uint64_t)end < little_32 (header + 344) +
                                       (uint64_t)little_32 (header + 376) *
                                           little_32 (header + 388))
    return status_fail (status, EIO, "%s is damaged or was cut off", name);
  return 0;
}

/* VHDX: QEMU looks whether all blocks are there, but takes what is left of the
 * last sector for all of it.
 */
static int
check_vhdx (int fd, const char *name, struct status *status)
{
  const off_t end = lseek (fd, 0, SEEK_END);

  return end % 512 == 0 ? 0
                        : status_fail (status, EIO,
                                       "%s is damaged or was cut "
                                       "off",
                                       name);
}

/* QEMU itself refuses what else of VDI images, and VHDX ones, has a parent. */
static int
check_image (const char *format, int fd, const char *name,
             struct status *status)
{
  if (strcmp (format, "qcow2") == 0)
    return check_qcow2 (fd, name, status);
  if (strcmp (format, "vdi") == 0)
    return check_vdi (fd, name, status);
  if (strcmp (format, "vhdx") == 0)
    return check_vhdx (fd, name, status);
  return strcmp (format, "vmdk") == 0 ? check_vmdk (fd, name, status) : 0;
}

/*--------------------------------------------------------------------
 * qemu-nbd.
 */

/* Make a socket that listens, and one that is connected to it, as ENDS[0] and
 * [1].  Their name is in a directory of our own, and gone at once.
 */
static int
make_sockets (int ends[2], struct status *status)
{
  const char *temporary = getenv ("TMPDIR");
  char *directory = tool_format (
      "%s/sqlblock-XXXXXX", temporary && temporary[0] ? temporary : "/tmp");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  const struct sockaddr *name = (const struct sockaddr *)&address;
  int fd = -1, error, r = -1;

  ends[0] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ends[1] = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (ends[0] != -1 && ends[1] != -1 && mkdtemp (directory)) {
    fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The directory's own name may be too long. */
    snprintf (address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/s",
              fd);
    r = fd == -1 || bind (ends[0], name, sizeof address) == -1 ||
                listen (ends[0], 1) == -1 ||
                connect (ends[1], name, sizeof address) == -1
            ? -1
            : 0;
    error = errno;
    unlinkat (fd, "s", 0);
    rmdir (directory);
    close (fd);
    errno = error;
  }
  if (r == -1) {
    status_fail (status, errno, "making a socket for qemu-nbd in %s: %s",
                 directory, strerror (errno));
    close (ends[0]);
    close (ends[1]);
  }
  free (directory);
  return r;
}

/* What the layer below a format's is called in QEMU. */
static const char *
file_driver (int fd)
{
  struct stat st;

  return fstat (fd, &st) == 0 && S_ISBLK (st.st_mode) ? "host_device" : "file";
}

/* Have qemu-nbd, with its options ARGV, serve FD, which it has as 4; CONFINED
 * as in program.h.
 */
static int
serve (struct disk_image *image, const char *const argv[], int fd,
       bool confined, unsigned patience, struct status *status)
{
  int ends[2], r;

  *image = (struct disk_image){ .remote = NULL };
  if (make_sockets (ends, status) == -1)
    return -1;
  r = program_start (&image->program, argv, QEMU_PACKAGE,
                     &(struct program_files){ .input = -1,
                                              .output = -1,
                                              .third = ends[0],
                                              .fourth = fd,
                                              .listens = true,
                                              .confined = confined },
                     status);
  close (ends[0]);
  if (r == -1) {
    close (ends[1]);
    return -1;
  }
  image->remote = nbd_export_open_socket (ends[1], patience, status);
  if (image->remote)
    return 0;
  disk_image_fail (image, status);
  disk_image_close (image);
  return -1;
}

/* An image that is to be opened. */
struct opening {
  const char *format, *name;
  int fd;
  char *file;        /* what QEMU is told to open */
  uint64_t size;     /* of the file, in bytes */
  unsigned patience; /* seconds: for all of it */
};

static int
fail_cut (const struct opening *opening, struct status *status)
{
  return status_fail (status, EIO,
                      "it is damaged or was cut off; \"qemu-img check -f %s "
                      "%s\" tells more",
                      opening->format, opening->name);
}

/* An image that was cut off reads as zeroes where its end is missing.  QEMU
 * looks for that, and for tables that make no sense, only when it is asked.
 */
static int
check_whole (const struct opening *opening, struct status *status)
{
  enum { DAMAGED = 2 };
  const struct program_files files = {
    .input = -1,
    .output = -1,
    .third = -1,
    .fourth = opening->fd,
    .confined = true,
  };
  int code = 0;

  if (program_run ((const char *const[]){ "qemu-img", "check", "-q",
                                          opening->file, NULL },
                   QEMU_PACKAGE, &files, opening->patience, &code,
                   status) == -1)
    return -1;
  return code == DAMAGED ? fail_cut (opening, status) : 0;
}

/* Where in the file the data ends that LINE of qemu-img map tells of, in bytes;
 * 0: of none whose place it knows.
 */
static uint64_t
data_end (const char *line)
{
  static const char length_key[] = "\"length\": ",
                    offset_key[] = "\"offset\": ";
  const char *length = strstr (line, length_key);
  const char *offset = strstr (line, offset_key);

  return length && offset && strstr (line, "\"data\": true")
             ? strtoull (length + strlen (length_key), NULL, 10) +
                   strtoull (offset + strlen (offset_key), NULL, 10)
             : 0;
}

/* Read some more of what qemu-img says into the COUNT bytes of LINES, which
 * become a text.  Returns 1, 0 at the end, or -1.
 */
static int
read_lines (int fd, char lines[LINE_MOST + 1], size_t *count, uint64_t until,
            struct status *status)
{
  struct pollfd wait = { .fd = fd, .events = POLLIN };
  ssize_t n;

  while (poll (&wait, 1, LOOK_EVERY) <= 0 && !tool_interrupted ())
    if (clock_now () >= until)
      break;
  if (tool_interrupted ())
    return status_fail (status, ECANCELED, "qemu-img: interrupted");
  if (clock_now () >= until)
    return status_fail (status, ETIMEDOUT,
                        "qemu-img has taken too long to tell where the data "
                        "is; give it more with --timeout");
  n = read (fd, lines + *count, LINE_MOST - *count);
  if (n == -1)
    return status_fail (status, errno, "reading what qemu-img says: %s",
                        strerror (errno));
  *count += n;
  lines[*count] = '\0';
  return n > 0;
}

/* Look at what qemu-img map says on FD, until the data does not end in the
 * file.  Returns 0, or -1.
 */
static int
check_lines (const struct opening *opening, int fd, struct status *status)
{
  const uint64_t until =
      clock_now () + UINT64_C (1000) * opening->patience * CLOCK_MILLISECOND;
  char lines[LINE_MOST + 1], *line, *end;
  size_t count = 0;
  int r;

  while ((r = read_lines (fd, lines, &count, until, status)) == 1) {
    for (line = lines; (end = strchr (line, '\n')) != NULL; line = end + 1) {
      *end = '\0';
      if (data_end (line) > opening->size)
        return fail_cut (opening, status);
    }
    count -= line - lines;
    if (count == LINE_MOST)
      return status_fail (status, EIO, "qemu-img map says what is no line");
    memmove (lines, line, count + 1);
  }
  if (r == 0 && data_end (lines) > opening->size)
    return fail_cut (opening, status);
  return r;
}

/* QEMU does not mind where the last cluster is not all there. */
static int
check_last (const struct opening *opening, struct status *status)
{
  struct program_files files = {
    .input = -1, .third = -1, .fourth = opening->fd, .confined = true
  };
  struct program program;
  int ends[2], r;

  if (pipe2 (ends, O_CLOEXEC) == -1)
    return status_fail (status, errno, "making a pipe: %s", strerror (errno));
  files.output = ends[1];
  r = program_start (&program,
                     (const char *const[]){ "qemu-img", "map", "--output=json",
                                            opening->file, NULL },
                     QEMU_PACKAGE, &files, status);
  close (ends[1]);
  if (r == 0) {
    r = check_lines (opening, ends[0], status);
    if (r == 0)
      r = program_end (&program, opening->patience, status);
    else
      program_kill (&program);
  }
  close (ends[0]);
  return r;
}

int
disk_image_open (struct disk_image *image, const char *format, int fd,
                 const char *name, unsigned patience, struct status *status)
{
  struct opening opening = { .format = format, .name = name, .fd = fd };
  const off_t size = lseek (fd, 0, SEEK_END);
  int r;

  if (size == -1)
    return status_fail (status, errno, "opening %s: %s", name,
                        strerror (errno));
  if (check_image (format, fd, name, status) == -1)
    return -1;
  opening.size = size;
  opening.patience = patience + opening.size / CHECKED_PER_SECOND;
  opening.file =
      tool_format ("json:{\"driver\":\"%s\",\"backing\":null,\"file\":"
                   "{\"driver\":\"%s\",\"filename\":\"/proc/self/fd/4\"}}",
                   format, file_driver (fd));
  r = check_whole (&opening, status);
  if (r == 0)
    r = check_last (&opening, status);
  if (r == 0)
    r = serve (
        image,
        (const char *const[]){ "qemu-nbd", "--read-only", opening.file, NULL },
        fd, true, patience, status);
  free (opening.file);
  return r == -1 ? status_prefix (status, "opening %s", name) : 0;
}

/* Run qemu-img with ARGV on the new image FD, which it has as 4. */
static int
run_qemu_img (const char *const argv[], int fd, unsigned patience,
              struct status *status)
{
  const struct program_files files = {
    .input = -1, .output = -1, .third = -1, .fourth = fd
  };

  return program_run (argv, QEMU_PACKAGE, &files, patience, NULL, status);
}

static uint64_t
round_up (uint64_t value, uint64_t unit)
{
  return (value + unit - 1) / unit * unit;
}

/* What compresses wants whole blocks, so the image gets its size at the end. */
int
disk_image_create (struct disk_image *image, int fd, uint64_t size,
                   bool compress, unsigned patience, struct status *status)
{
  static const char compressed[] =
      "json:{\"driver\":\"compress\",\"file\":{\"driver\":\"qcow2\","
      "\"file\":{\"driver\":\"file\",\"filename\":\"/proc/self/fd/4\"}}}";
  static const char plain[] =
      "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
      "\"filename\":\"/proc/self/fd/4\"}}";
  const uint64_t sectors = round_up (size, 512);
  const uint64_t first =
      compress ? round_up (size, DISK_IMAGE_CLUSTER) : sectors;
  char *bytes = tool_format ("%" PRIu64, first);
  int r;

  r = run_qemu_img ((const char *const[]){ "qemu-img", "create", "-q", "-f",
                                           "qcow2", "-o", "compat=1.1",
                                           "/proc/self/fd/4", bytes, NULL },
                    fd, patience, status);
  free (bytes);
  if (r == -1 ||
      serve (image,
             (const char *const[]){ "qemu-nbd", "--cache=writeback",
                                    compress ? compressed : plain, NULL },
             fd, false, patience, status) == -1)
    return -1;
  image->fd = fd;
  image->size = first == sectors ? 0 : sectors;
  return 0;
}

int
disk_image_finish (struct disk_image *image, struct status *status)
{
  const unsigned patience = image->remote->patience;
  char *bytes;
  int r;

  nbd_export_close (image->remote);
  image->remote = NULL;
  r = program_end (&image->program, patience, status);
  if (r == -1 || image->size == 0)
    return r;
  bytes = tool_format ("%" PRIu64, image->size);
  r = run_qemu_img ((const char *const[]){ "qemu-img", "resize", "-q",
                                           "--shrink", "-f", "qcow2",
                                           "/proc/self/fd/4", bytes, NULL },
                    image->fd, patience, status);
  free (bytes);
  return r;
}

int
disk_image_fail (struct disk_image *image, struct status *status)
{
  return program_explain (&image->program, status);
}

void
disk_image_close (struct disk_image *image)
{
  if (image->remote)
    nbd_export_close (image->remote);
  image->remote = NULL;
  program_kill (&image->program);
}

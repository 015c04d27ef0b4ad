/* A VFS that makes room in the database: see vfs_room.h. */

#include <config.h>

#include "vfs_pass.h"
#include "vfs_room.h"

static sqlite3_vfs *vfs_below;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods; /* ours */

/* Fill FILE, one of the VFS below, with zeroes up to SIZE, in pieces that
 * begin at multiples of their length.
 */
static void
fill (sqlite3_file *file, sqlite3_int64 size)
{
  static const char zeroes[VFS_ROOM_PIECE];
  sqlite3_int64 end, piece;
  int rc = file->pMethods->xFileSize (file, &end);

  for (; rc == SQLITE_OK && end < size; end += piece) {
    piece = VFS_ROOM_PIECE - end % VFS_ROOM_PIECE;
    if (piece > size - end)
      piece = size - end;
    rc = file->pMethods->xWrite (file, zeroes, piece, end);
  }
}

static int
room_file_control (sqlite3_file *file, int operation, void *argument)
{
  if (operation == SQLITE_FCNTL_SIZE_HINT)
    fill (((struct pass_file *)file)->below, *(sqlite3_int64 *)argument);
  return pass_file_control (file, operation, argument);
}

/* A database that is written gets our methods; any other file is the one of
 * the VFS below.
 */
static int
open_file (sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
           int *out_flags)
{
  struct pass_file *room = (struct pass_file *)file;

  (void)self;
  if (!(flags & SQLITE_OPEN_MAIN_DB) || flags & SQLITE_OPEN_READONLY)
    return vfs_below->xOpen (vfs_below, name, file, flags, out_flags);
  *room = (struct pass_file){ .below = NULL };
  return pass_open (vfs_below, name, room, sizeof *room, &methods, flags,
                    out_flags);
}

int
vfs_room_register (void)
{
  methods = pass_methods;
  methods.xFileControl = room_file_control;
  vfs_below = sqlite3_vfs_find (NULL);
  return pass_register (&vfs, vfs_below, VFS_ROOM_NAME,
                        sizeof (struct pass_file), open_file);
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Groups of disks and snapshots: see pattern.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/times.h"
#include "pattern.h"

/*--------------------------------------------------------------------
 * Patterns.
 */

bool
pattern_is_one (const char *text)
{
  return strpbrk (text, "*?[") != NULL;
}

/* How many bytes the character at TEXT has; it is valid UTF-8, or each byte
 * counts.
 */
static size_t
character (const char *text)
{
  const unsigned char first = text[0];
  const size_t length = first < 0xc0   ? 1
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                                       : 4;

  for (size_t i = 1; i < length; i++)
    if (((unsigned char)text[i] & 0xc0) != 0x80)
      return 1;
  return length;
}

/* The order of two characters, as that of their codes. */
static int
compare (const char *a, const char *b)
{
  const size_t length_a = character (a), length_b = character (b);

  return length_a != length_b ? (length_a < length_b ? -1 : 1)
                              : memcmp (a, b, length_a);
}

/* The end of the class that begins at TEXT, "[", behind its "]"; NULL where it
 * has none, and the "[" means itself.
 */
static const char *
class_end (const char *text)
{
  text++;
  if (*text == '!' || *text == '^')
    text++;
  if (*text == ']')
    text++;
  for (; *text && *text != ']'; text++)
    if (*text == '\\' && text[1])
      text++;
  return *text ? text + 1 : NULL;
}

/* Is the character at NAME in the class from TEXT, "[", to END? */
static bool
is_in_class (const char *text, const char *end, const char *name)
{
  const bool not = text[1] == '!' || text[1] == '^';
  bool found = false;

  for (text += 1 + not ; text < end - 1;) {
    const char *low, *high;

    text += *text == '\\';
    low = high = text;
    text += character (text);
    if (*text == '-' && text + 1 < end - 1) {
      text++;
      text += *text == '\\';
      high = text;
      text += character (text);
    }
    found = found || (compare (low, name) <= 0 && compare (name, high) <= 0);
  }
  return found != not ;
}

/* Does the first of PATTERN, no "*", fit the character at NAME?  Returns what
 * is behind it, or NULL.
 */
static const char *
fit_one (const char *pattern, const char *name)
{
  const char *end = *pattern == '[' ? class_end (pattern) : NULL;

  if (*name == '\0' || *pattern == '\0')
    return NULL;
  if (*pattern == '?')
    return pattern + 1;
  if (end)
    return is_in_class (pattern, end, name) ? end : NULL;
  if (*pattern == '\\' && pattern[1])
    pattern++;
  return compare (pattern, name) == 0 ? pattern + character (pattern) : NULL;
}

bool
pattern_fits (const char *pattern, const char *name)
{
  /* Behind the last "*", and how far that has gone: earlier ones need not be
   * tried again.
   */
  const char *star = NULL, *from = NULL;

  while (*name || *pattern) {
    const char *next;

    if (*pattern == '*') {
      star = ++pattern;
      from = name;
      continue;
    }
    next = fit_one (pattern, name);
    if (next) {
      pattern = next;
      name += character (name);
    }
    else if (star && *from) {
      from += character (from);
      pattern = star;
      name = from;
    }
    else
      return false;
  }
  return true;
}

/*--------------------------------------------------------------------
 * Names.
 */

static int
compare_names (const void *a, const void *b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

void
names_add (struct names *names, char *name)
{
  if (names->count == names->capacity) {
    names->capacity = 2 * names->capacity + 16;
    names->names =
        tool_realloc (names->names, names->capacity * sizeof *names->names);
  }
  names->names[names->count++] = name;
}

void
names_once (struct names *names)
{
  const char **sorted = tool_alloc (names->count * sizeof *sorted);
  bool *seen = tool_alloc (names->count * sizeof *seen);
  size_t kept = 0;

  memcpy (sorted, names->names, names->count * sizeof *sorted);
  qsort (sorted, names->count, sizeof *sorted, compare_names);
  for (size_t i = 0; i < names->count; i++) {
    const char **first = bsearch (&names->names[i], sorted, names->count,
                                  sizeof *sorted, compare_names);

    while (first > sorted && strcmp (first[-1], *first) == 0)
      first--;
    if (!seen[first - sorted])
      names->names[kept++] = names->names[i];
    seen[first - sorted] = true;
  }
  names->count = kept;
  free (sorted);
  free (seen);
}

/*--------------------------------------------------------------------
 * What there is, read once.
 */

static struct names disks;
static struct {
  struct snapshot_info *info;
  size_t count, capacity;
} snapshots;

/* The snapshots of one disk, in the order in which they were made. */
struct history {
  const struct snapshot_info *info;
  size_t count;
};

static int
add_disk (const struct disk_info *info, void *opaque)
{
  names_add (opaque, tool_strdup (info->name));
  return 0;
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  (void)opaque;
  if (snapshots.count == snapshots.capacity) {
    snapshots.capacity = 2 * snapshots.capacity + 16;
    snapshots.info = tool_realloc (snapshots.info,
                                   snapshots.capacity * sizeof *snapshots.info);
  }
  snapshots.info[snapshots.count++] = *info;
  return 0;
}

/* Read the disks, and with SNAPSHOTS these.  Returns an exit code. */
static int
read_all (struct store *store, bool with_snapshots)
{
  static bool have_disks, have_snapshots;
  struct status status;

  if ((!have_disks && store_list (store, add_disk, &disks, &status) == -1) ||
      (with_snapshots && !have_snapshots &&
       manage_list_snapshots (store, NULL, add_snapshot, NULL, &status) == -1))
    return tool_fail (&status);
  have_disks = true;
  have_snapshots = have_snapshots || with_snapshots;
  return TOOL_DONE;
}

/* Those of DISK: they stand together. */
static struct history
history_of (const char *disk)
{
  struct history history = { NULL, 0 };

  for (size_t i = 0; i < snapshots.count; i++)
    if (strcmp (snapshots.info[i].disk_name, disk) == 0) {
      if (history.count++ == 0)
        history.info = &snapshots.info[i];
    }
    else if (history.count > 0)
      break;
  return history;
}

static bool
is_disk (const char *name)
{
  for (size_t i = 0; i < disks.count; i++)
    if (strcmp (disks.names[i], name) == 0)
      return true;
  return false;
}

/*--------------------------------------------------------------------
 * Disks.
 */

static int
find_disks (struct store *store, const char *text, struct names *found)
{
  const size_t before = found->count;
  const int code = pattern_is_one (text) ? read_all (store, false) : TOOL_DONE;

  if (code != TOOL_DONE)
    return code;
  if (!pattern_is_one (text) || is_disk (text)) {
    names_add (found, tool_strdup (text));
    return TOOL_DONE;
  }
  for (size_t i = 0; i < disks.count; i++)
    if (pattern_fits (text, disks.names[i]))
      names_add (found, tool_strdup (disks.names[i]));
  return found->count > before
             ? TOOL_DONE
             : tool_error (ENOENT, "no disk fits the pattern '%s'", text);
}

int
pattern_disks (struct store *store, int count, char *texts[],
               struct names *names)
{
  int code = TOOL_DONE;

  for (int i = 0; code == TOOL_DONE && i < count; i++)
    code = find_disks (store, texts[i], names);
  names_once (names);
  return code;
}

/*--------------------------------------------------------------------
 * Snapshots.
 */

/* The place in HISTORY of the snapshot whose name is the LENGTH bytes at NAME;
 * of no name, OTHERWISE; -1 where there is none.
 */
static ssize_t
find_end (const struct history *history, const char *name, size_t length,
          ssize_t otherwise)
{
  if (length == 0)
    return otherwise;
  for (size_t i = 0; i < history->count; i++)
    if (strlen (history->info[i].name) == length &&
        memcmp (history->info[i].name, name, length) == 0)
      return i;
  return -1;
}

/* What is between the ends of a range. */
static const char *const between[] = { "..", "%" };

static bool
may_be_range (const char *name)
{
  return strstr (name, between[0]) || strstr (name, between[1]);
}

/* How many ranges of HISTORY can NAME be?  Names may have dots: any ".." with
 * snapshots, or nothing, on both sides counts.
 */
static int
find_ranges (const struct history *history, const char *name, ssize_t *first,
             ssize_t *last)
{
  int count = 0;

  for (size_t i = 0; history->count > 0 && i < 2; i++)
    for (const char *middle = strstr (name, between[i]); middle;
         middle = strstr (middle + 1, between[i])) {
      const char *behind = middle + strlen (between[i]);
      const ssize_t begin = find_end (history, name, middle - name, 0);
      const ssize_t end =
          find_end (history, behind, strlen (behind), history->count - 1);

      if (begin != -1 && end != -1) {
        *first = begin;
        *last = end;
        count++;
      }
    }
  return count;
}

/* Fail where the range NAME of DISK has an end that is not there; a time is
 * none.
 */
static int
check_ends (struct store *store, const char *disk, const char *name)
{
  const char *dots = strstr (name, between[0]);
  const char *const middle = dots ? dots : strstr (name, between[1]);
  const char *const ends[] = {
    tool_format ("%.*s", (int)(middle - name), name),
    middle + strlen (between[dots ? 0 : 1]),
  };
  struct snapshot_info info;
  struct status status;

  for (int i = 0; i < 2; i++) {
    const char *end = tool_format ("%s@%s", disk, ends[i]);
    int64_t seconds;

    if (times_parse (ends[i], &seconds))
      return tool_usage ("'%s' is a time; a range goes from one name to "
                         "another",
                         ends[i]);
    if (ends[i][0] && manage_find_snapshot (store, end, &info, &status) == -1)
      return tool_fail (&status);
  }
  return TOOL_DONE;
}

/* "web@monday", a new string. */
static char *
full_name (const char *disk, const char *name)
{
  return tool_format ("%s@%s", disk, name);
}

/* Add the range from FIRST to LAST. */
static int
add_range (const struct history *history, ssize_t first, ssize_t last,
           struct names *names)
{
  const struct snapshot_info *info = history->info;

  if (first > last)
    return tool_error (EINVAL,
                       "'%s' is older than '%s': a range begins with the older "
                       "one",
                       info[last].name, info[first].name);
  for (ssize_t i = first; i <= last; i++)
    names_add (names, full_name (info[i].disk_name, info[i].name));
  return TOOL_DONE;
}

/* Add those of HISTORY that fit the pattern NAME. */
static void
add_fitting (const struct history *history, const char *name,
             struct names *names)
{
  for (size_t i = 0; i < history->count; i++)
    if (pattern_fits (name, history->info[i].name))
      names_add (names,
                 full_name (history->info[i].disk_name, history->info[i].name));
}

/* Add the snapshots of DISK that NAME means.  MISSING says that one which is
 * not there is added all the same, to be found missing by the change.
 */
static int
add_of_disk (struct store *store, const char *disk, const char *name,
             bool missing, struct names *names)
{
  const struct history history = history_of (disk);
  const bool single = find_end (&history, name, strlen (name), -1) != -1;
  ssize_t first = 0, last = 0;
  const int ranges = find_ranges (&history, name, &first, &last);

  if (ranges + single > 1)
    return tool_error (EINVAL,
                       "'%s@%s' can mean several things, since snapshots have "
                       "'..' or '%%' in their names; name them one by one, or "
                       "rename such a snapshot first",
                       disk, name);
  if (ranges == 1)
    return add_range (&history, first, last, names);
  if (single || (missing && !pattern_is_one (name) && !may_be_range (name)))
    names_add (names, full_name (disk, name));
  else if (pattern_is_one (name))
    add_fitting (&history, name, names);
  else if (may_be_range (name)) {
    const int code = check_ends (store, disk, name);

    if (code == TOOL_DONE)
      names_add (names, full_name (disk, name));
    return code;
  }
  return TOOL_DONE;
}

/* The same where the disk must have one, and one only. */
static int
add_one_of_disk (struct store *store, const char *disk, const char *name,
                 struct names *names)
{
  const size_t before = names->count;
  int code = TOOL_DONE;

  if (pattern_is_one (name))
    code = add_of_disk (store, disk, name, false, names);
  else
    names_add (names, full_name (disk, name));
  if (code != TOOL_DONE || names->count == before + 1)
    return code;
  if (names->count == before)
    return tool_error (ENOENT, "no snapshot of disk '%s' fits the pattern '%s'",
                       disk, name);
  return tool_error (EINVAL,
                     "'%s@%s' are several snapshots, among them '%s' and '%s'; "
                     "name one",
                     disk, name, names->names[before],
                     names->names[before + 1]);
}

/* Add the snapshots that TEXT means. */
static int
find_snapshots (struct store *store, const char *text, bool each,
                struct names *names)
{
  const struct target target = tool_target (text);
  const size_t before = names->count;
  struct names found = { 0 };
  int code = read_all (store, true);

  if (code == TOOL_DONE)
    code = find_disks (store, target.disk, &found);
  for (size_t i = 0; code == TOOL_DONE && i < found.count; i++) {
    const char *disk = found.names[i];

    code = each ? add_one_of_disk (store, disk, target.snapshot, names)
                : add_of_disk (store, disk, target.snapshot,
                               strcmp (disk, target.disk) == 0, names);
  }
  if (code == TOOL_DONE && names->count == before)
    code = tool_error (ENOENT, "no snapshot fits the pattern '%s'", text);
  free (found.names);
  return code;
}

int
pattern_snapshots (struct store *store, int count, char *texts[], bool each,
                   struct names *names)
{
  int code = TOOL_DONE;

  for (int i = 0; code == TOOL_DONE && i < count; i++)
    if (pattern_is_one (texts[i]) || (!each && may_be_range (texts[i])))
      code = find_snapshots (store, texts[i], each, names);
    else
      names_add (names, tool_strdup (texts[i]));
  names_once (names);
  return code;
}

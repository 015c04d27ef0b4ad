/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who may use a disk: see allow.h. */

#include <config.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/allow.h"

/* The longest item, in bytes, with the NUL behind it. */
#define ITEM_MAX 1024

/* Room for what the machine says about a user or a group: at first, at most. */
#define ENTRY_ROOM     1024
#define ENTRY_ROOM_MAX (1024 * 1024)

/* Each kind of item has a function that reads what stands behind its beginning:
 * it returns whether that is right, and sets ADMITTED where the peer is meant.
 */
struct asked {
  const struct peer *peer; /* NULL: nobody; only whether it is right */
  bool admitted;
  struct status *status; /* is told of a name that nobody has */
};

/*--------------------------------------------------------------------
 * Numbers, users and groups.
 */

/* Read a decimal number of at most MOST. */
static bool
parse_number (const char *text, uint64_t most, uint64_t *number)
{
  uint64_t value = 0;

  if (*text == '\0')
    return false;
  for (; isdigit ((unsigned char)*text); text++) {
    value = value * 10 + (*text - '0');
    if (value > most)
      return false;
  }
  *number = value;
  return *text == '\0';
}

/* Look NAME up with so much ROOM.  Returns 0 and -1 in *ID where there is none,
 * or ERANGE where more room is needed.
 */
static int
look_up (bool group, const char *name, char *room, size_t size, int64_t *id)
{
  struct passwd user, *found_user = NULL;
  struct group entry, *found_group = NULL;
  const int r = group ? getgrnam_r (name, &entry, room, size, &found_group)
                      : getpwnam_r (name, &user, room, size, &found_user);

  *id = -1;
  if (found_user)
    *id = found_user->pw_uid;
  else if (found_group)
    *id = found_group->gr_gid;
  return r;
}

/* The id of a user or a group, or -1. */
static int64_t
id_of (bool group, const char *name)
{
  int64_t id = -1;
  char *room;
  int r = ERANGE;

  for (size_t size = ENTRY_ROOM; r == ERANGE && size <= ENTRY_ROOM_MAX;
       size *= 2) {
    room = malloc (size);
    r = room ? look_up (group, name, room, size, &id) : ENOMEM;
    free (room);
  }
  return id;
}

static bool
ask_id (bool group, const char *text, struct asked *asked)
{
  const struct peer *peer = asked->peer;
  int64_t theirs;
  uint64_t id;

  if (text[0] == '\0' || text[0] == '-')
    return false;
  if (!isdigit ((unsigned char)text[0])) {
    if (peer == NULL || peer->kind != PEER_UNIX)
      return true;
    theirs = id_of (group, text);
    if (theirs == -1) {
      status_fail (asked->status, ENOENT, "there is no %s '%s'",
                   group ? "group" : "user", text);
      return true;
    }
    id = theirs;
  }
  /* The highest one means none. */
  else if (!parse_number (text, UINT32_MAX - 1, &id))
    return false;
  if (peer)
    asked->admitted = peer->kind == PEER_UNIX &&
                      (group ? peer->gid : peer->uid) == (int64_t)id;
  return true;
}

static bool
ask_user (const char *text, struct asked *asked)
{
  return ask_id (false, text, asked);
}

static bool
ask_group (const char *text, struct asked *asked)
{
  return ask_id (true, text, asked);
}

/*--------------------------------------------------------------------
 * Addresses.
 */

static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

/* Are the first BITS of both the same? */
static bool
same_bits (const unsigned char *a, const unsigned char *b, unsigned bits)
{
  const unsigned whole = bits / 8;
  const unsigned char mask = 0xff00 >> bits % 8;

  return memcmp (a, b, whole) == 0 &&
         (bits % 8 == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

/* Are all bits from number BITS on zeroes, of SIZE bytes? */
static bool
ends_with_bits (const unsigned char *address, unsigned bits, size_t size)
{
  for (unsigned i = bits; i < size * 8; i++)
    if (address[i / 8] & 0x80 >> i % 8)
      return false;
  return true;
}

/* IPv4 in an address of IPv6, as one socket for both gives it, is IPv4. */
static bool
ask_address (const char *text, struct asked *asked)
{
  enum peer_kind kind = strchr (text, ':') ? PEER_INET6 : PEER_INET;
  const size_t size = kind == PEER_INET ? 4 : 16;
  const char *slash = strchr (text, '/');
  const unsigned char *range;
  unsigned char address[16];
  char numbers[INET6_ADDRSTRLEN];
  uint64_t bits = size * 8;
  const size_t length = slash ? (size_t)(slash - text) : strlen (text);

  if (length >= sizeof numbers)
    return false;
  memcpy (numbers, text, length);
  numbers[length] = '\0';
  if (inet_pton (kind == PEER_INET ? AF_INET : AF_INET6, numbers, address) !=
          1 ||
      (slash && !parse_number (slash + 1, size * 8, &bits)) ||
      !ends_with_bits (address, bits, size))
    return false;
  range = address;
  if (kind == PEER_INET6 && bits >= 96 &&
      memcmp (address, mapped, sizeof mapped) == 0) {
    kind = PEER_INET;
    range += sizeof mapped;
    bits -= 96;
  }
  if (asked->peer)
    asked->admitted = asked->peer->kind == kind &&
                      same_bits (asked->peer->address, range, bits);
  return true;
}

/*--------------------------------------------------------------------
 * Words.
 */

static bool
ask_all (const char *text, struct asked *asked)
{
  asked->admitted = asked->peer != NULL;
  return *text == '\0';
}

static bool
ask_none (const char *text, struct asked *asked)
{
  (void)asked;
  return *text == '\0';
}

static bool
ask_unix (const char *text, struct asked *asked)
{
  asked->admitted = asked->peer && asked->peer->kind == PEER_UNIX;
  return *text == '\0';
}

static bool
ask_vsock (const char *text, struct asked *asked)
{
  asked->admitted = asked->peer && asked->peer->kind == PEER_VSOCK;
  return *text == '\0';
}

static bool
ask_cid (const char *text, struct asked *asked)
{
  uint64_t cid;

  if (!parse_number (text, UINT32_MAX - 1, &cid))
    return false;
  asked->admitted =
      asked->peer && asked->peer->kind == PEER_VSOCK && asked->peer->cid == cid;
  return true;
}

/*--------------------------------------------------------------------
 * Certificates.
 */

static int
hex_digit (char digit)
{
  static const char digits[] = "0123456789abcdef";
  const char *found =
      digit ? strchr (digits, tolower ((unsigned char)digit)) : NULL;

  return found ? found - digits : -1;
}

/* Copy the value of an attribute, up to an unescaped ',' or '+', to VALUE,
 * which has room for ITEM_MAX bytes, or nothing where it is no text that fits.
 * Returns what stands behind it.
 */
static const char *
read_value (const char *text, char *value)
{
  bool right = *text != '#'; /* hexadecimal BER */
  size_t length = 0;
  char letter;

  for (; *text && *text != ',' && *text != '+'; text++) {
    letter = *text;
    if (letter == '\\' && hex_digit (text[1]) != -1 &&
        hex_digit (text[2]) != -1) {
      letter = hex_digit (text[1]) * 16 + hex_digit (text[2]);
      text += 2;
    }
    else if (letter == '\\' && text[1])
      letter = *++text;
    right = right && letter && length < ITEM_MAX - 1;
    if (right)
      value[length++] = letter;
  }
  value[right ? length : 0] = '\0';
  return text;
}

/* Is NAME the common name of the distinguished name DN?  One with several has
 * none.
 */
static bool
is_common_name (const char *dn, const char *name)
{
  char value[ITEM_MAX], common[ITEM_MAX] = "";
  unsigned count = 0;
  const char *end;
  bool is_common;

  for (;;) {
    end = dn + strcspn (dn, "=");
    if (*end == '\0')
      break;
    is_common = end - dn == 2 && strncasecmp (dn, "CN", 2) == 0;
    end = read_value (end + 1, value);
    if (is_common) {
      strcpy (common, value);
      count++;
    }
    if (*end == '\0')
      break;
    dn = end + 1;
  }
  return count == 1 && common[0] && strcmp (common, name) == 0;
}

static bool
ask_dn (const char *dn, const char *text, struct asked *asked)
{
  if (dn && dn[0])
    asked->admitted =
        strchr (text, '=') ? strcmp (dn, text) == 0 : is_common_name (dn, text);
  return text[0];
}

static bool
ask_name (const char *text, struct asked *asked)
{
  return ask_dn (asked->peer ? asked->peer->tls_name : NULL, text, asked);
}

static bool
ask_issuer (const char *text, struct asked *asked)
{
  return ask_dn (asked->peer ? asked->peer->tls_issuer : NULL, text, asked);
}

/*--------------------------------------------------------------------
 * Lists.
 */

static const struct {
  const char *beginning;
  bool (*ask) (const char *behind, struct asked *asked);
  bool tls;
} kinds[] = {
  /* What ends with a colon goes on; else the word is all of it. */
  { "all", ask_all, false },           { "none", ask_none, false },
  { "unix", ask_unix, false },         { "uid:", ask_user, false },
  { "gid:", ask_group, false },        { "vsock:", ask_cid, false },
  { "vsock", ask_vsock, false },       { "tls:", ask_name, true },
  { "tls-issuer:", ask_issuer, true }, { "", ask_address, false },
};

/* The number of the kind of ITEM in `kinds`. */
static size_t
kind_of (const char *item)
{
  size_t i = 0;

  while (strncmp (item, kinds[i].beginning, strlen (kinds[i].beginning)) != 0)
    i++;
  return i;
}

/* Copy the next item of TEXT, up to a comma, to ITEM; spaces around it are
 * none of it.  Returns what stands behind it, or NULL where it is too long.
 */
static const char *
read_item (const char *text, char item[ITEM_MAX])
{
  size_t length = 0, end = 0;
  bool escaped;

  text += strspn (text, " ");
  for (; *text && *text != ','; text++) {
    escaped = *text == '\\' && text[1];
    if (escaped)
      text++;
    if (length == ITEM_MAX - 1)
      return NULL;
    item[length++] = *text;
    if (escaped || *text != ' ')
      end = length;
  }
  item[end] = '\0';
  return text;
}

/* Look at all items of TEXT, also behind one that lets the peer in: of a list
 * with a mistake nobody knows what it was to be.  Returns 0, or -1.
 */
static int
ask_all_items (const char *text, struct asked *asked, bool *tls,
               struct status *status)
{
  bool admitted = false;
  char item[ITEM_MAX];
  const char *end = text;
  size_t kind;

  do {
    end = read_item (end, item);
    kind = end ? kind_of (item) : 0;
    asked->admitted = false;
    if (end == NULL ||
        !kinds[kind].ask (item + strlen (kinds[kind].beginning), asked))
      return status_fail (
          status, EINVAL,
          "'%.100s' in '%.100s' is not understood; who may use a disk is all, "
          "none, unix, uid:USER, gid:GROUP, vsock, vsock:CID, tls:NAME, "
          "tls-issuer:NAME, or an address such as 192.0.2.7 or 10.0.0.0/8, "
          "which has only zeroes behind its range",
          end ? item : "...", text);
    admitted |= asked->admitted;
    *tls |= kinds[kind].tls;
  } while (*end++);
  asked->admitted = admitted;
  return 0;
}

int
allow_check (const char *text, struct status *status)
{
  struct asked asked = { .peer = NULL };
  bool tls = false;

  if (strlen (text) > ALLOW_MAX)
    return status_fail (status, EINVAL,
                        "who may use a disk is said in more than %d bytes",
                        ALLOW_MAX);
  return ask_all_items (text, &asked, &tls, status);
}

int
allow_admits (const char *text, const struct peer *peer, struct status *status)
{
  struct asked asked = { .peer = peer, .status = status };
  bool tls = false;

  status->message[0] = '\0';
  if (strlen (text) > ALLOW_MAX)
    return allow_check (text, status);
  return ask_all_items (text, &asked, &tls, status) == -1 ? -1 : asked.admitted;
}

bool
allow_asks_for_tls (const char *text)
{
  struct asked asked = { .peer = NULL };
  struct status ignored;
  bool tls = false;

  return ask_all_items (text, &asked, &tls, &ignored) == 0 && tls;
}

/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* key list, add, change, remove: what opens an encrypted disk. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "secrets.h"
#include "tool.h"

static const char *new_key_file, *new_passphrase;

static const struct tool_option new_options[] = {
  { "new-key-file", 0, "FILE", &new_key_file, "the file that is to open it" },
  { "new-passphrase", 0, "SOURCE", &new_passphrase,
    "the same: +FILE, -FD, or - to be asked for it" },
  { NULL, 0, NULL, NULL, NULL },
};

/* Read how DISK is encrypted.  Returns 0, or an exit code. */
static int
find_encryption (const char *path, const char *disk, bool write,
                 struct store **store, struct encryption *encryption)
{
  struct status status;

  *store = tool_open (path, write);
  return manage_encryption (*store, disk, encryption, &status) == -1
             ? tool_fail (&status)
             : TOOL_DONE;
}

/*--------------------------------------------------------------------
 * list
 */

static int
run_list (int argc, char *argv[])
{
  static const char *const titles[] = { ">SLOT", "KIND", NULL };
  static const char *const kinds[] = {
    [0] = "unknown",
    [SECRET_PASSPHRASE] = "passphrase",
    [SECRET_KEY_FILE] = "key-file",
  };
  struct tool_table *table = tool_table (titles);
  int code = tool_table_choose (table, "SLOT,KIND");
  json_t *slots = json_array ();
  struct encryption encryption;
  struct store *store;

  (void)argc;
  if (code == TOOL_DONE)
    code = find_encryption (argv[0], argv[1], false, &store, &encryption);
  if (code != TOOL_DONE)
    return code;
  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    if (encryption.slots[i][0]) {
      const char *kind = kinds[encryption_kind (encryption.slots[i])];

      tool_cell (table, "%u", i);
      tool_cell (table, "%s", kind);
      json_array_append_new (
          slots, json_pack ("{s:i, s:s}", "slot", (int)i, "kind", kind));
    }
  if (common.json)
    tool_json_print (
        json_pack ("{s:s, s:o}", "key", encryption.header, "slots", slots));
  else
    tool_table_print (table);
  return TOOL_DONE;
}

const struct command command_key_list = {
  .name = "key list",
  .arguments = "DATABASE DISK",
  .summary = "Show what opens an encrypted disk",
  .help = "KIND is passphrase or key-file, or unknown for a slot that is\n"
          "damaged or of a newer program.  No key is needed for this.\n"
          "\n"
          "Columns: SLOT KIND.\n"
          "\n"
          "The JSON is {\"key\": what tells the key from others, \"slots\":\n"
          "[...]}, each with slot and kind.\n"
          "\n"
          "Example: sqlblock key list disks.sqlite web\n",
  .common = COMMON_JSON | COMMON_TABLE,
  .least = 2,
  .most = 2,
  .run = run_list,
};

/*--------------------------------------------------------------------
 * add, change
 */

/* Unwrap the disk's key by what the user gave; NULL: it does not fit. */
static struct unwrapped *
unwrap (const char *disk, const struct encryption *encryption, unsigned *slot)
{
  struct status status;
  struct unwrapped *unwrapped =
      encryption_unwrap (encryption, secrets_given (false), slot, &status);

  if (unwrapped == NULL) {
    status_prefix (&status, "disk '%s'", disk);
    tool_fail (&status);
  }
  return unwrapped;
}

/* Wrap the key for what is new, into slot *NUMBER, or where that is not one
 * into a free one.
 */
static int
put_new (struct store *store, const char *disk,
         const struct encryption *encryption, const struct unwrapped *unwrapped,
         unsigned *number)
{
  char slot[ENCRYPTION_TEXT];
  struct secret *secrets;
  struct status status;
  int r;

  if (*number == ENCRYPTION_SLOTS)
    for (*number = 0; *number < ENCRYPTION_SLOTS; ++*number)
      if (encryption->slots[*number][0] == '\0')
        break;
  if (*number == ENCRYPTION_SLOTS)
    return tool_error (ENOSPC,
                       "disk '%s' has %d slots, and cannot have more; "
                       "remove one",
                       disk, ENCRYPTION_SLOTS);
  secrets = secrets_read (new_key_file, new_passphrase, true);
  r = unwrapped_wrap (unwrapped, secrets, slot, &status);
  if (r == 0)
    r = manage_set_slot (store, disk, *number, encryption->slots[*number], slot,
                         &status);
  secret_free (secrets);
  return r == -1 ? tool_fail (&status) : TOOL_DONE;
}

/* Add what is new, or put it in the PLACE of what was given. */
static int
put (char *argv[], bool place)
{
  struct encryption encryption;
  unsigned slot, number = ENCRYPTION_SLOTS;
  struct unwrapped *unwrapped;
  struct store *store;
  int code;

  if ((new_key_file != NULL) == (new_passphrase != NULL))
    return tool_usage ("what is to open the disk?  Give either "
                       "--new-key-file=FILE or --new-passphrase=-");
  code = find_encryption (argv[0], argv[1], true, &store, &encryption);
  if (code != TOOL_DONE)
    return code;
  unwrapped = unwrap (argv[1], &encryption, &slot);
  if (unwrapped == NULL)
    return TOOL_FAILED;
  if (place)
    number = slot;
  code = put_new (store, argv[1], &encryption, unwrapped, &number);
  unwrapped_free (unwrapped);
  if (code == TOOL_DONE)
    tool_say (place ? "changed slot %u of disk '%s'"
                    : "added slot %u to disk '%s'",
              number, argv[1]);
  return code;
}

static int
run_add (int argc, char *argv[])
{
  (void)argc;
  return put (argv, false);
}

const struct command command_key_add = {
  .name = "key add",
  .arguments = "DATABASE DISK",
  .summary = "Have one more passphrase or key file open a disk",
  .help =
      "Give one that opens it now, too.  The data stays as it is.  What\n"
      "was copied from the disk before, such as clones, has the slots that\n"
      "it had then.\n"
      "\n"
      "Example: sqlblock key add disks.sqlite web --key-file=web.key \\\n"
      "           --new-passphrase=-\n",
  .options = new_options,
  .common = COMMON_KEY,
  .least = 2,
  .most = 2,
  .run = run_add,
};

static int
run_change (int argc, char *argv[])
{
  (void)argc;
  return put (argv, true);
}

const struct command command_key_change = {
  .name = "key change",
  .arguments = "DATABASE DISK",
  .summary = "Have another passphrase or key file open a disk",
  .help =
      "The slot that is opened by what is given gets what is new.  The key\n"
      "of the data stays the same: who knew what opened it may have kept\n"
      "that, and copies of the database, clones and backups still have the\n"
      "old slot.\n"
      "\n"
      "Example: sqlblock key change disks.sqlite web --passphrase=- \\\n"
      "           --new-passphrase=-\n",
  .options = new_options,
  .common = COMMON_KEY,
  .least = 2,
  .most = 2,
  .run = run_change,
};

/*--------------------------------------------------------------------
 * remove
 */

/* Does something that is given open another slot than NUMBER? */
static int
check_other (const char *disk, const struct encryption *encryption,
             unsigned number)
{
  struct encryption others = *encryption;
  struct unwrapped *unwrapped;
  unsigned slot;

  others.slots[number][0] = '\0';
  unwrapped = unwrap (disk, &others, &slot);
  if (unwrapped == NULL)
    return tool_error (0, "give what opens one of the slots that stay, so that "
                          "the disk is not lost, or --force");
  unwrapped_free (unwrapped);
  return TOOL_DONE;
}

static int
run_remove (int argc, char *argv[])
{
  char *end;
  const unsigned long number = strtoul (argv[2], &end, 10);
  struct encryption encryption;
  struct status status;
  struct store *store;
  int code;

  (void)argc;
  if (argv[2][0] < '0' || argv[2][0] > '9' || *end != '\0' ||
      number >= ENCRYPTION_SLOTS)
    return tool_usage ("'%s' is no slot: \"sqlblock key list\" shows them",
                       argv[2]);
  if (!common.force && !common.key_file && !common.passphrase)
    return tool_usage ("give what opens one of the slots that stay, as "
                       "--key-file=FILE or --passphrase=-, so that the disk "
                       "is not lost, or --force");
  code = find_encryption (argv[0], argv[1], true, &store, &encryption);
  if (code != TOOL_DONE)
    return code;
  if (encryption.slots[number][0] == '\0')
    return tool_error (ENOENT, "disk '%s' has no slot %lu", argv[1], number);
  if (!common.force) {
    code = check_other (argv[1], &encryption, number);
    if (code != TOOL_DONE)
      return code;
  }
  if (manage_set_slot (store, argv[1], number, encryption.slots[number], "",
                       &status) == -1)
    return tool_fail (&status);
  tool_say ("removed slot %lu of disk '%s'", number, argv[1]);
  return TOOL_DONE;
}

static const struct tool_option remove_options[] = {
  { "force", 'f', NULL, &common.force,
    "do it although nothing opens another slot" },
  { NULL, 0, NULL, NULL, NULL },
};

const struct command command_key_remove = {
  .name = "key remove",
  .arguments = "DATABASE DISK SLOT",
  .summary = "Have a passphrase or key file open a disk no more",
  .help =
      "Give what opens one of the slots that stay.  The last slot cannot\n"
      "be removed.  Copies of the database, clones and backups still have\n"
      "the slot.\n"
      "\n"
      "Example: sqlblock key remove disks.sqlite web 1 --key-file=web.key\n",
  .options = remove_options,
  .common = COMMON_KEY,
  .least = 3,
  .most = 3,
  .run = run_remove,
};

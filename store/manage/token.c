/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Tokens, for stream.h: "1-" and 88 digits of hex.  These are the numbers of
 * struct stream_token and a checksum of them, 64 bits each but for the size of
 * a block, which has 32, all little-endian.  The checksum finds what was copied
 * badly; who sends checks what a token says.
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/sane.h"
#include "block/checksum.h"
#include "stream.h"

#define BEGINNING "1-"
#define NUMBERS   5
#define BYTES     (NUMBERS * 8 + 4)

_Static_assert(sizeof BEGINNING + (size_t)2 * BYTES <= STREAM_TOKEN_MAX,
               "there is room");

static void
put_number (unsigned char *bytes, uint64_t number)
{
  number = htole64 (number);
  memcpy (bytes, &number, sizeof number);
}

static uint64_t
get_number (const unsigned char *bytes)
{
  uint64_t number;

  memcpy (&number, bytes, sizeof number);
  return le64toh (number);
}

void
stream_token_print (const struct stream_token *token,
                    char text[STREAM_TOKEN_MAX])
{
  const uint32_t block_size = htole32 (token->block_size);
  unsigned char bytes[BYTES];
  char *end = text + sizeof BEGINNING - 1;

  put_number (bytes, token->guid);
  put_number (bytes + 8, token->base_guid);
  put_number (bytes + 16, token->size);
  put_number (bytes + 24, token->position);
  memcpy (bytes + 32, &block_size, sizeof block_size);
  put_number (bytes + 36, checksum_bytes (bytes, 36));
  strcpy (text, BEGINNING);
  for (size_t i = 0; i < sizeof bytes; i++, end += 2)
    snprintf (end, 3, "%02x", bytes[i]);
}

/* Read the digits of TEXT.  Returns false where these are others. */
static bool
read_digits (const char *text, unsigned char bytes[BYTES])
{
  static const char digits[] = "0123456789abcdef";

  if (strlen (text) != (size_t)2 * BYTES)
    return false;
  memset (bytes, 0, BYTES);
  for (size_t i = 0; i < (size_t)2 * BYTES; i++) {
    const char *digit = strchr (digits, text[i]);

    if (digit == NULL)
      return false;
    bytes[i / 2] = bytes[i / 2] << 4 | (digit - digits);
  }
  return true;
}

int
stream_token_read (const char *text, struct stream_token *token,
                   struct status *status)
{
  const size_t length = sizeof BEGINNING - 1;
  unsigned char bytes[BYTES];
  uint32_t block_size;

  if (strncmp (text, BEGINNING, length) != 0)
    return status_fail (status, EINVAL,
                        "this is no token of \"sqlblock receive\", which "
                        "begins with " BEGINNING
                        "; \"sqlblock list\" of the other database shows it");
  if (!read_digits (text + length, bytes) ||
      get_number (bytes + 36) != checksum_bytes (bytes, 36))
    return status_fail (status, EINVAL,
                        "the token is damaged; \"sqlblock list\" of the other "
                        "database shows it");
  memcpy (&block_size, bytes + 32, sizeof block_size);
  *token = (struct stream_token){
    .guid = get_number (bytes),
    .base_guid = get_number (bytes + 8),
    .size = get_number (bytes + 16),
    .position = get_number (bytes + 24),
    .block_size = le32toh (block_size),
  };
  if (token->guid != 0 && token->size <= INT64_MAX &&
      sane_geometry (token->size, token->block_size) && token->position > 0 &&
      token->position <= token->size)
    return 0;
  return status_fail (status, EINVAL, "the token makes no sense");
}

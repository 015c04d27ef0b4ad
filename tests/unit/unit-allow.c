/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who may use a disk: which lists there are, and whom each lets in. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "unit.h"

#include "base/allow.h"

#define ITEMS(array) (sizeof (array) / sizeof *(array))

static struct peer
at (const char *address)
{
  struct peer peer = {
    .kind = strchr (address, ':') ? PEER_INET6 : PEER_INET,
    .pid = -1,
    .uid = -1,
    .gid = -1,
  };

  assert_int_equal (inet_pton (peer.kind == PEER_INET ? AF_INET : AF_INET6,
                               address, peer.address),
                    1);
  return peer;
}

static struct peer
process (int64_t uid, int64_t gid)
{
  return (struct peer){ .kind = PEER_UNIX, .pid = 7, .uid = uid, .gid = gid };
}

static struct peer
holder (const char *name, const char *issuer)
{
  struct peer peer = at ("192.0.2.7");

  peer.tls_name = (char *)name;
  peer.tls_issuer = (char *)issuer;
  return peer;
}

static int
admits (const char *text, struct peer peer)
{
  struct status status;

  return allow_admits (text, &peer, &status);
}

/* What is no list lets nobody in, also where an item before would. */
static void
test_wrong (void **state)
{
  static const char *const wrong[] = {
    "",
    " ",
    ",",
    "all,",
    ",all",
    "all,,unix",
    "al",
    "alle",
    "All",
    "unixx",
    "uid",
    "uid:",
    "uid:-1",
    "uid:4294967295",
    "uid:99999999999999999999",
    "uid:0x0",
    "uid:1 2",
    "gid:",
    "vsock:",
    "vsock:x",
    "vsock:4294967295",
    "tls:",
    "tls-issuer:",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-8",
    "10.0.0.0/8x",
    "10.0.0.1/8",
    "0.0.0.1/0",
    "10.0.0",
    "010.0.0.1",
    "10.0.0.0.0",
    "fe80::1/10",
    "fe80::/129",
    "fe80::1%lo",
    "::1::",
    "localhost",
    "10.0.0.0/8 192.168.0.0/16",
    "10.0.0.0/8;unix",
    "deny",
    "user:",
    "local:",
  };
  struct status status;
  char text[200];

  (void)state;
  for (size_t i = 0; i < ITEMS (wrong); i++) {
    assert_fails (allow_check (wrong[i], &status), &status, EINVAL,
                  "is not understood");
    snprintf (text, sizeof text, "all,%s", wrong[i]);
    assert_int_equal (admits (text, process (0, 0)), -1);
  }
}

/* What is longer than it may be neither. */
static void
test_long (void **state)
{
  char *text = malloc (ALLOW_MAX + 10);
  char name[2000];
  struct status status;

  (void)state;
  for (size_t i = 0; i < ALLOW_MAX; i += 4)
    memcpy (text + i, "all,", 4);
  strcpy (text + ALLOW_MAX - 1, "  ");
  assert_fails (allow_check (text, &status), &status, EINVAL, "bytes");
  assert_int_equal (admits (text, process (0, 0)), -1);
  text[ALLOW_MAX - 1] = '\0';
  assert_int_equal (allow_check (text, &status), 0);
  memcpy (name, "tls:", 4);
  memset (name + 4, 'x', sizeof name - 5);
  name[sizeof name - 1] = '\0';
  assert_fails (allow_check (name, &status), &status, EINVAL, "understood");
  free (text);
}

static void
test_words (void **state)
{
  const struct peer vm = { .kind = PEER_VSOCK, .cid = 42, .uid = -1 };
  const struct peer unknown = { .kind = PEER_UNKNOWN };

  (void)state;
  assert_int_equal (admits ("all", unknown), 1);
  assert_int_equal (admits ("all,none", unknown), 1);
  assert_int_equal (admits ("none", process (0, 0)), 0);
  assert_int_equal (admits ("unix", process (5, 5)), 1);
  assert_int_equal (admits ("unix", at ("127.0.0.1")), 0);
  assert_int_equal (admits ("unix", unknown), 0);
  assert_int_equal (admits ("vsock", vm), 1);
  assert_int_equal (admits ("vsock:42", vm), 1);
  assert_int_equal (admits ("vsock:43", vm), 0);
  assert_int_equal (admits ("vsock,vsock:0", unknown), 0);
}

static void
test_users (void **state)
{
  const struct peer unknown = { .kind = PEER_UNKNOWN };
  const struct peer no_ids = { .kind = PEER_UNIX, .uid = -1, .gid = -1 };
  struct peer root = process (0, 0);
  struct status status;

  (void)state;
  assert_int_equal (admits ("uid:1000", process (1000, 5)), 1);
  assert_int_equal (admits ("uid:1000", process (1001, 1000)), 0);
  assert_int_equal (admits ("gid:1000", process (5, 1000)), 1);
  assert_int_equal (admits ("gid:1000", process (1000, 5)), 0);
  assert_int_equal (admits ("uid:7, gid:8 ,uid:9", process (9, 9)), 1);
  assert_int_equal (admits ("uid:root", root), 1);
  assert_int_equal (admits ("gid:root", process (1, 0)), 1);
  assert_int_equal (admits ("uid:0", unknown), 0);
  assert_int_equal (admits ("uid:4294967294", no_ids), 0);
  assert_int_equal (admits ("uid:0", at ("0.0.0.0")), 0);
  /* A name that nobody has. */
  assert_int_equal (allow_admits ("uid:no-such-user", &root, &status), 0);
  assert_non_null (strstr (status.message, "no user 'no-such-user'"));
  assert_int_equal (allow_admits ("gid:no-such-group", &root, &status), 0);
  assert_non_null (strstr (status.message, "no group 'no-such-group'"));
}

static void
test_addresses (void **state)
{
  static const struct {
    const char *list, *peer;
    int admitted;
  } cases[] = {
    { "10.0.0.0/8", "10.255.255.255", 1 },
    { "10.0.0.0/8", "11.0.0.0", 0 },
    { "10.0.0.0/8", "a00::", 0 },
    { "192.0.2.7", "192.0.2.7", 1 },
    { "192.0.2.7", "192.0.2.6", 0 },
    { "192.0.2.6/31", "192.0.2.7", 1 },
    { "192.0.2.6/31", "192.0.2.8", 0 },
    { "172.16.0.0/12", "172.31.0.1", 1 },
    { "172.16.0.0/12", "172.32.0.1", 0 },
    { "0.0.0.0/0", "8.8.8.8", 1 },
    { "0.0.0.0/0", "::1", 0 },
    { "::/0", "::1", 1 },
    { "::/0", "8.8.8.8", 0 },
    { "fe80::/10", "febf::1", 1 },
    { "fe80::/10", "fec0::1", 0 },
    { "2001:db8::1", "2001:db8::1", 1 },
    { "2001:db8::1", "2001:db8::2", 0 },
    { "::ffff:10.0.0.0/104", "10.1.2.3", 1 },
    { "::ffff:10.0.0.0/104", "11.1.2.3", 0 },
    { "::ffff:192.0.2.7", "192.0.2.7", 1 },
    { "192.0.2.1,192.0.2.2", "192.0.2.2", 1 },
  };

  (void)state;
  for (size_t i = 0; i < ITEMS (cases); i++)
    assert_int_equal (admits (cases[i].list, at (cases[i].peer)),
                      cases[i].admitted);
}

/* Names in certificates, as RFC 4514 writes them.  What is escaped in them
 * belongs to a value.
 */
static void
test_certificates (void **state)
{
  static const struct {
    const char *list, *name;
    int admitted;
  } cases[] = {
    { "tls:web", "CN=web", 1 },
    { "tls:web", "cn=web", 1 },
    { "tls:web", "O=Big,CN=web,C=US", 1 },
    { "tls:web", "CN=web2", 0 },
    { "tls:web", "CN=we", 0 },
    { "tls:web", "O=web", 0 },
    { "tls:web", "", 0 },
    { "tls:web", NULL, 0 },
    { "tls:web", "XCN=web", 0 },
    { "tls:web", "O=x+CN=web", 1 },
    /* An attribute that only looks as if there were a common name in it. */
    { "tls:web", "O=x\\,CN=web,CN=other", 0 },
    { "tls:other", "O=x\\,CN=web,CN=other", 1 },
    { "tls:web", "O=x\\2CCN=web", 0 },
    { "tls:web", "O=x\\+CN=web", 0 },
    { "tls:web", "O=\\\\,CN=web", 1 },
    /* Two of them: neither. */
    { "tls:web", "CN=web,CN=other", 0 },
    { "tls:other", "CN=web,CN=other", 0 },
    { "tls:web", "CN=web\\00x", 0 },
    { "tls:web", "CN=#0403776562", 0 },
    { "tls:we\\,b", "CN=we\\,b", 1 },
    { "tls:we\\,b", "CN=we\\2cb", 1 },
    { "tls:Ann B", "CN=Ann B", 1 },
    { "tls:CN=web\\,O=Big", "CN=web,O=Big", 1 },
    { "tls:CN=web\\,O=Big", "CN=web,O=Bigger", 0 },
    { "tls:CN=web", "CN=web,O=Big", 0 },
    { "tls-issuer:web", "CN=web", 0 },
  };

  (void)state;
  for (size_t i = 0; i < ITEMS (cases); i++)
    assert_int_equal (admits (cases[i].list, holder (cases[i].name, "CN=ca")),
                      cases[i].admitted);
  assert_int_equal (admits ("tls-issuer:ca", holder ("CN=web", "CN=ca")), 1);
  assert_int_equal (admits ("tls-issuer:ca", holder ("CN=ca", "CN=b")), 0);
  assert_true (allow_asks_for_tls ("unix,tls:web"));
  assert_false (allow_asks_for_tls ("unix,uid:0"));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_wrong),     cmocka_unit_test (test_long),
    cmocka_unit_test (test_words),     cmocka_unit_test (test_users),
    cmocka_unit_test (test_addresses), cmocka_unit_test (test_certificates),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# nbdkit's own TLS in front of the plugin, once with certificates and once
# with pre-shared keys: libnbd and QEMU read and write through it, and a
# client without TLS or without the right credentials is refused.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/certificates.sh"
need nbdkit nbdcopy nbdinfo certtool psktool cmp
[ "$(nbdkit --dump-config | sed -n 's/^tls=//p')" = yes ] ||
  skip "nbdkit has no TLS"

cd "$tmp"
head -c 1000000 /dev/urandom >data
for disk in web mail; do
  timeout 20 nbdkit -U - "$plugin" disks.sqlite export=$disk size=1000000 \
    --run true
done

# tls_uri USER QUERY: the URI of the disk web with TLS.
tls_uri ()
{
  echo "nbds+unix://$1/web?socket=$tmp/s&$2"
}

# refused WHAT URI: this client must not get a connection.
refused ()
{
  if timeout 20 nbdinfo --size "$2" >refused.out 2>&1; then
    fail "$1 was let in"
  fi
}

# clients USER QUERY QEMU-OBJECT: data in and out through TLS.
clients ()
{
  local uri
  uri=$(tls_uri "$1" "$2")
  nbdcopy --flush data "$uri"
  nbdcopy "$uri" out
  cmp data out || fail "other data came out with $2"
  nbdinfo "$uri" | grep -q 'with TLS' || fail "no TLS with $2"
  nbdinfo --list "$uri" | grep -q '^export="mail"' ||
    fail "the list lacks an export"
  rm out

  type -P qemu-img >/dev/null || return 0
  qemu-img convert --object "$3,id=tls0,endpoint=client,dir=$tmp/client" \
    --image-opts -O raw "driver=nbd,export=web,tls-creds=tls0,\
server.type=unix,server.path=$tmp/s,tls-hostname=localhost" out
  # QEMU counts in sectors.
  truncate -s 1000000 out
  cmp data out || fail "other data came out of qemu-img with $2"
}

# Certificates: one authority; the server's and the client's, and those of
# another authority.
{
  authority server
  authority other
} >certtool.log 2>&1 || fail "$(cat certtool.log)"
mkdir client stranger
cp server/ca-cert.pem server/client-*.pem client
cp server/ca-cert.pem other/client-*.pem stranger

start_nbdkit s --tls=require --tls-certificates=server --tls-verify-peer \
  "$plugin" disks.sqlite
clients "" "tls-certificates=$tmp/client" tls-creds-x509
refused "a client without TLS" "$(uri s web)"
refused "a client of another authority" \
  "$(tls_uri "" "tls-certificates=$tmp/stranger")"
kill_nbdkit

# Pre-shared keys, on the same disks.
psktool -u alice -p server/keys.psk >/dev/null 2>&1
psktool -u mallory -p other/keys.psk >/dev/null 2>&1
cp server/keys.psk client/keys.psk
head -c 1000000 /dev/urandom >data
start_nbdkit s --tls=require --tls-psk=server/keys.psk "$plugin" disks.sqlite
clients alice@ "tls-psk-file=$tmp/client/keys.psk" tls-creds-psk,username=alice
refused "a client without TLS" "$(uri s web)"
refused "a client without a key" \
  "$(tls_uri mallory@ "tls-psk-file=$tmp/other/keys.psk")"

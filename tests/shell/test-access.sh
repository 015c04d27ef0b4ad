#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Who may use a disk (allow=), one writer at a time (exclusive=) and limits, with
# real clients: of two users, from two addresses, with two certificates.  Whom a
# list lets in at all is unit-allow's.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/certificates.sh"
need nbdkit nbdinfo nbdcopy nbdsh python3
PATH=$top_builddir/tool:$PATH

cd "$tmp"
db=$tmp/disks.sqlite
for disk in web mail open; do
  sqlblock create "$db" "$disk" --size=10M
done
sqlblock snapshot create "$db" web@one
sqlblock snapshot create "$db" web@two

# As another user, where that can be.
other=()
if [ "$(id -u)" = 0 ] && type -P setpriv >/dev/null; then
  other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 755 "$tmp"
fi

# serve ARGUMENT...: the database on $tmp/s, for all users.
serve ()
{
  start_nbdkit s "$@"
  chmod 666 s
}

# gets [COMMAND...] EXPORT, lacks the same: over the unix socket a client that is
# run by the command can open it, or is told what it is told of an export that
# there is not.
gets ()
{
  local export=${!#}
  "${@:1:$#-1}" nbdinfo --size "$(uri s "$export")" >out 2>&1 ||
    fail "refused: $*: $(cat out)"
}

# told EXPORT [COMMAND...]: what it is told, without the name.
told ()
{
  local text
  text=$("${@:2}" nbdinfo --size "$(uri s "$1")" 2>&1) &&
    fail "let in: $*"
  echo "${text//"'$1'"/NAME}"
}

lacks ()
{
  local export=${!#} this none
  this=$(told "$export" "${@:1:$#-1}") || fail "$this"
  none=$(told none-such "${@:1:$#-1}") || fail "$none"
  [ "$this" = "$none" ] || fail "$* got: $this"
}

# logged TEXT: it is in the log of the server.
logged ()
{
  grep -qF -- "$1" s.log || {
    cat s.log >&2
    fail "«$1» is not in the log"
  }
}

# listed [COMMAND...]: the exports that are listed, whatever can be opened.
listed ()
{
  "$@" nbdsh -c "
h.set_opt_mode(True)
h.connect_unix('$tmp/s')
h.opt_list(lambda name, _: print(name))
h.opt_abort()" | xargs
}

#--------------------------------------------------------------------
# allow=

sqlblock set "$db" web allow=uid:0,uid:"$(id -u)"
[ "$(query "$db" "SELECT name, class FROM feature WHERE disk <> 0")" = \
  "allow 3" ] || fail "no feature"
# Another database has users of its own, and its own default.
sqlblock send "$db" web@two | sqlblock receive copy.sqlite web
[ "$(query copy.sqlite "SELECT count (*) FROM feature WHERE disk <> 0")" = 0 ]
[ "$(query copy.sqlite "SELECT count (*) FROM property
  WHERE key = 'local:allow'")" = 0 ] || fail "a stream takes allow along"
# But a clone that is received is like its origin there.
sqlblock set copy.sqlite web allow=uid:"$(id -u)" exclusive=on
sqlblock clone "$db" web@two other
sqlblock snapshot create "$db" other@one
sqlblock send "$db" other@one --from=web@two | sqlblock receive copy.sqlite other
for kind in allow exclusive; do
  [ "$(query copy.sqlite "SELECT count (*), count (DISTINCT value)
    FROM property WHERE kind = 1 AND key = 'local:$kind'")" = "2 1" ] ||
    fail "a received clone lacks $kind"
done
start_nbdkit s "$plugin" copy.sqlite
nbdinfo --size "$(uri s other)" >out 2>&1 ||
  fail "a received clone is locked out: $(cat out s.log)"
kill_nbdkit
sqlblock delete "$db" other --snapshots
sqlblock clone "$db" web@one clone
[ "$(query "$db" "SELECT count (*) FROM property
  WHERE key = 'local:allow' AND kind = 1")" = 2 ] || fail "a clone lacks allow"
[ "$(query "$db" "SELECT count (*) FROM feature WHERE disk <> 0")" = 2 ]
sqlblock delete "$db" clone
fails 2 "is not understood" set "$db" web allow=uid:0,nobody
# Programs that do not know them keep off only where that changes something.
for usual in allow=none,all "allow= all" exclusive=no exclusive=FALSE; do
  sqlblock set "$db" mail allow=none exclusive=on
  sqlblock set "$db" mail "$usual"
  [ "$(query "$db" "SELECT count (*) FROM feature JOIN disk
    ON disk.id = feature.disk WHERE disk.name = 'mail'")" = 1 ] ||
    fail "$usual has a feature"
done
sqlblock inherit "$db" mail allow exclusive
fails 2 "is not understood" set "$db" web allow=10.1.2.3/8

serve "$plugin" "$db"
[ "$(listed)" = "web mail open web@one web@two" ] || fail "list: $(listed)"
for name in web web@one web@one..two web@..two web@one.. web@2099-01-01 web/lineage ''; do
  gets "$name"
done
if [ ${#other[@]} -gt 0 ]; then
  [ "$(listed "${other[@]}")" = "mail open" ] ||
    fail "list: $(listed "${other[@]}")"
  for name in web web@one web@one..two web@..two web@one.. web@2099-01-01 web/lineage ''; do
    lacks "${other[@]}" "$name"
  done
  logged "of uid 65534, gid 65534 is not let in by allow=uid:0,uid:"
  gets "${other[@]}" mail
  # A clone is as its origin; what is renamed is the same disk.
  sqlblock clone "$db" web@one clone
  sqlblock rename "$db" web renamed
  lacks "${other[@]}" clone
  lacks "${other[@]}" renamed
  lacks "${other[@]}" renamed@one
  # Settings change for who connects next.
  sqlblock set "$db" renamed allow=gid:65534
  gets "${other[@]}" renamed
  lacks "${other[@]}" clone
  sqlblock set "$db" allow=uid:65534
  gets "${other[@]}" mail
  [ "$(id -u)" = 65534 ] || lacks mail
  sqlblock set "$db" mail allow=all
  gets mail
  sqlblock inherit "$db" mail allow
  lacks mail
  sqlblock inherit "$db" / allow
  gets mail
  sqlblock rename "$db" renamed web
  sqlblock delete "$db" clone
fi
sqlblock set "$db" web allow=none
lacks web
lacks web@one
sqlblock set "$db" web allow=unix
gets web
kill_nbdkit

# The export that is served by name.
sqlblock set "$db" web allow=none
serve "$plugin" "$db" export=web
lacks web
lacks ''
[ -z "$(listed)" ] || fail "list: $(listed)"
kill_nbdkit

# A filter that opens the disk, through a pipe: nobody knows who that is.
through_pipe ()
{
  python3 - "$@" <<'EOF2'
import nbd, os, socket, subprocess, sys, threading
ours, theirs = socket.socketpair()
to, back = os.pipe(), os.pipe()
server = subprocess.Popen(["nbdkit", "-s"] + sys.argv[1:], stdin=to[0],
                          stdout=back[1])
def forward(read, write):
    while data := read():
        write(data)
def into(data):
    os.write(to[1], data)
threading.Thread(target=forward, args=(lambda: theirs.recv(65536), into),
                 daemon=True).start()
threading.Thread(target=forward, args=(lambda: os.read(back[0], 65536),
                 theirs.sendall), daemon=True).start()
h = nbd.NBD()
h.set_export_name("web")
try:
    h.connect_socket(ours.detach())
    print("let in", flush=True)
except nbd.Error as error:
    print(error, flush=True)
# The server ends with the client, and has closed the database then.
del h
os.close(to[0])
theirs.shutdown(socket.SHUT_RD)
os.close(to[1])
server.wait(60)
os._exit(0)
EOF2
}
sqlblock set "$db" web allow=unix
through_pipe "$plugin" "$db" >out 2>err || fail "$(cat err)"
! grep -q "let in" out || fail "let in through a pipe"
grep -q "of whom nothing is known" err || fail "$(cat out err)"
sqlblock inherit "$db" web allow
through_pipe "$plugin" "$db" >out 2>err || fail "$(cat err)"
grep -q "let in" out || fail "refused through a pipe: $(cat out err)"

# What cannot be understood, or is lost, lets nobody in.
sqlblock set "$db" web allow=unix
cp "$db" whole
change "$db" "UPDATE property SET value = 'all' WHERE key = 'local:allow'"
serve "$plugin" "$db"
lacks web
logged "nobody is let in: the setting allow of the disk is damaged"
gets mail
kill_nbdkit
change "$db" "DELETE FROM property WHERE key = 'local:allow'"
serve "$plugin" "$db"
lacks web
logged "lost; set it again"
fails 1 "the setting allow was is lost" get "$db" web allow
sqlblock get "$db" web allow -H -o value,source >out 2>err || :
[ "$(cat out)" = $'?\tlocal' ] || fail "get says: $(cat out)"
sqlblock check "$db" >out 2>&1 || :
grep -q "the setting allow of disk 'web' was is lost; set it again" out ||
  fail "check says: $(cat out)"
sqlblock set "$db" web allow=all
gets web
kill_nbdkit
sqlblock check "$db" >out 2>&1 || fail "check says: $(cat out)"
sqlblock set "$db" exclusive=on
change "$db" "DELETE FROM property WHERE key = 'local:exclusive'"
fails 1 "the setting exclusive was is lost" get "$db" mail exclusive
fails 1 "the setting exclusive was is lost" get "$db" / exclusive
sqlblock check "$db" >out 2>&1 || :
grep -q "the setting exclusive of the database was is lost" out ||
  fail "check says: $(cat out)"
mv whole "$db"

# Addresses: the loopback has many.  With a socket for IPv4 and IPv6, given by a
# service manager, IPv4 is the same.
sqlblock set "$db" web allow=127.0.0.2
from ()
{
  python3 -c 'import nbd, socket, sys
client = socket.socket()
client.bind((sys.argv[1], 0))
client.connect(("127.0.0.1", int(sys.argv[2])))
h = nbd.NBD()
h.set_export_name("web")
try:
    h.connect_socket(client.detach())
    print("let in")
except nbd.Error:
    print("refused")' "$1" "$nbdkit_port"
}
check_addresses ()
{
  [ "$(from 127.0.0.1)" = refused ] || fail "127.0.0.1 was let in"
  [ "$(from 127.0.0.2)" = "let in" ] || fail "127.0.0.2 was refused"
  sqlblock set "$db" web allow=127.0.0.0/31
  [ "$(from 127.0.0.1)" = "let in" ] || fail "127.0.0.1 was refused"
  [ "$(from 127.0.0.2)" = refused ] || fail "127.0.0.2 was let in"
  sqlblock set "$db" web allow=unix,uid:0,::/0
  [ "$(from 127.0.0.1)" = refused ] || fail "TCP was let in"
  sqlblock set "$db" web allow=127.0.0.2
}
start_nbdkit_tcp "$plugin" "$db"
check_addresses
grep -q "'web': 127.0.0.1:[0-9]* is not let in by allow=127.0.0.2" tcp.log ||
  fail "$(cat tcp.log)"
kill_nbdkit
cat >activate.py <<'EOF2'
import os, socket, sys
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(("::", 0))
listener.listen()
with open("port", "w") as file:
    print(listener.getsockname()[1], file=file)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp("nbdkit", ["nbdkit", "-f"] + sys.argv[1:])
EOF2
if python3 -c 'import socket
socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
  python3 activate.py "$plugin" "$db" >activated.log 2>&1 &
  nbdkit_pid=$!
  started_pids+=("$nbdkit_pid")
  wait_for test -s port
  nbdkit_port=$(cat port)
  check_addresses
  kill_nbdkit
fi

# Certificates, where nbdkit tells what they say.
if [ "$(nbdkit --dump-config | sed -n 's/^tls=//p')" = yes ] &&
  type -P certtool >/dev/null; then
  {
    authority pki
    signed pki ann <<'EOF2'
cn = "ann"
organization = "Big, Co"
tls_www_client
signing_key
EOF2
  } >certtool.log 2>&1 || fail "$(cat certtool.log)"
  for who in ann client; do
    mkdir "$who"
    cp pki/ca-cert.pem "$who"
    cp "pki/$who-cert.pem" "$who/client-cert.pem"
    cp "pki/$who-key.pem" "$who/client-key.pem"
  done
  # secure WHO: can it open the disk?
  secure ()
  {
    nbdinfo --size \
      "nbds+unix:///web?socket=$tmp/s&tls-certificates=$tmp/$1" >out 2>&1
  }
  sqlblock set "$db" web allow=tls:ann
  serve --tls=require --tls-certificates=pki --tls-verify-peer "$plugin" "$db"
  ! secure client || fail "another name was let in"
  if nbdkit_is 1.42; then
    logged "with the certificate 'CN=client'"
    secure ann || fail "the name was refused: $(cat out)"
    sqlblock set "$db" web 'allow=tls:CN=ann\,O=Big\\\, Co'
    secure ann || fail "the distinguished name was refused: $(cat out s.log)"
    sqlblock set "$db" web 'allow=tls-issuer:Test authority'
    secure client || fail "the issuer was refused: $(cat out)"
    # Two connections with one certificate, and one with another.
    sqlblock set "$db" web allow=all exclusive=on
    nbdinfo --can multi-conn \
      "nbds+unix:///web?socket=$tmp/s&tls-certificates=$tmp/ann" ||
      fail "no multi-conn with a certificate"
    nbdsh -c "
def connect(who):
    h = nbd.NBD()
    h.set_tls(nbd.TLS_REQUIRE)
    h.set_tls_certificates('$tmp/' + who)
    h.set_export_name('web')
    h.connect_unix('$tmp/s')
    return h
first, second = connect('ann'), connect('ann')
try:
    connect('client')
    raise SystemExit('another certificate was let in')
except nbd.Error:
    pass" || fail "exclusive=on and certificates"
    sqlblock inherit "$db" web exclusive
  else
    ! secure ann || fail "let in by a name that nbdkit does not tell"
    logged "this nbdkit does not tell what a certificate says"
  fi
  kill_nbdkit
fi
sqlblock inherit "$db" web allow

#--------------------------------------------------------------------
# exclusive=

# hold EXPORT: a client has it open until it is killed; it is $holder.
hold ()
{
  rm -f held
  python3 -c 'import nbd, sys, time
h = nbd.NBD()
h.set_export_name(sys.argv[2])
h.connect_unix(sys.argv[1])
open("held", "w").close()
time.sleep(600)' "$tmp/s" "$1" &
  holder=$!
  started_pids+=("$holder")
  wait_for test -e held
}

# refused EXPORT: a client cannot open it.
refused ()
{
  if nbdinfo --size "$(uri s "$1")" >out 2>&1; then
    fail "a second client was let in to $1"
  fi
}

sqlblock set "$db" web exclusive=on
[ "$(query "$db" "SELECT name, class FROM feature WHERE disk <> 0")" = \
  "exclusive 2" ] || fail "no feature"
serve "$plugin" "$db"
hold web
refused web
logged "is refused, since exclusive=on, and process $holder of uid "
gets web@one
gets web@..two
gets web@one..
gets mail
kill -9 "$holder"
gets web
hold web@one
gets web
kill -9 "$holder"

# Several connections of one process; over TCP it could be anybody.
nbdinfo --can multi-conn "$(uri s web)" || fail "no multi-conn"
head -c 10M /dev/urandom >data
nbdcopy --flush --connections=4 data "$(uri s web)"
nbdcopy --connections=4 "$(uri s web)" back
cmp data back
if type -P qemu-img >/dev/null; then
  qemu-img compare -F raw data "$(uri s web)" >out || fail "$(cat out)"
fi
for _ in $(seq 20); do
  gets web
done

# It holds for who comes next, and off lets everybody in.
hold mail
gets mail
sqlblock set "$db" mail exclusive=on
refused mail
sqlblock set "$db" mail exclusive=off
gets mail
kill -9 "$holder"
kill_nbdkit

start_nbdkit_tcp "$plugin" "$db"
nbdsh -c "
def connect():
    h = nbd.NBD()
    h.set_export_name('web')
    h.connect_tcp('127.0.0.1', '$nbdkit_port')
    return h
h = connect()
assert not h.can_multi_conn()
try:
    connect()
    raise SystemExit('a second connection was let in')
except nbd.Error:
    pass
h.shutdown()
h = connect()" || fail "exclusive=on over TCP"
kill_nbdkit

# Where other servers may write, too, nobody could keep to it.
serve "$plugin" "$db" shared=true
refused web
logged "shared=true do not keep to"
kill_nbdkit
serve -r "$plugin" "$db" shared=true
gets web
hold web
gets web
kill -9 "$holder"
kill_nbdkit
sqlblock inherit "$db" web exclusive

#--------------------------------------------------------------------
# Limits.

# timed STATEMENT...: how long these take with the disk h and the disk other,
# in hundredths of a second.
cat >timed.py <<'EOF2'
import nbd, sys, time
def connect(name):
    h = nbd.NBD()
    h.set_export_name(name)
    h.connect_unix("s")
    return h
h, other = connect("web"), connect("mail")
began = time.monotonic()
exec("\n".join(sys.argv[1:]))
print(int(100 * (time.monotonic() - began)))
EOF2
timed ()
{
  python3 timed.py "$@"
}

between ()
{
  [ "$1" -ge "$2" ] && [ "$1" -le "$3" ] || fail "$4: $1/100 s"
}

# 40 at once, and 80 at 40 a second; 1M at once, and 2M at 1M a second.
fails 2 "is not a limit" set "$db" web limit-requests=0
fails 2 "is not a limit" set "$db" web limit-bytes=fast
sqlblock set "$db" web limit-requests=40
serve "$plugin" "$db"
between "$(timed 'for i in range(121): h.pread(512, i * 512)')" 150 600 \
  "120 requests"
between "$(timed 'for i in range(121): other.pread(512, i * 512)')" 0 149 \
  "120 requests of another disk"
sqlblock set "$db" web limit-requests=none limit-bytes=1M
between "$(timed 'for i in range(13): h.pwrite(bytes(262144), i * 262144)')" \
  150 600 "3M of writes"
between "$(timed 'for i in range(100): h.flush()')" 0 149 "flushes"
# Snapshots are the disk's; zeroes move nothing.
between "$(timed 'h.zero(9000000, 0)' 'h.zero(9000000, 0)')" 0 149 "zeroes"
between "$(timed 'one = connect("web@one")' \
  'for i in range(13): (h, one)[i % 2].pread(262144, 0)')" 150 600 \
  "3M of reads, of a snapshot, too"

# What is told of a disk is no request of it, but cannot be asked for at will.
between "$(timed 'told = connect("web/lineage")' \
  'for i in range(50): told.pread(512, 0)')" 45 400 "50 times lineage"

# More than there is in a second is done at once, and paid for by those behind
# it, who do not hold up others, and who stop waiting when the limit goes.
sqlblock set "$db" web limit-bytes=1k
sleep 1.1
between "$(timed 'h.pread(1048576, 0)')" 0 149 "a large read"
nbdsh -u "$(uri s web)" -c 'h.pread(512, 0)' &
waiting=$!
started_pids+=("$waiting")
sleep 0.5
kill -0 "$waiting" || fail "nobody waits"
between "$(timed 'for i in range(100): other.pread(65536, 0)' \
  'for i in range(20): other.pwrite(bytes(512), 0)' \
  'other.flush(); h.flush()')" 0 149 "others, and flushes"
sqlblock inherit "$db" web limit-bytes
wait "$waiting" || fail "who waited"

# Who waits leaves, and the server ends.
sqlblock set "$db" web limit-bytes=1
sleep 1.1
timed 'h.pread(1048576, 0)' >/dev/null
for _ in 1 2; do
  nbdsh -u "$(uri s web)" -c 'h.pread(512, 0)' 2>/dev/null &
  started_pids+=("$!")
  waiting=$!
done
sleep 0.3
kill -9 "$waiting"
stop_nbdkit &
stopping=$!
sleep 5
! kill -0 "$nbdkit_pid" 2>/dev/null || fail "the server does not end"
wait "$stopping"

# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Certificates for tests, with certtool; sourced behind functions.sh.

# certificate DIRECTORY NAME ARGUMENT...: a key, and a certificate for what
# standard input says, which certtool makes as the arguments say.
certificate ()
{
  local directory=$1 name=$2
  cat >template
  certtool --generate-privkey --key-type=ecdsa \
    --outfile "$directory/$name-key.pem"
  shift 2
  certtool "$@" --template template \
    --load-privkey "$directory/$name-key.pem" \
    --outfile "$directory/$name-cert.pem"
}

# signed AUTHORITY NAME: the same, by the authority in that directory.
signed ()
{
  certificate "$1" "$2" --generate-certificate \
    --load-ca-certificate "$1/ca-cert.pem" \
    --load-ca-privkey "$1/ca-key.pem"
}

# authority DIRECTORY: an authority in a new directory, with certificates for
# a server on this machine, and for a client called "client".
authority ()
{
  mkdir "$1"
  certificate "$1" ca --generate-self-signed <<'EOF2'
cn = "Test authority"
ca
cert_signing_key
EOF2
  signed "$1" server <<'EOF2'
cn = "localhost"
dns_name = "localhost"
ip_address = "127.0.0.1"
tls_www_server
encryption_key
signing_key
EOF2
  signed "$1" client <<'EOF2'
cn = "client"
tls_www_client
encryption_key
signing_key
EOF2
}

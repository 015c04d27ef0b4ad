#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""As much of S3 as a replica needs, for tests: s3.py DIRECTORY PORTFILE

It serves objects on a free port of 127.0.0.1, which it writes to PORTFILE, to
anybody, and keeps each in one file of DIRECTORY, which is there before it says
that it has it.  Paths are /BUCKET/KEY.
"""

import hashlib, http.server, os, re, sys, urllib.parse
from xml.sax.saxutils import escape, unescape

directory, port_file = sys.argv[1:]
parts = {}      # of uploads, by their names and numbers

def file_of(path):
    return os.path.join(directory, urllib.parse.quote(path, safe=""))

def store(path, data):
    name = file_of(path)
    with open(name + ".tmp", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".tmp", name)

def remove(path):
    if os.path.exists(file_of(path)):
        os.unlink(file_of(path))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body=b"", kind="application/xml", **headers):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def split(self):
        url = urllib.parse.urlsplit(self.path)
        return (urllib.parse.unquote(url.path).strip("/"),
                dict(urllib.parse.parse_qsl(url.query,
                                            keep_blank_values=True)))

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self):
        path, query = self.split()
        data = self.body()
        if "partNumber" in query:
            parts[query["uploadId"]][int(query["partNumber"])] = data
        else:
            store(path, data)
        self.answer(200, ETag='"%s"' % hashlib.md5(data).hexdigest())

    def do_DELETE(self):
        path, _ = self.split()
        remove(path)
        self.answer(204)

    def do_POST(self):
        """An upload in parts begins or ends, or several keys are deleted."""
        path, query = self.split()
        body = self.body().decode()
        if "uploads" in query:
            name = str(len(parts) + 1)
            parts[name] = {}
            self.answer(200, ("<InitiateMultipartUploadResult><UploadId>%s"
                              "</UploadId></InitiateMultipartUploadResult>" %
                              name).encode())
        elif "uploadId" in query:
            done = parts[query["uploadId"]]
            store(path, b"".join(done[number] for number in sorted(done)))
            self.answer(200, b"<CompleteMultipartUploadResult/>")
        else:
            for key in re.findall("<Key>([^<]*)</Key>", body):
                remove(path + "/" + unescape(key))
            self.answer(200, b"<DeleteResult/>")

    def do_GET(self):
        path, query = self.split()
        if "location" in query:
            self.answer(200, b"<LocationConstraint/>")
        elif "/" not in path:
            self.list(path, query.get("prefix", ""), query.get("delimiter"))
        elif os.path.exists(file_of(path)):
            with open(file_of(path), "rb") as file:
                self.answer(200, file.read(), "application/octet-stream")
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET

    def list(self, bucket, prefix, delimiter):
        found, common = "", set()
        for name in sorted(os.listdir(directory)):
            key = urllib.parse.unquote(name).partition("/")[2]
            rest = key[len(prefix):]
            if name.endswith(".tmp") or not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                common.add(prefix + rest[:rest.index(delimiter) + 1])
                continue
            info = os.stat(os.path.join(directory, name))
            found += ("<Contents><Key>%s</Key><Size>%d</Size><LastModified>"
                      "2026-01-01T00:00:00.000Z</LastModified></Contents>" %
                      (escape(key), info.st_size))
        for one in sorted(common):
            found += "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % \
                escape(one)
        self.answer(200, ("<ListBucketResult><Name>%s</Name><IsTruncated>false"
                          "</IsTruncated>%s</ListBucketResult>" %
                          (escape(bucket), found)).encode())

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(port_file + ".tmp", "w") as port:
    port.write("%d\n" % server.server_port)
os.rename(port_file + ".tmp", port_file)
server.serve_forever()

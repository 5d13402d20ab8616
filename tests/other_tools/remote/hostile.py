"""A server whose buckets and files are hostile, slow or denied, for what moto does not imitate.

    hostile.py PORT_FILE LOG

Writes its port to PORT_FILE, and a line to LOG for every object that is asked for. The bucket of a request decides
the answer; the paths below `/web/` are those of a web server.
"""

import pathlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TEXT = b"Once upon a time there was a dog. The dog barked at the moon. "
KEYS = {
    "parent": ["t/../../../escaped.txt"],
    "absolute": ["t//etc/passwd.txt"],
    "cases": ["t/a.txt", "t/A.txt"],
    "folder": ["t/a.txt", "t/a.txt/b.txt"],
    "backslash": ["t/..\\escaped.txt"],
    "long": ["t/" + "x" * 300 + ".txt"],
    "slow": [f"t/{at}.txt" for at in range(6)],
    "huge": ["t/a.txt"],
    "short": ["t/a.txt"],
}
SLOW_PIECES = 40


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        path = unquote(url.path).lstrip("/")
        bucket, _, key = path.partition("/")
        if bucket == "denied":
            self.fail(403, "AccessDenied", "Access Denied")
        elif bucket == "elsewhere":
            self.answer(301, b"")
        elif bucket == "web":
            self.web(key)
        elif "list-type" in parse_qs(url.query):
            self.listing(bucket)
        elif key not in KEYS.get(bucket, []):
            self.fail(404, "NoSuchKey", "The specified key does not exist.")
        else:
            self.object(bucket, key)

    def web(self, key):
        if key == "page.txt":
            self.answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif key == "error":
            self.answer(500, b"oops")
        else:
            self.answer(404, b"")

    def listing(self, bucket):
        size = 1 << 62 if bucket == "huge" else len(TEXT) * SLOW_PIECES
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{bucket}&quot;</ETag><Size>{size}</Size></Contents>"
            for key in KEYS.get(bucket, [])
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        self.answer(200, body.encode(), {"Content-Type": "application/xml"})

    def object(self, bucket, key):
        if self.command == "GET":
            with open(sys.argv[2], "a") as log:
                log.write(f"{bucket}/{key}\n")
        length = len(TEXT) * SLOW_PIECES
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", f'"{bucket}"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        self.end_headers()
        if self.command == "HEAD":
            return
        if bucket == "short":
            self.wfile.write(TEXT)
            self.close_connection = True
            return
        # Each object takes longer than the one before, so that some are complete when others are not.
        pause = 0.02 * int(key.removesuffix(".txt").rsplit("/")[-1]) if bucket == "slow" else 0
        for _ in range(SLOW_PIECES):
            self.wfile.write(TEXT)
            self.wfile.flush()
            time.sleep(pause)

    def fail(self, status, code, message):
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self.answer(status, body.encode(), {"Content-Type": "application/xml"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
pathlib.Path(sys.argv[1]).write_text(str(server.server_port))
server.serve_forever()

"""A hundred hostile requests: each is refused with a reason, and none breaks the server.

    NANOSCOPE_BINARY=target/debug/nanoscope python3 tests/other_tools/clients/hostile.py

It uses plain sockets, so that the bytes sent are exactly those below.
"""

import concurrent.futures
import json
import re
import socket
import time

from server import served

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
HOOK = "blocks.3.hook_resid_post"
# The server waits 10 seconds for a head and 10 for a body.
PATIENCE = 40


def post(body, path=COMPLETIONS, headers=(), length=None):
    """The bytes of a request."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = [
        f"POST {path} HTTP/1.1",
        "Host: HOST",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def get(path, headers=()):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: HOST", *headers]).encode() + b"\r\n\r\n"


def fields():
    """Completions with one field wrong."""
    wrong = {
        "prompt": [None, 3, {}, [], [[]], [-1], [99999], [1.5], ["a", 1], [[1], "a"], True, [None]],
        "max_tokens": [-3, 1e300, 10**30, "ten", [], 2**64, 1.5],
        "temperature": [-1, 1e300, "hot", [], {}],
        "top_p": [0, -1, 2, "all"],
        "top_k": [-2, 1.5, "k"],
        "n": [0, -1, 10**6, "two"],
        "seed": [-2, 2**60, 1.5, "s"],
        "stop": [5, [1], [[]], "x" * 2000, ["x"] * 100, {"a": 1}],
        "logprobs": [-1, 99, "many"],
        "stream": ["yes", 1],
        "frequency_penalty": [9, "x"],
        "stream_options": [1, ["x"], {"include_usage": "x"}],
        "model": [3, "gpt-4", ["demo"]],
        "nanoscope": [
            3,
            [],
            {"track": HOOK},
            {"track": ["blocks.99.hook_resid_post"]},
            {"track": ["../../etc/passwd"]},
            {"top": -1},
            {"steer": [f"{HOOK}:99999999999999999999:add:1"]},
            {"steer": [f"{HOOK}:2048:add:1"]},
            {"steer": [f"{HOOK}:5:add:nan"]},
            {"steer": [f"{HOOK}:5:add:1e99"]},
            {"steer": [f"{HOOK}:5:explode:1"]},
            {"steer": [f"{HOOK}:v:add:1"]},
            {"steer": [{"hook": HOOK, "feature": -1, "op": "ablate"}]},
            {"steer": [{"hook": HOOK, "vector": "/etc/passwd", "op": "add", "value": 1}]},
            {"steer": [f"{HOOK}:5:add:1"] * 1000},
            {"compare": True},
            {"stop_when": ["x"]},
            {"file": "/etc/passwd"},
        ],
    }
    for field, values in wrong.items():
        for value in values:
            yield f"{field} {str(value)[:50]}", post({"prompt": "Once", "max_tokens": 2, field: value})


def bodies():
    """Bodies that are not requests."""
    yield "nothing", post(b"")
    yield "not JSON", post(b"prompt=Once")
    yield "half JSON", post(b'{"prompt": "Once"')
    yield "invalid UTF-8", post(b'{"prompt": "\xff\xfe\x80"}')
    yield "a lone surrogate", post(b'{"prompt": "\\ud800"}')
    yield "deep arrays", post(b"[" * 100_000)
    yield "deep objects", post(b'{"a":' * 50_000)
    yield "a deep field", post(b'{"prompt": "a", "nanoscope": ' + b'{"steer": [' * 5000)
    yield "a number of a megabyte", post(b'{"prompt": "a", "seed": ' + b"9" * 900_000 + b"}")
    yield "the key twice", post(b'{"prompt": "a", "prompt": "b", "n": "x"}')
    yield "10 MB of prompt", post({"prompt": "a" * 10_000_000})
    yield "a prompt longer than the context", post({"prompt": "the dog ran " * 3000})
    yield "chunks that are none", post(b"zz\r\nhello", headers=["Transfer-Encoding: chunked"], length=0)
    yield "two lengths", post(b"{}", headers=["Content-Length: 500"])
    yield "a negative length", post(b"{}", length=-5)
    yield "a length of exabytes", post(b"{}", length=2**62)
    yield "a compressed body", post({"prompt": "a"}, headers=["Content-Encoding: gzip"])
    yield "messages of nobody", post({"messages": []}, CHAT)
    yield "messages of a tool", post({"messages": [{"role": "tool", "content": "x"}]}, CHAT)
    yield "content of no kind", post({"messages": [{"role": "user", "content": 3}]}, CHAT)
    yield "a picture", post(
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, CHAT
    )


def heads():
    """Heads that are malformed or too large."""
    yield "a head of a megabyte", get("/v1/models", ["X-Bomb: " + "a" * 1_000_000])
    yield "ten thousand headers", get("/v1/models", [f"X-{i}: a" for i in range(10_000)])
    yield "a line of no protocol", b"HELLO\r\n\r\n"
    yield "a path of a megabyte", get("/" + "a" * 1_000_000)
    yield "a method of nobody", b"BREW /v1/models HTTP/1.1\r\nHost: HOST\r\n\r\n"
    yield "two names", b"GET /v1/models HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n"
    yield "another name", b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    yield "another origin", post({"prompt": "a"}, headers=["Origin: https://evil.example"])
    yield "up the tree", get("/assets/../../Cargo.toml")
    yield "up the tree, written otherwise", get("/assets/%2e%2e%2f%2e%2e%2fCargo.toml")
    yield "a feature of nobody", get(f"/api/saes/{HOOK}/features/999999")
    yield "a feature of no number", get(f"/api/saes/{HOOK}/features/-1")


def slow():
    """Requests that never end, sent a byte at a time."""
    yield "a head that never ends", b"GET /v1/models HTTP/1.1\r\nHost: HOST\r\nX-Slow: ", True
    yield "a body that never ends", post(b'{"prompt": "', length=1000), True


def ask(address, request, trickle=False):
    """The status and body of the response; status 0 if the connection was closed instead."""
    host, port = address.removeprefix("http://").split(":")
    started, answer = time.monotonic(), b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request.replace(b"HOST", f"{host}:{port}".encode()))
            while trickle and time.monotonic() - started < PATIENCE / 2:
                connection.sendall(b"a")
                time.sleep(0.5)
        except OSError:
            pass  # Refused before the end: the answer may be there already.
        try:
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
                head, found, body = answer.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                if found and length and len(body) >= int(length.group(1)):
                    break
        except ConnectionResetError:
            pass
    assert time.monotonic() - started < PATIENCE, "it hangs"
    status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    return int(status.group(1)) if status else 0, answer.partition(b"\r\n\r\n")[2]


def refused(address, name, request, trickle=False):
    """The status, and a description of the fault in the response, if there is one."""
    status, body = ask(address, request, trickle)
    # The server may hang up on requests that are not HTTP, or never end.
    if not (400 <= status < 500 or status == 0):
        return status, f"{name}: {status} {body[:300]}"
    if body.startswith(b"{") and not json.loads(body)["error"]["message"]:
        return status, f"{name}: {status} without a reason"
    return status, None


def main():
    requests = [(*request, False) for kind in (fields, bodies, heads) for request in kind()]
    requests += list(slow())
    assert len(requests) >= 100
    with served("--insecure") as address:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda request: refused(address, *request), requests))
        wrong = [what for _, what in found if what]
        assert not wrong, "\n".join(wrong)
        answered = sum(status != 0 for status, _ in found)
        assert answered >= len(requests) - 8, f"{answered} of {len(requests)} got a reason"
        status, body = ask(address, post({"prompt": "Once upon a time", "max_tokens": 3}))
        assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 3, (status, body)
    print(f"{len(requests)} hostile requests: {answered} answered with 4xx, the rest hung up on")


if __name__ == "__main__":
    main()

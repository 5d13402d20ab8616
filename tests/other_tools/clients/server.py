"""Starts the server for the clients."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile


@contextlib.contextmanager
def served(*flags):
    """Runs `nanoscope serve` with the demo. Yields its address, `http://127.0.0.1:PORT`."""
    binary = os.environ.get("NANOSCOPE_BINARY", "nanoscope")
    command = [binary, "serve", "--port", "0", "--log", "warn", *flags]
    with tempfile.TemporaryDirectory() as data:
        yield from run(binary, command, {**os.environ, "XDG_DATA_HOME": data})


def run(binary, command, environment):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[^/\s]+", line)
        if not found:
            sys.exit(f"{binary} printed no address: {line!r}")
        yield found.group()
    finally:
        process.terminate()
        status = process.wait(timeout=20)
    assert status == 0, f"the server ended with {status}"

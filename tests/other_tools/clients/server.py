"""Starts the server for the clients."""

import contextlib
import os
import re
import subprocess
import sys


@contextlib.contextmanager
def served(*flags):
    """Runs `nanoscope serve` with the demo. Yields its address, `http://127.0.0.1:PORT`."""
    binary = os.environ.get("NANOSCOPE_BINARY", "nanoscope")
    command = [binary, "serve", "--port", "0", "--log", "warn", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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

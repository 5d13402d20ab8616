"""Runs schemathesis against `nanoscope serve`: no 5xx, and every answer as the document says.

    python schemathesis.py BINARY [EXAMPLES]

Needs schemathesis from PyPI beside this Python. EXAMPLES is how many requests are made up for each
operation (default 15).
"""

import os
import re
import subprocess
import sys
import tempfile
import urllib.request


def main():
    binary = os.path.abspath(sys.argv[1])
    examples = sys.argv[2] if len(sys.argv) > 2 else "15"
    with tempfile.TemporaryDirectory() as labels:
        server = subprocess.Popen(
            [binary, "serve", "--port", "0", "--max-tokens", "4", "--labels", labels],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            address = re.search(r"http://\S+?(?=/?\s)", server.stdout.readline()).group()
            urllib.request.urlopen(f"{address}/health", timeout=60).read()
            command = [
                os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "schemathesis"),
                "run",
                f"{address}/openapi.json",
                "--url",
                address,
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,"
                "response_schema_conformance",
                "--max-examples",
                examples,
                "--seed",
                "1",
                "--request-timeout",
                "60",
                "--phases",
                "examples,coverage,fuzzing",
            ]
            # It leaves a cache in the folder that it runs in.
            return subprocess.run(command, check=False, cwd=labels).returncode
        finally:
            server.terminate()
            server.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())

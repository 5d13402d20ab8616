"""Runs schemathesis against `nanoscope serve`: no 5xx, and every response conforms to the document.

    python schemathesis.py BINARY [EXAMPLES]

Needs schemathesis from PyPI beside this Python. EXAMPLES is the number of requests to generate
per operation (default 15).
"""

import os
import subprocess
import sys
import tempfile

from server import served

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)


def main():
    os.environ["NANOSCOPE_BINARY"] = os.path.abspath(sys.argv[1])
    examples = sys.argv[2] if len(sys.argv) > 2 else "15"
    with tempfile.TemporaryDirectory() as labels:
        with served("--max-tokens", "4", "--labels", labels) as address:
            command = [
                os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "schemathesis"),
                "run",
                f"{address}/openapi.json",
                *["--url", address],
                *["--checks", CHECKS],
                *["--max-examples", examples],
                *["--seed", "1"],
                *["--request-timeout", "60"],
                *["--phases", "examples,coverage,fuzzing"],
            ]
            # It leaves a cache in the folder that it runs in.
            return subprocess.run(command, check=False, cwd=labels).returncode


if __name__ == "__main__":
    sys.exit(main())

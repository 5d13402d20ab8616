"""The program `nanoscope` of the wheel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DEMO

import nanoscope

PROGRAM = Path(sys.executable).parent / "nanoscope"
DEEPEST = "blocks.3.hook_resid_post"
GENERATE = ["generate", "--model", str(DEMO), "--sae", str(DEMO / "saes"), "--track", "all"]


def run(*args, program=(PROGRAM,), **options):
    return subprocess.run([*program, *args], capture_output=True, text=True, **options)


@pytest.mark.parametrize("program", [(PROGRAM,), (sys.executable, "-m", "nanoscope")])
def test_it_is_the_command_line(program):
    version = run("--version", program=program)
    unknown = run("generate", "--no-such-flag", program=program)
    missing = run("generate", "--model", "/nowhere", program=program)

    assert version.stdout == f"nanoscope {nanoscope.__version__}\n"
    assert unknown.returncode == 2 and "--no-such-flag" in unknown.stderr
    assert missing.returncode == 1 and "/nowhere" in missing.stderr


def test_it_generates_what_the_module_generates(demo):
    done = run(*GENERATE, "There was a big", "-n", "6", "--temperature", "0", "--json")
    *tokens, _end = [json.loads(line) for line in done.stdout.splitlines()]
    steps = demo.generate("There was a big", max_tokens=6, temperature=0).finish().steps

    assert [token["token_id"] for token in tokens] == [step.token_id for step in steps]
    for token, step in zip(tokens, steps):
        found = [(index, value) for index, value, *_ in token["features"][DEEPEST]]
        assert [index for index, _ in found] == [i for i, _ in step.features[DEEPEST].strongest(0, 99)]


def test_a_closed_pipe_is_no_failure():
    command = f"'{PROGRAM}' {' '.join(GENERATE)} -n 40 --temperature 0 --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)

    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr


def test_ctrl_c_ends_it_with_the_code_of_the_signal():
    command = [PROGRAM, *GENERATE, "-n", "500", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("{")
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)

    assert process.returncode == 130 and "interrupted" in error
    assert "Traceback" not in error

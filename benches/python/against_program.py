"""The Python module and the program of the same wheel, side by side: a generation with one SAE tracked.

    pip install WHEEL
    python benches/python/against_program.py [--threads 1] [--tokens 400] [--turns 5]

Both generate the same text with the demo and take turns; the time is that from the first token to the last. The
ratio is the module's tokens per second as a multiple of the program's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HOOK = "blocks.2.hook_resid_post"
PROMPT = "There was a big"

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--tokens", type=int, default=400)
parser.add_argument("--turns", type=int, default=5)
args = parser.parse_args()
os.environ["RAYON_NUM_THREADS"] = str(args.threads)

import nanoscope

model = nanoscope.load()


def module() -> tuple[list[int], float]:
    ids, first, last = [], 0.0, 0.0
    for step in model.generate(PROMPT, max_tokens=args.tokens, temperature=1.0, seed=0,
                               track=[HOOK]):
        last = time.perf_counter()
        first = first or last
        ids.append(step.token_id)
    return ids, (len(ids) - 1) / (last - first)


def program() -> tuple[list[int], float]:
    command = [Path(sys.executable).with_name("nanoscope"), "generate", PROMPT, "--json", "--seed", "0",
               "--temperature", "1", "--max-tokens", str(args.tokens), "--track", HOOK]
    ids, first, last = [], 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            step = json.loads(line)
            if "token_id" in step:
                last = time.perf_counter()
                first = first or last
                ids.append(step["token_id"])
    return ids, (len(ids) - 1) / (last - first)


module(), program()
turns = [(module(), program()) for _ in range(args.turns)]
for (of_module, _), (of_program, _) in turns:
    assert of_module == of_program, "the same text from both"
mine, theirs = (statistics.median(side[1] for side in sides) for sides in zip(*turns))
print(f"module {mine:.0f} tokens/s, program {theirs:.0f} tokens/s, ratio {mine / theirs:.2f}")

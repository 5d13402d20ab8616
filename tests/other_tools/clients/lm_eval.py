"""lm-evaluation-harness's `local-completions` against the server.

    pip install -r tests/other_tools/clients/lm_eval_requirements.txt
    NANOSCOPE_BINARY=target/debug/nanoscope python tests/other_tools/clients/lm_eval.py

The packages take 800 MB, so `.ci/run` leaves this out.

Scores a task of ten lines with the demo, and compares each log likelihood with the sum that `nanoscope
run --out` gives for the same tokens.
"""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile

# This file would be found in place of the package of the same name.
HERE = pathlib.Path(__file__).resolve().parent
sys.path = [path for path in sys.path if pathlib.Path(path or ".").resolve() != HERE]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("OPENAI_API_KEY", "none needed")

import lm_eval
import numpy
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from safetensors.numpy import load_file

sys.path.append(str(HERE))
from server import served

DEMO = HERE.parents[2] / "models" / "demo"
TASK = "nanoscope_stories"
ATOL = 1e-3


class Client(LocalCompletionsAPI):
    """The harness's client with the demo's tokenizer, which it would look for at OpenAI's."""

    def __init__(self, address):
        super().__init__(
            base_url=f"{address}/v1/completions",
            model="demo",
            tokenizer_backend=None,
            max_length=256,
            batch_size=4,
            eos_string="<|bos|>",
        )
        with open(DEMO / "tokenizer" / "tokenizer.pkl", "rb") as file:
            self.tokenizer = pickle.load(file)
        # nanochat pickles an encoding of tiktoken.
        self.tokenizer_backend, self.tokenized_requests = "tiktoken", True

    def tok_encode(self, string, **_):
        # nanochat's documents begin with <|bos|>, and token ids are run as they are.
        def encode(text):
            return [self.eot_token_id, *self.tokenizer.encode_ordinary(text)]

        return encode(string) if isinstance(string, str) else [encode(text) for text in string]

    @property
    def eot_token_id(self):
        return self.tokenizer.encode_single_token("<|bos|>")

    @property
    def prefix_token_id(self):
        return self.eot_token_id


def expected(tokens, from_token):
    """The sum of the log probabilities of `tokens[from_token:]`, by the command line."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run.safetensors")
        ids = ",".join(map(str, tokens))
        binary = os.environ.get("NANOSCOPE_BINARY", "nanoscope")
        command = [binary, "run", "--tokens", ids, "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        logits = load_file(out)["logits"][0].astype(numpy.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logprobs = logits - numpy.log(numpy.exp(logits).sum(axis=1, keepdims=True))
    return sum(logprobs[at - 1, tokens[at]] for at in range(from_token, len(tokens)))


def evaluate(address):
    """The results of the harness."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = HERE / "lm_eval_tasks"
        task = (tasks / "stories.yaml").read_text().replace("STORIES", str(tasks / "stories.jsonl"))
        pathlib.Path(folder, "stories.yaml").write_text(task)
        return lm_eval.simple_evaluate(
            model=Client(address),
            tasks=[TASK],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            bootstrap_iters=0,
        )


def main():
    with served() as address:
        client = Client(address)
        results = evaluate(address)
    samples = results["samples"][TASK]
    assert len(samples) == 10, len(samples)
    for sample in samples:
        for choice, response in zip(sample["doc"]["choices"], sample["filtered_resps"]):
            context = client.tok_encode(sample["doc"]["text"])
            whole = client.tok_encode(sample["doc"]["text"] + choice)
            found, ours = float(response[0]), expected(whole, len(context))
            assert abs(found - ours) < ATOL, (sample["doc"], choice, found, ours)
    accuracy = results["results"][TASK]["acc,none"]
    assert accuracy >= 0.9, json.dumps(results["results"], default=str)
    print(f"lm_eval {lm_eval.__version__} scored ten lines: accuracy {accuracy}")


if __name__ == "__main__":
    main()

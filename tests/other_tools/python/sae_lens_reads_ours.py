"""Converts every SAE fixture to SAELens's format and reads it with SAELens.

    python sae_lens_reads_ours.py target/debug/nanoscope

What SAELens computes of the converted file must be what the tool that wrote the original computed:
the same active features, features and reconstructions within 5e-5. An SAE that is not converted must
have been refused with a reason. Run by .ci/run where sae-lens is installed.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from sae_lens import SAE

ATOL = 5e-5
SAES = Path(__file__).parent.parent.parent / "fixtures" / "saes"
# SAELens's names of the architectures that the fixtures must cover.
ARCHITECTURES = {
    "standard",
    "topk",
    "abstopk",
    "matching_pursuit",
    "jumprelu",
    "gated",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
}


# What the user is asked to state where a file does not say it, by a part of the refusal. SAELens computes the
# features of `expected_average_only_in` as if its factor were in the weights.
STATED = {
    "do not name its hook point": ["--hook", "blocks.0.hook_resid_post"],
    "the hook point in": ["--hook", "blocks.0.hook_resid_mid:blocks.0.hook_mlp_out"],
    "it is not known whether that is folded": ["--activation-scale", "folded"],
}


def convert(binary, source, target):
    """Returns why the SAE was not written; None if it was."""
    stated = []
    while True:
        command = [binary, "convert", source, target, "--to", "saelens", *stated]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode == 0:
            return None
        asked = [flags for text, flags in STATED.items() if text in run.stderr]
        formats = re.findall("could be an SAE of the format ([a-z-]+)", run.stderr)
        asked += [["--format", name] for name in formats]
        if not asked or asked[0][1] in stated:
            return run.stderr.strip()
        stated += asked[0]


def check(case, folder):
    sae = SAE.load_from_disk(folder, device="cpu")
    expected = load_file(SAES / case / "expected.safetensors")
    architecture = json.loads((Path(folder) / "cfg.json").read_text())["architecture"]
    x = expected["x"]
    if sae.cfg.reshape_activations == "hook_z":
        x = expected["x_heads"] if "x_heads" in expected else x.reshape(len(x), 4, -1)
    with torch.no_grad():
        features = sae.encode(x)
        reconstruction = sae(x).reshape(len(x), -1)
    assert torch.equal(features != 0, expected["features"] != 0), f"{case}: other features are active"
    for name, found in (("features", features), ("reconstruction", reconstruction)):
        error = (found - expected[name]).abs().max().item()
        assert error <= ATOL, f"{case}: {name} differ by {error}"
    return architecture


def main(binary):
    seen, refused = set(), []
    for case in json.loads((SAES / "manifest.json").read_text()):
        if case["architecture"] == "cross_layer_transcoder":
            continue
        with tempfile.TemporaryDirectory() as folder:
            reason = convert(binary, SAES / case["path"], folder)
            if reason is not None:
                assert "cannot be written for SAELens" in reason, f"{case['case']}: {reason}"
                refused.append(case["case"])
                continue
            seen.add(check(case["case"], folder))
    missing = ARCHITECTURES - seen
    assert not missing, f"no case of {sorted(missing)} was read"
    print(f"SAELens reads what we write of {sorted(seen)}; refused: {', '.join(refused) or 'none'}")


main(sys.argv[1])

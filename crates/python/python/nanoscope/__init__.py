"""A microscope for small language models: SAE features while a model generates, and steering by them.

    import nanoscope

    model = nanoscope.load()                      # the built-in demo; or load("model", saes="saes")
    for step in model.generate("There was a big", temperature=0, max_tokens=12,
                               steer=["blocks.3.hook_resid_post:1909:add:30%"]):
        print(step.text, step.features["blocks.3.hook_resid_post"].strongest(0, 3))

`nanoscope.nanochat_sae` has nanochat-SAE's own names.
"""

from nanoscope._errors import FeatureIndexError, NanoscopeError
from nanoscope._nanoscope import (
    Features,
    Generation,
    Model,
    Run,
    Sae,
    Step,
    __version__,
    available_devices,
    hook_point,
    load,
    load_sae,
    load_saes,
)

__all__ = [
    "FeatureIndexError",
    "Features",
    "Generation",
    "Model",
    "NanoscopeError",
    "Run",
    "Sae",
    "Step",
    "__version__",
    "available_devices",
    "hook_point",
    "load",
    "load_sae",
    "load_saes",
]

"""nanochat-SAE's names, arguments and shapes, computed by nanoscope.

A script for nanochat-SAE runs after its imports are changed:

    from nanoscope.nanochat_sae import InterpretableModel, load_saes    # was: from sae import ...

The model is a `nanoscope.Model`, or the path of a checkpoint, in place of a torch module. Token ids and activations are
NumPy arrays, lists, or tensors of any library with DLPack. Where torch tensors come in, torch tensors come out, in the
same memory as the arrays that were computed.

Contexts behave as nanochat-SAE's do, with three exceptions where its own behaviour loses results in silence: leaving
steering does not end tracking, a second `steering_enabled` inside another is an error, and nothing stays enabled after
an error in the middle of enabling.
"""

from nanoscope.nanochat_sae._config import SAEConfig
from nanoscope.nanochat_sae._files import load_saes, save_sae
from nanoscope.nanochat_sae._model import ActivationCollector, InterpretableModel, load_model
from nanoscope.nanochat_sae._saes import BaseSAE, GatedSAE, ReLUSAE, TopKSAE, create_sae

__all__ = [
    "ActivationCollector",
    "BaseSAE",
    "GatedSAE",
    "InterpretableModel",
    "ReLUSAE",
    "SAEConfig",
    "TopKSAE",
    "create_sae",
    "load_model",
    "load_saes",
    "save_sae",
]

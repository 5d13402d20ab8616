"""The exceptions of nanoscope."""


class NanoscopeError(ValueError):
    """A file, an argument or a computation that nanoscope refuses; the text says which and why."""


class FeatureIndexError(NanoscopeError, IndexError):
    """The index of a feature that the SAE does not have."""

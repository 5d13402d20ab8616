//! nanochat's GPT in every era, with a hook at every named activation.

//! Sparse autoencoders: activations in, features out, and back.

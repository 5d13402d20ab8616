//! How good a sparse autoencoder is: reconstruction, sparsity, the model with it spliced in.

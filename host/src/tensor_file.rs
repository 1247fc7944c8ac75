//! Tensors as .npy files.

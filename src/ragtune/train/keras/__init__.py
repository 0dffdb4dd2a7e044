"""Training with Keras on TensorFlow: the same adapters as with PyTorch."""

"""Text to vectors, one file a backend."""

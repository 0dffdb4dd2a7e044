"""Chat models, each in one file: a local model over the engine; hosted ones beside it."""

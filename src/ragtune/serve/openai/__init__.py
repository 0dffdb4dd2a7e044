"""OpenAI's API over a project: chat completions, embeddings and models."""

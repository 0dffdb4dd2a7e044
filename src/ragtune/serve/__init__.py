"""Answering over HTTP: an OpenAI-compatible API, the API of the web page, and the page itself."""

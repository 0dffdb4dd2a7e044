"""ragtune's own API: questions with their passages and citations, search, and how the server stands."""

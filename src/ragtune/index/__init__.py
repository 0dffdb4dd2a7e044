"""Vector stores, one file a backend: ``exact`` is the reference, ``faiss`` the default. All hold inner products over corpus rows."""

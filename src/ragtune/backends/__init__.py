"""This package alone names the backends, and imports each inside the function that makes it.

A backend is a name, resolved by a plain ``match``; where its library is missing, :class:`~ragtune.errors.MissingExtraError` names the
extra. What runs on this machine is made in ``local`` and ``index``, what a server does in ``hosted`` and ``tuning``, and the embedder,
which may be either, in ``embedding``. All of it is had through :mod:`ragtune.build`.
"""

"""Questions to examples: read and anchor questions, split them, assemble training and evaluation contexts, store, audit and export them.

Pure functions over the records of :mod:`ragtune.types`; the corpus and the retriever come in as arguments.

- ``questions``, ``squad``, ``anchor``: question files, and where their evidence stands in the documents
- ``split``: train, validation and the locked test split with its two strata
- ``raft``: examples with the serving retriever's candidates; the contexts they are trained and evaluated in
- ``shared``: questions that are trained in one sequence because their contexts overlap
- ``audit``, ``store``, ``show``, ``export``
"""

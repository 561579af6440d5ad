"""Studies: the same training repeated under one question, compared honestly in the end.

``plan`` is a study as a checked object, ``questions`` those that come with this package, ``run`` trains, ``compare``
makes the tables, ``pages`` writes them down.
"""

"""Fine-tuning: from a parent bundle to a child for one disease, measured against its parent.

``disease`` says what is asked, ``parent`` what is taken over, ``stages`` what trains when and how fast, ``judging``
what came of it, ``child`` what is written down. ``heads`` is the short way where the classifier alone is trained.
"""

"""A bundle's folder as one validated object, and what its configurations need when MONAI runs them.

``folder`` opens and checks a bundle, ``trained`` writes the one that a training leaves behind, ``shipped`` finds those
of this package, ``workflow`` is what every configuration's ``initialize`` calls first.
"""

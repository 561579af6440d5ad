"""From files and a bundle to maps: ``explainer`` writes them, ``explanation`` is what a bundle's ``explain.json`` runs."""

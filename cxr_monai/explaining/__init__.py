"""From files and a bundle to maps: ``explainer`` makes them, a bundle's ``explain.json`` runs ``explanation``."""

"""Bundles between hospitals: what one would execute, found without executing any of it."""

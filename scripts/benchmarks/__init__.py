"""The sections of ``scripts/benchmark.py``: a module a subject, a function ``measure_SECTION`` each."""

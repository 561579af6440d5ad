"""Experiments: the same training repeated under one question, compared honestly in the end.

A *study* is of a patient everywhere else; the command is called ``study``. ``plan`` is an experiment as a checked
object, ``questions`` those that come with this package, ``checking`` tries the variants, ``run_experiment`` trains,
``compare`` makes the tables, ``experiment_pages`` writes them.
"""

"""Programs that stand on the library, each with a console script of its own; installed as ``cxr_monai_apps``.

There is none yet. A program is one package here (``apps/node``), with a ``main(argv=None) -> int`` that its line in
``entry_points`` of ``setup.py`` calls: ``"cxr-monai-node = cxr_monai_apps.node:main"``. Programs import ``cxr_monai``
and the names that the library's packages list in ``__all__``, nothing else of it, and each other not at all; nothing in
the library imports them (``tests/test_layers.py``). Within a program imports are relative, since the folder is called
``apps`` and the installed package ``cxr_monai_apps``.
"""

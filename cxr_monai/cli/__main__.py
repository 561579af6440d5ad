"""``python -m cxr_monai.cli``, for where the script is not on the path.

``python -m`` puts the working directory before everything on the import path, so that a file ``ignite.py`` in it would
be imported instead of the library. It is taken off again, unless this package lies there.
"""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] and not os.path.isdir("cxr_monai"):
    del sys.path[0]

from cxr_monai.cli import main

sys.exit(main())

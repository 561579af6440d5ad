"""``python -m apps.node`` in a clone, ``python -m cxr_monai_apps.node`` where it is installed."""

import sys

from . import main

sys.exit(main())

"""``python -m cxr_monai.cli``, for where the script is not on the path."""

import sys

from cxr_monai.cli import main

sys.exit(main())

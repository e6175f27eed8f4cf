"""``python -m faintsky.cli``."""

import sys

from faintsky.cli import main

sys.exit(main())

"""python -m highlight_autoinstrument: the same as highlight-run, where the command is not on PATH."""

import sys

from .cli import main

sys.exit(main())

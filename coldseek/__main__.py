"""`python -m coldseek`: the command."""

import sys

from profiler.__main__ import main

sys.exit(main())

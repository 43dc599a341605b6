"""coldseek, by the name it is installed under: the same as `profiler`."""

import sys

import profiler

sys.modules[__name__] = profiler

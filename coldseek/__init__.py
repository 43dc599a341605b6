"""coldseek, by the name it is installed under: the public names of `profiler`, the same things."""

import profiler

__doc__ = profiler.__doc__
__all__ = profiler.__all__

TYPE_CHECKING = False  # as of typing, which takes a moment to load
if TYPE_CHECKING:
    from profiler import *  # noqa: F403
    from profiler import __version__ as __version__
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(profiler, name)


def __dir__() -> list[str]:
    return __all__

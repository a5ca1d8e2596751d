"""fairloss: Fair Loss and its relatives for long-tailed face recognition."""

from fairloss_ext import __version__

__all__ = ["__version__"]

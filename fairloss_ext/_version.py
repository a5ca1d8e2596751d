"""The version of both packages, fairloss_ext and fairloss."""

__version__ = "0.1.0"

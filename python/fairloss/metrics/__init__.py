"""Metrics that are updated batch by batch."""

from fairloss.metrics.class_statistics import ClassStatistics

__all__ = ["ClassStatistics"]

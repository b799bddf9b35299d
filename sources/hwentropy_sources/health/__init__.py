"""The SP 800-90B section 4.4 health tests: findings, cut-offs, continuous tests."""

from .alarms import Alarm, Finding, Level
from .continuous import HealthTests

__all__ = ["Alarm", "Finding", "HealthTests", "Level"]

"""The testing kit: agents and tables under test without a broker."""

from app.testing.driver import DeadLetter, Driver

__all__ = ["DeadLetter", "Driver"]

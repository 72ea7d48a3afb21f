"""The version, in step with the contract."""

VERSION = "0.1.0"
"""Of this package."""

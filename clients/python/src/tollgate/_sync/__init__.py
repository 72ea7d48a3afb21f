# Made from `_async` by tools/unasync.py; change that one.
"""The client's manner of calling."""

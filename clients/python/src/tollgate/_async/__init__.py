"""The client's manner of calling."""

"""Serving: the listening sockets, and the workers that answer on their connections."""

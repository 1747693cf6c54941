"""Synthetic models of real architectures, what llama-server allocates for them, and how near estimates come."""

"""Sampling: each source read, tested and watched, so that it hurts nobody else."""

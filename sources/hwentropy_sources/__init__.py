"""Noise sources: what they are, how they are found, and whether they are healthy.

`contract` says what a source is, `registry` which there are, one module each
implements them, `health` judges their samples.  Nothing here knows the pool,
the DRBG or a client.
"""

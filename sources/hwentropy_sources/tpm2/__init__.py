"""A TPM 2.0's generator, through libtss2."""

"""The CPU's own instructions: RDSEED and RDRAND."""

"""Seeding: from tested samples to the root DRBG, and when there may be output."""

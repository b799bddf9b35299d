"""The generator of this process: a child of the daemon's DRBG, on a lease.

    generator.py    the face of it: modes, timeouts, fallback, threads, forks
        drbg            one child DRBG: when it needs a lease, a new block, a new key
            connection      gets leases from the daemon, with the generation page
            reservoir       the bytes that are ready: the hot path, from any thread;
                            C (_reservoir.c), or the same in Python

Each layer knows the ones below it only.
"""

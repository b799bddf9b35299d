"""The serving process: connections in, random bytes out.

It holds its own child DRBG, the connections it was handed and its end of the
channel; no source, no pool, no root key, no listening socket, and by its
confinement no file.

    generator    the child DRBG, rekeyed when the generation moves
    connection   one client: answers requests until it would have to wait
    engine       which connection is served by which thread
    process      its channel to the supervisor, its start
"""

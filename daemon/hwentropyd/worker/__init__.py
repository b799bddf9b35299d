"""The serving process: connections in, random bytes out.

It holds its own child DRBG, the connections it was handed and its end of the
channel; no source, no pool, no root key, no listening socket, and by its
confinement no file.

    drbg         the child DRBG, rekeyed when the generation moves
    protocols/   which reply a request gets, or what it waits for
    connection   one client: answers requests until it would have to wait
    quota        the rates of one user
    turns        whose turn it is, fair between users
    engine       which connection is served by which thread
    settings     what it is told first
    outbox       what it says to the supervisor, which nobody waits for
    process      its channel to the supervisor, its start
"""

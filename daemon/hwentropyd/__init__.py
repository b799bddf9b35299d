"""The daemon: one supervisor that owns the sources, and workers that serve.

config     what the operator wrote             sampler        one source's thread
pool       what the sources gave, credited     root        pool -> root DRBG -> generation
service    when to reseed, degrade, fail       supervisor  ties it together, in one event loop
workers    starts, feeds and replaces workers  worker/     the serving process
listeners  the sockets                         control     the Varlink interface
"""

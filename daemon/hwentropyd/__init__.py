"""The daemon: a supervisor that collects entropy, and workers that hand out bytes.

command, supervisor   the command line; what ties the rooms together, in one event loop
config/               what the operator wrote
sampling/             one source each: its thread, its health
seeding/              what the sources gave, when it is a seed, and the root DRBG
serving/              sockets, and connections on their way to a worker
worker/               the serving process
channel               what supervisor and workers say to each other
operating/            control socket, status, log, service manager
confinement/          what each process gives up
"""

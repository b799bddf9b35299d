"""The daemon: a supervisor that collects entropy, and workers that hand out bytes.

command, supervisor   the command line; what ties the rooms together, in one event loop
config/               what the operator wrote
sampling/             one source each: its thread, its health; a source in a collector
collector/            the process that runs other people's code for one source
seeding/              what the sources gave, when it is a seed, and the root DRBG
serving/              sockets, each user's share, and connections on their way to a worker
worker/               the serving process
child, template       a child process: started, watched, killed; what it is forked from
channel               what supervisor and workers say to each other
role, token_bucket    what a socket is for; a rate
operating/            control socket, greeting, log and outputs, signals, service manager
confinement/          what each process gives up
"""

"""The process that runs other people's code for one source: a library's, a plug-in's.

It holds that source and its end of a channel; no key, no other source, and within
limits of memory and descriptors.  What it says is tested and judged by the supervisor
(`hwentropyd.sampling.remote`), as if a stranger had said it.

    messages   what is asked and answered
    reach      which devices, files and sockets are left to a kind
    process    the process: the source behind its channel
"""

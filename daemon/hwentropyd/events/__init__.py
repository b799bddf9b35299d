"""What befalls the machine and changes what the service may do.

    clones        the signs that this machine runs from a copied memory, put together
    kernel_log      the kernel's line in /dev/kmsg
    acpi            the count of the ACPI event by which a hypervisor tells
    uevents         the kernel's uevent NEW_VMGENID
    boot_id         another kernel than the one before
    clock           a wall clock that was set

Each module is what a sign looks like, pure, and a thin watcher of where it comes.
"""

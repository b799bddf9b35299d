"""What the kernel's generator gives: getrandom, and the CPU's share by way of a reseed."""

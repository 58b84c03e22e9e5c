"""The routes, one module per part of the interface; each reads, calls, and writes, and decides nothing else."""

"""The shop against what people would otherwise use, and against the limit of the machine: `make bench`."""

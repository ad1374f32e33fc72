"""The comparison with other echo servers and load generators: `make bench`."""

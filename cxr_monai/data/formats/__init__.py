"""One module a file format: how its greys become [0, 1], and what it refuses; ``data.radiograph`` is their door."""

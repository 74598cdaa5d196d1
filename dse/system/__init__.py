"""Many chips: links and collectives, parallelism, experts, capacity, and the metrics of a serving system."""

"""Search: the space, the goals, the exact inner sweep, the strategies that choose what to try, the Pareto archive."""

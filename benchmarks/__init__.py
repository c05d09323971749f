"""What the course's own code costs: ``python -m benchmarks``. Every row is a ratio of two things timed side by side."""

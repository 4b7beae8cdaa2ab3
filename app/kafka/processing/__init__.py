"""What runs in a worker: fetches to work, work to checkpoints, and which partitions it holds."""

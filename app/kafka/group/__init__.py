"""The consumer group: who is in it, and how it rebalances without stopping what stays."""

"""The shop's load generator: correlated events at a steady rate, with exact totals of its own."""

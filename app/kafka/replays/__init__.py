"""What reads a topic once more on a command: dead letters, and a table's source."""

"""What a checkpoint is to Kafka: one transaction, fenced by the group's generation."""

"""Bytes to columns: Kafka record batches, headers and JSON, in compiled kernels."""

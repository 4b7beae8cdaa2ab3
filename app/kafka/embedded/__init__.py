"""The embedded broker: Apache Kafka in a JVM of its own, for development, tests and benchmarks."""

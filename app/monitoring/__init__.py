"""How a running worker is watched: metrics, logs, health and the watchdog."""

"""State out of the changelogs: restores, and standbys' copies."""

"""The database room: the only one that speaks SQL. `Store` is its door, `records` what passes through it."""

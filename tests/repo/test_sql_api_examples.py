"""What docs/sql-api.md shows can be typed into psql."""

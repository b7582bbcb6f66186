"""The values of Python are those of SQL: rows, statuses, refusals."""

"""The engine against a small model of it: any order of calls, every step compared."""

"""What every object of the schema keeps to, asked of the catalog."""

"""Tags for templates of the project."""

"""App of a project whose models publish their changes."""

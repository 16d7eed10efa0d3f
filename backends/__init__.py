"""lamina."""

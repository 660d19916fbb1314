"""From bytes to vectors, for many requests at once."""

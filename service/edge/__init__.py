"""Before a route: a socket becomes a checked request."""

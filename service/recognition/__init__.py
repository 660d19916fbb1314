"""What a route does between request and answer."""

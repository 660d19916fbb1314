"""What a route does between the request and the answer."""

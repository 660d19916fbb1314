"""What `models.train` and its sisters are made of."""

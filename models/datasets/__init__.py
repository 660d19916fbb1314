"""Photos on disk: what of a folder is a photo, who is a person, and the lists that name them."""

"""From the bytes of a photo to an aligned crop, and how good the photo is."""

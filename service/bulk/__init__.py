"""Large folders of photos, on this machine or on a cluster."""

"""What goes over the wire: pydantic models, and nothing that computes."""

"""Interfaces of other services, in front of the same pipeline and the same store."""

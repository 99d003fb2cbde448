"""Migration guides: the same call before and after, drafted for staff, shown to the public."""

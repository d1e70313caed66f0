"""Options of one slot."""

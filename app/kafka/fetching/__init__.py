"""Faust's transport: whole fetches instead of single records."""

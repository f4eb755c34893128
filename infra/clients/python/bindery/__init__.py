"""Bindery's client: see bindery.client."""

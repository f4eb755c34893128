"""Bindery over HTTP: the API for apps, and the push endpoints for Pub/Sub."""

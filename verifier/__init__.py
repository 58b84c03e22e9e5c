"""Receipts, policies and their verification: the bottom of verinfer."""

"""Comparison of several results: tables, plots and an HTML page.

No scores are computed here. Start with `page.py`.
"""

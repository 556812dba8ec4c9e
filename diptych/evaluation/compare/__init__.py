"""Comparison of several results: tables, plots and an HTML page.

Not here: computing scores. Start with `page.py`.
"""

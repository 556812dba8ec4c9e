"""Trained models over HTTP: a REST API, a page for the browser, and a worker process that computes.

Not here: options of the command. Start with `http_api.py`.
"""

"""What the web servers of Diptych share: bounds on requests and connections, access, errors, static files.

Not here: routes and pages. Start with `uvicorn_server.py`.
"""

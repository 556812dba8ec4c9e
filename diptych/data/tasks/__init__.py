"""Tasks whose pairs are computed from photographs: colours, edges, missing pixels and others.

Not here: where the photographs are (`data/sources`), or networks. Start with `task.py`.
"""

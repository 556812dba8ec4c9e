"""Settings: recipes, the command line's `key=value` and their validation.

Not here: what settings do. Start with `recipe.py`; `recipes/` holds the recipes that ship with Diptych.
"""

"""Human studies: people judge translations in the browser (real or fake, A/B, best of N, mean opinion score).

Not here: metrics computed by programs (`evaluation`). Start reading at `design`.
"""

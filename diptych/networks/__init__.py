"""Networks as plain `nn.Module`s: building blocks, and the generators, discriminators and encoders of the papers.

Not here: losses, optimisers, anything that reads files. Start with `factory.py` (networks by their usual names).
"""

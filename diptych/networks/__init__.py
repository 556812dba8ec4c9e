"""Networks as `nn.Module`s: layers, and the generators, discriminators and encoders of the papers.

Not here: losses, optimizers, anything that reads files. Start with `factory.py` (generators by their usual names).
"""

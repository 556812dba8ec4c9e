"""Loss functions: tensors in, a scalar tensor out, each with its equation in the paper.

Not here: loss weights, which are settings of the methods. Start with `adversarial.py`.
"""

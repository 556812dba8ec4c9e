"""The operators that a network in a `.pt2` file may use: functions of tensors alone, without files or raw memory."""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

NAMES = """
    abs adaptive_avg_pool2d adaptive_max_pool2d alias add addmm all amax amin any arange argmax argmin avg_pool2d
    batch_norm bitwise_and bitwise_not bitwise_or bmm broadcast_to cat chunk clamp clamp_max clamp_min clone
    constant_pad_nd contiguous conv2d conv_transpose2d convolution cos cumsum detach div dropout einsum elu
    embedding eq erf exp expand expand_as feature_dropout fill flatten flip floor floor_divide full full_like gather ge
    gelu glu group_norm gt hardsigmoid hardswish hardtanh index index_select instance_norm layer_norm le leaky_relu
    lift_fresh_copy linalg_vector_norm linear log log_softmax logical_and logical_not logical_or logsumexp lt
    masked_fill matmul max max_pool2d max_pool2d_with_indices maximum mean meshgrid min minimum mish mm movedim mul
    narrow native_batch_norm native_group_norm native_layer_norm ne neg new_full new_ones new_zeros norm ones
    ones_like pad permute pixel_shuffle pixel_unshuffle pow prelu prod reciprocal reflection_pad2d relu relu6
    remainder repeat replication_pad2d reshape reshape_as roll round rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter select selu sigmoid sign silu sin slice softmax softplus split
    split_with_sizes sqrt square squeeze stack std sub sum sym_constrain_range sym_constrain_range_for_size sym_numel
    sym_size sym_stride t tanh tile to topk transpose tril triu type_as unbind unflatten unfold unsqueeze
    upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean view view_as where zeros zeros_like
    _adaptive_avg_pool2d _assert_scalar _assert_tensor_metadata _log_softmax _native_batch_norm_legit_no_training
    _softmax _to_copy _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d
"""
ATEN = frozenset(NAMES.split())

# Arithmetic of sizes; `getitem` takes one of several results.
ON_SIZES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "add": operator.add,
        "sub": operator.sub,
        "mul": operator.mul,
        "truediv": operator.truediv,
        "floordiv": operator.floordiv,
        "mod": operator.mod,
        "neg": operator.neg,
        "eq": operator.eq,
        "ne": operator.ne,
        "lt": operator.lt,
        "le": operator.le,
        "gt": operator.gt,
        "ge": operator.ge,
        "getitem": operator.getitem,
    }
)


def is_allowed(name: str) -> bool:
    """Return whether an aten operator is in the list, or is the in-place form (`relu_`) of one in it."""
    return name in ATEN or (name.endswith("_") and name.removesuffix("_") in ATEN)

"""Former names of settings: saved runs of then still open, and an old name on the command line is answered by the new.

Tables are by section, and by method for the settings of a method. Values are listed where those changed, too.
"""

from collections.abc import Collection, Mapping
from typing import Any

WIDTHS = {"width": "ngf", "d_width": "ndf"}
DECAY = {"decay_from": "lr_decay_start"}
PATCH = {"field": "receptive_field"}
SIZE = {"size": "image_size"}
REUSE = {"saving": "reuse"}
SEEKING = {"seek": "lambda_ms", "clamp": "ms_eps"}

METHODS: Mapping[str, Mapping[str, str]] = {
    "gan": {
        **SIZE,
        "width": "g_hidden",
        "d_width": "d_hidden",
        "pieces": "maxout_pieces",
        "latent": "latent_dim",
        "objective": "gan_loss",
    },
    "pix2pix": {
        **WIDTHS,
        **PATCH,
        **DECAY,
        "adversarial": "gan_loss",
        "l1": "lambda_l1",
        "penalty": "lambda_gp",
        "gain": "init_gain",
    },
    "cyclegan": {
        **WIDTHS,
        **PATCH,
        **DECAY,
        "cycle_a": "lambda_cycle_a",
        "cycle_b": "lambda_cycle_b",
        "identity": "lambda_identity",
        "gan": "lambda_gan",
        "pool": "pool_size",
        "gain": "init_gain",
    },
    "msgan": {
        **SIZE,
        **WIDTHS,
        **PATCH,
        **DECAY,
        **SEEKING,
        "gan": "lambda_gan",
        "l1": "lambda_l1",
        "noise": "latent_dim",
        "scales": "num_scales",
    },
    "cut": {
        **WIDTHS,
        **PATCH,
        **DECAY,
        **REUSE,
        "gan": "lambda_gan",
        "nce": "lambda_nce",
        "identity": "nce_idt",
        "mirror": "flip_equivariance",
        "places": "num_patches",
        "code": "nce_dim",
        "blocks": "n_blocks",
    },
    "drit": {
        **SIZE,
        **WIDTHS,
        **DECAY,
        **SEEKING,
        "gan": "lambda_gan",
        "content": "lambda_content",
        "cross": "lambda_cc",
        "self_weight": "lambda_recon",
        "latent": "lambda_latent",
        "prior_weight": "lambda_kl",
        "halves": "split_batch",
        "noise": "content_noise_std",
        "clip": "content_grad_clip",
        "content_depth": "content_d_layers",
        "content_kernel": "content_d_kernel",
        "depth": "d_layers",
        "scales": "num_scales",
        "variant": "attribute_injection",
    },
    "munit": {
        **SIZE,
        **WIDTHS,
        **REUSE,
        "gan": "lambda_gan",
        "image": "lambda_image",
        "content": "lambda_content",
        "style": "lambda_style",
        "cycle": "lambda_cycle",
        "perceptual": "lambda_perceptual",
        "features": "feature_network",
        "hidden": "mlp_dim",
        "halve_every": "lr_halve_every",
        "blocks": "n_blocks",
        "depth": "d_layers",
        "scales": "num_scales",
    },
    "stargan": {
        **SIZE,
        **WIDTHS,
        **DECAY,
        **REUSE,
        "classify": "lambda_cls",
        "reconstruct": "lambda_rec",
        "penalty": "lambda_gp",
        "identity": "lambda_identity",
        "blocks": "n_blocks",
        "depth": "d_layers",
        "targets": "target_labels",
    },
    "starganv2": {
        **SIZE,
        **REUSE,
        "width": "ngf",
        "max_width": "max_channels",
        "classify": "lambda_cls",
        "cycle": "lambda_cyc",
        "style": "lambda_sty",
        "diversity": "lambda_ds",
        "diversity_until": "ds_decay_end",
        "r1": "lambda_r1",
        "penalty": "lambda_gp",
        "objective": "gan_loss",
        "critic": "d_head",
        "passes": "style_sources",
        "hidden": "mapping_dim",
        "highpass": "w_hpf",
        "mapping_lr": "f_lr",
    },
    "dtn": {
        **SIZE,
        **WIDTHS,
        "const": "lambda_const",
        "tid": "lambda_tid",
        "tv": "lambda_tv",
        "code": "embedding_dim",
        "adversarial": "use_gan",
        "critic": "d_head",
        "reader": "f_network",
        "judge_width": "f_base_channels",
        "judge_depth": "f_n_downsample",
        "f_noise": "f_noise_std",
        "encoder": "g_encoder",
        "smooth": "one_by_one_convs",
        "pretrain": "pretrain_steps",
    },
    "diat": {
        **SIZE,
        **WIDTHS,
        "blocks": "n_blocks",
        "depth": "d_layers",
        "d_most": "d_max_channels",
        "keep": "lambda_id",
        "inside": "lambda_inside",
        "smooth": "lambda_smooth",
        "identity": "identity_features",
        "features": "feature_network",
        "layers": "feature_layers",
        "head": "d_head",
        "warm": "warmup_steps",
        "denoise": "denoiser_steps",
        "enhance": "enhancement_steps",
    },
    "twostep": {
        **SIZE,
        **WIDTHS,
        "classify": "lambda_cls",
        "embedded": "embedding_dim",
        "latent": "latent_dim",
        "pretrain": "pretrain_steps",
    },
    "srgan": {
        **SIZE,
        **WIDTHS,
        "blocks": "n_blocks",
        "gan": "lambda_gan",
        "content": "lambda_content",
        "pixel": "lambda_mse",
        "tv": "lambda_tv",
        "features": "feature_network",
        "layer": "feature_layer",
        "rescale": "feature_scale",
        "joint": "pre_upsample",
        "end": "output_activation",
        "head": "d_head",
        "schedule": "lr_schedule",
        "pretrain": "pretrain_steps",
    },
    "classifier": {"width": "base_channels", "depth": "n_downsample"},
    "segmenter": {"width": "base_channels", "depth": "n_downsample"},
}
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "sides": "folders",
        "also": "extra_roots",
        "twins": "matched_names",
        "match_names": "pair_names",
        "target": "target_root",
        "patches": "background_root",
        "crop": "crop_size",
        "load": "load_size",
        "load_until": "random_crop_until",
        "fit": "resize_mode",
        "cut": "crop_mode",
        "bad": "on_bad_image",
    },
    "train": {
        "batch": "batch_size",
        "begin": "init_from",
        "micro": "grad_accum_steps",
        "record": "cuda_graphs",
        "patience": "rank_timeout_minutes",
        "previews": "preview_images",
        "save_minutes": "checkpoint_minutes",
    },
    "evaluate": {
        "every": "eval_every",
        "measure": "monitor",
        "stop_after": "patience_evals",
        "images": "eval_images",
        "judge": "evaluator",
    },
}
VALUES: Mapping[str, Mapping[Any, Any]] = {
    "reuse": {"plain": "none", "passes": "exact", "most": "max", True: "exact", False: "none"},
    "resize_mode": {"short": "short_side", "centre": "center_square"},
    "crop_mode": {"crop": "random", "zoom": "random_resized"},
    "attribute_injection": {"mixed": "feature_wise"},
    "gan_loss": {"r1": "nonsaturating"},
    "f_network": {"judge": "classifier"},
    "lr_schedule": {"line": "linear"},
    "upsample": {"basic": "deconv", "bilinear": "resize_conv"},
    "protocol": {"drawn": "unconditional", "told-apart": "classifier-accuracy"},
}
# What earlier versions did where a setting that they did not have has another default.
FORMERLY: Mapping[str, Mapping[str, Any]] = {"data": {"resampler": "pillow"}}


# Names that other toolkits use, in lower case, and the settings here that do the same; see docs/coming-from.md.
ELSEWHERE = {
    "cuda": "device",
    "dataroot": "root",
    "finesize": "crop_size",
    "gan_mode": "gan_loss",
    "gpu_ids": "device",
    "img_size": "crop_size",
    "init_type": "init",
    "lambda_a": "lambda_cycle_a",
    "lambda_b": "lambda_cycle_b",
    "lambda_reg": "lambda_r1",
    "learning_rate": "lr",
    "loadsize": "load_size",
    "max_iter": "steps",
    "n_epochs": "epochs",
    "netd": "receptive_field",
    "netg": "generator",
    "niter": "epochs",
    "no_dropout": "dropout",
    "no_flip": "flip",
    "num_epochs": "epochs",
    "num_iters": "steps",
    "num_threads": "workers",
    "num_workers": "workers",
    "preprocess": "resize_mode",
    "selected_attrs": "attributes",
    "total_iters": "steps",
    "which_model_netg": "generator",
}


def named_elsewhere(key: str, names: Collection[str]) -> str:
    """Return the one of `names` that other toolkits call `key`; `` if there is none."""
    name = ELSEWHERE.get(key.lower(), "")
    return name if name in names else ""


def new_name(key: str, method: str) -> str:
    """Return the present name of a setting; `` if it was not renamed."""
    tables = (METHODS.get(method, {}), *SECTIONS.values())
    return next((table[key] for table in tables if key in table), "")


def document(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a saved run, `{method, model, data, train, evaluate}`, with present names and values.

    Settings that the version of the run did not have are added where their default is not what it did.
    """
    method = settings.get("method")
    tables = {"model": METHODS.get(method, {}) if isinstance(method, str) else {}, **SECTIONS}
    return {
        key: {**FORMERLY.get(key, {}), **_flat(value, tables[key])}
        if key in tables and isinstance(value, Mapping)
        else value
        for key, value in settings.items()
    }


def config(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved config of a method with present names and values."""
    return _flat(values, METHODS.get(method, {}))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a checkpoint was made with, as `document` does, all sections in one."""
    merged = dict(METHODS.get(str(values.get("method")), {}))
    for table in SECTIONS.values():
        merged |= table
    del merged["images"]  # in a checkpoint the digest of the training images, not the setting of former evaluations
    former = {key: value for section in FORMERLY.values() for key, value in section.items()}
    return {**former, **_flat(values, merged)}


def training_images(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the saved description of the training images with present values."""
    return {**values, **({"fit": value_of("resize_mode", values["fit"])} if "fit" in values else {})}


def value_of(key: str, value: Any) -> Any:
    """Return the present value of the setting whose present name is `key`."""
    try:
        return VALUES.get(key, {}).get(value, value)
    except TypeError:  # a list or mapping, none of which was renamed
        return value


def _flat(values: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    names = {key: table.get(key, key) for key in values}
    return {name: value_of(name, values[key]) for key, name in names.items()}

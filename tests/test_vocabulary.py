"""Names and descriptions use the field's words: none of the project's former private words, and symbols of the papers.

Identifiers are split at underscores and capitals and compared word by word; texts are compared word by word.
"""

import ast
import re
from pathlib import Path

import pytest

import diptych
from diptych.contract import setting_of
from diptych.methods import EVALUATORS, METHODS, find
from diptych.settings import renamed
from diptych.settings.recipe import SETTINGS

ROOT = Path(diptych.__file__).parent

BANNED = {  # former word: the field's word for it
    "alike": "same shape, duplicate",
    "asked": "requested, given, conditioned on",
    "bring": "import",
    "coder": "encoder, autoencoder",
    "conduct": "run",
    "critic": "discriminator",
    "critics": "discriminators",
    "dials": "clock tensors",
    "drawer": "generator",
    "drawn": "sampled, generated",
    "furthest": "largest difference",
    "glance": "feature network",
    "halves": "halves of a batch: split_batch",
    "heap": "unpaired images",
    "heaps": "unpaired images",
    "judge": "evaluator, classifier, segmenter",
    "judged": "evaluated, scored",
    "judges": "evaluators",
    "judging": "evaluation",
    "keeper": "checkpoint manager",
    "ledger": "loss tracker, metric log",
    "lent": "perceptual networks",
    "maker": "generator",
    "mates": "same-class columns",
    "mirror": "flip",
    "misfits": "mismatches",
    "motifs": "scene ids",
    "mover": "player optimizer",
    "movers": "player optimizers",
    "picture": "image",
    "pictures": "images",
    "pile": "batches of images",
    "places": "patches, locations, indices",
    "plain": "without ...; say what is absent",
    "promises": "checks",
    "rehearsal": "dry run",
    "rehearse": "dry run",
    "saving": "reuse",
    "seek": "mode seeking",
    "sheet": "sample grid",
    "ships": "inference networks",
    "sides": "domains, folders",
    "sight": "feature network",
    "sights": "feature networks",
    "thin": "thin structures",
    "told": "given, conditioned on, classified",
    "twins": "matched names",
    "unmoved": "untrained",
    "untaught": "untrained",
}
BANNED_NAMES = {  # words of ordinary English that say nothing in a name
    *("anything", "aim", "aims", "beside", "chosen", "completed", "contest", "examine", "examiner"),
    *("fault", "faults", "finding", "findings", "fitted", "floor", "floors", "fool", "found", "house", "joined"),
    *("look", "looks", "made", "marks", "mistakes", "odds", "referred", "rooms", "seen", "settled"),
    *("still", "subject", "taken", "there", "turn", "turns", "unlike", "wants", "way", "ways", "whole"),
}
BANNED_ALONE = {"each", "enough", "named"}  # as a name without a noun
BANNED_TEXTS = (  # in descriptions
    r"step size",  # learning rate
    r"squared error",  # MSE
    r"(?<!standard )deviation",
    r"a line to 0",  # linear decay to 0
    r"(?<!ground )truth",
    r"doing nothing",  # identity baseline
    r"there and back|way back|found again",  # cycle, inverse mapping, reconstructed
    r"numbers? (of|in) (a|the) (code|style|noise)",  # dimension
    r"so many",
    r"what (it )?looks?|that which|what sees",
    r"shall",
)
ALLOWED = {  # part of an identifier: why
    "n_critic": "the papers' and codes' name for the number of discriminator steps",
    "thin_structures": "the structures that the protocol measures are thin",
}
LONGEST = 160  # characters of a description, so that it fits beside the setting in `diptych methods`


def configs():
    """Yield (name, class) of each config that has settings."""
    for name in (*METHODS, *EVALUATORS):
        yield name, find(name).Config
    yield from SETTINGS.items()


CONFIGS = dict(configs())


def words(identifier):
    """Return the words of `snake_case` and `CamelCase` names in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def banned_words(identifier):
    """Return the banned words of an identifier. Names of methods and allowed names have none."""
    if identifier in (*METHODS, *EVALUATORS):
        return []
    if identifier in BANNED_ALONE:
        return [identifier]
    for allowed in ALLOWED:
        identifier = identifier.replace(allowed, "")
    return [word for word in words(identifier) if word in BANNED or word in BANNED_NAMES]


def banned_in_text(text):
    """Return the banned words and phrases of a text. Words with an underscore are names of settings or protocols."""
    tokens = re.findall(r"[A-Za-z_]+", text.lower())
    phrases = [match.group() for pattern in BANNED_TEXTS for match in re.finditer(rf"\b({pattern})\b", text.lower())]
    return [token for token in tokens if token in BANNED] + phrases


def modules():
    """Yield (dotted path without `diptych`, syntax tree) of each file."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).with_suffix(""), ast.parse(path.read_text(encoding="utf-8"))


def test_words_are_split_at_underscores_and_capitals():
    assert words("lambda_GP_weight") == ["lambda", "gp", "weight"]
    assert words("SRResNetHeap2x") == ["sr", "res", "net", "heap", "x"]
    assert banned_words("StyleKeeper") == ["keeper"]
    assert banned_words("named") == ["named"]
    assert not banned_words("n_critic")
    assert banned_in_text("decay of the step size, as judge; thin_structures") == ["judge", "step size"]


def test_no_module_or_package_has_a_banned_word():
    wrong = {
        f"{path}: {word}" for path, _ in modules() for part in path.parts for word in banned_words(part.strip("_"))
    }
    assert not sorted(wrong)


def test_no_class_or_public_function_has_a_banned_word():
    wrong = [
        f"{path}.py:{node.lineno} {node.name}: {word} ({BANNED.get(word, 'name the thing')})"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        for word in banned_words(node.name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_setting_has_a_banned_word_or_a_former_name(name):
    keys = CONFIGS[name].model_fields.keys()
    former = {**renamed.METHODS.get(name, {}), **renamed.SECTIONS.get(name, {})}
    assert not {key: banned for key in keys if (banned := banned_words(key))}
    assert not keys & former.keys()
    assert former.keys() == {old for old, new in former.items() if new in keys}, "a former name leads to no setting"


def test_names_of_other_toolkits_lead_to_settings():
    settings = {key for config in CONFIGS.values() for key in config.model_fields}
    assert set(renamed.ELSEWHERE.values()) <= settings
    assert not renamed.ELSEWHERE.keys() & settings


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_is_described_in_standard_words(name):
    wrong = []
    for key, field in CONFIGS[name].model_fields.items():
        text = field.description or ""
        if len(text.split()) < 3 or len(text) > LONGEST or text.endswith("."):
            wrong.append(f"{key}: expected 3 words to {LONGEST} characters without a full stop: {text!r}")
        if banned := banned_in_text(text):
            wrong.append(f"{key}: {', '.join(banned)} in {text!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [*METHODS, *EVALUATORS])
def test_every_loss_weight_has_the_symbol_of_the_paper(name):
    config = CONFIGS[name]
    weights = [key for key in config.model_fields if key.startswith("lambda_")]
    assert not [key for key in weights if not setting_of(config, key).symbol]


@pytest.mark.parametrize("name", [*METHODS, *EVALUATORS])
def test_no_control_has_a_banned_word(name):
    for control in find(name).controls:
        assert not banned_words(control.name)
        assert not banned_in_text(control.help)

"""What an attacker learns who sees everything but the pixels: addresses, headers, byte counts, and order."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict
from starlette.testclient import TestClient
from study_folders import study

from diptych.seeds import random_state
from diptych.studies.server import application

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`"),
    pytest.mark.slow,
]
PARTICIPANTS, TRIALS = 12, 12
ARMS = ("real", "input", "one", "two", "three")
DESIGNS = {
    "pix2pix-2017": {"one_method_each": False},
    "stargan-2018": {},
    "srgan-mos-2017": {},
}


@pytest.fixture
def seeded_secrets(monkeypatch):
    """The secrets of a study from a fixed seed, so that the test says the same each time."""
    random = random_state(0, "secrets")
    for name in ("token_hex", "token_urlsafe"):
        monkeypatch.setattr(f"secrets.{name}", lambda count: random.bytes(count).hex())


def received(made):
    """Return features (N, F) of each image that participants received, its arm, and the participant."""
    features, arms, participants = [], [], []
    store = made.store()
    with TestClient(application(made, store), base_url="http://127.0.0.1") as client:
        for number in range(1, PARTICIPANTS + 1):
            token = client.post("/api/join", json={"language": "en"}).json()["session"]
            headers = {"Authorization": f"Bearer {token}"}
            pages = client.get("/api/session", headers=headers).json()["trials"]
            for trial, page in zip(made.trials(number), pages, strict=True):
                for position, (address, shown) in enumerate(zip(page["images"], trial.shown, strict=True)):
                    response = client.get(address, headers=headers)
                    name = address.removeprefix("/i/").removesuffix(".png")
                    fields = sorted(response.headers.items())
                    numbers = [len(response.content), len(name), len(fields), *map(len, map(str, fields))]
                    features.append([*name.encode(), *numbers, page["number"], position])
                    arms.append(shown.arm)
                    participants.append(number)
    store.close()
    return np.array(features), np.array(arms), np.array(participants)


def told_apart(features, arms, participants):
    """Return the 95 % interval of the accuracy of a classifier on participants that it has not seen."""
    model = RandomForestClassifier(30, min_samples_leaf=3, random_state=0)
    guessed = cross_val_predict(model, features, arms, groups=participants, cv=GroupKFold(4))
    found = binomtest(int((guessed == arms).sum()), len(arms)).proportion_ci()
    return found.low, found.high


def balanced(arms):
    """Return indices with as many images of each arm, whose chance level is one by the number of arms."""
    random, names = random_state(0, "balance"), np.unique(arms)
    each = min((arms == name).sum() for name in names)
    return np.sort(np.concatenate([random.permutation(np.flatnonzero(arms == name))[:each] for name in names]))


@pytest.mark.parametrize("preset", DESIGNS)
def test_an_attacker_cannot_tell_arms_apart(tmp_path, seeded_secrets, preset):
    made = study(
        tmp_path,
        preset,
        ARMS,
        count=TRIALS + 5,
        size=16,
        practice=0,
        trials=TRIALS,
        attention_checks=3,
        **DESIGNS[preset],
    )
    features, arms, participants = received(made)
    chosen = balanced(arms)
    chance = 1 / len(np.unique(arms))
    low, high = told_apart(features[chosen], arms[chosen], participants[chosen])
    assert low <= chance <= high, f"{preset}: accuracy {low:.2f} to {high:.2f}, by chance {chance:.2f}"
    leak = np.column_stack([features, arms == "real"])
    assert told_apart(leak[chosen], arms[chosen], participants[chosen])[0] > chance, "a leak is found"

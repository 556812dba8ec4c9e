"""C4: any flipped bit of a checkpoint is noticed, and the run goes back to the one before."""

import bit_rot
import pytest
from checkpoints import small

from diptych.runs import checkpoint


def test_every_bit_of_a_header_and_hundreds_of_others_are_noticed(tmp_path):
    """C4: `python tests/chaos/bit_rot.py` tries 10,000 others."""
    path = tmp_path / "0-00000007.safetensors"
    checkpoint.save(path, small())
    assert bit_rot.unnoticed(path, range(8 * path.stat().st_size)) == []
    header = bit_rot.write(path)
    bits = list(bit_rot.flips(path.stat().st_size, header, 500))[8 * header :]
    assert len(bits) == 500
    assert bit_rot.unnoticed(path, bits) == []


def test_a_rotten_one_is_passed_over_with_its_name(tmp_path):
    """C4: the one before is taken, and a warning says why."""
    for step in (1, 2):
        checkpoint.save(tmp_path / checkpoint.file_name(0, step), small(step))
    rotten = tmp_path / "0-00000002.safetensors"
    bit_rot.put(rotten, rotten.stat().st_size - 1, 255)
    with pytest.warns(UserWarning, match=r"0-00000002\.safetensors.*does not match its digest.*the one before"):
        assert checkpoint.load_newest(tmp_path)[1]["step"] == 1

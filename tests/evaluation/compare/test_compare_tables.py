"""`diptych compare`: tables on the page, as CSV and for LaTeX."""

from dataclasses import replace

import numpy as np
from compared import ABOUT, NAME, Page, balanced, change, rows_of, run

from diptych.evaluation.compare.export import HEADER, escape_formula, latex
from diptych.evaluation.compare.page import compare
from diptych.evaluation.results import read_result


def test_latex_escapes_all_that_it_would_read():
    assert latex(r"\input{x} 5%_#&$^~") == (
        r"\textbackslash{}input\{x\} 5\%\_\#\&\$\textasciicircum{}\textasciitilde{}"
    )


def test_latex_has_value_half_width_and_best(tmp_path):
    near = {"l1": [0.1, 0.2, 0.1, 0.2], "psnr": [20.0] * 4}
    far = {"l1": [0.5, 0.7, 0.5, 0.7], "psnr": [25.0] * 4}
    runs = [run(tmp_path / name, values, count=4) for name, values in (("near_1", near), ("far", far))]
    compare(runs, tmp_path / "out")
    text = (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")
    balanced(text)
    assert r"near\_1 & \textbf{0.150} $\pm$ 0.050 & 20 $\pm$ 0 \\" in text
    assert r"far & 0.600 $\pm$ 0.100 & \textbf{25} $\pm$ 0 \\" in text
    assert "Protocol paired-default/1 on 4 images" in text
    assert "Tools: none." in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in text


def test_best_is_lowest_or_highest_by_measure_and_nobody_where_all_are_equal(tmp_path):
    runs = []
    for name, l1, psnr in (("a", 0.3, 10.0), ("b", 0.1, 20.0), ("c", 0.2, 30.0), ("d", 0.1, 5.0)):
        values = {"l1": [l1] * 4, "psnr": [psnr] * 4, "colour/L": [1.0] * 4}
        runs.append(run(tmp_path / name, values, count=4))
    table = Page(compare(runs, tmp_path / "out")).table("Values")
    marked = {head.split()[0]: [r for r in "abcd" if "best" in table[r][head].split()] for head in table["a"] if head}
    assert marked["l1"] == ["b", "d"]
    assert marked["psnr"] == ["c"]
    assert marked["colour/L"] == []


def test_one_run_alone_is_best_at_nothing_and_has_no_differences(tmp_path):
    page = Page(compare([run(tmp_path / "alone")], tmp_path / "out"))
    assert "alone" in page.table("Values")
    assert "best" not in " ".join(page.table("Values")["alone"].values()).split()
    assert "Differences" not in page.raw
    assert "textbf" not in (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")


def test_differences_are_paired_and_say_whether_they_stand(tmp_path):
    base = np.linspace(0.1, 0.9, 20)  # its own interval is far wider than the difference
    values = {
        "first": (base, base * 10),
        "better": (base - 0.01, base * 10 - 0.1),
        "unclear": (base + np.tile([0.01, -0.01], 10), base * 10),
    }
    runs = [run(tmp_path / name, {"l1": l1, "psnr": psnr}, count=20) for name, (l1, psnr) in values.items()]
    table = Page(compare(runs, tmp_path / "out")).table("Each run minus first")
    l1, psnr = (next(head for head in table["better"] if head.startswith(name)) for name in ("l1", "psnr"))
    assert table["better"][l1].startswith("-0.01 ")
    assert "significant: better" in table["better"][l1]
    assert "significant: worse" in table["better"][psnr]
    assert "not significant" in table["unclear"][l1]
    assert "first" not in table


def test_too_few_images_tell_no_difference(tmp_path):
    runs = [run(tmp_path / name, {"l1": [0.1, 0.2, 0.3]}, count=3) for name in "ab"]
    assert "too few images" in str(Page(compare(runs, tmp_path / "out")).table("minus")["b"])


def test_ceiling_and_chance_are_rows_of_their_own(tmp_path):
    runs = [run(tmp_path / name) for name in "ab"]
    for at, folder in enumerate(runs):
        first, second = read_result(folder / "results" / f"{NAME}.json").scores
        change(folder, scores=(first, replace(second, ceiling=40.0, chance=5.0 + at)))
    page = Page(compare(runs, tmp_path / "out"))
    table = page.table("Values")
    psnr = next(head for head in table["a"] if head.startswith("psnr"))
    ceiling, chance = (next(cells for row, cells in table.items() if row.startswith(w)) for w in ("ceiling", "chance"))
    assert float(ceiling[psnr]) == 40
    assert chance[psnr].split() == ["5.0", "to", "6.0"]
    assert [(row["ceiling"], row["chance"]) for row in rows_of(tmp_path / "out")[:2]] == [("", ""), ("40.0", "5.0")]
    assert "ceiling & -- & 40.0" in (tmp_path / "out" / "compared.tex").read_text(encoding="utf-8")


def test_the_csv_gives_back_every_format_number(tmp_path):
    runs = [run(tmp_path / name) for name in ("a", "-b")]
    compare(runs, tmp_path / "out")
    written = (tmp_path / "out" / "compared.csv").read_bytes()
    assert written.count(b"\r\n") == written.count(b"\n")
    rows = rows_of(tmp_path / "out")
    assert tuple(rows[0]) == HEADER
    for folder, name in zip(runs, ("a", "'-b"), strict=True):
        mine = {row["measure"]: row for row in rows if row["run"] == name}
        for score in read_result(folder / "results" / f"{NAME}.json").scores:
            row = mine[score.name]
            assert (float(row["value"]), float(row["low"]), float(row["high"])) == (score.value, score.low, score.high)
            assert (row["better"], int(row["images"])) == (score.better, score.count)
        assert float(mine["parameters"]["value"]) == ABOUT["parameters"]
        assert float(mine["seconds_per_image"]["value"]) == ABOUT["seconds_per_image"]
    assert escape_formula("\t=1") == "'\t=1"

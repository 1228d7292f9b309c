"""The report: complete, escaped, self-contained, readable without color or a pointer."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest

import figures
from figures import report
from figures.report import page
from figures.report.sections import SECTIONS
from figures.report.tables import Table
from tests.figures import browser

HOSTILE = "<script>alert('x')</script> & \"quoted\" </style> {{ 7 * 7 }}"
VOID = {"meta", "img", "link", "br", "hr"}


class Page(HTMLParser):
    """Every tag with its attributes; fails on a tag closed out of turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def written(results, folder, drawings=None):
    path = report.write(results, folder, drawings=drawings)
    assert path == folder / "index.html"
    return path.read_text("utf-8")


def test_every_figure_and_finding_is_there(stored, drawings, tmp_path):
    text = written(stored.values(), tmp_path, drawings)
    parsed = Page(text)
    shown = {attributes.get("id") for attributes in parsed.all("figure")}
    assert shown == set(figures.names())
    assert "could not be drawn" not in text
    words = " ".join(" ".join(parsed.words).split())
    for result in stored.values():
        for finding in result.findings:
            assert " ".join(finding.text.split()) in words


def test_every_picture_has_an_alternative_text(stored, drawings, tmp_path):
    images = Page(written(stored.values(), tmp_path, drawings)).all("img")
    assert len(images) == len(figures.names())
    for image in images:
        assert len(image["alt"]) > 40
        assert image["src"].startswith("data:image/svg+xml;base64,")
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0


def test_needs_no_network(stored, drawings, tmp_path):
    text = written(stored.values(), tmp_path, drawings)
    parsed = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert parsed.all("script") == []
    references = [value for _, a in parsed.tags for k, value in a.items() if k in ("src", "href")]
    assert references
    for reference in references:
        assert reference.startswith(("#", "data:"))
    assert "@import" not in text
    assert "url(" not in text


def test_links_lead_somewhere_and_ids_are_unique(stored, drawings, tmp_path):
    parsed = Page(written(stored.values(), tmp_path, drawings))
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in parsed.all("a")]
    assert links
    assert set(links) <= set(ids)


def test_headings_descend_one_level_at_a_time(stored, drawings, tmp_path):
    parsed = Page(written(stored.values(), tmp_path, drawings))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert parsed.all("html")[0]["lang"] == "en"


def test_hostile_text_is_shown_and_not_obeyed(
    stored, drawings, make_result, make_finding, tmp_path
):
    result = make_result(
        "hostile_experiment",
        findings=(make_finding(HOSTILE, holds=True),),
        config={HOSTILE: HOSTILE},
        provenance={"commit": HOSTILE, "versions": {HOSTILE: HOSTILE}},
    )
    text = written([*stored.values(), result], tmp_path, drawings)
    assert "<script" not in text
    assert text.count("</style>") == 1
    assert HOSTILE in "".join(Page(text).words)


def test_marks_are_words_and_signs(make_result, make_finding, tmp_path):
    findings = (
        make_finding("First.", holds=True),
        make_finding("Second.", holds=False),
        make_finding("Third.", holds=None),
    )
    text = written([make_result("anything", findings=findings)], tmp_path)
    for word, sign in (("Holds", "✓"), ("Does not hold", "✗"), ("Observed", "○")):
        assert f">{word}</span>" in text
        assert f'data-sign="{sign}"' in text
    assert "Of 3 findings 1 holds, 1 does not hold and 1 is an observation" in text


def test_numbers_stand_beside_a_finding(make_result, make_finding, tmp_path):
    finding = make_finding("A slope.", holds=True, value=0.125, low=-0.5, high=0.75)
    text = written([make_result("anything", findings=(finding,))], tmp_path)
    assert "estimate 0.125, interval −0.5 to 0.75" in text


def test_narrow_intervals_are_not_rounded_to_a_point(make_result, make_finding, tmp_path):
    finding = make_finding("A slope.", holds=True, value=2.0012, low=1.9981, high=2.0041)
    text = written([make_result("anything", findings=(finding,))], tmp_path)
    assert "estimate 2.001, interval 1.998 to 2.004" in text


def test_without_any_result_it_says_so(tmp_path):
    text = written([], tmp_path)
    assert "there are no stored results" in text
    assert text.count("has not been run") == len(SECTIONS)


def test_a_missing_experiment_is_named(stored, drawings, tmp_path):
    some = [result for name, result in stored.items() if name != "eigenspace"]
    text = written(some, tmp_path, drawings)
    assert text.count("has not been run") == 1 + len(set(SECTIONS) - set(stored))
    assert "stillroom sim eigenspace" in text


@pytest.mark.parametrize("name", figures.names())
def test_a_figure_that_can_not_be_drawn_leaves_the_rest(stored, tmp_path, name):
    experiment = figures.get(name).result
    broken = replace(stored[experiment], arrays={})
    text = page.page({experiment: broken}, {})
    assert "could not be drawn" in text
    assert figures.get(name).title in unescape(text)


def test_two_results_of_one_experiment_are_refused(make_result, tmp_path):
    with pytest.raises(ValueError, match="two of anything"):
        report.write([make_result("anything"), make_result("anything")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_drawings_already_made_are_used(stored, drawings, tmp_path):
    name = figures.names()[0]
    drawn = tmp_path / "drawn.svg"
    drawn.write_text("<svg/>")
    assert "PHN2Zy8+" in page.page(stored, {**drawings, name: drawn})


def test_drawn_by_the_report_itself_it_is_the_same_page(stored, drawings):
    assert page.page(stored, {}) == page.page(stored, drawings)


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "html"])
def test_tables_keep_every_cell(form):
    table = Table.of(["scheme", "change %"], [["ridge", "-7.3"], ["Filter-KD", "1e3"]])
    written_out = str(getattr(table, form)())
    for cell in ("scheme", "ridge", "-7.3", "Filter-KD", "1e3"):
        assert cell in written_out


def test_tables_escape():
    table = Table.of(["a_b"], [["50% & <b>|\n"]])
    assert table.latex().count(r"50\% \& \textless{}b\textgreater{}") == 1
    assert r"a\_b" in table.latex()
    assert "&lt;b&gt;" in table.html()
    assert r"50% & \<b>\|" in table.markdown()


def test_tables_are_taken_by_the_programs_they_are_for():
    table = Table.of(["of", "value"], [["[unk]", "−1.5"], ["*", "2"], [r"a\|b*", "3"]])
    assert table.csv() == "of,value\n[unk],-1.5\n*,2\na\\|b*,3\n"
    lines = table.latex().splitlines()
    # what follows \\ or \midrule would be their option, or their star
    assert r"{}[unk] & $-$1.5 \\" in lines
    assert r"{}* & 2 \\" in lines
    assert not any(line.startswith(("[", "*")) for line in lines)
    assert r"| a\\\|b\* | 3 |" in table.markdown()


def test_tables_refuse_ragged_rows():
    with pytest.raises(ValueError, match="row 1 must have 2 cells, got 1"):
        Table.of(["a", "b"], [["1", "2"], ["3"]])


PROBE = """<script>
window.addEventListener("load", async () => {
  const images = [...document.images];
  await Promise.all(images.map(i => i.decode().catch(() => 0)));
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  parent.postMessage(JSON.stringify({drawn: images.map(i => i.naturalWidth), wide}), "*");
});
</script></body>"""

# Chromium has no window narrower than 500 pixels: a frame of any width stands for one.
FRAME = """<!doctype html><title>waiting</title>
<script>addEventListener("message", event => { document.title = event.data; });</script>
<iframe src="probed.html" style="width: WIDTHpx; height: 2000px; border: 0"></iframe>"""


@pytest.mark.browser
@pytest.mark.skipif(browser.found() is None, reason="no Chromium or Chrome on PATH")
@pytest.mark.parametrize("width", [360, 1280])
def test_browser_draws_every_picture(stored, drawings, tmp_path, width):
    text = written(stored.values(), tmp_path, drawings)
    (tmp_path / "probed.html").write_text(text.replace("</body>", PROBE), "utf-8")
    (tmp_path / "framed.html").write_text(FRAME.replace("WIDTH", str(width)), "utf-8")
    done = browser.run(
        tmp_path / "framed.html", tmp_path / "profile",
        "--dump-dom", "--virtual-time-budget=10000", "--window-size=1400,2000",
    )  # fmt: skip
    assert browser.console(done) == []
    seen = json.loads(unescape(re.search(r"<title>(.*?)</title>", done.stdout)[1]))
    assert len(seen["drawn"]) == len(figures.names())
    assert min(seen["drawn"]) > 0
    assert seen["wide"] <= 0, "the page is wider than its window"

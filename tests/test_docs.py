"""The documentation site: built without a warning, whole, and not empty to look at."""

import html.parser
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import first_steps
import numpy as np
import pytest
from PIL import Image

from lion_jax import cli, train
from lion_jax.flags import CommandLine
from lion_jax.training.tables import TABLES

ROOT = Path(__file__).parents[1]
BROWSERS = [*filter(None, map(shutil.which, ("chromium", "google-chrome")))]
HEADER = 63, 81, 181  # the theme's indigo, which only its style sheet has

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not importlib.util.find_spec("mkdocs"):
        pytest.skip("mkdocs is not installed: run pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-d", str(folder)]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("page", ["your_own", "first_steps", "devices", "index"])
def test_the_commands_of_a_page_are_of_configurations_that_can_be_run(page):
    """As printed, with files of ours; they are checked, not run."""
    text = (ROOT / "docs" / f"{page}.md").read_text().replace("\\\n", " ")
    commands = re.findall(rf"^(?:\$ )?{train.PROG} (.*)", text, re.MULTILINE)
    assert commands
    for words in commands:
        argv = shlex.split(words, comments=True)
        if argv[1] == "list":
            continue
        argv[1] = str(ROOT / argv[1]) if argv[1].endswith(".py") else argv[1]
        line = CommandLine(
            train.PROG, train.Flags, argv, file_of=train.Flags.load, tables=TABLES
        )
        line.configure(cli.load_config(line.flags.file))


class Targets(html.parser.HTMLParser):
    """Collects what a page links to and loads."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = [value for key, value in attrs if key in ("href", "src") and value]
        self.found += values


def test_every_link_of_every_page_leads_to_a_file(site):
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    pages = [page for page in pages if page.name != "report.html"]
    assert len(pages) > 20
    for page in pages:
        for target in Targets(page).found:
            url = urlsplit(target)
            if not url.scheme and url.path:
                assert (page.parent / unquote(url.path)).exists(), (page, target)


@pytest.mark.skipif(not BROWSERS, reason="no Chromium here")
@pytest.mark.parametrize("page", ["index.html", "docs/api.html"])
def test_pages_are_not_empty_in_a_browser(site, page, tmp_path):
    """Chromium draws them, without any network."""
    picture = tmp_path / "page.png"
    command = [BROWSERS[0], "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars"]
    command += ["--window-size=1300,1600", f"--screenshot={picture}"]
    subprocess.run(
        [*command, (site / page).as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
    )
    pixels = np.asarray(Image.open(picture).convert("RGB"), np.int32)
    assert pixels.shape == (1600, 1300, 3)
    assert (abs(pixels[:40] - HEADER).max(-1) < 4).mean() > 0.8
    dark = (pixels.max(-1) < 128).reshape(16, 100, 1300).mean((1, 2))
    assert ((dark > 0.002) & (dark < 0.5)).sum() > 10  # of 16 strips: text


@pytest.mark.slow
def test_the_first_ten_minutes_go_as_their_page_says():
    page = first_steps.PAGE.read_text()
    assert first_steps.words(first_steps.run(page)) == first_steps.words(page)

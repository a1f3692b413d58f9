"""Prints a page as PDF with headless Chromium, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from entityclip.errors import ConfigError
from entityclip.storage import atomic_path

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SECONDS = 120
"""Most time for one page."""
_ELSEWHERE = ("/usr/bin", "/usr/local/bin", "/snap/bin")
_FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-pings", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"),
    *("--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter,Translate"),
    # Every request but that for the file itself fails: a page of ours loads nothing.
    *("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>", "--no-pdf-header-footer"),
)


def find_browser() -> Path:
    """The Chromium of this machine.

    Raises:
        ConfigError: There is none; names the package to install.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_ELSEWHERE])
    for name in BROWSERS:
        if found := shutil.which(name, path=folders):
            return Path(found)
    raise ConfigError(
        f"no browser to print the PDF: none of {', '.join(BROWSERS)} is installed; install Debian's packages chromium "
        "and fonts-noto-cjk (apt install chromium fonts-noto-cjk), or leave the PDF out with --no-pdf"
    )


def print_pdf(page: Path, target: Path) -> None:
    """Print the HTML file ``page`` to ``target``, atomically.

    Raises:
        ConfigError: There is no browser, or it printed nothing.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="entityclip-pdf-") as profile, atomic_path(target) as temporary:
        command = [str(browser), *_FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={temporary}"]
        # Chromium refuses its sandbox to root; the page is our own and runs no script.
        command += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            done = subprocess.run(
                [*command, page.resolve().as_uri()], capture_output=True, check=False, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"{page}: {browser} took more than {SECONDS} s to print it; try again") from error
        if done.returncode != 0 or not temporary.is_file():
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it gave no reason"]
            raise ConfigError(f"{page}: {browser} could not print it: {reason[0]}; try again, or use --no-pdf")

"""A real browser, driven from the command line: pages as drawn, scripts run, errors logged."""

import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


def found():
    """The browser's path, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def run(page, profile, *flags):
    """Open a page from disk; returns the finished process, its output in text."""
    command = [found(), *FLAGS, f"--user-data-dir={profile}", *flags, Path(page).as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def console(process):
    """What the page said to the console (the browser's own remarks left out)."""
    return [line for line in process.stderr.splitlines() if ":CONSOLE" in line]

"""What every test may ask for: the recorded numbers, and a reason to skip where a machine lacks something."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# read by huggingface_hub when it is imported: nothing comes from the user's cache, nothing goes out
HF_HOME = tempfile.TemporaryDirectory(prefix="seerkit-hf-")
os.environ["HF_HOME"] = HF_HOME.name
os.environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody answers there

ROOT = Path(__file__).resolve().parent.parent
CALVIN = ROOT / "../shared/assets/calvin"
if CALVIN.is_dir():
    os.environ.setdefault("SEERKIT_CALVIN_ASSETS", str(CALVIN.resolve()))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def golden_folder() -> Path:
    """Say where the numbers recorded from the original systems lie: ``$SEERKIT_GOLDEN`` or beside the clone."""
    return Path(os.environ.get("SEERKIT_GOLDEN") or ROOT / "../shared/golden").resolve()


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = golden_folder()
    if not folder.is_dir():
        pytest.skip(f"no recorded numbers in {folder}; set SEERKIT_GOLDEN to their folder")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; on Debian: apt-get install chromium")
    return found


def _gpu_missing() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "needs an accelerator; torch finds none"


def _sim_missing() -> str | None:
    absent = [name for name in ("mujoco", "franky_sim") if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}; install with: pip install -c constraints.txt -e '.[sim]'" if absent else None


def _calvin_missing() -> str | None:
    if importlib.util.find_spec("pybullet") is None:
        return "needs pybullet; install with: pip install -c constraints.txt -e '.[calvin]'"
    from seerkit.assets import require

    try:
        require("calvin")
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None


def _browser_missing() -> str | None:
    return None if any(map(shutil.which, BROWSERS)) else f"needs one of {', '.join(BROWSERS)}"


NEEDS = {"gpu": _gpu_missing, "sim": _sim_missing, "calvin": _calvin_missing, "browser": _browser_missing}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanted = {marker for marker in NEEDS if any(item.get_closest_marker(marker) for item in items)}
    reasons = {marker: NEEDS[marker]() for marker in wanted}
    for marker, reason in reasons.items():
        for item in items:
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))

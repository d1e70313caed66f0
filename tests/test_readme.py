"""Every code block of the README and the documentation runs; every command it shows exists."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<note><!-- [^\n]* -->\n)?```(?P<language>\w+)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `note` is the comment on the line before it, such as ``<!-- slow -->``."""

    page: Path
    line: int
    language: str
    body: str
    note: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: match.start("body")].count("\n") + 1, match["language"], match["body"], match["note"] or "")
        for match in FENCE.finditer(text)
    ]


EXISTING = [page for page in PAGES if page.exists()]
SHELL = [block for page in EXISTING for block in blocks(page) if block.language in {"bash", "shell", "sh", "console"}]
PYTHON_PAGES = [page for page in EXISTING if any(block.language == "python" for block in blocks(page))]


def relative(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else getattr(value, "place", str(value))


def marked(page: Path) -> object:
    notes = "".join(block.note for block in blocks(page))
    names = [name for name in ("slow", "sim", "calvin", "gpu") if f"<!-- {name}" in notes]
    return pytest.param(page, marks=[getattr(pytest.mark, name) for name in names], id=relative(page))


@pytest.mark.parametrize("page", [marked(page) for page in PYTHON_PAGES])
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page run in order and share their names, as a reader types them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python" and "not run" not in block.note:
            code = "\n" * (block.line - 1) + block.body
            exec(compile(code, str(page), "exec"), names)


def commands(block: Block) -> list[list[str]]:
    """Split a block into its commands' words: continued lines joined, prompts, comments and variables removed."""
    lines = block.body.replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    parts = [part for line in words for part in _split(line, {"&&", ";", "|"})]
    return [[word for word in part[:1] if "=" not in word] + part[1:] for part in parts]


def _split(words: list[str], at: set[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in at:
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def check_seerkit(words: list[str]) -> None:
    import typer

    from seerkit.cli import app

    command = typer.main.get_command(app)
    for word in words[:2]:  # a group's command is its second word
        if hasattr(command, "commands"):
            assert word in command.commands, f"no command {word!r}; there are {sorted(command.commands)}"
            command = command.commands[word]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
    assert given <= known | {"--help"}, f"seerkit {words[0]} has no {sorted(given - known)}; it has {sorted(known)}"
    if words[0] == "recipe" and not given & {"--copy", "--mask", "--check"}:
        from typer.testing import CliRunner

        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{done.output}\n{done.exception}"


def check_torchrun(words: list[str]) -> None:
    assert words[words.index("-m") + 1] == "seerkit", f"torchrun starts {words}; expected -m seerkit"
    check_seerkit(words[words.index("-m") + 2 :])


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [word for word in words if "=" not in word]
    assert set(wanted) <= set(targets), f"make has no {wanted}; it has {targets}"


def check_files(words: list[str]) -> None:
    paths = [word.split("::")[0] for word in words if not word.startswith("-") and "/" in word]
    assert all((ROOT / path).exists() for path in paths), f"one of {paths} does not exist"


def check_pip(words: list[str]) -> None:
    if words[:1] == ["install"]:
        assert "constraints.txt" in words, (
            "install lines use -c constraints.txt, or pip may bring another build of torch"
        )
        extras = {extra for word in words for names in re.findall(r"\[(.*)\]", word) for extra in names.split(",")}
        declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(f"\n{extra} = [" in declared for extra in extras), f"an extra of {extras} is not declared"


CHECKS = {"seerkit": check_seerkit, "torchrun": check_torchrun, "make": check_make, "pip": check_pip}
CHECKS |= {"python": check_files, "pytest": check_files}


@pytest.mark.parametrize("block", SHELL, ids=relative)
def test_shell_commands_exist(block: Block) -> None:
    for words in commands(block):
        name = Path(words[0]).name if words else ""
        if name in CHECKS:
            CHECKS[name](words[1:])


@pytest.mark.parametrize("page", EXISTING, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert all((page.parent / target).exists() for target in targets), targets


def test_readme_names_the_two_commands() -> None:
    text = "\n".join(block.body for block in SHELL if block.page.name == "README.md")
    assert "make demo" in text
    assert "make test" in text

"""Recipes and weights that mean harm or are broken: each is refused, by name, and nothing happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load, save

from seerkit import Policy, list_recipes, load_recipe
from seerkit.hub import CheckpointError, HubError
from seerkit.hub.trust import check_recipe, check_text
from tests.hub.loopback import Loopback
from tests.hub.policies import SOURCE, frozen_policy
from tests.small import small_policy

REPO = "eve/policy"
MARK = "SEERKIT_WAS_HERE"
COMMAND = f"echo > {MARK}"
Files = dict[str, bytes]
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a sound policy, which every case below changes."""
    folder = small_policy("seer_tabletop").save_pretrained(tmp_path_factory.mktemp("good") / "policy")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a command ran, the environment leaked, or a file appeared outside the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "do not tell")
    ran: list[object] = []
    monkeypatch.setattr(os, "system", lambda command: ran.append(command))
    yield
    assert ran == []
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def changed(change: Callable[[Tree], object]) -> Callable[[Files], Files]:
    """Change the tree of recipe.yaml."""

    def apply(files: Files) -> Files:
        tree = yaml.safe_load(files["recipe.yaml"])
        change(tree)
        return {**files, "recipe.yaml": yaml.safe_dump(tree, sort_keys=False).encode()}

    return apply


def put(key: str, value: object) -> Callable[[Files], Files]:
    """Set one dotted key of the recipe."""

    def change(tree: Tree) -> None:
        *path, last = key.split(".")
        node: Any = tree
        for name in path:
            node = node[int(name)] if isinstance(node, list) else node[name]
        node[last] = value

    return changed(change)


def text(value: str) -> Callable[[Files], Files]:
    """Put lines before the recipe's own."""
    return lambda files: {**files, "recipe.yaml": value.encode() + files["recipe.yaml"]}


def weights(data: Callable[[bytes], bytes]) -> Callable[[Files], Files]:
    """Change the bytes of model.safetensors."""
    return lambda files: {**files, "model.safetensors": data(files["model.safetensors"])}


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Files], Files]:
    """Change the tensors of model.safetensors."""

    def apply(data: bytes) -> bytes:
        held = load(data)
        change(held)
        return save(held)

    return weights(apply)


def header(change: Callable[[Tree], object], body: bytes | None = None) -> Callable[[Files], Files]:
    """Rewrite the header of model.safetensors and leave its numbers."""

    def apply(data: bytes) -> bytes:
        length = struct.unpack("<Q", data[:8])[0]
        rows = json.loads(data[8 : 8 + length])
        change(rows)
        new = json.dumps(rows).encode()
        return struct.pack("<Q", len(new)) + new + (data[8 + length :] if body is None else body)

    return weights(apply)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (COMMAND,)


def torch_saved() -> bytes:
    stream = io.BytesIO()
    torch.save({"trunk.time": Payload()}, stream)
    return stream.getvalue()


PICKLE, TORCH = pickle.dumps(Payload()), torch_saved()


def grown(tree: Tree) -> None:
    """A window whose mask alone would take hundreds of gigabytes."""
    tree["steps"] = tree["trunk"]["steps"] = 40_000


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
SYSTEM = {"_target_": "os.system", "command": COMMAND}

RECIPES: dict[str, tuple[Callable[[Files], Files], str]] = {
    "a command as a part": (put("trunk", SYSTEM), r"trunk\._target_ names 'os\.system', which is no part"),
    "a command inside a part": (put("encoders.image.module.vit", SYSTEM), r"encoders\.image\.module\.vit\._target_"),
    "a command in a list": (put("heads.action.module.layers", [1, [SYSTEM]]), r"layers\.1\.0\._target_"),
    "a command where nothing is built": (put("meta.note", {"deep": [SYSTEM]}), r"meta\.note\.deep\.0\._target_"),
    "a module's import": (put("trunk._target_", "seerkit.collect.os.system"), "no module 'seerkit.collect.os'"),
    "a function of seerkit": (put("trunk._target_", "seerkit.data.files.write_text"), "not one of seerkit's modules"),
    "an imported class": (put("trunk._target_", "seerkit.policy.nn.Module"), "no module 'seerkit.policy.nn'"),
    "another's module by our name": (put("trunk._target_", "seerkit.trunk.trunk.nn"), "not one of seerkit's modules"),
    "a class that is no module": (put("trunk._target_", "seerkit.agent.Agent"), "not one of seerkit's modules"),
    "a private name": (put("trunk._target_", "seerkit._compat._declared"), "no part of seerkit"),
    "a dunder path": (put("trunk._target_", "seerkit.trunk.__builtins__.eval"), "no part of seerkit"),
    "a look-alike package": (put("trunk._target_", "seerkit_evil.trunk.Trunk"), "no part of seerkit"),
    "torch itself": (put("trunk._target_", "torch.hub.load"), "no part of seerkit"),
    "a target that is a list": (put("trunk._target_", ["seerkit.trunk.TokenTrunk"]), r"trunk\._target_\.0|no part"),
    "a partial call": (put("trunk._partial_", True), r"trunk\._partial_ steers"),
    "positional arguments": (put("trunk._args_", [1]), r"trunk\._args_(\.0)? steers"),
    "no recursion": (put("encoders.image.module._recursive_", False), r"_recursive_ steers"),
    "an environment variable": (put("meta.summary", "${oc.env:SECRET}"), r"meta\.summary refers to something"),
    "a hidden reference": (text('meta2: "$\\x7boc.env:SECRET}"\n'), "meta2 refers to something"),
    "a resolver in a list": (put("cameras", ["primary", "${oc.decode:x}"]), r"cameras\.1 refers"),
    "other files": (text("defaults: [seer_calvin, _self_]\n"), "builds on other files"),
    "an alias bomb": (lambda files: {**files, "recipe.yaml": BOMB.encode()}, "anchors"),
    "a merged anchor": (text("x: &x {a: 1}\ny: {<<: *x}\n"), "anchors"),
    "a Python object": (text(f"x: !!python/object/apply:os.system ['{COMMAND}']\n"), "YAML tag"),
    "two documents": (text("a: 1\n---\n"), "no readable YAML"),
    "nesting without end": (lambda files: {**files, "recipe.yaml": b"a: " + b"[" * 500_000}, "deeper than"),
    "not YAML": (lambda files: {**files, "recipe.yaml": b"\x80\x04\x95pickle"}, "no readable YAML"),
    "a list": (lambda files: {**files, "recipe.yaml": b"- 1\n"}, "expected sections"),
    "a number as a name": (text("3: x\n"), "has the key 3"),
    "a mebibyte of text": (text("# " + "x" * (1 << 20) + "\n"), r"recipe\.yaml has .* bytes, more than"),
    "thousands of entries": (put("meta.note", [0] * 9_000), r"entries"),
    "a file of this machine": (put("encoders.image.source", {"vit": "/etc/passwd"}), "names the file '/etc/passwd'"),
    "a file by a detour": (put("encoders.goal.source", {"tower": "hub:a/b/../../x.safetensors"}), "is not of the form"),
    "a model by address": (put("encoders.image.module.vit.model", "hf-hub:eve/net"), "not an address"),
    "a model by path": (put("encoders.image.module.vit.model", "../../x"), "not an address or a path"),
    "a stack without end": (put("trunk.depth", 10**6), r"trunk\.depth is 1,000,000"),
    "an absurd width": (put("trunk.dim", 10**9), r"trunk\.dim is 1,000,000,000"),
    "an absurd window": (changed(grown), "a window of .* tokens"),
    "an argument that is not there": (put("trunk.command", "x"), "cannot be built.*command"),
    "no trunk": (changed(lambda tree: tree.pop("trunk")), "needs a section .trunk."),
    "no encoders": (changed(lambda tree: tree.pop("encoders")), "needs a section 'encoders'"),
    "words for sizes": (put("steps", "many"), "whole numbers"),
    "a list of sizes": (put("layout.context", [1]), r"layout\.context: expected a section, given list"),
    "a number for sizes": (put("layout.context", 3), r"layout\.context: expected a section, given int"),
    "a size that is true": (put("layout.context.image", True), r"layout\.context\.image: expected a whole number"),
    "a size that is nothing": (put("layout.context.image", 0), r"layout\.context\.image is 0; expected"),
    "words for each camera": (
        put("layout.context.image", {"per_camera": "x" * 9_000}),
        r"per_camera: expected a whole",
    ),
    "a size for some cameras": (put("layout.context.image", {"per_camera": {"primary": 1}}), r"per_camera\.wrist: exp"),
    "steps below nothing": (put("steps", -5), r"steps is -5; expected a whole number from 1"),
    "steps that are true": (put("steps", True), "steps: expected a whole number"),
    "half a step": (put("chunk", 1.5), "chunk: expected a whole number"),
    "a width that is infinite": (put("trunk.dim", float("inf")), r"trunk\.dim is inf"),
    "a word for what it is": (put("meta", "x"), "meta: expected a section, given str 'x'"),
    "no name": (changed(lambda tree: tree["meta"].pop("name")), r"meta\.name: expected words, given nothing"),
    "no summary": (changed(lambda tree: tree["meta"].pop("summary")), r"meta\.summary: expected words, given nothing"),
    "a licence that is a list": (put("meta.license", ["x"]), r"meta\.license: expected words"),
    "cameras that are numbers": (put("cameras", [1, 2]), "cameras: expected a list of different names"),
    "one camera twice": (put("cameras", ["primary", "primary"]), "cameras: expected a list of different names"),
    "cameras without end": (put("cameras", [f"c{i}" for i in range(3_000)]), "cameras has 3,000 names; at most 16"),
    "a list for an encoder": (put("encoders.image", [1]), r"encoders\.image: expected a section, given list"),
    "keys that are numbers": (put("heads.action.reads", [1]), r"heads\.action\.reads: expected a list of keys"),
    "a weight in words": (put("losses.arm.weight", "much"), r"losses\.arm\.weight: expected a number"),
    "a training section in words": (put("train", "x"), "train: expected a section"),
    "words without end": (put("meta.note", "x" * 20_000), r"meta\.note has 20,000 letters"),
    "a name without end": (put("meta", {"x" * 300: 1}), "a name has over 200 letters"),
    "many deep stacks": (put("heads.action.module.x", {f"a{i}": {"depth": 200} for i in range(99)}), "layers together"),
    "a date": (text("x: 2020-01-01\n"), "x is a date; expected words or numbers"),
}
WEIGHTS: dict[str, tuple[Callable[[Files], Files], str]] = {
    "a pickle": (weights(lambda _: PICKLE), "damaged or no .safetensors file"),
    "a file of torch.save": (weights(lambda _: TORCH), "damaged or no .safetensors file"),
    "nothing": (weights(lambda _: b""), "damaged or no .safetensors file"),
    "half of it": (weights(lambda data: data[: len(data) // 2]), "damaged or no .safetensors file"),
    "bytes too many": (weights(lambda data: data + b"\0" * 64), "damaged or no .safetensors file"),
    "a header of exabytes": (weights(lambda data: b"\xff" * 8 + data), "announce a header of 18,446,744"),
    "a header longer than the file": (weights(lambda data: struct.pack("<Q", len(data)) + data[8:]), "announce"),
    "a garbled header": (weights(lambda data: data[:8] + b"{" * 100 + data[108:]), "damaged or no .safetensors file"),
    "a nested header": (
        weights(lambda _: struct.pack("<Q", 10_000) + b'{"a":' + b"[" * 9_995 + b"\0" * 64),
        "damaged or no .safetensors file",
    ),
    "numbers outside the file": (
        header(lambda rows: rows["trunk.time"].update(data_offsets=[0, 10**15])),
        "damaged or no .safetensors file",
    ),
    "a shape of petabytes": (
        header(lambda rows: rows["trunk.time"].update(shape=[2**40, 2**40])),
        "damaged or no .safetensors file",
    ),
    "other types": (
        tensors(lambda held: held.update({"trunk.time": held["trunk.time"].double()})),
        r"dtype +trunk\.time: expected torch\.float32, given torch\.float64",
    ),
    "whole numbers": (
        tensors(lambda held: held.update({"trunk.time": held["trunk.time"].int()})),
        r"dtype +trunk\.time: expected torch\.float32, given torch\.int32",
    ),
    "a tensor missing": (tensors(lambda held: held.pop("trunk.time")), r"missing +trunk\.time"),
    "a tensor too many": (tensors(lambda held: held.update(evil=torch.zeros(1))), "unexpected +evil"),
    "a width the weights do not have": (put("trunk.dim", 65_536), "does not fit"),
    "another shape": (
        tensors(lambda held: held.update({"trunk.time": held["trunk.time"].flatten()})),
        r"shape +trunk\.time",
    ),
    "an encoder left out that is not there": (
        header(lambda rows: rows.update(__metadata__={"frozen": '{"encoders.x": {"source": "random", "sha256": ""}}'})),
        r"leaves out \['encoders\.x'\]",
    ),
    "left out, from a strange place": (
        header(lambda rows: rows.update(__metadata__={"frozen": '{"trunk": {"source": "ftp://x", "sha256": ""}}'})),
        "metadata 'frozen' is not readable",
    ),
    "the trunk left out": (
        header(lambda rows: rows.update(__metadata__={"frozen": '{"trunk": {"source": "random", "sha256": ""}}'})),
        r"leaves out \['trunk'\]",
    ),
    "metadata that is no table": (
        header(lambda rows: rows.update(__metadata__={"frozen": "[1, 2]"})),
        "metadata 'frozen' is not readable",
    ),
    "no recipe": (lambda files: {"model.safetensors": files["model.safetensors"]}, "no such file"),
    "no weights": (lambda files: {"recipe.yaml": files["recipe.yaml"]}, "no such file"),
    "more than the recipe can hold": (weights(lambda data: data + bytes(64 << 20)), "more than the"),
}
CASES = {**RECIPES, **WEIGHTS}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("untouched")
def test_harm_is_refused(case: str, hub: Loopback, good: Files) -> None:
    spoil, message = CASES[case]
    hub.put(REPO, spoil(good))
    with pytest.raises((CheckpointError, HubError, ValueError), match=message) as caught:
        Policy.from_pretrained(REPO, endpoint=hub.address)
    assert "do not tell" not in str(caught.value)
    assert set(hub.fetched()) <= {"recipe.yaml", "model.safetensors"}
    if case in RECIPES:
        assert "model.safetensors" not in hub.fetched(), "weights were fetched for a recipe that is not to be built"


def test_the_corpus_starts_from_something_sound(hub: Loopback, good: Files) -> None:
    hub.put(REPO, good)
    assert Policy.from_pretrained(REPO, endpoint=hub.address)


@pytest.mark.usefixtures("untouched")
def test_other_files_of_a_repository_are_not_touched(hub: Loopback, good: Files) -> None:
    paths = {"../../escape.py": b"x", "..\\x": b"x", "/etc/x": b"x", "modeling.py": b"import os", "pickle.pt": b"x"}
    hub.put(REPO, {**good, **paths})
    assert Policy.from_pretrained(REPO, endpoint=hub.address)
    assert hub.fetched() == ["recipe.yaml", "model.safetensors"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", ["../eve", "eve/..", "eve/x/../../y", "/etc", "eve\\x/y", "https://x/y"])
def test_a_repository_is_no_path(name: str, hub: Loopback) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Policy.from_pretrained(name, endpoint=hub.address)
    assert hub.log == []


def test_trust_is_explicit(hub: Loopback, good: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text(
        "from seerkit.ensemble import TemporalEnsemble\nclass Own(TemporalEnsemble):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    hub.put(REPO, put("ensemble._target_", "theirs.Own")(good))
    with pytest.raises(CheckpointError, match="trust_remote_code=True"):
        Policy.from_pretrained(REPO, endpoint=hub.address)
    policy = Policy.from_pretrained(REPO, endpoint=hub.address, trust_remote_code=True)
    assert type(policy.ensemble).__name__ == "Own"


def test_what_the_user_overrides_is_the_users(hub: Loopback, tmp_path: Path) -> None:
    """A path in an override is trusted, one in the recipe is not."""
    policy = frozen_policy()
    policy.save_pretrained(tmp_path / "policy")
    hub.put(REPO, {file.name: file.read_bytes() for file in (tmp_path / "policy").iterdir()})
    mine = Policy.from_pretrained(REPO, f"{SOURCE}={tmp_path / 'mae.pth'}", endpoint=hub.address)
    assert mine.recipe.config["encoders"]["image"]["source"]["vit"] == str(tmp_path / "mae.pth")


def test_our_own_recipes_pass() -> None:
    for name in list_recipes():
        recipe = load_recipe(name)
        check_recipe(check_text(recipe.yaml().encode(), source=name), source=name)
        check_recipe(recipe.config, source=name)

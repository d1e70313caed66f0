"""The work the official Seer does in one training pass, done with the weights of one of our policies.

Written from what its code computes (commit ee228e1), not taken from it, so that both schedules run in one process on
the same weights and their gradients can be compared. The same numbers come out, to rounding; more is done on the way:

- CLIP encodes the instruction once per step of every row;
- the ViT runs once per camera and shuffles the patches at random first, as MAE does before it masks;
- patch features are cloned as targets nobody reads;
- attention in resampler and trunk is written out, with an additive fp32 mask (built anew in every pass of
  pre-training), and GELU's tanh approximation as eight operations;
- the readouts and decoded images of all steps are computed, also of those that enter no loss;
- the losses are read back for the log at every pass;
- the gradient is clipped after every pass, and AdamW is not fused.

Only ViT and CLIP run without a graph; with ``half`` the ViT runs in bf16, weights and images, as in all official
scripts, and everything else in fp32. Frames come prepared to both schedules: the official loader prepares them in its
workers. Parameters that the official model registers but never uses are not built.
"""

from __future__ import annotations

import copy
import math

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from seerkit import Policy, keys, load_recipe
from seerkit.goal import ClipTokenizer
from seerkit.head.foresight import grid_positions
from seerkit.patches import normalise_patches, patchify
from seerkit.sample import sample_batch


class OfficialSchedule:
    """One training pass of ``policy`` by the official schedule.

    Args:
        policy: a Seer whose recipe hides no tokens at random; shares its weights.
        half: run the ViT in bf16.
    """

    def __init__(self, policy: Policy, *, half: bool = False) -> None:
        self.policy = policy
        self.vit = policy.encoders["image"].vit.vit
        if half:
            self.vit = copy.deepcopy(self.vit).bfloat16()
        head, cameras = policy.heads["foresight"], len(policy.cameras)
        self.places = grid_positions(policy.layout.queries["foresight"] // cameras, head.place.shape[1])
        self.mask = self._additive_mask()

    def loss(self, td: TensorDict) -> Tensor:
        """Return the loss of prepared windows; see `prepared_batch`."""
        policy, steps = self.policy, td[keys.STATE].shape[1]
        if policy.goal_ahead and policy.training:
            self.mask = self._additive_mask()
        context = {"goal": self._text(td[keys.GOAL_TEXT], steps), "state": policy.encoders["state"](td[keys.STATE])}
        context["image"], context["summary"] = self._images(td)
        hidden = self._trunk([context[name] for name in policy.layout.context])
        foreseen = self._decode(hidden["foresight"])
        chunk = policy.heads["action"](hidden["action"])
        return self._losses(td, chunk, foreseen, supervised=steps - policy.goal_ahead)

    def _text(self, tokens: Tensor, steps: int) -> Tensor:
        goal = self.policy.encoders["goal"]
        repeated = tokens[:, None].repeat(1, steps, 1)
        with torch.no_grad():
            feature = goal.tower(repeated.flatten(0, 1))
        return goal.project(feature).view(len(tokens), steps, 1, -1)

    def _images(self, td: TensorDict) -> tuple[Tensor, Tensor]:
        part = self.policy.encoders["image"]
        tokens, summaries, targets = [], [], []
        for name in self.policy.cameras:
            pixels = td[keys.under(keys.PIXELS, name)]
            with torch.no_grad():
                features = self._encode(pixels.flatten(0, 1).to(self.vit.cls_token.dtype)).float()
            features = features.unflatten(0, pixels.shape[:2])
            targets.append(features[:, :, 1:].clone())
            latents = resample(part.resample, features[:, :, 1:].flatten(0, 1)).unflatten(0, pixels.shape[:2])
            tokens.append(part.image[name](latents))
            summaries.append(part.summary[name](features[:, :, :1]))
        return torch.cat(tokens, dim=2), torch.cat(summaries, dim=2)

    def _encode(self, images: Tensor) -> Tensor:
        vit = self.vit
        patches = vit.patch_embed(images) + vit.pos_embed[:, 1:]
        order = torch.argsort(torch.rand(patches.shape[:2]), dim=1)
        back = torch.argsort(order, dim=1)
        patches = patches.gather(1, order[..., None].repeat(1, 1, patches.shape[2]))
        torch.zeros(order.shape).gather(1, back)  # which patches are masked: none
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(images), -1, -1)
        x = torch.cat([first, patches], dim=1)
        for block in vit.blocks:
            x = block(x)
        return vit.norm(x)

    def _trunk(self, context: list[Tensor]) -> dict[str, Tensor]:
        trunk, layout = self.policy.trunk, self.policy.layout
        batch, steps = context[0].shape[:2]
        queries = [trunk.queries[name].repeat(batch, steps, 1, 1) for name in layout.queries]
        x = torch.cat([*context, *queries], dim=2)
        x = trunk.norm((x + trunk.time.repeat(1, x.shape[2], 1)).flatten(1, 2))
        x = functional.dropout(x, trunk.dropout, trunk.training)
        for block in trunk.blocks:
            x = x + drop(block, block.out(attend(block, block.norm1(x), self.mask)))
            x = x + drop(block, block.narrow(gelu(block.wide(block.norm2(x)))))
        x = trunk.final(x).unflatten(1, (steps, -1))
        return {name: x[:, :, layout.slots()[name]] for name in layout.queries}

    def _decode(self, hidden: Tensor) -> Tensor:
        head = self.policy.heads["foresight"]
        tokens = head.project(hidden).unflatten(2, (len(head.cameras), -1)).flatten(0, 2)
        x = torch.cat([tokens, head.mask_token.repeat(len(tokens), head.patches, 1)], dim=1)
        x = x + torch.cat([self.places, head.place])
        for block in head.blocks:
            x = block(x)
        patches = head.pixels(head.norm(x[:, -head.patches :]))
        return patches.unflatten(0, (*hidden.shape[:2], len(head.cameras)))

    def _losses(self, td: TensorDict, chunk: Tensor, foreseen: Tensor, *, supervised: int) -> Tensor:
        weights, target = self.policy.losses.weights, td[keys.TARGET_CHUNK][:, :supervised]
        arm = functional.smooth_l1_loss(chunk[:, :supervised, :, :-1], target[..., :-1])
        open_ = chunk[:, :supervised, :, -1].sigmoid()
        gripper = functional.binary_cross_entropy(open_, (target[..., -1] + 1) / 2)
        image = torch.zeros(())
        for index, name in enumerate(self.policy.cameras):
            frames = td[keys.under(keys.TARGET_PIXELS, name)][:, :supervised]
            wanted = normalise_patches(patchify(frames, self.policy.recipe.config["patch"]))
            image = image + functional.mse_loss(foreseen[:, :supervised, index], wanted)
        image = image / len(self.policy.cameras)
        for term in (arm, gripper, image):
            term.item()
        return weights["arm"] * arm + weights["gripper"] * gripper + weights["foresight"] * image

    def _additive_mask(self) -> Tensor:
        seen = self.policy.layout.mask(self.policy.steps)
        return torch.zeros(seen.shape).masked_fill(~seen, -math.inf)


def resample(part: nn.Module, patches: Tensor) -> Tensor:
    """Run the Perceiver with attention written out."""
    latents = part.latents[None].repeat(len(patches), 1, 1)
    for own, feed in zip(part.attend, part.feed, strict=True):
        media, mine = own.norm_patches(patches), own.norm_latents(latents)
        query = own._split(own.query(mine))
        query = query * query.shape[-1] ** -0.5
        key, value = (own._split(x) for x in own.key_value(torch.cat([media, mine], dim=1)).chunk(2, dim=-1))
        scores = torch.einsum("bhid,bhjd->bhij", query, key)
        weights = (scores - scores.amax(dim=-1, keepdim=True).detach()).softmax(dim=-1)
        seen = torch.einsum("bhij,bhjd->bhid", weights, value)
        latents = own.out(seen.transpose(1, 2).flatten(2)) + latents
        latents = feed(latents) + latents
    return part.norm(latents)


def attend(block: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Attend with scores, mask, softmax and dropout as separate steps."""
    query, key, value = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in block.qkv(x).chunk(3, -1))
    scores = query @ key.transpose(-1, -2)
    scores = scores / torch.full([], value.shape[-1] ** 0.5) + mask
    weights = drop(block, scores.softmax(dim=-1))
    return (weights @ value).transpose(1, 2).contiguous().flatten(2)


def drop(block: nn.Module, x: Tensor) -> Tensor:
    """Apply the block's dropout."""
    return functional.dropout(x, block.dropout, block.training)


def gelu(x: Tensor) -> Tensor:
    """Compute the tanh approximation of GELU step by step."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def our_loss(policy: Policy, td: TensorDict) -> Tensor:
    """Return the loss of prepared windows as a training pass computes it."""
    td = policy._supervised(td)
    for name, stage in policy.training_stages.items():
        if not name.startswith("pixels_") and name != "text":
            td = stage(td)
    return torch.stack([*policy.supervise(td).values()]).sum()


def prepared_batch(policy: Policy, *, rows: int) -> TensorDict:
    """Return random windows whose frames are prepared and whose sentences are token ids."""
    td = sample_batch(policy.recipe, batch=rows, targets=True)
    size, steps = policy.recipe.config["image_size"], policy.steps
    for name in policy.cameras:
        frames = torch.randn(rows, steps + policy.ahead, 3, size, size)
        td[keys.under(keys.PIXELS, name)] = frames[:, :steps]
        td[keys.under(keys.TARGET_PIXELS, name)] = frames[:, policy.ahead :]
    td[keys.GOAL_TEXT] = ClipTokenizer()([f"push the block {row}" for row in range(rows)])
    return td


def build(name: str, *, quick: bool) -> Policy:
    """Build a Seer with random weights: full size, or tiny to see that everything runs."""
    tiny = [
        *("dim=64", "trunk.depth=2", "trunk.heads=4", "image_size=64", "feature=96"),
        *("encoders.image.module.vit.depth=2", "encoders.image.module.vit.heads=4"),
        "encoders.image.module.resample.depth=1",
        "heads.foresight.module.heads=4",
    ]
    torch.manual_seed(0)
    policy = Policy(load_recipe(name, "init_from=null", *(tiny if quick else [])))
    for query in policy.trunk.queries.parameters():  # they start at 0, where less can go wrong unseen
        nn.init.normal_(query, std=0.02)
    return policy.train()


def without_dropout(policy: Policy) -> Policy:
    """Switch dropout off, so that gradients can be compared."""
    policy.trunk.dropout = 0.0
    for block in policy.trunk.blocks:
        block.dropout = 0.0
    return policy

"""What a user does with the Hub, in a process whose HF_ENDPOINT is the local server: prints what came of it as JSON.

    python client.py FOLDER

The endpoint is read when huggingface_hub is imported, hence a process of its own.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import HfApi, ModelCard, snapshot_download

from tests.tiny import make_tiny_pipeline
from vivface import VivFacePipeline
from vivface.hub.push import push_folder
from vivface.models import StyleGAN2Generator


def same(first: VivFacePipeline, second: VivFacePipeline) -> bool:
    """Whether two pipelines have the same parts, tensors and settings."""
    for name, part in first.components.items():
        other = second.components[name]
        if type(part) is not type(other):
            return False
        if part is None:
            continue
        ours, theirs = part.state_dict(), other.state_dict()
        if ours.keys() != theirs.keys():
            return False
        if not all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items()):
            return False
    keys = ("image_size", "crop", "neutral", "adapt_steps")
    return all(first.config[key] == second.config[key] for key in keys)


def failure(action) -> str:
    """Class and sentence of the error that an action ends with."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def main(folder: Path) -> dict:
    said = {}
    ours = VivFacePipeline.from_pretrained(folder)

    # 1. Push the folder, load it by both routes, and without the network
    pushed = push_folder(folder, "alice/tiny", private=True)
    said["files"], said["left"], said["url"] = pushed.files, pushed.left, pushed.url
    loaded = VivFacePipeline.from_pretrained("alice/tiny")
    said["own route"] = same(ours, loaded)
    generic = DiffusionPipeline.from_pretrained("alice/tiny", trust_remote_code=True)
    said["generic route"] = same(ours, generic) and type(generic).__name__ == "VivFacePipeline"
    said["without trust"] = failure(lambda: DiffusionPipeline.from_pretrained("alice/tiny"))
    said["offline"] = same(ours, VivFacePipeline.from_pretrained("alice/tiny", local_files_only=True))
    with tempfile.TemporaryDirectory() as empty:
        offline = dict(local_files_only=True, cache_dir=empty)
        said["offline, not cached"] = failure(lambda: VivFacePipeline.from_pretrained("alice/tiny", **offline))
    card = ModelCard.load("alice/tiny")
    card.validate()
    said["card"] = card.data.to_dict()

    # 2. Revisions: a tag stays what it was, a pull request leaves main alone
    HfApi().create_tag("alice/tiny", tag="v1")
    other = make_tiny_pipeline(seed=1)
    with tempfile.TemporaryDirectory() as second:
        other.save_pretrained(second)
        said["pr url"] = push_folder(Path(second), "alice/tiny", create_pr=True).url
        said["main after pr"] = same(ours, VivFacePipeline.from_pretrained("alice/tiny"))
        said["pr"] = same(other, VivFacePipeline.from_pretrained("alice/tiny", revision="refs/pr/1"))
        push_folder(Path(second), "alice/tiny")
    said["main after push"] = same(other, VivFacePipeline.from_pretrained("alice/tiny", force_download=True))
    said["tag"] = same(ours, VivFacePipeline.from_pretrained("alice/tiny", revision="v1"))
    said["no revision"] = failure(lambda: VivFacePipeline.from_pretrained("alice/tiny", revision="v9"))
    said["no repository"] = failure(lambda: VivFacePipeline.from_pretrained("alice/nothing"))

    # 3. The methods of diffusers: the pipeline with a variant, one network in shards
    half = make_tiny_pipeline().to(torch.float16)
    half.push_to_hub("alice/half", variant="fp16")
    loaded = VivFacePipeline.from_pretrained("alice/half", variant="fp16")
    said["variant"] = same(half.to(torch.float32), loaded)
    said["variant, generic"] = same(
        loaded, DiffusionPipeline.from_pretrained("alice/half", variant="fp16", trust_remote_code=True)
    )
    with tempfile.TemporaryDirectory() as sharded:
        ours.save_pretrained(sharded, max_shard_size="50KB")
        said["shards"] = len(list(Path(sharded, "generator").glob("*.safetensors")))
        push_folder(Path(sharded), "alice/sharded")
    said["sharded"] = same(ours, VivFacePipeline.from_pretrained("alice/sharded"))
    ours.generator.push_to_hub("alice/generator")
    generator = StyleGAN2Generator.from_pretrained("alice/generator")
    said["one network"] = all(torch.equal(t, generator.state_dict()[k]) for k, t in ours.generator.state_dict().items())

    # 4. A repository's snapshot can be pushed again
    again = Path(snapshot_download("alice/tiny", revision="v1"))
    push_folder(again, "alice/again")
    said["again"] = same(ours, DiffusionPipeline.from_pretrained("alice/again", trust_remote_code=True))

    # 5. What goes wrong
    said["no token"] = failure(lambda: push_folder(folder, "alice/closed", token=False))
    said["no folder"] = failure(lambda: push_folder(folder / "nothing", "alice/tiny"))
    return said


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Path(sys.argv[1]))))

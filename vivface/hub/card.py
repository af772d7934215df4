"""The model card of a checkpoint: what it is, where every weight comes from, how it was measured, what it is not for.

A card is filled from the configs in the checkpoint's folder and from up to three records beside them:

    conversion.json   of `vivface convert`: the official files, their hashes, what was left out
    training.json     `description`, `data`, `license`, `base_model`, `datasets`, `limitations`, and `stages`, a list of
                      dicts
    metrics.json      `dataset` and, for what is no re-enactment, `task` (dicts with `name` and `type`), and `metrics`,
                      a list of dicts with `name`, `value` and `meaning`
"""

import json
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from vivface import models
from vivface.errors import CheckpointError

RECORD, TRAINING, METRICS = "conversion.json", "training.json", "metrics.json"
HYPERREENACT = "hyperreenact"  # of a ViVFace checkpoint: a hypernetwork for its generator, with records of its own
TEMPLATE = "template.md"
PIPELINE_TAG = "image-to-video"
PLACES = ("bundled", "folder", "hub")


@dataclass(frozen=True)
class Origin:
    """Whose weights a converted checkpoint holds.

    Args:
        title (`str`): What they are.
        authors (`str`): Who made them.
        paper (`str`): Title, place and year.
        url (`str`): Where the authors publish them.
        license (`str`): What the authors allow, in words.
        license_id, license_name, license_link (`str`): The same for the card's metadata.
    """

    title: str
    authors: str
    paper: str
    url: str
    license: str
    license_id: str = "other"
    license_name: str | None = None
    license_link: str | None = None


NVIDIA_NC = {
    "license_name": "nvidia-source-code-license-nc",
    "license_link": "https://nvlabs.github.io/stylegan2/license.html",
}
NVIDIA_WORDS = "Nvidia Source Code License-NC: non-commercial use only, research and evaluation."
PAPERS = {  # of the systems
    "VivFacePipeline": "Enhancing Identity-Deformation Disentanglement in StyleGAN for One-Shot Face Video "
    "Re-Enactment, AAAI 2025",
    "HyperReenactPipeline": "HyperReenact: One-Shot Reenactment via Jointly Learning to Refine and Retarget Faces, "
    "ICCV 2023",
    "ExpressiveCodecPipeline": "Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, Oorloff and Yacoob",
}
ORIGINS = {
    "vivface": Origin(
        "ViVFace",
        "the authors of ViVFace (NickChang97/ViVFace)",
        PAPERS["VivFacePipeline"],
        "https://github.com/NickChang97/ViVFace",
        "The authors state no licence, so all rights are theirs: ask them before any use beyond private study. The "
        "generator inside was trained from StyleGAN2, which its authors license for non-commercial use only.",
        license_name="none-stated-non-commercial",
        license_link="https://nvlabs.github.io/stylegan2/license.html",
    ),
    "stylegan2": Origin(
        "StyleGAN2",
        "Tero Karras, Samuli Laine, Miika Aittala, Janne Hellsten, Jaakko Lehtinen, Timo Aila (NVIDIA); files in "
        "rosinality's layout were converted by Kim Seonghyeon or trained by their users",
        "Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020",
        "https://github.com/NVlabs/stylegan2-ada-pytorch",
        f"{NVIDIA_WORDS} Weights that others trained follow the licence of those who trained them as well.",
        **NVIDIA_NC,
    ),
    "e4e": Origin(
        "e4e",
        "Omer Tov, Yuval Alaluf, Yotam Nitzan, Or Patashnik, Daniel Cohen-Or",
        "Designing an Encoder for StyleGAN Image Manipulation, SIGGRAPH 2021",
        "https://github.com/omertov/encoder4editing",
        f"The encoder: MIT. The generator that comes with it is StyleGAN2's. {NVIDIA_WORDS}",
        **NVIDIA_NC,
    ),
    "ir-se50": Origin(
        "IR-SE-50 (ArcFace)",
        "TreB1eN (InsightFace_Pytorch), after Jiankang Deng, Jia Guo, Niannan Xue, Stefanos Zafeiriou",
        "ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019",
        "https://github.com/TreB1eN/InsightFace_Pytorch",
        "The code is under the MIT licence; the network was trained on MS-Celeb-1M faces, which were collected for "
        "non-commercial research only.",
        license_name="mit-code-research-data",
        license_link="https://github.com/TreB1eN/InsightFace_Pytorch/blob/master/LICENSE",
    ),
    "hairclip": Origin(
        "HairCLIP",
        "Tianyi Wei, Dongdong Chen, Wenbo Zhou, Jing Liao, Zhentao Tan, Lu Yuan, Weiming Zhang, Nenghai Yu",
        "HairCLIP: Design Your Hair by Text and Reference Image, CVPR 2022",
        "https://github.com/wty-ustc/HairCLIP",
        "The authors' repository has the terms; it was trained against StyleGAN2's generator, which is for "
        "non-commercial use only.",
        license_name="see-repository-non-commercial",
        license_link="https://github.com/wty-ustc/HairCLIP",
    ),
    "hyperreenact": Origin(
        "HyperReenact",
        "Stella Bounareli, Christos Tzelepis, Vasileios Argyriou, Ioannis Patras, Georgios Tzimiropoulos "
        "(StelaBou/HyperReenact); the pose encoder by the authors of DECA, the identity network by TreB1eN",
        PAPERS["HyperReenactPipeline"],
        "https://github.com/StelaBou/HyperReenact",
        "The pose encoder is DECA's, licensed for non-commercial scientific research only, without passing it on; the "
        "generator was trained with StyleGAN2, non-commercial. Do not push this checkpoint to a public repository.",
        license_name="deca-non-commercial-research",
        license_link="https://deca.is.tue.mpg.de/license.html",
    ),
    "styleflow": Origin(
        "StyleFlow",
        "Rameen Abdal, Peihao Zhu, Niloy Mitra, Peter Wonka",
        "StyleFlow: Attribute-conditioned Exploration of StyleGAN-Generated Images using Conditional Continuous "
        "Normalizing Flows, ACM TOG 2021",
        "https://github.com/RameenAbdal/StyleFlow",
        "CC BY-NC-SA 4.0: non-commercial use only, for academic research.",
        "cc-by-nc-sa-4.0",
    ),
}
TAGS = {
    "VivFacePipeline": ["face-reenactment", "talking-head", "stylegan2"],
    "HyperReenactPipeline": ["face-reenactment", "talking-head", "stylegan2", "hypernetwork"],
    "ExpressiveCodecPipeline": ["talking-head", "video-compression", "stylegan2"],
    "StyleGAN2Generator": ["stylegan2", "faces"],
    "HybridEncoder": ["stylegan2", "gan-inversion", "e4e"],
    "IdentityNetwork": ["arcface", "face-recognition"],
    "FaceStateNetwork": ["face-landmarks", "head-pose", "gaze", "facial-expression"],
}
TASKS = {  # of single networks
    "StyleGAN2Generator": "unconditional-image-generation",
    "HybridEncoder": "image-feature-extraction",
    "IdentityNetwork": "image-feature-extraction",
}


def make_card(folder: Path, name: str | None = None, place: str | None = None) -> ModelCard:
    """Fill the card of a checkpoint's folder.

    Args:
        folder (`Path`): With `model_index.json` (a pipeline) or `config.json` (a network), or with networks in
            subfolders; and the records named above.
        name (`str`, *optional*): Title of the card; the folder's name by default.
        place (`str`, *optional*): How the examples of the card load the checkpoint: `"bundled"`, from the package;
            `"folder"`, from a folder `name`; `"hub"`, by the id `name`. By default what folder and name suggest.

    Raises:
        CheckpointError: If the folder holds no checkpoint, or a record is damaged.
    """
    name = name or folder.resolve().name
    index = _json(folder, "model_index.json")
    components = read_components(folder, index)
    conversion, training, metrics = (_json(folder, file) or {} for file in (RECORD, TRAINING, METRICS))
    origin = ORIGINS.get(conversion.get("converter", ""))
    try:
        kind = components[0]["class_name"] if index is None else _class_name(index)
        results = _results(metrics)
        data = _card_data(name, index, kind, origin, training, results)
        return ModelCard.from_template(
            data,
            template_str=template_path().read_text(encoding="utf-8"),
            name=name,
            place=place or _place(folder, name),
            argument=json.dumps(name),
            shell_argument=shlex.quote(name),
            index=index,
            kind=kind,
            paper=PAPERS.get(kind),
            components=components,
            origin=origin,
            conversion=conversion,
            training=training,
            metrics=metrics,
            hyperreenact=_hyperreenact(folder, index),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"The records in '{folder}' ({TRAINING}, {METRICS}) do not have the form that a card is filled from "
            f"({type(error).__name__}: {error})."
        ) from error


def _hyperreenact(folder: Path, index: dict | None) -> dict | None:
    """What the card of a ViVFace checkpoint says of the hypernetwork that it holds besides."""
    added = folder / HYPERREENACT
    if index is None or not (added / "config.json").is_file():
        return None
    records = {name: _json(added, file) or {} for name, file in (("training", TRAINING), ("metrics", METRICS))}
    return {"component": read_components(added, None)[0], "paper": PAPERS["HyperReenactPipeline"], **records}


def _place(folder: Path, name: str) -> str:
    if "/" in name:
        return "hub"
    bundled = Path(str(resources.files("vivface") / "bundled"))
    default = [each.resolve() for each in (bundled, bundled / "face_state")]  # what `from_pretrained()` loads
    return "bundled" if folder.resolve() in default else "folder"


def _class_name(index: dict) -> str:
    name = index["_class_name"]
    return name if isinstance(name, str) else name[-1]


def read_components(folder: Path, index: dict | None) -> list[dict]:
    """Every network of a folder: `name`, `class_name`, `config`, and `bytes` of its weight files.

    Raises:
        CheckpointError: If there is none, or it is no network of this package.
    """
    subfolders = sorted(file.parent for file in folder.glob("*/config.json"))
    if index is not None:  # in the pipeline's order
        subfolders = [folder / key for key in index if (folder / key) in subfolders]
    components = []
    for subfolder in [folder] if (folder / "config.json").is_file() else subfolders:
        config = _json(subfolder, "config.json")
        class_name = config.get("_class_name")
        if class_name not in models.__all__:
            raise CheckpointError(
                f"'{subfolder / 'config.json'}' names {str(class_name)[:60]!r}; expected a network of vivface."
            )
        components.append(
            {
                "name": "" if subfolder == folder else subfolder.name,
                "class_name": class_name,
                "config": {key: value for key, value in config.items() if not key.startswith("_")},
                "bytes": sum(file.stat().st_size for file in subfolder.glob("*.safetensors")),
            }
        )
    if not components:
        raise CheckpointError(
            f"The folder '{folder}' holds no checkpoint: give one that `save_pretrained` or `vivface convert` wrote."
        )
    return components


def template_path() -> Path:
    """The template: in an installed package beside this file, in a checkout at its top."""
    packaged = Path(__file__).parent.parent / "model_card" / TEMPLATE
    return packaged if packaged.is_file() else Path(__file__).parent.parent.parent / "model_card" / TEMPLATE


def _card_data(
    name: str,
    index: dict | None,
    kind: str,
    origin: Origin | None,
    training: dict,
    results: list[EvalResult] | None,
) -> ModelCardData:
    if origin is None:
        license = {"license": training.get("license", "apache-2.0")}
    else:
        license = {"license": origin.license_id, "license_name": origin.license_name}
        license["license_link"] = origin.license_link
    return ModelCardData(
        library_name="diffusers",
        pipeline_tag=PIPELINE_TAG if index is not None else TASKS.get(kind, "image-feature-extraction"),
        tags=["vivface", *TAGS.get(kind, [])],
        base_model=training.get("base_model"),
        datasets=training.get("datasets"),
        model_name=name.split("/")[-1],
        eval_results=results,
        **license,
    )


def _results(metrics: dict) -> list[EvalResult] | None:
    """The measured values in the form of the card's model-index."""
    measured = metrics.get("metrics", [])
    return [
        EvalResult(
            task_type=metrics.get("task", {}).get("type", PIPELINE_TAG),
            task_name=metrics.get("task", {}).get("name", "One-shot face re-enactment"),
            dataset_type=metrics["dataset"]["type"],
            dataset_name=metrics["dataset"]["name"],
            metric_type=metric.get("type", metric["name"].lower().replace(" ", "_")),
            metric_name=metric["name"],
            metric_value=metric["value"],
        )
        for metric in measured
    ] or None


def _json(folder: Path, name: str) -> dict | None:
    file = folder / name
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{file}' is damaged ({error}): copy or write it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"'{file}' holds a {type(content).__name__}; expected an object with names.")
    return content

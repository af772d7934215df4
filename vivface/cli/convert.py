"""`vivface convert`: the authors' files to folders that `from_pretrained` reads."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vivface.convert.conversion import Conversion

app = typer.Typer(
    help="Turn the authors' published files into safetensors; nothing that a file contains is ever run.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Precision(StrEnum):
    """Type of the stored numbers."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


def writes_folder(read: Callable[..., "Conversion"]) -> Callable[..., None]:
    """Make a command of a function that reads official files: with the options of writing a folder, added once."""

    def command(
        *,
        output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
        dtype: Annotated[
            Precision, typer.Option(help="Type of the stored numbers; norms are always float32.")
        ] = Precision.FLOAT32,
        variant: Annotated[
            str | None, typer.Option(help="Put this in the names of the weight files, for example fp16.")
        ] = None,
        verify: Annotated[
            bool, typer.Option("--verify", help="Reload what was written and compare every tensor.")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there already.")] = False,
        **files: Path | None,
    ) -> None:
        from diffusers.utils import logging

        from vivface.convert.conversion import show, write
        from vivface.files import check_folder

        logging.set_verbosity_error()
        check_folder(output, overwrite)
        conversion = read(**files)
        table = write(conversion, output, dtype=dtype.value, variant=variant, verify=verify, overwrite=overwrite)
        show(table, conversion)

    options = [p for p in inspect.signature(command).parameters.values() if p.kind is p.KEYWORD_ONLY]
    files = inspect.signature(read).parameters.values()
    command.__signature__ = inspect.Signature([*(p.replace(kind=p.KEYWORD_ONLY) for p in files), *options])
    command.__annotations__ = {p.name: p.annotation for p in (*files, *options)}
    command.__doc__ = read.__doc__
    return command


@app.command("vivface")
@writes_folder
def vivface_command(
    stage1: Annotated[Path, typer.Argument(help="The stage I file (.pt); or a stage II file, which holds both.")],
    stage2: Annotated[Path | None, typer.Option(help="The stage II file (.pt), with the refinement network.")] = None,
) -> "Conversion":
    """ViVFace, stages I and II -> a whole pipeline."""
    from vivface.convert import vivface

    return vivface.convert(stage1, stage2)


@app.command("stylegan2")
@writes_folder
def stylegan2_command(
    file: Annotated[Path, typer.Argument(help="rosinality's .pt or NVIDIA's .pkl (PyTorch).")],
) -> "Conversion":
    """StyleGAN2, any size -> StyleGAN2Generator."""
    from vivface.convert import stylegan2

    return stylegan2.convert(file)


@app.command("stylegan3")
@writes_folder
def stylegan3_command(
    file: Annotated[Path, typer.Argument(help="NVIDIA's .pkl, T or R.")],
) -> "Conversion":
    """StyleGAN3, any size -> StyleGAN3Generator."""
    from vivface.convert import stylegan3

    return stylegan3.convert(file)


@app.command("e4e")
@writes_folder
def e4e_command(file: Annotated[Path, typer.Argument(help="The e4e file (.pt).")]) -> "Conversion":
    """e4e -> HybridEncoder (with new motion heads) and StyleGAN2Generator."""
    from vivface.convert import e4e

    return e4e.convert(file)


@app.command("ir-se50")
@writes_folder
def ir_se50_command(
    file: Annotated[Path, typer.Argument(help="The identity network (model_ir_se50.pth).")],
) -> "Conversion":
    """IR-SE-50 -> IdentityNetwork."""
    from vivface.convert import ir_se50

    return ir_se50.convert(file)


@app.command("hairclip")
@writes_folder
def hairclip_command(file: Annotated[Path, typer.Argument(help="The mapper (hairclip.pt).")]) -> "Conversion":
    """HairCLIP -> HairMapper, which training of ViVFace's stage II edits hair with."""
    from vivface.convert import hairclip

    return hairclip.convert(file)


@app.command("hyperreenact")
@writes_folder
def hyperreenact_command(
    hypernetwork: Annotated[Path, typer.Argument(help="The hypernetwork (hypernetwork.pt).")],
    generator: Annotated[Path, typer.Option(help="Its StyleGAN2 generator (stylegan-voxceleb.pt).")],
    inversion: Annotated[Path, typer.Option(help="Its e4e encoder (e4e-voxceleb.pt).")],
    appearance: Annotated[Path, typer.Option(help="The identity network (insight_face.pth, an IR-SE-50).")],
    pose: Annotated[Path, typer.Option(help="DECA's checkpoint (deca_model.tar).")],
) -> "Conversion":
    """HyperReenact and the four networks that it works with -> a whole pipeline."""
    from vivface.convert import hyperreenact

    return hyperreenact.convert(hypernetwork, generator, inversion, appearance, pose)


@app.command("styleflow")
@writes_folder
def styleflow_command(
    file: Annotated[Path, typer.Argument(help="The flow of W (modellarge10k.pt).")],
) -> "Conversion":
    """StyleFlow -> StyleFlow, which turns heads for the codec."""
    from vivface.convert import styleflow

    return styleflow.convert(file)


@app.command("directions")
def directions_command(
    files: Annotated[list[str], typer.Argument(help="FILE or NAME=FILE each: .pt, .npy, or GANSpace's .npz.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    latents: Annotated[int, typer.Option(min=1, help="Layers of the identity code: 18 at 1024, 14 at 256.")] = 18,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there already.")] = False,
) -> None:
    """Attribute directions (InterFaceGAN, GANSpace) -> one safetensors file with names."""
    from rich.console import Console
    from rich.table import Table

    from vivface.convert import directions
    from vivface.errors import OptionError
    from vivface.files import check_output

    check_output(output, (".safetensors",))
    if output.exists() and not overwrite:
        raise OptionError(f"'{output}' is there already: give another name or --overwrite.")
    named: dict[str, Path] = {}
    for given in files:
        name, separator, file = given.partition("=")
        if not separator:
            name, file = Path(given).stem.lower(), given
        if name in named:
            raise OptionError(f"Two directions are called '{name}': give another name with NAME=FILE.")
        named[name] = Path(file)
    converted = directions.convert(named, latents)
    converted.save(output)
    table = Table(title=str(output), title_justify="left")
    for title in ("name", "label", "shape", "length", "reach"):
        table.add_column(title)
    for direction in converted.values():
        shape, length = tuple(direction.vector.shape), direction.vector.norm(dim=-1).mean()
        table.add_row(direction.name, direction.label, str(shape), f"{length:.3g}", f"{direction.reach:g}")
    Console(highlight=False).print(table)

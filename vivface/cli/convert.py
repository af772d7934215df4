"""`vivface convert`: the authors' files to folders that `from_pretrained` reads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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


Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")]
DType = Annotated[Precision, typer.Option(help="Type of the stored numbers.")]
Variant = Annotated[str | None, typer.Option(help="Put this in the names of the weight files, for example fp16.")]
Verify = Annotated[bool, typer.Option("--verify", help="Reload what was written and compare every tensor.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there already.")]


@app.command("vivface")
def vivface_command(
    stage1: Annotated[Path, typer.Argument(help="The stage I file (.pt); or a stage II file, which holds both.")],
    output: Output,
    stage2: Annotated[Path | None, typer.Option(help="The stage II file (.pt), with the refinement network.")] = None,
    dtype: DType = Precision.FLOAT32,
    variant: Variant = None,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """ViVFace, stages I and II -> a whole pipeline."""
    _quiet()
    from vivface.convert import vivface

    _run(lambda: vivface.convert(stage1, stage2), output, dtype, variant, verify, overwrite)


@app.command("stylegan2")
def stylegan2_command(
    file: Annotated[Path, typer.Argument(help="rosinality's .pt or NVIDIA's .pkl (PyTorch).")],
    output: Output,
    dtype: DType = Precision.FLOAT32,
    variant: Variant = None,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """StyleGAN2, any size -> StyleGAN2Generator."""
    _quiet()
    from vivface.convert import stylegan2

    _run(lambda: stylegan2.convert(file), output, dtype, variant, verify, overwrite)


@app.command("e4e")
def e4e_command(
    file: Annotated[Path, typer.Argument(help="The e4e file (.pt).")],
    output: Output,
    dtype: DType = Precision.FLOAT32,
    variant: Variant = None,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """e4e -> HybridEncoder (with new motion heads) and StyleGAN2Generator."""
    _quiet()
    from vivface.convert import e4e

    _run(lambda: e4e.convert(file), output, dtype, variant, verify, overwrite)


@app.command("ir-se50")
def ir_se50_command(
    file: Annotated[Path, typer.Argument(help="The identity network (model_ir_se50.pth).")],
    output: Output,
    dtype: DType = Precision.FLOAT32,
    variant: Variant = None,
    verify: Verify = False,
    overwrite: Overwrite = False,
) -> None:
    """IR-SE-50 -> IdentityNetwork."""
    _quiet()
    from vivface.convert import ir_se50

    _run(lambda: ir_se50.convert(file), output, dtype, variant, verify, overwrite)


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


def _run(convert, output: Path, dtype: Precision, variant: str | None, verify: bool, overwrite: bool) -> None:
    from vivface.convert.conversion import show, write
    from vivface.files import check_folder

    check_folder(output, overwrite)
    conversion = convert()
    options = {"dtype": dtype.value, "variant": variant, "verify": verify, "overwrite": overwrite}
    show(write(conversion, output, **options), conversion)


def _quiet() -> None:
    """Libraries that chat while they save are kept quiet."""
    from diffusers.utils import logging

    logging.set_verbosity_error()

"""Synthetic-media metadata, written to every output.

The mark is IPTC's digital source type `trainedAlgorithmicMedia`, which photo tools, search engines and C2PA share.
It is stored as XMP (PNG, JPEG, WebP; a `uuid` box of MP4 and MOV) and, for tools that show only plain tags, as a
readable comment.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from vivface.errors import MediaError
from vivface.files import complete_file
from vivface.media.containers import IMAGE_DAMAGE, input_path, open_input

SYNTHETIC_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SYNTHETIC_TYPES = (
    SYNTHETIC_TYPE,
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
)
COMMENT = f"Synthetic media made with AI (vivface). Digital source type: {SYNTHETIC_TYPE}"

_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the uuid that Adobe registered for XMP in MP4
_LONGEST_XMP = 1 << 20  # bytes
_IMAGES = ("PNG", "JPEG", "WEBP", "GIF")


def xmp_packet() -> bytes:
    """The XMP packet that carries the digital source type."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        f' Iptc4xmpExt:DigitalSourceType="{SYNTHETIC_TYPE}" xmp:CreatorTool="vivface"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def video_tags() -> dict[str, str]:
    """Container tags of a video (`comment` is the one that every container and player knows)."""
    return {"comment": COMMENT}


def append_xmp_box(path: Path) -> None:
    """Append the XMP packet to a finished MP4 or MOV file; the offsets of what is already there do not change."""
    xmp = xmp_packet()
    with open(path, "ab") as file:
        file.write(struct.pack(">I4s", 24 + len(xmp), b"uuid") + _XMP_BOX + xmp)


def picture_options(suffix: str) -> dict:
    """What `PIL.Image.save` needs to mark an image with the suffix ".png", ".jpg", ".jpeg" or ".webp"."""
    if suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", COMMENT)
        text.add_itxt("XML:com.adobe.xmp", xmp_packet().decode())
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = COMMENT
    exif[ExifTags.Base.Software] = "vivface"
    return {"exif": exif, "xmp": xmp_packet()}


def mark_gif(path: Path) -> None:
    """Insert the comment into a GIF file, in front of its first frame.

    Args:
        path (`pathlib.Path`): A finished GIF. It is copied beside itself, a piece at a time.
    """
    text = COMMENT.encode("ascii")
    blocks = b"".join(bytes([len(part)]) + part for part in (text[i : i + 255] for i in range(0, len(text), 255)))
    with complete_file(path) as marked, open(path, "rb") as source, open(marked, "wb") as target:
        head = source.read(13)
        table = 3 << ((head[10] & 7) + 1) if head[10] & 0x80 else 0  # bytes of the global colour table
        target.write(head + source.read(table) + b"\x21\xfe" + blocks + b"\x00")
        shutil.copyfileobj(source, target)


def mark_webp(path: Path, last_milliseconds: int) -> None:
    """Add the XMP packet to a finished animated WebP, and set how long its last frame is shown.

    Args:
        path (`pathlib.Path`): As libwebp's muxer wrote it, with a VP8X chunk. It is changed in place.
        last_milliseconds (`int`): Of the last frame, which the encoder cannot know.
    """
    xmp = xmp_packet()
    with open(path, "r+b") as file:
        end, last, position = path.stat().st_size, None, 12
        while position + 8 <= end:
            file.seek(position)
            kind, size = struct.unpack("<4sI", file.read(8))
            if kind == b"VP8X":
                flags = file.read(1)[0]
                file.seek(position + 8)
                file.write(bytes([flags | 4]))  # the bit of XMP
            elif kind == b"ANMF":
                last = position
            position += 8 + size + size % 2
        if last is not None:
            file.seek(last + 8 + 12)
            file.write(min(last_milliseconds, (1 << 24) - 1).to_bytes(3, "little"))
        file.seek(end)
        file.write(struct.pack("<4sI", b"XMP ", len(xmp)) + xmp + b"\x00" * (len(xmp) % 2))
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", size))


def is_marked_synthetic(path: str | os.PathLike) -> bool:
    """Whether an image or video says, in its metadata, that it was made (or composed) by a trained model.

    Metadata is easily lost: `False` does not mean that a file is real.

    Args:
        path (`str` or `os.PathLike`): An image or a video.

    Returns:
        `bool`: True if it carries the mark.

    Raises:
        MediaError: If `path` is missing, empty, or neither an image nor a video that vivface can read.
    """
    path = input_path(path)
    text = _image_metadata(path)
    if text is None:
        text = _video_metadata(path)
    return any(kind in text for kind in SYNTHETIC_TYPES)


def _image_metadata(path: Path) -> str | None:
    try:
        with Image.open(path, formats=_IMAGES) as image:
            values = [*image.info.values(), *image.getexif().values()]
    except UnidentifiedImageError:
        return None
    except (*IMAGE_DAMAGE, Image.DecompressionBombError) as error:
        raise MediaError(f"Cannot read {str(path)!r}: the image is damaged or too large.") from error
    return "\n".join(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values)


def _video_metadata(path: Path) -> str:
    with open_input(path) as container:
        values = list(container.metadata.values())
        boxed = "mp4" in container.format.name
    return "\n".join([*values, _xmp_box(path)] if boxed else values)


def _xmp_box(path: Path) -> str:
    """The XMP packet among the top-level boxes of an MP4 or MOV file, "" where there is none."""
    end = path.stat().st_size
    position = 0
    with open(path, "rb") as file:
        while position + 8 <= end:
            file.seek(position)
            header = file.read(32)
            size, kind = struct.unpack(">I4s", header[:8])
            start = 8
            if size == 1 and len(header) >= 16:  # a 64-bit size follows
                size, start = struct.unpack(">Q", header[8:16])[0], 16
            if size == 0:  # "until the end of the file"
                size = end - position
            if size < start:
                break
            if kind == b"uuid" and header[start : start + 16] == _XMP_BOX:
                file.seek(position + start + 16)
                return file.read(min(size - start - 16, _LONGEST_XMP)).decode("utf-8", "replace")
            position += size
    return ""

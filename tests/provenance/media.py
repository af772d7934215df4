"""Pictures and films for tests of provenance, and what happens to them on their way."""

import io
from collections.abc import Sequence

import av
import cv2
import numpy as np

from tests.clips import face_frame


def film(size: int, frames: int = 12) -> list[np.ndarray]:
    """Unmarked frames of a face that wanders."""
    return [face_frame(number / 25, size) for number in range(frames)]


def encoded(frames: Sequence[np.ndarray], crf: int) -> list[np.ndarray]:
    """Frames after H.264 with this constant rate factor, by one thread: their number changes what is written."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "fast", "threads": "1"})
        stream.height, stream.width = (side - side % 2 for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            even = np.ascontiguousarray(frame[: stream.height, : stream.width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(even, "rgb24")))
        output.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image after JPEG."""
    data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """An image in another size."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def cropped(image: np.ndarray, part: float = 0.1) -> np.ndarray:
    """An image without a tenth of its height and width, more on one side than on the other."""
    height, width = image.shape[:2]
    top, left = round(height * part * 0.3), round(width * part * 0.8)
    return np.ascontiguousarray(image[top : top + round(height * (1 - part)), left : left + round(width * (1 - part))])


def screenshot(image: np.ndarray, zoom: float = 1.3) -> np.ndarray:
    """An image as a part of a page of text on a screen."""
    shown = scaled(image, zoom)
    height, width = shown.shape[:2]
    page = np.full((round(height * 1.5), round(width * 1.8), 3), 244, np.uint8)
    for line in range(page.shape[0] // 18):
        cv2.putText(page, "words beside a picture " * 3, (5, 15 + 18 * line), 0, 0.4, (40, 40, 40), 1)
    top, left = height // 6, width // 4
    page[top : top + height, left : left + width] = shown
    return page

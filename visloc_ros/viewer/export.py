"""Pictures and films of the view in a browser, for that browser to download."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import viser
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 1280, 720
FILM_WIDTH, FILM_HEIGHT, FILM_FPS, MOST_FILM_FRAMES = 960, 540, 15, 300


def add_export_buttons(
    server: viser.ViserServer, show: Callable[[int], None] | None = None, num_frames: int = 0
) -> None:
    """Buttons that save a picture and, where frames can be shown one by one, a film of all of them."""
    with server.gui.add_folder("Save", expand_by_default=False):
        picture = server.gui.add_button("Picture (PNG)")

        @picture.on_click
        def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
            if event.client is not None:
                event.client.send_file_download(
                    "visloc.png", as_png(rendered(event.client, WIDTH, HEIGHT)), save_immediately=True
                )

        if show is None:
            return
        for label, name, encode in (("Film (GIF)", "visloc.gif", as_gif), ("Film (MP4)", "visloc.mp4", as_mp4)):
            button = server.gui.add_button(label)

            def save(
                event: viser.GuiEvent[viser.GuiButtonHandle],
                name: str = name,
                encode: Callable[[list[NDArray[np.uint8]]], bytes] = encode,
            ) -> None:
                if event.client is not None:
                    film = encode(_film(event.client, show, num_frames))
                    event.client.send_file_download(name, film, save_immediately=True)

            button.on_click(save)


def rendered(client: viser.ClientHandle, width: int, height: int) -> NDArray[np.uint8]:
    """The present view of a browser, as RGB (height, width, 3)."""
    picture = np.asarray(client.get_render(height=height, width=width, transport_format="png"), np.float32)
    opaque = picture[..., 3:] / 255.0  # share of visible content
    return np.asarray(opaque * picture[..., :3] + 255.0 * (1.0 - opaque), np.uint8)


def _film(client: viser.ClientHandle, show: Callable[[int], None], num_frames: int) -> list[NDArray[np.uint8]]:
    pictures = []
    for index in np.unique(np.linspace(0, num_frames - 1, MOST_FILM_FRAMES).round().astype(int)).tolist():
        show(index)
        client.flush()
        pictures.append(rendered(client, FILM_WIDTH, FILM_HEIGHT))
    return pictures


def as_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture as a PNG file."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def as_gif(pictures: list[NDArray[np.uint8]]) -> bytes:
    """Pictures as an endless animated GIF."""
    first, *rest = (Image.fromarray(picture).quantize(128) for picture in pictures)
    data = io.BytesIO()
    first.save(data, "GIF", save_all=True, append_images=rest, duration=1000 // FILM_FPS, loop=0)
    return data.getvalue()


def as_mp4(pictures: list[NDArray[np.uint8]]) -> bytes:
    """Pictures as an MP4 film."""
    with tempfile.TemporaryDirectory(prefix="visloc_film_") as folder:
        path = Path(folder) / "film.mp4"
        height, width = pictures[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FILM_FPS, (width, height))
        for picture in pictures:
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
        return path.read_bytes()

"""Videos of high dynamic range, as phones record them: their frames look like those of a usual video of the place."""

import av
import cv2
import numpy as np
import pytest
from source_data import colour_image

from visloc_ros.sources import open_source

WHITE_NITS, HLG_WHITE = 203.0, 0.265  # of diffuse white, by ITU-R BT.2408
TRANSFERS = {"pq": (16, "smpte2084"), "hlg": (18, "arib-std-b67")}  # ITU-T H.273, and as x265 names them


def linear(values):
    """Light of sRGB values, white is 1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def pq(light):
    """SMPTE ST 2084."""
    power = (WHITE_NITS * light / 10000.0) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light):
    """ITU-R BT.2100, table 5."""
    scene = HLG_WHITE * light
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def write_hdr(path, images, transfer):
    number, name = TRANSFERS[transfer]
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream("libx265", rate=10)
        except av.FFmpegError:
            pytest.skip("this PyAV cannot write HEVC")
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = number, 9, 9  # BT.2020
        parameters = f"transfer={name}:colorprim=bt2020:log-level=none"
        stream.options = {"crf": "8", "preset": "ultrafast", "x265-params": parameters}
        for image in images:
            encoded = {"pq": pq, "hlg": hlg}[transfer](linear(image / 255.0))
            frame = av.VideoFrame.from_ndarray(np.round(encoded * 65535).astype(np.uint16), format="rgb48le")
            frame = frame.reformat(format="yuv420p10le")
            frame.color_trc, frame.color_primaries, frame.colorspace = number, 9, 9
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_frames_of_hdr_videos_are_as_bright_and_as_rich_in_contrast_as_others(tmp_path, transfer):
    shades = [cv2.cvtColor(colour_image(seed, 128, 96), cv2.COLOR_RGB2GRAY) for seed in range(3)]
    write_hdr(tmp_path / "a.mp4", [np.dstack([shade] * 3) for shade in shades], transfer)
    for frame, shade in zip(open_source(tmp_path / "a.mp4"), shades, strict=True):
        difference = frame.grey.astype(float) - shade
        assert abs(difference.mean()) < 16
        assert difference.std() < 10
        assert 0.85 < frame.grey.std() / shade.std() < 1.15

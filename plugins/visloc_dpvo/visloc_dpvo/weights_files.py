"""The published weights, which ``visloc fetch-weights`` downloads."""

from visloc_ros.features import WeightsFile

WEIGHTS = (
    WeightsFile(
        "dpvo",
        "dpvo.pth",
        "https://www.dropbox.com/s/nap0u8zslspdwm4/models.zip?dl=1",
        "",
        13.6,
        "MIT",
        "odometry dpvo",
        member="dpvo.pth",
    ),
)

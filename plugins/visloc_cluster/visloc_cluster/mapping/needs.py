"""What the tasks need of a computer, so that no more run at once than fit."""

from __future__ import annotations

from visloc_ros.execution.engine import Resources

SMALL = Resources(memory_bytes=1_000_000_000)
WITH_NETWORKS = Resources(memory_bytes=1_500_000_000)  # torch alone takes half of it
ADJUSTMENT = Resources(memory_bytes=2_000_000_000)  # of 500 images of 2,000 points; of 400 points half a gigabyte

"""TiTiler, which makes tiles of a GeoTIFF of three bands."""

from __future__ import annotations

import os

import numpy
import rasterio
from fastapi import FastAPI
from rasterio.transform import from_bounds
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import TilerFactory

SIDE = 512

# The same relative path, berlin.tif, finds the file wherever the application runs.
os.chdir(os.environ["JOB_DIRECTORY"])
with rasterio.open(
    "berlin.tif",
    "w",
    driver="GTiff",
    width=SIDE,
    height=SIDE,
    count=3,
    dtype="uint8",
    crs="EPSG:4326",
    transform=from_bounds(13.0, 52.3, 13.8, 52.7, SIDE, SIDE),
    tiled=True,
    compress="deflate",
) as image:
    pixels = numpy.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE) // 7 % 251
    image.write(pixels.astype("uint8"))

app = FastAPI()
app.include_router(TilerFactory().router)
add_exception_handlers(app, DEFAULT_STATUS_CODES)

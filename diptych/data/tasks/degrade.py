"""deblur, denoise, jpeg, super_resolution, lowlight: good photographs from degraded ones, with random strengths."""

from collections.abc import Callable
from io import BytesIO
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from diptych.data.images import image_io
from diptych.data.tasks.open_cv import open_cv
from diptych.data.tasks.task import Task, normal, uniform

Limits = tuple[float, float]
DIRECT = (
    11  # side of a kernel that OpenCV applies directly; with larger ones it uses an FFT, which takes 20 times as long
)


def _within(low: float, high: float) -> Callable[[Limits], Limits]:
    """Return a validator of ranges [LOW,HIGH] whose numbers lie within `low` and `high`."""

    def check(limits: Limits) -> Limits:
        if not low <= limits[0] <= limits[1] <= high:
            raise ValueError(f"expected [LOW,HIGH] with {low:g} <= LOW <= HIGH <= {high:g}")
        return limits

    return check


Pixels = Annotated[Limits, AfterValidator(_within(0, 100))]
Levels = Annotated[Limits, AfterValidator(_within(0, 255))]  # of 255
Quality = Annotated[Limits, AfterValidator(_within(1, 95))]
Factor = Annotated[Limits, AfterValidator(_within(1, 16))]
Stops = Annotated[Limits, AfterValidator(_within(-16, 0))]
Gamma = Annotated[Limits, AfterValidator(_within(0.1, 10))]


class Deblur(Task):
    """Sharp photographs from blurred ones: a Gaussian blur as out of focus, and motion blur."""

    name: ClassVar[str] = "deblur"

    sigma: Pixels = Field((0.5, 3.0), description="standard deviation of a Gaussian blur, in pixels")
    motion: Pixels = Field((0.0, 15.0), description="length of a motion blur in a random direction, in pixels")
    noise: Levels = Field((0.0, 2.0), description="standard deviation of Gaussian noise afterwards, of 255")

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        image = blurred(image, uniform(self.sigma, random), self.name)
        image = moved(image, uniform(self.motion, random), random.uniform(0, np.pi), self.name)
        return noisy(image, uniform(self.noise, random), random)


class Denoise(Task):
    """Photographs from noisy ones: Gaussian noise, and shot (Poisson) noise of pixel values."""

    name: ClassVar[str] = "denoise"

    sigma: Levels = Field((5.0, 50.0), description="standard deviation of Gaussian noise, of 255")
    photons: float | None = Field(
        None, gt=0, le=1e6, description="photons of a white pixel, for shot noise; None: no such noise"
    )

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        if self.photons:
            image = (random.poisson(image * self.photons) / self.photons).astype(np.float32)
        return noisy(image, uniform(self.sigma, random), random)


class Jpeg(Task):
    """Photographs from compressed ones."""

    name: ClassVar[str] = "jpeg"

    quality: Quality = Field((5.0, 60.0), description="quality of the JPEG encoder, 1 to 95")

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        return compressed(image, uniform(self.quality, random))


class SuperResolution(Task):
    """Photographs from smaller ones, which are enlarged to the same size by a bicubic filter.

    By default the images are only reduced; blur, noise and compression are those of cameras and of web sites.
    """

    name: ClassVar[str] = "super_resolution"

    factor: Factor = Field((4.0, 4.0), description="how many times smaller")
    sigma: Pixels = Field((0.0, 0.0), description="standard deviation of a Gaussian blur before, in pixels")
    noise: Levels = Field((0.0, 0.0), description="standard deviation of Gaussian noise after it is reduced, of 255")
    quality: Quality | None = Field(None, description="quality of a JPEG encoder after it is reduced; None: no JPEG")

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        height, width = image.shape[:2]
        factor = uniform(self.factor, random)
        image = blurred(image, uniform(self.sigma, random), self.name)
        small = image_io.resize(image, max(1, round(height / factor)), max(1, round(width / factor)))
        small = noisy(small, uniform(self.noise, random), random)
        if self.quality:
            small = compressed(small, uniform(self.quality, random))
        return image_io.resize(small, height, width)


class Lowlight(Task):
    """Photographs from underexposed ones: less light, a steeper curve, and noise."""

    name: ClassVar[str] = "lowlight"

    exposure: Stops = Field((-4.0, -1.5), description="exposure of linear light, in stops")
    gamma: Gamma = Field((1.0, 1.5), description="exponent of pixel values afterwards; above 1: darker")
    noise: Levels = Field((1.0, 6.0), description="standard deviation of Gaussian noise afterwards, of 255")

    def source(self, image: np.ndarray, random: np.random.RandomState) -> np.ndarray:
        exposure, gamma = uniform(self.exposure, random), uniform(self.gamma, random)
        dark = np.power(image, np.float32(gamma))
        dark *= np.float32(2 ** (exposure * gamma / 2.2))  # light is a power of 2.2 of pixel values
        return noisy(dark, uniform(self.noise, random), random)


def blurred(image: np.ndarray, sigma: float, task: str) -> np.ndarray:
    """Return the image after a Gaussian blur; unchanged below 0.1 pixels."""
    if sigma < 0.1:
        return image
    cv2 = open_cv(task)
    return _as_hwc(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def moved(image: np.ndarray, length: float, angle: float, task: str) -> np.ndarray:
    """Return the mean of the image along a line of this length in pixels; unchanged below 1 pixel."""
    if length < 1:
        return image
    cv2 = open_cv(task)
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel, middle = np.zeros((side, side), np.float32), side // 2
    steps = np.linspace(-length / 2, length / 2, 8 * side)
    line = np.rint(middle + steps[:, None] * (np.sin(angle), np.cos(angle))).astype(int)  # rows and columns
    np.add.at(kernel, (line[:, 0], line[:, 1]), np.float32(1 / len(steps)))
    padded = cv2.copyMakeBorder(image, middle, middle, middle, middle, cv2.BORDER_REFLECT_101)
    height, width = image.shape[:2]
    result = np.zeros(image.shape, np.float32)
    along = line[:, np.ptp(line, axis=0).argmax()]
    for start in range(0, side, DIRECT):
        if len(part := line[(along >= start) & (along < start + DIRECT)]):
            (top, left), (bottom, right) = part.min(0), part.max(0)
            region = padded[top : bottom + height, left : right + width]
            filtered = cv2.filter2D(region, -1, kernel[top : bottom + 1, left : right + 1], anchor=(0, 0))
            result += _as_hwc(filtered)[:height, :width]
    return result


def noisy(image: np.ndarray, sigma: float, random: np.random.RandomState) -> np.ndarray:
    """Return the image with Gaussian noise of a standard deviation in levels of 255, within [0, 1]."""
    if not sigma:
        return image.clip(0, 1)
    result = normal(image.shape, random)
    result *= np.float32(sigma / 255)
    result += image
    return result.clip(0, 1, out=result)


def compressed(image: np.ndarray, quality: float) -> np.ndarray:
    """Return the image after JPEG compression, with chroma subsampling as most files have it."""
    buffer = BytesIO()
    pixels = np.rint(image * np.float32(255)).clip(0, 255).astype(np.uint8)
    image_io.to_pil(pixels).save(buffer, "JPEG", quality=round(quality))
    return _as_hwc(np.asarray(Image.open(buffer), np.float32)) / np.float32(255)


def _as_hwc(array: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C), as OpenCV and Pillow drop a single channel."""
    return array[..., None] if array.ndim == 2 else array

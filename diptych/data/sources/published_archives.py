"""Published data sets that are one archive: those of pix2pix and CycleGAN, AFHQ, and sets for super-resolution.

Digests and sizes of CycleGAN's archives are those that TensorFlow Datasets verifies; the digest of AFHQ is the one that
UVCGAN verifies. Other digests are not published; sizes without digest are those that the servers list.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich import filesize

from diptych.contract import DataKind
from diptych.data.sources.published import Progress, PublishedDataset
from diptych.errors import DataError
from diptych.system.fetch import fetch
from diptych.system.hashes import sha256_of
from diptych.system.unpack import unpack

PIX2PIX = (
    "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/{}",
    "https://people.eecs.berkeley.edu/~tinghuiz/projects/pix2pix/datasets/{}",
)
CYCLEGAN = (
    "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}",
    "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/{}",
)
CITYSCAPES = "https://www.cityscapes-dataset.com/downloads/"

FACADES = "CMP Facades, Tylecek and Sara 2013: for research"
STREETS = "Cityscapes, Cordts et al. 2016: non-commercial research only, no redistribution"
MAPS = "scraped from Google Maps: no licence stated"
IMAGENET = "ImageNet: non-commercial research and education only"
FLICKR = "photographs of Flickr: no licence stated"
PAINTINGS = "paintings of WikiArt, photographs of Flickr: no licence stated"
BSDS = "BSDS300, Martin et al. 2001: non-commercial research and education only"


@dataclass(frozen=True, kw_only=True)
class PublishedArchive(PublishedDataset):
    """A data set in one archive, whose folder `inside` is extracted as `NAME`. Without mirrors it is withdrawn."""

    file: str
    mirrors: tuple[str, ...]
    size: int  # bytes; 0 if it is not published
    kind: DataKind
    inside: str
    sha256: str = ""

    def prepare(self, name: str, folder: Path, archive: Path | None, progress: Progress | None) -> Path:
        target = folder / name
        if target.exists():
            if archive:
                raise DataError(f"{target} exists: remove it, or give another folder with -o")
            return target
        if archive:
            self._check_given(archive)
        unpack(archive or self._fetched(folder, progress), self.inside, target, progress)
        return target

    def facts(self) -> dict[str, str]:
        digest = self.sha256 or "not published, so the download is not verified"
        mirrors = ", ".join(self.mirrors) or f"withdrawn by its authors; the original is at {self.url}"
        size = filesize.decimal(self.size) if self.size else "not published"
        return {"licence": self.licence, "size": size, "from": mirrors, "SHA-256": digest}

    def _fetched(self, folder: Path, progress: Progress | None) -> Path:
        """Return the verified archive in `folder`, downloaded if it is not there."""
        path = folder / self.file
        if not path.is_file():
            if not self.mirrors:
                raise OSError("its authors withdrew this archive")
            fetch(self.mirrors, path, progress)
        if self.sha256 and (digest := sha256_of(path)) != self.sha256:
            raise DataError(
                f"{path}: not the published archive, as its SHA-256 begins with {digest[:16]}, not with "
                f"{self.sha256[:16]}: remove it and repeat, or give it by --archive to use it anyway"
            )
        return path

    def _check_given(self, archive: Path) -> None:
        """Warn if a file given by hand is not the published one."""
        if not archive.is_file():
            raise DataError(f"{archive}: there is no such file")
        if self.sha256 and (digest := sha256_of(archive)) != self.sha256:
            warnings.warn(
                f"{archive}: not the published archive: its SHA-256 begins with {digest[:16]}, not with "
                f"{self.sha256[:16]}; extracted anyway",
                stacklevel=2,
            )


def _archive(
    file: str,
    servers: tuple[str, ...],
    kind: DataKind,
    title: str,
    licence: str,
    size: int,
    sha256: str = "",
    inside: str = "",
    url: str = "",
) -> PublishedArchive:
    """Return an archive `file` on servers (URLs with {} for its name); `inside` is by default its name."""
    mirrors = tuple(server.format(file) for server in servers)
    return PublishedArchive(
        title=title,
        licence=licence,
        files=file,
        url=url or mirrors[0],
        file=file,
        mirrors=mirrors,
        size=size,
        kind=kind,
        inside=inside or file.partition(".")[0],
        sha256=sha256,
    )


def _pairs(name: str, title: str, licence: str, size: int) -> PublishedArchive:
    return _archive(f"{name}.tar.gz", PIX2PIX, DataKind.PAIRED, title, licence, size)


def _unpaired(name: str, title: str, licence: str, size: int, sha256: str) -> PublishedArchive:
    return _archive(f"{name}.zip", CYCLEGAN, DataKind.UNPAIRED, title, licence, size, sha256)


def _test_set(folder: str, title: str, licence: str) -> PublishedArchive:
    """Return the high-resolution images of a set of EDSR's archive, which holds several."""
    server = ("https://cv.snu.ac.kr/research/EDSR/{}",)
    inside = f"benchmark/{folder}/HR"
    return _archive("benchmark.tar", server, DataKind.IMAGES, title, licence, 250_000_000, inside=inside)


ARCHIVES: Mapping[str, PublishedArchive] = MappingProxyType(
    {
        # pairs of pix2pix, side by side
        "facades": _pairs("facades", "606 facades and label maps, 256 pixels", FACADES, 30_168_306),
        "cityscapes-256": _archive(
            "cityscapes.tar.gz",
            (),
            DataKind.PAIRED,
            "3,475 streets and label maps, 256 pixels",
            STREETS,
            103_441_232,
            url=CITYSCAPES,
        ),
        "maps": _pairs("maps", "aerial photographs and maps, 600 pixels", MAPS, 250_242_400),
        "edges2shoes": _pairs(
            "edges2shoes",
            "50,000 shoes and their edges, 256 pixels",
            "UT Zappos50K, Yu and Grauman 2014: non-commercial, academic use only",
            2_000_000_000,
        ),
        "edges2handbags": _pairs(
            "edges2handbags",
            "137,000 handbags and their edges, 256 pixels",
            "product photographs of Amazon, Zhu et al. 2016: no licence stated",
            8_000_000_000,
        ),
        "night2day": _pairs(
            "night2day",
            "photographs of one place by night and by day, 256 pixels",
            "Transient Attributes, Laffont et al. 2014: no licence stated",
            1_900_000_000,
        ),
        # unpaired images of CycleGAN; of names that pix2pix has too, the unpaired one is marked
        "horse2zebra": _unpaired(
            "horse2zebra",
            "horses and zebras, 256 pixels",
            IMAGENET,
            116_867_962,
            "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        ),
        "apple2orange": _unpaired(
            "apple2orange",
            "apples and oranges, 256 pixels",
            IMAGENET,
            78_456_409,
            "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
        ),
        "summer2winter_yosemite": _unpaired(
            "summer2winter_yosemite",
            "Yosemite in summer and in winter, 256 pixels",
            FLICKR,
            132_640_856,
            "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
        ),
        "monet2photo": _unpaired(
            "monet2photo",
            "paintings by Monet and photographs, 256 pixels",
            PAINTINGS,
            305_231_073,
            "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
        ),
        "cezanne2photo": _unpaired(
            "cezanne2photo",
            "paintings by Cezanne and photographs, 256 pixels",
            PAINTINGS,
            279_885_071,
            "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff",
        ),
        "ukiyoe2photo": _unpaired(
            "ukiyoe2photo",
            "ukiyo-e prints and photographs, 256 pixels",
            PAINTINGS,
            292_946_532,
            "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08",
        ),
        "vangogh2photo": _unpaired(
            "vangogh2photo",
            "paintings by Van Gogh and photographs, 256 pixels",
            PAINTINGS,
            306_590_349,
            "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff",
        ),
        "iphone2dslr_flower": _unpaired(
            "iphone2dslr_flower",
            "flowers by telephone and by DSLR camera",
            FLICKR,
            339_964_458,
            "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113",
        ),
        "maps-unpaired": _unpaired(
            "maps",
            "aerial photographs and maps, 600 pixels",
            MAPS,
            1_476_754_427,
            "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e",
        ),
        "facades-unpaired": _unpaired(
            "facades",
            "facades and label maps, 256 pixels",
            FACADES,
            35_135_868,
            "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",
        ),
        "cityscapes-unpaired": _archive(
            "cityscapes.zip",
            (),
            DataKind.UNPAIRED,
            "streets and label maps, 256 pixels",
            STREETS,
            279_601_602,
            "d2f6910fd056c1ee9873777ae838e7ac4a2c833598ae62a04188e5ab2f4ea036",
            url=CITYSCAPES,
        ),
        # other sets
        "afhq": _archive(
            "afhq.zip",
            ("https://www.dropbox.com/s/t9l9o3vsx2jai3z/{}?dl=1",),
            DataKind.LABELLED,
            "15,000 faces of cats, dogs and wild animals, 512 pixels",
            "CC BY-NC 4.0, Choi et al. 2020",
            0,
            "7f63dcc14ef58c0e849b59091287e1844da97016073aac20403ae6c6132b950f",
        ),
        "set5": _test_set("Set5", "5 images for super-resolution", "Bevilacqua et al. 2012: no licence stated"),
        "set14": _test_set("Set14", "14 images for super-resolution", "Zeyde et al. 2010: no licence stated"),
        "bsd100": _test_set("B100", "100 images for super-resolution", BSDS),
    }
)

"""Rebuild data/photographs/: cut-out photographs of the emoji's classes, as one lossless WebP atlas and one table.

    apt-get download tuxpaint-stamps-default      # 161 MB, Debian 12; nothing is installed
    python data/build_photographs.py tuxpaint-stamps-default_2022.06.04-1_all.deb
    python data/checksums.py                      # then write the new checksums

It needs Pillow and no other package. The pixels depend on the .deb, which is checked, and on Pillow's resampling; the
bytes of the WebP file may also differ with Pillow's libwebp (made with Pillow 13.0.0 and libwebp 1.6.0). Ten seconds.

The package holds 796 PNG images, drawings and photographs mixed. They were looked at one by one. Kept is what

- is a photograph: no drawing, rendering or painting, no traced sign, nothing that was blended or cut badly;
- belongs to a class of the emoji as Unicode sees it: no plants, balls, trophies, planets or dishes;
- is 49 pixels long or longer, so that 64 pixels don't enlarge it by much;
- is under the package's licence: left out are those that the package's own list of changes, or the list of
  contributors in its source, gives another one (GFDL or Creative Commons only, stock.xchng);
- is no tank, and no gravestone with a name. Of twenty coins six are kept, so that they don't outweigh the rest.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import tarfile
from pathlib import Path

from atlas import TILE, tile_of, write_atlas
from PIL import Image

TARGET = Path(__file__).parent / "photographs"
PACKAGE = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"  # SHA-256 of the .deb
FOLDER = "./usr/share/tuxpaint/stamps"
MARGIN = 2  # pixels: a Noto emoji fills 61 of its 64 pixels, a Fluent one 56
FAINT = 32  # alpha up to which a pixel doesn't count as part of the cut-out

# class -> folder -> file names without .png
KEPT = {
    "animals": {
        "animals/amphibians": "frog-1 frog",
        "animals/birds": "adelaide-rosella albino_peahen blackbird chicken_profile crowned_crane cuckoo drake duck "
        "gander guineafowl hen lark little-penguin magellanic_penguin magpie nandou ostrich owl peacock penguin "
        "pigeon pink_flamingo quetzal rainbow-lorikeet rooster seagull silver-gull turkey",
        "animals/fish": "bluegroper butterflyfish clownfish coraltrout dolphinfish lionfish lobster moonwrasse "
        "seahorse stripedfish",
        "animals/insects": "grasshopper hornet hoverfly mantis xanthia",
        "animals/lizards": "iguana",
        "animals/mammals": "badger elephant ferret giraffe hippopotamus pig pig_golden pig_golden2 rabbit_little "
        "rhino_black wildboar",
        "animals/mammals/apes": "chimp gorilla",
        "animals/mammals/aquatic": "dolphin orca sea_lion whale",
        "animals/mammals/bears": "bear european-bear",
        "animals/mammals/bovines": "bison bull cow cow_white gnu-baby-stand gnu-baby gnu-sitting gnu-stand goat "
        "indian_blackbuck mountaingoat ram sheep sheep_lamb yak zebu",
        "animals/mammals/camel": "camel",
        "animals/mammals/cats": "lion-2 lion tiger tiger_sumatran",
        "animals/mammals/deer": "caribou deer doe wapiti",
        "animals/mammals/dogs": "dingo fox",
        "animals/mammals/equines": "donkey donkey_eating horse zebra",
        "animals/mammals/rodents": "beaver capybara marmot mouse rabbit-2 rabbit rat squirrel",
        "animals/marsupials": "kangaroo koala wombat",
        "animals/shellfish": "abalone murray-mussel",
    },
    "food": {
        "food/fruit": "apple_fuji apple_granny_smith apple_green apple_red apple_sierra_beauty avocado banana "
        "cherimoya kiwi lemon mandarine mango orange orange_seville pear pomegranate raspberry strawberry",
        "food/nuts": "almond pecan walnut",
        "food/spices": "ginger",
        "food/vegetables": "broccoli carrot chilepepper corn eggplant garlic garlics lettuce mushroom onion "
        "pattypan_squash pepper potato pumpkin_small redlettuce tomato yam yellowpepper",
        "seasonal/christmas": "Candy_cane_photo_1 Candy_cane_photo_2",
    },
    "objects": {
        "clothes": "clothespin_new clothespin_old",
        "hobbies": "binoculars camera_35mm",
        "household": "cylinder garbagecan home_compost_bin key toilet",
        "household/arttools": "pen_dryerase scissors_small_closed scissors_small_open",
        "household/tools": "hammer mallet_metal measuring_tape paintbrush_large plyers saw spade toolbox wrench "
        "wrench_adjustable wrench_plumbers",
        "medical": "stethoscope syringe",
        "seasonal": "candle",
        "seasonal/halloween": "grave-a grave-b grave-g grave-h grave-j",
        "symbols/money/canadian/coins": "001penny 200toonie",
        "symbols/money/japanese": "yen005 yen010",
        "symbols/money/us/coins": "025quarter 100sacagawea",
    },
    "travel": {
        "military": "paratrooper",
        "military/vehicles": "f22_raptor",
        "space": "voyager2",
        "town/roadsigns": "railroad_crossing",
        "vehicles": "garbagetruck wheel_tractor",
        "vehicles/auto": "sedan sportscar2 truck",
        "vehicles/construction": "dumper",
        "vehicles/flight": "balloon360",
        "vehicles/flight/planes": "747",
        "vehicles/race": "indycar",
        "vehicles/ship": "walnutBoat",
    },
}

# Photographs of one kind of thing make a family, as the variants of one emoji do; each of the others is its own.
FAMILIES = {
    "apple": "apple_fuji apple_granny_smith apple_green apple_red apple_sierra_beauty",
    "bear": "bear european-bear",
    "bin": "garbagecan home_compost_bin",
    "candy cane": "Candy_cane_photo_1 Candy_cane_photo_2",
    "car": "sedan sportscar2",
    "cattle": "bull cow cow_white zebu",
    "chicken": "chicken_profile hen rooster",
    "clothespin": "clothespin_new clothespin_old",
    "coin": "001penny 200toonie yen005 yen010 025quarter 100sacagawea",
    "deer": "deer doe wapiti",
    "donkey": "donkey donkey_eating",
    "duck": "drake duck",
    "frog": "frog-1 frog",
    "garlic": "garlic garlics",
    "gnu": "gnu-baby-stand gnu-baby gnu-sitting gnu-stand",
    "gravestone": "grave-a grave-b grave-g grave-h grave-j",
    "gull": "seagull silver-gull",
    "hammer": "hammer mallet_metal",
    "lettuce": "lettuce redlettuce",
    "lion": "lion-2 lion",
    "mouse": "mouse rat",
    "orange": "mandarine orange orange_seville",
    "parrot": "adelaide-rosella rainbow-lorikeet",
    "peafowl": "albino_peahen peacock",
    "penguin": "little-penguin magellanic_penguin penguin",
    "pepper": "pepper yellowpepper",
    "pig": "pig pig_golden pig_golden2",
    "rabbit": "rabbit_little rabbit-2 rabbit",
    "scissors": "scissors_small_closed scissors_small_open",
    "sheep": "ram sheep sheep_lamb",
    "tiger": "tiger tiger_sumatran",
    "wrench": "wrench wrench_adjustable wrench_plumbers",
}
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names.split()}


def member(package: bytes, beginning: str) -> bytes:
    """The first file in a .deb whose name begins so. A .deb is an ar archive: after 8 bytes, for each file a header of
    60 bytes (the name first, the size from byte 48 on), then its content, padded to an even length."""
    start = 8
    while start < len(package):
        header = package[start : start + 60]
        size = int(header[48:58])
        if header.decode().startswith(beginning):
            return package[start + 60 : start + 60 + size]
        start += 60 + size + size % 2
    raise SystemExit(f"The package holds no {beginning}; is it a .deb?")


def cut_out(image: Image.Image) -> Image.Image:
    """The picture without the transparent border around it."""
    image = image.convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda alpha: 255 if alpha > FAINT else 0).getbbox())


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild data/photographs/ from Debian's tuxpaint-stamps-default.")
    parser.add_argument("package", type=Path, help="the .deb file")
    package = parser.parse_args().package.read_bytes()
    found = hashlib.sha256(package).hexdigest()
    if found != PACKAGE:
        raise SystemExit(f"This is another package: expected SHA-256 {PACKAGE}, found {found}.")

    wanted = {
        f"{FOLDER}/{folder}/{name}.png": (name, kind)
        for kind, folders in KEPT.items()
        for folder, names in folders.items()
        for name in names.split()
    }
    pictures = {}
    with tarfile.open(fileobj=io.BytesIO(member(package, "data.tar"))) as archive:
        for entry in archive:
            if entry.name in wanted:
                pictures[entry.name] = Image.open(io.BytesIO(archive.extractfile(entry).read()))
    missing = wanted.keys() - pictures.keys()
    if missing:
        raise SystemExit(f"Not in the package: {', '.join(sorted(missing))}.")

    TARGET.mkdir(exist_ok=True)
    write_atlas(TARGET / "photographs.webp", [tile_of(cut_out(pictures[path]), MARGIN) for path in wanted])

    families: dict[tuple[str, str], int] = {}
    part = TARGET / "photographs.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["index", "file", "name", "class", "family", "family_name"])
        for index, (path, (stem, kind)) in enumerate(wanted.items()):
            name = stem.replace("_", " ").replace("-", " ").lower()
            family = FAMILY_OF.get(stem, name)
            number = families.setdefault((kind, family), len(families))
            table.writerow([index, path.removeprefix(f"{FOLDER}/"), name, kind, number, family])
    os.replace(part, TARGET / "photographs.csv")
    size = (TARGET / "photographs.webp").stat().st_size
    print(f"{len(wanted)} photographs in {len(families)} families, {size:,} bytes, {TILE} pixels each")


if __name__ == "__main__":
    main()

"""Sets that are downloaded by name: the published formats are read, and nothing but the published file is accepted."""

import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tdnn_helpers.data import downloaded
from tdnn_helpers.data.downloaded import SOURCES, smears
from tdnn_helpers.data.sets import load

NOWHERE = "http://127.0.0.1:9/nothing"  # a port that nobody listens on


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TDNN_DATA", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "downloaded"


@pytest.fixture
def serve(monkeypatch):
    """Puts a file on a server of this machine, in the place of the published one; ``promised``: its stated length."""
    servers = []

    def served(name, content, *, sha256=None, promised=None):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(promised or len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        replaced(monkeypatch, name, content, f"http://127.0.0.1:{server.server_port}/file", sha256)

    yield served
    for server in servers:
        server.shutdown()
        server.server_close()


def replaced(monkeypatch, name, content, address, sha256=None):
    source = SOURCES[name]
    if sha256 is None and name == "bccd":  # not of the archive but of what is inside
        path = downloaded.data_dir() / "bccd.zip"
        path.write_bytes(content)
        sha256 = source.digest(path)
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(SOURCES, name, source._replace(address=address, sha256=sha256))


def tar(files):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def cifar_10():
    images = np.arange(6 * 2 * 3072, dtype=np.uint32).reshape(6, 2, 3072).astype(np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = [{b"data": images[i], b"labels": [i, 9 - i]} for i in range(6)]
    return tar({f"cifar-10-batches-py/{name}": pickle.dumps(batch) for name, batch in zip(names, batches)})


def stl_10():
    image = np.zeros((3, 96, 96), dtype=np.uint8)
    image[0, 10, 80] = 255  # channel, row, column
    column_by_column = image.swapaxes(1, 2).tobytes()
    return tar(
        {
            "stl10_binary/train_X.bin": column_by_column * 2,
            "stl10_binary/train_y.bin": bytes([1, 10]),
            "stl10_binary/unlabeled_X.bin": b"left out",
            "stl10_binary/test_X.bin": column_by_column,
            "stl10_binary/test_y.bin": bytes([3]),
            "stl10_binary/class_names.txt": b"airplane\n",
        }
    )


def bloodmnist():
    parts, whole = {}, io.BytesIO()
    for value, (name, n) in enumerate(dict(train=3, val=2, test=4).items()):
        parts[f"{name}_images"] = np.full((n, 28, 28, 3), [value, 10, 20], dtype=np.uint8)
        parts[f"{name}_labels"] = np.full((n, 1), value, dtype=np.uint8)
    np.savez(whole, **parts)
    return whole.getvalue()


BOX = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
).format


def bccd():
    """Three smears: a white cell on the right edge, a red cell and an empty box, a platelet in the smear for tests."""
    cells = {
        "Blood_0": BOX("WBC", 600, 100, 640, 200),
        "Blood_1": BOX("RBC", 10, 20, 60, 60) + BOX("RBC", 30, 30, 30, 30),
        "Blood_2": BOX("Platelets", 300, 300, 340, 330),
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for number, (name, boxes) in enumerate(cells.items()):
            picture, jpeg = Image.new("RGB", (640, 480), (80 * number, 0, 0)), io.BytesIO()
            picture.save(jpeg, "JPEG", quality=100)
            archive.writestr(f"BCCD_Dataset-d272/BCCD/JPEGImages/{name}.jpg", jpeg.getvalue())
            archive.writestr(f"BCCD_Dataset-d272/BCCD/Annotations/{name}.xml", f"<annotation>{boxes}</annotation>")
        archive.writestr("BCCD_Dataset-d272/BCCD/ImageSets/Main/test.txt", "Blood_2\n")
        archive.writestr("BCCD_Dataset-d272/README.md", "not part of the set")
    return whole.getvalue()


MADE = {"cifar-10": cifar_10, "stl-10": stl_10, "bloodmnist": bloodmnist, "bccd": bccd}


def test_the_formats_are_read(serve):
    for name, make in MADE.items():
        serve(name, make())
    train, test = load("cifar-10"), load("cifar-10", "test")
    assert train.images.shape == (10, 3, 32, 32) and train.targets.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert train.images[0, 0, 0, :4].tolist() == [0, 1, 2, 3] and train.images[0, 0, 1, 0] == 32
    assert test.targets.tolist() == [5, 4] and test.classes[9] == "truck"
    train, test = load("stl-10"), load("stl-10", "test")
    assert train.images.shape == (2, 3, 96, 96) and torch.nonzero(train.images[0]).tolist() == [[0, 10, 80]]
    assert train.targets.tolist() == [0, 9] and test.targets.tolist() == [2]
    train, test = load("bloodmnist"), load("bloodmnist", "test", size=14)
    assert train.targets.tolist() == [0, 0, 0, 1, 1] and train.images[4, :, 0, 0].tolist() == [1, 10, 20]
    assert test.images.shape == (4, 3, 14, 14) and test.targets.tolist() == [2] * 4


def test_cells_are_cut_out_as_squares_inside_their_smear(serve):
    serve("bccd", bccd())
    train, test = load("bccd"), load("bccd", "test", size=20)
    assert train.classes == ("platelet", "red cell", "white cell") and train.targets.tolist() == [2, 1]
    assert train.images.shape == (2, 3, 64, 64) and train.extra["group"].tolist() == [0, 1]
    assert train.extra["box"].tolist() == [[600, 100, 640, 200], [10, 20, 60, 60]], "the empty box is left out"
    assert (train.images[0] == 0).all() and train.images[1, 0, 30, 30] in range(78, 83), "of another smear"
    assert test.images.shape == (1, 3, 20, 20) and test.targets.tolist() == [0]
    photographs, boxes, for_testing = smears()
    assert photographs.shape == (3, 480, 640, 3) and len(boxes) == 4 and for_testing.tolist() == [False, False, True]


def test_a_set_is_downloaded_once_and_its_size_is_said_first(serve, monkeypatch, folder, capsys):
    serve("stl-10", stl_10())
    load("stl-10")
    said = capsys.readouterr().out
    assert said.startswith("stl-10: 2,640 MB are downloaded once, from http://127.0.0.1") and said.count("\n") == 1
    assert {path.name for path in folder.iterdir()} <= {"stl-10.npz", "stl-10.lock"}, "the archive is removed"
    monkeypatch.setitem(SOURCES, "stl-10", SOURCES["stl-10"]._replace(address=NOWHERE))
    assert len(load("stl-10", "test")) == 1
    assert capsys.readouterr().out == ""


def test_an_archive_that_a_person_put_there_is_checked_used_and_left_alone(monkeypatch, folder, capsys):
    folder.mkdir()
    content, archive = bloodmnist(), folder / SOURCES["bloodmnist"].file
    archive.write_bytes(b"another file")
    replaced(monkeypatch, "bloodmnist", content, NOWHERE)
    with pytest.raises(ValueError, match=rf'"bloodmnist" is not the published set.* Remove {archive} and try again'):
        load("bloodmnist")
    archive.write_bytes(content)
    assert len(load("bloodmnist")) == 5 and archive.read_bytes() == content
    assert capsys.readouterr().out == ""


def test_another_file_than_the_published_one_leaves_nothing_behind(serve, folder):
    serve("bloodmnist", bloodmnist(), sha256="0" * 64)
    with pytest.raises(
        ValueError, match='"bloodmnist" is not the published set: .* should have the SHA-256 000.*, but'
    ):
        load("bloodmnist")
    assert {path.name for path in folder.iterdir()} <= {"bloodmnist.lock"}


def test_without_internet_or_with_half_an_answer_one_sentence_says_what_to_do(serve, monkeypatch, folder):
    content = cifar_10()
    serve("cifar-10", content, promised=len(content) + 5)
    with pytest.raises(ConnectionError, match="the connection broke off"):
        load("cifar-10")
    replaced(monkeypatch, "cifar-10", content, NOWHERE)
    archive = folder / "cifar-10-python.tar.gz"
    words = rf'"cifar-10" is not on this machine, and its download \(170 MB\) failed .* put it here as {archive}\.$'
    with pytest.raises(ConnectionError, match=words):
        load("cifar-10")
    assert {path.name for path in folder.iterdir()} <= {"cifar-10.lock"}


def test_a_packing_that_changes_is_accepted_and_a_box_that_changes_is_not(tmp_path):
    def sum_of(name, text, packing):
        with zipfile.ZipFile(tmp_path / name, "w", packing) as archive:
            archive.writestr(f"{name}/BCCD/Annotations/1.xml", text)
            archive.writestr(f"{name}/README.md", name)
        return SOURCES["bccd"].digest(tmp_path / name)

    one = sum_of("one", "<xmin>1</xmin>", zipfile.ZIP_STORED)
    assert one == sum_of("other", "<xmin>1</xmin>", zipfile.ZIP_DEFLATED)
    assert one != sum_of("one", "<xmin>2</xmin>", zipfile.ZIP_STORED)


def test_the_table_agrees_with_torchvision():
    theirs = torchvision.datasets
    assert SOURCES["cifar-10"].address == theirs.CIFAR10.url and SOURCES["cifar-10"].file == theirs.CIFAR10.filename
    assert SOURCES["stl-10"].address == theirs.STL10.url and SOURCES["stl-10"].file == theirs.STL10.filename
    for source in SOURCES.values():
        assert len(bytes.fromhex(source.sha256)) == 32 and source.bytes > 1e6

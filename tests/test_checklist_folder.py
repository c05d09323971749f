"""The checklist on a folder: each planted fault is found by its own finding, a clean folder raises no alarm."""

import random
import re
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from refusals import refused
from tdnn_helpers.checklist.__main__ import main
from tdnn_helpers.checklist.findings import Finding
from tdnn_helpers.checklist.folder import check_folder
from tdnn_helpers.checklist.folder.duplicates import check_copies, find_copies
from tdnn_helpers.checklist.folder.files import check_classes, check_files, check_pixels, check_resolution
from tdnn_helpers.checklist.folder.images import Folder, read_folder
from tdnn_helpers.checklist.folder.label_errors import check_labels, judge_labels
from tdnn_helpers.checklist.folder.network import adapt_splits, build_network, from_file, train_briefly
from tdnn_helpers.checklist.folder.probe import assign_folds, out_of_fold
from tdnn_helpers.checklist.folder.shortcuts import border, cells, find_shortcuts, power
from tdnn_helpers.core.choices import listed
from tdnn_helpers.core.progress_bars import quiet
from tdnn_helpers.data.sets import load
from tdnn_helpers.data.split import Split

SIZE = 28


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory):
    """Where all tests of this file keep the features of the pretrained network. Their many small matrices are faster
    on one core than on several."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.setenv("TDNN_DEVICE", "cpu")
        patch.setenv("TDNN_RUNS", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def features_are_kept(clean_environment, runs, monkeypatch):
    monkeypatch.setenv("TDNN_RUNS", str(runs))


@pytest.fixture(scope="module")
def clothes():
    """250 pictures of five kinds of clothes that a judge can tell apart."""
    pool = load("fashion-mnist")
    pool = pool[torch.isin(pool.targets, torch.tensor([1, 3, 5, 8, 9]))].take(250, seed=2)
    numbers = torch.tensor([0, 0, 0, 1, 0, 2, 0, 0, 3, 4])
    return pool.with_targets(numbers[pool.targets], ["trouser", "dress", "sandal", "bag", "boot"])


def write(split: Split, root: Path) -> Path:
    """One PNG for each image."""
    for i, (image, target) in enumerate(zip(split.images, split.targets.tolist())):
        folder = root / split.classes[target]
        folder.mkdir(parents=True, exist_ok=True)
        values = image.permute(1, 2, 0).numpy()
        Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(folder / f"{i:04}.png")
    return root


@pytest.fixture(scope="module")
def written(clothes, tmp_path_factory):
    """A folder of them. No test changes it."""
    return write(clothes, tmp_path_factory.mktemp("all") / "clothes")


@pytest.fixture
def clean(written, tmp_path):
    """A copy of that folder, to plant faults in."""
    return Path(shutil.copytree(written, tmp_path / "clothes"))


@pytest.fixture
def parts(written, tmp_path):
    """The same in two parts: every fourth image in val, the others in train."""
    for path in images_of(written):
        target = tmp_path / ("val" if int(path.stem) % 4 == 0 else "train") / path.relative_to(written)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


@pytest.fixture(scope="module")
def clean_report(written):
    return check_folder(written, size=SIZE, epochs=4)


def coloured(split: Split) -> Split:
    return replace(split, images=split.images.expand(-1, 3, -1, -1).clone(), extra={})


def images_of(root: Path) -> list[Path]:
    return sorted(root.rglob("*.png"))


def change(paths: list[Path], function) -> None:
    """Replace pictures by what a function makes of their pixels."""
    for path in paths:
        Image.fromarray(function(np.asarray(Image.open(path)))).save(path)


def seen(check, root: Path, status: str, *words: str, size: int = SIZE) -> Finding:
    """What a check finds in a folder: it has that status, and its evidence holds these words."""
    folder = read_folder(root, size)
    given = (folder, find_copies(folder.pool)) if check is check_copies else (folder,)
    finding = Finding.of("", check(*given))
    assert finding.status == status and all(word in finding.evidence for word in words), finding
    return finding


def test_a_clean_folder_raises_no_alarm(clean_report):
    assert {one.title: one.status for one in clean_report.findings} == dict.fromkeys(
        ("Files", "Pixels", "Resolution", "Classes", "Copies", "Labels", "Shortcuts"), "fine"
    ), clean_report
    assert clean_report.worst == "look" and clean_report.verdict.startswith("Nothing serious was found.")
    assert "small_cnn trained briefly on 200, measured on 50 (split here)" in clean_report.about
    assert all(one.evidence and one.sure for one in clean_report.findings)
    assert clean_report["Files"].status == "fine" and clean_report[1].title == "1 Input representation"
    assert list(clean_report.frame()["title"][:2]) == ["Files", "Pixels"] and len(clean_report.frame()) == 14
    assert "± Exact: every file was opened" in str(clean_report)


def test_the_page_needs_nothing_else_and_no_name_can_break_it(clean_report, tmp_path):
    page = clean_report.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)|url\(|@import|<script|<link", page)
    assert "prefers-color-scheme:dark" in page and 'lang="en"' in page
    for image in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]{20,}"', image) and 'src="data:image/png;base64,' in image
    assert all(one.title in page for one in clean_report.all)
    assert len(page) < 200_000
    assert "<style>" in clean_report._repr_html_() and "<html" not in clean_report._repr_html_()
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        clean_report.save(tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "taken"]  # nothing is left behind
    evil = Finding("wrong", "<script>alert(1)</script>", files=("<i>.png",), title="<b>")
    page = replace(clean_report, name="<u>", findings=(evil,))._repr_html_()
    assert not any(tag in page for tag in ("<script", "<u>", "<i>", "<b>"))


def test_unreadable_files_are_named_and_counted(clean):
    broken = images_of(clean)[::60]
    for path, content in zip(broken, (b"", b"no image", broken[2].read_bytes()[:99], b"\x89PNG", b"<html>404")):
        path.write_bytes(content)
    found = seen(check_files, clean, "wrong", f"{len(broken)} of 250 images", "the file is empty")
    assert set(found.files) == {path.relative_to(clean).as_posix() for path in broken}
    assert str(clean) not in found.evidence


def test_files_that_are_no_images_and_empty_classes(clean):
    (clean / "hat").mkdir()
    for i in range(5):
        (clean / "bag" / f"{i}.heic").write_bytes(b"a telephone's format")
    (clean / "bag" / ".DS_Store").write_bytes(b"hidden")
    found = seen(check_files, clean, "wrong", "no image that can be read: hat", "5× .heic")
    assert len(found.files) == 5


def as_floats(values):
    return (values / 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("part", "function", "status", "words"),
    [
        (slice(0, 250, 10), as_floats, "wrong", "25 of 250 images (10.0 %) hold only the values 0 and 1"),
        (slice(4), lambda values: 0 * values + 7, "wrong", "4 of 250 images (1.6 %) have one single value"),
        (slice(2), lambda values: values // 16, "look", "2 of 250 images (0.8 %) never get brighter"),
        (slice(250), lambda values: values.astype(np.uint16) * 16, "wrong", "but use 12 of them"),
        (slice(250), lambda values: values.astype(np.uint16) * 257, "look", "their full range"),
    ],
    ids=["floats", "constant", "dark", "12 bits", "16 bits"],
)
def test_pixels_of_another_scale(clean, part, function, status, words):
    changed = images_of(clean)[part]
    change(changed, function)
    found = seen(check_pixels, clean, status, f"{len(changed)} of 250 images", words)
    assert set(found.files) == {path.relative_to(clean).as_posix() for path in changed}
    if len(changed) == 250:
        assert int(read_folder(clean, SIZE).pool.images.max()) == (255 if status == "look" else 16)


def test_tiny_images(clean):
    seen(check_resolution, clean, "fine")
    assert "Give size=28" in seen(check_resolution, clean, "look", size=64).advice  # all of them: the setting
    for path in images_of(clean)[::10]:
        Image.open(path).resize((9, 12)).save(path)
    assert len(seen(check_resolution, clean, "wrong", "25 of 250 (10.0 %)").files) == 25


def test_classes_of_few_images_and_two_names_of_one(clean):
    def keep(count):
        for path in images_of(clean / "bag")[count:]:
            path.unlink()

    seen(check_classes, clean, "fine")
    keep(20)
    assert "measured on 4 validation images" in seen(check_classes, clean, "look", 'of 20 ("bag")').sure
    keep(5)
    seen(check_classes, clean, "wrong")
    (clean / "boot").rename(clean / "Bag ")
    seen(check_classes, clean, "wrong", "One class, two names? Bag  and bag")


@pytest.mark.parametrize(("part", "advice"), [("train", "Give all parts the same"), ("val", "is not measured")])
def test_a_class_that_a_part_lacks(parts, part, advice):
    shutil.rmtree(parts / part / "bag")
    (found,) = (one for one in check_classes(read_folder(parts, SIZE)) if "Not in" in one.evidence)
    assert (found.status, found.evidence) == ("wrong" if part == "train" else "look", f"Not in {part}/: bag.")
    assert advice in found.advice


def test_exact_copies_across_parts(parts):
    assert read_folder(parts, SIZE).parts == ("train", "val")
    seen(check_copies, parts, "fine")
    moved = random.Random(0).sample(images_of(parts / "train"), 5)
    for path in moved:
        shutil.copy(path, parts / "val" / path.parent.name / f"again-{path.name}")
    found = seen(check_copies, parts, "wrong", "Of 68 images of val, 5 (7.4 %) have an exact copy in train")
    names = {f"val/{p.parent.name}/again-{p.name} = {p.relative_to(parts).as_posix()}" for p in moved}
    assert set(found.files) == names


def test_near_copies_that_were_saved_again_mirrored_or_turned(parts):
    changes = (
        lambda image: image,
        lambda image: image.resize((20, 20)),
        lambda image: Image.fromarray((np.asarray(image) * 0.7 + 40).astype(np.uint8)),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
    )
    for path in random.Random(1).sample(images_of(parts / "train"), 6):
        for n, changed in enumerate(changes):
            target = parts / "val" / path.parent.name / f"{n}-{path.stem}.jpg"
            changed(Image.open(path)).save(target, quality=85)
    folder = read_folder(parts, SIZE)
    found = find_copies(folder.pool)
    planted = torch.tensor(["-" in fact.name for fact in folder.facts])
    assert planted.sum() == 30 and len(found.near) >= 28
    assert planted[found.near].any(1).all()  # and no pair of different pictures
    seen(check_copies, parts, "wrong")


def test_every_pair_is_compared_although_no_loop_does_it(clothes):
    """The blocks give what a naive search over all pairs and positions gives."""
    split = coloured(clothes)[:30]
    again = torch.cat([split.images, (split.images[:7].float() * 0.6 + 30).to(torch.uint8).rot90(1, (2, 3))])
    pool = Split(again, torch.cat([split.targets, split.targets[:7]]), split.classes)
    found = find_copies(pool)
    small = F.interpolate(again.float(), size=(16, 16), mode="area")
    naive = set()
    for j in range(len(pool)):
        for i in range(j):
            for turned in (t.rot90(k, (1, 2)) for t in (small[j], small[j].flip(2)) for k in range(4)):
                a, b = ((x - x.mean()).flatten() for x in (small[i], turned))
                if (a / a.norm() - b / b.norm()).norm() < found.limit:
                    naive.add((i, j))
    assert set(map(tuple, found.near.tolist())) == naive == {(i, 30 + i) for i in range(7)}
    assert all(found.group[i] == found.group[30 + i] for i in range(7)) and len(found.group.unique()) == 30


def test_copies_with_another_label(clean):
    for path in images_of(clean / "bag")[:3]:
        shutil.copy(path, clean / "boot" / f"again-{path.name}")
    seen(check_copies, clean, "wrong", "3 of 3 exact copies carry another label", "kept on one side")
    folder = read_folder(clean, SIZE)
    found = find_copies(folder.pool)
    fold = assign_folds(folder.grouped(found.group).pool, seed=0)
    assert all(fold[a] == fold[b] for a, b in found.exact.tolist())


def judged(folder: Folder) -> tuple[Finding, torch.Tensor]:
    """The finding, and the losses of the suspects in their order."""
    found = judge_labels(folder.pool, seed=0)
    finding = Finding.of("", check_labels(folder, found))
    return finding, -found.answers[found.suspects, folder.pool.targets[found.suspects]]


def test_wrong_labels_are_found_and_ranked_first(written):
    folder = read_folder(written, SIZE)
    noisy = folder.pool.with_label_noise(0.15, seed=4)
    found, losses = judged(replace(folder, pool=noisy))
    assert found.status == "wrong" and (losses.diff() <= 0).all(), found
    flipped = folder.names(noisy.extra["flipped"])
    first = [name.split(" → ") for name in found.files[:10]]
    assert sum(name in flipped and said == name.split("/")[0] for name, said in first) >= 8  # and the class is named


def test_labels_that_say_nothing_are_not_judged(written):
    folder = read_folder(written, SIZE)
    order = torch.randperm(250, generator=torch.Generator().manual_seed(0))
    shuffled = folder.pool.with_targets(folder.pool.targets[order], folder.pool.classes)
    found, _ = judged(replace(folder, pool=shuffled))
    assert found.status == "not checked" and "hardly better than guessing" in found.evidence


def shortcut(root: Path) -> tuple[Finding, torch.Tensor, str]:
    """The finding, each cell's gain and the class that is betrayed, for a judge of the whole who is never wrong."""
    folder = read_folder(root, SIZE)
    certain = F.one_hot(folder.pool.targets, len(folder.pool.classes)).float()
    found, gain, name = find_shortcuts(folder, certain, seed=0)
    return Finding.of("Shortcuts", found), gain, name


def test_a_mark_in_a_corner_of_one_class(clothes, tmp_path):
    marked = coloured(clothes)
    marked.images[marked.targets == 3, :, -3:, :3] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    found, gain, name = shortcut(write(marked, tmp_path))
    assert found.status == "wrong" and 'alone tells "bag" from the rest with a gain of 1.00' in found.evidence
    assert name == "bag" and divmod(int(gain.argmax()), 8) == (7, 0)
    assert "(row 8, column 1 of 8)" in found.evidence and "control: the best cell of the middle beside it" in found.sure


@pytest.mark.parametrize(("share", "status"), [(0.6, "wrong"), (0.36, "look"), (0.1, "fine")])
def test_a_mark_in_some_images_of_a_class(clothes, tmp_path, share, status):
    marked = coloured(clothes)
    own = (marked.targets == 1).nonzero()[:, 0]
    marked.images[own[: round(share * len(own))], 1, :3, -3:] = 200
    found, _, name = shortcut(write(marked, tmp_path))
    assert found.status == status
    if status != "fine":
        assert f'looks the same in {100 * share:.0f} % of "dress"' in found.evidence and "column 8" in found.evidence
        assert name == "dress" and "No cell of the border" not in found.evidence


def test_a_colour_cast_of_one_class(clothes, tmp_path):
    cast = coloured(clothes)
    cast.images[cast.targets == 1, 2] //= 2
    found = shortcut(write(cast, tmp_path))[0]
    assert found.status == "look" and 'colours alone tell "dress"' in found.evidence


def test_a_format_of_one_class(clean):
    assert shortcut(clean)[0].status == "fine"
    for path in images_of(clean / "sandal"):
        Image.open(path).resize((40, 36)).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    found = shortcut(clean)[0]
    assert found.status == "look" and 'format of the file alone tell "sandal"' in found.evidence


def test_cells_and_the_ring():
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    images[1, 0, 0, 0], images[1, 0, 14, 15] = 255, 51
    found = cells(images)
    assert found.shape == (64, 2, 12) and not found[:, 0, :9].any()
    assert torch.allclose(found[0, 1, [0, 3, 6]], torch.tensor([0.25, 0.1875**0.5, 1.0]))
    assert torch.allclose(found[63, 1, [0, 6, 9]], torch.tensor([0.05, 0.2, 0.0]))
    assert border().sum() == 28 and border()[0] and border()[63] and not border()[9]


def test_the_judge_is_scikit_learns_discriminant_and_never_sees_what_it_judges():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(200) % 3
    view = torch.randn(200, 4, generator=generator) + 1.5 * F.one_hot(targets, 4)
    split = Split(torch.zeros(200, 1, 1, 1, dtype=torch.uint8), targets, "abc")
    fold = assign_folds(split, seed=0)
    assert sorted(torch.bincount(fold).tolist()) == [40] * 5
    answers = out_of_fold(torch.stack([view, -view]), split, fold)
    assert torch.allclose(answers[0], answers[1], atol=1e-4)
    for number in range(5):
        inside = fold != number
        known = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0, priors=[1 / 3] * 3)
        known.fit(view[inside].numpy(), targets[inside].numpy())
        same = known.predict(view[~inside].numpy()) == answers[0, ~inside].argmax(1).numpy()
        assert same.mean() > 0.94
    shuffled = targets[torch.randperm(200, generator=generator)]
    gain = power(torch.randn(1, 200, 100, generator=generator), replace(split, targets=shuffled), fold).gain
    assert gain.abs().max() < 0.3  # a hundred random columns learn two hundred labels by heart, but not out of fold


def test_classes_of_fewer_images_than_folds_are_judged_without_a_warning():
    split = Split(torch.zeros(9, 1, 1, 1, dtype=torch.uint8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2]), "abc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = out_of_fold(torch.randn(1, 9, 2), split, assign_folds(split, seed=0))
    assert answers[0, -1].isinf().tolist() == [False, False, True]  # the only one of its class: nobody knew it
    with pytest.raises(ValueError, match="every class has a single image"):
        assign_folds(split[torch.tensor([0, 6, 8])], seed=0)


def test_a_list_is_cut_short_after_the_fifth_name():
    assert listed("abcde") == "a, b, c, d, e" and listed("abcdefg") == "a, b, c, d, e and 2 more"


class Grey(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(SIZE * SIZE, num_classes))


def dense(inputs=3 * SIZE * SIZE, outputs=5):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


MODEL_FILE = f"""
from torch import nn
class Net(nn.Sequential):
    def __init__(self, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear({3 * SIZE * SIZE}, n_classes))
"""


def test_models_are_built_from_instances_classes_functions_and_files(clothes, tmp_path):
    train, given = coloured(clothes), dense()
    built = build_network(given, train)
    assert built is not given and torch.equal(built[1].weight, given[1].weight)
    (tmp_path / "net.py").write_text(MODEL_FILE + "import beside")
    (tmp_path / "beside.py").write_text("")
    before = list(sys.path)
    for model in (None, Grey, dense, lambda train: dense(), from_file(f"{tmp_path}/net.py:Net")):
        assert build_network(model, train)[-1].out_features == 5
    assert sys.path == before


def from_folder(name, code):
    """Reads a network from a new file ``net.py``."""

    def call(tmp_path):
        (tmp_path / "net.py").write_text(code)
        from_file(f"{tmp_path}/{name}")

    return call


test_what_is_wrong_with_a_model_file_is_said = refused(
    (lambda: from_file("none.py:Net"), 'no model file "none.py"'),
    (from_folder("net.py:Nett", MODEL_FILE), r'no "Nett" .*mean "Net"\?'),
    (from_folder("net.py", MODEL_FILE), r"say which network .* net.py:Net"),
    (from_folder("net.py:Net", "import nothing_of_this_name"), "stops with ModuleNotFoundError"),
)


def fitted(model):
    return lambda clothes: adapt_splits(build_network(model, coloured(clothes)), coloured(clothes))


test_networks_that_do_not_fit_are_told_so = refused(
    (fitted(lambda depth: dense()), "asks for depth, which the checklist does not know"),
    (fitted(lambda: 3), "gives a int, but it must give an nn.Module"),
    (fitted(lambda: 1 / 0), "cannot be made .*ZeroDivisionError"),
    (fitted(dense(inputs=7)), r"cannot be run on float images N×3×28×28 in \[0, 1\]"),
    (fitted(dense(outputs=4)), r"shape \(2, 4\), but 5 classes need \(2, 5\)"),
    (fitted(nn.Conv2d(3, 5, 3)), "but 5 classes need"),
)


def test_a_network_for_one_channel_gets_grey_images(clothes):
    train = coloured(clothes)
    assert adapt_splits(dense(), train)[0] is train
    assert adapt_splits(Grey(5), train)[0].images.shape == clothes.images.shape
    train.images[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="cannot be run"):
        adapt_splits(Grey(5), train)


def test_a_brief_training_leaves_no_single_image_over(clothes):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 5))
    history = train_briefly(model, clothes[:65], clothes[65:90], 2, seed=0)
    assert history.last("val", "accuracy") > 0.3
    assert train_briefly(model, clothes, clothes, 0, seed=0) is None


def test_wrong_folders_get_one_sentence(written, tmp_path):
    void, few = tmp_path / "void", tmp_path / "few"
    (void / "a").mkdir(parents=True)
    for path in images_of(written / "bag")[:2]:
        for name in ("a", "b"):
            (few / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, few / name / path.name)

    def says(folder, words, **settings):
        with pytest.raises(ValueError, match=words) as caught:
            check_folder(folder, **settings)
        assert "\n" not in str(caught.value)

    says(tmp_path / "gone", 'there is no folder ".*gone"')
    says(written, "at least 8", size=2)
    says(written / "bag", "its 5. images lie in no folder")
    says(written.parent, r'one class only \("clothes"\).* Did you mean ".*clothes", which holds bag, boot')
    says(void, "no image in any folder")
    (void / "a" / "x.png").write_bytes(b"")
    says(void, r"none of the 1 images .* can be read \(the first: a/x.png: the file is empty\)")
    says(few, "0 classes of at least 3 different images")


def test_the_command_line(clothes, written, tmp_path, capsys):
    page, model, state = tmp_path / "page.html", tmp_path / "n.py", torch.get_rng_state()
    call = ["--size", str(SIZE), "--epochs", "4", "--out", str(page)]
    assert main([str(written), *call]) == 0, capsys.readouterr().out
    assert torch.equal(torch.get_rng_state(), state)
    out = capsys.readouterr().out
    assert "Nothing serious was found." in out and f"The page: {page}" in out and page.stat().st_size > 10_000
    few = write(clothes.take(80, seed=0), tmp_path / "clothes")
    for path in images_of(few)[::8]:
        path.write_bytes(b"")
    model.write_text(MODEL_FILE)
    assert main([str(few), *call, "--model", f"{model}:Net", "--external", str(few)]) == 1
    out = capsys.readouterr().out
    assert "Wrong: Files" in out and "Net trained briefly" in out and "external images" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone"], 'there is no folder "gone"'),
        (["gone", "--out", "nowhere/page.html"], 'there is no folder "nowhere" for the report'),
        (["gone", "--model", "none.py:Net"], 'there is no model file "none.py"'),
    ],
)
def test_wrong_calls_exit_with_2(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    with pytest.raises(SystemExit) as stopped, warnings.catch_warnings():
        main([])
    assert stopped.value.code == 2

"""Photos on a local cluster of Ray with two nodes: the rows of one machine, each photo once, whatever is stopped, broken or killed in between."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import decomcam
import numpy as np
import pytest
from PIL import Image

ray = pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
import pyarrow as pa  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

import decomcam.ray as cluster_of  # noqa: E402

CHELSEA = os.environ["CHELSEA"]
QUICK = {"method": "aligned", "integrate": "features", "check": False}
# float16 keeps 11 bits; the maps are in units of their largest value.
HALF = 2.0**-11
# Of a bucket that this machine serves itself; the workers of the cluster take them from their environment.
KEYS = {"aws_access_key_id": "of", "aws_secret_access_key": "nobody", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def cluster():
    ray.shutdown()
    os.environ.update({"AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"], "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"]})
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 200 << 20})
    made.add_node(num_cpus=2, object_store_memory=200 << 20)
    ray.init(address=made.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture()
def photos(tmp_path):
    """Pieces of one photo, no two alike, in a folder."""
    return pieces(tmp_path / "photos", 12)


def pieces(folder, count):
    folder.mkdir(parents=True)
    picture = Image.open(CHELSEA).convert("RGB")
    for at in range(count):
        picture.crop((2 * at, at, 2 * at + 300, at + 250)).save(folder / f"piece {at:02}.png")
    return folder


def rows_of(out):
    return pq.read_table(out).to_pylist()


def parts_of(out):
    return {path.name: json.loads(pq.read_schema(path).metadata[b"decomcam"]) for path in pathlib.Path(out).glob("part-*.parquet")}


def test_rows_are_those_of_a_plain_loop(cluster, photos, tmp_path):
    outcome = cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", shares=3, report=True, **QUICK)
    rows = {row["photo"]: row for row in rows_of(tmp_path / "out")}
    assert (outcome.photos, outcome.failed, outcome.before, outcome.shares, len(rows)) == (12, 0, 0, 3, 12)
    session = decomcam.Session(threads=1)
    for path in sorted(photos.iterdir()):
        row, why = rows[str(path)], session.explain(path, "a cat", **QUICK)
        assert row["error"] is None and row["score"] == np.float32(why.scores["reported"]["value"])
        assert row["sentence"] == why.report["sentence"] and row["sha256"] == why.report["photo"]["sha256"]
        assert np.abs(cluster_of.map_of(row) - why.grid).max() <= HALF * np.abs(why.grid).max()
        assert [part["contribution"] for part in row["parts"]] == [np.float32(part.contribution) for part in why.parts]
        for found, part in zip(cluster_of.parts_of(row), why.parts):
            assert np.abs(found - part.map).max() <= HALF * part.map.max()
        report = json.loads(row["report"])
        assert report["parts"] == why.report["parts"] and report["photo"]["path"] == str(path)


def test_shares_are_those_of_the_command(cluster, photos, tmp_path):
    cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", shares=4, maps="none", **QUICK)
    command = [sys.executable, "-m", "decomcam", "explain", str(photos), "-t", "a cat", "--method", "aligned", "--integrate", "features", "-q"]
    subprocess.run([*command, "--shard", "2/4", "-o", str(tmp_path / "share")], check=True, capture_output=True)
    lines = (tmp_path / "share" / "explanations.jsonl").read_text().splitlines()
    ours = [row["photo"] for row in pq.read_table(tmp_path / "out" / "part-000002-of-000004.parquet").to_pylist()]
    assert sorted(json.loads(line)["photo"]["path"] for line in lines) == ours


def test_a_broken_photo_is_a_row_with_its_reason(cluster, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    outcome = cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", **QUICK)
    assert (outcome.photos, outcome.failed) == (13, 1) and "broken.jpg" in outcome.reasons[0]
    broken = [row for row in rows_of(tmp_path / "out") if row["error_kind"]]
    assert [row["error_kind"] for row in broken] == ["PhotoError"] and broken[0]["photo"].endswith("broken.jpg")
    again = cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", **QUICK)
    assert (again.before, again.failed, again.reasons) == (13, 1, outcome.reasons)


def test_what_is_missing_is_done_again_and_nothing_else(cluster, photos, tmp_path):
    out = tmp_path / "out"
    run = lambda **more: cluster_of.run(str(photos), str(out), "a cat", **QUICK, **more)
    run(shares=4)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    lost = out / "part-000003-of-000004.parquet"
    held = len(pq.read_table(lost).to_pylist())
    lost.unlink()
    (out / ".part-000003-of-000004.parquet-0.tmp").write_bytes(b"unfinished")
    outcome = run()
    assert (outcome.photos, outcome.before) == (12, 12 - held)
    assert [path.name for path in out.glob("part-*") if path.stat().st_mtime_ns != times[path.name]] == [lost.name]
    assert not list(out.glob(".*.tmp"))
    # A photo that changed, one that came, one that went.
    changed, gone = photos / "piece 00.png", photos / "piece 01.png"
    Image.open(CHELSEA).convert("RGB").crop((40, 40, 400, 290)).save(changed)
    gone.unlink()
    pieces(tmp_path / "more", 1).joinpath("piece 00.png").rename(photos / "new.png")
    run()
    rows = {row["photo"]: row for row in rows_of(out)}
    assert set(rows) == {str(path) for path in photos.iterdir()} and len(rows_of(out)) == 12
    assert rows[str(changed)]["width"] == 360


def test_results_of_other_settings_are_kept_apart(cluster, photos, tmp_path):
    cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", maps="none", **QUICK)
    with pytest.raises(decomcam.OutputError, match='text was "a cat" and not "a dog"'):
        cluster_of.run(str(photos), str(tmp_path / "out"), "a dog", maps="none", **QUICK)
    with pytest.raises(decomcam.OutputError, match="shares, not 99"):
        cluster_of.run(str(photos), str(tmp_path / "out"), "a cat", maps="none", shares=99, **QUICK)


@pytest.mark.parametrize(
    "kind, words, more",
    [
        (decomcam.PromptError, "qwxz", {"text": "qwxz"}),
        (decomcam.ModelError, "nowhere.onnx", {"model": "nowhere.onnx"}),
        (decomcam.OptionsError, "components", {"components": 0}),
        (decomcam.OptionsError, "maps", {"maps": "gif"}),
    ],
)
def test_what_concerns_all_photos_ends_the_run(cluster, photos, tmp_path, kind, words, more):
    with pytest.raises(kind, match=words):
        cluster_of.run(str(photos), str(tmp_path / "out"), **{"text": "a cat", **QUICK, **more})
    assert not list((tmp_path / "out").glob("part-*"))


def test_parquet_files_give_photos_names_and_texts(cluster, photos, tmp_path):
    files = sorted(photos.iterdir())
    image = [{"bytes": path.read_bytes(), "path": path.name} for path in files] + [None]
    asked = ["a cat", "a dog", "qwxz"] * 4 + ["a cat"]
    pq.write_table(pa.table({"image": image, "asked": asked}), tmp_path / "photos.parquet", row_group_size=5)
    outcome = cluster_of.run(str(tmp_path / "photos.parquet"), str(tmp_path / "out"), text_column="asked", maps="png", **QUICK)
    rows = rows_of(tmp_path / "out")
    assert (outcome.photos, outcome.shares, len(rows)) == (13, 3, 13)
    assert sorted(row["photo"] for row in rows if row["error_kind"] is None) == [path.name for path, text in zip(files, asked) if text != "qwxz"]
    assert sorted({row["error_kind"] for row in rows if row["error_kind"]}) == ["PhotoError", "PromptError"]
    import io

    shown = next(row for row in rows if row["photo"] == files[0].name)
    grey = np.asarray(Image.open(io.BytesIO(shown["map"])))
    saliency = decomcam.Session(threads=1).explain(files[0], "a cat", **QUICK).saliency
    assert grey.shape == saliency.shape and np.abs(grey / 255.0 - saliency).max() <= 0.5 / 255.0 + 1e-6


def test_addresses_are_read_and_written_as_folders_are(cluster, photos, tmp_path):
    """Photos and Parquet files side by side, by their address, and by their path."""
    pq.write_table(pa.table({"bytes": [pathlib.Path(CHELSEA).read_bytes()], "path": ["chelsea"]}), photos / "one.parquet")
    for name, given, out in [("address", f"file://{photos}/", f"file://{tmp_path}/address"), ("path", str(photos), str(tmp_path / "path"))]:
        outcome = cluster_of.run(given, out, "a cat", shares=2, maps="none", **QUICK)
        assert (outcome.photos, outcome.failed, outcome.shares) == (13, 0, 3)
        named = {row["photo"] for row in rows_of(tmp_path / name)}
        assert named == {path.as_uri() if name == "address" else str(path) for path in photos.glob("*.png")} | {"chelsea"}
    with pytest.raises(decomcam.PhotoError, match="file:///nowhere"):
        cluster_of.run("file:///nowhere", str(tmp_path / "none"), "a cat", **QUICK)


def test_a_bucket_is_read_and_written_as_a_folder_is(cluster, photos, tmp_path):
    server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    try:
        host, port = served.get_host_and_port()
        bucket = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **KEYS)
        bucket.create_bucket(Bucket="pictures")
        for path in sorted(photos.iterdir())[:5]:
            bucket.upload_file(str(path), "pictures", f"in/{path.name}")
        where = f"?endpoint_override={host}:{port}&scheme=http&region={KEYS['region_name']}"
        calls = [cluster_of.run(f"s3://pictures/in{where}", f"s3://pictures/out{where}", "a cat", shares=2, **QUICK) for _ in range(2)]
        assert [(outcome.photos, outcome.failed, outcome.before) for outcome in calls] == [(5, 0, 0), (5, 0, 5)]
        written = [entry["Key"] for entry in bucket.list_objects_v2(Bucket="pictures", Prefix="out/part-")["Contents"]]
        for at, key in enumerate(written):
            bucket.download_file("pictures", key, str(tmp_path / f"{at}.parquet"))
        rows = [row for at in range(len(written)) for row in rows_of(tmp_path / f"{at}.parquet")]
        cluster_of.run(str(photos), str(tmp_path / "local"), "a cat", **QUICK)
        local = {row["sha256"]: plain(row) for row in rows_of(tmp_path / "local")}
        assert len({row["sha256"] for row in rows}) == len(rows) == 5
        assert all(plain(row) == local[row["sha256"]] for row in rows)
    finally:
        served.stop()


def plain(row):
    """A row without the name of its photo, which says where that lies."""
    return {name: value for name, value in row.items() if name != "photo"}


def test_rows_in_rows_out(cluster, photos, tmp_path):
    dataset = ray.data.read_binary_files(str(photos), include_paths=True)
    rows = cluster_of.explain(dataset, "a cat", **QUICK).take_all()
    assert len(rows) == 12 and all(row["error"] is None for row in rows)
    why = decomcam.Session(threads=1).explain(rows[0]["photo"], "a cat", **QUICK)
    assert np.abs(cluster_of.map_of(rows[0]) - why.grid).max() <= HALF * np.abs(why.grid).max()
    with pytest.raises(decomcam.OptionsError, match='a column "picture"'):
        cluster_of.explain(dataset, "a cat", photo_column="picture")


def test_each_row_has_a_name_of_its_own(cluster, photos, tmp_path):
    given = [{"bytes": path.read_bytes(), "mine": path.stem} for path in photos.glob("*.png")]
    dataset = ray.data.from_items(given)

    def named(**more):
        return {row["photo"] for row in cluster_of.explain(dataset, "a cat", batch_size=5, maps="none", **more, **QUICK).take_all()}

    by_hash = named()
    assert len(by_hash) == 12 and all(name.startswith("photo ") for name in by_hash)
    assert named() == by_hash
    assert named(name_column="mine") == {row["mine"] for row in given}
    with pytest.raises(decomcam.OptionsError, match='a column "yours"'):
        named(name_column="yours")
    # A column of something else is named as what it is, not as what cannot be hashed.
    strange = ray.data.from_items([{"bytes": {"path": "a.png"}}])
    with pytest.raises(Exception, match="array of height x width x 3 bytes .uint8.; found dict"):
        cluster_of.explain(strange, "a cat", **QUICK).take_all()


def test_a_killed_machine_loses_and_doubles_nothing(cluster, tmp_path):
    photos, out = pieces(tmp_path / "photos", 90), tmp_path / "out"
    node = cluster.add_node(num_cpus=2, object_store_memory=200 << 20)
    cluster.wait_for_nodes()
    killed = {}

    def told(done, of, failed):
        finished = [part["node"] for part in parts_of(out).values()].count(node.node_id)
        if not killed and finished >= 1:
            killed.update(done=done, finished=finished)
            threading.Thread(target=cluster.remove_node, args=(node,), kwargs={"allow_graceful": False}).start()

    outcome = cluster_of.run(str(photos), str(out), "a cat", shares=30, told=told, **QUICK)
    # It had finished some, and was killed while others were still to be done.
    assert killed["finished"] >= 1 and killed["done"] < 80
    rows = rows_of(out)
    assert (outcome.photos, outcome.failed, len(rows)) == (90, 0, 90)
    assert [row["error"] for row in rows] == [None] * 90
    assert {row["photo"] for row in rows} == {str(path) for path in photos.iterdir()}


def test_an_evaluation_in_shares_is_that_of_one_machine(cluster, photos, tmp_path):
    from_size = lambda path: dict(zip(("width", "height"), Image.open(path).size))
    images = [{"id": at, "file_name": path.name, **from_size(path)} for at, path in enumerate(sorted(photos.iterdir()))]
    boxes = [{"id": at, "image_id": at, "category_id": 1, "bbox": [60, 40, 150, 140], "area": 21000, "iscrowd": 0} for at in range(len(images))]
    told = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(told))
    arguments = ["--annotations", str(tmp_path / "annotations.json"), "--photos", str(photos), "--method", "aligned", "--components", "3"]
    whole = tmp_path / "whole"
    subprocess.run([sys.executable, "-m", "decomcam", "eval", *arguments, "--quiet", "--out", str(whole)], check=True, capture_output=True)
    cluster_of.eval(arguments, str(tmp_path / "shares"), shares=3)
    assert (tmp_path / "shares" / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    with pytest.raises(decomcam.DecomcamError, match="nowhere"):
        cluster_of.eval(["--annotations", "nowhere.json", "--photos", str(photos)], str(tmp_path / "other"), shares=2)


def test_the_command_says_what_was_done(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no picture")
    command = [sys.executable, "-m", "decomcam.ray", "--photos", str(photos), "--out", str(tmp_path / "out"), "--text", "a cat"]
    more = ["--maps", "none", "--set", "method=aligned", "--set", "integrate=features", "--set", "check=false"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("12 of 13 photos explained") and "broken.jpg" in done.stdout
    wrong = subprocess.run([*command, *more, "--set", "components=0"], capture_output=True, text=True, env=environment)
    assert wrong.returncode == 1 and "error: " in wrong.stderr and "whose components was not given and not 0" in wrong.stderr

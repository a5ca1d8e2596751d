"""insightface's `.bin` files: read without running anything in them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from fuzz import survive

from fairloss.data import load_plain, read_pair_bin, write_pair_bin
from fairloss.io.atomic import FormatError

IMAGES = [b"\xff\xd8" + bytes([n]) * (n + 1) for n in range(6)]
FLAGS = [True, False, True]


def dump(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def python2_bin() -> bytes:
    """(list of str, list of bool) as Python 2's cPickle writes it in protocol 2."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value + b"q\x01"

    images = b"(" + b"".join(text(image) for image in IMAGES) + b"e"
    flags = b"(" + b"".join(b"\x88" if flag else b"\x89" for flag in FLAGS) + b"e"
    return b"\x80\x02]q\x02" + images + b"]q\x03" + flags + b"\x86q\x04."


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol):
    path = dump(tmp_path / "x.bin", (IMAGES, FLAGS), protocol)
    result = read_pair_bin(path)
    assert result.images == IMAGES
    assert result.genuine.tolist() == FLAGS


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_scalars_and_numbers(tmp_path, protocol):
    value = [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([], dtype=np.uint8),
        np.float32(1.5),
        np.True_,
        (1, -(2**70), 2.5, None, True, "text", b"bytes", [], ()),
    ]
    result = load_plain(dump(tmp_path / "x.pkl", value, protocol))
    for expected, got in zip(value[:5], result[:5], strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    assert result[5] == value[5]


def test_python_2(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(python2_bin())
    assert pickle.loads(python2_bin(), encoding="bytes") == (IMAGES, FLAGS)
    result = read_pair_bin(path)
    assert result.images == IMAGES
    assert result.genuine.tolist() == FLAGS


def test_images_and_flags_as_arrays(tmp_path):
    images = [np.frombuffer(image, dtype=np.uint8) for image in IMAGES]
    result = read_pair_bin(dump(tmp_path / "x.bin", (images, np.array(FLAGS)), 2))
    assert result.images == IMAGES
    assert result.genuine.tolist() == FLAGS


def test_images_as_columns_of_older_opencv(tmp_path):
    images = [np.frombuffer(image, dtype=np.uint8).reshape(-1, 1) for image in IMAGES]
    result = read_pair_bin(dump(tmp_path / "x.bin", (images, FLAGS)))
    assert result.images == IMAGES
    assert result.genuine.tolist() == FLAGS


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [b"", b"\x00\xff'\n", b"a" * 300])
def test_bytearrays_become_bytes(tmp_path, protocol, value):
    assert load_plain(dump(tmp_path / "x.pkl", [bytearray(value)], protocol)) == [value]


@pytest.mark.parametrize(
    "argument", [b"I1000000000\n", b"(I1\nI2\nl", b"S'a'\nS'rot13'\n", b"cnumpy\nndarray\n"]
)
def test_a_bytearray_of_anything_but_its_bytes_is_refused(tmp_path, argument):
    path = tmp_path / "x.bin"
    path.write_bytes(b"cbuiltins\nbytearray\n(" + argument + b"tR.")
    with pytest.raises(FormatError, match="refused: "):
        load_plain(path)


def test_round_trip(tmp_path):
    write_pair_bin(tmp_path / "x.bin", IMAGES, FLAGS)
    images, flags = pickle.loads((tmp_path / "x.bin").read_bytes())
    assert (images, flags) == (IMAGES, FLAGS)
    assert read_pair_bin(tmp_path / "x.bin").images == IMAGES
    with pytest.raises(ValueError, match="images: expected 6 images, two for each pair, got 5"):
        write_pair_bin(tmp_path / "y.bin", IMAGES[:5], FLAGS)


def test_equal_images_have_equal_numbers(tmp_path):
    a, b, c = b"a", b"b", b"c"
    write_pair_bin(tmp_path / "x.bin", [a, b, b, c], [True, False])
    numbers = read_pair_bin(tmp_path / "x.bin").image_numbers()
    assert numbers[1] == numbers[2]
    assert len(set(numbers.tolist())) == 3


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("position", ["top", "image", "nested", "flag", "dict", "after"])
def test_malicious_files_are_refused_before_anything_runs(tmp_path, protocol, position):
    marker = tmp_path / "ran"
    evil = Evil(marker)
    value = {
        "top": evil,
        "image": ([evil, *IMAGES[1:]], FLAGS),
        "nested": ([[[evil]], *IMAGES[1:]], FLAGS),
        "flag": (IMAGES, [True, False, evil]),
        "dict": ({"images": evil}, FLAGS),
        "after": (IMAGES, FLAGS, evil),
    }[position]
    path = dump(tmp_path / "evil.bin", value, protocol)
    with pytest.raises(FormatError, match=r"evil\.bin: refused: ") as caught:
        read_pair_bin(path)
    if position != "dict":
        assert "global" in str(caught.value)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the ordinary reader does run it
    assert marker.exists()


@pytest.mark.parametrize("name", [b"os\nsystem", b"builtins\neval", b"numpy\nload", b"nt\nsystem"])
def test_the_refused_global_is_named(tmp_path, name):
    path = tmp_path / "x.bin"
    path.write_bytes(b"c" + name + b"\n(S'true'\ntR.")
    with pytest.raises(FormatError, match="global " + name.decode().replace("\n", r"\.")):
        load_plain(path)


def test_object_arrays_and_other_types_are_refused(tmp_path):
    path = dump(tmp_path / "x.bin", np.array([b"image", None], dtype=object))
    with pytest.raises(FormatError, match="object array"):
        load_plain(path)
    for value in (np.array(["text"]), np.zeros(2, dtype="f4,i4"), np.array(["2020"], "M8[D]")):
        with pytest.raises(FormatError, match="refused: (an array of type|instruction EMPTY_DICT)"):
            load_plain(dump(tmp_path / "x.bin", value, 2))


@pytest.mark.parametrize(
    "content",
    [
        b"i" + b"os\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ, after its global
        b"\x80\x02\x82\x01.",  # an extension code
        b"Pname\n.",  # a persistent id
        b"\x80\x05\x97.",  # an out-of-band buffer
        b"\x80\x02}.",  # a dictionary
        b"\x80\x04\x8f.",  # a set
        b"]q\x00h\x00a.",  # a list within itself
        b"]" * 30 + b"a" * 29 + b".",  # a deep one
        b"cnumpy\nndarray\n.",  # a bare class
        b"cnumpy\nndarray\n)R.",  # a class called
        b"cnumpy\nndarray\n)b.",
    ],
)
def test_other_instructions_are_refused(tmp_path, content):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=str(path)):
        load_plain(path)


def test_shared_lists_are_visited_once(tmp_path):
    value: object = b"leaf"
    for _ in range(18):
        value = [value] * 100  # 100^18 leaves, if each use were visited
    result = load_plain(dump(tmp_path / "x.bin", value))
    for _ in range(18):
        result = result[99]
    assert result == b"leaf"


def pickled_array(shape: tuple, content: bytes = b"abc") -> bytes:
    """Return the pickle of `numpy._core.numeric._frombuffer(content, uint8, shape, "C")`."""
    number_type = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1tR"
    parts = [pickle.dumps(part, protocol=3)[2:-1] for part in (content, shape)]
    call = b"\x80\x03cnumpy._core.numeric\n_frombuffer\n("
    return call + parts[0] + number_type + parts[1] + b"X\x01\x00\x00\x00CtR."


@pytest.mark.parametrize("shape", [(b"x", 3), (1.0, 3), (-1, -3), (True, 3)])
def test_a_shape_that_is_not_of_integers_is_refused(tmp_path, shape):
    path = tmp_path / "shape.bin"
    path.write_bytes(pickled_array((3,)))
    assert load_plain(path).tolist() == list(b"abc")
    path.write_bytes(pickled_array(shape))
    with pytest.raises(FormatError, match="a shape that is not of integers"):
        load_plain(path)


def test_a_repeated_text_is_encoded_once(tmp_path):
    path = tmp_path / "repeated.bin"
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000
    call = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    path.write_bytes(b"\x80\x02(" + text + b"q\x00" + call * 50 + b"t.")
    first, *others = load_plain(path)[1:]
    assert all(other is first for other in others)


def test_no_state_reaches_an_array_of_numpy(tmp_path):
    path = tmp_path / "state.bin"
    state = b"(K\x01K\x02K\x03t"
    path.write_bytes(pickled_array((3,))[:-1] + state + b"b.")
    with pytest.raises(FormatError, match=r"a second content of an array"):
        load_plain(path)


def test_lying_lengths_do_not_take_memory(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"few.")
    with pytest.raises(FormatError):
        load_plain(path)
    path.write_bytes(b"]r\xff\xff\xff\x7f.")  # a memo of 2^31 entries
    with pytest.raises(FormatError, match="position 2147483647 of the memo"):
        load_plain(path)
    honest = pickle.dumps(np.zeros(4, dtype=np.uint8), 2)
    lying = honest.replace(b"K\x01K\x04\x85", b"K\x01J\xff\xff\xff\x7f\x85")
    assert lying != honest
    path.write_bytes(lying)
    with pytest.raises(FormatError, match="4 bytes for an array of shape"):
        load_plain(path)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (IMAGES, "expected a pair"),
        ((IMAGES, 3), "expected a list of images and"),
        ((IMAGES[:5], FLAGS), "expected 2 images for each pair, got 5 for 3"),
        (([], []), "expected 2 images for each pair"),
        ((IMAGES, [True, False, 2]), "flag 2 is neither"),
        ((IMAGES, [True, False, 1 << 70_000]), "flag 2 is neither .*: got int of 70001 bits"),
        (([*IMAGES[:5], "text"], FLAGS), "image 5 is not an encoded file"),
        (([*IMAGES[:5], np.zeros((2, 2), np.uint8)], FLAGS), "image 5 is not an encoded file"),
    ],
)
def test_wrong_content(tmp_path, value, problem):
    with pytest.raises(FormatError, match=problem):
        read_pair_bin(dump(tmp_path / "x.bin", value))


# Python's own lexer of protocol 0 warns of odd escapes in text.
odd_escapes = pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")


def small_bin(folder: Path) -> Path:
    value = ([b"ab", np.frombuffer(b"cd", np.uint8)], np.array([True]))
    return dump(folder / "x.bin", value, 2)


@odd_escapes
def test_damage(tmp_path):
    assert survive(small_bin(tmp_path), read_pair_bin, 500) > 300


@pytest.mark.slow
@odd_escapes
@pytest.mark.parametrize("protocol", [2, 5])
def test_much_damage(tmp_path, protocol):
    path = small_bin(tmp_path)
    dump(path, pickle.loads(path.read_bytes()), protocol)
    assert survive(path, read_pair_bin, 10_000) > 5000


def test_truncation_at_every_byte(tmp_path):
    path = tmp_path / "x.bin"
    content = pickle.dumps((IMAGES[:2], [True]), 2)
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError, match=str(path)):
            read_pair_bin(path)

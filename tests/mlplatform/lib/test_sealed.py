"""What is sealed is opened with its secret alone, and neither it nor its name tells the secret."""

from mlplatform.lib import sealed


def test_only_the_secret_opens_what_it_sealed() -> None:
    box = sealed.seal(b"mlp_live_x", secret="a" * 43)
    assert b"mlp_live_x" not in box
    assert sealed.unseal(box, secret="a" * 43) == b"mlp_live_x"
    assert sealed.unseal(box, secret="b" * 43) is None


def test_what_was_altered_is_not_opened() -> None:
    box = bytearray(sealed.seal(b"text", secret="a" * 43))
    box[-4] ^= 1
    assert sealed.unseal(bytes(box), secret="a" * 43) is None
    assert sealed.unseal(b"nonsense", secret="a" * 43) is None


def test_a_name_is_of_one_group_and_does_not_tell_the_secret() -> None:
    names = {sealed.name("a" * 43, group="one"), sealed.name("a" * 43, group="two"), sealed.name("b", group="one")}
    assert len(names) == 3
    assert all("a" * 43 not in name for name in names)

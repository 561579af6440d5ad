"""node.toml: what is refused, and in which words."""

from pathlib import Path

import pytest

from apps.node.settings import Destination, NodeSettings, read_settings
from cxr_monai.errors import Code, SettingError

SMALLEST = '[analyse]\nbundle = "chest"\n'


def settings_of(tmp_path: Path, text: str) -> NodeSettings:
    (tmp_path / "node.toml").write_text(text)
    return read_settings(tmp_path / "node.toml")


def problem_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingError) as raised:
        settings_of(tmp_path, text)
    assert raised.value.code == Code.SETTING_INVALID
    assert raised.value.where == str(tmp_path / "node.toml")
    return str(raised.value)


def test_the_smallest_file_has_the_defaults_of_the_classes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SMALLEST)

    assert settings == NodeSettings(spool=tmp_path / "spool", analyse=settings.analyse)
    assert (settings.analyse.bundle, settings.receive.host, settings.keep.days) == ("chest", "127.0.0.1", 7)


def test_a_bundle_is_a_folder_beside_the_file_or_an_installed_bundles_name(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for written, read in (
        ("OUT/bundle", str(tmp_path / "OUT/bundle")),
        ("here", str(tmp_path / "here")),
        ("/srv/chest", "/srv/chest"),
        ("cxr-a", "cxr-a"),
    ):
        analyse = settings_of(tmp_path, f'[analyse]\nbundle = "{written}"\nshadow_bundle = "{written}"\n').analyse
        assert (analyse.bundle, analyse.shadow_bundle) == (read, read)
    assert settings_of(tmp_path, SMALLEST).analyse.shadow_bundle == ""


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
        spool = "/srv/spool"
        [receive]
        host = "10.0.0.4"
        plain_peers = [["10.1.2.3", "CR_ROOM1"], ["10.1.2.4", "CR_ROOM2"]]
        calling_ae_titles = ["CR_ROOM1"]
        [receive.tls]
        certificate = "node.crt"
        key = "/etc/node.key"
        authority = "ca.crt"
        [analyse]
        bundle = "chest"
        objects = ["sr", "sc", "seg"]
        [[destination]]
        name = "archive"
        [[destination]]
        name = "web"
        protocol = "dicomweb"
        url = "https://web/dicom-web"
        token_file = "token"
        objects = ["sr"]
        [keep]
        days = 0.5
        """,
    )

    assert settings.spool == Path("/srv/spool")
    assert settings.receive.plain_peers == (("10.1.2.3", "CR_ROOM1"), ("10.1.2.4", "CR_ROOM2"))
    assert settings.receive.tls is not None
    assert settings.receive.tls.certificate == tmp_path / "node.crt"
    assert settings.receive.tls.key == Path("/etc/node.key")
    web = Destination("web", "dicomweb", url="https://web/dicom-web", token_file=tmp_path / "token", objects=("sr",))
    assert settings.destinations == (Destination("archive"), web)
    assert settings.keep.days == 0.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "analyse.bundle is missing"),
        (SMALLEST + "batchsize = 4", "analyse.batchsize is not a setting; the nearest is batch_size."),
        (SMALLEST + "[recieve]", "recieve is not a setting; the nearest is receive."),
        (SMALLEST + "[keep]\nxyz = 1", "keep.xyz is not a setting; there are days, records_days."),
        (SMALLEST + "[receive]\nport = 70000", "receive.port = 70000: it must be from 0 to 65,535."),
        (SMALLEST + '[receive]\nport = "104"', "receive.port = '104': it must be a whole number."),
        (SMALLEST + "[receive]\nport = true", "receive.port = True: it must be a whole number."),
        (SMALLEST + '[receive]\nae_title = "SEVENTEEN_LETTERS"', "receive.ae_title = 'SEVENTEEN_LETTERS': an AE title"),
        (SMALLEST + '[receive]\nplain_peers = [["10.1.2.3"]]', "plain_peers = ['10.1.2.3']: it must be a list of 2."),
        (SMALLEST + '[receive]\nplain_peers = [["room", "A"]]', "'room' is not an IP address"),
        (SMALLEST + '[receive.tls]\nkey = "k"\ncertificate = "c"', "receive.tls.authority is missing."),
        (SMALLEST + 'gate = "maybe"', "analyse.gate = 'maybe': it must be one of refuse, review, off."),
        (SMALLEST + 'objects = ["sr", "pdf"]', "analyse.objects = 'pdf': it must be one of sr, sc, gsps, seg."),
        (SMALLEST + 'objects = "sr"', "analyse.objects = 'sr': it must be a list."),
        (SMALLEST + "[[destination]]", "destination.name is missing."),
        (SMALLEST + '[[destination]]\nname = "a b"', "destination.name = 'a b': letters, digits"),
        (SMALLEST + 2 * '[[destination]]\nname = "a"\n', "destination.name = 'a': two destinations have it."),
        (SMALLEST + '[[destination]]\nname = "a"\nprotocol = "dicomweb"', "destination a: protocol dicomweb needs url"),
        (SMALLEST + '[[destination]]\nname = "a"\nobjects = ["seg"]', "a: seg is not among analyse.objects."),
        (SMALLEST + "receive = 3", "it must be a table"),
        ("= 3", "it is not a TOML file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, text: str, sentence: str) -> None:
    if text.endswith("receive = 3"):
        text = "receive = 3\n" + SMALLEST
    assert sentence in problem_of(tmp_path, text)


def test_all_problems_stand_in_one_error(tmp_path: Path) -> None:
    text = problem_of(tmp_path, '[receive]\nport = -1\nhosts = "a"\n[keep]\ndays = "x"\n[analyse]\nbundle = 3')

    assert [key in text for key in ("receive.port", "receive.hosts", "keep.days", "analyse.bundle")] == [True] * 4


def test_a_missing_file_and_text_of_another_encoding_are_coded_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "node.toml").write_bytes('a = "ä"'.encode("latin-1"))
    with pytest.raises(SettingError, match="not a TOML file"):
        read_settings(tmp_path / "node.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "node.hospital.example"])
def test_another_host_than_the_loopback_is_refused_without_tls(tmp_path: Path, host: str) -> None:
    text = f'[receive]\nhost = "{host}"\n' + SMALLEST

    sentence = problem_of(tmp_path, text)
    assert "films would arrive from the network without TLS" in sentence
    assert "[receive.tls]" in sentence
    assert "plain_peers" in sentence
    peers = settings_of(tmp_path, text.replace("[analyse]", 'plain_peers = [["10.1.2.3", "CR_ROOM1"]]\n[analyse]'))
    assert peers.receive.host == host
    tls = '[receive.tls]\ncertificate = "c"\nkey = "k"\nauthority = "a"\n'
    assert settings_of(tmp_path, text + tls).receive.tls is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_loopback_needs_no_tls(tmp_path: Path, host: str) -> None:
    assert settings_of(tmp_path, f'[receive]\nhost = "{host}"\n' + SMALLEST).receive.host == host

"""One signed bundle of hospital A for all tests of this folder."""

import pytest

from cxr_monai.sharing.inspection import bundle_inspection
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from tests.sharing.archives import Hospital, make_bundle


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Made once; tests copy what they spoil."""
    home = tmp_path_factory.mktemp("hospital-a")
    bundle = make_bundle(home / "bundle")
    archive = pack_bundle(bundle, home / "share", name="cxr-a", version="1.0.0").path
    for name in ("hospital-a", "stranger"):
        make_key(name, home / "keys")
    trust_key(home / "keys" / "hospital-a.pub", "hospital-a", home / "trusted")
    sign_archive(archive, home / "keys" / "hospital-a.pem")
    return Hospital(bundle, archive, home / "keys", home / "trusted")


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No inspection is refused for its time, which is another on every machine; tests of the budget set their own."""
    monkeypatch.setattr(bundle_inspection, "INSPECTION_SECONDS", 1000.0)

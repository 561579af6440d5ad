"""Views as manifests spell them and settings name them."""

import pytest

from cxr_monai.data.views import parse_views, view_name
from cxr_monai.errors import Code, SettingError


@pytest.mark.parametrize(("given", "name"), [("AP_supine", "AP supine"), ("rl", "LATERAL"), ("", ""), ("lao", "LAO")])
def test_names(given, name):
    assert view_name(given) == name


@pytest.mark.parametrize("views", ["", "PA,PA", "PA,oblique", [], "PA,"])
def test_what_is_no_list_of_views(views):
    with pytest.raises(SettingError) as error:
        parse_views(views)
    assert error.value.code == Code.SETTING_INVALID


def test_a_list_of_views():
    assert parse_views(["ll", "AP"]) == ("LATERAL", "AP")

import pytest

from visloc_geo.photo_list import ListedPhoto, read_photo_list
from visloc_geo.view import Orientation
from visloc_ros.core.errors import GeoError
from visloc_ros.sources.measurements import GeoPosition

FULL = ListedPhoto(GeoPosition(55.7, 13.2, 4.0), Orientation(350.0))


def read(tmp_path, text):
    (tmp_path / "views.csv").write_text(text, encoding="utf-8")
    return read_photo_list(tmp_path / "views.csv")


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg,55.7,13.2,4,-10\n",
        "# recorded in May\na.jpg;55.7;13.2;4;-10\n\n",
        "name\tlat\tlng\talt\theading\na.jpg\t55.7\t13.2\t4\t-10",
        "a.jpg 55.7 13.2 4 -10",
        "Name, Longitude, Latitude, azn, altitude\n a.jpg, 13.2, 55.7, 350, 4\n",
        'name,lat,lng,alt,heading\n"a.jpg",55.7,13.2,4.0,350\n',
    ],
)
def test_usual_lists_are_read(tmp_path, text):
    assert read(tmp_path, text) == {"a.jpg": FULL}


def test_what_is_not_known_may_be_empty_or_missing(tmp_path):
    found = read(tmp_path, "name,lat,lng,alt,heading,pose_sigma_m\na,55.7,13.2,,,3\nb,55.7,13.2\n")
    assert found == {"a": ListedPhoto(GeoPosition(55.7, 13.2, None, 3.0)), "b": ListedPhoto(GeoPosition(55.7, 13.2))}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg,north,13.2", "line 1 .*north"),
        ("a.jpg,55.7\n", "line 1 .*longitude"),
        ("a.jpg,95,13.2", "line 1 .*degrees"),
        ("a.jpg,55.7,13.2\na.jpg,55.7,13.2", "line 2 .*again"),
        ("a.jpg,55.7,13.2,4,5,6", "line 1 .*6 values"),
        ("a.jpg,55.7,nan", "line 1 .*not finite"),
        ("name,lat,lng,weather\na,1,2,3", "weather"),
        ("name,lat,lng,pose_sigma_m\na,55.7,13.2,0", "line 2 .*pose_sigma_m is 0.*above 0"),
        ("name,lat,lng,pose_sigma_m\na,55.7,13.2,-5", "line 2 .*pose_sigma_m is -5"),
        ("name,lat,lng,heading,azn_sigma_deg\na,55.7,13.2,9,0", "line 2 .*azn_sigma_deg is 0"),
        ("name,lat\na,1", "each of name, lat, lng"),
    ],
)
def test_a_wrong_list_is_refused_by_its_line(tmp_path, text, words):
    with pytest.raises(GeoError, match=words):
        read(tmp_path, text)
